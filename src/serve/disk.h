/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The files of the data directory. Their names are made of hashes only. What has a name below images/ is whole, verified and synced.
 */
#ifndef GV_SERVE_DISK_H
#define GV_SERVE_DISK_H

#include <pthread.h>
#include <stdbool.h>

#include "core/core.h"

struct disk {
    char *dir;
    int images, uploads; /* directories */
    int lock;
    /* Held by who makes files of images known to the database, and by who removes those that it does not know. */
    pthread_mutex_t publish;
};

/* Makes what is missing and takes the directory's lock: GV_E_BUSY when another server has it. */
int disk_open(struct disk *d, const char *dir, struct gv_error *err);
void disk_close(struct disk *d);
/* Makes DIR, its parents and what is in it. */
int disk_make(const char *dir, struct gv_error *err);

/* The file of an upload, which is made, durably, if it is missing. The descriptor, or -1. */
int disk_upload_open(struct disk *d, const unsigned char name[GV_SHA256_SIZE], struct gv_error *err);
void disk_upload_remove(struct disk *d, const unsigned char name[GV_SHA256_SIZE]);
/* A file without a name on the same file system. */
int disk_scratch(struct disk *d, struct gv_error *err);

enum disk_file { DISK_IMAGE, DISK_CHUNKS, DISK_SIGNATURE };
/* -1 with GV_E_NOT_FOUND when it is not there. */
int disk_open_file(struct disk *d, const unsigned char hash[GV_SHA3_224_SIZE], enum disk_file kind, struct gv_error *err);
bool disk_has(struct disk *d, const unsigned char hash[GV_SHA3_224_SIZE], uint64_t size);
/* Gives the synced file of an upload the name of the image, also in place of a file that has it; durable when it returns. d->publish is held. */
int disk_publish(struct disk *d, const unsigned char name[GV_SHA256_SIZE], const unsigned char hash[GV_SHA3_224_SIZE],
                 struct gv_error *err);
/* Writes the image's chunk map or signature, durably, in place of what is there. d->publish is held. */
int disk_write_beside(struct disk *d, const unsigned char hash[GV_SHA3_224_SIZE], enum disk_file kind, const struct gv_buf *bytes,
                      struct gv_error *err);

/* The image's signature, appended to *text: GV_E_NOT_FOUND when there is none. */
int disk_read_signature(struct disk *d, const unsigned char hash[GV_SHA3_224_SIZE], struct gv_buf *text, struct gv_error *err);

/*
 * Removes every file below images/ and uploads/ for which known() says 0 and which has a name of ours; others are left. For images/, d->publish is held.
 * -1 of known() ends it. *removed counts.
 */
int disk_sweep_images(struct disk *d, int (*known)(void *user, const unsigned char hash[GV_SHA3_224_SIZE]), void *user, uint64_t *removed,
                      struct gv_error *err);
int disk_sweep_uploads(struct disk *d, int (*known)(void *user, const unsigned char name[GV_SHA256_SIZE]), void *user, uint64_t *removed,
                       struct gv_error *err);

/* Bytes that are free for us on the file system. */
uint64_t disk_free(const struct disk *d);

#endif
