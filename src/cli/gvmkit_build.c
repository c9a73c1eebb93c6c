/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The door `gvmkit-build`: the command line of Golem's converter, for scripts and habits. Names of files, the rule of what is built again, the image link and the
 * upload descriptor are as there; the conversion is gvmkit's, so neither a Docker daemon nor a helper image is needed. The options that were accepted and did
 * nothing there (--env, --vol, --entrypoint) work here.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/conversion.h"
#include "cli/login.h"
#include "cli/upload.h"

struct door_args {
    const char *output, *direct, *info_path;
    const char *push_to;
    bool push, login, login_check, logout;
    bool force, info, version;
    struct cli_upload upload;
    uint64_t chunk_size;
    struct cli_write_choice write;
    struct convert_options convert;
    struct convert_edits edits;
    enum cli_progress_mode mode;
    struct cli_progress *progress;
};

static const struct cli_option options[] = {
    { "output", 'o', "FILE", "write to FILE (default: USER-REPO-TAG-ID.gvmi in this directory)" },
    { "force", 'f', NULL, "build again although the file holds this image already" },
    { "compression-method", 0, "METHOD", "gzip (default), lzo, lz4, xz or zstd; providers cannot mount zstd" },
    { "compression-level", 0, "N", "compression level (default: the best by measurement)" },
    { "profile", 0, "NAME", "golem (default), small or fast, as of `gvmkit build`" },
    { "env", 0, "NAME=VALUE", "set a variable of the environment" },
    { "vol", 'v', "PATH", "make PATH a volume" },
    { "entrypoint", 'e', "WORDS", "set ENTRYPOINT: a JSON array, or words quoted as in a shell" },
    { "info", 'i', NULL, "print the configuration of the image and stop" },
    { "direct-file-upload", 'd', "FILE", "take FILE, a .gvmi, and build nothing" },
    { "upload-chunk-size", 0, "SIZE", "size of the chunks in the descriptor (default: by the size of the file)" },
    { "upload-workers", 0, "N", "chunks to upload at a time (default 4)" },
    { "push", 'p', NULL, "upload the image and tag it as it is named here" },
    { "push-to", 0, "USER/REPO:TAG", "upload the image and tag it" },
    { "nologin", 0, NULL, "upload without an account" },
    { "login", 0, NULL, "log in to the registry and stop" },
    { "login-check", 0, NULL, "check the login and stop" },
    { "logout", 0, NULL, "log out and stop" },
    { "extra-json-info-path", 0, "FILE", "write what was made to FILE as JSON; `hash` is the id of the descriptor, `sha3` the link" },
    { "hide-progress", 0, NULL, "show no progress" },
    { "version", 'V', NULL, "print the version and stop" },
    CLI_CONVERT_OPTIONS,
    { 0 },
};

/* 1 when the option was one of the registry, 0 when not, -1 on a bad value. */
static int take_registry(struct door_args *a, const char *name, const char *value, struct gv_error *err)
{
    const struct {
        const char *name;
        bool *to;
    } flags[] = { { "push", &a->push },
                  { "nologin", &a->upload.anonymous },
                  { "login", &a->login },
                  { "login-check", &a->login_check },
                  { "logout", &a->logout } };
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (strcmp(name, flags[i].name) == 0)
            return *flags[i].to = true;
    if (strcmp(name, "push-to") != 0)
        return 0;
    a->push_to = value;
    return cli_upload_add(&a->upload, value, err) < 0 ? -1 : 1;
}

static int take_number(struct door_args *a, const char *name, const char *value, struct gv_error *err)
{
    uint64_t n;
    if (!strcmp(name, "upload-chunk-size")) {
        if (cli_size(value, &a->chunk_size, err) < 0)
            return -1;
        return a->chunk_size ? 0 : gv_error_set(err, GV_E_USAGE, 0, "a chunk cannot be empty");
    }
    if (!strcmp(name, "upload-workers")) {
        if (cli_number("the number of workers", value, 1, 64, &n, err) < 0)
            return -1;
        a->upload.workers = (unsigned)n;
        return 0;
    }
    if (cli_number("the level", value, 1, 22, &n, err) < 0)
        return -1;
    a->write.level = (int)n;
    return 0;
}

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct door_args *a = user;
    int taken = take_registry(a, name, value, err);
    if (taken)
        return taken < 0 ? -1 : 0;
    if (!strcmp(name, "output")) {
        a->output = value;
    } else if (!strcmp(name, "force")) {
        a->force = true;
    } else if (!strcmp(name, "compression-method")) {
        return cli_compression(value, &a->write.compression, err);
    } else if (!strcmp(name, "profile")) {
        struct gvmi_write_options unused = { 0 };
        a->write.profile = value;
        return gvmi_profile(value, &unused, err);
    } else if (!strcmp(name, "env")) {
        return convert_edits_add(&a->edits, CONVERT_SET_ENV, value, err);
    } else if (!strcmp(name, "vol")) {
        return convert_edits_add(&a->edits, CONVERT_ADD_VOLUME, value, err);
    } else if (!strcmp(name, "entrypoint")) {
        return convert_edits_add(&a->edits, CONVERT_SET_ENTRYPOINT, value, err);
    } else if (!strcmp(name, "info")) {
        a->info = true;
    } else if (!strcmp(name, "direct-file-upload")) {
        a->direct = value;
    } else if (!strcmp(name, "extra-json-info-path")) {
        a->info_path = value;
    } else if (!strcmp(name, "hide-progress")) {
        a->mode = CLI_PROGRESS_NONE;
    } else if (!strcmp(name, "version")) {
        a->version = true;
    } else if (!strcmp(name, "upload-chunk-size") || !strcmp(name, "upload-workers") || !strcmp(name, "compression-level")) {
        return take_number(a, name, value, err);
    } else {
        return cli_convert_option(&a->convert, &a->mode, name, value, err);
    }
    return 0;
}

