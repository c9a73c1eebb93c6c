/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The packed stream is kept in memory, because the tables follow one another in the file while inodes and directories are made together; it is
 * about 25 bytes to a file.
 */
#include "gvmi/meta_write.h"

#include <string.h>

static void pack_block(struct gvmi_meta *m)
{
    uint64_t start = m->packed.len;
    gv_buf_add(&m->starts, &start, sizeof(start));
    gv_buf_reserve(&m->packed, 2 + GVMI_PACKED_ROOM((size_t)SQFS_META_SIZE));
    unsigned char *head = m->packed.data + m->packed.len;
    size_t len = gvmi_packer_run(m->packer, m->block, m->used, head + 2);
    uint16_t raw = 0;
    if (len == 0) {
        memcpy(head + 2, m->block, m->used);
        len = m->used;
        raw = SQFS_RAW_META;
    }
    sqfs_put16(head, (uint16_t)(len | raw));
    m->packed.len += 2 + len;
    m->used = 0;
}

void gvmi_meta_add(struct gvmi_meta *m, const void *p, size_t n)
{
    const unsigned char *from = p;
    while (n > 0) {
        size_t take = SQFS_META_SIZE - m->used;
        if (take > n)
            take = n;
        memcpy(m->block + m->used, from, take);
        m->used += take;
        from += take;
        n -= take;
        /* Packed as soon as it is full, so that a reference taken now is one to the next block. */
        if (m->used == SQFS_META_SIZE)
            pack_block(m);
    }
}

void gvmi_meta_finish(struct gvmi_meta *m)
{
    if (m->used > 0)
        pack_block(m);
}

void gvmi_meta_clear(struct gvmi_meta *m)
{
    gv_buf_clear(&m->packed);
    gv_buf_clear(&m->starts);
}
