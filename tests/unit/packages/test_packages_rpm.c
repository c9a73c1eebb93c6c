/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Databases of rpm made here: SQLite through its library, ndb and the headers byte by byte. */
#include <sqlite3.h>
#include <stdlib.h>

#include "helper.h"

#define SQLITE_PATH "/var/lib/rpm/rpmdb.sqlite"
#define NDB_PATH "/usr/lib/sysimage/rpm/Packages.db"

static const char *const bash_files[] = { "/bin/bash", "/etc/skel/.bashrc", "/usr/share/doc/bash/README", NULL };
static const char *const zlib_files[] = { "/usr/lib64/libz.so.1", NULL };
static const char *const no_files[] = { NULL };

static void fill(struct world *w)
{
    world_text(w, "/usr/bin/bash", "x");
    world_link(w, "/bin", "usr/bin");
    world_text(w, "/etc/skel/.bashrc", "x");
    world_text(w, "/usr/lib64/libz.so.1", "x");
    world_text(w, "/usr/lib64/other", "x");
}

static void check(struct world *w)
{
    assert_int_equal(world_group(w, "/usr/bin/bash"), 1);
    assert_int_equal(world_group(w, "/etc/skel/.bashrc"), 1);
    assert_int_equal(world_group(w, "/usr/lib64/libz.so.1"), 3);
    assert_int_equal(world_group(w, "/usr/lib64/other"), 0);
    assert_true(w->sum.rpm);
    assert_int_equal(w->sum.packages, 3);
    assert_int_equal(w->sum.files, 3);
}

/* A database made by `sql`, after which the headers are put into Packages (unless there are none). */
static void make_sqlite(struct gv_buf *out, const char *sql, const struct gv_buf *headers, size_t n)
{
    sqlite3 *db;
    char *message = NULL;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s", message);
    for (size_t i = 0; i < n; i++) {
        sqlite3_stmt *q;
        assert_int_equal(sqlite3_prepare_v2(db, "INSERT INTO Packages (blob) VALUES (?)", -1, &q, NULL), SQLITE_OK);
        sqlite3_bind_blob(q, 1, headers[i].data, (int)headers[i].len, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(q), SQLITE_DONE);
        sqlite3_finalize(q);
    }
    sqlite3_int64 size;
    unsigned char *p = sqlite3_serialize(db, "main", &size, 0);
    gv_buf_add(out, p, (size_t)size);
    sqlite3_free(p);
    sqlite3_close(db);
}

#define TABLE "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL);"

struct headers {
    struct gv_buf h[3];
};

static void make_headers(struct headers *x)
{
    make_rpm_header(&x->h[0], "zlib", zlib_files);
    make_rpm_header(&x->h[1], "gpg-pubkey", no_files);
    make_rpm_header(&x->h[2], "bash", bash_files);
}

static void clear_headers(struct headers *x)
{
    for (size_t i = 0; i < 3; i++)
        gv_buf_clear(&x->h[i]);
}

#define HEADERS __attribute__((cleanup(clear_headers))) struct headers

static void test_sqlite(void **state)
{
    (void)state;
    HEADERS x = { 0 };
    make_headers(&x);
    for (int wal = 0; wal < 2; wal++) {
        CLEANUP(world) struct world *w = world_new();
        cleanup_buf struct gv_buf db = { 0 };
        make_sqlite(&db, TABLE "CREATE TABLE 'Name' (key TEXT NOT NULL, hnum INTEGER NOT NULL);", x.h, 3);
        if (wal)
            db.data[18] = db.data[19] = 2;
        fill(w);
        world_file(w, SQLITE_PATH, db.data, db.len);
        world_assign_quietly(w);
        check(w);
    }
}

