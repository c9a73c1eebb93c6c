/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files that appear whole or not at all, and trees that vanish. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "core/core.h"

static char *top; /* a fresh directory for each test, the working directory while it runs */

static int setup(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    top = gv_asprintf("%s/gvmkit-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(top) && chmod(top, 0777) == 0 && chdir(top) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    int status = chdir("/") || gv_remove_tree(top, NULL) || access(top, F_OK) == 0 ? -1 : 0;
    free(top);
    return status;
}

static void put(const char *path, const char *text)
{
    cleanup_close int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(gv_write_full(fd, text, strlen(text)), 0);
}

static void assert_content(const char *path, const char *text)
{
    cleanup_buf struct gv_buf b = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(gv_read_file(path, 1 << 20, &b, &err), 0);
    assert_string_equal(gv_buf_str(&b), text);
}

/* Number of names in the working directory. */
static int names(void)
{
    DIR *d = opendir(".");
    assert_non_null(d);
    int n = -2;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Runs fn as an ordinary user, whoever we are; a failed assertion in it is a failure here. */
static void as_user(void (*fn)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0))
            _exit(99);
        fn();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* cmocka's assertions jump, which must not leave the child of as_user. */
#define CHILD_ASSERT(x)                                                                                                                    \
    do {                                                                                                                                   \
        if (!(x)) {                                                                                                                        \
            fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #x);                                                               \
            _exit(1);                                                                                                                      \
        }                                                                                                                                  \
    } while (0)

/* ---- reading and writing --------------------------------------------------------------------------------------------------------- */

static void test_full_reads_and_writes(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) { /* dribbles */
        for (int i = 0; i < 10; i++) {
            (void)!write(fds[1], "0123456789", 10);
            usleep(1000);
        }
        _exit(0);
    }
    close(fds[1]);
    char buf[256];
    assert_int_equal(gv_read_full(fds[0], buf, 95), 95);
    assert_int_equal(gv_read_full(fds[0], buf, 95), 5);
    assert_int_equal(gv_read_full(fds[0], buf, 95), 0);
    close(fds[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);

    cleanup_close int fd = gv_scratch_file(NULL);
    assert_true(fd >= 0);
    assert_int_equal(gv_pwrite_full(fd, "hello", 5, 3), 0);
    assert_int_equal(gv_pread_full(fd, buf, 5, 3), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(gv_pread_full(fd, buf, 100, 6), 2);
    assert_int_equal(gv_pread_full(fd, buf, 100, 8), 0);
    assert_int_equal(gv_pread_full(fd, buf, 1, UINT64_MAX - 5), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(gv_read_full(-1, buf, 1), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(gv_write_full(-1, buf, 1), -1);
    assert_int_equal(errno, EBADF);
}

static void test_full_disk_is_an_error(void **state)
{
    (void)state;
    cleanup_close int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(gv_write_full(fd, "x", 1), -1);
    assert_int_equal(errno, ENOSPC);
}

static void test_read_file(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    cleanup_buf struct gv_buf b = { 0 };
    gv_buf_add(&b, ">", 1);
    put("f", "0123456789");
    assert_int_equal(gv_read_file("f", 10, &b, &err), 0);
    assert_string_equal(gv_buf_str(&b), ">0123456789");
    assert_int_equal(gv_read_file("f", 9, &b, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    assert_non_null(strstr(err.msg, "`f`"));
    assert_int_equal(gv_read_file("missing", 10, &b, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    assert_int_equal(gv_read_file(".", 10, &b, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    assert_int_equal(err.sys, EISDIR);
    assert_int_equal(gv_read_file("/dev/zero", 100000, &b, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    assert_true(b.cap < 1 << 20);
}

/* ---- output files ---------------------------------------------------------------------------------------------------------------- */

static void test_outfile_appears_whole(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    struct gv_outfile *f;
    mode_t before = umask(022);
    assert_int_equal(gv_outfile_open(&f, "out", 0666, &err), 0);
    umask(before);
    assert_int_equal(gv_write_full(gv_outfile_fd(f), "new", 3), 0);
    char back[4] = "";
    assert_int_equal(gv_pread_full(gv_outfile_fd(f), back, 3, 0), 3);
    assert_string_equal(back, "new");
    assert_int_equal(access("out", F_OK), -1);
    assert_int_equal(gv_outfile_commit(f, &err), 0);
    assert_content("out", "new");
    assert_int_equal(names(), 1);
    struct stat st;
    assert_int_equal(stat("out", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(st.st_nlink, 1);
}

static void test_outfile_replaces_only_at_the_end(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    struct gv_outfile *f;
    cleanup_free char *path = gv_asprintf("%s/out", top);
    put("out", "old");
    assert_int_equal(gv_outfile_open(&f, path, 0600, &err), 0);
    assert_int_equal(gv_write_full(gv_outfile_fd(f), "newer", 5), 0);
    assert_content("out", "old");
    assert_int_equal(gv_outfile_commit(f, &err), 0);
    assert_content("out", "newer");
    assert_int_equal(names(), 1);
}

static void test_outfile_discarded_leaves_nothing(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    struct gv_outfile *f;
    put("out", "old");
    assert_int_equal(gv_outfile_open(&f, "out", 0600, &err), 0);
    assert_int_equal(gv_write_full(gv_outfile_fd(f), "new", 3), 0);
    gv_outfile_discard(f);
    gv_outfile_discard(NULL);
    assert_content("out", "old");
    assert_int_equal(names(), 1);
}

static void test_outfile_that_cannot_be(void **state)
{
    (void)state;
    struct gv_outfile *f = NULL;
    assert_int_equal(mkdir("dir", 0755), 0);
    assert_int_equal(mkfifo("fifo", 0644), 0);
    static const struct {
        const char *path;
        enum gv_code code;
    } cases[] = {
        { "", GV_E_USAGE },    { "/", GV_E_USAGE },    { ".", GV_E_USAGE },   { "dir/", GV_E_USAGE },  { "dir/..", GV_E_USAGE },
        { "dir", GV_E_USAGE }, { "fifo", GV_E_USAGE }, { "no/out", GV_E_IO }, { "fifo/out", GV_E_IO },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        assert_int_equal(gv_outfile_open(&f, cases[i].path, 0644, &err), -1);
        assert_int_equal(err.code, cases[i].code);
        assert_non_null(strchr(err.msg, '`'));
    }
    assert_null(f);
    assert_int_equal(names(), 2);
}

/* The name was taken by a directory while we wrote. */
static void test_outfile_commit_fails_cleanly(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    struct gv_outfile *f;
    assert_int_equal(gv_outfile_open(&f, "out", 0644, &err), 0);
    assert_int_equal(mkdir("out", 0755), 0);
    assert_int_equal(gv_outfile_commit(f, &err), -1);
    assert_int_equal(err.code, GV_E_IO);
    assert_int_equal(err.sys, EISDIR);
    assert_non_null(strstr(err.msg, "`out`"));
    assert_int_equal(names(), 1);
}

static void test_outfile_with_a_long_name(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    struct gv_outfile *f;
    char name[256];
    memset(name, 'n', 255);
    name[255] = '\0';
    assert_int_equal(gv_outfile_open(&f, name, 0644, &err), 0);
    assert_int_equal(gv_outfile_commit(f, &err), 0);
    assert_int_equal(access(name, F_OK), 0);
    assert_int_equal(names(), 1);
}

static void readonly_directory(void)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gv_outfile *f = NULL;
    CHILD_ASSERT(mkdir("ro", 0755) == 0);
    CHILD_ASSERT(chmod("ro", 0555) == 0);
    CHILD_ASSERT(gv_outfile_open(&f, "ro/out", 0644, &err) == -1);
    CHILD_ASSERT(err.code == GV_E_IO && err.sys == EACCES);
    CHILD_ASSERT(strstr(err.msg, "`ro/out`"));
    CHILD_ASSERT(f == NULL);
}

static void test_outfile_in_a_readonly_directory(void **state)
{
    (void)state;
    as_user(readonly_directory);
}

static void test_signals_are_as_before_after_commit(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    struct gv_outfile *f;
    sigset_t mask;
    assert_int_equal(gv_outfile_open(&f, "out", 0644, &err), 0);
    assert_int_equal(gv_outfile_commit(f, &err), 0);
    assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
    assert_false(sigismember(&mask, SIGINT));
    assert_false(sigismember(&mask, SIGTERM));
}

static void test_scratch_file(void **state)
{
    (void)state;
    cleanup_free char *before = getenv("TMPDIR") ? gv_strdup(getenv("TMPDIR")) : NULL;
    struct gv_error err = GV_ERROR_INIT;
    setenv("TMPDIR", top, 1);
    cleanup_close int fd = gv_scratch_file(&err);
    assert_true(fd >= 0);
    assert_int_equal(names(), 0);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_nlink, 0);
    assert_int_equal(st.st_mode & 0077, 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);

    setenv("TMPDIR", "/nowhere/at/all", 1);
    assert_int_equal(gv_scratch_file(&err), -1);
    assert_non_null(strstr(err.msg, "/nowhere/at/all"));
    assert_non_null(strstr(err.msg, "TMPDIR"));
    if (before)
        setenv("TMPDIR", before, 1);
    else
        unsetenv("TMPDIR");
}

/* ---- directories ----------------------------------------------------------------------------------------------------------------- */

static void test_mkdir_p(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    struct stat st;
    assert_int_equal(gv_mkdir_p("a/b//c/", 0700, &err), 0);
    assert_int_equal(stat("a/b/c", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(gv_mkdir_p("a/b/c", 0755, &err), 0);
    assert_int_equal(gv_mkdir_p("/", 0755, &err), 0);
    assert_int_equal(gv_mkdir_p(".", 0755, &err), 0);
    assert_int_equal(symlink("a", "link"), 0);
    assert_int_equal(gv_mkdir_p("link/d", 0755, &err), 0);
    assert_int_equal(access("a/d", F_OK), 0);

    put("file", "");
    assert_int_equal(gv_mkdir_p("file", 0755, &err), -1);
    assert_int_equal(err.sys, ENOTDIR);
    assert_int_equal(gv_mkdir_p("file/x", 0755, &err), -1);
    assert_int_equal(err.sys, ENOTDIR);
    assert_int_equal(gv_mkdir_p("", 0755, &err), -1);
    assert_int_equal(err.sys, ENOENT);
}

static void test_remove_tree(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(gv_mkdir_p("t/a/b/c", 0755, &err), 0);
    assert_int_equal(gv_mkdir_p("keep", 0755, &err), 0);
    put("t/f", "x");
    put("t/a/b/f", "x");
    put("keep/me", "x");
    assert_int_equal(mkfifo("t/a/fifo", 0600), 0);
    assert_int_equal(symlink("../keep", "t/link"), 0);
    assert_int_equal(symlink("/nowhere", "t/a/dangling"), 0);
    assert_int_equal(link("keep/me", "t/hard"), 0);
    put("t/\n\033odd", "x");
    assert_int_equal(gv_remove_tree("t", &err), 0);
    assert_int_equal(access("t", F_OK), -1);
    assert_content("keep/me", "x");

    assert_int_equal(gv_remove_tree("t", &err), 0); /* missing is fine */
    assert_int_equal(symlink("keep", "link"), 0);
    assert_int_equal(gv_remove_tree("link", &err), 0); /* the link, not what it names */
    assert_int_equal(gv_remove_tree("keep/me", &err), 0);
    assert_int_equal(names(), 1);
}

/* A guest can nest directories deeper than we have descriptors or path names are long. */
static void test_remove_deep_tree(void **state)
{
    (void)state;
    enum { DEPTH = 3000 };
    int at = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(mkdirat(at, "deep", 0755), 0);
        int next = openat(at, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    close(at);
    struct rlimit before, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 24;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct gv_error err = GV_ERROR_INIT;
    int status = gv_remove_tree("deep", &err);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(status, 0);
    assert_int_equal(names(), 0);
}

/* No descriptor left at all: an error, not an endless loop. */
static void test_remove_tree_without_descriptors(void **state)
{
    (void)state;
    assert_int_equal(gv_mkdir_p("t/a/b", 0755, NULL), 0);
    put("t/a/f", "x");
    struct rlimit before, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    cleanup_close int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(lowest >= 0);
    for (rlim_t free_ones = 0; free_ones < 2; free_ones++) {
        few.rlim_cur = (rlim_t)lowest + 1 + free_ones;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        struct gv_error err = GV_ERROR_INIT;
        int status = gv_remove_tree("t", &err);
        setrlimit(RLIMIT_NOFILE, &before);
        assert_int_equal(status, -1);
        assert_int_equal(err.sys, EMFILE);
    }
    assert_content("t/a/f", "x");
}

static void *remove_deep(void *done)
{
    intptr_t status = gv_remove_tree("deep", NULL);
    atomic_store((atomic_bool *)done, true);
    return (void *)status;
}

/* Deep, and only a share of the process's descriptors may be taken: others need some meanwhile. */
static void test_remove_deep_tree_takes_few_descriptors(void **state)
{
    (void)state;
    enum { DEPTH = 2000 };
    int at = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(mkdirat(at, "deep", 0755), 0);
        int next = openat(at, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    close(at);
    struct rlimit before, some;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    some = before;
    some.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &some), 0);
    atomic_bool done = false;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, remove_deep, &done), 0);
    int refused = 0;
    while (!atomic_load(&done)) {
        cleanup_close int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        refused += fd < 0;
    }
    void *status;
    assert_int_equal(pthread_join(thread, &status), 0);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_null(status);
    assert_int_equal(refused, 0);
    assert_int_equal(names(), 0);
}

static void closed_directories(void)
{
    struct gv_error err = GV_ERROR_INIT;
    CHILD_ASSERT(gv_mkdir_p("t/closed/in", 0755, NULL) == 0 && gv_mkdir_p("t/readonly/in", 0755, NULL) == 0);
    CHILD_ASSERT(gv_mkdir_p("t/nosearch/in", 0755, NULL) == 0);
    int fd = open("t/readonly/in/f", O_CREAT | O_WRONLY, 0444);
    CHILD_ASSERT(fd >= 0 && close(fd) == 0);
    CHILD_ASSERT(chmod("t/readonly/in", 0555) == 0 && chmod("t/readonly", 0555) == 0);
    CHILD_ASSERT(chmod("t/nosearch", 0600) == 0 && chmod("t/closed", 0) == 0);
    CHILD_ASSERT(chmod("t", 0555) == 0);
    if (gv_remove_tree("t", &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        _exit(1);
    }
    CHILD_ASSERT(access("t", F_OK) == -1);
}

static void test_remove_tree_with_closed_directories(void **state)
{
    (void)state;
    as_user(closed_directories);
}

static void foreign_file(void)
{
    struct gv_error err = GV_ERROR_INIT;
    CHILD_ASSERT(gv_remove_tree("t", &err) == -1);
    CHILD_ASSERT(err.code == GV_E_IO && (err.sys == EPERM || err.sys == EACCES));
}

/* A file that is not ours to remove: said with its name and its true reason. */
static void test_remove_tree_says_why_it_cannot(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("# needs root to make somebody else's files\n");
        skip();
    }
    assert_int_equal(mkdir("t", 0777), 0);
    assert_int_equal(chmod("t", 01777), 0); /* sticky: only the owner removes */
    put("t/theirs", "x");
    as_user(foreign_file);
    assert_content("t/theirs", "x");
}

/* ---- places ---------------------------------------------------------------------------------------------------------------------- */

static void places(void)
{
    struct gv_error err = GV_ERROR_INIT;
    struct stat st;
    cleanup_free char *cache = gv_asprintf("%s/c/cache", top), *home = gv_asprintf("%s/home", top), *run = gv_asprintf("%s/run", top);

    setenv("XDG_CACHE_HOME", cache, 1);
    cleanup_free char *a = gv_cache_dir(&err), *want = gv_asprintf("%s/gvmkit", cache);
    CHILD_ASSERT(a && !strcmp(a, want));
    CHILD_ASSERT(stat(a, &st) == 0 && (st.st_mode & 07777) == 0700);

    setenv("XDG_CACHE_HOME", "relative", 1); /* the specification says: ignore */
    setenv("HOME", home, 1);
    cleanup_free char *b = gv_cache_dir(&err), *want_b = gv_asprintf("%s/.cache/gvmkit", home);
    CHILD_ASSERT(b && !strcmp(b, want_b));

    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    CHILD_ASSERT(gv_cache_dir(&err) == NULL && err.code == GV_E_NOT_FOUND);
    CHILD_ASSERT(strstr(err.msg, "HOME"));

    setenv("XDG_STATE_HOME", run, 1);
    cleanup_free char *c = gv_state_dir(&err), *want_c = gv_asprintf("%s/gvmkit", run);
    CHILD_ASSERT(c && !strcmp(c, want_c));
    CHILD_ASSERT(stat(c, &st) == 0 && (st.st_mode & 07777) == 0700);
    unsetenv("XDG_STATE_HOME");
    CHILD_ASSERT(gv_state_dir(&err) == NULL && err.code == GV_E_NOT_FOUND);
    setenv("HOME", home, 1);
    cleanup_free char *d = gv_state_dir(&err), *want_d = gv_asprintf("%s/.local/state/gvmkit", home);
    CHILD_ASSERT(d && !strcmp(d, want_d));
}

static void test_places(void **state)
{
    (void)state;
    as_user(places);
}

static void check_path(const char *path, const char *want)
{
    cleanup_free char *got = gv_path_normal(path);
    if (want)
        assert_string_equal(got, want);
    else
        assert_null(got);
}

static void test_path_normal(void **state)
{
    (void)state;
    check_path("/a//b/./c/", "/a/b/c");
    check_path("/", "/");
    check_path("///.//", "/");
    check_path("/..a/b..", "/..a/b..");
    check_path("/a/../b", NULL);
    check_path("a/b", NULL);
    check_path("", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_full_reads_and_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outfile_appears_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outfile_replaces_only_at_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outfile_discarded_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outfile_that_cannot_be, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outfile_commit_fails_cleanly, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outfile_with_a_long_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outfile_in_a_readonly_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signals_are_as_before_after_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scratch_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mkdir_p, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove_deep_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove_tree_without_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove_deep_tree_takes_few_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove_tree_with_closed_directories, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove_tree_says_why_it_cannot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_places, setup, teardown),
        cmocka_unit_test(test_path_normal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
