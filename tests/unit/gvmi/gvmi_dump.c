/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What our reader finds in an image, for comparison with what others find: gvmi_dump FILE prints one line for each name, in the form of
 * tests/e2e/listing.py, which makes the same of a directory or a tar.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gvmi/gvmi.h"

struct dump {
    struct gvmi_image *img;
    struct gv_buf line;
    struct gv_hash *hash;
};

static void escape(struct gv_buf *out, const void *p, size_t n)
{
    const unsigned char *s = p;
    for (size_t i = 0; i < n; i++)
        if (s[i] < 0x80 && (isalnum(s[i]) || (s[i] && strchr("._-/", s[i]))))
            gv_buf_addf(out, "%c", s[i]);
        else
            gv_buf_addf(out, "%%%02x", s[i]);
}

static int add_piece(void *user, const void *p, size_t n)
{
    struct dump *d = user;
    gv_hash_update(d->hash, p, n);
    return 0;
}

static int add_xattr(void *user, const char *name, const void *value, size_t n)
{
    struct dump *d = user;
    gv_buf_addf(&d->line, " ");
    escape(&d->line, name, strlen(name));
    gv_buf_addf(&d->line, "=");
    escape(&d->line, value, n);
    return 0;
}

static int add_content(struct dump *d, const struct gvmi_stat *st, struct gv_error *err)
{
    unsigned char digest[GV_HASH_MAX];
    char hex[2 * GV_HASH_MAX + 1];
    d->hash = gv_hash_new(GV_HASH_SHA256);
    int status = gvmi_read_file(d->img, st->ref, add_piece, d, err);
    gv_hex(hex, digest, gv_hash_final(d->hash, digest));
    gv_hash_free(d->hash);
    gv_buf_addf(&d->line, " %" PRIu64 " %s", st->size, hex);
    return status;
}

static int one(void *user, const char *path, const struct gvmi_stat *st)
{
    static const char letters[] = { [IMAGE_FILE] = 'f',  [IMAGE_DIR] = 'd',  [IMAGE_SYMLINK] = 'l', [IMAGE_CHAR] = 'c',
                                    [IMAGE_BLOCK] = 'b', [IMAGE_FIFO] = 'p', [IMAGE_SOCKET] = 's' };
    struct dump *d = user;
    struct gv_error err = GV_ERROR_INIT;
    cleanup_free char *target = NULL;
    int status = 0;
    d->line.len = 0;
    escape(&d->line, *path ? path : ".", *path ? strlen(path) : 1);
    gv_buf_addf(&d->line, " %c %o %u:%u %" PRId64, letters[st->type], st->type == IMAGE_SYMLINK ? 0777 : st->mode, st->uid, st->gid,
                st->mtime);
    if (st->type != IMAGE_DIR)
        gv_buf_addf(&d->line, " #%u %u", st->inode, st->nlink);
    if (st->type == IMAGE_FILE)
        status = add_content(d, st, &err);
    if (st->type == IMAGE_CHAR || st->type == IMAGE_BLOCK)
        gv_buf_addf(&d->line, " %u,%u", st->rdev_major, st->rdev_minor);
    if (st->type == IMAGE_SYMLINK && (status = gvmi_read_link(d->img, st->ref, &target, &err)) == 0) {
        gv_buf_addf(&d->line, " ");
        escape(&d->line, target, strlen(target));
    }
    if (status == 0)
        status = gvmi_read_xattrs(d->img, st->ref, add_xattr, d, &err);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", path, err.msg);
        return 1;
    }
    puts(gv_buf_str(&d->line));
    return 0;
}

int main(int argc, char **argv)
{
    struct dump d = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (argc != 2) {
        fputs("usage: gvmi_dump FILE\n", stderr);
        return 2;
    }
    if (gvmi_open(&d.img, argv[1], &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    int status = gvmi_walk(d.img, one, &d, &err);
    if (status < 0)
        fprintf(stderr, "%s\n", err.msg);
    gvmi_close(d.img);
    gv_buf_clear(&d.line);
    return status != 0 || fflush(stdout) != 0;
}
