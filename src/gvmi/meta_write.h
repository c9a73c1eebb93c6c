/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writing metadata: a stream of bytes cut into blocks of 8 KiB, each compressed and preceded by a 16-bit header. A place in the stream has a
 * reference: where its block starts in the compressed stream (shifted left by 16) and the offset in the block when unpacked.
 */
#ifndef GV_GVMI_META_WRITE_H
#define GV_GVMI_META_WRITE_H

#include "gvmi/codec.h"
#include "gvmi/squashfs.h"

struct gvmi_meta {
    struct gvmi_packer *packer; /* not owned */
    struct gv_buf packed;       /* finished blocks with their headers */
    struct gv_buf starts;       /* offset of each block in `packed`, as 64-bit words */
    size_t used;                /* bytes waiting in block: always less than SQFS_META_SIZE */
    unsigned char block[SQFS_META_SIZE];
};

static inline uint64_t gvmi_meta_ref(const struct gvmi_meta *m)
{
    return (uint64_t)m->packed.len << 16 | m->used;
}

void gvmi_meta_add(struct gvmi_meta *m, const void *p, size_t n);
/* Ends the stream: packs what is left. */
void gvmi_meta_finish(struct gvmi_meta *m);
void gvmi_meta_clear(struct gvmi_meta *m);

#endif
