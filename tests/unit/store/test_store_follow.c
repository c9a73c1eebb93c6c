/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The hash of a file while it is written: read again, from buffers, and both in turn. */
#include <stdio.h>
#include <unistd.h>

#include "place.h"
#include "store/inside.h"

#define SIZE ((size_t)5 << 20)

struct growing {
    FILE *file;
    int fd;
    unsigned char *data;
    char hash[GV_SHA3_224_HEX];
    struct store_follow *follow;
};

static int start(void **state)
{
    struct growing *g = gv_new(struct growing);
    g->file = tmpfile();
    assert_non_null(g->file);
    g->fd = fileno(g->file);
    g->data = gv_alloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        g->data[i] = (unsigned char)(i * 2654435761U >> 13);
    hash_of(g->data, SIZE, g->hash);
    assert_int_equal(store_follow_start(&g->follow, g->fd, NULL), 0);
    *state = g;
    return 0;
}

static int end(void **state)
{
    struct growing *g = *state;
    store_follow_free(g->follow);
    fclose(g->file);
    free(g->data);
    free(g);
    return 0;
}

/* To be read again. */
static void add_written(struct growing *g, size_t from, size_t to)
{
    assert_int_equal(gv_pwrite_full(g->fd, g->data + from, to - from, from), 0);
    store_follow_have(g->follow, to);
}

/* Only in the buffers, so that they are what is hashed. */
static void add_buffered(struct growing *g, size_t from, size_t to, size_t piece)
{
    for (size_t n; from < to; from += n) {
        n = to - from < piece ? to - from : piece;
        memcpy(store_follow_buffer(g->follow), g->data + from, n);
        store_follow_filled(g->follow, from, n);
    }
}

static void finishes(struct growing *g)
{
    char hash[GV_SHA3_224_HEX];
    assert_int_equal(store_follow_finish(g->follow, SIZE, hash, NULL), 0);
    assert_string_equal(hash, g->hash);
}

static void written(void **state)
{
    struct growing *g = *state;
    for (size_t at = 0, n; at < SIZE; at += n) {
        n = SIZE - at < 99991 ? SIZE - at : 99991;
        add_written(g, at, at + n);
    }
    finishes(g);
}

static void buffered(void **state)
{
    add_buffered(*state, 0, SIZE, STORE_PIECE);
    finishes(*state);
}

static void in_turn(void **state)
{
    struct growing *g = *state;
    add_written(g, 0, 2000001);
    add_buffered(g, 2000001, 3000000, 77777);
    add_written(g, 3000000, 3000001);
    add_buffered(g, 3000001, 3000002, 1);
    add_written(g, 3000002, 4000000);
    add_buffered(g, 4000000, SIZE, STORE_PIECE);
    finishes(g);
}

static void starts_over(void **state)
{
    struct growing *g = *state;
    add_written(g, 1000, 3000000); /* after a hole */
    store_follow_reset(g->follow);
    add_written(g, 0, 10000);
    add_buffered(g, 10000, 3000000, STORE_PIECE);
    add_written(g, 3000000, SIZE);
    finishes(g);
}

/* Nobody waits for a file that has become shorter. */
static void cut_off(void **state)
{
    struct growing *g = *state;
    char hash[GV_SHA3_224_HEX];
    store_follow_have(g->follow, 1000000); /* which is not there */
    add_buffered(g, 1000000, SIZE, STORE_PIECE);
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(store_follow_finish(g->follow, SIZE, hash, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(written, start, end), cmocka_unit_test_setup_teardown(buffered, start, end),
        cmocka_unit_test_setup_teardown(in_turn, start, end), cmocka_unit_test_setup_teardown(starts_over, start, end),
        cmocka_unit_test_setup_teardown(cut_off, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
