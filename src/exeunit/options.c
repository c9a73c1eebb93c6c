/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command line. Options stand before the subcommand; what follows `start` and `run` is the requestor's and is taken as it is. Some options take
 * several values ("-t A B"). The original's parser is greedy there and takes the subcommand for one more value; here a subcommand's name ends
 * the list, unless it is the first value. Between, and after `deploy`, `test` and `offer-template`, options are found in any order.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "exeunit/exeunit.h"

#define CPUS_MAX 1024U
#define TIMEOUT_MAX 86400U
/* What IPv6 needs; and what an ExeUnit's stack takes, which is 65280 bytes with the header of Ethernet. */
#define MTU_LEAST 1280U
#define MTU_MOST 65266U

static const struct {
    const char *word;
    enum exeunit_command command;
    bool verbatim; /* all that follows are its arguments */
} commands[] = {
    { "deploy", EXEUNIT_DEPLOY, false }, { "start", EXEUNIT_START, true },
    { "run", EXEUNIT_RUN, true },        { "offer-template", EXEUNIT_OFFER_TEMPLATE, false },
    { "test", EXEUNIT_TEST, false },     { "help", EXEUNIT_HELP, true },
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

enum id {
    WORKDIR,
    PACKAGE,
    CPUS,
    MEMORY,
    STORAGE,
    VPN,
    INET,
    INET_MTU,
    DNS,
    PCI,
    OVERRIDE,
    SEED,
    HOSTNAME,
    TEST_TIMEOUT,
    TEST_CPUS,
    TEST_MEMORY,
    ACCEL,
    ORIGINAL_CPU,
    REQUIRE_JAIL,
    HELP,
    VERSION
};

static const struct option {
    const char *name;
    char letter;
    bool flag, several;
    const char *env, *fallback;
} options[] = {
    [WORKDIR] = { "workdir", 'w', false, false, NULL, NULL },
    [PACKAGE] = { "task-package", 't', false, true, NULL, NULL },
    [CPUS] = { "cpu-cores", 0, false, false, NULL, "1" },
    [MEMORY] = { "mem-gib", 0, false, false, NULL, "0.25" },
    [STORAGE] = { "storage-gib", 0, false, false, NULL, "0.25" },
    [VPN] = { "vpn-endpoint", 0, false, false, NULL, NULL },
    [INET] = { "inet-endpoint", 0, false, false, NULL, NULL },
    [INET_MTU] = { "inet-mtu", 0, false, false, "GVMKIT_INET_MTU", "1500" },
    [DNS] = { "dns", 0, false, true, "GVMKIT_DNS", "1.1.1.1,8.8.8.8" },
    [PCI] = { "pci-device", 0, false, true, "YA_RUNTIME_VM_PCI_DEVICE", NULL },
    [OVERRIDE] = { "volume-override", 0, false, false, "YA_RUNTIME_VOLUME_OVERRIDE", NULL },
    [SEED] = { "seed-volumes", 0, true, false, NULL, NULL },
    [HOSTNAME] = { "hostname", 0, false, false, "YA_RUNTIME_HOSTNAME", "golem" },
    [TEST_TIMEOUT] = { "test-timeout", 0, false, false, "YA_RUNTIME_VM_TEST_TIMEOUT", "10" },
    [TEST_CPUS] = { "test-cpu-cores", 0, false, false, "YA_RUNTIME_VM_TEST_CPU_CORES", "1" },
    [TEST_MEMORY] = { "test-mem-gib", 0, false, false, "YA_RUNTIME_VM_TEST_MEM_GIB", "0.5" },
    [ACCEL] = { "accel", 0, false, false, NULL, "auto" },
    [ORIGINAL_CPU] = { "original-cpu-numbers", 0, true, false, NULL, NULL },
    [REQUIRE_JAIL] = { "require-jail", 0, true, false, NULL, NULL },
    [HELP] = { "help", 'h', true, false, NULL, NULL },
    [VERSION] = { "version", 'V', true, false, NULL, NULL },
};
#define OPTIONS (sizeof(options) / sizeof(options[0]))

const char *exeunit_help(void)
{
    return "Usage: " EXEUNIT_NAME " [OPTIONS] SUBCOMMAND [ARGUMENTS]\n\n"
           "Runs .gvmi images in microVMs for the ExeUnit of a Golem provider.\n\n"
           "Subcommands:\n"
           "  deploy          prepare a work directory for an image; prints the answer as JSON\n"
           "  start           run the VM and serve the ExeUnit on stdin and stdout\n"
           "  run             not supported: programs are run by a VM that has been started\n"
           "  offer-template  print what this host can offer, as JSON\n"
           "  test            check that this host can run VMs\n\n"
           "Options:\n"
           "  -w, --workdir DIR             work directory (deploy, start)\n"
           "  -t, --task-package FILE...    images, the first on top (deploy)\n"
           "      --cpu-cores N             virtual CPUs (default 1)\n"
           "      --mem-gib N               memory of the VM in GiB (default 0.25)\n"
           "      --storage-gib N           what volumes may take of the disk in GiB (default 0.25)\n"
           "      --volume-override JSON    volumes: {\"/path\":{\"host\":{}}}, {\"ram\":{\"size\":S}} or\n"
           "                                {\"storage\":{\"size\":S}} (YA_RUNTIME_VOLUME_OVERRIDE)\n"
           "      --seed-volumes            directories begin with what the image holds there (deploy)\n"
           "      --hostname NAME           host name in the VM (YA_RUNTIME_HOSTNAME, default golem)\n"
           "      --vpn-endpoint URL        where frames of the VPN go\n"
           "      --inet-endpoint URL       where frames for the Internet go\n"
           "      --inet-mtu BYTES          largest packets of the INET network (GVMKIT_INET_MTU, default 1500)\n"
           "      --dns ADDRESS...          name servers of a VM with an INET network, or none\n"
           "                                (GVMKIT_DNS, default 1.1.1.1,8.8.8.8)\n"
           "      --pci-device ADDRESS...   devices for the VM (YA_RUNTIME_VM_PCI_DEVICE)\n"
           "      --test-timeout SECONDS    (YA_RUNTIME_VM_TEST_TIMEOUT, default 10)\n"
           "      --test-cpu-cores N        (YA_RUNTIME_VM_TEST_CPU_CORES, default 1)\n"
           "      --test-mem-gib N          (YA_RUNTIME_VM_TEST_MEM_GIB, default 0.5)\n"
           "      --original-cpu-numbers    family and model of the CPU as the original runtime counts them\n"
           "      --accel NAME              auto, kvm or tcg (default auto)\n"
           "      --require-jail            run nothing unless QEMU's jail is complete (GVMKIT_REQUIRE_JAIL=1)\n"
           "  -h, --help                    show this text\n"
           "  -V, --version                 show the version\n\n"
           "Without hardware virtualisation nothing is run unless GVMKIT_ALLOW_TCG=1 is set: emulation is no security\n"
           "boundary. With RUST_LOG=debug the guest's console and details are shown on stderr.\n";
}

static int bad_value(const struct option *o, const char *value, const char *what, struct gv_error *err)
{
    return gv_error_set(err, GV_E_USAGE, 0, "--%s: `%s` is not %s", o->name, value, what);
}

static int get_count(const struct option *o, const char *value, unsigned min, unsigned max, unsigned *out, struct gv_error *err)
{
    char *end;
    errno = 0;
    unsigned long v = strtoul(value, &end, 10);
    if (!isdigit((unsigned char)value[0]) || *end || errno || v < min || v > max)
        return gv_error_set(err, GV_E_USAGE, 0, "--%s: `%s` is not a whole number from %u to %u", o->name, value, min, max);
    *out = (unsigned)v;
    return 0;
}

/* Bytes of a number of GiB, whole units of them. */
static int get_gib(const struct option *o, const char *value, uint64_t unit, uint64_t *out, struct gv_error *err)
{
    char *end;
    errno = 0;
    double v = strtod(value, &end);
    if ((!isdigit((unsigned char)value[0]) && value[0] != '.') || *end || errno || !isfinite(v) || v < 0 || v > 1 << 20)
        return bad_value(o, value, "a number of GiB", err);
    *out = (uint64_t)(v * (double)(1ULL << 30)) / unit * unit;
    return 0;
}

static void set(char **at, const char *value)
{
    free(*at);
    *at = gv_strdup(value);
}

/* "1.1.1.1,fd00::1", or "none". */
static int take_dns(struct exeunit_options *o, const char *value, struct gv_error *err)
{
    unsigned char address[16];
    if (!strcmp(value, "none")) {
        gv_strv_clear(&o->dns);
        return 0;
    }
    for (const char *at = value; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        cleanup_free char *one = gv_strndup(at, strcspn(at, ","));
        if (inet_pton(AF_INET, one, address) != 1 && inet_pton(AF_INET6, one, address) != 1)
            return bad_value(&options[DNS], value, "an address, several with commas between, or `none`", err);
        gv_strv_add(&o->dns, one);
    }
    return 0;
}

static int take_value(struct exeunit_options *o, enum id id, const char *value, struct gv_error *err)
{
    const struct option *opt = &options[id];
    switch (id) {
    case WORKDIR:
        set(&o->workdir, value);
        return 0;
    case PACKAGE:
        gv_strv_add(&o->packages, value);
        return 0;
    case CPUS:
        return get_count(opt, value, 1, CPUS_MAX, &o->cpus, err);
    case MEMORY:
        return get_gib(opt, value, 1U << 20, &o->memory, err);
    case STORAGE:
        return get_gib(opt, value, 1, &o->storage, err);
    case VPN:
        set(&o->vpn_endpoint, value);
        return 0;
    case INET:
        set(&o->inet_endpoint, value);
        return 0;
    case INET_MTU:
        return get_count(opt, value, MTU_LEAST, MTU_MOST, &o->inet_mtu, err);
    case DNS:
        return take_dns(o, value, err);
    case PCI:
        gv_strv_add(&o->pci_devices, value);
        return 0;
    case OVERRIDE:
        set(&o->volume_override, value);
        return 0;
    case HOSTNAME:
        set(&o->hostname, value);
        return 0;
    case TEST_TIMEOUT:
        return get_count(opt, value, 1, TIMEOUT_MAX, &o->test_timeout_s, err);
    case TEST_CPUS:
        return get_count(opt, value, 1, CPUS_MAX, &o->test_cpus, err);
    case TEST_MEMORY:
        return get_gib(opt, value, 1U << 20, &o->test_memory, err);
    case ACCEL:
        if (strcmp(value, "auto") != 0 && strcmp(value, "kvm") != 0 && strcmp(value, "tcg") != 0)
            return bad_value(opt, value, "one of auto, kvm, tcg", err);
        o->accel = value[0] == 'a' ? VM_ACCEL_AUTO : value[0] == 'k' ? VM_ACCEL_KVM : VM_ACCEL_TCG;
        return 0;
    case SEED:
    case ORIGINAL_CPU:
    case REQUIRE_JAIL:
    case HELP:
    case VERSION:
        break;
    }
    return 0;
}

static int find_command(const char *word)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (!strcmp(word, commands[i].word))
            return (int)i;
    return -1;
}

