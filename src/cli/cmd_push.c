/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `gvmkit push` and `gvmkit tag`. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/image.h"
#include "cli/look.h"
#include "cli/upload.h"

DEFINE_CLEANUP(client, struct http_client *, http_client_free)

struct push_args {
    struct cli_upload upload;
    uint64_t chunk_size;
    bool json;
    enum cli_progress_mode progress;
};

static const struct cli_option push_options[] = {
    { "anonymous", 0, NULL, "upload without an account; the image has no name, and the registry may remove it" },
    { "chunk-size", 0, "SIZE", "of the pieces that are sent (default: by the size of the file)" },
    { "workers", 0, "N", "pieces to send at a time (default 4)" },
    { "insecure", 0, NULL, "any certificate will do, and no encryption; the token can be read on its way" },
    { "json", 0, NULL, "print the result as JSON" },
    { "progress", 0, "MODE", "auto, plain, none or json (default auto)" },
    { 0 },
};

static int take_push(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct push_args *a = user;
    if (!strcmp(name, "anonymous")) {
        a->upload.anonymous = true;
    } else if (!strcmp(name, "insecure")) {
        a->upload.insecure = true;
    } else if (!strcmp(name, "json")) {
        a->json = true;
    } else if (!strcmp(name, "progress")) {
        return cli_progress_mode(value, &a->progress, err);
    } else if (!strcmp(name, "workers")) {
        uint64_t n;
        if (cli_number("the number of workers", value, 1, 64, &n, err) < 0)
            return -1;
        a->upload.workers = (unsigned)n;
    } else {
        if (cli_size(value, &a->chunk_size, err) < 0)
            return -1;
        return a->chunk_size ? 0 : gv_error_set(err, GV_E_USAGE, 0, "a chunk cannot be empty");
    }
    return 0;
}

static void print_pushed(const struct push_args *a, const struct convert_descriptor *d, const struct cli_uploaded *u)
{
    if (a->json) {
        json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:I}", "hash", d->hash, "descriptor", d->id, "size", (json_int_t)d->size, "sent",
                              (json_int_t)u->pushed.bytes, "chunks_sent", (json_int_t)u->pushed.chunks);
        json_t *names = json_array();
        for (size_t i = 0; i < a->upload.tag_count; i++) {
            cleanup_free char *name = refs_name(&a->upload.tags[i]);
            json_array_append_new(names, json_string(name));
        }
        json_object_set_new(o, "names", names);
        look_json_bytes(o, "registry", u->base);
        look_json_print(o);
        return;
    }
    char size[32], sent[32];
    gv_format_size(size, d->size);
    gv_format_size(sent, u->pushed.bytes);
    printf("registry ");
    cli_print_clean(stdout, u->base);
    putchar('\n');
    for (size_t i = 0; i < a->upload.tag_count; i++) {
        cleanup_free char *name = refs_name(&a->upload.tags[i]);
        printf("name     %s\n", name);
    }
    if (u->pushed.chunks)
        printf("size     %s, %s sent\n", size, sent);
    else
        printf("size     %s, was there already\n", size);
    printf("hash     %s\n", d->hash);
}

/* What is no image is not published. */
static int describe(struct convert_descriptor *d, const char *path, uint64_t chunk_size, const struct gv_progress *progress,
                    struct gv_error *err)
{
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    if (gvmi_open(&img, path, err) < 0)
        return -1;
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return gv_error_errno(err, "%s", path);
    return convert_descriptor_make(d, fd, chunk_size, NULL, progress, err) < 0 ? gv_error_prefix(err, "%s", path) : 0;
}

static int push(const struct push_args *a, const char *word)
{
    struct gv_error err = GV_ERROR_INIT;
    cleanup_cli_image struct cli_image image = CLI_IMAGE_INIT;
    cleanup_cli_uploaded struct cli_uploaded uploaded = { 0 };
    __attribute__((cleanup(gv_cleanup_convert_descriptor_fn))) struct convert_descriptor d = { 0 };
    cleanup_buf struct gv_buf signature = { 0 };
    struct cli_progress *progress = cli_progress_new(a->progress);
    struct gv_log log = cli_progress_log(progress, false);
    int status = cli_image_find(&image, word, &err);
    if (status == 0)
        status = describe(&d, image.path, a->chunk_size, cli_progress_sink(progress), &err);
    if (status == 0 && !a->upload.anonymous)
        status = cli_upload_signature(image.path, d.hash, &signature, &log, &err);
    if (status == 0)
        status =
            cli_upload(&a->upload, image.path, &d, signature.len ? &signature : NULL, &log, cli_progress_sink(progress), &uploaded, &err);
    cli_progress_free(progress);
    if (status < 0)
        return cli_fail(&err);
    print_pushed(a, &d, &uploaded);
    return CLI_OK;
}

