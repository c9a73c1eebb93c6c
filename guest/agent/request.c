/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From frames to verbs. A request that makes no sense is answered with an errno and says why; only what cannot be answered (a message
 * that is not a request, more bytes than the credit allows, a frame before the greeting) is an error of the protocol and ends the machine.
 */
#include <errno.h>
#include <string.h>

#include "guest/agent/agent.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define TEXT_MAX AGENT_PATH_MAX
#define SHORT_MAX 256
#define STATS_ANSWER 1024

/* One request: its verb answers, now or later, exactly once. */
struct request {
    uint16_t type;
    bool early; /* allowed before ROOT is done */
    void (*handle)(struct agent *a, uint64_t id, const uint8_t *payload, size_t n);
};

static void request_root(struct agent *a, uint64_t id, const uint8_t *payload, size_t n)
{
    static const struct field_spec specs[] = {
        FIELD(struct root, disks, KEY_DISK, FIELD_TEXTS, true, SHORT_MAX),
        FIELD(struct root, upper_size, KEY_UPPER_SIZE, FIELD_NUMBER, false, INT64_MAX),
        FIELD(struct root, upper_disk, KEY_UPPER_DISK, FIELD_TEXT, false, SHORT_MAX),
        FIELD(struct root, hostname, KEY_HOSTNAME, FIELD_TEXT, false, 64),
        FIELD(struct root, shm_size, KEY_SHM_SIZE, FIELD_NUMBER, false, INT64_MAX),
        FIELD(struct root, tmp_size, KEY_TMP_SIZE, FIELD_NUMBER, false, INT64_MAX),
    };
    struct root root = { .upper_size = 128U << 20, .hostname = "gvmkit" };
    struct report r = { 0 };
    cleanup_free void *memory = NULL;
    if (fields_read(&memory, &root, specs, COUNT(specs), payload, n, &r) < 0) {
        channel_answer(a, id, &r);
        return;
    }
    if (!hosts_name_ok(root.hostname)) {
        report_set(&r, EINVAL, "'%s' cannot be a host name", root.hostname);
        channel_answer(a, id, &r);
        return;
    }
    if (a->payload.tried) {
        report_set(&r, EALREADY, "the root is mounted, or has failed to be, already");
        channel_answer(a, id, &r);
        return;
    }
    a->payload.tried = true;
    root_mount(a, id, &root);
}

static int run_check(struct agent *a, const struct run *run, struct report *r)
{
    if (run->argv.n == 0)
        return report_set(r, EINVAL, "no argument 0");
    if (run->path[0] == '\0')
        return report_set(r, ENOENT, "the program's name is empty");
    if (run->builtin && run->terminal)
        return report_set(r, EINVAL, "a builtin has no terminal");
    for (size_t i = 0; i < run->groups.n; i++)
        if (run->groups.v[i] >= UINT32_MAX)
            return report_set(r, EINVAL, "no group %llu", (unsigned long long)run->groups.v[i]);
    if (a->processes.count + a->processes.drains >= AGENT_PROCESSES_MAX)
        return report_set(r, EAGAIN, "%u processes run already", a->processes.count + a->processes.drains);
    if (a->payload.init == 0 && a->payload.init_fd >= 0)
        return report_set(r, EOWNERDEAD, "process 1 of the guest is dead, and with it its world");
    return 0;
}

