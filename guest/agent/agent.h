/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The guest agent: PID 1 of the virtual machine, and what the host talks to (src/wire/wire.h). One thread, one epoll loop.
 *
 *     main.c      boot, then the loop                     spawn.c    from a RUN to execve, and the program's identity
 *     boot.c      the agent's own world, the port         user.c     /etc/passwd and /etc/group of the image
 *     loop.c      epoll, watches, what is freed late      root.c     ROOT: the disks and the payload's world
 *     channel.c   bytes of the port <-> frames            payload.c  PID 1 of the payload: builds the root from inside, then reaps
 *     request.c   frames -> fields -> the verbs           files.c    paths and files inside an image that may be hostile
 *     process.c   the table of processes, their ends      volume.c   MOUNT
 *     stream.c    pipes, terminals and credit             net.c      NET, over rtnetlink
 *     job.c       work in a child that may hang           system.c   CLOCK, STATS, SYNC
 *     field.c     fields of a request -> a struct         hosts.c    HOSTS
 *     builtin.c, pack.c, unpack.c, tar.c                  shutdown.c the orderly end
 *         files in and out, without a program of the image
 *
 * Two worlds. The agent lives in the first: a tmpfs of its own, its own mounts, the initial PID namespace. The payload lives in the
 * second: mount, PID, IPC and UTS namespaces of its own, whose root is the overlay. The agent never resolves a path of the payload's
 * world by itself: whatever looks at one runs in a child that has entered that world first, so that a symbolic link leads where it would
 * lead for the payload, and a file system that hangs (FUSE) hangs only that child.
 *
 * Trust. The host may say anything: that costs an errno, or the virtual machine when the frames themselves are broken, never memory
 * safety or memory without bound. The payload is hostile root: it reaches the agent only through pipes, terminals, exit statuses and the
 * files that children read.
 */
#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

#include "core/cleanup.h"
#include "wire/wire.h"

#ifndef AGENT_VERSION
#define AGENT_VERSION "unknown"
#endif

#define PAYLOAD_END SIGUSR1                      /* asks PID 1 of the payload to end when nobody is left */
#define AGENT_PROCESSES_MAX 4096U                /* known processes, and pipes kept open for their background children */
#define AGENT_JOBS_MAX 64U                       /* requests being worked on in children */
#define AGENT_BUCKETS 256U                       /* of the two hash tables of processes */
#define AGENT_FRAME_MAX 32768U                   /* what virtio_console takes in one write */
#define AGENT_OUT_SIZE (32 * AGENT_FRAME_MAX)    /* what is collected before it is written */
#define AGENT_INPUT_MAX WIRE_CREDIT_START        /* bytes of stdin held for one process */
#define AGENT_GRANT_STEP (WIRE_CREDIT_START / 4) /* credit is given back in steps of this many bytes */
#define AGENT_QUEUE_STALL 65536U                 /* with so many bytes of answers waiting, no more requests are read */
#define AGENT_PIPE_SIZE 1048576                  /* of a pipe that has been seen full */
#define AGENT_PATH_MAX 4096U
#define AGENT_PAGE 4096

#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

struct agent;
struct process;

/* What a child, or a function, has to say: error is an errno, 0 when all went well. Children write it as it is into a pipe. */
struct report {
    int32_t error;
    char text[252];
};

/* Sets it and returns -1. */
__attribute__((format(printf, 3, 4))) int report_set(struct report *r, int error, const char *format, ...);
/* Reads a report. 1: *r is filled; 0: the other end is closed and has said nothing; -1: not yet. The text is cut and made printable. */
int report_read(int fd, struct report *r);

/* ---- loop.c ---------------------------------------------------------------------------------------------------------------------- */

/* A descriptor that the loop waits for. fd is -1 when it is closed. */
struct watch {
    int fd;
    void (*ready)(struct agent *a, struct watch *w, uint32_t events);
};

/* The head of everything that a callback of this turn may still be about to touch: it is freed when the turn is over. */
struct late {
    struct late *next;
};

int watch_open(struct agent *a, struct watch *w, int fd, uint32_t events, void (*ready)(struct agent *, struct watch *, uint32_t));
void watch_change(struct agent *a, struct watch *w, uint32_t events);
/* Forgets and closes it; nothing happens when it is closed already. */
void watch_close(struct agent *a, struct watch *w);
/* Like watch_close, but the descriptor stays open and is returned. */
int watch_steal(struct agent *a, struct watch *w);
/* Frees the object, whose first member is l, at the end of the turn. */
void late_free(struct agent *a, struct late *l);