/* " * what is done" and " -- what came of it", as people know it from the original. */
static void print_result(const char *name, const char *value)
{
    printf(" -- %s: ", name);
    cli_print_clean(stdout, value);
    putchar('\n');
}

static void print_words(const char *name, const struct gv_strv *v)
{
    json_t *a = json_array();
    for (size_t i = 0; i < v->count; i++)
        json_array_append_new(a, json_string(v->items[i]));
    cleanup_free char *text = json_dumps(a, 0);
    json_decref(a);
    print_result(name, v->count && text ? text : "none");
}

static int print_info(struct door_args *a, const char *reference, struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_source_image_fn))) struct source_image image = { 0 };
    if (source_load(&image, reference, &a->convert.source, err) < 0)
        return -1;
    cli_progress_hide(a->progress);
    const struct image_config *c = &image.config;
    print_result("image", image.name ? image.name : reference);
    print_words("entrypoint", &c->entrypoint);
    print_words("command", &c->cmd);
    print_result("workdir", c->workdir ? c->workdir : "/");
    print_result("user", c->user ? c->user : "root");
    print_words("volumes", &c->volumes);
    print_words("env", &c->env);
    return 0;
}

static void print_conversion(const struct convert_result *r)
{
    char size[32], layers[32];
    if (r->kept) {
        print_result("the file holds this image already (--force builds it again)", r->path);
        return;
    }
    gv_format_size(size, r->image.size);
    gv_format_size(layers, r->layer_bytes);
    print_result("output file", r->path);
    printf(" -- size: %s, 1:%.1f of the layers (%s)\n", size, r->image.size ? (double)r->layer_bytes / (double)r->image.size : 0, layers);
}

static int write_info(const struct door_args *a, const char *image, const char *descriptor, const struct convert_descriptor *d,
                      const char *base, struct gv_error *err)
{
    const char *path = a->info_path;
    const struct refs *tag = base && a->upload.tag_count ? &a->upload.tags[0] : NULL;
    json_t *o = json_pack("{s:s, s:s}", "hash", d->id, "sha3", d->hash);
    json_object_set_new(o, "repoInfo",
                        tag ? json_pack("{s:s, s:s, s:s, s:s}", "url", base, "user", tag->user, "repo", tag->repository, "tag", tag->tag)
                            : json_null());
    json_object_set_new(o, "imagePath", json_string(image));
    json_object_set_new(o, "imageDescrPath", json_string(descriptor));
    cleanup_free char *text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(o);
    struct gv_outfile *file;
    if (gv_outfile_open(&file, path, 0644, err) < 0)
        return -1;
    if (gv_write_full(gv_outfile_fd(file), text, strlen(text)) < 0 || gv_write_full(gv_outfile_fd(file), "\n", 1) < 0) {
        gv_error_errno(err, "cannot write `%s`", path);
        gv_outfile_discard(file);
        return -1;
    }
    return gv_outfile_commit(file, err);
}

static bool wants_upload(const struct door_args *a)
{
    return a->push || a->push_to;
}

static int upload(struct door_args *a, const char *path, const struct convert_descriptor *d, const struct gv_log *log,
                  struct cli_uploaded *out, struct gv_error *err)
{
    printf(" * Uploading the image\n");
    fflush(stdout);
    if (cli_upload(&a->upload, path, d, NULL, log, a->convert.source.progress, out, err) < 0)
        return -1;
    cli_progress_hide(a->progress);
    char sent[32];
    gv_format_size(sent, out->pushed.bytes);
    print_result(out->pushed.chunks ? "uploaded" : "the registry had all of it", out->pushed.chunks ? sent : out->base);
    for (size_t i = 0; i < a->upload.tag_count; i++) {
        cleanup_free char *name = refs_name(&a->upload.tags[i]);
        print_result("image tag", name);
    }
    return 0;
}

