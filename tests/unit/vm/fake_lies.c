/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The lies of a hostile guest (and of a QEMU that it has taken over), each by its name. What the host makes of them is in
 * tests/e2e/hostile.py, whose table has the same names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_qemu.h"
#include "wire/wire.h"

#define HUGE 60000U
#define FLOOD (64U << 20) /* bytes */

/* A header that says what it is told to, and then that many bytes of something. */
static void raw(uint32_t length, uint16_t type, uint16_t reserved, uint64_t id, const void *payload, size_t n)
{
    uint8_t h[WIRE_HEADER];
    wire_header_put(h, &(struct wire_header){ .length = length, .type = type, .id = id });
    h[6] = (uint8_t)reserved;
    put(agent_fd, h, sizeof(h));
    if (n)
        put(agent_fd, payload, n);
}

/* A message with a field that says it has `length` bytes, and has n. */
static void field(uint16_t type, uint64_t id, uint16_t key, uint32_t length, const void *value, size_t n)
{
    static uint8_t payload[6 + HUGE];
    payload[0] = (uint8_t)key;
    payload[1] = (uint8_t)(key >> 8);
    for (int i = 0; i < 4; i++)
        payload[2 + i] = (uint8_t)(length >> (8 * i));
    memcpy(payload + 6, value, n);
    raw((uint32_t)(6 + n), type, 0, id, payload, 6 + n);
}

static void data(uint64_t id, uint8_t stream, size_t n)
{
    static uint8_t payload[1 + WIRE_DATA_MAX + 1];
    payload[0] = stream;
    memset(payload + 1, 'x', sizeof(payload) - 1);
    raw((uint32_t)(1 + n), WIRE_DATA, 0, id, payload, 1 + n);
}

static void answer(uint64_t id, uint64_t sys)
{
    say(WIRE_ANSWER, id, KEY_ERRNO, sys, 0, 0);
}

static void refuse_with(uint64_t id, const char *text, size_t n)
{
    static uint8_t frame[WIRE_HEADER + HUGE + 64];
    struct wire_writer w;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_ERRNO, 22);
    wire_put_bytes(&w, KEY_TEXT, text, n);
    put(agent_fd, frame, wire_frame_end(&w, WIRE_ANSWER, id));
}

static void greet(uint64_t id, uint64_t least, uint64_t most)
{
    say(WIRE_HELLO, id, KEY_VERSION_MIN, least, KEY_VERSION_MAX, most);
}

static void end(uint64_t id, uint64_t kind, uint64_t status)
{
    say(WIRE_EXIT, id, KEY_KIND, kind, KEY_STATUS, status);
}

/* A greeting a byte at a time. */
static void greet_slowly(size_t bytes)
{
    uint8_t frame[128];
    struct wire_writer w;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_VERSION_MIN, 1);
    wire_put_number(&w, KEY_VERSION_MAX, 1);
    size_t n = wire_frame_end(&w, WIRE_HELLO, 0);
    for (size_t i = 0; i < n && i < bytes; i++) {
        put(agent_fd, frame + i, 1);
        usleep(5000);
    }
}

static void flood(int fd, char byte)
{
    static char piece[65536];
    memset(piece, byte, sizeof(piece));
    for (size_t done = 0; done < FLOOD; done += sizeof(piece))
        put(fd, piece, sizeof(piece));
}

static void flood_notes(void)
{
    static char text[WIRE_GUEST_PAYLOAD_MAX - 6];
    memset(text, 'n', sizeof(text));
    for (size_t done = 0; done < FLOOD; done += 50000)
        field(WIRE_NOTE, 0, KEY_TEXT, 50000, text, 50000);
}

