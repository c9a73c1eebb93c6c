/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From servers and to them: interrupted, changed meanwhile, refused, stalled, cancelled. */
#include "transfer_test.h"

#include <pthread.h>

#include "server.h"

#define SIZE ((size_t)3 << 20)

static unsigned char content[SIZE];

/* What the server has seen, and what it is to do wrong. */
struct server_state {
    enum { RIGHT, CUT_ONCE, CUT_ALWAYS, CHANGED, STALL } fault;
    int status; /* instead of everything */
    struct gv_buf put;
    unsigned puts;
    char authorization[64], type[64];
    atomic_bool release;
};

static void answer(void *user, struct call *c)
{
    struct server_state *s = user;
    const char *authorization = call_header(c, "Authorization");
    snprintf(s->authorization, sizeof(s->authorization), "%s", authorization ? authorization : "");
    if (s->status) {
        call_text(c, s->status, NULL, "<html>no</html>");
    } else if (!strcmp(c->method, "PUT")) {
        const char *length = call_header(c, "Content-Length");
        s->puts++;
        s->put.len = 0;
        gv_buf_add(&s->put, c->body, length ? strtoul(length, NULL, 10) : 0);
        call_text(c, 201, NULL, "");
    } else if (s->fault == RIGHT || ((s->fault == CUT_ONCE || s->fault == STALL) && c->number)) {
        call_file(c, "ETag: \"1\"\r\n", content, SIZE);
    } else if (s->fault == CHANGED && c->number) {
        call_print(c, "HTTP/1.1 200 OK\r\nETag: \"2\"\r\nContent-Length: 3\r\n\r\nnew");
    } else {
        call_print(c, "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: %zu\r\n\r\n", SIZE);
        call_raw(c, content, SIZE / 2);
        for (int i = 0; s->fault == STALL && i < 6000 && !atomic_load(&s->release); i++)
            sleep_ms(10);
        c->hang_up = true;
    }
}

static struct server_state server_state;
static struct server *server;

static int setup(void **state)
{
    server_state = (struct server_state){ 0 };
    server = server_start(answer, &server_state);
    return test_setup(state);
}

static int teardown(void **state)
{
    server_stop(server);
    gv_buf_clear(&server_state.put);
    return test_teardown(state);
}

static void assert_arrived(const char *name)
{
    cleanup_free char *path = test_path(name);
    cleanup_free unsigned char *got = gv_alloc(SIZE + 1);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(gv_pread_full(fd, got, SIZE + 1, 0), SIZE);
    assert_memory_equal(got, content, SIZE);
}

/* hash:sha3:HEX:URL, with a wrong digit if it is to be wrong. */
static char *hashed_url(const char *url, bool wrong)
{
    unsigned char digest[GV_HASH_MAX];
    char hex[2 * GV_HASH_MAX + 1];
    gv_hex(hex, digest, gv_hash_bytes(GV_HASH_SHA3_224, content, SIZE, digest));
    if (wrong)
        hex[5] = hex[5] == 'a' ? 'b' : 'a';
    return gv_asprintf("hash:sha3:%s:%s", hex, url);
}

static void told(void *user, uint64_t done, uint64_t total)
{
    uint64_t *last = user;
    assert_true(done <= SIZE);
    last[0] = done;
    last[1] = total;
}

static void downloads(void **state)
{
    (void)state;
    cleanup_free char *url = server_url(server, "/f"), *right = hashed_url(url, false), *wrong = hashed_url(url, true);
    uint64_t last[2] = { 0 };
    test_options.progress = told;
    test_options.user = last;
    test_transfer(url, "/data/a", NULL);
    assert_arrived("vol-1/a");
    assert_int_equal(last[0], SIZE);
    assert_int_equal(last[1], SIZE);
    test_transfer(right, "/data/b", NULL);
    assert_arrived("vol-1/b");
    test_text("vol-1/b", "before");
    test_refused(wrong, "/data/b", NULL, GV_E_CORRUPT, "another hash");
    assert_file("vol-1/b", "before");
    test_refused(wrong, "/data/new/c", NULL, GV_E_CORRUPT, "another hash");
    assert_false(test_exists("vol-1/new/c"));
    test_options.progress = NULL;
}

static void resumed(void **state)
{
    (void)state;
    cleanup_free char *url = server_url(server, "/f"), *right = hashed_url(url, false);
    server_state.fault = CUT_ONCE;
    test_transfer(right, "/data/a", NULL);
    assert_arrived("vol-1/a");
    assert_int_equal(server_calls(server), 2);
}

/* Another file at the same URL: nothing of the first one stays, and nothing of what is at the destination is taken for a part of it. */
static void changed(void **state)
{
    (void)state;
    cleanup_free char *url = server_url(server, "/f");
    server_state.fault = CHANGED;
    test_write("vol-1/a", content, SIZE / 2);
    test_transfer(url, "/data/a", NULL);
    assert_file("vol-1/a", "new");
}

