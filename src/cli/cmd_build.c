/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cli/conversion.h"
#include "cli/upload.h"

struct build_args {
    const char *output;
    bool force, json;
    struct cli_write_choice write;
    struct convert_options convert;
    struct convert_edits edits;
    struct cli_upload upload;
    enum cli_progress_mode progress;
};

static const struct cli_option options[] = {
    { "output", 'o', "FILE", "write to FILE (default: named after the image)" },
    { "force", 'f', NULL, "replace FILE if it exists" },
    { "profile", 0, "NAME", "golem (default; every provider can mount it), small, or fast (for this runtime only)" },
    { "compression", 0, "NAME", "gzip, lzo, xz, zstd or lz4 instead of the profile's; providers cannot mount zstd" },
    { "level", 0, "N", "compression level" },
    { "block-size", 0, "SIZE", "4k to 1m, a power of two" },
    CLI_EDIT_OPTIONS,
    { "strip", 0, "LIST", "leave out some of docs, locales, caches, static-libs, headers" },
    { "push", 0, "USER/REPO:TAG", "upload the file to the registry under this name; may be given several times" },
    { "push-anonymous", 0, NULL, "upload it without an account and a name" },
    { "json", 0, NULL, "print the result as JSON" },
    CLI_CONVERT_OPTIONS,
    { 0 },
};

static int take_block_size(uint32_t *out, const char *value, struct gv_error *err)
{
    uint64_t n;
    if (cli_size(value, &n, err) < 0)
        return -1;
    if (n < 4096 || n > 1048576 || (n & (n - 1)))
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a power of two from 4k to 1m", value);
    *out = (uint32_t)n;
    return 0;
}

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct build_args *a = user;
    if (!strcmp(name, "output")) {
        a->output = value;
    } else if (!strcmp(name, "force")) {
        a->force = true;
    } else if (!strcmp(name, "json")) {
        a->json = true;
    } else if (!strcmp(name, "numeric-user")) {
        a->convert.numeric_user = true;
    } else if (!strcmp(name, "profile")) {
        struct gvmi_write_options unused = { 0 };
        a->write.profile = value;
        return gvmi_profile(value, &unused, err);
    } else if (!strcmp(name, "compression")) {
        return cli_compression(value, &a->write.compression, err);
    } else if (!strcmp(name, "level")) {
        uint64_t n;
        if (cli_number("the level", value, 1, 22, &n, err) < 0)
            return -1;
        a->write.level = (int)n;
    } else if (!strcmp(name, "block-size")) {
        return take_block_size(&a->write.block_size, value, err);
    } else if (!strcmp(name, "push")) {
        return cli_upload_add(&a->upload, value, err);
    } else if (!strcmp(name, "push-anonymous")) {
        a->upload.anonymous = true;
    } else if (!strcmp(name, "strip")) {
        return convert_strip_parse(value, &a->convert.strip, err);
    } else {
        int taken = cli_edit_option(&a->edits, name, value, err);
        return taken ? taken : cli_convert_option(&a->convert, &a->progress, name, value, err);
    }
    return 0;
}

static double ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : 0;
}

/* Names in an image are bytes: what is not UTF-8 is left out of the list, not of the counts. */
static json_t *stripped_json(const struct convert_result *r, unsigned classes)
{
    json_t *all = json_object();
    for (int i = 0; i < CONVERT_STRIP_CLASSES; i++) {
        const struct convert_stripped *s = &r->stripped[i];
        if (!(classes & 1U << i))
            continue;
        json_t *paths = json_array();
        for (size_t k = 0; k < s->paths.count; k++)
            json_array_append_new(paths, json_string(s->paths.items[k]));
        json_object_set_new(all, convert_strip_name(i),
                            json_pack("{s:I, s:I, s:o}", "files", (json_int_t)s->files, "bytes", (json_int_t)s->bytes, "paths", paths));
    }
    return all;
}

static void print_json(const struct convert_result *r, const struct cli_uploaded *up, unsigned strip)
{
    json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "hash", r->image.hash, "size", (json_int_t)r->image.size,
                          "archive_size", (json_int_t)r->archive_bytes, "layers", (json_int_t)r->layers, "layers_size",
                          (json_int_t)r->layer_bytes, "content_size", (json_int_t)r->totals.bytes, "files", (json_int_t)r->totals.inodes,
                          "ratio", ratio(r->layer_bytes, r->image.size), "content_ratio", ratio(r->totals.bytes, r->image.size));
    if (r->name)
        json_object_set_new(o, "image", json_string(r->name));
    json_object_set_new(o, "file", json_string(r->path));
    if (strip)
        json_object_set_new(o, "stripped", stripped_json(r, strip));
    if (up->base)
        json_object_set_new(o, "pushed", json_pack("{s:s, s:I}", "registry", up->base, "sent", (json_int_t)up->pushed.bytes));
    json_dumpf(o, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(o);
}

