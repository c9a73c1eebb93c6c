/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `vms`: virtual machines by their names. It has the records of those that run and of the last ones that ended, the logs of detached ones, and
 * both ends of the socket by which a running one is spoken to. It knows no VM: what a request means is its owner's business (room `session`).
 *
 * gv_state_dir()/vms/NAME/ holds
 *
 *   lock         locked by the owner as long as it lives. Whether a VM runs is decided by this lock alone, so that after SIGKILL or a
 *                restart of the host there is nothing to mend
 *   json         the record, written whole
 *   log, log.1   the output of a detached command (log.c)
 *   socket       where the owner listens (protocol.c)
 *
 * Names are made, replaced and removed under vms/.lock.
 */
#ifndef GV_VMS_H
#define GV_VMS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "core/core.h"

#define VMS_NAME_MAX 63U
#define VMS_ENDED_MAX 20U       /* so many records of VMs that ended are kept */
#define VMS_LOG_MAX (16U << 20) /* bytes of one of the two files of a log */
#define VMS_LINE_MAX (2U << 20) /* bytes of a line on the socket: as much as the guest takes in arguments, with its escapes */
#define VMS_CONNECTIONS_MAX 64U /* to one VM at once */
#define VMS_ARGS_MAX 65536U     /* words of a command or of an environment */

/* ---- calling a running VM (call.c) ------------------------------------------------------------------------------------------------ */

enum vms_op {
    VMS_EXEC,    /* a program in the guest */
    VMS_BUILTIN, /* a builtin of the agent, likewise */
    VMS_STATS,
    VMS_STOP, /* the stop signal to the main command, the VM's end after grace_ms. Answered at once: vms_wait() waits */
    VMS_KILL, /* a signal to the main command's process group. SIGKILL ends the VM, too, if the guest does not */
};

/* What is asked. Only the fields of the op are looked at; strings are bytes without meaning here. */
struct vms_request {
    enum vms_op op;
    /* EXEC, BUILTIN */
    const char *const *argv; /* NULL-terminated. BUILTIN: what vm_process_spec takes */
    const char *path;        /* BUILTIN: its path; NULL = none */
    unsigned builtin;        /* BUILTIN: as in vm_process_spec */
    const char *const *env;  /* NAME=value on top of the main command's; NULL = none */
    const char *cwd, *user;  /* NULL = the main command's */
    bool stdin_open, tty;
    uint16_t rows, columns;
    unsigned grace_ms; /* STOP */
    int signal;        /* KILL */
};

/* What a VM costs. Times are the host's. */
struct vms_stats {
    uint64_t at_ms;                   /* when this was taken, of a clock that only goes on */
    uint64_t cpu_ms;                  /* used by QEMU since its start */
    uint64_t memory;                  /* bytes of QEMU in the host's memory */
    uint64_t guest_total, guest_used; /* bytes of memory, as the guest sees it */
    uint64_t processes;               /* in the guest, without threads of its kernel */
    uint64_t cpus;
};

/* How a request ended. */
struct vms_outcome {
    bool signalled; /* EXEC, BUILTIN: status is a signal's number */
    int status;     /* exit status */
    struct vms_stats stats;
};

/* A request on its way. */
struct vms_call;

/*
 * Asks the running VM `name`. fds: stdin, stdout and stderr of the program for EXEC and BUILTIN, -1 = /dev/null, NULL = all of them; copies go to the owner, so
 * that whoever waits for the end of a pipe closes his own writing end after this call. Returns when the request is sent.
 * GV_E_NOT_FOUND: there is no such VM, or it does not run.
 */
int vms_call_start(struct vms_call **out, const char *name, const struct vms_request *request, const int *fds, struct gv_error *err);
/*
 * Waits for the end, and ends c (also on failure). The output is written then. GV_E_GUEST: the program could not be started, err->sys says why (ENOENT, EACCES, ...).
 * GV_E_DIED: the VM has ended before.
 */
int vms_call_wait(struct vms_call *c, struct vms_outcome *out, struct gv_error *err);
/* For those who have more to wait for: the descriptor to poll for reading, and what to do then. 1: it has ended, and *out or *err say how, as in
 * vms_call_wait(), but c is the caller's; 0: not yet; -1: it has failed. */
int vms_call_fd(const struct vms_call *c);
int vms_call_read(struct vms_call *c, struct vms_outcome *out, struct gv_error *err);
/* The program has a signal, or a terminal of a new size. Errors show in the end. */
void vms_call_signal(struct vms_call *c, int signal);
void vms_call_resize(struct vms_call *c, uint16_t rows, uint16_t columns);
/* Frees c. A program that still runs gets SIGHUP, and SIGKILL ten seconds later. The descriptors given to vms_call_start() are as blocking as they were. NULL is fine. */
void vms_call_close(struct vms_call *c);
DEFINE_CLEANUP(vms_call, struct vms_call *, vms_call_close)

/* All in one: asks, and waits. */
int vms_call(const char *name, const struct vms_request *request, const int *fds, struct vms_outcome *out, struct gv_error *err);

#endif