static bool lie_about_hello(const char *is)
{
    if (!strcmp(is, "hello-twice")) {
        greet(0, 1, 1);
        greet(0, 1, 1);
    } else if (!strcmp(is, "hello-never")) {
        return true;
    } else if (!strcmp(is, "hello-half")) {
        greet_slowly(10);
        exit(0);
    } else if (!strcmp(is, "hello-slowly")) {
        greet_slowly(1000);
    } else if (!strcmp(is, "hello-versions")) {
        greet(0, 3, 1);
    } else if (!strcmp(is, "hello-none")) {
        say(WIRE_HELLO, 0, KEY_AGENT, 0, 0, 0);
    } else if (!strcmp(is, "hello-future")) {
        greet(0, 1U << 31, UINT64_MAX);
    } else if (!strcmp(is, "hello-id")) {
        greet(7, 1, 1);
    } else if (!strcmp(is, "answer-first")) {
        answer(1, 0);
    } else if (!strcmp(is, "length-max")) {
        raw(UINT32_MAX, WIRE_HELLO, 0, 0, "", 0);
    } else if (!strcmp(is, "length-over")) {
        raw(WIRE_GUEST_PAYLOAD_MAX + 1, WIRE_HELLO, 0, 0, "", 0);
    } else if (!strcmp(is, "reserved")) {
        raw(0, WIRE_HELLO, 1, 0, "", 0);
    } else if (!strcmp(is, "qmp-garbage")) {
        put(qmp_fd, "this is no JSON\n", 16);
    } else if (!strcmp(is, "qmp-endless")) {
        flood(qmp_fd, '{');
    } else if (!strcmp(is, "qmp-array")) {
        put(qmp_fd, "[1,2,3]\n", 8);
    } else if (!strcmp(is, "console-flood")) {
        flood(console_fd, 'c');
        greet(0, 1, 1);
    } else if (!strcmp(is, "stderr-flood")) {
        flood(STDERR_FILENO, 'e');
        greet(0, 1, 1);
    } else {
        return false;
    }
    return true;
}

static bool lie_about_answers(const char *is, enum moment when, uint64_t id)
{
    if (!strcmp(is, "root-twice") && when == AT_ROOT) {
        answer(id, 0);
        answer(id, 0);
    } else if (when != AT_RUN) {
        return false;
    } else if (!strcmp(is, "run-never")) {
        return true;
    } else if (!strcmp(is, "answer-twice")) {
        answer(id, 0);
        answer(id, 0);
    } else if (!strcmp(is, "answer-empty")) {
        raw(0, WIRE_ANSWER, 0, id, "", 0);
    } else if (!strcmp(is, "answer-errno")) {
        answer(id, 5000);
    } else if (!strcmp(is, "answer-negative")) {
        answer(id, (uint64_t)-2);
    } else if (!strcmp(is, "answer-short")) {
        field(WIRE_ANSWER, id, KEY_ERRNO, 4, "\2\0\0\0", 4);
    } else if (!strcmp(is, "text-giant")) {
        static char text[HUGE];
        memset(text, 'T', sizeof(text));
        refuse_with(id, text, sizeof(text));
    } else if (!strcmp(is, "text-control")) {
        refuse_with(id, "one\ntwo\x1b[31mred\r\0\xff\xfe", 20);
    } else if (!strcmp(is, "data-early")) {
        data(id, 1, 5);
    } else if (!strcmp(is, "exit-early")) {
        end(id, WIRE_EXITED, 0);
    } else if (!strcmp(is, "id-nobodys")) {
        end(id + 1000, WIRE_EXITED, 0);
    } else if (!strcmp(is, "id-zero")) {
        end(0, WIRE_EXITED, 0);
    } else if (!strcmp(is, "close")) {
        exit(0);
    } else {
        return false;
    }
    return true;
}

static bool lie_about_exit(const char *is, uint64_t id)
{
    static const struct {
        const char *is;
        uint64_t kind, status;
    } ends[] = {
        { "exit-256", WIRE_EXITED, 256 },
        { "exit-negative", WIRE_EXITED, UINT64_MAX },
        { "signal-0", WIRE_SIGNALLED, 0 },
        { "signal-128", WIRE_SIGNALLED, 128 },
        { "exit-kind", 3, 0 },
        { "exit-kind-huge", UINT64_MAX, 0 },
        { "dumped-negative", WIRE_DUMPED, -11ULL },
    };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (!strcmp(is, ends[i].is)) {
            end(id, ends[i].kind, ends[i].status);
            return true;
        }
    if (!strcmp(is, "exit-twice")) {
        end(id, WIRE_EXITED, 0);
        end(id, WIRE_EXITED, 0);
    } else if (!strcmp(is, "exit-empty")) {
        raw(0, WIRE_EXIT, 0, id, "", 0);
    } else if (!strcmp(is, "exit-field")) {
        field(WIRE_EXIT, id, KEY_KIND, UINT32_MAX, "12345678", 8);
    } else if (!strcmp(is, "exit-number")) {
        field(WIRE_EXIT, id, KEY_KIND, 7, "1234567", 7);
    } else if (!strcmp(is, "exit-cut")) {
        raw(3, WIRE_EXIT, 0, id, "\1\0\0", 3);
    } else if (!strcmp(is, "data-late")) {
        end(id, WIRE_EXITED, 0);
        data(id, 1, 5);
    } else {
        return false;
    }
    return true;
}

