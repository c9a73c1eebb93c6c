/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The pages for people (page.h has what they look like). They read images, so that they are made in threads of their own, few of them: whoever asks for
 * many pages waits, and uploads do not.
 */
#include <inttypes.h>
#include <string.h>

#include "serve/catalog.h"
#include "serve/server.h"
#include "sign/sign.h"

#define QUERY_MAX 200U
#define SIDES_MAX 50U /* tags of an image, and images that it is compared with */
#define MAP_MAX ((uint64_t)64 << 20)

/* ---- answers ---- */

static void answer_page(struct request *r, unsigned status, struct gv_buf *body)
{
    answer_bytes(r, status, PAGE_TYPE, body);
    answer_header(r, "Content-Security-Policy", PAGE_POLICY);
    answer_header(r, "Referrer-Policy", "no-referrer");
    answer_header(r, "Cache-Control", "no-cache");
}

/* What all pages say of this registry; the URL is in *url. */
static struct page_site site_of(struct request *r, struct gv_buf *url)
{
    request_base_url(r, true, url);
    return (struct page_site){ .name = "gvmkit registry", .url = gv_buf_str(url) };
}

static void answer_no_page(struct request *r, unsigned status, const char *text)
{
    cleanup_buf struct gv_buf url = { 0 };
    struct gv_buf body = { 0 };
    const struct page_site site = site_of(r, &url);
    page_error(&body, &site, status, text);
    answer_page(r, status, &body);
}

static void answer_failure(struct request *r, const struct gv_error *err)
{
    if (err->code == GV_E_NOT_FOUND || err->code == GV_E_USAGE) {
        answer_no_page(r, err->code == GV_E_USAGE ? 400 : 404, err->msg);
        return;
    }
    gv_warn(r->server->log, "%s", err->msg);
    answer_no_page(r, 500, "the registry could not do that, and has told its owner why");
}

static uint64_t start_of(struct request *r)
{
    const char *text = request_argument(r, "start");
    uint64_t start = 0;
    return text && form_number(text, UINT32_MAX, &start) ? start : 0;
}

static void redirect(struct request *r, const char *to)
{
    answer_text(r, 303, "%s", to);
    answer_header(r, "Location", to);
}

/* ---- tags ---- */

void route_search(struct request *r)
{
    const char *query = request_argument(r, "q");
    cleanup_catalog struct catalog found = { 0 };
    cleanup_buf struct gv_buf url = { 0 };
    struct gv_buf body = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    unsigned char digest[GV_SHA3_224_SIZE];
    if (query && gv_unhex(digest, sizeof(digest), query) == 0) {
        cleanup_free char *to = gv_asprintf("/i/%s", query);
        redirect(r, to);
        return;
    }
    if (query && strlen(query) > QUERY_MAX) {
        answer_no_page(r, 400, "that is too long to search for");
        return;
    }
    struct db *db = request_db(r);
    if (!db)
        return;
    uint64_t start = start_of(r);
    int status = catalog_search(db, query ? query : "", start, PAGE_ENTRIES_MAX + 1, &found, &err);
    db_give(r->server->dbs, db);
    if (status < 0) {
        answer_failure(r, &err);
        return;
    }
    const struct page_site site = site_of(r, &url);
    bool more = found.count > PAGE_ENTRIES_MAX;
    page_search(&body, &site, query, found.tags, more ? PAGE_ENTRIES_MAX : found.count, start, more);
    answer_page(r, 200, &body);
}

void route_repository(struct request *r)
{
    cleanup_catalog struct catalog found = { 0 };
    cleanup_buf struct gv_buf url = { 0 };
    struct gv_buf body = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    struct reference ref;
    if (reference_parse_repo(r->rest, &ref, &err) < 0) {
        answer_no_page(r, 404, "a repository has a name like USER/REPO");
        return;
    }
    struct db *db = request_db(r);
    if (!db)
        return;
    int status = catalog_repository(db, ref.user, ref.repo, PAGE_ENTRIES_MAX, &found, &err);
    db_give(r->server->dbs, db);
    if (status < 0) {
        answer_failure(r, &err);
    } else if (status == 0) {
        answer_no_page(r, 404, "there is no such repository");
    } else {
        const struct page_site site = site_of(r, &url);
        page_repository(&body, &site, ref.user, ref.repo, found.tags, found.count);
        answer_page(r, 200, &body);
    }
}

