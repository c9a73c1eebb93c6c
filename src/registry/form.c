/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "registry/form.h"

#include <openssl/rand.h>

/* The name that the original client gives to everything. */
#define FILE_NAME "descriptor.txt"

void registry_form_clear(struct form *f)
{
    gv_buf_clear(&f->head);
}

/* A boundary that nobody knows before cannot be in the content. */
int registry_form_begin(struct form *f, struct gv_error *err)
{
    unsigned char random[16];
    char hex[2 * sizeof(random) + 1];
    if (RAND_bytes(random, sizeof(random)) != 1)
        return gv_error_set(err, GV_E_INTERNAL, 0, "there is no randomness");
    gv_hex(hex, random, sizeof(random));
    snprintf(f->boundary, sizeof(f->boundary), "gvmkit-%s", hex);
    return 0;
}

void registry_form_text(struct form *f, const char *name, const char *value)
{
    gv_buf_addf(&f->head, "--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n", f->boundary, name, value);
}

void registry_form_file(struct form *f, const char *name)
{
    gv_buf_addf(&f->head,
                "--%s\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"" FILE_NAME
                "\"\r\nContent-Type: application/octet-stream\r\n\r\n",
                f->boundary, name);
}

void registry_form_end(const struct form *f, struct gv_buf *out)
{
    gv_buf_addf(out, "--%s--\r\n", f->boundary);
}

char *registry_form_type(const struct form *f)
{
    return gv_asprintf("multipart/form-data; boundary=%s", f->boundary);
}
