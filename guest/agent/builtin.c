/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the agent does itself in the payload's world (wire.h, enum wire_builtin), in a child that has entered it like any program of RUN. Root of the
 * payload can trace that child and make it say whatever it likes: so what it says is worth as much as what a program of the image says.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/agent/agent.h"

int builtin_fail(int error, const char *format, ...)
{
    char text[AGENT_PATH_MAX + 256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    dprintf(2, error ? "%s: %s\n" : "%s\n", text, strerror(error));
    return -1;
}

static char kind_of(const struct stat *st)
{
    return S_ISREG(st->st_mode) ? 'f' : S_ISDIR(st->st_mode) ? 'd' : S_ISLNK(st->st_mode) ? 'l' : 'o';
}

/* What a path is; '-' for nothing, '\0' when that cannot be told. */
static char kind_at(const char *path, int (*look)(const char *, struct stat *))
{
    struct stat st;
    if (look(path, &st) == 0)
        return kind_of(&st);
    if (errno == ENOENT || errno == ENOTDIR)
        return '-';
    builtin_fail(errno, "'%s'", path);
    return '\0';
}

static int stat_main(const char *path)
{
    char resolved[PATH_MAX];
    char kinds[2] = { kind_at(path, lstat), kind_at(path, stat) };
    if (!kinds[0] || !kinds[1])
        return 1;
    if (kinds[1] == '-')
        resolved[0] = '\0';
    else if (!realpath(path, resolved))
        return builtin_fail(errno, "'%s'", path) < 0;
    return dprintf(1, "%c%c%s", kinds[0], kinds[1], resolved) < 0;
}

int builtin_main(const struct run *run)
{
    const char *const *argument = run->argv.v;
    if (chdir("/") < 0)
        return builtin_fail(errno, "'/'") < 0;
    if (run->builtin == WIRE_BUILTIN_STAT)
        return stat_main(argument[0]);
    if (run->builtin == WIRE_BUILTIN_UNPACK)
        return unpack_main(argument[0]);
    if (!argument[1] || !*argument[1] || strlen(argument[1]) >= AGENT_PATH_MAX)
        return builtin_fail(EINVAL, "the name in the archive") < 0;
    return pack_main(argument[0], argument[1]);
}
