/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The database, a thin layer over SQLite: connections with their prepared statements, a pool of them for the threads, and the schema with its versions.
 * A commit is on the disk when it returns (WAL, synchronous=FULL).
 */
#ifndef GV_SERVE_DB_H
#define GV_SERVE_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"

struct db;

/* Opens or makes DIR/registry.db and brings its schema to the version of this program. */
int db_open(struct db **out, const char *dir, struct gv_error *err);
void db_close(struct db *db);
DEFINE_CLEANUP(db, struct db *, db_close)

/*
 * The statement of the SQL text, which must be a literal: prepared when first asked for, kept with the connection, reset and without values now. Its
 * values are bound by `types`, a letter each: i int64_t, t const char * (NULL is NULL), b const void * and size_t, n NULL. Texts and blobs must stay
 * as they are until the statement is asked for anew or reset. NULL on failure.
 */
sqlite3_stmt *db_query(struct db *db, struct gv_error *err, const char *sql, const char *types, ...);
/* 1 with a row, 0 at the end (the statement is reset then), -1. */
int db_step(struct db *db, sqlite3_stmt *q, struct gv_error *err);
/* A statement without rows: 0 or -1. The number of rows that it changed by db_changes(). */
int db_run(struct db *db, struct gv_error *err, const char *sql, const char *types, ...);
int64_t db_changes(const struct db *db);
/* One number: 1 with it, 0 when there is no row, -1. NULL counts as 0. */
int db_number(struct db *db, int64_t *out, struct gv_error *err, const char *sql, const char *types, ...);
/* Copies column i when it is a blob of exactly n bytes; false otherwise. */
bool db_blob(sqlite3_stmt *q, int i, void *out, size_t n);

/* Ends reading: a statement that is not read to its end keeps its view of the database otherwise. */
static inline void gv_cleanup_query_fn(sqlite3_stmt **q)
{
    if (*q)
        sqlite3_reset(*q);
}
#define cleanup_query __attribute__((cleanup(gv_cleanup_query_fn)))

/* A writing transaction, which excludes other writers from its beginning. What is not committed is undone. */
int db_begin(struct db *db, struct gv_error *err);
int db_commit(struct db *db, struct gv_error *err);
void db_rollback(struct db *db);
struct db_transaction {
    struct db *db;
};
static inline void gv_cleanup_transaction_fn(struct db_transaction *t)
{
    if (t->db)
        db_rollback(t->db);
}
#define cleanup_transaction __attribute__((cleanup(gv_cleanup_transaction_fn)))

/* Connections for threads: as many as are in use at a time. */
struct db_pool;
struct db_pool *db_pool_new(const char *dir);
void db_pool_free(struct db_pool *p);
/* NULL on failure. */
struct db *db_take(struct db_pool *p, struct gv_error *err);
void db_give(struct db_pool *p, struct db *db);

#endif
