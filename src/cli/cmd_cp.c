/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `gvmkit cp`: files between this machine and a running VM, by the rules of `docker cp`. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/courier.h"
#include "transfer/transfer.h"
#include "vm/vm.h"

#define SIGNAL_BASE 128
#define ANSWER_MAX 4200U /* bytes of what the guest says of a path: two letters and another path */

static const struct cli_option options[] = {
    { "archive", 'a', NULL, "into a VM: keep the numbers of owner and group (default: all belongs to root)" },
    { "follow-link", 'L', NULL, "if SRC is a symbolic link, copy what it leads to" },
    { "quiet", 'q', NULL, "show no progress" },
    { 0 },
};

struct cp {
    bool archive, follow, quiet;
    char *vm;         /* its name */
    const char *from; /* path, or "-" */
    const char *to;
    bool out; /* out of the VM */
    struct gv_log log;
    const struct gv_progress *progress;
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct cp *c = user;
    (void)value, (void)err;
    if (!strcmp(name, "archive"))
        c->archive = true;
    else if (!strcmp(name, "follow-link"))
        c->follow = true;
    else
        c->quiet = true;
    return 0;
}

/* "NAME:PATH": the length of the name; 0 for a path of this machine, which begins with "/" or "." if it has a colon. */
static size_t vm_of(const char *operand)
{
    const char *colon = strchr(operand, ':');
    return colon && operand[0] != '/' && operand[0] != '.' ? (size_t)(colon - operand) : 0;
}

/* ---- what paths are ---------------------------------------------------------------------------------------------------------------- */

/* A path at one of both ends. */
struct place {
    enum transfer_kind itself;   /* TRANSFER_FILE if it is a link */
    enum transfer_kind leads_to; /* the same, with links followed */
    bool link;
    char *resolved; /* what it leads to; NULL when that is nothing */
};

static void place_clear(struct place *p)
{
    free(p->resolved);
}

/* A path that says that it is a directory is what it leads to. */
static enum transfer_kind kind_of_source(const struct place *p, const char *path, bool follow)
{
    return follow || transfer_says_directory(path) ? p->leads_to : p->itself;
}

static enum transfer_kind kind_of_mode(mode_t mode)
{
    return S_ISDIR(mode) ? TRANSFER_DIRECTORY : S_ISREG(mode) || S_ISLNK(mode) ? TRANSFER_FILE : TRANSFER_OTHER;
}

static int look_here(struct place *p, const char *path, struct gv_error *err)
{
    /* Without what is after its name: a file, too, has one then. */
    cleanup_free char *bare = gv_strdup(path);
    struct stat st;
    for (size_t n = strlen(bare); n > 1 && bare[n - 1] == '/';)
        bare[--n] = '\0';
    *p = (struct place){ 0 };
    if (lstat(bare, &st) == 0) {
        p->link = S_ISLNK(st.st_mode);
        p->itself = kind_of_mode(st.st_mode);
        if (stat(bare, &st) == 0) {
            p->leads_to = kind_of_mode(st.st_mode);
            p->resolved = realpath(bare, NULL);
        }
        return 0;
    }
    return errno == ENOENT || errno == ENOTDIR ? 0 : gv_error_errno(err, "cannot look at `%s`", path);
}

struct answer {
    char text[ANSWER_MAX + 1];
    size_t n;
};

static int read_answer(void *user, int fd, struct gv_error *err)
{
    struct answer *a = user;
    ssize_t n = gv_read_full(fd, a->text, sizeof(a->text));
    if (n < 0)
        return gv_error_errno(err, "cannot read from the VM");
    if ((size_t)n > ANSWER_MAX)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "the VM says more of a path than there can be");
    a->n = (size_t)n;
    a->text[n] = '\0';
    return 0;
}

static int kind_of_letter(char letter, enum transfer_kind *kind)
{
    static const char letters[] = "-fdol";
    static const enum transfer_kind kinds[] = { TRANSFER_NOTHING, TRANSFER_FILE, TRANSFER_DIRECTORY, TRANSFER_OTHER, TRANSFER_FILE };
    const char *at = letter ? strchr(letters, letter) : NULL;
    *kind = at ? kinds[at - letters] : TRANSFER_NOTHING;
    return at ? 0 : -1;
}

