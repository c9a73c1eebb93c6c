/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `gvmkit script`: a requestor's script, executed here as a provider would. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "cli/image.h"
#include "script/script.h"

#define FAILED 125
#define SIGNAL_BASE 128

static const struct cli_option options[] = {
    { "image", 0, "REF", "the image that deploy deploys: a file, or a reference as `gvmkit pull` takes it" },
    { "workdir", 'w', "DIR", "work directory, kept afterwards; made if it is missing (default: a temporary one)" },
    { "runtime", 'r', "FILE", "the runtime (default: our ya-runtime-vm)" },
    { "stream", 0, NULL, "print events as they come, instead of results" },
    { "json", 0, NULL, "print one array at the end, instead of a line for each" },
    { "max-size", 0, "SIZE", "refuse archives that unpack to more (default 64G, and what looks like a bomb)" },
    { "verbose", 'v', NULL, "tell what the runtime counts, and what is tried again" },
    { 0 },
};

struct options {
    struct script_options script;
    const char *runtime, *workdir;
    bool json, verbose;
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct options *o = user;
    if (!strcmp(name, "image"))
        o->script.image = value;
    else if (!strcmp(name, "workdir"))
        o->workdir = value;
    else if (!strcmp(name, "runtime"))
        o->runtime = value;
    else if (!strcmp(name, "stream"))
        o->script.events = true;
    else if (!strcmp(name, "json"))
        o->json = true;
    else if (!strcmp(name, "verbose"))
        o->verbose = true;
    else
        return cli_size(value, &o->script.max_unpacked, err);
    return 0;
}

/* ---- signals ---------------------------------------------------------------------------------------------------------------------- */

/* Written by the handler, which has no other way to reach anybody. */
static atomic_bool cancelled;
static volatile sig_atomic_t last_signal;

static void on_signal(int number)
{
    last_signal = number;
    atomic_store(&cancelled, true);
}

static void catch_signals(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    const struct sigaction action = { .sa_handler = on_signal }; /* without SA_RESTART: what waits is to notice */
    struct sigaction before;
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
}

/* ---- what is printed -------------------------------------------------------------------------------------------------------------- */

/* What the script needs of us while it runs. */
struct host {
    json_t *all; /* results that are printed at the end; NULL = at once */
    struct cli_image image;
};

static void print_line(void *user, const json_t *object)
{
    (void)user;
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
}

static void collect(void *user, const json_t *object)
{
    json_array_append_new(((struct host *)user)->all, json_deep_copy(object));
}

/* A script may deploy again: the image stays as it is then. */
static int find_image(void *user, const char *word, char **path, struct gv_error *err)
{
    struct host *h = user;
    if (!h->image.path && cli_image_find(&h->image, word, err) < 0)
        return -1;
    *path = realpath(h->image.path, NULL);
    return *path ? 0 : gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot find the image `%s`", h->image.path);
}

/* ---- together --------------------------------------------------------------------------------------------------------------------- */

static int read_script(const char *path, struct script **script, struct gv_error *err)
{
    cleanup_buf struct gv_buf text = { 0 };
    bool from_stdin = !strcmp(path, "-");
    if (gv_read_file(from_stdin ? "/dev/stdin" : path, SCRIPT_SIZE_MAX, &text, err) < 0)
        return -1;
    if (script_parse(script, gv_buf_str(&text), text.len, err) < 0)
        return gv_error_prefix(err, "`%s`", from_stdin ? "standard input" : path);
    return 0;
}

/* Our runtime lies beside the program, as it is installed. The result is the caller's to free; NULL with err. */
static char *find_runtime(const char *given, struct gv_error *err)
{
    cleanup_free char *exe = given ? NULL : realpath("/proc/self/exe", NULL);
    char *slash = exe ? strrchr(exe, '/') : NULL;
    if (slash)
        *slash = '\0';
    cleanup_free char *path = given ? gv_strdup(given) : gv_asprintf("%s/../lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm", exe ? exe : "");
    char *real = realpath(path, NULL);
    if (!real) {
        gv_error_errno(err, "cannot find the runtime `%s`", path);
        if (!given)
            gv_error_hint(err, "say with --runtime where it is");
    }
    return real;
}

static int execute(struct options *o, const char *path, struct gv_error *err)
{
    CLEANUP(script) struct script *script = NULL;
    struct gv_workdir *temporary = NULL;
    const char *tmp = getenv("TMPDIR");
    int status = FAILED;
    if (read_script(path, &script, err) < 0)
        return FAILED;
    cleanup_free char *runtime = find_runtime(o->runtime, err);
    if (!runtime || (o->workdir && gv_mkdir_p(o->workdir, 0755, err) < 0))
        return FAILED;
    if (!o->workdir && gv_workdir_open(&temporary, tmp && *tmp ? tmp : "/var/tmp", "gvmkit-script", err) < 0)
        return FAILED;
    cleanup_free char *workdir = realpath(o->workdir ? o->workdir : gv_workdir_path(temporary), NULL);
    o->script.runtime = runtime;
    o->script.workdir = workdir;
    if (!workdir)
        gv_error_errno(err, "cannot find the work directory `%s`", o->workdir);
    else if (script_run(script, &o->script, &status, err) < 0)
        status = err->code == GV_E_CANCELLED && last_signal ? SIGNAL_BASE + last_signal : FAILED;
    struct gv_error left = GV_ERROR_INIT;
    if (gv_workdir_remove(temporary, &left) < 0 && status == 0) {
        *err = left;
        status = FAILED;
    }
    return status;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct options o = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    int at = cli_parse(self, argc, argv, take, &o);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at >= argc)
        return cli_usage(self, "say which script: a file, or `-` for standard input");
    for (int i = at + 1; i < argc; i++)
        gv_strv_add(&o.script.runtime_options, argv[i]);
    struct gv_log log = cli_log(o.verbose);
    struct host host = { .all = o.json ? json_array() : NULL, .image = CLI_IMAGE_INIT };
    o.script.log = &log;
    o.script.cancelled = &cancelled;
    o.script.tell = o.json ? collect : print_line;
    o.script.find_image = find_image;
    o.script.user = &host;
    catch_signals();
    int status = execute(&o, argv[at], &err);
    if (host.all) {
        json_dumpf(host.all, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(host.all);
    cli_image_clear(&host.image);
    if (err.code)
        cli_fail(&err);
    gv_strv_clear(&o.script.runtime_options);
    return status;
}

const struct cli_command cmd_script = {
    .name = "script",
    .synopsis = "[OPTIONS] FILE|- [-- RUNTIME-OPTIONS...]",
    .summary = "Execute a requestor's script as a provider would",
    .details =
        "FILE is an ExeScript: a JSON array of the commands deploy, start, run, transfer and terminate (sign is refused), as requestors\n"
        "send it. For each command that has ended a line with its result is printed, in the form in which a provider sends it. The\n"
        "script ends with the first command that fails.\n\n"
        "Transfers are between http, https, file: (on this machine) and container: (a volume of the VM). What follows `--` goes to the\n"
        "runtime, before its subcommand.\n\n"
        "The exit status is 0 when all commands have succeeded, else that of the one that failed; 125 when it has none, or when gvmkit\n"
        "itself failed; 2 on wrong usage; 128+N when signal N has ended it: what runs is shut down in order then.",
    .example = "  gvmkit script job.json --image hello.gvmi -- --cpu-cores 2 --mem-gib 1",
    .options = options,
    .run = run,
};
