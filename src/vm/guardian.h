/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `vm`: the guardian, a process between the supervisor and QEMU whose only work is that nothing is left behind.
 *
 *     supervisor --fork--> guardian --jail_start--> gvmkit-jail --exec--> QEMU
 *
 * life pipe     The supervisor holds the writing end and never writes. Its end of file, by vm_guardian_release() or by the supervisor's
 *               death, however it comes, makes the guardian kill QEMU.
 * report pipe   The guardian says how the start went and how QEMU ended. Its end of file means that the guardian is gone, and everything with it.
 * PDEATHSIG     QEMU is killed by the kernel when the guardian dies.
 *
 * The guardian is a fork without exec: it costs a few private pages and cannot fail to be found. It holds no descriptor but its two pipes.
 */
#ifndef GV_VM_GUARDIAN_H
#define GV_VM_GUARDIAN_H

#include <stdbool.h>
#include <sys/types.h>

#include "jail/jail.h"

struct vm_guardian_spec {
    const struct jail *jail; /* around QEMU */
    const int *keep;         /* the descriptors that the jail was made with; all above 2 */
    size_t keep_count;
    bool keep_group;    /* no session of its own: see vm_config */
    bool no_huge_pages; /* the kernel gives QEMU memory in small pages only */
};

struct vm_guardian {
    pid_t pid, qemu_pid;
    struct jail_result jail; /* what the host refused */
    int qemu_pidfd;          /* -1 where the kernel has none */
    int life_fd;             /* -1 after vm_guardian_release() */
    int report_fd;           /* becomes readable when QEMU has ended; see vm_guardian_report */
};

/* Starts guardian and QEMU; returns when exec has succeeded or failed. The caller closes its own copies of keep. */
int vm_guardian_start(struct vm_guardian *g, const struct vm_guardian_spec *spec, struct gv_error *err);

/* Asks the guardian to kill QEMU and to end. Returns at once. */
void vm_guardian_release(struct vm_guardian *g);
/* A signal straight to QEMU: SIGSTOP or SIGCONT. */
void vm_guardian_signal_qemu(struct vm_guardian *g, int signal);
/* SIGKILL straight to QEMU and to the guardian: when that does not react. */
void vm_guardian_kill(struct vm_guardian *g);

/* What report_fd has to say. 1: QEMU has ended, *status is as from waitpid(2); 0: nothing yet; -1: the guardian is gone. */
int vm_guardian_report(struct vm_guardian *g, int *status);

/* After -1 of vm_guardian_report(): reaps the guardian, waits until QEMU is really gone (it may outlive a killed guardian by a moment), closes all. */
void vm_guardian_finish(struct vm_guardian *g);

#endif