/* Waits for something to do, and does it. */
void agent_turn(struct agent *a);
/* Runs until a->over. */
void agent_loop(struct agent *a);

/* ---- channel.c ------------------------------------------------------------------------------------------------------------------- */

struct channel {
    struct watch watch;
    bool readable, writable; /* as far as is known: the watch is edge-triggered */
    bool greeted;            /* the host has chosen a version */
    bool broken;             /* frames cannot be found any more */
    bool absent;             /* the host's end is closed, before it has greeted */
    uint8_t *in;             /* bytes that are not a whole frame yet */
    size_t in_have, in_size;
    uint8_t *queue; /* answers and notes, whole frames in order */
    size_t queue_at, queue_have, queue_size;
    size_t out_at, out_have, out_most;                                /* out_most: how far it has been filled */
    uint8_t out[AGENT_OUT_SIZE] __attribute__((aligned(AGENT_PAGE))); /* on its way into the port */
};

/* Takes the port and says HELLO. */
int channel_open(struct agent *a, int fd);
void channel_answer(struct agent *a, uint64_t id, const struct report *r);
/* Like channel_answer with what w, begun by the caller, holds besides. */
void channel_answer_with(struct agent *a, uint64_t id, struct wire_writer *w);
__attribute__((format(printf, 2, 3))) void channel_note(struct agent *a, const char *format, ...);
/* Reads and handles what has come, and writes what there is to say: a bounded amount each. */
void channel_turn(struct agent *a);
/* Gives back memory that only much output needs: before a fork, which would copy its page tables. */
void channel_trim(struct agent *a);
/* There is work to do without waiting. */
bool channel_busy(const struct agent *a);
/* Everything said so far has gone into the port. */
bool channel_empty(const struct agent *a);

/* ---- request.c ------------------------------------------------------------------------------------------------------------------- */

/* Handles one frame. -1 when the host breaks the protocol in a way that cannot be answered; *why then says how. */
int request_handle(struct agent *a, const struct wire_header *h, const uint8_t *payload, const char **why);

/* ---- field.c --------------------------------------------------------------------------------------------------------------------- */

struct text_list {
    const char **v; /* NULL after the last */
    size_t n;
};
struct number_list {
    uint64_t *v;
    size_t n;
};
struct bytes {
    const uint8_t *p;
    size_t n;
};

enum field_kind { FIELD_NUMBER, FIELD_TEXT, FIELD_BYTES, FIELD_TEXTS, FIELD_NUMBERS };

struct field_spec {
    uint16_t key;
    uint8_t kind; /* enum field_kind: uint64_t, const char *, struct bytes, struct text_list, struct number_list */
    bool needed;
    uint16_t offset; /* where the value goes */
    uint64_t max;    /* of a number; bytes of a text, each text, or bytes; 0 = no limit but the frame's */
};
#define FIELD(type, member, key, kind, needed, max)                                                                                        \
    {                                                                                                                                      \
        key, kind, needed, offsetof(type, member), max                                                                                     \
    }

/*
 * Fills the struct at out, whose members hold their defaults, with the fields of a payload. Unknown keys are skipped; a key that is not
 * a list may come only once; a text must not contain a NUL. *memory holds the values, also those of out, and is the caller's to free.
 * On error -1, *memory is NULL and r says which key and why (EINVAL, EPROTO for a payload that is not a list of fields, ENOMEM).
 */
int fields_read(void **memory, void *out, const struct field_spec *specs, size_t count, const uint8_t *payload, size_t n, struct report *r);

/* ---- job.c ----------------------------------------------------------------------------------------------------------------------- */

/* The reading end of the pipe through which a child reports. */
struct job {
    struct late late;
    struct watch watch;
    uint64_t id; /* of the request */
    void (*done)(struct agent *a, uint64_t id, const struct report *r);
};

/* The work of a child: it may enter the payload's world, hang, or die. r->error is 0 on entry. */
typedef void job_function(struct agent *a, void *arguments, struct report *r);

/* Does it in a child; the request is answered when the child has reported. On failure the request is answered at once. */
void job_start(struct agent *a, uint64_t id, job_function *work, void *arguments);
/* Waits for the report of a child that exists already; takes the descriptor. done is called once, unless -1 (no memory) is returned. */
int job_watch(struct agent *a, uint64_t id, int fd, void (*done)(struct agent *, uint64_t, const struct report *));

/* ---- process.c, stream.c --------------------------------------------------------------------------------------------------------- */

/* One way out of a process: what it writes. */
struct output {
    struct watch watch;
    struct process *owner;
    uint64_t credit; /* bytes that the host still takes */
    uint64_t tail;   /* once the process is dead: bytes it wrote that are still to be sent */
    uint8_t stream;
    bool readable, grown;
};

