/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `gvmkit ps`: the VMs that have names. */
#include <string.h>

#include "cli/look.h"
#include "cli/table.h"
#include "vms/vms.h"

#define TEXT_MAX 28U

static const struct cli_option options[] = {
    { "all", 'a', NULL, "also those that have ended" },
    { "quiet", 'q', NULL, "print the names only" },
    { "json", 0, NULL, "print a JSON array" },
    { "no-trunc", 0, NULL, "print images and commands whole" },
    { 0 },
};

struct args {
    bool all, quiet, json, whole;
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)value;
    (void)err;
    struct args *a = user;
    if (!strcmp(name, "all"))
        a->all = true;
    else if (!strcmp(name, "quiet"))
        a->quiet = true;
    else if (!strcmp(name, "json"))
        a->json = true;
    else
        a->whole = true;
    return 0;
}

/* "5 minutes" */
static void print_age(char out[32], int64_t since_ms)
{
    static const struct {
        int64_t seconds;
        const char *unit;
    } units[] = { { 86400, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" } };
    int64_t seconds = (vms_now_ms() - since_ms) / 1000;
    seconds = seconds < 0 ? 0 : seconds;
    size_t i = 0;
    while (i < 3 && seconds < units[i].seconds)
        i++;
    int64_t n = seconds / units[i].seconds;
    snprintf(out, 32, "%lld %s%s", (long long)n, units[i].unit, n == 1 ? "" : "s");
}

static void print_status(char out[64], const struct vms_record *r)
{
    char age[32] = "";
    switch (r->state) {
    case VMS_STARTING:
        snprintf(out, 64, "starting");
        break;
    case VMS_RUNNING:
        print_age(age, r->started_ms);
        snprintf(out, 64, "up %s", age);
        break;
    case VMS_ENDED:
        print_age(age, r->ended_ms);
        snprintf(out, 64, "exited (%d) %s ago", r->status, age);
        break;
    case VMS_DIED:
        snprintf(out, 64, "died");
        break;
    }
}

static char *join(const struct gv_strv *v, const char *with)
{
    struct gv_buf b = { 0 };
    for (size_t i = 0; i < v->count; i++)
        gv_buf_addf(&b, "%s%s", i ? with : "", v->items[i]);
    return gv_buf_str(&b);
}

static void add_row(struct table *t, const struct vms_record *r, size_t max)
{
    char status[64];
    cleanup_free char *command = join(&r->argv, " "), *ports = join(&r->ports, ", ");
    print_status(status, r);
    table_add(t, r->name, 0);
    table_add(t, r->image ? r->image : "", max);
    table_add(t, command, max);
    table_add(t, status, 0);
    table_add(t, ports, 0);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at < argc)
        return cli_usage(self, "there is nothing to say after it");
    struct gv_error err = GV_ERROR_INIT;
    struct vms_record *list;
    size_t n, elements = 0;
    if (vms_list(&list, &n, &err) < 0)
        return cli_fail(&err);
    look_begin();
    struct table t = { .columns = 5 };
    static const char *const head[] = { "NAME", "IMAGE", "COMMAND", "STATUS", "PORTS" };
    for (size_t i = 0; !a.json && !a.quiet && i < 5; i++)
        table_add(&t, head[i], 0);
    for (size_t i = 0; i < n; i++) {
        const struct vms_record *r = &list[i];
        if (!a.all && r->state >= VMS_ENDED)
            continue;
        cleanup_free char *json = a.json ? vms_record_format(r) : NULL;
        if (a.json)
            look_json_element(json_loads(json, 0, NULL), &elements);
        else if (a.quiet)
            puts(r->name);
        else
            add_row(&t, r, a.whole ? 0 : TEXT_MAX);
    }
    if (a.json)
        look_json_array_end(elements);
    table_print(&t);
    vms_list_free(list, n);
    return CLI_OK;
}

const struct cli_command cmd_ps = {
    .name = "ps",
    .synopsis = "[OPTIONS]",
    .summary = "List the VMs that have names",
    .details = "Those that run, the newest first; with -a also the last twenty detached ones that have ended. \"died\" means that the "
               "process to which\n"
               "the VM belonged was ended from outside, and the VM with it.",
    .example = "  gvmkit ps -a",
    .options = options,
    .run = run,
};
