/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "exeunit/proto.h"

#include <string.h>

#include "exeunit/pb.h"

#define KEEP_CAPACITY 262144U /* a larger buffer is given back when it is empty */

/* ---- requests -------------------------------------------------------------------------------------------------------------------- */

static int broken(struct gv_error *err, const char *what)
{
    return gv_error_set(err, GV_E_PROTOCOL, 0, "the supervisor sent %s", what);
}

static int get_number(const struct pb_field *f, uint64_t *v, struct gv_error *err)
{
    if (f->type != PB_VARINT)
        return broken(err, "a number of the wrong type");
    *v = f->value;
    return 0;
}

/* A copy of a string field, for the caller to free. */
static int get_text(struct proto_request *r, const struct pb_field *f, char **out, struct gv_error *err)
{
    if (f->type != PB_BYTES)
        return broken(err, "a text of the wrong type");
    if (!pb_is_utf8(f->bytes, f->length) || memchr(f->bytes, '\0', f->length))
        return broken(err, "a text that is not UTF-8, or holds a NUL");
    if (++r->strings > PROTO_STRINGS_MAX)
        return broken(err, "a request of too many texts");
    *out = gv_strndup((const char *)f->bytes, f->length);
    return 0;
}

static int replace_text(struct proto_request *r, const struct pb_field *f, char **at, struct gv_error *err)
{
    char *text = NULL;
    if (get_text(r, f, &text, err) < 0)
        return -1;
    free(*at);
    *at = text;
    return 0;
}

static int add_text(struct proto_request *r, const struct pb_field *f, struct gv_strv *list, struct gv_error *err)
{
    char *text = NULL;
    if (get_text(r, f, &text, err) < 0)
        return -1;
    gv_strv_take(list, text);
    return 0;
}

/* Walks the fields of a message inside the request; to is what `take` fills. */
static int walk(struct proto_request *r, const struct pb_field *message, void *to,
                int (*take)(struct proto_request *r, void *to, const struct pb_field *f, struct gv_error *err), struct gv_error *err)
{
    struct pb_field f;
    int got;
    if (message->type != PB_BYTES)
        return broken(err, "a message of the wrong type");
    struct pb_reader reader = { message->bytes, message->bytes + message->length };
    while ((got = pb_next(&reader, &f)) > 0)
        if (take(r, to, &f, err) < 0)
            return -1;
    return got < 0 ? broken(err, "bytes that are no message") : 0;
}

static int take_hello(struct proto_request *r, void *to, const struct pb_field *f, struct gv_error *err)
{
    cleanup_free char *version = NULL; /* nobody has ever looked at it */
    (void)to;
    return f->number == 1 ? get_text(r, f, &version, err) : 0;
}

static int take_output(struct proto_request *r, void *to, const struct pb_field *f, struct gv_error *err)
{
    struct proto_output *out = to;
    uint64_t v = 0;
    (void)r;
    if (f->number != 2)
        return 0;
    if (get_number(f, &v, err) < 0)
        return -1;
    out->at_end = (uint32_t)v;
    return 0;
}

static int take_run(struct proto_request *r, void *to, const struct pb_field *f, struct gv_error *err)
{
    (void)to;
    switch (f->number) {
    case 1:
        return replace_text(r, f, &r->bin, err);
    case 2:
        return add_text(r, f, &r->args, err);
    case 3:
        return replace_text(r, f, &r->work_dir, err);
    case 4:
    case 5:
        r->output[f->number - 3].set = true;
        return walk(r, f, &r->output[f->number - 3], take_output, err);
    default:
        return 0;
    }
}

static int take_kill(struct proto_request *r, void *to, const struct pb_field *f, struct gv_error *err)
{
    uint64_t v = 0;
    (void)to;
    if (f->number == 1)
        return get_number(f, &r->pid, err);
    if (f->number != 2)
        return 0;
    if (get_number(f, &v, err) < 0)
        return -1;
    r->signal = (int32_t)(uint32_t)v;
    return 0;
}

static int take_network_fields(struct proto_request *r, void *to, const struct pb_field *f, struct gv_error *err)
{
    struct proto_network *n = to;
    char **const texts[] = { &n->addr, &n->gateway, &n->mask, &n->if_addr };
    return f->number >= 1 && f->number <= 4 ? replace_text(r, f, texts[f->number - 1], err) : 0;
}

static int take_host(struct proto_request *r, void *to, const struct pb_field *f, struct gv_error *err)
{
    char **pair = to;
    return f->number == 1 || f->number == 2 ? replace_text(r, f, &pair[f->number - 1], err) : 0;
}

static int add_host(struct proto_request *r, const struct pb_field *f, struct gv_error *err)
{
    char *pair[2] = { NULL, NULL };
    int status = walk(r, f, pair, take_host, err);
    for (int i = 0; i < 2; i++)
        gv_strv_take(&r->hosts, pair[i] ? pair[i] : gv_strdup(""));
    return status;
}

