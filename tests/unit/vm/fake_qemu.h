/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What fake_qemu.c, a guest that keeps to the protocol, and fake_lies.c, one that does not, share. */
#ifndef GV_TEST_FAKE_QEMU_H
#define GV_TEST_FAKE_QEMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern int agent_fd, qmp_fd, console_fd;

/* Writes all of it, or ends the program. */
void put(int fd, const void *p, size_t n);
/* A message of one or two numbers; key2 0 = one. */
void say(uint16_t type, uint64_t id, uint16_t key1, uint64_t value1, uint16_t key2, uint64_t value2);

/* When a lie is told. */
enum moment {
    AT_HELLO,    /* instead of the greeting */
    AT_ROOT,     /* instead of the answer about the root */
    AT_RUN,      /* instead of the answer about a program */
    AT_RUNNING,  /* instead of the program's end */
    AT_SHUTDOWN, /* instead of the answer to shutdown */
};
/* Tells the lie of that name if this is its moment. False: the truth is to be told. id is that of the request. */
bool lie(const char *name, enum moment when, uint64_t id);

#endif
