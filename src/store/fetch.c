/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One image at a time, under the lock of its hash. What arrives goes to HASH.part and is hashed on its way. HASH.state says of which
 * version of which URL the part is: the rest is asked for with If-Range, so that a server with another version sends all of it; a part of
 * which that is not known is thrown away. A part that was not written to its end when the machine lost power can hold anything: only the
 * hash of the whole decides, and a file that was put together from several downloads is fetched once more before a server is blamed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/inside.h"

#define STATE_MAX ((size_t)64 << 10)
#define ATTEMPTS_BEFORE_LAST 2
#define COPY_PIECE ((size_t)1 << 20)
#define UPDATE_MIN ((uint64_t)256 << 10) /* bytes of an image: below it there is nothing to save */
#define IMAGE_MAX ((uint64_t)1 << 40)
/* Of a file system that is left alone. */
#define SPARE ((uint64_t)1 << 20)

struct download {
    struct image_store *store;
    const struct registry_image *want;
    const char *url;
    bool last; /* there is no other URL to try */
    struct http_file file;
    struct store_follow *follow;
    char *part, *state;
    char type[64];             /* media type of the answer */
    uint64_t last_have;        /* of the file, when it was last told */
    uint64_t total;            /* as far as it is known; 0 = not */
    uint64_t received;         /* bytes of the image that came, of all URLs */
    struct gvmi_chunk_map map; /* of the image, if the server has one */
    bool put_together;         /* of more than one download */
};

/* ---- the state of a part ---- */

static int write_state(const struct download *d, struct gv_error *err)
{
    json_t *o = json_pack("{s:s, s:s}", "url", d->url, "version", d->file.etag);
    if (!o)
        return unlink(d->state) < 0 && errno != ENOENT ? gv_error_errno(err, "cannot remove `%s`", d->state) : 0;
    cleanup_free char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return store_write(d->state, text, strlen(text), err);
}

/* An entity tag says that the bytes are the same also at a mirror; a date does so only for one URL. */
static void read_state(struct download *d)
{
    cleanup_buf struct gv_buf data = { 0 };
    struct stat st;
    if (fstat(d->file.fd, &st) < 0 || st.st_size == 0 || gv_read_file(d->state, STATE_MAX, &data, NULL) < 0)
        return;
    json_t *o = json_loadb((const char *)data.data, data.len, 0, NULL);
    const char *url = json_string_value(json_object_get(o, "url")), *version = json_string_value(json_object_get(o, "version"));
    if (url && version && strlen(version) < sizeof(d->file.etag) && (version[0] == '"' || strcmp(url, d->url) == 0)) {
        memcpy(d->file.etag, version, strlen(version) + 1);
        d->file.have = *version ? (uint64_t)st.st_size : 0;
    }
    json_decref(o);
}

static void forget_part(const struct download *d)
{
    unlink(d->part);
    unlink(d->state);
}

/* ---- what comes ---- */

static int check_space(const struct download *d, uint64_t more, struct gv_error *err)
{
    struct statvfs fs;
    if (fstatvfs(d->file.fd, &fs) < 0)
        return 0;
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (more + SPARE <= left)
        return 0;
    gv_error_set(err, GV_E_IO, ENOSPC, "the image needs %" PRIu64 " MiB, and %s has %" PRIu64, (more >> 20) + 1, d->store->images,
                 left >> 20);
    return gv_error_hint(err, "`gvmkit prune --max-size SIZE` makes room");
}

static int on_accept(void *user, const struct http_response *r, struct gv_error *err)
{
    struct download *d = user;
    struct stat st;
    snprintf(d->type, sizeof(d->type), "%s", r->type);
    if (strcmp(r->type, "text/html") == 0 || strcmp(r->type, "application/xhtml+xml") == 0)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "`%.300s` is a web page (%s), not an image; is the URL right?", d->url, r->type);
    if (r->length <= 0 || fstat(d->file.fd, &st) < 0)
        return 0;
    /* All of it takes the place of what is there. */
    uint64_t length = (uint64_t)r->length, is = (uint64_t)st.st_size, whole = r->status == 206 ? d->file.have + length : length;
    if (whole > d->total)
        d->total = whole;
    return check_space(d, whole > is ? whole - is : 0, err);
}

static int on_begin(void *user, struct gv_error *err)
{
    struct download *d = user;
    d->last_have = d->file.have;
    d->put_together = d->file.have > 0;
    if (d->put_together) {
        store_follow_have(d->follow, d->file.have);
        return 0;
    }
    store_follow_reset(d->follow);
    return write_state(d, err);
}

static void on_progress(void *user, uint64_t have)
{
    struct download *d = user;
    d->received += have - d->last_have;
    d->last_have = have;
    store_follow_have(d->follow, have);
    gv_progress_update(d->store->options.progress, "downloading", have, d->total);
}

