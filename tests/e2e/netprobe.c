/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Datagrams and bulk, for guests that have no better tool; static, and put into the test's image.
 *
 *     netprobe udp-echo PORT                answers each datagram with itself, until killed
 *     netprobe udp HOST PORT TEXT           sends it until an answer comes, which it prints
 *     netprobe flood HOST PORT              sends datagrams as fast as it can, to a broadcast address if need be, until killed
 *     netprobe sink PORT                    takes one connection and says how many bytes it brought in which time
 *     netprobe source HOST PORT SECONDS     connects and sends
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static int bound(int type, const char *port)
{
    struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port)) };
    int fd = socket(AF_INET6, type, 0), off = 0;
    if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0)
        die("bind");
    return fd;
}

static int connected(int type, const char *host, const char *port)
{
    struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port)) };
    char mapped[64];
    snprintf(mapped, sizeof(mapped), "%s%s", strchr(host, ':') ? "" : "::ffff:", host);
    if (inet_pton(AF_INET6, mapped, &six.sin6_addr) != 1)
        die(host);
    int fd = socket(AF_INET6, type, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&six, sizeof(six)) < 0)
        die("connect");
    return fd;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static char buffer[1 << 18];

static void udp_echo(const char *port)
{
    int fd = bound(SOCK_DGRAM, port);
    for (;;) {
        struct sockaddr_in6 from;
        socklen_t size = sizeof(from);
        ssize_t n = recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &size);
        if (n >= 0)
            sendto(fd, buffer, (size_t)n, 0, (struct sockaddr *)&from, size);
    }
}

static void udp(const char *host, const char *port, const char *text)
{
    const struct timeval patience = { .tv_sec = 1 };
    int fd = connected(SOCK_DGRAM, host, port);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    for (int i = 0; i < 20; i++) {
        send(fd, text, strlen(text), 0);
        ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
        if (n > 0) {
            printf("%.*s\n", (int)n, buffer);
            return;
        }
    }
    die("no answer");
}

static void flood(const char *host, const char *port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    if (inet_pton(AF_INET, host, &to.sin_addr) != 1 || setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)) < 0)
        die(host);
    for (;;)
        sendto(fd, buffer, 1000, 0, (struct sockaddr *)&to, sizeof(to));
}

static void sink(const char *port)
{
    int listener = bound(SOCK_STREAM, port);
    if (listen(listener, 1) < 0)
        die("listen");
    int fd = accept(listener, NULL, NULL);
    double begin = now(), all = 0;
    for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;)
        all += (double)n;
    printf("%.0f bytes %.3f s %.1f MB/s\n", all, now() - begin, all / 1e6 / (now() - begin));
}

static void source(const char *host, const char *port, const char *seconds)
{
    int fd = connected(SOCK_STREAM, host, port);
    for (double end = now() + atof(seconds); now() < end;)
        if (write(fd, buffer, sizeof(buffer)) < 0)
            die("write");
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "udp-echo"))
        udp_echo(argv[2]);
    else if (argc == 5 && !strcmp(argv[1], "udp"))
        udp(argv[2], argv[3], argv[4]);
    else if (argc == 4 && !strcmp(argv[1], "flood"))
        flood(argv[2], argv[3]);
    else if (argc == 3 && !strcmp(argv[1], "sink"))
        sink(argv[2]);
    else if (argc == 5 && !strcmp(argv[1], "source"))
        source(argv[2], argv[3], argv[4]);
    else
        return 2;
    return 0;
}
