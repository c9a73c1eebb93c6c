/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An archive, unpacked: the first byte chooses the format, or a guest's stream. Whatever it holds, nothing appears outside of the directory that it is unpacked in.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "transfer/move.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const formats[] = { "tar", "tar.gz", "zip", "tar.xz", "tar.bz2" };
    const struct transfer_options o = { .max_unpacked = 1 << 20 };
    const struct transfer_request r = { 0 };
    char dir[] = "/dev/shm/gvmkit-fuzz-unpack-XXXXXX";
    struct gv_error err = GV_ERROR_INIT;
    if (size < 2)
        return 0;
    if (!mkdtemp(dir))
        __builtin_trap();
    cleanup_free char *in_path = gv_asprintf("%s/in", dir);
    cleanup_close int archive = memfd_create("archive", MFD_CLOEXEC);
    if (mkdir(in_path, 0755) < 0 || gv_write_full(archive, data + 1, size - 1) < 0)
        __builtin_trap();
    struct inside in;
    struct move m = { .o = &o };
    struct fileset *set = NULL;
    inside_init(&in, open(in_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), (data[0] & 0x80) != 0, "/v");
    if (fileset_new(&set, &r, &err) < 0)
        __builtin_trap();
    const struct copying copying = { .name = data[0] & 0x20 ? "" : "d", .umask = 022 };
    int result;
    if (data[0] & 0x40)
        result = lseek(archive, 0, SEEK_SET) < 0 ? -1 : unpack_stream(&m, archive, &in, &copying, &err);
    else
        result = unpack_file(&m, archive, size - 1, &in, set, formats[data[0] % 5], &err);
    if (result < 0 && !err.msg[0])
        __builtin_trap();
    fileset_free(set);
    inside_clear(&in);
    /* Only "in" is there: else removing it leaves something behind. */
    if (gv_remove_tree(in_path, &err) < 0 || rmdir(dir) < 0)
        __builtin_trap();
    return 0;
}
