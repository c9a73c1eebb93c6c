/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/model.h"

#include <string.h>

#include "serve/secret.h"

/* ---- images ---- */

#define IMAGE_COLUMNS "image.id, image.hash, image.descriptor, image.size, image.created, image.untagged, image.chunks"

static int take_image(struct db *db, sqlite3_stmt *query, struct image_row *out, struct gv_error *err)
{
    cleanup_query sqlite3_stmt *q = query;
    if (!q)
        return -1;
    int r = db_step(db, q, err);
    if (r <= 0)
        return r;
    *out = (struct image_row){
        .id = sqlite3_column_int64(q, 0),
        .size = (uint64_t)sqlite3_column_int64(q, 3),
        .created = sqlite3_column_int64(q, 4),
        .untagged = sqlite3_column_type(q, 5) == SQLITE_NULL ? -1 : sqlite3_column_int64(q, 5),
        .chunks = (enum image_chunks)sqlite3_column_int(q, 6),
    };
    if (!db_blob(q, 1, out->hash, sizeof(out->hash)) || !db_blob(q, 2, out->descriptor, sizeof(out->descriptor)))
        return gv_error_set(err, GV_E_CORRUPT, 0, "the registry's database: image %lld has a wrong hash", (long long)out->id);
    return 1;
}

int model_image_by_hash(struct db *db, const unsigned char hash[GV_SHA3_224_SIZE], struct image_row *out, struct gv_error *err)
{
    return take_image(db, db_query(db, err, "SELECT " IMAGE_COLUMNS " FROM image WHERE hash = ?", "b", hash, (size_t)GV_SHA3_224_SIZE), out,
                      err);
}

int model_image_by_tag(struct db *db, const struct reference *ref, struct image_row *out, struct gv_error *err)
{
    static const char sql[] = "SELECT " IMAGE_COLUMNS " FROM user JOIN repository ON repository.owner = user.id AND repository.name = ?2"
                              " JOIN tag ON tag.repository = repository.id AND tag.name = ?3 JOIN image ON image.id = tag.image"
                              " WHERE user.name = ?1";
    return take_image(db, db_query(db, err, sql, "ttt", ref->user, ref->repo, ref->tag), out, err);
}

int model_image_by_descriptor(struct db *db, const unsigned char id[GV_SHA256_SIZE], struct image_row *out, struct gv_error *err)
{
    static const char sql[] = "SELECT " IMAGE_COLUMNS " FROM descriptor JOIN image ON image.id = descriptor.image WHERE descriptor.id = ?";
    return take_image(db, db_query(db, err, sql, "b", id, (size_t)GV_SHA256_SIZE), out, err);
}

int model_descriptor_chunks(struct db *db, const unsigned char id[GV_SHA256_SIZE], uint32_t *out, struct gv_error *err)
{
    int64_t n = 0;
    int r = db_number(db, &n, err, "SELECT chunks FROM descriptor WHERE id = ?", "b", id, (size_t)GV_SHA256_SIZE);
    *out = n > 0 && n <= DESCRIPTOR_CHUNKS_MAX ? (uint32_t)n : 0;
    return r;
}

int model_image_without_chunks(struct db *db, int64_t after, struct image_row *out, struct gv_error *err)
{
    static const char sql[] = "SELECT " IMAGE_COLUMNS " FROM image WHERE chunks = 0 AND id > ? ORDER BY id LIMIT 1";
    return take_image(db, db_query(db, err, sql, "i", after), out, err);
}

int model_image_set_chunks(struct db *db, int64_t id, enum image_chunks chunks, struct gv_error *err)
{
    return db_run(db, err, "UPDATE image SET chunks = ? WHERE id = ?", "ii", (int64_t)chunks, id);
}

int model_image_count(struct db *db, int64_t id, uint64_t uses, uint64_t downloads, struct gv_error *err)
{
    return db_run(db, err, "UPDATE image SET uses = uses + ?, downloads = downloads + ? WHERE id = ?", "iii", (int64_t)uses,
                  (int64_t)downloads, id);
}

/* ---- uploads ---- */

