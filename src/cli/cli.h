/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `cli`: one file per subcommand; parsing and printing only. Options are described once, in a table: getopt's tables and the help text
 * are made from it, so that neither can say what the other does not do. Results go to stdout, everything else to stderr.
 */
#ifndef GV_CLI_H
#define GV_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "gvmi/gvmi.h"
#include "image/image.h"
#include "source/source.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli_option {
    const char *name; /* long name */
    int letter;       /* short one, or 0 */
    const char *arg;  /* name of the argument, NULL if it takes none */
    const char *help;
};

struct cli_command {
    const char *name;
    const char *synopsis;             /* what follows `gvmkit NAME` */
    const char *summary;              /* one line */
    const char *details;              /* paragraphs of the help, or NULL */
    const char *example;              /* lines of the help */
    const struct cli_option *options; /* ends with a NULL name; --help is added */
    bool stop_at_operand;             /* options end at the first operand, as in `docker run IMAGE CMD -x` */
    bool door;                        /* a program of its own name, not `gvmkit NAME` */
    int (*run)(const struct cli_command *self, int argc, char **argv);
};

/* clang-format off */
extern const struct cli_command
    cmd_build,
    cmd_edit,
    cmd_inspect,
    cmd_ls,
    cmd_cat,
    cmd_extract,
    cmd_diff,
    cmd_verify,
    cmd_lint,
    cmd_hash,
    cmd_mount,
    cmd_sign,
    cmd_manifest,
    cmd_demand,
    cmd_images,
    cmd_pull,
    cmd_push,
    cmd_tag,
    cmd_rm,
    cmd_prune,
    cmd_login,
    cmd_logout,
    cmd_serve,
    cmd_run,
    cmd_shell,
    cmd_exec,
    cmd_cp,
    cmd_ps,
    cmd_logs,
    cmd_stats,
    cmd_stop,
    cmd_kill,
    cmd_wait,
    cmd_script,
    cmd_doctor,
    cmd_dbg;
/* clang-format on */
/* The program of that name: the same file under another one. */
extern const struct cli_command door_gvmkit_build;

/*
 * Parses argv[1..] by the command's table. Calls take(user, name, value) for each option (NULL for a command that has none); it returns 0 or -1 with err
 * set. Returns the index of the first operand; prints the help and returns CLI_HELP when that was asked for; prints one line and returns CLI_WRONG on wrong usage.
 */
enum { CLI_HELP = -1, CLI_WRONG = -2 };
int cli_parse(const struct cli_command *c, int argc, char **argv,
              int (*take)(void *user, const char *name, const char *value, struct gv_error *err), void *user);

/* "gvmkit", or the name of the door through which it was entered: what messages begin with. */
const char *cli_program(void);

/* Prints "gvmkit: message" and returns CLI_FAILED. */
int cli_fail(const struct gv_error *err);
/* The same for wrong usage found by a command itself. */
int cli_usage(const struct cli_command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "512m", "1.5G", "4096": bytes; units are powers of 1024, as with docker. */
int cli_size(const char *text, uint64_t *out, struct gv_error *err);
/* "10", "1.5", "90s", "5m", "1h": milliseconds. */
int cli_duration(const char *text, unsigned *ms, struct gv_error *err);
/* A whole number in min..max. what is for the message. */
int cli_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out, struct gv_error *err);

/* Adds NAME=VALUE, or NAME with its value in our own environment, if it has one there. */
int cli_env(struct gv_strv *env, const char *text, struct gv_error *err);
/* "TERM", "SIGTERM", "15", "RTMIN+3". */
int cli_signal(const char *text, int *out, struct gv_error *err);

/* Prints s to f with control bytes made harmless: what comes from an image must not steer the user's terminal. */
void cli_print_clean(FILE *f, const char *s);
/* The same, appended to a buffer. */
void cli_clean(struct gv_buf *b, const char *s);

/* Notes and warnings on stderr; debug ones only when verbose. */
struct gv_log cli_log(bool verbose);

/* ---- progress -------------------------------------------------------------------------------------------------------------------- */

enum cli_progress_mode { CLI_PROGRESS_AUTO, CLI_PROGRESS_PLAIN, CLI_PROGRESS_NONE, CLI_PROGRESS_JSON };
int cli_progress_mode(const char *text, enum cli_progress_mode *out, struct gv_error *err);

/* Shows progress on stderr: a bar with rate and time left on a terminal, a line every few seconds otherwise, a JSON object a line. */
struct cli_progress;
struct cli_progress *cli_progress_new(enum cli_progress_mode mode) __attribute__((returns_nonnull));
const struct gv_progress *cli_progress_sink(struct cli_progress *p);
/* Notes and warnings as of cli_log(), on lines of their own beside a bar, and as objects with JSON; to be used while p lives. */
struct gv_log cli_progress_log(struct cli_progress *p, bool verbose);
/* "0:42", "1:05:00" */
void cli_format_left(char out[32], double seconds);
/* Removes the bar from the terminal until the next update, for results in between. */
void cli_progress_hide(struct cli_progress *p);
/* Removes the bar for good. */
void cli_progress_free(struct cli_progress *p);

/* Options that everything converting images shares: what source and gvmi need to know. */
struct convert_options;
/* clang-format off */
#define CLI_CONVERT_OPTIONS                                                                                                    \
    { "platform", 0, "OS/ARCH", "take the image for this platform (default linux/amd64)" },                                    \
    { "jobs", 'j', "N", "threads (default: one for each CPU)" },                                                               \
    { "max-size", 0, "SIZE", "refuse images that unpack to more (default 64G, and what looks like a bomb)" },                  \
    { "absolute-names", 0, NULL, "take names with a leading slash in layers as names below the root" },                        \
    { "root-owned", 0, NULL, "of a directory: everything belongs to root" },                                                   \
    { "insecure", 0, NULL, "of a registry: any certificate will do, and none at all" },                                        \
    { "as-is", 0, NULL, "do not put right what would keep the image from starting at a provider" },                            \
    { "progress", 0, "MODE", "auto, plain, none or json (default auto)" }
/* clang-format on */
/* 1 when the option was one of them, 0 when not, -1 on a bad value. */
int cli_convert_option(struct convert_options *o, enum cli_progress_mode *mode, const char *name, const char *value, struct gv_error *err);

#endif
