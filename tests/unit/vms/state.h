/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A state directory of the test's own. */
#ifndef TEST_VMS_STATE_H
#define TEST_VMS_STATE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vms/vms.h"

static inline int state_make(void **state)
{
    char path[] = "/tmp/gvmkit-test-XXXXXX";
    if (!mkdtemp(path) || setenv("XDG_STATE_HOME", path, 1) < 0)
        return -1;
    *state = gv_strdup(path);
    return 0;
}

static inline int state_remove(void **state)
{
    int status = gv_remove_tree(*state, NULL);
    free(*state);
    return status;
}

static inline char *state_path(void **state, const char *name)
{
    return gv_asprintf("%s/gvmkit/vms/%s", (const char *)*state, name);
}

#endif
