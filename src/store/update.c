/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Updates that move only what changed. Beside an image a server may have its chunk map, URL.chunks: any server of files will do. What
 * images of the store have of the chunks is copied from there, and the rest is asked for in few ranges. The file grows from its beginning to
 * its end, so what an interrupted update, or download, has left is a beginning, and the map says how much of it is right.
 *
 * The hash of the whole decides in the end, whatever the map says. So what comes from an image whose own hash was right is not hashed a
 * second time on its way, which would be a third of the work of an update. Only when the whole is wrong every chunk is looked at: that
 * finds rot in the other images and maps of theirs that lie, and what is wrong comes from the server. When that does not help, it is
 * the map that lies, and all of the file is fetched.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/inside.h"

#define MAP_FILE_MAX ((size_t)32 << 20)
#define OTHERS_MAX 8              /* images that are looked into, the most recently used ones */
#define OTHERS_READ_MAX 2         /* of those, without a map, which have to be read for it */
#define PIECE ((uint64_t)4 << 20) /* of one request, in memory */
#define GAP ((uint64_t)32 << 10)  /* fetched rather than to ask twice */
#define REQUESTS_MAX 128
#define WORTH_PERCENT 90 /* of what is missing; above it a plain download is as good */

struct other {
    int fd;
    char hash[GV_SHA3_224_HEX];
    struct gvmi_chunk_map map;
};

/* Where a chunk is in the store. */
struct place {
    const unsigned char *digest;
    const struct other *image; /* NULL: of the file itself */
    uint32_t length;
    uint64_t offset;
};

struct update {
    struct image_store *store;
    const struct gvmi_chunk_map *map;
    const char *url;
    int fd;
    struct store_follow *follow;
    struct other others[OTHERS_MAX];
    size_t other_count;
    struct place *places; /* sorted by digest */
    size_t place_count;
    const struct place **plan; /* for each chunk: where it is (IN_PLACE: in the file), NULL = at the server */
    unsigned char *buffer;     /* a chunk */
    struct store_updated *out;
};

static const struct place in_place;
#define IN_PLACE (&in_place)

static void update_clear(struct update *u)
{
    for (size_t i = 0; i < u->other_count; i++) {
        close(u->others[i].fd);
        gvmi_chunk_map_clear(&u->others[i].map);
    }
    free(u->places);
    free(u->plan);
    free(u->buffer);
}

/* ---- maps ---- */

static bool is_map_of(const struct gvmi_chunk_map *map, const char *hash)
{
    char is[GV_SHA3_224_HEX];
    gv_hex(is, map->image, sizeof(map->image));
    return strcmp(is, hash) == 0;
}

int store_fetch_map(struct image_store *s, const struct registry_image *want, const char *url, struct gvmi_chunk_map *map,
                    struct gv_error *err)
{
    cleanup_response struct http_response r = { 0 };
    size_t n = strcspn(url, "?#");
    cleanup_free char *beside = gv_asprintf("%.*s.chunks%s", (int)n, url, url + n);
    const struct http_request q = { .url = beside, .attempts = 1 };
    struct http_client *http = store_http(s, err);
    struct gv_error why = GV_ERROR_INIT;
    if (!http)
        return -1;
    if (http_fetch(http, &q, MAP_FILE_MAX, &r, &why) < 0) {
        /* Who does not answer at all is not asked again for the image itself. */
        bool silent = why.code == GV_E_TIMEOUT || why.code == GV_E_CANCELLED;
        if (silent && err)
            *err = why;
        return silent ? -1 : 0;
    }
    if (r.status != 200 || gvmi_chunks_parse(r.body.data, r.body.len, map, NULL) < 0)
        return 0;
    if (is_map_of(map, want->hash) && map->file_size > 0 && (want->size == HTTP_SIZE_UNKNOWN || want->size == map->file_size))
        return 1;
    gvmi_chunk_map_clear(map);
    return 0;
}

