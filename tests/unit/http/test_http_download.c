/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files: interrupted and resumed, of servers that know ranges and of those that do not, that lie, that change what they have. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#include "http/http.h"
#include "server.h"

#define SIZE ((size_t)6 << 20)

static unsigned char content[SIZE];

struct script {
    const char *headers;
    size_t cut;        /* the connection is lost after so many bytes; 0 = never */
    unsigned cuts;     /* so many times */
    bool reset;        /* the hard way */
    bool no_ranges;    /* always everything */
    size_t size;       /* of the file; 0 = SIZE */
    int status;        /* instead of a file */
    const char *wrong; /* a Content-Range in place of the right one */
    bool chunked;      /* no Content-Length */
    bool endless;
    char range[8][64]; /* what was asked for */
    char if_range[8][64];
};

static void serve_file(void *user, struct call *c)
{
    struct script *t = user;
    size_t size = t->size ? t->size : SIZE;
    const char *range = call_header(c, "Range");
    if (c->number < 8) {
        snprintf(t->range[c->number], 64, "%s", range ? range : "");
        const char *if_range = call_header(c, "If-Range");
        snprintf(t->if_range[c->number], 64, "%s", if_range ? if_range : "");
    }
    range = call_header(c, "Range");
    size_t first = range && !t->no_ranges ? strtoul(range + strlen("bytes="), NULL, 10) : 0;
    if (t->status) {
        call_text(c, t->status, t->headers, "{\"errors\":[]}");
    } else if (t->wrong) {
        call_print(c, "HTTP/1.1 206 Partial\r\nContent-Length: 4\r\n%s\r\nabcd", t->wrong);
    } else if (t->endless) {
        call_print(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while (call_raw(c, content, 65536))
            ;
    } else if (t->cut && c->number < t->cuts) {
        call_print(c, "HTTP/1.1 %d Status\r\n%s", first ? 206 : 200, t->headers ? t->headers : "");
        if (first)
            call_print(c, "Content-Range: bytes %zu-%zu/%zu\r\n", first, size - 1, size);
        call_print(c, "Content-Length: %zu\r\n\r\n", size - first);
        call_raw(c, content + first, t->cut < size - first ? t->cut : size - first);
        if (t->reset)
            call_reset(c);
        c->hang_up = true;
    } else if (t->chunked) {
        call_print(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n", size);
        call_raw(c, content, size);
        call_print(c, "\r\n0\r\n\r\n");
    } else if (t->no_ranges) {
        call_reply(c, 200, t->headers, content, size);
    } else {
        call_file(c, t->headers, content, size);
    }
}

static int new_file(void)
{
    FILE *f = tmpfile();
    assert_non_null(f);
    int fd = dup(fileno(f));
    fclose(f);
    return fd;
}

static void assert_content(int fd, size_t size)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, size);
    cleanup_free unsigned char *got = gv_alloc(size + 1);
    assert_int_equal(gv_pread_full(fd, got, size, 0), size);
    assert_memory_equal(got, content, size);
}

static int get(struct script *t, struct http_file *f, struct http_response *r, unsigned *calls, struct gv_error *err)
{
    struct server *s = server_start(serve_file, t);
    CLEANUP(http_client) struct http_client *c = NULL;
    assert_int_equal(http_client_new(&c, &(struct http_options){ .wait_ms = 1 }, NULL), 0);
    cleanup_free char *url = server_url(s, "/file");
    int status = http_download(c, &(struct http_request){ .url = url }, f, r, err);
    *calls = server_calls(s);
    server_stop(s);
    return status;
}

static void count_progress(void *user, uint64_t have)
{
    *(uint64_t *)user = have;
}

static void whole(void **state)
{
    (void)state;
    static struct script scripts[] = { { 0 }, { .no_ranges = true }, { .chunked = true } };
    for (size_t i = 0; i < 6; i++) {
        cleanup_close int fd = new_file();
        uint64_t seen = 0;
        struct http_file f = {
            .fd = fd, .size = i < 3 ? SIZE : HTTP_SIZE_UNKNOWN, .by_content = true, .progress = count_progress, .user = &seen
        };
        cleanup_response struct http_response r = { 0 };
        unsigned calls;
        assert_int_equal(get(&scripts[i % 3], &f, &r, &calls, NULL), 0);
        assert_int_equal(r.status, 200);
        assert_int_equal(f.have, SIZE);
        assert_int_equal(f.size, SIZE);
        assert_int_equal(seen, SIZE);
        assert_int_equal(calls, 1);
        assert_content(fd, SIZE);
    }
}

