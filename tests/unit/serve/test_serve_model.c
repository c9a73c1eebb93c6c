/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The database: versions, accounts, tags and what they keep, quotas, expiry. */
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "helper.h"
#include "serve/model.h"
#include "serve/serve.h"
#include "serve/usage.h"

struct fixture {
    char *dir;
    struct serve_admin *admin;
    struct db *db;
};

static int setup(void **state)
{
    struct gv_error err = GV_ERROR_INIT;
    struct fixture *f = gv_new(struct fixture);
    f->dir = make_dir();
    *state = f;
    if (serve_admin_open(&f->admin, f->dir, &err) < 0 || db_open(&f->db, f->dir, &err) < 0)
        fail_msg("%s", err.msg);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    serve_admin_close(f->admin);
    db_close(f->db);
    remove_dir(f->dir);
    free(f);
    return 0;
}

/* An upload of one chunk, told apart by n. */
struct fake {
    unsigned char bytes[DESCRIPTOR_HEAD + GV_SHA256_SIZE];
    struct descriptor d;
    char hash[GV_SHA3_224_HEX];
};

static void make(struct fake *k, unsigned char n, uint64_t size)
{
    struct gv_error err = GV_ERROR_INIT;
    memset(k, 0, sizeof(*k));
    memcpy(k->bytes, "\0\0\0\3\063\063\063\064", 8);
    for (int i = 0; i < 8; i++)
        k->bytes[8 + i] = k->bytes[16 + i] = (unsigned char)(size >> (8 * (7 - i)));
    memset(k->bytes + 24, n, GV_SHA3_224_SIZE);
    assert_int_equal(descriptor_parse(k->bytes, sizeof(k->bytes), &k->d, &err), 0);
    gv_hex(k->hash, k->d.hash, sizeof(k->d.hash));
}

static int64_t add(struct fixture *f, const struct fake *k, uint64_t most)
{
    struct gv_error err = GV_ERROR_INIT;
    struct upload_row row;
    struct image_row lost = { 0 };
    assert_true(model_image_by_hash(f->db, k->d.hash, &lost, &err) >= 0);
    if (model_upload_add(f->db, &k->d, k->bytes, sizeof(k->bytes), lost.id, 1000, most, &err) < 0) {
        assert_int_equal(err.code, GV_E_LIMIT);
        return 0;
    }
    assert_int_equal(model_upload_find(f->db, k->d.id, &row, NULL, &err), 1);
    return row.id;
}

static void publish(struct fixture *f, const struct fake *k, int64_t now)
{
    struct gv_error err = GV_ERROR_INIT;
    if (model_publish(f->db, add(f, k, 100), &k->d, now, &err) < 0)
        fail_msg("%s", err.msg);
}

static struct image_row image(struct fixture *f, const struct fake *k)
{
    struct image_row row = { 0 };
    assert_int_equal(model_image_by_hash(f->db, k->d.hash, &row, NULL), 1);
    return row;
}

static void ok(int result, const struct gv_error *err)
{
    if (result < 0)
        fail_msg("%s", err->msg);
}