/* ---- to a registry of OCI ---- */

#define OCI "oci://"

/* The tags of further names, which must be of the same repository as the first: *count of them, borrowed. */
static int more_tags(char **names, int n, const char **tags, struct gv_error *err)
{
    size_t repository = (size_t)(strrchr(names[0], ':') - names[0]);
    for (int i = 0; i < n; i++) {
        const char *colon = strrchr(names[i], ':');
        if (strncmp(names[i], OCI, strlen(OCI)) != 0 || strchr(colon, '/'))
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not oci://HOST/REPO:TAG", names[i]);
        if ((size_t)(colon - names[i]) != repository || strncmp(names[i], names[0], repository) != 0)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is another repository than `%s`; push to one at a time", names[i], names[0]);
        tags[i] = colon + 1;
    }
    return 0;
}

static void print_artifact(const struct push_args *a, const char *hash, const char *digest, char **names, int n)
{
    if (a->json) {
        json_t *o = json_pack("{s:s, s:s}", "hash", hash, "digest", digest), *list = json_array();
        for (int i = 0; i < n; i++)
            json_array_append_new(list, json_string(names[i]));
        json_object_set_new(o, "names", list);
        look_json_print(o);
        return;
    }
    for (int i = 0; i < n; i++) {
        fputs("name     ", stdout);
        cli_print_clean(stdout, names[i]);
        putchar('\n');
    }
    printf("digest   %s\nhash     %s\n", digest, hash);
}

static int push_artifact(const struct push_args *a, const char *word, char **names, int n, const char **tags)
{
    struct gv_error err = GV_ERROR_INIT;
    cleanup_cli_image struct cli_image image = CLI_IMAGE_INIT;
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    struct cli_progress *progress = cli_progress_new(a->progress);
    struct gv_log log = cli_progress_log(progress, false);
    const struct source_options options = { .insecure = a->upload.insecure, .log = &log, .progress = cli_progress_sink(progress) };
    cleanup_free char *digest = NULL;
    cleanup_buf struct gv_buf signature = { 0 };
    char hash[GV_SHA3_224_HEX];
    int status = cli_image_open(&image, &img, word, &err);
    if (status == 0)
        status = gvmi_hash(img, hash, &err);
    if (status == 0)
        status = cli_upload_signature(image.path, hash, &signature, &log, &err);
    if (status == 0)
        status = source_artifact_push(image.path, hash, signature.len ? &signature : NULL, names[0] + strlen(OCI), tags + 1, (size_t)n - 1,
                                      &options, &digest, &err);
    cli_progress_free(progress);
    if (status < 0)
        return cli_fail(&err);
    print_artifact(a, hash, digest, names, n);
    return CLI_OK;
}

static int run_artifact(const struct cli_command *self, const struct push_args *a, const char *word, char **names, int n)
{
    cleanup_free const char **tags = gv_calloc((size_t)n, sizeof(*tags));
    struct gv_error err = GV_ERROR_INIT;
    if (a->upload.anonymous || a->chunk_size || a->upload.workers)
        return cli_usage(self, "--anonymous, --chunk-size and --workers are for Golem's registry");
    return more_tags(names, n, tags, &err) < 0 ? cli_usage(self, "%s", err.msg) : push_artifact(a, word, names, n, tags);
}

static int run_push(const struct cli_command *self, int argc, char **argv)
{
    struct push_args a = { 0 };
    int at = cli_parse(self, argc, argv, take_push, &a), status = -1;
    struct gv_error err = GV_ERROR_INIT;
    if (at < 0)
        status = at == CLI_HELP ? CLI_OK : CLI_USAGE;
    else if (at == argc)
        status = cli_usage(self, "say which image to upload");
    else if ((argc - at == 1) != a.upload.anonymous)
        status = cli_usage(self, a.upload.anonymous ? "an anonymous image cannot have a name" : "say USER/REPO:TAG, or --anonymous");
    bool artifact = status < 0 && at + 1 < argc && strncmp(argv[at + 1], OCI, strlen(OCI)) == 0;
    if (artifact)
        status = run_artifact(self, &a, argv[at], argv + at + 1, argc - at - 1);
    for (int i = at + 1; status < 0 && i < argc; i++)
        if (cli_upload_add(&a.upload, argv[i], &err) < 0)
            status = cli_usage(self, "%s", err.msg);
    if (status < 0)
        status = push(&a, argv[at]);
    cli_upload_clear(&a.upload);
    return status;
}

