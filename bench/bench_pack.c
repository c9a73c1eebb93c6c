/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the compressor of a profile takes by itself: the bytes of FILE in blocks, compressed by THREADS threads, with nothing read from a disk or
 * written to one. A conversion cannot take less, and the bench says how much more it takes.
 *
 *   bench_pack FILE PROFILE THREADS      prints "SECONDS BYTES": by the clock, and of the compressed blocks
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "gvmi/codec.h"
#include "gvmi/gvmi.h"

struct work {
    const unsigned char *data;
    size_t size;
    struct gvmi_write_options options;
    atomic_size_t next;
    atomic_size_t packed;
};

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "bench_pack: %s\n", what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *pack(void *user)
{
    struct work *w = user;
    struct gv_error err = GV_ERROR_INIT;
    size_t block = w->options.block_size, packed = 0;
    CLEANUP(gvmi_packer) struct gvmi_packer *p = gvmi_packer_new(w->options.compression, w->options.level, &err);
    cleanup_free unsigned char *out = gv_alloc(GVMI_PACKED_ROOM(block));
    if (!p)
        fail(err.msg);
    for (size_t at; (at = atomic_fetch_add(&w->next, block)) < w->size;) {
        size_t n = w->size - at < block ? w->size - at : block, got = gvmi_packer_run(p, w->data + at, n, out);
        packed += got ? got : n;
    }
    atomic_fetch_add(&w->packed, packed);
    return NULL;
}

int main(int argc, char **argv)
{
    enum { THREADS_MAX = 256 };
    struct gv_error err = GV_ERROR_INIT;
    static struct work w;
    int threads = argc == 4 ? atoi(argv[3]) : 0;
    if (threads < 1 || threads > THREADS_MAX)
        fail("usage: bench_pack FILE PROFILE THREADS");
    if (gvmi_profile(argv[2], &w.options, &err) < 0)
        fail(err.msg);
    w.options.level = gvmi_codec_level(w.options.compression, w.options.level, &err);
    if (w.options.level < 0)
        fail(err.msg);
    int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0)
        fail("FILE cannot be opened, or is empty");
    w.size = (size_t)st.st_size;
    const void *map = mmap(NULL, w.size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (map == MAP_FAILED)
        fail("FILE cannot be mapped");
    w.data = map;
    pthread_t thread[THREADS_MAX];
    double start = now();
    for (int i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, pack, &w))
            fail("no thread");
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    printf("%.6f %zu\n", now() - start, atomic_load(&w.packed));
    return 0;
}
