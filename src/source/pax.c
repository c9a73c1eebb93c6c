/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The parts of tar that are text: numbers in headers, pax records ("LENGTH KEY=VALUE\n"), sparse maps.
 */
#include <inttypes.h>
#include <string.h>

#include "source/tar.h"

int tar_number(const unsigned char *field, size_t n, int64_t *out)
{
    if (n && (field[0] & 0x80)) {
        /* Base-256: a big-endian two's complement number whose top bit is the mark; the bit below is the sign. */
        unsigned char invert = field[0] & 0x40 ? 0xff : 0;
        uint64_t v = 0;
        for (size_t i = 0; i < n; i++) {
            unsigned char c = field[i] ^ invert;
            if (i == 0)
                c &= 0x7f;
            if (v >> 56)
                return -1;
            v = v << 8 | c;
        }
        if (v >> 63)
            return -1;
        *out = invert ? -(int64_t)v - 1 : (int64_t)v;
        return 0;
    }
    size_t i = 0;
    while (i < n && (field[i] == ' ' || field[i] == '\0'))
        i++;
    uint64_t v = 0;
    for (; i < n && field[i] >= '0' && field[i] <= '7'; i++) {
        if (v >> 59)
            return -1;
        v = v << 3 | (uint64_t)(field[i] - '0');
    }
    for (; i < n; i++)
        if (field[i] != ' ' && field[i] != '\0')
            return -1;
    *out = (int64_t)v;
    return 0;
}

/* Decimal digits and nothing else. */
static int decimal(const char *s, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    if (n == 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
            return -1;
    }
    *out = v;
    return 0;
}

/* [-]SECONDS[.FRACTION], rounded down. */
static int pax_time(const char *s, size_t n, int64_t *out)
{
    bool negative = n && s[0] == '-';
    if (negative) {
        s++;
        n--;
    }
    const char *dot = memchr(s, '.', n);
    size_t whole = dot ? (size_t)(dot - s) : n;
    uint64_t v;
    if (decimal(s, whole, &v) < 0 || v > (uint64_t)1 << 60)
        return -1;
    bool fraction = false;
    for (size_t i = whole + 1; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -1;
        if (s[i] != '0')
            fraction = true;
    }
    *out = negative ? -(int64_t)v - (fraction ? 1 : 0) : (int64_t)v;
    return 0;
}

void tar_pax_reset(struct tar_pax *p)
{
    struct tar_pax fresh = {
        .body = p->body, .xattrs = p->xattrs, .xattr_cap = p->xattr_cap, .extents = p->extents, .extent_cap = p->extent_cap
    };
    fresh.body.len = 0;
    fresh.version_major = fresh.version_minor = -1;
    *p = fresh;
}

void tar_pax_clear(struct tar_pax *p)
{
    gv_buf_clear(&p->body);
    free(p->xattrs);
    free(p->extents);
    *p = (struct tar_pax){ 0 };
}

int tar_extent_add(struct tar_pax *p, uint64_t offset, uint64_t length, struct gv_error *err)
{
    if (p->extent_count >= TAR_EXTENTS_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "a sparse file has more than %zu pieces", TAR_EXTENTS_MAX);
    if (p->extent_count == p->extent_cap) {
        p->extent_cap = p->extent_cap ? p->extent_cap * 2 : 64;
        p->extents = gv_reallocarray(p->extents, p->extent_cap, sizeof(*p->extents));
    }
    p->extents[p->extent_count++] = (struct tar_extent){ .offset = offset, .length = length };
    return 0;
}

int tar_extents_check(struct tar_pax *p, uint64_t size, uint64_t stored, struct gv_error *err)
{
    uint64_t end = 0, sum = 0;
    size_t kept = 0;
    for (size_t i = 0; i < p->extent_count; i++) {
        struct tar_extent e = p->extents[i];
        if (e.offset < end || e.offset > size || e.length > size - e.offset)
            return gv_error_set(err, GV_E_FORMAT, 0, "the map of a sparse file is wrong: its pieces overlap or lie outside of it");
        end = e.offset + e.length;
        sum += e.length; /* cannot overflow: the pieces are apart and inside of size */
        if (e.length)
            p->extents[kept++] = e;
    }
    p->extent_count = kept;
    if (sum != stored)
        return gv_error_set(err, GV_E_FORMAT, 0,
                            "the map of a sparse file is wrong: its pieces have %" PRIu64 " bytes together, not the %" PRIu64 " stored",
                            sum, stored);
    return 0;
}

static int bad_record(const char *key, struct gv_error *err)
{
    return gv_error_set(err, GV_E_FORMAT, 0, "the pax record `%.60s` has a wrong value", key);
}