const struct cli_command cmd_push = {
    .name = "push",
    .synopsis = "[OPTIONS] IMAGE NAME...",
    .summary = "Upload an image to a registry",
    .details =
        "IMAGE is a .gvmi file or an image of the store. The registry is the one that GOLEM_REGISTRY_URL or REGISTRY_URL names, by "
        "default\n"
        "https://registry.golem.network; it has to know the repository. What it has already is not sent again, so an interrupted\n"
        "upload goes on where it was. Whether the names can be given is asked before anything is sent. A signature of `gvmkit sign`\n"
        "beside the image goes along.\n\n"
        "With oci://HOST/REPO:TAG the image goes to any registry of OCI, as an artifact, with the login of docker or podman.",
    .example = "  gvmkit push hello.gvmi golem/hello:1.0 golem/hello:latest\n"
               "  gvmkit push hello.gvmi oci://ghcr.io/me/hello:1.0\n"
               "  gvmkit push --anonymous hello.gvmi",
    .options = push_options,
    .run = run_push,
};

/* ---- tag ---- */

static const struct cli_option tag_options[] = {
    { "insecure", 0, NULL, "any certificate will do, and no encryption; the token can be read on its way" },
    { 0 },
};

static int take_tag(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)name;
    (void)value;
    (void)err;
    ((struct cli_upload *)user)->insecure = true;
    return 0;
}

/* The id under which the registry has an image that it knows by name or hash. */
static int find_id(struct http_client *http, const char *base, const char *word, char id[2 * GV_SHA256_SIZE + 1], struct gv_error *err)
{
    cleanup_refs struct refs ref = { 0 };
    cleanup_registry_image struct registry_image image = { 0 };
    if (refs_parse(&ref, word, err) < 0)
        return -1;
    if (ref.kind == REFS_PATH)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "`%s` is not USER/REPO:TAG and not a hash; use `gvmkit push` for a file", word);
    cleanup_free char *name = ref.kind == REFS_NAME ? refs_name(&ref) : NULL;
    if (!name && !*ref.hash)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` says no hash", word);
    if (registry_find(http, base, name, ref.hash, &image, err) < 0)
        return -1;
    for (size_t i = 0; i < image.urls.count; i++)
        if (registry_descriptor_id(image.urls.items[i], id))
            return 0;
    return gv_error_set(err, GV_E_UNSUPPORTED, 0, "the registry does not say under which id it has `%s`; use `gvmkit push` with the file",
                        word);
}

static int tag(const struct cli_upload *u, const char *word, struct gv_error *err)
{
    CLEANUP(client) struct http_client *http = NULL;
    cleanup_login struct registry_login login = { 0 };
    cleanup_free char *base = registry_url(err);
    struct gv_log log = cli_log(false);
    const struct http_options options = { .insecure = u->insecure, .log = &log };
    char id[2 * GV_SHA256_SIZE + 1];
    if (!base || cli_upload_login(u, base, &login, err) < 0 || http_client_new(&http, &options, err) < 0 ||
        find_id(http, base, word, id, err) < 0)
        return -1;
    const struct registry_push push = {
        .base = base, .login = &login, .tags = u->tags, .tag_count = u->tag_count, .insecure = u->insecure
    };
    return registry_tag(http, id, &push, err);
}

static int run_tag(const struct cli_command *self, int argc, char **argv)
{
    struct cli_upload u = { 0 };
    int at = cli_parse(self, argc, argv, take_tag, &u), status = -1;
    struct gv_error err = GV_ERROR_INIT;
    if (at < 0)
        status = at == CLI_HELP ? CLI_OK : CLI_USAGE;
    else if (argc - at < 2)
        status = cli_usage(self, "say which image, and the names that it gets");
    for (int i = at + 1; status < 0 && i < argc; i++)
        if (cli_upload_add(&u, argv[i], &err) < 0)
            status = cli_usage(self, "%s", err.msg);
    if (status < 0)
        status = tag(&u, argv[at], &err) < 0 ? cli_fail(&err) : CLI_OK;
    cli_upload_clear(&u);
    return status;
}

const struct cli_command cmd_tag = {
    .name = "tag",
    .synopsis = "[OPTIONS] REF USER/REPO:TAG...",
    .summary = "Give more names to an image that a registry has",
    .details = "REF is the name or the hash by which the registry knows the image. Nothing is uploaded.",
    .example = "  gvmkit tag golem/hello:1.0 golem/hello:latest",
    .options = tag_options,
    .run = run_tag,
};
