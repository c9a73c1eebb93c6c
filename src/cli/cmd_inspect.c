/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>
#include <time.h>

#include "cli/image.h"
#include "cli/look.h"

struct inspect_args {
    bool json, hash;
};

/* What is asked of one image, tables only, but for the hash. */
struct facts {
    char hash[GV_SHA3_224_HEX]; /* "" = not asked for */
    struct gv_strv findings;
    struct gv_buf options; /* of the compressor */
    unsigned char *seen;   /* a bit for each inode with several names */
    uint64_t files, dirs, symlinks, specials, hard_links, bytes;
};

static const struct cli_option options[] = {
    { "hash", 0, NULL, "tell the SHA3-224, too; reads the whole file" },
    { "json", 0, NULL, "print JSON" },
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
        a->hash = true;
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

static void facts_clear(struct facts *f)
{
    gv_strv_clear(&f->findings);
    gv_buf_clear(&f->options);
    free(f->seen);
}
#define cleanup_facts __attribute__((cleanup(facts_clear)))

/* What has several names is counted at the first of them. */
static int count_entry(void *user, const char *path, const struct gvmi_stat *st)
{
    struct facts *f = user;
    unsigned char bit = (unsigned char)(1U << (st->inode & 7));
    (void)path;
    if (st->type != IMAGE_DIR && st->nlink > 1) {
        if (f->seen[st->inode / 8] & bit) {
            f->hard_links++;
            return 0;
        }
        f->seen[st->inode / 8] |= bit;
    }
    switch ((enum image_type)st->type) {
    case IMAGE_FILE:
        f->files++;
        f->bytes += st->size;
        break;
    case IMAGE_DIR:
        f->dirs++;
        break;
    case IMAGE_SYMLINK:
        f->symlinks++;
        break;
    case IMAGE_CHAR:
    case IMAGE_BLOCK:
    case IMAGE_FIFO:
    case IMAGE_SOCKET:
        f->specials++;
        break;
    }
    return 0;
}

static void print_text(const char *path, struct gvmi_image *img, struct facts *f)
{
    const struct gvmi_info *info = gvmi_info(img);
    const struct image_config *c = gvmi_config(img);
    char size[32], block[32], bytes[32], when[64] = "?";
    gv_format_size(size, info->file_size);
    gv_format_size(block, info->block_size);
    gv_format_size(bytes, f->bytes);
    time_t t = (time_t)info->mkfs_time;
    struct tm tm;
    if (gmtime_r(&t, &tm))
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
    print_field("file", path);
    printf("%-12s %s (%llu bytes)\n", "size", size, (unsigned long long)info->file_size);
    if (*f->hash)
        print_field("hash", f->hash);
    printf("%-12s %s%s%s%s, blocks of %s\n", "compression", gvmi_compression_name(info->compression), f->options.len ? " (" : "",
           gv_buf_str(&f->options), f->options.len ? ")" : "", block);
    printf("%-12s %s in %llu files; %llu directories, %llu links, %llu special files\n", "content", bytes, (unsigned long long)f->files,
           (unsigned long long)f->dirs, (unsigned long long)(f->symlinks + f->hard_links), (unsigned long long)f->specials);
    printf("%-12s %u inodes, newest %s\n", "", info->inode_count, when);
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
    print_list("warnings", &f->findings, 1);
}

static void set_number(json_t *o, const char *key, uint64_t v)
{
    json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void print_json(const char *path, struct gvmi_image *img, struct facts *f)
{
    const struct gvmi_info *info = gvmi_info(img);
    json_t *o = json_object();
    look_json_bytes(o, "file", path);
    set_number(o, "size", info->file_size);
    json_object_set_new(o, "compression", json_string(gvmi_compression_name(info->compression)));
    if (f->options.len)
        json_object_set_new(o, "compression_options", json_string(gv_buf_str(&f->options)));
    set_number(o, "block_size", info->block_size);
    set_number(o, "inodes", info->inode_count);
    set_number(o, "fragments", info->fragment_count);
    set_number(o, "owners", info->id_count);
    set_number(o, "filesystem_size", info->squashfs_size);
    set_number(o, "metadata_size", info->metadata_size);
    set_number(o, "mkfs_time", (uint64_t)info->mkfs_time);
    json_t *content = json_object();
    set_number(content, "bytes", f->bytes);
    set_number(content, "files", f->files);
    set_number(content, "directories", f->dirs);
    set_number(content, "symlinks", f->symlinks);
    set_number(content, "specials", f->specials);
    set_number(content, "hard_links", f->hard_links);
    json_object_set_new(o, "content", content);
    if (*f->hash)
        json_object_set_new(o, "hash", json_string(f->hash));
    json_object_set_new(o, "config", json_loads(gvmi_metadata(img), 0, NULL));
    json_t *w = json_array();
    for (size_t i = 0; i < f->findings.count; i++)
        json_array_append_new(w, json_string(f->findings.items[i]));
    json_object_set_new(o, "warnings", w);
    look_json_print(o);
}

static int collect(struct gvmi_image *img, bool hash, struct facts *f, struct gv_error *err)
{
    f->seen = gv_calloc((size_t)gvmi_info(img)->inode_count / 8 + 1, 1);
    if (gvmi_lint(img, add_finding, &f->findings, err) < 0 || gvmi_compressor_options(img, &f->options, err) < 0 ||
        gvmi_walk(img, count_entry, f, err) < 0)
        return -1;
    return hash ? gvmi_hash(img, f->hash, err) : 0;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct inspect_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at == argc)
        return cli_usage(self, "say which image to inspect");
    look_begin();
    for (int i = at; i < argc; i++) {
        struct gv_error err = GV_ERROR_INIT;
        cleanup_cli_image struct cli_image image = CLI_IMAGE_INIT;
        CLEANUP(gvmi) struct gvmi_image *img = NULL;
        cleanup_facts struct facts f = { 0 };
        if (cli_image_open(&image, &img, argv[i], &err) < 0 || collect(img, a.hash, &f, &err) < 0)
            return cli_fail(&err);
        if (!a.json && i > at)
            putchar('\n');
        (a.json ? print_json : print_text)(image.path, img, &f);
    }
    return CLI_OK;
}

const struct cli_command cmd_inspect = {
    .name = "inspect",
    .synopsis = "[OPTIONS] IMAGE...",
    .summary = "Show what a .gvmi file is and what would surprise at run time",
    .details = "Only the tables of the image are read, never its data, unless the hash is asked for.",
    .example = "  gvmkit inspect hello.gvmi",
    .options = options,
    .run = run,
};