/* The way in. */
struct input {
    struct watch watch;
    uint64_t credit; /* bytes that the host may still send */
    uint64_t grant;  /* bytes passed on that the host has not been told of */
    uint8_t *held;   /* what the process has not taken yet */
    size_t at, have, size;
    bool writable, closing, gone, gone_due;
};

enum process_state {
    PROCESS_STARTING, /* execve has neither succeeded nor failed yet */
    PROCESS_RUNNING,
    PROCESS_DEAD,   /* reaped; its last bytes and EXIT are still to be sent */
    PROCESS_FAILED, /* could not be started, and that has been answered; to be reaped */
    PROCESS_GONE,   /* forgotten; freed when the turn is over */
};

struct process {
    struct late late;
    struct process *next_by_id, *next_by_pid;
    struct process *next_ready, *previous_ready;
    bool queued;
    bool terminal;
    bool turn; /* which of the outputs was read last */
    uint64_t id;
    pid_t pid;
    enum process_state state;
    int status; /* as wait4 gives it */
    struct rusage usage;
    struct watch start; /* the report of the child that becomes the program */
    struct input input;
    struct output output[2];
};

struct process_table {
    struct process *by_id[AGENT_BUCKETS], *by_pid[AGENT_BUCKETS];
    struct process *first_ready, *last_ready; /* those that have something to say, in the order of their turns */
    struct process *gone;                     /* by next_by_id: those whose pipes are still to be closed */
    unsigned count, alive, drains;
};

/* The ends of the pipes (or of the terminal) that stay with the agent; -1 where there is none. */
struct spawn_ends {
    int report, input, output[2];
};

struct process *process_find(struct agent *a, uint64_t id);
/* Adds a process that has been forked. Takes the descriptors in any case. -1: no memory. */
int process_add(struct agent *a, uint64_t id, pid_t pid, bool terminal, struct spawn_ends *ends);
/* Closes what belonged to processes that are gone. */
void process_turn(struct agent *a);
/* Reaps every dead child: of processes, of jobs, the payload's PID 1. */
void process_reap(struct agent *a);
/* Puts it into the queue of those with something to say, if it has something to say. */
void process_wake(struct agent *a, struct process *p);
/* Writes frames of the next process in the queue into buf; returns their size, 0 when nobody has anything to say. */
size_t process_say(struct agent *a, uint8_t *buf, size_t room);
/* No process that RUN has started is known any more. */
bool process_none(const struct agent *a);
/* Of those known none is alive, though some may still have something to say. */
bool process_dead(const struct agent *a);
int process_signal(struct agent *a, uint64_t id, int signal, bool group, struct report *r);
int process_resize(struct agent *a, uint64_t id, uint16_t rows, uint16_t columns, struct report *r);

int stream_open(struct agent *a, struct process *p, struct spawn_ends *ends);
/* Everything of it is closed; a pipe that others may still write into is read and thrown away until they have gone. */
void stream_close(struct agent *a, struct process *p);
/* The process is dead: what is in the pipes now is the last of it. */
void stream_last(struct agent *a, struct process *p);
/* n bytes for stdin. -1: more than the credit allows. */
int stream_input(struct agent *a, struct process *p, const uint8_t *data, size_t n);
void stream_input_close(struct agent *a, struct process *p);
/* -1: the sum does not fit. */
int stream_credit(struct agent *a, struct process *p, uint64_t stream, uint64_t count);
/* The stream has bytes that may be sent. */
bool stream_sayable(const struct process *p, unsigned i);
/* Appends DATA frames, together at most room bytes; 0 when there turns out to be nothing. */
size_t stream_say(struct agent *a, struct process *p, unsigned i, uint8_t *buf, size_t room);
/* Everything a dead process wrote has been sent. */
bool stream_done(const struct process *p);

/* ---- spawn.c --------------------------------------------------------------------------------------------------------------------- */

struct run {
    struct text_list argv, env, rlimits;
    struct number_list groups;
    const char *path, *cwd, *user;
    uint64_t cwd_create, input, terminal, rows, columns, default_env, builtin;
};

/* Starts a program in the payload's world. 0 and the child's pid and the agent's ends; -1 and the reason. */
int spawn_run(struct agent *a, const struct run *run, pid_t *pid, struct spawn_ends *ends, struct report *r);

/*
 * Runs child() in a new process that is the agent's own child but lives in the payload's namespaces (or, with fresh, becomes PID 1 of a
 * new PID namespace), with fd[i] as descriptor i and nothing else open. Returns its pid or -1 with errno.
 */
