/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Links of every kind, with the test as the VM at one end and as the peer at the other: all frames there and back whole and in order, and what happens
 * with floods, with those who do not read, with garbage, and with peers that go and come.
 */
#include "net_test.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>

#include "net/frames.h"

struct rig {
    uv_loop_t loop;
    struct net_link *link;
    int vm, peer, listener;
    enum net_prefix prefix;
    bool stream;
    char dir[32];
    uint8_t *buf;
};

static const char *const kinds[] = { "udp4", "udp6", "tcp-connect", "tcp-listen", "tcp-listen6", "unix" };

static void turn(struct rig *r)
{
    uv_run(&r->loop, UV_RUN_NOWAIT);
}

/* Turns the loop until there is something to read, at most 20 s. */
static bool readable(struct rig *r, int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    for (uint64_t end = test_now_ms() + 20000; test_now_ms() < end;) {
        turn(r);
        if (poll(&p, 1, 2) > 0)
            return true;
    }
    return false;
}

static socklen_t loopback(struct sockaddr_storage *a, bool six, uint16_t port)
{
    memset(a, 0, sizeof(*a));
    struct sockaddr_in *v4 = (struct sockaddr_in *)a;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)a;
    if (six)
        *v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback };
    else
        *v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    return six ? sizeof(*v6) : sizeof(*v4);
}

/* A socket bound to loopback; *port tells where. */
static int bound(int type, bool six, uint16_t *port)
{
    struct sockaddr_storage a;
    socklen_t n = loopback(&a, six, 0);
    int fd = socket(six ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *port = ntohs(six ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
    return fd;
}

/* Connects to what the link says. */
static int connected(const struct rig *r, enum net_endpoint_kind kind, const char *where)
{
    struct sockaddr_storage a;
    socklen_t n;
    int fd;
    if (kind == NET_UNIX_STREAM) {
        struct sockaddr_un u = { .sun_family = AF_UNIX };
        snprintf(u.sun_path, sizeof(u.sun_path), "%s", where);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&u, sizeof(u)), 0);
        return fd;
    }
    (void)r;
    const char *colon = strrchr(where, ':');
    n = loopback(&a, where[0] == '[', (uint16_t)atoi(colon + 1));
    fd = socket(a.ss_family, (kind == NET_UDP_DATAGRAM ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, n), 0);
    return fd;
}

static void open_link(struct rig *r, const char *url)
{
    struct gv_error err = GV_ERROR_INIT;
    cleanup_free char *path = gv_asprintf("%s/own", r->dir);
    const struct net_config config = { .url = url, .name = "test", .unix_path = path };
    if (net_open(&r->link, &r->loop, &config, &r->vm, &err) < 0)
        fail_msg("%s: %s", url, err.msg);
}

static void where(struct rig *r, enum net_endpoint_kind *kind, const char **text)
{
    struct gv_error err = GV_ERROR_INIT;
    if (net_where(r->link, kind, text, &err) < 0)
        fail_msg("%s", err.msg);
}

