/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The processes that RUN has started. Each is the agent's own child, so that wait4 gives its exact end.
 *
 *     STARTING  --the child reports-->  RUNNING (answered)  --reaped-->  DEAD  --last bytes, EXIT sent-->  gone
 *              \--the child reports an errno-->  FAILED (answered)  --reaped-->  gone
 *
 * The child closes its report pipe by execve, so "nothing, and closed" means that the program runs. A process that has something to say
 * and may say it stands in the ready queue; whoever changes that calls process_wake(). The queue is a ring of turns: one frame each.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "guest/agent/agent.h"

static struct process **bucket_of_id(struct agent *a, uint64_t id)
{
    return &a->processes.by_id[(id ^ id >> 8 ^ id >> 32) % AGENT_BUCKETS];
}

static struct process **bucket_of_pid(struct agent *a, pid_t pid)
{
    return &a->processes.by_pid[(unsigned)pid % AGENT_BUCKETS];
}

struct process *process_find(struct agent *a, uint64_t id)
{
    struct process *p = *bucket_of_id(a, id);
    while (p && p->id != id)
        p = p->next_by_id;
    return p;
}

bool process_none(const struct agent *a)
{
    return a->processes.count == 0;
}

bool process_dead(const struct agent *a)
{
    return a->processes.alive == 0;
}

/* ---- the ready queue ------------------------------------------------------------------------------------------------------------- */

static bool process_grant_due(const struct process *p)
{
    return p->input.grant >= AGENT_GRANT_STEP && !p->input.gone && p->state != PROCESS_DEAD;
}

static bool process_exit_due(const struct process *p)
{
    return p->state == PROCESS_DEAD && stream_done(p);
}

static bool process_sayable(const struct process *p)
{
    if (p->state != PROCESS_RUNNING && p->state != PROCESS_DEAD)
        return false;
    return p->input.gone_due || process_grant_due(p) || stream_sayable(p, 0) || stream_sayable(p, 1) || process_exit_due(p);
}

static void ready_remove(struct agent *a, struct process *p)
{
    struct process_table *t = &a->processes;
    if (!p->queued)
        return;
    *(p->previous_ready ? &p->previous_ready->next_ready : &t->first_ready) = p->next_ready;
    *(p->next_ready ? &p->next_ready->previous_ready : &t->last_ready) = p->previous_ready;
    p->queued = false;
}

void process_wake(struct agent *a, struct process *p)
{
    struct process_table *t = &a->processes;
    if (p->queued || !process_sayable(p))
        return;
    p->queued = true;
    p->next_ready = NULL;
    p->previous_ready = t->last_ready;
    *(t->last_ready ? &t->last_ready->next_ready : &t->first_ready) = p;
    t->last_ready = p;
}

/* ---- come and go ----------------------------------------------------------------------------------------------------------------- */

/* Nobody finds it any more. Its pipes are closed by process_turn(), when its EXIT is on the way. */
static void process_remove(struct agent *a, struct process *p)
{
    ready_remove(a, p);
    struct process **at = bucket_of_id(a, p->id);
    while (*at != p)
        at = &(*at)->next_by_id;
    *at = p->next_by_id;
    a->processes.count--;
    p->next_by_id = a->processes.gone;
    a->processes.gone = p;
    p->state = PROCESS_GONE;
}

void process_turn(struct agent *a)
{
    while (a->processes.gone) {
        struct process *p = a->processes.gone;
        a->processes.gone = p->next_by_id;
        watch_close(a, &p->start);
        stream_close(a, p);
        late_free(a, &p->late);
    }
}

static void pid_forget(struct agent *a, struct process *p)
{
    struct process **at = bucket_of_pid(a, p->pid);
    while (*at != p)
        at = &(*at)->next_by_pid;
    *at = p->next_by_pid;
}

/* The child has become the program, or has failed to. must: it is dead, so what has not been said never will be. */
static void process_started(struct agent *a, struct process *p, bool must)
{
    struct report r = { 0 };
    int got = report_read(p->start.fd, &r);
    if (got < 0 && !must)
        return;
    if (got <= 0)
        r.error = 0;
    watch_close(a, &p->start);
    channel_answer(a, p->id, &r);
    p->state = r.error ? PROCESS_FAILED : PROCESS_RUNNING;
    process_wake(a, p);
}

static void start_ready(struct agent *a, struct watch *w, uint32_t events)
{
    (void)events;
    process_started(a, container_of(w, struct process, start), false);
}

int process_add(struct agent *a, uint64_t id, pid_t pid, bool terminal, struct spawn_ends *ends)
{
    struct process *p = calloc(1, sizeof(*p));
    if (!p)
        return -1;
    p->id = id;
    p->pid = pid;
    p->terminal = terminal;
    p->start.fd = -1;
    int report = steal_fd(&ends->report);
    if (stream_open(a, p, ends) < 0 || watch_open(a, &p->start, report, EPOLLIN, start_ready) < 0) {
        stream_close(a, p);
        close(report);
        late_free(a, &p->late);
        return -1;
    }
    struct process **by_id = bucket_of_id(a, id), **by_pid = bucket_of_pid(a, pid);
    p->next_by_id = *by_id;
    *by_id = p;
    p->next_by_pid = *by_pid;
    *by_pid = p;
    a->processes.count++;
    a->processes.alive++;
    return 0;
}