pid_t spawn_fork(struct agent *a, bool fresh, const int *fd, unsigned count, void (*child)(void *), void *arguments);

/* ---- user.c ---------------------------------------------------------------------------------------------------------------------- */

#define USER_GROUPS_MAX 1024U

struct user {
    uid_t uid;
    gid_t gid;
    size_t group_count;
    gid_t groups[USER_GROUPS_MAX];
    char home[AGENT_PATH_MAX];
};

/* Finds a user as Docker writes it in the texts of /etc/passwd and /etc/group. */
int user_find(struct user *u, const char *spec, const char *passwd, size_t passwd_n, const char *group, size_t group_n, struct report *r);
/* The same with the files below the current root. */
int user_load(struct user *u, const char *spec, struct report *r);

/* ---- builtin.c, pack.c, unpack.c, tar.c ------------------------------------------------------------------------------------------- */

/* In the child that is to be it: does it, and returns its exit code. */
int builtin_main(const struct run *run);
/* Says on descriptor 2 what failed and, unless error is 0, why. Returns -1. */
__attribute__((format(printf, 2, 3))) int builtin_fail(int error, const char *format, ...);

#define TAR_BLOCK 512U
#define TAR_BUFFER 65536U
#define TAR_EXTENDED_MAX (1U << 20) /* bytes of one pax header */

/* One file of a tar. */
struct tar_entry {
    char type; /* '0' file, '1' hard link, '2' link, '3' '4' devices, '5' directory, '6' fifo */
    char name[AGENT_PATH_MAX], target[AGENT_PATH_MAX];
    uint32_t mode, uid, gid, major, minor;
    uint64_t size; /* of the data that follows: 0 unless it is a file */
    struct timespec mtime;
};

/* A tar being read, from wherever read() takes it. All zero but fd is its beginning. */
struct tar_reader {
    int fd;
    size_t at, have;
    uint64_t left; /* bytes of the entry that have not been taken */
    uint32_t padding;
    uint8_t buf[TAR_BUFFER];
};
/* The next entry; the rest of the one before is passed over. 1: *e is it; 0: the end; -1: it is broken, which has been said. */
int tar_next(struct tar_reader *t, struct tar_entry *e);
/* Up to TAR_BUFFER bytes of the entry's data where they lie; 0 when there are no more, -1 when the tar ends before. */
ssize_t tar_data(struct tar_reader *t, const uint8_t **data);

/* A tar being written. All zero but fd is its beginning. Each function returns -1 when it cannot be written, which has been said. */
struct tar_writer {
    int fd;
    size_t have;
    uint8_t buf[TAR_BUFFER];
};
/* The header of an entry; e->size bytes of data are to follow. */
int tar_put(struct tar_writer *t, const struct tar_entry *e);
int tar_put_data(struct tar_writer *t, const void *data, size_t n);
/* Fills the last block of an entry that has got n bytes of data. */
int tar_put_padding(struct tar_writer *t, uint64_t n);
/* The end of the tar; everything is written then. */
int tar_finish(struct tar_writer *t);

/* The builtins PACK and UNPACK (wire.h): their exit codes. */
int pack_main(const char *path, const char *name);
int unpack_main(const char *directory);
/* Brings the name of an entry into the form "a/b": without "." and doubled slashes, "" for the top itself. false when it leads out. */
bool unpack_name(char *name);

/* ---- root.c, payload.c ----------------------------------------------------------------------------------------------------------- */

struct root {
    struct text_list disks;
    const char *upper_disk, *hostname;
    uint64_t upper_size, shm_size, tmp_size;
};

struct payload {
    bool rooted;   /* ROOT has been done */
    bool tried;    /* ROOT has been asked for */
    pid_t init;    /* its PID 1; 0 when there is none (any more) */
    int init_fd;   /* pidfd of it; -1: processes stay in the agent's own namespaces (only the test bench does that) */
    int null;      /* its /dev/null */
    int terminals; /* its /dev/pts */
    int upper;     /* where its writes go, for statistics */
    bool upper_disk;
};

/* The answer is given by it, or later by payload.c's child. */
void root_mount(struct agent *a, uint64_t id, const struct root *root);
/* Finds a virtio disk by its serial number, waiting a little for it to appear; node gets "/dev/...". */
int root_disk(const char *serial, char *node, size_t size, struct report *r);
/* The payload's PID 1 is dead. */
void payload_died(struct agent *a, int status);
/* For jobs: enters the payload's mount namespace, in which the caller then also stands in the root directory. */
int payload_enter(struct agent *a, struct report *r);