static void rig_open(struct rig *r, const char *kind)
{
    enum net_endpoint_kind endpoint;
    const char *text;
    uint16_t port;
    cleanup_free char *url = NULL;
    bool six = strchr(kind, '6') != NULL;
    memset(r, 0, sizeof(*r));
    r->peer = r->listener = -1;
    r->buf = malloc(1 << 20);
    strcpy(r->dir, "/tmp/gvmkit-test-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    assert_int_equal(uv_loop_init(&r->loop), 0);
    r->stream = strncmp(kind, "udp", 3) != 0;
    r->prefix = strcmp(kind, "unix") == 0 ? NET_PREFIX_NATIVE16 : NET_PREFIX_BE32;
    if (!r->stream) {
        r->peer = bound(SOCK_DGRAM, six, &port);
        url = six ? gv_asprintf("udp://[::1]:%u", port) : gv_asprintf("udp://127.0.0.1:%u", port);
        open_link(r, url);
        where(r, &endpoint, &text);
        assert_int_equal(endpoint, NET_UDP_DATAGRAM);
        /* As an ExeUnit does: it sends from the very port that it has named. */
        struct sockaddr_storage a;
        socklen_t n = loopback(&a, six, (uint16_t)atoi(strrchr(text, ':') + 1));
        assert_int_equal(connect(r->peer, (struct sockaddr *)&a, n), 0);
    } else if (strcmp(kind, "tcp-connect") == 0) {
        r->listener = bound(SOCK_STREAM, false, &port);
        assert_int_equal(listen(r->listener, 4), 0);
        url = gv_asprintf("tcp-connect://127.0.0.1:%u", port);
        open_link(r, url);
        where(r, &endpoint, &text);
        assert_int_equal(endpoint, NET_TCP_STREAM);
        assert_string_equal(text, url + strlen("tcp-connect://"));
        assert_true(readable(r, r->listener));
        r->peer = accept(r->listener, NULL, NULL);
    } else {
        open_link(r, strcmp(kind, "unix") == 0 ? "unix://" : six ? "tcp-listen://[::1]:0" : "tcp-listen://");
        where(r, &endpoint, &text);
        assert_int_equal(endpoint, strcmp(kind, "unix") == 0 ? NET_UNIX_STREAM : NET_TCP_STREAM);
        r->peer = connected(r, endpoint, text);
    }
    for (int i = 0; i < 4; i++)
        turn(r); /* so that the link knows of it */
}

static void rig_close(struct rig *r)
{
    net_close(r->link);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    close(r->vm);
    close(r->peer);
    close(r->listener);
    assert_int_equal(rmdir(r->dir), 0); /* a socket's name is gone too */
    free(r->buf);
}

static void peer_send(struct rig *r, const uint8_t *frame, size_t n)
{
    uint8_t head[NET_PREFIX_MAX];
    net_prefix_put(r->prefix, head, n);
    if (!r->stream) {
        assert_int_equal(send(r->peer, frame, n, 0), (ssize_t)n);
        return;
    }
    assert_int_equal(gv_write_full(r->peer, head, net_prefix_size(r->prefix)), 0);
    assert_int_equal(gv_write_full(r->peer, frame, n), 0);
}

/* The next frame at the peer. */
static size_t peer_receive(struct rig *r)
{
    uint8_t head[NET_PREFIX_MAX];
    struct net_frame f;
    size_t n = net_prefix_size(r->prefix), used, got = 0;
    assert_true(readable(r, r->peer));
    if (!r->stream)
        return (size_t)recv(r->peer, r->buf, 1 << 20, 0);
    assert_int_equal(recv(r->peer, head, n, MSG_WAITALL), (ssize_t)n);
    size_t size = 0;
    if (net_prefix_next(r->prefix, head, n, &f, &used) == 1)
        return 0;
    size = r->prefix == NET_PREFIX_BE32 ? (size_t)(head[2] << 8 | head[3]) : *(uint16_t *)(void *)head;
    while (got < size) {
        assert_true(readable(r, r->peer));
        ssize_t part = recv(r->peer, r->buf + got, size - got, 0);
        assert_true(part > 0);
        got += (size_t)part;
    }
    return size;
}

/* ------------------------------------------------------------------------------------------------------------------------------------ */

static void test_there_and_back(void **state)
{
    static const size_t sizes[] = { 14, 15, 60, 1234, 1514, 9000, 65000, 65507 };
    static uint8_t frame[NET_FRAME_MAX];
    (void)state;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        struct rig r;
        uint64_t bytes = 0;
        rig_open(&r, kinds[k]);
        for (size_t i = 0; i < 100; i++) {
            size_t n = sizes[i % 8];
            test_frame(frame, n, (unsigned)i);
            assert_int_equal(send(r.vm, frame, n, 0), (ssize_t)n);
            assert_int_equal(peer_receive(&r), n);
            assert_memory_equal(r.buf, frame, n);
            test_frame(frame, n, (unsigned)i + 1000);
            peer_send(&r, frame, n);
            assert_true(readable(&r, r.vm));
            assert_int_equal(recv(r.vm, r.buf, 1 << 20, 0), (ssize_t)n);
            assert_memory_equal(r.buf, frame, n);
            bytes += n;
        }
        const struct net_counters *c = net_counted(r.link);
        assert_int_equal(c->from_vm.frames, 100);
        assert_int_equal(c->from_vm.bytes, bytes);
        assert_int_equal(c->to_vm.frames, 100);
        assert_int_equal(c->to_vm.bytes, bytes);
        assert_int_equal(c->from_vm.dropped + c->to_vm.dropped + c->from_vm.refused + c->to_vm.refused, 0);
        rig_close(&r);
    }
}

