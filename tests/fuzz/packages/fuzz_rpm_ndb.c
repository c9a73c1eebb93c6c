/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The input is an ndb of rpm without the free slots of its first page: 512 bytes of it, then what follows the page. */
#include "exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { PAGE = 4096, FRONT = 512 };
    if (size < FRONT)
        return 0;
    size_t n = PAGE + size - FRONT;
    cleanup_free uint8_t *db = gv_alloc(n);
    memcpy(db, data, FRONT);
    for (size_t i = FRONT; i < PAGE; i += 16)
        memcpy(db + i, "Slot\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    memcpy(db + PAGE, data + FRONT, size - FRONT);
    CLEANUP(image_tree) struct image_tree *t = exercise_tree();
    CLEANUP(packages_set) struct packages_set *s = packages_set_new(t, NULL);
    struct gv_error err = GV_ERROR_INIT;
    if (packages_rpm_ndb(s, db, n, &err) < 0 && err.code == GV_OK)
        abort();
    exercise_finish(s, t);
    return 0;
}
