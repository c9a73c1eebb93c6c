/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `transfer`: libarchive, loaded when it is first needed, as libcurl is: it brings a dozen libraries with it, and most of what
 * gvmkit does has no use for them.
 */
#ifndef GV_TRANSFER_LIBARCHIVE_H
#define GV_TRANSFER_LIBARCHIVE_H

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#include "core/core.h"

struct archive_api {
    __typeof__(archive_error_string) *error_string;
    __typeof__(archive_read_new) *read_new;
    __typeof__(archive_read_free) *read_free;
    __typeof__(archive_read_support_format_tar) *read_support_format_tar;
    __typeof__(archive_read_support_format_zip) *read_support_format_zip;
    __typeof__(archive_read_support_filter_gzip) *read_support_filter_gzip;
    __typeof__(archive_read_support_filter_bzip2) *read_support_filter_bzip2;
    __typeof__(archive_read_support_filter_xz) *read_support_filter_xz;
    __typeof__(archive_read_open_fd) *read_open_fd;
    __typeof__(archive_read_next_header) *read_next_header;
    __typeof__(archive_read_data_block) *read_data_block;
    __typeof__(archive_write_new) *write_new;
    __typeof__(archive_write_free) *write_free;
    __typeof__(archive_write_fail) *write_fail;
    __typeof__(archive_write_close) *write_close;
    __typeof__(archive_write_set_format_pax) *write_set_format_pax;
    __typeof__(archive_write_set_format_pax_restricted) *write_set_format_pax_restricted;
    __typeof__(archive_write_set_format_zip) *write_set_format_zip;
    __typeof__(archive_write_zip_set_compression_store) *write_zip_set_compression_store;
    __typeof__(archive_write_add_filter_gzip) *write_add_filter_gzip;
    __typeof__(archive_write_add_filter_bzip2) *write_add_filter_bzip2;
    __typeof__(archive_write_add_filter_xz) *write_add_filter_xz;
    __typeof__(archive_write_open_fd) *write_open_fd;
    __typeof__(archive_write_header) *write_header;
    __typeof__(archive_write_data) *write_data;
    __typeof__(archive_entry_new) *entry_new;
    __typeof__(archive_entry_free) *entry_free;
    __typeof__(archive_entry_pathname) *entry_pathname;
    __typeof__(archive_entry_filetype) *entry_filetype;
    __typeof__(archive_entry_perm) *entry_perm;
    __typeof__(archive_entry_size) *entry_size;
    __typeof__(archive_entry_size_is_set) *entry_size_is_set;
    __typeof__(archive_entry_symlink) *entry_symlink;
    __typeof__(archive_entry_hardlink) *entry_hardlink;
    __typeof__(archive_entry_mtime) *entry_mtime;
    __typeof__(archive_entry_mtime_is_set) *entry_mtime_is_set;
    __typeof__(archive_entry_mtime_nsec) *entry_mtime_nsec;
    __typeof__(archive_entry_set_pathname) *entry_set_pathname;
    __typeof__(archive_entry_set_filetype) *entry_set_filetype;
    __typeof__(archive_entry_set_perm) *entry_set_perm;
    __typeof__(archive_entry_set_size) *entry_set_size;
    __typeof__(archive_entry_set_uid) *entry_set_uid;
    __typeof__(archive_entry_set_gid) *entry_set_gid;
    __typeof__(archive_entry_set_symlink) *entry_set_symlink;
    __typeof__(archive_entry_set_hardlink) *entry_set_hardlink;
    __typeof__(archive_entry_set_mtime) *entry_set_mtime;
};

/* From any thread. NULL when it is not installed. */
const struct archive_api *archive_load(struct gv_error *err);

/* The formats of the protocol. */
struct archive_format {
    const char *name;
    bool zip, stored;
    enum { FILTER_NONE, FILTER_GZIP, FILTER_BZIP2, FILTER_XZ } filter;
};
/* GV_E_USAGE for a name that is none. NULL then. */
const struct archive_format *archive_format_find(const char *name, struct gv_error *err);

/* While it is set libarchive takes names as UTF-8, whatever the environment says. Names that are none stay the bytes that they are. */
struct archive_locale {
    locale_t utf8, before;
};
void archive_locale_begin(struct archive_locale *l);
void archive_locale_end(struct archive_locale *l);

#endif