/* More interruptions than attempts: each got ahead. */
static void interrupted(void **state)
{
    (void)state;
    for (int reset = 0; reset < 2; reset++) {
        cleanup_close int fd = new_file();
        struct script t = { .cut = 3 << 18, .cuts = reset ? 3 : 7, .reset = reset };
        struct http_file f = { .fd = fd, .size = SIZE, .by_content = true };
        cleanup_response struct http_response r = { 0 };
        unsigned calls;
        struct gv_error err = GV_ERROR_INIT;
        if (get(&t, &f, &r, &calls, &err) < 0)
            fail_msg("%s", err.msg);
        assert_content(fd, SIZE);
        assert_int_equal(calls, t.cuts + 1);
        assert_string_equal(t.range[0], "");
        if (!reset) /* a reset may take what was on its way */
            assert_string_equal(t.range[1], "bytes=786432-");
    }
}

static void without_ranges(void **state)
{
    (void)state;
    cleanup_close int fd = new_file();
    struct script t = { .cut = 2 << 20, .cuts = 2, .no_ranges = true };
    struct http_file f = { .fd = fd, .size = SIZE, .by_content = true };
    cleanup_response struct http_response r = { 0 };
    unsigned calls;
    assert_int_equal(get(&t, &f, &r, &calls, NULL), 0);
    assert_int_equal(calls, 3);
    assert_content(fd, SIZE);
    /* One that never gets further is given up. */
    struct script never = { .cut = 2 << 20, .cuts = 1000, .no_ranges = true };
    f = (struct http_file){ .fd = fd, .size = SIZE, .by_content = true };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(get(&never, &f, &r, &calls, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    assert_true(calls <= 12);
}

static void goes_on(void **state)
{
    (void)state;
    cleanup_close int fd = new_file();
    struct script t = { 0 };
    assert_int_equal(gv_pwrite_full(fd, content, 1000, 0), 0);
    struct http_file f = { .fd = fd, .have = 1000, .size = SIZE, .by_content = true };
    cleanup_response struct http_response r = { 0 };
    unsigned calls;
    assert_int_equal(get(&t, &f, &r, &calls, NULL), 0);
    assert_int_equal(r.status, 206);
    assert_string_equal(t.range[0], "bytes=1000-");
    assert_string_equal(t.if_range[0], "");
    assert_content(fd, SIZE);
    /* What is complete needs no server. */
    assert_int_equal(get(&t, &f, &r, &calls, NULL), 0);
    assert_true(http_ok(&r));
    assert_int_equal(calls, 0);
    /* Complete, but that is known only to the server. */
    f = (struct http_file){ .fd = fd, .have = SIZE, .size = HTTP_SIZE_UNKNOWN, .by_content = true };
    assert_int_equal(get(&t, &f, &r, &calls, NULL), 0);
    assert_int_equal(f.size, SIZE);
    assert_int_equal(calls, 1);
    /* More than the server has: a beginning of something else. */
    assert_int_equal(gv_pwrite_full(fd, "more", 4, SIZE), 0);
    f = (struct http_file){ .fd = fd, .have = SIZE + 4, .size = HTTP_SIZE_UNKNOWN, .by_content = true };
    assert_int_equal(get(&t, &f, &r, &calls, NULL), 0);
    assert_content(fd, SIZE);
}

static void entity_tags(void **state)
{
    (void)state;
    cleanup_close int fd = new_file();
    struct script t = { .headers = "ETag: \"v1\"\r\n", .cut = 3 << 20, .cuts = 1 };
    struct http_file f = { .fd = fd, .size = HTTP_SIZE_UNKNOWN };
    cleanup_response struct http_response r = { 0 };
    unsigned calls;
    assert_int_equal(get(&t, &f, &r, &calls, NULL), 0);
    assert_string_equal(f.etag, "\"v1\"");
    assert_string_equal(t.if_range[1], "\"v1\"");
    assert_content(fd, SIZE);
    /* A weak tag, or none, proves nothing: everything anew. */
    static const char *const headers[] = { "ETag: W/\"v1\"\r\n", NULL };
    for (size_t i = 0; i < 2; i++) {
        struct script weak = { .headers = headers[i], .cut = 3 << 20, .cuts = 1, .no_ranges = true };
        f = (struct http_file){ .fd = fd, .have = 100, .size = HTTP_SIZE_UNKNOWN };
        assert_int_equal(get(&weak, &f, &r, &calls, NULL), 0);
        assert_string_equal(f.etag, "");
        assert_string_equal(weak.range[0], "");
        assert_content(fd, SIZE);
    }
    /* Another file under the old tag: the server sends it all, and its tag. */
    struct script changed = { .headers = "ETag: \"v2\"\r\n", .no_ranges = true };
    assert_int_equal(gv_pwrite_full(fd, "something else", 14, 0), 0);
    f = (struct http_file){ .fd = fd, .have = 14, .size = HTTP_SIZE_UNKNOWN, .etag = "\"v1\"" };
    assert_int_equal(get(&changed, &f, &r, &calls, NULL), 0);
    assert_string_equal(changed.if_range[0], "\"v1\"");
    assert_string_equal(f.etag, "\"v2\"");
    assert_content(fd, SIZE);
}

#define OLD_DATE "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nDate: Mon, 01 Jan 2024 00:01:00 GMT\r\n"

/* A date proves as much as a tag when it is older than the answer by more than a clock's error. */
static void dates(void **state)
{
    (void)state;
    cleanup_close int fd = new_file();
    cleanup_response struct http_response r = { 0 };
    unsigned calls;
    struct script old = { .headers = OLD_DATE, .cut = 3 << 20, .cuts = 1 };
    struct http_file f = { .fd = fd, .size = HTTP_SIZE_UNKNOWN };
    assert_int_equal(get(&old, &f, &r, &calls, NULL), 0);
    assert_string_equal(f.etag, "Mon, 01 Jan 2024 00:00:00 GMT");
    assert_string_equal(old.if_range[1], f.etag);
    assert_content(fd, SIZE);
    static const char *const useless[] = {
        "Last-Modified: Mon, 01 Jan 2024 00:00:30 GMT\r\nDate: Mon, 01 Jan 2024 00:01:00 GMT\r\n",
        "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n",
        "Last-Modified: yesterday\r\nDate: Mon, 01 Jan 2024 00:01:00 GMT\r\n",
    };
    for (size_t i = 0; i < 3; i++) {
        struct script young = { .headers = useless[i], .cut = 3 << 20, .cuts = 1 };
        f = (struct http_file){ .fd = fd, .size = HTTP_SIZE_UNKNOWN };
        assert_int_equal(get(&young, &f, &r, &calls, NULL), 0);
        assert_string_equal(f.etag, "");
        assert_string_equal(young.range[1], "");
        assert_content(fd, SIZE);
    }
}

/* A server that knows no If-Range, and has another version now. */
static void other_version(void **state)
{
    (void)state;
    cleanup_close int fd = new_file();
    cleanup_response struct http_response r = { 0 };
    unsigned calls;
    struct script t = { .headers = "ETag: \"v2\"\r\n" };
    assert_int_equal(gv_pwrite_full(fd, "something else", 14, 0), 0);
    struct http_file f = { .fd = fd, .have = 14, .size = HTTP_SIZE_UNKNOWN, .etag = "\"v1\"" };
    assert_int_equal(get(&t, &f, &r, &calls, NULL), 0);
    assert_int_equal(calls, 2);
    assert_string_equal(t.range[0], "bytes=14-");
    assert_string_equal(t.range[1], "");
    assert_string_equal(f.etag, "\"v2\"");
    assert_content(fd, SIZE);
}

struct judge {
    unsigned asked, begun;
    bool refuse;
    const struct http_file *file;
    uint64_t have; /* when it began */
};

static int judge_accept(void *user, const struct http_response *r, struct gv_error *err)
{
    struct judge *j = user;
    j->asked++;
    return j->refuse ? gv_error_set(err, GV_E_FORMAT, 0, "not %s", r->type) : 0;
}

static int judge_begin(void *user, struct gv_error *err)
{
    struct judge *j = user;
    (void)err;
    j->begun++;
    j->have = j->file->have;
    return 0;
}

static void judged(void **state)
{
    (void)state;
    cleanup_close int fd = new_file();
    cleanup_response struct http_response r = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    unsigned calls;
    struct stat st;
    struct http_file f = {
        .fd = fd, .have = 14, .size = HTTP_SIZE_UNKNOWN, .etag = "\"v1\"", .accept = judge_accept, .begin = judge_begin
    };
    struct judge j = { .refuse = true, .file = &f };
    f.user = &j;
    assert_int_equal(gv_pwrite_full(fd, content, 14, 0), 0);
    /* What is refused leaves what is there as it is, and is the last word. */
    struct script page = { .headers = "Content-Type: text/html\r\n", .no_ranges = true };
    assert_int_equal(get(&page, &f, &r, &calls, &err), -1);
    assert_int_equal(err.code, GV_E_FORMAT);
    assert_string_equal(err.msg, "not text/html");
    assert_int_equal(calls, 1);
    assert_int_equal(j.begun, 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 14);
    assert_int_equal(f.have, 14);
    assert_string_equal(f.etag, "\"v1\"");
    j.refuse = false;
    struct script good = { .headers = "ETag: \"v1\"\r\n" };
    assert_int_equal(get(&good, &f, &r, &calls, NULL), 0);
    assert_int_equal(j.begun, 1);
    assert_int_equal(j.have, 14);
    assert_content(fd, SIZE);
    struct script again = { .no_ranges = true };
    f.have = 14;
    f.size = HTTP_SIZE_UNKNOWN;
    assert_int_equal(get(&again, &f, &r, &calls, NULL), 0);
    assert_int_equal(j.begun, 2);
    assert_int_equal(j.have, 0);
}

static void statuses(void **state)
{
    (void)state;
    static const struct {
        int status;
        unsigned calls;
    } cases[] = { { 404, 1 }, { 401, 1 }, { 403, 1 }, { 500, 5 }, { 503, 5 } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cleanup_close int fd = new_file();
        assert_int_equal(gv_pwrite_full(fd, content, 1000, 0), 0);
        struct script t = { .status = cases[i].status };
        struct http_file f = { .fd = fd, .have = 1000, .size = SIZE, .by_content = true };
        cleanup_response struct http_response r = { 0 };
        unsigned calls;
        assert_int_equal(get(&t, &f, &r, &calls, NULL), 0);
        assert_int_equal(r.status, cases[i].status);
        assert_string_equal(gv_buf_str(&r.body), "{\"errors\":[]}");
        assert_int_equal(calls, cases[i].calls);
        assert_int_equal(f.have, 1000);
        assert_content(fd, 1000);
    }
}

static void liars(void **state)
{
    (void)state;
    static const struct {
        struct script script;
        uint64_t have, size, max;
        enum gv_code code;
    } cases[] = {
        { { .size = SIZE - 1 }, 0, SIZE, 0, GV_E_CORRUPT },                 /* a shorter file */
        { { .size = SIZE - 1 }, 10, SIZE, 0, GV_E_CORRUPT },                /* also when resumed */
        { { .size = SIZE - 1, .chunked = true }, 0, SIZE, 0, GV_E_IO },     /* without saying so */
        { { .chunked = true }, 0, SIZE - 1, 0, GV_E_CORRUPT },              /* a longer one */
        { { .endless = true }, 0, 100000, 0, GV_E_CORRUPT },                /* that never ends */
        { { .endless = true }, 0, HTTP_SIZE_UNKNOWN, 1 << 20, GV_E_LIMIT }, /* of unknown size */
        { { 0 }, 0, HTTP_SIZE_UNKNOWN, 1 << 20, GV_E_LIMIT },               /* announced */
        { { .wrong = "Content-Range: bytes 5-8/6291456\r\n" }, 10, SIZE, 0, GV_E_PROTOCOL },
        { { .wrong = "Content-Range: bytes 10-13/99\r\n" }, 10, SIZE, 0, GV_E_CORRUPT },
        { { .wrong = "Content-Range: pages 1-2/3\r\n" }, 10, SIZE, 0, GV_E_PROTOCOL },
        { { .wrong = "Content-Range: bytes 99999999999999999999999-5/6\r\n" }, 10, SIZE, 0, GV_E_PROTOCOL },
        { { .wrong = "" }, 10, SIZE, 0, GV_E_PROTOCOL },                              /* no range at all */
        { { .wrong = "Content-Range: bytes 0-3/4\r\n" }, 0, SIZE, 0, GV_E_PROTOCOL }, /* not asked for */
        { { .status = 204 }, 0, SIZE, 0, GV_E_PROTOCOL },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cleanup_close int fd = new_file();
        assert_int_equal(gv_pwrite_full(fd, content, cases[i].have, 0), 0);
        struct script t = cases[i].script;
        struct http_file f = { .fd = fd, .have = cases[i].have, .size = cases[i].size, .max = cases[i].max, .by_content = true };
        cleanup_response struct http_response r = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        unsigned calls;
        if (get(&t, &f, &r, &calls, &err) != -1)
            fail_msg("case %zu: taken", i);
        if (err.code != cases[i].code)
            fail_msg("case %zu: %s", i, err.msg);
        assert_true(f.have <= SIZE);
    }
}

int main(void)
{
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (unsigned char)(i * 2654435761U >> 13);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),       cmocka_unit_test(interrupted), cmocka_unit_test(without_ranges), cmocka_unit_test(goes_on),
        cmocka_unit_test(entity_tags), cmocka_unit_test(dates),       cmocka_unit_test(other_version),  cmocka_unit_test(judged),
        cmocka_unit_test(statuses),    cmocka_unit_test(liars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
