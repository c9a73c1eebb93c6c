/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A directory is read twice, first for the widths of the columns: so memory does not grow with it. Only tables of the image are read.
 */
#include <string.h>

#include "cli/image.h"
#include "cli/look.h"

struct ls_args {
    bool detailed, recursive, directory, json;
};

struct ls {
    const struct ls_args *args;
    struct gvmi_image *img;
    const char *dir; /* the one being listed, for JSON */
    int width[4];    /* nlink, uid, gid, size */
    size_t elements;
    struct gv_error *err;
};

static const struct cli_option options[] = {
    { "long", 'l', NULL, "show mode, links, owner, size, time and targets" },
    { "recursive", 'R', NULL, "list everything below, too" },
    { "directory", 'd', NULL, "list directories themselves, not what is in them" },
    { "json", 0, NULL, "print a JSON array of everything that is known of each file" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)value;
    (void)err;
    struct ls_args *a = user;
    if (!strcmp(name, "long"))
        a->detailed = true;
    else if (!strcmp(name, "recursive"))
        a->recursive = true;
    else if (!strcmp(name, "directory"))
        a->directory = true;
    else
        a->json = true;
    return 0;
}

/* The size column: devices have their number there. */
static void format_size(char out[32], const struct gvmi_stat *st)
{
    if (st->type == IMAGE_CHAR || st->type == IMAGE_BLOCK)
        snprintf(out, 32, "%u, %u", st->rdev_major, st->rdev_minor);
    else
        snprintf(out, 32, "%llu", (unsigned long long)st->size);
}

static void widen(int *width, int n)
{
    if (n > *width)
        *width = n;
}

static void measure(struct ls *l, const struct gvmi_stat *st)
{
    char text[32];
    widen(&l->width[0], snprintf(text, sizeof(text), "%u", st->nlink));
    widen(&l->width[1], snprintf(text, sizeof(text), "%u", st->uid));
    widen(&l->width[2], snprintf(text, sizeof(text), "%u", st->gid));
    format_size(text, st);
    widen(&l->width[3], (int)strlen(text));
}

static int print_long(struct ls *l, const char *name, const struct gvmi_stat *st)
{
    char mode[11], size[32], when[32];
    cleanup_free char *target = NULL;
    if (st->type == IMAGE_SYMLINK && gvmi_read_link(l->img, st->ref, &target, l->err) < 0)
        return -1;
    gvmi_mode_text(mode, st);
    format_size(size, st);
    look_time(when, st->mtime);
    printf("%s %*u %*u %*u %*s %s ", mode, l->width[0], st->nlink, l->width[1], st->uid, l->width[2], st->gid, l->width[3], size, when);
    cli_print_clean(stdout, name);
    if (target) {
        fputs(" -> ", stdout);
        cli_print_clean(stdout, target);
    }
    putchar('\n');
    return 0;
}

static int add_xattr(void *user, const char *name, const void *value, size_t n)
{
    cleanup_free char *hex = gv_alloc(2 * n + 1);
    gv_hex(hex, value, n);
    json_t *o = user;
    char key[512];
    snprintf(key, sizeof(key), "%s", name);
    /* A name that is not UTF-8 cannot be a key. */
    if (json_object_set_new(o, key, json_string(hex)) < 0)
        json_object_set_new(o, "?", json_string(hex));
    return 0;
}

static int print_json(struct ls *l, const char *path, const struct gvmi_stat *st)
{
    json_t *o = json_object();
    look_json_path(o, path);
    look_json_stat(o, st);
    int status = 0;
    if (st->type == IMAGE_SYMLINK) {
        cleanup_free char *target = NULL;
        status = gvmi_read_link(l->img, st->ref, &target, l->err);
        if (status == 0)
            look_json_bytes(o, "target", target);
    }
    if (status == 0 && st->xattr != UINT32_MAX) {
        json_t *x = json_object();
        status = gvmi_read_xattrs(l->img, st->ref, add_xattr, x, l->err);
        json_object_set_new(o, "xattrs", x);
    }
    if (status == 0)
        look_json_element(o, &l->elements);
    else
        json_decref(o);
    return status;
}

static int print_entry(struct ls *l, const char *path, const char *name, const struct gvmi_stat *st)
{
    if (l->args->json)
        return print_json(l, path, st);
    if (l->args->detailed)
        return print_long(l, name, st);
    cli_print_clean(stdout, name);
    putchar('\n');
    return 0;
}

static int measure_entry(void *user, const struct gvmi_entry *e)
{
    struct ls *l = user;
    struct gvmi_stat st;
    if (gvmi_stat(l->img, e->ref, &st, l->err) < 0)
        return -1;
    measure(l, &st);
    return 0;
}