/* ---- images ---- */

/* An image of the registry, open. */
struct shown {
    struct image_row row;
    char hash[GV_SHA3_224_HEX];
    int fd;
    struct gvmi_image *file;
    struct catalog tags;
};

static void shown_clear(struct shown *s)
{
    if (s->file)
        gvmi_close(s->file);
    if (s->fd >= 0)
        close(s->fd);
    catalog_clear(&s->tags);
}
#define cleanup_shown __attribute__((cleanup(shown_clear)))
#define SHOWN_INIT                                                                                                                         \
    {                                                                                                                                      \
        .fd = -1                                                                                                                           \
    }

static int look_up(struct request *r, const char *hash, struct shown *s, struct gv_error *err)
{
    unsigned char digest[GV_SHA3_224_SIZE];
    if (gv_unhex(digest, sizeof(digest), hash) < 0)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "the hash of an image has 56 hex digits");
    struct db *db = db_take(r->server->dbs, err);
    if (!db)
        return -1;
    int found = model_image_by_hash(db, digest, &s->row, err);
    if (found > 0 && catalog_of_image(db, s->row.id, SIDES_MAX, &s->tags, err) < 0)
        found = -1;
    db_give(r->server->dbs, db);
    if (found == 0)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image with that hash");
    return found < 0 ? -1 : 0;
}

static int show(struct request *r, const char *hash, struct shown *s, struct gv_error *err)
{
    if (look_up(r, hash, s, err) < 0)
        return -1;
    gv_hex(s->hash, s->row.hash, sizeof(s->row.hash));
    s->fd = disk_open_file(&r->server->disk, s->row.hash, DISK_IMAGE, err);
    if (s->fd < 0 && err->code == GV_E_NOT_FOUND) {
        gv_warn(r->server->log, "%s", err->msg); /* where it was looked for is nobody else's business */
        gv_error_set(err, GV_E_NOT_FOUND, 0, "the image is not here any more");
    }
    return s->fd < 0 ? -1 : gvmi_open_fd(&s->file, s->fd, s->hash, err);
}

static int show_image(struct request *r, struct shown *s, struct gv_error *err)
{
    cleanup_catalog struct catalog others = { 0 };
    cleanup_buf struct gv_buf base = { 0 }, url = { 0 }, signature = { 0 };
    struct gv_buf body = { 0 };
    char id[2 * GV_SHA256_SIZE + 1];
    struct db *db = db_take(r->server->dbs, err);
    int status = db ? catalog_beside_image(db, s->row.id, SIDES_MAX, &others, err) : -1;
    if (db)
        db_give(r->server->dbs, db);
    if (status < 0)
        return -1;
    const struct page_site site = site_of(r, &base);
    gv_hex(id, s->row.descriptor, sizeof(s->row.descriptor));
    gv_buf_addf(&url, "%s/download/%s", site.url, id);
    struct sign_claim claim = { .name = "" };
    char key[SIGN_ID_TEXT];
    bool is_signed = disk_read_signature(&r->server->disk, s->row.hash, &signature, NULL) == 0 &&
                     sign_peek(&claim, key, signature.data, signature.len, NULL) == 0;
    struct page_image i = { .url = gv_buf_str(&url),
                            .size = s->row.size,
                            .created = s->row.created,
                            .expires = s->row.untagged < 0 ? 0 : s->row.untagged + (int64_t)(r->server->options->anonymous_expiry / 1000),
                            .has_chunks = s->row.chunks == CHUNKS_READY,
                            .tags = s->tags.tags,
                            .tag_count = s->tags.count,
                            .others = others.tags,
                            .other_count = others.count,
                            .file = s->file,
                            .signed_by = is_signed ? key : NULL,
                            .signed_name = claim.name };
    memcpy(i.hash, s->hash, sizeof(i.hash));
    page_image(&body, &site, &i);
    answer_page(r, 200, &body);
    return 0;
}

static int show_files(struct request *r, struct shown *s, const char *path, struct gv_error *err)
{
    cleanup_buf struct gv_buf base = { 0 };
    struct gv_buf body = { 0 };
    const struct page_site site = site_of(r, &base);
    if (page_files(&body, &site, s->file, s->hash, path, start_of(r), err) < 0) {
        gv_buf_clear(&body);
        return -1;
    }
    answer_page(r, 200, &body);
    return 0;
}