/* The option that a word names, and where its value begins: behind "=" or a letter, or NULL when it is not in the same word. */
static int find_option(const char *word, const char **value, struct gv_error *err)
{
    *value = NULL;
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &options[i];
        size_t n = strlen(o->name);
        if (word[1] == '-' && !strncmp(word + 2, o->name, n) && (word[2 + n] == '\0' || word[2 + n] == '=')) {
            *value = word[2 + n] ? word + 3 + n : NULL;
            return (int)i;
        }
        if (word[1] != '-' && o->letter && word[1] == o->letter) {
            *value = word[2] ? word + 2 + (word[2] == '=') : NULL;
            return (int)i;
        }
    }
    return gv_error_set(err, GV_E_USAGE, 0, "there is no option `%s`", word);
}

struct cursor {
    int at, argc;
    char *const *argv;
    bool given[OPTIONS];
    bool in_command; /* the subcommand has been found */
};

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

/* Takes an option and its values. 1: --help or --version was asked for. */
static int take_option(struct exeunit_options *o, struct cursor *c, struct gv_error *err)
{
    const char *word = c->argv[c->at++], *value;
    int id = find_option(word, &value, err);
    if (id < 0)
        return -1;
    const struct option *opt = &options[id];
    if (opt->flag) {
        if (value)
            return gv_error_set(err, GV_E_USAGE, 0, "the option `--%s` takes no value", opt->name);
        if (id == ORIGINAL_CPU || id == SEED || id == REQUIRE_JAIL) {
            *(id == SEED ? &o->seed_volumes : id == REQUIRE_JAIL ? &o->require_jail : &o->original_cpu) = true;
            return 0;
        }
        o->command = id == HELP ? EXEUNIT_HELP : EXEUNIT_VERSION;
        return 1;
    }
    if (!value) {
        if (c->at == c->argc || is_option(c->argv[c->at]))
            return gv_error_set(err, GV_E_USAGE, 0, "the option `--%s` needs a value", opt->name);
        value = c->argv[c->at++];
    }
    c->given[id] = true;
    if (take_value(o, (enum id)id, value, err) < 0)
        return -1;
    /* More values: all words up to an option or a subcommand. */
    while (opt->several && !c->in_command && c->at < c->argc && !is_option(c->argv[c->at]) && find_command(c->argv[c->at]) < 0)
        if (take_value(o, (enum id)id, c->argv[c->at++], err) < 0)
            return -1;
    return 0;
}

