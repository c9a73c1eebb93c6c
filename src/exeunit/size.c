/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sizes as they come in --volume-override. The ExeUnit prints them with one digit after the point and in powers of 1000, so that "1073.7 MB" may have
 * been 1 GiB; other tools write "512 MiB", "10g" or plain bytes.
 */
#include <ctype.h>
#include <string.h>

#include "exeunit/exeunit.h"

#define DIGITS_MAX 30U

static int bad(const char *text, struct gv_error *err)
{
    return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a size; write 1073.7 MB, 512 MiB or a number of bytes", text);
}

/* The factor of a unit, 0 when there is no such unit. "" is bytes. */
static uint64_t unit_factor(const char *unit)
{
    static const char letters[] = "kmgtp";
    char u[4] = "";
    size_t n = strlen(unit);
    if (n > 3)
        return 0;
    for (size_t i = 0; i < n; i++)
        u[i] = (char)tolower((unsigned char)unit[i]);
    if (n == 0 || !strcmp(u, "b"))
        return 1;
    const char *letter = strchr(letters, u[0]);
    if (!letter)
        return 0;
    uint64_t base = u[1] == 'i' ? 1024 : 1000, factor = 1;
    const char *rest = u + 1 + (u[1] == 'i');
    if (*rest && strcmp(rest, "b") != 0)
        return 0;
    for (const char *at = letters; at <= letter; at++)
        factor *= base;
    return factor;
}

int exeunit_size(const char *text, uint64_t *bytes, uint64_t *slack, struct gv_error *err)
{
    const char *p = text + strspn(text, " ");
    __uint128_t digits = 0, scale = 1;
    size_t count = 0;
    bool point = false;
    for (; isdigit((unsigned char)*p) || (*p == '.' && !point); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        if (++count > DIGITS_MAX)
            return bad(text, err);
        digits = digits * 10 + (unsigned)(*p - '0');
        if (point)
            scale *= 10;
    }
    p += strspn(p, " ");
    char unit[8];
    size_t n = strcspn(p, " ");
    if (count == 0 || n >= sizeof(unit) || p[n + strspn(p + n, " ")] != '\0')
        return bad(text, err);
    memcpy(unit, p, n);
    unit[n] = '\0';
    uint64_t factor = unit_factor(unit);
    if (factor == 0 || (point && factor == 1))
        return bad(text, err);
    /* A number beyond this is no size of anything, and would run over. */
    if (digits / scale > (UINT64_C(1) << 62) / factor || digits > ((__uint128_t)1 << 70))
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is too large for a size", text);
    *bytes = (uint64_t)(digits * factor / scale);
    if (slack)
        *slack = point ? (uint64_t)(factor / scale / 2) : 0;
    return 0;
}
