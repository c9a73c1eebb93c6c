/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What would surprise at run time. Some findings are about every runtime, some only about Golem's providers (ya-runtime-vm up to 0.5), and say so.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "gvmi/gvmi.h"

#define BIG_IMAGE ((uint64_t)2 << 30)
#define USERS_FILE_MAX ((size_t)4 << 20)
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct lint {
    struct gvmi_image *img;
    const struct image_config *config;
    void (*fn)(void *user, const char *text);
    void *user;
};

static void found(const struct lint *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void found(const struct lint *l, const char *fmt, ...)
{
    /* A finding quotes names from the image; the error object makes them safe to print. */
    char raw[1024];
    struct gv_error clean = GV_ERROR_INIT;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof(raw), fmt, ap);
    va_end(ap);
    gv_error_set(&clean, GV_OK, 0, "%s", raw);
    l->fn(l->user, clean.msg);
}

/* 1 with *st when the path is there, 0 when it is not, -1 when the image cannot be read. */
static int look(const struct lint *l, const char *path, bool follow, struct gvmi_stat *st, struct gv_error *err)
{
    struct gv_error why = GV_ERROR_INIT;
    if (gvmi_lookup(l->img, path, follow, st, &why) == 0)
        return 1;
    if (why.code == GV_E_NOT_FOUND)
        return 0;
    if (err)
        *err = why;
    return -1;
}

static int is_dir(const struct lint *l, const char *path, bool follow, struct gv_error *err)
{
    struct gvmi_stat st;
    int r = look(l, path, follow, &st, err);
    return r <= 0 ? r : st.type == IMAGE_DIR;
}

static void lint_format(const struct lint *l)
{
    const struct gvmi_info *info = gvmi_info(l->img);
    if (info->compression == GVMI_ZSTD || info->compression == GVMI_LZMA)
        found(l, "%s compression: Golem's providers cannot mount it; gzip, lzo, xz and lz4 they can",
              gvmi_compression_name(info->compression));
    if (info->file_size > BIG_IMAGE)
        found(l, "the file has %.1f GiB: a provider fetches all of it before the first start", (double)info->file_size / (double)(1 << 30));
}

static int lint_root(const struct lint *l, struct gv_error *err)
{
    static const char *const needed[] = { "/proc", "/sys", "/etc" };
    static const char *const plain[] = { "/etc/hosts", "/etc/resolv.conf", "/var", "/var/tmp" };
    struct gvmi_stat st;
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        int r = is_dir(l, needed[i], false, err);
        if (r < 0)
            return -1;
        if (r == 0)
            found(l, "%s is not a directory in the image: Golem's providers cannot start it", needed[i]);
    }
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        int r = look(l, plain[i], false, &st, err);
        if (r < 0)
            return -1;
        if (r == 1 && st.type == IMAGE_SYMLINK)
            found(l, "%s is a symbolic link: Golem's providers may fail to start the image", plain[i]);
    }
    return 0;
}

static int note_content(void *user, const struct gvmi_entry *e)
{
    (void)e;
    *(bool *)user = true;
    return 1;
}

/* The first component of the path that is a symbolic link, as its path. */
static int lint_volume_links(const struct lint *l, const char *volume, struct gv_error *err)
{
    cleanup_free char *path = gv_strdup(volume);
    struct gvmi_stat st;
    for (char *p = path + 1;; p++) {
        char end = *p;
        if (end != '/' && end != '\0')
            continue;
        *p = '\0';
        int r = look(l, path, false, &st, err);
        if (r < 0)
            return -1;
        if (r == 0)
            return 0;
        if (st.type == IMAGE_SYMLINK)
            found(l, "VOLUME %s: %s is a symbolic link, which Golem's providers refuse to mount through", volume, path);
        else if (st.type != IMAGE_DIR)
            found(l, "VOLUME %s: %s is not a directory", volume, path);
        if (st.type != IMAGE_DIR || end == '\0')
            return 0;
        *p = end;
    }
}