void store_keep_map(struct image_store *s, const char *hash, const struct gvmi_chunk_map *map)
{
    cleanup_buf struct gv_buf data = { 0 };
    cleanup_free char *path = store_file(s, hash, "chunks");
    gvmi_chunks_format(map, &data);
    (void)store_write(path, data.data, data.len, NULL); /* it can be made again */
}

/* The map of an image of the store: kept, or made now and kept. An image that has rotted has none but the kept one. */
static bool map_of(struct image_store *s, const char *hash, unsigned *reads, struct gvmi_chunk_map *map)
{
    cleanup_free char *kept = store_file(s, hash, "chunks"), *path = store_file(s, hash, "gvmi");
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    if (gvmi_chunks_load(kept, map, NULL) == 0 && is_map_of(map, hash))
        return true;
    gvmi_chunk_map_clear(map);
    if (!*reads || gvmi_open(&img, path, NULL) < 0)
        return false;
    --*reads;
    if (gvmi_chunks(img, s->options.progress, map, NULL) < 0 || !is_map_of(map, hash)) {
        gvmi_chunk_map_clear(map);
        return false;
    }
    store_keep_map(s, hash, map);
    return true;
}

/* ---- what there is ---- */

static int by_digest(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return memcmp(x->digest, y->digest, GV_SHA256_SIZE);
}

static int find_others(struct update *u, struct gv_error *err)
{
    cleanup_store_list struct store_list list = { 0 };
    unsigned reads = OTHERS_READ_MAX;
    size_t total = 0;
    if (store_list(u->store, &list, err) < 0)
        return -1;
    for (size_t i = list.count; i-- > 0 && u->other_count < OTHERS_MAX;) {
        struct other *o = &u->others[u->other_count];
        cleanup_free char *path = store_file(u->store, list.entries[i].hash, "gvmi");
        cleanup_close int fd = list.entries[i].size ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
        *o = (struct other){ .fd = -1 };
        if (fd < 0 || !map_of(u->store, list.entries[i].hash, &reads, &o->map))
            continue;
        o->fd = steal_fd(&fd);
        memcpy(o->hash, list.entries[i].hash, sizeof(o->hash));
        total += o->map.count;
        u->other_count++;
    }
    u->places = gv_reallocarray(NULL, total ? total : 1, sizeof(*u->places));
    for (size_t i = 0; i < u->other_count; i++) {
        const struct other *o = &u->others[i];
        for (size_t k = 0; k < o->map.count; k++) {
            const struct gvmi_chunk *c = &o->map.chunks[k];
            u->places[u->place_count++] = (struct place){ .digest = c->digest, .image = o, .length = c->length, .offset = c->offset };
        }
    }
    if (u->place_count)
        qsort(u->places, u->place_count, sizeof(*u->places), by_digest);
    return 0;
}

static const struct place *find_place(const struct update *u, const struct gvmi_chunk *chunk)
{
    const struct place key = { .digest = chunk->digest };
    const struct place *p = u->place_count ? bsearch(&key, u->places, u->place_count, sizeof(key), by_digest) : NULL;
    return p && p->length == chunk->length ? p : NULL;
}

static bool is_chunk(const struct gvmi_chunk *chunk, const void *data)
{
    unsigned char digest[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, data, chunk->length, digest);
    return memcmp(digest, chunk->digest, GV_SHA256_SIZE) == 0;
}

static bool has_chunk(const struct update *u, size_t i)
{
    const struct gvmi_chunk *c = &u->map->chunks[i];
    return gv_pread_full(u->fd, u->buffer, c->length, c->offset) == (ssize_t)c->length && is_chunk(c, u->buffer);
}

/* The first chunk that the file does not have. */
static size_t proven(const struct update *u, uint64_t have)
{
    size_t i = 0;
    while (i < u->map->count && u->map->chunks[i].offset + u->map->chunks[i].length <= have && has_chunk(u, i))
        i++;
    return i;
}

/* ---- the plan ---- */

static uint64_t planned_bytes(const struct update *u, size_t first)
{
    uint64_t n = 0;
    for (size_t i = first; i < u->map->count; i++)
        n += u->plan[i] ? 0 : u->map->chunks[i].length;
    return n;
}

