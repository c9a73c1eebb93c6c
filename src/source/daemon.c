/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Images of a Docker daemon, or of podman's service that speaks its language (Docker Engine API, docs.docker.com/reference/api/engine). The
 * image is looked at first, which is fast and tells its names, its size and whether there is one; then it is exported as `docker save`
 * would, into a scratch file.
 *
 * Which daemon: DOCKER_HOST, with TLS as DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say; else the context that `docker context use` or
 * DOCKER_CONTEXT has chosen; else the first of the usual sockets that is there: Docker's, that of a rootless Docker, podman's.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "http/http.h"
#include "source/open.h"

#define INSPECT_MAX ((size_t)4 << 20)
#define CONTEXT_MAX ((size_t)1 << 20)
#define STALL_MS 600000   /* a daemon collects the layers on its disk before the first byte comes */
#define PLATFORM_MINOR 48 /* of version 1: images of several platforms, and /images/NAME/get?platform= */
#define HEX (2 * GV_SHA256_SIZE)

struct daemon {
    char *address; /* as DOCKER_HOST has it */
    char *socket;  /* NULL for TCP */
    char *base;    /* of URLs */
    char *certificates;
    bool tls, verify;
    bool advise; /* errors say what to try */
    struct http_client *client;
};

static void daemon_clear(struct daemon *d)
{
    http_client_free(d->client);
    free(d->address);
    free(d->socket);
    free(d->base);
    free(d->certificates);
}

/* ---- where it is ---- */

