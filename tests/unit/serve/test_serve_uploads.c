/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store of chunks: order, repetition, what a restart finds, and uploads that are not what they say. */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"
#include "serve/model.h"
#include "serve/uploads.h"

struct fixture {
    char *dir;
    struct disk disk;
    struct db *db;
    struct uploads *all;
    struct gv_buf image, descriptor;
    struct descriptor d;
};

static void ok(int result, const struct gv_error *err)
{
    if (result < 0)
        fail_msg("%s", err->msg);
}

static void open_all(struct fixture *f)
{
    struct gv_error err = GV_ERROR_INIT;
    ok(disk_open(&f->disk, f->dir, &err), &err);
    ok(db_open(&f->db, f->dir, &err), &err);
    f->all = uploads_new(&f->disk);
    ok(uploads_sweep(f->all, f->db, &err), &err);
}

static void close_all(struct fixture *f)
{
    uploads_free(f->all);
    db_close(f->db);
    disk_close(&f->disk);
}

static void put64(struct gv_buf *b, uint64_t v)
{
    for (int i = 7; i >= 0; i--) {
        unsigned char byte = (unsigned char)(v >> (8 * i));
        gv_buf_add(b, &byte, 1);
    }
}

/* The descriptor of f->image, which says that the image has the hash of what is at `whole`. */
static void describe(struct fixture *f, uint64_t chunk, const void *whole, size_t n)
{
    struct gv_error err = GV_ERROR_INIT;
    unsigned char digest[GV_HASH_MAX];
    gv_buf_clear(&f->descriptor);
    put64(&f->descriptor, 0x333333334);
    put64(&f->descriptor, f->image.len);
    put64(&f->descriptor, chunk);
    gv_hash_bytes(GV_HASH_SHA3_224, whole, n, digest);
    gv_buf_add(&f->descriptor, digest, GV_SHA3_224_SIZE);
    for (size_t at = 0; at < f->image.len; at += chunk) {
        gv_hash_bytes(GV_HASH_SHA256, f->image.data + at, f->image.len - at < chunk ? f->image.len - at : chunk, digest);
        gv_buf_add(&f->descriptor, digest, GV_SHA256_SIZE);
    }
    ok(descriptor_parse(f->descriptor.data, f->descriptor.len, &f->d, &err), &err);
    struct image_row lost = { 0 };
    assert_true(model_image_by_hash(f->db, f->d.hash, &lost, &err) >= 0);
    ok(model_upload_add(f->db, &f->d, f->descriptor.data, f->descriptor.len, lost.id, 1000, 100, &err), &err);
}

static int setup(void **state)
{
    struct fixture *f = gv_new(struct fixture);
    struct image_tree *t = tree_new();
    const struct image_config config = { 0 };
    f->dir = make_dir();
    tree_file(t, "data", FILL_RANDOM, 1, 50000);
    int fd = pack(t, &config, NULL, NULL);
    off_t size = lseek(fd, 0, SEEK_END);
    gv_buf_reserve(&f->image, (size_t)size);
    assert_int_equal(gv_pread_full(fd, f->image.data, (size_t)size, 0), size);
    f->image.len = (size_t)size;
    close(fd);
    image_tree_free(t);
    open_all(f);
    describe(f, 10000, f->image.data, f->image.len);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_all(f);
    gv_buf_clear(&f->image);
    gv_buf_clear(&f->descriptor);
    remove_dir(f->dir);
    free(f);
    return 0;
}

static struct upload *get(struct fixture *f)
{
    struct gv_error err = GV_ERROR_INIT;
    struct upload *u = NULL;
    assert_int_equal(uploads_get(f->all, f->db, f->d.id, &u, &err), 1);
    return u;
}

static int store(struct fixture *f, struct upload *u, uint32_t chunk, bool *published, struct gv_error *err)
{
    cleanup_close int fd = disk_scratch(&f->disk, err);
    assert_true(fd >= 0);
    assert_int_equal(gv_write_full(fd, f->image.data + 10000 * chunk, (size_t)descriptor_chunk_length(&f->d, chunk)), 0);
    return upload_store(f->all, u, f->db, chunk, fd, 1000, published, err);
}

