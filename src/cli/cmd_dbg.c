/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `gvmkit dbg`: a runtime by hand. */
#include <string.h>

#include "cli/cli.h"
#include "exeunit/exeunit.h"

#define FAILED 125

static const struct cli_option options[] = {
    { "runtime", 'r', "FILE", "the runtime" },
    { "workdir", 'w', "DIR", "work directory; made if it is missing" },
    { "task-package", 't', "FILE", "the image" },
    { "protocol", 'p', "VERSION", "the version that Hello says (default 0.1.0)" },
    { "exec-mode", 0, "MODE", "shell: each line is given to a shell; exec: it is a program and its arguments (default shell)" },
    { "exec-shell", 0, "NAME", "the shell, in /bin of the image (default sh)" },
    { "no-deploy", 0, NULL, "start what has been deployed already" },
    { "deploy-arg", 0, "WORD", "an argument for deploy; can be given several times" },
    { "start-arg", 0, "WORD", "an argument for start; can be given several times" },
    { "no-history", 0, NULL, "do not remember the lines that are typed" },
    { "transcript", 0, "FILE", "write all that is seen to FILE, a JSON object a line" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct exeunit_dbg_options *o = user;
    if (!strcmp(name, "runtime"))
        o->runtime = value;
    else if (!strcmp(name, "workdir"))
        o->workdir = value;
    else if (!strcmp(name, "task-package"))
        o->task_package = value;
    else if (!strcmp(name, "protocol"))
        o->protocol = value;
    else if (!strcmp(name, "exec-shell"))
        o->shell = value;
    else if (!strcmp(name, "no-deploy"))
        o->no_deploy = true;
    else if (!strcmp(name, "no-history"))
        o->no_history = true;
    else if (!strcmp(name, "deploy-arg"))
        gv_strv_add(&o->deploy_args, value);
    else if (!strcmp(name, "start-arg"))
        gv_strv_add(&o->start_args, value);
    else if (!strcmp(name, "transcript"))
        o->transcript = value;
    else if (!strcmp(value, "exec") || !strcmp(value, "shell"))
        o->exec_mode = value[0] == 'e';
    else
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not one of shell, exec", value);
    return 0;
}

/* The absolute path of what must be there, for the caller to free. */
static char *find(const char *what, const char *path, struct gv_error *err)
{
    char *real = realpath(path, NULL);
    if (!real)
        gv_error_errno(err, "cannot find the %s `%s`", what, path);
    return real;
}

static int debug(struct exeunit_dbg_options *o)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gv_log log = cli_log(false);
    int status = FAILED;
    cleanup_free char *runtime = find("runtime", o->runtime, &err);
    if (!runtime || gv_mkdir_p(o->workdir, 0755, &err) < 0) {
        cli_fail(&err);
        return FAILED;
    }
    cleanup_free char *workdir = find("work directory", o->workdir, &err);
    cleanup_free char *package = workdir && o->task_package ? find("image", o->task_package, &err) : NULL;
    if (!workdir || (o->task_package && !package)) {
        cli_fail(&err);
        return FAILED;
    }
    o->runtime = runtime;
    o->workdir = workdir;
    o->task_package = package;
    o->log = &log;
    if (exeunit_dbg(o, &status, &err) < 0)
        cli_fail(&err);
    return status;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct exeunit_dbg_options o = { .protocol = "0.1.0", .shell = "sh" };
    int at = cli_parse(self, argc, argv, take, &o), status = FAILED;
    for (int i = at; at > 0 && i < argc; i++)
        gv_strv_add(&o.runtime_options, argv[i]);
    if (at < 0)
        status = at == CLI_HELP ? CLI_OK : FAILED;
    else if (!o.runtime || !o.workdir)
        cli_usage(self, "say which runtime (--runtime) and where it may work (--workdir)");
    else
        status = debug(&o);
    gv_strv_clear(&o.runtime_options);
    gv_strv_clear(&o.deploy_args);
    gv_strv_clear(&o.start_args);
    return status;
}

const struct cli_command cmd_dbg = {
    .name = "dbg",
    .synopsis = "[OPTIONS] --runtime FILE --workdir DIR [-- RUNTIME-OPTIONS...]",
    .summary = "Drive a runtime of an ExeUnit by hand or by a script",
    .details =
        "Deploys and starts the image, runs each line of standard input, and shuts the runtime down. Works with any runtime that speaks\n"
        "the protocol (package ya_runtime_api), and tells when it breaks the rules.\n\n"
        "At a terminal, lines can be edited as in a shell, and are remembered in ~/.local/state/gvmkit/dbg_history ($XDG_STATE_HOME), but\n"
        "for those that begin with a blank.\n\n"
        "The exit status is that of the last command; 1 when the runtime has broken the protocol; 125 when gvmkit itself or the\n"
        "runtime failed; 126 and 127 when the last command could not be executed or found.",
    .example = "  echo 'ls /data' | gvmkit dbg -r ya-runtime-vm -w work -t hello.gvmi -- --cpu-cores 2",
    .options = options,
    .run = run,
};
