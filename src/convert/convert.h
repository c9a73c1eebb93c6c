/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `convert`: from a reference to a finished .gvmi, which is `source` and `gvmi` joined. Either to a file of the user's, or into a
 * cache of conversions, so that a Docker archive can be run as if it were a .gvmi; and from one .gvmi to the same with another configuration.
 *
 *   convert.c     the way of an image            edit.c        what the user wants changed in a configuration
 *   cache.c       conversions that are kept      rewrite.c     the same in a finished .gvmi
 *   root.c        the tree that boots everywhere strip.c       what the user wants left out
 *   config.c      its configuration              descriptor.c  what a registry wants to know of a file
 *   look.c        paths inside a root
 */
#ifndef GV_CONVERT_H
#define GV_CONVERT_H

#include <stdbool.h>

#include "core/core.h"
#include "gvmi/gvmi.h"
#include "source/source.h"

/* ---- edits of a configuration --------------------------------------------------------------------------------------------------------- */

enum convert_edit_kind {
    CONVERT_SET_ENV,        /* "NAME=value" */
    CONVERT_UNSET_ENV,      /* "NAME" */
    CONVERT_SET_LABEL,      /* "KEY=value" */
    CONVERT_UNSET_LABEL,    /* "KEY" */
    CONVERT_ADD_VOLUME,     /* absolute path */
    CONVERT_REMOVE_VOLUME,  /* absolute path */
    CONVERT_SET_WORKDIR,    /* absolute path, "" for none */
    CONVERT_SET_USER,       /* as USER of a Dockerfile, "" for none */
    CONVERT_SET_ENTRYPOINT, /* words, "" for none; see convert_words() */
    CONVERT_SET_CMD,        /* the same */
    CONVERT_CLEAR, /* "env", "labels", "volumes", "workdir", "user", "entrypoint", "cmd", "exposed", or several with commas between */
    CONVERT_EDIT_KINDS,
};

struct convert_edit {
    enum convert_edit_kind kind;
    char *value;
};

/* Edits in the order in which they apply. Zero-initialised is none. */
struct convert_edits {
    struct convert_edit *items;
    size_t count;
};
void convert_edits_clear(struct convert_edits *e);

/* Adds one after checking its value: valid UTF-8, no control characters but in the values of ENV and labels. GV_E_USAGE otherwise. */
int convert_edits_add(struct convert_edits *e, enum convert_edit_kind kind, const char *value, struct gv_error *err);

/* The words of a command: a JSON array of strings when text begins with "[", else split at blanks, with the quotes and backslashes of a shell and nothing
 * else of it. "" gives none. *words must be empty. */
int convert_words(const char *text, struct gv_strv *words, struct gv_error *err);

/* ---- what is left out ----------------------------------------------------------------------------------------------------------------- */

enum {
    CONVERT_STRIP_DOCS,
    CONVERT_STRIP_LOCALES,
    CONVERT_STRIP_CACHES,
    CONVERT_STRIP_STATIC_LIBS,
    CONVERT_STRIP_HEADERS,
    CONVERT_STRIP_CLASSES
};

/* "docs", "locales", "caches", "static-libs", "headers". */
const char *convert_strip_name(int class);
/* Bits (1 << class) of a list with commas; GV_E_USAGE, with the names there are, for another word. */
int convert_strip_parse(const char *list, unsigned *classes, struct gv_error *err);

struct convert_stripped {
    uint64_t files;       /* names removed; empty directories left behind are not counted */
    uint64_t bytes;       /* content that no other name keeps */
    struct gv_strv paths; /* of what was removed, in the order of the tree */
};

/* ---- conversion ----------------------------------------------------------------------------------------------------------------------- */

struct convert_options {
    struct source_options source;
    struct gvmi_write_options write;
    bool as_is;         /* leave tree and configuration as the image has them; edits still apply, as they are written */
    bool numeric_user;  /* USER becomes "uid:gid" */
    bool replace_other; /* without `force`: replace a derived or given file that holds another image or none, keep one of the same image */
    unsigned strip;     /* bits of classes to leave out */
    const struct convert_edits *edits; /* NULL = none */
};

struct convert_result {
    char *name; /* the image's name in its archive; NULL if it has none */
    struct gvmi_write_result image;
    struct image_tree_totals totals;
    uint64_t archive_bytes; /* size of the input */
    uint64_t layer_bytes;   /* of all layers, uncompressed: what Docker reports, roughly */
    uint32_t layers;
    struct convert_stripped stripped[CONVERT_STRIP_CLASSES];
    char *path; /* of the file written */
    bool kept;  /* with replace_other: the file held the image already, and image.hash is empty */
};

