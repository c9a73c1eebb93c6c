/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/jobs.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

struct job {
    void (*fn)(void *arg);
    void *arg;
};

struct jobs {
    pthread_mutex_t lock;
    pthread_cond_t more, less; /* a job has come; a thread has ended */
    struct job *ring;
    size_t size, first, count;
    size_t running; /* threads that take jobs */
    bool ending;
    size_t started; /* threads that are to be joined */
    pthread_t threads[];
};

static void *work(void *arg)
{
    struct jobs *j = arg;
    pthread_mutex_lock(&j->lock);
    for (;;) {
        while (j->count == 0 && !j->ending)
            pthread_cond_wait(&j->more, &j->lock);
        if (j->count == 0)
            break;
        struct job job = j->ring[j->first];
        j->first = (j->first + 1) % j->size;
        j->count--;
        pthread_mutex_unlock(&j->lock);
        job.fn(job.arg);
        pthread_mutex_lock(&j->lock);
    }
    j->running--;
    pthread_cond_signal(&j->less);
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

int jobs_new(struct jobs **out, size_t threads, size_t most, struct gv_error *err)
{
    struct jobs *j = gv_calloc(1, sizeof(*j) + threads * sizeof(j->threads[0]));
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->more, NULL);
    pthread_cond_init(&j->less, &clock);
    pthread_condattr_destroy(&clock);
    j->size = most;
    j->ring = gv_reallocarray(NULL, most, sizeof(*j->ring));
    for (size_t i = 0; i < threads; i++) {
        pthread_mutex_lock(&j->lock);
        int rc = pthread_create(&j->threads[i], NULL, work, j);
        if (rc == 0)
            j->running = ++j->started;
        pthread_mutex_unlock(&j->lock);
        if (rc != 0) {
            jobs_end(j, UINT32_MAX);
            jobs_free(j);
            return gv_error_set(err, GV_E_IO, rc, "cannot start a thread");
        }
    }
    *out = j;
    return 0;
}

bool jobs_submit(struct jobs *j, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&j->lock);
    bool taken = !j->ending && j->count < j->size;
    if (taken) {
        j->ring[(j->first + j->count++) % j->size] = (struct job){ fn, arg };
        pthread_cond_signal(&j->more);
    }
    pthread_mutex_unlock(&j->lock);
    return taken;
}

bool jobs_end(struct jobs *j, uint64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&j->lock);
    j->ending = true;
    pthread_cond_broadcast(&j->more);
    int rc = 0;
    while (j->running > 0 && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&j->less, &j->lock, &until);
    bool ended = j->running == 0;
    pthread_mutex_unlock(&j->lock);
    for (; ended && j->started > 0; j->started--)
        pthread_join(j->threads[j->started - 1], NULL);
    return ended;
}

void jobs_free(struct jobs *j)
{
    if (!j)
        return;
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->more);
    pthread_cond_destroy(&j->less);
    free(j->ring);
    free(j);
}
