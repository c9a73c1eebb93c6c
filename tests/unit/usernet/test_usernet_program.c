/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gvmkit-net itself, with this test as the guest and as the supervisor: what it does under floods, with a guest that does not read, and with
 * resolvers that lie. The outside is the host's loopback.
 */
#include "usernet_test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "usernet/dns.h"
#include "usernet/stack.h"
#include "usernet/words.h"

#define GUEST4 NET_PLAN_GUEST4
#define PATIENCE_MS 60000
#if defined(__SANITIZE_ADDRESS__)
#define RSS_MAX_KIB (1024L << 10) /* the sanitizer's own memory */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RSS_MAX_KIB (1024L << 10)
#endif
#endif
#ifndef RSS_MAX_KIB
#define RSS_MAX_KIB (48L << 10)
#endif

struct net {
    pid_t pid;
    int wire, control;
    char answer[USERNET_MESSAGE_MAX];
};

static uint8_t packet[FRAME_MAX];

/* Starts the program and tells it the words; n->answer is what it says to them. */
static void begin(struct net *n, const char *const *words)
{
    const char *program = getenv("GVMKIT_NET");
    int wire[2], control[2];
    assert_non_null(program);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, wire), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
    n->pid = fork();
    assert_true(n->pid >= 0);
    if (n->pid == 0) {
        int a = fcntl(wire[1], F_DUPFD, 20), b = fcntl(control[1], F_DUPFD, 20);
        dup2(a, USERNET_FRAMES_FD);
        dup2(b, USERNET_CONTROL_FD);
        close(a);
        close(b);
        execl(program, "gvmkit-net", (char *)NULL);
        _exit(127);
    }
    close(wire[1]);
    close(control[1]);
    n->wire = wire[0];
    n->control = control[0];
    for (; *words; words++)
        assert_int_equal(send(n->control, *words, strlen(*words), 0), strlen(*words));
    struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
    setsockopt(n->control, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(n->wire, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    ssize_t got = recv(n->control, n->answer, sizeof(n->answer) - 1, 0);
    assert_true(got >= 0);
    n->answer[got] = '\0';
}
#define BEGIN(n, ...) begin(n, (const char *const[]){ __VA_ARGS__, "start", NULL })

/* The end of the control socket is its end; nothing kills it. */
static void end(struct net *n)
{
    int status;
    close(n->control);
    assert_int_equal(waitpid(n->pid, &status, 0), n->pid);
    close(n->wire);
    assert_true(WIFEXITED(status));
}

static void send_packet(const struct net *n, size_t len)
{
    assert_int_equal(send(n->wire, packet, len, 0), len);
}

/* Says who has the guest's address, so that the stack need not ask. */
static void announce(const struct net *n)
{
    static const uint8_t mac[] = NET_PLAN_MAC, head[] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };
    struct net_addr guest = test_address(GUEST4), gateway = test_address(NET_PLAN_GATEWAY4);
    memset(packet, 0xff, 6);
    memcpy(packet + 6, mac, 6);
    memcpy(packet + 12, head, sizeof(head));
    memcpy(packet + 22, mac, 6);
    memcpy(packet + 28, guest.b + 12, 4);
    memset(packet + 32, 0, 6);
    memcpy(packet + 38, gateway.b + 12, 4);
    send_packet(n, 42);
}

/* The next frame within ms; 0 = none. */
static size_t receive(const struct net *n, int ms)
{
    struct pollfd p = { .fd = n->wire, .events = POLLIN };
    if (poll(&p, 1, ms) != 1)
        return 0;
    ssize_t got = recv(n->wire, packet, sizeof(packet), 0);
    return got > 0 ? (size_t)got : 0;
}

static long rss_kib(pid_t pid)
{
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    fclose(f);
    return kib;
}

static unsigned files_of(pid_t pid)
{
    char path[64];
    unsigned n = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

/* A socket of ours on the loopback; *port is where. */
static int outside(int type, uint16_t *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 4096), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static void test_words(void **state)
{
    (void)state;
    struct net n;
    uint16_t port;
    char word[64];
    BEGIN(&n, "allow example.org", "allow 10.0.0.0/8:80", "dns 127.0.0.1");
    assert_string_equal(n.answer, "ready ");
    end(&n);
    int taken = outside(SOCK_STREAM, &port);
    snprintf(word, sizeof(word), "publish 127.0.0.1:%u:80", port);
    BEGIN(&n, word);
    assert_non_null(strstr(n.answer, "error cannot publish TCP port"));
    assert_non_null(strstr(n.answer, "in use"));
    end(&n);
    close(taken);
    static const char *const bad[] = { "frobnicate", "allow", "allow ..", "publish 1-65535:1-65535", "dns example.org", "" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]) - 1; i++) {
        BEGIN(&n, bad[i]);
        if (strncmp(n.answer, "error ", 6) != 0)
            fail_msg("`%s` is taken: %s", bad[i], n.answer);
        end(&n);
    }
}

