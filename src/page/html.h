/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the room `page`: making HTML. What is in `fmt` is ours; what comes from anywhere else goes through html_text() or html_path(). */
#ifndef GV_PAGE_HTML_H
#define GV_PAGE_HTML_H

#include "page/page.h"

/* Adds s with everything that HTML, or a reader's eye, could take for something else made harmless: also inside of attributes in double quotes. Control
 * characters, bytes that are no UTF-8, and characters that turn the direction of text are shown as \xNN. */
void html_text(struct gv_buf *b, const char *s);
/* Adds a path of bytes as it is written in a URL. */
void html_path(struct gv_buf *b, const char *s);
/* "12.3 MiB" */
void html_size(struct gv_buf *b, uint64_t bytes);
/* A <time> with the day, and in its title the second. */
void html_time(struct gv_buf *b, int64_t t);
/* A value to be copied, with its label. */
void html_copy(struct gv_buf *b, const char *label, const char *value);
/* The same of several lines. */
void html_copy_block(struct gv_buf *b, const char *label, const char *value);
/* A link to the image's page, with the beginning of its hash. */
void html_hash(struct gv_buf *b, const char *hash);
/* "user/repo:tag" with links. */
void html_tag(struct gv_buf *b, const struct page_tag *t);

/* The document up to the beginning of the content, and its end. query is in the search field. */
void html_begin(struct gv_buf *b, const struct page_site *site, const char *title, const char *query);
void html_end(struct gv_buf *b);

#endif
