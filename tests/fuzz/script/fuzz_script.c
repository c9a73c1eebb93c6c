/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A requestor's script. */
#include <string.h>

#include "script/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(script) struct script *s = NULL;
    struct gv_error err = GV_ERROR_INIT;
    if (script_parse(&s, (const char *)data, size, &err) < 0) {
        if (err.code == GV_OK || !err.msg[0] || s)
            __builtin_trap();
        return 0;
    }
    for (size_t i = 0; i < s->count; i++) {
        const struct script_command *c = &s->commands[i];
        if ((c->kind == SCRIPT_RUN) != (c->entry_point != NULL) || (c->kind == SCRIPT_TRANSFER) != (c->transfer.from != NULL))
            __builtin_trap();
    }
    return 0;
}
