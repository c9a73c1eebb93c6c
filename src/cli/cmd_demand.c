/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/image.h"
#include "cli/look.h"
#include "demand/demand.h"

struct demand_args {
    double memory, storage;
    uint64_t threads, cores;
    struct gv_strv capabilities;
    const char *runtime, *subnet, *manifest, *signature, *certificate, *digest;
    bool json, no_check, insecure;
    enum cli_progress_mode progress;
};

static const struct cli_option options[] = {
    { "memory", 0, "GIB", "least memory, in GiB (default 0.5)" },
    { "storage", 0, "GIB", "least storage, in GiB (default 2)" },
    { "threads", 0, "N", "least number of CPU threads (default 1)" },
    { "cores", 0, "N", "least number of CPU cores" },
    { "capability", 0, "NAME", "what the provider must be able to do, as vpn or inet; can be repeated" },
    { "runtime", 0, "NAME", "the runtime (default vm)" },
    { "subnet", 0, "NAME", "the subnet, as public" },
    { "manifest", 0, "FILE", "a manifest, which then names the image" },
    { "signature", 0, "FILE", "its signature" },
    { "certificate", 0, "FILE", "the certificate of the key that has signed it" },
    { "digest", 0, "NAME", "the signature's digest (default sha256)" },
    { "no-check", 0, NULL, "do not fetch the image to see whether the URL serves it" },
    { "insecure", 0, NULL, "any certificate will do: what comes is known by its hash" },
    { "json", 0, NULL, "print properties and constraints alone, as JSON" },
    { "progress", 0, "MODE", "auto, plain, none or json (default auto)" },
    { 0 },
};

static int gib(const char *text, double *out, struct gv_error *err)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    if (errno || end == text || *end || !(*out > 0) || *out > 1e6)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a number of GiB; write 0.5 or 16", text);
    return 0;
}

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct demand_args *a = user;
    if (!strcmp(name, "memory"))
        return gib(value, &a->memory, err);
    if (!strcmp(name, "storage"))
        return gib(value, &a->storage, err);
    if (!strcmp(name, "threads"))
        return cli_number("a number of threads", value, 1, 4096, &a->threads, err);
    if (!strcmp(name, "cores"))
        return cli_number("a number of cores", value, 1, 4096, &a->cores, err);
    if (!strcmp(name, "progress"))
        return cli_progress_mode(value, &a->progress, err);
    if (!strcmp(name, "capability"))
        gv_strv_add(&a->capabilities, value);
    else if (!strcmp(name, "runtime"))
        a->runtime = value;
    else if (!strcmp(name, "subnet"))
        a->subnet = value;
    else if (!strcmp(name, "manifest"))
        a->manifest = value;
    else if (!strcmp(name, "signature"))
        a->signature = value;
    else if (!strcmp(name, "certificate"))
        a->certificate = value;
    else if (!strcmp(name, "digest"))
        a->digest = value;
    else if (!strcmp(name, "no-check"))
        a->no_check = true;
    else if (!strcmp(name, "insecure"))
        a->insecure = true;
    else
        a->json = true;
    return 0;
}

/* What is put into the demand, and what its texts are kept in. */
struct package {
    struct demand demand;
    struct registry_image image;
    char *url, *manifest, *signature, *certificate;
};

static void package_clear(struct package *p)
{
    registry_image_clear(&p->image);
    free(p->url);
    free(p->manifest);
    free(p->signature);
    free(p->certificate);
}

/* ---- the manifest ---- */

static int read_as_base64(const char *path, char **out, struct gv_error *err)
{
    cleanup_buf struct gv_buf data = { 0 };
    if (gv_read_file(path, DEMAND_MANIFEST_MAX, &data, err) < 0)
        return -1;
    *out = demand_base64(data.data, data.len);
    return 0;
}