static const char *variable(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static char *docker_file(const char *rest)
{
    const char *dir = variable("DOCKER_CONFIG"), *home = variable("HOME");
    if (dir)
        return gv_asprintf("%s/%s", dir, rest);
    return home ? gv_asprintf("%s/.docker/%s", home, rest) : NULL;
}

static json_t *read_json_file(const char *path)
{
    cleanup_buf struct gv_buf text = { 0 };
    if (!path || gv_read_file(path, CONTEXT_MAX, &text, NULL) < 0)
        return NULL;
    return json_parse(text.data, text.len, NULL);
}

/* The address of the context that is chosen, NULL if none is, or the default one. */
static char *context_address(const struct gv_log *log)
{
    cleanup_free char *config_path = docker_file("config.json");
    cleanup_json json_t *config = read_json_file(config_path);
    const char *name = variable("DOCKER_CONTEXT");
    if (!name)
        name = json_string_of(config, "currentContext");
    if (!name || !*name || !strcmp(name, "default"))
        return NULL;
    unsigned char hash[GV_HASH_MAX];
    char hex[HEX + 1];
    gv_hash_bytes(GV_HASH_SHA256, name, strlen(name), hash);
    gv_hex(hex, hash, GV_SHA256_SIZE);
    cleanup_free char *rest = gv_asprintf("contexts/meta/%s/meta.json", hex), *path = docker_file(rest);
    cleanup_json json_t *meta = read_json_file(path);
    const char *host = json_string_of(json_object_get(json_object_get(meta, "Endpoints"), "docker"), "Host");
    if (!host || !*host) {
        gv_warn(log, "the Docker context `%.100s` cannot be read; the usual sockets are tried", name);
        return NULL;
    }
    return gv_strdup(host);
}

/* The first of the usual sockets that is there, or Docker's. */
static char *usual_address(void)
{
    const char *runtime = variable("XDG_RUNTIME_DIR");
    cleanup_strv struct gv_strv list = { 0 };
    gv_strv_add(&list, "/var/run/docker.sock");
    if (runtime) {
        gv_strv_take(&list, gv_asprintf("%s/docker.sock", runtime));
        gv_strv_take(&list, gv_asprintf("%s/podman/podman.sock", runtime));
    }
    gv_strv_add(&list, "/run/podman/podman.sock");
    struct stat st;
    for (size_t i = 0; i < list.count; i++)
        if (stat(list.items[i], &st) == 0 && S_ISSOCK(st.st_mode))
            return gv_asprintf("unix://%s", list.items[i]);
    return gv_asprintf("unix://%s", list.items[0]);
}

/* Takes "tcp://HOST[:PORT][/PATH]" to a URL. */
static void take_tcp(struct daemon *d, const char *rest)
{
    size_t host = strcspn(rest, "/");
    const char *bracket = memchr(rest, ']', host);
    bool port = memchr(bracket ? bracket : rest, ':', host - (size_t)(bracket ? bracket - rest : 0)) != NULL;
    size_t end = strlen(rest);
    while (end > host && rest[end - 1] == '/')
        end--;
    d->base = gv_asprintf("%s://%.*s%s%.*s", d->tls ? "https" : "http", (int)host, rest,
                          port     ? ""
                          : d->tls ? ":2376"
                                   : ":2375",
                          (int)(end - host), rest + host);
}

static int take_address(struct daemon *d, struct gv_error *err)
{
    const char *a = d->address;
    d->verify = variable("DOCKER_TLS_VERIFY") != NULL;
    d->certificates = variable("DOCKER_CERT_PATH") ? gv_strdup(variable("DOCKER_CERT_PATH")) : NULL;
    d->tls = d->verify || d->certificates;
    if (!strncmp(a, "unix://", 7) && a[7] == '/') {
        d->socket = gv_strdup(a + 7);
        d->base = gv_strdup("http://docker"); /* the host is of no meaning there */
        d->tls = false;
        return 0;
    }
    if (!strncmp(a, "tcp://", 6) && a[6]) {
        take_tcp(d, a + 6);
        return 0;
    }
    if ((!strncmp(a, "http://", 7) || !strncmp(a, "https://", 8)) && a[8]) {
        d->tls = a[4] == 's';
        take_tcp(d, strchr(a, '/') + 2);
        return 0;
    }
    if (!strncmp(a, "ssh://", 6))
        return gv_error_set(
            err, GV_E_NOT_FOUND, 0,
            "the Docker daemon at `%.200s` is reached through ssh, which gvmkit does not do; `docker save NAME | gvmkit build -` does it",
            a);
    return gv_error_set(err, GV_E_NOT_FOUND, 0,
                        "`%.200s` is not the address of a Docker daemon that gvmkit can reach; it takes unix:///PATH and tcp://HOST:PORT",
                        a);
}

static char *certificate(const struct daemon *d, const char *name)
{
    cleanup_free char *path = d->certificates ? gv_asprintf("%s/%s", d->certificates, name) : docker_file(name);
    return path && access(path, R_OK) == 0 ? steal_ptr(path) : NULL;
}

static int connect_to(struct daemon *d, const struct source_context *c, struct gv_error *err)
{
    const char *host = variable("DOCKER_HOST");
    d->advise = !c->fallback;
    d->address = host ? gv_strdup(host) : context_address(c->options->log);
    if (!d->address)
        d->address = usual_address();
    if (take_address(d, err) < 0)
        return -1;
    cleanup_free char *ca = d->tls ? certificate(d, "ca.pem") : NULL, *cert = d->tls ? certificate(d, "cert.pem") : NULL,
                      *key = d->tls ? certificate(d, "key.pem") : NULL;
    struct http_options o = { .unix_socket = d->socket,
                              .ca_file = ca,
                              .cert_file = cert,
                              .key_file = key,
                              .insecure = d->tls && d->certificates && !d->verify,
                              .stall_ms = STALL_MS,
                              .attempts = 1,
                              .log = c->options->log };
    return http_client_new(&d->client, &o, err);
}

/* Puts into words that the daemon cannot be reached; always -1. */
static int explain_unreachable(const struct daemon *d, const char *name, struct gv_error *err)
{
    if (!err)
        return -1;
    if (err->sys == EACCES) {
        gv_error_set(err, GV_E_NOT_FOUND, 0, "we may not use the Docker daemon's socket `%s`", d->socket ? d->socket : d->address);
        return !d->advise ? -1
                          : gv_error_hint(err,
                                          "join its group (`sudo usermod -aG docker $USER`, then log in anew), or `sudo docker save %.200s "
                                          "| gvmkit build -`",
                                          name);
    }
    if (err->code != GV_E_IO && err->code != GV_E_TIMEOUT)
        return gv_error_prefix(err, "the Docker daemon");
    struct gv_error why = *err;
    gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no Docker daemon: %s", why.msg);
    return !d->advise
               ? -1
               : gv_error_hint(err, "start it, say where it is with DOCKER_HOST, or take the image from a registry: docker://%.200s", name);
}

/* ---- what it says ---- */

static char *message_of(const struct http_response *r)
{
    cleanup_json json_t *j = json_parse(r->body.data, r->body.len, NULL);
    const char *text = json_string_of(j, "message");
    return gv_strdup(text ? text : "");
}

static int refused(const struct daemon *d, const struct http_response *r, const char *name, struct gv_error *err)
{
    if (r->status == 404) {
        gv_error_set(err, GV_E_NOT_FOUND, 0, "the Docker daemon at `%s` does not have the image `%.200s`", d->address, name);
        return !d->advise ? -1 : gv_error_hint(err, "`docker pull %.200s` fetches it, and `docker images` lists what is there", name);
    }
    cleanup_free char *text = message_of(r);
    return gv_error_set(err, GV_E_IO, 0, "the Docker daemon at `%s` answers with status %ld when asked for the image `%.200s`%s%.300s",
                        d->address, r->status, name, *text ? ": " : "", text);
}

static char *url_of(const struct daemon *d, const char *name, const char *what)
{
    cleanup_buf struct gv_buf b = { 0 };
    gv_buf_addf(&b, "%s/images/", d->base);
    http_escape(&b, name, "/:@");
    gv_buf_addf(&b, "/%s", what);
    return gv_strdup(gv_buf_str(&b));
}

struct look {
    char id[HEX + 1];
    struct platform platform;
    bool chooses; /* the daemon can be told which platform to export */
    char *tag;    /* one of its names, NULL if it has none */
    uint64_t size;
};

/* "sha256:HEX", or HEX as podman has it. */
static int take_id(struct look *l, const json_t *j, struct gv_error *err)
{
    const char *id = json_string_of(j, "Id");
    if (id && !strncmp(id, "sha256:", 7))
        id += 7;
    if (!id || strlen(id) != HEX || strspn(id, "0123456789abcdef") != HEX)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "the Docker daemon does not tell the image's id");
    memcpy(l->id, id, HEX + 1);
    return 0;
}

