/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The builtins: what a path is, trees as tars and tars as trees, with the system's tar as a second opinion, and tars that mean harm. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/agent/agent.h"

/* ---- the bench's side -------------------------------------------------------------------------------------------------------------- */

struct bytes_of {
    uint8_t *p;
    size_t n;
};

static uint64_t start(struct bench *b, enum wire_builtin what, const char *arg0, const char *arg1)
{
    struct request_writer q;
    uint64_t id;
    run_begin(&q, arg0, arg1, NULL);
    wire_put_number(&q.w, KEY_BUILTIN, what);
    if (what == WIRE_BUILTIN_UNPACK)
        wire_put_number(&q.w, KEY_STDIN, WIRE_STDIN_PIPE);
    assert_int_equal(run_send(b, &q, &id), 0);
    return id;
}

/* Gives it the n bytes as far as there is credit for them, up to its end. */
static void feed(struct bench *b, uint64_t id, const uint8_t *p, size_t n, struct result *r)
{
    uint64_t credit = WIRE_CREDIT_START;
    bool open = true;
    struct frame f;
    memset(r, 0, sizeof(*r));
    do {
        while (n && credit) {
            uint8_t data[1 + WIRE_DATA_MAX] = { 0 };
            size_t part = n < WIRE_DATA_MAX ? n : WIRE_DATA_MAX;
            part = part < credit ? part : (size_t)credit;
            memcpy(data + 1, p, part);
            bench_send(b, WIRE_DATA, id, data, part + 1);
            p += part;
            n -= part;
            credit -= part;
        }
        if (!n && open) {
            bench_send(b, WIRE_CLOSE, id, NULL, 0);
            open = false;
        }
        uint64_t more;
        assert_true(bench_next(b, &f));
        if (f.type == WIRE_CREDIT && wire_find_number(f.payload, f.n, KEY_COUNT, 0, &more) == 0)
            credit += more;
    } while (run_take(b, id, r, &f));
}

static int run(struct bench *b, enum wire_builtin what, const char *arg0, const char *arg1, struct result *r)
{
    run_finish(b, start(b, what, arg0, arg1), r);
    assert_int_equal(r->kind, WIRE_EXITED);
    return (int)r->status;
}

static int unpack(struct bench *b, const char *dir, const uint8_t *p, size_t n, struct result *r)
{
    feed(b, start(b, WIRE_BUILTIN_UNPACK, dir, NULL), p, n, r);
    assert_int_equal(r->kind, WIRE_EXITED);
    return (int)r->status;
}

/* Unpacks; 0, or 1 with the reason in text. */
static int unpack_text(struct bench *b, const char *dir, const struct bytes_of *tar, char text[512])
{
    struct result r;
    int status = unpack(b, dir, tar->p, tar->n, &r);
    snprintf(text, 512, "%s", result_text(&r, 2));
    result_clear(&r);
    return status;
}

/* ---- places ------------------------------------------------------------------------------------------------------------------------ */

struct place {
    struct bench *b;
    char top[40];
};

static int place_setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    void *b = NULL;
    assert_non_null(p);
    if (bench_setup(&b) < 0)
        return -1;
    p->b = b;
    strcpy(p->top, "/tmp/gvmkit-builtin-XXXXXX");
    assert_non_null(mkdtemp(p->top));
    assert_int_equal(chdir(p->top), 0);
    *state = p;
    return 0;
}

__attribute__((format(printf, 1, 2))) static int shell(const char *format, ...)
{
    char command[2000];
    va_list ap;
    va_start(ap, format);
    assert_true(vsnprintf(command, sizeof(command), format, ap) < (int)sizeof(command));
    va_end(ap);
    return system(command);
}

static int place_teardown(void **state)
{
    struct place *p = *state;
    void *b = p->b;
    assert_int_equal(chdir("/"), 0);
    shell("rm -rf %s", p->top);
    bench_teardown(&b);
    free(p);
    return 0;
}

