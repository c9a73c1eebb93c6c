/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `exeunit`: what a VM has used, as the host sees it. Nothing of it is asked of the guest, which could say anything.
 */
#ifndef GV_EXEUNIT_COUNTERS_H
#define GV_EXEUNIT_COUNTERS_H

#include <sys/types.h>

struct counters {
    double cpu_seconds;             /* of QEMU, which is all that the guest has computed and all that it has cost */
    double memory_gib;              /* resident */
    double read_bytes, write_bytes; /* by QEMU: disk images, volumes and the agent's channel */
};

/* Fills *c as far as can be found out. Returns 0, or -1 when the process is gone. */
int counters_read(struct counters *c, pid_t qemu);

#endif
