/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the bench runs inside a guest. Static, built with musl-gcc by bench/run.
 *
 *   guest forkexec N PROGRAM   run PROGRAM N times; print the nanoseconds that each fork, exec and wait took, one a line
 *   guest write BLOCKS         write BLOCKS blocks of 64 KiB to stdout, every one different (see bench_pattern.h)
 *   guest port NAME            make /tmp/port a device node of the virtio-serial port NAME
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench_pattern.h"

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int forkexec(int runs, char *program)
{
    int64_t *took = calloc((size_t)runs + 1, sizeof(*took));
    for (int i = 0; took && i < runs; i++) {
        int64_t start = now();
        pid_t pid = fork();
        if (pid == 0) {
            char *argv[] = { program, NULL };
            execv(program, argv);
            _exit(127);
        }
        int status;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            return 1;
        took[i] = now() - start;
    }
    for (int i = 0; took && i < runs; i++)
        printf("%lld\n", (long long)took[i]);
    free(took);
    return 0;
}

static int write_blocks(uint64_t blocks)
{
    static unsigned char block[BENCH_BLOCK];
    bench_pattern_init(block);
    for (uint64_t i = 0; i < blocks; i++) {
        bench_pattern_stamp(block, i);
        for (size_t at = 0; at < sizeof(block);) {
            ssize_t n = write(STDOUT_FILENO, block + at, sizeof(block) - at);
            if (n <= 0)
                return 1;
            at += (size_t)n;
        }
    }
    return 0;
}

static int make_port(const char *wanted)
{
    DIR *d = opendir("/sys/class/virtio-ports");
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[300], text[64] = "";
        unsigned major, minor;
        snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
        FILE *f = fopen(path, "re");
        if (!f)
            continue;
        int ours = fgets(text, sizeof(text), f) && !strncmp(text, wanted, strlen(wanted));
        fclose(f);
        if (!ours)
            continue;
        snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/dev", e->d_name);
        f = fopen(path, "re");
        int known = f && fscanf(f, "%u:%u", &major, &minor) == 2;
        if (f)
            fclose(f);
        closedir(d);
        return known && mknod("/tmp/port", S_IFCHR | 0600, makedev(major, minor)) == 0 ? 0 : 1;
    }
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "forkexec"))
        return forkexec(atoi(argv[2]), argv[3]);
    if (argc == 3 && !strcmp(argv[1], "write"))
        return write_blocks(strtoull(argv[2], NULL, 10));
    if (argc == 3 && !strcmp(argv[1], "port"))
        return make_port(argv[2]);
    return 2;
}
