/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `net`: the wire between a network card of a VM and what is at its other end, an endpoint that somebody else names by a URL. Whole
 * Ethernet frames without their checksum go both ways; what is in them beyond their size is nobody's business here.
 *
 *     udp://HOST:PORT           a datagram is a frame. We bind a port of our own and take datagrams from HOST:PORT alone
 *     tcp-connect://HOST:PORT   we connect, again and again if need be; each frame is preceded by its length in 4 bytes, big-endian
 *     tcp-listen://[HOST:PORT]  we listen (on 127.0.0.1 unless told otherwise), for one peer at a time; framed as above
 *     unix://[PATH]             we listen, for one peer at a time; each frame is preceded by its length in 2 bytes of the host's order
 *
 * HOST is an address, an IPv6 address in brackets, or a name, which is looked up once, at the start. A URL that cannot be read is an error of
 * net_open(); everything else that is wrong with an endpoint (nobody is there, the address is taken) leaves a link that drops frames, and tries
 * again.
 *
 * The VM's end is one of a pair of unix datagram sockets, for QEMU's `-netdev dgram`. A frame is never kept for a peer that does not take it:
 * behind the socket buffers (2 MiB each way, as far as the host allows) it is dropped and counted, as on a real wire, so that memory is bounded
 * and a peer that hangs holds up nobody. Both sides are hostile: frames that are none (less than a header, or more than NET_FRAME_MAX bytes) are
 * refused and counted; a stream in which such a length appears has lost its step and is closed. Each turn of the loop moves at most one batch of
 * a link, so that no flood starves others.
 */
#ifndef GV_NET_H
#define GV_NET_H

#include <stdint.h>
#include <uv.h>

#include "core/core.h"

#define NET_FRAME_MIN 14U
#define NET_FRAME_MAX 65535U

/* Where the peer has to send its frames to. */
enum net_endpoint_kind { NET_UNIX_STREAM, NET_UDP_DATAGRAM, NET_TCP_STREAM };

struct net_flow {
    uint64_t frames, bytes; /* passed on */
    uint64_t dropped;       /* frames that the other side did not take */
    uint64_t refused;       /* no frames, by their size */
};

struct net_counters {
    struct net_flow from_vm, to_vm;
};

struct net_config {
    const char *url;
    const char *name;         /* in messages */
    const char *unix_path;    /* where to listen for `unix://` without a path; NULL: that is refused */
    const struct gv_log *log; /* used until the link is closed */
};

struct net_link;

/* Opens the endpoint. *vm_fd is the VM's end, the caller's to pass on and to close; the texts of config are not needed after return. */
int net_open(struct net_link **out, uv_loop_t *loop, const struct net_config *config, int *vm_fd, struct gv_error *err);
/* Where the peer has to send to: "127.0.0.1:4000", "[::1]:4000", or a path, valid until net_close(). -1 when there is no such place, and why; it is
 * looked for again at each call. */
int net_where(struct net_link *l, enum net_endpoint_kind *kind, const char **text, struct gv_error *err);
const struct net_counters *net_counted(const struct net_link *l);
/* Nothing of it works afterwards. The memory is released by the loop, which has to run once more. NULL is fine. */
void net_close(struct net_link *l);

#endif
