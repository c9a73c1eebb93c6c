/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/libarchive.h"

#include <pthread.h>
#include <string.h>

#define LIBRARY "libarchive.so.13"

/* Written once, by whoever comes first. */
static struct archive_api api;
static bool loaded;

static void load(void)
{
#define ENTRY(name) GV_LIBRARY_ENTRY(struct archive_api, "archive_", name)
    static const struct gv_library_entry entries[] = {
        ENTRY(error_string),
        ENTRY(read_new),
        ENTRY(read_free),
        ENTRY(read_support_format_tar),
        ENTRY(read_support_format_zip),
        ENTRY(read_support_filter_gzip),
        ENTRY(read_support_filter_bzip2),
        ENTRY(read_support_filter_xz),
        ENTRY(read_open_fd),
        ENTRY(read_next_header),
        ENTRY(read_data_block),
        ENTRY(write_new),
        ENTRY(write_free),
        ENTRY(write_fail),
        ENTRY(write_close),
        ENTRY(write_set_format_pax),
        ENTRY(write_set_format_pax_restricted),
        ENTRY(write_set_format_zip),
        ENTRY(write_zip_set_compression_store),
        ENTRY(write_add_filter_gzip),
        ENTRY(write_add_filter_bzip2),
        ENTRY(write_add_filter_xz),
        ENTRY(write_open_fd),
        ENTRY(write_header),
        ENTRY(write_data),
        ENTRY(entry_new),
        ENTRY(entry_free),
        ENTRY(entry_pathname),
        ENTRY(entry_filetype),
        ENTRY(entry_perm),
        ENTRY(entry_size),
        ENTRY(entry_size_is_set),
        ENTRY(entry_symlink),
        ENTRY(entry_hardlink),
        ENTRY(entry_mtime),
        ENTRY(entry_mtime_is_set),
        ENTRY(entry_mtime_nsec),
        ENTRY(entry_set_pathname),
        ENTRY(entry_set_filetype),
        ENTRY(entry_set_perm),
        ENTRY(entry_set_size),
        ENTRY(entry_set_uid),
        ENTRY(entry_set_gid),
        ENTRY(entry_set_symlink),
        ENTRY(entry_set_hardlink),
        ENTRY(entry_set_mtime),
    };
    _Static_assert(sizeof(entries) / sizeof(*entries) * sizeof(void *) == sizeof(struct archive_api), "an entry for each function");
    loaded = gv_library_load(LIBRARY, entries, sizeof(entries) / sizeof(*entries), &api);
}

const struct archive_api *archive_load(struct gv_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (loaded)
        return &api;
    gv_error_set(err, GV_E_UNSUPPORTED, 0,
                 "the library " LIBRARY " is needed for archives, and cannot be loaded; install the package libarchive13");
    return NULL;
}

const struct archive_format *archive_format_find(const char *name, struct gv_error *err)
{
    static const struct archive_format formats[] = {
        { .name = "tar" },
        { .name = "tar.gz", .filter = FILTER_GZIP },
        { .name = "tar.bz2", .filter = FILTER_BZIP2 },
        { .name = "tar.xz", .filter = FILTER_XZ },
        { .name = "zip", .zip = true },
        { .name = "zip.0", .zip = true, .stored = true },
    };
    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++)
        if (!strcmp(formats[i].name, name))
            return &formats[i];
    gv_error_set(err, GV_E_USAGE, 0, "unsupported archive format `%.40s`; there are tar, tar.gz, tar.bz2, tar.xz, zip and zip.0", name);
    return NULL;
}

void archive_locale_begin(struct archive_locale *l)
{
    l->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    l->before = l->utf8 ? uselocale(l->utf8) : (locale_t)0;
}

void archive_locale_end(struct archive_locale *l)
{
    if (!l->utf8)
        return;
    uselocale(l->before);
    freelocale(l->utf8);
}
