/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Everything that can be asked of an open image, for fuzzers and for the test with hostile files. What is read is bounded, for a good image may stand
 * for terabytes of zeros. */
#ifndef GV_FUZZ_GVMI_EXERCISE_H
#define GV_FUZZ_GVMI_EXERCISE_H

#include <stdlib.h>
#include <string.h>

#include "gvmi/gvmi.h"

struct exercise {
    struct gvmi_image *img;
    uint64_t bytes_left;
    unsigned entries_left;
    unsigned sum; /* so that nothing that is read can be left out by the compiler */
};

static int exercise_piece(void *user, const void *p, size_t n)
{
    struct exercise *x = user;
    const unsigned char *bytes = p;
    x->sum += bytes[0] + bytes[n - 1];
    if (n >= x->bytes_left)
        return 1;
    x->bytes_left -= n;
    return 0;
}

static int exercise_xattr(void *user, const char *name, const void *value, size_t n)
{
    struct exercise *x = user;
    x->sum += (unsigned)strlen(name);
    return n ? exercise_piece(user, value, n) : 0;
}

static int exercise_entry(void *user, const char *path, const struct gvmi_stat *st)
{
    struct exercise *x = user;
    struct gv_error err = GV_ERROR_INIT;
    x->sum += (unsigned)strlen(path);
    if (st->type == IMAGE_SYMLINK) {
        char *target = NULL;
        if (gvmi_read_link(x->img, st->ref, &target, &err) == 0)
            x->sum += (unsigned)strlen(target);
        free(target);
    }
    if (st->type == IMAGE_FILE && x->bytes_left > 0)
        gvmi_read_file(x->img, st->ref, exercise_piece, x, &err);
    gvmi_read_xattrs(x->img, st->ref, exercise_xattr, x, &err);
    return x->entries_left-- == 0;
}

static int exercise_name(void *user, const struct gvmi_entry *e)
{
    struct exercise *x = user;
    x->sum += (unsigned)strlen(e->name);
    return x->entries_left-- == 0;
}

static void exercise_finding(void *user, const char *text)
{
    struct exercise *x = user;
    x->sum += (unsigned)strlen(text);
}

/* Any image has a chunk map that covers it, or none. */
static void exercise_chunks(struct gvmi_image *img, bool good)
{
    cleanup_chunk_map struct gvmi_chunk_map map = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    uint64_t at = 0;
    if (gvmi_chunks(img, NULL, &map, &err) < 0) {
        if (good || map.count > 0)
            abort();
        return;
    }
    for (size_t i = 0; i < map.count; at += map.chunks[i++].length)
        if (map.chunks[i].offset != at || map.chunks[i].length == 0 || map.chunks[i].length > GVMI_CHUNK_MAX)
            abort();
    if (at != map.file_size || at != gvmi_info(img)->file_size)
        abort();
}

/* Whether all of it could be read. */
static bool exercise_image(struct gvmi_image *img)
{
    static const char *const paths[] = { "/", "dir/file", "dir/link", "/dir/sub/../hard", "loop/x", "/etc/passwd", "a/b/c/d/e/f" };
    struct exercise x = { .img = img, .bytes_left = 4 << 20, .entries_left = 2000 };
    struct gvmi_stat st;
    struct gv_error err = GV_ERROR_INIT;
    bool good = gvmi_verify(img, NULL, &err) == 0;
    int walked = gvmi_walk(img, exercise_entry, &x, &err);
    if (good && walked < 0)
        abort(); /* verify said that all can be read */
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        if (gvmi_lookup(img, paths[i], i % 2 == 0, &st, &err) == 0 && st.type == IMAGE_DIR)
            gvmi_read_dir(img, st.ref, exercise_name, &x, &err);
    gvmi_lint(img, exercise_finding, &x, &err);
    exercise_chunks(img, good);
    return good && x.sum < UINT32_MAX;
}

#endif