static void lost(void **state)
{
    (void)state;
    cleanup_free char *url = server_url(server, "/f");
    server_state.fault = CUT_ALWAYS;
    test_text("vol-1/a", "before");
    test_refused(url, "/data/a", NULL, GV_E_IO, "lost");
    assert_file("vol-1/a", "before");
}

static void statuses(void **state)
{
    (void)state;
    cleanup_free char *url = server_url(server, "/f");
    server_state.status = 404;
    test_refused(url, "/data/a", NULL, GV_E_NOT_FOUND, "is not there");
    server_state.status = 403;
    test_refused(url, "/data/a", NULL, GV_E_IO, "does not allow");
    test_text("vol-1/a", "x");
    test_refused("/data/a", url, NULL, GV_E_IO, "does not allow");
    assert_file("vol-1/a", "x");
}

/* A connection that has gone silent is given up, and the rest comes by another one. */
static void stalled(void **state)
{
    (void)state;
    cleanup_free char *url = server_url(server, "/f");
    server_state.fault = STALL;
    test_options.stall_ms = 1000;
    test_transfer(url, "/data/a", NULL);
    atomic_store(&server_state.release, true);
    test_options.stall_ms = 0;
    assert_arrived("vol-1/a");
    assert_int_equal(server_calls(server), 2);
}

static void *cancel_soon(void *flag)
{
    sleep_ms(200);
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

static void cancelled(void **state)
{
    (void)state;
    cleanup_free char *url = server_url(server, "/f");
    atomic_bool flag = false;
    pthread_t thread;
    server_state.fault = STALL;
    test_options.cancelled = &flag;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &flag), 0);
    test_refused(url, "/data/a", NULL, GV_E_CANCELLED, "interrupted");
    pthread_join(thread, NULL);
    atomic_store(&server_state.release, true);
    test_options.cancelled = NULL;
    assert_false(test_exists("vol-1/a"));
}

static void uploads(void **state)
{
    (void)state;
    cleanup_free char *url = server_url(server, "/f"), *file = test_url("file");
    cleanup_free char *right = hashed_url("/data/a", false), *wrong = hashed_url("/data/a", true);
    test_write("vol-1/a", content, SIZE);
    test_transfer("/data/a", url, NULL);
    assert_int_equal(server_state.put.len, SIZE);
    assert_memory_equal(server_state.put.data, content, SIZE);
    test_transfer(right, url, NULL);
    assert_int_equal(server_state.puts, 2);
    /* The server never gets all of what has the wrong hash. */
    test_refused(wrong, url, NULL, GV_E_CORRUPT, "another hash");
    assert_int_equal(server_state.puts, 2);
    test_text("file", "");
    test_transfer(file, url, NULL);
    assert_int_equal(server_state.put.len, 0);
    assert_int_equal(server_state.puts, 3);
    /* From one server to the other. */
    test_transfer(url, url, NULL);
    assert_int_equal(server_state.put.len, SIZE);
}

static void users(void **state)
{
    (void)state;
    cleanup_free char *to = gv_asprintf("http://name:pass@127.0.0.1:%u/f", server_port(server));
    test_text("vol-1/a", "x");
    test_transfer("/data/a", to, NULL);
    assert_string_equal(server_state.authorization, "Basic bmFtZTpwYXNz");
    server_state.status = 404;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(transfer_run(&test_options, &(struct transfer_request){ .from = "/data/a", .to = to }, &err), -1);
    assert_null(strstr(err.msg, "pass"));
}

static void redirect(void *user, struct call *c)
{
    cleanup_free char *line = gv_asprintf("Location: %s\r\n", (const char *)user);
    call_text(c, 307, line, "");
}

/* What is sent goes along to where the server says, the password does not. */
static void redirected(void **state)
{
    (void)state;
    cleanup_free char *url = server_url(server, "/f");
    struct server *first = server_start(redirect, url);
    cleanup_free char *to = gv_asprintf("http://name:pass@127.0.0.1:%u/f", server_port(first));
    test_write("vol-1/a", content, SIZE);
    test_transfer("/data/a", to, NULL);
    server_stop(first);
    assert_int_equal(server_state.put.len, SIZE);
    assert_memory_equal(server_state.put.data, content, SIZE);
    assert_string_equal(server_state.authorization, "");
}

static void packed(void **state)
{
    (void)state;
    cleanup_free char *url = server_url(server, "/f"), *file = test_url("got.tar.gz");
    test_mkdir("vol-1/d");
    test_text("vol-1/d/f", "1");
    test_transfer("/data", url, "tar.gz");
    test_write("got.tar.gz", server_state.put.data, server_state.put.len);
    test_transfer(file, "/data/inner", "tar.gz");
    assert_file("vol-2/d/f", "1");
    /* What comes from a server is no archive: nothing is unpacked. */
    test_refused(url, "/data/x", "zip", GV_E_FORMAT, "archive");
}

int main(void)
{
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (unsigned char)(i * 2654435761U >> 13);
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = { TEST(downloads), TEST(resumed), TEST(changed), TEST(lost),       TEST(statuses), TEST(stalled),
                                        TEST(cancelled), TEST(uploads), TEST(users),   TEST(redirected), TEST(packed) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