static void request_run(struct agent *a, uint64_t id, const uint8_t *payload, size_t n)
{
    static const struct field_spec specs[] = {
        FIELD(struct run, argv, KEY_ARG, FIELD_TEXTS, true, 0),
        FIELD(struct run, env, KEY_ENV, FIELD_TEXTS, false, 0),
        FIELD(struct run, path, KEY_PATH, FIELD_TEXT, false, TEXT_MAX),
        FIELD(struct run, cwd, KEY_CWD, FIELD_TEXT, false, TEXT_MAX),
        FIELD(struct run, cwd_create, KEY_CWD_CREATE, FIELD_NUMBER, false, 1),
        FIELD(struct run, user, KEY_USER, FIELD_TEXT, false, SHORT_MAX),
        FIELD(struct run, groups, KEY_GROUP_EXTRA, FIELD_NUMBERS, false, 0),
        FIELD(struct run, rlimits, KEY_RLIMIT, FIELD_TEXTS, false, SHORT_MAX),
        FIELD(struct run, input, KEY_STDIN, FIELD_NUMBER, false, WIRE_STDIN_PIPE),
        FIELD(struct run, terminal, KEY_TTY, FIELD_NUMBER, false, 1),
        FIELD(struct run, rows, KEY_ROWS, FIELD_NUMBER, false, UINT16_MAX),
        FIELD(struct run, columns, KEY_COLUMNS, FIELD_NUMBER, false, UINT16_MAX),
        FIELD(struct run, default_env, KEY_DEFAULT_ENV, FIELD_NUMBER, false, 1),
        FIELD(struct run, builtin, KEY_BUILTIN, FIELD_NUMBER, false, WIRE_BUILTIN_UNPACK),
    };
    struct run run = { .cwd = "/", .user = "", .rows = 24, .columns = 80 };
    struct report r = { 0 };
    cleanup_free void *memory = NULL;
    struct spawn_ends ends = { .report = -1, .input = -1, .output = { -1, -1 } };
    pid_t pid;
    if (fields_read(&memory, &run, specs, COUNT(specs), payload, n, &r) < 0) {
        channel_answer(a, id, &r);
        return;
    }
    if (!run.path)
        run.path = run.argv.v[0];
    if (run_check(a, &run, &r) < 0 || spawn_run(a, &run, &pid, &ends, &r) < 0) {
        channel_answer(a, id, &r);
        return;
    }
    /* Without memory for it the child is not known, and is reaped as one that nobody asked for. */
    if (process_add(a, id, pid, run.terminal != 0, &ends) < 0) {
        report_set(&r, ENOMEM, "no memory for a process");
        channel_answer(a, id, &r);
    }
}

struct about {
    uint64_t id, rows, columns, signal, group, stream, count;
};

static void request_resize(struct agent *a, uint64_t id, const uint8_t *payload, size_t n)
{
    static const struct field_spec specs[] = {
        FIELD(struct about, id, KEY_ID, FIELD_NUMBER, true, 0),
        FIELD(struct about, rows, KEY_ROWS, FIELD_NUMBER, true, UINT16_MAX),
        FIELD(struct about, columns, KEY_COLUMNS, FIELD_NUMBER, true, UINT16_MAX),
    };
    struct about about = { 0 };
    struct report r = { 0 };
    cleanup_free void *memory = NULL;
    if (fields_read(&memory, &about, specs, COUNT(specs), payload, n, &r) == 0)
        process_resize(a, about.id, (uint16_t)about.rows, (uint16_t)about.columns, &r);
    channel_answer(a, id, &r);
}

static void request_signal(struct agent *a, uint64_t id, const uint8_t *payload, size_t n)
{
    static const struct field_spec specs[] = {
        FIELD(struct about, id, KEY_ID, FIELD_NUMBER, true, 0),
        FIELD(struct about, signal, KEY_SIGNAL, FIELD_NUMBER, true, 64),
        FIELD(struct about, group, KEY_GROUP, FIELD_NUMBER, false, 1),
    };
    struct about about = { 0 };
    struct report r = { 0 };
    cleanup_free void *memory = NULL;
    if (fields_read(&memory, &about, specs, COUNT(specs), payload, n, &r) == 0)
        process_signal(a, about.id, (int)about.signal, about.group != 0, &r);
    channel_answer(a, id, &r);
}

static void request_mount(struct agent *a, uint64_t id, const uint8_t *payload, size_t n)
{
    static const struct field_spec specs[] = {
        FIELD(struct volume, fs, KEY_FS, FIELD_TEXT, true, SHORT_MAX),
        FIELD(struct volume, tag, KEY_TAG, FIELD_TEXT, false, SHORT_MAX),
        FIELD(struct volume, path, KEY_PATH, FIELD_TEXT, true, TEXT_MAX - 1),
        FIELD(struct volume, owner, KEY_OWNER, FIELD_TEXT, false, SHORT_MAX),
        FIELD(struct volume, readonly, KEY_READONLY, FIELD_NUMBER, false, 1),
        FIELD(struct volume, size, KEY_SIZE, FIELD_NUMBER, false, INT64_MAX),
        FIELD(struct volume, mode, KEY_MODE, FIELD_NUMBER, false, 07777),
    };
    struct volume volume = { .mode = VOLUME_MODE_ABSENT };
    struct report r = { 0 };
    cleanup_free void *memory = NULL;
    if (fields_read(&memory, &volume, specs, COUNT(specs), payload, n, &r) < 0)
        channel_answer(a, id, &r);
    else
        job_start(a, id, volume_mount, &volume);
}

