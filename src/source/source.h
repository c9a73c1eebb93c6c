/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `source`: where root file systems come from. It turns a reference to an image into one merged tree and one configuration,
 * without unpacking and without root: layers are read into memory as names and attributes only, their data stays where it is (an offset
 * in an uncompressed archive) or goes to an unnamed scratch file. docs/layers.md has the rules of layers and limits.
 *
 *   load.c      the way of an image       archive.c     members of a tar, files of a directory, by name
 *   docker.c    what `docker save` says   stream.c      byte streams: ranges, digests, limits
 *   oci.c       what an OCI layout says   decompress.c  gzip, zstd, xz, bzip2, ...
 *   plan.c      layers and configuration  pump.c        threads
 *   names.c     references, platforms     tar.c, pax.c  the tar reader
 *   merge.c     the rules of layers       store.c       where contents are
 *   local.c     files, standard input     dir.c         a directory as a root file system
 *   dockerfile.c  buildah or docker       beneath.c     files beneath a directory, by handles
 *
 * Images that are somewhere else (docs/sources.md):
 *
 *   daemon.c    the Docker daemon         registry.c    registries; auth.c: tokens and passwords for them
 *   remote.c    an archive that comes     credentials.c, helper.c  whose passwords
 *   blobs.c     what is kept of it        artifact.c    files that are images, in registries
 */
#ifndef GV_SOURCE_H
#define GV_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "image/image.h"

struct source_options {
    const char *platform; /* "os/arch[/variant]"; NULL = linux/amd64 */
    /* Limit for everything unpacked (files, archives). 0 = 64 GiB, and what looks like a bomb is refused. */
    uint64_t max_bytes;
    /* Limit for tar entries and implied directories in all layers. 0 = 1.5 million, or 10 million if max_bytes is given. */
    uint64_t max_entries;
    /* Take names with a leading slash as names below the root, as Docker does and some builders write them; they are refused else. */
    bool absolute_names;
    /* dir: everything belongs to root. Without it, what belongs to an ordinary user who converts it does; other owners stay. */
    bool root_owned;
    /* Registries: any certificate will do, and none at all. Those on this machine are asked like that anyway, as Docker does. */
    bool insecure;
    int jobs; /* 1 = no threads of its own; else reading ahead, digests and scratch file have one each */
    const struct gv_log *log;
    const struct gv_progress *progress;
};

struct source_image {
    struct image_tree *tree;
    struct image_config config;
    struct image_tree_totals totals;
    char *name;         /* the name by which the image was chosen in its archive, NULL if it has none */
    char *architecture; /* as the configuration says, "amd64" */
    char *os;
    uint64_t archive_bytes; /* size of the file, or of all layers in a directory */
    uint64_t layer_bytes;   /* bytes of all files in all layers, hidden ones too: what Docker reports as the image's size */
    uint32_t layers;
};

void source_image_clear(struct source_image *s);
static inline void gv_cleanup_source_image_fn(struct source_image *s)
{
    source_image_clear(s);
}

/*
 * Loads `reference`, one of
 *     docker-archive:FILE[:NAME[:TAG]]   what `docker save` writes (plain or compressed as a whole)
 *     oci:DIR[:REF]                      an OCI image layout
 *     oci-archive:FILE[:REF]             a tar of one
 *     tar:FILE                           a root file system in one tar, as `docker export` writes it
 *     dir:DIR                            a root file system as it lies there
 *     dockerfile:DIR                     what buildah or docker builds of the Dockerfile in it
 *     docker-daemon:NAME                 an image of the Docker daemon
 *     docker://NAME                      an image of a registry
 *     PATH                               any of the files and directories above but dockerfile:, recognised by its content
 *     NAME                               an image of the daemon or a registry, when there is no file of that name
 * FILE may be "-", standard input, and any FILE may be compressed.
 * *out must be zero-initialised; on success it is the caller's to clear.
 */
int source_load(struct source_image *out, const char *reference, const struct source_options *options, struct gv_error *err);

/* What the reference stands for now, as one that stands for nothing else later: docker://NAME@DIGEST, or docker-daemon:sha256:ID. That of a file or directory is itself. The
 * daemon or registry is asked, nothing is downloaded. The caller frees *out. */
int source_resolve(const char *reference, const struct source_options *options, char **out, struct gv_error *err);

/* A text that changes when the content behind the reference may have changed (device, inode, size, mtime of the file or index; digest or id of what source_resolve() gives), for
 * use as a key of a cache of conversions. The caller frees it. GV_E_UNSUPPORTED when only reading it all would tell (a directory, standard input, names). */
int source_fingerprint(const char *reference, char **out, struct gv_error *err);

/* ---- artifacts ------------------------------------------------------------------------------------------------------------------- */

/*
 * A finished image in a registry of OCI (distribution-spec 1.1): a manifest with artifactType SOURCE_ARTIFACT_TYPE, an empty configuration and one
 * layer, the file; or two, then the other one is its signature. A layer's title is the file's name, so that ORAS and the like can fetch it too; an annotation has
 * the SHA3-224 of the image. Only the SHA-256 of manifest and layers prove anything.
 */
#define SOURCE_ARTIFACT_TYPE "application/vnd.golem.gvmi.v1"
#define SOURCE_SIGNATURE_TYPE "application/vnd.golem.gvmi.minisig"
#define SOURCE_SIGNATURE_MAX 65536U /* bytes of one */
#define SOURCE_ARTIFACT_HASH "network.golem.gvmi.sha3-224"

struct source_artifact {
    char *digest;               /* of the manifest, "sha256:..." */
    char *title;                /* the file's name as its sender has said, without any directory; NULL = not said */
    char hash[GV_SHA3_224_HEX]; /* as the sender has said; "" = not said */
    uint64_t size;              /* of the file */
    struct registry *registry;  /* private, as what follows */
    char *layer;
    char *signature; /* digest of that layer; NULL = there is none */
    uint64_t signature_size;
};
void source_artifact_clear(struct source_artifact *a);
static inline void gv_cleanup_source_artifact_fn(struct source_artifact *a)
{
    source_artifact_clear(a);
}

/* Sends the file at path, with its signature (NULL = none), and names it "HOST/REPOSITORY:TAG" and by the other tags. hash is its SHA3-224 in hex. What the registry has is not sent again,
 * and an interrupted connection goes on where it was. *digest (the caller's to free) is the manifest's. */
int source_artifact_push(const char *path, const char *hash, const struct gv_buf *signature, const char *name, const char *const *more_tags,
                         size_t more_count, const struct source_options *options, char **digest, struct gv_error *err);

/* What is there under a name. GV_E_UNSUPPORTED: an image of containers or something else, no artifact of ours. *out is the caller's to clear. */
int source_artifact_find(struct source_artifact *out, const char *name, const struct source_options *options, struct gv_error *err);
/* The file itself, checked, from its beginning: of the cache of blobs, fetched as far as it is not there. *fd is the caller's; *received grows by the
 * bytes that came for it. progress may be NULL. */
int source_artifact_open(const struct source_artifact *a, const struct gv_progress *progress, int *fd, uint64_t *received,
                         struct gv_error *err);
/* Its signature, checked against the manifest, appended to *text; GV_E_NOT_FOUND when it has none. */
int source_artifact_signature(const struct source_artifact *a, struct gv_buf *text, struct gv_error *err);

#endif
