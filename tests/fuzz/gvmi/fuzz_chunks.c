/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The file form of chunk maps. The input is read as it is, and once more with the checksum that it should have. What is accepted must be written in the
 * same bytes again, and comparing it with a part of itself must add up.
 */
#include <stdlib.h>
#include <string.h>

#include "gvmi/gvmi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_map(const uint8_t *data, size_t size)
{
    cleanup_chunk_map struct gvmi_chunk_map map = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (gvmi_chunks_parse(data, size, &map, &err) < 0) {
        if (err.code == GV_OK || err.msg[0] == '\0' || map.chunks)
            abort(); /* refused without a reason, or half read */
        return;
    }
    cleanup_buf struct gv_buf again = { 0 };
    gvmi_chunks_format(&map, &again);
    if (again.len != size || memcmp(again.data, data, size) != 0)
        abort();
    uint64_t at = 0;
    for (size_t i = 0; i < map.count; at += map.chunks[i++].length)
        if (map.chunks[i].offset != at || map.chunks[i].length == 0 || map.chunks[i].length > GVMI_CHUNK_MAX)
            abort();
    if (at != map.file_size)
        abort();
    struct gvmi_chunk_map half = map;
    half.count /= 2;
    size_t all_chunks, new_chunks, half_chunks;
    const struct gvmi_chunk_map none = { 0 };
    uint64_t all = gvmi_chunks_new_bytes(&none, &map, &all_chunks), new = gvmi_chunks_new_bytes(&half, &map, &new_chunks);
    uint64_t known = gvmi_chunks_new_bytes(&none, &half, &half_chunks);
    if (all > map.file_size || new + known != all || new_chunks + half_chunks != all_chunks ||
        gvmi_chunks_new_bytes(&map, &half, NULL) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_map(data, size);
    if (size < GV_SHA256_SIZE)
        return 0;
    cleanup_free uint8_t *whole = gv_memdup(data, size);
    unsigned char digest[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, whole, size - GV_SHA256_SIZE, digest);
    memcpy(whole + size - GV_SHA256_SIZE, digest, GV_SHA256_SIZE);
    read_map(whole, size);
    return 0;
}
