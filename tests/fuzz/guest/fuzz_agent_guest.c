/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whatever a host may say to the agent, against its whole engine: frames, fields, the table of processes, streams and credit, shutdown. What
 * would touch the machine is replaced: programs are pipes that somebody has written into, a signal is their death.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/agent/agent.h"

#define FAKE_PID 1000000
#define FAKE_MAX 256

static pid_t fake_last;
static struct {
    pid_t pid;
    int status;
} deaths[FAKE_MAX];
static unsigned death_count;
/* The children's ends of the pipes: open as long as their processes live. */
static int fake_fd[FAKE_MAX][3];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fake_end(unsigned i)
{
    for (int k = 0; k < 3; k++)
        if (fake_fd[i][k] >= 0)
            close(steal_fd(&fake_fd[i][k]));
}

/* In the place of libc's. */
int kill(pid_t pid, int signal)
{
    if (pid < 0)
        pid = -pid;
    if (pid < FAKE_PID || pid > fake_last) {
        errno = ESRCH;
        return -1;
    }
    if (signal && death_count < FAKE_MAX) {
        deaths[death_count].pid = pid;
        /* Some exit by themselves, and some leave a child that holds their pipes. */
        deaths[death_count++].status = signal % 3 ? signal & 0x7f : (signal & 0xff) << 8;
        if (signal % 2)
            fake_end((unsigned)(pid - FAKE_PID));
        raise(SIGCHLD);
    }
    return 0;
}

pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
    (void)pid;
    (void)options;
    memset(usage, 0, sizeof(*usage));
    if (death_count == 0)
        return 0;
    *status = deaths[--death_count].status;
    return deaths[death_count].pid;
}

/* Time passes when the agent waits, and only then. */
static uint64_t fake_now;

uint64_t clock_ms(void)
{
    return fake_now;
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
    fake_now += timeout > 0 ? (uint64_t)timeout : 0;
    return (int)syscall(SYS_epoll_wait, fd, events, max, 0);
}

void sync(void)
{
}

int boot_port(void)
{
    abort();
}

void boot_world(void)
{
    abort();
}

void boot_die(const char *format, ...)
{
    (void)format;
    abort();
}

void boot_power_off(void)
{
    abort();
}

int spawn_run(struct agent *a, const struct run *run, pid_t *pid, struct spawn_ends *ends, struct report *r)
{
    static const uint8_t output[50000];
    int report[2], in[2], out[2], error[2];
    unsigned i = (unsigned)(fake_last - FAKE_PID) + 1;
    (void)a;
    /* Every word is looked at, as execve would. */
    size_t n = 0;
    for (size_t k = 0; k < run->argv.n; k++)
        n += strlen(run->argv.v[k]);
    for (size_t k = 0; k < run->env.n; k++)
        n += strlen(run->env.v[k]);
    for (size_t k = 0; k < run->rlimits.n; k++)
        n += strlen(run->rlimits.v[k]);
    n += strlen(run->path) + strlen(run->cwd) + strlen(run->user);
    if (i >= FAKE_MAX || run->argv.v[run->argv.n] || (run->env.v && run->env.v[run->env.n]))
        return report_set(r, EAGAIN, "no more");
    if (pipe2(report, O_NONBLOCK) < 0 || pipe2(in, O_NONBLOCK) < 0 || pipe2(out, O_NONBLOCK) < 0 || pipe2(error, O_NONBLOCK) < 0)
        abort();
    struct report failed;
    memset(&failed, run->argv.v[0][0], sizeof(failed));
    if (n % 4 == 3 && write(report[1], &failed, n % 8 == 3 ? sizeof(failed) : 7) < 0)
        abort();
    if (n % 4 != 2)
        close(report[1]);
    if (write(out[1], output, n * 977 % sizeof(output)) < 0 && errno != EAGAIN)
        abort();
    if (write(error[1], output, n * 331 % sizeof(output)) < 0 && errno != EAGAIN)
        abort();
    fake_fd[i][0] = in[0];
    fake_fd[i][1] = out[1];
    fake_fd[i][2] = error[1];
    if (n % 5 == 0)
        close(steal_fd(&fake_fd[i][0]));
    ends->report = report[0];
    ends->input = run->input ? in[1] : -1;
    if (!run->input)
        close(in[1]);
    ends->output[0] = out[0];
    ends->output[1] = error[0];
    *pid = ++fake_last;
    if (n % 4 == 2)
        close(report[1]);
    return 0;
}

