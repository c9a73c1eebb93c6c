/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The self-test's program, alone in its image: ya-self-test DIRECTORY. It finds out what there is, writes to the root and to the directory, reads
 * it again, sends a datagram and gets it back, and prints what it has found as JSON. The status is 1, and stderr says why, when something does not work.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <unistd.h>

#include "exeunit/selftest/selftest.h"

static unsigned char pattern[SELFTEST_SIZE], again[SELFTEST_SIZE];

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Writes the pattern to a file, and sees that it is there. */
static void write_and_read(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        die(path);
    for (size_t at = 0; at < sizeof(pattern);) {
        ssize_t n = write(fd, pattern + at, sizeof(pattern) - at);
        if (n <= 0)
            die("write");
        at += (size_t)n;
    }
    if (fsync(fd) < 0)
        die("fsync");
    for (size_t at = 0; at < sizeof(again);) {
        ssize_t n = pread(fd, again + at, sizeof(again) - at, (off_t)at);
        if (n <= 0)
            die("read");
        at += (size_t)n;
    }
    close(fd);
    if (memcmp(pattern, again, sizeof(pattern)) != 0) {
        fprintf(stderr, "%s: what was written is not what is read\n", path);
        exit(1);
    }
}

/* Sends a datagram over the network card until it comes back. Returns how many had to be sent. */
static unsigned echo(void)
{
    enum { TRIES = 20, PATIENCE_US = 500000 };
    const struct timeval patience = { .tv_usec = PATIENCE_US };
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(SELFTEST_PORT) };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, SELFTEST_HOST, &to.sin_addr);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        die("network");
    for (unsigned i = 1; i <= TRIES; i++) {
        if (send(fd, pattern, SELFTEST_DATAGRAM, 0) < 0)
            die("send over the network");
        ssize_t n = recv(fd, again, sizeof(again), 0);
        if (n < 0)
            continue;
        close(fd);
        if (n != SELFTEST_DATAGRAM || memcmp(pattern, again, SELFTEST_DATAGRAM) != 0) {
            fprintf(stderr, "network: what was sent is not what comes back\n");
            exit(1);
        }
        return i;
    }
    fprintf(stderr, "network: nothing comes back\n");
    exit(1);
}

/* Network devices but the loopback. */
static unsigned count_devices(void)
{
    unsigned n = 0;
    DIR *d = opendir("/sys/class/net");
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.' && strcmp(e->d_name, "lo") != 0;
    if (d)
        closedir(d);
    return n;
}

int main(int argc, char **argv)
{
    char path[256];
    struct sysinfo info;
    if (argc != 2 || strlen(argv[1]) > 200) {
        fprintf(stderr, "usage: ya-self-test DIRECTORY\n");
        return 1;
    }
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = selftest_byte(i);
    snprintf(path, sizeof(path), "%s/" SELFTEST_FILE, argv[1]);
    write_and_read("/written");
    write_and_read(path);
    if (sysinfo(&info) < 0)
        die("sysinfo");
    unsigned datagrams = echo();
    printf("{\"cpu_cores\":%ld,\"memory_mib\":%llu,\"network_devices\":%u,\"network_datagrams\":%u}\n", sysconf(_SC_NPROCESSORS_ONLN),
           (unsigned long long)info.totalram * info.mem_unit >> 20, count_devices(), datagrams);
    return fflush(stdout) == 0 ? 0 : 1;
}