/* What is no frame goes neither way; what comes after it does. */
static void test_no_frames(void **state)
{
    uint8_t frame[70000];
    (void)state;
    test_frame(frame, sizeof(frame), 1);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        struct rig r;
        rig_open(&r, kinds[k]);
        for (size_t n = 0; n < 14; n++)
            assert_int_equal(send(r.vm, frame, n, 0), (ssize_t)n);
        assert_int_equal(send(r.vm, frame, 65536, 0), 65536);
        assert_int_equal(send(r.vm, frame, 50, 0), 50);
        assert_int_equal(peer_receive(&r), 50);
        assert_int_equal(net_counted(r.link)->from_vm.refused, 15);
        for (size_t n = 0; n < 14; n++)
            peer_send(&r, frame, n);
        peer_send(&r, frame, 51);
        assert_true(readable(&r, r.vm));
        assert_int_equal(recv(r.vm, r.buf, 1 << 20, 0), 51); /* a frame of 0 bytes would be QEMU's end of reading */
        assert_int_equal(net_counted(r.link)->to_vm.refused, 14);
        rig_close(&r);
    }
}

/* A peer that reads nothing, and a VM that reads nothing: the other side goes on, and what does not fit is dropped. */
static void test_nobody_reads(void **state)
{
    static uint8_t frame[1514];
    (void)state;
    test_frame(frame, sizeof(frame), 1);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        struct rig r;
        uint64_t sent = 0, received = 0;
        rig_open(&r, kinds[k]);
        for (unsigned i = 0; i < 1000; i++) {
            for (unsigned j = 0; j < NET_BATCH; j++)
                sent += send(r.vm, frame, sizeof(frame), MSG_DONTWAIT) > 0;
            turn(&r);
        }
        for (int i = 0; i < 200; i++)
            turn(&r);
        const struct net_counters *c = net_counted(r.link);
        assert_int_equal(sent, c->from_vm.frames + c->from_vm.dropped);
        assert_true(sent > 20000);
        if (r.stream) /* that of UDP drops by itself */
            assert_true(c->from_vm.dropped > 1000);
        /* What was sent is whole: nothing was cut where the socket was full. */
        struct pollfd p = { .fd = r.peer, .events = POLLIN };
        if (r.stream) {
            for (; received < c->from_vm.frames; received++) {
                assert_int_equal(peer_receive(&r), sizeof(frame));
                assert_memory_equal(r.buf, frame, sizeof(frame));
            }
            turn(&r);
            assert_int_equal(poll(&p, 1, 0), 0);
        }
        /* The other way is not stopped by it, and has its own end. */
        for (unsigned i = 0; i < 400; i++) {
            for (unsigned j = 0; j < 20; j++)
                peer_send(&r, frame, sizeof(frame));
            turn(&r);
            turn(&r);
        }
        for (int i = 0; i < 200; i++)
            turn(&r);
        assert_true(c->to_vm.dropped > 1000);
        for (received = 0; recv(r.vm, r.buf, 1 << 20, MSG_DONTWAIT) == (ssize_t)sizeof(frame); received++)
            assert_memory_equal(r.buf, frame, sizeof(frame));
        assert_int_equal(received, c->to_vm.frames);
        rig_close(&r);
    }
}

