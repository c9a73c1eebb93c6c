/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `exeunit`: what a VM has used, as the host sees it. Nothing of it is asked of the guest, which could say anything.
 */
#ifndef GV_EXEUNIT_COUNTERS_H
#define GV_EXEUNIT_COUNTERS_H

#include "exeunit/deployment.h"

struct counters {
    double cpu_seconds;             /* of QEMU, which is all that the guest has computed and all that it has cost */
    double memory_gib;              /* resident */
    double storage_gib;             /* what the volumes on the host's disk take there */
    double over_bytes;              /* more than --storage-gib allows: disks count with their full size here. 0 while all is well */
    double read_bytes, write_bytes; /* by QEMU: disk images, volumes and the agent's channel */
};

/* Fills *c as far as can be found out. Returns 0, or -1 when the process is gone. Volumes of more than COUNTERS_FILES_MAX files count up to that
 * number, so that this does not take long. */
#define COUNTERS_FILES_MAX 20000U
int counters_read(struct counters *c, pid_t qemu, const struct deployment *d, const char *workdir);

#endif
