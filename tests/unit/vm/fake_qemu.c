/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A QEMU and its guest in a few lines, for the tests of the state machine: it takes the descriptors from the arguments that vm/args.c
 * makes, speaks just enough QMP and agent protocol, and misbehaves as the file ../share/qemu/mode says, which is where QEMU's own files would be;
 * where there is none, the directory's name is the mode. It is started as a copy named qemu-system-x86_64.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_qemu.h"
#include "wire/wire.h"

int agent_fd = -1, qmp_fd = -1, console_fd = -1;
static char mode[32];
static uint64_t sleeping[16]; /* processes that have not ended */
static size_t sleeping_count;

static int is(const char *m)
{
    return !strcmp(mode, m);
}

void put(int fd, const void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = write(fd, (const char *)p + done, n - done);
        if (k < 0 && errno != EINTR)
            exit(0);
        done += k > 0 ? (size_t)k : 0;
    }
}

static void put_text(int fd, const char *text)
{
    put(fd, text, strlen(text));
}

void say(uint16_t type, uint64_t id, uint16_t key1, uint64_t value1, uint16_t key2, uint64_t value2)
{
    uint8_t frame[128];
    struct wire_writer w;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, key1, value1);
    if (key2)
        wire_put_number(&w, key2, value2);
    put(agent_fd, frame, wire_frame_end(&w, type, id));
}

static void say_data(uint64_t id, const char *text)
{
    uint8_t frame[WIRE_HEADER + 64];
    size_t n = strlen(text);
    wire_header_put(frame, &(struct wire_header){ .length = (uint32_t)n + 1, .type = WIRE_DATA, .id = id });
    frame[WIRE_HEADER] = 1;
    memcpy(frame + WIRE_HEADER + 1, text, n);
    put(agent_fd, frame, WIRE_HEADER + 1 + n);
}

static void refuse(uint64_t id, int sys, const char *text)
{
    uint8_t frame[256];
    struct wire_writer w;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_ERRNO, (uint64_t)sys);
    wire_put_text(&w, KEY_TEXT, text);
    put(agent_fd, frame, wire_frame_end(&w, WIRE_ANSWER, id));
}

static _Noreturn void end_guest(const char *reason)
{
    char event[128];
    snprintf(event, sizeof(event), "{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true,\"reason\":\"%s\"}}\r\n", reason);
    put_text(qmp_fd, event);
    exit(0);
}

static void run(uint64_t id, const uint8_t *payload, size_t n)
{
    struct wire_field program;
    if (wire_find(payload, n, KEY_ARG, &program) != 1)
        exit(3);
    if (is("norun"))
        return;
    if (is("crash")) {
        put_text(console_fd, "before\r\nKernel panic - not syncing: the test says so\r\ntrace\r\n");
        end_guest("guest-reset");
    }
    if (is("off"))
        end_guest("guest-shutdown");
    if (is("abort"))
        abort();
    if (is("garbage"))
        put_text(agent_fd, "this is no frame at all, is it");
    if (lie(mode, AT_RUN, id))
        return;
    say(WIRE_ANSWER, id, KEY_ERRNO, 0, 0, 0);
    say_data(id, "hello\n");
    if (lie(mode, AT_RUNNING, id))
        return;
    if (program.length == 5 && !memcmp(program.value, "sleep", 5) && sleeping_count < 16)
        sleeping[sleeping_count++] = id;
    else
        say(WIRE_EXIT, id, KEY_KIND, WIRE_EXITED, KEY_STATUS, 5);
    if (is("ends")) /* everything was said, then QEMU is gone */
        exit(0);
}