static void request_net(struct agent *a, uint64_t id, const uint8_t *payload, size_t n)
{
    static const struct field_spec specs[] = {
        FIELD(struct net, iface, KEY_IFACE, FIELD_TEXT, true, SHORT_MAX),
        FIELD(struct net, addresses, KEY_ADDRESS, FIELD_TEXTS, false, SHORT_MAX),
        FIELD(struct net, gateway, KEY_GATEWAY, FIELD_TEXT, false, SHORT_MAX),
        FIELD(struct net, routes, KEY_ROUTE, FIELD_TEXTS, false, SHORT_MAX),
        FIELD(struct net, mtu, KEY_MTU, FIELD_NUMBER, false, 65536),
        FIELD(struct net, mac, KEY_MAC, FIELD_TEXT, false, SHORT_MAX),
    };
    struct net net = { .gateway = "", .mac = "" };
    struct report r = { 0 };
    cleanup_free void *memory = NULL;
    if (fields_read(&memory, &net, specs, COUNT(specs), payload, n, &r) < 0)
        channel_answer(a, id, &r);
    else
        job_start(a, id, net_configure, &net);
}

static void request_hosts(struct agent *a, uint64_t id, const uint8_t *payload, size_t n)
{
    static const struct field_spec specs[] = {
        FIELD(struct hosts, hosts, KEY_HOST, FIELD_TEXTS, false, TEXT_MAX),
        FIELD(struct hosts, dns, KEY_DNS, FIELD_TEXTS, false, SHORT_MAX),
        FIELD(struct hosts, search, KEY_SEARCH, FIELD_TEXTS, false, SHORT_MAX),
    };
    struct hosts hosts = { 0 };
    struct report r = { 0 };
    cleanup_free void *memory = NULL;
    if (fields_read(&memory, &hosts, specs, COUNT(specs), payload, n, &r) < 0)
        channel_answer(a, id, &r);
    else
        job_start(a, id, hosts_write, &hosts);
}

static void request_clock(struct agent *a, uint64_t id, const uint8_t *payload, size_t n)
{
    static const struct field_spec specs[] = {
        FIELD(struct clock, seconds, KEY_SECONDS, FIELD_NUMBER, false, INT64_MAX / 1000000000),
        FIELD(struct clock, nanoseconds, KEY_NANOSECONDS, FIELD_NUMBER, false, 999999999),
        FIELD(struct clock, seed, KEY_SEED, FIELD_BYTES, false, 4096),
    };
    struct clock clock = { .seconds = CLOCK_ABSENT };
    struct report r = { 0 };
    cleanup_free void *memory = NULL;
    if (fields_read(&memory, &clock, specs, COUNT(specs), payload, n, &r) == 0) {
        clock_set(&clock, &r);
        /* The seed must not be found in a child's copy of this memory. */
        explicit_bzero((void *)(uintptr_t)clock.seed.p, clock.seed.n);
    }
    explicit_bzero((void *)(uintptr_t)payload, n);
    channel_answer(a, id, &r);
}

static void request_stats(struct agent *a, uint64_t id, const uint8_t *payload, size_t n)
{
    (void)payload;
    (void)n;
    uint8_t frame[STATS_ANSWER];
    struct wire_writer w;
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_ERRNO, 0);
    stats_put(a, &w);
    channel_answer_with(a, id, &w);
}

static void request_sync(struct agent *a, uint64_t id, const uint8_t *payload, size_t n)
{
    (void)payload;
    (void)n;
    job_start(a, id, sync_all, NULL);
}

struct grace {
    uint64_t ms;
};

static void request_shutdown(struct agent *a, uint64_t id, const uint8_t *payload, size_t n)
{
    static const struct field_spec specs[] = {
        FIELD(struct grace, ms, KEY_GRACE, FIELD_NUMBER, false, 3600U * 1000U),
    };
    struct grace grace = { .ms = 0 };
    struct report r = { 0 };
    cleanup_free void *memory = NULL;
    if (fields_read(&memory, &grace, specs, COUNT(specs), payload, n, &r) < 0)
        channel_answer(a, id, &r);
    else
        shutdown_begin(a, true, id, grace.ms);
}

