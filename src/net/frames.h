/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `net`: batches of frames, from datagrams and into datagrams, and the two framings of streams. No state, no loop; the tests and
 * the fuzzer use it as it is.
 */
#ifndef GV_NET_FRAMES_H
#define GV_NET_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "net/net.h"

#define NET_BATCH 32U /* frames that one turn moves */

struct net_frame {
    const uint8_t *p;
    size_t n;
};

/* Receives up to NET_BATCH datagrams into room, which holds NET_BATCH * NET_SLOT bytes. Returns how many there were (of which *count are frames), or -1 with
 * errno. Others are counted as refused. */
#define NET_SLOT (NET_FRAME_MAX + 1U)
int net_receive(int fd, uint8_t *room, struct net_frame frames[NET_BATCH], size_t *count, struct net_flow *flow);

/* Sends each frame as a datagram. What the socket does not take now is dropped. */
void net_send(int fd, const struct net_frame *frames, size_t count, struct net_flow *flow);

/* How a stream says where a frame ends. */
enum net_prefix { NET_PREFIX_BE32, NET_PREFIX_NATIVE16 };
#define NET_PREFIX_MAX 4U

size_t net_prefix_size(enum net_prefix prefix);
void net_prefix_put(enum net_prefix prefix, uint8_t out[NET_PREFIX_MAX], size_t n);

/* What n bytes of a stream begin with: 1: *frame, which ends at *used (it may be too short to be one); 0: more bytes are needed; -1: nothing that
 * can be a frame, and so nobody knows where the next begins. */
int net_prefix_next(enum net_prefix prefix, const uint8_t *p, size_t n, struct net_frame *frame, size_t *used);

#endif
