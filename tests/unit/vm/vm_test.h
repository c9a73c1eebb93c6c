/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tests of the room `vm` share: cmocka with what it needs, frames as a guest would send them, directories that go away. */
#ifndef GV_TESTS_VM_TEST_H
#define GV_TESTS_VM_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/core.h"
#include "wire/wire.h"

static inline char *test_directory(void)
{
    const char *tmp = getenv("TMPDIR");
    char *path = gv_asprintf("%s/gvmkit-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(path)) {
        perror(path);
        abort();
    }
    return path;
}

static inline void test_write(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0 || gv_write_full(fd, text, strlen(text)) < 0 || fchmod(fd, mode) < 0) {
        perror(path);
        abort();
    }
    close(fd);
}

static inline void test_copy_program(const char *from, const char *to)
{
    cleanup_buf struct gv_buf b = { 0 };
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    if (fd < 0 || gv_read_file(from, 64U << 20, &b, NULL) < 0 || gv_write_full(fd, b.data, b.len) < 0 || fchmod(fd, 0755) < 0) {
        perror(to);
        abort();
    }
    close(fd);
}

/* Whether the process has a namespace of this kind ("pid") that is not ours. */
static inline bool test_other_namespace(pid_t pid, const char *kind)
{
    char theirs[64], ours[64];
    struct stat a, b;
    snprintf(theirs, sizeof(theirs), "/proc/%d/ns/%s", (int)pid, kind);
    snprintf(ours, sizeof(ours), "/proc/self/ns/%s", kind);
    return stat(theirs, &a) == 0 && stat(ours, &b) == 0 && a.st_ino != b.st_ino;
}

static inline uint64_t test_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Whether the process exists and is no zombie. */
static inline bool test_alive(pid_t pid)
{
    char path[64], line[512] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool read_it = fgets(line, sizeof(line), f) != NULL;
    fclose(f);
    const char *state = strrchr(line, ')');
    return read_it && state && state[1] && state[2] != 'Z' && state[2] != 'X';
}

/* Waits until it is gone, at most so long. */
static inline bool test_gone_within(pid_t pid, unsigned ms)
{
    for (uint64_t end = test_now_ms() + ms; test_now_ms() < end; usleep(5000))
        if (!test_alive(pid))
            return true;
    return !test_alive(pid);
}

#endif