/* Everything after the subcommand. */
static int take_arguments(struct exeunit_options *o, struct cursor *c, bool verbatim, struct gv_error *err)
{
    bool first = true;
    c->in_command = true;
    for (; c->at < c->argc; first = false) {
        const char *word = c->argv[c->at];
        if (!strcmp(word, "--") && (first || !verbatim)) {
            for (c->at++; c->at < c->argc; c->at++)
                gv_strv_add(&o->args, c->argv[c->at]);
            return 0;
        }
        if (verbatim || !is_option(word)) {
            gv_strv_add(&o->args, word);
            c->at++;
            continue;
        }
        int got = take_option(o, c, err);
        if (got)
            return got;
    }
    return 0;
}

static int take_defaults(struct exeunit_options *o, const struct cursor *c, struct gv_error *err)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const char *env = options[i].env ? getenv(options[i].env) : NULL, *value = env && *env ? env : options[i].fallback;
        if (c->given[i] || !value)
            continue;
        if (take_value(o, (enum id)i, value, err) < 0)
            return value == env ? gv_error_prefix(err, "the variable %s", options[i].env) : -1;
    }
    return 0;
}

int exeunit_options_parse(struct exeunit_options *o, int argc, char *const *argv, struct gv_error *err)
{
    struct cursor c = { .at = 1, .argc = argc, .argv = argv };
    const char *level = getenv("RUST_LOG");
    o->verbose = level && (strstr(level, "debug") || strstr(level, "trace"));
    int command = -1;
    while (c.at < argc && command < 0) {
        if (is_option(argv[c.at])) {
            int got = take_option(o, &c, err);
            if (got)
                return got < 0 ? -1 : 0;
            continue;
        }
        command = find_command(argv[c.at]);
        if (command < 0)
            return gv_error_set(err, GV_E_USAGE, 0, "there is no subcommand `%s`", argv[c.at]);
        c.at++;
    }
    if (command < 0)
        return gv_error_set(err, GV_E_USAGE, 0, "say what to do: deploy, start, offer-template or test");
    o->command = commands[command].command;
    int got = take_arguments(o, &c, commands[command].verbatim, err);
    if (got)
        return got < 0 ? -1 : 0;
    return take_defaults(o, &c, err);
}

void exeunit_options_clear(struct exeunit_options *o)
{
    free(o->workdir);
    gv_strv_clear(&o->packages);
    free(o->vpn_endpoint);
    free(o->inet_endpoint);
    gv_strv_clear(&o->dns);
    gv_strv_clear(&o->pci_devices);
    free(o->volume_override);
    free(o->hostname);
    gv_strv_clear(&o->args);
    *o = (struct exeunit_options){ 0 };
}
