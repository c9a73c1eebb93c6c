/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Paths and files of images that have anything anywhere, and the texts that are written into them. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest/agent/agent.h"

static char top[64];
static struct report r;

static int setup(void **state)
{
    (void)state;
    strcpy(top, "/tmp/gvmkit-files-XXXXXX");
    umask(022);
    memset(&r, 0, sizeof(r));
    return mkdtemp(top) && chdir(top) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[100];
    if (chdir("/") < 0)
        return -1;
    snprintf(command, sizeof(command), "rm -rf %s", top);
    return system(command);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode;
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect_text(const char *path, const char *expected)
{
    char *text;
    size_t n;
    assert_int_equal(files_read(path, 4096, &text, &n), 0);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(text, expected, n);
    free(text);
}

static void directories(void **state)
{
    (void)state;
    assert_int_equal(mkdir("is", 0700), 0);
    write_text("file", "x");
    assert_int_equal(symlink("is", "link"), 0);
    assert_int_equal(symlink("/nowhere", "dangling"), 0);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    static const char *const names[] = { "is", "file", "link", "dangling", "fifo", "new" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(files_directory(AT_FDCWD, names[i], 0755, &r), 0);
        assert_true(S_ISDIR(mode_of(names[i])));
    }
    assert_int_equal(mode_of("is") & 0777, 0700);
    assert_int_equal(mode_of("new") & 0777, 0755);
    assert_int_equal(files_directory(AT_FDCWD, "no/where", 0755, &r), -1);
    assert_int_equal(r.error, ENOENT);
}

static int make(const char *path)
{
    int fd = files_make_path(path, &r);
    if (fd >= 0)
        close(fd);
    return fd < 0 ? -1 : 0;
}

static void make_path(void **state)
{
    (void)state;
    assert_int_equal(make("a/b/c"), 0);
    assert_int_equal(mode_of("a/b/c"), S_IFDIR | 0755);
    assert_int_equal(make("a/b/c"), 0);
    assert_int_equal(make("d//e/./../f///"), 0);
    assert_true(S_ISDIR(mode_of("d/f")));
    assert_true(S_ISDIR(mode_of("d/e")));
    /* Through links, also to what does not exist yet. */
    assert_int_equal(symlink("a/b", "l"), 0);
    assert_int_equal(make("l/x"), 0);
    assert_true(S_ISDIR(mode_of("a/b/x")));
    assert_int_equal(symlink("../made/by/link", "a/dangling"), 0);
    assert_int_equal(make("a/dangling/inside"), 0);
    assert_true(S_ISDIR(mode_of("made/by/link/inside")));
    assert_true(S_ISLNK(mode_of("a/dangling")));
    char to[100];
    snprintf(to, sizeof(to), "%s//absolute", top);
    assert_int_equal(symlink(to, "abs"), 0);
    assert_int_equal(make("abs/y"), 0);
    assert_true(S_ISDIR(mode_of("absolute/y")));
}

static void make_path_errors(void **state)
{
    (void)state;
    write_text("file", "");
    assert_int_equal(make("file/x"), -1);
    assert_int_equal(r.error, ENOTDIR);
    assert_int_equal(make("file"), -1);
    assert_int_equal(r.error, ENOTDIR);
    assert_int_equal(symlink("loop", "loop"), 0);
    assert_int_equal(make("loop/x"), -1);
    assert_int_equal(r.error, ELOOP);
    assert_int_equal(symlink("b/x", "a"), 0);
    assert_int_equal(symlink("a/x", "b"), 0);
    assert_int_equal(make("a"), -1);
    assert_int_equal(r.error, ELOOP);
    char name[400];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(make(name), -1);
    assert_int_equal(r.error, ENAMETOOLONG);
    char *path = calloc(1, 2 * AGENT_PATH_MAX);
    assert_non_null(path);
    memset(path, '/', 2 * AGENT_PATH_MAX - 1);
    assert_int_equal(make(path), -1);
    assert_int_equal(r.error, ENAMETOOLONG);
    free(path);
    assert_int_equal(make(""), 0);
}

static void make_path_in_a_root(void **state)
{
    /* With the image as root nothing leads out of it. */
    (void)state;
    if (geteuid()) {
        print_message("# skipped: chroot needs root\n");
        return;
    }
    assert_int_equal(mkdir("root", 0755), 0);
    assert_int_equal(symlink("/../../../out", "root/up"), 0);
    assert_int_equal(symlink("/", "root/self"), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (chroot("root") < 0 || chdir("/") < 0)
            _exit(2);
        _exit(make("/up/../../../../x") == 0 && make("/self/self/y/") == 0 && make("/../../z") == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    static const char *const inside[] = { "root/out", "root/x", "root/y", "root/z" };
    for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++)
        assert_true(S_ISDIR(mode_of(inside[i])));
    assert_int_equal(access("out", F_OK), -1);
}

static void etc(void **state)
{
    (void)state;
    int root = open(".", O_PATH | O_DIRECTORY);
    /* No /etc. */
    assert_int_equal(files_etc(root, "hosts", "one\n", 4, &r), 0);
    expect_text("etc/hosts", "one\n");
    assert_int_equal(mode_of("etc/hosts"), S_IFREG | 0644);
    /* Links, of which the target must stay as it is. */
    write_text("target", "old");
    assert_int_equal(unlink("etc/hosts"), 0);
    assert_int_equal(symlink("../target", "etc/hosts"), 0);
    assert_int_equal(files_etc(root, "hosts", "two\n", 4, &r), 0);
    expect_text("target", "old");
    expect_text("etc/hosts", "two\n");
    assert_true(S_ISREG(mode_of("etc/hosts")));
    assert_int_equal(symlink("/run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf"), 0);
    assert_int_equal(files_etc(root, "resolv.conf", "", 0, &r), 0);
    expect_text("etc/resolv.conf", "");
    /* A directory in its place is an error, and nothing is left behind. */
    assert_int_equal(mkdir("etc/hostname", 0755), 0);
    assert_int_equal(files_etc(root, "hostname", "x", 1, &r), -1);
    assert_int_equal(r.error, EISDIR);
    assert_int_equal(access("etc/.gvmkit-new", F_OK), -1);
    close(root);
}

static void etc_itself(void **state)
{
    (void)state;
    int root = open(".", O_PATH | O_DIRECTORY);
    assert_int_equal(symlink("/usr/etc", "etc"), 0);
    assert_int_equal(files_etc(root, "hosts", "a", 1, &r), 0); /* dangling: replaced */
    assert_true(S_ISDIR(mode_of("etc")));
    expect_text("etc/hosts", "a");
    assert_int_equal(unlink("etc/hosts"), 0);
    assert_int_equal(rmdir("etc"), 0);
    assert_int_equal(mkdir("real", 0755), 0);
    assert_int_equal(symlink("/../real", "etc"), 0); /* inside the root */
    assert_int_equal(files_etc(root, "hosts", "b", 1, &r), 0);
    expect_text("real/hosts", "b");
    assert_int_equal(unlink("etc"), 0);
    write_text("etc", "a file");
    assert_int_equal(files_etc(root, "hosts", "c", 1, &r), 0);
    expect_text("etc/hosts", "c");
    close(root);
}

static void reading(void **state)
{
    (void)state;
    char *text;
    size_t n;
    assert_int_equal(files_read("none", 100, &text, &n), -1);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(files_read("fifo", 100, &text, &n), -1);
    assert_int_equal(files_read(".", 100, &text, &n), -1);
    assert_int_equal(files_read("/dev/zero", 100, &text, &n), -1);
    write_text("long", "0123456789");
    assert_int_equal(files_read("long", 4, &text, &n), 0);
    assert_int_equal(n, 4);
    free(text);
}

static struct text_list list(const char **v)
{
    struct text_list l = { .v = v };
    while (v[l.n])
        l.n++;
    return l;
}

static void hosts(void **state)
{
    (void)state;
    char *text;
    size_t n;
    const char *lines[] = { "10.0.0.1 box other", "fe80::1%eth0  six", NULL };
    struct text_list l = list(lines);
    assert_int_equal(hosts_text(&text, &n, &l, "box", &r), 0);
    text = realloc(text, n + 1);
    text[n] = '\0';
    assert_non_null(strstr(text, "127.0.0.1\tlocalhost\n"));
    assert_non_null(strstr(text, "10.0.0.1 box other\n"));
    assert_null(strstr(text, "127.0.1.1"));
    free(text);
    lines[0] = NULL;
    l = list(lines);
    assert_int_equal(hosts_text(&text, &n, &l, "my-box.example", &r), 0);
    text = realloc(text, n + 1);
    text[n] = '\0';
    assert_non_null(strstr(text, "127.0.1.1\tmy-box.example\n"));
    free(text);
    static const char *const bad[] = { "10.0.0.1",     "box 10.0.0.1", "10.0.0.1 a\nb", "",     " ",
                                       "10.0.0.256 a", "10.0.0.1 #x",  "10.0.0.1\tx",   "1%a x" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        lines[0] = bad[i];
        l = (struct text_list){ lines, 1 };
        assert_int_equal(hosts_text(&text, &n, &l, "box", &r), -1);
        assert_int_equal(r.error, EINVAL);
    }
    l.n = 0;
    assert_int_equal(hosts_text(&text, &n, &l, "a b", &r), -1);
    assert_int_equal(hosts_text(&text, &n, &l, "", &r), -1);
}

static void resolv(void **state)
{
    (void)state;
    char *text;
    size_t n;
    const char *dns[] = { "10.0.2.3", "fd00::3", NULL }, *search[] = { "example.org", "lan", NULL };
    struct hosts h = { .dns = list(dns), .search = list(search) };
    assert_int_equal(resolv_text(&text, &n, &h, &r), 0);
    static const char expected[] = "search example.org lan\nnameserver 10.0.2.3\nnameserver fd00::3\n";
    assert_int_equal(n, sizeof(expected) - 1);
    assert_memory_equal(text, expected, n);
    free(text);
    memset(&h, 0, sizeof(h));
    assert_int_equal(resolv_text(&text, &n, &h, &r), 0);
    assert_int_equal(n, 0);
    free(text);
    dns[0] = "nowhere";
    h.dns = list(dns);
    assert_int_equal(resolv_text(&text, &n, &h, &r), -1);
    h.dns.n = 0;
    search[0] = "a\nnameserver 6.6.6.6";
    h.search = list(search);
    assert_int_equal(resolv_text(&text, &n, &h, &r), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(directories, setup, teardown),
        cmocka_unit_test_setup_teardown(make_path, setup, teardown),
        cmocka_unit_test_setup_teardown(make_path_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(make_path_in_a_root, setup, teardown),
        cmocka_unit_test_setup_teardown(etc, setup, teardown),
        cmocka_unit_test_setup_teardown(etc_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(reading, setup, teardown),
        cmocka_unit_test(hosts),
        cmocka_unit_test(resolv),
    };
    return cmocka_run_group_tests_name("guest_files", tests, NULL, NULL);
}