static void process_died(struct agent *a, pid_t pid, int status, const struct rusage *usage)
{
    struct process *p = *bucket_of_pid(a, pid);
    while (p && p->pid != pid)
        p = p->next_by_pid;
    if (!p)
        return;
    pid_forget(a, p);
    a->processes.alive--;
    if (p->state == PROCESS_STARTING)
        process_started(a, p, true);
    if (p->state == PROCESS_FAILED) {
        process_remove(a, p);
        return;
    }
    p->state = PROCESS_DEAD;
    p->status = status;
    p->usage = *usage;
    stream_last(a, p);
    process_wake(a, p);
}

void process_reap(struct agent *a)
{
    for (;;) {
        int status;
        struct rusage usage;
        pid_t pid = wait4(-1, &status, WNOHANG, &usage);
        if (pid <= 0)
            return;
        if (pid == a->payload.init)
            payload_died(a, status);
        else
            process_died(a, pid, status, &usage);
    }
}

/* ---- what it says ---------------------------------------------------------------------------------------------------------------- */

static uint64_t microseconds(const struct timeval *t)
{
    return (uint64_t)t->tv_sec * 1000000 + (uint64_t)t->tv_usec;
}

static size_t say_exit(const struct process *p, uint8_t *buf, size_t room)
{
    struct wire_writer w;
    wire_frame_begin(&w, buf, room);
    if (WIFSIGNALED(p->status)) {
        wire_put_number(&w, KEY_KIND, WCOREDUMP(p->status) ? WIRE_DUMPED : WIRE_SIGNALLED);
        wire_put_number(&w, KEY_STATUS, (uint64_t)WTERMSIG(p->status));
    } else {
        wire_put_number(&w, KEY_KIND, WIRE_EXITED);
        wire_put_number(&w, KEY_STATUS, (uint64_t)WEXITSTATUS(p->status));
    }
    wire_put_number(&w, KEY_CPU_USER, microseconds(&p->usage.ru_utime));
    wire_put_number(&w, KEY_CPU_SYSTEM, microseconds(&p->usage.ru_stime));
    wire_put_number(&w, KEY_MAX_RSS, (uint64_t)p->usage.ru_maxrss);
    return wire_frame_end(&w, WIRE_EXIT, p->id);
}

static size_t say_grant(struct process *p, uint8_t *buf, size_t room)
{
    struct wire_writer w;
    wire_frame_begin(&w, buf, room);
    wire_put_number(&w, KEY_STREAM, 0);
    wire_put_number(&w, KEY_COUNT, p->input.grant);
    p->input.credit += p->input.grant;
    p->input.grant = 0;
    return wire_frame_end(&w, WIRE_CREDIT, p->id);
}

static size_t say_gone(struct process *p, uint8_t *buf, size_t room)
{
    struct wire_writer w;
    p->input.gone_due = false;
    wire_frame_begin(&w, buf, room);
    return wire_frame_end(&w, WIRE_INPUT_GONE, p->id);
}

/* One frame of one process. 0 when it turned out to have nothing. */
static size_t say_one(struct agent *a, struct process *p, uint8_t *buf, size_t room)
{
    if (p->input.gone_due)
        return say_gone(p, buf, room);
    if (process_grant_due(p))
        return say_grant(p, buf, room);
    for (unsigned i = 0; i < 2; i++) {
        p->turn = !p->turn;
        size_t n = stream_sayable(p, p->turn) ? stream_say(a, p, p->turn, buf, room) : 0;
        if (n)
            return n;
    }
    if (!process_exit_due(p))
        return 0;
    size_t n = say_exit(p, buf, room);
    process_remove(a, p);
    return n;
}

size_t process_say(struct agent *a, uint8_t *buf, size_t room)
{
    struct process *p;
    while ((p = a->processes.first_ready) != NULL) {
        ready_remove(a, p);
        size_t n = say_one(a, p, buf, room);
        process_wake(a, p);
        if (n)
            return n;
    }
    return 0;
}

/* ---- what the host wants of it --------------------------------------------------------------------------------------------------- */

int process_signal(struct agent *a, uint64_t id, int signal, bool group, struct report *r)
{
    struct process *p = process_find(a, id);
    if (!p || p->state > PROCESS_RUNNING)
        return report_set(r, ESRCH, "no process %llu", (unsigned long long)id);
    if (signal < 0 || signal >= NSIG)
        return report_set(r, EINVAL, "no signal %d", signal);
    /* Its pid cannot have been reused: it has not been reaped. Before setsid() it has no group of its own yet. */
    if (group && kill(-p->pid, signal) == 0)
        return 0;
    if (kill(p->pid, signal) < 0)
        return report_set(r, errno, "signal %d to process %llu", signal, (unsigned long long)id);
    return 0;
}

int process_resize(struct agent *a, uint64_t id, uint16_t rows, uint16_t columns, struct report *r)
{
    struct process *p = process_find(a, id);
    if (!p || p->output[0].watch.fd < 0)
        return report_set(r, ESRCH, "no process %llu", (unsigned long long)id);
    struct winsize size = { .ws_row = rows, .ws_col = columns };
    if (!p->terminal)
        return report_set(r, ENOTTY, "process %llu has no terminal", (unsigned long long)id);
    if (ioctl(p->output[0].watch.fd, TIOCSWINSZ, &size) < 0)
        return report_set(r, errno, "window size of process %llu", (unsigned long long)id);
    return 0;
}