static bool lie_about_process(const char *is, uint64_t id)
{
    if (!strcmp(is, "data-stream-0")) {
        data(id, 0, 5);
    } else if (!strcmp(is, "data-stream-9")) {
        data(id, 9, 5);
    } else if (!strcmp(is, "data-empty")) {
        data(id, 1, 0);
    } else if (!strcmp(is, "data-none")) {
        raw(0, WIRE_DATA, 0, id, "", 0);
    } else if (!strcmp(is, "data-long")) {
        data(id, 1, WIRE_DATA_MAX + 1);
    } else if (!strcmp(is, "data-credit")) {
        for (;;)
            data(id, 1, WIRE_DATA_MAX);
    } else if (!strcmp(is, "credit-stream")) {
        say(WIRE_CREDIT, id, KEY_STREAM, 1, KEY_COUNT, 10);
    } else if (!strcmp(is, "credit-huge")) {
        say(WIRE_CREDIT, id, KEY_STREAM, 0, KEY_COUNT, UINT64_MAX);
    } else if (!strcmp(is, "input-twice")) {
        raw(0, WIRE_INPUT_GONE, 0, id, "", 0);
        raw(0, WIRE_INPUT_GONE, 0, id, "", 0);
    } else if (!strcmp(is, "type-unknown")) {
        raw(0, 999, 0, id, "", 0);
    } else if (!strcmp(is, "type-request")) {
        raw(0, WIRE_RUN, 0, id, "", 0);
    } else if (!strcmp(is, "hello-later")) {
        greet(0, 1, 1);
    } else if (!strcmp(is, "note-id")) {
        field(WIRE_NOTE, id, KEY_TEXT, 1, "n", 1);
    } else if (!strcmp(is, "note-flood")) {
        flood_notes();
        end(id, WIRE_EXITED, 5);
    } else if (!strcmp(is, "usage-huge")) {
        uint8_t frame[256];
        struct wire_writer w;
        wire_frame_begin(&w, frame, sizeof(frame));
        wire_put_number(&w, KEY_KIND, WIRE_EXITED);
        wire_put_number(&w, KEY_STATUS, 5);
        wire_put_number(&w, KEY_CPU_USER, UINT64_MAX);
        wire_put_number(&w, KEY_CPU_SYSTEM, UINT64_MAX);
        wire_put_number(&w, KEY_MAX_RSS, UINT64_MAX);
        put(agent_fd, frame, wire_frame_end(&w, WIRE_EXIT, id));
    } else if (!strcmp(is, "garbage")) {
        put(agent_fd, "\xff\xfe\xfd this is no frame at all, is it", 34);
    } else {
        return lie_about_exit(is, id);
    }
    return true;
}

static bool lie_about_shutdown(const char *is, uint64_t id)
{
    if (!strcmp(is, "shutdown-never"))
        return true;
    if (!strcmp(is, "shutdown-twice")) {
        answer(id, 0);
        answer(id, 0);
        return true;
    }
    if (!strcmp(is, "shutdown-refused")) {
        answer(id, 1);
        return true;
    }
    return false;
}

bool lie(const char *name, enum moment when, uint64_t id)
{
    switch (when) {
    case AT_HELLO:
        return lie_about_hello(name);
    case AT_ROOT:
    case AT_RUN:
        return lie_about_answers(name, when, id);
    case AT_RUNNING:
        return lie_about_process(name, id);
    case AT_SHUTDOWN:
        return lie_about_shutdown(name, id);
    }
    return false;
}
