/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/error.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Length of the valid UTF-8 sequence at s (at most n bytes left), 0 if there is none. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    size_t len = s[0] < 0x80 ? 1 : (s[0] & 0xe0) == 0xc0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : (s[0] & 0xf8) == 0xf0 ? 4 : 0;
    if (len == 0 || len > n)
        return 0;
    uint32_t cp = len == 1 ? s[0] : s[0] & (0x7fU >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        cp = cp << 6 | (s[i] & 0x3fU);
    }
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (cp < least[len] || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        return 0;
    if (cp >= 0x80 && cp < 0xa0) /* C1 controls move a terminal's cursor too */
        return 0;
    return len;
}

static void store_clean(char *dst, size_t size, const char *src)
{
    const unsigned char *s = (const unsigned char *)src;
    size_t left = strlen(src), at = 0;
    while (left > 0) {
        size_t len = utf8_length(s, left);
        bool plain = len > 1 || (len == 1 && s[0] >= 0x20 && s[0] != 0x7f);
        size_t need = plain ? len : 4;
        if (at + need >= size)
            break;
        if (plain) {
            memcpy(dst + at, s, len);
        } else {
            static const char hex[] = "0123456789abcdef";
            dst[at] = '\\';
            dst[at + 1] = 'x';
            dst[at + 2] = hex[s[0] >> 4];
            dst[at + 3] = hex[s[0] & 15];
            len = 1;
        }
        at += need;
        s += len;
        left -= len;
    }
    dst[at] = '\0';
}

int gv_error_set(struct gv_error *err, enum gv_code code, int sys, const char *fmt, ...)
{
    int saved = errno;
    if (err) {
        char raw[sizeof(err->msg) * 2];
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(raw, sizeof(raw), fmt, ap);
        va_end(ap);
        if (n < 0)
            raw[0] = '\0';
        if (sys != 0) {
            size_t at = strlen(raw);
            snprintf(raw + at, sizeof(raw) - at, ": %s", strerror(sys));
        }
        err->code = code;
        err->sys = sys;
        store_clean(err->msg, sizeof(err->msg), raw);
    }
    errno = saved;
    return -1;
}

int gv_error_prefix(struct gv_error *err, const char *fmt, ...)
{
    int saved = errno;
    if (err) {
        char raw[sizeof(err->msg) * 2];
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(raw, sizeof(raw), fmt, ap);
        va_end(ap);
        if (n < 0)
            raw[0] = '\0';
        size_t at = strlen(raw);
        snprintf(raw + at, sizeof(raw) - at, "%s%s", at ? ": " : "", err->msg);
        store_clean(err->msg, sizeof(err->msg), raw);
    }
    errno = saved;
    return -1;
}

int gv_error_hint(struct gv_error *err, const char *fmt, ...)
{
    int saved = errno;
    if (err) {
        char raw[sizeof(err->msg) * 2];
        size_t at = strlen(err->msg);
        memcpy(raw, err->msg, at);
        memcpy(raw + at, "; ", 3);
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(raw + at + 2, sizeof(raw) - at - 2, fmt, ap);
        va_end(ap);
        if (n >= 0)
            store_clean(err->msg, sizeof(err->msg), raw);
    }
    errno = saved;
    return -1;
}

void gv_error_clear(struct gv_error *err)
{
    if (err) {
        err->code = GV_OK;
        err->sys = 0;
        err->msg[0] = '\0';
    }
}
