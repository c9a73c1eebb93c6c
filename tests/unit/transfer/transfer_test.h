/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A work directory with two volumes, and what the tests of the room share. */
#ifndef GV_TEST_TRANSFER_H
#define GV_TEST_TRANSFER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "transfer/move.h"

static char test_workdir[] = "/var/tmp/gvmkit-test-transfer-XXXXXX";
static struct transfer_volume test_volumes[] = { { (char[]){ "/data" }, (char[]){ "vol-1" } },
                                                 { (char[]){ "/data/inner" }, (char[]){ "vol-2" } } };
static struct transfer_options test_options = { .workdir = test_workdir, .volumes = test_volumes, .volume_count = 2, .wait_ms = 1 };

static inline char *test_path(const char *name)
{
    return gv_asprintf("%s/%s", test_workdir, name);
}

static inline void test_write(const char *name, const void *p, size_t n)
{
    cleanup_free char *path = test_path(name);
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(gv_write_full(fd, p, n), 0);
}

static inline void test_text(const char *name, const char *text)
{
    test_write(name, text, strlen(text));
}

static inline void assert_file(const char *name, const char *text)
{
    cleanup_free char *path = test_path(name);
    cleanup_buf struct gv_buf b = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (gv_read_file(path, 1 << 20, &b, &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(gv_buf_str(&b), text);
}

static inline bool test_exists(const char *name)
{
    cleanup_free char *path = test_path(name);
    struct stat st;
    return lstat(path, &st) == 0;
}

static inline void test_mkdir(const char *name)
{
    cleanup_free char *path = test_path(name);
    assert_int_equal(gv_mkdir_p(path, 0755, NULL), 0);
}

/* A number as 9p keeps it. */
static inline void test_mark(const char *name, const char *attribute, uint32_t v)
{
    cleanup_free char *path = test_path(name);
    const unsigned char b[4] = { (unsigned char)v, (unsigned char)(v >> 8), (unsigned char)(v >> 16), (unsigned char)(v >> 24) };
    if (setxattr(path, attribute, b, sizeof(b), 0) < 0) {
        print_message("no user xattrs in /var/tmp: %s\n", strerror(errno));
        skip();
    }
}

static inline uint32_t test_marked(const char *name, const char *attribute)
{
    cleanup_free char *path = test_path(name);
    unsigned char b[4] = { 0 };
    assert_int_equal(getxattr(path, attribute, b, sizeof(b)), 4);
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* A volume whose attributes 9p keeps; it belongs to uid 7 and gid 8. */
static inline void test_map_volume(const char *name)
{
    test_mark(name, "user.virtfs.uid", 7);
    test_mark(name, "user.virtfs.gid", 8);
    test_mark(name, "user.virtfs.mode", S_IFDIR | 0755);
}

static inline int test_setup(void **state)
{
    (void)state;
    strcpy(strrchr(test_workdir, '-'), "-XXXXXX");
    assert_non_null(mkdtemp(test_workdir));
    test_mkdir("vol-1");
    test_mkdir("vol-2");
    return 0;
}

static inline int test_teardown(void **state)
{
    (void)state;
    return gv_remove_tree(test_workdir, NULL);
}

/* Transfers and wants success. */
static inline void test_transfer(const char *from, const char *to, const char *format)
{
    struct gv_error err = GV_ERROR_INIT;
    if (transfer_run(&test_options, &(struct transfer_request){ .from = from, .to = to, .format = format }, &err) < 0)
        fail_msg("%s -> %s: %s", from, to, err.msg);
}

/* Wants a failure whose message has the text in it. */
static inline void test_refused(const char *from, const char *to, const char *format, enum gv_code code, const char *text)
{
    struct gv_error err = GV_ERROR_INIT;
    if (transfer_run(&test_options, &(struct transfer_request){ .from = from, .to = to, .format = format }, &err) == 0)
        fail_msg("%s -> %s has not failed", from, to);
    if (err.code != code || !strstr(err.msg, text))
        fail_msg("%s -> %s: code %d, %s", from, to, (int)err.code, err.msg);
}

static inline char *test_url(const char *name)
{
    return gv_asprintf("file:%s/%s", test_workdir, name);
}

#endif
