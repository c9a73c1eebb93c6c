/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `jail`: programs that read what hostile people send (QEMU, the network helper) run with as little of the host as they need.
 *
 *     caller --clone with namespaces--> child --exec--> gvmkit-jail --exec--> the program
 *
 * It is one process all the way: the pid that jail_start() returns is the program's. gvmkit-jail, a small program of its own (main.c, view.c,
 * filter.c), builds the root, takes away what can be taken away, and becomes the program.
 *
 * How to use it:
 *
 *     const struct jail_spec spec = { .profile = JAIL_PROFILE_NET,
 *                                     .measures = JAIL_ALL & ~JAIL_BIT(JAIL_NET), // it shall have the host's network
 *                                     .argv = argv,                               // argv[0]: absolute path of the program
 *                                     .files = (const char *const[]){ "/etc/resolv.conf", "/etc/hosts", NULL },
 *                                     .keep = fds, .keep_count = 2,               // the program has them under the same numbers
 *                                     .own_session = true,                        // Ctrl-C is not for it
 *                                     .stdio = { -1, -1, log_fd } };              // -1: /dev/null
 *     CLEANUP(jail) struct jail *jail = NULL;
 *     struct jail_result result;
 *     if (jail_new(&jail, &spec, err) < 0)
 *         return -1;
 *     if (jail_start(jail, &result) < 0)
 *         return jail_explain(jail, &result, err);
 *     jail_complain(&result, log); // a note, when something could not be set up
 *
 * result.pid is a child of ours, to be waited for. It gets SIGKILL when the thread that called jail_start() ends.
 *
 * What the program finds: the libraries of the host and itself, the files of the spec, /dev/null and /dev/urandom, the devices of the spec,
 * /proc/self/fd, each at the path it has on the host, read-only; nothing else: no /tmp, no /etc, no other /proc. A directory that is handed
 * over as a descriptor (spec.shares) is a mount of its own: `..` does not lead out of it. The program is the first process of its PID
 * namespace, with the ids it would have without. Descriptors are those of keep, of shares and 0 to 2.
 *
 * What the host refuses is told in the result, measure by measure, and the rest is done all the same; with spec.required the program is not
 * started.
 */
#ifndef GV_JAIL_H
#define GV_JAIL_H

#include <stdbool.h>
#include <sys/types.h>

#include "core/core.h"

enum jail_measure {
    JAIL_USER, /* the six kinds of namespaces */
    JAIL_MOUNT,
    JAIL_PID,
    JAIL_NET, /* without an interface that is up, loopback neither */
    JAIL_IPC,
    JAIL_UTS,
    JAIL_ROOT,         /* a root of its own with nothing but what is listed; needs JAIL_MOUNT */
    JAIL_CAPABILITIES, /* none, but those of spec.foreign_files; none can come back */
    JAIL_PRIVILEGES,   /* no_new_privs */
    JAIL_SECCOMP,      /* the list of system calls of the profile (filter.c) */
    JAIL_LIMITS,       /* no core dumps, no locked memory, and what the profile has */
    JAIL_MEASURES
};
#define JAIL_BIT(m) (1U << (m))
#define JAIL_ALL (JAIL_BIT(JAIL_MEASURES) - 1)

/* Which system calls are allowed, and which limits hold. */
enum jail_profile {
    JAIL_PROFILE_QEMU, /* no sockets, no programs: it talks through descriptors that it has */
    JAIL_PROFILE_NET,  /* a single program for TCP, UDP and ICMP sockets; opens files for reading only */
};

/* A directory that the program uses through a descriptor. */
struct jail_share {
    int fd;
    bool readonly;
};

struct jail_spec {
    enum jail_profile profile;
    unsigned measures;                     /* JAIL_BIT()s: JAIL_ALL, or less for a program that needs more */
    bool required;                         /* every one of measures, or the program does not run */
    const char *const *argv, *const *envp; /* NULL-terminated; argv[0] is an absolute path. envp NULL = empty */
    const char *const
        *files; /* NULL-terminated absolute paths of files and directories to be read; NULL = none. What does not exist is left out */
    const char *const *devices; /* the same for device nodes, to be opened for reading and writing */
    const int *keep;            /* descriptors above 2 that the program gets under their numbers */
    size_t keep_count;
    const struct jail_share *shares; /* the same for directories */
    size_t share_count;
    bool
        foreign_files; /* root's program may use files of other owners in its shares (CAP_DAC_OVERRIDE, CAP_FOWNER); an ordinary user's may not anyway */
    bool own_session; /* setsid(): signals of our terminal do not reach it */
    bool lock_memory; /* memory may be locked, as far as we may (devices of the host that a VM gets) */
    int stdio[3];     /* descriptors above 2 for 0, 1 and 2; -1 = /dev/null */
};

struct jail;

/* Whether the operator demands complete jails, with a variable GVMKIT_REQUIRE_JAIL that is not empty and not 0. jail_new() then takes spec.required
 * for set. */
bool jail_demanded(void);

/* Everything that needs memory or files is done here. The spec's strings and arrays are not needed after it; its descriptors are, until jail_start().
 * GV_E_NOT_FOUND when gvmkit-jail is not installed. */
int jail_new(struct jail **out, const struct jail_spec *spec, struct gv_error *err);
void jail_free(struct jail *j);
DEFINE_CLEANUP(jail, struct jail *, jail_free)

struct jail_result {
    pid_t pid;                  /* the program's, or -1 */
    int exec_errno;             /* why the program (or, then started is false, gvmkit-jail) could not be executed */
    bool started;               /* gvmkit-jail ran */
    int refused[JAIL_MEASURES]; /* errno of what was asked for and could not be set up, else 0 */
};

/* Starts the program and returns when it has been executed (0) or has not (-1, jail_explain() says why; nothing is left to be waited for).
 * Uses system calls only, so that a fork of a process with threads may call it. The caller closes its own copies of the descriptors. */
int jail_start(const struct jail *j, struct jail_result *result);
/* Sets err to why jail_start() failed. Returns -1. */
int jail_explain(const struct jail *j, const struct jail_result *result, struct gv_error *err);
/* Says in a note what could not be set up; nothing when all is well. */
void jail_complain(const struct jail_result *result, const struct gv_log *log);

/* "user namespace", "root", ... and how to mend it when it was refused with this errno; never NULL. */
const char *jail_measure_name(enum jail_measure m);
const char *jail_measure_remedy(enum jail_measure m, int refused);

/* Tries all of it with a program that ends at once. -1 when it cannot even be tried. */
int jail_try(struct jail_result *result, struct gv_error *err);

/* For forks that go on without exec: closes everything above 2 but the n descriptors in keep, which are sorted. System calls only. */
void jail_close_all_but(const int *keep, size_t n);
/* And sets every signal to its default, the two that glibc hides as well: GNU make has its children ignore these. */
void jail_reset_signals(void);

/* Finds a program of gvmkit's own that is not in PATH ("gvmkit-jail"): the variable env when it is set (for a build tree), the places beside
 * our executable, the place of installation. The path is the caller's to free. */
int jail_find_program(const char *name, const char *env, char **path, struct gv_error *err);

#endif
