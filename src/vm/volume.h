/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the room `vm`: host directories on their way into the guest by 9p. */
#ifndef GV_VM_VOLUME_H
#define GV_VM_VOLUME_H

#include "vm/args.h"

/* Checks a volume and opens its directory, so that what was checked is what QEMU shares, whatever happens to the name later. share->fd is the
 * caller's to close. */
int vm_volume_open(struct vm_share *share, const struct vm_volume *volume, struct gv_error *err);

/* The order in which volumes are mounted: parents before what lies inside them. Fills order[0..n) with indices. */
void vm_volume_order(size_t *order, const struct vm_volume *volumes, size_t n);

#endif
