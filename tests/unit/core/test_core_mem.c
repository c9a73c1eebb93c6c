/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory: arenas, lists, buffers, and what happens when sizes cannot be. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "core/core.h"

static void test_strings(void **state)
{
    (void)state;
    cleanup_free char *a = gv_strdup("abc"), *b = gv_strndup("abcdef", 3), *c = gv_strndup("ab", 100), *d = gv_asprintf("%s-%d", "x", 5);
    cleanup_free char *e = gv_strdup(""), *f = gv_strndup("abc", 0);
    cleanup_free void *none = gv_memdup(NULL, 0), *zero = gv_alloc(0), *zeros = gv_calloc(0, 16);
    assert_string_equal(a, "abc");
    assert_string_equal(b, "abc");
    assert_string_equal(c, "ab");
    assert_string_equal(d, "x-5");
    assert_string_equal(e, "");
    assert_string_equal(f, "");
    assert_non_null(none);
    assert_non_null(zero);
    assert_non_null(zeros);
}

static void test_strndup_does_not_read_past_its_limit(void **state)
{
    (void)state;
    cleanup_free char *exact = gv_memdup("abcd", 4); /* no final NUL: ASan sees a read past the end */
    cleanup_free char *copy = gv_strndup(exact, 4);
    assert_string_equal(copy, "abcd");
}

/* Runs fn in a child, without its core dump and its words, and returns how the child ended. */
static int ending_of(void (*fn)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        fn();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void too_many_elements(void)
{
    volatile size_t n = SIZE_MAX / 4 + 1;
    free(gv_reallocarray(NULL, n, 8));
}

static void buffer_overflow(void)
{
    struct gv_buf b = { 0 };
    gv_buf_add(&b, "x", 1);
    volatile size_t n = SIZE_MAX;
    gv_buf_reserve(&b, n);
}

static void arena_overflow(void)
{
    struct gv_arena *a = gv_arena_new();
    volatile size_t n = SIZE_MAX - 4;
    (void)*(volatile char *)gv_arena_alloc(a, n);
}

static void test_impossible_sizes_abort(void **state)
{
    (void)state;
    void (*const cases[])(void) = { too_many_elements, buffer_overflow, arena_overflow };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int status = ending_of(cases[i]);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
    }
}

static void test_arena(void **state)
{
    (void)state;
    struct gv_arena *a = gv_arena_new();
    assert_int_equal(gv_arena_size(a), 0);
    enum { N = 20000 };
    static char *names[N];
    static uint64_t *numbers[N];
    for (size_t i = 0; i < N; i++) {
        char text[32];
        int n = snprintf(text, sizeof(text), "name %zu", i);
        names[i] = gv_arena_strndup(a, text, (size_t)n);
        numbers[i] = gv_arena_alloc(a, sizeof(uint64_t));
        assert_int_equal((uintptr_t)numbers[i] % _Alignof(uint64_t), 0);
        *numbers[i] = i;
    }
    /* larger than any chunk, and the small ones go on afterwards */
    enum { BIG = 3 << 20 };
    unsigned char *big = gv_arena_alloc(a, BIG);
    memset(big, 0xa5, BIG);
    uint64_t *after = gv_arena_alloc(a, 8);
    *after = 1;
    for (size_t i = 0; i < N; i++) {
        char text[32];
        snprintf(text, sizeof(text), "name %zu", i);
        assert_string_equal(names[i], text);
        assert_int_equal(*numbers[i], i);
    }
    assert_int_equal(big[0], 0xa5);
    assert_int_equal(big[BIG - 1], 0xa5);
    assert_true(gv_arena_size(a) > BIG);
    assert_true(gv_arena_size(a) < BIG + (4 << 20));
    assert_string_equal(gv_arena_strndup(a, "abcdef", 3), "abc");
    assert_string_equal(gv_arena_strndup(a, "", 0), "");
    gv_arena_free(a);
    gv_arena_free(NULL);
}

static void test_strv(void **state)
{
    (void)state;
    cleanup_strv struct gv_strv v = { 0 }, w = { 0 };
    gv_strv_copy(&w, &v);
    assert_int_equal(w.count, 0);
    gv_strv_add(&v, "a");
    gv_strv_take(&v, gv_strdup("b"));
    assert_int_equal(v.count, 2);
    assert_string_equal(v.items[0], "a");
    assert_string_equal(v.items[1], "b");
    assert_null(v.items[2]);
    gv_strv_copy(&w, &v);
    gv_strv_copy(&w, &v);
    assert_int_equal(w.count, 4);
    assert_string_equal(w.items[3], "b");
    assert_ptr_not_equal(w.items[0], v.items[0]);
    gv_strv_clear(&v);
    assert_int_equal(v.count, 0);
    assert_null(v.items);
}

static void test_buf(void **state)
{
    (void)state;
    cleanup_buf struct gv_buf b = { 0 };
    assert_string_equal(gv_buf_str(&b), "");
    gv_buf_add(&b, NULL, 0);
    gv_buf_add(&b, "hello", 5);
    gv_buf_addf(&b, " %s %d", "world", 42);
    gv_buf_addf(&b, "%s", "");
    assert_int_equal(b.len, 14);
    assert_string_equal(gv_buf_str(&b), "hello world 42");
    assert_int_equal(b.len, 14);
    gv_buf_drop(&b, 6);
    assert_string_equal(gv_buf_str(&b), "world 42");
    gv_buf_drop(&b, 0);
    assert_int_equal(b.len, 8);
    gv_buf_drop(&b, 1000);
    assert_int_equal(b.len, 0);
    cleanup_free char *large = gv_alloc(100001);
    memset(large, 'z', 100000);
    large[100000] = '\0';
    gv_buf_addf(&b, "%s", large);
    assert_int_equal(b.len, 100000);
    assert_true(b.cap > b.len && b.cap <= 4 * b.len);
    assert_string_equal(gv_buf_str(&b), large);
}

static void test_steal(void **state)
{
    (void)state;
    char *kept;
    {
        cleanup_free char *p = gv_strdup("kept");
        kept = steal_ptr(p);
        assert_null(p);
    }
    assert_string_equal(kept, "kept");
    free(kept);
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    {
        cleanup_close int r = fds[0], w = fds[1];
        fds[1] = steal_fd(&w);
        assert_int_equal(w, -1);
        assert_int_equal(r, fds[0]);
    }
    assert_int_equal(close(fds[0]), -1); /* closed by its scope */
    assert_int_equal(close(fds[1]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_strndup_does_not_read_past_its_limit),
        cmocka_unit_test(test_impossible_sizes_abort),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_strv),
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_steal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