static int refused(const struct download *d, const struct http_response *r, struct gv_error *err)
{
    if (r->status == 404 || r->status == 410)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "`%.300s`: there is no such file (status %ld)", d->url, r->status);
    return gv_error_set(err, GV_E_PROTOCOL, 0, "`%.300s`: the server %s (status %ld)", d->url,
                        r->status == 401 || r->status == 403 ? "does not let us have it"
                        : r->status >= 500                   ? "has a problem"
                                                             : "does not send a file",
                        r->status);
}

/* Says that the content is another one. */
static int wrong(const struct download *d, const char *hash, struct gv_error *err)
{
    unsigned char head[4] = { 0 };
    bool image = gv_pread_full(d->file.fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) && memcmp(head, "hsqs", 4) == 0;
    if (d->file.size == 0)
        return gv_error_set(err, GV_E_CORRUPT, 0, "`%.300s` is empty, and should be the image %s", d->url, d->want->hash);
    if (!image)
        return gv_error_set(err, GV_E_CORRUPT, 0, "`%.300s` is no image%s%s%s and not %s: its hash is %s", d->url, *d->type ? " (" : "",
                            d->type, *d->type ? ")" : "", d->want->hash, hash);
    return gv_error_set(err, GV_E_CORRUPT, 0, "`%.300s` is another image than %s: its hash is %s", d->url, d->want->hash, hash);
}

/* ---- one URL ---- */

/* What there is already may be all of it: then nobody has to be asked. */
static int try_whole(struct download *d, struct gv_error *err)
{
    if (d->file.size == HTTP_SIZE_UNKNOWN || d->file.have != d->file.size)
        return 0;
    unsigned char digest[GV_HASH_MAX];
    char hash[GV_SHA3_224_HEX];
    if (gv_hash_fd_shown(GV_HASH_SHA3_224, d->file.fd, d->file.size, d->store->options.progress, digest, err) < 0)
        return -1;
    gv_hex(hash, digest, GV_SHA3_224_SIZE);
    if (strcmp(hash, d->want->hash) == 0)
        return 1;
    d->file.have = 0;
    return 0;
}

/* 1 when the file is there with another hash than it should, 0 when it is right. */
static int transfer(struct download *d, char hash[GV_SHA3_224_HEX], struct gv_error *err)
{
    CLEANUP(store_follow) struct store_follow *follow = NULL;
    cleanup_response struct http_response r = { 0 };
    const struct http_request q = { .url = d->url, .attempts = d->last ? 0 : ATTEMPTS_BEFORE_LAST };
    if (store_follow_start(&follow, d->file.fd, err) < 0)
        return -1;
    d->follow = follow;
    d->put_together = false;
    store_follow_have(follow, d->file.have);
    struct http_client *http = store_http(d->store, err);
    if (!http || http_download(http, &q, &d->file, &r, err) < 0)
        return -1;
    /* 416 also says that what is there is all of it. */
    if (!http_ok(&r) && (r.status != 416 || !d->file.have || d->file.have != d->file.size))
        return refused(d, &r, err);
    if (store_follow_finish(follow, d->file.size, hash, err) < 0)
        return -1;
    return strcmp(hash, d->want->hash) != 0;
}

/* A part that is of another URL, or of a time before the power failed, is of no use here: what comes is whole already. */
static int from_oci(struct download *d, struct gv_error *err)
{
    char hash[GV_SHA3_224_HEX];
    if (ftruncate(d->file.fd, 0) < 0)
        return gv_error_errno(err, "cannot empty `%s`", d->part);
    unlink(d->state);
    int status = store_oci_copy(d->store, d->url, d->file.fd, hash, err);
    d->received += d->store->artifact_bytes;
    d->store->artifact_bytes = 0;
    if (status < 0)
        return -1;
    if (strcmp(hash, d->want->hash) == 0)
        return 0;
    forget_part(d);
    return gv_error_set(err, GV_E_CORRUPT, 0, "`%.300s` is another image than %s: its hash is %s", d->url, d->want->hash, hash);
}

/* As store_update(), and with the hash of the file when all of it is there; *begun is set when the file has been changed. */
static int by_map(struct download *d, uint64_t have, bool mend, bool *begun, char hash[GV_SHA3_224_HEX], struct gv_error *err)
{
    CLEANUP(store_follow) struct store_follow *follow = NULL;
    struct store_updated done;
    if (store_follow_start(&follow, d->file.fd, err) < 0)
        return -1;
    int status = store_update(d->store, &d->map, d->url, d->file.fd, have, mend, follow, &done, err);
    d->received += done.fetched;
    if (done.begun) {
        *begun = true;
        unlink(d->state); /* the map proves it now */
    }
    return status == 1 && store_follow_finish(follow, d->map.file_size, hash, err) < 0 ? -1 : status;
}

