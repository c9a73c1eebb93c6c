/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <jansson.h>
#include <string.h>

#include "cli/cli.h"
#include "convert/convert.h"

struct build_args {
    const char *output;
    bool force, json;
    struct convert_options convert;
    enum cli_progress_mode progress;
};

static const struct cli_option options[] = {
    { "output", 'o', "FILE", "write to FILE (default: named after the image)" },
    { "force", 'f', NULL, "replace FILE if it exists" },
    { "compression", 0, "NAME", "gzip, xz, zstd or lz4 (default gzip, which every provider can mount)" },
    { "level", 0, "N", "compression level (default: gzip 6, xz 6, zstd 15, lz4 fast)" },
    { "block-size", 0, "SIZE", "4k to 1m, a power of two (default 128k)" },
    { "json", 0, NULL, "print the result as JSON" },
    CLI_CONVERT_OPTIONS,
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct build_args *a = user;
    uint64_t n;
    if (!strcmp(name, "output")) {
        a->output = value;
    } else if (!strcmp(name, "force")) {
        a->force = true;
    } else if (!strcmp(name, "json")) {
        a->json = true;
    } else if (!strcmp(name, "compression")) {
        int id = gvmi_compression_by_name(value);
        if (id != GVMI_GZIP && id != GVMI_XZ && id != GVMI_ZSTD && id != GVMI_LZ4)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not one of gzip, xz, zstd, lz4", value);
        a->convert.write.compression = id;
    } else if (!strcmp(name, "level")) {
        if (cli_number("the level", value, 1, 22, &n, err) < 0)
            return -1;
        a->convert.write.level = (int)n;
    } else if (!strcmp(name, "block-size")) {
        if (cli_size(value, &n, err) < 0)
            return -1;
        if (n < 4096 || n > 1048576 || (n & (n - 1)))
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a power of two from 4k to 1m", value);
        a->convert.write.block_size = (uint32_t)n;
    } else {
        return cli_convert_option(&a->convert, &a->progress, name, value, err);
    }
    return 0;
}

static double ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : 0;
}

static void print_json(const struct convert_result *r)
{
    json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "file", r->path, "hash", r->image.hash, "size",
                          (json_int_t)r->image.size, "archive_size", (json_int_t)r->archive_bytes, "layers", (json_int_t)r->layers,
                          "layers_size", (json_int_t)r->layer_bytes, "content_size", (json_int_t)r->totals.bytes, "files",
                          (json_int_t)r->totals.inodes, "ratio", ratio(r->layer_bytes, r->image.size));
    if (o && r->name)
        json_object_set_new(o, "image", json_string(r->name));
    if (o)
        json_dumpf(o, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(o);
}

static void print_text(const struct convert_result *r)
{
    char size[32], archive[32], layers[32], content[32];
    cli_format_size(size, r->image.size);
    cli_format_size(archive, r->archive_bytes);
    cli_format_size(layers, r->layer_bytes);
    cli_format_size(content, r->totals.bytes);
    if (r->name) {
        printf("image    ");
        cli_print_clean(stdout, r->name);
        putchar('\n');
    }
    printf("source   %s, %u layer%s of %s unpacked\n", archive, r->layers, r->layers == 1 ? "" : "s", layers);
    printf("content  %s in %llu files\n", content, (unsigned long long)r->totals.files);
    printf("file     ");
    cli_print_clean(stdout, r->path);
    printf("\nsize     %s, 1:%.1f of the layers, 1:%.1f of the content\n", size, ratio(r->layer_bytes, r->image.size),
           ratio(r->totals.bytes, r->image.size));
    printf("hash     %s\n", r->image.hash);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct build_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (argc - at != 1)
        return cli_usage(self, argc == at ? "say which image to convert" : "only one image can be converted at a time");
    struct gv_log log = cli_log(false);
    struct cli_progress *progress = cli_progress_new(a.progress);
    a.convert.source.log = a.convert.write.log = &log;
    a.convert.source.progress = a.convert.write.progress = cli_progress_sink(progress);
    __attribute__((cleanup(gv_cleanup_convert_result_fn))) struct convert_result result = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    int status = convert_to_file(argv[at], a.output, a.force, &a.convert, &result, &err);
    cli_progress_free(progress);
    if (status < 0)
        return cli_fail(&err);
    if (a.json)
        print_json(&result);
    else
        print_text(&result);
    return CLI_OK;
}

const struct cli_command cmd_build = {
    .name = "build",
    .synopsis = "[OPTIONS] IMAGE",
    .summary = "Convert a Docker or OCI image to a .gvmi file",
    .details = "IMAGE is one of\n"
               "  docker-archive:FILE[:NAME[:TAG]]  what `docker save` writes, also compressed\n"
               "  oci:DIR[:TAG]                     an OCI image layout\n"
               "  oci-archive:FILE[:TAG]            a tar of one\n"
               "  FILE                              any of these, recognised by its content\n\n"
               "Neither Docker nor root is needed, and nothing is unpacked. The same image gives the same bytes.",
    .example = "  docker save -o hello.tar hello:latest\n"
               "  gvmkit build hello.tar -o hello.gvmi",
    .options = options,
    .run = run,
};
