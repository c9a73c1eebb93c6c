/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `serve`: a registry of one's own. It speaks the protocol of Golem's registry, so that gvmkit-build --push, yapapi and golem-js work
 * against it unchanged, and keeps everything below one directory:
 *
 *     DIR/registry.db              SQLite: accounts, repositories, tags, images, uploads in progress
 *     DIR/images/HASH.gvmi         whole, verified images, named by their SHA3-224
 *     DIR/images/HASH.gvmi.chunks  their chunk maps (gvmi.h), made once after the upload
 *     DIR/uploads/ID.part          images on their way in, named by the SHA-256 of their descriptor
 *     DIR/lock                     held by the one server of the directory
 *
 * The rule behind it: a file is synced before the database speaks of it, and a file is removed only after the database has stopped to. So whatever
 * moment the machine stops at, everything that was acknowledged is there, and nothing partial has a name under which it is served.
 *
 * serve_run() is the server. The serve_admin_*() are what its owner does, also while it runs; both meet in the database only.
 */
#ifndef GV_SERVE_H
#define GV_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"

enum serve_log { SERVE_LOG_JSON, SERVE_LOG_PLAIN, SERVE_LOG_NONE };

struct serve_options {
    const char *data;                           /* the directory, made if missing */
    const char *listen;                         /* ADDR:PORT, [ADDR]:PORT; port 0 = any free one */
    const char *http_url;                       /* how clients reach us by http, without a final slash; NULL = as they did */
    const char *https_url;                      /* the same for https */
    const char *tls_cert, *tls_key;             /* PEM files, both or none */
    bool trust_proxy;                           /* believe the last address of X-Forwarded-For, and X-Forwarded-Proto */
    uint64_t max_image;                         /* bytes of one image */
    uint64_t anonymous_quota;                   /* bytes of everything without a tag together, uploads in progress included */
    uint64_t user_quota;                        /* bytes of all tagged images of one user */
    uint64_t user_images;                       /* number of them */
    uint64_t max_uploads;                       /* in progress at a time */
    uint64_t max_receiving;                     /* bytes of chunks that are being received at a time */
    uint64_t anonymous_expiry;                  /* ms that an image without a tag is kept */
    uint64_t upload_expiry;                     /* ms that an upload nobody works on is kept */
    uint64_t gc_interval;                       /* ms */
    uint64_t idle_timeout;                      /* ms that a connection may take to say what it wants, or stand still */
    uint64_t grace;                             /* ms that running requests get when the server is told to end */
    uint64_t rate;                              /* requests a second from one address; 0 = any */
    uint64_t login_rate;                        /* failed logins a minute from one address; 0 = any */
    uint64_t max_connections;                   /* at a time */
    uint64_t max_address;                       /* of them from one address; 0 = any */
    uint64_t threads;                           /* that serve; 0 = one for each CPU */
    enum serve_log log;                         /* how requests are told, a line each on standard error */
    void (*ready)(void *user, const char *url); /* called once, when connections are accepted; may be NULL */
    void *user;
};

/* What the command line changes. */
struct serve_options serve_defaults(void);

/*
 * Serves until SIGTERM or SIGINT, then lets running requests end for the time of grace (a second signal ends that), and returns 0. On SIGHUP, and when
 * the files of the certificate have changed, new connections get what is in them now. Takes the three signals for itself and starts threads: for the
 * main thread of a program that does nothing else. GV_E_BUSY when the directory has a server.
 */
int serve_run(const struct serve_options *options, const struct gv_log *log, struct gv_error *err);

/* ---- administration ---------------------------------------------------------------------------------------------------------------- */

struct serve_admin;

/* Opens the data directory's database, making both if missing. */
int serve_admin_open(struct serve_admin **out, const char *data, struct gv_error *err);
void serve_admin_close(struct serve_admin *a);
DEFINE_CLEANUP(serve_admin, struct serve_admin *, serve_admin_close)

/* Names are 1..64 of a-z A-Z 0-9 . _ - and begin with a letter or digit; tags up to 128. GV_E_USAGE for others, GV_E_EXISTS, GV_E_NOT_FOUND. */
/* password may be NULL: then the user has only tokens. */
int serve_admin_user_add(struct serve_admin *a, const char *name, const char *password, struct gv_error *err);
int serve_admin_user_password(struct serve_admin *a, const char *name, const char *password, struct gv_error *err);
/* With all its repositories, tags and tokens. */
int serve_admin_user_remove(struct serve_admin *a, const char *name, struct gv_error *err);

#define SERVE_TOKEN_SIZE 72 /* with the final NUL */
/* A new token, which is told only now: what is stored is its hash. lifetime in ms, 0 = for ever. */
int serve_admin_token_add(struct serve_admin *a, const char *user, const char *label, uint64_t lifetime, char token[SERVE_TOKEN_SIZE],
                          struct gv_error *err);
int serve_admin_token_remove(struct serve_admin *a, const char *user, int64_t id, struct gv_error *err);

/* repo is USER/REPO. */
int serve_admin_repo_add(struct serve_admin *a, const char *repo, struct gv_error *err);
int serve_admin_repo_remove(struct serve_admin *a, const char *repo, struct gv_error *err);
/* Whether the user may set tags in somebody else's repository. */
int serve_admin_repo_allow(struct serve_admin *a, const char *repo, const char *user, bool allow, struct gv_error *err);

/* tag is USER/REPO:TAG, hash the SHA3-224 of an image that is there. */
int serve_admin_tag_set(struct serve_admin *a, const char *tag, const char *hash, struct gv_error *err);
int serve_admin_tag_remove(struct serve_admin *a, const char *tag, struct gv_error *err);
/* With its tags. A running server removes the file at its next collection; who is downloading it gets all of it. */
int serve_admin_image_remove(struct serve_admin *a, const char *hash, struct gv_error *err);

/* Lists: fn gets the columns of a row as text, in the order of serve_admin_columns(), NULL-terminated; "" for what is not set. */
enum serve_list { SERVE_USERS, SERVE_TOKENS, SERVE_REPOS, SERVE_TAGS, SERVE_IMAGES };
/* Names of the columns, NULL-terminated. */
const char *const *serve_admin_columns(enum serve_list list);
/* filter: of tokens and repositories the user, of tags USER/REPO; NULL = all. */
int serve_admin_list(struct serve_admin *a, enum serve_list list, const char *filter, void (*fn)(void *user, const char *const *columns),
                     void *user, struct gv_error *err);

#endif
