/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/usage.h"

#include <pthread.h>

#include "serve/model.h"

#define NOTES_MAX ((size_t)1 << 18) /* between two flushes */

struct note {
    int64_t image;
    bool download;
};

struct usage {
    pthread_mutex_t lock;
    struct note *notes;
    size_t count, room;
};

struct usage *usage_new(void)
{
    struct usage *u = gv_new(struct usage);
    pthread_mutex_init(&u->lock, NULL);
    return u;
}

void usage_free(struct usage *u)
{
    if (!u)
        return;
    pthread_mutex_destroy(&u->lock);
    free(u->notes);
    free(u);
}

void usage_note(struct usage *u, int64_t image, bool download)
{
    pthread_mutex_lock(&u->lock);
    if (u->count == u->room && u->room < NOTES_MAX) {
        u->room = u->room ? u->room * 2 : 256;
        u->notes = gv_reallocarray(u->notes, u->room, sizeof(*u->notes));
    }
    if (u->count < u->room)
        u->notes[u->count++] = (struct note){ image, download };
    pthread_mutex_unlock(&u->lock);
}

static int compare(const void *a, const void *b)
{
    const struct note *x = a, *y = b;
    return (x->image > y->image) - (x->image < y->image);
}

int usage_flush(struct usage *u, struct db *db, struct gv_error *err)
{
    pthread_mutex_lock(&u->lock);
    cleanup_free struct note *notes = u->notes;
    size_t count = u->count;
    u->notes = NULL;
    u->count = u->room = 0;
    pthread_mutex_unlock(&u->lock);
    if (count == 0)
        return 0;
    qsort(notes, count, sizeof(*notes), compare);
    cleanup_transaction struct db_transaction t = { db };
    if (db_begin(db, err) < 0)
        return -1;
    for (size_t i = 0; i < count;) {
        uint64_t uses = 0, downloads = 0;
        int64_t image = notes[i].image;
        for (; i < count && notes[i].image == image; i++)
            notes[i].download ? downloads++ : uses++;
        if (model_image_count(db, image, uses, downloads, err) < 0)
            return -1;
    }
    t.db = NULL;
    return db_commit(db, err);
}
