/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `vm`: how fast the host's time-stamp counter runs. Under TCG the guest's counter is the host's, so the host can tell the
 * guest what it would otherwise measure for 100 ms and more (docs/guest-kernel.md, "Clocks").
 */
#ifndef GV_VM_CLOCK_H
#define GV_VM_CLOCK_H

#include <stdint.h>

struct vm_clock {
    uint64_t tsc, ns; /* the counter and CLOCK_MONOTONIC_RAW at one moment; ns is 0 when the counter is no clock */
};

/* Takes a first look. */
void vm_clock_look(struct vm_clock *first);
/* Takes a second look, at least VM_CLOCK_MS later (it waits for that), and gives the frequency in kHz: about 10 parts in a million right. 0
 * when the host's counter does not run at one speed all the time, or something is odd. */
uint32_t vm_clock_khz(const struct vm_clock *first);

#define VM_CLOCK_MS 3U

#endif