static const char *at(const struct place *p, const char *name)
{
    static char path[4][300];
    static unsigned next;
    char *out = path[next++ % 4];
    snprintf(out, 300, "%s/%s", p->top, name);
    return out;
}

static struct bytes_of slurp(const char *path)
{
    struct bytes_of out = { 0 };
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    out.n = (size_t)ftell(f);
    rewind(f);
    out.p = malloc(out.n + 1);
    assert_non_null(out.p);
    assert_int_equal(fread(out.p, 1, out.n, f), out.n);
    out.p[out.n] = '\0';
    fclose(f);
    return out;
}

static void spill(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* ---- STAT -------------------------------------------------------------------------------------------------------------------------- */

static void expect_stat(struct place *p, const char *name, const char *kinds, const char *leads_to)
{
    struct result r;
    char expected[400];
    snprintf(expected, sizeof(expected), "%s%s%s%s", kinds, leads_to ? p->top : "", leads_to && *leads_to ? "/" : "",
             leads_to ? leads_to : "");
    assert_int_equal(run(p->b, WIRE_BUILTIN_STAT, at(p, name), NULL, &r), 0);
    assert_string_equal(result_text(&r, 1), expected);
    result_clear(&r);
}

static void stats(void **state)
{
    struct place *p = *state;
    struct result r;
    shell("mkdir -p d/sub; echo x > f; ln -s ../f d/l; ln -s d dl; ln -s nowhere dangling; ln -s loop loop; mkfifo p; printf x > "
          "\"$(printf 'a\\nb\\377')\"");
    expect_stat(p, "f", "ff", "f");
    expect_stat(p, "d/.", "dd", "d");
    expect_stat(p, "d/l", "lf", "f");
    expect_stat(p, "dl", "ld", "d");
    expect_stat(p, "dl/sub/..", "dd", "d");
    expect_stat(p, "dangling", "l-", NULL);
    expect_stat(p, "none", "--", NULL);
    expect_stat(p, "f/x", "--", NULL);
    expect_stat(p, "f/", "--", NULL);
    expect_stat(p, "p", "oo", "p");
    expect_stat(p, "a\nb\377", "ff", "a\nb\377");
    assert_int_equal(run(p->b, WIRE_BUILTIN_STAT, at(p, "loop"), NULL, &r), 1);
    assert_non_null(strstr(result_text(&r, 2), "loop"));
    result_clear(&r);
    assert_int_equal(run(p->b, WIRE_BUILTIN_STAT, "tmp/..", NULL, &r), 0);
    assert_string_equal(result_text(&r, 1), "dd/");
    result_clear(&r);
}

/* ---- there and back ---------------------------------------------------------------------------------------------------------------- */

#define LONG "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz-long"

/* Everything of a tree that is to survive, as text. */
#define LISTING                                                                                                                            \
    "cd %s && find . ! -type d -printf '%%P %%y %%m %%U %%G %%s %%T@ %%l %%n\\n' -o -printf '%%P d %%m %%U %%G %%T@\\n' | LC_ALL=C sort "  \
    "> %s"

static void make_tree(const char *name)
{
    shell("mkdir -p %s/d/e/" LONG "/" LONG "/" LONG " && cd %s && echo one > d/one && ln d/one two && ln -s ../none d/dangling && "
          "ln -s ../" LONG "/" LONG " link && : > empty && truncate -s 300000 sparse && printf end >> sparse && mkfifo -m 600 pipe && "
          "head -c 200000 /dev/urandom > big && chmod 4751 big && chmod 1777 d && printf x > d/e/" LONG "/" LONG "/" LONG "/x && "
          "printf y > \"$(printf 'new\\nline \\377\\376')\" && touch -d '1969-12-31 23:59:58.25Z' empty && touch -d '2001-02-03 "
          "04:05:06.789' d/e d",
          name, name);
}

static void pack_to(struct place *p, const char *path, const char *name, const char *tar)
{
    struct result r;
    assert_int_equal(run(p->b, WIRE_BUILTIN_PACK, path, name, &r), 0);
    if (r.n[1])
        fail_msg("%s", result_text(&r, 2));
    assert_int_equal(r.n[0] % TAR_BLOCK, 0);
    spill(tar, r.out[0], r.n[0]);
    result_clear(&r);
}

static void unpack_from(struct place *p, const char *dir, const char *tar)
{
    char text[512] = "";
    struct bytes_of bytes = slurp(tar);
    int status = unpack_text(p->b, dir, &bytes, text);
    free(bytes.p);
    if (status)
        fail_msg("%s", text);
}

static void there_and_back(void **state)
{
    struct place *p = *state;
    make_tree("tree");
    assert_int_equal(shell(LISTING, "tree", at(p, "before")), 0);
    pack_to(p, at(p, "tree"), "copy", "tar");
    assert_int_equal(shell("mkdir out gnu"), 0);
    unpack_from(p, at(p, "out"), "tar");
    assert_int_equal(shell(LISTING, "out/copy", at(p, "after")), 0);
    assert_int_equal(shell("cmp before after && diff -r --no-dereference -x pipe -x dangling -x link tree out/copy"), 0);
    assert_int_equal(shell("test $(stat -c %%b out/copy/sparse) -le 64"), 0);
    /* The system's tar understands ours. */
    assert_int_equal(shell("tar xpf tar -C gnu && " LISTING, "gnu/copy", at(p, "after")), 0);
    assert_int_equal(shell("cmp before after"), 0);
    /* The contents alone, and one file. */
    pack_to(p, at(p, "tree/d/."), ".", "tar");
    assert_int_equal(shell("tar tf tar | grep -qx ./one && ! tar tf tar | grep -v ^./"), 0);
    pack_to(p, at(p, "tree/d/one"), "eins", "tar");
    assert_int_equal(shell("test $(tar tf tar) = eins"), 0);
    pack_to(p, at(p, "tree/link"), "link", "tar");
    assert_int_equal(shell("tar tvf tar | grep -q '^l.* link -> '"), 0);
}

/* What the system's tar writes is understood, in each of its formats. */
static void formats(void **state)
{
    static const char *const formats[] = { "gnu", "pax", "ustar", "v7", "oldgnu" };
    struct place *p = *state;
    make_tree("tree");
    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
        bool simple = formats[i][0] == 'u' || formats[i][0] == 'v';
        /* The older formats have neither long names nor times before 1970. */
        if (simple)
            assert_int_equal(shell("rm -rf tree/d/e tree/link tree/empty tree/pipe"), 0);
        else if (formats[i][0] == 'o')
            make_tree("tree2");
        const char *tree = formats[i][0] == 'o' ? "tree2" : "tree";
        assert_int_equal(shell("tar c --format=%s -f tar -C %s . && rm -rf out && mkdir out", formats[i], tree), 0);
        unpack_from(p, at(p, "out"), "tar");
        assert_int_equal(
            shell("cd %s && find . ! -type d -printf '%%P %%y %%m %%s %%Ts %%l %%n\\n' | LC_ALL=C sort > ../before && cd ../out && "
                  "find . ! -type d -printf '%%P %%y %%m %%s %%Ts %%l %%n\\n' | LC_ALL=C sort > ../after && cmp ../before ../after",
                  tree),
            0);
    }
}

