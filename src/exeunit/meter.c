/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "exeunit/meter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define BLOCK 4096U
#define ENTRY_MIN 256U /* for each name, so that many names of one file take an end */
#define DEPTH_MAX 400U /* of directories: one descriptor each */
/* The most that a call of write can add beside what it writes: the rest of a block, and a block each for attributes and the directory. */
#define CALL_BYTES (3U * BLOCK)
#define FILE_EXTRA (16U * BLOCK) /* what a large file takes beside its bytes */
/* No guest writes faster: the memory of the host does not, by way of 9p. */
#define RATE_MAX_PER_MS ((UINT64_C(2) << 30) / 1000)
#define START_BYTES (1U << 20) /* may be written before the volumes have been counted for the first time */
#define LOOK_MIN_MS 2U
#define LOOK_MAX_MS 500U
#define COUNT_EVERY_MS 2000U
#define COUNT_SHARE 10U /* of the time, at most, is spent with counting while there is no need */

/* ---- counting -------------------------------------------------------------------------------------------------------------------- */

struct walk {
    struct meter_count *c;
    uint64_t limit;
    const atomic_bool *stop;
};

static uint64_t in_blocks(uint64_t bytes)
{
    return (bytes / BLOCK + (bytes % BLOCK != 0)) * BLOCK;
}

/* What an inode takes. Some file systems give a growing file more than it has asked for, and take it back later: that does not count. */
static void add(struct walk *w, const struct stat *st)
{
    uint64_t blocks = (uint64_t)st->st_blocks * 512, most = in_blocks((uint64_t)st->st_size) + BLOCK;
    uint64_t bytes = blocks < most ? blocks : most;
    if (bytes < BLOCK)
        bytes = BLOCK;
    if (!S_ISDIR(st->st_mode) && st->st_nlink > 1)
        bytes /= st->st_nlink;
    if (bytes < ENTRY_MIN)
        bytes = ENTRY_MIN;
    w->c->stored += bytes;
    w->c->reserved += bytes;
    if (S_ISREG(st->st_mode) && (uint64_t)st->st_size > w->c->largest)
        w->c->largest = (uint64_t)st->st_size;
}

/* Symbolic links are what the guest has made, and are not followed. What is gone when we get there, is gone. */
static void walk_below(struct walk *w, int parent, const char *name, unsigned depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
            w->c->bad = strerrordesc_np(errno);
        if (fd >= 0)
            close(fd);
        return;
    }
    if (depth > DEPTH_MAX)
        w->c->bad = "directories are nested too deep";
    for (struct dirent *e; !w->c->bad && w->c->reserved <= w->limit && !atomic_load(w->stop) && (e = readdir(d)) != NULL;) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        add(w, &st);
        if (S_ISDIR(st.st_mode))
            walk_below(w, fd, e->d_name, depth + 1);
    }
    closedir(d);
}

