/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Forms of several parts (RFC 7578), as registries take them. */
#ifndef GV_REGISTRY_FORM_H
#define GV_REGISTRY_FORM_H

#include "core/core.h"

/* Zero-initialised and begun with registry_form_begin(). */
struct form {
    struct gv_buf head; /* everything before the content of the file, or all of it */
    char boundary[64];
};
void registry_form_clear(struct form *f);
static inline void gv_cleanup_form_fn(struct form *f)
{
    registry_form_clear(f);
}
#define cleanup_form __attribute__((cleanup(gv_cleanup_form_fn)))

/* Makes the boundary. */
int registry_form_begin(struct form *f, struct gv_error *err);
/* `value` has no line that could be a boundary: no line breaks. */
void registry_form_text(struct form *f, const char *name, const char *value);
/* What follows is the content of a file, and then registry_form_end(). */
void registry_form_file(struct form *f, const char *name);
/* Appends what ends the form; after the content of a file it needs the "\r\n" before it. */
void registry_form_end(const struct form *f, struct gv_buf *out);
/* "multipart/form-data; boundary=..."; the caller frees it. */
char *registry_form_type(const struct form *f) __attribute__((returns_nonnull));

#endif