static size_t files_in(struct fixture *f, const char *sub)
{
    cleanup_free char *path = gv_asprintf("%s/%s", f->dir, sub);
    DIR *d = opendir(path);
    size_t n = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void assert_published(struct fixture *f)
{
    struct gv_error err = GV_ERROR_INIT;
    struct image_row image;
    cleanup_free unsigned char *data = gv_alloc(f->image.len + 1);
    assert_int_equal(model_image_by_descriptor(f->db, f->d.id, &image, &err), 1);
    assert_int_equal(image.size, f->image.len);
    cleanup_close int fd = disk_open_file(&f->disk, image.hash, DISK_IMAGE, &err);
    assert_true(fd >= 0);
    assert_int_equal(gv_pread_full(fd, data, f->image.len + 1, 0), f->image.len);
    assert_memory_equal(data, f->image.data, f->image.len);
    assert_int_equal(files_in(f, "uploads"), 0);
}

static void test_any_order(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct upload *u = get(f);
    cleanup_buf struct gv_buf flags = { 0 };
    bool published = false;
    ok(store(f, u, 4, &published, &err), &err);
    ok(store(f, u, 0, &published, &err), &err);
    ok(store(f, u, 4, &published, &err), &err);
    assert_false(upload_flags(u, &flags));
    assert_string_equal(gv_buf_str(&flags), "100010");
    assert_true(upload_has(u, 4));
    assert_false(upload_has(u, 3));
    for (uint32_t i = 1; i < f->d.chunks; i++) {
        assert_false(published);
        ok(store(f, u, i, &published, &err), &err);
    }
    assert_true(published);
    assert_published(f);
    /* The last one twice, by two clients. */
    published = false;
    ok(store(f, u, 5, &published, &err), &err);
    assert_false(published);
    uploads_put(f->all, u);
    struct upload *again;
    assert_int_equal(uploads_get(f->all, f->db, f->d.id, &again, &err), 0);
}

static void test_restart(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    bool published = false;
    struct upload *u = get(f);
    for (uint32_t i = 0; i < 3; i++)
        ok(store(f, u, i, &published, &err), &err);
    uploads_put(f->all, u);
    close_all(f);
    open_all(f);
    u = get(f);
    cleanup_buf struct gv_buf flags = { 0 };
    upload_flags(u, &flags);
    assert_string_equal(gv_buf_str(&flags), "111000");
    for (uint32_t i = 3; i < 6; i++)
        ok(store(f, u, i, &published, &err), &err);
    assert_true(published);
    assert_published(f);
    uploads_put(f->all, u);
}

/* All chunks are there, and the server was killed before it made the image; or after it had linked the file. */
static void test_killed_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    for (int linked = 0; linked < 2; linked++) {
        bool published = false;
        describe(f, 10000, f->image.data, f->image.len);
        struct upload *u = get(f);
        cleanup_close int fd = disk_upload_open(&f->disk, f->d.id, &err);
        assert_int_equal(gv_pwrite_full(fd, f->image.data, f->image.len, 0), 0);
        for (uint32_t i = 0; i < 6; i++)
            ok(model_upload_store(f->db, upload_row(u), i, 1000, &err), &err);
        if (linked)
            ok(disk_publish(&f->disk, f->d.id, f->d.hash, &err), &err);
        uploads_put(f->all, u);
        close_all(f);
        open_all(f);
        u = get(f);
        cleanup_buf struct gv_buf flags = { 0 };
        assert_true(upload_flags(u, &flags));
        ok(upload_finish(f->all, u, f->db, 1000, &published, &err), &err);
        assert_true(published);
        assert_published(f);
        published = false;
        ok(upload_finish(f->all, u, f->db, 1000, &published, &err), &err);
        assert_false(published);
        uploads_put(f->all, u);
        ok(db_run(f->db, &err, "DELETE FROM image", ""), &err);
    }
}

/* A file that has been damaged under its name is replaced by the next upload of the image. */
static void test_heals(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    char hash[GV_SHA3_224_HEX];
    for (int i = 0; i < 2; i++) {
        bool published = false;
        describe(f, 10000, f->image.data, f->image.len);
        struct upload *u = get(f);
        for (uint32_t k = 0; k < 6; k++)
            ok(store(f, u, k, &published, &err), &err);
        uploads_put(f->all, u);
        assert_published(f);
        gv_hex(hash, f->d.hash, sizeof(f->d.hash));
        cleanup_free char *path = gv_asprintf("%s/images/%s.gvmi", f->dir, hash);
        assert_int_equal(truncate(path, 5), 0);
        assert_false(disk_has(&f->disk, f->d.hash, f->d.size));
    }
}

