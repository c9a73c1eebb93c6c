/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The order in which contents are stored, and where blocks of fragments end. Two things are wanted of it.
 *
 * What is alike should be near: files of one package, and among them those with the same extension, compress better next to each other, as far as a
 * block reaches.
 *
 * What did not change between two builds of an image should be stored as the same bytes again. Blocks of large files are so in any order; a block of
 * fragments is when it holds the same files. So a package that was updated must not move the cuts of the packages around it: a block ends where a
 * group ends, unless it would be too short to compress well, and from a part of its size on also before a file whose path says so. The paths are the
 * same in the next build, so that after a difference the cuts of both fall together again.
 *
 * Files without a group come first, directory by directory in the order of the tree.
 */
#include <stdlib.h>
#include <string.h>

#include "gvmi/write.h"

/* By measurement, see docs/image-format.md. A block larger than this holds all kinds of files of a package anyway, and the order of the tree, in which the
 * files of a directory are together, is the better one. */
#define LARGE_BLOCK (256U << 10)
/* A group's end ends a block that is filled to this part of it. */
#define CUT_GROUP(block) ((block) / 4)
/* From here on a path may end it; one path in CUT_PATHS does. Large blocks are chosen to be small together, and are cut less. */
#define CUT_PATH(block) ((block) > LARGE_BLOCK ? (block) / 8 * 7 : (block) / 2)
#define CUT_PATHS 4U

/* FNV-1a. */
uint32_t gvmi_out_path_hash(uint32_t parent, const struct image_node *node)
{
    uint32_t h = (parent ^ '/') * 16777619U;
    for (size_t i = 0; i < node->namelen; i++)
        h = (h ^ (unsigned char)node->name[i]) * 16777619U;
    return h;
}

/* The first bytes behind the last dot, as a number that sorts like them; a version behind it does not count: libc.so.6 is an `so`. */
uint64_t gvmi_out_extension(const struct gvmi_out *out, const struct image_node *node)
{
    if (out->block_size > LARGE_BLOCK)
        return 0;
    const char *end = node->name + node->namelen, *dot;
    while ((dot = memrchr(node->name, '.', (size_t)(end - node->name))) != NULL && dot > node->name) {
        size_t len = (size_t)(end - dot - 1);
        if (strspn(dot + 1, "0123456789") < len) {
            uint64_t key = 0;
            memcpy(&key, dot + 1, len < sizeof(key) ? len : sizeof(key));
            return be64toh(key);
        }
        end = dot;
    }
    return 0;
}

static int compare_files(const void *a, const void *b)
{
    const struct gvmi_out_file *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    if (x->extension != y->extension)
        return x->extension < y->extension ? -1 : 1;
    return x->turn < y->turn ? -1 : x->turn > y->turn;
}

void gvmi_out_order(struct gvmi_out *out)
{
    if (out->file_count > 1)
        qsort(out->files, out->file_count, sizeof(*out->files), compare_files);
}

/* Spreads the bits of a hash: the low ones of FNV depend on little. */
static uint32_t mix(uint32_t h)
{
    h = (h ^ h >> 16) * 0x7feb352dU;
    h = (h ^ h >> 15) * 0x846ca68bU;
    return h ^ h >> 16;
}

bool gvmi_out_cut(const struct gvmi_out *out, const struct gvmi_out_file *before, const struct gvmi_out_file *file, size_t used)
{
    if (before->group != file->group && used >= CUT_GROUP(out->block_size))
        return true;
    return used >= CUT_PATH(out->block_size) && mix(file->path) % CUT_PATHS == 0;
}
