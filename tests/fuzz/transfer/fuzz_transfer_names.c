/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names and links of an archive, globs and locations: the input is lines of "pattern name target". */
#include <string.h>

#include "transfer/move.h"

/* Follows a link from a directory `levels` deep as a file system without other links would, and says whether it is ever above the top. */
static bool climbs(const char *target, size_t levels)
{
    for (const char *p = target; *p; p += strspn(p, "/")) {
        size_t n = strcspn(p, "/");
        if (n == 2 && !strncmp(p, "..", 2)) {
            if (levels == 0)
                return true;
            levels--;
        } else if (n != 1 || *p != '.') {
            levels++;
        }
        p += n;
    }
    return false;
}

static void check_name(const char *raw, const char *target)
{
    struct gv_error err = GV_ERROR_INIT;
    cleanup_free char *name = unpack_name(raw, &err);
    if (!name) {
        if (err.code == GV_OK || !err.msg[0])
            __builtin_trap();
        return;
    }
    size_t levels = 0;
    for (const char *p = name; *p; p += *p == '/') {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && *p == '.') || (n == 2 && !strncmp(p, "..", 2)))
            __builtin_trap();
        p += n;
        levels += *p == '/';
    }
    if (name[0] && name[strlen(name) - 1] == '/')
        __builtin_trap();
    if (unpack_link_stays(target, levels) && (target[0] == '/' || climbs(target, levels)))
        __builtin_trap();
}

static void check_glob(const char *glob, const char *name)
{
    struct transfer_request r = { 0 };
    CLEANUP(fileset) struct fileset *set = NULL;
    gv_strv_add(&r.includes, glob);
    if (fileset_new(&set, &r, NULL) == 0)
        fileset_has(set, name);
    gv_strv_clear(&r.includes);
}

static void check_location(const char *text)
{
    struct location l;
    struct gv_error err = GV_ERROR_INIT;
    int got = location_parse(&l, text, &err);
    if (got < 0 && !err.msg[0])
        __builtin_trap();
    if (got == 0 && l.kind == LOCATION_CONTAINER && (l.path[0] != '/' || strstr(l.path, "/../") || strstr(l.path, "//")))
        __builtin_trap();
    location_clear(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = gv_strndup((const char *)data, size);
    char *lines = text;
    for (char *line; (line = strsep(&lines, "\n"));) {
        char *pattern = strsep(&line, " "), *name = strsep(&line, " ");
        check_location(pattern);
        if (!name)
            continue;
        check_glob(pattern, name);
        check_name(name, line ? line : "");
    }
    return 0;
}
