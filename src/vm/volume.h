/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the room `vm`: directories and disk images of the host on their way into the guest. */
#ifndef GV_VM_VOLUME_H
#define GV_VM_VOLUME_H

#include "vm/args.h"

/* Checks a volume and opens its directory or disk, so that what was checked is what QEMU shares, whatever happens to the name later. share->fd is the
 * caller's to close, if it is not -1. */
int vm_volume_open(struct vm_share *share, const struct vm_volume *volume, struct gv_error *err);

/* Opens a disk image for reading and writing, locked against other VMs for as long as any copy of the descriptor is open. Returns the fd or -1
 * (GV_E_BUSY when another VM still has it after a second). */
int vm_volume_open_disk(const char *path, struct gv_error *err);

/* The order in which volumes are mounted: parents before what lies inside them. Fills order[0..n) with indices. */
void vm_volume_order(size_t *order, const struct vm_volume *volumes, size_t n);

#endif
