/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `gvmkit stop`, `kill` and `wait`: the end of VMs that have names. */
#include <signal.h>
#include <string.h>

#include "cli/cli.h"
#include "vms/vms.h"

#define GRACE_MS 10000U

/* Asks the VM; one that has ended is what was wanted. 1: it runs, and was asked. */
static int ask(const char *name, const struct vms_request *request, struct gv_error *err)
{
    struct vms_outcome out;
    cleanup_vms_record struct vms_record r = { 0 };
    if (vms_find(&r, name, err) < 0)
        return -1;
    if (r.state >= VMS_ENDED)
        return 0;
    if (vms_call(name, request, NULL, &out, err) == 0)
        return 1;
    /* It may have ended in this moment. */
    vms_record_clear(&r);
    return vms_find(&r, name, NULL) < 0 || r.state >= VMS_ENDED ? 0 : -1;
}

/* ---- stop ---- */

static const struct cli_option stop_options[] = {
    { "time", 't', "TIME", "how long the command may take before the VM ends (default 10s)" },
    { 0 },
};

static int take_stop(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)name;
    if (!strcmp(value, "0")) {
        *(unsigned *)user = 0;
        return 0;
    }
    return cli_duration(value, user, err);
}

static int run_stop(const struct cli_command *self, int argc, char **argv)
{
    struct vms_request request = { .op = VMS_STOP, .grace_ms = GRACE_MS };
    int at = cli_parse(self, argc, argv, take_stop, &request.grace_ms), status = CLI_OK;
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at == argc)
        return cli_usage(self, "say which VM to stop");
    /* All of them are asked before the first is waited for. */
    cleanup_free int *asked = gv_calloc((size_t)argc, sizeof(*asked));
    for (int i = at; i < argc; i++) {
        struct gv_error err = GV_ERROR_INIT;
        asked[i] = ask(argv[i], &request, &err);
        if (asked[i] < 0)
            status = cli_fail(&err);
    }
    for (int i = at; i < argc; i++) {
        int unused;
        if (asked[i] < 0)
            continue;
        if (asked[i] > 0)
            (void)vms_wait(argv[i], &unused, NULL); /* how it ended is not the question */
        puts(argv[i]);
    }
    return status;
}

const struct cli_command cmd_stop = {
    .name = "stop",
    .synopsis = "[OPTIONS] NAME...",
    .summary = "End VMs in order",
    .details = "The VM's command gets the image's stop signal (SIGTERM if it has none); when that does not end it in time the VM ends. "
               "Returns when\n"
               "nothing of the VMs is left, and prints their names.",
    .example = "  gvmkit stop web",
    .options = stop_options,
    .run = run_stop,
};

/* ---- kill ---- */

static const struct cli_option kill_options[] = {
    { "signal", 's', "SIGNAL", "name or number of the signal (default KILL)" },
    { 0 },
};

static int take_kill(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)name;
    return cli_signal(value, user, err);
}

static int run_kill(const struct cli_command *self, int argc, char **argv)
{
    struct vms_request request = { .op = VMS_KILL, .signal = SIGKILL };
    int at = cli_parse(self, argc, argv, take_kill, &request.signal), status = CLI_OK;
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at == argc)
        return cli_usage(self, "say which VM");
    for (int i = at; i < argc; i++) {
        struct gv_error err = GV_ERROR_INIT;
        int asked = ask(argv[i], &request, &err);
        if (asked == 0)
            gv_error_set(&err, GV_E_NOT_FOUND, 0, "the VM `%s` does not run any more", argv[i]);
        if (asked > 0)
            puts(argv[i]);
        else
            status = cli_fail(&err);
    }
    return status;
}

const struct cli_command cmd_kill = {
    .name = "kill",
    .synopsis = "[OPTIONS] NAME...",
    .summary = "Send a signal to the commands of VMs",
    .details = "The signal goes to the VM's command, not to its children. After KILL the VM ends, whatever its guest does.",
    .example = "  gvmkit kill -s HUP web",
    .options = kill_options,
    .run = run_kill,
};

/* ---- wait ---- */

static const struct cli_option wait_options[] = { { 0 } };

static int run_wait(const struct cli_command *self, int argc, char **argv)
{
    int at = cli_parse(self, argc, argv, NULL, NULL), status = CLI_OK;
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at == argc)
        return cli_usage(self, "say which VM to wait for");
    for (int i = at; i < argc; i++) {
        struct gv_error err = GV_ERROR_INIT;
        int exited;
        if (vms_wait(argv[i], &exited, &err) < 0)
            status = cli_fail(&err);
        else
            printf("%d\n", exited);
    }
    return status;
}

const struct cli_command cmd_wait = {
    .name = "wait",
    .synopsis = "NAME...",
    .summary = "Wait for the end of VMs and print their exit statuses",
    .details = "For each VM, one line with the status that `gvmkit run` would have had. One that has ended already is not waited for.",
    .example = "  gvmkit wait web",
    .options = wait_options,
    .run = run_wait,
};
