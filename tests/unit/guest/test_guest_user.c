/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Users and groups out of files that anybody may have written. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/agent/agent.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
                             "# a comment:x:1:1::/:\n"
                             "short:x\n"
                             "\n"
                             "letters:x:abc:1::/:\n"
                             "huge:x:4294967296:1::/:\n"
                             "minus:x:4294967295:1::/:\n"
                             "app:x:1000:1001:An App:/srv/app:/bin/sh\n"
                             "1234:x:77:78:a name of digits:/n:\n"
                             "nohome:x:5:6\n"
                             "app:x:9:9:the second of that name:/:\n"
                             "last:x:20:21::/last:/bin/sh"; /* no newline */
static const char group[] = "root:x:0:\n"
                            "wheel:x:10:root,app\n"
                            "staff:x:50:app\n"
                            "other:x:60:apple,snapp, app\n"
                            "bad:x:zz:app\n"
                            "video:x:44:root\n"
                            "tail:x:99:last,app";

static struct user u;
static struct report r;

static int find(const char *spec)
{
    memset(&r, 0, sizeof(r));
    return user_find(&u, spec, passwd, sizeof(passwd) - 1, group, sizeof(group) - 1, &r);
}

static void names(void **state)
{
    (void)state;
    assert_int_equal(find("app"), 0);
    assert_int_equal(u.uid, 1000);
    assert_int_equal(u.gid, 1001);
    assert_string_equal(u.home, "/srv/app");
    assert_int_equal(u.group_count, 3);
    assert_int_equal(u.groups[0], 10);
    assert_int_equal(u.groups[1], 50);
    assert_int_equal(u.groups[2], 99);
    assert_int_equal(find("last"), 0);
    assert_int_equal(u.uid, 20);
    assert_string_equal(u.home, "/last");
    assert_int_equal(u.group_count, 1);
    assert_int_equal(find("nohome"), 0);
    assert_string_equal(u.home, "/");
}

static void empty_is_root(void **state)
{
    (void)state;
    assert_int_equal(find(""), 0);
    assert_int_equal(u.uid, 0);
    assert_string_equal(u.home, "/root");
    assert_int_equal(u.group_count, 2);
    assert_int_equal(u.groups[1], 44);
    assert_int_equal(find(":"), 0);
    assert_int_equal(u.uid, 0);
    assert_int_equal(find(":staff"), 0);
    assert_int_equal(u.gid, 50);
    assert_int_equal(u.group_count, 0);
    assert_int_equal(user_find(&u, "", "", 0, "", 0, &r), 0);
    assert_string_equal(u.home, "/");
    assert_int_equal(u.group_count, 0);
}

static void numbers(void **state)
{
    (void)state;
    assert_int_equal(find("1000"), 0);
    assert_int_equal(u.gid, 1001);
    assert_int_equal(u.group_count, 3);
    /* Not in the file: fine, group 0. */
    assert_int_equal(find("4242"), 0);
    assert_int_equal(u.uid, 4242);
    assert_int_equal(u.gid, 0);
    assert_string_equal(u.home, "/");
    /* Digits are a number, even if somebody is called that. */
    assert_int_equal(find("1234"), 0);
    assert_int_equal(u.uid, 1234);
    assert_int_equal(find("4294967294"), 0);
    assert_int_equal(find("4294967295"), -1);
    assert_int_equal(r.error, EINVAL);
    assert_int_equal(find("99999999999999999999"), -1);
    assert_int_equal(find("0"), 0);
    assert_string_equal(u.home, "/root");
}

static void groups(void **state)
{
    (void)state;
    assert_int_equal(find("app:staff"), 0);
    assert_int_equal(u.gid, 50);
    assert_int_equal(u.group_count, 0);
    assert_int_equal(find("app:7"), 0);
    assert_int_equal(u.gid, 7);
    assert_int_equal(find("7:8"), 0);
    assert_int_equal(u.uid, 7);
    assert_int_equal(u.gid, 8);
    assert_int_equal(find("app:"), 0);
    assert_int_equal(u.gid, 1001);
    assert_int_equal(u.group_count, 3);
    assert_int_equal(find("app:nobody"), -1);
    assert_int_equal(r.error, EINVAL);
    assert_non_null(strstr(r.text, "nobody"));
    assert_int_equal(find("app:4294967295"), -1);
    assert_int_equal(r.error, EINVAL);
    assert_int_equal(find("app:bad"), -1);
    assert_int_equal(find("app:staff:x"), -1);
}

static void unknown(void **state)
{
    (void)state;
    static const char *const specs[] = { "nobody", "letters", "huge", "minus", "short", "#", "# a comment", "-1", "1e3", " app", "app " };
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        assert_int_equal(find(specs[i]), -1);
        assert_int_equal(r.error, EINVAL);
    }
}

static void too_many_groups(void **state)
{
    (void)state;
    char *text = malloc(64 * (USER_GROUPS_MAX + 1));
    size_t n = 0;
    assert_non_null(text);
    for (unsigned i = 0; i < USER_GROUPS_MAX; i++)
        n += (size_t)sprintf(text + n, "g%u:x:%u:app\n", i, i + 1);
    assert_int_equal(user_find(&u, "app", passwd, sizeof(passwd) - 1, text, n, &r), 0);
    assert_int_equal(u.group_count, USER_GROUPS_MAX);
    n += (size_t)sprintf(text + n, "g:x:5:app\n");
    assert_int_equal(user_find(&u, "app", passwd, sizeof(passwd) - 1, text, n, &r), -1);
    assert_int_equal(r.error, EINVAL);
    free(text);
}

static void strange_homes(void **state)
{
    (void)state;
    static const char nul[] = "a:x:1:1::/ho\0me:\n";
    assert_int_equal(user_find(&u, "a", nul, sizeof(nul) - 1, "", 0, &r), 0);
    assert_string_equal(u.home, "/");
    char *text = malloc(AGENT_PATH_MAX + 100);
    assert_non_null(text);
    size_t n = (size_t)sprintf(text, "a:x:1:1::/");
    memset(text + n, 'h', AGENT_PATH_MAX);
    n += AGENT_PATH_MAX;
    assert_int_equal(user_find(&u, "a", text, n, "", 0, &r), 0);
    assert_string_equal(u.home, "/");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),   cmocka_unit_test(empty_is_root),   cmocka_unit_test(numbers),       cmocka_unit_test(groups),
        cmocka_unit_test(unknown), cmocka_unit_test(too_many_groups), cmocka_unit_test(strange_homes),
    };
    return cmocka_run_group_tests_name("guest_user", tests, NULL, NULL);
}
