/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A tar for UNPACK, from whoever: what is read of it is what can be written, and read again as the same. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest/agent/agent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct tar_entry *e, const struct tar_entry *again)
{
    bool directory = e->type == '5';
    size_t n = strlen(e->name);
    if (e->type != again->type || e->mode != again->mode || e->uid != again->uid || e->gid != again->gid || e->size != again->size ||
        e->mtime.tv_sec != again->mtime.tv_sec || e->mtime.tv_nsec != again->mtime.tv_nsec || strcmp(e->target, again->target) != 0 ||
        strncmp(e->name, again->name, n) != 0 || strlen(again->name) != n + directory)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tar_reader in, back;
    static struct tar_writer out;
    static struct tar_entry e, again;
    static int fd = -1, copy = -1;
    if (fd < 0) {
        fd = memfd_create("in", MFD_CLOEXEC);
        copy = memfd_create("out", MFD_CLOEXEC);
    }
    if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0)
        return 0;
    in = (struct tar_reader){ .fd = fd };
    while (tar_next(&in, &e) > 0) {
        const uint8_t *p;
        ssize_t n;
        uint64_t sum = 0;
        while ((n = tar_data(&in, &p)) > 0)
            sum += (uint64_t)n;
        if (n == 0 && sum != e.size)
            __builtin_trap();
        /* The size is what the tar has, so that the copy's end is where it says. */
        if (n < 0 || e.size > 4096 || strlen(e.name) + 2 > sizeof(e.name) ||
            (e.type == '0' && *e.name && e.name[strlen(e.name) - 1] == '/'))
            continue;
        static const uint8_t zeros[4096];
        out = (struct tar_writer){ .fd = copy };
        if (ftruncate(copy, 0) < 0 || lseek(copy, 0, SEEK_SET) < 0)
            return 0;
        if (tar_put(&out, &e) < 0 || tar_put_data(&out, zeros, (size_t)e.size) < 0 || tar_put_padding(&out, e.size) < 0 ||
            tar_finish(&out) < 0)
            __builtin_trap();
        lseek(copy, 0, SEEK_SET);
        back = (struct tar_reader){ .fd = copy };
        if (tar_next(&back, &again) != 1)
            __builtin_trap();
        check(&e, &again);
        if (tar_next(&back, &again) != 0)
            __builtin_trap();
        if (unpack_name(e.name) && (e.name[0] == '/' || strstr(e.name, "//") || strcmp(e.name, "..") == 0 || strstr(e.name, "/../")))
            __builtin_trap();
    }
    return 0;
}
