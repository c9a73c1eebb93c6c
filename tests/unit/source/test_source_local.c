/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Standard input as a source: pipes, files in place and from their middle, terminals, limits. And a Dockerfile, with a builder of our own. */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void expect_error(const char *reference, const struct source_options *options, const char *error)
{
    struct gv_error err = GV_ERROR_INIT;
    struct source_image image = { 0 };
    if (source_load(&image, reference, options, &err) == 0)
        fail_msg("accepted; expected `%s`", error);
    if (!strstr(err.msg, error))
        fail_msg("expected `%s` in: %s", error, err.msg);
    assert_null(image.tree);
}

/* Puts the descriptor in the place of standard input; the old one comes back by restore_input. */
static int set_input(int fd)
{
    int old = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
    assert_int_equal(dup2(fd, STDIN_FILENO), STDIN_FILENO);
    close(fd);
    return old;
}

static void restore_input(int old)
{
    if (old < 0) {
        close(STDIN_FILENO);
        return;
    }
    assert_int_equal(dup2(old, STDIN_FILENO), STDIN_FILENO);
    close(old);
}

struct feed {
    pthread_t thread;
    int fd, old;
    const struct gv_buf *bytes;
};

/* In small pieces, as programs write into pipes; one that nobody reads any more is no failure. */
static void *feed_run(void *user)
{
    struct feed *f = user;
    for (size_t at = 0; at < f->bytes->len;) {
        size_t n = f->bytes->len - at < 3000 ? f->bytes->len - at : 3000;
        if (gv_write_full(f->fd, f->bytes->data + at, n) < 0)
            break;
        at += n;
    }
    close(f->fd);
    return NULL;
}

static void feed_begin(struct feed *f, const struct gv_buf *bytes)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    *f = (struct feed){ .fd = ends[1], .bytes = bytes };
    f->old = set_input(ends[0]);
    assert_int_equal(pthread_create(&f->thread, NULL, feed_run, f), 0);
}

static void feed_end(struct feed *f)
{
    restore_input(f->old);
    assert_int_equal(pthread_join(f->thread, NULL), 0);
}

static void make_tar(struct gv_buf *out)
{
    struct tarb t = { 0 };
    tarb_text(&t, "d etc\n f etc/a hello");
    tarb_end(&t);
    gv_buf_add(out, t.out.data, t.out.len);
    tarb_clear(&t);
}

static void make_docker(const char *dir, struct gv_buf *out)
{
    cleanup_buf struct gv_buf tar = { 0 };
    cleanup_free char *path = path_in(dir, "docker.tar");
    make_tar(&tar);
    struct layer_bytes layer = { .p = tar.data, .n = tar.len };
    write_docker_archive(path, &layer, 1, "a:b");
    assert_int_equal(gv_read_file(path, 1 << 20, out, NULL), 0);
}

static void expect_tree(const char *reference)
{
    struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (source_load(&image, reference, NULL, &err) < 0)
        fail_msg("%s: %s", reference, err.msg);
    assert_tree(&image, "/etc d\n/etc/a f hello\n");
    source_image_clear(&image);
}

