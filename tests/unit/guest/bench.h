/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The test bench of the guest agent: the agent's engine as it is in the guest, in a child process that speaks the protocol over a socket pair
 * instead of a virtio port. What only a virtual machine has (disks, namespaces, switching off) is replaced in bench.c; processes run
 * in the host's own file system.
 */
#ifndef TESTS_GUEST_BENCH_H
#define TESTS_GUEST_BENCH_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#include <setjmp.h>

#include <cmocka.h>

#include "wire/wire.h"

struct bench {
    int fd;
    pid_t agent;
    uint64_t last_id;
    uint8_t *in;
    size_t in_have, in_size, in_used;
    bool ended;  /* the agent has closed its end */
    bool greedy; /* gives credit for everything at once: the default */
    unsigned notes;
};

struct frame {
    uint16_t type;
    uint64_t id;
    const uint8_t *payload; /* until the next bench_next() */
    size_t n;
};

struct result {
    uint64_t kind, status, user, system, rss;
    uint8_t *out[2];
    size_t n[2];
    unsigned frames;
    bool gone;
};

/* cmocka set-up and tear-down; *state is the bench. greeted and rooted, ready for RUN. */
int bench_setup(void **state);
int bench_teardown(void **state);
/* The agent alone: not greeted, nothing asked. */
struct bench *bench_new(void);
void bench_free(struct bench *b);

void bench_send(struct bench *b, uint16_t type, uint64_t id, const void *payload, size_t n);
/* The next frame, within ten seconds; false when the agent has closed. Fails the test when there is none. */
bool bench_next(struct bench *b, struct frame *f);
/* The next frame if one comes within ms. */
bool bench_poll(struct bench *b, struct frame *f, int ms);

/* A request being written. */
struct request_writer {
    struct wire_writer w;
    uint8_t buf[WIRE_HEADER + 65536];
};
void request_begin(struct request_writer *q);
/* Sends it and returns its id. */
uint64_t request_send(struct bench *b, struct request_writer *q, uint16_t type);
/* Waits for the ANSWER of that id, passing over nothing but NOTEs; returns its errno, and its text if text is not NULL (256 bytes). */
int request_answer(struct bench *b, uint64_t id, char *text);

/* Begins a RUN with these arguments, the last one NULL. */
void run_begin(struct request_writer *q, const char *arg0, ...);
/* Sends it; 0 and *id, or the errno of the answer. */
int run_send(struct bench *b, struct request_writer *q, uint64_t *id);
/* Runs "sh -c COMMAND" and waits for its end. */
void run_shell(struct bench *b, const char *command, struct result *r);
/* Collects everything of that process up to EXIT. */
void run_finish(struct bench *b, uint64_t id, struct result *r);
/* One frame of it. false after EXIT. */
bool run_take(struct bench *b, uint64_t id, struct result *r, const struct frame *f);
void result_clear(struct result *r);
void credit_give(struct bench *b, uint64_t id, uint64_t stream, uint64_t count);
/* The stream's bytes as text. */
const char *result_text(struct result *r, int stream);

#endif
