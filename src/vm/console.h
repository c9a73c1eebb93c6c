/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `vm`: the last bytes of an endless text (the guest's console, QEMU's stderr), and its last lines in a form that fits
 * into an error message.
 */
#ifndef GV_VM_CONSOLE_H
#define GV_VM_CONSOLE_H

#include "core/core.h"

#define TAIL_SIZE 8192U

struct vm_tail {
    char text[TAIL_SIZE];
    size_t at;   /* where the next byte goes */
    size_t held; /* bytes held, at most TAIL_SIZE */
};

void vm_tail_add(struct vm_tail *t, const char *data, size_t n);
/* The last `lines` lines that are not blank, joined by " | ", without terminal sequences, at most size - 1 bytes (the end is kept). Returns out.
 * With a marker that occurs, the last ones up to and with the line of its first occurrence. */
char *vm_tail_last(const struct vm_tail *t, size_t lines, const char *marker, char *out, size_t size);

#endif
