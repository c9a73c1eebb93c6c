/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "cli/image.h"
#include "cli/look.h"
#include "extract/extract.h"

struct extract_args {
    const char *output;
    bool json;
    enum cli_progress_mode progress;
    struct extract_options extract;
};

static const struct cli_option options[] = {
    { "output", 'o', "DIR", "extract to DIR (default: named after the image)" },
    { "directory", 'C', "DIR", "the same, as tar calls it" },
    { "force", 'f', NULL, "extract into DIR although it holds something; files are replaced" },
    { "devices", 0, NULL, "make device nodes (as root)" },
    { "setuid", 0, NULL, "keep setuid and setgid bits, and as root capabilities" },
    { "no-same-owner", 0, NULL, "do not keep owners (only root can)" },
    { "xattrs", 0, NULL, "as root, keep all extended attributes, not only user ones" },
    { "max-size", 0, "SIZE", "refuse images whose files have more" },
    { "json", 0, NULL, "print the result as JSON" },
    { "progress", 0, "MODE", "auto, plain, none or json (default auto)" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct extract_args *a = user;
    if (!strcmp(name, "output") || !strcmp(name, "directory"))
        a->output = value;
    else if (!strcmp(name, "force"))
        a->extract.force = true;
    else if (!strcmp(name, "devices"))
        a->extract.devices = true;
    else if (!strcmp(name, "setuid"))
        a->extract.setuid = true;
    else if (!strcmp(name, "no-same-owner"))
        a->extract.no_owner = true;
    else if (!strcmp(name, "xattrs"))
        a->extract.all_xattrs = true;
    else if (!strcmp(name, "max-size"))
        return cli_size(value, &a->extract.max_bytes, err);
    else if (!strcmp(name, "json"))
        a->json = true;
    else
        return cli_progress_mode(value, &a->progress, err);
    return 0;
}

/* The image's name without directories and ".gvmi", in the current directory. */
static char *default_output(const char *image)
{
    const char *slash = strrchr(image, '/');
    const char *name = slash ? slash + 1 : image;
    size_t n = strlen(name);
    if (n > 5 && !strcmp(name + n - 5, ".gvmi"))
        return gv_strndup(name, n - 5);
    return gv_asprintf("%s.root", name);
}

static void print_json(const char *output, const struct extract_result *r)
{
    json_t *o = json_object();
    look_json_bytes(o, "directory", output);
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        { "files", r->files },
        { "directories", r->dirs },
        { "symlinks", r->symlinks },
        { "specials", r->specials },
        { "hard_links", r->hard_links },
        { "bytes", r->bytes },
        { "devices_left_out", r->devices_left_out },
        { "privilege_bits_left_out", r->bits_left_out },
        { "capabilities_left_out", r->capabilities_left_out },
        { "xattrs_left_out", r->xattrs_left_out },
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        json_object_set_new(o, numbers[i].key, json_integer((json_int_t)numbers[i].value));
    look_json_print(o);
}

static void print_text(const char *output, const struct extract_result *r)
{
    char size[32];
    gv_format_size(size, r->bytes);
    cli_print_clean(stdout, output);
    printf(": %llu file%s of %s, %llu director%s, %llu link%s", (unsigned long long)r->files, r->files == 1 ? "" : "s", size,
           (unsigned long long)r->dirs, r->dirs == 1 ? "y" : "ies", (unsigned long long)(r->symlinks + r->hard_links),
           r->symlinks + r->hard_links == 1 ? "" : "s");
    if (r->specials)
        printf(", %llu special", (unsigned long long)r->specials);
    putchar('\n');
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct extract_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at == argc)
        return cli_usage(self, "say which image to extract");
    cleanup_free char *output = a.output ? gv_strdup(a.output) : default_output(argv[at]);
    struct gv_error err = GV_ERROR_INIT;
    struct extract_result result;
    cleanup_cli_image struct cli_image image = CLI_IMAGE_INIT;
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    if (cli_image_open(&image, &img, argv[at], &err) < 0)
        return cli_fail(&err);
    struct cli_progress *progress = cli_progress_new(a.progress);
    struct gv_log log = cli_progress_log(progress, false);
    a.extract.paths = (const char *const *)argv + at + 1;
    a.extract.path_count = (size_t)(argc - at - 1);
    a.extract.progress = cli_progress_sink(progress);
    a.extract.log = &log;
    int status = extract_image(img, output, &a.extract, &result, &err);
    cli_progress_free(progress);
    if (status < 0)
        return cli_fail(&err);
    look_begin();
    if (a.json)
        print_json(output, &result);
    else
        print_text(output, &result);
    return CLI_OK;
}

const struct cli_command cmd_extract = {
    .name = "extract",
    .synopsis = "[OPTIONS] IMAGE [PATH...]",
    .summary = "Extract the files of a .gvmi to a directory",
    .details = "PATH is a path in the image, with all below it; without one, everything is extracted. Nothing outside of DIR is\n"
               "made or changed, whatever the image holds; what would give privileges is left out unless asked for.\n\n"
               "A DIR that does not exist appears whole in the end, or not at all. In one that does, what has been extracted\n"
               "stays when the rest fails.",
    .example = "  gvmkit extract hello.gvmi\n"
               "  gvmkit extract -o out hello.gvmi /etc /usr/share/doc",
    .options = options,
    .run = run,
};
