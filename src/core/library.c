/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/library.h"

#include <dlfcn.h>
#include <string.h>

bool gv_library_load(const char *soname, const struct gv_library_entry *entries, size_t count, void *api)
{
    void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; library && i < count; i++) {
        void *symbol = dlsym(library, entries[i].symbol);
        if (!symbol)
            return false;
        memcpy((char *)api + entries[i].offset, &symbol, sizeof(symbol)); /* POSIX has pointers to functions and data alike */
    }
    return library != NULL;
}
