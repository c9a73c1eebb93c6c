/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Administration: what the owner of a registry does, by the database alone, so that it does not matter whether a server runs. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "serve/disk.h"
#include "serve/model.h"
#include "serve/secret.h"
#include "serve/serve.h"

_Static_assert(SERVE_TOKEN_SIZE == SECRET_TOKEN_SIZE, "the size of a token");

#define LABEL_MAX 100
#define PASSWORD_LEAST 8
#define PASSWORD_MOST 256

struct serve_admin {
    struct db *db;
};

int serve_admin_open(struct serve_admin **out, const char *data, struct gv_error *err)
{
    CLEANUP(serve_admin) struct serve_admin *a = gv_new(struct serve_admin);
    if (disk_make(data, err) < 0 || db_open(&a->db, data, err) < 0)
        return -1;
    *out = steal_ptr(a);
    return 0;
}

void serve_admin_close(struct serve_admin *a)
{
    if (a->db)
        db_close(a->db);
    free(a);
}

/* After a statement that had to change a row. */
static int changed(struct serve_admin *a, struct gv_error *err, const char *what, const char *name)
{
    if (db_changes(a->db) > 0)
        return 0;
    return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no %s `%s`", what, name);
}

static int find_user(struct serve_admin *a, const char *name, int64_t *id, struct gv_error *err)
{
    int r = model_user_id(a->db, name, id, err);
    return r == 0 ? gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no user `%s`", name) : r < 0 ? -1 : 0;
}

static int find_repo(struct serve_admin *a, const struct reference *ref, int64_t *id, struct gv_error *err)
{
    int64_t owner;
    int r = model_repo_id(a->db, ref, id, &owner, err);
    return r == 0 ? gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no repository `%s/%s`", ref->user, ref->repo) : r < 0 ? -1 : 0;
}

static int64_t now(void)
{
    return (int64_t)time(NULL);
}

/* ---- users ---- */

static int hash_password(const char *password, char out[SECRET_PASSWORD_SIZE], struct gv_error *err)
{
    size_t n = strlen(password);
    if (n < PASSWORD_LEAST || n > PASSWORD_MOST)
        return gv_error_set(err, GV_E_USAGE, 0, "a password has %d to %d bytes", PASSWORD_LEAST, PASSWORD_MOST);
    if (secret_is_token(password))
        return gv_error_set(err, GV_E_USAGE, 0, "a password must not begin like a token, with " SECRET_TOKEN);
    return secret_password_hash(password, out, err);
}

int serve_admin_user_add(struct serve_admin *a, const char *name, const char *password, struct gv_error *err)
{
    char hash[SECRET_PASSWORD_SIZE];
    if (!name_valid(name, NAME_MAX_USER))
        return gv_error_set(
            err, GV_E_USAGE, 0,
            "`%s` is not valid as the name of a user: up to %d letters, digits and . _ -, the first one a letter or a digit", name,
            NAME_MAX_USER);
    if (password && hash_password(password, hash, err) < 0)
        return -1;
    if (db_run(a->db, err, "INSERT OR IGNORE INTO user(name, password, created) VALUES(?, ?, ?)", "tti", name, password ? hash : NULL,
               now()) < 0)
        return -1;
    return db_changes(a->db) > 0 ? 0 : gv_error_set(err, GV_E_EXISTS, 0, "there is a user `%s` already", name);
}

int serve_admin_user_password(struct serve_admin *a, const char *name, const char *password, struct gv_error *err)
{
    char hash[SECRET_PASSWORD_SIZE];
    if ((password && hash_password(password, hash, err) < 0) ||
        db_run(a->db, err, "UPDATE user SET password = ? WHERE name = ?", "tt", password ? hash : NULL, name) < 0)
        return -1;
    return changed(a, err, "user", name);
}

int serve_admin_user_remove(struct serve_admin *a, const char *name, struct gv_error *err)
{
    if (db_run(a->db, err, "DELETE FROM user WHERE name = ?", "t", name) < 0)
        return -1;
    return changed(a, err, "user", name);
}

/* ---- tokens ---- */

