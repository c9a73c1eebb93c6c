/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The lines on a VM's socket, one JSON object each. The caller says his request, with the three descriptors of a program attached to its first byte, and later
 * signals and sizes; the VM's owner answers.
 *
 *   {"op":"exec","argv":[...],"env":[...],"cwd":"/","user":"0","stdin":true,"tty":true,"rows":24,"columns":80}
 *   {"op":"builtin","builtin":1,"argv":[...],"stdin":true}   {"op":"stats"}   {"op":"stop","grace":10000}   {"op":"kill","signal":9}
 *   {"signal":15}   {"resize":[24,80]}
 *
 *   {"started":true}   {"exit":0}   {"signal":9}   {"error":"...","code":13,"errno":2}   {"done":true}   {"stats":{...}}
 *
 * A text is bytes, and JSON has none: each byte is the character of that number.
 */
#ifndef GV_VMS_PROTOCOL_H
#define GV_VMS_PROTOCOL_H

#include "vms/vms.h"

/* A request as it was heard, with what it points to. */
struct heard {
    struct vms_request request;
    struct gv_strv argv, env;
    char *cwd, *user;
};
void heard_clear(struct heard *h);

/* What a caller says after his request. */
struct message {
    int signal; /* 0: it is a size */
    uint16_t rows, columns;
};

/* Append a line with its newline. */
int protocol_put_request(struct gv_buf *b, const struct vms_request *r, struct gv_error *err);
void protocol_put_message(struct gv_buf *b, const struct message *m);
void protocol_put_answer(struct gv_buf *b, const struct vms_answer *a);

/* Read a line of n bytes, without its newline, that somebody else wrote. *h is empty before; cleared on failure. */
int protocol_get_request(struct heard *h, const char *line, size_t n, struct gv_error *err);
int protocol_get_message(struct message *m, const char *line, size_t n, struct gv_error *err);
int protocol_get_answer(struct vms_answer *a, const char *line, size_t n, struct gv_error *err);

/* The path of the socket in the directory: short, whatever the directory's is. */
#define PROTOCOL_SOCKET "socket"
struct sockaddr_un;
void protocol_address(struct sockaddr_un *a, int dir);

#endif
