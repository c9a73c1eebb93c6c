/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Rates for addresses: each has a bucket that fills with time and from which every event takes one. The memory is fixed: addresses share a table, and one
 * that is not in it gets the place of the one whose bucket is fullest, which loses least by it. Of IPv6 the first 64 bits count, which is what one
 * subscriber has.
 */
#ifndef GV_SERVE_LIMITS_H
#define GV_SERVE_LIMITS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
    unsigned char bytes[16]; /* IPv4 as ::ffff:a.b.c.d */
};

struct address address_of(const struct sockaddr *sa);
/* "192.0.2.1", "2001:db8::1"; false for anything else. */
bool address_parse(const char *s, struct address *out);
void address_format(const struct address *a, char out[INET6_ADDRSTRLEN]);

struct limits;
/* count events in ms of time; burst more at once. count 0 = any number. */
struct limits *limits_new(uint64_t count, uint64_t ms, uint64_t burst);
void limits_free(struct limits *l);
/* Takes one, at a time in ms that does not go back. 0, or the ms to wait until there is one again. */
uint64_t limits_take(struct limits *l, const struct address *a, uint64_t now);
/* The same without taking it. */
uint64_t limits_wait(struct limits *l, const struct address *a, uint64_t now);

#endif