void meter_count(struct meter_count *c, const struct deployment *d, const char *workdir, uint64_t limit, const atomic_bool *stop)
{
    struct walk w = { .c = c, .limit = limit, .stop = stop };
    *c = (struct meter_count){ 0 };
    cleanup_close int dir = open(workdir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; dir >= 0 && i < d->volume_count; i++) {
        struct stat st;
        if (d->volumes[i].kind != VM_VOLUME_DISK)
            continue;
        c->reserved += d->volumes[i].size;
        if (fstatat(dir, d->volumes[i].name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            c->stored += (uint64_t)st.st_blocks * 512;
    }
    for (size_t i = 0; dir >= 0 && i < d->volume_count; i++)
        if (d->volumes[i].kind == VM_VOLUME_DIRECTORY)
            walk_below(&w, dir, d->volumes[i].name, 0);
}

/* ---- watching -------------------------------------------------------------------------------------------------------------------- */

/* The number behind a label that begins a line; 0 when it is not there. */
static uint64_t labelled(const char *text, const char *label)
{
    const char *at = strstr(text, label);
    return at ? strtoull(at + strlen(label), NULL, 10) : 0;
}

static void look_at_clock(const struct meter *m, struct meter_clock *c)
{
    struct statvfs fs;
    *c = (struct meter_clock){ .time_ms = uv_now(m->loop) };
    char io[512];
    ssize_t n = m->io_fd < 0 ? -1 : pread(m->io_fd, io, sizeof(io) - 1, 0);
    io[n > 0 ? n : 0] = '\0';
    c->written = labelled(io, "\nwchar:");
    c->calls = labelled(io, "\nsyscw:");
    if (statvfs(m->workdir, &fs) == 0)
        c->used = (uint64_t)(fs.f_blocks - fs.f_bfree) * fs.f_frsize;
}

/* The most that the volumes can have grown by. */
static uint64_t growth(const struct meter_clock *then, const struct meter_clock *now)
{
    bool alive = now->written >= then->written && now->calls >= then->calls; /* a process that has ended has written nothing any more */
    uint64_t written = alive ? now->written - then->written + (now->calls - then->calls) * CALL_BYTES : 0;
    uint64_t used = now->used > then->used ? now->used - then->used : 0;
    return written > used ? written : used;
}

static void freeze(struct meter *m, bool frozen)
{
    if (m->frozen != frozen)
        vm_freeze(m->vm, frozen);
    m->frozen = frozen;
}

static void look(struct meter *m);

static void on_look(uv_timer_t *t)
{
    look(t->data);
}

static void on_work(uv_work_t *work)
{
    struct meter *m = work->data;
    meter_count(&m->next, m->deployment, m->workdir, m->deployment->storage, &m->stop);
}

/* No file of the guest's may grow beyond what is left; a disk image has its size already. */
static void limit_files(struct meter *m)
{
    uint64_t left = m->deployment->storage - m->last.reserved;
    uint64_t most = m->last.largest + (left > FILE_EXTRA ? left - FILE_EXTRA : 0);
    for (size_t i = 0; i < m->deployment->volume_count; i++)
        if (m->deployment->volumes[i].kind == VM_VOLUME_DISK && m->deployment->volumes[i].size > most)
            most = m->deployment->volumes[i].size;
    vm_limit_files(m->vm, most);
}

static void on_counted(uv_work_t *work, int status)
{
    struct meter *m = work->data;
    uint64_t limit = m->deployment->storage;
    (void)status; /* it is never cancelled, but stopped */
    m->counting = false;
    if (!m->open)
        return;
    m->last = m->next;
    m->then = m->began;
    m->counted = true;
    if (m->last.reserved > limit || m->last.bad) {
        struct gv_error why = GV_ERROR_INIT;
        freeze(m, true);
        uv_timer_stop(&m->timer);
        if (m->last.bad)
            gv_error_set(&why, GV_E_LIMIT, 0, "what the volumes hold cannot be counted against --storage-gib: %s", m->last.bad);
        else
            gv_error_set(&why, GV_E_LIMIT, 0, "the volumes hold more than the %.3f GiB of --storage-gib", (double)limit / (1 << 30));
        m->over(m->user, &why);
        return;
    }
    uv_update_time(m->loop);
    uint64_t now = uv_now(m->loop), rest = (now - m->then.time_ms) * COUNT_SHARE;
    m->due_ms = now + (rest > COUNT_EVERY_MS ? rest : COUNT_EVERY_MS);
    limit_files(m);
    look(m);
}

/* Sees to it that nothing can be written that is not known to fit, and starts a count when one is needed. */
static void look(struct meter *m)
{
    struct meter_clock now;
    look_at_clock(m, &now);
    if (!m->counted && !m->counting)
        m->then = now;
    uint64_t left = m->counted ? m->deployment->storage - m->last.reserved : START_BYTES, grown = growth(&m->then, &now);
    bool urgent = grown > left;
    freeze(m, urgent);
    if (!m->counting && (urgent || !m->counted || now.time_ms >= m->due_ms)) {
        m->began = now;
        m->counting = uv_queue_work(m->loop, &m->work, on_work, on_counted) == 0;
    }
    if (urgent)
        return; /* on_counted goes on */
    uint64_t ms = (left - grown) / RATE_MAX_PER_MS;
    uv_timer_start(&m->timer, on_look, ms < LOOK_MIN_MS ? LOOK_MIN_MS : ms > LOOK_MAX_MS ? LOOK_MAX_MS : ms, 0);
}

void meter_open(struct meter *m, uv_loop_t *loop, struct vm *vm, const struct deployment *d, const char *workdir,
                void (*over)(void *user, const struct gv_error *why), void *user)
{
    *m = (struct meter){ .deployment = d, .workdir = workdir, .vm = vm, .over = over, .user = user, .loop = loop, .open = true };
    char path[32];
    snprintf(path, sizeof(path), "/proc/%d/io", (int)vm_qemu_pid(vm));
    m->io_fd = open(path, O_RDONLY | O_CLOEXEC);
    uv_timer_init(loop, &m->timer);
    m->timer.data = m->work.data = m;
    uv_timer_start(&m->timer, on_look, 0, 0);
}

void meter_close(struct meter *m)
{
    if (!m->open)
        return;
    m->open = false;
    atomic_store(&m->stop, true);
    if (m->io_fd >= 0)
        close(m->io_fd);
    uv_close((uv_handle_t *)&m->timer, NULL);
}
