/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Input that is given as it is: files by their names, standard input, and tars of a whole root file system. Everything behind these works on regular
 * files by offsets, so what can only be read once is copied to an unnamed scratch file first.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "source/open.h"
#include "source/plan.h"
#include "source/store.h"

#define SPOOL_PIECE ((size_t)256 * 1024)

static int too_large(const struct source_budget *b, struct gv_error *err)
{
    gv_error_set(err, GV_E_LIMIT, 0, "it has more than %" PRIu64 " bytes", b->max_bytes);
    return gv_error_hint(err, "a larger limit can be given with --max-size");
}

/* Copies all that can still be read from `in`. The new descriptor, or -1. */
static int spool(int in, const struct source_context *c, struct gv_error *err)
{
    cleanup_close int out = gv_scratch_file(err);
    if (out < 0)
        return -1;
    struct spool s = { .fd = out };
    cleanup_free unsigned char *buf = gv_alloc(SPOOL_PIECE);
    for (;;) {
        /* Whole pieces: pipes give less at a time, and holes are found in whole pages. */
        ssize_t got = gv_read_full(in, buf, SPOOL_PIECE);
        if (got < 0)
            return gv_error_errno(err, "cannot read");
        if (got == 0)
            break;
        if ((uint64_t)got > c->budget->max_bytes || s.at > c->budget->max_bytes - (uint64_t)got)
            return too_large(c->budget, err);
        if (spool_write(&s, buf, (size_t)got, err) < 0)
            return -1;
        gv_progress_update(c->options->progress, "reading standard input", s.at, 0);
    }
    if (spool_finish(&s, err) < 0)
        return -1;
    return steal_fd(&out);
}

static int open_stdin(int *fd, const struct source_context *c, struct gv_error *err)
{
    struct stat st;
    if (fstat(STDIN_FILENO, &st) < 0)
        return gv_error_set(err, GV_E_USAGE, errno, "nothing can be read from it");
    if (isatty(STDIN_FILENO)) {
        gv_error_set(err, GV_E_USAGE, 0, "it is a terminal, and an archive is expected");
        return gv_error_hint(err, "pipe one into it, as in `docker save NAME | gvmkit build - -o FILE`");
    }
    if (S_ISDIR(st.st_mode))
        return gv_error_set(err, GV_E_FORMAT, 0, "it is a directory");
    /* A file that somebody has read the beginning of is meant from there on. */
    if (S_ISREG(st.st_mode) && lseek(STDIN_FILENO, 0, SEEK_CUR) == 0) {
        *fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
        return *fd < 0 ? gv_error_errno(err, "cannot keep it open") : 0;
    }
    *fd = spool(STDIN_FILENO, c, err);
    return *fd < 0 ? -1 : 0;
}

int input_open(int *fd, const char *path, const struct source_context *c, struct gv_error *err)
{
    if (strcmp(path, "-") == 0)
        return open_stdin(fd, c, err) < 0 ? gv_error_prefix(err, "standard input") : 0;
    cleanup_close int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (opened < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open `%s`", path);
    struct stat st;
    if (fstat(opened, &st) < 0)
        return gv_error_errno(err, "cannot look at `%s`", path);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        gv_error_set(err, GV_E_FORMAT, 0, "`%s` is neither a file nor a directory", path);
        return S_ISFIFO(st.st_mode) ? gv_error_hint(err, "a pipe can be read with `-` and < before its name") : -1;
    }
    *fd = steal_fd(&opened);
    return 0;
}

int tar_open(struct archive **out, int fd, struct gv_error *err)
{
    cleanup_close int mine = fd;
    struct stat st;
    if (fstat(mine, &st) < 0)
        return gv_error_errno(err, "cannot look at it");
    if (!S_ISREG(st.st_mode)) {
        gv_error_set(err, GV_E_FORMAT, 0, "it is not a file");
        return S_ISDIR(st.st_mode) ? gv_error_hint(err, "a directory is given as dir:PATH") : -1;
    }
    return archive_open_layer(out, steal_fd(&mine), err);
}

int plan_tar(struct plan *p, const struct platform *platform)
{
    plan_add_layer(p)->name = gv_strdup(ARCHIVE_LAYER);
    p->platform.os = gv_strdup(platform->os);
    p->platform.architecture = gv_strdup(platform->architecture);
    return 0;
}
