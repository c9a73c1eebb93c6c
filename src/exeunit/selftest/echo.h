/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The other end of the self-test's network card: a host that has one address, and sends datagrams back. */
#ifndef GV_EXEUNIT_SELFTEST_ECHO_H
#define GV_EXEUNIT_SELFTEST_ECHO_H

#include <stddef.h>
#include <stdint.h>

/* Makes of a frame of n bytes the one that answers it: of a question for SELFTEST_HOST's hardware address, and of a UDP datagram to it. Returns whether there is
 * an answer; it has the same length. */
int selftest_echo(uint8_t *frame, size_t n);

#endif
