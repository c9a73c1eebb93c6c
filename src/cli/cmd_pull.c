/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/image.h"
#include "cli/look.h"
#include "cli/signers.h"

struct pull_args {
    char hash[GV_SHA3_224_HEX];
    struct gv_strv mirrors;
    struct cli_signers signers;
    bool has_signature;
    bool json, insecure;
    enum cli_progress_mode progress;
};

static const struct cli_option options[] = {
    { "hash", 0, "HEX", "the SHA3-224 of the image, for a URL that does not say it" },
    { "mirror", 0, "URL", "try this URL, too; may be given several times" },
    CLI_SIGNERS_OPTION,
    { "signature", 0, "FILE", "the signature, instead of the one beside the image" },
    { "insecure", 0, NULL, "any certificate will do: what comes is known by its hash" },
    { "json", 0, NULL, "print a JSON array" },
    { "progress", 0, "MODE", "auto, plain, none or json (default auto)" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct pull_args *a = user;
    if (!strcmp(name, "hash")) {
        if (refs_hash(a->hash, value) < 0)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not 56 hex digits", value);
    } else if (!strcmp(name, "mirror")) {
        cleanup_refs struct refs r = { 0 };
        if (refs_parse(&r, value, err) < 0)
            return -1;
        if (r.kind != REFS_IMAGE || !r.url || r.is_link)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a URL of http or https", value);
        gv_strv_add(&a->mirrors, r.url);
    } else if (!strcmp(name, "require-signature")) {
        return cli_signers_add(&a->signers, value, err);
    } else if (!strcmp(name, "signature")) {
        a->has_signature = true;
        return cli_signers_read(&a->signers, value, err);
    } else if (!strcmp(name, "insecure")) {
        a->insecure = true;
    } else if (!strcmp(name, "json")) {
        a->json = true;
    } else {
        return cli_progress_mode(value, &a->progress, err);
    }
    return 0;
}

static void print_image(const struct pull_args *a, const char *word, const struct store_image *i, size_t *elements)
{
    struct stat st = { 0 };
    (void)stat(i->path, &st);
    if (a->json) {
        json_t *o = json_pack("{s:s, s:I, s:b, s:I}", "hash", i->hash, "size", (json_int_t)st.st_size, "fetched", i->arrived, "received",
                              (json_int_t)i->received);
        look_json_bytes(o, "file", i->path);
        look_json_bytes(o, "reference", word);
        look_json_element(o, elements);
        return;
    }
    char size[32], received[32];
    gv_format_size(size, (uint64_t)st.st_size);
    gv_format_size(received, i->received);
    if ((*elements)++)
        putchar('\n');
    printf("image    ");
    cli_print_clean(stdout, word);
    printf("\nfile     ");
    cli_print_clean(stdout, i->path);
    printf("\nsize     %s, ", size);
    if (!i->arrived)
        printf("was there already");
    else if (i->received == 0 || i->received == (uint64_t)st.st_size)
        printf("all new");
    else
        printf("%s of it fetched", received);
    printf("\nhash     %s\n", i->hash);
}

/* A copy of a file of the user's, which has to be an image. */
static int add_file(const struct pull_args *a, const struct refs *ref, struct image_store *store, struct store_image *out,
                    struct gv_error *err)
{
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    cleanup_close int fd = open(ref->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    char hash[GV_SHA3_224_HEX];
    const char *wanted = *ref->hash ? ref->hash : a->hash;
    if (fd < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "%s", ref->path);
    if (gvmi_open_fd(&img, fd, ref->path, err) < 0 || gvmi_hash(img, hash, err) < 0)
        return -1;
    if (*wanted && strcmp(wanted, hash) != 0)
        return gv_error_set(err, GV_E_CORRUPT, 0, "%s: the hash is %s, not %s", ref->path, hash, wanted);
    if (store_use(store, hash, out, NULL) == 0)
        return 0;
    if (store_add_file(store, fd, hash, err) < 0 || store_use(store, hash, out, err) < 0)
        return -1;
    out->arrived = true;
    return 0;
}

static int pull(const struct pull_args *a, const char *word, struct image_store *store, struct store_image *out, struct gv_error *err)
{
    cleanup_refs struct refs ref = { 0 };
    if (refs_parse(&ref, word, err) < 0)
        return -1;
    if (ref.kind == REFS_PATH && !ref.is_explicit)
        return refs_parse_name(&ref, word, err) < 0 ? -1 : store_get(store, &ref, STORE_ASK, &a->mirrors, out, err);
    if (*a->hash && *ref.hash && strcmp(a->hash, ref.hash) != 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` names another hash than --hash", word);
    if (ref.kind == REFS_PATH)
        return add_file(a, &ref, store, out, err);
    if (*a->hash && ref.kind == REFS_IMAGE)
        memcpy(ref.hash, a->hash, sizeof(ref.hash));
    return store_get(store, &ref, STORE_ASK, &a->mirrors, out, err);
}

static int run_all(const struct pull_args *a, int count, char **words)
{
    struct cli_progress *progress = cli_progress_new(a->progress);
    struct gv_log log = cli_progress_log(progress, false);
    const struct store_options o = {
        .insecure = a->insecure, .signers = cli_signers_of(&a->signers), .log = &log, .progress = cli_progress_sink(progress)
    };
    CLEANUP(image_store) struct image_store *store = NULL;
    struct gv_error err = GV_ERROR_INIT;
    size_t elements = 0;
    int status = store_open(&store, &o, &err) < 0 ? cli_fail(&err) : CLI_OK;
    for (int i = 0; store && i < count; i++) {
        cleanup_store_image struct store_image image = STORE_IMAGE_INIT;
        gv_error_clear(&err);
        int failed = pull(a, words[i], store, &image, &err);
        cli_progress_hide(progress);
        if (failed)
            status = cli_fail(&err);
        else
            print_image(a, words[i], &image, &elements);
        fflush(stdout);
    }
    cli_progress_free(progress);
    if (a->json)
        look_json_array_end(elements);
    return status;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct pull_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a), status;
    if (at < 0)
        status = at == CLI_HELP ? CLI_OK : CLI_USAGE;
    else if (at == argc)
        status = cli_usage(self, "say which image to fetch");
    else if ((*a.hash || a.mirrors.count || a.has_signature) && argc - at > 1)
        status = cli_usage(self, "--hash, --mirror and --signature are for one image");
    else if (a.has_signature && !cli_signers_of(&a.signers))
        status = cli_usage(self, "--signature needs the key that has signed (--require-signature)");
    else
        status = run_all(&a, argc - at, argv + at);
    gv_strv_clear(&a.mirrors);
    cli_signers_clear(&a.signers);
    return status;
}

const struct cli_command cmd_pull = {
    .name = "pull",
    .synopsis = "[OPTIONS] REF...",
    .summary = "Fetch images into the store",
    .details = "REF is one of\n"
               "  USER/REPO[:TAG]       the name of an image in a registry, also as golem:USER/REPO:TAG\n"
               "  HASH                  the 56 hex digits of its SHA3-224\n"
               "  hash:sha3:HASH[:URL]  as it stands in a demand\n"
               "  URL#HASH              or a URL with --hash\n"
               "  oci://HOST/REPO:TAG   an artifact of a registry of OCI\n"
               "  file:PATH             a file, of which a copy is made\n\n"
               "The registry is the one that GOLEM_REGISTRY_URL or REGISTRY_URL names, by default https://registry.golem.network.\n"
               "Nothing is kept that does not have the hash. An interrupted download goes on where it was the next time.\n\n"
               "With --require-signature, the signature is fetched first, from URL" SIGN_SUFFIX
               " or the artifact, and kept: an image that is not\n"
               "signed as required is refused before any of it moves.",
    .example = "  gvmkit pull golem/alpine:latest\n"
               "  gvmkit pull hash:sha3:4b1a...:http://example.org/hello.gvmi",
    .options = options,
    .run = run,
};
