/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `gvmkit images`, `rm` and `prune`: what is in the store. */
#include <string.h>
#include <time.h>

#include "cli/image.h"
#include "cli/look.h"

/* ---- images ---- */

static const struct cli_option images_options[] = {
    { "json", 0, NULL, "print a JSON array" },
    { 0 },
};

static int take_json(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)name;
    (void)value;
    (void)err;
    *(bool *)user = true;
    return 0;
}

static void print_entry_json(struct image_store *s, const struct store_entry *e, size_t *elements)
{
    json_t *o = json_pack("{s:s, s:I, s:I, s:b}", "hash", e->hash, "size", (json_int_t)e->size, "used", (json_int_t)e->used.tv_sec,
                          "in_use", e->in_use);
    if (e->part)
        json_object_set_new(o, "partial_size", json_integer((json_int_t)e->part));
    json_t *names = json_array(), *from = json_array();
    for (size_t i = 0; i < e->names.count; i++)
        json_array_append_new(names, json_string(e->names.items[i]));
    cleanup_strv struct gv_strv origins = { 0 };
    store_origins(s, e->hash, &origins);
    for (size_t i = 0; i < origins.count; i++)
        json_array_append_new(from, json_string(origins.items[i]));
    json_object_set_new(o, "names", names);
    json_object_set_new(o, "origins", from);
    look_json_element(o, elements);
}

static void print_entry(const struct store_entry *e)
{
    char size[32], used[32];
    look_time(used, e->used.tv_sec);
    gv_format_size(size, e->size ? e->size : e->part);
    printf("%s  %10s  %s  ", e->hash, size, used);
    if (!e->size)
        fputs("(a download that was interrupted)", stdout);
    for (size_t i = 0; i < e->names.count; i++) {
        fputs(i ? ", " : "", stdout);
        cli_print_clean(stdout, e->names.items[i]);
    }
    puts(e->in_use ? " (in use)" : "");
}

static int list_images(bool json)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gv_log log = cli_log(false);
    const struct store_options o = { .log = &log };
    CLEANUP(image_store) struct image_store *store = NULL;
    cleanup_store_list struct store_list list = { 0 };
    if (store_open(&store, &o, &err) < 0 || store_list(store, &list, &err) < 0)
        return cli_fail(&err);
    look_begin();
    size_t elements = 0;
    if (!json)
        printf("%-56s  %10s  %-16s  %s\n", "HASH", "SIZE", "USED", "NAMES");
    for (size_t i = list.count; i-- > 0;) {
        if (json)
            print_entry_json(store, &list.entries[i], &elements);
        else
            print_entry(&list.entries[i]);
    }
    if (json)
        look_json_array_end(elements);
    return CLI_OK;
}

static int run_images(const struct cli_command *self, int argc, char **argv)
{
    bool json = false;
    int at = cli_parse(self, argc, argv, take_json, &json);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    return at < argc ? cli_usage(self, "there is nothing to say after it") : list_images(json);
}

const struct cli_command cmd_images = {
    .name = "images",
    .synopsis = "[OPTIONS]",
    .summary = "List the images in the store",
    .details = "The most recently used one comes first. The store is the directory gvmkit below $XDG_DATA_HOME (~/.local/share).",
    .example = "  gvmkit images",
    .options = images_options,
    .run = run_images,
};

/* ---- rm ---- */

static const struct cli_option rm_options[] = { { 0 } };

/* A reference to something in the store, or the beginning of a hash. */
static int find_stored(struct image_store *s, const char *word, char hash[GV_SHA3_224_HEX], struct gv_error *err)
{
    cleanup_refs struct refs ref = { 0 };
    if (refs_parse(&ref, word, err) < 0)
        return -1;
    if (*ref.hash)
        return store_expand(s, ref.hash, hash, err);
    if (ref.kind == REFS_OCI)
        return store_name_lookup(s, STORE_OCI_BASE, ref.path, hash)
                   ? 0
                   : gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image `%s` in the store", word);
    if (ref.kind != REFS_NAME)
        return store_expand(s, word, hash, err);
    cleanup_free char *base = registry_url(err), *name = refs_name(&ref);
    if (!base)
        return -1;
    return store_name_lookup(s, base, name, hash) ? 0 : gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image `%s` in the store", name);
}

