/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the two sides of the self-test have agreed on. */
#ifndef GV_EXEUNIT_SELFTEST_H
#define GV_EXEUNIT_SELFTEST_H

#include <stddef.h>

#define SELFTEST_PROGRAM "/ya-self-test"
#define SELFTEST_VOLUME "/mnt/out"
#define SELFTEST_FILE "written"
#define SELFTEST_SIZE (1U << 20)
/* The guest's address, and that of the host at the other end of its wire, who sends datagrams back. */
#define SELFTEST_ADDRESS "10.42.42.2/24"
#define SELFTEST_HOST "10.42.42.1"
#define SELFTEST_PORT 7
#define SELFTEST_DATAGRAM 1000U

/* The byte at a place of the file. */
static inline unsigned char selftest_byte(size_t at)
{
    return (unsigned char)(at * 2654435761U >> 16);
}

#endif
