/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `refs`: how people and programs name a .gvmi. Words only: nothing is looked up, opened or asked for.
 *
 *     USER/REPO:TAG, golem:USER/REPO[:TAG]          a name in Golem's registry, or one of one's own
 *     HEX                                           56 digits, the SHA3-224 of the file
 *     hash:sha3:HEX[:URL], hash://sha3:0xHEX:URL    as in a demand (golem.srv.comp.task_package), in all spellings that providers take
 *     URL#HEX, URL#sha3:HEX, URL                    http or https; without a hash somebody else has to say it
 *     http://HOST/image.HEX.link                    a link file of the former repository: the URL is in it
 *     file:PATH, file:///PATH                       a file, escaped as in a URL
 *     oci://HOST/REPO[:TAG|@DIGEST]                 an artifact of a registry of OCI
 *     PATH                                          everything else
 *
 * Schemes and digits may be in either case. A demand in a URL or a query is escaped (hash%3Asha3%3A...), and is read like that, too.
 */
#ifndef GV_REFS_H
#define GV_REFS_H

#include <stdbool.h>

#include "core/core.h"

enum refs_kind {
    REFS_PATH,  /* path; also whatever has no other meaning */
    REFS_NAME,  /* user, repository, tag */
    REFS_IMAGE, /* hash, url, or both */
    REFS_OCI,   /* path: what follows oci:// */
};

/* Zero-initialised is valid. */
struct refs {
    enum refs_kind kind;
    bool
        is_explicit; /* a prefix or the hash says what it is; a bare name may be one of another kind of registry, and a bare path is only a word */
    char *path;
    char *user, *repository, *tag;
    char hash[GV_SHA3_224_HEX]; /* lower case; "" if not said */
    char *url;                  /* NULL if not said */
    bool is_link;               /* url is of a link file */
};
void refs_clear(struct refs *r);
static inline void gv_cleanup_refs_fn(struct refs *r)
{
    refs_clear(r);
}
#define cleanup_refs __attribute__((cleanup(gv_cleanup_refs_fn)))

/* Reads text; what is not one of the forms above and begins like one is GV_E_USAGE, another algorithm or length of hash GV_E_UNSUPPORTED. *out must
 * be zero-initialised and is the caller's to clear, also after a failure. */
int refs_parse(struct refs *out, const char *text, struct gv_error *err);

/* Reads USER/REPO[:TAG] without a prefix; the tag is "latest" if there is none. */
int refs_parse_name(struct refs *out, const char *text, struct gv_error *err);

/* "USER/REPO:TAG"; the caller frees it. */
char *refs_name(const struct refs *r) __attribute__((returns_nonnull));

/* 56 hex digits of either case into lower case; -1 when it is something else. */
int refs_hash(char out[GV_SHA3_224_HEX], const char *text);

#endif
