/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Ranges and conditions of requests for a file, as RFC 9110 (sections 13 and 14) has them. */
#ifndef GV_SERVE_RANGE_H
#define GV_SERVE_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANGES_MAX 128 /* of one request */

struct range {
    uint64_t start, length; /* within the file, length at least 1 */
};

/*
 * Reads a Range header for a file of size bytes. The number of ranges in out, in the order of the request; 0 when the header is to be ignored: it is no
 * list of byte ranges, has more than RANGES_MAX, or asks for more bytes than the file has, as only an attack does; -1 when none of its ranges is in
 * the file (416).
 */
int ranges_parse(const char *header, uint64_t size, struct range out[RANGES_MAX]);

/* The conditional headers of a request, NULL where there is none. */
struct conditions {
    const char *if_match, *if_none_match, *if_modified_since, *if_unmodified_since, *if_range;
};

/* 200 to go on, 304 or 412. etag is the strong one of the file, with its quotes; modified in seconds. */
int conditions_check(const struct conditions *c, const char *etag, int64_t modified);
/* Whether a Range header counts, by If-Range. */
bool conditions_range(const struct conditions *c, const char *etag, int64_t modified);

#define HTTP_DATE_SIZE 30
/* "Sun, 06 Nov 1994 08:49:37 GMT" */
void http_date_format(char out[HTTP_DATE_SIZE], int64_t seconds);
/* The same back; -1 for anything else. */
int64_t http_date_parse(const char *s);

#endif