static void request(const struct wire_header *h, const uint8_t *payload)
{
    if (h->type < WIRE_ROOT || is("deaf"))
        return;
    if (h->type == WIRE_ROOT && is("rootfails"))
        refuse(h->id, EINVAL, "no squashfs on image-0");
    else if (h->type == WIRE_MOUNT && is("mountfails"))
        refuse(h->id, ENOTDIR, "a file is in the way");
    else if (h->type == WIRE_ROOT && lie(mode, AT_ROOT, h->id))
        return;
    else if (h->type == WIRE_RUN)
        run(h->id, payload, h->length);
    else if (h->type == WIRE_SHUTDOWN) {
        if (is("stubborn") || lie(mode, AT_SHUTDOWN, h->id))
            return;
        for (size_t i = 0; i < sleeping_count; i++)
            say(WIRE_EXIT, sleeping[i], KEY_KIND, WIRE_SIGNALLED, KEY_STATUS, SIGTERM);
        say(WIRE_ANSWER, h->id, KEY_ERRNO, 0, 0, 0);
    } else {
        say(WIRE_ANSWER, h->id, KEY_ERRNO, 0, 0, 0);
    }
}

static void agent_input(void)
{
    static uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX];
    static size_t have;
    ssize_t n = read(agent_fd, buf + have, sizeof(buf) - have);
    if (n <= 0)
        exit(0);
    have += (size_t)n;
    for (;;) {
        struct wire_header h;
        const uint8_t *payload;
        size_t used;
        if (wire_frame_get(buf, have, WIRE_PAYLOAD_MAX, &h, &payload, &used) != 1)
            return;
        request(&h, payload);
        have -= used;
        memmove(buf, buf + used, have);
    }
}

static void qmp_input(void)
{
    char buf[4096];
    ssize_t n = read(qmp_fd, buf, sizeof(buf) - 1);
    if (n <= 0)
        exit(0);
    buf[n] = '\0';
    if (strstr(buf, "qmp_capabilities"))
        put_text(qmp_fd, "{\"return\":{}}\r\n");
    if (strstr(buf, "inject-nmi") && !is("dead")) {
        put_text(console_fd, "last line\r\nUhhuh. NMI received for unknown reason\r\nKernel panic - not syncing: NMI\r\n");
        end_guest("guest-reset");
    }
    if (strstr(buf, "\"quit\""))
        end_guest("host-qmp-quit");
}

int main(int argc, char **argv)
{
    char path[4096];
    const char *slash = strrchr(argv[0], '/');
    snprintf(path, sizeof(path), "%.*s/../share/qemu/mode", slash ? (int)(slash - argv[0]) : 0, argv[0]);
    FILE *f = fopen(path, "re");
    if (f) {
        if (!fgets(mode, sizeof(mode), f))
            return 9;
        fclose(f);
        mode[strcspn(mode, "\n")] = '\0';
    } else {
        snprintf(path, sizeof(path), "%.*s", slash ? (int)(slash - argv[0]) : 0, argv[0]);
        const char *name = strrchr(path, '/');
        snprintf(mode, sizeof(mode), "%.31s", name ? name + 1 : path);
    }
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        puts("QEMU emulator version 1.2.3 (a fake)\nCopyright");
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        sscanf(argv[i], "socket,id=agent,fd=%d", &agent_fd);
        sscanf(argv[i], "socket,id=qmp,fd=%d", &qmp_fd);
        sscanf(argv[i], "socket,id=console,fd=%d", &console_fd);
    }
    if (agent_fd < 0 || qmp_fd < 0 || console_fd < 0)
        return 8;
    if (is("nomemory")) {
        fprintf(stderr, "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory\n");
        return 1;
    }
    put_text(qmp_fd, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
    put_text(console_fd, "booting\r\n");
    if (is("noboot"))
        end_guest("guest-reset");
    if (!is("silent") && !is("dead") && !lie(mode, AT_HELLO, 0))
        say(WIRE_HELLO, 0, KEY_VERSION_MIN, is("newer") ? 99 : 1, KEY_VERSION_MAX, is("newer") ? 99 : WIRE_VERSION);
    struct pollfd fds[2] = { { .fd = agent_fd, .events = POLLIN }, { .fd = qmp_fd, .events = POLLIN } };
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return 7;
        if (fds[0].revents)
            agent_input();
        if (fds[1].revents)
            qmp_input();
    }
}
