/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/range.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static const char *skip_blanks(const char *s)
{
    return s + strspn(s, " \t");
}

/* 1 with a number, which is UINT64_MAX if it is larger than that; 0 when there is none. */
static int take_number(const char **s, uint64_t *out)
{
    const char *p = *s;
    uint64_t v = 0;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v)) {
            v = UINT64_MAX;
            p += strspn(p, "0123456789");
            break;
        }
    if (p == *s)
        return 0;
    *s = p;
    *out = v;
    return 1;
}

/* One range. 1 = it is in the file, 0 = it is not, -1 = it is no range. */
static int take_range(const char **s, uint64_t size, struct range *out)
{
    uint64_t first, last;
    if (!take_number(s, &first)) {
        if (**s != '-')
            return -1;
        ++*s;
        if (!take_number(s, &last))
            return -1;
        if (last == 0 || size == 0)
            return 0;
        out->length = last < size ? last : size;
        out->start = size - out->length;
        return 1;
    }
    if (**s != '-')
        return -1;
    ++*s;
    if (!take_number(s, &last))
        last = UINT64_MAX;
    if (last < first)
        return -1;
    if (first >= size)
        return 0;
    out->start = first;
    out->length = (last < size - 1 ? last : size - 1) - first + 1;
    return 1;
}

int ranges_parse(const char *header, uint64_t size, struct range out[RANGES_MAX])
{
    static const char unit[] = "bytes";
    if (strncasecmp(header, unit, sizeof(unit) - 1) != 0)
        return 0;
    const char *s = skip_blanks(header + sizeof(unit) - 1);
    if (*s++ != '=')
        return 0;
    int count = 0, seen = 0;
    uint64_t total = 0;
    for (;;) {
        struct range range = { 0 };
        s = skip_blanks(s);
        int found = take_range(&s, size, &range);
        if (found < 0 || ++seen > RANGES_MAX)
            return 0;
        if (found) {
            out[count++] = range;
            if (__builtin_add_overflow(total, range.length, &total) || total > size)
                return 0;
        }
        s = skip_blanks(s);
        if (*s == '\0')
            break;
        if (*s++ != ',')
            return 0;
    }
    return count > 0 ? count : -1;
}

/* Whether the list of entity tags has that one, or is "*". With strong comparison a weak tag is never equal. */
static bool has_tag(const char *list, const char *etag, bool strong)
{
    size_t n = strlen(etag);
    for (const char *s = skip_blanks(list); *s; s = skip_blanks(s)) {
        bool weak = strncmp(s, "W/", 2) == 0;
        if (*s == '*')
            return true;
        s += weak ? 2 : 0;
        if (*s != '"')
            return false;
        const char *end = strchr(s + 1, '"');
        if (!end)
            return false;
        if ((size_t)(end + 1 - s) == n && memcmp(s, etag, n) == 0 && !(weak && strong))
            return true;
        s = skip_blanks(end + 1);
        if (*s == ',')
            s++;
        else if (*s)
            return false;
    }
    return false;
}

int conditions_check(const struct conditions *c, const char *etag, int64_t modified)
{
    if (c->if_match) {
        if (!has_tag(c->if_match, etag, true))
            return 412;
    } else if (c->if_unmodified_since) {
        int64_t since = http_date_parse(c->if_unmodified_since);
        if (since >= 0 && modified > since)
            return 412;
    }
    if (c->if_none_match)
        return has_tag(c->if_none_match, etag, false) ? 304 : 200;
    if (c->if_modified_since) {
        int64_t since = http_date_parse(c->if_modified_since);
        if (since >= 0 && modified <= since)
            return 304;
    }
    return 200;
}

bool conditions_range(const struct conditions *c, const char *etag, int64_t modified)
{
    if (!c->if_range)
        return true;
    const char *s = skip_blanks(c->if_range);
    if (*s == '"')
        return strcmp(s, etag) == 0;
    return http_date_parse(s) == modified;
}

static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

void http_date_format(char out[HTTP_DATE_SIZE], int64_t seconds)
{
    /* What has a year of four digits and no other. */
    const int64_t last = 253402300799;
    time_t t = (time_t)(seconds < 0 ? 0 : seconds > last ? last : seconds);
    struct tm tm = { 0 };
    gmtime_r(&t, &tm);
    snprintf(out, HTTP_DATE_SIZE, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[(unsigned)tm.tm_wday % 7], (unsigned)tm.tm_mday % 100,
             months[(unsigned)tm.tm_mon % 12], (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
             (unsigned)tm.tm_sec % 100);
}

int64_t http_date_parse(const char *s)
{
    /* The names of days and months are those of the protocol, whatever the language of the program: so it is taken apart here and compared whole. */
    struct tm tm = { 0 };
    char month[4] = "", again[HTTP_DATE_SIZE];
    if (strlen(s) != HTTP_DATE_SIZE - 1 ||
        sscanf(s + 5, "%2d %3[A-Za-z] %4d %2d:%2d:%2d GMT", &tm.tm_mday, month, &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
        return -1;
    tm.tm_mon = -1;
    for (int i = 0; i < 12; i++)
        if (strcmp(month, months[i]) == 0)
            tm.tm_mon = i;
    tm.tm_year -= 1900;
    if (tm.tm_mon < 0)
        return -1;
    int64_t seconds = timegm(&tm);
    if (seconds < 0)
        return -1;
    http_date_format(again, seconds);
    return strcmp(again, s) == 0 ? seconds : -1;
}