static void print_text(const struct convert_result *r, const struct cli_uploaded *up)
{
    char size[32], archive[32], layers[32], content[32];
    gv_format_size(size, r->image.size);
    gv_format_size(archive, r->archive_bytes);
    gv_format_size(layers, r->layer_bytes);
    gv_format_size(content, r->totals.bytes);
    if (r->name) {
        printf("image    ");
        cli_print_clean(stdout, r->name);
        putchar('\n');
    }
    if (r->layers)
        printf("source   %s, %u layer%s of %s unpacked\n", archive, r->layers, r->layers == 1 ? "" : "s", layers);
    else
        printf("source   %s\n", archive);
    cli_print_stripped(r);
    printf("content  %s in %llu files\n", content, (unsigned long long)r->totals.files);
    printf("file     ");
    cli_print_clean(stdout, r->path);
    printf("\nsize     %s, 1:%.1f of the layers, 1:%.1f of the content\n", size, ratio(r->layer_bytes, r->image.size),
           ratio(r->totals.bytes, r->image.size));
    printf("hash     %s\n", r->image.hash);
    if (up->base) {
        char sent[32];
        gv_format_size(sent, up->pushed.bytes);
        printf("pushed   %s sent to ", sent);
        cli_print_clean(stdout, up->base);
        putchar('\n');
    }
}

static int upload(const struct build_args *a, const struct convert_result *r, struct cli_uploaded *out, struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_convert_descriptor_fn))) struct convert_descriptor d = { 0 };
    cleanup_close int fd = open(r->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return gv_error_errno(err, "%s", r->path);
    if (convert_descriptor_make(&d, fd, 0, r->image.hash, a->convert.source.progress, err) < 0)
        return -1;
    return cli_upload(&a->upload, r->path, &d, NULL, a->convert.source.log, a->convert.source.progress, out, err);
}

static int build(struct build_args *a, const char *image)
{
    struct gv_error err = GV_ERROR_INIT;
    if (cli_write_options(&a->convert.write, &a->write, &err) < 0)
        return cli_fail(&err);
    bool push = a->upload.tag_count || a->upload.anonymous;
    if (push && cli_upload_check(&a->upload, &err) < 0)
        return cli_fail(&err);
    struct cli_progress *progress = cli_progress_new(a->progress);
    struct gv_log log = cli_progress_log(progress, false);
    a->convert.edits = &a->edits;
    a->convert.source.log = a->convert.write.log = &log;
    a->convert.source.progress = a->convert.write.progress = cli_progress_sink(progress);
    __attribute__((cleanup(gv_cleanup_convert_result_fn))) struct convert_result result = { 0 };
    cleanup_cli_uploaded struct cli_uploaded uploaded = { 0 };
    int status = convert_to_file(image, a->output, a->force, &a->convert, &result, &err);
    if (status == 0 && push)
        status = upload(a, &result, &uploaded, &err);
    cli_progress_free(progress);
    if (status < 0)
        return cli_fail(&err);
    if (a->json)
        print_json(&result, &uploaded, a->convert.strip);
    else
        print_text(&result, &uploaded);
    return CLI_OK;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct build_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a), status;
    if (at < 0)
        status = at == CLI_HELP ? CLI_OK : CLI_USAGE;
    else if (argc - at != 1)
        status = cli_usage(self, argc == at ? "say which image to convert" : "only one image can be converted at a time");
    else
        status = build(&a, argv[at]);
    convert_edits_clear(&a.edits);
    cli_upload_clear(&a.upload);
    return status;
}

const struct cli_command cmd_build = {
    .name = "build",
    .synopsis = "[OPTIONS] IMAGE",
    .summary = "Convert a Docker or OCI image to a .gvmi file",
    .details =
        "IMAGE is one of\n"
        "  docker-archive:FILE[:NAME[:TAG]]  what `docker save` writes\n"
        "  oci:DIR[:TAG]                     an OCI image layout\n"
        "  oci-archive:FILE[:TAG]            a tar of one\n"
        "  tar:FILE                          a root file system in a tar, as of `docker export`\n"
        "  dir:DIR                           a root file system as it lies there\n"
        "  dockerfile:DIR                    what buildah or docker builds of the Dockerfile in it\n"
        "  docker-daemon:NAME                an image of the Docker daemon\n"
        "  docker://NAME                     an image of a registry\n"
        "  FILE, DIR, -                      any of these, recognised by its content; - is standard input\n"
        "  NAME                              an image of the daemon, or else of a registry\n\n"
        "Root is not needed, nor Docker but for what has it in its name, and nothing is unpacked. The same image gives the same bytes.\n\n"
        "What would keep the image from starting at a provider is put right, and told: missing or wrong directories, links in\n"
        "the place of files that the guest writes, VOLUME paths, a program without its path. --as-is leaves all that.",
    .example = "  docker save -o hello.tar hello:latest\n"
               "  gvmkit build hello.tar -o hello.gvmi",
    .options = options,
    .run = run,
};
