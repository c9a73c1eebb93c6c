/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The fields of a request, checked against a table and put into a struct. One block of memory takes the payload's copy, in which each
 * text is ended by a NUL where the next field's header (already read from the original) began, and the arrays of the lists.
 */
#include <errno.h>
#include <string.h>

#include "guest/agent/agent.h"

static const struct field_spec *spec_of(const struct field_spec *specs, size_t count, uint16_t key, size_t *i)
{
    for (*i = 0; *i < count; (*i)++)
        if (specs[*i].key == key)
            return &specs[*i];
    return NULL;
}

static bool is_list(const struct field_spec *s)
{
    return s->kind == FIELD_TEXTS || s->kind == FIELD_NUMBERS;
}

static bool is_number(const struct field_spec *s)
{
    return s->kind == FIELD_NUMBER || s->kind == FIELD_NUMBERS;
}

static int field_check(const struct field_spec *s, const struct wire_field *f, struct report *r)
{
    uint64_t v;
    if (is_number(s)) {
        if (wire_number(f, &v) < 0)
            return report_set(r, EINVAL, "key %u is not a number", f->key);
        if (s->max && v > s->max)
            return report_set(r, EINVAL, "key %u is too large", f->key);
        return 0;
    }
    if (s->max && f->length > s->max)
        return report_set(r, EINVAL, "key %u is longer than %llu bytes", f->key, (unsigned long long)s->max);
    if (s->kind != FIELD_BYTES && f->length && memchr(f->value, 0, f->length))
        return report_set(r, EINVAL, "key %u has a NUL in its text", f->key);
    return 0;
}

/* How often each key comes, and whether each may. */
static int fields_count(size_t *seen, const struct field_spec *specs, size_t count, const uint8_t *payload, size_t n, struct report *r)
{
    struct wire_reader reader;
    struct wire_field f;
    int got;
    wire_reader_init(&reader, payload, n);
    while ((got = wire_next(&reader, &f)) > 0) {
        size_t i;
        const struct field_spec *s = spec_of(specs, count, f.key, &i);
        if (!s)
            continue;
        if (seen[i] && !is_list(s))
            return report_set(r, EINVAL, "key %u comes twice", f.key);
        if (field_check(s, &f, r) < 0)
            return -1;
        seen[i]++;
    }
    if (got < 0)
        return report_set(r, EPROTO, "the payload is not a list of fields");
    for (size_t i = 0; i < count; i++)
        if (specs[i].needed && !seen[i])
            return report_set(r, EINVAL, "key %u is missing", specs[i].key);
    return 0;
}

static void field_store(const struct field_spec *s, void *out, uint8_t *copy, const struct wire_field *f)
{
    void *at = (char *)out + s->offset;
    uint64_t v = 0;
    if (is_number(s))
        wire_number(f, &v);
    else if (s->kind != FIELD_BYTES)
        copy[f->length] = '\0';
    switch ((enum field_kind)s->kind) {
    case FIELD_NUMBER:
        *(uint64_t *)at = v;
        return;
    case FIELD_TEXT:
        *(const char **)at = (const char *)copy;
        return;
    case FIELD_BYTES:
        *(struct bytes *)at = (struct bytes){ .p = copy, .n = f->length };
        return;
    case FIELD_TEXTS: {
        struct text_list *l = at;
        l->v[l->n++] = (const char *)copy;
        return;
    }
    case FIELD_NUMBERS: {
        struct number_list *l = at;
        l->v[l->n++] = v;
        return;
    }
    }
}

int fields_read(void **memory, void *out, const struct field_spec *specs, size_t count, const uint8_t *payload, size_t n, struct report *r)
{
    size_t seen[24] = { 0 };
    *memory = NULL;
    if (count > sizeof(seen) / sizeof(seen[0]))
        return report_set(r, E2BIG, "too many keys");
    if (fields_count(seen, specs, count, payload, n, r) < 0)
        return -1;

    size_t slots = 0;
    for (size_t i = 0; i < count; i++)
        if (is_list(&specs[i]))
            slots += seen[i] + 1;
    /* slots is at most n / 6 + count, so neither product nor sum can overflow. */
    uint64_t *block = calloc(1, slots * sizeof(uint64_t) + n + 1);
    if (!block)
        return report_set(r, ENOMEM, "no memory for a request");
    uint64_t *slot = block;
    for (size_t i = 0; i < count; i++) {
        void *at = (char *)out + specs[i].offset;
        if (specs[i].kind == FIELD_TEXTS)
            *(struct text_list *)at = (struct text_list){ .v = (const char **)(void *)slot };
        else if (specs[i].kind == FIELD_NUMBERS)
            *(struct number_list *)at = (struct number_list){ .v = slot };
        else
            continue;
        slot += seen[i] + 1;
    }

    uint8_t *copy = (uint8_t *)(block + slots);
    if (n)
        memcpy(copy, payload, n);
    struct wire_reader reader;
    struct wire_field f;
    wire_reader_init(&reader, payload, n);
    while (wire_next(&reader, &f) > 0) {
        size_t i;
        const struct field_spec *s = spec_of(specs, count, f.key, &i);
        if (s)
            field_store(s, out, copy + (f.value - payload), &f);
    }
    *memory = block;
    return 0;
}
