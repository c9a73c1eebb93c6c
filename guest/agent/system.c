/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The small verbs about the whole machine: HOSTS, CLOCK, STATS, SYNC. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <time.h>

#include "guest/agent/agent.h"

/* ---- HOSTS ------------------------------------------------------------------------------------------------------------------------- */

/* Text that grows. */
struct text {
    char *p;
    size_t n, size;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void text_add(struct text *t, const char *format, ...)
{
    va_list ap;
    for (;;) {
        va_start(ap, format);
        int n = vsnprintf(t->p ? t->p + t->n : NULL, t->size - t->n, format, ap);
        va_end(ap);
        if (n < 0 || t->failed)
            return;
        if ((size_t)n < t->size - t->n) {
            t->n += (size_t)n;
            return;
        }
        char *p = realloc(t->p, t->n + (size_t)n + 1024);
        if (!p) {
            t->failed = true;
            return;
        }
        t->p = p;
        t->size = t->n + (size_t)n + 1024;
    }
}

static int text_take(struct text *t, char **out, size_t *n, struct report *r)
{
    if (t->failed) {
        free(t->p);
        return report_set(r, ENOMEM, "no memory");
    }
    *out = t->p;
    *n = t->n;
    return 0;
}

/* Nothing that would begin a new line or field of the file, or a comment. */
static bool name_ok(const char *s, size_t n)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    return n > 0 && n < 256 && strspn(s, allowed) >= n;
}

static bool address_ok(const char *s, size_t n)
{
    char text[INET6_ADDRSTRLEN + 20];
    uint8_t address[16];
    if (n == 0 || n >= sizeof(text))
        return false;
    memcpy(text, s, n);
    text[n] = '\0';
    char *scope = strchr(text, '%');
    if (scope && strchr(text, ':')) {
        if (!name_ok(scope + 1, strlen(scope + 1)))
            return false;
        *scope = '\0';
    }
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

/* "ADDRESS NAME..."; *has becomes true when one of the names is that one. */
static bool host_ok(const char *line, const char *name, bool *has)
{
    size_t n = strcspn(line, " ");
    const char *at = line + n;
    unsigned names = 0;
    if (!address_ok(line, n))
        return false;
    while (*(at += strspn(at, " ")) != '\0') {
        n = strcspn(at, " ");
        if (!name_ok(at, n))
            return false;
        if (strlen(name) == n && memcmp(at, name, n) == 0)
            *has = true;
        names++;
        at += n;
    }
    return names > 0;
}

int hosts_text(char **out, size_t *n, const struct text_list *hosts, const char *hostname, struct report *r)
{
    struct text t = { 0 };
    bool has = strcmp(hostname, "localhost") == 0;
    if (!name_ok(hostname, strlen(hostname)))
        return report_set(r, EINVAL, "'%s' cannot be a host name", hostname);
    for (size_t i = 0; i < hosts->n; i++)
        if (!host_ok(hosts->v[i], hostname, &has))
            return report_set(r, EINVAL, "'%.150s' is not an address and names", hosts->v[i]);
    text_add(&t, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n"
                 "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
    for (size_t i = 0; i < hosts->n; i++)
        text_add(&t, "%s\n", hosts->v[i]);
    if (!has)
        text_add(&t, "127.0.1.1\t%s\n", hostname);
    return text_take(&t, out, n, r);
}

int resolv_text(char **out, size_t *n, const struct hosts *hosts, struct report *r)
{
    struct text t = { 0 };
    text_add(&t, "%s", "");
    for (size_t i = 0; i < hosts->search.n; i++) {
        if (!name_ok(hosts->search.v[i], strlen(hosts->search.v[i]))) {
            free(t.p);
            return report_set(r, EINVAL, "'%.150s' is not a domain", hosts->search.v[i]);
        }
        text_add(&t, "%s%s", i ? " " : "search ", hosts->search.v[i]);
    }
    if (hosts->search.n)
        text_add(&t, "\n");
    for (size_t i = 0; i < hosts->dns.n; i++) {
        if (!address_ok(hosts->dns.v[i], strlen(hosts->dns.v[i]))) {
            free(t.p);
            return report_set(r, EINVAL, "'%.150s' is not an address", hosts->dns.v[i]);
        }
        text_add(&t, "nameserver %s\n", hosts->dns.v[i]);
    }
    return text_take(&t, out, n, r);
}

void hosts_write(struct agent *a, void *arguments, struct report *r)
{
    const struct hosts *hosts = arguments;
    cleanup_free char *etc_hosts = NULL;
    cleanup_free char *etc_resolv = NULL;
    size_t hosts_n = 0, resolv_n = 0;
    struct utsname names;
    if (a->payload.init_fd >= 0 && setns(a->payload.init_fd, CLONE_NEWNS | CLONE_NEWUTS) < 0) {
        report_set(r, errno, "entering the payload's world");
        return;
    }
    if (uname(&names) < 0) {
        report_set(r, errno, "host name");
        return;
    }
    /* Whatever the payload has called itself since, the file must stay well-formed. */
    const char *name = name_ok(names.nodename, strlen(names.nodename)) ? names.nodename : "localhost";
    if (hosts_text(&etc_hosts, &hosts_n, &hosts->hosts, name, r) < 0 || resolv_text(&etc_resolv, &resolv_n, hosts, r) < 0)
        return;
    cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        report_set(r, errno, "/");
    else if (files_etc(root, "hosts", etc_hosts, hosts_n, r) == 0)
        files_etc(root, "resolv.conf", etc_resolv, resolv_n, r);
}

/* ---- CLOCK ------------------------------------------------------------------------------------------------------------------------- */

static int seed_add(const struct bytes *seed, struct report *r)
{
    struct {
        struct rand_pool_info info;
        uint8_t bytes[4096];
    } pool;
    if (seed->n > sizeof(pool.bytes))
        return report_set(r, EINVAL, "a seed of %zu bytes", seed->n);
    cleanup_close int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return report_set(r, errno, "/dev/urandom");
    pool.info.entropy_count = (int)seed->n * 8;
    pool.info.buf_size = (int)seed->n;
    memcpy((uint8_t *)&pool + offsetof(struct rand_pool_info, buf), seed->p, seed->n);
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