void root_mount(struct agent *a, uint64_t id, const struct root *root)
{
    (void)root;
    a->payload.rooted = true;
    a->payload.null = open("/dev/null", O_RDWR | O_CLOEXEC);
    channel_answer(a, id, &(struct report){ 0 });
}

void payload_died(struct agent *a, int status)
{
    (void)a;
    (void)status;
}

void job_start(struct agent *a, uint64_t id, job_function *work, void *arguments)
{
    struct report r = { 0 };
    if (work == volume_mount && strlen(((struct volume *)arguments)->path) > 3)
        report_set(&r, EIO, "the path is long");
    if (work == net_configure) {
        const struct net *net = arguments;
        if (strlen(net->iface) + strlen(net->gateway) + strlen(net->mac) > 9)
            report_set(&r, EINVAL, "%s", net->iface);
    }
    if (work == hosts_write) {
        const struct hosts *h = arguments;
        char *text;
        size_t n;
        if (hosts_text(&text, &n, &h->hosts, "name", &r) == 0)
            free(text);
        if (resolv_text(&text, &n, h, &r) == 0)
            free(text);
    }
    channel_answer(a, id, &r);
}

void volume_mount(struct agent *a, void *volume, struct report *r)
{
    (void)a;
    (void)volume;
    (void)r;
}

int payload_enter(struct agent *a, struct report *r)
{
    (void)a;
    (void)r;
    return -1;
}

void net_configure(struct agent *a, void *net, struct report *r)
{
    (void)a;
    (void)net;
    (void)r;
}

int clock_set(const struct clock *c, struct report *r)
{
    return c->seed.n > 16 ? report_set(r, EINVAL, "much") : 0;
}

void stats_put(struct agent *a, struct wire_writer *w)
{
    wire_put_number(w, KEY_STAT_PROCESSES, a->processes.alive);
}

void sync_all(struct agent *a, void *nothing, struct report *r)
{
    (void)a;
    (void)nothing;
    (void)r;
}

static void processes_forget(struct agent *a)
{
    for (unsigned i = 0; i < AGENT_BUCKETS; i++)
        for (struct process *p = a->processes.by_id[i], *next; p; p = next) {
            next = p->next_by_id;
            watch_close(a, &p->start);
            stream_close(a, p);
            free(p);
        }
    memset(&a->processes.by_id, 0, sizeof(a->processes.by_id));
    a->processes.first_ready = NULL;
}

static void agent_forget(struct agent *a)
{
    while (a->late) {
        struct late *l = a->late;
        a->late = l->next;
        free(l);
    }
    watch_close(a, &a->channel.watch);
    watch_close(a, &a->deaths);
    free(a->channel.in);
    free(a->channel.queue);
    if (a->payload.null >= 0)
        close(a->payload.null);
    close(a->epoll);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t start[] = {
        14, 0, 0, 0, WIRE_HELLO, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, KEY_VERSION, 0, 8, 0, 0, 0, WIRE_VERSION, 0,   0,  0, 0, 0, 0, 0,
        9,  0, 0, 0, WIRE_ROOT,  0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, KEY_DISK,    0, 3, 0, 0, 0, 'i',          'm', 'g'
    };
    static struct agent a;
    int fd[2], size_of_buffer = 4 << 20;
    if (size > 65536)
        return 0;
    memset(&a, 0, sizeof(a));
    memset(fake_fd, 0xff, sizeof(fake_fd));
    fake_last = FAKE_PID;
    death_count = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) < 0 || agent_init(&a) < 0)
        abort();
    setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &size_of_buffer, sizeof(size_of_buffer));
    setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &size_of_buffer, sizeof(size_of_buffer));
    /* The first byte says whether the input begins with the start itself. */
    if (size && data[0] != 0xff && send(fd[0], start, sizeof(start), MSG_NOSIGNAL) < 0)
        abort();
    if (size > 1 && send(fd[0], data + 1, size - 1, MSG_NOSIGNAL) < 0)
        abort();
    shutdown(fd[0], SHUT_WR);
    if (channel_open(&a, fd[1]) < 0)
        abort();
    /* Without a greeting the agent would wait for another host. */
    a.lost = false;
    for (int turn = 0; turn < 2000 && !a.over && !a.channel.absent; turn++)
        agent_turn(&a);
    for (unsigned i = 0; i < FAKE_MAX; i++)
        fake_end(i);
    processes_forget(&a);
    /* Drains see the end of their pipes now. */
    for (int turn = 0; turn < 20 && a.processes.drains; turn++)
        agent_turn(&a);
    agent_forget(&a);
    close(fd[0]);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    while (sigtimedwait(&set, NULL, &(struct timespec){ 0 }) > 0)
        continue;
    return 0;
}
