/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ownership by scope: a variable marked with one of these attributes is released when it goes out of scope,
 * whichever way the function is left. steal_ptr() and steal_fd() hand the value on.
 */
#ifndef GV_CORE_CLEANUP_H
#define GV_CORE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void gv_cleanup_free_fn(void *p)
{
    free(*(void **)p);
}

static inline void gv_cleanup_close_fn(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void gv_cleanup_fclose_fn(FILE **f)
{
    if (*f)
        fclose(*f);
}

#define cleanup_free __attribute__((cleanup(gv_cleanup_free_fn)))
#define cleanup_close __attribute__((cleanup(gv_cleanup_close_fn)))
#define cleanup_fclose __attribute__((cleanup(gv_cleanup_fclose_fn)))

/* Defines cleanup for an object type that has a free function accepting NULL: DEFINE_CLEANUP(tree, struct tree *, tree_free)
 * gives the attribute function gv_cleanup_tree_fn, used as CLEANUP(tree). */
#define DEFINE_CLEANUP(name, type, fn)                                                                                                     \
    static inline void gv_cleanup_##name##_fn(type *p)                                                                                     \
    {                                                                                                                                      \
        if (*p)                                                                                                                            \
            fn(*p);                                                                                                                        \
    }
#define CLEANUP(name) __attribute__((cleanup(gv_cleanup_##name##_fn)))

/* The value of the pointer, which is set to NULL so that its cleanup does nothing. */
#define steal_ptr(p)                                                                                                                       \
    __extension__({                                                                                                                        \
        __typeof__(p) gv_stolen_ = (p);                                                                                                    \
        (p) = NULL;                                                                                                                        \
        gv_stolen_;                                                                                                                        \
    })

static inline int steal_fd(int *fd)
{
    int v = *fd;
    *fd = -1;
    return v;
}

#endif
