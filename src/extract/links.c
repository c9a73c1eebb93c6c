/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "extract/links.h"

#include <string.h>

static struct link_name *slot_of(struct link_name *slots, size_t size, uint64_t ref)
{
    uint64_t h = ref * 0x9e3779b97f4a7c15ULL;
    for (size_t i = (size_t)(h ^ h >> 32);; i++) {
        struct link_name *s = &slots[i & (size - 1)];
        if (!s->name || s->ref == ref)
            return s;
    }
}

static void grow(struct links *l)
{
    size_t size = l->size ? l->size * 2 : 64;
    struct link_name *slots = gv_calloc(size, sizeof(*slots));
    for (size_t i = 0; i < l->size; i++)
        if (l->slots[i].name)
            *slot_of(slots, size, l->slots[i].ref) = l->slots[i];
    free(l->slots);
    l->slots = slots;
    l->size = size;
}

void links_add(struct links *l, uint64_t ref, const struct place_dir *dir, const char *name)
{
    if (!l->arena)
        l->arena = gv_arena_new();
    if (l->count * 2 >= l->size)
        grow(l);
    struct link_name *s = slot_of(l->slots, l->size, ref);
    if (!s->name)
        l->count++;
    *s = (struct link_name){ .ref = ref, .dir = dir, .name = gv_arena_strndup(l->arena, name, strlen(name)) };
}

const struct link_name *links_find(const struct links *l, uint64_t ref)
{
    if (l->size == 0)
        return NULL;
    const struct link_name *s = slot_of(l->slots, l->size, ref);
    return s->name ? s : NULL;
}

void links_clear(struct links *l)
{
    free(l->slots);
    gv_arena_free(l->arena);
    *l = (struct links){ 0 };
}