static bool odd_components(const char *path)
{
    for (const char *p = path; *p;) {
        p++; /* the slash */
        size_t len = strcspn(p, "/");
        if (len == 0 || (len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
            return true;
        p += len;
    }
    return false;
}

static bool below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static int lint_volume(const struct lint *l, const char *volume, struct gv_error *err)
{
    if (volume[0] != '/') {
        found(l, "VOLUME %s is not an absolute path", volume);
        return 0;
    }
    if (strspn(volume, "/") == strlen(volume)) {
        found(l, "VOLUME / would hide the whole image");
        return 0;
    }
    if (odd_components(volume))
        found(l, "VOLUME %s has an empty, `.` or `..` component or a slash at its end: Golem's providers refuse it", volume);
    if (below(volume, "/proc") || below(volume, "/sys"))
        found(l, "VOLUME %s is below a file system of the kernel", volume);
    if (lint_volume_links(l, volume, err) < 0)
        return -1;
    struct gvmi_stat st;
    int r = look(l, volume, true, &st, err);
    if (r <= 0 || st.type != IMAGE_DIR)
        return r < 0 ? -1 : 0;
    bool content = false;
    if (gvmi_read_dir(l->img, st.ref, note_content, &content, err) < 0)
        return -1;
    if (content)
        found(l, "VOLUME %s: what the image has there cannot be seen at run time, the volume starts empty", volume);
    return 0;
}

static int lint_volumes(const struct lint *l, struct gv_error *err)
{
    const struct gv_strv *v = &l->config->volumes;
    if (v->count == 0)
        found(l, "no VOLUME: files cannot be transferred to and from a provider, and nothing is kept");
    for (size_t i = 0; i < v->count; i++)
        if (lint_volume(l, v->items[i], err) < 0)
            return -1;
    return 0;
}

/* Whether the program is in one of the directories of PATH: 1, 0, -1. */
static int in_path(const struct lint *l, const char *program, struct gv_error *err)
{
    const char *dirs = image_config_getenv(l->config, "PATH");
    if (!dirs)
        dirs = DEFAULT_PATH;
    while (*dirs) {
        size_t len = strcspn(dirs, ":");
        struct gvmi_stat st;
        cleanup_free char *path = gv_asprintf("%.*s/%s", (int)len, dirs, program);
        int r = len ? look(l, path, true, &st, err) : 0;
        if (r < 0)
            return -1;
        if (r == 1 && st.type == IMAGE_FILE && (st.mode & 0111))
            return 1;
        dirs += len + (dirs[len] == ':');
    }
    return 0;
}

static int lint_command(const struct lint *l, struct gv_error *err)
{
    const struct image_config *c = l->config;
    const char *what = c->entrypoint.count ? "ENTRYPOINT" : "CMD";
    const struct gv_strv *v = c->entrypoint.count ? &c->entrypoint : &c->cmd;
    if (v->count == 0)
        return 0;
    const char *program = v->items[0];
    struct gvmi_stat st;
    if (program[0] == '/') {
        int r = look(l, program, true, &st, err);
        if (r < 0)
            return -1;
        if (r == 0)
            found(l, "%s %s is not in the image", what, program);
        else if (st.type != IMAGE_FILE || !(st.mode & 0111))
            found(l, "%s %s is not a program", what, program);
        return 0;
    }
    int r = strchr(program, '/') ? 1 : in_path(l, program, err);
    if (r < 0)
        return -1;
    if (r == 0)
        found(l, "%s %s is in no directory of PATH", what, program);
    else
        found(l, "%s %s is not an absolute path: Golem's providers do not search PATH and cannot start it", what, program);
    return 0;
}

static int append_content(void *user, const void *p, size_t n)
{
    struct gv_buf *buf = user;
    if (buf->len + n > USERS_FILE_MAX)
        return 1;
    gv_buf_add(buf, p, n);
    return 0;
}

/* Whether a file of lines "name:..." has the name: 1, 0, -1. */
static int has_name(const struct lint *l, const char *file, const char *name, size_t len, struct gv_error *err)
{
    struct gvmi_stat st;
    cleanup_buf struct gv_buf text = { 0 };
    int r = look(l, file, true, &st, err);
    if (r <= 0 || st.type != IMAGE_FILE)
        return r < 0 ? -1 : 0;
    if (gvmi_read_file(l->img, st.ref, append_content, &text, err) < 0)
        return -1;
    for (const char *p = gv_buf_str(&text); *p;) {
        if (strncmp(p, name, len) == 0 && p[len] == ':')
            return 1;
        p += strcspn(p, "\n");
        p += *p == '\n';
    }
    return 0;
}

static bool all_digits(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isdigit((unsigned char)s[i]))
            return false;
    return n > 0;
}

static int lint_user(const struct lint *l, struct gv_error *err)
{
    const char *user = l->config->user;
    if (!user || !*user)
        return 0;
    size_t len = strcspn(user, ":");
    const char *group = user[len] == ':' ? user + len + 1 : "";
    int r = all_digits(user, len) ? 1 : has_name(l, "/etc/passwd", user, len, err);
    if (r < 0)
        return -1;
    if (r == 0)
        found(l, "USER %.*s is not in the image's /etc/passwd", (int)len, user);
    r = *group == '\0' || all_digits(group, strlen(group)) ? 1 : has_name(l, "/etc/group", group, strlen(group), err);
    if (r < 0)
        return -1;
    if (r == 0)
        found(l, "group %s of USER is not in the image's /etc/group", group);
    return 0;
}

static int lint_rest(const struct lint *l, struct gv_error *err)
{
    const struct image_config *c = l->config;
    for (size_t i = 0; i < c->env.count; i++) {
        const char *eq = strchr(c->env.items[i], '=');
        if (!eq || eq == c->env.items[i])
            found(l, "ENV `%s` is not of the form NAME=value", c->env.items[i]);
    }
    if (!c->workdir)
        return 0;
    if (c->workdir[0] != '/') {
        found(l, "WORKDIR %s is not an absolute path", c->workdir);
        return 0;
    }
    int r = is_dir(l, c->workdir, true, err);
    if (r == 0)
        for (size_t i = 0; i < c->volumes.count; i++)
            r |= below(c->workdir, c->volumes.items[i]);
    if (r == 0)
        found(l, "WORKDIR %s is not a directory in the image", c->workdir);
    return r < 0 ? -1 : 0;
}

int gvmi_lint(struct gvmi_image *img, void (*fn)(void *user, const char *text), void *user, struct gv_error *err)
{
    const struct lint l = { .img = img, .config = gvmi_config(img), .fn = fn, .user = user };
    lint_format(&l);
    if (lint_root(&l, err) < 0 || lint_volumes(&l, err) < 0 || lint_command(&l, err) < 0 || lint_user(&l, err) < 0 ||
        lint_rest(&l, err) < 0)
        return -1;
    return 0;
}
