/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Copies to and from a guest: Docker's rules word by word, both halves against each other, and a guest that lies. */
#include "transfer_test.h"

#include <archive.h>
#include <archive_entry.h>
#include <pthread.h>

/* ---- the rules --------------------------------------------------------------------------------------------------------------------- */

static void rules(void **state)
{
    static const enum transfer_kind N = TRANSFER_NOTHING, F = TRANSFER_FILE, D = TRANSFER_DIRECTORY, O = TRANSFER_OTHER;
    const struct {
        const char *from;
        enum transfer_kind from_kind;
        const char *to;
        enum transfer_kind to_kind;
        const char *directory, *name; /* NULL, and what the refusal says */
    } rows[] = {
        /* The table of `docker cp`. */
        { "/a/file", F, "/new", N, "/", "new" },
        { "/a/file", F, "/b/new/", N, NULL, "does not exist" },
        { "/a/file", F, "/b/old", F, "/b", "old" },
        { "/a/file", F, "/b", D, "/b", "file" },
        { "/a/file", F, "/b/", D, "/b/", "file" },
        { "/a/dir", D, "/b/new", N, "/b", "new" },
        { "/a/dir", D, "/b/new/", N, "/b", "new" },
        { "/a/dir/.", D, "/b/new", N, "/b", "new" },
        { "/a/dir", D, "/b/old", F, NULL, "is a file" },
        { "/a/dir/.", D, "/b/old", F, NULL, "is a file" },
        { "/a/dir", D, "/b", D, "/b", "dir" },
        { "/a/dir/", D, "/b", D, "/b", "dir" },
        { "/a/dir/.", D, "/b", D, "/b", "" },
        { "/a/dir/./", D, "/b", D, "/b", "dir" },
        /* What it does not say. */
        { "/none", N, "/b", D, NULL, "there is no" },
        { "/a/pipe", O, "/b", D, NULL, "neither" },
        { "/a/file", F, "/dev/null", O, NULL, "neither" },
        { "/a/dir", D, "/dev/null", O, NULL, "neither" },
        { "/a/file/", F, "/b", D, NULL, "not a directory" },
        { "/a/file/.", F, "/b", D, NULL, "not a directory" },
        { "/a/file", F, "/b/old/", F, NULL, "not a directory" },
        { "/a/file", F, "new", N, ".", "new" },
        { "file", F, "b", D, "b", "file" },
        { "/a/file", F, "/b/..", N, NULL, "does not exist" },
        { "/a/dir", D, "/b/..", N, NULL, "does not exist" },
        { "/a/dir", D, "/b/new/.", N, "/b", "new" },
        { ".", D, "/b", D, "/b", "" },
        { "/", D, "/b", D, "/b", "" },
        { "/", D, "/b/new", N, "/b", "new" },
        { "/a/dir", D, "/", D, "/", "dir" },
        { "//a//dir//", D, "//b//new//", N, "//b", "new" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct transfer_target t = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        int result = transfer_target(&t, rows[i].from, rows[i].from_kind, rows[i].to, rows[i].to_kind, &err);
        if ((result < 0) != !rows[i].directory)
            fail_msg("row %zu: %s", i, result < 0 ? err.msg : t.directory);
        if (result < 0 ? !strstr(err.msg, rows[i].name) : strcmp(t.directory, rows[i].directory) || strcmp(t.name, rows[i].name))
            fail_msg("row %zu: %s %s %s", i, err.msg, t.directory, t.name);
        transfer_target_clear(&t);
    }
}

/* ---- both halves ------------------------------------------------------------------------------------------------------------------- */

struct receiving {
    int fd;
    const char *directory;
    struct transfer_copy copy;
    struct gv_error err;
    int result;
};

static void *receive(void *user)
{
    struct receiving *r = user;
    r->result = transfer_receive(&test_options, r->fd, r->directory, &r->copy, &r->err);
    close(r->fd);
    return NULL;
}

/* What `from` is sent as, received in `to`. */
static void copy(const char *from, const char *to, const char *name, bool follow)
{
    cleanup_free char *path = test_path(from), *directory = test_path(to);
    struct transfer_copy c = { .name = name, .follow = follow };
    struct receiving r = { .directory = directory, .copy = c, .err = GV_ERROR_INIT };
    struct gv_error err = GV_ERROR_INIT;
    pthread_t thread;
    int fd[2];
    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    r.fd = fd[0];
    assert_int_equal(pthread_create(&thread, NULL, receive, &r), 0);
    int sent = transfer_send(&test_options, path, &c, fd[1], &err);
    close(fd[1]);
    pthread_join(thread, NULL);
    if (sent < 0 || r.result < 0)
        fail_msg("%s %s", err.msg, r.err.msg);
}

static struct stat look(const char *name)
{
    cleanup_free char *path = test_path(name);
    struct stat st;
    if (lstat(path, &st) < 0)
        fail_msg("%s: %s", name, strerror(errno));
    return st;
}

static void command(const char *format)
{
    cleanup_free char *line = gv_asprintf("cd %s && %s", test_workdir, format);
    if (system(line) != 0)
        fail_msg("%s", line);
}

static void there(void **state)
{
    (void)state;
    command(
        "rm -rf from to && mkdir -p from/d/e to && printf x > from/d/one && ln from/d/one from/d/two && ln -s /etc/passwd from/d/out && "
        "ln -s ../../.. from/d/up && ln -s d from/link && truncate -s 1000000 from/sparse && printf end >> from/sparse && : > from/empty "
        "&& "
        "printf y > \"$(printf 'from/new\\nline\\377')\" && chmod 4755 from/d/one && chmod 0777 from/d/e && mkfifo from/pipe && "
        "touch -d '2001-02-03 04:05:06.789' from/empty && umask 022");
    mode_t before = umask(022);
    copy("from", "to", "copy", false);
    assert_file("to/copy/d/one", "x");
    assert_file("to/copy/new\nline\377", "y");
    assert_int_equal(look("to/copy/d/one").st_ino, look("to/copy/d/two").st_ino);
    assert_int_equal(look("to/copy/d/one").st_mode & 07777, 0755);
    assert_int_equal(look("to/copy/d/e").st_mode & 07777, 0755);
    assert_int_equal(look("to/copy/sparse").st_size, 1000003);
    assert_true(look("to/copy/sparse").st_blocks < 200);
    assert_int_equal(look("to/copy/empty").st_mtim.tv_nsec, 789000000);
    assert_true(S_ISLNK(look("to/copy/d/out").st_mode));
    assert_true(S_ISLNK(look("to/copy/d/up").st_mode));
    assert_false(test_exists("to/copy/pipe"));
    command("cmp from/sparse to/copy/sparse && test $(readlink to/copy/d/out) = /etc/passwd && test $(readlink to/copy/d/up) = ../../..");
    /* Once more: files are replaced, directories stay. */
    command("chmod 0700 to/copy/d && echo changed > to/copy/d/one");
    copy("from/d", "to", "copy", false);
    assert_file("to/copy/one", "x");
    copy("from", "to", "copy", false);
    assert_file("to/copy/d/one", "x");
    assert_int_equal(look("to/copy/d").st_mode & 07777, 0700);
    /* A link is one, or what it leads to; the contents alone; one file. */
    copy("from/link", "to", "link", false);
    assert_true(S_ISLNK(look("to/link").st_mode));
    copy("from/link", "to", "followed", true);
    assert_file("to/followed/one", "x");
    command("mkdir to/contents");
    copy("from/d/.", "to/contents", "", false);
    assert_file("to/contents/two", "x");
    copy("from/d/one", "to", "uno", false);
    assert_file("to/uno", "x");
    umask(before);
}

/* ---- a guest that lies ------------------------------------------------------------------------------------------------------------- */

/* A tar with these entries, of which those with a "target" are links: its descriptor. */
struct lie {
    const char *name, *target;
    unsigned type;
    bool hard;
};

static int forge(const struct lie *lies, size_t count, size_t cut)
{
    char path[] = "/tmp/gvmkit-test-lie-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    struct archive *a = archive_write_new();
    archive_write_set_format_gnutar(a);
    assert_int_equal(archive_write_open_fd(a, fd), ARCHIVE_OK);
    for (size_t i = 0; i < count; i++) {
        struct archive_entry *e = archive_entry_new();
        archive_entry_set_pathname(e, lies[i].name);
        archive_entry_set_filetype(e, lies[i].type);
        archive_entry_set_perm(e, 06777);
        archive_entry_set_size(e, lies[i].type == AE_IFREG && !lies[i].hard ? 4 : 0);
        if (lies[i].hard)
            archive_entry_set_hardlink(e, lies[i].target);
        else if (lies[i].target)
            archive_entry_set_symlink(e, lies[i].target);
        assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);
        if (lies[i].type == AE_IFREG && !lies[i].hard)
            assert_int_equal(archive_write_data(a, "harm", 4), 4);
        archive_entry_free(e);
    }
    archive_write_close(a);
    archive_write_free(a);
    if (cut)
        assert_int_equal(ftruncate(fd, (off_t)cut), 0);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static int receive_lie(int fd, const char *name, struct gv_error *err)
{
    cleanup_free char *to = test_path("to");
    struct transfer_copy c = { .name = name };
    int result = transfer_receive(&test_options, fd, to, &c, err);
    close(fd);
    return result;
}

static void lies(void **state)
{
    static const struct {
        struct lie lies[2];
        size_t count;
        const char *why;
    } cases[] = {
        { { { "../secret", NULL, AE_IFREG, false } }, 1, "leads out" },
        { { { "copy/../../secret", NULL, AE_IFREG, false } }, 1, "leads out" },
        { { { "/tmp/secret", NULL, AE_IFREG, false } }, 1, "absolute" },
        { { { "other", NULL, AE_IFREG, false } }, 1, "not asked for" },
        { { { "copycat", NULL, AE_IFREG, false } }, 1, "not asked for" },
        { { { "safe", NULL, AE_IFREG, false } }, 1, "not asked for" },
        { { { "copy", "..", AE_IFLNK, false }, { "copy/secret", NULL, AE_IFREG, false } }, 2, "leads out" },
        { { { "copy", "/", AE_IFLNK, false }, { "copy/tmp/secret", NULL, AE_IFREG, false } }, 2, "leads out" },
        { { { "copy/l", "../../secret", AE_IFLNK, false }, { "copy/l/x", NULL, AE_IFREG, false } }, 2, "cannot" },
        { { { "copy/l", "../../secret", AE_IFLNK, false }, { "copy/l", NULL, AE_IFDIR, false } }, 2, "cannot" },
        { { { "copy", "safe", AE_IFREG, true } }, 1, "not asked for" },
        { { { "copy", "../secret", AE_IFREG, true } }, 1, "leads out" },
        { { { "copy", "copy", AE_IFREG, true } }, 0, "empty" },
        { { { "old", NULL, AE_IFDIR, false } }, 1, "not asked for" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct gv_error err = GV_ERROR_INIT;
        command("rm -rf to && mkdir to && echo safe > secret && echo safe > to/safe");
        int result = receive_lie(forge(cases[i].lies, cases[i].count, 0), "copy", &err);
        if (result == 0 || !strstr(err.msg, cases[i].why))
            fail_msg("case %zu: %s", i, err.msg);
        assert_file("secret", "safe\n");
        assert_file("to/safe", "safe\n");
        assert_int_equal(look("to/safe").st_nlink, 1);
        assert_int_equal(look("secret").st_nlink, 1);
    }
    /* Privileges and devices do not come along; a link that replaces a file replaces it, and not what it leads to. */
    static const struct lie odd[] = { { "copy/program", NULL, AE_IFREG, false },
                                      { "copy/device", NULL, AE_IFCHR, false },
                                      { "copy/l", "../../secret", AE_IFLNK, false },
                                      { "copy/l", NULL, AE_IFREG, false } };
    struct gv_error err = GV_ERROR_INIT;
    mode_t before = umask(027);
    if (receive_lie(forge(odd, 4, 0), "copy", &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(umask(before), 027);
    assert_int_equal(look("to/copy/program").st_mode & 07777, 0750);
    assert_int_equal(look("to/copy/program").st_uid, geteuid());
    assert_false(test_exists("to/copy/device"));
    assert_file("to/copy/l", "harm");
    assert_file("secret", "safe\n");
}

/* A file that does not come whole leaves the one that is there, or none. */
static void cut_off(void **state)
{
    static const struct lie file = { "copy", NULL, AE_IFREG, false }, directory = { "copy", NULL, AE_IFDIR, false };
    (void)state;
    for (size_t cut = 1; cut < 515; cut += 171) {
        struct gv_error err = GV_ERROR_INIT;
        command("rm -rf to && mkdir to && echo old > to/copy");
        assert_int_equal(receive_lie(forge(&file, 1, cut), "copy", &err), -1);
        assert_file("to/copy", "old\n");
        command("test \"$(ls -A to)\" = copy");
    }
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(receive_lie(forge(&directory, 1, 0), "copy", &err), -1);
    assert_file("to/copy", "old\n");
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(test_workdir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    cleanup_free char *line = gv_asprintf("rm -rf %s", test_workdir);
    return system(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules),
        cmocka_unit_test(there),
        cmocka_unit_test(lies),
        cmocka_unit_test(cut_off),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
