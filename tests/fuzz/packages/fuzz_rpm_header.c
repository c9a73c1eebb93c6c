/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The input is the header of an rpm package as it is in databases. */
#include "exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(image_tree) struct image_tree *t = exercise_tree();
    CLEANUP(packages_set) struct packages_set *s = packages_set_new(t, NULL);
    struct gv_error err = GV_ERROR_INIT;
    if (packages_rpm_header(s, data, size, &err) < 0 && err.code == GV_OK)
        abort();
    exercise_finish(s, t);
    return 0;
}