static void test_garbage(void **state)
{
    (void)state;
    struct net n;
    BEGIN(&n, "allow all");
    srandom(1);
    for (int i = 0; i < 20000; i++) {
        size_t len = (size_t)random() % 200;
        for (size_t k = 0; k < len; k++)
            packet[k] = (uint8_t)random();
        /* Most of it looks like something. */
        static const uint8_t types[][2] = { { 8, 0 }, { 8, 6 }, { 0x86, 0xdd }, { 0x88, 0xf8 } };
        if (len > 60 && i % 8) {
            packet[6] &= 0xfe;
            memcpy(packet + 12, types[i % 4], 2);
            packet[14] = i % 4 ? 0x60 : 0x45;
        }
        send_packet(&n, len ? len : 1);
    }
    announce(&n);
    assert_true(receive(&n, PATIENCE_MS) >= 42); /* it still answers */
    end(&n);
}

/* Connections by the thousand: as many as there is room for are made, the others are refused, and memory and descriptors are bounded. */
static void test_connections(void **state)
{
    (void)state;
    enum { TRIES = 3000 };
    struct net n;
    uint16_t port;
    char word[64];
    int listener = outside(SOCK_STREAM, &port);
    unsigned opened = 0, refused = 0;
    snprintf(word, sizeof(word), "allow host:%u", port);
    BEGIN(&n, word);
    announce(&n);
    for (unsigned i = 0; i < TRIES; i++) {
        send_packet(&n, test_tcp(packet, GUEST4, 1024 + i, NET_PLAN_GATEWAY4, port, TEST_SYN));
        for (bool more = true; more;) {
            size_t len = receive(&n, i + 1 < TRIES ? 0 : 2000);
            struct frame f;
            frame_parse(&f, packet, len);
            more = len > 0;
            opened += f.kind == FRAME_TCP;
            refused += len > 36 && f.kind == FRAME_BAD && packet[23] == 1 && packet[34] == 3;
        }
    }
    assert_in_range(opened, STACK_SOCKETS_MAX / 2, TRIES); /* SYN and its repetitions: slirp answers the same one again */
    assert_in_range(refused, TRIES - STACK_SOCKETS_MAX - 500, TRIES - STACK_SOCKETS_MAX + 50);
    assert_in_range(files_of(n.pid), STACK_SOCKETS_MAX / 2, STACK_SOCKETS_MAX + 128);
    assert_in_range(rss_kib(n.pid), 1, RSS_MAX_KIB);
    end(&n);
    close(listener);
}

/* CPU time in clock ticks. */
static unsigned long ticks(pid_t pid)
{
    char path[64];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d (gvmkit-net) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
    fclose(f);
    return user + system;
}

/* More who knock at a published port than there is room for: they wait, and nobody turns round and round about them. */
static void test_knocking(void **state)
{
    (void)state;
    enum { KNOCKS = 1000 };
    struct net n;
    uint16_t port;
    char word[64];
    int fds[KNOCKS], count = 0, taken = 0;
    close(outside(SOCK_STREAM, &port));
    snprintf(word, sizeof(word), "publish 127.0.0.1:%u:80", port);
    BEGIN(&n, word);
    assert_string_equal(n.answer, "ready ");
    announce(&n);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port) };
    for (bool more = true; more && count < KNOCKS; count++) {
        fds[count] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fds[count] < 0)
            break;
        connect(fds[count], (struct sockaddr *)&a, sizeof(a));
        struct pollfd p = { .fd = fds[count], .events = POLLOUT };
        more = poll(&p, 1, 6000) == 1; /* the kernel tries again after 1 and 3 s */
        taken += more;
        while (receive(&n, 0))
            continue;
    }
    assert_in_range(taken, STACK_SOCKETS_MAX, STACK_SOCKETS_MAX + STACK_BACKLOG + 50); /* those whom the kernel holds are connected, too */
    assert_in_range(files_of(n.pid), STACK_SOCKETS_MAX / 2, STACK_SOCKETS_MAX + 128);
    unsigned long before = ticks(n.pid);
    usleep(1000000);
    assert_in_range(ticks(n.pid) - before, 0, (unsigned long)sysconf(_SC_CLK_TCK) / 2);
    while (count-- > 0)
        if (fds[count] >= 0)
            close(fds[count]);
    end(&n);
}

