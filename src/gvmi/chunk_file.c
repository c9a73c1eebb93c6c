/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The file form of a chunk map, IMAGE.gvmi.chunks; docs/image-format.md has it byte by byte. A map is either whole or refused: its length follows from
 * the number of chunks in its head, and its last bytes are the SHA-256 of all before.
 */
#include <string.h>

#include "gvmi/gvmi.h"
#include "gvmi/squashfs.h"

#define MAGIC "gvmichnk"
#define VERSION 1U

enum {
    MAGIC_SIZE = 8,
    HEAD_SIZE = MAGIC_SIZE + 4 + 4 + 8 + GV_SHA3_224_SIZE,
    ENTRY_SIZE = 4 + GV_SHA256_SIZE,
};

/* Of a map that is read from a file: 150 MB, the chunks of an image of some 180 GB. */
#define COUNT_MAX ((uint32_t)1 << 22)

void gvmi_chunks_format(const struct gvmi_chunk_map *map, struct gv_buf *out)
{
    size_t start = out->len;
    unsigned char head[HEAD_SIZE], digest[GV_HASH_MAX];
    memcpy(head, MAGIC, MAGIC_SIZE);
    unsigned char *p = sqfs_put32(head + MAGIC_SIZE, VERSION);
    p = sqfs_put32(p, (uint32_t)map->count);
    p = sqfs_put64(p, map->file_size);
    memcpy(p, map->image, sizeof(map->image));
    gv_buf_reserve(out, sizeof(head) + map->count * ENTRY_SIZE + GV_SHA256_SIZE);
    gv_buf_add(out, head, sizeof(head));
    for (size_t i = 0; i < map->count; i++) {
        unsigned char entry[ENTRY_SIZE];
        memcpy(sqfs_put32(entry, map->chunks[i].length), map->chunks[i].digest, GV_SHA256_SIZE);
        gv_buf_add(out, entry, sizeof(entry));
    }
    gv_hash_bytes(GV_HASH_SHA256, out->data + start, out->len - start, digest);
    gv_buf_add(out, digest, GV_SHA256_SIZE);
}

static int parse_head(const unsigned char *data, size_t n, struct gvmi_chunk_map *map, struct gv_error *err)
{
    if (n < HEAD_SIZE + GV_SHA256_SIZE || memcmp(data, MAGIC, MAGIC_SIZE) != 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "not a chunk map");
    uint32_t version = sqfs_get32(data + MAGIC_SIZE), count = sqfs_get32(data + MAGIC_SIZE + 4);
    if (version != VERSION)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "a chunk map of version %u; only version %u can be read", version, VERSION);
    if (count > COUNT_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "a chunk map with %u chunks; at most %u are read", count, COUNT_MAX);
    size_t size = HEAD_SIZE + (size_t)count * ENTRY_SIZE + GV_SHA256_SIZE;
    if (n != size)
        return gv_error_set(err, GV_E_FORMAT, 0, "the chunk map has %zu bytes and should have %zu: cut short, or something follows it", n,
                            size);
    unsigned char digest[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, data, n - GV_SHA256_SIZE, digest);
    if (memcmp(digest, data + n - GV_SHA256_SIZE, GV_SHA256_SIZE) != 0)
        return gv_error_set(err, GV_E_CORRUPT, 0, "the checksum of the chunk map is wrong: it is damaged; make or fetch it again");
    map->count = count;
    map->file_size = sqfs_get64(data + MAGIC_SIZE + 8);
    memcpy(map->image, data + MAGIC_SIZE + 16, sizeof(map->image));
    return 0;
}

int gvmi_chunks_parse(const unsigned char *data, size_t n, struct gvmi_chunk_map *map, struct gv_error *err)
{
    cleanup_chunk_map struct gvmi_chunk_map made = { 0 };
    if (parse_head(data, n, &made, err) < 0)
        return -1;
    made.chunks = gv_reallocarray(NULL, made.count, sizeof(*made.chunks));
    uint64_t offset = 0;
    const unsigned char *p = data + HEAD_SIZE;
    for (size_t i = 0; i < made.count; i++, p += ENTRY_SIZE) {
        struct gvmi_chunk *chunk = &made.chunks[i];
        *chunk = (struct gvmi_chunk){ .offset = offset, .length = sqfs_get32(p) };
        if (chunk->length == 0 || chunk->length > GVMI_CHUNK_MAX)
            return gv_error_set(err, GV_E_FORMAT, 0, "chunk %zu of the chunk map has %u bytes; it can have 1 to %u", i, chunk->length,
                                GVMI_CHUNK_MAX);
        memcpy(chunk->digest, p + 4, sizeof(chunk->digest));
        offset += chunk->length; /* at most 2^22 times 2^22: no overflow */
    }
    if (offset != made.file_size)
        return gv_error_set(err, GV_E_FORMAT, 0, "the chunks of the chunk map have %llu bytes together, the image has %llu",
                            (unsigned long long)offset, (unsigned long long)made.file_size);
    *map = made;
    made = (struct gvmi_chunk_map){ 0 };
    return 0;
}

int gvmi_chunks_load(const char *path, struct gvmi_chunk_map *map, struct gv_error *err)
{
    cleanup_buf struct gv_buf data = { 0 };
    if (gv_read_file(path, HEAD_SIZE + (size_t)COUNT_MAX * ENTRY_SIZE + GV_SHA256_SIZE, &data, err) < 0)
        return -1;
    if (gvmi_chunks_parse(data.data, data.len, map, err) < 0)
        return gv_error_prefix(err, "%s", path);
    return 0;
}
