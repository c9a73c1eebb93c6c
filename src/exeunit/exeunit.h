/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `exeunit`: the personality `ya-runtime-vm`, what an unmodified ExeUnit of a Golem provider drives. It reads the runtime's command line,
 * keeps the record of a deployment in the work directory, and serves the protobuf protocol while a VM runs. How a VM is run is the room `vm`'s
 * business.
 *
 *   options.c     the command line and its environment
 *   size.c        sizes as the ExeUnit writes them
 *   mounts.c      which volumes there are: the image's, and --volume-override
 *   deployment.c  deployment.json, and the lock on a work directory
 *   deploy.c      deploy: directories and what they begin with (seed.c), disk images (mkfs.c), the record, the answer
 *   pb.c, proto.c the protocol's bytes
 *   outbox.c      what waits for a reader on stdout, bounded
 *   server.c      start: the VM, the requests, and the one way to the end
 *   network.c     the endpoints of the VM's networks, and CreateNetwork, of which plan.c makes addresses and routes
 *   runs.c        the processes that were asked for, and their events
 *   counters.c    what a VM has used
 *   offer.c, selftest.c  what the host can serve
 *   client.c, dbg.c, prompt.c  the other side (client.h): a supervisor for people and scripts (`gvmkit dbg`)
 *
 * The life of a work directory. `deploy` makes what a deployment needs and writes the record last, so that there is a whole deployment or none;
 * `start` reads the record and nothing else. Both hold a lock on the directory, so that there is one of them at a time. A lock dies with its
 * holder; nothing has to be cleaned up after a crash or a restart of the host.
 */
#ifndef GV_EXEUNIT_H
#define GV_EXEUNIT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "vm/vm.h"

#define EXEUNIT_NAME "ya-runtime-vm"
/* What Hello, --version and the plugin's descriptor say: demands may ask for a version of the runtime, and this one does what the original's 0.5
 * does, and more. So it counts on from there, whatever the version of gvmkit. */
#define EXEUNIT_VERSION_TEXT "0.6.0"

enum exeunit_command {
    EXEUNIT_HELP,
    EXEUNIT_VERSION,
    EXEUNIT_DEPLOY,
    EXEUNIT_START,
    EXEUNIT_RUN,
    EXEUNIT_OFFER_TEMPLATE,
    EXEUNIT_TEST,
};

/* The command line. Zero-initialised is empty. */
struct exeunit_options {
    enum exeunit_command command;
    char *workdir; /* NULL = not given, as all texts here */
    struct gv_strv packages;
    unsigned cpus;
    uint64_t memory;  /* bytes, whole MiB */
    uint64_t storage; /* bytes */
    char *vpn_endpoint, *inet_endpoint;
    unsigned inet_mtu;
    struct gv_strv dns; /* addresses of the name servers of a VM with an INET */
    struct gv_strv pci_devices;
    char *volume_override;
    char *hostname;
    unsigned test_timeout_s, test_cpus;
    uint64_t test_memory;
    bool seed_volumes;
    bool original_cpu; /* offers count the CPU's family and model as the original does */
    enum vm_accel accel;
    bool require_jail;   /* as in vm_config */
    bool verbose;        /* RUST_LOG asks for debugging */
    struct gv_strv args; /* what follows the subcommand */
};

/* Reads argv[1..] and, for what it does not say, the environment. On wrong usage -1 (GV_E_USAGE); o is to be cleared in any case. */
int exeunit_options_parse(struct exeunit_options *o, int argc, char *const *argv, struct gv_error *err);
void exeunit_options_clear(struct exeunit_options *o);
/* The text of --help. */
const char *exeunit_help(void);

/* Deploys: on success the answer for stdout is in *answer, the caller's to free. A deployment that fails leaves what there was before. */
int exeunit_deploy(const struct exeunit_options *o, const struct gv_log *log, char **answer, struct gv_error *err);

/* Serves the deployment on stdin and stdout until shutdown, the end of stdin, a signal or the VM's end. Descriptor 1 becomes stderr, so that nothing but
 * frames can get to the supervisor. Returns what the process should exit with; not 0 when anything went wrong, of which err tells then. */
int exeunit_start(const struct exeunit_options *o, const struct gv_log *log, struct gv_error *err);

/* Boots a VM of the test's size and lets it try everything that a payload needs: CPUs, memory, writes to the root and to a volume, output, and an
 * ordered end, within o->test_timeout_s. On success *result is what the guest has found, as JSON, the caller's to free. */
int exeunit_test(const struct exeunit_options *o, const struct gv_log *log, char **result, struct gv_error *err);

/* The offer of a host that has passed exeunit_test(), as JSON, the caller's to free. */
char *exeunit_offer(const struct exeunit_options *o) __attribute__((returns_nonnull));

/* Whether VMs may run here: KVM works, or the operator has allowed emulation (GVMKIT_ALLOW_TCG=1). On success *accel is what to start them with. */
int exeunit_accel(enum vm_accel wanted, enum vm_accel *accel, struct gv_error *err);
/* After vm_start() has failed: adds to *err what the operator may do when it is because there is no KVM. Returns -1. */
int exeunit_accel_hint(enum vm_accel wanted, enum vm_accel accel, struct gv_error *err);

/* "1073.7 MB", "512 MiB", "10g", "4096": bytes. Units are powers of 1000, those with an `i` powers of 1024. *slack is how far the true size may be below
 * it, because the writer has rounded: half a unit of the last digit after the point; may be NULL. */
int exeunit_size(const char *text, uint64_t *bytes, uint64_t *slack, struct gv_error *err);

/* ---- the debug client ------------------------------------------------------------------------------------------------------------ */

struct exeunit_dbg_options {
    const char *runtime, *workdir; /* absolute paths */
    const char *task_package;      /* NULL = none */
    const char *protocol;          /* the version that Hello says */
    const char *shell;             /* each line is given to /bin/SHELL -c */
    bool exec_mode;                /* or is split into words, the first being the program */
    bool no_deploy;
    bool no_history; /* lines typed at a terminal are not remembered */
    struct gv_strv runtime_options, deploy_args, start_args;
    const char *transcript; /* a file for a JSON object a line; NULL = none */
    const struct gv_log *log;
};

/* Deploys, starts, runs each line of stdin, shuts down. *status is that of the last command as a shell would have it; 1 instead of 0 when the runtime has
 * broken the protocol; 125 when this fails itself (then -1). */
int exeunit_dbg(const struct exeunit_dbg_options *o, int *status, struct gv_error *err);

/* Splits a line into words as a shell does: quotes and backslashes, and nothing else. */
int exeunit_words(const char *line, struct gv_strv *words, struct gv_error *err);

#endif