int serve_admin_token_add(struct serve_admin *a, const char *user, const char *label, uint64_t lifetime, char token[SERVE_TOKEN_SIZE],
                          struct gv_error *err)
{
    static const char sql[] = "INSERT INTO token(user, hash, label, created, expires) VALUES(?, ?, ?, ?, NULLIF(?, 0))";
    unsigned char hash[GV_SHA256_SIZE];
    int64_t id, expires = lifetime ? now() + (int64_t)(lifetime / 1000) : 0;
    if (strnlen(label, LABEL_MAX + 1) > LABEL_MAX)
        return gv_error_set(err, GV_E_USAGE, 0, "a label has at most %d bytes", LABEL_MAX);
    if (find_user(a, user, &id, err) < 0 || secret_token_new(token, err) < 0)
        return -1;
    secret_token_hash(token, hash);
    return db_run(a->db, err, sql, "ibtii", id, hash, sizeof(hash), label, now(), expires);
}

int serve_admin_token_remove(struct serve_admin *a, const char *user, int64_t id, struct gv_error *err)
{
    char name[32];
    snprintf(name, sizeof(name), "%" PRId64, id);
    if (db_run(a->db, err, "DELETE FROM token WHERE id = ? AND user = (SELECT id FROM user WHERE name = ?)", "it", id, user) < 0)
        return -1;
    return changed(a, err, "token of that user with the number", name);
}

/* ---- repositories ---- */

int serve_admin_repo_add(struct serve_admin *a, const char *repo, struct gv_error *err)
{
    struct reference ref;
    int64_t owner;
    if (reference_parse_repo(repo, &ref, err) < 0 || find_user(a, ref.user, &owner, err) < 0 ||
        db_run(a->db, err, "INSERT OR IGNORE INTO repository(owner, name, created) VALUES(?, ?, ?)", "iti", owner, ref.repo, now()) < 0)
        return -1;
    return db_changes(a->db) > 0 ? 0 : gv_error_set(err, GV_E_EXISTS, 0, "there is a repository `%s` already", repo);
}

int serve_admin_repo_remove(struct serve_admin *a, const char *repo, struct gv_error *err)
{
    struct reference ref;
    int64_t id;
    if (reference_parse_repo(repo, &ref, err) < 0 || find_repo(a, &ref, &id, err) < 0)
        return -1;
    return db_run(a->db, err, "DELETE FROM repository WHERE id = ?", "i", id);
}

int serve_admin_repo_allow(struct serve_admin *a, const char *repo, const char *user, bool allow, struct gv_error *err)
{
    struct reference ref;
    int64_t id, member;
    if (reference_parse_repo(repo, &ref, err) < 0 || find_repo(a, &ref, &id, err) < 0 || find_user(a, user, &member, err) < 0)
        return -1;
    if (allow)
        return db_run(a->db, err, "INSERT OR IGNORE INTO member(repository, user) VALUES(?, ?)", "ii", id, member);
    return db_run(a->db, err, "DELETE FROM member WHERE repository = ? AND user = ?", "ii", id, member);
}

/* ---- tags and images ---- */

