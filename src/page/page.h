/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `page`: the registry's pages for people, as HTML. Pure functions from what is known to a document in memory; nothing here knows HTTP, a
 * database or the disk, and of images only what is asked for is read.
 *
 *     /                       search, and what is new        /i/HASH               an image
 *     /r/USER/REPO            a repository: its tags         /i/HASH/files/PATH    what is in it
 *     /compare?from=&to=      two images                     /assets/NAME          style and script
 *
 * Everything works without JavaScript; page.js adds copying and filtering. Names, tags and whatever is in images come from strangers: every text goes
 * through html_text(), and PAGE_POLICY lets a browser load nothing but our own two files.
 */
#ifndef GV_PAGE_H
#define GV_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "gvmi/gvmi.h"

/* The Content-Security-Policy of every page and asset. */
#define PAGE_POLICY                                                                                                                        \
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
#define PAGE_TYPE "text/html; charset=utf-8"

#define PAGE_ENTRIES_MAX 500U        /* rows of one page */
#define PAGE_PREVIEW_MAX (64U << 10) /* bytes of a file that are shown */

struct page_site {
    const char *name; /* in the head of each page */
    const char *url;  /* "https://registry.example.org", by which others reach it */
};

/* A tag and what it points to. Texts are borrowed, as everywhere here. */
struct page_tag {
    const char *user, *repo, *tag;
    char hash[GV_SHA3_224_HEX];
    uint64_t size;    /* bytes of the image */
    int64_t created;  /* seconds since the epoch: when it was set */
    uint64_t fetched; /* times */
};

/* The first page. query is what was searched for, NULL or "" for none; start is the first row, and more says that there are others after the last. */
void page_search(struct gv_buf *out, const struct page_site *site, const char *query, const struct page_tag *tags, size_t count,
                 uint64_t start, bool more);
/* A repository; tags of it, the newest first. */
void page_repository(struct gv_buf *out, const struct page_site *site, const char *user, const char *repo, const struct page_tag *tags,
                     size_t count);

/* What the registry knows of an image. */
struct page_image {
    char hash[GV_SHA3_224_HEX];
    const char *url;             /* of the file */
    uint64_t size;               /* bytes */
    int64_t created;             /* when it came */
    int64_t expires;             /* 0 = it does not */
    bool has_chunks;             /* its chunk map is there */
    const struct page_tag *tags; /* that point to it */
    size_t tag_count;
    const struct page_tag *others; /* images that it may be compared with: tags of the same repositories */
    size_t other_count;
    struct gvmi_image *file;
    const char *signed_by; /* id of the key that its signature names, which nobody has checked here; NULL = it has none */
    const char *signed_name;
};
void page_image(struct gv_buf *out, const struct page_site *site, const struct page_image *image);

/* A directory or file of the image; path is without a leading '/', "" for the root; start is the first entry shown. GV_E_NOT_FOUND when there is no such
 * thing; nothing is added then. */
int page_files(struct gv_buf *out, const struct page_site *site, struct gvmi_image *file, const char *hash, const char *path,
               uint64_t start, struct gv_error *err);

/* Two images, from old to new. new_bytes is what an update moves, UINT64_MAX when that is not known. Files are compared by size and time: no content is
 * read. */
struct page_side {
    char hash[GV_SHA3_224_HEX];
    const char *name; /* "user/repo:tag", or NULL */
    uint64_t size;
    struct gvmi_image *file;
};
int page_compare(struct gv_buf *out, const struct page_site *site, const struct page_side *from, const struct page_side *to,
                 uint64_t new_bytes, struct gv_error *err);

/* What went wrong, for people. */
void page_error(struct gv_buf *out, const struct page_site *site, unsigned status, const char *text);

/* A file of /assets/: its bytes, and their length and media type; NULL when there is none of that name. etag is a strong validator. */
const void *page_asset(const char *name, size_t *size, const char **type, const char **etag);

#endif
