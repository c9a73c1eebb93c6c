/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the room `vms`. */
#ifndef GV_VMS_INSIDE_H
#define GV_VMS_INSIDE_H

#include "vms/vms.h"

/* Opens the directory of a name, and its lock, for looking: -1 with GV_E_NOT_FOUND when there is none. */
int vms_dir_open(const char *name, int *lock, struct gv_error *err);
/* Whether its owner lives. */
bool vms_dir_runs(int lock);

#endif
