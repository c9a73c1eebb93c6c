/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `session`: one VM and its main command, what `gvmkit run` and `gvmkit shell` are, on this terminal or detached from it; in a VM with a
 * name more commands can be run, and session_exec() is how. It joins the image's configuration
 * with the user's wishes as Docker does, makes the directories of the volumes, moves bytes between the terminal and the guest without
 * losing or hoarding any, passes signals on, and comes back with the command's status when nothing of the VM is left.
 */
#ifndef GV_SESSION_H
#define GV_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "gvmi/gvmi.h"
#include "image/image.h"
#include "vm/vm.h"
#include "vms/vms.h"

struct session_bind {
    char *host;  /* a directory */
    char *guest; /* an absolute path */
    bool readonly;
};

/* A user-space network: nothing gets out but what `allow` names. The texts are those of usernet/rules.h. */
struct session_network {
    struct gv_strv allow, publish;
    struct gv_strv dns; /* empty = the host's resolvers */
};

/* A VM that others can speak to. */
struct session_named {
    struct vms_entry *entry;     /* session_run() ends it. What is detached leaves a record and a log */
    const char *image, *hash;    /* for the record: as the user wrote it; hex, or NULL */
    int stop_signal;             /* what asks the command to end */
    bool detached;               /* output goes to the entry's log */
    int launcher;                /* when its other end closes before the command has started, the VM ends; -1 = none */
    void (*started)(void *user); /* the command runs; may be NULL */
    void *user;
};

struct session_options {
    const char *image;                 /* path of a .gvmi */
    const struct image_config *config; /* its configuration */

    char *const *args;         /* replaces Cmd; NULL-terminated, NULL or empty = Cmd */
    const char *entrypoint;    /* replaces Entrypoint (and drops Cmd), "" = none; NULL = the image's */
    const struct gv_strv *env; /* NAME=value, on top of the image's; NULL = none */
    const char *workdir;       /* NULL = the image's */
    const char *user;          /* NULL = the image's */
    const struct session_bind *binds;
    size_t bind_count;
    struct gvmi_image *seed;               /* the image, when its VOLUMEs begin with what it holds there; NULL = they are empty */
    const char *hostname;                  /* NULL = "gvmkit" */
    const struct session_network *network; /* NULL = none */
    const struct session_named *named;     /* NULL = nobody but us can reach it */

    bool interactive; /* our stdin is the command's */
    bool tty;

    enum vm_accel accel;
    unsigned cpus;       /* 0 = 1 */
    uint64_t memory;     /* bytes, 0 = the default */
    uint64_t root_size;  /* bytes, 0 = the default */
    unsigned timeout_ms; /* for the command; 0 = none. When it passes the command gets SIGTERM, a little later the VM ends */
    bool require_jail;   /* as in vm_config */
    bool debug;          /* the guest's console on stderr */
    const struct gv_log *log;
};

/* What the outcome of a session is for a shell, as `docker run` and timeout(1) have it. */
enum {
    SESSION_TIMED_OUT = 124,
    SESSION_FAILED = 125,         /* gvmkit itself could not do it; err says why */
    SESSION_NOT_EXECUTABLE = 126, /* err says why */
    SESSION_NOT_FOUND = 127,      /* err says what */
    SESSION_SIGNAL = 128,         /* + signal number */
};

/*
 * Runs the command and waits for its end and the VM's. *status is what the process of the user's shell should exit with. Returns -1 with err set
 * for the statuses 124..127 of the table above that are not the command's own.
 */
int session_run(const struct session_options *options, int *status, struct gv_error *err);

/* A command in a VM that runs already. */
struct session_exec {
    char *const *args;          /* NULL-terminated, not empty */
    const struct gv_strv *env;  /* NAME=value, on top of the main command's; NULL = none */
    const char *workdir, *user; /* NULL = the main command's */
    bool interactive, tty;
};

/* Runs it on this terminal and waits for its end. As session_run() tells. */
int session_exec(const char *name, const struct session_exec *exec, int *status, struct gv_error *err);

/* The status for a command that could not be run: 125, 126 or 127. */
int session_failure(const struct gv_error *why);

/* The program, environment and directory that session_run would use, for tests and for printing: argv and env are filled (empty on entry). */
int session_compose(const struct session_options *options, struct gv_strv *argv, struct gv_strv *env, struct gv_error *err);

#endif
