/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside the room `packages`: what the readers of databases have in common. A reader names a package with packages_set_package(), then claims its
 * files; packages_set_finish() gives the numbers. A reader returns 0 also for a database it cannot read, after a note; negative only when the
 * image itself could not be read.
 */
#ifndef GV_PACKAGES_DB_H
#define GV_PACKAGES_DB_H

#include "packages/packages.h"

#define PACKAGES_DB_MAX ((uint64_t)256 << 20)  /* bytes read of all databases together */
#define PACKAGES_LINE_MAX 8192                 /* bytes of a line of text, or of a path; longer ones are of no package */
#define PACKAGES_NAME_MAX 255                  /* bytes of a package's name */
#define PACKAGES_COUNT_MAX ((uint32_t)1 << 17) /* packages; Debian has half as many in all */

struct packages_set;

struct packages_set *packages_set_new(struct image_tree *tree, const struct gv_log *log) __attribute__((returns_nonnull));
void packages_set_free(struct packages_set *s);
DEFINE_CLEANUP(packages_set, struct packages_set *, packages_set_free)

struct image_tree *packages_set_tree(const struct packages_set *s);
const struct gv_log *packages_set_log(const struct packages_set *s);

/* Takes `bytes` from what may still be read of databases; false when there is not so much left. */
bool packages_set_spend(struct packages_set *s, uint64_t bytes);

/* A number for a package, for packages_set_claim: the same name can be given again, and need not get the same number. 0, which claims nothing,
 * when the name is empty, too long or holds a NUL, or when there are too many packages. */
uint32_t packages_set_package(struct packages_set *s, const char *name, size_t len);

/* The regular file `base` of the directory at path `dir` (from the root, with or without a leading slash; symbolic links in it are followed
 * inside the tree) belongs to the package. What is not there, or no regular file, is passed over. */
void packages_set_claim(struct packages_set *s, uint32_t package, const char *dir, size_t dir_len, const char *base, size_t base_len);
/* The same with a whole path. */
void packages_set_claim_path(struct packages_set *s, uint32_t package, const char *path, size_t len);
/* The same with a node. */
void packages_set_claim_node(struct packages_set *s, uint32_t package, struct image_node *node);

/* From now on the file that a package calls `from` is to be found at `to`, unless the package is the one called `owner`: dpkg's
 * diversions. */
void packages_set_divert(struct packages_set *s, const char *from, size_t from_len, const char *to, size_t to_len, const char *owner,
                         size_t owner_len);

/* Writes the groups into the tree and counts them. */
void packages_set_finish(struct packages_set *s, struct packages_summary *out);

/* ---- text files ----------------------------------------------------------------------------------------------------------------- */

/* Calls fn for each line of the file, without its newline and not NUL-terminated. Lines longer than PACKAGES_LINE_MAX are left out. Stops with a note
 * when the databases are too large together. what names the database for the note. */
int packages_lines(struct packages_set *s, const struct image_node *file, const char *what,
                   void (*fn)(void *user, const char *line, size_t len), void *user, struct gv_error *err);

/* ---- the databases: `found` is set when there is one --------------------------------------------------------------------------------- */

int packages_read_dpkg(struct packages_set *s, bool *found, struct gv_error *err);
int packages_read_apk(struct packages_set *s, bool *found, struct gv_error *err);
int packages_read_rpm(struct packages_set *s, bool *found, struct gv_error *err);

/* One rpm header as it is in the databases: claims its files. -1 and a reason when it is not one. */
int packages_rpm_header(struct packages_set *s, const unsigned char *p, size_t n, struct gv_error *err);
/* The headers of a Packages.db, and of an rpmdb.sqlite, which are n bytes at p; the latter is taken over (it is sqlite3_malloc64 memory). -1
 * and a reason when it is not one; what was read before stays. */
int packages_rpm_ndb(struct packages_set *s, const unsigned char *p, size_t n, struct gv_error *err);
int packages_rpm_sqlite(struct packages_set *s, unsigned char *p, size_t n, struct gv_error *err);

#endif
