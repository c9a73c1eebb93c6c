/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A supervisor that sends anything: frames in pieces, and requests. */
#include <string.h>

#include "exeunit/pb.h"
#include "exeunit/proto.h"

/* What was read must hold together. */
static void check(const struct proto_request *r)
{
    if (r->hosts.count % 2 || r->args.count > PROTO_STRINGS_MAX || r->network_count > PROTO_STRINGS_MAX)
        __builtin_trap();
    for (size_t i = 0; i < r->args.count; i++)
        if (!pb_is_utf8((const uint8_t *)r->args.items[i], strlen(r->args.items[i])))
            __builtin_trap();
    for (size_t i = 0; i < r->network_count; i++)
        if (!r->networks[i].addr || !r->networks[i].gateway || !r->networks[i].mask || !r->networks[i].if_addr)
            __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proto_frames f = { 0 };
    size_t piece = size ? 1 + data[0] : 1, frames = 0;
    int got = 0;
    for (size_t at = 0; at < size && got >= 0; at += piece) {
        const uint8_t *message;
        size_t n;
        struct gv_error err = GV_ERROR_INIT;
        proto_frames_add(&f, data + at, size - at < piece ? size - at : piece);
        while ((got = proto_frames_next(&f, &message, &n, &err)) > 0) {
            struct proto_request r;
            int status = proto_request_get(&r, message, n, &err);
            check(&r);
            if (status < 0 && err.code != GV_E_PROTOCOL)
                __builtin_trap();
            proto_request_clear(&r);
            frames++;
        }
        if (got < 0 && err.code != GV_E_PROTOCOL)
            __builtin_trap();
    }
    if (frames > size || proto_frames_left(&f) > size)
        __builtin_trap();
    proto_frames_clear(&f);

    /* The whole as one message, which frames seldom let it be. */
    struct proto_request r;
    struct gv_error err = GV_ERROR_INIT;
    proto_request_get(&r, data, size, &err);
    check(&r);
    proto_request_clear(&r);
    return 0;
}
