/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Archives as text, a line a member, as our reader and as libarchive find them: what the tests of the tar reader compare.
 */
#ifndef GV_TEST_SOURCE_TAR_TEXT_H
#define GV_TEST_SOURCE_TAR_TEXT_H

#include "helper.h"

/* Appends what our reader finds to out, with the checksums of contents if with_data; 0 or -1 with err. */
int our_text(const void *p, size_t n, struct gv_buf *out, bool with_data, struct gv_error *err);

/* Both readers must find the same, and what is expected if that is not NULL. */
void compare_readers(const char *what, const void *p, size_t n, bool with_data, const char *expected);

/* The same for t, which is ended first and cleared afterwards. */
void compare_tar(const char *what, struct tarb *t, const char *expected);

/* Our reader must refuse t (as it is, without an end) with a message that contains `error`. Clears t. */
void refuse_tar(const char *what, struct tarb *t, const char *error);

#endif
