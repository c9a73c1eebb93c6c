/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/catalog.h"

#include <string.h>

#define COLUMNS "user.name, repository.name, tag.name, image.hash, image.size, tag.moved, image.downloads"
#define TABLES                                                                                                                             \
    " FROM tag JOIN repository ON repository.id = tag.repository JOIN user ON user.id = repository.owner JOIN image ON image.id = "        \
    "tag.image"
#define ORDER " ORDER BY tag.moved DESC, user.name, repository.name, tag.name LIMIT "

void catalog_clear(struct catalog *c)
{
    if (c->arena)
        gv_arena_free(c->arena);
    free(c->tags);
    *c = (struct catalog){ 0 };
}

static const char *text(struct catalog *c, sqlite3_stmt *q, int i)
{
    const char *s = (const char *)sqlite3_column_text(q, i);
    return gv_arena_strndup(c->arena, s ? s : "", s ? strlen(s) : 0);
}

static int take(struct db *db, sqlite3_stmt *query, struct catalog *out, struct gv_error *err)
{
    cleanup_query sqlite3_stmt *q = query;
    int r = -1;
    out->arena = gv_arena_new();
    while (q && (r = db_step(db, q, err)) > 0) {
        unsigned char hash[GV_SHA3_224_SIZE];
        if (!db_blob(q, 3, hash, sizeof(hash)))
            return gv_error_set(err, GV_E_CORRUPT, 0, "the registry's database: an image has a wrong hash");
        out->tags = gv_reallocarray(out->tags, out->count + 1, sizeof(*out->tags));
        struct page_tag *t = &out->tags[out->count++];
        *t = (struct page_tag){ .user = text(out, q, 0),
                                .repo = text(out, q, 1),
                                .tag = text(out, q, 2),
                                .size = (uint64_t)sqlite3_column_int64(q, 4),
                                .created = sqlite3_column_int64(q, 5),
                                .fetched = (uint64_t)sqlite3_column_int64(q, 6) };
        gv_hex(t->hash, hash, sizeof(hash));
    }
    return r;
}

int catalog_search(struct db *db, const char *words, uint64_t start, size_t most, struct catalog *out, struct gv_error *err)
{
    static const char sql[] =
        "SELECT " COLUMNS TABLES
        " WHERE ?1 = '' OR instr(lower(user.name || '/' || repository.name || ':' || tag.name), lower(?1)) > 0" ORDER "?2 OFFSET ?3";
    int64_t from = start < INT64_MAX ? (int64_t)start : INT64_MAX;
    return take(db, db_query(db, err, sql, "tii", words, (int64_t)most, from), out, err);
}

int catalog_repository(struct db *db, const char *user, const char *repo, size_t most, struct catalog *out, struct gv_error *err)
{
    static const char exists[] =
        "SELECT 1 FROM repository JOIN user ON user.id = repository.owner WHERE user.name = ? AND repository.name = ?";
    static const char sql[] = "SELECT " COLUMNS TABLES " WHERE user.name = ? AND repository.name = ?" ORDER "?";
    int64_t one;
    int found = db_number(db, &one, err, exists, "tt", user, repo);
    if (found <= 0)
        return found;
    return take(db, db_query(db, err, sql, "tti", user, repo, (int64_t)most), out, err) < 0 ? -1 : 1;
}

int catalog_of_image(struct db *db, int64_t image, size_t most, struct catalog *out, struct gv_error *err)
{
    static const char sql[] = "SELECT " COLUMNS TABLES " WHERE tag.image = ?" ORDER "?";
    return take(db, db_query(db, err, sql, "ii", image, (int64_t)most), out, err);
}

int catalog_beside_image(struct db *db, int64_t image, size_t most, struct catalog *out, struct gv_error *err)
{
    static const char sql[] =
        "SELECT " COLUMNS TABLES " WHERE tag.image != ?1 AND tag.repository IN (SELECT repository FROM tag WHERE image = ?1)" ORDER "?2";
    return take(db, db_query(db, err, sql, "ii", image, (int64_t)most), out, err);
}