/* One package of 20000 files spreads over many pages. */
static void test_large_header(void **state)
{
    (void)state;
    enum { N = 20000 };
    CLEANUP(world) struct world *w = world_new();
    static char paths[N][40];
    static const char *list[N + 1];
    for (int i = 0; i < N; i++) {
        snprintf(paths[i], sizeof(paths[i]), "/usr/share/d%d/f%d", i % 100, i);
        list[i] = paths[i];
        world_text(w, paths[i], "x");
    }
    cleanup_buf struct gv_buf header = { 0 }, db = { 0 };
    make_rpm_header(&header, "large", list);
    make_sqlite(&db, TABLE, &header, 1);
    world_file(w, SQLITE_PATH, db.data, db.len);
    world_assign_quietly(w);
    assert_int_equal(w->sum.files, N);
}

static void make_ndb(struct gv_buf *out, const struct gv_buf *headers, size_t n)
{
    gv_buf_add(out, "RpmP", 4);
    put_le32(out, 0);
    put_le32(out, 7);
    put_le32(out, 1); /* pages of slots */
    put_le32(out, (uint32_t)n + 1);
    for (int i = 0; i < 3; i++)
        put_le32(out, 0);
    uint32_t at = 4096 / 16;
    for (uint32_t i = 0; out->len < 4096; i++) {
        bool used = i % 2 == 1 && i / 2 < n; /* every second one is free */
        uint32_t blocks = used ? (uint32_t)(headers[i / 2].len + 16 + 12 + 15) / 16 : 0;
        gv_buf_add(out, "Slot", 4);
        put_le32(out, used ? i / 2 + 1 : 0);
        put_le32(out, used ? at : 0);
        put_le32(out, blocks);
        at += blocks;
    }
    for (uint32_t i = 0; i < n; i++) {
        gv_buf_add(out, "BlbS", 4);
        put_le32(out, i + 1);
        put_le32(out, 7);
        put_le32(out, (uint32_t)headers[i].len);
        gv_buf_add(out, headers[i].data, headers[i].len);
        while ((out->len + 12) % 16)
            gv_buf_add(out, "", 1);
        put_le32(out, 0);
        put_le32(out, (uint32_t)headers[i].len);
        gv_buf_add(out, "BlbE", 4);
    }
}

static void test_ndb(void **state)
{
    (void)state;
    HEADERS x = { 0 };
    make_headers(&x);
    CLEANUP(world) struct world *w = world_new();
    cleanup_buf struct gv_buf db = { 0 };
    make_ndb(&db, x.h, 3);
    fill(w);
    world_file(w, NDB_PATH, db.data, db.len);
    world_link(w, "/var/lib/rpm", "../../usr/lib/sysimage/rpm");
    world_assign_quietly(w);
    check(w);
}

/* Whatever byte of an ndb is wrong, nothing is read outside of it, and what cannot be read is told. */
static void test_broken_ndb(void **state)
{
    (void)state;
    HEADERS x = { 0 };
    make_headers(&x);
    cleanup_buf struct gv_buf db = { 0 };
    make_ndb(&db, x.h, 3);
    unsigned told = 0;
    for (size_t i = 0; i < db.len; i++) {
        if (i == 60 + 3 * 32)
            i = 4096; /* free slots */
        for (int bit = 0; bit < 8; bit += 7) {
            CLEANUP(world) struct world *w = world_new();
            fill(w);
            db.data[i] ^= (unsigned char)(1 << bit);
            world_file(w, NDB_PATH, db.data, i % 3 ? db.len : db.len - 40);
            db.data[i] ^= (unsigned char)(1 << bit);
            assert_int_equal(world_assign(w), 0);
            told += w->notes.len > 0;
        }
    }
    assert_true(told > 100);
}

static void test_berkeley_db_is_told(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    fill(w);
    world_text(w, "/var/lib/rpm/Packages", "a Berkeley DB");
    assert_int_equal(world_assign(w), 0);
    assert_false(w->sum.rpm);
    assert_int_equal(w->sum.files, 0);
    assert_non_null(strstr((char *)w->notes.data, "debug the image's rpm database is a Berkeley DB"));
}

