/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Downloads: of servers that stall and lie, in several threads, with what earlier ones have left. tests/e2e/store.bats has the rest. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "place.h"

#define SIZE ((size_t)3 << 20)

static unsigned char content[SIZE];
static char hash[GV_SHA3_224_HEX];

enum fault { NONE, STALL, CHANGES, FOREVER_SHORT };

struct script {
    enum fault fault;
    const char *headers;
    atomic_uint calls;
};

static void serve(void *user, struct call *c)
{
    struct script *t = user;
    if (strstr(c->path, ".chunks")) {
        call_text(c, 404, NULL, "there are no chunk maps here");
        return;
    }
    unsigned call = atomic_fetch_add(&t->calls, 1);
    if (t->fault == STALL && call == 0) {
        call_print(c, "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: %zu\r\n\r\n", SIZE);
        call_raw(c, content, SIZE / 2);
        sleep_ms(2500);
        c->hang_up = true;
    } else if (t->fault == CHANGES && call == 0) {
        call_print(c, "HTTP/1.1 200 OK\r\nETag: \"%u\"\r\nContent-Length: %zu\r\n\r\n", call, SIZE);
        call_raw(c, content + 1, SIZE / 2);
        c->hang_up = true;
    } else if (t->fault == FOREVER_SHORT) {
        call_print(c, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", SIZE);
        call_raw(c, content, 1000);
        c->hang_up = true;
    } else {
        call_file(c, t->headers ? t->headers : "ETag: \"1\"\r\n", content, SIZE);
    }
}

static int fetch(struct place *p, const char *url, const char *wanted, uint64_t size, struct gv_error *err)
{
    cleanup_registry_image struct registry_image want = { .size = size };
    cleanup_store_image struct store_image image = STORE_IMAGE_INIT;
    memcpy(want.hash, wanted, sizeof(want.hash));
    gv_strv_add(&want.urls, url);
    int status = store_fetch(p->store, &want, &image, err);
    if (status == 0) {
        cleanup_buf struct gv_buf data = { 0 };
        assert_int_equal(gv_read_file(image.path, SIZE + 1, &data, NULL), 0);
        assert_int_equal(data.len, SIZE);
        assert_memory_equal(data.data, content, SIZE);
    }
    return status;
}

static void assert_clean(const struct place *p)
{
    assert_true(place_has(p, hash, "gvmi"));
    assert_false(place_has(p, hash, "part"));
    assert_false(place_has(p, hash, "state"));
}

static void stalled(void **state)
{
    struct place *p = *state;
    struct script t = { .fault = STALL };
    struct server *s = server_start(serve, &t);
    cleanup_free char *url = server_url(s, "/x");
    assert_int_equal(fetch(p, url, hash, HTTP_SIZE_UNKNOWN, NULL), 0);
    assert_int_equal(t.calls, 2);
    server_stop(s);
    assert_clean(p);
}

static void changing(void **state)
{
    struct place *p = *state;
    struct script t = { .fault = CHANGES };
    struct server *s = server_start(serve, &t);
    cleanup_free char *url = server_url(s, "/x");
    assert_int_equal(fetch(p, url, hash, HTTP_SIZE_UNKNOWN, NULL), 0);
    server_stop(s);
    assert_clean(p);
}

static void wrong_sizes(void **state)
{
    struct place *p = *state;
    struct script t = { 0 };
    struct server *s = server_start(serve, &t);
    cleanup_free char *url = server_url(s, "/x");
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(fetch(p, url, hash, SIZE - 1, &err), -1);
    assert_int_equal(err.code, GV_E_CORRUPT);
    assert_false(place_has(p, hash, "gvmi"));
    assert_int_equal(fetch(p, url, hash, SIZE, &err), 0);
    server_stop(s);
    assert_clean(p);
}

static void never_whole(void **state)
{
    struct place *p = *state;
    struct script t = { .fault = FOREVER_SHORT };
    struct server *s = server_start(serve, &t);
    cleanup_free char *url = server_url(s, "/x");
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(fetch(p, url, hash, HTTP_SIZE_UNKNOWN, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    assert_int_equal(t.calls, 3);
    assert_false(place_has(p, hash, "gvmi"));
    server_stop(s);
}

/* All bytes had arrived, and the process died before it could say so. */
static void whole_part(void **state)
{
    struct place *p = *state;
    struct script t = { 0 };
    struct server *s = server_start(serve, &t);
    cleanup_free char *url = server_url(s, "/x"), *part = place_file(p, hash, "part"), *file = place_file(p, hash, "state"),
                      *text = gv_asprintf("{\"url\":\"%s\",\"version\":\"\\\"1\\\"\"}", url);
    place_write(part, content, SIZE);
    place_write(file, text, strlen(text));
    assert_int_equal(fetch(p, url, hash, SIZE, NULL), 0);
    assert_int_equal(t.calls, 0);
    assert_clean(p);
    assert_int_equal(store_remove(p->store, hash, NULL), 0);
    /* The same without knowing the size: the server says that there is no more. */
    place_write(part, content, SIZE);
    place_write(file, text, strlen(text));
    assert_int_equal(fetch(p, url, hash, HTTP_SIZE_UNKNOWN, NULL), 0);
    assert_clean(p);
    assert_int_equal(store_remove(p->store, hash, NULL), 0);
    /* And one of garbage, and one that is too long. */
    content[0] ^= 1;
    place_write(part, content, SIZE);
    content[0] ^= 1;
    place_write(file, text, strlen(text));
    assert_int_equal(fetch(p, url, hash, SIZE, NULL), 0);
    assert_clean(p);
    assert_int_equal(store_remove(p->store, hash, NULL), 0);
    cleanup_free unsigned char *more = gv_calloc(SIZE + 100, 1);
    place_write(part, more, SIZE + 100);
    place_write(file, text, strlen(text));
    assert_int_equal(fetch(p, url, hash, HTTP_SIZE_UNKNOWN, NULL), 0);
    assert_clean(p);
    server_stop(s);
}

static void odd_states(void **state)
{
    struct place *p = *state;
    static const char *const texts[] = { "", "{", "[]", "{\"url\":1,\"version\":2}", "{\"url\":\"x\",\"version\":\"\"}", "null" };
    struct script t = { 0 };
    struct server *s = server_start(serve, &t);
    cleanup_free char *url = server_url(s, "/x"), *part = place_file(p, hash, "part"), *file = place_file(p, hash, "state");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        place_write(part, "garbage", 7);
        place_write(file, texts[i], strlen(texts[i]));
        assert_int_equal(fetch(p, url, hash, HTTP_SIZE_UNKNOWN, NULL), 0);
        assert_clean(p);
        assert_int_equal(store_remove(p->store, hash, NULL), 0);
    }
    server_stop(s);
}

struct racer {
    struct place *place;
    const char *url;
    int status;
};

static void *race(void *user)
{
    struct racer *r = user;
    struct image_store *store = NULL;
    const struct store_options o = { .dir = r->place->dir, .wait_ms = 1 };
    if (store_open(&store, &o, NULL) < 0)
        return NULL;
    struct place own = { .dir = r->place->dir, .store = store };
    r->status = fetch(&own, r->url, hash, HTTP_SIZE_UNKNOWN, NULL);
    store_close(store);
    return NULL;
}

static void several_at_once(void **state)
{
    struct place *p = *state;
    struct script t = { 0 };
    struct server *s = server_start(serve, &t);
    cleanup_free char *url = server_url(s, "/x");
    struct racer racers[6];
    pthread_t threads[6];
    for (size_t i = 0; i < 6; i++) {
        racers[i] = (struct racer){ .place = p, .url = url, .status = -1 };
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (size_t i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(racers[i].status, 0);
    }
    assert_int_equal(t.calls, 1);
    server_stop(s);
    assert_clean(p);
}

static void own_files(void **state)
{
    struct place *p = *state;
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_int_equal(fwrite(content, 1, SIZE, f), SIZE);
    assert_int_equal(fflush(f), 0);
    struct gv_error err = GV_ERROR_INIT;
    char other[GV_SHA3_224_HEX];
    hash_of("", 0, other);
    assert_int_equal(store_add_file(p->store, fileno(f), other, &err), -1);
    assert_int_equal(err.code, GV_E_CORRUPT);
    assert_false(place_has(p, other, "gvmi"));
    assert_false(place_has(p, other, "part"));
    assert_int_equal(store_add_file(p->store, fileno(f), hash, NULL), 0);
    assert_int_equal(store_add_file(p->store, fileno(f), hash, NULL), 0);
    fclose(f);
    assert_clean(p);
}

int main(void)
{
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (unsigned char)(i * 2654435761U >> 13);
    memcpy(content, "hsqs", 4);
    hash_of(content, SIZE, hash);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stalled, make_place, remove_place),
        cmocka_unit_test_setup_teardown(changing, make_place, remove_place),
        cmocka_unit_test_setup_teardown(wrong_sizes, make_place, remove_place),
        cmocka_unit_test_setup_teardown(never_whole, make_place, remove_place),
        cmocka_unit_test_setup_teardown(whole_part, make_place, remove_place),
        cmocka_unit_test_setup_teardown(odd_states, make_place, remove_place),
        cmocka_unit_test_setup_teardown(several_at_once, make_place, remove_place),
        cmocka_unit_test_setup_teardown(own_files, make_place, remove_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
