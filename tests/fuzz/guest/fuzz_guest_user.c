/* SPDX-License-Identifier: GPL-3.0-or-later */
/* USER, /etc/passwd and /etc/group, all three from the image: the input is "user NUL passwd NUL group". */
#include <string.h>

#include "guest/agent/agent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct user u;
    struct report r = { 0 };
    const uint8_t *first = size ? memchr(data, 0, size) : NULL;
    if (!first)
        return 0;
    const uint8_t *end = data + size, *passwd = first + 1;
    const uint8_t *second = end > passwd ? memchr(passwd, 0, (size_t)(end - passwd)) : NULL;
    const uint8_t *group = second ? second + 1 : end;
    size_t passwd_n = second ? (size_t)(second - passwd) : (size_t)(end - passwd);
    /* Copies of their exact sizes, so that a read behind an end is seen. */
    cleanup_free char *p = malloc(passwd_n ? passwd_n : 1);
    cleanup_free char *g = malloc(end > group ? (size_t)(end - group) : 1);
    if (!p || !g)
        return 0;
    memcpy(p, passwd, passwd_n);
    memcpy(g, group, (size_t)(end - group));
    int done = user_find(&u, (const char *)data, p, passwd_n, g, (size_t)(end - group), &r);
    if (done == 0 && (u.uid == (uid_t)-1 || u.gid == (gid_t)-1 || u.group_count > USER_GROUPS_MAX || !memchr(u.home, 0, sizeof(u.home))))
        __builtin_trap();
    if (done < 0 && r.error == 0)
        __builtin_trap();
    return 0;
}
