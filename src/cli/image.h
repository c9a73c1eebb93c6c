/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The one place where a word of a command line becomes the file of an image. The rule (docs/store.md):
 *
 *     1. What is there as a file or directory is meant, whatever the word looks like.
 *     2. A hash, hash:sha3:HEX:URL, URL#HEX and golem:USER/REPO:TAG are images of the store, fetched if they are not there.
 *     3. A bare USER/REPO:TAG that the store knows is that image.
 *     4. Else a command that only reads .gvmi asks the registry. `run` and `shell` do so when GOLEM_REGISTRY_URL or REGISTRY_URL names one, and take
 *        it for a name of Docker's when there is none or it does not know it: nobody gets another image than yesterday because of somebody's new name.
 */
#ifndef GV_CLI_IMAGE_H
#define GV_CLI_IMAGE_H

#include "cli/cli.h"
#include "store/store.h"

/* The file of an image, and what keeps it there. */
struct cli_image {
    char *path;
    int lock; /* -1 for the user's own file */
};
#define CLI_IMAGE_INIT                                                                                                                     \
    {                                                                                                                                      \
        .lock = -1                                                                                                                         \
    }
void cli_image_clear(struct cli_image *i);
static inline void gv_cleanup_cli_image_fn(struct cli_image *i)
{
    cli_image_clear(i);
}
#define cleanup_cli_image __attribute__((cleanup(gv_cleanup_cli_image_fn)))

/* For commands that read a .gvmi; what has to be fetched shows its progress. */
int cli_image_find(struct cli_image *out, const char *word, struct gv_error *err);
/* The same, opened. */
int cli_image_open(struct cli_image *out, struct gvmi_image **img, const char *word, struct gv_error *err);
/* For commands that run it: also anything that `build` converts. With signers (may be NULL), only what one of them has signed; what is converted is refused
 * then. */
int cli_image_to_run(struct cli_image *out, const char *word, const struct convert_options *options, const struct store_signers *signers,
                     struct gv_error *err);

/* Checks that the file has the hash. */
int cli_image_check(const char *path, const char *hash, const struct gv_progress *progress, struct gv_error *err);

#endif