/* The database must be refused with a note that holds `why`, and leave no groups. */
static void refused(const struct gv_buf *db, const char *why)
{
    CLEANUP(world) struct world *w = world_new();
    fill(w);
    world_file(w, SQLITE_PATH, db->data, db->len);
    assert_int_equal(world_assign(w), 0);
    if (!strstr((char *)w->notes.data, why))
        fail_msg("`%s` is not in `%s`", why, (char *)w->notes.data);
    assert_non_null(strstr((char *)w->notes.data, "note the image's rpm database `rpmdb.sqlite` cannot be read to its end"));
    assert_int_equal(w->sum.files, 0);
}

static void test_hostile_sqlite(void **state)
{
    (void)state;
    HEADERS x = { 0 };
    make_headers(&x);
    static const struct {
        const char *sql, *why;
    } cases[] = {
        { "CREATE TABLE Other (blob)", "no table of packages" },
        { "CREATE VIEW Packages AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT zeroblob(n) AS blob FROM c",
          "no table of packages" },
        { "CREATE VIRTUAL TABLE Packages USING fts5(blob)", "no table of packages" },
        { "CREATE TABLE Packages (x, blob AS (replace(hex(zeroblob(9999999)), '0', '0123456789')))", "not one of rpm's" },
        { "CREATE TABLE Packages (x, blob AS (zeroblob(1000000000)) VIRTUAL); INSERT INTO Packages VALUES (1)", "not one of rpm's" },
        { "CREATE TABLE Packages AS SELECT x'00' AS blob", "it is too short" },
        { "CREATE TABLE Packages (blob); INSERT INTO Packages VALUES (7)", "not a blob" },
        { "CREATE TABLE Packages (blob); INSERT INTO Packages VALUES (x'00')", "header is broken: it is too short" },
        { "CREATE TABLE Packages (notblob); INSERT INTO Packages VALUES (x'00')", "no such column: blob" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cleanup_buf struct gv_buf db = { 0 };
        make_sqlite(&db, cases[i].sql, NULL, 0);
        refused(&db, cases[i].why);
    }
    const struct gv_buf text = { .data = (unsigned char *)(uintptr_t) "no database", .len = 11 };
    refused(&text, "SQLite cannot read it");
}

/* Page by page and byte by byte damaged: never a crash, never a failure. */
static void test_damaged_sqlite(void **state)
{
    (void)state;
    HEADERS x = { 0 };
    make_headers(&x);
    cleanup_buf struct gv_buf db = { 0 };
    make_sqlite(&db, "PRAGMA page_size=512;" TABLE "CREATE TABLE 'Name' (key TEXT NOT NULL, hnum INTEGER NOT NULL);", x.h, 3);
    for (size_t i = 0; i < db.len; i++) {
        CLEANUP(world) struct world *w = world_new();
        fill(w);
        unsigned char kept = db.data[i];
        db.data[i] = (unsigned char)(i % 2 ? ~kept : kept + 1);
        world_file(w, SQLITE_PATH, db.data, i % 5 ? db.len : i);
        db.data[i] = kept;
        assert_int_equal(world_assign(w), 0);
        assert_true(w->sum.packages <= 10);
    }
}

/* Both leaves of a table are one page: its rows come again and again, each with a header. The sum of their sizes ends it. */
static void test_shared_pages(void **state)
{
    (void)state;
    cleanup_buf struct gv_buf header = { 0 }, db = { 0 };
    make_rpm_header(&header, "bash", bash_files);
    static struct gv_buf many[200];
    for (size_t i = 0; i < 200; i++)
        many[i] = header;
    make_sqlite(&db, "PRAGMA page_size=512;" TABLE, many, 200);
    /* The root of Packages is an interior page (type 5); its cells (4 bytes of page, a key) all get the first one's page. */
    unsigned char *root = NULL;
    for (size_t page = 1; page * 512 < db.len && !root; page++)
        if (db.data[page * 512] == 5)
            root = db.data + page * 512;
    assert_non_null(root);
    if (!root)
        return;
    unsigned cells = (unsigned)root[3] << 8 | root[4];
    const unsigned char *first = root + (root[12] << 8 | root[13]);
    for (unsigned i = 0; i < cells; i++)
        memcpy(root + (root[12 + 2 * i] << 8 | root[13 + 2 * i]), first, 4);
    CLEANUP(world) struct world *w = world_new();
    fill(w);
    world_file(w, SQLITE_PATH, db.data, db.len);
    assert_int_equal(world_assign(w), 0);
    assert_true(w->sum.packages <= 1);
}

static int parse(struct gv_buf *header, struct gv_error *err)
{
    CLEANUP(world) struct world *w = world_new();
    fill(w);
    CLEANUP(packages_set) struct packages_set *s = packages_set_new(w->tree, NULL);
    cleanup_free unsigned char *exact = gv_memdup(header->data, header->len); /* so that a sanitizer sees a byte too many */
    int status = packages_rpm_header(s, exact, header->len, err);
    packages_set_finish(s, &w->sum);
    return status;
}

static void test_broken_headers(void **state)
{
    (void)state;
    cleanup_buf struct gv_buf good = { 0 };
    make_rpm_header(&good, "bash", bash_files);
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(parse(&good, &err), 0);
    for (size_t n = 0; n < good.len; n++) {
        struct gv_buf cut = good;
        cut.len = n;
        gv_error_clear(&err);
        assert_int_equal(parse(&cut, &err), -1);
        assert_int_equal(err.code, GV_E_FORMAT);
    }
    static const struct {
        size_t at; /* of a big-endian number */
        uint32_t value;
        const char *why;
    } cases[] = {
        { 0, 0xffffffff, "longer than it is" },
        { 0, 65536, "longer than it is" },
        { 4, 0xffffffff, "longer than it is" },
        { 8, 1005, "no name" },
        { 12, 8, "wrong type" },
        { 16, 0xffffffff, "wrong type or place" },
        { 16, 100000, "wrong type or place" },
        { 40 + 4, 6, "wrong type" },
        { 40 + 12, 2, "do not fit together" },
        { 40 + 12, 0x40000003, "fit together" },
        { 56 + 12, 4, "do not fit together" },
        { 56 + 4, 4, "wrong type" },
        { 72 + 12, 0xffffffff, "directories" },
        { 72 + 12, 38, "cut short" },
        { 72 + 12, 1, "in no directory" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cleanup_buf struct gv_buf bad = { 0 }, number = { 0 };
        gv_buf_add(&bad, good.data, good.len);
        put_be32(&number, cases[i].value);
        memcpy(bad.data + cases[i].at, number.data, 4);
        gv_error_clear(&err);
        if (parse(&bad, &err) == 0 || !strstr(err.msg, cases[i].why))
            fail_msg("case %zu: `%s`", i, err.msg);
    }
}

static void test_unreadable_image(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    world_text(w, SQLITE_PATH, "x");
    w->fail_reads = 0;
    assert_int_equal(world_assign(w), -1);
    assert_non_null(strstr(w->err.msg, "reading `rpmdb.sqlite` of the image's rpm database: the disk is gone"));
}

static void test_too_large(void **state)
{
    (void)state;
    CLEANUP(world) struct world *w = world_new();
    struct image_node *file = world_text(w, SQLITE_PATH, "x");
    file->inode->size = PACKAGES_DB_MAX + 1;
    assert_int_equal(world_assign(w), 0);
    assert_non_null(strstr((char *)w->notes.data, "too large to be read"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sqlite),           cmocka_unit_test(test_large_header),        cmocka_unit_test(test_ndb),
        cmocka_unit_test(test_broken_ndb),       cmocka_unit_test(test_berkeley_db_is_told), cmocka_unit_test(test_hostile_sqlite),
        cmocka_unit_test(test_damaged_sqlite),   cmocka_unit_test(test_shared_pages),        cmocka_unit_test(test_broken_headers),
        cmocka_unit_test(test_unreadable_image), cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
