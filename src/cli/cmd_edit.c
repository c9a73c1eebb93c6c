/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "cli/conversion.h"

struct edit_args {
    const char *output;
    bool json;
    struct convert_rewrite_options rewrite;
    struct convert_edits edits;
    enum cli_progress_mode progress;
};

static const struct cli_option options[] = {
    { "output", 'o', "FILE", "write to FILE and leave the image as it is" },
    { "force", 'f', NULL, "replace FILE if it exists" },
    CLI_EDIT_OPTIONS,
    { "as-is", 0, NULL, "take values as they are written, without looking them up in the image" },
    { "json", 0, NULL, "print the result as JSON" },
    { "progress", 0, "MODE", "auto, plain, none or json (default auto)" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct edit_args *a = user;
    if (!strcmp(name, "output")) {
        a->output = value;
    } else if (!strcmp(name, "force")) {
        a->rewrite.force = true;
    } else if (!strcmp(name, "json")) {
        a->json = true;
    } else if (!strcmp(name, "as-is")) {
        a->rewrite.as_is = true;
    } else if (!strcmp(name, "numeric-user")) {
        a->rewrite.numeric_user = true;
    } else if (!strcmp(name, "progress")) {
        return cli_progress_mode(value, &a->progress, err);
    } else {
        return cli_edit_option(&a->edits, name, value, err);
    }
    return 0;
}

static void print_json(const char *file, const struct gvmi_write_result *r)
{
    json_t *o = json_pack("{s:s, s:I}", "hash", r->hash, "size", (json_int_t)r->size);
    json_object_set_new(o, "file", json_string(file));
    json_dumpf(o, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(o);
}

static int edit(struct edit_args *a, const char *file)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gvmi_write_result result = { 0 };
    struct cli_progress *progress = cli_progress_new(a->progress);
    struct gv_log log = cli_progress_log(progress, false);
    a->rewrite.edits = &a->edits;
    a->rewrite.log = &log;
    a->rewrite.progress = cli_progress_sink(progress);
    int status = convert_rewrite(file, a->output, &a->rewrite, &result, &err);
    cli_progress_free(progress);
    if (status < 0)
        return cli_fail(&err);
    if (a->output)
        file = a->output;
    if (a->json) {
        print_json(file, &result);
        return CLI_OK;
    }
    char size[32];
    gv_format_size(size, result.size);
    printf("file     ");
    cli_print_clean(stdout, file);
    printf("\nsize     %s\nhash     %s\n", size, result.hash);
    return CLI_OK;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct edit_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a), status;
    if (at < 0)
        status = at == CLI_HELP ? CLI_OK : CLI_USAGE;
    else if (argc - at != 1)
        status = cli_usage(self, argc == at ? "say which file to edit" : "only one file can be edited at a time");
    else if (!a.edits.count && !a.rewrite.numeric_user)
        status = cli_usage(self, "say what to change");
    else
        status = edit(&a, argv[at]);
    convert_edits_clear(&a.edits);
    return status;
}

const struct cli_command cmd_edit = {
    .name = "edit",
    .synopsis = "[OPTIONS] FILE",
    .summary = "Change the configuration of a .gvmi file",
    .details =
        "The file system in it stays byte for byte as it is; the file gets a new hash. Without --output FILE itself is replaced, in one\n"
        "step. Edits apply in their order, and give what the same options of `gvmkit build` give. Metadata that gvmkit does not know\n"
        "is kept.",
    .example = "  gvmkit edit hello.gvmi --env GREETING=hi --volume /data --cmd '[\"/bin/hello\", \"--loud\"]'",
    .options = options,
    .run = run,
};
