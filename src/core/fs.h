/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * File-system helpers. Output files appear whole or not at all: they are written without a name where the file system allows
 * it (O_TMPFILE), else under a temporary name, then synced and renamed over the target.
 */
#ifndef GV_CORE_FS_H
#define GV_CORE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/error.h"

/* Reads up to n bytes, retrying on EINTR and short reads; fewer only at the end of the file. Returns the count or -1 with errno. */
ssize_t gv_read_full(int fd, void *p, size_t n);
ssize_t gv_pread_full(int fd, void *p, size_t n, uint64_t at);
/* Writes all n bytes. 0 or -1 with errno. */
int gv_write_full(int fd, const void *p, size_t n);
int gv_pwrite_full(int fd, const void *p, size_t n, uint64_t at);

/* The whole file at path, at most max bytes, appended to *out (see gv_buf). */
struct gv_buf;
int gv_read_file(const char *path, size_t max, struct gv_buf *out, struct gv_error *err);

/* An output file on its way to `path`. */
struct gv_outfile;
/* Opens for writing (read-write fd). The directory of path must exist. An existing file at path stays until commit. */
int gv_outfile_open(struct gv_outfile **out, const char *path, mode_t mode, struct gv_error *err);
int gv_outfile_fd(const struct gv_outfile *f);
/* Syncs, and makes the content appear under its name; frees f also on failure, leaving nothing behind then. SIGINT and SIGTERM are held
 * back for the moment in which a temporary name exists. */
int gv_outfile_commit(struct gv_outfile *f, struct gv_error *err);
/* Throws the content away and frees f. NULL is fine. */
void gv_outfile_discard(struct gv_outfile *f);

/* An unnamed read-write file for scratch data in $TMPDIR (default /var/tmp, the place for large temporary files). Returns the fd, or -1. */
int gv_scratch_file(struct gv_error *err);

/* Makes the directory and its missing parents, like mkdir -p. */
int gv_mkdir_p(const char *path, mode_t mode, struct gv_error *err);

/* Removes a directory tree without following symbolic links and without crossing into another file system. Missing is fine. Directories
 * that are not writable for their owner are made so first. */
int gv_remove_tree(const char *path, struct gv_error *err);

/* "/a//b/./c/" as "/a/b/c", so that two spellings of a guest's path are the same volume. NULL when it is not an absolute path or holds "..". The
 * result is the caller's to free. Nothing is looked up. */
char *gv_path_normal(const char *path);

/* $XDG_CACHE_HOME/gvmkit (default ~/.cache/gvmkit), made if missing with mode 0700; result is the caller's to free. NULL on failure. */
char *gv_cache_dir(struct gv_error *err);
/* The same of $XDG_DATA_HOME (~/.local/share), for what cannot be made again, and of $XDG_CONFIG_HOME (~/.config). */
char *gv_data_dir(struct gv_error *err);
char *gv_config_dir(struct gv_error *err);
/* The same for what is remembered from one call to the next: $XDG_STATE_HOME/gvmkit (default ~/.local/state/gvmkit). */
char *gv_state_dir(struct gv_error *err);

#endif