void route_image(struct request *r)
{
    cleanup_shown struct shown s = SHOWN_INIT;
    struct gv_error err = GV_ERROR_INIT;
    size_t n = strcspn(r->rest, "/");
    cleanup_free char *hash = gv_strndup(r->rest, n);
    static const char files[] = "/files/";
    bool in_it = strncmp(r->rest + n, files, strlen(files)) == 0;
    int status = r->rest[n] && !in_it ? gv_error_set(&err, GV_E_NOT_FOUND, 0, "there is no such page") : show(r, hash, &s, &err);
    if (status == 0)
        status = in_it ? show_files(r, &s, r->rest + n + strlen(files), &err) : show_image(r, &s, &err);
    if (status < 0)
        answer_failure(r, &err);
}

/* ---- two of them ---- */

static int read_map(struct request *r, const struct shown *s, struct gvmi_chunk_map *map)
{
    struct gv_error err = GV_ERROR_INIT;
    cleanup_buf struct gv_buf data = { 0 };
    cleanup_close int fd = s->row.chunks == CHUNKS_READY ? disk_open_file(&r->server->disk, s->row.hash, DISK_CHUNKS, &err) : -1;
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (size < 0 || (uint64_t)size > MAP_MAX)
        return -1;
    gv_buf_reserve(&data, (size_t)size);
    if (gv_pread_full(fd, data.data, (size_t)size, 0) != (ssize_t)size)
        return -1;
    return gvmi_chunks_parse(data.data, (size_t)size, map, &err);
}

static uint64_t new_bytes(struct request *r, const struct shown *from, const struct shown *to)
{
    cleanup_chunk_map struct gvmi_chunk_map have = { 0 }, wanted = { 0 };
    if (read_map(r, from, &have) < 0 || read_map(r, to, &wanted) < 0)
        return UINT64_MAX;
    return gvmi_chunks_new_bytes(&have, &wanted, NULL);
}

static char *name_of(const struct shown *s)
{
    const struct page_tag *t = s->tags.count ? s->tags.tags : NULL;
    return t ? gv_asprintf("%s/%s:%s", t->user, t->repo, t->tag) : NULL;
}

static int compare(struct request *r, const struct shown *from, const struct shown *to, struct gv_error *err)
{
    cleanup_buf struct gv_buf base = { 0 };
    cleanup_free char *from_name = name_of(from), *to_name = name_of(to);
    struct gv_buf body = { 0 };
    const struct page_site site = site_of(r, &base);
    struct page_side a = { .name = from_name, .size = from->row.size, .file = from->file };
    struct page_side b = { .name = to_name, .size = to->row.size, .file = to->file };
    memcpy(a.hash, from->hash, sizeof(a.hash));
    memcpy(b.hash, to->hash, sizeof(b.hash));
    if (page_compare(&body, &site, &a, &b, new_bytes(r, from, to), err) < 0) {
        gv_buf_clear(&body);
        return -1;
    }
    answer_page(r, 200, &body);
    return 0;
}

void route_compare(struct request *r)
{
    cleanup_shown struct shown from = SHOWN_INIT, to = SHOWN_INIT;
    struct gv_error err = GV_ERROR_INIT;
    const char *a = request_argument(r, "from"), *b = request_argument(r, "to");
    int status = a && b ? 0 : gv_error_set(&err, GV_E_USAGE, 0, "say which two images: ?from=HASH&to=HASH");
    if (status == 0)
        status = show(r, a, &from, &err) < 0 || show(r, b, &to, &err) < 0 || compare(r, &from, &to, &err) < 0 ? -1 : 0;
    if (status < 0)
        answer_failure(r, &err);
}

/* ---- style and script ---- */

void route_asset(struct request *r)
{
    size_t size = 0;
    const char *type, *etag, *known = request_header(r, "If-None-Match");
    const void *bytes = page_asset(r->rest, &size, &type, &etag);
    struct gv_buf body = { 0 };
    if (!bytes) {
        answer_text(r, 404, "there is no such file");
        return;
    }
    bool same = known && strcmp(known, etag) == 0;
    if (!same)
        gv_buf_add(&body, bytes, size);
    answer_bytes(r, same ? 304 : 200, type, &body);
    answer_header(r, "ETag", etag);
    answer_header(r, "Cache-Control", "public, max-age=600");
    answer_header(r, "Content-Security-Policy", PAGE_POLICY);
}