int model_upload_find(struct db *db, const unsigned char name[GV_SHA256_SIZE], struct upload_row *out, struct gv_buf *descriptor,
                      struct gv_error *err)
{
    cleanup_query sqlite3_stmt *q =
        db_query(db, err, "SELECT id, reserved, claimed, descriptor FROM upload WHERE name = ?", "b", name, (size_t)GV_SHA256_SIZE);
    int r = q ? db_step(db, q, err) : -1;
    if (r <= 0)
        return r;
    *out = (struct upload_row){
        .id = sqlite3_column_int64(q, 0),
        .reserved = sqlite3_column_int(q, 1) != 0,
        .claimed = sqlite3_column_int64(q, 2),
    };
    if (descriptor && sqlite3_column_bytes(q, 3) > 0)
        gv_buf_add(descriptor, sqlite3_column_blob(q, 3), (size_t)sqlite3_column_bytes(q, 3));
    return 1;
}

int model_upload_add(struct db *db, const struct descriptor *d, const unsigned char *bytes, size_t n, int64_t lost, int64_t now,
                     uint64_t most, struct gv_error *err)
{
    static const char sql[] = "INSERT INTO upload(name, hash, size, descriptor, touched) SELECT ?, ?, ?, ?, ?"
                              " WHERE (SELECT COUNT(*) FROM upload) < ? ON CONFLICT(name) DO NOTHING";
    cleanup_transaction struct db_transaction t = { db };
    struct upload_row row;
    struct image_row image;
    if (db_begin(db, err) < 0)
        return -1;
    int r = model_upload_find(db, d->id, &row, NULL, err);
    if (r != 0)
        return r < 0 ? -1 : 0;
    r = model_image_by_hash(db, d->hash, &image, err);
    if (r < 0 || (r > 0 && image.id != lost))
        return r;
    if (db_run(db, err, sql, "bbibii", d->id, sizeof(d->id), d->hash, sizeof(d->hash), (int64_t)d->size, bytes, n, now, (int64_t)most) < 0)
        return -1;
    if (db_changes(db) == 0)
        return gv_error_set(err, GV_E_LIMIT, 0, "there are %llu uploads in progress already; try again later", (unsigned long long)most);
    t.db = NULL;
    return db_commit(db, err);
}

int model_upload_chunks(struct db *db, int64_t upload, unsigned char *stored, uint32_t chunks, struct gv_error *err)
{
    cleanup_query sqlite3_stmt *q = db_query(db, err, "SELECT number FROM chunk WHERE upload = ?", "i", upload);
    int r = -1;
    while (q && (r = db_step(db, q, err)) > 0) {
        int64_t n = sqlite3_column_int64(q, 0);
        if (n >= 0 && n < chunks)
            stored[n] = 1;
    }
    return r;
}

int model_upload_store(struct db *db, int64_t upload, uint32_t chunk, int64_t now, struct gv_error *err)
{
    cleanup_transaction struct db_transaction t = { db };
    if (db_begin(db, err) < 0 ||
        db_run(db, err, "INSERT OR IGNORE INTO chunk(upload, number) VALUES(?, ?)", "ii", upload, (int64_t)chunk) < 0 ||
        db_run(db, err, "UPDATE upload SET touched = ? WHERE id = ?", "ii", now, upload) < 0)
        return -1;
    t.db = NULL;
    return db_commit(db, err);
}

int model_upload_remove(struct db *db, int64_t upload, struct gv_error *err)
{
    return db_run(db, err, "DELETE FROM upload WHERE id = ?", "i", upload);
}

int model_upload_idle(struct db *db, int64_t before, int64_t after, int64_t *id, unsigned char name[GV_SHA256_SIZE], struct gv_error *err)
{
    cleanup_query sqlite3_stmt *q =
        db_query(db, err, "SELECT id, name FROM upload WHERE touched <= ? AND id > ? ORDER BY id LIMIT 1", "ii", before, after);
    int r = q ? db_step(db, q, err) : -1;
    if (r > 0) {
        *id = sqlite3_column_int64(q, 0);
        if (!db_blob(q, 1, name, GV_SHA256_SIZE))
            return gv_error_set(err, GV_E_CORRUPT, 0, "the registry's database: upload %lld has a wrong name", (long long)*id);
    }
    return r;
}

