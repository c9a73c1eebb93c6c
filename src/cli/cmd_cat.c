/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <string.h>

#include "cli/image.h"
#include "cli/look.h"

struct cat_args {
    bool json;
};

static const struct cli_option options[] = {
    { "json", 0, NULL, "print a JSON array with path, size and base64 of each file" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)name;
    (void)value;
    (void)err;
    ((struct cat_args *)user)->json = true;
    return 0;
}

static int write_piece(void *user, const void *p, size_t n)
{
    (void)user;
    return fwrite(p, 1, n, stdout) == n ? 0 : 1;
}

/* Bytes on their way to base64; up to two are kept for the next piece. */
struct base64 {
    unsigned char kept[3];
    size_t count;
};

static void put_group(const unsigned char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned v = (unsigned)p[0] << 16 | (n > 1 ? (unsigned)p[1] << 8 : 0) | (n > 2 ? p[2] : 0U);
    putchar(digits[v >> 18]);
    putchar(digits[v >> 12 & 63]);
    putchar(n > 1 ? digits[v >> 6 & 63] : '=');
    putchar(n > 2 ? digits[v & 63] : '=');
}

static int encode_piece(void *user, const void *p, size_t n)
{
    struct base64 *b = user;
    const unsigned char *bytes = p;
    for (size_t i = 0; i < n; i++) {
        b->kept[b->count++] = bytes[i];
        if (b->count == 3) {
            put_group(b->kept, 3);
            b->count = 0;
        }
    }
    return ferror(stdout) ? 1 : 0;
}

static int print_json(struct gvmi_image *img, const char *arg, const struct gvmi_stat *st, struct gv_error *err)
{
    struct base64 b = { 0 };
    json_t *o = json_object();
    look_json_path(o, arg + strspn(arg, "/"));
    json_object_set_new(o, "size", json_integer((json_int_t)st->size));
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(o);
    /* The object is left open for a value that is written as it comes. */
    fwrite(text, 1, strlen(text) - 1, stdout);
    free(text);
    fputs(",\"base64\":\"", stdout);
    int r = st->size ? gvmi_read_file(img, st->ref, encode_piece, &b, err) : 0;
    if (b.count > 0)
        put_group(b.kept, b.count);
    fputs("\"}", stdout);
    return r;
}

static int print_file(struct gvmi_image *img, const char *image, const char *arg, const struct cat_args *a, size_t *elements,
                      struct gv_error *err)
{
    struct gvmi_stat st;
    if (gvmi_lookup(img, arg, true, &st, err) < 0)
        return -1;
    if (st.type != IMAGE_FILE)
        return gv_error_set(err, GV_E_USAGE, 0, "%s: %s: is not a regular file but a %s", image, arg, look_type(st.type));
    int r = 0;
    if (a->json) {
        fputs((*elements)++ ? ",\n" : "[\n", stdout);
        r = print_json(img, arg, &st, err);
    } else if (st.size > 0) {
        r = gvmi_read_file(img, st.ref, write_piece, NULL, err);
    }
    if (r < 0)
        return gv_error_prefix(err, "%s", arg);
    return r > 0 ? gv_error_errno(err, "cannot write to standard output") : 0;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct cat_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (argc - at < 2)
        return cli_usage(self, at == argc ? "say which image" : "say which file of the image to print");
    look_begin();
    struct gv_error err = GV_ERROR_INIT;
    cleanup_cli_image struct cli_image image = CLI_IMAGE_INIT;
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    if (cli_image_open(&image, &img, argv[at], &err) < 0)
        return cli_fail(&err);
    int status = CLI_OK;
    size_t elements = 0;
    for (int i = at + 1; i < argc && !ferror(stdout); i++) {
        if (print_file(img, argv[at], argv[i], &a, &elements, &err) == 0)
            continue;
        fflush(stdout);
        status = cli_fail(&err);
    }
    if (a.json)
        look_json_array_end(elements);
    return status;
}

const struct cli_command cmd_cat = {
    .name = "cat",
    .synopsis = "[OPTIONS] IMAGE PATH...",
    .summary = "Print files of a .gvmi",
    .details = "PATH is a path in the image; symbolic links are followed inside it. Only the blocks of the files asked for are\n"
               "read.",
    .example = "  gvmkit cat hello.gvmi /etc/os-release",
    .options = options,
    .run = run,
};
