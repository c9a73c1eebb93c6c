/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The input is a whole file: the trailer and the superblock as they come. */
#include <sys/mman.h>

#include "exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_close int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    struct gv_error err = GV_ERROR_INIT;
    if (fd < 0 || gv_write_full(fd, data, size) < 0)
        abort();
    if (gvmi_open_fd(&img, fd, "fuzz", &err) == 0) {
        const struct gvmi_info *info = gvmi_info(img);
        if (info->trailer_offset + info->metadata_size + 12 != size || strlen(gvmi_metadata(img)) > info->metadata_size)
            abort();
        exercise_image(img);
    } else if (err.code == GV_OK || err.msg[0] == '\0') {
        abort(); /* refused without a reason */
    }
    return 0;
}
