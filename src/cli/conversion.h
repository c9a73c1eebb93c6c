/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the commands share that make or change a .gvmi: `build`, `edit` and the door `gvmkit-build`. */
#ifndef GV_CLI_CONVERSION_H
#define GV_CLI_CONVERSION_H

#include <jansson.h>

#include "cli/cli.h"
#include "convert/convert.h"

/* clang-format off */
#define CLI_EDIT_OPTIONS                                                                                                       \
    { "env", 'e', "NAME=VALUE", "set a variable of the environment" },                                                         \
    { "unset-env", 0, "NAME", "remove one" },                                                                                  \
    { "volume", 'v', "PATH", "make PATH a volume" },                                                                           \
    { "unset-volume", 0, "PATH", "remove one; what the image has there is seen again" },                                       \
    { "workdir", 'w', "DIR", "set the working directory" },                                                                    \
    { "user", 'u', "USER", "set the user, as Docker's USER[:GROUP]" },                                                         \
    { "numeric-user", 0, NULL, "write the user as UID:GID, which providers understand" },                                      \
    { "entrypoint", 0, "WORDS", "set ENTRYPOINT: a JSON array, or words quoted as in a shell; CMD goes with the old one" },    \
    { "cmd", 0, "WORDS", "set CMD, likewise" },                                                                                \
    { "label", 'l', "KEY=VALUE", "set a label" },                                                                              \
    { "unset-label", 0, "KEY", "remove one" },                                                                                 \
    { "clear", 0, "LIST", "remove all of env, labels, volumes, workdir, user, entrypoint, cmd, exposed" }
/* clang-format on */

/* Takes one of them but --numeric-user: 1 when the option was one, 0 when not, -1 on a bad value. */
int cli_edit_option(struct convert_edits *edits, const char *name, const char *value, struct gv_error *err);

/* How files are written: what options said, to be put together when all are known. */
struct cli_write_choice {
    const char *profile; /* NULL = the default one */
    int compression, level;
    uint32_t block_size; /* 0 = as the profile has it */
};

/* A compression that can be written, by name. */
int cli_compression(const char *name, int *out, struct gv_error *err);
int cli_write_options(struct gvmi_write_options *out, const struct cli_write_choice *choice, struct gv_error *err);

/* One line for each class of which something was left out. */
void cli_print_stripped(const struct convert_result *r);

#endif