static void request_ping(struct agent *a, uint64_t id, const uint8_t *payload, size_t n)
{
    (void)payload;
    (void)n;
    channel_answer(a, id, &(struct report){ 0 });
}

static const struct request requests[] = {
    { WIRE_ROOT, true, request_root },      { WIRE_RUN, false, request_run },          { WIRE_RESIZE, false, request_resize },
    { WIRE_SIGNAL, false, request_signal }, { WIRE_MOUNT, false, request_mount },      { WIRE_NET, false, request_net },
    { WIRE_HOSTS, false, request_hosts },   { WIRE_CLOCK, true, request_clock },       { WIRE_STATS, true, request_stats },
    { WIRE_SYNC, true, request_sync },      { WIRE_SHUTDOWN, true, request_shutdown }, { WIRE_PING, true, request_ping },
};

static void request_dispatch(struct agent *a, const struct wire_header *h, const uint8_t *payload)
{
    struct report r = { 0 };
    const struct request *q = NULL;
    for (size_t i = 0; i < COUNT(requests) && !q; i++)
        if (requests[i].type == h->type)
            q = &requests[i];
    if (h->id == 0)
        report_set(&r, EINVAL, "request with id 0");
    else if (process_find(a, h->id))
        report_set(&r, EEXIST, "id %llu is that of a process", (unsigned long long)h->id);
    else if (!q)
        report_set(&r, ENOSYS, "no request %u in this version", h->type);
    else if (a->shutdown.phase != SHUTDOWN_NOT && h->type != WIRE_PING)
        report_set(&r, ESHUTDOWN, "the guest is shutting down");
    else if (!q->early && !a->payload.rooted)
        report_set(&r, ENODEV, "the root is not mounted yet");
    else {
        q->handle(a, h->id, payload, h->length);
        return;
    }
    channel_answer(a, h->id, &r);
}

static int message_hello(struct agent *a, const uint8_t *payload, size_t n, const char **why)
{
    uint64_t version;
    *why = "a second HELLO";
    if (a->channel.greeted)
        return -1;
    *why = "a HELLO without a version that this agent can";
    if (wire_find_number(payload, n, KEY_VERSION, 0, &version) < 0 || version != WIRE_VERSION)
        return -1;
    a->channel.greeted = true;
    return 0;
}

static int message_data(struct agent *a, uint64_t id, const uint8_t *payload, size_t n, const char **why)
{
    *why = "DATA that is not for stream 0, or too long";
    if (n == 0 || payload[0] != 0 || n - 1 > WIRE_DATA_MAX)
        return -1;
    *why = "more DATA than the credit allows";
    struct process *p = process_find(a, id);
    return p ? stream_input(a, p, payload + 1, n - 1) : 0;
}

static int message_credit(struct agent *a, uint64_t id, const uint8_t *payload, size_t n, const char **why)
{
    uint64_t stream, count;
    *why = "CREDIT that makes no sense";
    if (wire_find_number(payload, n, KEY_STREAM, 0, &stream) < 0 || wire_find_number(payload, n, KEY_COUNT, 0, &count) < 0)
        return -1;
    struct process *p = process_find(a, id);
    return p ? stream_credit(a, p, stream, count) : 0;
}

int request_handle(struct agent *a, const struct wire_header *h, const uint8_t *payload, const char **why)
{
    if (h->type == WIRE_HELLO)
        return message_hello(a, payload, h->length, why);
    *why = "something else than HELLO at the start";
    if (!a->channel.greeted)
        return -1;
    if (h->type == WIRE_DATA)
        return message_data(a, h->id, payload, h->length, why);
    if (h->type == WIRE_CREDIT)
        return message_credit(a, h->id, payload, h->length, why);
    if (h->type == WIRE_CLOSE) {
        struct process *p = process_find(a, h->id);
        if (p)
            stream_input_close(a, p);
        return 0;
    }
    *why = "a message that only the guest may send";
    if (h->type < WIRE_ROOT)
        return -1;
    request_dispatch(a, h, payload);
    return 0;
}
