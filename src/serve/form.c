/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/form.h"

#include <string.h>

#define PIECE ((size_t)16 << 10) /* of what the parser keeps, in each connection that sends a form */
#define FILE_NAME "file"

static const char *const names[] = { "descr-sha256", "chunk-no",   "chunk-sha256", "chunk-pos", "chunk-len", "tag",
                                     "username",     "repository", "login",        "token",     "check" };
#define NAMES (sizeof(names) / sizeof(names[0]))

struct form {
    const struct mhd_api *mhd;
    struct MHD_PostProcessor *pp;
    bool (*file)(void *user, const void *p, size_t n, uint64_t at);
    void *user;
    struct gv_buf texts[NAMES];
    bool seen[NAMES];
    bool wrong, has_file, file_ended;
};

static void take_text(struct form *f, size_t i, const char *data, uint64_t at, size_t size)
{
    struct gv_buf *text = &f->texts[i];
    /* An empty part, or the first piece of one. */
    if (at == 0 && f->seen[i] && (text->len > 0 || size > 0))
        f->wrong = true;
    f->seen[i] = true;
    if (at != text->len || size > FORM_TEXT_MAX - text->len || memchr(data ? data : "", '\0', size)) {
        f->wrong = true;
        return;
    }
    gv_buf_add(text, data, size);
}

static enum MHD_Result take(void *cls, enum MHD_ValueKind kind, const char *key, const char *filename, const char *type,
                            const char *encoding, const char *data, uint64_t at, size_t size)
{
    (void)kind;
    (void)filename;
    (void)type;
    (void)encoding;
    struct form *f = cls;
    if (f->wrong || !key)
        return MHD_YES; /* the rest is still received, so that there can be an answer */
    if (strcmp(key, FILE_NAME) == 0) {
        if (at == 0 && f->has_file && size > 0)
            f->wrong = true;
        f->has_file = f->has_file || size > 0;
        if (!f->wrong && !f->file_ended && f->file && size > 0)
            f->file_ended = !f->file(f->user, data, size, at);
        return MHD_YES;
    }
    for (size_t i = 0; i < NAMES; i++)
        if (strcmp(key, names[i]) == 0)
            take_text(f, i, data, at, size);
    return MHD_YES;
}

struct form *form_new(const struct mhd_api *mhd, struct MHD_Connection *connection,
                      bool (*file)(void *user, const void *p, size_t n, uint64_t at), void *user)
{
    struct form *f = gv_new(struct form);
    *f = (struct form){ .mhd = mhd, .file = file, .user = user };
    f->pp = mhd->create_post_processor(connection, PIECE, take, f);
    if (!f->pp) {
        free(f);
        return NULL;
    }
    return f;
}

bool form_end(struct form *f)
{
    if (f->pp && f->mhd->destroy_post_processor(f->pp) != MHD_YES)
        f->wrong = true;
    f->pp = NULL;
    return !f->wrong;
}

void form_free(struct form *f)
{
    if (!f)
        return;
    f->file = NULL; /* the parser may still have a piece */
    form_end(f);
    for (size_t i = 0; i < NAMES; i++)
        gv_buf_clear(&f->texts[i]);
    free(f);
}

void form_add(struct form *f, const char *p, size_t n)
{
    if (!f->wrong && f->mhd->post_process(f->pp, p, n) != MHD_YES)
        f->wrong = true;
}

const char *form_text(struct form *f, const char *name)
{
    for (size_t i = 0; i < NAMES; i++)
        if (strcmp(name, names[i]) == 0 && f->seen[i])
            return gv_buf_str(&f->texts[i]);
    return NULL;
}

bool form_has_file(const struct form *f)
{
    return f->has_file;
}

bool form_number(const char *s, uint64_t most, uint64_t *out)
{
    uint64_t v = 0;
    if (!*s)
        return false;
    for (; *s; s++)
        if (*s < '0' || *s > '9' || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
            return false;
    *out = v;
    return v <= most;
}
