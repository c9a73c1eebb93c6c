/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `gvmkit run` and `gvmkit shell`: the same session, but for who says what to run. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/image.h"
#include "cli/launch.h"
#include "cli/signers.h"
#include "convert/convert.h"
#include "usernet/rules.h"

struct run_args {
    struct session_options session;
    struct convert_options convert;
    enum cli_progress_mode progress;
    bool seed_volumes;
    enum { NET_UNSAID, NET_NONE, NET_USER } net;
    struct session_network network;
    struct gv_strv env;
    struct session_bind *binds;
    size_t bind_count;
    struct cli_signers signers;
    struct launch launch;
};

#define MACHINE_OPTIONS                                                                                                                    \
    { "env", 'e', "NAME[=VALUE]", "set a variable; without VALUE take it from our own environment" },                                      \
        { "workdir", 'w', "DIR", "working directory (default: the image's WORKDIR)" },                                                     \
        { "user", 'u', "USER[:GROUP]", "user, by name or number (default: the image's USER)" },                                            \
        { "volume", 'v', "HOST:GUEST[:ro]", "share the directory HOST as GUEST" },                                                         \
        { "seed-volumes", 0, NULL, "fill the image's VOLUMEs with what it holds there, as Docker does" },                                  \
        { "cpus", 0, "N", "virtual CPUs (default 1)" }, { "memory", 'm', "SIZE", "memory of the VM (default 256m)" },                      \
        { "root-size", 0, "SIZE", "space for changes outside of volumes, in RAM (default 128m)" },                                         \
        { "hostname", 'h', "NAME", "host name in the VM (default gvmkit)" },                                                               \
        { "net", 0, "KIND", "none (the default), or user, which lets nothing out but what is allowed; the next three imply it" },          \
        { "allow", 0, "LIST", "what the VM may reach: NAME, *.NAME, ADDRESS, NETWORK/BITS, internet, all or host, with :PORT or not" },    \
        { "publish", 'p', "HOST:GUEST", "lead a port of the host to one of the VM; [IP:]HOST:GUEST[/udp]" },                               \
        { "dns", 0, "ADDRESS", "resolver for the VM's questions (default: the host's)" },                                                  \
        { "timeout", 0, "TIME", "end the command after TIME (30, 90s, 5m); exit status 124" },                                             \
        { "accel", 0, "NAME", "auto, kvm or tcg (default auto: KVM where it really works)" },                                              \
        { "require-jail", 0, NULL, "run nothing unless QEMU's jail is complete (see `gvmkit doctor`)" },                                   \
        { "debug", 0, NULL, "show the guest's console on stderr" }, CLI_SIGNERS_OPTION, CLI_CONVERT_OPTIONS

static const struct cli_option run_options[] = {
    { "interactive", 'i', NULL, "pass our stdin to the command" },
    { "tty", 't', NULL, "give the command a terminal" },
    { "detach", 'd', NULL, "return when the command has started, and print the VM's name" },
    { "name", 0, "NAME", "the VM's name for `gvmkit exec` and the like" },
    { "entrypoint", 0, "PROGRAM", "run this instead of the image's ENTRYPOINT and CMD" },
    MACHINE_OPTIONS,
    { 0 },
};

static const struct cli_option shell_options[] = { MACHINE_OPTIONS, { 0 } };

