/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `exeunit`: what the volumes hold, and that it is never more than was agreed.
 *
 * A directory of the host has no size of its own, and quotas are not ours to set. So QEMU, through which alone the guest writes, is watched. What it
 * has written since the volumes were last counted is known by the kernel at any time and for nothing (/proc/PID/io, free blocks of the file system),
 * and is more than what the volumes can have grown by (directories and empty files hide behind space that somebody else gives back at the same time, but
 * for two seconds at most: then everything is counted anyway). As long as this fits into what is left there is nothing to do. When it does not, QEMU is stopped
 * in the middle of whatever it does, the volumes are counted, and it either goes on or has reached its end. Looks come before the fastest writer
 * could have used up what is left, also while files are counted. A single file cannot even do that: QEMU's own limit for the size of files is what is left.
 *
 * Files are counted in a thread of libuv's pool: a volume may have many.
 */
#ifndef GV_EXEUNIT_METER_H
#define GV_EXEUNIT_METER_H

#include <stdatomic.h>

#include "exeunit/deployment.h"

/* What the volumes take, as far as the walk got. */
struct meter_count {
    uint64_t stored;   /* bytes of the host's disk, of directories and disk images */
    uint64_t reserved; /* bytes of what was agreed: disks count with all of their size */
    uint64_t largest;  /* file of a directory; bytes it seems to have */
    const char *bad;   /* why it cannot be counted, or NULL */
};

/* Counts; every inode as one block at least. Stops early when more than `limit` is reserved, or *stop is set. */
void meter_count(struct meter_count *c, const struct deployment *d, const char *workdir, uint64_t limit, const atomic_bool *stop);

struct meter {
    const struct deployment *deployment;
    const char *workdir;
    struct vm *vm;
    void (*over)(void *user, const struct gv_error *why);
    void *user;
    uv_loop_t *loop;
    uv_timer_t timer;
    uv_work_t work;
    int io_fd; /* /proc/PID/io of QEMU, or -1 */
    bool open, counting, frozen;
    bool counted; /* last is valid */
    atomic_bool stop;
    struct meter_count last, next; /* next: of the count that goes on */
    struct meter_clock {
        uint64_t time_ms, written, calls, used; /* used: bytes of the file system */
    } then, began;                              /* when the last count began, and the one that goes on */
    uint64_t due_ms;                            /* of the next count, whatever has been written */
};

/* Watches a VM from its start on. over is called once, inside the loop, with QEMU stopped: the VM has to be killed then. What is given must stay until
 * meter_close(). */
void meter_open(struct meter *m, uv_loop_t *loop, struct vm *vm, const struct deployment *d, const char *workdir,
                void (*over)(void *user, const struct gv_error *why), void *user);
/* Ends the watching; the loop still has to run until its handles are closed. */
void meter_close(struct meter *m);

#endif