static int add_network(struct proto_request *r, const struct pb_field *f, struct gv_error *err)
{
    r->strings += 4;
    if (r->strings > PROTO_STRINGS_MAX)
        return broken(err, "a request of too many networks");
    r->networks = gv_reallocarray(r->networks, r->network_count + 1, sizeof(*r->networks));
    struct proto_network *n = &r->networks[r->network_count++];
    *n = (struct proto_network){ gv_strdup(""), gv_strdup(""), gv_strdup(""), gv_strdup("") };
    return walk(r, f, n, take_network_fields, err);
}

static int take_network(struct proto_request *r, void *to, const struct pb_field *f, struct gv_error *err)
{
    uint64_t v = 0;
    (void)to;
    if (f->number == 1)
        return add_network(r, f, err);
    if (f->number == 2)
        return add_host(r, f, err);
    if (f->number != 3)
        return 0;
    if (get_number(f, &v, err) < 0)
        return -1;
    r->interface = (int32_t)(uint32_t)v;
    return 0;
}

static int take_shutdown(struct proto_request *r, void *to, const struct pb_field *f, struct gv_error *err)
{
    (void)r, (void)to, (void)f, (void)err;
    return 0;
}

static void clear_command(struct proto_request *r)
{
    uint64_t id = r->id;
    size_t strings = r->strings;
    proto_request_clear(r);
    r->id = id;
    r->strings = strings;
}

static int take_command(struct proto_request *r, const struct pb_field *f, struct gv_error *err)
{
    static const struct {
        enum proto_command command;
        int (*take)(struct proto_request *r, void *to, const struct pb_field *f, struct gv_error *err);
    } commands[] = { { PROTO_HELLO, take_hello },
                     { PROTO_RUN, take_run },
                     { PROTO_KILL, take_kill },
                     { PROTO_SHUTDOWN, take_shutdown },
                     { PROTO_NETWORK, take_network } };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if ((uint32_t)commands[i].command != f->number)
            continue;
        if (r->command != commands[i].command)
            clear_command(r); /* of a oneof the last one counts; two of a kind are merged */
        r->command = commands[i].command;
        return walk(r, f, NULL, commands[i].take, err);
    }
    return 0;
}

int proto_request_get(struct proto_request *r, const uint8_t *message, size_t n, struct gv_error *err)
{
    struct pb_field f;
    int got;
    *r = (struct proto_request){ 0 };
    struct pb_reader reader = { message, n ? message + n : message };
    while ((got = pb_next(&reader, &f)) > 0) {
        if (f.number == 1 ? get_number(&f, &r->id, err) < 0 : take_command(r, &f, err) < 0)
            return -1;
    }
    return got < 0 ? broken(err, "bytes that are no message") : 0;
}

void proto_request_clear(struct proto_request *r)
{
    free(r->bin);
    free(r->work_dir);
    gv_strv_clear(&r->args);
    gv_strv_clear(&r->hosts);
    for (size_t i = 0; i < r->network_count; i++) {
        free(r->networks[i].addr);
        free(r->networks[i].gateway);
        free(r->networks[i].mask);
        free(r->networks[i].if_addr);
    }
    free(r->networks);
    *r = (struct proto_request){ 0 };
}

/* ---- frames ---------------------------------------------------------------------------------------------------------------------- */

void proto_frames_add(struct proto_frames *f, const void *p, size_t n)
{
    if (f->at > 0) {
        gv_buf_drop(&f->buf, f->at);
        f->at = 0;
    }
    if (f->buf.len == 0 && f->buf.cap > KEEP_CAPACITY)
        gv_buf_clear(&f->buf);
    gv_buf_add(&f->buf, p, n);
}

int proto_frames_next(struct proto_frames *f, const uint8_t **message, size_t *n, struct gv_error *err)
{
    uint64_t length;
    size_t used, have = f->buf.len - f->at;
    if (have == 0)
        return 0;
    const uint8_t *at = f->buf.data + f->at;
    int got = pb_varint_get(at, have, &length, &used);
    if (got < 0 || (got > 0 && length > PROTO_FRAME_MAX))
        return gv_error_set(err, GV_E_PROTOCOL, 0, "the supervisor sent a frame of more than %u MiB, or something that is no frame",
                            PROTO_FRAME_MAX >> 20);
    if (got == 0 || length > have - used)
        return 0;
    *message = at + used;
    *n = (size_t)length;
    f->at += used + (size_t)length;
    return 1;
}

size_t proto_frames_left(const struct proto_frames *f)
{
    return f->buf.len - f->at;
}

void proto_frames_clear(struct proto_frames *f)
{
    gv_buf_clear(&f->buf);
    f->at = 0;
}

/* ---- responses ------------------------------------------------------------------------------------------------------------------- */

enum { RESPONSE_EVENT = 1, RESPONSE_ID = 2, RESPONSE_ERROR = 3, RESPONSE_HELLO = 4, RESPONSE_STATUS = 20, RESPONSE_RT_STATUS = 21 };
enum { STATUS_PID = 1, STATUS_RUNNING = 2, STATUS_RETURN_CODE = 3, STATUS_STDOUT = 4, STATUS_STDERR = 5 };