/* What a user has: tagged images, each once, and uploads that are to become some. except: an image that is not counted. */
static int user_has(struct db *db, int64_t user, int64_t except_image, int64_t except_upload, int64_t *bytes, int64_t *images,
                    struct gv_error *err)
{
    static const char sql[] = "SELECT COALESCE(SUM(size), 0), COUNT(*) FROM (SELECT DISTINCT image.id, image.size FROM repository"
                              " JOIN tag ON tag.repository = repository.id JOIN image ON image.id = tag.image WHERE repository.owner = ?1"
                              " AND image.id <> ?2 UNION ALL SELECT id, size FROM upload WHERE claimed = ?1 AND id <> ?3)";
    cleanup_query sqlite3_stmt *q = db_query(db, err, sql, "iii", user, except_image, except_upload);
    if (!q || db_step(db, q, err) < 0)
        return -1;
    *bytes = sqlite3_column_int64(q, 0);
    *images = sqlite3_column_int64(q, 1);
    return 0;
}

int model_upload_reserve(struct db *db, int64_t upload, uint64_t anonymous_quota, uint64_t user_quota, struct gv_error *err)
{
    static const char sql[] = "SELECT (SELECT COALESCE(SUM(size), 0) FROM image WHERE untagged IS NOT NULL)"
                              " + (SELECT COALESCE(SUM(size), 0) FROM upload WHERE reserved AND claimed IS NULL)";
    cleanup_transaction struct db_transaction t = { db };
    int64_t size = 0, used = 0, user = 0, images;
    /* Asked before one has to wait for others who write: only for the first chunk it is so. And again then, for two can be the first. */
    for (int i = 0; i < 2; i++) {
        if (i > 0 && db_begin(db, err) < 0)
            return -1;
        int r = db_number(db, &size, err, "SELECT size FROM upload WHERE id = ? AND NOT reserved", "i", upload);
        if (r <= 0)
            return r; /* it has its room, or is gone */
    }
    if (db_number(db, &user, err, "SELECT claimed FROM upload WHERE id = ?", "i", upload) < 0)
        return -1;
    if (user ? user_has(db, user, 0, upload, &used, &images, err) < 0 : db_number(db, &used, err, sql, "") < 0)
        return -1;
    uint64_t quota = user ? user_quota : anonymous_quota;
    if (!quota_fits((uint64_t)used, (uint64_t)size, quota))
        return gv_error_set(err, GV_E_LIMIT, 0, "no room for %lld bytes: %s may be %llu bytes, and %lld are used", (long long)size,
                            user ? "all images of a user together" : "all images without a tag together", (unsigned long long)quota,
                            (long long)used);
    if (db_run(db, err, "UPDATE upload SET reserved = 1 WHERE id = ?", "i", upload) < 0)
        return -1;
    t.db = NULL;
    return db_commit(db, err);
}

int model_descriptor_add(struct db *db, const struct descriptor *d, int64_t image, struct gv_error *err)
{
    return db_run(db, err, "INSERT OR IGNORE INTO descriptor(id, image, chunks) SELECT ?, id, ? FROM image WHERE id = ?", "bii", d->id,
                  sizeof(d->id), (int64_t)d->chunks, image);
}

int model_publish(struct db *db, int64_t upload, const struct descriptor *d, int64_t now, struct gv_error *err)
{
    static const char sql[] =
        "INSERT INTO image(hash, size, descriptor, created, untagged) VALUES(?, ?, ?, ?, ?) ON CONFLICT(hash) DO NOTHING";
    cleanup_transaction struct db_transaction t = { db };
    struct image_row image;
    if (db_begin(db, err) < 0 ||
        db_run(db, err, sql, "bibii", d->hash, sizeof(d->hash), (int64_t)d->size, d->id, sizeof(d->id), now, now) < 0 ||
        model_image_by_hash(db, d->hash, &image, err) < 0 || model_descriptor_add(db, d, image.id, err) < 0 ||
        model_upload_remove(db, upload, err) < 0)
        return -1;
    t.db = NULL;
    return db_commit(db, err);
}

int model_expire(struct db *db, int64_t before, int64_t *count, struct gv_error *err)
{
    if (db_run(db, err, "DELETE FROM image WHERE untagged <= ?", "i", before) < 0)
        return -1;
    *count = db_changes(db);
    return 0;
}