/* What is there already: files are replaced, directories are used as they are, also through links that stay inside. */
static void existing(void **state)
{
    struct place *p = *state;
    char text[512];
    assert_int_equal(
        shell("mkdir -p src/lib src/d out/usr/lib out/d && ln -s usr/lib out/lib && echo new > src/lib/f && echo new > src/d/f && "
              "echo old > out/d/f && echo kept > out/d/g && ln out/d/f out/other && chmod 0700 out/d && chmod 0755 src/d && "
              "ln -s /etc/passwd src/d/l && echo file > out/d/l"),
        0);
    pack_to(p, at(p, "src/."), ".", "tar");
    unpack_from(p, at(p, "out"), "tar");
    assert_int_equal(
        shell("test -h out/lib && grep -q new out/usr/lib/f && grep -q new out/d/f && grep -q kept out/d/g && grep -q old out/other && "
              "test $(stat -c %%a out/d) = 700 && test $(readlink out/d/l) = /etc/passwd"),
        0);
    /* A file does not take the place of a directory, nor a directory that of a file. */
    assert_int_equal(shell("rm -rf src out; mkdir -p src out/a && echo a > src/a"), 0);
    pack_to(p, at(p, "src/."), ".", "tar");
    struct bytes_of tar = slurp("tar");
    assert_int_equal(unpack_text(p->b, at(p, "out"), &tar, text), 1);
    assert_non_null(strstr(text, "directory"));
    free(tar.p);
    assert_int_equal(shell("rm -rf src out; mkdir -p src/a out && echo a > out/a"), 0);
    pack_to(p, at(p, "src/."), ".", "tar");
    tar = slurp("tar");
    assert_int_equal(unpack_text(p->b, at(p, "out"), &tar, text), 1);
    assert_non_null(strstr(text, "is no directory"));
    assert_int_equal(unpack_text(p->b, at(p, "none"), &tar, text), 1);
    assert_non_null(strstr(text, "No such file"));
    free(tar.p);
}

