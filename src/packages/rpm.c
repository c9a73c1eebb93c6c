/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where rpm keeps its database: /var/lib/rpm, or /usr/lib/sysimage/rpm of which the former is often a link. It is one of
 *
 *     rpmdb.sqlite   SQLite (Fedora, RHEL 9 and later): rpm_sqlite.c
 *     Packages.db    ndb (SUSE), below
 *     Packages       Berkeley DB (RHEL 8 and older): not read
 *
 * ndb (rpm's lib/backend/ndb/rpmpkg.c; little endian): a header of 32 bytes, then slots of 16 bytes that fill whole pages, then blobs at multiples of
 * 16 bytes. Offsets and lengths in slots count such blocks.
 *
 *     header   "RpmP", u32 version 0, u32 generation, u32 pages of header and slots, ...
 *     slot     "Slot", u32 package, u32 first block (0 = free), u32 blocks
 *     blob     "BlbS", u32 package, u32 generation, u32 length; the bytes, padded; u32 Adler-32, u32 length, "BlbE"
 */
#include <sqlite3.h>
#include <string.h>

#include "packages/db.h"

enum { NDB_PAGE = 4096, NDB_HEADER = 32, NDB_BLOCK = 16, BLOB_HEAD = 16, BLOB_TAIL = 12 };

static uint32_t le32(const unsigned char *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static int ndb_broken(const char *what, struct gv_error *err)
{
    return gv_error_set(err, GV_E_FORMAT, 0, "%s", what);
}

int packages_rpm_ndb(struct packages_set *s, const unsigned char *p, size_t n, struct gv_error *err)
{
    if (n < NDB_PAGE || memcmp(p, "RpmP", 4) != 0 || le32(p + 4) != 0)
        return ndb_broken("it is no ndb of version 0", err);
    uint64_t slots_end = (uint64_t)le32(p + 12) * NDB_PAGE;
    if (slots_end < NDB_PAGE || slots_end > n)
        return ndb_broken("its slots are cut short", err);
    size_t total = 0;
    for (const unsigned char *slot = p + NDB_HEADER; slot < p + slots_end; slot += NDB_BLOCK) {
        if (memcmp(slot, "Slot", 4) != 0)
            return ndb_broken("a slot is not one", err);
        uint64_t at = (uint64_t)le32(slot + 8) * NDB_BLOCK, room = (uint64_t)le32(slot + 12) * NDB_BLOCK;
        if (at == 0)
            continue;
        if (at > n || room > n - at || room < BLOB_HEAD + BLOB_TAIL)
            return ndb_broken("a package is outside of the file", err);
        const unsigned char *blob = p + at;
        uint32_t len = le32(blob + 12);
        if (memcmp(blob, "BlbS", 4) != 0 || memcmp(blob + 4, slot + 4, 4) != 0 || len > room - BLOB_HEAD - BLOB_TAIL)
            return ndb_broken("a package is not where its slot says", err);
        /* Slots that share blobs could make the work larger than the file. */
        total += len;
        if (total > n)
            return ndb_broken("its packages are larger than the file", err);
        if (packages_rpm_header(s, blob + BLOB_HEAD, len, err) < 0)
            return -1;
    }
    return 0;
}

static void sqlite_free(unsigned char **p)
{
    sqlite3_free(*p);
}

static int read_database(struct packages_set *s, const struct image_node *file, bool ndb, struct gv_error *err)
{
    const struct gv_log *log = packages_set_log(s);
    const char *name = file->name;
    static const char unread[] = "files of its packages are stored by directory";
    if (file->inode->size == 0)
        return 0;
    if (!packages_set_spend(s, file->inode->size)) {
        gv_note(log, "the image's rpm database `%s` is too large to be read: %s", name, unread);
        return 0;
    }
    size_t n = (size_t)file->inode->size;
    __attribute__((cleanup(sqlite_free))) unsigned char *p = sqlite3_malloc64(n);
    if (!p) {
        gv_note(log, "there is no memory for the image's rpm database `%s`: %s", name, unread);
        return 0;
    }
    if (image_tree_read(packages_set_tree(s), file->inode, 0, p, n, err) < 0)
        return gv_error_prefix(err, "reading `%s` of the image's rpm database", name);
    struct gv_error why = GV_ERROR_INIT;
    int status = ndb ? packages_rpm_ndb(s, p, n, &why) : packages_rpm_sqlite(s, steal_ptr(p), n, &why);
    if (status < 0)
        gv_note(log, "the image's rpm database `%s` cannot be read to its end (%s): %s", name, why.msg, unread);
    return 0;
}

int packages_read_rpm(struct packages_set *s, bool *found, struct gv_error *err)
{
    static const char *const dirs[] = { "/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm" };
    const struct image_node *seen[3] = { 0 };
    bool berkeley = false;
    for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
        const struct image_node *dir = image_tree_lookup(packages_set_tree(s), dirs[i], true);
        if (!dir || dir->inode->type != IMAGE_DIR || dir == seen[0] || dir == seen[1])
            continue;
        seen[i] = dir;
        const struct image_node *sqlite = image_node_child(dir, "rpmdb.sqlite", 12), *ndb = image_node_child(dir, "Packages.db", 11);
        const struct image_node *old = image_node_child(dir, "Packages", 8);
        const struct image_node *file = sqlite && sqlite->inode->type == IMAGE_FILE ? sqlite : ndb;
        if (file && file->inode->type == IMAGE_FILE) {
            *found = true;
            if (read_database(s, file, file == ndb, err) < 0)
                return -1;
        } else if (old && old->inode->type == IMAGE_FILE) {
            berkeley = true;
        }
    }
    if (berkeley && !*found)
        gv_debug(packages_set_log(s), "the image's rpm database is a Berkeley DB, which is not read: files are stored by directory");
    return 0;
}
