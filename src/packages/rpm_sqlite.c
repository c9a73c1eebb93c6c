/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * rpm's database as SQLite (rpm 4.16 and later): the table Packages has a header for each package in its column blob.
 *
 * A database file is a program of sorts: its schema can hold views, triggers, expressions and virtual tables. So the file is read in memory,
 * never written, with all of that switched off; an authorizer lets nothing pass but reading the two tables that are needed; and limits on the
 * steps of the machine and the bytes of blobs end what is not a plain table. A file in WAL mode says so in two bytes of its header, and could not be
 * opened without its log: they are set to the other mode, for rpm brings the log into the file when it ends.
 */
#include <sqlite3.h>
#include <string.h>

#include "packages/db.h"

#define BLOB_MAX (64 << 20) /* bytes of one header */
#define STEPS 1000          /* of SQLite's machine between two calls of too_long() */
#define ROUNDS_MAX 20000    /* calls of it: some 4 million packages */
#define HEADER_SIZE 100     /* bytes of the file's header */
#define WRITE_VERSION 18    /* offsets in it: 1 = journal, 2 = WAL */
#define READ_VERSION 19

static void close_db(sqlite3 **db)
{
    sqlite3_close(*db);
}

static void finalize(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
}

static int too_long(void *user)
{
    int *rounds = user;
    return ++*rounds > ROUNDS_MAX;
}

static int allow(void *user, int action, const char *a, const char *b, const char *database, const char *trigger)
{
    (void)user;
    (void)b;
    (void)database;
    if (trigger)
        return SQLITE_DENY;
    if (action == SQLITE_SELECT)
        return SQLITE_OK;
    bool known =
        a && (sqlite3_stricmp(a, "Packages") == 0 || sqlite3_stricmp(a, "sqlite_master") == 0 || sqlite3_stricmp(a, "sqlite_schema") == 0);
    return action == SQLITE_READ && known ? SQLITE_OK : SQLITE_DENY;
}

static int refused(sqlite3 *db, const char *what, struct gv_error *err)
{
    return gv_error_set(err, GV_E_FORMAT, 0, "SQLite cannot %s it: %s", what, db ? sqlite3_errmsg(db) : "no memory");
}

static int harden(sqlite3 *db, int *rounds, struct gv_error *err)
{
    static const struct {
        int what, value;
    } limits[] = { { SQLITE_LIMIT_LENGTH, BLOB_MAX },         { SQLITE_LIMIT_SQL_LENGTH, 65536 }, { SQLITE_LIMIT_COLUMN, 64 },
                   { SQLITE_LIMIT_EXPR_DEPTH, 20 },           { SQLITE_LIMIT_VDBE_OP, 10000 },    { SQLITE_LIMIT_FUNCTION_ARG, 8 },
                   { SQLITE_LIMIT_COMPOUND_SELECT, 2 },       { SQLITE_LIMIT_ATTACHED, 0 },       { SQLITE_LIMIT_VARIABLE_NUMBER, 8 },
                   { SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100 }, { SQLITE_LIMIT_TRIGGER_DEPTH, 1 },  { SQLITE_LIMIT_WORKER_THREADS, 0 } };
    static const struct {
        int what, value;
    } config[] = {
        { SQLITE_DBCONFIG_DEFENSIVE, 1 },   { SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0 },        { SQLITE_DBCONFIG_ENABLE_TRIGGER, 0 },
        { SQLITE_DBCONFIG_ENABLE_VIEW, 0 }, { SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0 }, { SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0 }
    };
    for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
        sqlite3_limit(db, limits[i].what, limits[i].value);
    for (size_t i = 0; i < sizeof(config) / sizeof(*config); i++)
        if (sqlite3_db_config(db, config[i].what, config[i].value, NULL) != SQLITE_OK)
            return refused(db, "secure", err);
    if (sqlite3_exec(db, "PRAGMA cell_size_check=ON; PRAGMA query_only=ON; PRAGMA temp_store=MEMORY", NULL, NULL, NULL) != SQLITE_OK)
        return refused(db, "secure", err);
    sqlite3_progress_handler(db, STEPS, too_long, rounds);
    sqlite3_set_authorizer(db, allow, NULL);
    return 0;
}

/* Packages must be a table that has its own pages, as a virtual one has not; and its columns plain ones: there is no second parenthesis in what
 * makes the table, as there is for a column that is computed, at any cost. */
static int check_table(sqlite3 *db, struct gv_error *err)
{
    __attribute__((cleanup(finalize))) sqlite3_stmt *q = NULL;
    static const char sql[] = "SELECT rootpage, sql FROM sqlite_schema WHERE type = 'table' AND name = 'Packages'";
    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK)
        return refused(db, "read", err);
    int step = sqlite3_step(q);
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        return refused(db, "read", err);
    if (step == SQLITE_DONE || sqlite3_column_int64(q, 0) <= 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "it has no table of packages");
    const char *sql_text = (const char *)sqlite3_column_text(q, 1);
    const char *parenthesis = sql_text ? strchr(sql_text, '(') : NULL;
    if (!parenthesis || strchr(parenthesis + 1, '('))
        return gv_error_set(err, GV_E_FORMAT, 0, "its table of packages is not one of rpm's");
    return 0;
}

int packages_rpm_sqlite(struct packages_set *s, unsigned char *p, size_t n, struct gv_error *err)
{
    __attribute__((cleanup(close_db))) sqlite3 *db = NULL;
    int rounds = 0;
    if (n >= HEADER_SIZE)
        p[WRITE_VERSION] = p[READ_VERSION] = 1;
    if (sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL) != SQLITE_OK) {
        sqlite3_free(p);
        return refused(db, "open", err);
    }
    /* The memory is freed also when this fails. */
    if (sqlite3_deserialize(db, "main", p, (sqlite3_int64)n, (sqlite3_int64)n,
                            SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_READONLY) != SQLITE_OK)
        return refused(db, "open", err);
    if (harden(db, &rounds, err) < 0 || check_table(db, err) < 0)
        return -1;
    __attribute__((cleanup(finalize))) sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(db, "SELECT blob FROM Packages", -1, &q, NULL) != SQLITE_OK)
        return refused(db, "read", err);
    size_t total = 0;
    int step;
    while ((step = sqlite3_step(q)) == SQLITE_ROW) {
        if (sqlite3_column_type(q, 0) != SQLITE_BLOB)
            return gv_error_set(err, GV_E_FORMAT, 0, "a package is not a blob");
        const unsigned char *blob = sqlite3_column_blob(q, 0);
        size_t len = (size_t)sqlite3_column_bytes(q, 0);
        /* Blobs that share pages could hold more than the whole file. */
        total += len;
        if (total > n)
            return gv_error_set(err, GV_E_FORMAT, 0, "its packages are larger than the file");
        if (len && packages_rpm_header(s, blob, len, err) < 0)
            return -1;
    }
    return step == SQLITE_DONE ? 0 : refused(db, "read", err);
}
