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
    VMS_KILL, /* a signal to the main command. SIGKILL ends the VM, too, if the guest does not */
};

/* What is asked. Only the fields of the op are looked at; strings are bytes without meaning here. */
struct vms_request {
    enum vms_op op;
    /* EXEC, BUILTIN */
    const char *const *argv; /* NULL-terminated, not empty */
    unsigned builtin;        /* BUILTIN: which, as in vm_process_spec */
    const char *const *env;  /* EXEC: NAME=value on top of the main command's; NULL = none */
    const char *cwd, *user;  /* EXEC: NULL = the main command's */
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

/* ---- being called (server.c) ------------------------------------------------------------------------------------------------------ */

struct vms_server;
struct vms_conn; /* one caller and his request */

/* All run inside the loop. A callback may answer at once. */
struct vms_server_events {
    /* Texts and arrays of request live until c is answered for good, or gone. Of the descriptors (-1 when the op has none) the callee keeps those that
     * it sets to -1, which are then its own to close. */
    void (*request)(void *user, struct vms_conn *c, const struct vms_request *request, int fds[3]);
    void (*signal)(void *user, struct vms_conn *c, int signal);
    void (*resize)(void *user, struct vms_conn *c, uint16_t rows, uint16_t columns);
    /* The caller has gone away, or has said what he must not, before he was answered. c is gone after it. */
    void (*gone)(void *user, struct vms_conn *c);
};

enum vms_answer_kind { VMS_STARTED, VMS_EXITED, VMS_SIGNALLED, VMS_FAILED, VMS_DONE, VMS_STATS_ARE };
struct vms_answer {
    enum vms_answer_kind kind;
    int status;            /* EXITED, SIGNALLED */
    struct gv_error error; /* FAILED */
    struct vms_stats stats;
};

/* Listens as `socket` in the directory. */
int vms_server_open(struct vms_server **out, uv_loop_t *loop, int dir, const struct vms_server_events *events, void *user,
                    struct gv_error *err);
/* Hangs up on all callers, without a word to `gone`; the memory goes when the loop has closed the handles. NULL is fine. */
void vms_server_close(struct vms_server *s);
/* All but STARTED end c. A caller who does not take his answer is hung up on; after STARTED that is told by `gone`, as ever. */
void vms_conn_answer(struct vms_conn *c, const struct vms_answer *answer);
/* The callee's own word about c. NULL in the beginning. */
void vms_conn_set(struct vms_conn *c, void *data);
void *vms_conn_get(const struct vms_conn *c);
const struct vms_request *vms_conn_request(const struct vms_conn *c);

/* ---- records (record.c, entry.c) -------------------------------------------------------------------------------------------------- */

enum vms_state { VMS_STARTING, VMS_RUNNING, VMS_ENDED, VMS_DIED /* the owner was ended before it could say more */ };

struct vms_volume {
    char *host, *guest;
    bool readonly;
};

/* What is known of a VM. Zero is a valid, empty one. Texts that are not UTF-8 come back changed. */
struct vms_record {
    char *name;
    char *image, *hash; /* as the user wrote it; hex of the hash, or NULL */
    struct gv_strv argv;
    struct gv_strv ports; /* as for -p */
    struct vms_volume *volumes;
    size_t volume_count;
    enum vms_state state;
    bool detached;
    int status;                               /* ENDED: what `gvmkit run` exits with */
    char *error;                              /* what went wrong, or NULL */
    pid_t owner, qemu;                        /* 0 = none */
    int64_t created_ms, started_ms, ended_ms; /* since 1970; 0 = not yet */
};
void vms_record_clear(struct vms_record *r);
static inline void gv_cleanup_vms_record_fn(struct vms_record *r)
{
    vms_record_clear(r);
}
#define cleanup_vms_record __attribute__((cleanup(gv_cleanup_vms_record_fn)))

/* The record as a line of JSON, the caller's to free. */
char *vms_record_format(const struct vms_record *r) __attribute__((returns_nonnull));
/* Reads n bytes of JSON into *r, which is empty. */
int vms_record_parse(struct vms_record *r, const char *json, size_t n, struct gv_error *err);

/* "running", "died", ... */
const char *vms_state_text(enum vms_state state);
int64_t vms_now_ms(void);

int vms_name_check(const char *name, struct gv_error *err);

/* The owner's side: a name that is ours as long as we live. */
struct vms_entry;
/* Takes the name (NULL = one is made up), in place of a VM of that name that has ended; removes the oldest records when there are too many. GV_E_EXISTS: one
 * runs. The lock ends with the last process that has it: fork without exec keeps it. */
int vms_entry_open(struct vms_entry **out, const char *name, struct gv_error *err);
const char *vms_entry_name(const struct vms_entry *e);
int vms_entry_dir(const struct vms_entry *e);
int vms_entry_write(struct vms_entry *e, const struct vms_record *r, struct gv_error *err);
/* The end: tells those who wait the status, removes all of it unless keep, and gives the name back. Frees e. */
void vms_entry_end(struct vms_entry *e, int status, bool keep);
/* Our copy of e goes; another process has it. NULL is fine. */
void vms_entry_forget(struct vms_entry *e);

/* Everybody's side. */
/* GV_E_NOT_FOUND with what to try. */
int vms_find(struct vms_record *r, const char *name, struct gv_error *err);
/* All, those that run before those that have ended, the newest first. *list is the caller's: vms_list_free(). */
int vms_list(struct vms_record **list, size_t *count, struct gv_error *err);
void vms_list_free(struct vms_record *list, size_t count);
/* Waits until it has ended; the status is as vms_entry_end() was told. GV_E_DIED: nobody knows. */
int vms_wait(const char *name, int *status, struct gv_error *err);

/* ---- logs (log.c) ----------------------------------------------------------------------------------------------------------------- */

struct vms_log;
int vms_log_open(struct vms_log **out, int dir, struct gv_error *err);
/* What cannot be written is counted, and said in the log when it can be again. */
void vms_log_write(struct vms_log *l, int stream, const void *data, size_t n);
void vms_log_close(struct vms_log *l);

struct vms_log_options {
    uint64_t tail; /* the last so many lines; UINT64_MAX = all */
    bool follow;   /* until the VM ends */
    bool timestamps;
};
/* Gives what the log of `name` holds to put(), which returns -1 with err set when it has enough. */
int vms_log_read(const char *name, const struct vms_log_options *options,
                 int (*put)(void *user, int stream, const void *data, size_t n, struct gv_error *err), void *user, struct gv_error *err);

#endif