/* A stream in pieces of any size, and many frames in one. */
static void test_pieces(void **state)
{
    uint8_t frame[200], *all = malloc(1 << 20);
    (void)state;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        struct rig r;
        size_t n = 0;
        rig_open(&r, kinds[k]);
        if (!r.stream) {
            rig_close(&r);
            continue;
        }
        for (unsigned i = 0; i < 300; i++) {
            size_t size = 14 + i % 180;
            net_prefix_put(r.prefix, all + n, size);
            n += net_prefix_size(r.prefix);
            test_frame(all + n, size, i);
            n += size;
        }
        for (size_t at = 0, piece = 1; at < n; at += piece, piece = piece * 7 % 2003) {
            if (piece > n - at)
                piece = n - at;
            assert_int_equal(gv_write_full(r.peer, all + at, piece), 0);
            turn(&r);
        }
        for (unsigned i = 0; i < 300; i++) {
            size_t size = 14 + i % 180;
            assert_true(readable(&r, r.vm));
            assert_int_equal(recv(r.vm, r.buf, 1 << 20, 0), (ssize_t)size);
            test_frame(frame, size, i);
            assert_memory_equal(r.buf, frame, size);
        }
        rig_close(&r);
    }
    free(all);
}

/* A length that no frame has ends the connection; the next one works. So does one that ends in the middle of a frame. */
static void test_garbage_and_reconnection(void **state)
{
    static const uint8_t garbage[] = { 0xff, 0xff, 0xff, 0xff, 1, 2, 3 }, half[] = { 0, 0, 0, 100, 1, 2, 3 };
    uint8_t frame[64];
    (void)state;
    test_frame(frame, sizeof(frame), 3);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        struct rig r;
        rig_open(&r, kinds[k]);
        for (int round = 0; r.stream && round < 3; round++) {
            enum net_endpoint_kind kind;
            const char *text;
            if (round == 0 && r.prefix == NET_PREFIX_BE32) {
                assert_int_equal(gv_write_full(r.peer, garbage, sizeof(garbage)), 0);
                assert_true(readable(&r, r.peer));
                assert_true(recv(r.peer, r.buf, 10, 0) <= 0);
                assert_int_equal(net_counted(r.link)->to_vm.refused, 1);
            } else {
                assert_int_equal(gv_write_full(r.peer, half, sizeof(half)), 0);
            }
            close(r.peer);
            if (strcmp(kinds[k], "tcp-connect") == 0) {
                assert_true(readable(&r, r.listener)); /* it comes again by itself */
                r.peer = accept(r.listener, NULL, NULL);
            } else {
                where(&r, &kind, &text);
                r.peer = connected(&r, kind, text);
            }
            peer_send(&r, frame, sizeof(frame));
            assert_true(readable(&r, r.vm));
            assert_int_equal(recv(r.vm, r.buf, 1 << 20, 0), sizeof(frame));
            assert_memory_equal(r.buf, frame, sizeof(frame));
            assert_int_equal(send(r.vm, frame, sizeof(frame), 0), sizeof(frame));
            assert_int_equal(peer_receive(&r), sizeof(frame));
        }
        rig_close(&r);
    }
}

/* Who connects while somebody is there waits for his turn. */
static void test_one_peer_at_a_time(void **state)
{
    uint8_t frame[64];
    struct rig r;
    (void)state;
    test_frame(frame, sizeof(frame), 3);
    rig_open(&r, "tcp-listen");
    enum net_endpoint_kind kind;
    const char *text;
    where(&r, &kind, &text);
    int second = connected(&r, kind, text), first = r.peer;
    assert_int_equal(send(r.vm, frame, sizeof(frame), 0), sizeof(frame));
    assert_int_equal(peer_receive(&r), sizeof(frame));
    struct pollfd p = { .fd = second, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 0), 0);
    close(first);
    r.peer = second;
    peer_send(&r, frame, sizeof(frame));
    assert_true(readable(&r, r.vm));
    rig_close(&r);
}

