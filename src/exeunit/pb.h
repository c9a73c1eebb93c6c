/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `exeunit`: protobuf's wire format (protobuf.dev, "Encoding"): fields of a tag and a value, varints, length-delimited bytes.
 *
 * Why not libprotobuf-c: its generated code makes objects of a message with an allocation for each string and as many as the message says, so
 * that 16 MiB of two-byte fields become some 500 MB before anybody has looked at them, and it takes strings that are no UTF-8. Here a
 * message is walked where it lies; what is kept of it is counted by whoever keeps it. The messages of this protocol are a dozen.
 */
#ifndef GV_EXEUNIT_PB_H
#define GV_EXEUNIT_PB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/core.h"

enum pb_type { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

#define PB_VARINT_MAX 10U /* bytes of the longest varint */

/* Reads a varint from p[0..n): 1 and *v, *used; 0 when n bytes do not hold all of it; -1 when it is longer than 64 bits. */
int pb_varint_get(const uint8_t *p, size_t n, uint64_t *v, size_t *used);
/* Writes one and returns its length, at most PB_VARINT_MAX. */
size_t pb_varint_put(uint8_t *p, uint64_t v);

struct pb_reader {
    const uint8_t *at, *end;
};

struct pb_field {
    uint32_t number;
    enum pb_type type;
    uint64_t value;       /* of a varint or a fixed number */
    const uint8_t *bytes; /* of PB_BYTES, inside the message */
    size_t length;
};

/* 1: *f is the next field; 0: there are no more; -1: this is no protobuf message. Groups, which proto3 does not have, are none. */
int pb_next(struct pb_reader *r, struct pb_field *f);

/* Whether n bytes are UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool pb_is_utf8(const uint8_t *p, size_t n);

/* Appends fields. As proto3 has it, zero and empty values are left out. */
void pb_put_number(struct gv_buf *b, uint32_t number, uint64_t v);
void pb_put_bytes(struct gv_buf *b, uint32_t number, const void *p, size_t n);
void pb_put_text(struct gv_buf *b, uint32_t number, const char *s);
void pb_put_double(struct gv_buf *b, uint32_t number, double v);
/* A message inside the message is there even when it is empty. */
void pb_put_message(struct gv_buf *b, uint32_t number, const struct gv_buf *message);

#endif
