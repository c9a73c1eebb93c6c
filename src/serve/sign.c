/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signatures of images, an extension of ours: POST /v1/image/signature keeps the text beside the image, and /download/ID.minisig and HASH.gvmi.minisig give it to
 * whoever wants to know before the image moves. The registry knows no keys and checks nothing but that the text says it is of this image: who fetches it checks it.
 *
 * Who may set tags in a repository where the image has one may send it. One of another key replaces it only when that is so for all of these repositories, since
 * anybody can give somebody else's image a tag of his own.
 */
#include <string.h>

#include "serve/server.h"
#include "sign/sign.h"

bool route_sign_file(void *request, const void *p, size_t n, uint64_t at)
{
    (void)at;
    struct request *r = request;
    if (n > SIGN_FILE_MAX - r->body.len) {
        answer_text(r, 413, "a signature is not longer than %u bytes", SIGN_FILE_MAX);
        return false;
    }
    gv_buf_add(&r->body, p, n);
    return true;
}

/* Whether the signature that is there, if any, is of another key. */
static bool is_of_another(struct request *r, const struct image_row *image, const char *id)
{
    cleanup_buf struct gv_buf text = { 0 };
    struct sign_claim claim;
    char before[SIGN_ID_TEXT];
    return disk_read_signature(&r->server->disk, image->hash, &text, NULL) == 0 &&
           sign_peek(&claim, before, text.data, text.len, NULL) == 0 && strcmp(before, id) != 0;
}

static int keep(struct request *r, struct db *db, const struct image_row *image, int64_t user, const char *id, struct gv_error *err)
{
    int64_t all = 0, own = 0;
    struct image_row again;
    int found = model_image_by_hash(db, image->hash, &again, err);
    if (found <= 0)
        return found < 0 ? -1 : gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no such image any more");
    if (model_repositories(db, again.id, user, &all, &own, err) < 0)
        return -1;
    if (own == 0)
        return gv_error_set(err, GV_E_USAGE, 0, "this user may not set tags in any repository where the image has one");
    if (own < all && is_of_another(r, &again, id))
        return gv_error_set(err, GV_E_EXISTS, 0, "the image is signed with another key, and has tags of others");
    return disk_write_beside(&r->server->disk, again.hash, DISK_SIGNATURE, &r->body, err);
}

static void sign(struct request *r, struct db *db, const unsigned char descriptor[GV_SHA256_SIZE])
{
    struct gv_error err = GV_ERROR_INIT;
    struct server *s = r->server;
    struct image_row image;
    struct sign_claim claim;
    char id[SIGN_ID_TEXT], hash[GV_SHA3_224_HEX];
    int64_t user = 0;
    if (request_login(r, db, form_text(r->form, "login"), form_text(r->form, "token"), &user) <= 0)
        return;
    int found = model_image_by_descriptor(db, descriptor, &image, &err);
    if (found < 0) {
        answer_error(r, &err);
        return;
    }
    if (found == 0) { /* not 404, which says that a registry does not have this extension */
        answer_text(r, 400, "there is no image of that descriptor; push it first");
        return;
    }
    gv_hex(hash, image.hash, sizeof(image.hash));
    if (sign_peek(&claim, id, r->body.data, r->body.len, &err) < 0) {
        answer_text(r, 400, "%s", err.msg);
        return;
    }
    if (strcmp(claim.hash, hash) != 0 || claim.size != image.size) {
        answer_text(r, 400, "the signature is of another image, %s of %llu bytes", claim.hash, (unsigned long long)claim.size);
        return;
    }
    pthread_mutex_lock(&s->disk.publish);
    int status = keep(r, db, &image, user, id, &err);
    pthread_mutex_unlock(&s->disk.publish);
    if (status == 0)
        answer_text(r, 200, "ok");
    else if (err.code == GV_E_USAGE)
        answer_text(r, 403, "%s", err.msg);
    else if (err.code == GV_E_EXISTS)
        answer_text(r, 409, "%s", err.msg);
    else if (err.code == GV_E_NOT_FOUND)
        answer_text(r, 400, "%s", err.msg);
    else
        answer_error(r, &err);
}

void route_sign(struct request *r)
{
    unsigned char descriptor[GV_SHA256_SIZE];
    static const char *const needed[] = { "descr-sha256", "login", "token" };
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (!form_text(r->form, needed[i])) {
            answer_text(r, 400, "the form has no %s", needed[i]);
            return;
        }
    if (!form_has_file(r->form)) {
        answer_text(r, 400, "the form has no file");
        return;
    }
    if (gv_unhex(descriptor, sizeof(descriptor), form_text(r->form, "descr-sha256")) < 0) {
        answer_text(r, 400, "the id of a descriptor has 64 hex digits");
        return;
    }
    struct db *db = request_db(r);
    if (!db)
        return;
    sign(r, db, descriptor);
    db_give(r->server->dbs, db);
}
