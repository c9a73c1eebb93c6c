/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the commands share that take images of certain people only: `pull`, `run` and `shell`, with --require-signature. */
#ifndef GV_CLI_SIGNERS_H
#define GV_CLI_SIGNERS_H

#include "cli/cli.h"
#include "store/store.h"

#define CLI_SIGNERS_OPTION                                                                                                                 \
    {                                                                                                                                      \
        "require-signature", 0, "KEY", "refuse an image not signed with this public key (a file, or the key); several: any of them"        \
    }

/* Zero-initialised is anybody. */
struct cli_signers {
    struct sign_public *keys;
    struct store_signers signers; /* of keys */
    struct gv_buf signature;
};
void cli_signers_clear(struct cli_signers *s);

/* One key more: the value of the option. */
int cli_signers_add(struct cli_signers *s, const char *key, struct gv_error *err);
/* The signature to judge by, from a file, instead of that beside the image. */
int cli_signers_read(struct cli_signers *s, const char *path, struct gv_error *err);
/* For store_options; NULL when images of anybody will do. */
const struct store_signers *cli_signers_of(const struct cli_signers *s);

/* Checks that the .gvmi at path is signed as wanted, by the signature beside it; reads all of it. A file that would have to be converted is refused. */
int cli_signers_check(const struct store_signers *who, const char *path, const struct gv_progress *progress, struct gv_error *err);
/* Refuses what is converted: GV_E_UNSUPPORTED. */
int cli_signers_refuse_conversion(const char *word, struct gv_error *err);

#endif