/* Takes what other images have, and the rest from the server. 0 when the file is there, 2 when that cannot be: then it is as it was, or
 * of no use. */
static int update(struct download *d, struct gv_error *err)
{
    char hash[GV_SHA3_224_HEX];
    bool begun = false;
    struct stat st;
    gvmi_chunk_map_clear(&d->map);
    if (d->want->size != HTTP_SIZE_UNKNOWN && d->want->size < UPDATE_MIN)
        return 2;
    int status = store_fetch_map(d->store, d->want, d->url, &d->map, err);
    if (status <= 0)
        return status < 0 ? -1 : 2;
    if (fstat(d->file.fd, &st) < 0)
        return gv_error_errno(err, "cannot read `%s`", d->part);
    uint64_t have = (uint64_t)st.st_size < d->map.file_size ? (uint64_t)st.st_size : d->map.file_size;
    if (check_space(d, d->map.file_size - have, err) < 0)
        return -1;
    status = by_map(d, have, false, &begun, hash, err);
    if (status == 1 && strcmp(hash, d->want->hash) != 0)
        status = by_map(d, have, true, &begun, hash, err);
    if (status < 0)
        return -1;
    if (status == 1 && strcmp(hash, d->want->hash) == 0)
        return 0;
    if (begun) {
        gv_note(d->store->options.log, "`%.200s` cannot be put together by its chunk map; fetching all of it", d->url);
        gvmi_chunk_map_clear(&d->map);
        d->file.have = 0;
        d->file.etag[0] = '\0';
        d->file.size = d->want->size;
    }
    return 2;
}

static int from_url(struct download *d, struct gv_error *err)
{
    if (strncmp(d->url, STORE_OCI, strlen(STORE_OCI)) == 0)
        return from_oci(d, err);
    d->file.have = 0;
    d->file.etag[0] = '\0';
    d->file.size = d->want->size;
    d->file.max = IMAGE_MAX;
    d->file.by_content = false;
    d->file.accept = on_accept;
    d->file.begin = on_begin;
    d->file.progress = on_progress;
    d->file.user = d;
    d->total = d->want->size == HTTP_SIZE_UNKNOWN ? 0 : d->want->size;
    read_state(d);
    int whole = try_whole(d, err);
    if (whole)
        return whole < 0 ? -1 : 0;
    char hash[GV_SHA3_224_HEX];
    int status = update(d, err);
    if (status < 2)
        return status;
    bool resumed = d->file.have > 0;
    status = transfer(d, hash, err);
    if (status == 1 && (resumed || d->put_together)) {
        gv_note(d->store->options.log, "what there was of `%.200s` does not fit the rest; fetching all of it", d->url);
        d->file.have = 0;
        d->file.etag[0] = '\0';
        d->file.size = d->want->size;
        status = transfer(d, hash, err);
    }
    if (status == 1) {
        forget_part(d);
        return wrong(d, hash, err);
    }
    return status;
}

/* Whether another URL can do better. */
static bool is_final(const struct gv_error *why)
{
    return why->code == GV_E_CANCELLED || why->code == GV_E_INTERNAL || why->code == GV_E_UNSUPPORTED ||
           (why->code == GV_E_IO && (why->sys == ENOSPC || why->sys == EDQUOT || why->sys == EFBIG || why->sys == EROFS));
}

int store_commit(struct image_store *s, int fd, const char *part, const char *hash, const char *origin, struct gv_error *err)
{
    cleanup_free char *path = store_file(s, hash, "gvmi");
    if (origin && store_add_origin(s, hash, origin, err) < 0)
        return -1;
    if (fsync(fd) < 0)
        return gv_error_errno(err, "cannot finish `%s`", part);
    if (rename(part, path) < 0)
        return gv_error_errno(err, "cannot rename `%s` to `%s`", part, path);
    (void)fchmod(fd, 0444); /* not before: a part that cannot be written could not be gone on with */
    return store_sync(s, err);
}

/* ENOSPC is seen wherever something is written. */
static int explain_space(struct gv_error *err)
{
    if (err && err->code == GV_E_IO && (err->sys == ENOSPC || err->sys == EDQUOT) && !strstr(err->msg, "prune"))
        gv_error_hint(err, "`gvmkit prune --max-size SIZE` makes room");
    return -1;
}

