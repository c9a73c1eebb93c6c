/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to gvmkit-jail: the system calls of the program. */
#ifndef GV_JAIL_FILTER_H
#define GV_JAIL_FILTER_H

#include "jail/jail.h"

/*
 * From here on this process makes the system calls of the profile only, and may execute *program once: the pointer is replaced by one that only
 * we can know. 0 or an errno, then nothing has changed.
 */
int filter_install(enum jail_profile profile, const char **program);

#endif
