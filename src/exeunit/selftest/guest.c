/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The self-test's program, alone in its image: ya-self-test DIRECTORY. It finds out what there is, writes to the root and to the directory, reads
 * it again, and prints what it has found as JSON. The status is 1, and stderr says why, when something does not work.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
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
    printf("{\"cpu_cores\":%ld,\"memory_mib\":%llu,\"network_devices\":%u}\n", sysconf(_SC_NPROCESSORS_ONLN),
           (unsigned long long)info.totalram * info.mem_unit >> 20, count_devices());
    return fflush(stdout) == 0 ? 0 : 1;
}