/* "offset,length,offset,length,..." */
static int sparse_map(struct tar_pax *p, const char *s, size_t n, struct gv_error *err)
{
    uint64_t numbers[2];
    size_t have = 0;
    while (n) {
        const char *comma = memchr(s, ',', n);
        size_t len = comma ? (size_t)(comma - s) : n;
        if (decimal(s, len, &numbers[have]) < 0)
            return bad_record("GNU.sparse.map", err);
        if (++have == 2) {
            if (tar_extent_add(p, numbers[0], numbers[1], err) < 0)
                return -1;
            have = 0;
        }
        s += len + (comma ? 1 : 0);
        n -= len + (comma ? 1 : 0);
        if (comma && !n)
            return bad_record("GNU.sparse.map", err);
    }
    return have ? bad_record("GNU.sparse.map", err) : 0;
}

static int sparse_record(struct tar_pax *p, const char *key, const char *value, size_t n, struct gv_error *err)
{
    uint64_t v = 0;
    p->sparse = true;
    if (!strcmp(key, "name")) {
        p->sparse_name = value;
        p->sparse_name_len = n;
        return memchr(value, '\0', n) ? bad_record("GNU.sparse.name", err) : 0;
    }
    if (!strcmp(key, "map"))
        return sparse_map(p, value, n, err);
    if (decimal(value, n, &v) < 0)
        return bad_record("GNU.sparse", err);
    if (!strcmp(key, "major")) {
        p->version_major = v < 100 ? (int)v : 100;
    } else if (!strcmp(key, "minor")) {
        p->version_minor = v < 100 ? (int)v : 100;
    } else if (!strcmp(key, "size") || !strcmp(key, "realsize")) {
        if (p->has_real_size && p->real_size != v)
            return bad_record("GNU.sparse.realsize", err);
        p->real_size = v;
        p->has_real_size = true;
    } else if (!strcmp(key, "numblocks")) {
        p->blocks = v;
        p->has_blocks = true;
    } else if (!strcmp(key, "offset")) {
        if (p->half)
            return bad_record("GNU.sparse.offset", err);
        p->half = true;
        return tar_extent_add(p, v, 0, err);
    } else if (!strcmp(key, "numbytes")) {
        if (!p->half)
            return bad_record("GNU.sparse.numbytes", err);
        p->half = false;
        p->extents[p->extent_count - 1].length = v;
    } else {
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "the pax record `GNU.sparse.%.60s` is not known", key);
    }
    return 0;
}

static int xattr_record(struct tar_pax *p, const char *name, const char *value, size_t n, struct gv_error *err)
{
    if (!*name || strlen(name) > 255)
        return gv_error_set(err, GV_E_FORMAT, 0, "an extended attribute has a name of %zu bytes", strlen(name));
    if (n > 65536) /* XATTR_SIZE_MAX of Linux */
        return gv_error_set(err, GV_E_LIMIT, 0, "the extended attribute `%s` is larger than 65536 bytes", name);
    if (p->xattr_count == p->xattr_cap) {
        p->xattr_cap = p->xattr_cap ? p->xattr_cap * 2 : 8;
        p->xattrs = gv_reallocarray(p->xattrs, p->xattr_cap, sizeof(*p->xattrs));
    }
    p->xattrs[p->xattr_count++] = (struct image_xattr){ .name = name, .value = value, .size = (uint32_t)n };
    return 0;
}

static int id_record(const char *key, const char *value, size_t n, uint32_t *out, bool *has, struct gv_error *err)
{
    uint64_t v;
    if (decimal(value, n, &v) < 0 || v >= UINT32_MAX)
        return bad_record(key, err);
    *out = (uint32_t)v;
    *has = true;
    return 0;
}

static int name_record(const char *key, const char *value, size_t n, const char **out, size_t *len, struct gv_error *err)
{
    if (memchr(value, '\0', n))
        return bad_record(key, err);
    *out = value;
    *len = n;
    return 0;
}