static int download(struct download *d, struct gv_error *err)
{
    struct image_store *s = d->store;
    const struct registry_image *want = d->want;
    struct gv_error why = GV_ERROR_INIT;
    if (!want->urls.count)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "nobody says from where the image %s could come", want->hash);
    for (size_t i = 0; i < want->urls.count; i++) {
        cleanup_close int fd = open(d->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return gv_error_errno(err, "cannot create `%s`", d->part);
        d->file.fd = fd;
        d->url = want->urls.items[i];
        d->last = i + 1 == want->urls.count;
        gv_error_clear(&why);
        if (from_url(d, &why) == 0 && store_commit(s, fd, d->part, want->hash, d->url, &why) == 0) {
            unlink(d->state);
            if (d->map.count)
                store_keep_map(s, want->hash, &d->map);
            return 0;
        }
        /* Nothing to go on with; or what nobody knows the end of has filled the disk. */
        struct stat st;
        if (fstat(fd, &st) == 0 && (st.st_size == 0 || (!d->total && why.sys == ENOSPC)))
            forget_part(d);
        if (is_final(&why))
            break;
        if (i + 1 < want->urls.count)
            gv_note(s->options.log, "%s; trying `%.200s`", why.msg, want->urls.items[i + 1]);
    }
    if (err)
        *err = why;
    return explain_space(err);
}

int store_download(struct image_store *s, const struct registry_image *want, uint64_t *received, struct gv_error *err)
{
    cleanup_free char *part = store_file(s, want->hash, "part"), *state = store_file(s, want->hash, "state");
    struct download d = { .store = s, .want = want, .part = part, .state = state };
    int status = download(&d, err);
    gvmi_chunk_map_clear(&d.map);
    if (received)
        *received = d.received;
    return status;
}

int store_fetch(struct image_store *s, const struct registry_image *want, struct store_image *out, struct gv_error *err)
{
    cleanup_free char *path = store_file(s, want->hash, "gvmi"), *lock_path = store_file(s, want->hash, "lock");
    bool told = false;
    uint64_t received = 0;
    for (bool arrived = false;;) {
        struct gv_error missing = GV_ERROR_INIT;
        if (store_use(s, want->hash, out, &missing) == 0) {
            out->arrived = arrived;
            out->received = received;
            return 0;
        }
        if (missing.code != GV_E_NOT_FOUND) {
            if (err)
                *err = missing;
            return -1;
        }
        cleanup_close int lock = gv_lock_open(lock_path, LOCK_EX | LOCK_NB, &missing);
        if (lock < 0 && missing.code == GV_E_BUSY && !told) {
            gv_note(s->options.log, "another gvmkit is fetching this image; waiting for it");
            told = true;
        }
        if (lock < 0)
            lock = gv_lock_open(lock_path, LOCK_EX, err);
        if (lock < 0)
            return -1;
        if (access(path, R_OK) == 0)
            continue; /* it came while we waited */
        if (store_download(s, want, &received, err) < 0) {
            cleanup_free char *part = store_file(s, want->hash, "part");
            if (access(part, F_OK) < 0)
                unlink(lock_path); /* nothing to go on with */
            return -1;
        }
        arrived = true;
    }
}

int store_copy(int fd, int to, char hash[GV_SHA3_224_HEX], struct gv_error *err)
{
    cleanup_free unsigned char *piece = gv_alloc(COPY_PIECE);
    unsigned char digest[GV_HASH_MAX];
    struct gv_hash *h = gv_hash_new(GV_HASH_SHA3_224);
    int status = 0;
    uint64_t at = 0;
    for (ssize_t n; status == 0 && (n = gv_pread_full(fd, piece, COPY_PIECE, at)) != 0; at += (uint64_t)n) {
        if (n < 0 || gv_pwrite_full(to, piece, (size_t)n, at) < 0) {
            status = gv_error_errno(err, "cannot copy the image into the store");
            break;
        }
        gv_hash_update(h, piece, (size_t)n);
    }
    gv_hash_final(h, digest);
    gv_hash_free(h);
    gv_hex(hash, digest, GV_SHA3_224_SIZE);
    return status;
}

int store_add_file(struct image_store *s, int fd, const char *hash, struct gv_error *err)
{
    cleanup_free char *path = store_file(s, hash, "gvmi"), *lock_path = store_file(s, hash, "lock"), *part = store_file(s, hash, "part");
    cleanup_free char *state = store_file(s, hash, "state");
    cleanup_close int lock = gv_lock_open(lock_path, LOCK_EX, err);
    if (lock < 0)
        return -1;
    if (access(path, R_OK) == 0)
        return 0;
    unlink(state);
    cleanup_close int to = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (to < 0)
        return gv_error_errno(err, "cannot create `%s`", part);
    char is[GV_SHA3_224_HEX];
    int status = store_copy(fd, to, is, err);
    if (status == 0 && strcmp(is, hash) != 0)
        status = gv_error_set(err, GV_E_CORRUPT, 0, "the file has the hash %s and not %s", is, hash);
    if (status == 0)
        status = store_commit(s, to, part, hash, NULL, err);
    if (status < 0)
        unlink(part);
    return status < 0 ? explain_space(err) : 0;
}