/* ---- tars that mean harm ----------------------------------------------------------------------------------------------------------- */

/* A tar of one or two entries, and possibly no end. */
static struct bytes_of forge(const struct tar_entry *e, size_t count, const char *data, bool end)
{
    static struct tar_writer w;
    memset(&w, 0, sizeof(w));
    w.fd = memfd_create("tar", MFD_CLOEXEC);
    assert_true(w.fd >= 0);
    for (size_t i = 0; i < count; i++) {
        struct tar_entry one = e[i];
        one.size = one.type == '0' ? strlen(data) : 0;
        one.uid = geteuid();
        one.gid = getegid();
        one.mode = 0644;
        assert_int_equal(tar_put(&w, &one), 0);
        if (one.size) {
            assert_int_equal(tar_put_data(&w, data, one.size), 0);
            assert_int_equal(tar_put_padding(&w, one.size), 0);
        }
    }
    struct bytes_of out = { .n = w.have };
    if (end)
        assert_int_equal(tar_finish(&w), 0);
    off_t n = lseek(w.fd, 0, SEEK_END);
    out.n = n ? (size_t)n : w.have;
    out.p = malloc(out.n + 1);
    assert_non_null(out.p);
    if (n)
        assert_int_equal(pread(w.fd, out.p, out.n, 0), n);
    else
        memcpy(out.p, w.buf, out.n);
    close(w.fd);
    return out;
}

