/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a server does beside answering. Collection: the database forgets what has expired, then files that it does not know go; a download that runs has
 * its file open and keeps it. Chunk maps: one after the other in a thread of their own, for each image of which none has been made.
 */
#include <inttypes.h>
#include <string.h>

#include "gvmi/gvmi.h"
#include "serve/server.h"

/* ---- collection ---- */

#define LEFT_ALONE 600 /* seconds that a tag may come late, or move over another one */

struct sweep {
    struct db *db;
    struct gv_error *err;
};

static int known(void *user, const unsigned char hash[GV_SHA3_224_SIZE])
{
    struct sweep *s = user;
    struct image_row image;
    return model_image_by_hash(s->db, hash, &image, s->err);
}

static int collect(struct server *s, struct db *db, struct gv_error *err)
{
    const struct serve_options *o = s->options;
    int64_t now = server_now(), images = 0, more = 0;
    uint64_t uploads = 0, files = 0;
    struct sweep sweep = { db, err };
    if (uploads_expire(s->uploads, db, now - (int64_t)(o->upload_expiry / 1000), &uploads, err) < 0)
        return -1;
    /* Nobody may find an image in the database whose file goes at this moment, and publish it as there already. */
    pthread_mutex_lock(&s->disk.publish);
    int r = model_expire(db, now - (int64_t)(o->anonymous_expiry / 1000), &images, err);
    /* Uploads have been let in by the quota, but tags move, and what they leave behind is more and more. */
    if (r == 0)
        r = model_evict(db, now - LEFT_ALONE, o->anonymous_quota, &more, err);
    images += more;
    if (r == 0)
        r = disk_sweep_images(&s->disk, known, &sweep, &files, err);
    pthread_mutex_unlock(&s->disk.publish);
    s->metrics.expired_uploads += uploads;
    s->metrics.expired_images += (uint64_t)images;
    s->metrics.collections++;
    if (images || uploads || files)
        gv_note(s->log, "collected %" PRId64 " images and %" PRIu64 " uploads, %" PRIu64 " files of images", images, uploads, files);
    return r;
}

void server_collect(struct server *s)
{
    struct gv_error err = GV_ERROR_INIT;
    struct db *db = db_take(s->dbs, &err);
    if (!db || collect(s, db, &err) < 0)
        gv_warn(s->log, "collecting what has expired: %s", err.msg);
    if (db)
        db_give(s->dbs, db);
}

/* ---- chunk maps ---- */

static int make_map(struct server *s, const struct image_row *image, struct gv_buf *out, struct gv_error *err)
{
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    cleanup_chunk_map struct gvmi_chunk_map map = { 0 };
    cleanup_close int fd = disk_open_file(&s->disk, image->hash, DISK_IMAGE, err);
    if (fd < 0 || gvmi_open_fd(&img, fd, "the image", err) < 0 || gvmi_chunks(img, NULL, &map, err) < 0)
        return -1;
    if (memcmp(map.image, image->hash, sizeof(map.image)) != 0)
        return gv_error_set(err, GV_E_CORRUPT, 0, "the file has another hash now: the disk has damaged it");
    gvmi_chunks_format(&map, out);
    return 0;
}

static int keep_map(struct server *s, struct db *db, const struct image_row *image, const struct gv_buf *map, struct gv_error *err)
{
    struct image_row again;
    pthread_mutex_lock(&s->disk.publish);
    int r = model_image_by_hash(db, image->hash, &again, err);
    if (r > 0 && map->len > 0)
        r = disk_write_beside(&s->disk, image->hash, DISK_CHUNKS, map, err) < 0 ? -1 : 1;
    if (r > 0)
        r = model_image_set_chunks(db, again.id, map->len > 0 ? CHUNKS_READY : CHUNKS_IMPOSSIBLE, err);
    pthread_mutex_unlock(&s->disk.publish);
    return r < 0 ? -1 : 0;
}

static void make_maps(void *arg)
{
    struct server *s = arg;
    struct gv_error err = GV_ERROR_INIT;
    struct image_row image = { 0 };
    struct db *db = db_take(s->dbs, &err);
    int found = db ? 1 : -1;
    while (found > 0 && !s->ending) {
        cleanup_buf struct gv_buf map = { 0 };
        char hash[GV_SHA3_224_HEX];
        gv_error_clear(&err);
        found = model_image_without_chunks(db, image.id, &image, &err);
        if (found <= 0)
            break;
        gv_hex(hash, image.hash, sizeof(image.hash));
        if (make_map(s, &image, &map, &err) < 0) {
            gv_warn(s->log, "no chunk map of %s: %s", hash, err.msg);
            /* A disk that fails, or a file that was collected meanwhile, says nothing of the image. */
            if (err.code == GV_E_IO || err.code == GV_E_NOT_FOUND)
                continue;
            gv_buf_clear(&map);
        }
        if (keep_map(s, db, &image, &map, &err) < 0)
            gv_warn(s->log, "the chunk map of %s: %s", hash, err.msg);
    }
    if (found < 0)
        gv_warn(s->log, "making chunk maps: %s", err.msg);
    if (db)
        db_give(s->dbs, db);
}

void server_make_chunks(struct server *s)
{
    /* When there is no room for another, one waits that will find this image, too. */
    (void)!jobs_submit(s->maps, make_maps, s);
}
