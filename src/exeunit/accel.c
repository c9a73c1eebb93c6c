/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Emulation is fine for work of one's own, and no wall against that of strangers: a provider has to allow it in so many words. */
#include <string.h>

#include "exeunit/exeunit.h"

int exeunit_accel(enum vm_accel wanted, enum vm_accel *accel, struct gv_error *err)
{
    const char *allow = getenv("GVMKIT_ALLOW_TCG");
    bool allowed = allow && !strcmp(allow, "1");
    *accel = allowed ? wanted : VM_ACCEL_KVM;
    if (wanted != VM_ACCEL_TCG || allowed)
        return 0;
    return gv_error_set(err, GV_E_UNSUPPORTED, 0, "emulation (TCG) is no security boundary; set GVMKIT_ALLOW_TCG=1 to use it nevertheless");
}

int exeunit_accel_hint(enum vm_accel wanted, enum vm_accel accel, struct gv_error *err)
{
    if (err->code == GV_E_UNSUPPORTED && accel == VM_ACCEL_KVM && wanted == VM_ACCEL_AUTO)
        gv_error_hint(err, "GVMKIT_ALLOW_TCG=1 allows emulation, which is slow and no security boundary");
    return -1;
}