/* What the payload's PID 1 needs to build its world. */
struct payload_plan {
    const struct root *root;
    int dev, terminals, shm; /* mounts made already, not attached yet */
    const char *lower;       /* lowerdir= of the overlay */
};
/* The payload's PID 1: builds, reports on descriptor 0, reaps for ever. */
void payload_main(void *plan);

/* ---- files.c --------------------------------------------------------------------------------------------------------------------- */

/* Makes a mount of file system fs that is nowhere yet. options: "key=value" or "key", NULL-terminated. Descriptor or -1. */
int mount_make(const char *fs, const char *const *options, unsigned attributes, struct report *r);
int mount_attach(int mount, int directory, const char *path, const char *what, struct report *r);
/* Directory `name` itself (no link followed) exists in the directory and is one: what is in its place is removed. */
int files_directory(int directory, const char *name, mode_t mode, struct report *r);
/* Opens the directory with that path below the current root, following links; what is missing is made with mode 0755. */
int files_make_path(const char *path, struct report *r);
/* Replaces (not: writes through) the file in /etc below the directory root. */
int files_etc(int root, const char *name, const char *text, size_t n, struct report *r);
/* Reads at most max bytes of a regular file; *text is the caller's to free. */
int files_read(const char *path, size_t max, char **text, size_t *n);
int files_write(const char *path, const char *text);

/* ---- volume.c, net.c, hosts.c, system.c, shutdown.c ----------------------------------------------------------------------------------------- */

struct volume {
    const char *fs, *tag, *path, *owner;
    uint64_t readonly, size, mode;
};
#define VOLUME_MODE_ABSENT UINT64_MAX
void volume_mount(struct agent *a, void *volume, struct report *r);

struct net {
    const char *iface, *gateway, *mac;
    struct text_list addresses, routes;
    uint64_t mtu;
};
void net_configure(struct agent *a, void *net, struct report *r);
int net_loopback(struct report *r);

struct hosts {
    struct text_list hosts, dns, search;
};
/* It can be a host name. */
bool hosts_name_ok(const char *name);
/* Texts of /etc/hosts and /etc/resolv.conf; *out is the caller's to free. -1: out of memory or something that is not an address or a name. */
int hosts_text(char **out, size_t *n, const struct text_list *hosts, const char *hostname, struct report *r);
int resolv_text(char **out, size_t *n, const struct hosts *hosts, struct report *r);
void hosts_write(struct agent *a, void *hosts, struct report *r);

struct clock {
    uint64_t seconds, nanoseconds;
    struct bytes seed;
};
#define CLOCK_ABSENT UINT64_MAX
int clock_set(const struct clock *c, struct report *r);
/* A clock that only goes forward. */
uint64_t clock_ms(void);
void stats_put(struct agent *a, struct wire_writer *w);
void sync_all(struct agent *a, void *nothing, struct report *r);

struct shutdown {
    enum { SHUTDOWN_NOT, SHUTDOWN_TERM, SHUTDOWN_KILL, SHUTDOWN_FLUSH } phase;
    bool asked; /* the payload's PID 1 has been asked to go */
    uint64_t id, deadline;
    bool answer;
};
/* Begins the end. answer: SHUTDOWN with that id is to be answered. */
void shutdown_begin(struct agent *a, bool answer, uint64_t id, uint64_t grace_ms);
/* Goes on with it, as far as it can now. */
void shutdown_turn(struct agent *a);
/* Milliseconds until shutdown_turn() wants to be called again; -1 when it does not. */
int shutdown_wait(const struct agent *a);

/* ---- boot.c ------------------------------------------------------------------------------------------------------------------------ */

/* Mounts what is needed to find the port, and opens it. Does not come back without one. */
int boot_port(void);
/* The rest of the agent's own world; after HELLO, since the host need not wait for it. */
void boot_world(void);
/* Last words on the console, then the end of the virtual machine. */
__attribute__((format(printf, 1, 2), noreturn)) void boot_die(const char *format, ...);
/* Ends the virtual machine. In the test bench: the process. */
__attribute__((noreturn)) void boot_power_off(void);

/* ------------------------------------------------------------------------------------------------------------------------------------ */

struct agent {
    int epoll;
    bool over;
    bool lost; /* the host has gone: nobody is left to tell anything */
    struct late *late;
    struct watch deaths; /* signalfd of SIGCHLD */
    struct channel channel;
    struct process_table processes;
    unsigned jobs;
    struct payload payload;
    struct shutdown shutdown;
};

/* Prepares an agent without a port. */
int agent_init(struct agent *a);

#endif
