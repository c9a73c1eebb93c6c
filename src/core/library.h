/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Libraries that are loaded when they are first needed: those that bring much with them (TLS, compressors) and that most calls of the program
 * have no use for, which would wait for them at every start.
 */
#ifndef GV_CORE_LIBRARY_H
#define GV_CORE_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/* A function or variable of a library, and where its address goes in a structure of pointers. */
struct gv_library_entry {
    const char *symbol;
    size_t offset;
};
#define GV_LIBRARY_ENTRY(type, prefix, name)                                                                                               \
    {                                                                                                                                      \
        prefix #name, offsetof(type, name)                                                                                                 \
    }

/* Loads the library ("libcurl.so.4") and fills the structure at api. false when the library, or one of the count symbols, is not there. It stays
 * loaded: call this once (pthread_once). */
bool gv_library_load(const char *soname, const struct gv_library_entry *entries, size_t count, void *api);

#endif
