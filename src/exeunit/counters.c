/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "exeunit/counters.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define GIB ((double)(1ULL << 30))
#define PROC_FILE_MAX 4096U
#define DEPTH_MAX 64

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

/* Bytes that a tree takes on the disk. Symbolic links are what the guest has made, and are not followed. */
static double tree_bytes(int parent, const char *name, unsigned *left, int depth)
{
    double sum = 0;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    for (struct dirent *e; *left > 0 && (e = readdir(d)) != NULL;) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        (*left)--;
        sum += (double)st.st_blocks * 512;
        if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
            sum += tree_bytes(fd, e->d_name, left, depth + 1);
    }
    closedir(d);
    return sum;
}

/* *reserved is what the volumes take of the agreed space: disks take all of theirs, written or not. */
static double storage_bytes(const struct deployment *d, const char *workdir, double *reserved)
{
    unsigned left = COUNTERS_FILES_MAX;
    double sum = 0;
    *reserved = 0;
    cleanup_close int dir = open(workdir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; dir >= 0 && i < d->volume_count; i++) {
        const struct deployment_volume *v = &d->volumes[i];
        struct stat st;
        if (v->kind == VM_VOLUME_DIRECTORY) {
            double tree = tree_bytes(dir, v->name, &left, 0);
            sum += tree;
            *reserved += tree;
        } else if (v->kind == VM_VOLUME_DISK) {
            *reserved += (double)v->size;
            if (fstatat(dir, v->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                sum += (double)st.st_blocks * 512;
        }
    }
    return sum;
}

int counters_read(struct counters *c, pid_t qemu, const struct deployment *d, const char *workdir)
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
    double reserved;
    c->storage_gib = storage_bytes(d, workdir, &reserved) / GIB;
    c->over_bytes = reserved > (double)d->storage ? reserved - (double)d->storage : 0;
    return 0;
}