static int run_rm(const struct cli_command *self, int argc, char **argv)
{
    int at = cli_parse(self, argc, argv, NULL, NULL), status = CLI_OK;
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at == argc)
        return cli_usage(self, "say which image to remove");
    struct gv_error err = GV_ERROR_INIT;
    const struct store_options o = { 0 };
    CLEANUP(image_store) struct image_store *store = NULL;
    if (store_open(&store, &o, &err) < 0)
        return cli_fail(&err);
    for (int i = at; i < argc; i++) {
        char hash[GV_SHA3_224_HEX];
        gv_error_clear(&err);
        if (find_stored(store, argv[i], hash, &err) < 0 || store_remove(store, hash, &err) < 0)
            status = cli_fail(&err);
        else
            printf("removed %s\n", hash);
    }
    return status;
}

const struct cli_command cmd_rm = {
    .name = "rm",
    .synopsis = "REF...",
    .summary = "Remove images from the store",
    .details =
        "REF is the name or the hash of an image in the store, or the first six or more digits of the hash. All names of the image go\n"
        "with it. An image that a virtual machine uses stays.",
    .example = "  gvmkit rm golem/alpine:latest",
    .options = rm_options,
    .run = run_rm,
};

/* ---- prune ---- */

struct prune_args {
    uint64_t max;
    bool json;
};

static const struct cli_option prune_options[] = {
    { "max-size", 0, "SIZE", "also remove images, the least recently used first, until the rest has at most SIZE" },
    { "json", 0, NULL, "print a JSON object" },
    { 0 },
};

static int take_prune(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct prune_args *a = user;
    if (!strcmp(name, "max-size"))
        return cli_size(value, &a->max, err);
    a->json = true;
    return 0;
}

struct pruned {
    json_t *list; /* NULL for text */
    uint64_t bytes;
};

static void on_removed(void *user, const struct store_entry *e)
{
    struct pruned *p = user;
    uint64_t bytes = e->size + e->part;
    p->bytes += bytes;
    if (p->list) {
        json_array_append_new(p->list, json_pack("{s:s, s:I, s:b}", "hash", e->hash, "size", (json_int_t)bytes, "partial", e->size == 0));
        return;
    }
    printf("removed %s%s", e->hash, e->size ? "" : " (a download that was interrupted)");
    for (size_t i = 0; i < e->names.count; i++) {
        fputs(i ? ", " : " ", stdout);
        cli_print_clean(stdout, e->names.items[i]);
    }
    putchar('\n');
}

static int run_prune(const struct cli_command *self, int argc, char **argv)
{
    struct prune_args a = { .max = UINT64_MAX };
    int at = cli_parse(self, argc, argv, take_prune, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at < argc)
        return cli_usage(self, "there is nothing to say after it; `gvmkit rm` removes a certain image");
    struct gv_error err = GV_ERROR_INIT;
    const struct store_options o = { 0 };
    struct pruned p = { .list = a.json ? json_array() : NULL };
    CLEANUP(image_store) struct image_store *store = NULL;
    int status = store_open(&store, &o, &err) < 0 ? -1 : store_prune(store, a.max, on_removed, &p, &err);
    char size[32];
    gv_format_size(size, p.bytes);
    if (a.json)
        look_json_print(json_pack("{s:o, s:I}", "removed", p.list, "bytes", (json_int_t)p.bytes));
    else
        printf("%s freed\n", size);
    return status < 0 ? cli_fail(&err) : CLI_OK;
}

const struct cli_command cmd_prune = {
    .name = "prune",
    .synopsis = "[OPTIONS]",
    .summary = "Make room in the store",
    .details = "Downloads that were interrupted and that nobody goes on with are removed. An image that a virtual machine uses stays.",
    .example = "  gvmkit prune --max-size 10g",
    .options = prune_options,
    .run = run_prune,
};