static void look_clear(struct look *l)
{
    free(l->tag);
    platform_clear(&l->platform);
}

/* Whether the daemon's version of the interface is at least MAJOR.MINOR. */
static bool speaks(const struct http_response *r, unsigned major, unsigned minor)
{
    size_t at = 0;
    const char *version = http_response_header(r, "api-version", &at);
    unsigned have_major, have_minor;
    return version && sscanf(version, "%5u.%5u", &have_major, &have_minor) == 2 &&
           (have_major > major || (have_major == major && have_minor >= minor));
}

static int look_at(struct daemon *d, const char *name, struct look *l, struct gv_error *err)
{
    cleanup_free char *url = url_of(d, name, "json");
    cleanup_response struct http_response response = { 0 };
    struct http_request q = { .url = url };
    if (http_fetch(d->client, &q, INSPECT_MAX, &response, err) < 0)
        return explain_unreachable(d, name, err);
    if (!http_ok(&response))
        return refused(d, &response, name, err);
    cleanup_json json_t *j = json_parse(response.body.data, response.body.len, err);
    if (!j || take_id(l, j, err) < 0)
        return gv_error_prefix(err, "the Docker daemon at `%s`", d->address);
    const json_t *size = json_object_get(j, "Size");
    if (json_is_integer(size) && json_integer_value(size) > 0)
        l->size = (uint64_t)json_integer_value(size);
    const char *os = json_string_of(j, "Os"), *architecture = json_string_of(j, "Architecture"), *variant = json_string_of(j, "Variant");
    l->platform.os = os && *os ? gv_strdup(os) : NULL;
    l->platform.architecture = architecture && *architecture ? gv_strdup(architecture) : NULL;
    l->platform.variant = variant && *variant ? gv_strdup(variant) : NULL;
    l->chooses = speaks(&response, 1, PLATFORM_MINOR);
    const char *tag = json_string_value(json_array_get(json_object_get(j, "RepoTags"), 0));
    cleanup_free char *full = tag ? name_normalise(tag) : NULL;
    if (full)
        l->tag = gv_strdup(tag);
    return 0;
}

