/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "exeunit/counters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/core.h"

#define GIB ((double)(1ULL << 30))
#define PROC_FILE_MAX 4096U

/* A file of /proc as text; false when there is none. */
static bool read_proc(pid_t pid, const char *name, struct gv_buf *b)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    b->len = 0;
    return gv_read_file(path, PROC_FILE_MAX, b, NULL) == 0;
}

/* The number after a label at the start of a line; 0 when it is not there. */
static double labelled(struct gv_buf *b, const char *label)
{
    const char *at = gv_buf_str(b);
    size_t n = strlen(label);
    for (; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        if (!strncmp(at, label, n))
            return strtod(at + n, NULL);
    return 0;
}

/* utime and stime are the 14th and 15th field; the second one, in parentheses, may hold anything. */
static double cpu_seconds(struct gv_buf *b)
{
    unsigned long long user = 0, system = 0;
    const char *at = strrchr(gv_buf_str(b), ')');
    if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2)
        return 0;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

int counters_read(struct counters *c, pid_t qemu)
{
    cleanup_buf struct gv_buf b = { 0 };
    *c = (struct counters){ 0 };
    if (qemu <= 0 || !read_proc(qemu, "stat", &b))
        return -1;
    c->cpu_seconds = cpu_seconds(&b);
    if (read_proc(qemu, "status", &b))
        c->memory_gib = labelled(&b, "VmRSS:") * 1024 / GIB;
    if (read_proc(qemu, "io", &b)) {
        c->read_bytes = labelled(&b, "rchar:");
        c->write_bytes = labelled(&b, "wchar:");
    }
    return 0;
}
