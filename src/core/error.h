/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Errors. A fallible function returns 0 or a negative value and takes `struct gv_error *err` last. It fills err once, where
 * the failure is known best; callers add context with gv_error_prefix() on the way up; only `cli` and `runtime` print.
 * The object is plain memory without ownership: declare it with GV_ERROR_INIT, never free it. err may be NULL where the
 * caller does not care.
 */
#ifndef GV_CORE_ERROR_H
#define GV_CORE_ERROR_H

#include <stdarg.h>

enum gv_code {
    GV_OK = 0,
    GV_E_IO,          /* a system call failed; sys holds the errno */
    GV_E_FORMAT,      /* the input is not what it claims to be, or is cut short */
    GV_E_CORRUPT,     /* the form is right, a checksum or digest is not */
    GV_E_LIMIT,       /* the input is larger than allowed */
    GV_E_NOT_FOUND,   /* no such file, image, tag, program */
    GV_E_EXISTS,      /* it is there already */
    GV_E_UNSUPPORTED, /* valid, but not something we can do here */
    GV_E_USAGE,       /* the caller's words are wrong */
    GV_E_TIMEOUT,     /* a deadline passed */
    GV_E_BUSY,        /* somebody else holds it */
    GV_E_PROTOCOL,    /* the peer said something it must not say */
    GV_E_DIED,        /* the peer (VM, QEMU, guest) is gone */
    GV_E_GUEST,       /* the guest answered with an errno; sys holds it */
    GV_E_CANCELLED,   /* interrupted on request */
    GV_E_INTERNAL,    /* a bug of ours */
};

struct gv_error {
    enum gv_code code;
    int sys;        /* errno, 0 if none */
    char msg[1024]; /* one line without a final full stop or newline; control bytes are replaced */
};

#define GV_ERROR_INIT                                                                                                                      \
    {                                                                                                                                      \
        .code = GV_OK                                                                                                                      \
    }

/* Fills *err and returns -1. When sys is not 0, ": <strerror(sys)>" is appended to the message. Bytes below 0x20, 0x7f and
 * invalid UTF-8 are printed as \xNN, so that names from images cannot write to the user's terminal. Messages longer than the
 * buffer are cut. errno is preserved. */
int gv_error_set(struct gv_error *err, enum gv_code code, int sys, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Puts "context: " before the message and returns -1, so that callers write
 *     if (open_it(err) < 0)
 *         return gv_error_prefix(err, "reading `%s`", path); */
int gv_error_prefix(struct gv_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Appends "; hint" to the message and returns -1: what the user may try. */
int gv_error_hint(struct gv_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Short for the most frequent case: GV_E_IO with the current errno. */
#define gv_error_errno(err, ...) gv_error_set((err), GV_E_IO, errno, __VA_ARGS__)

void gv_error_clear(struct gv_error *err);

#endif
