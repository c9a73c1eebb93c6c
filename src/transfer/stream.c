/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "transfer/move.h"

#define REST_MAX (1U << 20) /* bytes after the end of a tar that are read, so that its writer does not fail */

int transfer_send(const struct transfer_options *o, const char *path, const struct transfer_copy *c, int fd, struct gv_error *err)
{
    struct move m = { .o = o, .total = TRANSFER_SIZE_UNKNOWN };
    const struct copying copying = { .name = c->name, .owners = c->owners };
    cleanup_close int at = open(path, O_PATH | O_CLOEXEC | (c->follow ? 0 : O_NOFOLLOW));
    if (at < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open `%s`", path);
    return pack_one(&m, at, path, &copying, fd, err);
}

int transfer_receive(const struct transfer_options *o, int fd, const char *directory, const struct transfer_copy *c, struct gv_error *err)
{
    struct transfer_options unlimited = *o;
    unlimited.max_unpacked = UINT64_MAX; /* what is copied may be as large as the disk */
    struct move m = { .o = &unlimited, .total = TRANSFER_SIZE_UNKNOWN };
    struct copying copying = { .name = c->name, .umask = umask(077) };
    umask(copying.umask);
    int root = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open the directory `%s`", directory);
    struct inside in;
    inside_init(&in, root, false, directory);
    int result = unpack_stream(&m, fd, &in, &copying, err);
    inside_clear(&in);
    char rest[4096];
    ssize_t n;
    for (size_t left = REST_MAX; result == 0 && left >= sizeof(rest) && (n = read(fd, rest, sizeof(rest))) != 0;) {
        if (n < 0 && errno != EINTR)
            break;
        left -= n > 0 ? (size_t)n : 0;
    }
    return result;
}
