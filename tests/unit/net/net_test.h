/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tests of the room `net` share: cmocka, and frames that can be told apart. */
#ifndef GV_TESTS_NET_TEST_H
#define GV_TESTS_NET_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/core.h"
#include "net/net.h"

/* n bytes that tell which frame they are of, and that no other length has. */
static inline void test_frame(uint8_t *p, size_t n, unsigned number)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)((i + n) * 7 + number + (number >> 8) * 3);
}

static inline uint64_t test_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#endif