/* Descriptor and link of a finished file; hash is its hash when that is known. */
static int describe(struct door_args *a, const char *path, const char *hash, const struct gv_log *log, struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_convert_descriptor_fn))) struct convert_descriptor d = { 0 };
    cleanup_free char *file = NULL;
    char chunk[32];
    if (convert_descriptor_of_file(&d, path, a->chunk_size, hash, a->convert.source.progress, &file, err) < 0)
        return -1;
    cli_progress_hide(a->progress);
    if (d.chunks > CONVERT_DESCRIPTOR_CHUNKS_MAX && !wants_upload(a))
        gv_warn(log, "%llu chunks are more than the %u that the registry takes; give a larger --upload-chunk-size",
                (unsigned long long)d.chunks, CONVERT_DESCRIPTOR_CHUNKS_MAX);
    gv_format_size(chunk, d.chunk_size);
    print_result("descriptor", file);
    printf(" -- descriptor id: %s (%llu chunk%s of %s)\n", d.id, (unsigned long long)d.chunks, d.chunks == 1 ? "" : "s", chunk);
    printf(" -- image link (for use in SDK): %s\n", d.hash);
    cleanup_cli_uploaded struct cli_uploaded uploaded = { 0 };
    if (wants_upload(a) && upload(a, path, &d, log, &uploaded, err) < 0)
        return -1;
    return a->info_path ? write_info(a, path, file, &d, uploaded.base, err) : 0;
}

static int work(struct door_args *a, const char *image, const struct gv_log *log, struct gv_error *err)
{
    if (a->info)
        return print_info(a, image, err);
    if (a->direct) {
        CLEANUP(gvmi) struct gvmi_image *img = NULL;
        if (gvmi_open(&img, a->direct, err) < 0)
            return -1;
        printf(" * Taking the file as it is\n");
        return describe(a, a->direct, NULL, log, err);
    }
    __attribute__((cleanup(gv_cleanup_convert_result_fn))) struct convert_result result = { 0 };
    printf(" * Converting ");
    cli_print_clean(stdout, image);
    putchar('\n');
    fflush(stdout);
    if (convert_to_file(image, a->output, a->force, &a->convert, &result, err) < 0)
        return -1;
    cli_progress_hide(a->progress);
    print_conversion(&result);
    fflush(stdout);
    return describe(a, result.path, result.kept ? NULL : result.image.hash, log, err);
}

static int start(const struct cli_command *self, struct door_args *a, int operands, const char *image)
{
    struct gv_error err = GV_ERROR_INIT;
    if (a->version) {
        printf("gvmkit-build %s\n", GVMKIT_VERSION);
        return CLI_OK;
    }
    if (a->login || a->login_check || a->logout)
        return (a->logout  ? cli_logout(&err)
                : a->login ? cli_login(NULL, false, &err)
                           : cli_login_check(false, &err)) < 0
                   ? cli_fail(&err)
                   : CLI_OK;
    if (operands > 1)
        return cli_usage(self, "only one image can be converted at a time");
    if (a->direct ? operands != 0 || a->info : operands != 1)
        return cli_usage(self, a->direct ? "--direct-file-upload takes no image" : "say which image to convert");
    if (a->upload.anonymous && (a->push_to || !a->push))
        return cli_usage(self, "--nologin goes with --push alone");
    if (a->push && !a->push_to && !a->upload.anonymous) {
        if (a->direct)
            return cli_usage(self, "a file has no name in the registry; say --push-to USER/REPO:TAG");
        if (cli_upload_add(&a->upload, image, &err) < 0)
            return cli_usage(self, "%s; say --push-to USER/REPO:TAG", err.msg);
    }
    if (cli_write_options(&a->convert.write, &a->write, &err) < 0 || (wants_upload(a) && cli_upload_check(&a->upload, &err) < 0))
        return cli_fail(&err);
    a->progress = cli_progress_new(a->mode);
    struct gv_log log = cli_progress_log(a->progress, false);
    a->convert.edits = &a->edits;
    a->convert.replace_other = true;
    a->convert.source.log = a->convert.write.log = &log;
    a->convert.source.progress = a->convert.write.progress = cli_progress_sink(a->progress);
    int status = work(a, image, &log, &err);
    cli_progress_free(a->progress);
    return status < 0 ? cli_fail(&err) : CLI_OK;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct door_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    int status = at < 0 ? (at == CLI_HELP ? CLI_OK : CLI_USAGE) : start(self, &a, argc - at, argv[at]);
    convert_edits_clear(&a.edits);
    cli_upload_clear(&a.upload);
    return status;
}

const struct cli_command door_gvmkit_build = {
    .name = "gvmkit-build",
    .door = true,
    .synopsis = "[OPTIONS] IMAGE_NAME",
    .summary = "Convert a Docker image to a .gvmi file",
    .details =
        "IMAGE_NAME is any name that Docker takes, and anything that `gvmkit build` takes. A file that holds the same image already is "
        "kept,\n"
        "one that holds another is replaced. FILE.descr.bin is written beside it, which is what the registry wants to know of it.\n\n"
        "The registry is the one that GOLEM_REGISTRY_URL or REGISTRY_URL names, by default https://registry.golem.network. The account is "
        "the\n"
        "one of --login, or of REGISTRY_USER and REGISTRY_TOKEN. What the registry has already is not sent again.",
    .example = "  gvmkit-build golem-example\n"
               "  gvmkit-build --direct-file-upload golem-example-latest-b96444b9b3.gvmi",
    .options = options,
    .run = run,
};
