/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fake_registry.h"

#include <stdio.h>

struct doc *fake_find(struct fake *f, const char *reference)
{
    for (size_t i = 0; i < f->count; i++)
        if (!strcmp(f->docs[i].digest, reference) || !strcmp(f->docs[i].tag, reference))
            return &f->docs[i];
    return NULL;
}

const struct doc *fake_get(struct fake *f, const char *tag)
{
    const struct doc *d = fake_find(f, tag);
    if (!d)
        abort();
    return d;
}

/* ---- the registry ---- */

static bool has_login(struct call *c)
{
    const char *a = call_header(c, "Authorization");
    return a && !strcmp(a, "Basic dXNlcjpwOnc="); /* user:p:w */
}

static void answer_token(struct fake *f, struct call *c)
{
    bool ok = f->login == TOKEN;
    if (f->login == TOKEN_FOR_LOGIN)
        ok = has_login(c) && strstr(c->path, "account=user");
    if (f->login == TOKEN_FOR_IDENTITY)
        ok = !strcmp(c->method, "POST") && strstr(c->body, "grant_type=refresh_token") && strstr(c->body, "refresh_token=ident%2Fity") &&
             strstr(c->body, "service=fake") && strstr(c->body, "scope=repository%3Ateam%2Fapp%3Apull") &&
             strstr(c->body, "client_id=gvmkit");
    else
        ok = ok && strstr(c->path, "service=fake") && strstr(c->path, "scope=repository%3Ateam%2Fapp%3Apull");
    if (!ok) {
        call_text(c, 401, NULL, "{\"details\":\"incorrect username or password\"}");
        return;
    }
    char text[128];
    snprintf(text, sizeof(text), "{\"%s\":\"token-%u\",\"expires_in\":300}", f->login == TOKEN_FOR_IDENTITY ? "access_token" : "token",
             atomic_fetch_add(&f->tokens, 1) + 1);
    call_text(c, 200, "Content-Type: application/json\r\n", f->token_body ? f->token_body : text);
}

static bool is_let_in(struct fake *f, struct call *c)
{
    if (f->login == OPEN)
        return true;
    char realm[256], header[512];
    if (f->login == BASIC) {
        if (has_login(c))
            return true;
        snprintf(header, sizeof(header), "Www-Authenticate: Basic realm=\"fake\"\r\n");
    } else {
        const char *a = call_header(c, "Authorization");
        unsigned n = 0;
        bool known = a && sscanf(a, "Bearer token-%u", &n) == 1 && n == atomic_load(&f->tokens);
        if (known && (!f->token_uses || atomic_fetch_add(&f->used, 1) % (f->token_uses + 1) < f->token_uses))
            return true;
        snprintf(realm, sizeof(realm), "http://127.0.0.1:%u/token", server_port(f->server));
        snprintf(header, sizeof(header), "Www-Authenticate: Bearer realm=\"%s\",service=\"fake\",scope=\"repository:team/app:pull\"\r\n",
                 f->realm ? f->realm : realm);
    }
    call_text(c, 401, header, "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\"}]}");
    return false;
}

static void answer_manifest(struct fake *f, struct call *c, const char *reference)
{
    const struct doc *d = fake_find(f, reference);
    const char *accept = call_header(c, "Accept");
    if (!d || !accept || !strstr(accept, OCI_INDEX)) {
        call_text(c, 404, NULL, "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\"}]}");
        return;
    }
    if (!strcmp(c->method, "HEAD"))
        atomic_fetch_add(&f->heads, 1);
    char headers[512] = "";
    if (!f->no_digest_header)
        snprintf(headers, sizeof(headers), "Docker-Content-Digest: %s\r\n", f->digest_header ? f->digest_header : d->digest);
    snprintf(headers + strlen(headers), sizeof(headers) - strlen(headers), "Content-Type: %s\r\n",
             f->type_header ? f->type_header : d->type);
    bool lie = f->lie && !strcmp(f->lie, d->digest);
    call_reply(c, 200, headers, lie ? (const void *)"{}" : d->data.data, lie ? 2 : d->data.len);
}

static void answer_blob(struct fake *f, struct call *c, const char *digest, bool here)
{
    const struct doc *d = fake_find(f, digest);
    if (!d) {
        call_text(c, 404, NULL, "{\"errors\":[{\"code\":\"BLOB_UNKNOWN\",\"message\":\"blob unknown to registry\"}]}");
        return;
    }
    if (f->redirect && here) {
        char line[256];
        snprintf(line, sizeof(line), "Location: http://127.0.0.1:%u/v2/team/app/blobs/%s\r\n", server_port(f->elsewhere), digest);
        call_text(c, 307, line, "");
        return;
    }
    atomic_fetch_add(&f->blobs, 1);
    if (call_header(c, "Range"))
        atomic_fetch_add(&f->ranged, 1);
    unsigned running = atomic_fetch_add(&f->running, 1) + 1, most = atomic_load(&f->most);
    while (running > most && !atomic_compare_exchange_weak(&f->most, &most, running))
        ;
    if (f->slow_ms)
        sleep_ms(f->slow_ms);
    cleanup_buf struct gv_buf other = { 0 };
    gv_buf_add(&other, d->data.data, d->data.len);
    if (f->lie && !strcmp(f->lie, digest))
        other.data[other.len / 2] ^= 1;
    const char *range = call_header(c, "Range");
    size_t first = range ? strtoul(range + strlen("bytes="), NULL, 10) : 0;
    if (f->cut && d->data.len > 2 * f->cut && atomic_load(&f->cuts) > 0) {
        atomic_fetch_sub(&f->cuts, 1);
        call_print(c, "HTTP/1.1 %d Status\r\nContent-Length: %zu\r\n", range ? 206 : 200, d->data.len - first);
        if (range)
            call_print(c, "Content-Range: bytes %zu-%zu/%zu\r\n", first, d->data.len - 1, d->data.len);
        call_print(c, "\r\n");
        call_raw(c, other.data + first, f->cut);
        c->hang_up = true;
    } else {
        call_file(c, NULL, other.data, other.len);
    }
    atomic_fetch_sub(&f->running, 1);
}