void convert_result_clear(struct convert_result *r);
static inline void gv_cleanup_convert_result_fn(struct convert_result *r)
{
    convert_result_clear(r);
}

/*
 * Converts `reference` (see source_load) into the file `output`; NULL derives a name in the current directory from the image's name and
 * id, as gvmkit-build does: USER-REPO-TAG-<10 digits of the id>.gvmi; of what has neither, from that of the file or directory. An existing file is refused unless force is set. Nothing is left when it
 * fails. *result must be zero-initialised and is the caller's to clear.
 */
int convert_to_file(const char *reference, const char *output, bool force, const struct convert_options *options,
                    struct convert_result *result, struct gv_error *err);

/*
 * The path of a .gvmi for `image`: the file itself when it is a .gvmi, else a conversion in the cache, made now unless it is there already, with the
 * profile `fast` unless the options name a compression. The caller frees *path and keeps *lock (a descriptor, -1 for the user's own file) open while
 * the file is in use. At most CONVERT_CACHE_MAX bytes of conversions are kept; the least recently used ones that nobody uses go first.
 */
#define CONVERT_CACHE_MAX ((uint64_t)10 << 30)
int convert_for_use(const char *image, const struct convert_options *options, char **path, int *lock, struct gv_error *err);

/* ---- a finished file ------------------------------------------------------------------------------------------------------------------ */

struct convert_rewrite_options {
    const struct convert_edits *edits;
    bool as_is;        /* take values as they are written, without looking them up in the image */
    bool numeric_user; /* USER becomes "uid:gid" */
    bool force;        /* replace `output` if it exists */
    const struct gv_log *log;
    const struct gv_progress *progress;
};

/*
 * Gives the .gvmi at `path` another configuration, in place (output NULL) or as another file. The file system part is not touched, only copied, and shared
 * where the disk's file system can do that. Keys of the metadata that gvmkit does not know stay. The same edits at conversion and afterwards give the same
 * bytes. The old file stays until the new one is complete. *result gets size and hash.
 */
int convert_rewrite(const char *path, const char *output, const struct convert_rewrite_options *options, struct gvmi_write_result *result,
                    struct gv_error *err);

/*
 * The upload descriptor of a file, which names it in Golem's registry (gvmkit-build writes it beside the image as FILE.descr.bin):
 *     u64 BE  0x0000000333333334          28 bytes      SHA3-224 of the file
 *     u64 BE  size of the file            32 bytes * n  SHA-256 of each chunk
 *     u64 BE  size of a chunk
 */
#define CONVERT_DESCRIPTOR_HEAD 52U
#define CONVERT_DESCRIPTOR_CHUNKS_MAX 1000U /* the registry takes no more */

struct convert_descriptor {
    struct gv_buf bytes;
    char hash[GV_SHA3_224_HEX];      /* of the file: the link that SDKs want */
    char id[2 * GV_SHA256_SIZE + 1]; /* SHA-256 of the descriptor, its name in the registry */
    uint64_t size, chunk_size, chunks;
};
void convert_descriptor_clear(struct convert_descriptor *d);
static inline void gv_cleanup_convert_descriptor_fn(struct convert_descriptor *d)
{
    convert_descriptor_clear(d);
}

/* The size of a chunk that gvmkit-build takes for a file of that size. */
uint64_t convert_descriptor_chunk_size(uint64_t file_size);

/* Makes it of the open file; chunk_size 0 takes the usual one; hash (hex) of the file if it is known, else NULL. progress may be NULL. *d must be
 * zero-initialised and is the caller's to clear. */
int convert_descriptor_make(struct convert_descriptor *d, int fd, uint64_t chunk_size, const char *hash, const struct gv_progress *progress,
                            struct gv_error *err);

/* Reads one of n bytes; anything but exactly one whole descriptor is an error. */
int convert_descriptor_parse(struct convert_descriptor *d, const unsigned char *data, size_t n, struct gv_error *err);

/*
 * The descriptor of the file at `path`, kept in PATH.descr.bin, whose name goes to *file for the caller to free: read from there when that is not older than the
 * file and fits it (and hash, if that is known), else made and written.
 */
int convert_descriptor_of_file(struct convert_descriptor *d, const char *path, uint64_t chunk_size, const char *hash,
                               const struct gv_progress *progress, char **file, struct gv_error *err);

#endif
