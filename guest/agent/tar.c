/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The tar format, in blocks of 512 bytes: what POSIX calls ustar and pax, and of GNU what is not sparse: long names and large numbers.
 * Nothing of a tar that is read is believed: it comes from whoever uses the host, who may have it from anywhere. Memory is two buffers and, for the
 * time in which it is looked at, one extended header.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guest/agent/agent.h"

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, target[100], magic[6], version[2], user[32], group[32],
        major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is one block");

static uint32_t header_sum(const struct header *h)
{
    const uint8_t *p = (const uint8_t *)h;
    uint32_t sum = 0;
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += i - offsetof(struct header, checksum) < sizeof(h->checksum) ? ' ' : p[i];
    return sum;
}

/* ---- reading ----------------------------------------------------------------------------------------------------------------------- */

/* What an extended header has said about the entry after it. */
enum { SAID_NAME = 1, SAID_TARGET = 2, SAID_SIZE = 4, SAID_UID = 8, SAID_GID = 16, SAID_MTIME = 32 };

static int broken(const char *what)
{
    return builtin_fail(0, "the tar is broken: %s", what);
}

/* Makes n bytes, at most a block, lie together. 1; 0 when the input has ended before the first; -1. */
static int need(struct tar_reader *t, size_t n)
{
    if (t->have - t->at < n) {
        memmove(t->buf, t->buf + t->at, t->have - t->at);
        t->have -= t->at;
        t->at = 0;
    }
    while (t->have < n) {
        ssize_t got = read(t->fd, t->buf + t->have, sizeof(t->buf) - t->have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return builtin_fail(errno, "reading the tar");
        if (got == 0)
            return t->have ? broken("it ends in the middle") : 0;
        t->have += (size_t)got;
    }
    return 1;
}

ssize_t tar_data(struct tar_reader *t, const uint8_t **data)
{
    if (t->left == 0)
        return 0;
    if (t->have == t->at) {
        int got = need(t, 1);
        if (got <= 0)
            return got < 0 ? -1 : broken("it ends in the middle of a file");
    }
    size_t n = t->have - t->at;
    if (n > t->left)
        n = (size_t)t->left;
    *data = t->buf + t->at;
    t->at += n;
    t->left -= n;
    return (ssize_t)n;
}

/* Passes over what has not been taken of the entry. */
static int skip(struct tar_reader *t)
{
    const uint8_t *data;
    ssize_t n;
    while ((n = tar_data(t, &data)) > 0)
        continue;
    if (n == 0 && t->padding) {
        t->left = t->padding;
        t->padding = 0;
        return skip(t);
    }
    return n < 0 ? -1 : 0;
}

static void take(struct tar_reader *t, uint64_t size)
{
    t->left = size;
    t->padding = (uint32_t)(-size % TAR_BLOCK);
}

/* A number of a header: octal, or binary as GNU writes what is too large for that. */
static bool number(const char *field, size_t n, int64_t *v)
{
    const uint8_t *p = (const uint8_t *)field, *end = p + n;
    if (*p & 0x80) {
        *v = *p & 0x40 ? (int8_t)*p : *p & 0x3f;
        while (++p < end)
            if (__builtin_mul_overflow(*v, 256, v) || __builtin_add_overflow(*v, *p, v))
                return false;
        return true;
    }
    while (p < end && *p == ' ')
        p++;
    for (*v = 0; p < end && *p >= '0' && *p <= '7'; p++)
        if (__builtin_mul_overflow(*v, 8, v) || __builtin_add_overflow(*v, *p - '0', v))
            return false;
    return p == end || *p == ' ' || *p == '\0';
}

/* The text of a field, which need not end with a NUL. */
static void text(char *out, const char *field, size_t n)
{
    n = strnlen(field, n);
    memcpy(out, field, n);
    out[n] = '\0';
}

/* A name in an extended header. */
static int long_text(char out[AGENT_PATH_MAX], const char *value, size_t n)
{
    if (n >= AGENT_PATH_MAX || memchr(value, 0, n))
        return builtin_fail(0, "the tar has a name that is too long or has a NUL: '%.60s...'", value);
    memcpy(out, value, n);
    out[n] = '\0';
    return 0;
}

/* A decimal number with, if fraction is not NULL, nine digits after the point. The value is ended by a newline. */
static bool decimal(const char *value, const char *end, int64_t *v, long *fraction)
{
    bool minus = fraction && *value == '-';
    const char *p = value + minus;
    long nanoseconds = 0;
    if (p == end)
        return false;
    for (*v = 0; p < end && *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(*v, 10, v) || __builtin_add_overflow(*v, *p - '0', v))
            return false;
    if (fraction && p < end && *p == '.') {
        long unit = 100000000;
        for (p++; p < end && *p >= '0' && *p <= '9'; p++, unit /= 10)
            nanoseconds += unit * (*p - '0');
    }
    if (minus) {
        *v = nanoseconds ? -*v - 1 : -*v;
        nanoseconds = nanoseconds ? 1000000000 - nanoseconds : 0;
    }
    if (fraction)
        *fraction = nanoseconds;
    return p == end;
}

/* One record of a pax header: n bytes of "KEY=VALUE". */
static int record(struct tar_entry *e, unsigned *said, const char *key, size_t n)
{
    const char *end = key + n, *value = memchr(key, '=', n);
    int64_t v = 0;
    bool good = true;
    if (!value)
        return broken("a pax header without a value");
    size_t key_n = (size_t)(value++ - key);
#define IS(name) (key_n == sizeof(name) - 1 && memcmp(key, name, key_n) == 0)
    if (IS("path")) {
        *said |= SAID_NAME;
        return long_text(e->name, value, (size_t)(end - value));
    }
    if (IS("linkpath")) {
        *said |= SAID_TARGET;
        return long_text(e->target, value, (size_t)(end - value));
    }
    if (IS("size")) {
        *said |= SAID_SIZE;
        good = decimal(value, end, &v, NULL);
        e->size = (uint64_t)v;
    } else if (IS("uid")) {
        *said |= SAID_UID;
        good = decimal(value, end, &v, NULL) && v < UINT32_MAX;
        e->uid = (uint32_t)v;
    } else if (IS("gid")) {
        *said |= SAID_GID;
        good = decimal(value, end, &v, NULL) && v < UINT32_MAX;
        e->gid = (uint32_t)v;
    } else if (IS("mtime")) {
        *said |= SAID_MTIME;
        long nanoseconds = 0;
        good = decimal(value, end, &v, &nanoseconds);
        e->mtime = (struct timespec){ .tv_sec = v, .tv_nsec = nanoseconds };
    } else if (key_n > 11 && memcmp(key, "GNU.sparse.", 11) == 0) {
        return builtin_fail(0, "the tar has sparse files in a form that is not understood: make it without --sparse");
    }
#undef IS
    return good ? 0 : broken("a pax header with a number that is none");
}

static int records(struct tar_entry *e, unsigned *said, const char *p, size_t n)
{
    while (n) {
        size_t length = 0, digits = 0;
        for (; digits < n && digits < 8 && p[digits] >= '0' && p[digits] <= '9'; digits++)
            length = length * 10 + (size_t)(p[digits] - '0');
        if (digits == 0 || length > n || length < digits + 2 || p[digits] != ' ' || p[length - 1] != '\n')
            return broken("a pax header");
        if (record(e, said, p + digits + 1, length - digits - 2) < 0)
            return -1;
        p += length;
        n -= length;
    }
    return 0;
}

/* The data of an entry that says more about the next one. */
static int extended(struct tar_reader *t, struct tar_entry *e, char type, unsigned *said)
{
    size_t size = (size_t)t->left, have = 0;
    const uint8_t *data;
    ssize_t n;
    if (t->left > TAR_EXTENDED_MAX)
        return broken("an extended header is too large");
    cleanup_free char *body = malloc(size + 1);
    if (!body)
        return builtin_fail(ENOMEM, "reading the tar");
    while ((n = tar_data(t, &data)) > 0) {
        memcpy(body + have, data, (size_t)n);
        have += (size_t)n;
    }
    if (n < 0)
        return -1;
    body[size] = '\0';
    if (type == 'x' || type == 'X')
        return records(e, said, body, size);
    *said |= type == 'L' ? SAID_NAME : SAID_TARGET;
    return long_text(type == 'L' ? e->name : e->target, body, strlen(body));
}

static int fields(struct tar_entry *e, const struct header *h, unsigned said)
{
    int64_t mode, uid, gid, size, mtime, major = 0, minor = 0;
    bool ustar = memcmp(h->magic, "ustar", 5) == 0;
    if (!number(h->mode, sizeof(h->mode), &mode) || !number(h->uid, sizeof(h->uid), &uid) || !number(h->gid, sizeof(h->gid), &gid) ||
        !number(h->size, sizeof(h->size), &size) || !number(h->mtime, sizeof(h->mtime), &mtime) || size < 0)
        return broken("a number that is none");
    if (ustar && (e->type == '3' || e->type == '4') &&
        (!number(h->major, sizeof(h->major), &major) || !number(h->minor, sizeof(h->minor), &minor)))
        return broken("a device without numbers");
    e->mode = (uint32_t)mode & 07777;
    e->major = (uint32_t)major;
    e->minor = (uint32_t)minor;
    if (!(said & SAID_UID))
        e->uid = (uint32_t)uid;
    if (!(said & SAID_GID))
        e->gid = (uint32_t)gid;
    if (!(said & SAID_SIZE))
        e->size = (uint64_t)size;
    if (!(said & SAID_MTIME))
        e->mtime = (struct timespec){ .tv_sec = mtime };
    if (!(said & SAID_TARGET))
        text(e->target, h->target, sizeof(h->target));
    if (!(said & SAID_NAME)) {
        size_t n = 0;
        /* GNU's own format has other things in the place of the prefix. */
        if (ustar && h->magic[5] == '\0' && h->prefix[0]) {
            text(e->name, h->prefix, sizeof(h->prefix));
            n = strlen(e->name);
            e->name[n++] = '/';
        }
        text(e->name + n, h->name, sizeof(h->name));
    }
    return 0;
}

static int kind(struct tar_entry *e)
{
    size_t n = strlen(e->name);
    if (e->type == '\0' || e->type == '7')
        e->type = '0';
    /* The oldest tars mark directories by the slash alone. */
    if (e->type == '0' && n && e->name[n - 1] == '/')
        e->type = '5';
    if (e->type < '0' || e->type > '6')
        return builtin_fail(0, "'%s' in the tar is of kind '%c', which is not understood", e->name, e->type < 32 ? '?' : e->type);
    if (e->type != '0')
        e->size = 0;
    return 0;
}

int tar_next(struct tar_reader *t, struct tar_entry *e)
{
    static const struct header zero;
    unsigned said = 0;
    for (;;) {
        struct header h;
        int64_t sum, size;
        if (skip(t) < 0)
            return -1;
        int got = need(t, TAR_BLOCK);
        if (got <= 0)
            return got < 0 ? -1 : broken("it has no end");
        memcpy(&h, t->buf + t->at, TAR_BLOCK);
        t->at += TAR_BLOCK;
        if (memcmp(&h, &zero, TAR_BLOCK) == 0)
            return said ? broken("its last entry is missing") : 0;
        if (!number(h.checksum, sizeof(h.checksum), &sum) || sum != header_sum(&h))
            return builtin_fail(0, "this is not a tar, or a broken one: a header has a wrong checksum");
        if (!number(h.size, sizeof(h.size), &size) || size < 0)
            return broken("a size that is none");
        e->type = h.type;
        if (strchr("gV", h.type) && h.type) {
            take(t, (uint64_t)size);
        } else if (strchr("xXLK", h.type) && h.type) {
            take(t, (uint64_t)size);
            if (extended(t, e, h.type, &said) < 0)
                return -1;
        } else {
            if (fields(e, &h, said) < 0 || kind(e) < 0)
                return -1;
            if (e->size > INT64_MAX - TAR_BLOCK)
                return broken("a size that is too large");
            take(t, e->size);
            return 1;
        }
    }
}

/* ---- writing ----------------------------------------------------------------------------------------------------------------------- */

static int flush(struct tar_writer *t)
{
    for (size_t at = 0; at < t->have;) {
        ssize_t n = write(t->fd, t->buf + at, t->have - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return builtin_fail(errno, "writing the tar");
        at += (size_t)n;
    }
    t->have = 0;
    return 0;
}

int tar_put_data(struct tar_writer *t, const void *data, size_t n)
{
    const uint8_t *p = data;
    while (n) {
        size_t part = sizeof(t->buf) - t->have < n ? sizeof(t->buf) - t->have : n;
        memcpy(t->buf + t->have, p, part);
        t->have += part;
        p += part;
        n -= part;
        if (t->have == sizeof(t->buf) && flush(t) < 0)
            return -1;
    }
    return 0;
}

int tar_put_padding(struct tar_writer *t, uint64_t n)
{
    static const uint8_t zero[TAR_BLOCK];
    return tar_put_data(t, zero, (size_t)(-n % TAR_BLOCK));
}

int tar_finish(struct tar_writer *t)
{
    static const uint8_t zero[2 * TAR_BLOCK];
    return tar_put_data(t, zero, sizeof(zero)) < 0 ? -1 : flush(t);
}

/* Octal, filling the field but for its NUL. false when it does not fit. */
static bool octal(char *field, size_t n, uint64_t v)
{
    for (size_t i = n - 1; i-- > 0; v >>= 3)
        field[i] = (char)('0' + (v & 7));
    return v == 0;
}

/* The pax records of an entry. */
struct extra {
    size_t n;
    char text[2 * AGENT_PATH_MAX + 256];
};

static size_t digits(size_t n)
{
    size_t count = 1;
    while (n /= 10)
        count++;
    return count;
}

/* "LENGTH KEY=VALUE\n", whose length counts itself. All values together fit, by the sizes of struct tar_entry. */
static void extra_add(struct extra *x, const char *key, const char *value)
{
    size_t rest = strlen(key) + strlen(value) + 3, length = rest + digits(rest);
    if (digits(length) > digits(rest))
        length++;
    x->n += (size_t)snprintf(x->text + x->n, sizeof(x->text) - x->n, "%zu %s=%s\n", length, key, value);
}

static void extra_number(struct extra *x, const char *key, uint64_t v)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
    extra_add(x, key, text);
}

static void extra_time(struct extra *x, const struct timespec *t)
{
    char text[48];
    bool before = t->tv_sec < 0 && t->tv_nsec;
    /* -1.25 is 750 ms after second -2. */
    snprintf(text, sizeof(text), "%s%llu.%09ld", t->tv_sec < 0 ? "-" : "",
             t->tv_sec < 0 ? 0ULL - (unsigned long long)t->tv_sec - before : (unsigned long long)t->tv_sec,
             before ? 1000000000 - t->tv_nsec : t->tv_nsec);
    extra_add(x, "mtime", text);
}

static void put_text(char *field, size_t n, const char *text, struct extra *x, const char *key)
{
    size_t have = strlen(text);
    memcpy(field, text, have < n ? have : n);
    if (have > n)
        extra_add(x, key, text);
}

static int put_header(struct tar_writer *t, struct header *h)
{
    memcpy(h->magic, "ustar", 6);
    memcpy(h->version, "00", 2);
    octal(h->checksum, 7, header_sum(h));
    h->checksum[7] = ' ';
    return tar_put_data(t, h, sizeof(*h));
}

int tar_put(struct tar_writer *t, const struct tar_entry *e)
{
    struct extra x = { 0 };
    struct header h = { .type = e->type };
    char name[AGENT_PATH_MAX + 1];
    snprintf(name, sizeof(name), "%s%s", e->name, e->type == '5' ? "/" : "");
    put_text(h.name, sizeof(h.name), name, &x, "path");
    put_text(h.target, sizeof(h.target), e->target, &x, "linkpath");
    octal(h.mode, sizeof(h.mode), e->mode);
    octal(h.major, sizeof(h.major), e->major);
    octal(h.minor, sizeof(h.minor), e->minor);
    if (!octal(h.uid, sizeof(h.uid), e->uid))
        extra_number(&x, "uid", e->uid);
    if (!octal(h.gid, sizeof(h.gid), e->gid))
        extra_number(&x, "gid", e->gid);
    if (!octal(h.size, sizeof(h.size), e->size))
        extra_number(&x, "size", e->size);
    bool simple = e->mtime.tv_sec >= 0 && octal(h.mtime, sizeof(h.mtime), (uint64_t)e->mtime.tv_sec) && e->mtime.tv_nsec == 0;
    if (!simple)
        extra_time(&x, &e->mtime);
    if (x.n) {
        struct header more = { .type = 'x', .name = "pax", .uid = "0000000", .gid = "0000000", .mtime = "00000000000" };
        octal(more.mode, sizeof(more.mode), 0644);
        octal(more.size, sizeof(more.size), x.n);
        if (put_header(t, &more) < 0 || tar_put_data(t, x.text, x.n) < 0 || tar_put_padding(t, x.n) < 0)
            return -1;
    }
    return put_header(t, &h);
}