/* The signature is base64 already: without white space it is what a demand carries. */
static int read_signature(const char *path, char **out, struct gv_error *err)
{
    cleanup_buf struct gv_buf data = { 0 }, text = { 0 };
    if (gv_read_file(path, DEMAND_MANIFEST_MAX, &data, err) < 0)
        return -1;
    for (size_t i = 0; i < data.len; i++)
        if (!strchr(" \t\r\n", data.data[i]))
            gv_buf_add(&text, data.data + i, 1);
    *out = gv_strdup(gv_buf_str(&text));
    for (const char *c = *out; *c; c++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=", *c))
            return gv_error_set(err, GV_E_FORMAT, 0, "%s: the signature is no base64", path);
    return 0;
}

static int take_manifest(const struct demand_args *a, struct package *p, struct gv_error *err)
{
    cleanup_buf struct gv_buf data = { 0 };
    if (gv_read_file(a->manifest, DEMAND_MANIFEST_MAX, &data, err) < 0)
        return -1;
    if (demand_manifest_check(data.data, data.len, time(NULL), p->image.hash, &p->url, err) < 0)
        return gv_error_prefix(err, "%s", a->manifest);
    p->manifest = demand_base64(data.data, data.len);
    if (a->signature && read_signature(a->signature, &p->signature, err) < 0)
        return -1;
    if (a->certificate && read_as_base64(a->certificate, &p->certificate, err) < 0)
        return -1;
    if (a->signature && a->certificate &&
        demand_manifest_verify(p->signature, data.data, data.len, a->certificate, NULL, a->digest, err) < 0)
        return -1;
    p->image.size = HTTP_SIZE_UNKNOWN;
    gv_strv_add(&p->image.urls, p->url);
    return 0;
}

/* ---- the image ---- */

static int find_image(struct image_store *store, const char *word, struct package *p, struct gv_error *err)
{
    cleanup_refs struct refs ref = { 0 };
    if (refs_parse(&ref, word, err) < 0)
        return -1;
    if (ref.kind == REFS_PATH && !ref.is_explicit && access(word, F_OK) < 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is no reference; write USER/REPO:TAG, a hash, or URL#HASH", word);
    if (ref.kind == REFS_PATH)
        return gv_error_set(err, GV_E_USAGE, 0,
                            "`%s`: providers cannot fetch a file of this machine; publish it with `gvmkit push`, or say URL#HASH", word);
    if (ref.kind == REFS_OCI)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "`%s`: providers fetch by http and https only", word);
    if (ref.kind == REFS_IMAGE && ref.url && !ref.is_link) {
        if (!*ref.hash)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` says no hash; write URL#HASH", word);
        memcpy(p->image.hash, ref.hash, sizeof(ref.hash));
        p->image.size = HTTP_SIZE_UNKNOWN;
        gv_strv_add(&p->image.urls, ref.url);
    } else {
        struct http_client *http = store_http(store, err);
        cleanup_free char *base = registry_url(err), *name = ref.kind == REFS_NAME ? refs_name(&ref) : NULL;
        if (!http || !base ||
            (ref.is_link ? registry_read_link(http, ref.url, &p->image, err)
                         : registry_find(http, base, name, *ref.hash ? ref.hash : NULL, &p->image, err)) < 0)
            return -1;
        if (ref.is_link)
            memcpy(p->image.hash, ref.hash, sizeof(ref.hash));
    }
    if (!p->image.urls.count)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "nobody says from where `%s` could come", word);
    p->url = gv_strdup(p->image.urls.items[0]);
    return 0;
}

/* Providers take the first URL only; so that one is fetched, whatever is here already. */
static int check_url(const struct package *p, const struct store_options *how, struct gv_error *err)
{
    cleanup_registry_image struct registry_image first = { .size = p->image.size };
    const char *tmp = getenv("TMPDIR");
    struct gv_workdir *scratch = NULL;
    struct gv_error ignored = GV_ERROR_INIT;
    if (gv_workdir_open(&scratch, tmp && *tmp ? tmp : "/var/tmp", "gvmkit-demand", err) < 0)
        return -1;
    memcpy(first.hash, p->image.hash, sizeof(first.hash));
    gv_strv_add(&first.urls, p->url);
    struct store_options own = *how;
    own.dir = gv_workdir_path(scratch);
    struct image_store *store = NULL;
    struct store_image image = STORE_IMAGE_INIT;
    int status = store_open(&store, &own, err) < 0 || store_fetch(store, &first, &image, err) < 0 ? -1 : 0;
    store_image_clear(&image);
    if (store)
        store_close(store);
    gv_workdir_remove(scratch, &ignored);
    return status;
}

static void print(const struct demand_args *a, const struct demand *d)
{
    cleanup_free char *json = demand_json(d), *python = demand_yapapi(d), *js = demand_golem_js(d);
    if (a->json)
        fputs(json, stdout);
    else
        printf("demand\n\n%s\nyapapi\n\n%s\ngolem-js\n\n%s", json, python, js);
}

static int make(const struct demand_args *a, const char *word, struct package *p, const struct gv_log *log,
                const struct gv_progress *progress, struct gv_error *err)
{
    const struct store_options how = { .insecure = a->insecure, .log = log, .progress = progress };
    CLEANUP(image_store) struct image_store *store = NULL;
    if (a->manifest ? take_manifest(a, p, err) < 0 : store_open(&store, &how, err) < 0 || find_image(store, word, p, err) < 0)
        return -1;
    struct demand *d = &p->demand;
    *d = (struct demand){ .url = p->url,
                          .memory_gib = a->memory,
                          .storage_gib = a->storage,
                          .threads = (unsigned)a->threads,
                          .cores = (unsigned)a->cores,
                          .capabilities = &a->capabilities,
                          .runtime = a->runtime,
                          .subnet = a->subnet,
                          .manifest = p->manifest,
                          .signature = p->signature,
                          .algorithm = a->digest,
                          .certificate = p->certificate };
    memcpy(d->hash, p->image.hash, sizeof(d->hash));
    if (demand_check(d, err) < 0)
        return -1;
    if (http_is_loopback(p->url))
        gv_warn(log, "`%s` is on this machine: no provider can fetch it from there", p->url);
    return a->no_check ? 0 : check_url(p, &how, err);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct demand_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a), status = -1;
    if (at < 0)
        status = at == CLI_HELP ? CLI_OK : CLI_USAGE;
    else if (argc - at != (a.manifest ? 0 : 1))
        status = cli_usage(self, a.manifest ? "the manifest names the image" : "say which image");
    else if (!a.manifest && (a.signature || a.certificate || a.digest))
        status = cli_usage(self, "a signature and a certificate are of a manifest");
    else if (!a.signature != !a.certificate)
        status = cli_usage(self, "a signature needs its certificate, and the other way round");
    if (status < 0) {
        struct package p = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        struct cli_progress *progress = cli_progress_new(a.progress);
        struct gv_log log = cli_progress_log(progress, false);
        int failed = make(&a, argv[at], &p, &log, cli_progress_sink(progress), &err);
        cli_progress_free(progress);
        if (!failed)
            print(&a, &p.demand);
        status = failed ? cli_fail(&err) : CLI_OK;
        package_clear(&p);
    }
    gv_strv_clear(&a.capabilities);
    return status;
}

const struct cli_command cmd_demand = {
    .name = "demand",
    .synopsis = "[OPTIONS] REF",
    .summary = "Print what a requestor has to ask for to run an image on Golem's network",
    .details =
        "REF is USER/REPO:TAG, a hash, hash:sha3:HASH:URL or URL#HASH. Prints the properties and constraints of the demand as JSON, and\n"
        "the lines for yapapi and golem-js that come to the same. Before, the image is fetched from the URL that providers will use,\n"
        "to see that it is there and is the right one.",
    .example = "  gvmkit demand golem/alpine:latest\n"
               "  gvmkit demand --memory 4 --capability vpn https://example.org/hello.gvmi#4b1a...",
    .options = options,
    .run = run,
};
