/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `transfer`: names in a directory, which may be a volume that a guest changes at this very moment.
 *
 * A name is followed without ever leaving the directory. openat2(2) with RESOLVE_BENEATH does that for names without symbolic links; for others, and on
 * kernels that do not have it, each component is opened by itself below the descriptor of the one before it (O_NOFOLLOW), and ".." goes back to a
 * descriptor that we hold, never to what the kernel finds there now. So it makes no difference what the guest moves or links meanwhile: nothing is looked
 * at twice by its name, and nothing outside can be reached.
 *
 * A guest's links come in two forms. With 9p's mapped-xattr a link is a file with its target in it, and an attribute (user.virtfs.mode) that says so;
 * owners and modes are kept alike. Other runtimes have real ones. Both are followed, as the guest would: an absolute one when it leads into the same volume.
 */
#ifndef GV_TRANSFER_INSIDE_H
#define GV_TRANSFER_INSIDE_H

#include <sys/stat.h>

#include "core/core.h"

#define INSIDE_DEPTH_MAX 256U
#define INSIDE_LINK_MAX 4095U /* bytes of a target */

struct inside {
    int root;
    bool guest;       /* it is a volume */
    bool mapped;      /* a volume whose owners, modes and links are in attributes */
    const char *path; /* of the volume in the container, or of the directory on the host: for links and messages */
};

/* Takes over root. */
void inside_init(struct inside *in, int root, bool guest, const char *path);
void inside_clear(struct inside *in);

/* What the guest sees of a file. */
struct inside_stat {
    mode_t mode; /* with the type */
    uid_t uid;
    gid_t gid;
    uint64_t size;
    struct timespec mtime;
};
/* fd may be one of O_PATH. -1 with errno. */
int inside_stat(const struct inside *in, int fd, struct inside_stat *st);
/* The target of a link that inside_stat() has seen. fd is of O_PATH. -1 with errno. */
int inside_read_link(const struct inside *in, int fd, char out[INSIDE_LINK_MAX + 1]);

/* Opens the component of a directory without following it, of O_PATH. -1 with errno. */
int inside_at(int dir, const char *component);
/* A descriptor for reading of what an O_PATH descriptor is of: a regular file or a directory. -1 with errno. */
int inside_reopen(int path_fd, int flags);

/* Opens what `path` (relative; "" is the directory itself) leads to, links followed: for reading, a regular file or a directory. */
int inside_open(const struct inside *in, const char *path, struct inside_stat *st, struct gv_error *err);
/* Opens the directory that the last component of path is in, making those on the way that are missing. *last is that component, in path. A path without
 * one is GV_E_USAGE. */
int inside_parent(const struct inside *in, const char *path, const char **last, struct gv_error *err);
/* Opens the directory, making it and those on the way that are missing. */
int inside_make_dir(const struct inside *in, const char *path, struct gv_error *err);

/* "`/volume/path`: what: reason"; returns -1. GV_E_NOT_FOUND for ENOENT. */
int inside_failed(const struct inside *in, const char *path, const char *what, int sys, struct gv_error *err);

/* ---- create.c --------------------------------------------------------------------------------------------------------------------- */

/* The owner and mode that the guest is to see. mode has no type. */
struct inside_owner {
    uid_t uid;
    gid_t gid;
    mode_t mode;
};

/* Makes the directory `name`, as one that belongs to whom `dir` belongs to. EEXIST when it is there. -1 with errno. */
int inside_mkdir(const struct inside *in, int dir, const char *name);
/* Makes a symbolic link in the form that the guest reads, in the place of what is there unless that is a directory. -1 with errno. */
int inside_symlink(const struct inside *in, int dir, const char *name, const char *target, const struct inside_owner *owner);
/* Gives a file or directory that we have made its owner and mode. Best effort for owners, which only volumes keep. -1 with errno. */
int inside_give(const struct inside *in, int fd, mode_t type, const struct inside_owner *owner);

/* A file on its way to a name. */
struct inside_file {
    const struct inside *in;
    int dir, fd;
    char *path;         /* below the directory of `in` */
    const char *name;   /* its last component */
    char temporary[32]; /* "" while it has no name */
    struct inside_owner owner;
};
/* Takes over dir, in which the last component of path is. The file gets the owner and mode of the file that it is going to replace, else those of the directory and 0644. */
int inside_file_open(struct inside_file *f, const struct inside *in, int dir, const char *path, struct gv_error *err);
/* Gives it its name, in the place of what is there unless that is a directory, and clears f, also on failure. */
int inside_file_commit(struct inside_file *f, struct gv_error *err);
/* Throws it away. Zero-initialised with dir and fd -1, or cleared, is fine. */
void inside_file_discard(struct inside_file *f);

#endif
