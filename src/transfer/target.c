/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What `gvmkit cp` copies to where, by words alone. */
#include <string.h>

#include "transfer/transfer.h"

/* The length of the path without what says only that it is a directory: slashes and "." at its end. */
static size_t trimmed(const char *path)
{
    size_t n = strlen(path);
    for (;;) {
        if (n > 1 && path[n - 1] == '/')
            n--;
        else if (n > 1 && path[n - 1] == '.' && path[n - 2] == '/')
            n -= n > 2 ? 2 : 1;
        else
            return n;
    }
}

static size_t base_at(const char *path, size_t n)
{
    while (n && path[n - 1] != '/')
        n--;
    return n;
}

static bool is_no_name(const char *p, size_t n)
{
    return n == 0 || (n == 1 && (*p == '.' || *p == '/')) || (n == 2 && !strncmp(p, "..", 2));
}

char *transfer_base(const char *path)
{
    size_t n = trimmed(path), at = base_at(path, n);
    return is_no_name(path + at, n - at) ? gv_strdup("") : gv_strndup(path + at, n - at);
}

bool transfer_says_directory(const char *path)
{
    size_t n = strlen(path), at = base_at(path, n);
    return at == n || is_no_name(path + at, n - at);
}

bool transfer_means_contents(const char *path)
{
    size_t n = strlen(path), at = base_at(path, n);
    return n - at == 1 && path[at] == '.';
}

/* The directory that the path's last component is in. */
static char *parent(const char *path)
{
    size_t n = base_at(path, trimmed(path));
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n ? gv_strndup(path, n) : gv_strdup(".");
}

/* With the name that `to` has. */
static int named(struct transfer_target *out, const char *to, struct gv_error *err)
{
    cleanup_free char *name = transfer_base(to);
    if (!name[0])
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "the destination `%s` does not exist", to);
    *out = (struct transfer_target){ .directory = parent(to), .name = steal_ptr(name) };
    return 0;
}

int transfer_target(struct transfer_target *out, const char *from, enum transfer_kind from_kind, const char *to, enum transfer_kind to_kind,
                    struct gv_error *err)
{
    bool directory = from_kind == TRANSFER_DIRECTORY;
    if (from_kind == TRANSFER_NOTHING)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no `%s`", from);
    if (from_kind == TRANSFER_OTHER)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is neither a file nor a directory", from);
    if (!directory && transfer_says_directory(from))
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a directory", from);
    switch (to_kind) {
    case TRANSFER_DIRECTORY:
        *out = (struct transfer_target){ .directory = gv_strdup(to),
                                         .name = directory && transfer_means_contents(from) ? gv_strdup("") : transfer_base(from) };
        return 0;
    case TRANSFER_FILE:
        if (directory)
            return gv_error_set(err, GV_E_EXISTS, 0, "`%s` is a file, and cannot become the directory `%s`", to, from);
        if (transfer_says_directory(to))
            return gv_error_set(err, GV_E_USAGE, 0, "the destination `%s` is not a directory", to);
        return named(out, to, err);
    case TRANSFER_NOTHING:
        if (!directory && transfer_says_directory(to))
            return gv_error_set(err, GV_E_NOT_FOUND, 0, "the destination directory `%s` does not exist", to);
        return named(out, to, err);
    case TRANSFER_OTHER:
        break;
    }
    return gv_error_set(err, GV_E_USAGE, 0, "the destination `%s` is neither a file nor a directory; `-` writes a tar to standard output",
                        to);
}

void transfer_target_clear(struct transfer_target *t)
{
    free(t->directory);
    free(t->name);
    *t = (struct transfer_target){ 0 };
}