/* Adds to what is fetched the short stretches between, so that few requests do. Whether it is worth the while. */
static bool round_plan(struct update *u, size_t first)
{
    const struct gvmi_chunk_map *m = u->map;
    uint64_t all = m->file_size - (first < m->count ? m->chunks[first].offset : m->file_size);
    if (planned_bytes(u, first) * 100 > all * WORTH_PERCENT)
        return false;
    size_t requests = REQUESTS_MAX + 1;
    for (uint64_t gap = GAP; requests > REQUESTS_MAX && gap <= m->file_size * 2; gap *= 2) {
        size_t last = SIZE_MAX; /* the chunk that was fetched before */
        requests = 0;
        for (size_t i = first; i < m->count; i++) {
            if (u->plan[i])
                continue;
            bool near = last != SIZE_MAX && m->chunks[i].offset - (m->chunks[last].offset + m->chunks[last].length) <= gap;
            for (size_t k = last + 1; near && k < i; k++)
                u->plan[k] = NULL;
            requests += !near;
            last = i;
        }
    }
    return planned_bytes(u, first) * 100 <= all * WORTH_PERCENT;
}

/* ---- doing it ---- */

static void show(const struct update *u, uint64_t have)
{
    gv_progress_update(u->store->options.progress, "downloading", have, u->map->file_size);
}

/* What came for the chunks from `from` on. 1, or 0 when it is not what the map says. */
static int put_range(struct update *u, size_t from, const struct gv_buf *body, struct gv_error *err)
{
    u->out->fetched += body->len;
    for (size_t at = 0, i = from; at < body->len; at += u->map->chunks[i].length, i++)
        if (!is_chunk(&u->map->chunks[i], body->data + at))
            return 0;
    uint64_t start = u->map->chunks[from].offset;
    if (gv_pwrite_full(u->fd, body->data, body->len, start) < 0)
        return gv_error_errno(err, "cannot write what comes from `%.300s`", u->url);
    store_follow_have(u->follow, start + body->len);
    show(u, start + body->len);
    return 1;
}

/* The chunks from `from` to before `to`, which follow one another in another image, too. (Neither copy_file_range() nor a mapping is faster.) */
static int copy_chunks(struct update *u, size_t from, size_t to, struct gv_error *err)
{
    const struct gvmi_chunk *c = u->map->chunks;
    const struct place *p = u->plan[from];
    uint64_t start = c[from].offset, end = c[to - 1].offset + c[to - 1].length;
    for (uint64_t at = start; at < end;) {
        size_t n = end - at < STORE_PIECE ? (size_t)(end - at) : STORE_PIECE;
        unsigned char *buffer = store_follow_buffer(u->follow);
        ssize_t got = gv_pread_full(p->image->fd, buffer, n, p->offset + (at - start));
        if (got < (ssize_t)n) /* what that image does not have any more is wrong here, like anything else that has rotted */
            memset(buffer + (got > 0 ? got : 0), 0, n - (size_t)(got > 0 ? got : 0));
        if (gv_pwrite_full(u->fd, buffer, n, at) < 0)
            return gv_error_errno(err, "cannot write what comes from `%.300s`", u->url);
        store_follow_filled(u->follow, at, n);
        at += n;
        show(u, at);
    }
    return 1;
}

/* The end of what is done at once, beginning with chunk i: asked for, copied, or left alone. */
static size_t step_end(const struct update *u, size_t i)
{
    const struct gvmi_chunk *c = u->map->chunks;
    const struct place *p = u->plan[i];
    uint64_t most = p ? UINT64_MAX : PIECE;
    size_t to = i + 1;
    for (; to < u->map->count && c[to].offset + c[to].length - c[i].offset <= most; to++) {
        const struct place *q = u->plan[to];
        bool copied = p && p->image, follows = copied && q && q->image == p->image && q->offset == p->offset + (c[to].offset - c[i].offset);
        if (copied ? !follows : q != p)
            break;
    }
    return to;
}