/* What tags have left behind is as much as its quota lets it be, and what has just been left stays for a while. */
static void test_evicted(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct fake k[4];
    struct image_row row;
    int64_t count = 0;
    for (unsigned char i = 0; i < 4; i++) {
        make(&k[i], i, 100);
        publish(f, &k[i], 1000 + 10 * i);
    }
    ok(serve_admin_user_add(f->admin, "alice", NULL, &err), &err);
    ok(serve_admin_repo_add(f->admin, "alice/x", &err), &err);
    ok(serve_admin_tag_set(f->admin, "alice/x:t", k[0].hash, &err), &err);
    ok(model_evict(f->db, 2000, 300, &count, &err), &err);
    assert_int_equal(count, 0);
    ok(model_evict(f->db, 1009, 0, &count, &err), &err);
    assert_int_equal(count, 0);
    ok(model_evict(f->db, 2000, 299, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(model_image_by_hash(f->db, k[1].d.hash, &row, &err), 0);
    ok(model_evict(f->db, 1020, 0, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(model_image_by_hash(f->db, k[2].d.hash, &row, &err), 0);
    ok(model_evict(f->db, 2000, 0, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(model_image_by_hash(f->db, k[0].d.hash, &row, &err), 1);
}

/* A database without room says that the disk is full, which clients are told. */
static void test_full(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    int64_t pages = 0;
    assert_int_equal(db_number(f->db, &pages, &err, "PRAGMA max_page_count = 1", ""), 1);
    int r = 0;
    for (unsigned char i = 0; r == 0 && i < 200; i++) {
        struct fake k;
        make(&k, i, 100);
        r = model_upload_add(f->db, &k.d, k.bytes, sizeof(k.bytes), 0, 1000, 1000, &err);
    }
    assert_int_equal(r, -1);
    assert_int_equal(err.sys, ENOSPC);
}

static void test_versions(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct db *again = NULL;
    ok(db_open(&again, f->dir, &err), &err);
    assert_int_equal(db_run(again, &err, "PRAGMA user_version = 99", ""), 0);
    db_close(again);
    again = NULL;
    assert_int_equal(db_open(&again, f->dir, &err), -1);
    assert_int_equal(err.code, GV_E_UNSUPPORTED);
    assert_null(again);
}

static void test_uploads(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct fake a, b, c;
    unsigned char stored[1] = { 0 }, name[GV_SHA256_SIZE];
    int64_t id = 0;
    make(&a, 1, 100);
    make(&b, 2, 100);
    make(&c, 3, 100);
    int64_t upload = add(f, &a, 2);
    assert_int_equal(add(f, &a, 2), upload);
    assert_int_not_equal(add(f, &b, 2), 0);
    assert_int_equal(add(f, &c, 2), 0);
    assert_int_equal(add(f, &a, 2), upload); /* it is there: no limit is in its way */
    ok(model_upload_chunks(f->db, upload, stored, 1, &err), &err);
    assert_int_equal(stored[0], 0);
    ok(model_upload_store(f->db, upload, 0, 2000, &err), &err);
    ok(model_upload_store(f->db, upload, 0, 2000, &err), &err);
    ok(model_upload_chunks(f->db, upload, stored, 1, &err), &err);
    assert_int_equal(stored[0], 1);
    assert_int_equal(model_upload_idle(f->db, 1500, 0, &id, name, &err), 1);
    assert_memory_equal(name, b.d.id, sizeof(name));
    assert_int_equal(model_upload_idle(f->db, 1500, id, &id, name, &err), 0);
    ok(model_upload_remove(f->db, upload, &err), &err);
    assert_int_equal(db_number(f->db, &id, &err, "SELECT COUNT(*) FROM chunk", ""), 1);
    assert_int_equal(id, 0);
}

static void test_accounts(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    char token[SERVE_TOKEN_SIZE], old[SERVE_TOKEN_SIZE];
    int64_t user = 0, now = (int64_t)time(NULL);
    ok(serve_admin_user_add(f->admin, "alice", "correct horse", &err), &err);
    ok(serve_admin_user_add(f->admin, "bob", NULL, &err), &err);
    ok(serve_admin_token_add(f->admin, "alice", "one", 0, token, &err), &err);
    ok(serve_admin_token_add(f->admin, "alice", "two", 10000, old, &err), &err);
    assert_int_equal(model_login(f->db, "alice", "correct horse", now, &user, &err), 1);
    assert_int_equal(model_login(f->db, "alice", "wrong horse", now, &user, &err), 0);
    assert_int_equal(model_login(f->db, "alice", token, now, &user, &err), 1);
    assert_int_equal(model_login(f->db, "bob", token, now, &user, &err), 0);
    assert_int_equal(model_login(f->db, "bob", "", now, &user, &err), 0);
    assert_int_equal(model_login(f->db, "carol", "correct horse", now, &user, &err), 0);
    assert_int_equal(model_login(f->db, "alice", old, now, &user, &err), 1);
    assert_int_equal(model_login(f->db, "alice", old, now + 20, &user, &err), 0);
    assert_int_equal(model_login(f->db, "alice", token, now + 1000000000, &user, &err), 1);
    ok(serve_admin_token_remove(f->admin, "alice", 1, &err), &err);
    assert_int_equal(model_login(f->db, "alice", token, now, &user, &err), 0);
    assert_int_equal(serve_admin_token_remove(f->admin, "alice", 1, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    assert_int_equal(serve_admin_user_add(f->admin, "alice", NULL, &err), -1);
    assert_int_equal(err.code, GV_E_EXISTS);
    assert_int_equal(serve_admin_user_add(f->admin, "dave", "short", &err), -1);
    assert_int_equal(serve_admin_user_add(f->admin, "dave", "gvt_0123456789", &err), -1);
    ok(serve_admin_user_password(f->admin, "alice", NULL, &err), &err);
    assert_int_equal(model_login(f->db, "alice", "correct horse", now, &user, &err), 0);
    /* What is stored does not tell the secret. */
    cleanup_buf struct gv_buf bytes = { 0 };
    cleanup_free char *path = gv_asprintf("%s/registry.db-wal", f->dir);
    ok(gv_read_file(path, 64 << 20, &bytes, &err), &err);
    assert_null(memmem(bytes.data, bytes.len, old, strlen(old)));
    assert_null(memmem(bytes.data, bytes.len, "correct horse", 13));
}

static void test_tags_keep_images(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct fake a, b;
    int64_t count = 0;
    make(&a, 1, 100);
    make(&b, 2, 100);
    ok(serve_admin_user_add(f->admin, "alice", NULL, &err), &err);
    ok(serve_admin_repo_add(f->admin, "alice/x", &err), &err);
    publish(f, &a, 1000);
    publish(f, &b, 1000);
    publish(f, &b, 5000); /* again: nothing changes */
    assert_int_equal(image(f, &a).untagged, 1000);
    assert_int_equal(image(f, &b).created, 1000);
    ok(serve_admin_tag_set(f->admin, "alice/x:t", a.hash, &err), &err);
    ok(serve_admin_tag_set(f->admin, "alice/x:u", a.hash, &err), &err);
    assert_int_equal(image(f, &a).untagged, -1);
    ok(serve_admin_tag_set(f->admin, "alice/x:t", b.hash, &err), &err);
    assert_int_equal(image(f, &a).untagged, -1);
    assert_int_equal(image(f, &b).untagged, -1);
    ok(serve_admin_tag_set(f->admin, "alice/x:u", b.hash, &err), &err);
    assert_in_range(image(f, &a).untagged, 1500000000, INT32_MAX); /* now, not when it came */
    ok(model_expire(f->db, 1400000000, &count, &err), &err);
    assert_int_equal(count, 0);
    ok(model_expire(f->db, INT32_MAX, &count, &err), &err);
    assert_int_equal(count, 1);
    struct image_row row;
    assert_int_equal(model_image_by_hash(f->db, a.d.hash, &row, &err), 0);
    assert_int_equal(model_image_by_descriptor(f->db, a.d.id, &row, &err), 0);
    assert_int_equal(model_image_by_descriptor(f->db, b.d.id, &row, &err), 1);
    /* A tag goes with its repository, and with its user. */
    ok(serve_admin_repo_remove(f->admin, "alice/x", &err), &err);
    assert_in_range(image(f, &b).untagged, 1500000000, INT32_MAX);
    ok(serve_admin_repo_add(f->admin, "alice/x", &err), &err);
    ok(serve_admin_tag_set(f->admin, "alice/x:t", b.hash, &err), &err);
    ok(serve_admin_user_remove(f->admin, "alice", &err), &err);
    assert_in_range(image(f, &b).untagged, 1500000000, INT32_MAX);
}

static int attach(struct fixture *f, const char *tag, const struct fake *k, int64_t login, bool check, const struct quotas *q,
                  struct gv_error *err)
{
    struct reference ref;
    gv_error_clear(err);
    assert_int_equal(reference_parse(tag, &ref, err), 0);
    return model_attach(f->db, &ref, k->d.id, login, check, q, 2000, err);
}

static void test_repositories(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct fake a, b;
    int64_t alice = 0, bob = 0, all = -1, own = -1;
    make(&a, 1, 100);
    make(&b, 2, 100);
    publish(f, &a, 1000);
    publish(f, &b, 1000);
    ok(serve_admin_user_add(f->admin, "alice", NULL, &err), &err);
    ok(serve_admin_user_add(f->admin, "bob", NULL, &err), &err);
    ok(serve_admin_repo_add(f->admin, "alice/x", &err), &err);
    ok(serve_admin_repo_add(f->admin, "bob/x", &err), &err);
    assert_int_equal(model_user_id(f->db, "alice", &alice, &err), 1);
    assert_int_equal(model_user_id(f->db, "bob", &bob, &err), 1);
    ok(model_repositories(f->db, image(f, &a).id, alice, &all, &own, &err), &err);
    assert_int_equal(all, 0);
    assert_int_equal(own, 0);
    ok(serve_admin_tag_set(f->admin, "alice/x:t", a.hash, &err), &err);
    ok(serve_admin_tag_set(f->admin, "alice/x:u", a.hash, &err), &err);
    ok(serve_admin_tag_set(f->admin, "bob/x:t", b.hash, &err), &err);
    ok(model_repositories(f->db, image(f, &a).id, alice, &all, &own, &err), &err);
    assert_int_equal(all, 1);
    assert_int_equal(own, 1);
    ok(model_repositories(f->db, image(f, &a).id, bob, &all, &own, &err), &err);
    assert_int_equal(own, 0);
    ok(serve_admin_repo_allow(f->admin, "alice/x", "bob", true, &err), &err);
    ok(model_repositories(f->db, image(f, &a).id, bob, &all, &own, &err), &err);
    assert_int_equal(own, 1);
    ok(serve_admin_tag_set(f->admin, "bob/x:u", a.hash, &err), &err);
    ok(model_repositories(f->db, image(f, &a).id, alice, &all, &own, &err), &err);
    assert_int_equal(all, 2);
    assert_int_equal(own, 1);
}

static void test_attach(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    const struct quotas q = { .bytes = 250, .images = 2 };
    struct fake a, b, c;
    int64_t alice = 0, bob = 0;
    make(&a, 1, 100);
    make(&b, 2, 100);
    make(&c, 3, 100);
    ok(serve_admin_user_add(f->admin, "alice", NULL, &err), &err);
    ok(serve_admin_user_add(f->admin, "bob", NULL, &err), &err);
    ok(serve_admin_repo_add(f->admin, "alice/x", &err), &err);
    assert_int_equal(model_user_id(f->db, "alice", &alice, &err), 1);
    assert_int_equal(model_user_id(f->db, "bob", &bob, &err), 1);
    publish(f, &a, 1000);
    assert_int_equal(attach(f, "alice/y:t", &a, alice, false, &q, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    assert_int_equal(attach(f, "alice/x:t", &b, alice, false, &q, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    assert_int_equal(attach(f, "alice/x:t", &a, bob, false, &q, &err), -1);
    assert_int_equal(err.code, GV_E_USAGE);
    ok(serve_admin_repo_allow(f->admin, "alice/x", "bob", true, &err), &err);
    ok(attach(f, "alice/x:t", &a, bob, true, &q, &err), &err);
    assert_int_equal(image(f, &a).untagged, 1000); /* a dry run */
    ok(attach(f, "alice/x:t", &a, bob, false, &q, &err), &err);
    ok(attach(f, "alice/x:again", &a, alice, false, &q, &err), &err);
    /* An upload can be asked for, and is counted as the user's from then on. */
    int64_t upload = add(f, &b, 100);
    assert_int_equal(attach(f, "alice/x:b", &b, alice, false, &q, &err), -1);
    assert_int_equal(err.code, GV_E_BUSY);
    ok(attach(f, "alice/x:b", &b, alice, true, &q, &err), &err);
    ok(model_upload_reserve(f->db, upload, 0, 250, &err), &err);
    publish(f, &c, 1000);
    assert_int_equal(attach(f, "alice/x:c", &c, alice, false, &q, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    ok(model_publish(f->db, upload, &b.d, 3000, &err), &err);
    ok(attach(f, "alice/x:b", &b, alice, false, &q, &err), &err);
    const struct quotas few = { .bytes = 10000, .images = 2 };
    assert_int_equal(attach(f, "alice/x:c", &c, alice, false, &few, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    ok(serve_admin_tag_remove(f->admin, "alice/x:b", &err), &err);
    ok(attach(f, "alice/x:c", &c, alice, false, &few, &err), &err);
}

static void test_reservations(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct fake a, b, c;
    make(&a, 1, 100);
    make(&b, 2, 100);
    make(&c, 3, 51);
    int64_t first = add(f, &a, 100), second = add(f, &b, 100), third = add(f, &c, 100);
    ok(model_upload_reserve(f->db, first, 250, 0, &err), &err);
    ok(model_upload_reserve(f->db, first, 0, 0, &err), &err); /* it has it */
    ok(model_upload_reserve(f->db, second, 250, 0, &err), &err);
    assert_int_equal(model_upload_reserve(f->db, third, 250, 0, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    ok(model_publish(f->db, second, &b.d, 1000, &err), &err);
    assert_int_equal(model_upload_reserve(f->db, third, 250, 0, &err), -1);
    ok(model_upload_remove(f->db, first, &err), &err);
    ok(model_upload_reserve(f->db, third, 250, 0, &err), &err);
    ok(model_upload_reserve(f->db, first, 250, 0, &err), &err); /* gone: not an error, there is nothing to be stored */
}

/* A descriptor that comes while the last chunk makes the image: it must not begin an upload beside the image. */
static void test_published_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct upload_row row;
    struct fake a;
    make(&a, 1, 100);
    publish(f, &a, 1000);
    assert_int_equal(model_upload_add(f->db, &a.d, a.bytes, sizeof(a.bytes), 0, 1000, 100, &err), 1);
    assert_int_equal(model_upload_find(f->db, a.d.id, &row, NULL, &err), 0);
    /* whose file has been lost comes again */
    assert_int_equal(model_upload_add(f->db, &a.d, a.bytes, sizeof(a.bytes), image(f, &a).id, 1000, 100, &err), 0);
    assert_int_equal(model_upload_find(f->db, a.d.id, &row, NULL, &err), 1);
}

struct racer {
    const char *dir;
    int64_t upload;
    int result;
    struct gv_error err;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    struct db *db = NULL;
    r->result = db_open(&db, r->dir, &r->err);
    if (r->result == 0) {
        r->result = model_upload_reserve(db, r->upload, 100, 0, &r->err);
        db_close(db);
    }
    return NULL;
}

/* Chunks that arrive at once all want the room of their upload, which is taken once. */
static void test_reserved_once(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    for (unsigned char round = 1; round <= 20; round++) {
        struct fake a;
        struct racer racers[4];
        pthread_t threads[4];
        make(&a, round, 100);
        int64_t upload = add(f, &a, 100);
        for (int i = 0; i < 4; i++) {
            racers[i] = (struct racer){ .dir = f->dir, .upload = upload };
            assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
        }
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        for (int i = 0; i < 4; i++)
            ok(racers[i].result, &racers[i].err);
        ok(model_upload_remove(f->db, upload, &err), &err);
    }
}

static void test_usage(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct fake a, b;
    int64_t n = 0;
    make(&a, 1, 100);
    make(&b, 2, 100);
    publish(f, &a, 1000);
    publish(f, &b, 1000);
    struct usage *u = usage_new();
    for (int i = 0; i < 1000; i++) {
        usage_note(u, image(f, &a).id, false);
        usage_note(u, image(f, &b).id, i % 2);
    }
    usage_note(u, 12345, true);
    ok(usage_flush(u, f->db, &err), &err);
    ok(usage_flush(u, f->db, &err), &err);
    usage_free(u);
    assert_int_equal(db_number(f->db, &n, &err, "SELECT uses FROM image WHERE hash = ?", "b", a.d.hash, sizeof(a.d.hash)), 1);
    assert_int_equal(n, 1000);
    assert_int_equal(db_number(f->db, &n, &err, "SELECT downloads FROM image WHERE hash = ?", "b", b.d.hash, sizeof(b.d.hash)), 1);
    assert_int_equal(n, 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_evicted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_uploads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_accounts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tags_keep_images, setup, teardown),
        cmocka_unit_test_setup_teardown(test_repositories, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attach, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reservations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_published_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_usage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reserved_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
