/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `store`: images that are kept on this machine, by their hash, and how they get there (docs/store.md).
 *
 *   store.c    the directory, names, lists     fetch.c    a download: resumed, verified, put in place
 *   keep.c     what goes, what has rotted      follow.c   the hash of a file while it arrives
 *   update.c   what other images have of it    ranges.c   parts of a file
 *   oci.c      artifacts of registries of OCI  signed.c   whose images are taken
 *
 * $XDG_DATA_HOME/gvmkit has
 *     images/HASH.gvmi     an image, complete and verified; its mtime is that of its last use
 *     images/HASH.lock     who uses the image has it shared; who fetches, mends or removes it, alone
 *     images/HASH.json     from where it came, for repairs
 *     images/HASH.gvmi.minisig   its signature, if somebody has asked for one
 *     images/HASH.part     what has arrived of one, and HASH.state: of which version of which URL
 *     names/REGISTRY/NAME  the hash that USER/REPO:TAG had when it was pulled last
 *
 * An image gets its name HASH.gvmi by rename, when its hash is known to be HASH and it is on the disk: whoever sees it may use it, and no
 * server can put anything else there. Processes need nothing from each other but the locks, which end with them.
 */
#ifndef GV_STORE_H
#define GV_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "refs/refs.h"
#include "registry/registry.h"
#include "sign/sign.h"

struct image_store;

/* Whose images are taken: those that are signed with one of the keys. */
struct store_signers {
    const struct sign_public *keys;
    size_t count;
    const struct gv_buf *signature; /* the one to judge by; NULL = that which is kept, or lies beside the image where it comes from */
};

struct store_options {
    const char *dir;                      /* NULL = $XDG_DATA_HOME/gvmkit */
    bool insecure;                        /* servers: any certificate will do; what they send is known by its hash */
    unsigned attempts, wait_ms, stall_ms; /* of requests, as of http_options */
    const struct store_signers *signers;  /* NULL = anybody's images */
    const atomic_bool *cancelled;         /* may be NULL */
    const struct gv_log *log;             /* may be NULL */
    const struct gv_progress *progress;   /* may be NULL */
};

/* Makes the directory if it is missing. Strings are copied; signers, cancelled, log and progress must outlive the store. */
int store_open(struct image_store **out, const struct store_options *options, struct gv_error *err);
void store_close(struct image_store *s);
DEFINE_CLEANUP(image_store, struct image_store *, store_close)

/* The client that it uses, made when it is first asked for; owned by the store. NULL on failure. */
struct http_client *store_http(struct image_store *s, struct gv_error *err);

/* ---- images ---- */

/* An image in use. Zero-initialised with lock -1 is none. */
struct store_image {
    char hash[GV_SHA3_224_HEX];
    char *path;
    int lock;          /* while it is open nobody removes the image */
    bool arrived;      /* it was not there before */
    uint64_t received; /* bytes that came over the network for it, this time */
};
#define STORE_IMAGE_INIT                                                                                                                   \
    {                                                                                                                                      \
        .lock = -1                                                                                                                         \
    }
void store_image_clear(struct store_image *i);
static inline void gv_cleanup_store_image_fn(struct store_image *i)
{
    store_image_clear(i);
}
#define cleanup_store_image __attribute__((cleanup(gv_cleanup_store_image_fn)))

/* The image of that hash (lower case), if it is there: GV_E_NOT_FOUND else. This is a use: it will not go soon. */
int store_use(struct image_store *s, const char *hash, struct store_image *out, struct gv_error *err);

/*
 * The image `want`, fetched from its URLs, in turn, unless it is there. When another process fetches it, this one waits, and takes over
 * when that dies. GV_E_NOT_FOUND when servers do not have it, GV_E_CORRUPT when one has something else under that URL.
 */
int store_fetch(struct image_store *s, const struct registry_image *want, struct store_image *out, struct gv_error *err);

enum store_lookup {
    STORE_LOCAL, /* only what is here */
    STORE_FIRST, /* what is here, else the registry */
    STORE_ASK,   /* a name may have moved: the registry is asked for what it is now */
};
/*
 * What a reference stands for, fetched if need be; a name that the registry was asked for is remembered. `mirrors` (may be NULL) are tried
 * after the reference's own URL. A REFS_PATH is GV_E_USAGE. With signers, an image of nobody among them is GV_E_CORRUPT, before anything of
 * it is fetched.
 */
int store_get(struct image_store *s, const struct refs *ref, enum store_lookup how, const struct gv_strv *mirrors, struct store_image *out,
              struct gv_error *err);

/* Takes a copy of the open file, whose hash must be `hash`. */
int store_add_file(struct image_store *s, int fd, const char *hash, struct gv_error *err);

/* ---- names ---- */

/* The hash of a name at the registry `base`, or of what follows oci:// at STORE_OCI_BASE; whether there is one. */
#define STORE_OCI_BASE "oci:/"
bool store_name_lookup(struct image_store *s, const char *base, const char *name, char hash[GV_SHA3_224_HEX]);
int store_name_set(struct image_store *s, const char *base, const char *name, const char *hash, struct gv_error *err);

/* ---- housekeeping ---- */

struct store_entry {
    char hash[GV_SHA3_224_HEX];
    uint64_t size; /* of the image; 0 if there is none */
    uint64_t part; /* what there is of a download */
    struct timespec used;
    bool in_use;
    struct gv_strv names; /* at the registry of the environment without, at others with "https://HOST/" */
};
struct store_list {
    struct store_entry *entries; /* the least recently used first */
    size_t count;
};
void store_list_clear(struct store_list *l);
static inline void gv_cleanup_store_list_fn(struct store_list *l)
{
    store_list_clear(l);
}
#define cleanup_store_list __attribute__((cleanup(gv_cleanup_store_list_fn)))
/* *out must be zero-initialised. */
int store_list(struct image_store *s, struct store_list *out, struct gv_error *err);

/* The hash of the image, or download, whose hash begins with `text` (at least 6 digits): GV_E_USAGE when there are several. */
int store_expand(struct image_store *s, const char *text, char hash[GV_SHA3_224_HEX], struct gv_error *err);

/* From where an image came, the last one first. */
void store_origins(struct image_store *s, const char *hash, struct gv_strv *out);

/* Removes the image, what there is of a download of it, and its names. GV_E_BUSY when somebody uses it. */
int store_remove(struct image_store *s, const char *hash, struct gv_error *err);

/*
 * Removes downloads that nobody goes on with and, the least recently used first, images until the rest has at most max bytes; never what
 * is in use. `removed` (may be NULL) is told of each.
 */
int store_prune(struct image_store *s, uint64_t max, void (*removed)(void *user, const struct store_entry *e), void *user,
                struct gv_error *err);

enum store_health { STORE_GOOD, STORE_REPAIRED, STORE_LOST };
/*
 * Reads the whole image and compares its hash. One that has rotted is fetched again from where it came, or from the registry; when that
 * cannot be it is removed, so that nobody runs it: STORE_LOST, and why in err. GV_E_BUSY (returned) when a rotten one is in use,
 * GV_E_NOT_FOUND when there is none (any more). -1 only when nothing could be found out.
 */
int store_verify(struct image_store *s, const char *hash, enum store_health *health, struct gv_error *err);

#endif
