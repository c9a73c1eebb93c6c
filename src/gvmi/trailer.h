/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The trailer: CRC-32 of the JSON (4 bytes, little-endian), the JSON, its length as 8 decimal digits. It is found from the end of the file.
 */
#ifndef GV_GVMI_TRAILER_H
#define GV_GVMI_TRAILER_H

#include "core/core.h"

#define GVMI_JSON_MAX ((size_t)1 << 20)
#define GVMI_TRAILER_EXTRA 12U /* what surrounds the JSON */

/* Appends the trailer for n bytes of JSON to out. -1 when the JSON is longer than GVMI_JSON_MAX. */
int gvmi_trailer_format(struct gv_buf *out, const char *json, size_t n, struct gv_error *err);

/* Reads the trailer of a file of `size` bytes. *json gets the NUL-terminated JSON, the caller's to free, of *n bytes; *offset where the trailer
 * begins. */
int gvmi_trailer_read(int fd, uint64_t size, char **json, size_t *n, uint64_t *offset, struct gv_error *err);

#endif
