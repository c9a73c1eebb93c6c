/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The TCP/IP stack between the guest's card and the host's sockets: libslirp, behind the filter, with our resolver at its side. Frames come
 * and go by a datagram socket. Memory is bounded: by the number of sockets (each has buffers of 384 KiB at most), and by a queue of frames
 * that the guest does not take; while that is half full nothing more is read from the host's side.
 */
#ifndef GV_USERNET_STACK_H
#define GV_USERNET_STACK_H

#include <poll.h>

#include "usernet/rules.h"

#define STACK_SOCKETS_MAX 512U
#define STACK_BACKLOG 128          /* who can knock at a published port at once */
#define STACK_QUEUE_MAX (8U << 20) /* bytes */

struct stack_config {
    struct net_rules rules;
    struct net_publish *publish;
    size_t publish_count;
    struct net_server servers[NET_SERVERS_MAX];
    size_t server_count;
    int frames_fd; /* non-blocking */
    /* One line about something refused, or odd. */
    void (*note)(void *user, const char *text);
    void *user;
};

struct stack;
/* Makes the stack and binds the published ports. config must outlive it. */
int stack_new(struct stack **out, const struct stack_config *config, struct gv_error *err);
void stack_free(struct stack *s);

/* Waits for what the stack waits for, and for `life` to be readable or closed, and does what is to be done. Returns whether life was ready, or -1
 * with err when the guest's end of the wire is gone. */
int stack_turn(struct stack *s, int life, struct gv_error *err);

#endif
