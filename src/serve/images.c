/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Requests about images: info (F), the redirect to the file (H), the file itself and its chunk map (G). */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "serve/range.h"
#include "serve/server.h"
#include "sign/sign.h"

#define IMAGE_TYPE "application/octet-stream"
#define PIECE ((size_t)64 << 10)

/* ---- finding ---- */

/* By ?tag= or ?hash=. 1, or 0 or -1 with the request answered. */
static int find_in(struct request *r, struct db *db, struct image_row *image)
{
    struct gv_error err = GV_ERROR_INIT;
    const char *tag = request_argument(r, "tag"), *hash = request_argument(r, "hash");
    unsigned char digest[GV_SHA3_224_SIZE];
    struct reference ref;
    int found;
    if (tag) {
        if (reference_parse(tag, &ref, &err) < 0)
            return answer_error(r, &err), -1;
        found = model_image_by_tag(db, &ref, image, &err);
        if (found == 0)
            answer_text(r, 404, "there is no image %s/%s:%s", ref.user, ref.repo, ref.tag);
    } else if (hash) {
        if (gv_unhex(digest, sizeof(digest), hash) < 0)
            return answer_text(r, 400, "the hash of an image has 56 hex digits"), -1;
        found = model_image_by_hash(db, digest, image, &err);
        if (found == 0)
            answer_text(r, 404, "there is no image with that hash");
    } else {
        return answer_text(r, 400, "say which image: ?tag=USER/REPO:TAG or ?hash=HEX"), -1;
    }
    if (found < 0)
        answer_error(r, &err);
    return found;
}

static bool find_asked(struct request *r, struct image_row *image)
{
    struct db *db = request_db(r);
    if (!db)
        return false;
    int found = find_in(r, db, image);
    db_give(r->server->dbs, db);
    return found > 0;
}

static void image_url(struct request *r, const struct image_row *image, bool https, struct gv_buf *out)
{
    char id[2 * GV_SHA256_SIZE + 1];
    gv_hex(id, image->descriptor, sizeof(image->descriptor));
    request_base_url(r, https, out);
    gv_buf_addf(out, "/download/%s", id);
}

/* ---- F and H ---- */

static void answer_info(struct request *r, const struct image_row *image)
{
    cleanup_buf struct gv_buf http = { 0 }, https = { 0 };
    struct gv_buf body = { 0 };
    char sha3[GV_SHA3_224_HEX], id[2 * GV_SHA256_SIZE + 1];
    gv_hex(sha3, image->hash, sizeof(image->hash));
    gv_hex(id, image->descriptor, sizeof(image->descriptor));
    image_url(r, image, false, &http);
    image_url(r, image, true, &https);
    json_t *o = json_pack("{ss%ss%sssIsssI}", "http", (char *)http.data, http.len, "https", (char *)https.data, https.len, "sha3", sha3,
                          "size", (json_int_t)image->size, "descriptor", id, "created", (json_int_t)image->created);
    if (!o) {
        answer_text(r, 500, "the registry could not write its answer");
        return;
    }
    if (image->untagged >= 0)
        json_object_set_new(o, "expires", json_integer(image->untagged + (json_int_t)(r->server->options->anonymous_expiry / 1000)));
    if (image->chunks == CHUNKS_READY) {
        gv_buf_addf(&http, ".chunks");
        json_object_set_new(o, "chunks", json_stringn((char *)http.data, http.len));
    }
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (text)
        gv_buf_add(&body, text, strlen(text));
    free(text);
    answer_bytes(r, 200, "application/json", &body);
    answer_header(r, "Cache-Control", "no-cache");
}

void route_info(struct request *r)
{
    struct image_row image;
    if (!find_asked(r, &image))
        return;
    const char *count = request_argument(r, "count");
    if (count && strcmp(count, "true") == 0 && !r->head)
        usage_note(r->server->usage, image.id, false);
    answer_info(r, &image);
}

void route_redirect(struct request *r)
{
    cleanup_buf struct gv_buf url = { 0 };
    struct image_row image;
    if (!find_asked(r, &image))
        return;
    const char *https = request_argument(r, "https");
    image_url(r, &image, https && strcmp(https, "true") == 0, &url);
    answer_text(r, 302, "%s", gv_buf_str(&url));
    answer_header(r, "Location", gv_buf_str(&url));
    answer_header(r, "Cache-Control", "no-cache");
}

/* ---- several ranges in one answer ---- */