static int look_there(struct place *p, const struct cp *c, const char *path, struct gv_error *err)
{
    cleanup_free char *bare = gv_strdup(path);
    for (size_t n = strlen(bare); n > 1 && bare[n - 1] == '/';)
        bare[--n] = '\0';
    cleanup_free struct answer *a = gv_new(struct answer);
    const struct courier courier = {
        .vm = c->vm, .builtin = VM_STAT, .argv = { bare }, .fd = -1, .work = read_answer, .user = a, .log = &c->log
    };
    *p = (struct place){ 0 };
    if (courier_run(&courier, err) < 0)
        return -1;
    if (a->n < 2 || kind_of_letter(a->text[0], &p->itself) < 0 || kind_of_letter(a->text[1], &p->leads_to) < 0 || strlen(a->text) != a->n ||
        (p->leads_to == TRANSFER_NOTHING ? a->n != 2 : a->text[2] != '/'))
        return gv_error_set(err, GV_E_PROTOCOL, 0, "what the VM says of `%s` makes no sense", path);
    p->link = a->text[0] == 'l';
    p->resolved = p->leads_to == TRANSFER_NOTHING ? NULL : gv_strdup(a->text + 2);
    return 0;
}

/* A path that ends with ".." has the name of what it leads to. */
static const char *named(const char *path, const struct place *p)
{
    size_t n = strlen(path);
    return p->resolved && n >= 2 && !strcmp(path + n - 2, "..") && (n == 2 || path[n - 3] == '/') ? p->resolved : path;
}

/* ---- the copy ---------------------------------------------------------------------------------------------------------------------- */

/* Our end of the stream. */
struct half {
    struct transfer_options options;
    struct transfer_copy copy;
    const char *path; /* what is sent, or the directory that it is received in */
};

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    gv_progress_update(user, "copying", done, total == TRANSFER_SIZE_UNKNOWN ? 0 : total);
}

static int send_half(void *user, int fd, struct gv_error *err)
{
    const struct half *h = user;
    return transfer_send(&h->options, h->path, &h->copy, fd, err);
}

static int receive_half(void *user, int fd, struct gv_error *err)
{
    const struct half *h = user;
    return transfer_receive(&h->options, fd, h->path, &h->copy, err);
}

static struct half half_of(const struct cp *c, const char *path, const char *name)
{
    return (struct half){
        .options = { .cancelled = courier_cancelled(), .progress = on_progress, .user = (void *)(uintptr_t)c->progress, .log = &c->log },
        .copy = { .name = name, .follow = c->follow, .owners = c->archive },
        .path = path
    };
}

static int out_of_vm(const struct cp *c, struct gv_error *err)
{
    __attribute__((cleanup(place_clear))) struct place from = { 0 }, to = { 0 };
    __attribute__((cleanup(transfer_target_clear))) struct transfer_target target = { 0 };
    struct courier courier = { .vm = c->vm, .builtin = VM_PACK, .fd = -1, .log = &c->log };
    if (look_there(&from, c, c->from, err) < 0)
        return -1;
    enum transfer_kind kind = kind_of_source(&from, c->from, c->follow);
    if (kind == TRANSFER_NOTHING)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no `%s` in the VM `%s`", c->from, c->vm);
    const char *name = named(c->from, &from);
    courier.argv[0] = c->follow && from.resolved ? from.resolved : c->from;
    if (!strcmp(c->to, "-")) {
        cleanup_free char *base = transfer_base(transfer_means_contents(name) ? "" : name);
        courier.argv[1] = base[0] ? base : ".";
        courier.fd = STDOUT_FILENO;
        return courier_run(&courier, err);
    }
    if (look_here(&to, c->to, err) < 0 ||
        transfer_target(&target, name, kind, to.link && to.resolved ? to.resolved : c->to, to.leads_to, err) < 0)
        return -1;
    struct half half = half_of(c, target.directory, target.name);
    courier.argv[1] = target.name[0] ? target.name : ".";
    courier.work = receive_half;
    courier.user = &half;
    return courier_run(&courier, err);
}