static void outside(void **state)
{
    static const struct {
        struct tar_entry e[2];
        size_t count;
        const char *why;
    } cases[] = {
        { { { .type = '0', .name = "../secret" } }, 1, "leads out" },
        { { { .type = '0', .name = "a/../../secret" } }, 1, "leads out" },
        { { { .type = '5', .name = ".." } }, 1, "leads out" },
        { { { .type = '2', .name = "l", .target = ".." }, { .type = '0', .name = "l/secret" } }, 2, "leads out" },
        { { { .type = '2', .name = "l", .target = "/tmp" }, { .type = '0', .name = "l/secret" } }, 2, "leads out" },
        { { { .type = '2', .name = "l", .target = "../secret" }, { .type = '5', .name = "l" } }, 2, "no directory" },
        { { { .type = '1', .name = "l", .target = "../secret" } }, 1, "leads out" },
        { { { .type = '1', .name = "l", .target = "out/secret" } }, 1, "link" },
        { { { .type = '0', .name = "out/secret" } }, 1, "leads out" },
        { { { .type = '0', .name = "out/new/secret" } }, 1, "leads out" },
        { { { .type = '5', .name = "up/.." } }, 1, "leads out" },
        { { { .type = '0', .name = "." } }, 1, "without a name" },
        { { { .type = '9', .name = "x" } }, 1, "not understood" },
    };
    struct place *p = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char text[512];
        assert_int_equal(
            shell("rm -rf dir; mkdir -p dir/in && ln -s .. dir/out && ln -s in/../.. dir/up && echo safe > secret && ls -lAR > before"), 0);
        struct bytes_of tar = forge(cases[i].e, cases[i].count, "harm\n", true);
        assert_int_equal(unpack_text(p->b, at(p, "dir"), &tar, text), 1);
        if (!strstr(text, cases[i].why))
            fail_msg("case %zu: %s", i, text);
        assert_int_equal(
            shell("grep -qx safe secret && test $(stat -c %%h secret) = 1 && ! ls -d new 2> /dev/null && ! ls -A dir | grep gvmkit-"), 0);
        free(tar.p);
    }
    /* An absolute name is one below the directory. */
    char text[512];
    struct bytes_of tar = forge(&(struct tar_entry){ .type = '0', .name = "/abs//./x" }, 1, "harm\n", true);
    assert_int_equal(unpack_text(p->b, at(p, "dir"), &tar, text), 0);
    assert_int_equal(access("dir/abs/x", F_OK), 0);
    free(tar.p);
}

/* A tar that is cut off anywhere changes a file as a whole or not at all, and says so. */
static void cut_off(void **state)
{
    struct place *p = *state;
    char text[512], name[] = LONG LONG "/file";
    struct tar_entry e = { .type = '0', .mtime = { 5, 5 } };
    strcpy(e.name, name);
    struct bytes_of tar = forge(&e, 1, "new data\n", true);
    assert_int_equal(shell("mkdir -p dir/" LONG LONG " && echo old > dir/%s", name), 0);
    for (size_t n = 0; n < tar.n; n += n % TAR_BLOCK == 0 ? 1 : TAR_BLOCK - 1) {
        struct bytes_of part = { tar.p, n };
        /* The second of the two blocks of zeros is not waited for. */
        int expected = n < tar.n - TAR_BLOCK;
        assert_int_equal(unpack_text(p->b, at(p, "dir"), &part, text), expected);
        if (expected && !strstr(text, "tar is broken"))
            fail_msg("%zu: %s", n, text);
        assert_int_equal(shell("grep -qxe %s dir/%s && ! ls -A dir/* | grep -q gvmkit-",
                               n < tar.n - 2 * TAR_BLOCK - (TAR_BLOCK - 9) ? "old" : "'new data'", name),
                         0);
    }
    tar.p[TAR_BLOCK * 2 + 20] ^= 1;
    assert_int_equal(unpack_text(p->b, at(p, "dir"), &tar, text), 1);
    free(tar.p);
    struct bytes_of none = { (uint8_t *)(uintptr_t) "\037\213 nothing like a tar", 600 };
    uint8_t block[600] = "\037\213 nothing like a tar";
    none.p = block;
    assert_int_equal(unpack_text(p->b, at(p, "dir"), &none, text), 1);
    assert_non_null(strstr(text, "not a tar"));
}

