/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <jansson.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

struct inspect_args {
    bool json, no_hash;
};

static const struct cli_option options[] = {
    { "json", 0, NULL, "print JSON" },
    { "no-hash", 0, NULL, "do not read the whole file for its hash" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)value;
    (void)err;
    struct inspect_args *a = user;
    if (!strcmp(name, "json"))
        a->json = true;
    else
        a->no_hash = true;
    return 0;
}

static void add_finding(void *user, const char *text)
{
    gv_strv_add(user, text);
}

static void print_field(const char *name, const char *value)
{
    if (!value)
        return;
    printf("%-12s ", name);
    cli_print_clean(stdout, value);
    putchar('\n');
}

static void print_list(const char *name, const struct gv_strv *v, size_t step)
{
    for (size_t i = 0; i < v->count; i += step) {
        printf("%-12s ", i ? "" : name);
        cli_print_clean(stdout, v->items[i]);
        if (step == 2) {
            putchar('=');
            cli_print_clean(stdout, v->items[i + 1]);
        }
        putchar('\n');
    }
}

/* A command as a person would type it: JSON's quoting is unambiguous and known. */
static void print_command(const char *name, const struct gv_strv *v, bool present)
{
    if (!present)
        return;
    json_t *a = json_array();
    for (size_t i = 0; i < v->count; i++)
        json_array_append_new(a, json_string(v->items[i]));
    char *text = json_dumps(a, 0);
    print_field(name, text);
    free(text);
    json_decref(a);
}

static void print_text(const char *path, struct gvmi_image *img, const char *hash, const struct gv_strv *findings)
{
    const struct gvmi_info *info = gvmi_info(img);
    const struct image_config *c = gvmi_config(img);
    char size[32], block[32], when[64] = "?";
    cli_format_size(size, info->file_size);
    cli_format_size(block, info->block_size);
    time_t t = (time_t)info->mkfs_time;
    struct tm tm;
    if (gmtime_r(&t, &tm))
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
    print_field("file", path);
    printf("%-12s %s (%llu bytes)\n", "size", size, (unsigned long long)info->file_size);
    if (*hash)
        print_field("hash", hash);
    printf("%-12s %s, blocks of %s\n", "compression", gvmi_compression_name(info->compression), block);
    printf("%-12s %u inodes, newest %s\n", "content", info->inode_count, when);
    print_field("image id", c->image);
    print_field("user", c->user);
    print_field("workdir", c->workdir);
    print_command("entrypoint", &c->entrypoint, c->has_entrypoint);
    print_command("cmd", &c->cmd, c->has_cmd);
    print_list("env", &c->env, 1);
    print_list("volumes", &c->volumes, 1);
    print_list("exposes", &c->exposed, 1);
    print_list("labels", &c->labels, 2);
    print_field("stop signal", c->stop_signal);
    print_list("warnings", findings, 1);
}

static void print_json(const char *path, struct gvmi_image *img, const char *hash, const struct gv_strv *findings)
{
    const struct gvmi_info *info = gvmi_info(img);
    json_t *o = json_pack("{s:s%, s:I, s:s, s:I, s:I, s:I, s:I}", "file", path, strlen(path), "size", (json_int_t)info->file_size,
                          "compression", gvmi_compression_name(info->compression), "block_size", (json_int_t)info->block_size, "inodes",
                          (json_int_t)info->inode_count, "filesystem_size", (json_int_t)info->squashfs_size, "mkfs_time",
                          (json_int_t)info->mkfs_time);
    if (!o) /* a path that is not UTF-8 */
        o = json_object();
    if (*hash)
        json_object_set_new(o, "hash", json_string(hash));
    json_object_set_new(o, "config", json_loads(gvmi_metadata(img), 0, NULL));
    json_t *w = json_array();
    for (size_t i = 0; i < findings->count; i++)
        json_array_append_new(w, json_string(findings->items[i]));
    json_object_set_new(o, "warnings", w);
    json_dumpf(o, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(o);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct inspect_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at == argc)
        return cli_usage(self, "say which file to inspect");
    for (int i = at; i < argc; i++) {
        struct gv_error err = GV_ERROR_INIT;
        CLEANUP(gvmi) struct gvmi_image *img = NULL;
        cleanup_strv struct gv_strv findings = { 0 };
        char hash[GV_SHA3_224_HEX] = "";
        if (gvmi_open(&img, argv[i], &err) < 0 || (!a.no_hash && gvmi_hash(img, hash, &err) < 0) ||
            gvmi_lint(img, add_finding, &findings, &err) < 0)
            return cli_fail(&err);
        if (a.json) {
            print_json(argv[i], img, hash, &findings);
        } else {
            if (i > at)
                putchar('\n');
            print_text(argv[i], img, hash, &findings);
        }
    }
    return CLI_OK;
}

const struct cli_command cmd_inspect = {
    .name = "inspect",
    .synopsis = "[OPTIONS] FILE...",
    .summary = "Show what a .gvmi file is and what would surprise at run time",
    .example = "  gvmkit inspect hello.gvmi",
    .options = options,
    .run = run,
};
