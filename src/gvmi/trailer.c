/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gvmi/trailer.h"

#include <errno.h>
#include <string.h>

#include "gvmi/squashfs.h"

#define DIGITS 8U

int gvmi_trailer_format(struct gv_buf *out, const char *json, size_t n, struct gv_error *err)
{
    if (n > GVMI_JSON_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "the configuration has %zu bytes as JSON, which is more than %zu", n, GVMI_JSON_MAX);
    unsigned char crc[4];
    sqfs_put32(crc, gv_crc32(json, n));
    gv_buf_add(out, crc, sizeof(crc));
    gv_buf_add(out, json, n);
    gv_buf_addf(out, "%08zu", n);
    return 0;
}

/* Exactly eight digits: no sign, no space, whatever strtoul would take. */
static int parse_length(const unsigned char digits[DIGITS], size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < DIGITS; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return -1;
        *n = *n * 10 + (size_t)(digits[i] - '0');
    }
    return 0;
}

static int no_trailer(int fd, struct gv_error *err)
{
    unsigned char magic[4];
    if (gv_pread_full(fd, magic, sizeof(magic), 0) == sizeof(magic) && sqfs_get32(magic) == SQFS_MAGIC)
        return gv_error_set(err, GV_E_FORMAT, 0,
                            "it has no metadata at its end: a bare squashfs, or a .gvmi that is cut short; convert the image again");
    return gv_error_set(err, GV_E_FORMAT, 0,
                        "not a .gvmi: it does not begin with a squashfs and does not end with the length of its metadata");
}

int gvmi_trailer_read(int fd, uint64_t size, char **json, size_t *n, uint64_t *offset, struct gv_error *err)
{
    unsigned char digits[DIGITS], crc[4];
    if (size < GVMI_TRAILER_EXTRA)
        return gv_error_set(err, GV_E_FORMAT, 0, "not a .gvmi: it has only %llu bytes", (unsigned long long)size);
    if (gv_pread_full(fd, digits, DIGITS, size - DIGITS) != DIGITS)
        return gv_error_errno(err, "cannot read its end");
    if (parse_length(digits, n) < 0)
        return no_trailer(fd, err);
    if (*n > GVMI_JSON_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "its metadata claims %zu bytes, which is more than %zu", *n, GVMI_JSON_MAX);
    if (*n > size - GVMI_TRAILER_EXTRA)
        return gv_error_set(err, GV_E_FORMAT, 0, "its metadata claims %zu bytes, which is more than the whole file", *n);
    *offset = size - GVMI_TRAILER_EXTRA - *n;
    cleanup_free char *text = gv_alloc(*n + 1);
    if (gv_pread_full(fd, crc, sizeof(crc), *offset) != sizeof(crc) || gv_pread_full(fd, text, *n, *offset + sizeof(crc)) != (ssize_t)*n)
        return gv_error_errno(err, "cannot read its metadata");
    if (sqfs_get32(crc) != gv_crc32(text, *n))
        return gv_error_set(err, GV_E_CORRUPT, 0, "the checksum of its metadata is wrong: the file is damaged; fetch or convert it again");
    text[*n] = '\0';
    *json = steal_ptr(text);
    return 0;
}
