/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The small verbs about the whole machine: CLOCK, STATS, SYNC. */
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <time.h>

#include "guest/agent/agent.h"

/* ---- CLOCK ------------------------------------------------------------------------------------------------------------------------- */

static int seed_add(const struct bytes *seed, struct report *r)
{
    /* The header is followed by the bytes. */
    union {
        struct rand_pool_info info;
        uint8_t bytes[sizeof(struct rand_pool_info) + 4096];
    } pool;
    if (seed->n > sizeof(pool.bytes) - sizeof(pool.info))
        return report_set(r, EINVAL, "a seed of %zu bytes", seed->n);
    cleanup_close int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return report_set(r, errno, "/dev/urandom");
    pool.info.entropy_count = (int)seed->n * 8;
    pool.info.buf_size = (int)seed->n;
    memcpy(pool.bytes + sizeof(pool.info), seed->p, seed->n);
    int done = ioctl(fd, RNDADDENTROPY, &pool);
    int error = errno;
    explicit_bzero(&pool, sizeof(pool));
    if (done < 0)
        return report_set(r, error, "seeding the random numbers");
    /* Old kernels do it by themselves, later. */
    ioctl(fd, RNDRESEEDCRNG);
    return 0;
}

int clock_set(const struct clock *c, struct report *r)
{
    if (c->seed.n && seed_add(&c->seed, r) < 0)
        return -1;
    if (c->seconds == CLOCK_ABSENT)
        return 0;
    struct timespec t = { .tv_sec = (time_t)c->seconds, .tv_nsec = (long)c->nanoseconds };
    if (clock_settime(CLOCK_REALTIME, &t) < 0)
        return report_set(r, errno, "setting the clock to %llu", (unsigned long long)c->seconds);
    return 0;
}

uint64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- STATS ------------------------------------------------------------------------------------------------------------------------- */

/* The number after the word at the beginning of a line, in the text of a file below /proc. */
static uint64_t number_after(const char *text, const char *word)
{
    const char *at = text ? strstr(text, word) : NULL;
    return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

static char *proc_read(const char *path)
{
    char *text = NULL;
    size_t n = 0;
    if (files_read(path, 4096, &text, &n) < 0)
        return NULL;
    text[n ? n - 1 : 0] = '\0';
    return text;
}

static void stats_cpu(struct wire_writer *w)
{
    cleanup_free char *text = proc_read("/proc/stat");
    unsigned long long user = 0, nice = 0, system = 0;
    if (text)
        sscanf(text, "cpu %llu %llu %llu", &user, &nice, &system);
    long ticks = sysconf(_SC_CLK_TCK);
    uint64_t us = 1000000U / (ticks > 0 ? (uint64_t)ticks : 100);
    wire_put_number(w, KEY_STAT_CPU_USER, (user + nice) * us);
    wire_put_number(w, KEY_STAT_CPU_SYSTEM, system * us);
}

void stats_put(struct agent *a, struct wire_writer *w)
{
    struct timespec t;
    struct statvfs root = { 0 };
    cleanup_free char *memory = proc_read("/proc/meminfo");
    clock_gettime(CLOCK_BOOTTIME, &t);
    wire_put_number(w, KEY_STAT_UPTIME, (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000);
    stats_cpu(w);
    wire_put_number(w, KEY_STAT_MEM_TOTAL, number_after(memory, "MemTotal:") * 1024);
    wire_put_number(w, KEY_STAT_MEM_AVAILABLE, number_after(memory, "MemAvailable:") * 1024);
    if (a->payload.upper >= 0 && fstatvfs(a->payload.upper, &root) == 0) {
        wire_put_number(w, KEY_STAT_ROOT_USED, (root.f_blocks - root.f_bfree) * root.f_frsize);
        wire_put_number(w, KEY_STAT_ROOT_SIZE, root.f_blocks * root.f_frsize);
    }
    wire_put_number(w, KEY_STAT_PROCESSES, a->processes.alive);
}

/* ---- SYNC -------------------------------------------------------------------------------------------------------------------------- */

void sync_all(struct agent *a, void *nothing, struct report *r)
{
    (void)a;
    (void)nothing;
    (void)r;
    sync();
}