/* A guest that reads nothing, while somebody outside sends what he can: what is too much is lost. */
static void test_unread(void **state)
{
    (void)state;
    static char text[60000];
    struct net n;
    uint16_t port;
    char word[64];
    close(outside(SOCK_DGRAM, &port));
    snprintf(word, sizeof(word), "publish 127.0.0.1:%u:9000/udp", port);
    BEGIN(&n, word);
    assert_string_equal(n.answer, "ready ");
    announce(&n);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (int i = 0; i < 3000; i++) {
        sendto(fd, text, sizeof(text), 0, (struct sockaddr *)&a, sizeof(a));
        if (i % 50 == 0)
            usleep(1000);
    }
    assert_in_range(rss_kib(n.pid), 1, RSS_MAX_KIB);
    unsigned got = 0;
    while (receive(&n, 500))
        got++;
    assert_in_range(got, 1, 3000);
    sendto(fd, text, 100, 0, (struct sockaddr *)&a, sizeof(a));
    size_t len = receive(&n, PATIENCE_MS);
    struct frame f;
    frame_parse(&f, packet, len);
    assert_int_equal(f.kind, FRAME_UDP);
    assert_int_equal(f.payload_len, 100);
    close(fd);
    end(&n);
}

static const uint8_t query[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\7example\3org\0\0\1\0\1";

static void ask(const struct net *n, unsigned port, const uint8_t *q, size_t len)
{
    send_packet(n, test_udp(packet, GUEST4, port, NET_PLAN_RESOLVER4, 53, q, len));
}

/* The code of the next answer. */
static unsigned answered(const struct net *n, struct frame *f)
{
    do
        frame_parse(f, packet, receive(n, PATIENCE_MS));
    while (f->kind != FRAME_UDP && f->len);
    assert_int_equal(f->kind, FRAME_UDP);
    assert_int_equal(f->src_port, 53);
    assert_true(f->payload_len >= 12);
    assert_memory_equal(f->payload, query, 2);
    return f->payload[3] & 15U;
}

static void test_resolver(void **state)
{
    (void)state;
    static const uint8_t other[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1";
    struct net n;
    struct frame f;
    uint16_t port;
    char word[64];
    uint8_t question[512], reply[512];
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    int server = outside(SOCK_DGRAM, &port);
    snprintf(word, sizeof(word), "dns 127.0.0.1:%u", port);
    BEGIN(&n, "allow example.org", word);
    announce(&n);
    /* Not of the list: nobody is asked. */
    ask(&n, 1000, other, sizeof(other) - 1);
    assert_int_equal(answered(&n, &f), DNS_NXDOMAIN);
    assert_int_equal(recv(server, question, sizeof(question), MSG_DONTWAIT), -1);
    /* Of the list: under an id of its own. Two wrong answers count for nothing. */
    ask(&n, 1000, query, sizeof(query) - 1);
    ssize_t got = recvfrom(server, question, sizeof(question), 0, (struct sockaddr *)&from, &len);
    assert_int_equal(got, sizeof(query) - 1);
    assert_memory_equal(question + 2, query + 2, sizeof(query) - 3);
    memcpy(reply, question, (size_t)got);
    memcpy(reply + got, "\xc0\x0c\0\1\0\1\0\0\1\0\0\4\x08\x08\x04\x04", 16);
    size_t size = (size_t)got + 16;
    reply[2] = 0x81;
    reply[3] = 0x80;
    reply[7] = 1;
    reply[0] ^= 0xff;
    sendto(server, reply, size, 0, (struct sockaddr *)&from, len);
    reply[0] ^= 0xff;
    reply[14] ^= 1;
    sendto(server, reply, size, 0, (struct sockaddr *)&from, len);
    reply[14] ^= 1;
    send_packet(&n, test_tcp(packet, GUEST4, 1024, "8.8.4.4", 80, TEST_SYN));
    size_t refusal = receive(&n, PATIENCE_MS);
    assert_true(refusal > 36 && packet[23] == 1 && packet[34] == 3);
    sendto(server, reply, size, 0, (struct sockaddr *)&from, len);
    assert_int_equal(answered(&n, &f), DNS_NOERROR);
    assert_int_equal(f.payload_len, size);
    assert_memory_equal(f.payload + 2, reply + 2, size - 2);
    /* Nobody is there any more. */
    close(server);
    ask(&n, 1001, query, sizeof(query) - 1);
    assert_int_equal(answered(&n, &f), DNS_SERVFAIL);
    end(&n);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),    cmocka_unit_test(test_garbage), cmocka_unit_test(test_connections),
        cmocka_unit_test(test_knocking), cmocka_unit_test(test_unread),  cmocka_unit_test(test_resolver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
