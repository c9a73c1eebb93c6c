/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What pages show of the database: tags with what they point to. */
#ifndef GV_SERVE_CATALOG_H
#define GV_SERVE_CATALOG_H

#include "page/page.h"
#include "serve/db.h"

/* Zero-initialised is empty. The texts are the arena's. */
struct catalog {
    struct page_tag *tags;
    size_t count;
    struct gv_arena *arena;
};
void catalog_clear(struct catalog *c);
static inline void gv_cleanup_catalog_fn(struct catalog *c)
{
    catalog_clear(c);
}
#define cleanup_catalog __attribute__((cleanup(gv_cleanup_catalog_fn)))

/* At most `most` tags of which USER/REPO:TAG has the text in it, in any case of ASCII letters, the last set first, from number `start` on. */
int catalog_search(struct db *db, const char *text, uint64_t start, size_t most, struct catalog *out, struct gv_error *err);
/* Those of a repository. 1, or 0 when there is no such repository. */
int catalog_repository(struct db *db, const char *user, const char *repo, size_t most, struct catalog *out, struct gv_error *err);
/* Those that point to the image. */
int catalog_of_image(struct db *db, int64_t image, size_t most, struct catalog *out, struct gv_error *err);
/* Those of the same repositories that point to others. */
int catalog_beside_image(struct db *db, int64_t image, size_t most, struct catalog *out, struct gv_error *err);

#endif
