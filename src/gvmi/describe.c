/* SPDX-License-Identifier: GPL-3.0-or-later */
/* For people: modes, and the options of the compressor, which follow the superblock when they are not the defaults. */
#include <stdio.h>

#include "gvmi/read.h"

void gvmi_mode_text(char out[GVMI_MODE_TEXT], const struct gvmi_stat *st)
{
    static const char types[] = {
        [IMAGE_FILE] = '-',  [IMAGE_DIR] = 'd',  [IMAGE_SYMLINK] = 'l', [IMAGE_CHAR] = 'c',
        [IMAGE_BLOCK] = 'b', [IMAGE_FIFO] = 'p', [IMAGE_SOCKET] = 's',
    };
    static const char bits[] = "rwxrwxrwx";
    static const struct {
        unsigned bit;
        char with, without; /* the execute bit below it */
        int at;
    } special[] = { { 04000, 's', 'S', 3 }, { 02000, 's', 'S', 6 }, { 01000, 't', 'T', 9 } };
    out[0] = types[st->type];
    for (int i = 0; i < 9; i++)
        out[i + 1] = st->mode & (0400U >> i) ? bits[i] : '-';
    for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
        if (st->mode & special[i].bit)
            out[special[i].at] = out[special[i].at] == 'x' ? special[i].with : special[i].without;
    out[10] = '\0';
}

struct flag_name {
    uint32_t flag;
    const char *name;
};

static void add_flags(struct gv_buf *out, const char *what, uint32_t flags, const struct flag_name *names)
{
    for (; names->name; names++) {
        if (!(flags & names->flag))
            continue;
        gv_buf_addf(out, "%s%s", what, names->name);
        what = " ";
    }
}

static void describe_gzip(struct gv_buf *out, const unsigned char *p)
{
    static const struct flag_name strategies[] = { { 1, "default" }, { 2, "filtered" }, { 4, "huffman" },
                                                   { 8, "rle" },     { 16, "fixed" },   { 0 } };
    gv_buf_addf(out, "level %u, window %u", sqfs_get32(p), sqfs_get16(p + 4));
    add_flags(out, ", strategies ", sqfs_get16(p + 6), strategies);
}

static void describe_lzo(struct gv_buf *out, const unsigned char *p)
{
    static const char *const algorithms[] = { "lzo1x_1", "lzo1x_1_11", "lzo1x_1_12", "lzo1x_1_15", "lzo1x_999" };
    uint32_t algorithm = sqfs_get32(p);
    if (algorithm < sizeof(algorithms) / sizeof(algorithms[0]))
        gv_buf_addf(out, "%s, level %u", algorithms[algorithm], sqfs_get32(p + 4));
    else
        gv_buf_addf(out, "algorithm %u, level %u", algorithm, sqfs_get32(p + 4));
}

static void describe_xz(struct gv_buf *out, const unsigned char *p)
{
    static const struct flag_name filters[] = { { 1, "x86" },       { 2, "powerpc" }, { 4, "ia64" }, { 8, "arm" },
                                                { 16, "armthumb" }, { 32, "sparc" },  { 0 } };
    gv_buf_addf(out, "dictionary %u", sqfs_get32(p));
    add_flags(out, ", filters ", sqfs_get32(p + 4), filters);
}

int gvmi_compressor_options(struct gvmi_image *img, struct gv_buf *out, struct gv_error *err)
{
    static const uint8_t sizes[] = { [GVMI_GZIP] = 8, [GVMI_LZMA] = 0, [GVMI_LZO] = 8, [GVMI_XZ] = 8, [GVMI_LZ4] = 8, [GVMI_ZSTD] = 4 };
    unsigned char options[8] = { 0 };
    unsigned kind = img->super.compression;
    if (!(img->super.flags & SQFS_FLAG_OPTIONS) || kind >= sizeof(sizes) || sizes[kind] == 0)
        return 0;
    struct gvmi_cursor c = { .block = SQFS_SUPER_SIZE, .end = img->super.inode_table };
    if (gvmi_meta_read(img, &c, options, sizes[kind], err) < 0)
        return -1;
    switch (kind) {
    case GVMI_GZIP:
        describe_gzip(out, options);
        break;
    case GVMI_LZO:
        describe_lzo(out, options);
        break;
    case GVMI_XZ:
        describe_xz(out, options);
        break;
    case GVMI_LZ4:
        gv_buf_addf(out, "%s", sqfs_get32(options + 4) & 1 ? "high compression" : "fast");
        break;
    default:
        gv_buf_addf(out, "level %u", sqfs_get32(options));
        break;
    }
    return 0;
}
