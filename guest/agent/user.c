/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Users as Docker takes them: "", "name", "uid", each with ":group" or ":gid". The files are the image's, so anything may be in them:
 * lines that make no sense are passed over, sizes are bounded, nothing is trusted to end.
 *
 *   - A word of digits is always a number, even if a user of that name exists. A number need not be in the file.
 *   - "" is the user 0. Whoever is found in passwd brings home, main group and, unless a group is given, all groups that list the name.
 *   - A group that is given replaces the main group, and there are no others.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guest/agent/agent.h"

#define USER_FILE_MAX (4U << 20)
#define USER_FILE_SMALL 16384U
#define USER_FIELDS 7

/* A piece of the text, not ended by a NUL. */
struct piece {
    const char *p;
    size_t n;
};

static bool piece_is(struct piece a, struct piece b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

/* Cuts *rest at the first c; the piece before it, or all. false when nothing was left. */
static bool piece_cut(struct piece *rest, char c, struct piece *out)
{
    if (!rest->p)
        return false;
    const char *end = rest->n ? memchr(rest->p, c, rest->n) : NULL;
    out->p = rest->p;
    out->n = end ? (size_t)(end - rest->p) : rest->n;
    rest->p = end ? end + 1 : NULL;
    rest->n -= end ? out->n + 1 : out->n;
    return true;
}

/* A number that can be an id; (uid_t)-1 means "no change" to the kernel. */
static bool piece_number(struct piece s, uint32_t *v)
{
    uint64_t sum = 0;
    if (s.n == 0 || s.n > 10)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        sum = sum * 10 + (uint64_t)(s.p[i] - '0');
    }
    *v = (uint32_t)sum;
    return sum < UINT32_MAX;
}

static bool piece_digits(struct piece s)
{
    size_t i = 0;
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
        i++;
    return s.n && i == s.n;
}

static size_t line_split(struct piece line, struct piece fields[USER_FIELDS])
{
    size_t n = 0;
    while (n < USER_FIELDS && piece_cut(&line, ':', &fields[n]))
        n++;
    return n;
}

static void home_set(struct user *u, struct piece home)
{
    if (home.n == 0 || home.n >= sizeof(u->home) || memchr(home.p, 0, home.n))
        return;
    memcpy(u->home, home.p, home.n);
    u->home[home.n] = '\0';
}

/* The first line of passwd with that name, or with that number when by_name is false. */
static bool passwd_find(struct user *u, struct piece passwd, bool by_name, struct piece name, uint32_t uid, struct piece *found)
{
    struct piece line, f[USER_FIELDS];
    while (piece_cut(&passwd, '\n', &line)) {
        size_t n = line_split(line, f);
        uint32_t line_uid, line_gid;
        if (n < 4 || f[0].n == 0 || f[0].p[0] == '#' || !piece_number(f[2], &line_uid) || !piece_number(f[3], &line_gid))
            continue;
        if (by_name ? !piece_is(f[0], name) : line_uid != uid)
            continue;
        u->uid = line_uid;
        u->gid = line_gid;
        if (n > 5)
            home_set(u, f[5]);
        *found = f[0];
        return true;
    }
    return false;
}

static bool list_has(struct piece list, struct piece name)
{
    struct piece member;
    while (piece_cut(&list, ',', &member))
        if (piece_is(member, name))
            return true;
    return false;
}

static int groups_of(struct user *u, struct piece group, struct piece name, struct report *r)
{
    struct piece line, f[USER_FIELDS];
    while (piece_cut(&group, '\n', &line)) {
        uint32_t gid;
        if (line_split(line, f) < 4 || f[0].n == 0 || f[0].p[0] == '#' || !piece_number(f[2], &gid) || !list_has(f[3], name))
            continue;
        if (u->group_count == USER_GROUPS_MAX)
            return report_set(r, EINVAL, "the user is in more than %u groups of /etc/group", USER_GROUPS_MAX);
        u->groups[u->group_count++] = gid;
    }
    return 0;
}

static bool group_find(uint32_t *gid, struct piece group, struct piece name)
{
    struct piece line, f[USER_FIELDS];
    while (piece_cut(&group, '\n', &line))
        if (line_split(line, f) >= 3 && f[0].n && piece_is(f[0], name) && piece_number(f[2], gid))
            return true;
    return false;
}

int user_find(struct user *u, const char *spec, const char *passwd, size_t passwd_n, const char *group, size_t group_n, struct report *r)
{
    struct piece name, wanted = { 0 }, found, rest = { spec, strlen(spec) };
    struct piece passwd_text = { passwd, passwd_n }, group_text = { group, group_n };
    uint32_t uid = 0;
    u->uid = 0;
    u->gid = 0;
    u->group_count = 0;
    strcpy(u->home, "/");
    piece_cut(&rest, ':', &name);
    bool has_group = rest.p && rest.n;
    if (has_group)
        wanted = rest;

    bool by_name = name.n && !piece_digits(name);
    if (name.n && !by_name && !piece_number(name, &uid))
        return report_set(r, EINVAL, "user '%s': the number is too large", spec);
    bool known = passwd_find(u, passwd_text, by_name, name, uid, &found);
    if (!known && by_name)
        return report_set(r, EINVAL, "user '%.*s' is not in the image's /etc/passwd", (int)name.n, name.p);
    if (!known)
        u->uid = uid;

    if (!has_group)
        return known ? groups_of(u, group_text, found, r) : 0;
    if (piece_digits(wanted)) {
        if (!piece_number(wanted, &u->gid))
            return report_set(r, EINVAL, "user '%s': the group's number is too large", spec);
        return 0;
    }
    if (!group_find(&u->gid, group_text, wanted))
        return report_set(r, EINVAL, "group '%.*s' is not in the image's /etc/group", (int)wanted.n, wanted.p);
    return 0;
}

/*
 * Reads one of the two files. This is on the way of every RUN, so the usual, small, file costs three system calls and no memory; one that
 * does not fit into buf is read again with all care. A missing file is an empty one.
 */
static struct piece user_file(const char *path, char *buf, size_t size, char **large)
{
    struct piece text = { .p = buf };
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return text;
    ssize_t n = read(fd, buf, size);
    close(fd);
    text.n = n < 0 ? 0 : (size_t)n;
    if (text.n < size)
        return text;
    text.n = 0;
    if (files_read(path, USER_FILE_MAX, large, &text.n) == 0)
        text.p = *large;
    return text;
}

int user_load(struct user *u, const char *spec, struct report *r)
{
    char passwd_buf[USER_FILE_SMALL], group_buf[USER_FILE_SMALL];
    cleanup_free char *passwd_large = NULL;
    cleanup_free char *group_large = NULL;
    struct piece passwd = user_file("/etc/passwd", passwd_buf, sizeof(passwd_buf), &passwd_large);
    struct piece group = user_file("/etc/group", group_buf, sizeof(group_buf), &group_large);
    return user_find(u, spec, passwd.p, passwd.n, group.p, group.n, r);
}
