/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the commands share that publish an image: `push`, `build --push` and the door `gvmkit-build`. */
#ifndef GV_CLI_UPLOAD_H
#define GV_CLI_UPLOAD_H

#include "cli/cli.h"
#include "registry/registry.h"

/* What options said. */
struct cli_upload {
    struct refs *tags; /* owned */
    size_t tag_count;
    bool anonymous, insecure;
    unsigned workers;
};
void cli_upload_clear(struct cli_upload *u);
/* Adds USER/REPO:TAG, also with golem: before it. */
int cli_upload_add(struct cli_upload *u, const char *name, struct gv_error *err);
/* Whether we know who we are: who is not logged in shall learn it before the work. */
int cli_upload_check(const struct cli_upload *u, struct gv_error *err);
/* Who we are; nobody for an anonymous upload. */
int cli_upload_login(const struct cli_upload *u, const char *base, struct registry_login *out, struct gv_error *err);

struct cli_uploaded {
    char *base; /* of the registry */
    struct registry_pushed pushed;
};
void cli_uploaded_clear(struct cli_uploaded *u);
static inline void gv_cleanup_cli_uploaded_fn(struct cli_uploaded *u)
{
    cli_uploaded_clear(u);
}
#define cleanup_cli_uploaded __attribute__((cleanup(gv_cleanup_cli_uploaded_fn)))

/* The signature that lies beside the file at path, appended to *text; nothing when there is none that says which image it is of, which the log is told. One
 * that is of another image is GV_E_CORRUPT: nobody wants to publish that. */
int cli_upload_signature(const char *path, const char *hash, struct gv_buf *text, const struct gv_log *log, struct gv_error *err);

/* Uploads the file at path, of which d is the descriptor, and its signature, NULL for none. */
int cli_upload(const struct cli_upload *u, const char *path, const struct convert_descriptor *d, const struct gv_buf *signature,
               const struct gv_log *log, const struct gv_progress *progress, struct cli_uploaded *out, struct gv_error *err);

#endif
