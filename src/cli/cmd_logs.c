/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `gvmkit logs`: what a detached command has printed. */
#include <errno.h>
#include <string.h>

#include "cli/look.h"
#include "vms/vms.h"

static const struct cli_option options[] = {
    { "follow", 'f', NULL, "go on until the VM ends" },
    { "tail", 'n', "N", "only the last N lines, or all" },
    { "timestamps", 't', NULL, "put the time before each line" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct vms_log_options *o = user;
    if (!strcmp(name, "follow"))
        o->follow = true;
    else if (!strcmp(name, "timestamps"))
        o->timestamps = true;
    else if (!strcmp(value, "all"))
        o->tail = UINT64_MAX;
    else
        return cli_number("the number of lines", value, 0, INT64_MAX, &o->tail, err);
    return 0;
}

static int put(void *user, int stream, const void *data, size_t n, struct gv_error *err)
{
    (void)user;
    int fd = stream == 2 ? STDERR_FILENO : STDOUT_FILENO;
    return gv_write_full(fd, data, n) < 0 ? gv_error_errno(err, "cannot write") : 0;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct vms_log_options o = { .tail = UINT64_MAX };
    struct gv_error err = GV_ERROR_INIT;
    int at = cli_parse(self, argc, argv, take, &o);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (argc - at != 1)
        return cli_usage(self, "say of which VM, and nothing after it");
    look_begin();
    return vms_log_read(argv[at], &o, put, NULL, &err) < 0 ? cli_fail(&err) : CLI_OK;
}

const struct cli_command cmd_logs = {
    .name = "logs",
    .synopsis = "[OPTIONS] NAME",
    .summary = "Print what a detached command has printed",
    .details = "Its standard output goes to ours, its standard error to ours. At least the last 16 MiB are kept, and at most 32 MiB, as "
               "long as the\n"
               "VM is listed by `gvmkit ps -a`.",
    .example = "  gvmkit logs -f --tail 20 web",
    .options = options,
    .run = run,
};