static int find_image(struct serve_admin *a, const char *hash, struct image_row *image, struct gv_error *err)
{
    unsigned char digest[GV_SHA3_224_SIZE];
    if (gv_unhex(digest, sizeof(digest), hash) < 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not the hash of an image: it has 56 hex digits", hash);
    int r = model_image_by_hash(a->db, digest, image, err);
    return r == 0 ? gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image %s", hash) : r < 0 ? -1 : 0;
}

int serve_admin_tag_set(struct serve_admin *a, const char *tag, const char *hash, struct gv_error *err)
{
    struct reference ref;
    struct image_row image;
    int64_t repo;
    if (reference_parse(tag, &ref, err) < 0 || find_repo(a, &ref, &repo, err) < 0 || find_image(a, hash, &image, err) < 0)
        return -1;
    return model_tag_set(a->db, repo, ref.tag, image.id, now(), err);
}

int serve_admin_tag_remove(struct serve_admin *a, const char *tag, struct gv_error *err)
{
    struct reference ref;
    int64_t repo;
    if (reference_parse(tag, &ref, err) < 0 || find_repo(a, &ref, &repo, err) < 0 ||
        db_run(a->db, err, "DELETE FROM tag WHERE repository = ? AND name = ?", "it", repo, ref.tag) < 0)
        return -1;
    return changed(a, err, "tag", tag);
}

int serve_admin_image_remove(struct serve_admin *a, const char *hash, struct gv_error *err)
{
    struct image_row image;
    if (find_image(a, hash, &image, err) < 0)
        return -1;
    return db_run(a->db, err, "DELETE FROM image WHERE id = ?", "i", image.id);
}

/* ---- lists ---- */

#define COLUMNS_MAX 8
#define DATE(column) "strftime('%Y-%m-%dT%H:%M:%SZ', " column ", 'unixepoch')"

static const struct {
    const char *columns[COLUMNS_MAX];
    const char *sql; /* ?1 is the filter */
} lists[] = {
    [SERVE_USERS] = { { "name", "created", "password", "repositories", "tokens" },
                      "SELECT name, " DATE("created") ", CASE WHEN password IS NULL THEN 'no' ELSE 'yes' END,"
                                                      " (SELECT COUNT(*) FROM repository WHERE owner = user.id), (SELECT COUNT(*) FROM "
                                                      "token WHERE user = user.id)"
                                                      " FROM user WHERE ?1 IS NULL OR name = ?1 ORDER BY name" },
    [SERVE_TOKENS] = { { "user", "number", "label", "created", "expires" },
                       "SELECT user.name, token.id, label, " DATE("token.created") ", " DATE(
                           "expires") " FROM token JOIN user ON user.id = token.user"
                                      " WHERE ?1 IS NULL OR user.name = ?1 ORDER BY user.name, token.id" },
    [SERVE_REPOS] = { { "repository", "created", "tags", "allowed" },
                      "SELECT user.name || '/' || repository.name, " DATE(
                          "repository.created") ","
                                                " (SELECT COUNT(*) FROM tag WHERE repository = repository.id),"
                                                " (SELECT group_concat(name, ',') FROM (SELECT other.name AS name FROM member JOIN user AS "
                                                "other ON other.id = member.user"
                                                " WHERE member.repository = repository.id ORDER BY other.name))"
                                                " FROM repository JOIN user ON user.id = owner WHERE ?1 IS NULL OR user.name = ?1 ORDER BY "
                                                "user.name, repository.name" },
    [SERVE_TAGS] = { { "tag", "hash", "size", "set" },
                     "SELECT user.name || '/' || repository.name || ':' || tag.name, lower(hex(hash)), size, " DATE(
                         "moved") " FROM tag JOIN repository ON repository.id = tag.repository JOIN user ON user.id = owner JOIN image ON "
                                  "image.id = tag.image"
                                  " WHERE ?1 IS NULL OR user.name || '/' || repository.name = ?1 ORDER BY user.name, repository.name, "
                                  "tag.name" },
    [SERVE_IMAGES] = { { "hash", "size", "created", "tags", "untagged", "uses", "downloads" },
                       "SELECT lower(hex(hash)), size, " DATE("created") ", (SELECT COUNT(*) FROM tag WHERE image = image.id), " DATE(
                           "untagged") ", uses, downloads FROM image WHERE ?1 IS NULL OR hex(hash) = upper(?1) ORDER BY created, hash" },
};

const char *const *serve_admin_columns(enum serve_list list)
{
    return lists[list].columns;
}

int serve_admin_list(struct serve_admin *a, enum serve_list list, const char *filter, void (*fn)(void *user, const char *const *columns),
                     void *user, struct gv_error *err)
{
    cleanup_query sqlite3_stmt *q = db_query(a->db, err, lists[list].sql, "t", filter);
    int r = -1;
    while (q && (r = db_step(a->db, q, err)) > 0) {
        const char *values[COLUMNS_MAX + 1] = { NULL };
        for (int i = 0; i < COLUMNS_MAX && lists[list].columns[i]; i++) {
            const char *text = (const char *)sqlite3_column_text(q, i);
            values[i] = text ? text : "";
        }
        fn(user, values);
    }
    return r;
}
