/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The input is a squashfs; a good trailer is put behind it. */
#include <sys/mman.h>

#include "exercise.h"
#include "gvmi/trailer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char json[] =
        "{\"Cmd\":[\"file\"],\"User\":\"nobody:nogroup\",\"Volumes\":{\"/dir/\":{},\"/dir/link/x\":{}},\"WorkingDir\":\"/dir\"}";
    cleanup_close int fd = memfd_create("fuzz", MFD_CLOEXEC);
    cleanup_buf struct gv_buf end = { 0 };
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    struct gv_error err = GV_ERROR_INIT;
    if (fd < 0 || gvmi_trailer_format(&end, json, strlen(json), &err) < 0 || gv_write_full(fd, data, size) < 0 ||
        gv_write_full(fd, end.data, end.len) < 0)
        abort();
    if (gvmi_open_fd(&img, fd, "fuzz", &err) == 0)
        exercise_image(img);
    return 0;
}