static void put_frame(struct gv_buf *b, const struct gv_buf *message)
{
    uint8_t length[PB_VARINT_MAX];
    gv_buf_add(b, length, pb_varint_put(length, message->len));
    gv_buf_add(b, message->data, message->len);
}

/* A response, or an event, around what is in body. */
static void put_response(struct gv_buf *b, bool event, uint64_t id, uint32_t field, const struct gv_buf *body)
{
    cleanup_buf struct gv_buf message = { 0 };
    pb_put_number(&message, RESPONSE_EVENT, event);
    pb_put_number(&message, RESPONSE_ID, id);
    pb_put_message(&message, field, body);
    put_frame(b, &message);
}

void proto_put_hello(struct gv_buf *b, uint64_t id, const char *version)
{
    cleanup_buf struct gv_buf body = { 0 };
    pb_put_text(&body, 1, version);
    put_response(b, false, id, RESPONSE_HELLO, &body);
}

void proto_put_error(struct gv_buf *b, uint64_t id, enum proto_error code, const char *message, const struct gv_strv *context)
{
    cleanup_buf struct gv_buf body = { 0 };
    pb_put_number(&body, 1, (uint64_t)code);
    pb_put_text(&body, 2, message);
    for (size_t i = 0; context && i + 1 < context->count; i += 2) {
        cleanup_buf struct gv_buf entry = { 0 };
        pb_put_text(&entry, 1, context->items[i]);
        pb_put_text(&entry, 2, context->items[i + 1]);
        pb_put_message(&body, 3, &entry);
    }
    put_response(b, false, id, RESPONSE_ERROR, &body);
}

void proto_put_run(struct gv_buf *b, uint64_t id, uint64_t pid)
{
    cleanup_buf struct gv_buf body = { 0 };
    pb_put_number(&body, 1, pid);
    put_response(b, false, id, PROTO_RUN, &body);
}

void proto_put_kill(struct gv_buf *b, uint64_t id)
{
    put_response(b, false, id, PROTO_KILL, &(struct gv_buf){ 0 });
}

void proto_put_shutdown(struct gv_buf *b, uint64_t id)
{
    put_response(b, false, id, PROTO_SHUTDOWN, &(struct gv_buf){ 0 });
}

void proto_put_network(struct gv_buf *b, uint64_t id, uint32_t field, const char *endpoint)
{
    cleanup_buf struct gv_buf body = { 0 };
    pb_put_text(&body, field, endpoint);
    put_response(b, false, id, PROTO_NETWORK, &body);
}

void proto_put_status(struct gv_buf *b, uint64_t pid, bool running, int32_t return_code, const char *err_text)
{
    cleanup_buf struct gv_buf body = { 0 };
    pb_put_number(&body, STATUS_PID, pid);
    pb_put_number(&body, STATUS_RUNNING, running);
    pb_put_number(&body, STATUS_RETURN_CODE, (uint64_t)(int64_t)return_code); /* an int32 travels as 64 bits */
    if (err_text)
        pb_put_text(&body, STATUS_STDERR, err_text);
    put_response(b, true, 0, RESPONSE_STATUS, &body);
}

void proto_put_counter(struct gv_buf *b, const char *name, double value)
{
    cleanup_buf struct gv_buf counter = { 0 }, body = { 0 };
    pb_put_text(&counter, 1, name);
    pb_put_double(&counter, 2, value);
    pb_put_message(&body, 2, &counter);
    put_response(b, true, 0, RESPONSE_RT_STATUS, &body);
}

size_t proto_output_header(uint8_t out[PROTO_OUTPUT_HEADER], uint64_t pid, int stream, size_t n)
{
    /* From the inside out: what precedes the bytes in the status, then the lengths around it. */
    uint8_t head[PROTO_OUTPUT_HEADER], length[PB_VARINT_MAX];
    size_t k = 0;
    if (pid) {
        head[k++] = STATUS_PID << 3 | PB_VARINT;
        k += pb_varint_put(head + k, pid);
    }
    head[k++] = STATUS_RUNNING << 3 | PB_VARINT;
    head[k++] = 1;
    head[k++] = (uint8_t)((stream == 1 ? STATUS_STDOUT : STATUS_STDERR) << 3 | PB_BYTES);
    k += pb_varint_put(head + k, n);
    size_t status = k + n, status_length = pb_varint_put(length, status);

    size_t at = pb_varint_put(out, 2 + 2 + status_length + status); /* event, the tag of the status */
    out[at++] = RESPONSE_EVENT << 3 | PB_VARINT;
    out[at++] = 1;
    at += pb_varint_put(out + at, RESPONSE_STATUS << 3 | PB_BYTES);
    memcpy(out + at, length, status_length);
    at += status_length;
    memcpy(out + at, head, k);
    return at + k;
}
