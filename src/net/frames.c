/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/frames.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

int net_receive(int fd, uint8_t *room, struct net_frame frames[NET_BATCH], size_t *count, struct net_flow *flow)
{
    struct mmsghdr messages[NET_BATCH];
    struct iovec places[NET_BATCH];
    memset(messages, 0, sizeof(messages)); /* no room for descriptors: the kernel closes those that somebody sends along */
    for (size_t i = 0; i < NET_BATCH; i++) {
        places[i] = (struct iovec){ room + i * NET_SLOT, NET_SLOT };
        messages[i].msg_hdr.msg_iov = &places[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    *count = 0;
    int got = recvmmsg(fd, messages, NET_BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) {
        /* One byte more than a frame may have tells what is too long, though it is cut. */
        size_t n = messages[i].msg_len;
        if (n < NET_FRAME_MIN || n > NET_FRAME_MAX)
            flow->refused++;
        else
            frames[(*count)++] = (struct net_frame){ places[i].iov_base, n };
    }
    return got;
}

void net_send(int fd, const struct net_frame *frames, size_t count, struct net_flow *flow)
{
    struct mmsghdr messages[NET_BATCH];
    struct iovec pieces[NET_BATCH];
    bool again = false;
    memset(messages, 0, sizeof(messages));
    for (size_t i = 0; i < count; i++) {
        pieces[i] = (struct iovec){ (void *)(uintptr_t)frames[i].p, frames[i].n };
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    for (size_t at = 0; at < count;) {
        int sent = sendmmsg(fd, messages + at, (unsigned)(count - at), MSG_DONTWAIT | MSG_NOSIGNAL);
        for (int i = 0; i < sent; i++, at++) {
            flow->frames++;
            flow->bytes += frames[at].n;
            again = false;
        }
        if (sent > 0 || (sent < 0 && errno == EINTR))
            continue;
        /* A refusal may be the fate of an earlier datagram, and this one has not been tried yet. */
        if (errno == ECONNREFUSED && !again) {
            again = true;
            continue;
        }
        /* No room is no room for those after it, too; other failures (too long for this wire) are of this frame alone. */
        size_t lost = errno == EMSGSIZE ? 1 : count - at;
        flow->dropped += lost;
        at += lost;
        again = false;
    }
}

size_t net_prefix_size(enum net_prefix prefix)
{
    return prefix == NET_PREFIX_BE32 ? 4 : 2;
}

void net_prefix_put(enum net_prefix prefix, uint8_t out[NET_PREFIX_MAX], size_t n)
{
    uint32_t wide = htonl((uint32_t)n);
    uint16_t narrow = (uint16_t)n;
    if (prefix == NET_PREFIX_BE32)
        memcpy(out, &wide, sizeof(wide));
    else
        memcpy(out, &narrow, sizeof(narrow));
}

int net_prefix_next(enum net_prefix prefix, const uint8_t *p, size_t n, struct net_frame *frame, size_t *used)
{
    uint32_t wide;
    uint16_t narrow;
    size_t head = net_prefix_size(prefix), length;
    if (n < head)
        return 0;
    if (prefix == NET_PREFIX_BE32) {
        memcpy(&wide, p, sizeof(wide));
        length = ntohl(wide);
    } else {
        memcpy(&narrow, p, sizeof(narrow));
        length = narrow;
    }
    if (length > NET_FRAME_MAX)
        return -1;
    if (n - head < length)
        return 0;
    *frame = (struct net_frame){ p + head, length };
    *used = head + length;
    return 1;
}
