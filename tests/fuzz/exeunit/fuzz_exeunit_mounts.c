/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A requestor's --volume-override, and the sizes in it. */
#include <string.h>

#include "exeunit/deployment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = gv_strndup((const char *)data, size);
    static char image[] = "/data";
    char *volumes[] = { image, NULL };
    const struct image_config config = { .volumes = { .items = volumes, .count = 1 } };
    cleanup_deployment struct deployment d = { .storage = UINT64_C(1) << 32 };
    struct gv_error err = GV_ERROR_INIT;
    uint64_t bytes, slack, disks = 0;
    if (exeunit_size(text, &bytes, &slack, NULL) == 0 && bytes > (UINT64_C(1) << 62))
        __builtin_trap();
    if (deployment_plan(&d, &config, text, NULL, &err) < 0) {
        if (err.code == GV_OK || !err.msg[0])
            __builtin_trap();
        return 0;
    }
    for (size_t i = 0; i < d.volume_count; i++) {
        const struct deployment_volume *v = &d.volumes[i];
        cleanup_free char *normal = gv_path_normal(v->path);
        if (!normal || strcmp(normal, v->path) || (i && strcmp(d.volumes[i - 1].path, v->path) >= 0))
            __builtin_trap();
        disks += v->kind == VM_VOLUME_DISK ? v->size : 0;
    }
    if (disks > d.storage)
        __builtin_trap();
    return 0;
}
