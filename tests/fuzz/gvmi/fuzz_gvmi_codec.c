/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The compressors' glue. The first byte chooses the compression, the second the level and how much room the output has. The rest is decompressed as it
 * is, and also compressed and decompressed again, which must give the same.
 */
#include <stdlib.h>
#include <string.h>

#include "gvmi/codec.h"
#include "gvmi/gvmi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decompress(int compression, const uint8_t *data, size_t size, size_t cap)
{
    CLEANUP(gvmi_unpacker) struct gvmi_unpacker *u = gvmi_unpacker_new(compression, NULL);
    cleanup_free unsigned char *in = gv_memdup(data, size), *out = gv_alloc(cap);
    int64_t n = gvmi_unpacker_run(u, in, size, out, cap);
    if (n > (int64_t)cap)
        abort();
}

static void round_trip(int compression, int level, const uint8_t *data, size_t size)
{
    level = gvmi_codec_level(compression, level, NULL);
    if (level < 0 || size == 0 || size > 65536)
        return;
    CLEANUP(gvmi_packer) struct gvmi_packer *p = gvmi_packer_new(compression, level, NULL);
    CLEANUP(gvmi_unpacker) struct gvmi_unpacker *u = gvmi_unpacker_new(compression, NULL);
    cleanup_free unsigned char *packed = gv_alloc(GVMI_PACKED_ROOM(size)), *again = gv_alloc(size), *exact;
    size_t n = gvmi_packer_run(p, data, size, packed);
    exact = gv_memdup(packed, n);
    if (n == 0)
        return;
    if (n >= size || gvmi_unpacker_run(u, exact, n, again, size) != (int64_t)size || memcmp(again, data, size) != 0)
        abort();
    if (gvmi_unpacker_run(u, exact, n, again, size - 1) == (int64_t)size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    int compression = 1 + data[0] % 6;
    decompress(compression, data + 2, size - 2, (size_t)data[1] * 32 + 1);
    round_trip(compression, data[1] % 6, data + 2, size - 2);
    return 0;
}
