/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * As text, a directory that only one image has is one line with what is below it added up: so it is kept back until that is known. JSON has every entry,
 * written as it comes.
 */
#include <string.h>

#include "cli/image.h"
#include "cli/look.h"
#include "compare/compare.h"

struct diff_args {
    bool json, exit_code, no_chunks;
    enum cli_progress_mode progress;
    struct compare_options compare;
};

/* A directory that only one side has, waiting for the end of what is below it. */
struct pending {
    char *path;
    char sign;
    uint64_t entries, bytes;
};

/* What somebody who has the old image must fetch. */
struct update {
    uint64_t bytes;
    size_t chunks, of;
};

struct diff {
    const struct diff_args *args;
    struct gvmi_image *a, *b;
    struct pending removed, added;
    bool heading; /* "files" was printed */
    size_t elements;
    struct update update;
};

static const struct cli_option options[] = {
    { "exit-code", 0, NULL, "make the exit status 1 when something differs" },
    { "ignore-times", 0, NULL, "do not compare times" },
    { "no-chunks", 0, NULL, "do not tell what an update would move, which reads both files" },
    { "json", 0, NULL, "print JSON" },
    { "progress", 0, "MODE", "auto, plain, none or json (default auto)" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct diff_args *a = user;
    if (!strcmp(name, "progress"))
        return cli_progress_mode(value, &a->progress, err);
    if (!strcmp(name, "exit-code"))
        a->exit_code = true;
    else if (!strcmp(name, "ignore-times"))
        a->compare.ignore_times = true;
    else if (!strcmp(name, "no-chunks"))
        a->no_chunks = true;
    else
        a->json = true;
    return 0;
}

static const struct {
    unsigned bit;
    const char *name;
} aspects[] = { { COMPARE_TYPE, "type" }, { COMPARE_CONTENT, "content" }, { COMPARE_MODE, "mode" },  { COMPARE_OWNER, "owner" },
                { COMPARE_TIME, "time" }, { COMPARE_XATTRS, "xattrs" },   { COMPARE_LINKS, "links" } };
#define ASPECTS (sizeof(aspects) / sizeof(aspects[0]))

/* ---- text ------------------------------------------------------------------------------------------------------------------------ */

static void print_heading(struct diff *d)
{
    if (!d->heading)
        fputs("\nfiles\n", stdout);
    d->heading = true;
}

static void print_path(char sign, const char *path)
{
    printf("  %c /", sign);
    cli_print_clean(stdout, path);
}

static void flush_pending(struct pending *p)
{
    char size[32];
    if (!p->path)
        return;
    print_path(p->sign, p->path);
    gv_format_size(size, p->bytes);
    if (p->entries)
        printf("/  with %llu below it, %s\n", (unsigned long long)p->entries, size);
    else
        puts("/");
    free(p->path);
    *p = (struct pending){ 0 };
}

static void print_single(const struct diff *d, struct pending *p, const struct compare_entry *e)
{
    const struct gvmi_stat *st = e->a ? e->a : e->b;
    const char *target = e->a ? e->a_target : e->b_target;
    char sign = e->kind == COMPARE_ADDED ? '+' : '-', size[32];
    (void)d;
    if (e->inside) {
        p->entries++;
        p->bytes += st->type == IMAGE_FILE ? st->size : 0;
        return;
    }
    flush_pending(p);
    if (st->type == IMAGE_DIR) {
        *p = (struct pending){ .path = gv_strdup(e->path), .sign = sign };
        return;
    }
    print_path(sign, e->path);
    if (target) {
        fputs(" -> ", stdout);
        cli_print_clean(stdout, target);
    } else if (st->type == IMAGE_FILE) {
        gv_format_size(size, st->size);
        printf("  %s", size);
    } else {
        printf("  %s", look_type(st->type));
    }
    putchar('\n');
}

static void print_change(const struct compare_entry *e)
{
    const struct gvmi_stat *a = e->a, *b = e->b;
    const char *comma = "  ";
    print_path('~', e->path);
    for (size_t i = 0; i < ASPECTS; i++) {
        unsigned bit = e->what & aspects[i].bit;
        if (!bit)
            continue;
        printf("%s%s", comma, aspects[i].name);
        comma = ", ";
        if (bit == COMPARE_TYPE) {
            printf(" %s -> %s", look_type(a->type), look_type(b->type));
        } else if (bit == COMPARE_CONTENT && a->type == IMAGE_SYMLINK) {
            putchar(' ');
            cli_print_clean(stdout, e->a_target);
            fputs(" -> ", stdout);
            cli_print_clean(stdout, e->b_target);
        } else if (bit == COMPARE_CONTENT && a->type == IMAGE_FILE && a->size != b->size) {
            printf(" %llu -> %llu bytes", (unsigned long long)a->size, (unsigned long long)b->size);
        } else if (bit == COMPARE_CONTENT && a->type != IMAGE_FILE) {
            printf(" %u:%u -> %u:%u", a->rdev_major, a->rdev_minor, b->rdev_major, b->rdev_minor);
        } else if (bit == COMPARE_MODE) {
            printf(" %04o -> %04o", a->mode, b->mode);
        } else if (bit == COMPARE_OWNER) {
            printf(" %u:%u -> %u:%u", a->uid, a->gid, b->uid, b->gid);
        } else if (bit == COMPARE_LINKS) {
            printf(" %u -> %u", a->nlink, b->nlink);
        }
    }
    putchar('\n');
}

static void print_entry(struct diff *d, const struct compare_entry *e)
{
    print_heading(d);
    if (e->kind == COMPARE_CHANGED) {
        flush_pending(&d->removed);
        flush_pending(&d->added);
        print_change(e);
        return;
    }
    struct pending *mine = e->kind == COMPARE_ADDED ? &d->added : &d->removed;
    struct pending *other = e->kind == COMPARE_ADDED ? &d->removed : &d->added;
    if (!e->inside)
        flush_pending(other);
    print_single(d, mine, e);
}

/* The strings of a list, or the keys of an object, that only the first of two values has. */
static void print_items(char sign, const char *key, const json_t *has, const json_t *has_not)
{
    size_t i;
    json_t *v, *w;
    const char *name;
    if (json_is_array(has)) {
        json_array_foreach (has, i, v) {
            bool found = false;
            size_t k;
            json_array_foreach (has_not, k, w)
                found = found || json_equal(v, w);
            if (found)
                continue;
            printf("  %c %-12s ", sign, key);
            cli_print_clean(stdout, json_string_value(v) ? json_string_value(v) : "");
            putchar('\n');
        }
        return;
    }
    json_object_foreach ((json_t *)(uintptr_t)has, name, v) {
        w = json_object_get(has_not, name);
        if (w && json_equal(v, w))
            continue;
        printf("  %c %-12s ", sign, key);
        cli_print_clean(stdout, name);
        if (json_is_string(v)) {
            putchar('=');
            cli_print_clean(stdout, json_string_value(v));
        }
        putchar('\n');
    }
}

static void print_value(char sign, const char *key, const char *json)
{
    if (!json)
        return;
    printf("  %c %-12s ", sign, key);
    cli_print_clean(stdout, json);
    putchar('\n');
}

/* Sets are told item by item; what has an order, like a command, as a whole. */
static void print_config(void *user, const char *key, const char *old, const char *now)
{
    bool *heading = user;
    if (!*heading)
        fputs("\nconfiguration\n", stdout);
    *heading = true;
    json_t *a = json_loads(old ? old : "{}", JSON_DECODE_ANY, NULL), *b = json_loads(now ? now : "{}", JSON_DECODE_ANY, NULL);
    bool set = !strcmp(key, "Env") || ((!a || json_is_object(a)) && (!b || json_is_object(b)));
    /* Absent beside a list: nothing of it is there. */
    if (set && a && b) {
        print_items('-', key, a, b);
        print_items('+', key, b, a);
    } else {
        print_value('-', key, old);
        print_value('+', key, now);
    }
    json_decref(a);
    json_decref(b);
}

static void print_image(const char *sign, const char *path, const struct gvmi_image *img)
{
    const struct gvmi_info *info = gvmi_info(img);
    char size[32], block[32];
    gv_format_size(size, info->file_size);
    gv_format_size(block, info->block_size);
    printf("%s ", sign);
    cli_print_clean(stdout, path);
    printf("  %s, %s, blocks of %s\n", size, gvmi_compression_name(info->compression), block);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------------ */

static json_t *side_json(const struct gvmi_stat *st, const char *target)
{
    json_t *o = json_object();
    look_json_stat(o, st);
    if (target)
        look_json_bytes(o, "target", target);
    return o;
}

static void print_entry_json(struct diff *d, const struct compare_entry *e)
{
    static const char *const kinds[] = { [COMPARE_ADDED] = "added", [COMPARE_REMOVED] = "removed", [COMPARE_CHANGED] = "changed" };
    json_t *o = json_object();
    look_json_path(o, e->path);
    json_object_set_new(o, "change", json_string(kinds[e->kind]));
    if (e->kind == COMPARE_CHANGED) {
        json_t *what = json_array();
        for (size_t i = 0; i < ASPECTS; i++)
            if (e->what & aspects[i].bit)
                json_array_append_new(what, json_string(aspects[i].name));
        json_object_set_new(o, "what", what);
    }
    if (e->a)
        json_object_set_new(o, "old", side_json(e->a, e->a_target));
    if (e->b)
        json_object_set_new(o, "new", side_json(e->b, e->b_target));
    look_json_element(o, &d->elements);
}

static void add_config_json(void *user, const char *key, const char *old, const char *now)
{
    json_t *o = json_object();
    json_object_set_new(o, "old", old ? json_loads(old, JSON_DECODE_ANY, NULL) : json_null());
    json_object_set_new(o, "new", now ? json_loads(now, JSON_DECODE_ANY, NULL) : json_null());
    json_object_set_new(user, key, o);
}

static json_t *image_json(const char *path, const struct gvmi_image *img)
{
    const struct gvmi_info *info = gvmi_info(img);
    json_t *o = json_object();
    look_json_bytes(o, "file", path);
    json_object_set_new(o, "size", json_integer((json_int_t)info->file_size));
    json_object_set_new(o, "compression", json_string(gvmi_compression_name(info->compression)));
    json_object_set_new(o, "block_size", json_integer(info->block_size));
    return o;
}

static void print_member(const char *before, const char *key, json_t *value)
{
    printf("%s\"%s\":", before, key);
    json_dumpf(value, stdout, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(value);
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------- */

static int count_update(struct diff *d, const struct gv_progress *progress, struct gv_error *err)
{
    cleanup_chunk_map struct gvmi_chunk_map have = { 0 }, wanted = { 0 };
    if (gvmi_chunks(d->a, progress, &have, err) < 0 || gvmi_chunks(d->b, progress, &wanted, err) < 0)
        return -1;
    d->update.bytes = gvmi_chunks_new_bytes(&have, &wanted, &d->update.chunks);
    d->update.of = wanted.count;
    return 0;
}

static int on_entry(void *user, const struct compare_entry *e)
{
    struct diff *d = user;
    if (d->args->json)
        print_entry_json(d, e);
    else
        print_entry(d, e);
    return 0;
}

static void finish_text(struct diff *d, const struct compare_totals *t, const struct update *u)
{
    flush_pending(&d->removed);
    flush_pending(&d->added);
    printf("\n%llu added, %llu removed, %llu changed, %llu the same\n", (unsigned long long)t->added, (unsigned long long)t->removed,
           (unsigned long long)t->changed, (unsigned long long)t->same);
    if (!u)
        return;
    char bytes[32], all[32], shared[32];
    uint64_t size = gvmi_info(d->b)->file_size;
    gv_format_size(bytes, u->bytes);
    gv_format_size(all, size);
    gv_format_size(shared, size - u->bytes);
    printf("an update moves %s of %s (%.1f %%), %zu of %zu chunks; %s are shared\n", bytes, all,
           100 * (double)u->bytes / (double)(size ? size : 1), u->chunks, u->of, shared);
}

static void finish_json(struct diff *d, const struct compare_totals *t, const struct update *u)
{
    look_json_array_end(d->elements);
    print_member(",", "totals",
                 json_pack("{s:I, s:I, s:I, s:I}", "added", (json_int_t)t->added, "removed", (json_int_t)t->removed, "changed",
                           (json_int_t)t->changed, "same", (json_int_t)t->same));
    if (u)
        print_member(",\n", "update",
                     json_pack("{s:I, s:I, s:I, s:I}", "bytes", (json_int_t)u->bytes, "shared_bytes",
                               (json_int_t)(gvmi_info(d->b)->file_size - u->bytes), "chunks", (json_int_t)u->chunks, "chunks_of",
                               (json_int_t)u->of));
    puts("}");
}

/* 1 when something differs, 0 when nothing does, -1. */
static int diff(struct diff *d, const char *a_path, const char *b_path, const struct gv_progress *progress, struct gv_error *err)
{
    const struct diff_args *args = d->args;
    struct compare_options compare = args->compare;
    struct compare_totals totals;
    bool heading = false;
    size_t config;
    compare.progress = progress;
    if (args->json) {
        json_t *c = json_object();
        print_member("{", "a", image_json(a_path, d->a));
        print_member(",\n", "b", image_json(b_path, d->b));
        config = compare_config(gvmi_config(d->a), gvmi_config(d->b), add_config_json, c);
        print_member(",\n", "config", c);
        fputs(",\n\"files\":", stdout);
    } else {
        print_image("---", a_path, d->a);
        print_image("+++", b_path, d->b);
        config = compare_config(gvmi_config(d->a), gvmi_config(d->b), print_config, &heading);
    }
    int status = compare_files(d->a, d->b, &compare, on_entry, d, &totals, err);
    if (status < 0)
        return -1;
    (args->json ? finish_json : finish_text)(d, &totals, args->no_chunks ? NULL : &d->update);
    return config || totals.added || totals.removed || totals.changed;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct diff_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (argc - at != 2)
        return cli_usage(self, "say which two images to compare");
    look_begin();
    struct gv_error err = GV_ERROR_INIT;
    cleanup_cli_image struct cli_image old = CLI_IMAGE_INIT, new = CLI_IMAGE_INIT;
    CLEANUP(gvmi) struct gvmi_image *x = NULL, *y = NULL;
    if (cli_image_open(&old, &x, argv[at], &err) < 0 || cli_image_open(&new, &y, argv[at + 1], &err) < 0)
        return cli_fail(&err);
    struct diff d = { .args = &a, .a = x, .b = y };
    struct cli_progress *progress = cli_progress_new(a.progress);
    int differs = a.no_chunks ? 0 : count_update(&d, cli_progress_sink(progress), &err);
    cli_progress_free(progress);
    /* From here on lines appear, between which no bar must be drawn when both go to the terminal. */
    progress = cli_progress_new(isatty(STDOUT_FILENO) ? CLI_PROGRESS_NONE : a.progress);
    if (differs == 0)
        differs = diff(&d, argv[at], argv[at + 1], cli_progress_sink(progress), &err);
    cli_progress_free(progress);
    free(d.removed.path);
    free(d.added.path);
    if (differs < 0) {
        fflush(stdout);
        return cli_fail(&err);
    }
    return differs && a.exit_code ? CLI_FAILED : CLI_OK;
}

const struct cli_command cmd_diff = {
    .name = "diff",
    .synopsis = "[OPTIONS] OLD NEW",
    .summary = "Tell what differs between two .gvmi files",
    .details = "Compares configuration and files, and counts the bytes that somebody who has OLD would have to fetch for NEW.\n"
               "Of the files + means that only NEW has it, - that only OLD has it, ~ that both have it and it has changed.",
    .example = "  gvmkit diff --ignore-times old.gvmi new.gvmi",
    .options = options,
    .run = run,
};
