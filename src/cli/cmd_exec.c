/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `gvmkit exec`: one more command in a VM that runs. */
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "session/session.h"

static const struct cli_option options[] = {
    { "interactive", 'i', NULL, "pass our stdin to the command" },
    { "tty", 't', NULL, "give the command a terminal" },
    { "env", 'e', "NAME[=VALUE]", "set a variable; without VALUE take it from our own environment" },
    { "workdir", 'w', "DIR", "working directory (default: that of the VM's command)" },
    { "user", 'u', "USER[:GROUP]", "user, by name or number (default: that of the VM's command)" },
    { 0 },
};

struct args {
    struct session_exec exec;
    struct gv_strv env;
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct args *a = user;
    if (!strcmp(name, "interactive"))
        a->exec.interactive = true;
    else if (!strcmp(name, "tty"))
        a->exec.tty = true;
    else if (!strcmp(name, "env"))
        return cli_env(&a->env, value, err);
    else if (!strcmp(name, "user"))
        a->exec.user = value;
    else if (value[0] != '/')
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not an absolute path", value);
    else
        a->exec.workdir = value;
    return 0;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct args a = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    int at = cli_parse(self, argc, argv, take, &a), status = SESSION_FAILED;
    if (at < 0) {
        status = at == CLI_HELP ? CLI_OK : SESSION_FAILED;
    } else if (argc - at < 2) {
        cli_usage(self, "say in which VM, and which command");
    } else if (a.exec.tty && !isatty(STDIN_FILENO)) {
        cli_usage(self, "-t needs a terminal as standard input; leave it away, or use -i alone");
    } else {
        a.exec.args = argv + at + 1;
        a.exec.env = &a.env;
        if (session_exec(argv[at], &a.exec, &status, &err) < 0)
            cli_fail(&err);
    }
    gv_strv_clear(&a.env);
    return status;
}

const struct cli_command cmd_exec = {
    .name = "exec",
    .synopsis = "[OPTIONS] NAME COMMAND [ARG...]",
    .summary = "Run one more command in a VM that runs",
    .details =
        "NAME is that of a VM started by `gvmkit run -d` or with --name. ENV, WORKDIR and USER are those of its own command. The exit "
        "status\n"
        "is the command's; 128+N when signal N ended it; 125 when gvmkit itself failed; 126 when the command cannot be executed; 127 when\n"
        "there is no such command.",
    .example = "  gvmkit exec -it web sh",
    .options = options,
    .stop_at_operand = true,
    .run = run,
};