static void test_pipes(void **state)
{
    (void)state;
    char *dir = temp_make();
    struct gv_buf tar = { 0 }, docker = { 0 }, tar_zstd = { 0 }, docker_gzip = { 0 };
    make_tar(&tar);
    make_docker(dir, &docker);
    zstd_into(&tar_zstd, tar.data, tar.len);
    gzip_into(&docker_gzip, docker.data, docker.len);
    const struct {
        const struct gv_buf *bytes;
        const char *reference;
    } cases[] = {
        { &tar, "-" },
        { &tar, "tar:-" },
        { &tar_zstd, "-" },
        { &tar_zstd, "tar:-" },
        { &docker, "-" },
        { &docker, "docker-archive:-" },
        { &docker, "docker-archive:-:a:b" },
        { &docker_gzip, "-" },
        { &docker_gzip, "docker-archive:-" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct feed feed;
        feed_begin(&feed, cases[i].bytes);
        expect_tree(cases[i].reference);
        feed_end(&feed);
    }
    struct feed feed;
    feed_begin(&feed, &tar);
    expect_error("docker-archive:-", NULL, "standard input: this is not a Docker archive: it has neither manifest.json nor repositories");
    feed_end(&feed);
    feed_begin(&feed, &docker);
    expect_error("docker-archive:-:other", NULL, "standard input: there is no image `other`");
    feed_end(&feed);
    gv_buf_clear(&tar);
    gv_buf_clear(&docker);
    gv_buf_clear(&tar_zstd);
    gv_buf_clear(&docker_gzip);
    temp_remove(dir);
}

static void test_limits(void **state)
{
    (void)state;
    struct gv_buf tar = { 0 };
    make_tar(&tar);
    gv_buf_reserve(&tar, 1 << 20);
    memset(tar.data + tar.len, 0, 1 << 20);
    tar.len += 1 << 20;
    struct feed feed;
    feed_begin(&feed, &tar);
    expect_error("tar:-", &(struct source_options){ .max_bytes = 300000 },
                 "standard input: it has more than 300000 bytes; a larger limit can be given with --max-size");
    feed_end(&feed);
    gv_buf_clear(&tar);
}

/* A file needs no copy when all of it is meant. */
static void test_files(void **state)
{
    (void)state;
    char *dir = temp_make(), *path = path_in(dir, "file"), *old_tmp = getenv("TMPDIR") ? gv_strdup(getenv("TMPDIR")) : NULL;
    struct gv_buf tar = { 0 };
    make_tar(&tar);
    write_file(path, tar.data, tar.len);
    setenv("TMPDIR", "/does/not/exist", 1);
    int old = set_input(open(path, O_RDONLY | O_CLOEXEC));
    expect_tree("-");
    expect_tree("tar:-");
    assert_int_equal(lseek(STDIN_FILENO, 0, SEEK_CUR), 0);
    restore_input(old);
    /* From the middle of one, what comes before is not part of it. */
    struct gv_buf with = { 0 };
    gv_buf_add(&with, "a line\n", 7);
    gv_buf_add(&with, tar.data, tar.len);
    write_file(path, with.data, with.len);
    old = set_input(open(path, O_RDONLY | O_CLOEXEC));
    assert_int_equal(lseek(STDIN_FILENO, 7, SEEK_SET), 7);
    expect_error("-", NULL, "set TMPDIR");
    if (old_tmp)
        setenv("TMPDIR", old_tmp, 1);
    else
        unsetenv("TMPDIR");
    assert_int_equal(lseek(STDIN_FILENO, 7, SEEK_SET), 7);
    expect_tree("-");
    restore_input(old);
    gv_buf_clear(&with);
    gv_buf_clear(&tar);
    free(old_tmp);
    free(path);
    temp_remove(dir);
}

static void test_wrong(void **state)
{
    (void)state;
    char *dir = temp_make(), *fifo = path_in(dir, "fifo"), *fingerprint = NULL;
    int terminal, other;
    assert_int_equal(openpty(&other, &terminal, NULL, NULL, NULL), 0);
    int old = set_input(terminal);
    expect_error("-", NULL, "standard input: it is a terminal, and an archive is expected; pipe one into it");
    expect_error("tar:-", NULL, "it is a terminal");
    restore_input(old);
    close(other);
    old = set_input(open(dir, O_RDONLY | O_CLOEXEC));
    expect_error("-", NULL, "standard input: it is a directory");
    restore_input(old);
    old = set_input(open("/dev/null", O_RDONLY | O_CLOEXEC));
    expect_error("-", NULL, "standard input: the file is empty");
    expect_error("tar:-", NULL, "standard input: the file is empty");
    close(STDIN_FILENO);
    expect_error("-", NULL, "standard input: nothing can be read from it");
    assert_int_equal(open("/dev/null", O_RDONLY), STDIN_FILENO);
    restore_input(old);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_error(fifo, NULL, "neither a file nor a directory; a pipe can be read with `-`");
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(source_fingerprint("-", &fingerprint, &err), -1);
    assert_int_equal(err.code, GV_E_UNSUPPORTED);
    free(fifo);
    temp_remove(dir);
}

/* ---- a Dockerfile ---- */

/* A program that notes how it was called and what is open in it, and writes the archive for what buildah, or docker, would. */
static void write_builder(const char *path, const char *dir, const char *script)
{
    cleanup_free char *text = gv_asprintf("#!/bin/sh\necho \"$@\" >>%s/calls\n%s\n", dir, script);
    write_file(path, text, strlen(text));
    assert_int_equal(chmod(path, 0755), 0);
}

static void check_calls(const char *dir, const char *expected)
{
    cleanup_free char *path = path_in(dir, "calls");
    cleanup_buf struct gv_buf b = { 0 };
    assert_int_equal(gv_read_file(path, 1 << 16, &b, NULL), 0);
    assert_string_equal(gv_buf_str(&b), expected);
    assert_int_equal(unlink(path), 0);
}

static void test_dockerfile(void **state)
{
    (void)state;
    char *dir = temp_make(), *context = path_in(dir, "context"), *dockerfile = path_in(dir, "context/Dockerfile"),
         *tmp = path_in(dir, "tmp"), *buildah = path_in(dir, "buildah-1"), *docker = path_in(dir, "docker"),
         *old = getenv("TMPDIR") ? gv_strdup(getenv("TMPDIR")) : NULL;
    cleanup_free char *reference = gv_asprintf("dockerfile:%s", context), *file = gv_asprintf("dockerfile:%s", dockerfile);
    cleanup_buf struct gv_buf archive = { 0 };
    make_docker(dir, &archive);
    assert_int_equal(mkdir(context, 0755), 0);
    assert_int_equal(mkdir(tmp, 0755), 0);
    setenv("TMPDIR", tmp, 1);
    expect_error(reference, NULL, "there is no Dockerfile in it");
    write_file(dockerfile, "FROM scratch\n", 13);
    setenv("GVMKIT_BUILDER", buildah, 1);
    expect_error(reference, NULL, "there is no program");

    cleanup_free char *copy =
        gv_asprintf("case $1 in bud|build) echo sha256:0123 >id; [ -z \"$(cat)\" ];; *) cp %s/docker.tar image.tar;; esac", dir);
    cleanup_free char *bud = gv_asprintf(
        "bud --iidfile id -f %s --layers --force-rm %s\npush --quiet sha256:0123 docker-archive:image.tar\n", dockerfile, context);
    write_builder(buildah, dir, copy);
    struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (source_load(&image, reference, &(struct source_options){ .platform = "linux/amd64" }, &err) < 0)
        fail_msg("%s", err.msg);
    assert_tree(&image, "/etc d\n/etc/a f hello\n"); /* read though the builder's directory is gone */
    source_image_clear(&image);
    cleanup_free char *with_platform = gv_asprintf("bud --iidfile id -f %s --layers --force-rm --platform linux/amd64 %s\n"
                                                   "push --quiet sha256:0123 docker-archive:image.tar\n",
                                                   dockerfile, context);
    check_calls(dir, with_platform);
#ifdef __x86_64__
    expect_tree(file);
    check_calls(dir, bud);
#endif
    write_builder(docker, dir, copy);
    setenv("GVMKIT_BUILDER", docker, 1);
    if (source_load(&image, file, &(struct source_options){ .platform = "linux/amd64" }, &err) < 0)
        fail_msg("%s", err.msg);
    source_image_clear(&image);
    cleanup_free char *build =
        gv_asprintf("build --iidfile id -f %s --platform linux/amd64 %s\nsave -o image.tar sha256:0123\n", dockerfile, context);
    check_calls(dir, build);

    write_builder(docker, dir, "exit 3");
    expect_error(reference, NULL, "`docker build` failed with the status 3; it has said why above");
    write_builder(docker, dir, "kill -KILL $$");
    expect_error(reference, NULL, "`docker build` was ended by the signal Killed");
    write_builder(docker, dir, ":");
    expect_error(reference, NULL, "id");
    write_builder(docker, dir, "echo --privileged >id");
    expect_error(reference, NULL, "has not said which image it built");
    write_builder(docker, dir, "echo sha256:12 >id");
    expect_error(reference, NULL, "has not written an image");
    write_builder(docker, dir, "echo sha256:12 >id; echo wrong >image.tar");
    expect_error(reference, NULL, "this is not a tar archive");
    assert_int_equal(rmdir(tmp), 0); /* nothing is left in it */
    unsetenv("GVMKIT_BUILDER");
    if (old)
        setenv("TMPDIR", old, 1);
    else
        unsetenv("TMPDIR");
    free(old);
    free(docker);
    free(buildah);
    free(tmp);
    free(dockerfile);
    free(context);
    temp_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipes), cmocka_unit_test(test_limits),     cmocka_unit_test(test_files),
        cmocka_unit_test(test_wrong), cmocka_unit_test(test_dockerfile),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("source_local", tests, NULL, NULL);
}
