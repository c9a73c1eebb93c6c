/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/look.h"

#include <signal.h>
#include <string.h>
#include <time.h>

void look_begin(void)
{
    signal(SIGPIPE, SIG_DFL);
}

const char *look_type(int type)
{
    static const char *const names[] = {
        [IMAGE_FILE] = "file",   [IMAGE_DIR] = "directory", [IMAGE_SYMLINK] = "symlink", [IMAGE_CHAR] = "char",
        [IMAGE_BLOCK] = "block", [IMAGE_FIFO] = "fifo",     [IMAGE_SOCKET] = "socket",
    };
    return names[type];
}

void look_time(char out[32], int64_t t)
{
    struct tm tm;
    time_t when = (time_t)t;
    if (!localtime_r(&when, &tm) || strftime(out, 32, "%Y-%m-%d %H:%M", &tm) == 0)
        snprintf(out, 32, "%lld", (long long)t);
}

/* Length of the UTF-8 sequence at s as jansson takes it, 0 if there is none. */
static size_t utf8_sequence(const char *s)
{
    unsigned char c = (unsigned char)s[0];
    size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : (c & 0xf8) == 0xf0 ? 4 : 0;
    if (n == 0 || strnlen(s, n) < n)
        return 0;
    json_t *probe = json_stringn(s, n);
    json_decref(probe);
    return probe ? n : 0;
}

void look_json_bytes(json_t *o, const char *key, const char *s)
{
    json_t *whole = json_string(s);
    if (whole) {
        json_object_set_new(o, key, whole);
        return;
    }
    cleanup_buf struct gv_buf text = { 0 };
    cleanup_buf struct gv_buf hex = { 0 };
    for (const char *p = s; *p;) {
        size_t n = utf8_sequence(p);
        if (n > 0)
            gv_buf_add(&text, p, n);
        else
            gv_buf_addf(&text, "\\x%02x", (unsigned char)*p);
        p += n ? n : 1;
    }
    for (const char *p = s; *p; p++)
        gv_buf_addf(&hex, "%02x", (unsigned char)*p);
    cleanup_free char *hex_key = gv_asprintf("%s_hex", key);
    json_object_set_new(o, key, json_string(gv_buf_str(&text)));
    json_object_set_new(o, hex_key, json_string(gv_buf_str(&hex)));
}

void look_json_path(json_t *o, const char *path)
{
    cleanup_free char *whole = gv_asprintf("/%s", path);
    look_json_bytes(o, "path", whole);
}

void look_json_stat(json_t *o, const struct gvmi_stat *st)
{
    char mode[8];
    snprintf(mode, sizeof(mode), "%04o", st->mode);
    json_object_set_new(o, "type", json_string(look_type(st->type)));
    json_object_set_new(o, "mode", json_string(mode));
    json_object_set_new(o, "uid", json_integer(st->uid));
    json_object_set_new(o, "gid", json_integer(st->gid));
    json_object_set_new(o, "mtime", json_integer(st->mtime));
    json_object_set_new(o, "nlink", json_integer(st->nlink));
    json_object_set_new(o, "inode", json_integer(st->inode));
    if (st->type == IMAGE_FILE)
        json_object_set_new(o, "size", json_integer((json_int_t)st->size));
    if (st->type == IMAGE_CHAR || st->type == IMAGE_BLOCK) {
        json_object_set_new(o, "major", json_integer(st->rdev_major));
        json_object_set_new(o, "minor", json_integer(st->rdev_minor));
    }
}

void look_json_element(json_t *o, size_t *count)
{
    fputs((*count)++ ? ",\n" : "[\n", stdout);
    json_dumpf(o, stdout, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(o);
}

void look_json_array_end(size_t count)
{
    fputs(count ? "\n]\n" : "[]\n", stdout);
}

void look_json_print(json_t *o)
{
    json_dumpf(o, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(o);
}
