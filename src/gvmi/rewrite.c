/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Another trailer for an image. The file system in front of it is taken over byte by byte: shared with the old file where the disk's file system can do
 * that and copied otherwise, then read once for the hash, in the same pass as the copying.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "gvmi/read.h"
#include "gvmi/trailer.h"

#define PIECE ((size_t)1 << 20)
#define SHARE_ALIGN 4096U /* the largest block size of file systems that share */

static bool share(const struct gvmi_image *img, int fd, uint64_t size)
{
    struct file_clone_range range = { .src_fd = img->fd, .src_length = size };
    return size % SHARE_ALIGN == 0 && ioctl(fd, FICLONERANGE, &range) == 0;
}

static int take_over(struct gvmi_image *img, int fd, struct gv_hash *hash, uint64_t total, const struct gv_progress *progress,
                     struct gv_error *err)
{
    uint64_t size = img->info.trailer_offset;
    bool shared = share(img, fd, size);
    cleanup_free unsigned char *piece = gv_alloc(PIECE);
    for (uint64_t at = 0; at < size;) {
        size_t n = size - at < PIECE ? (size_t)(size - at) : PIECE;
        ssize_t got = gv_pread_full(img->fd, piece, n, at);
        if (got != (ssize_t)n)
            return got < 0 ? gv_error_errno(err, "%s", img->name)
                           : gv_error_set(err, GV_E_CORRUPT, 0, "%s: it became shorter while it was read", img->name);
        gv_hash_update(hash, piece, n);
        if (!shared && gv_pwrite_full(fd, piece, n, at) < 0)
            return gv_error_errno(err, "cannot write the image");
        at += n;
        gv_progress_update(progress, shared ? "hashing" : "copying", at, total);
    }
    return 0;
}

int gvmi_rewrite(struct gvmi_image *img, int fd, const char *json, const struct gv_progress *progress, struct gvmi_write_result *result,
                 struct gv_error *err)
{
    cleanup_buf struct gv_buf trailer = { 0 };
    if (gvmi_trailer_format(&trailer, json, strlen(json), err) < 0)
        return -1;
    uint64_t size = img->info.trailer_offset, total = size + trailer.len;
    unsigned char digest[GV_HASH_MAX];
    struct gv_hash *hash = gv_hash_new(GV_HASH_SHA3_224);
    int status = take_over(img, fd, hash, total, progress, err);
    if (status == 0 && gv_pwrite_full(fd, trailer.data, trailer.len, size) < 0)
        status = gv_error_errno(err, "cannot write the image");
    if (status == 0) {
        gv_hash_update(hash, trailer.data, trailer.len);
        gv_hash_final(hash, digest);
        *result = (struct gvmi_write_result){ .size = total, .squashfs_size = img->info.squashfs_size };
        gv_hex(result->hash, digest, GV_SHA3_224_SIZE);
        gv_progress_update(progress, "hashing", total, total);
    }
    gv_hash_free(hash);
    return status;
}
