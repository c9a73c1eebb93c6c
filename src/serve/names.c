/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/names.h"

#include <string.h>

static bool alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool name_valid(const char *s, size_t most)
{
    size_t n = strnlen(s, most + 1);
    if (n == 0 || n > most || !alnum(s[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!alnum(s[i]) && !strchr("._-", s[i]))
            return false;
    return true;
}

static int take_name(char *out, size_t most, const char *s, size_t n, const char *what, const char *whole, struct gv_error *err)
{
    if (n <= most) {
        memcpy(out, s, n);
        out[n] = '\0';
    }
    if (n > most || strlen(out) != n || !name_valid(out, most))
        return gv_error_set(
            err, GV_E_USAGE, 0,
            "the name of the %s in `%.300s` is not valid: up to %zu letters, digits and . _ -, the first one a letter or a digit", what,
            whole, most);
    return 0;
}

int reference_parse_repo(const char *s, struct reference *out, struct gv_error *err)
{
    const char *slash = strchr(s, '/');
    if (!slash)
        return gv_error_set(err, GV_E_USAGE, 0, "`%.300s` is not a repository; write USER/REPO", s);
    if (take_name(out->user, NAME_MAX_USER, s, (size_t)(slash - s), "user", s, err) < 0)
        return -1;
    return take_name(out->repo, NAME_MAX_USER, slash + 1, strlen(slash + 1), "repository", s, err);
}

int reference_parse(const char *s, struct reference *out, struct gv_error *err)
{
    const char *slash = strchr(s, '/'), *colon = strchr(s, ':');
    if (!slash || (colon && colon < slash))
        return gv_error_set(err, GV_E_USAGE, 0, "`%.300s` is not a tag; write USER/REPO:TAG", s);
    const char *end = colon ? colon : s + strlen(s), *tag = colon ? colon + 1 : "latest";
    if (take_name(out->user, NAME_MAX_USER, s, (size_t)(slash - s), "user", s, err) < 0 ||
        take_name(out->repo, NAME_MAX_USER, slash + 1, (size_t)(end - slash - 1), "repository", s, err) < 0)
        return -1;
    return take_name(out->tag, NAME_MAX_TAG, tag, strlen(tag), "tag", s, err);
}

bool host_valid(const char *s)
{
    size_t n = strnlen(s, 256);
    if (n == 0 || n > 255)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!alnum(s[i]) && !strchr(".-:[]", s[i]))
            return false;
    return true;
}