/* Nobody is there yet: frames are dropped, nothing fails, and when somebody comes it works. */
static void test_peer_comes_late(void **state)
{
    struct sockaddr_storage a;
    uint8_t frame[64];
    uint16_t port;
    struct rig r;
    (void)state;
    test_frame(frame, sizeof(frame), 3);
    for (int tcp = 0; tcp < 2; tcp++) {
        memset(&r, 0, sizeof(r));
        r.buf = malloc(1 << 20);
        strcpy(r.dir, "/tmp/gvmkit-test-XXXXXX");
        assert_non_null(mkdtemp(r.dir));
        assert_int_equal(uv_loop_init(&r.loop), 0);
        close(bound(tcp ? SOCK_STREAM : SOCK_DGRAM, false, &port));
        cleanup_free char *url = gv_asprintf(tcp ? "tcp-connect://127.0.0.1:%u" : "udp://127.0.0.1:%u", port);
        open_link(&r, url);
        enum net_endpoint_kind kind;
        const char *text;
        where(&r, &kind, &text);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(send(r.vm, frame, sizeof(frame), 0), sizeof(frame));
            turn(&r);
        }
        r.listener = socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
        const int on = 1;
        setsockopt(r.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        socklen_t n = loopback(&a, false, port);
        assert_int_equal(bind(r.listener, (struct sockaddr *)&a, n), 0);
        r.stream = tcp;
        r.prefix = NET_PREFIX_BE32;
        r.peer = -1;
        if (tcp) {
            assert_int_equal(listen(r.listener, 1), 0);
            assert_true(readable(&r, r.listener));
            r.peer = accept(r.listener, NULL, NULL);
            turn(&r);
        } else {
            r.peer = steal_fd(&r.listener);
        }
        assert_int_equal(send(r.vm, frame, sizeof(frame), 0), sizeof(frame));
        assert_int_equal(peer_receive(&r), sizeof(frame));
        if (!tcp) {
            n = loopback(&a, false, (uint16_t)atoi(strrchr(text, ':') + 1));
            assert_int_equal(connect(r.peer, (struct sockaddr *)&a, n), 0);
        }
        peer_send(&r, frame, sizeof(frame));
        assert_true(readable(&r, r.vm));
        assert_int_equal(recv(r.vm, r.buf, 1 << 20, 0), sizeof(frame));
        rig_close(&r);
    }
}

/* Others than the peer cannot put datagrams into the VM's network. */
static void test_strangers(void **state)
{
    uint8_t frame[64];
    struct rig r;
    (void)state;
    test_frame(frame, sizeof(frame), 3);
    rig_open(&r, "udp4");
    enum net_endpoint_kind kind;
    const char *text;
    where(&r, &kind, &text);
    cleanup_close int stranger = connected(&r, kind, text);
    assert_int_equal(send(stranger, frame, 60, 0), 60);
    peer_send(&r, frame, 61);
    assert_true(readable(&r, r.vm));
    assert_int_equal(recv(r.vm, r.buf, 1 << 20, 0), 61);
    assert_int_equal(net_counted(r.link)->to_vm.frames, 1);
    rig_close(&r);
}

/* QEMU is gone: nothing spins, nothing fails. */
static void test_vm_is_gone(void **state)
{
    uint8_t frame[64];
    (void)state;
    test_frame(frame, sizeof(frame), 3);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        struct rig r;
        rig_open(&r, kinds[k]);
        close(steal_fd(&r.vm));
        for (int i = 0; i < 50; i++) {
            peer_send(&r, frame, sizeof(frame));
            turn(&r);
        }
        for (uint64_t end = test_now_ms() + 20000; net_counted(r.link)->to_vm.dropped < 50 && test_now_ms() < end;)
            turn(&r);
        assert_int_equal(net_counted(r.link)->to_vm.dropped, 50);
        rig_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_no_frames),
        cmocka_unit_test(test_nobody_reads),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_garbage_and_reconnection),
        cmocka_unit_test(test_one_peer_at_a_time),
        cmocka_unit_test(test_peer_comes_late),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_vm_is_gone),
    };
    return cmocka_run_group_tests_name("net_link", tests, NULL, NULL);
}