static int into_vm(const struct cp *c, struct gv_error *err)
{
    __attribute__((cleanup(place_clear))) struct place from = { 0 }, to = { 0 };
    __attribute__((cleanup(transfer_target_clear))) struct transfer_target target = { 0 };
    struct courier courier = { .vm = c->vm, .builtin = VM_UNPACK, .sends = true, .fd = -1, .log = &c->log };
    bool tar = !strcmp(c->from, "-");
    if ((!tar && look_here(&from, c->from, err) < 0) || look_there(&to, c, c->to, err) < 0)
        return -1;
    if (tar) {
        if (to.leads_to != TRANSFER_DIRECTORY)
            return gv_error_set(err, to.leads_to == TRANSFER_NOTHING ? GV_E_NOT_FOUND : GV_E_USAGE, 0,
                                "the destination `%s:%s` is not a directory, in which a tar could be unpacked", c->vm, c->to);
        courier.argv[0] = c->to;
        courier.fd = STDIN_FILENO;
        return courier_run(&courier, err);
    }
    if (transfer_target(&target, named(c->from, &from), kind_of_source(&from, c->from, c->follow),
                        to.link && to.resolved ? to.resolved : c->to, to.leads_to, err) < 0)
        return -1;
    struct half half = half_of(c, c->from, target.name);
    courier.argv[0] = target.directory;
    courier.work = send_half;
    courier.user = &half;
    return courier_run(&courier, err);
}

/* ---- together ---------------------------------------------------------------------------------------------------------------------- */

/* Which operand is the VM's. */
static int read_operands(struct cp *c, const char *from, const char *to, struct gv_error *err)
{
    size_t a = vm_of(from), b = vm_of(to);
    if (a && b)
        return gv_error_set(err, GV_E_USAGE, 0, "both are in a VM: copy to this machine first, or through a pipe with `-`");
    if (!a && !b)
        return gv_error_set(err, GV_E_USAGE, 0, "one of both must be in a VM: NAME:PATH");
    c->out = a != 0;
    c->vm = a ? gv_strndup(from, a) : gv_strndup(to, b);
    c->from = a ? from + a + 1 : from;
    c->to = b ? to + b + 1 : to;
    if (!*c->from || !*c->to)
        return gv_error_set(err, GV_E_USAGE, 0, "a path is empty");
    if (isatty(c->out ? STDOUT_FILENO : STDIN_FILENO) && !strcmp(c->out ? c->to : c->from, "-"))
        return gv_error_set(err, GV_E_USAGE, 0, "a tar is nothing for a terminal: use a pipe or a file");
    return 0;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct cp c = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    int at = cli_parse(self, argc, argv, take, &c);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (argc - at != 2)
        return cli_usage(self, "say what to copy, and to where");
    struct cli_progress *progress = cli_progress_new(c.quiet || !isatty(STDERR_FILENO) ? CLI_PROGRESS_NONE : CLI_PROGRESS_AUTO);
    c.log = cli_progress_log(progress, false);
    c.progress = cli_progress_sink(progress);
    int result = read_operands(&c, argv[at], argv[at + 1], &err);
    bool wrong = result < 0;
    if (result == 0)
        result = c.out ? out_of_vm(&c, &err) : into_vm(&c, &err);
    cli_progress_free(progress);
    free(c.vm);
    if (result == 0)
        return CLI_OK;
    if (err.code == GV_E_CANCELLED)
        return SIGNAL_BASE + err.sys;
    cli_fail(&err);
    return wrong ? CLI_USAGE : CLI_FAILED;
}

const struct cli_command cmd_cp = {
    .name = "cp",
    .synopsis = "[OPTIONS] NAME:SRC DST|-\n       gvmkit cp [OPTIONS] SRC|- NAME:DST",
    .summary = "Copy files between this machine and a running VM",
    .details = "NAME is that of a VM (`gvmkit run --name`, `gvmkit ps`). The image needs no tar: the guest's agent does it. A path of this "
               "machine that has a\n"
               "colon begins with \"./\" or \"/\"; a path in the VM is taken from its root.\n\n"
               "The rules are those of `docker cp`. A file gets the name DST, unless DST is a directory: then it is copied into it. So is "
               "a directory;\n"
               "when SRC ends with \"/.\" its contents alone are. A DST that does not exist becomes a copy of the directory; for a file it "
               "must not end\n"
               "with a slash. The directory that DST is in must exist. Directories that exist stay as they are, files are replaced.\n\n"
               "With `-` a tar is read from standard input, or written to standard output; DST must be a directory then.\n\n"
               "Into a VM all belongs to root, unless --archive is given, and a tar keeps its owners. Out of a VM all belongs to the "
               "caller, without\n"
               "set-user-ID; symbolic links are copied as they are, wherever they lead, and never followed out of DST; devices and pipes "
               "are left out\n"
               "with a warning. What the VM says is not trusted: nothing outside of DST is touched. A file appears whole or not at all.",
    .example = "  gvmkit cp results.json web:/srv/\n"
               "  gvmkit cp web:/var/log/. logs\n"
               "  tar c src | gvmkit cp - web:/build",
    .options = options,
    .run = run,
};