static int list_entry(void *user, const struct gvmi_entry *e)
{
    struct ls *l = user;
    struct gvmi_stat st = { 0 };
    if ((l->args->detailed || l->args->json) && gvmi_stat(l->img, e->ref, &st, l->err) < 0)
        return -1;
    cleanup_free char *path = l->args->json ? gv_asprintf("%s%s%s", l->dir, *l->dir ? "/" : "", e->name) : NULL;
    return print_entry(l, path, e->name, &st);
}

static int list_dir(struct ls *l, const char *path, uint64_t ref)
{
    memset(l->width, 0, sizeof(l->width));
    l->dir = path;
    if (l->args->detailed && !l->args->json && gvmi_read_dir(l->img, ref, measure_entry, l, l->err) != 0)
        return -1;
    return gvmi_read_dir(l->img, ref, list_entry, l, l->err) != 0 ? -1 : 0;
}

static char *join(const char *a, const char *b)
{
    return gv_asprintf("%s%s%s", a, *a && *b ? "/" : "", b);
}

/* Everything below a directory; as text each with the heading that ls gives it. */
static int list_below(struct ls *l, const char *path, uint64_t ref)
{
    CLEANUP(gvmi_walker) struct gvmi_walker *w = NULL;
    struct gvmi_step step;
    int more;
    if (gvmi_walker_open(&w, l->img, ref, l->err) < 0)
        return -1;
    while ((more = gvmi_walker_next(w, &step, l->err)) == 1) {
        cleanup_free char *whole = join(path, step.path);
        if (l->args->json) {
            if (step.depth > 0 && print_json(l, whole, &step.st) < 0)
                return -1;
            continue;
        }
        if (step.st.type != IMAGE_DIR)
            continue;
        if (step.depth > 0)
            putchar('\n');
        putchar('/');
        cli_print_clean(stdout, whole);
        fputs(":\n", stdout);
        if (list_dir(l, whole, step.st.ref) < 0)
            return -1;
    }
    return more;
}

/* What the user calls `arg`, without slashes around it. */
static char *trimmed(const char *arg)
{
    arg += strspn(arg, "/");
    size_t n = strlen(arg);
    while (n > 0 && arg[n - 1] == '/')
        n--;
    return gv_strndup(arg, n);
}

static int list_arg(struct ls *l, const char *arg, bool heading)
{
    struct gvmi_stat st;
    /* As with ls: a link named with a slash behind it, or without -l and -d, is what it points to. */
    size_t n = strlen(arg);
    bool follow = (n > 0 && arg[n - 1] == '/') || (!l->args->detailed && !l->args->directory && !l->args->json);
    if (gvmi_lookup(l->img, arg, follow, &st, l->err) < 0)
        return -1;
    cleanup_free char *path = trimmed(arg);
    if (st.type != IMAGE_DIR || l->args->directory) {
        memset(l->width, 0, sizeof(l->width));
        measure(l, &st);
        return print_entry(l, path, *arg ? arg : "/", &st);
    }
    if (l->args->recursive)
        return list_below(l, path, st.ref);
    if (heading && !l->args->json) {
        cli_print_clean(stdout, arg);
        fputs(":\n", stdout);
    }
    return list_dir(l, path, st.ref);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct ls_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at == argc)
        return cli_usage(self, "say which image to list");
    look_begin();
    struct gv_error err = GV_ERROR_INIT;
    cleanup_cli_image struct cli_image image = CLI_IMAGE_INIT;
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    if (cli_image_open(&image, &img, argv[at], &err) < 0)
        return cli_fail(&err);
    char *root[] = { (char[]){ "/" } };
    char **paths = at + 1 < argc ? argv + at + 1 : root;
    int count = at + 1 < argc ? argc - at - 1 : 1, status = CLI_OK;
    struct ls l = { .args = &a, .img = img, .err = &err };
    for (int i = 0; i < count; i++) {
        if (i > 0 && !a.json && !a.directory)
            putchar('\n');
        if (list_arg(&l, paths[i], count > 1) < 0) {
            fflush(stdout);
            status = cli_fail(&err);
        }
    }
    if (a.json)
        look_json_array_end(l.elements);
    return status;
}

const struct cli_command cmd_ls = {
    .name = "ls",
    .synopsis = "[OPTIONS] IMAGE [PATH...]",
    .summary = "List the files of a .gvmi",
    .details = "PATH is a path in the image, / when none is given. Owners are numbers, for the names are the image's own\n"
               "affair. The data of the image is not read, so the answer takes as long for a large one as for a small one.",
    .example = "  gvmkit ls -l hello.gvmi /etc\n"
               "  gvmkit ls -R --json hello.gvmi | jq -r '.[] | select(.mode == \"4755\").path'",
    .options = options,
    .run = run,
};