static void assert_thrown_away(struct fixture *f, enum gv_code code, const char *word)
{
    struct gv_error err = GV_ERROR_INIT;
    struct image_row image;
    struct upload *u = get(f), *again;
    bool published = false;
    int r = 0;
    for (uint32_t i = 0; i < f->d.chunks && r == 0; i++)
        r = store(f, u, i, &published, &err);
    assert_int_equal(r, -1);
    assert_false(published);
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.msg, word));
    gv_error_clear(&err);
    /* Who still has it is told so. */
    assert_int_equal(store(f, u, 0, &published, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    uploads_put(f->all, u);
    assert_int_equal(uploads_get(f->all, f->db, f->d.id, &again, &err), 0);
    assert_int_equal(model_image_by_hash(f->db, f->d.hash, &image, &err), 0);
    assert_int_equal(files_in(f, "uploads"), 0);
    assert_int_equal(files_in(f, "images"), 0);
}

static void test_lies(void **state)
{
    struct fixture *f = *state;
    describe(f, 10000, "something else", 14);
    assert_thrown_away(f, GV_E_CORRUPT, "SHA3-224");
    /* True, and no image. */
    f->image.data[0] ^= 1;
    describe(f, 10000, f->image.data, f->image.len);
    assert_thrown_away(f, GV_E_FORMAT, "thrown away");
}

static void test_expiry(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    bool published = false;
    uint64_t count = 0;
    struct upload *u = get(f), *again;
    ok(store(f, u, 0, &published, &err), &err);
    /* Not while somebody works on it, not before its time. */
    ok(uploads_expire(f->all, f->db, 5000, &count, &err), &err);
    assert_int_equal(count, 0);
    uploads_put(f->all, u);
    ok(uploads_expire(f->all, f->db, 999, &count, &err), &err);
    assert_int_equal(count, 0);
    assert_int_equal(files_in(f, "uploads"), 1);
    ok(uploads_expire(f->all, f->db, 1000, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(uploads_get(f->all, f->db, f->d.id, &again, &err), 0);
    assert_int_equal(files_in(f, "uploads"), 0);
}

static int nothing_known(void *user, const unsigned char *hash)
{
    (void)hash;
    ++*(int *)user;
    return 0;
}

static void test_sweeps(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    uint64_t removed = 0;
    int asked = 0;
    static const char *const names[] = { "README",
                                         ".hidden",
                                         "0123.gvmi",
                                         "72407bd5bb8da8b6d2b8983ef01dc8894e3703efb3849931156f07b1",
                                         "72407bd5bb8da8b6d2b8983ef01dc8894e3703efb3849931156f07b1.txt",
                                         "72407bd5bb8da8b6d2b8983ef01dc8894e3703efb3849931156f07bz.gvmi",
                                         "72407bd5bb8da8b6d2b8983ef01dc8894e3703efb3849931156f07b1.gvmi",
                                         "72407bd5bb8da8b6d2b8983ef01dc8894e3703efb3849931156f07b1.gvmi.new",
                                         "72407bd5bb8da8b6d2b8983ef01dc8894e3703efb3849931156f07b1.gvmi.chunks" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        cleanup_free char *path = gv_asprintf("%s/images/%s", f->dir, names[i]);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fclose(file);
    }
    ok(disk_sweep_images(&f->disk, nothing_known, &asked, &removed, &err), &err);
    assert_int_equal(asked, 3);
    assert_int_equal(removed, 3);
    assert_int_equal(files_in(f, "images"), 5); /* those of others are left, hidden ones too */
    /* An upload's file without an upload: what a killed server leaves. */
    unsigned char name[GV_SHA256_SIZE] = { 1 };
    close(disk_upload_open(&f->disk, name, &err));
    close(disk_upload_open(&f->disk, f->d.id, &err));
    ok(uploads_sweep(f->all, f->db, &err), &err);
    assert_int_equal(files_in(f, "uploads"), 1);
}

static void test_one_server(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct disk second;
    assert_int_equal(disk_open(&second, f->dir, &err), -1);
    assert_int_equal(err.code, GV_E_BUSY);
    disk_close(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_at_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_heals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expiry, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweeps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_server, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
