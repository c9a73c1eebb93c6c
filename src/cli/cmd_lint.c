/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "cli/image.h"
#include "cli/look.h"

struct lint_args {
    bool json, exit_code;
};

static const struct cli_option options[] = {
    { "exit-code", 0, NULL, "make the exit status 1 when something was found" },
    { "json", 0, NULL, "print a JSON array" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)value;
    (void)err;
    struct lint_args *a = user;
    *(!strcmp(name, "json") ? &a->json : &a->exit_code) = true;
    return 0;
}

static void add_finding(void *user, const char *text)
{
    gv_strv_add(user, text);
}

static void print_findings(const char *file, const struct gv_strv *findings, bool json, size_t *elements)
{
    if (json) {
        json_t *o = json_object(), *w = json_array();
        for (size_t i = 0; i < findings->count; i++)
            json_array_append_new(w, json_string(findings->items[i]));
        look_json_bytes(o, "file", file);
        json_object_set_new(o, "warnings", w);
        look_json_element(o, elements);
        return;
    }
    for (size_t i = 0; i < findings->count; i++) {
        cli_print_clean(stdout, file);
        fputs(": ", stdout);
        cli_print_clean(stdout, findings->items[i]);
        putchar('\n');
    }
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct lint_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at == argc)
        return cli_usage(self, "say which image to judge");
    look_begin();
    int status = CLI_OK;
    size_t elements = 0;
    for (int i = at; i < argc; i++) {
        struct gv_error err = GV_ERROR_INIT;
        cleanup_cli_image struct cli_image image = CLI_IMAGE_INIT;
        CLEANUP(gvmi) struct gvmi_image *img = NULL;
        cleanup_strv struct gv_strv findings = { 0 };
        if (cli_image_open(&image, &img, argv[i], &err) < 0 || gvmi_lint(img, add_finding, &findings, &err) < 0) {
            status = cli_fail(&err);
            continue;
        }
        print_findings(image.path, &findings, a.json, &elements);
        if (findings.count > 0 && a.exit_code)
            status = CLI_FAILED;
    }
    if (a.json)
        look_json_array_end(elements);
    return status;
}

const struct cli_command cmd_lint = {
    .name = "lint",
    .synopsis = "[OPTIONS] IMAGE...",
    .summary = "Tell what would surprise at run time",
    .details = "A line for each finding, none when there is nothing to say: an image without a volume, a program that is not\n"
               "there, content below a volume, a compression that providers cannot mount, and so on.",
    .example = "  gvmkit lint --exit-code hello.gvmi",
    .options = options,
    .run = run,
};
