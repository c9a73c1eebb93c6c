/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `script`: an ExeScript executed here, as the ExeUnit of a provider would execute it: the same states, results, captures and events, with any
 * runtime that speaks the protocol.
 *
 *   parse.c    the script's JSON
 *   capture.c  what is kept of a stream
 *   text.c     bytes as JSON text
 *   report.c   results and events
 *   process.c  a program of the host whose output is wanted
 *   exec.c     the commands and the states
 *
 * Where this is another supervisor than the ExeUnit, it is so that nothing fails without a word: a runtime that ends with status 0 while a
 * program runs is an error; an HTTP status that is none of success fails a transfer; archives are packed and unpacked (the ExeUnit has given this up in
 * 0.17); what is kept of a stream without a limit is at most SCRIPT_KEEP_MAX.
 */
#ifndef GV_SCRIPT_H
#define GV_SCRIPT_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "transfer/transfer.h"

#define SCRIPT_COMMANDS_MAX 100000U
#define SCRIPT_SIZE_MAX ((size_t)64 << 20)
#define SCRIPT_KEEP_MAX ((size_t)64 << 20) /* of a stream that is kept as text; as numbers a sixteenth of it */

enum script_kind { SCRIPT_SIGN, SCRIPT_DEPLOY, SCRIPT_START, SCRIPT_RUN, SCRIPT_TRANSFER, SCRIPT_TERMINATE };

/* What becomes of a stream: the first `head` and the last `tail` bytes are kept. */
struct script_capture {
    bool stream; /* what goes to the head is told at once */
    bool binary; /* as numbers, not as text */
    uint64_t head, tail;
};

struct script_command {
    enum script_kind kind;
    json_t *json;                     /* {"run": {...}}, as it was given */
    struct gv_strv args;              /* start, run */
    char *entry_point;                /* run */
    struct script_capture capture[3]; /* [1] stdout, [2] stderr */
    char *hostname, *volumes;         /* deploy; NULL = not given. volumes: JSON for --volume-override */
    bool networks;                    /* deploy asks for some */
    struct transfer_request transfer; /* its texts are in json; depth is *transfer.depth = depth */
    uint64_t depth;
    bool progress; /* transfer, deploy: is to be told */
    unsigned progress_ms;
};

struct script {
    struct script_command *commands;
    size_t count;
};

/* Reads a script: an array of commands, or the object {"text": "..."} in which the REST interface has it as text. GV_E_FORMAT with the number of the
 * command for what an ExeUnit would not take. */
int script_parse(struct script **out, const char *text, size_t n, struct gv_error *err);
void script_free(struct script *s);
DEFINE_CLEANUP(script, struct script *, script_free)

struct script_options {
    const char *runtime; /* path */
    const char *workdir; /* absolute; must exist */
    const char *image;   /* reference of the image; NULL = the runtime gets none */
    /* Makes a file of it, which stays while the script runs, when the script deploys. *path is absolute, and for the script to free. */
    int (*find_image)(void *user, const char *image, char **path, struct gv_error *err);
    struct gv_strv runtime_options; /* before the subcommand */
    bool events;                    /* tell events; else results */
    /* Takes a result or event; it is only lent. */
    void (*tell)(void *user, const json_t *object);
    void *user;                   /* of both */
    const atomic_bool *cancelled; /* becomes true when all is to stop: what runs is ended, and the runtime shut down */
    uint64_t max_unpacked;        /* as in transfer.h */
    const struct gv_log *log;
};

#define SCRIPT_NO_STATUS 125

/*
 * Executes the script up to its end or to the first command that fails, and ends the runtime. 0 with *status: 0 when every command has succeeded; else
 * what the failing one has ended with, SCRIPT_NO_STATUS when that is no number from 1 to 255. -1 when it was cancelled (GV_E_CANCELLED) or could not be
 * executed at all. Call it while the process has one thread.
 */
int script_run(const struct script *s, const struct script_options *o, int *status, struct gv_error *err);

#endif
