/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the room `transfer`: the parts that transfer.c puts together. */
#ifndef GV_TRANSFER_MOVE_H
#define GV_TRANSFER_MOVE_H

#include "transfer/fileset.h"
#include "transfer/inside.h"
#include "transfer/location.h"

/* What has moved, and whether it is to go on. */
struct move {
    const struct transfer_options *o;
    uint64_t done, total; /* bytes; total may be TRANSFER_SIZE_UNKNOWN */
};

/* Accounts for n more bytes; GV_E_CANCELLED when all is to stop. */
int move_more(struct move *m, uint64_t n, struct gv_error *err);

/* A hash that grows with what is written, if the location asks for one. */
struct check {
    const struct location *of;
    struct gv_hash *hash; /* NULL = none is asked for */
};
void check_init(struct check *c, const struct location *of);
void check_begin(struct check *c); /* anew */
void check_add(struct check *c, const void *p, size_t n);
/* GV_E_CORRUPT when it is another one. */
int check_end(struct check *c, struct gv_error *err);
void check_clear(struct check *c);

/* ---- copy.c ---- */

/* Copies `size` bytes of a file to another, from their beginnings; holes stay holes. The source may be written meanwhile: when it has become shorter,
 * that is an error; what comes after `size` is left. */
int copy_file(struct move *m, int from, uint64_t size, int to, struct check *check, struct gv_error *err);

/* ---- pack.c ---- */

/* Writes the files of the directory that are in the set to fd, as an archive. */
int pack_dir(struct move *m, const struct inside *in, int dir, const struct fileset *set, const char *format, int fd, struct gv_error *err);

/* A copy between this machine and a guest. */
struct copying {
    const char *name; /* of the first entry, below which the others are; "" = they have none above them */
    bool owners;      /* packing: the owners are those of the files; else root */
    mode_t umask;     /* unpacking: what the modes of files and directories must not have */
};
/* Writes what at, of O_PATH, is of to fd as a tar: in this one hard links stay links, and times have their nanoseconds. */
int pack_one(struct move *m, int at, const char *path, const struct copying *c, int fd, struct gv_error *err);

/* ---- unpack.c ---- */

#define UNPACK_ENTRIES_MAX 1000000U
#define UNPACK_PATH_MAX 4096U

/* Makes the files of the archive, of which fd is read from its beginning and has `size` bytes, in the directory. */
int unpack_file(struct move *m, int fd, uint64_t size, const struct inside *in, const struct fileset *set, const char *format,
                struct gv_error *err);

/*
 * Makes the files of a tar that comes from a guest on a descriptor that cannot seek. All must have the name of c or be below it. Directories that are there stay as
 * they are; links are kept whatever they lead to (nothing here follows one out of the directory); devices and pipes are left out with a warning.
 */
int unpack_stream(struct move *m, int fd, const struct inside *in, const struct copying *c, struct gv_error *err);

/* The name of an entry without "." and doubled slashes, for the caller to free; "" for the top itself. NULL with err for one that would lead out
 * or is too long. */
char *unpack_name(const char *name, struct gv_error *err);
/* Whether a link in a directory so many levels below the top stays below it for certain, whatever other links there are. */
bool unpack_link_stays(const char *target, size_t levels);

#endif