static void ended_by_signal(void **state)
{
    static const int signals[] = { SIGHUP, SIGINT, SIGTERM };
    struct place *p = *state;
    struct bytes_of tar = forge(&(struct tar_entry){ .type = '0', .name = "file" }, 1, "new data\n", true);
    assert_int_equal(shell("mkdir dir && echo old > dir/file"), 0);
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
        struct result r;
        struct request_writer q;
        uint8_t data[1 + TAR_BLOCK + 3] = { 0 };
        uint64_t id = start(p->b, WIRE_BUILTIN_UNPACK, at(p, "dir"), NULL);
        memcpy(data + 1, tar.p, TAR_BLOCK + 3);
        bench_send(p->b, WIRE_DATA, id, data, sizeof(data));
        /* It has begun when it has the file open, with or without a name. */
        for (int n = 0; shell("find /proc/[0-9]*/fd -lname '%s/dir/*' 2> /dev/null | grep -q .", p->top) && n < 500; n++)
            usleep(10000);
        request_begin(&q);
        wire_put_number(&q.w, KEY_ID, id);
        wire_put_number(&q.w, KEY_SIGNAL, (uint64_t)signals[i]);
        assert_int_equal(request_answer(p->b, request_send(p->b, &q, WIRE_SIGNAL), NULL), 0);
        run_finish(p->b, id, &r);
        assert_int_equal(r.status, 128 + signals[i]);
        result_clear(&r);
        assert_int_equal(shell("grep -qx old dir/file && test \"$(ls -A dir)\" = file"), 0);
    }
    free(tar.p);
}

/* ---- packing what does not hold still ---------------------------------------------------------------------------------------------- */

static void odd_files(void **state)
{
    struct place *p = *state;
    struct result r;
    assert_int_equal(run(p->b, WIRE_BUILTIN_PACK, at(p, "none"), "none", &r), 1);
    assert_non_null(strstr(result_text(&r, 2), "No such file"));
    result_clear(&r);
    /* What /proc says nothing of the size of. */
    pack_to(p, "/proc/version", "version", "tar");
    assert_int_equal(shell("tar xOf tar | cmp - /proc/version"), 0);
    /* A tree that is too deep is said, and the rest is there. */
    assert_int_equal(shell("mkdir -p deep/$(printf 'd/%%.0s' $(seq 300)) && echo x > deep/file"), 0);
    assert_int_equal(run(p->b, WIRE_BUILTIN_PACK, at(p, "deep"), "deep", &r), 1);
    assert_non_null(strstr(result_text(&r, 2), "too many directories"));
    spill("tar", r.out[0], r.n[0]);
    result_clear(&r);
    assert_int_equal(shell("tar tf tar | grep -qx deep/file"), 0);
    /* A socket is said, and no failure. */
    assert_int_equal(shell("mkdir sock && python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('sock/s')\""), 0);
    assert_int_equal(run(p->b, WIRE_BUILTIN_PACK, at(p, "sock"), "sock", &r), 0);
    assert_non_null(strstr(result_text(&r, 2), "socket"));
    result_clear(&r);
}

/* A reader that goes away ends the packing, and no more. */
static void refused(void **state)
{
    struct place *p = *state;
    struct request_writer q;
    uint64_t id;
    run_begin(&q, "/", "x", NULL);
    wire_put_number(&q.w, KEY_BUILTIN, 4);
    assert_int_equal(run_send(p->b, &q, &id), EINVAL);
    run_begin(&q, "/", "x", NULL);
    wire_put_number(&q.w, KEY_BUILTIN, WIRE_BUILTIN_PACK);
    wire_put_number(&q.w, KEY_TTY, 1);
    assert_int_equal(run_send(p->b, &q, &id), EINVAL);
    run_begin(&q, "", NULL);
    wire_put_number(&q.w, KEY_BUILTIN, WIRE_BUILTIN_STAT);
    assert_int_equal(run_send(p->b, &q, &id), ENOENT);
    struct result r;
    assert_int_equal(run(p->b, WIRE_BUILTIN_PACK, "/etc/passwd", NULL, &r), 1);
    assert_non_null(strstr(result_text(&r, 2), "name"));
    result_clear(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stats, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(there_and_back, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(formats, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(existing, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(outside, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(cut_off, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(ended_by_signal, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(odd_files, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(refused, place_setup, place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
