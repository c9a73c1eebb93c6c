/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The end. TERM to every process of the payload; when the last one that RUN started is gone, PID 1 of the payload is asked to end, which it
 * does once it has no orphans left. So its death means that nobody is left, and comes as early as it can. After the grace the
 * kernel is told to kill PID 1, and kills everything in its namespace with it. Then what the dead still had to say is sent, file systems
 * are flushed, the request is answered, and the machine is switched off.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "guest/agent/agent.h"

#define SHUTDOWN_KILL_MS 1000U  /* for processes to die of SIGKILL */
#define SHUTDOWN_FLUSH_MS 1000U /* for the host to take the last output */
#define SHUTDOWN_UMOUNTS 50

void shutdown_begin(struct agent *a, bool answer, uint64_t id, uint64_t grace_ms)
{
    struct shutdown *s = &a->shutdown;
    if (s->phase != SHUTDOWN_NOT)
        return;
    s->phase = SHUTDOWN_TERM;
    s->answer = answer;
    s->id = id;
    s->deadline = clock_ms() + grace_ms;
    if (a->payload.init > 0 && grace_ms)
        kill(-1, SIGTERM);
}

static void shutdown_kill(struct agent *a)
{
    a->shutdown.phase = SHUTDOWN_KILL;
    a->shutdown.deadline = clock_ms() + SHUTDOWN_KILL_MS;
    if (a->payload.init > 0)
        kill(a->payload.init, SIGKILL);
}

static void shutdown_flush(struct agent *a)
{
    a->shutdown.phase = SHUTDOWN_FLUSH;
    a->shutdown.deadline = clock_ms() + SHUTDOWN_FLUSH_MS;
}

static void shutdown_disks(const struct agent *a)
{
    sync();
    /* The overlay goes with the payload's mount namespace, which the kernel takes apart a moment after the last process. */
    for (int i = 0; a->payload.upper_disk && i < SHUTDOWN_UMOUNTS && umount2("/u", 0) < 0 && errno == EBUSY; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

static void shutdown_finish(struct agent *a)
{
    /* What still says nothing now will never. */
    if (a->payload.upper >= 0)
        close(steal_fd(&a->payload.upper));
    shutdown_disks(a);
    if (a->shutdown.answer)
        channel_answer(a, a->shutdown.id, &(struct report){ 0 });
    uint64_t until = clock_ms() + SHUTDOWN_FLUSH_MS;
    while (!a->lost && !channel_empty(a) && clock_ms() < until) {
        a->channel.writable = true;
        channel_turn(a);
    }
    a->over = true;
}

/* Nobody of the payload is left. */
static bool shutdown_alone(const struct agent *a)
{
    return a->payload.init <= 0 && (a->payload.init_fd >= 0 || process_dead(a));
}

/* The phase has reached what it was waiting for. */
static bool shutdown_reached(const struct agent *a)
{
    if (a->shutdown.phase == SHUTDOWN_FLUSH)
        return a->lost || (process_none(a) && channel_empty(a));
    return shutdown_alone(a);
}

void shutdown_turn(struct agent *a)
{
    struct shutdown *s = &a->shutdown;
    if (s->phase == SHUTDOWN_NOT)
        return;
    if (s->phase == SHUTDOWN_TERM && !s->asked && a->payload.init > 0 && process_dead(a)) {
        s->asked = true;
        kill(a->payload.init, PAYLOAD_END);
    }
    while (!a->over && (shutdown_reached(a) || clock_ms() >= s->deadline)) {
        if (s->phase == SHUTDOWN_FLUSH)
            shutdown_finish(a);
        else if (s->phase == SHUTDOWN_TERM && !shutdown_alone(a))
            shutdown_kill(a);
        else
            shutdown_flush(a);
    }
}

int shutdown_wait(const struct agent *a)
{
    if (a->shutdown.phase == SHUTDOWN_NOT)
        return -1;
    uint64_t now = clock_ms();
    return now >= a->shutdown.deadline ? 0 : (int)(a->shutdown.deadline - now);
}
