/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to gvmkit-jail: the root that the program sees. */
#ifndef GV_JAIL_VIEW_H
#define GV_JAIL_VIEW_H

#include <stddef.h>

#include "jail/jail.h"

struct view {
    const char *program;
    const char *const *files, *const *devices;
    size_t file_count, device_count;
    const struct jail_share *shares;
    size_t share_count;
};

/* Makes the root and moves there; the descriptors of shares are replaced. Needs a mount namespace of our own. 0 or an errno, then the root is as
 * it was. */
int view_enter(const struct view *v);

#endif