static int carry_out(struct update *u, size_t first, struct gv_error *err)
{
    CLEANUP(store_ranges) struct store_ranges *ranges = NULL;
    cleanup_free struct store_range *list = gv_calloc(u->map->count - first + 1, sizeof(*list));
    cleanup_buf struct gv_buf body = { 0 };
    size_t count = 0;
    for (size_t i = first, to; i < u->map->count; i = to) {
        const struct gvmi_chunk *c = u->map->chunks;
        to = step_end(u, i);
        if (!u->plan[i])
            list[count++] =
                (struct store_range){ .offset = c[i].offset, .length = (uint32_t)(c[to - 1].offset + c[to - 1].length - c[i].offset) };
    }
    if (store_ranges_start(&ranges, u->store, u->url, u->map->file_size, list, count, err) < 0)
        return -1;
    for (size_t i = first, to; i < u->map->count; i = to) {
        int status = 1;
        to = step_end(u, i);
        if (u->plan[i] == IN_PLACE)
            store_follow_have(u->follow, u->map->chunks[to - 1].offset + u->map->chunks[to - 1].length);
        else if (u->plan[i])
            status = copy_chunks(u, i, to, err);
        else if ((status = store_ranges_next(ranges, &body, err)) == 1)
            status = put_range(u, i, &body, err);
        if (status <= 0)
            return status;
    }
    return 1;
}

static int run_update(struct update *u, uint64_t have, struct gv_error *err)
{
    if (find_others(u, err) < 0)
        return -1;
    if (!u->place_count)
        return 0;
    size_t first = proven(u, have);
    for (size_t i = first; i < u->map->count; i++)
        u->plan[i] = find_place(u, &u->map->chunks[i]);
    if (!round_plan(u, first))
        return 0;
    uint64_t keep = first < u->map->count ? u->map->chunks[first].offset : u->map->file_size;
    u->out->begun = true;
    if (ftruncate(u->fd, (off_t)keep) < 0)
        return gv_error_errno(err, "cannot shorten a file");
    store_follow_have(u->follow, keep);
    return carry_out(u, first, err);
}

/* A chunk was wrong. If another image should have had it, either that has rotted or its map is not true: the map is made again then. */
static void forget_map(const struct update *u, const struct gvmi_chunk *chunk)
{
    const struct place *p = find_place(u, chunk);
    if (!p || is_map_of(u->map, p->image->hash))
        return;
    cleanup_free char *kept = store_file(u->store, p->image->hash, "chunks");
    if (unlink(kept) == 0)
        gv_note(u->store->options.log, "the image %s is not what its chunk map says; `gvmkit verify --all` tells whether it is damaged",
                p->image->hash);
}

static int run_mend(struct update *u, struct gv_error *err)
{
    size_t wrong = 0;
    for (size_t i = 0; i < u->map->count; i++) {
        u->plan[i] = has_chunk(u, i) ? IN_PLACE : NULL;
        wrong += !u->plan[i];
    }
    if (!wrong)
        return 0; /* the map lies */
    if (find_others(u, err) < 0)
        return -1;
    for (size_t i = 0; i < u->map->count; i++)
        if (!u->plan[i])
            forget_map(u, &u->map->chunks[i]);
    if (!round_plan(u, 0))
        return 0;
    u->out->begun = true;
    return carry_out(u, 0, err);
}

int store_update(struct image_store *s, const struct gvmi_chunk_map *map, const char *url, int fd, uint64_t have, bool mend,
                 struct store_follow *follow, struct store_updated *out, struct gv_error *err)
{
    struct update u = { .store = s, .map = map, .url = url, .fd = fd, .follow = follow, .out = out };
    *out = (struct store_updated){ 0 };
    u.plan = gv_calloc(map->count, sizeof(*u.plan));
    u.buffer = gv_alloc(GVMI_CHUNK_MAX);
    int status = mend ? run_mend(&u, err) : run_update(&u, have, err);
    update_clear(&u);
    return status;
}
