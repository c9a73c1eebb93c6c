/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "script/report.h"

/* How many bytes at p belong together: a character, then *whole is true, or the longest beginning of one. At least 1. */
static size_t utf8_step(const unsigned char *p, size_t n, bool *whole)
{
    unsigned char c = p[0], low = 0x80, high = 0xbf;
    size_t size = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0, i = 1;
    *whole = size == 1;
    if (size < 2)
        return 1;
    /* The second byte rules out overlong forms, surrogates and what is above U+10FFFF. */
    low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : low;
    high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : high;
    for (; i < size && i < n && p[i] >= low && p[i] <= high; i++) {
        low = 0x80;
        high = 0xbf;
    }
    *whole = i == size;
    return i;
}

static bool is_utf8(const unsigned char *p, size_t n)
{
    bool whole = true;
    for (size_t i = 0; i < n && whole;)
        i += utf8_step(p + i, n - i, &whole);
    return whole;
}

json_t *text_whole(const unsigned char *p, size_t n)
{
    if (is_utf8(p, n))
        return json_stringn((const char *)p, n);
    cleanup_buf struct gv_buf b = { 0 };
    gv_buf_reserve(&b, 2 * n);
    for (size_t i = 0; i < n; i++) {
        const unsigned char two[] = { (unsigned char)(0xc0 | p[i] >> 6), (unsigned char)(0x80 | (p[i] & 0x3f)) };
        gv_buf_add(&b, p[i] < 0x80 ? &p[i] : two, p[i] < 0x80 ? 1 : 2);
    }
    return json_stringn((const char *)b.data, b.len);
}

json_t *text_lossy(const unsigned char *p, size_t n)
{
    if (is_utf8(p, n))
        return json_stringn((const char *)p, n);
    cleanup_buf struct gv_buf b = { 0 };
    for (size_t i = 0; i < n;) {
        bool whole;
        size_t step = utf8_step(p + i, n - i, &whole);
        gv_buf_add(&b, whole ? (const void *)(p + i) : "\xef\xbf\xbd", whole ? step : 3);
        i += step;
    }
    return json_stringn((const char *)b.data, b.len);
}

json_t *text_numbers(const unsigned char *p, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, json_integer(p[i]));
    return array;
}
