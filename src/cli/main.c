/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <signal.h>
#include <string.h>

#include "cli/cli.h"

static const struct cli_command *const commands[] = { &cmd_build, &cmd_inspect, &cmd_run, &cmd_shell, &cmd_doctor, &cmd_dbg };
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

int main(int argc, char **argv)
{
    /* A reader that goes away is an error where we write, not the end of the process with a VM running. */
    signal(SIGPIPE, SIG_IGN);
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
        int status = commands[i]->run(commands[i], argc - 1, argv + 1);
        if (fflush(stdout) != 0 && status == CLI_OK) {
            fprintf(stderr, "gvmkit: cannot write to standard output: %m\n");
            status = CLI_FAILED;
        }
        return status;
    }
    fputs("gvmkit: there is no command `", stderr);
    cli_print_clean(stderr, word);
    fputs("`; see `gvmkit --help`\n", stderr);
    return CLI_USAGE;
}