struct parts {
    int fd;
    int count;
    struct part {
        char head[160];
        size_t head_length;
        struct range range;
    } parts[RANGES_MAX];
    char tail[48];
    size_t tail_length;
    /* Where the library has read up to: parts are read from front to back. */
    int at;
    uint64_t base; /* position of part `at` in the body */
};

static void parts_free(void *cls)
{
    struct parts *p = cls;
    close(p->fd);
    free(p);
}

static ssize_t parts_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct parts *p = cls;
    while (p->at < p->count) {
        const struct part *part = &p->parts[p->at];
        uint64_t in = pos - p->base, size = part->head_length + part->range.length;
        if (in >= size) {
            p->base += size;
            p->at++;
            continue;
        }
        if (in < part->head_length) {
            size_t n = part->head_length - (size_t)in < max ? part->head_length - (size_t)in : max;
            memcpy(buf, part->head + in, n);
            return (ssize_t)n;
        }
        uint64_t done = in - part->head_length, left = part->range.length - done;
        ssize_t n = gv_pread_full(p->fd, buf, left < max ? (size_t)left : max, part->range.start + done);
        return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR;
    }
    uint64_t in = pos - p->base;
    if (in >= p->tail_length)
        return MHD_CONTENT_READER_END_OF_STREAM;
    size_t n = p->tail_length - (size_t)in < max ? p->tail_length - (size_t)in : max;
    memcpy(buf, p->tail + in, n);
    return (ssize_t)n;
}

static void answer_parts(struct request *r, int fd, uint64_t size, const struct range *ranges, int count, const char *etag)
{
    char type[96], boundary[24];
    struct parts *p = gv_new(struct parts);
    uint64_t total = 0;
    /* Of the file's own hash: nothing in the file was made to hold it. */
    snprintf(boundary, sizeof(boundary), "gvmkit%.16s", etag + 1);
    p->fd = fd;
    p->count = count;
    for (int i = 0; i < count; i++) {
        struct part *part = &p->parts[i];
        part->range = ranges[i];
        part->head_length =
            (size_t)snprintf(part->head, sizeof(part->head),
                             "\r\n--%s\r\nContent-Type: " IMAGE_TYPE "\r\nContent-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n\r\n",
                             boundary, ranges[i].start, ranges[i].start + ranges[i].length - 1, size);
        total += part->head_length + ranges[i].length;
    }
    p->tail_length = (size_t)snprintf(p->tail, sizeof(p->tail), "\r\n--%s--\r\n", boundary);
    total += p->tail_length;
    struct MHD_Response *response = r->server->mhd->create_response_from_callback(total, PIECE, parts_read, p, parts_free);
    if (!response)
        parts_free(p);
    answer_response(r, 206, response, total);
    snprintf(type, sizeof(type), "multipart/byteranges; boundary=%s", boundary);
    answer_header(r, "Content-Type", type);
}

/* ---- G ---- */

static void answer_part(struct request *r, unsigned status, int fd, uint64_t start, uint64_t length)
{
    struct MHD_Response *response = r->server->mhd->create_response_from_fd_at_offset64(length, fd, start);
    if (!response)
        close(fd);
    answer_response(r, status, response, length);
    answer_header(r, "Content-Type", IMAGE_TYPE);
}

/* Takes over fd. */
static void answer_file(struct request *r, int fd, uint64_t size, const char *etag, int64_t modified, const char *cache)
{
    struct conditions c = {
        .if_match = request_header(r, "If-Match"),
        .if_none_match = request_header(r, "If-None-Match"),
        .if_modified_since = request_header(r, "If-Modified-Since"),
        .if_unmodified_since = request_header(r, "If-Unmodified-Since"),
        .if_range = request_header(r, "If-Range"),
    };
    struct range ranges[RANGES_MAX];
    char date[HTTP_DATE_SIZE], text[80];
    const char *header = request_header(r, "Range");
    int status = conditions_check(&c, etag, modified), count = 0;
    if (status == 200 && header && !r->head && conditions_range(&c, etag, modified))
        count = ranges_parse(header, size, ranges);
    if (status != 200) {
        close(fd);
        answer_response(r, (unsigned)status, r->server->mhd->create_response_from_buffer(0, (char[]){ "" }, MHD_RESPMEM_MUST_COPY), 0);
    } else if (count < 0) {
        close(fd);
        answer_text(r, 416, "there are %" PRIu64 " bytes, and none of those that were asked for is among them", size);
        snprintf(text, sizeof(text), "bytes */%" PRIu64, size);
        answer_header(r, "Content-Range", text);
    } else if (count == 1) {
        answer_part(r, 206, fd, ranges[0].start, ranges[0].length);
        snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, ranges[0].start, ranges[0].start + ranges[0].length - 1,
                 size);
        answer_header(r, "Content-Range", text);
    } else if (count > 1) {
        answer_parts(r, fd, size, ranges, count, etag);
    } else {
        answer_part(r, 200, fd, 0, size);
    }
    http_date_format(date, modified);
    answer_header(r, "ETag", etag);
    answer_header(r, "Last-Modified", date);
    answer_header(r, "Accept-Ranges", "bytes");
    answer_header(r, "Cache-Control", cache);
}