int model_evict(struct db *db, int64_t before, uint64_t most, int64_t *count, struct gv_error *err)
{
    static const char sql[] =
        "DELETE FROM image WHERE untagged <= ? AND id IN (SELECT id FROM (SELECT id, SUM(size) OVER (ORDER BY untagged DESC, id DESC)"
        " AS together FROM image WHERE untagged IS NOT NULL) WHERE together > ?)";
    if (db_run(db, err, sql, "ii", before, (int64_t)(most < INT64_MAX ? most : INT64_MAX)) < 0)
        return -1;
    *count = db_changes(db);
    return 0;
}

int model_totals(struct db *db, struct totals *out, struct gv_error *err)
{
    static const char sql[] = "SELECT (SELECT COUNT(*) FROM image), (SELECT COALESCE(SUM(size), 0) FROM image),"
                              " (SELECT COUNT(*) FROM image WHERE untagged IS NOT NULL),"
                              " (SELECT COALESCE(SUM(size), 0) FROM image WHERE untagged IS NOT NULL), (SELECT COUNT(*) FROM upload),"
                              " (SELECT COALESCE(SUM(size), 0) FROM upload), (SELECT COUNT(*) FROM user),"
                              " (SELECT COUNT(*) FROM repository), (SELECT COUNT(*) FROM tag)";
    cleanup_query sqlite3_stmt *q = db_query(db, err, sql, "");
    if (!q || db_step(db, q, err) < 0)
        return -1;
    int64_t *const values[] = { &out->images, &out->image_bytes,  &out->untagged, &out->untagged_bytes, &out->uploads, &out->upload_bytes,
                                &out->users,  &out->repositories, &out->tags };
    for (int i = 0; i < (int)(sizeof(values) / sizeof(values[0])); i++)
        *values[i] = sqlite3_column_int64(q, i);
    return 0;
}

/* ---- accounts and tags ---- */

int model_user_id(struct db *db, const char *name, int64_t *id, struct gv_error *err)
{
    return db_number(db, id, err, "SELECT id FROM user WHERE name = ?", "t", name);
}

static int login_token(struct db *db, const char *name, const char *secret, int64_t now, int64_t *user, struct gv_error *err)
{
    unsigned char hash[GV_SHA256_SIZE];
    secret_token_hash(secret, hash);
    return db_number(db, user, err,
                     "SELECT user.id FROM token JOIN user ON user.id = token.user WHERE token.hash = ? AND user.name = ?"
                     " AND (token.expires IS NULL OR token.expires > ?)",
                     "bti", hash, sizeof(hash), name, now);
}

int model_login(struct db *db, const char *name, const char *secret, int64_t now, int64_t *user, struct gv_error *err)
{
    if (secret_is_token(secret))
        return login_token(db, name, secret, now, user, err);
    cleanup_free char *stored = NULL;
    {
        cleanup_query sqlite3_stmt *q = db_query(db, err, "SELECT id, password FROM user WHERE name = ?", "t", name);
        int r = q ? db_step(db, q, err) : -1;
        if (r < 0)
            return -1;
        if (r > 0) {
            *user = sqlite3_column_int64(q, 0);
            const char *text = (const char *)sqlite3_column_text(q, 1);
            stored = text ? gv_strdup(text) : NULL;
        }
    }
    return secret_password_check(secret, stored) ? 1 : 0;
}

int model_repo_id(struct db *db, const struct reference *ref, int64_t *id, int64_t *owner, struct gv_error *err)
{
    static const char sql[] =
        "SELECT repository.id, owner FROM repository JOIN user ON user.id = owner WHERE user.name = ? AND repository.name = ?";
    cleanup_query sqlite3_stmt *q = db_query(db, err, sql, "tt", ref->user, ref->repo);
    int r = q ? db_step(db, q, err) : -1;
    if (r > 0) {
        *id = sqlite3_column_int64(q, 0);
        *owner = sqlite3_column_int64(q, 1);
    }
    return r;
}

int model_tag_set(struct db *db, int64_t repo, const char *tag, int64_t image, int64_t now, struct gv_error *err)
{
    static const char sql[] = "INSERT INTO tag(repository, name, image, moved) VALUES(?, ?, ?, ?)"
                              " ON CONFLICT(repository, name) DO UPDATE SET image = excluded.image, moved = excluded.moved";
    return db_run(db, err, sql, "itii", repo, tag, image, now);
}

