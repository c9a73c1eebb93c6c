/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const struct cli_command *const commands[] = {
    /* clang-format off */
    &cmd_build,
    &cmd_edit,
    &cmd_inspect,
    &cmd_ls,
    &cmd_cat,
    &cmd_extract,
    &cmd_diff,
    &cmd_verify,
    &cmd_lint,
    &cmd_hash,
    &cmd_mount,
    &cmd_sign,
    &cmd_manifest,
    &cmd_demand,
    &cmd_images,
    &cmd_pull,
    &cmd_push,
    &cmd_tag,
    &cmd_rm,
    &cmd_prune,
    &cmd_login,
    &cmd_logout,
    &cmd_serve,
    &cmd_run,
    &cmd_shell,
    &cmd_exec,
    &cmd_cp,
    &cmd_ps,
    &cmd_logs,
    &cmd_stats,
    &cmd_stop,
    &cmd_kill,
    &cmd_wait,
    &cmd_script,
    &cmd_doctor,
    &cmd_dbg,
    /* clang-format on */
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *f)
{
    fputs("Usage: gvmkit COMMAND [OPTIONS] ...\n\n"
          "Turns Docker and OCI images into .gvmi files and runs them in microVMs.\n\n"
          "Commands:\n",
          f);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(f, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n`gvmkit COMMAND --help` tells the rest; `gvmkit --version` which gvmkit this is.\n", f);
}

/* Output that could not be written is a failure. */
static int finish(int status)
{
    /* What an earlier write has lost is not written by the last one. */
    bool lost = ferror(stdout);
    if ((fflush(stdout) != 0 || lost) && status == CLI_OK) {
        fprintf(stderr, "%s: cannot write to standard output: %m\n", cli_program());
        status = CLI_FAILED;
    }
    return status;
}

/* A file opened by us must never become somebody's standard stream because that was closed. */
static void open_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            abort();
}

int main(int argc, char **argv)
{
    open_standard_streams();
    /* A reader that goes away is an error where we write, not the end of the process with a VM running. */
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(cli_program(), door_gvmkit_build.name) == 0)
        return finish(door_gvmkit_build.run(&door_gvmkit_build, argc, argv));
    const char *word = argc > 1 ? argv[1] : NULL;
    if (!word) {
        usage(stderr);
        return CLI_USAGE;
    }
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
        for (size_t i = 0; argc > 2 && i < COMMANDS; i++) {
            if (!strcmp(argv[2], commands[i]->name)) {
                char *help[] = { argv[2], (char[]){ "--help" }, NULL };
                return commands[i]->run(commands[i], 2, help);
            }
        }
        usage(stdout);
        return CLI_OK;
    }
    if (!strcmp(word, "--version")) {
        printf("gvmkit %s\n", GVMKIT_VERSION);
        return CLI_OK;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(word, commands[i]->name) != 0)
            continue;
        return finish(commands[i]->run(commands[i], argc - 1, argv + 1));
    }
    fputs("gvmkit: there is no command `", stderr);
    cli_print_clean(stderr, word);
    fputs("`; see `gvmkit --help`\n", stderr);
    return CLI_USAGE;
}