static int record(struct tar_pax *p, const char *key, const char *value, size_t n, struct gv_error *err)
{
    if (!strncmp(key, "SCHILY.xattr.", 13))
        return xattr_record(p, key + 13, value, n, err);
    static const char *const fields[] = { "path", "linkpath", "size", "uid", "gid", "mtime" };
    for (size_t i = 0; n == 0 && i < sizeof(fields) / sizeof(*fields); i++) {
        /* POSIX: the header counts again. Go has it so; for GNU tar it is an empty name, for libarchive an error. */
        if (!strcmp(key, fields[i]))
            return gv_error_set(err, GV_E_UNSUPPORTED, 0, "an empty pax record `%s`, which programs read in different ways", key);
    }
    if (!strcmp(key, "path"))
        return name_record(key, value, n, &p->path, &p->path_len, err);
    if (!strcmp(key, "linkpath"))
        return name_record(key, value, n, &p->link, &p->link_len, err);
    if (!strcmp(key, "size")) {
        p->has_size = true;
        return decimal(value, n, &p->size) < 0 || p->size > INT64_MAX ? bad_record(key, err) : 0;
    }
    if (!strcmp(key, "uid"))
        return id_record(key, value, n, &p->uid, &p->has_uid, err);
    if (!strcmp(key, "gid"))
        return id_record(key, value, n, &p->gid, &p->has_gid, err);
    if (!strcmp(key, "mtime")) {
        p->has_mtime = true;
        return pax_time(value, n, &p->mtime) < 0 ? bad_record(key, err) : 0;
    }
    if (!strncmp(key, "GNU.sparse.", 11))
        return sparse_record(p, key + 11, value, n, err);
    return 0; /* times of access and change, names of owners, comments, character sets */
}

/* Takes the record at *at apart, in place: key and value become NUL-terminated. */
static int next_record(struct gv_buf *body, size_t *at, char **key, char **value, size_t *n, struct gv_error *err)
{
    char *start = (char *)body->data + *at;
    size_t left = body->len - *at;
    const char *space = memchr(start, ' ', left < 24 ? left : 24);
    uint64_t len;
    if (!space || decimal(start, (size_t)(space - start), &len) < 0 || len > left || len < (size_t)(space - start) + 4 ||
        start[len - 1] != '\n')
        return gv_error_set(err, GV_E_FORMAT, 0, "a pax header is damaged at byte %zu", *at);
    char *k = start + (space - start) + 1, *end = start + len - 1;
    char *equals = memchr(k, '=', (size_t)(end - k));
    if (!equals || equals == k || memchr(k, '\0', (size_t)(equals - k)))
        return gv_error_set(err, GV_E_FORMAT, 0, "a pax header is damaged at byte %zu", *at);
    *equals = *end = '\0';
    *key = k;
    *value = equals + 1;
    *n = (size_t)(end - equals) - 1;
    *at += (size_t)len;
    return 0;
}

static int compare_xattrs(const void *a, const void *b)
{
    const struct image_xattr *x = a, *y = b;
    int c = strcmp(x->name, y->name);
    /* Later records lie behind earlier ones in the body, and come first here so that they are kept. */
    return c ? c : x->name < y->name ? 1 : -1;
}

int tar_pax_parse(struct tar_pax *p, struct gv_error *err)
{
    for (size_t at = 0; at < p->body.len;) {
        char *key, *value;
        size_t n;
        if (next_record(&p->body, &at, &key, &value, &n, err) < 0 || record(p, key, value, n, err) < 0)
            return -1;
    }
    if (p->xattr_count > 1) {
        qsort(p->xattrs, p->xattr_count, sizeof(*p->xattrs), compare_xattrs);
        size_t kept = 1;
        for (size_t i = 1; i < p->xattr_count; i++)
            if (strcmp(p->xattrs[kept - 1].name, p->xattrs[i].name) != 0)
                p->xattrs[kept++] = p->xattrs[i];
        p->xattr_count = kept;
    }
    if (!p->sparse)
        return 0;
    bool v0 = p->version_major <= 0 && (p->version_minor <= 1); /* 0.0 and 0.1 need not say so */
    p->map_in_data = p->version_major == 1 && p->version_minor == 0;
    if (!v0 && !p->map_in_data)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "a sparse file of version %d.%d", p->version_major, p->version_minor);
    if (!p->has_real_size || p->half || (p->map_in_data && p->extent_count) || (p->has_blocks && p->blocks != p->extent_count))
        return gv_error_set(err, GV_E_FORMAT, 0, "the map of a sparse file is incomplete");
    return 0;
}

int tar_pax_check_global(struct gv_buf *body, struct gv_error *err)
{
    for (size_t at = 0; at < body->len;) {
        char *key, *value;
        size_t n;
        if (next_record(body, &at, &key, &value, &n, err) < 0)
            return -1;
        if (!strcmp(key, "path") || !strcmp(key, "linkpath") || !strcmp(key, "size") || !strcmp(key, "uid") || !strcmp(key, "gid") ||
            !strncmp(key, "GNU.sparse.", 11) || !strncmp(key, "SCHILY.xattr.", 13))
            return gv_error_set(err, GV_E_UNSUPPORTED, 0,
                                "a global pax header sets `%.60s` for all members, which programs read in different ways", key);
    }
    return 0;
}
