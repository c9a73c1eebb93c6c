/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `demand`: what a requestor says to have an image run on Golem's network. A demand is properties and constraints, as yapapi and golem-js put them
 * together; a manifest is a document that names the image and what it may do on the network, signed with an X.509 key when a provider wants that.
 *
 * Manifest (yagna's payload manifest): JSON with `version`, `createdAt`, `expiresAt`, `metadata`, `payload` (an array of `platform`, `urls`, `hash`
 * "sha3:HEX", of which a provider takes the first that fits, and of it the first URL) and `compManifest` (`script`, and in `net.inet.out` where it may
 * connect to). What is signed is the base64 text of the file, by the key and with the digest that the demand names.
 */
#ifndef GV_DEMAND_H
#define GV_DEMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"

#define DEMAND_MANIFEST_MAX (1U << 20)

/* Zero-initialised is empty. */
struct demand {
    char hash[GV_SHA3_224_HEX];
    const char *url;
    double memory_gib, storage_gib;     /* 0 = 0.5, 2 */
    unsigned threads, cores;            /* 0 = 1, nothing said */
    const struct gv_strv *capabilities; /* NULL = none */
    const char *runtime;                /* NULL = "vm" */
    const char *subnet;                 /* NULL = not said */
    /* A manifest and its signature as base64 text, the signature's digest, a certificate as base64; NULL = none. */
    const char *manifest, *signature, *algorithm, *certificate;
};

/* Whether the texts can be part of a demand: nothing in them that ends a word of the constraints, or a string of JSON. */
int demand_check(const struct demand *d, struct gv_error *err);
/* "hash:sha3:HEX:URL", the caller's to free. */
char *demand_task_package(const struct demand *d) __attribute__((returns_nonnull));
/* {"properties": {...}, "constraints": "(&(...)...)"}; indented, with a newline at the end. The caller's to free, as the next two. */
char *demand_json(const struct demand *d) __attribute__((returns_nonnull));
/* The call of yapapi, and the object for golem-js, that come to the same; what yapapi's call has no argument for follows as comments. */
char *demand_yapapi(const struct demand *d) __attribute__((returns_nonnull));
char *demand_golem_js(const struct demand *d) __attribute__((returns_nonnull));

/* ---- manifests ------------------------------------------------------------------------------------------------------------------- */

/* Zero-initialised is empty. */
struct demand_manifest {
    char hash[GV_SHA3_224_HEX];
    const struct gv_strv *urls;               /* of the image */
    const char *name, *description, *version; /* of what it is; NULL: the last is "0.1.0", others are left out */
    const struct gv_strv *commands;           /* of the script, as they have to be; NULL = no rule */
    bool commands_regex;                      /* they are regular expressions */
    const struct gv_strv *outbound;           /* URLs it may connect to; NULL = no network */
    bool outbound_any;                        /* or anywhere */
    int64_t created, expires;                 /* seconds since the epoch */
};

/* Makes the text of a manifest, indented, with a newline at the end; *text is the caller's to free. GV_E_USAGE when a URL or hash is none. */
int demand_manifest_make(char **text, const struct demand_manifest *m, struct gv_error *err);

/* What is wrong with a manifest, as a provider would find: the first thing is the error. now is in seconds since the epoch. *hash and *url (the
 * caller's to free; both may be NULL) are what a provider of x86-64 Linux would fetch. */
int demand_manifest_check(const void *text, size_t n, int64_t now, char hash[GV_SHA3_224_HEX], char **url, struct gv_error *err);

/* Signs the base64 of the n bytes with the PEM key in the file (password may be NULL). *signature is base64 text, the caller's to free. 1: the
 * key needs a password. digest: OpenSSL's name; NULL = "sha256". */
int demand_manifest_sign(char **signature, const void *manifest, size_t n, const char *key_path, const char *password, const char *digest,
                         struct gv_error *err);

/* Checks a signature (base64 text) against the last certificate in the file (PEM or DER), as a provider does, and, when ca_path is given, that certificates of that
 * file vouch for it now, through others in certificate_path if need be. GV_E_CORRUPT when not. */
int demand_manifest_verify(const char *signature, const void *manifest, size_t n, const char *certificate_path, const char *ca_path,
                           const char *digest, struct gv_error *err);

/* Base64 of n bytes, on one line; the caller's to free. */
char *demand_base64(const void *p, size_t n) __attribute__((returns_nonnull));

#endif
