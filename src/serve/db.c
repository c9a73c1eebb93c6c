/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/db.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>

/* How long one waits for another who writes, ms. */
#define BUSY 10000
#define STATEMENTS 64

struct db {
    sqlite3 *handle;
    struct {
        const char *sql; /* the literal: its address is its name */
        sqlite3_stmt *q;
    } statements[STATEMENTS];
    struct db *next; /* in the pool */
};

/*
 * One string for each version: what makes it from the one before. An image without a tag remembers since when; the triggers see to that whoever changes
 * tags, and in whatever way.
 */
static const char *const versions[] = {
    "CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, password TEXT, created INTEGER NOT NULL);"
    "CREATE TABLE token(id INTEGER PRIMARY KEY, user INTEGER NOT NULL REFERENCES user ON DELETE CASCADE, hash BLOB NOT NULL UNIQUE,"
    " label TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER);"
    "CREATE INDEX token_user ON token(user);"
    "CREATE TABLE repository(id INTEGER PRIMARY KEY, owner INTEGER NOT NULL REFERENCES user ON DELETE CASCADE, name TEXT NOT NULL,"
    " created INTEGER NOT NULL, UNIQUE(owner, name));"
    "CREATE TABLE member(repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE,"
    " user INTEGER NOT NULL REFERENCES user ON DELETE CASCADE, PRIMARY KEY(repository, user)) WITHOUT ROWID;"
    "CREATE INDEX member_user ON member(user);"
    /* chunks: 0 = the chunk map is yet to be made, 1 = it is there, 2 = it cannot be made. descriptor: the first one with which it came. */
    "CREATE TABLE image(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, descriptor BLOB NOT NULL,"
    " created INTEGER NOT NULL, untagged INTEGER, chunks INTEGER NOT NULL DEFAULT 0, uses INTEGER NOT NULL DEFAULT 0,"
    " downloads INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX image_untagged ON image(untagged) WHERE untagged IS NOT NULL;"
    "CREATE INDEX image_chunks ON image(id) WHERE chunks = 0;"
    "CREATE TABLE descriptor(id BLOB PRIMARY KEY, image INTEGER NOT NULL REFERENCES image ON DELETE CASCADE, chunks INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE INDEX descriptor_image ON descriptor(image);"
    "CREATE TABLE tag(repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE, name TEXT NOT NULL,"
    " image INTEGER NOT NULL REFERENCES image ON DELETE CASCADE, moved INTEGER NOT NULL, PRIMARY KEY(repository, name)) WITHOUT ROWID;"
    "CREATE INDEX tag_image ON tag(image);"
    "CREATE TRIGGER tag_made AFTER INSERT ON tag BEGIN UPDATE image SET untagged = NULL WHERE id = NEW.image; END;"
    "CREATE TRIGGER tag_moved AFTER UPDATE OF image ON tag BEGIN"
    " UPDATE image SET untagged = unixepoch() WHERE id = OLD.image AND NOT EXISTS (SELECT 1 FROM tag WHERE image = OLD.image);"
    " UPDATE image SET untagged = NULL WHERE id = NEW.image; END;"
    "CREATE TRIGGER tag_gone AFTER DELETE ON tag BEGIN"
    " UPDATE image SET untagged = unixepoch() WHERE id = OLD.image AND NOT EXISTS (SELECT 1 FROM tag WHERE image = OLD.image); END;"
    /* descriptor: its bytes. reserved: room for all of it has been taken from a quota: that of claimed, or that of the anonymous. */
    "CREATE TABLE upload(id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, hash BLOB NOT NULL, size INTEGER NOT NULL, descriptor BLOB NOT "
    "NULL,"
    " touched INTEGER NOT NULL, reserved INTEGER NOT NULL DEFAULT 0, claimed INTEGER REFERENCES user ON DELETE SET NULL);"
    "CREATE INDEX upload_touched ON upload(touched);"
    "CREATE INDEX upload_claimed ON upload(claimed);"
    "CREATE TABLE chunk(upload INTEGER NOT NULL REFERENCES upload ON DELETE CASCADE, number INTEGER NOT NULL, PRIMARY KEY(upload, number))"
    " WITHOUT ROWID;",
};
#define VERSION ((int)(sizeof(versions) / sizeof(versions[0])))

static int failed(struct db *db, struct gv_error *err, const char *what)
{
    int code = sqlite3_errcode(db->handle) & 0xff;
    bool full = code == SQLITE_FULL || (code == SQLITE_IOERR && sqlite3_system_errno(db->handle) == ENOSPC);
    return gv_error_set(err, GV_E_IO, full ? ENOSPC : 0, "the registry's database: %s: %s", what, sqlite3_errmsg(db->handle));
}

static int exec(struct db *db, const char *sql, struct gv_error *err)
{
    return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : failed(db, err, "cannot prepare it");
}

/* In one transaction, so that a program that ends in the middle leaves the old version. */
static int migrate(struct db *db, struct gv_error *err)
{
    int64_t version = 0;
    cleanup_transaction struct db_transaction t = { db };
    if (db_begin(db, err) < 0 || db_number(db, &version, err, "PRAGMA user_version", "") < 0)
        return -1;
    if (version > VERSION)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0,
                            "the registry's database is of version %lld, and this gvmkit knows up to %d; use a newer gvmkit",
                            (long long)version, VERSION);
    for (int64_t v = version; v < VERSION; v++) {
        char *set = sqlite3_mprintf("PRAGMA user_version = %d", (int)v + 1);
        int bad = exec(db, versions[v], err) < 0 || exec(db, set, err) < 0;
        sqlite3_free(set);
        if (bad)
            return -1;
    }
    t.db = NULL;
    return db_commit(db, err);
}

