/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the bench runs inside a guest. Static, built with musl-gcc by bench/run.
 *
 *   guest forkexec N PROGRAM   run PROGRAM N times; print the nanoseconds that each fork, exec and wait took, one a line
 *   guest write BLOCKS         write BLOCKS blocks of 64 KiB to stdout, every one different (see bench_pattern.h)
 *   guest io FILE BLOCKS       write a new FILE of so many blocks of 1 MiB, read it, read it again, and once more in blocks of 64 KiB; print "write",
 *                              "read", "reread" and "small" with the nanoseconds that each took
 *
 * As PID 1 of a machine that has nothing else it measures QEMU's devices as they are; the kernel's command line says which:
 *
 *   blocks=N    mount the 9p share `bare` without any cache, and do `io` there
 *   serial=N    for each byte that comes through the virtio-serial port `bare`, write N blocks of 64 KiB to it, as dd does from /dev/zero
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
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

/* Takes all bytes from or to the file, `size` at a time; the nanoseconds that it took, or -1. */
static int64_t file_io(const char *file, int flags, int64_t bytes, size_t size)
{
    static unsigned char block[1 << 20];
    for (size_t i = 0; flags != O_RDONLY && i < sizeof(block); i++)
        block[i] = (unsigned char)(i * 7);
    int64_t start = now();
    int fd = open(file, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    while (bytes > 0) {
        ssize_t n = flags == O_RDONLY ? read(fd, block, size) : write(fd, block, size);
        if (n <= 0)
            return -1;
        bytes -= n;
    }
    return close(fd) < 0 ? -1 : now() - start;
}

static int io(const char *file, long blocks)
{
    static const struct {
        const char *name;
        int flags;
        size_t size;
    } steps[] = { { "write", O_WRONLY | O_CREAT | O_TRUNC, 1 << 20 },
                  { "read", O_RDONLY, 1 << 20 },
                  { "reread", O_RDONLY, 1 << 20 },
                  { "small", O_RDONLY, 1 << 16 } };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int64_t took = file_io(file, steps[i].flags, (int64_t)blocks << 20, steps[i].size);
        if (took < 0)
            return 1;
        printf("%s %lld\n", steps[i].name, (long long)took);
    }
    return unlink(file) < 0;
}

/* Opens the port of that name; -1 when there is none. */
static int open_port(const char *wanted)
{
    DIR *d = opendir("/sys/class/virtio-ports");
    int found = -1;
    for (struct dirent *e; d && found < 0 && (e = readdir(d));) {
        char path[300], text[64] = "";
        snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
        FILE *f = fopen(path, "re");
        if (!f)
            continue;
        snprintf(path, sizeof(path), "/dev/%s", e->d_name);
        if (fgets(text, sizeof(text), f) && !strncmp(text, wanted, strlen(wanted)))
            found = open(path, O_RDWR | O_CLOEXEC);
        fclose(f);
    }
    if (d)
        closedir(d);
    return found;
}

static void serial(long blocks)
{
    static unsigned char block[BENCH_BLOCK];
    int port, zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    while ((port = open_port("bare")) < 0)
        usleep(1000);
    for (char go; read(port, &go, 1) == 1;)
        for (long i = 0; i < blocks; i++)
            for (ssize_t at = 0, n = read(zero, block, sizeof(block)); at < n;) {
                ssize_t put = write(port, block + at, (size_t)(n - at));
                if (put <= 0)
                    return;
                at += put;
            }
}

static void nine(long blocks)
{
    if (freopen("/dev/ttyS0", "w", stdout) &&
        mount("bare", "/mnt", "9p", 0, "trans=virtio,version=9p2000.L,msize=524288,cache=none") == 0 && io("/mnt/file", blocks) == 0)
        printf("done\n");
    fflush(NULL);
}

static int bare(void)
{
    char line[4096] = "", *at;
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    FILE *f = fopen("/proc/cmdline", "re");
    if (f && fgets(line, sizeof(line), f)) {
        if ((at = strstr(line, "serial=")))
            serial(atol(at + 7));
        else if ((at = strstr(line, "blocks=")))
            nine(atol(at + 7));
    }
    reboot(RB_AUTOBOOT);
    return 1;
}

int main(int argc, char **argv)
{
    if (getpid() == 1)
        return bare();
    if (argc == 4 && !strcmp(argv[1], "io"))
        return io(argv[2], atol(argv[3]));
    if (argc == 4 && !strcmp(argv[1], "forkexec"))
        return forkexec(atoi(argv[2]), argv[3]);
    if (argc == 3 && !strcmp(argv[1], "write"))
        return write_blocks(strtoull(argv[2], NULL, 10));
    return 2;
}
