/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * dpkg's and apk's text files. The input is cut at bytes 0xff into: two lists of info, one of them with the architecture in its name; the diversions; the
 * checksums of a distroless image; apk's database; and the target of one more link in the root.
 */
#include "exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct contents c = { 0 };
    size_t len[8] = { 0 }, pieces = 0;
    for (const uint8_t *end = data + size; pieces < 6; pieces++) {
        const uint8_t *cut = memchr(data, 0xff, (size_t)(end - data));
        c.data[pieces] = data;
        len[pieces] = (size_t)((cut ? cut : end) - data);
        data = cut ? cut + 1 : end;
    }
    CLEANUP(image_tree) struct image_tree *t = exercise_tree();
    image_tree_set_reader(t, exercise_read, &c, NULL);
    exercise_file(t, "/var/lib/dpkg/info", "dash.list", 0, len[0]);
    exercise_file(t, "/var/lib/dpkg/info", "libc6:amd64.list", 1, len[1]);
    exercise_file(t, "/var/lib/dpkg", "diversions", 2, len[2]);
    exercise_file(t, "/var/lib/dpkg/status.d", "libssl3.md5sums", 3, len[3]);
    exercise_file(t, "/usr/lib/apk/db", "installed", 4, len[4]);
    cleanup_free char *target = gv_strndup((const char *)c.data[5], len[5]);
    exercise_link(t, "link", target);
    struct packages_summary sum;
    struct gv_error err = GV_ERROR_INIT;
    if (packages_assign(t, &sum, NULL, &err) < 0 || !sum.dpkg || !sum.apk || sum.rpm)
        abort();
    if (sum.files > 8 || image_tree_lookup(t, "/usr/bin/sh", false)->inode->group > sum.packages)
        abort();
    return 0;
}