int db_open(struct db **out, const char *dir, struct gv_error *err)
{
    cleanup_free char *path = gv_asprintf("%s/registry.db", dir);
    CLEANUP(db) struct db *db = gv_new(struct db);
    /* A connection is used by one thread at a time. */
    if (sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
                        NULL) != SQLITE_OK)
        return gv_error_set(err, GV_E_IO, 0, "%s: %s", path, db->handle ? sqlite3_errmsg(db->handle) : "no memory");
    sqlite3_busy_timeout(db->handle, BUSY);
    if (exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;", err) < 0)
        return -1;
    int64_t version = 0;
    if (db_number(db, &version, err, "PRAGMA user_version", "") < 0 || (version != VERSION && migrate(db, err) < 0))
        return -1;
    *out = steal_ptr(db);
    return 0;
}

void db_close(struct db *db)
{
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(db->statements[i].q);
    sqlite3_close(db->handle);
    free(db);
}

static sqlite3_stmt *statement(struct db *db, const char *sql, struct gv_error *err)
{
    size_t i = 0;
    while (i < STATEMENTS && db->statements[i].sql && db->statements[i].sql != sql)
        i++;
    if (i == STATEMENTS) {
        gv_error_set(err, GV_E_INTERNAL, 0, "more than %d statements", STATEMENTS);
        return NULL;
    }
    if (!db->statements[i].q) {
        if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &db->statements[i].q, NULL) != SQLITE_OK) {
            failed(db, err, "cannot ask it");
            return NULL;
        }
        db->statements[i].sql = sql;
    }
    sqlite3_reset(db->statements[i].q);
    sqlite3_clear_bindings(db->statements[i].q);
    return db->statements[i].q;
}

static sqlite3_stmt *query(struct db *db, struct gv_error *err, const char *sql, const char *types, va_list ap)
{
    sqlite3_stmt *q = statement(db, sql, err);
    for (int i = 1; q && types[i - 1]; i++) {
        int rc = SQLITE_OK;
        if (types[i - 1] == 'i') {
            rc = sqlite3_bind_int64(q, i, va_arg(ap, int64_t));
        } else if (types[i - 1] == 't') {
            rc = sqlite3_bind_text(q, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
        } else if (types[i - 1] == 'b') {
            const void *p = va_arg(ap, const void *);
            rc = sqlite3_bind_blob64(q, i, p, va_arg(ap, size_t), SQLITE_STATIC);
        }
        if (rc != SQLITE_OK) {
            failed(db, err, "cannot ask it");
            return NULL;
        }
    }
    return q;
}

sqlite3_stmt *db_query(struct db *db, struct gv_error *err, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(db, err, sql, types, ap);
    va_end(ap);
    return q;
}

int db_step(struct db *db, sqlite3_stmt *q, struct gv_error *err)
{
    int rc = sqlite3_step(q);
    if (rc == SQLITE_ROW)
        return 1;
    sqlite3_reset(q);
    return rc == SQLITE_DONE ? 0 : failed(db, err, "cannot ask it");
}

int db_run(struct db *db, struct gv_error *err, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(db, err, sql, types, ap);
    va_end(ap);
    if (!q)
        return -1;
    int r = db_step(db, q, err);
    sqlite3_reset(q);
    return r < 0 ? -1 : 0;
}

int64_t db_changes(const struct db *db)
{
    return sqlite3_changes64(db->handle);
}

int db_number(struct db *db, int64_t *out, struct gv_error *err, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(db, err, sql, types, ap);
    va_end(ap);
    if (!q)
        return -1;
    int r = db_step(db, q, err);
    if (r > 0)
        *out = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    return r;
}

bool db_blob(sqlite3_stmt *q, int i, void *out, size_t n)
{
    const void *p = sqlite3_column_blob(q, i);
    if (!p || (size_t)sqlite3_column_bytes(q, i) != n)
        return false;
    memcpy(out, p, n);
    return true;
}

int db_begin(struct db *db, struct gv_error *err)
{
    return db_run(db, err, "BEGIN IMMEDIATE", "");
}

int db_commit(struct db *db, struct gv_error *err)
{
    if (db_run(db, err, "COMMIT", "") == 0)
        return 0;
    db_rollback(db);
    return -1;
}

void db_rollback(struct db *db)
{
    if (!sqlite3_get_autocommit(db->handle))
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

/* ---- the pool ---- */

struct db_pool {
    pthread_mutex_t lock;
    char *dir;
    struct db *free;
};

struct db_pool *db_pool_new(const char *dir)
{
    struct db_pool *p = gv_new(struct db_pool);
    pthread_mutex_init(&p->lock, NULL);
    p->dir = gv_strdup(dir);
    return p;
}

void db_pool_free(struct db_pool *p)
{
    if (!p)
        return;
    while (p->free) {
        struct db *db = p->free;
        p->free = db->next;
        db_close(db);
    }
    pthread_mutex_destroy(&p->lock);
    free(p->dir);
    free(p);
}

struct db *db_take(struct db_pool *p, struct gv_error *err)
{
    pthread_mutex_lock(&p->lock);
    struct db *db = p->free;
    if (db)
        p->free = db->next;
    pthread_mutex_unlock(&p->lock);
    if (!db && db_open(&db, p->dir, err) < 0)
        return NULL;
    return db;
}

void db_give(struct db_pool *p, struct db *db)
{
    pthread_mutex_lock(&p->lock);
    db->next = p->free;
    p->free = db;
    pthread_mutex_unlock(&p->lock);
}
