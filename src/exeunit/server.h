/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `exeunit`: what server.c (the VM, the supervisor's requests, the end) and runs.c (processes) share.
 *
 * States only go forward:
 *
 *   BOOTING   stdin is read as far as the first requests, but nothing is answered: the answer to Hello says that the VM is up
 *   SERVING   requests are answered
 *   STOPPING  the VM shuts down; what its processes still say is passed on
 *   LEAVING   the VM is gone and all answers are given; they are written out, and the supervisor gets a moment to read them before we end,
 *             because it may see our end before our last words (its reader and its watcher race)
 */
#ifndef GV_EXEUNIT_SERVER_H
#define GV_EXEUNIT_SERVER_H

#include "exeunit/deployment.h"
#include "exeunit/meter.h"
#include "exeunit/outbox.h"
#include "exeunit/proto.h"
#include "gvmi/gvmi.h"

enum server_state { SERVER_BOOTING, SERVER_SERVING, SERVER_STOPPING, SERVER_LEAVING };

#define RUN_BUCKETS 256U
#define SERVER_SIGNALS 3U

struct network;
struct run;

struct server {
    const struct exeunit_options *o;
    const struct gv_log *log;
    uv_loop_t loop;
    enum server_state state;

    struct deployment deployment;
    struct gvmi_image *image;
    const struct image_config *config; /* of the image */
    struct gv_strv env, entrypoint;    /* of every program; the words of `start-entrypoint`, or empty */
    char *workdir;
    int lock;

    struct network *network;
    struct vm *vm;
    bool vm_over;    /* ended, or never started */
    bool start_over; /* it never got as far as serving: every request is answered with why */
    bool holding;    /* vm_hold is on */

    struct gv_stdio in;
    uv_poll_t in_poll;
    bool in_poll_open, in_polling, in_ended;
    struct proto_frames frames;
    struct outbox out;
    struct meter meter;
    uv_timer_t timer, count; /* count: of the counters */
    uv_signal_t signals[SERVER_SIGNALS];
    bool lingering, finished;

    uint64_t *shutdown_ids; /* requests to be answered when the VM is gone */
    size_t shutdown_count;

    char *last_words; /* why we end the VM, when its processes are to be told; else NULL */

    struct run *runs[RUN_BUCKETS]; /* started and not ended, by pid */
    uint64_t last_pid;
    size_t starting, running; /* the entrypoint not counted */
    size_t captured;          /* bytes that at_end may keep, of all runs */
    int entry_log;            /* where the entrypoint's output goes, or -1 */
    size_t entry_logged;

    int status;          /* of our process */
    struct gv_error why; /* the first failure, of which status 1 or more comes */
};

/* server.c: what waits has grown or shrunk: brakes the guest, or lets it go on. */
void server_balance(struct server *s);
/* The entrypoint runs, or there is none: requests are read now. */
void server_serve(struct server *s);
/* The entrypoint could not be started. */
void server_start_failed(struct server *s, const struct gv_error *why);
/* An error answer. context as in proto_put_error(). */
void server_refuse(struct server *s, uint64_t id, enum proto_error code, const char *message, const struct gv_strv *context);

/* runs.c: each answers the request, now or later. */
void runs_start(struct server *s, const struct proto_request *r);
void runs_kill(struct server *s, const struct proto_request *r);
/* Starts the image's entrypoint; server_serve() or server_start_failed() follows. */
void runs_start_entrypoint(struct server *s);
/* Output of a process has left us. */
void runs_sent(struct server *s, uint64_t pid, int stream, size_t n);

#endif