/* Takes the suffix off the copy of a name; whether it was there. */
static bool cut_suffix(char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    if (n < m || strcmp(name + n - m, suffix) != 0)
        return false;
    name[n - m] = '\0';
    return true;
}

/* ID or HASH.gvmi, either with .chunks behind it for the chunk map, or .minisig for the signature. */
static int find_named(struct request *r, struct db *db, struct image_row *image, enum disk_file *kind, struct gv_error *err)
{
    char name[2 * GV_SHA256_SIZE + 32];
    unsigned char id[GV_SHA256_SIZE];
    if (strlen(r->rest) >= sizeof(name))
        return 0;
    strcpy(name, r->rest);
    *kind = cut_suffix(name, ".chunks") ? DISK_CHUNKS : cut_suffix(name, SIGN_SUFFIX) ? DISK_SIGNATURE : DISK_IMAGE;
    if (cut_suffix(name, ".gvmi"))
        return gv_unhex(id, GV_SHA3_224_SIZE, name) == 0 ? model_image_by_hash(db, id, image, err) : 0;
    return gv_unhex(id, GV_SHA256_SIZE, name) == 0 ? model_image_by_descriptor(db, id, image, err) : 0;
}

static int open_named(struct request *r, struct image_row *image, enum disk_file *kind, struct gv_error *err)
{
    struct db *db = db_take(r->server->dbs, err);
    if (!db)
        return -1;
    int found = find_named(r, db, image, kind, err);
    db_give(r->server->dbs, db);
    if (found < 0)
        return -1;
    if (found == 0 || (*kind == DISK_CHUNKS && image->chunks != CHUNKS_READY))
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no such image%s",
                            found && image->chunks == CHUNKS_PENDING ? " yet: its chunk map is being made" : "");
    int fd = disk_open_file(&r->server->disk, image->hash, *kind, err);
    if (fd < 0 && err->code == GV_E_NOT_FOUND && *kind == DISK_SIGNATURE)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "the image has no signature here");
    if (fd < 0 && err->code == GV_E_NOT_FOUND) {
        /* It may have been collected between the two questions; otherwise somebody has taken it from below us. */
        gv_warn(r->server->log, "%s", err->msg);
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "the image is not here any more");
    }
    return fd;
}

void route_download(struct request *r)
{
    struct gv_error err = GV_ERROR_INIT;
    struct image_row image;
    enum disk_file kind = DISK_IMAGE;
    struct stat st;
    char sha3[GV_SHA3_224_HEX], etag[GV_SHA3_224_HEX + 64];
    int fd = open_named(r, &image, &kind, &err);
    if (fd < 0) {
        answer_error(r, &err);
        return;
    }
    if (fstat(fd, &st) < 0 || (kind == DISK_IMAGE && (uint64_t)st.st_size != image.size)) {
        close(fd);
        gv_error_set(&err, GV_E_CORRUPT, EIO, "the file of an image does not have its size any more");
        answer_error(r, &err);
        return;
    }
    gv_hex(sha3, image.hash, sizeof(image.hash));
    if (kind == DISK_SIGNATURE) { /* the one of the three that can become another one */
        snprintf(etag, sizeof(etag), "\"%s.%llx.%llx\"", sha3, (unsigned long long)st.st_ino,
                 (unsigned long long)st.st_mtim.tv_sec * 1000000000U + (unsigned long long)st.st_mtim.tv_nsec);
        answer_file(r, fd, (uint64_t)st.st_size, etag, st.st_mtim.tv_sec, "no-cache");
        return;
    }
    snprintf(etag, sizeof(etag), "\"%s%s\"", sha3, kind == DISK_CHUNKS ? ".chunks" : "");
    const char *range = request_header(r, "Range");
    if (kind == DISK_IMAGE && !r->head && (!range || strncmp(range, "bytes=0-", 8) == 0))
        usage_note(r->server->usage, image.id, true);
    answer_file(r, fd, (uint64_t)st.st_size, etag, image.created, "public, max-age=31536000, immutable");
}
