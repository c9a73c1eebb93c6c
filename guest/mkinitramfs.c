/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * mkinitramfs AGENT OUTPUT: writes the guest's initial ramfs, a cpio archive in the "newc" format (Documentation/driver-api/early-userspace/
 * buffer-format.rst of the kernel). It holds /init, which is the agent, and /dev/console, which the kernel opens as init's
 * first descriptors. Times and inode numbers are fixed, so the same agent gives the same bytes. Not compressed: the kernel then has
 * nothing to unpack.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"

#define AGENT_MAX (16L << 20)
#define CPIO_DIRECTORY 0040755U
#define CPIO_PROGRAM 0100755U
#define CPIO_CONSOLE 0020600U

static int pad(FILE *out, size_t n, size_t to)
{
    static const char zeros[512];
    size_t rest = n % to ? to - n % to : 0;
    return fwrite(zeros, 1, rest, out) == rest ? 0 : -1;
}

static int entry(FILE *out, unsigned inode, const char *name, unsigned mode, unsigned major, unsigned minor, const void *data, size_t n)
{
    size_t name_n = strlen(name) + 1;
    int head = fprintf(out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", inode, mode, 0U, 0U, 1U, 0U, (unsigned)n, 0U, 0U,
                       major, minor, (unsigned)name_n, 0U);
    if (head < 0 || fwrite(name, 1, name_n, out) != name_n || pad(out, (size_t)head + name_n, 4) < 0)
        return -1;
    return fwrite(data, 1, n, out) == n ? pad(out, n, 4) : -1;
}

static int archive(FILE *out, const void *agent, size_t n)
{
    if (entry(out, 1, "dev", CPIO_DIRECTORY, 0, 0, "", 0) < 0 || entry(out, 2, "dev/console", CPIO_CONSOLE, 5, 1, "", 0) < 0 ||
        entry(out, 3, "init", CPIO_PROGRAM, 0, 0, agent, n) < 0 || entry(out, 0, "TRAILER!!!", 0, 0, 0, "", 0) < 0)
        return -1;
    long size = ftell(out);
    return size < 0 ? -1 : pad(out, (size_t)size, 512);
}

static void *load(const char *path, size_t *n)
{
    cleanup_fclose FILE *in = fopen(path, "rb");
    if (!in || fseek(in, 0, SEEK_END) < 0)
        return NULL;
    long size = ftell(in);
    if (size <= 0 || size > AGENT_MAX || fseek(in, 0, SEEK_SET) < 0)
        return NULL;
    cleanup_free void *p = malloc((size_t)size);
    if (!p || fread(p, 1, (size_t)size, in) != (size_t)size)
        return NULL;
    *n = (size_t)size;
    return steal_ptr(p);
}

int main(int argc, char **argv)
{
    size_t n;
    if (argc != 3) {
        fprintf(stderr, "usage: mkinitramfs AGENT OUTPUT\n");
        return 2;
    }
    cleanup_free void *agent = load(argv[1], &n);
    if (!agent) {
        fprintf(stderr, "mkinitramfs: cannot read '%s'\n", argv[1]);
        return 1;
    }
    FILE *out = fopen(argv[2], "wb");
    int done = out ? archive(out, agent, n) : -1;
    if (out && fclose(out) != 0)
        done = -1;
    if (done < 0) {
        perror(argv[2]);
        remove(argv[2]);
        return 1;
    }
    return 0;
}