/* Whether the user has named the image by its id, or the beginning of it. */
static bool is_id(const struct look *l, const char *name)
{
    if (!strncmp(name, "sha256:", 7))
        name += 7;
    return !strncmp(l->id, name, strlen(name));
}

/* ---- the export ---- */

/* The query that makes the daemon export another platform than its own, "" if none is needed. NULL when there is no such image in it, as
 * far as it can be told. */
static char *platform_query(const struct look *l, const struct platform *want, struct gv_error *err)
{
    if (platform_fits(want, &l->platform))
        return gv_strdup("");
    cleanup_free char *wanted = platform_format(want), *have = platform_format(&l->platform);
    if (!l->chooses) {
        gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image for %s in it; there are images for: %s", wanted, have);
        return NULL;
    }
    cleanup_json json_t *j = json_pack("{s:s*, s:s*, s:s*}", "os", want->os, "architecture", want->architecture, "variant", want->variant);
    cleanup_free char *text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    cleanup_buf struct gv_buf b = { 0 };
    gv_buf_addf(&b, "?platform=");
    http_escape(&b, text ? text : "", "");
    return gv_strdup(gv_buf_str(&b));
}

struct exporting {
    const struct gv_progress *progress;
    uint64_t size; /* about */
};

static void on_progress(void *user, uint64_t have)
{
    const struct exporting *e = user;
    gv_progress_update(e->progress, "exporting from the daemon", have, e->size > have ? e->size : have);
}

static int export_image(struct daemon *d, const char *name, const struct look *l, const struct source_context *c, int fd,
                        struct gv_error *err)
{
    /* An archive of an image that was asked for by its id would not tell its names. */
    const char *as = l->tag && is_id(l, name) ? l->tag : name;
    cleanup_free char *query = platform_query(l, c->platform, err);
    if (!query)
        return gv_error_prefix(err, "`%.200s`", name);
    cleanup_free char *path = url_of(d, as, "get"), *url = gv_asprintf("%s%s", path, query);
    cleanup_response struct http_response response = { 0 };
    struct exporting e = { .progress = c->options->progress, .size = l->size };
    struct http_request q = { .url = url };
    struct http_file file = { .fd = fd, .size = HTTP_SIZE_UNKNOWN, .max = c->budget->max_bytes, .progress = on_progress, .user = &e };
    on_progress(&e, 0); /* the daemon may take its time before anything comes */
    if (http_download(d->client, &q, &file, &response, err) < 0)
        return gv_error_prefix(err, "exporting `%.200s` from the Docker daemon", name);
    return http_ok(&response) ? 0 : refused(d, &response, name, err);
}

int daemon_open(struct archive **out, const char *name, const struct source_context *c, struct gv_error *err)
{
    __attribute__((cleanup(daemon_clear))) struct daemon d = { 0 };
    __attribute__((cleanup(look_clear))) struct look l = { 0 };
    if (connect_to(&d, c, err) < 0 || look_at(&d, name, &l, err) < 0)
        return -1;
    cleanup_close int fd = gv_scratch_file(err);
    if (fd < 0 || export_image(&d, name, &l, c, fd, err) < 0)
        return -1;
    if (archive_open_fd(out, steal_fd(&fd), c->budget, c->threads, err) < 0)
        return gv_error_prefix(err, "`%.200s`, as the Docker daemon exports it", name);
    return 0;
}

int daemon_image_id(char **out, const char *name, const struct source_context *c, struct gv_error *err)
{
    __attribute__((cleanup(daemon_clear))) struct daemon d = { 0 };
    __attribute__((cleanup(look_clear))) struct look l = { 0 };
    if (connect_to(&d, c, err) < 0 || look_at(&d, name, &l, err) < 0)
        return -1;
    *out = gv_strdup(l.id);
    return 0;
}
