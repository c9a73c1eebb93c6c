/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `exeunit`: the messages between an ExeUnit and its runtime (protobuf package ya_runtime_api, proto3; one format from yagna
 * 0.12 on). A frame is a varint with the length of the message, and the message. The supervisor writes requests to our stdin, we write
 * responses and events to stdout.
 *
 *     Request   id=1; one of hello=2 {version=1}, run=10 {bin=1, args=2*, work_dir=3, stdout=4 Output, stderr=5 Output},
 *               kill=11 {pid=1, signal=2}, shutdown=12 {}, network=30 {networks=1* Network, hosts=2 map, interface=3: VPN 0, INET 1}
 *     Output    at_end=2: the last so many bytes, when the process has ended; without it nothing of the stream
 *     Network   addr=1, gateway=2, mask=3, if_addr=4
 *     Response  event=1, id=2; one of error=3 {code=1, message=2, context=3 map}, hello=4 {version=1}, run=10 {pid=1}, kill=11 {},
 *               shutdown=12 {}, status=20 {pid=1, running=2, return_code=3, stdout=4, stderr=5},
 *               rt_status=21 {state=1 {name=1, value=2} | counter=2 {name=1, value=2 double}},
 *               network=30 {unix_stream=1 | unix_datagram=2 | udp_datagram=3 | tcp_listener=4 | tcp_stream=5}
 *
 * Reading is strict: a length beyond PROTO_FRAME_MAX, a field of the wrong type, a string that is no UTF-8 or holds a NUL end the connection, since what
 * follows could not be trusted. Unknown fields are skipped, so that newer supervisors may say more.
 */
#ifndef GV_EXEUNIT_PROTO_H
#define GV_EXEUNIT_PROTO_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"

#define PROTO_FRAME_MAX (16U << 20)
#define PROTO_STRINGS_MAX 65536U /* in one request */

enum proto_command { PROTO_NOTHING = 0, PROTO_HELLO = 2, PROTO_RUN = 10, PROTO_KILL = 11, PROTO_SHUTDOWN = 12, PROTO_NETWORK = 30 };
enum proto_error { PROTO_INTERNAL = 0, PROTO_NOT_FOUND = 1, PROTO_BAD_REQUEST = 2 };

/* What a run asks to be done with a stream. */
struct proto_output {
    bool set;        /* something was asked; else all of it is wanted, as it comes */
    uint32_t at_end; /* the last so many bytes; 0 = nothing */
};

struct proto_network {
    char *addr, *gateway, *mask, *if_addr; /* never NULL */
};

struct proto_request {
    uint64_t id;
    enum proto_command command; /* PROTO_NOTHING: none that we know */
    char *bin, *work_dir;       /* run; NULL = absent */
    struct gv_strv args;
    struct proto_output output[3]; /* 1 and 2 are used */
    uint64_t pid;                  /* kill */
    int32_t signal;
    struct proto_network *networks;
    size_t network_count;
    struct gv_strv hosts; /* name, address, name, address, ... */
    int32_t interface;
    size_t strings; /* so far */
};

/* Reads a message. r is filled also on failure, and to be cleared in any case. */
int proto_request_get(struct proto_request *r, const uint8_t *message, size_t n, struct gv_error *err);
void proto_request_clear(struct proto_request *r);

/* Bytes on their way into frames. Zero-initialised is empty. */
struct proto_frames {
    struct gv_buf buf;
    size_t at; /* bytes of buf that are done with */
};
void proto_frames_add(struct proto_frames *f, const void *p, size_t n);
/* 1: *message is the next one, valid until the next call of any of these; 0: more bytes are needed; -1: this is no frame. */
int proto_frames_next(struct proto_frames *f, const uint8_t **message, size_t *n, struct gv_error *err);
/* Bytes that are waiting, a part of a frame most likely. */
size_t proto_frames_left(const struct proto_frames *f);
void proto_frames_clear(struct proto_frames *f);

/* Each appends a whole frame. */
void proto_put_hello(struct gv_buf *b, uint64_t id, const char *version);
/* context: name, value, name, value, ..., or NULL. */
void proto_put_error(struct gv_buf *b, uint64_t id, enum proto_error code, const char *message, const struct gv_strv *context);
void proto_put_run(struct gv_buf *b, uint64_t id, uint64_t pid);
void proto_put_kill(struct gv_buf *b, uint64_t id);
void proto_put_shutdown(struct gv_buf *b, uint64_t id);
/* field: 1 to 5 of the response's endpoint. */
void proto_put_network(struct gv_buf *b, uint64_t id, uint32_t field, const char *endpoint);
/* Events. */
void proto_put_status(struct gv_buf *b, uint64_t pid, bool running, int32_t return_code, const char *err_text);
void proto_put_counter(struct gv_buf *b, const char *name, double value);

/* What comes before n bytes of output in the frame of their event, so that the bytes need not be copied. stream is 1 or 2. Returns its length. */
#define PROTO_OUTPUT_HEADER 64U
size_t proto_output_header(uint8_t out[PROTO_OUTPUT_HEADER], uint64_t pid, int stream, size_t n);

#endif