/* What the tag is to point to: an image, or an upload that will be one. */
struct target {
    int64_t image, upload;
    uint64_t size;
};

static int find_target(struct db *db, const unsigned char descriptor[GV_SHA256_SIZE], struct target *out, struct gv_error *err)
{
    struct image_row image;
    struct upload_row upload;
    int64_t size = 0;
    *out = (struct target){ 0 };
    int r = model_image_by_descriptor(db, descriptor, &image, err);
    if (r > 0)
        *out = (struct target){ .image = image.id, .size = image.size };
    if (r != 0)
        return r;
    r = model_upload_find(db, descriptor, &upload, NULL, err);
    if (r <= 0 || db_number(db, &size, err, "SELECT size FROM upload WHERE id = ?", "i", upload.id) < 0)
        return r < 0 ? -1 : r;
    *out = (struct target){ .upload = upload.id, .size = (uint64_t)size };
    return 1;
}

static int check_quota(struct db *db, int64_t owner, const struct target *target, const struct quotas *quotas, struct gv_error *err)
{
    int64_t bytes = 0, images = 0;
    if (user_has(db, owner, target->image, target->upload, &bytes, &images, err) < 0)
        return -1;
    if (!quota_fits((uint64_t)bytes, target->size, quotas->bytes))
        return gv_error_set(err, GV_E_LIMIT, 0,
                            "no room for %llu bytes: all images of a user together may be %llu bytes, and %lld are used",
                            (unsigned long long)target->size, (unsigned long long)quotas->bytes, (long long)bytes);
    if (!quota_fits((uint64_t)images, 1, quotas->images))
        return gv_error_set(err, GV_E_LIMIT, 0, "a user may have %llu images, and there are %lld", (unsigned long long)quotas->images,
                            (long long)images);
    return 0;
}

int model_attach(struct db *db, const struct reference *ref, const unsigned char descriptor[GV_SHA256_SIZE], int64_t login, bool check,
                 const struct quotas *quotas, int64_t now, struct gv_error *err)
{
    cleanup_transaction struct db_transaction t = { db };
    int64_t repo = 0, owner = 0, member = 0;
    struct target target;
    if (db_begin(db, err) < 0)
        return -1;
    int r = model_repo_id(db, ref, &repo, &owner, err);
    if (r == 0)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no repository %s/%s", ref->user, ref->repo);
    if (r < 0 || db_number(db, &member, err, "SELECT 1 FROM member WHERE repository = ? AND user = ?", "ii", repo, login) < 0)
        return -1;
    if (login != owner && !member)
        return gv_error_set(err, GV_E_USAGE, 0, "this user may not set tags in %s/%s", ref->user, ref->repo);
    r = find_target(db, descriptor, &target, err);
    if (r == 0)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no upload of that descriptor; push it first");
    if (r < 0 || check_quota(db, owner, &target, quotas, err) < 0)
        return -1;
    if (!target.image && !check)
        return gv_error_set(err, GV_E_BUSY, 0, "the image is not complete; push the chunks that are missing first");
    if (check ? (target.upload &&
                 db_run(db, err, "UPDATE upload SET claimed = ? WHERE id = ? AND claimed IS NULL", "ii", owner, target.upload) < 0)
              : model_tag_set(db, repo, ref->tag, target.image, now, err) < 0)
        return -1;
    t.db = NULL;
    return db_commit(db, err);
}

int model_repositories(struct db *db, int64_t image, int64_t user, int64_t *all, int64_t *own, struct gv_error *err)
{
    static const char sql[] = "SELECT COUNT(*), COALESCE(SUM(owner = ?1 OR EXISTS (SELECT 1 FROM member WHERE member.repository = "
                              "repository.id AND member.user = ?1)), 0)"
                              " FROM repository WHERE id IN (SELECT repository FROM tag WHERE image = ?2)";
    cleanup_query sqlite3_stmt *q = db_query(db, err, sql, "ii", user, image);
    if (!q || db_step(db, q, err) < 0)
        return -1;
    *all = sqlite3_column_int64(q, 0);
    *own = sqlite3_column_int64(q, 1);
    return 0;
}