static int add_volume(struct run_args *a, const char *value, struct gv_error *err)
{
    const char *colon = strchr(value, ':');
    if (!colon || colon == value || colon[1] != '/')
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not HOST:GUEST[:ro] with an absolute GUEST", value);
    struct session_bind b = { 0 };
    const char *guest = colon + 1, *mode = strrchr(guest, ':');
    if (mode && strcmp(mode, ":ro") != 0 && strcmp(mode, ":rw") != 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s`: the last part can be ro or rw", value);
    b.readonly = mode && mode[2] == 'o';
    cleanup_free char *host = gv_strndup(value, (size_t)(colon - value));
    if (host[0] != '/' && host[0] != '.')
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a path; write ./%s for a directory here", host, host);
    if (gv_mkdir_p(host, 0755, err) < 0)
        return -1;
    b.host = realpath(host, NULL);
    if (!b.host)
        return gv_error_set(err, GV_E_IO, 0, "cannot find `%s`", host);
    b.guest = mode ? gv_strndup(guest, (size_t)(mode - guest)) : gv_strdup(guest);
    a->binds = gv_reallocarray(a->binds, a->bind_count + 1, sizeof(*a->binds));
    a->binds[a->bind_count++] = b;
    return 0;
}

/* A comma-separated list; each entry is checked by what will read it again. */
static int add_allowed(struct gv_strv *list, const char *value, struct gv_error *err)
{
    struct net_rules rules = { 0 };
    int status = 0;
    for (const char *at = value; status == 0; at++) {
        size_t n = strcspn(at, ",");
        gv_strv_take(list, gv_strndup(at, n));
        status = net_rules_add(&rules, list->items[list->count - 1], err);
        at += n;
        if (!*at)
            break;
    }
    net_rules_clear(&rules);
    return status;
}

/* 1 when the option was one about the network, 0 when not, -1 on a bad value. */
static int take_network(struct run_args *a, const char *name, const char *value, struct gv_error *err)
{
    struct net_publish published;
    struct net_server server;
    if (!strcmp(name, "net")) {
        if (strcmp(value, "none") != 0 && strcmp(value, "user") != 0)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not one of none, user", value);
        a->net = value[0] == 'u' ? NET_USER : NET_NONE;
    } else if (!strcmp(name, "allow")) {
        if (add_allowed(&a->network.allow, value, err) < 0)
            return -1;
    } else if (!strcmp(name, "publish")) {
        if (net_publish_parse(&published, value, err) < 0)
            return -1;
        gv_strv_add(&a->network.publish, value);
    } else if (!strcmp(name, "dns")) {
        if (net_server_parse(&server, value, err) < 0)
            return -1;
        if (a->network.dns.count == NET_SERVERS_MAX)
            return gv_error_set(err, GV_E_USAGE, 0, "more than %u resolvers", NET_SERVERS_MAX);
        gv_strv_add(&a->network.dns, value);
    } else {
        return 0;
    }
    return 1;
}

/* Whoever says what the network is to let through wants one. */
static int choose_network(struct run_args *a, const struct gv_log *log, struct gv_error *err)
{
    const struct session_network *n = &a->network;
    bool wanted = n->allow.count || n->publish.count || n->dns.count;
    if (wanted && a->net == NET_NONE)
        return gv_error_set(err, GV_E_USAGE, 0, "--allow, -p and --dns are about --net user, not --net none");
    if (a->net == NET_USER && !n->allow.count && !n->publish.count)
        gv_warn(log, "--net user lets nothing through by itself; say what it may reach with --allow");
    a->session.network = wanted || a->net == NET_USER ? n : NULL;
    return 0;
}

static int check_hostname(const char *name, struct gv_error *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    size_t len = strlen(name);
    if (len == 0 || len > 63 || strspn(name, allowed) != len || name[0] == '-' || name[0] == '.')
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a host name of at most 63 letters, digits, `-`, `.` and `_`", name);
    return 0;
}

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct run_args *a = user;
    struct session_options *s = &a->session;
    uint64_t n;
    int network = take_network(a, name, value, err);
    if (network != 0)
        return network < 0 ? -1 : 0;
    if (!strcmp(name, "interactive")) {
        s->interactive = true;
    } else if (!strcmp(name, "tty")) {
        s->tty = true;
    } else if (!strcmp(name, "detach")) {
        a->launch.detach = true;
    } else if (!strcmp(name, "name")) {
        a->launch.name = value;
        return vms_name_check(value, err);
    } else if (!strcmp(name, "entrypoint")) {
        s->entrypoint = value;
    } else if (!strcmp(name, "env")) {
        return cli_env(&a->env, value, err);
    } else if (!strcmp(name, "workdir")) {
        if (value[0] != '/')
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not an absolute path", value);
        s->workdir = value;
    } else if (!strcmp(name, "user")) {
        s->user = value;
    } else if (!strcmp(name, "volume")) {
        return add_volume(a, value, err);
    } else if (!strcmp(name, "seed-volumes")) {
        a->seed_volumes = true;
    } else if (!strcmp(name, "cpus")) {
        if (cli_number("the number of CPUs", value, 1, 64, &n, err) < 0)
            return -1;
        s->cpus = (unsigned)n;
    } else if (!strcmp(name, "memory")) {
        if (cli_size(value, &s->memory, err) < 0)
            return -1;
        if (s->memory < (64ULL << 20))
            return gv_error_set(err, GV_E_USAGE, 0, "a VM needs at least 64m, not `%s`", value);
    } else if (!strcmp(name, "root-size")) {
        if (cli_size(value, &s->root_size, err) < 0)
            return -1;
        if (s->root_size < (1ULL << 20))
            return gv_error_set(err, GV_E_USAGE, 0, "the root needs at least 1m, not `%s`", value);
    } else if (!strcmp(name, "hostname")) {
        if (check_hostname(value, err) < 0)
            return -1;
        s->hostname = value;
    } else if (!strcmp(name, "timeout")) {
        return cli_duration(value, &s->timeout_ms, err);
    } else if (!strcmp(name, "accel")) {
        if (strcmp(value, "auto") != 0 && strcmp(value, "kvm") != 0 && strcmp(value, "tcg") != 0)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not one of auto, kvm, tcg", value);
        s->accel = value[0] == 'a' ? VM_ACCEL_AUTO : value[0] == 'k' ? VM_ACCEL_KVM : VM_ACCEL_TCG;
    } else if (!strcmp(name, "require-jail")) {
        s->require_jail = true;
    } else if (!strcmp(name, "debug")) {
        s->debug = true;
    } else if (!strcmp(name, "require-signature")) {
        return cli_signers_add(&a->signers, value, err);
    } else {
        return cli_convert_option(&a->convert, &a->progress, name, value, err);
    }
    return 0;
}

static void args_clear(struct run_args *a)
{
    gv_strv_clear(&a->env);
    gv_strv_clear(&a->network.allow);
    gv_strv_clear(&a->network.publish);
    gv_strv_clear(&a->network.dns);
    for (size_t i = 0; i < a->bind_count; i++) {
        free(a->binds[i].host);
        free(a->binds[i].guest);
    }
    free(a->binds);
    cli_signers_clear(&a->signers);
}

/* The image as a checked .gvmi: nothing that is broken gets as far as a VM. */
static int open_image(struct run_args *a, const char *word, struct gvmi_image **img, struct cli_image *image, struct gv_error *err)
{
    struct cli_progress *progress = cli_progress_new(a->progress);
    struct gv_log log = cli_progress_log(progress, a->session.debug);
    a->convert.source.log = a->convert.write.log = &log;
    a->convert.source.progress = a->convert.write.progress = cli_progress_sink(progress);
    int status = cli_image_to_run(image, word, &a->convert, cli_signers_of(&a->signers), err);
    cli_progress_free(progress);
    return status < 0 ? -1 : gvmi_open(img, image->path, err);
}

/* The best shell of the image: its own idea of one, then bash, then sh. */
static const char *find_shell(struct gvmi_image *img)
{
    static const char *const shells[] = { "/bin/bash", "/usr/bin/bash", "/bin/ash", "/bin/sh", "/bin/busybox" };
    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
        struct gvmi_stat st;
        if (gvmi_lookup(img, shells[i], true, &st, NULL) == 0 && st.type == IMAGE_FILE && (st.mode & 0111))
            return shells[i];
    }
    return NULL;
}

static int run_image(struct run_args *a, const char *word, char **args, bool shell)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gv_log log = cli_log(a->session.debug);
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    cleanup_cli_image struct cli_image image = CLI_IMAGE_INIT;
    if (choose_network(a, &log, &err) < 0 || open_image(a, word, &img, &image, &err) < 0) {
        cli_fail(&err);
        return SESSION_FAILED;
    }
    struct session_options *s = &a->session;
    s->image = image.path;
    s->config = gvmi_config(img);
    s->seed = a->seed_volumes ? img : NULL;
    s->args = args;
    s->env = &a->env;
    s->binds = a->binds;
    s->bind_count = a->bind_count;
    s->log = &log;
    char *busybox[] = { (char[]){ "sh" }, NULL };
    if (shell) {
        s->entrypoint = find_shell(img);
        if (!s->entrypoint) {
            fprintf(stderr, "gvmkit: the image has no shell; try `gvmkit run` with one of its programs\n");
            return SESSION_NOT_FOUND;
        }
        s->args = strcmp(s->entrypoint, "/bin/busybox") ? NULL : busybox;
    }
    int status;
    cleanup_free char *name = NULL;
    a->launch.word = word;
    bool named = a->launch.detach || a->launch.name;
    if ((named ? launch_run(&a->launch, s, &name, &status, &err) : session_run(s, &status, &err)) < 0)
        cli_fail(&err);
    if (name)
        puts(name);
    return status;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct run_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a), status;
    if (at < 0)
        status = at == CLI_HELP ? CLI_OK : SESSION_FAILED;
    else if (at == argc) {
        cli_usage(self, "say which image to run");
        status = SESSION_FAILED;
    } else if (a.session.tty && !isatty(STDIN_FILENO)) {
        cli_usage(self, "-t needs a terminal as standard input; leave it away, or use -i alone");
        status = SESSION_FAILED;
    } else if (a.launch.detach && (a.session.interactive || a.session.tty || a.session.debug)) {
        cli_usage(self, "-d leaves the terminal, so it does not go with -i, -t and --debug; `gvmkit exec -it` gives a terminal later");
        status = SESSION_FAILED;
    } else {
        status = run_image(&a, argv[at], argv + at + 1, false);
    }
    args_clear(&a);
    return status;
}

static int run_shell(const struct cli_command *self, int argc, char **argv)
{
    struct run_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a), status;
    if (at < 0) {
        status = at == CLI_HELP ? CLI_OK : SESSION_FAILED;
    } else if (argc - at != 1) {
        cli_usage(self, "say which image, and nothing after it");
        status = SESSION_FAILED;
    } else {
        a.session.interactive = true;
        a.session.tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
        const char *term = getenv("TERM");
        if (a.session.tty && term)
            gv_strv_take(&a.env, gv_asprintf("TERM=%s", term));
        status = run_image(&a, argv[at], NULL, true);
    }
    args_clear(&a);
    return status;
}

#define IMAGE_TEXT                                                                                                                         \
    "IMAGE is a .gvmi file, an image of the store or one that `gvmkit pull` can fetch, or anything `gvmkit build` accepts; that is\n"      \
    "converted once and kept in a cache. A bare USER/REPO:TAG that is not in the store is looked up in the registry that\n"                \
    "GOLEM_REGISTRY_URL or REGISTRY_URL names, and else is a name of Docker's; golem:USER/REPO:TAG is always of Golem's registry."

const struct cli_command cmd_run = {
    .name = "run",
    .synopsis = "[OPTIONS] IMAGE [COMMAND [ARG...]]",
    .summary = "Run a command in a fresh microVM, like `docker run --rm`",
    .details = IMAGE_TEXT
    "\n\n"
    "ENTRYPOINT, CMD, ENV, WORKDIR, USER and VOLUME of the image apply. The VM and all in it are gone afterwards, but for the\n"
    "directories given with -v. The exit status is the command's; 128+N when signal N ended it; 124 after --timeout; 125 when\n"
    "gvmkit itself failed; 126 when the command cannot be executed; 127 when there is no such command.",
    .example = "  gvmkit run -e NAME=world -v ./out:/out hello.gvmi sh -c 'echo hello $NAME > /out/text'",
    .options = run_options,
    .stop_at_operand = true,
    .run = run,
};

const struct cli_command cmd_shell = {
    .name = "shell",
    .synopsis = "[OPTIONS] IMAGE",
    .summary = "Open a shell in a fresh microVM",
    .details = IMAGE_TEXT "\n\nWithout a terminal, commands are read from standard input.",
    .example = "  gvmkit shell hello.gvmi",
    .options = shell_options,
    .run = run_shell,
};
