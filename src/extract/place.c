/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "extract/place.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define OPEN_MAX_LEVELS 64

static int open_below(int parent, const char *name, int flags)
{
    if (image_name_check(name, strlen(name)) < 0) {
        errno = EINVAL;
        return -1;
    }
    return openat(parent, name, flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static struct place_level *add_level(struct place *p)
{
    if (p->count == p->room) {
        p->room = p->room ? p->room * 2 : 16;
        p->levels = gv_reallocarray(p->levels, p->room, sizeof(*p->levels));
    }
    return &p->levels[p->count++];
}

void place_init(struct place *p, int target, const struct gvmi_stat *st)
{
    *p = (struct place){ .arena = gv_arena_new() };
    *add_level(p) = (struct place_level){ .fd = target, .st = *st };
}

static void close_level(struct place_level *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

void place_clear(struct place *p)
{
    for (size_t i = 0; i < p->count; i++) {
        close_level(&p->levels[i]);
        free(p->levels[i].name);
    }
    free(p->levels);
    gv_arena_free(p->arena);
    *p = (struct place){ 0 };
}

int place_fd(struct place *p)
{
    size_t top = p->count - 1, open = top;
    while (p->levels[open].fd < 0)
        open--; /* ends at the target at the latest */
    for (; open < top; open++) {
        struct place_level *next = &p->levels[open + 1];
        next->fd = open_below(p->levels[open].fd, next->name, O_RDONLY);
        if (next->fd < 0)
            return -1;
        if (open + 1 > OPEN_MAX_LEVELS)
            close_level(&p->levels[open + 1 - OPEN_MAX_LEVELS]);
    }
    return p->levels[top].fd;
}

int place_enter(struct place *p, const char *name, const struct gvmi_stat *st)
{
    if (p->count > PLACE_DEPTH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    *add_level(p) = (struct place_level){ .fd = -1, .name = gv_strdup(name), .st = *st };
    if (place_fd(p) >= 0)
        return 0;
    int why = errno;
    place_leave(p);
    errno = why;
    return -1;
}

void place_leave(struct place *p)
{
    struct place_level *l = &p->levels[--p->count];
    close_level(l);
    free(l->name);
}

char *place_path(const struct place *p)
{
    cleanup_buf struct gv_buf path = { 0 };
    for (size_t i = 1; i < p->count; i++) {
        if (i > 1)
            gv_buf_add(&path, "/", 1);
        gv_buf_add(&path, p->levels[i].name, strlen(p->levels[i].name));
    }
    return gv_strdup(gv_buf_str(&path));
}

const struct place_dir *place_remember(struct place *p)
{
    size_t first = p->count;
    while (first > 1 && !p->levels[first - 1].found_by)
        first--;
    for (; first < p->count; first++) {
        struct place_level *l = &p->levels[first];
        l->found_by = gv_arena_alloc(p->arena, sizeof(*l->found_by));
        *l->found_by = (struct place_dir){ .parent = p->levels[first - 1].found_by,
                                           .name = gv_arena_strndup(p->arena, l->name, strlen(l->name)),
                                           .depth = (uint32_t)first };
    }
    return p->levels[p->count - 1].found_by;
}

int place_find(struct place *p, const struct place_dir *dir)
{
    uint32_t depth = dir ? dir->depth : 0;
    cleanup_free const struct place_dir **way = gv_calloc((size_t)depth + 1, sizeof(*way));
    for (uint32_t i = depth; i > 0; i--, dir = dir->parent)
        way[i] = dir;
    cleanup_close int at = fcntl(p->levels[0].fd, F_DUPFD_CLOEXEC, 0);
    for (uint32_t i = 1; i <= depth && at >= 0; i++) {
        int next = open_below(at, way[i]->name, O_PATH);
        int why = errno;
        close(at);
        errno = why;
        at = next;
    }
    return steal_fd(&at);
}
