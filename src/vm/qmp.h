/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `vm`: the little of QEMU's machine protocol (QMP: one JSON object a line) that a VM needs. Pure: bytes in,
 * state and bytes out, so that the tests and the fuzzer need no QEMU.
 *
 * QEMU greets; we answer qmp_capabilities; afterwards events arrive, of which we keep what they tell about the end of the guest, and
 * `quit` can be sent. QEMU is held for an ally that a hostile guest may have taken over: lines and nesting are bounded, and nonsense is an error.
 */
#ifndef GV_VM_QMP_H
#define GV_VM_QMP_H

#include "core/core.h"

#define QMP_LINE_MAX (64U << 10)

struct vm_qmp {
    struct gv_buf line; /* the beginning of a line whose end has not come yet */
    struct gv_buf out;  /* bytes for QEMU: the caller sends and drops them */
    bool greeted;       /* QEMU has greeted, qmp_capabilities is in out or sent */
    bool ready;         /* commands can be sent */
    bool quit_wanted;
    bool panicked;   /* GUEST_PANICKED */
    char reason[32]; /* of the SHUTDOWN event ("guest-reset", "guest-panic", "host-qmp-quit", ...), "" before it */
};

/* Takes n bytes from QEMU. -1 with GV_E_PROTOCOL when they are not QMP, or QEMU refused a command. */
int vm_qmp_feed(struct vm_qmp *q, const void *data, size_t n, struct gv_error *err);
/* Asks QEMU to end, at once or as soon as it is ready to be asked. */
void vm_qmp_quit(struct vm_qmp *q);
/* A non-maskable interrupt for every CPU of the guest; nothing when QEMU is not ready to be asked. */
void vm_qmp_inject_nmi(struct vm_qmp *q);
void vm_qmp_clear(struct vm_qmp *q);

#endif
