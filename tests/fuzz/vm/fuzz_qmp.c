/* SPDX-License-Identifier: GPL-3.0-or-later */
/* QMP lines, and the console's tail, which sees bytes of the guest too. */
#include <string.h>

#include "vm/console.h"
#include "vm/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gv_error err = GV_ERROR_INIT;
    struct vm_qmp q = { 0 };
    size_t half = size / 2;
    if (vm_qmp_feed(&q, data, half, &err) == 0)
        vm_qmp_feed(&q, data + half, size - half, &err);
    if (q.line.len > QMP_LINE_MAX || memchr(q.reason, '\0', sizeof(q.reason)) == NULL)
        __builtin_trap();
    vm_qmp_quit(&q);
    vm_qmp_clear(&q);

    static struct vm_tail t;
    char out[700];
    t = (struct vm_tail){ 0 };
    vm_tail_add(&t, (const char *)data, half);
    vm_tail_add(&t, (const char *)data + half, size - half);
    size_t room = size ? 1 + data[0] * 2U : 1;
    const char *said = vm_tail_last(&t, size % 9 + 1, size & 1 ? "x" : NULL, out, room);
    if (strlen(said) >= room || strchr(said, '\033') || strchr(said, '\n'))
        __builtin_trap();
    return 0;
}
