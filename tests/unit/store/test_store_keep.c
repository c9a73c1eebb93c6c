/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names, lists, and what goes. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "place.h"

/* An image whose content is its number; `age` in seconds. */
static void add(struct place *p, unsigned number, size_t size, time_t age, char hash[GV_SHA3_224_HEX])
{
    cleanup_free unsigned char *data = gv_calloc(size, 1);
    memcpy(data, &number, sizeof(number));
    hash_of(data, size, hash);
    cleanup_free char *path = place_file(p, hash, "gvmi");
    place_write(path, data, size);
    const struct timespec times[2] = { { .tv_sec = time(NULL) - age }, { .tv_sec = time(NULL) - age } };
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void names(void **state)
{
    struct place *p = *state;
    char hash[GV_SHA3_224_HEX], other[GV_SHA3_224_HEX], found[GV_SHA3_224_HEX];
    add(p, 1, 100, 0, hash);
    add(p, 2, 100, 0, other);
    assert_false(store_name_lookup(p->store, "https://one", "a/b:c", found));
    assert_int_equal(store_name_set(p->store, "https://one", "a/b:c", hash, NULL), 0);
    assert_int_equal(store_name_set(p->store, "http://127.0.0.1:1", "a/b:c", other, NULL), 0);
    assert_true(store_name_lookup(p->store, "https://one", "a/b:c", found));
    assert_string_equal(found, hash);
    assert_true(store_name_lookup(p->store, "http://127.0.0.1:1", "a/b:c", found));
    assert_string_equal(found, other);
    assert_int_equal(store_name_set(p->store, "https://one", "a/b:c", other, NULL), 0);
    assert_int_equal(store_name_set(p->store, "https://one", "a/b:d", hash, NULL), 0);
    cleanup_store_list struct store_list list = { 0 };
    assert_int_equal(store_list(p->store, &list, NULL), 0);
    assert_int_equal(list.count, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(list.entries[i].names.count, strcmp(list.entries[i].hash, hash) == 0 ? 1 : 2);
    assert_int_equal(store_remove(p->store, other, NULL), 0);
    assert_false(store_name_lookup(p->store, "https://one", "a/b:c", found));
    assert_true(store_name_lookup(p->store, "https://one", "a/b:d", found));
}

static void expand(void **state)
{
    struct place *p = *state;
    char hash[GV_SHA3_224_HEX], found[GV_SHA3_224_HEX];
    struct gv_error err = GV_ERROR_INIT;
    add(p, 1, 100, 0, hash);
    char prefix[9] = { 0 };
    memcpy(prefix, hash, 8);
    assert_int_equal(store_expand(p->store, prefix, found, NULL), 0);
    assert_string_equal(found, hash);
    assert_int_equal(store_expand(p->store, hash, found, NULL), 0);
    prefix[5] = '\0';
    assert_int_equal(store_expand(p->store, prefix, found, &err), -1);
    assert_int_equal(store_expand(p->store, "zzzzzzzz", found, &err), -1);
    assert_int_equal(store_expand(p->store, "../../..", found, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    char twin[GV_SHA3_224_HEX];
    memcpy(twin, hash, sizeof(twin));
    twin[55] = twin[55] == '0' ? '1' : '0';
    cleanup_free char *path = place_file(p, twin, "part");
    place_write(path, "x", 1);
    memcpy(prefix, hash, 8);
    assert_int_equal(store_expand(p->store, prefix, found, &err), -1);
    assert_int_equal(err.code, GV_E_USAGE);
}

static void prune(void **state)
{
    struct place *p = *state;
    char old[GV_SHA3_224_HEX], used[GV_SHA3_224_HEX], young[GV_SHA3_224_HEX], future[GV_SHA3_224_HEX];
    add(p, 1, 100, 3000, old);
    add(p, 2, 100, 2000, used);
    add(p, 3, 100, 1000, young);
    add(p, 4, 100, -1000000, future);
    cleanup_store_image struct store_image image = STORE_IMAGE_INIT;
    assert_int_equal(store_use(p->store, used, &image, NULL), 0);
    const struct timespec times[2] = { { .tv_sec = time(NULL) - 5000 }, { .tv_sec = time(NULL) - 5000 } };
    assert_int_equal(utimensat(AT_FDCWD, image.path, times, 0), 0);
    assert_int_equal(store_prune(p->store, 250, NULL, NULL, NULL), 0);
    assert_false(place_has(p, old, "gvmi"));
    assert_true(place_has(p, used, "gvmi"));
    assert_false(place_has(p, young, "gvmi"));
    assert_true(place_has(p, future, "gvmi"));
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(store_remove(p->store, used, &err), -1);
    assert_int_equal(err.code, GV_E_BUSY);
    store_image_clear(&image);
    assert_int_equal(store_prune(p->store, 100, NULL, NULL, NULL), 0);
    assert_false(place_has(p, used, "gvmi"));
    assert_true(place_has(p, future, "gvmi"));
}

static void strangers(void **state)
{
    struct place *p = *state;
    cleanup_free char *note = gv_asprintf("%s/images/note.txt", p->dir), *link = place_file(p, "a", "gvmi");
    char hash[GV_SHA3_224_HEX];
    hash_of("x", 1, hash);
    cleanup_free char *pointer = place_file(p, hash, "gvmi");
    place_write(note, "x", 1);
    place_write(link, "x", 1);
    assert_int_equal(symlink("/etc/passwd", pointer), 0);
    cleanup_store_list struct store_list list = { 0 };
    assert_int_equal(store_list(p->store, &list, NULL), 0);
    assert_int_equal(list.count, 0);
    assert_int_equal(store_prune(p->store, 0, NULL, NULL, NULL), 0);
    assert_true(place_has(p, "a", "gvmi"));
    struct stat st;
    assert_int_equal(stat("/etc/passwd", &st), 0);
    assert_int_equal(stat(note, &st), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names, make_place, remove_place),
        cmocka_unit_test_setup_teardown(expand, make_place, remove_place),
        cmocka_unit_test_setup_teardown(prune, make_place, remove_place),
        cmocka_unit_test_setup_teardown(strangers, make_place, remove_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