static void answer(void *user, struct call *c)
{
    struct fake *f = user;
    static const char manifests[] = "/v2/team/app/manifests/", blobs[] = "/v2/team/app/blobs/";
    if (!strncmp(c->path, "/token", 6)) {
        answer_token(f, c);
    } else if (!strcmp(c->path, "/v2/") || is_let_in(f, c)) {
        if (!strcmp(c->path, "/v2/"))
            call_text(c, 200, NULL, "{}");
        else if (f->status)
            call_text(c, f->status, f->status == 429 ? "Retry-After: 1000\r\n" : NULL,
                      "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"slow down\"}]}");
        else if (!strncmp(c->path, manifests, strlen(manifests)))
            answer_manifest(f, c, c->path + strlen(manifests));
        else if (!strncmp(c->path, blobs, strlen(blobs)))
            answer_blob(f, c, c->path + strlen(blobs), true);
        else
            call_text(c, 404, NULL, "{}");
    }
}

/* Another host, with the same blobs, that nobody has to know anything secret. */
static void answer_elsewhere(void *user, struct call *c)
{
    struct fake *f = user;
    if (call_header(c, "Authorization"))
        atomic_fetch_add(&f->leaks, 1);
    answer_blob(f, c, strrchr(c->path, '/') + 1, false);
}

/* ---- its image ---- */

struct doc *fake_add(struct fake *f, const char *type, const void *p, size_t n, const char *tag)
{
    assert_true(f->count < DOCS_MAX);
    struct doc *d = &f->docs[f->count++];
    unsigned char hash[GV_HASH_MAX];
    char hex[65];
    gv_hash_bytes(GV_HASH_SHA256, p, n, hash);
    gv_hex(hex, hash, 32);
    snprintf(d->digest, sizeof(d->digest), "sha256:%s", hex);
    snprintf(d->tag, sizeof(d->tag), "%s", tag ? tag : "-");
    d->type = type;
    gv_buf_clear(&d->data);
    gv_buf_add(&d->data, p, n);
    return d;
}

struct doc *fake_add_image(struct fake *f, const char *architecture, const char *type, const char *layer_type, const char *tag)
{
    struct gv_buf config = { 0 }, manifest = { 0 }, layers = { 0 };
    gv_buf_addf(
        &config,
        "{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"/bin/sh\"]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[",
        architecture);
    for (int i = 0; i < LAYERS; i++) {
        struct tarb t = { 0 };
        char text[64], hex[65];
        snprintf(text, sizeof(text), "f %d layer-%d", i, i);
        tarb_text(&t, text);
        if (i == 2) {
            char *big = gv_alloc(1 << 20);
            uint32_t x = 1; /* bytes that do not compress */
            for (unsigned k = 0; k < 1 << 20; k++) {
                x ^= x << 13;
                x ^= x >> 17;
                x ^= x << 5;
                big[k] = (char)x;
            }
            tarb_add(&t, &(struct tarb_member){ .name = "big", .data = big, .size = 1 << 20 });
            free(big);
        }
        tarb_end(&t);
        unsigned char hash[GV_HASH_MAX];
        gv_hash_bytes(GV_HASH_SHA256, t.out.data, t.out.len, hash);
        gv_hex(hex, hash, 32);
        gv_buf_addf(&config, "%s\"sha256:%s\"", i ? "," : "", hex);
        struct gv_buf packed = { 0 };
        gzip_into(&packed, t.out.data, t.out.len);
        const struct doc *d = fake_add(f, layer_type, packed.data, packed.len, NULL);
        gv_buf_addf(&layers, "%s{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}", i ? "," : "", layer_type, d->digest, d->data.len);
        gv_buf_clear(&packed);
        tarb_clear(&t);
    }
    gv_buf_addf(&config, "]}}");
    bool oci = !strcmp(type, OCI_MANIFEST);
    const char *config_type = oci ? "application/vnd.oci.image.config.v1+json" : "application/vnd.docker.container.image.v1+json";
    const struct doc *c = fake_add(f, config_type, config.data, config.len, NULL);
    gv_buf_addf(
        &manifest,
        "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[%s]}", type,
        config_type, c->digest, c->data.len, gv_buf_str(&layers));
    struct doc *m = fake_add(f, type, manifest.data, manifest.len, tag);
    gv_buf_clear(&config);
    gv_buf_clear(&manifest);
    gv_buf_clear(&layers);
    return m;
}

void fake_start(struct fake *f)
{
    f->server = server_start(answer, f);
    f->elsewhere = server_start(answer_elsewhere, f);
}

void fake_stop(struct fake *f)
{
    server_stop(f->server);
    server_stop(f->elsewhere);
    for (size_t i = 0; i < DOCS_MAX; i++)
        gv_buf_clear(&f->docs[i].data);
}

struct server *fake_start_tls(struct fake *f, const char *ca_path)
{
    return server_start_tls(ca_path, answer, f);
}
