/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The databases one after the other: an image can have several, as when rpm is installed on a Debian system. */
#include "packages/db.h"

int packages_assign(struct image_tree *tree, struct packages_summary *out, const struct gv_log *log, struct gv_error *err)
{
    *out = (struct packages_summary){ 0 };
    CLEANUP(packages_set) struct packages_set *s = packages_set_new(tree, log);
    int status = packages_read_dpkg(s, &out->dpkg, err);
    if (status == 0)
        status = packages_read_apk(s, &out->apk, err);
    if (status == 0)
        status = packages_read_rpm(s, &out->rpm, err);
    packages_set_finish(s, out); /* also after a failure: what is in the tree are never our own numbers */
    return status;
}
