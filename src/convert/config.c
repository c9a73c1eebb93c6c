/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The configuration that boots everywhere (rules.h). The providers' guest mounts volumes only at paths without links, dots and needless slashes, executes a
 * program only by its path, and changes into WORKDIR as it is written. Docker means the same places by looser words: they are found here once, in the
 * image, as Docker finds them when it starts a container.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "convert/rules.h"

#define USERS_MAX ((size_t)4 << 20)
#define PATH_DIRS_MAX 256 /* of a hostile PATH no more are searched */
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- VOLUME ---- */

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_volumes(struct gv_strv *v)
{
    struct gv_strv unique = { 0 };
    if (v->count)
        qsort(v->items, v->count, sizeof(char *), compare_strings);
    for (size_t i = 0; i < v->count; i++)
        if (i == 0 || strcmp(v->items[i], v->items[i - 1]) != 0)
            gv_strv_add(&unique, v->items[i]);
    gv_strv_clear(v);
    *v = unique;
}

void config_add_volume(struct image_config *config, const char *path)
{
    gv_strv_add(&config->volumes, path);
    sort_volumes(&config->volumes);
}

static bool below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* The configuration is JSON, names in an image are bytes. */
static bool is_utf8(const char *s)
{
    json_t *string = json_string(s);
    json_decref(string);
    return string != NULL;
}

int config_fit_volume(const char *volume, const struct look *look, const struct gv_log *log, char **path, struct gv_error *err)
{
    cleanup_look_end struct look_end end = { 0 };
    *path = NULL;
    if (look_up(look, volume, &end, err) < 0)
        return -1;
    const char *why = NULL;
    if (end.found == LOOK_NOWHERE)
        why = "its path leads through a file or in a circle";
    else if (end.found == LOOK_FILE || end.found == LOOK_OTHER)
        why = "there is no directory but a file";
    else if (strcmp(end.real, "/") == 0)
        why = "it would hide the whole image";
    else if (!is_utf8(end.real))
        why = "it leads to a path that is not UTF-8";
    else if (below(end.real, "/proc") || below(end.real, "/sys"))
        why = "the kernel's own file systems are there";
    if (why) {
        gv_warn(log, "VOLUME %s is left out: %s", *volume ? volume : "\"\"", why);
        return 0;
    }
    cleanup_free char *clean = look_clean(volume);
    if (strcmp(end.real, clean) != 0)
        gv_note(log, "VOLUME %s is %s now, which is where it leads", volume, end.real);
    else if (strcmp(clean, volume) != 0)
        gv_note(log, "VOLUME %s is %s now: it is taken only as it is written", volume, clean);
    *path = steal_ptr(end.real);
    return 0;
}

static int fit_volumes(struct image_config *config, const struct look *look, const struct gv_log *log, struct gv_error *err)
{
    struct gv_strv before = config->volumes;
    config->volumes = (struct gv_strv){ 0 };
    int status = 0;
    for (size_t i = 0; i < before.count && status == 0; i++) {
        cleanup_free char *path = NULL;
        status = config_fit_volume(before.items[i], look, log, &path, err);
        if (path)
            gv_strv_take(&config->volumes, steal_ptr(path));
    }
    sort_volumes(&config->volumes);
    gv_strv_clear(&before);
    return status;
}

/* ---- ENTRYPOINT, CMD ---- */

/* 1 when the path leads to a program. */
static int is_program(const struct look *look, const char *path, struct gv_error *err)
{
    cleanup_look_end struct look_end end = { 0 };
    if (look_up(look, path, &end, err) < 0)
        return -1;
    return end.found == LOOK_FILE && (end.mode & 0111) != 0;
}

static int find_in_path(const struct image_config *config, const struct look *look, const char *program, char **path, struct gv_error *err)
{
    const char *dirs = image_config_getenv(config, "PATH");
    if (!dirs)
        dirs = DEFAULT_PATH;
    for (int i = 0; *dirs && i < PATH_DIRS_MAX; i++, dirs += *dirs == ':') {
        size_t len = strcspn(dirs, ":");
        /* Directories that are not absolute depend on where the program is started. */
        cleanup_free char *at = *dirs == '/' ? gv_asprintf("%.*s/%s", (int)len, dirs, program) : NULL;
        dirs += len;
        int found = at && len < LOOK_PATH_MAX ? is_program(look, at, err) : 0;
        if (found < 0)
            return -1;
        if (found) {
            *path = look_clean(at);
            return 0;
        }
    }
    return 0;
}

int config_fit_program(struct image_config *config, const struct look *look, const struct gv_log *log, struct gv_error *err)
{
    struct gv_strv *v = config->entrypoint.count ? &config->entrypoint : &config->cmd;
    const char *what = config->entrypoint.count ? "ENTRYPOINT" : "CMD";
    if (!v->count || v->items[0][0] == '/' || v->items[0][0] == '\0')
        return 0;
    const char *program = v->items[0];
    cleanup_free char *path = NULL;
    if (!strchr(program, '/')) {
        if (find_in_path(config, look, program, &path, err) < 0)
            return -1;
    } else {
        cleanup_free char *at = gv_asprintf("%s/%s", config->workdir ? config->workdir : "", program);
        int found = is_program(look, at, err);
        if (found < 0)
            return -1;
        path = found ? look_clean(at) : NULL;
    }
    if (!path)
        return 0; /* what else it may be, lint tells */
    gv_note(log, "%s %s is %s now: providers do not search PATH", what, program, path);
    free(v->items[0]);
    v->items[0] = steal_ptr(path);
    return 0;
}

/* ---- WORKDIR, USER ---- */

void config_fit_workdir(struct image_config *config, const struct gv_log *log)
{
    if (!config->workdir)
        return;
    cleanup_free char *clean = look_clean(config->workdir);
    if (strcmp(clean, config->workdir) == 0)
        return;
    if (config->workdir[0] != '/')
        gv_note(log, "WORKDIR %s is %s now: it has to be an absolute path", config->workdir, clean);
    free(config->workdir);
    config->workdir = steal_ptr(clean);
}

int config_fit(struct image_config *config, const struct look *look, const struct gv_log *log, struct gv_error *err)
{
    config_fit_workdir(config, log);
    return fit_volumes(config, look, log, err) < 0 ? -1 : config_fit_program(config, look, log, err);
}

static int read_users(const struct look *look, const char *path, struct gv_buf *out, struct gv_error *err)
{
    cleanup_look_end struct look_end end = { 0 };
    if (look_up(look, path, &end, err) < 0)
        return -1;
    return end.found == LOOK_FILE ? look_read(look, end.real, USERS_MAX, out, err) : 0; /* no file is an empty one */
}

/* A piece of text, not ended by a NUL. */
struct piece {
    const char *p;
    size_t n;
};

/* Takes what is before the first c off *rest; false when nothing is left. */
static bool cut(struct piece *rest, char c, struct piece *out)
{
    if (!rest->p)
        return false;
    const char *end = rest->n ? memchr(rest->p, c, rest->n) : NULL;
    *out = (struct piece){ rest->p, end ? (size_t)(end - rest->p) : rest->n };
    *rest = end ? (struct piece){ end + 1, rest->n - out->n - 1 } : (struct piece){ 0 };
    return true;
}

static bool is_digits(struct piece s)
{
    size_t i = 0;
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
        i++;
    return s.n > 0 && i == s.n;
}

/* (uid_t)-1 means nobody to the kernel. */
static bool number(struct piece s, uint32_t *out)
{
    uint64_t v = 0;
    if (!is_digits(s) || s.n > 10)
        return false;
    for (size_t i = 0; i < s.n; i++)
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    *out = (uint32_t)v;
    return v < UINT32_MAX;
}

/* The first line of passwd or group whose name (field 0), or whose number (field 2) when `wanted` is one, is that; *id gets field 2, *gid field 3. */
static bool find_line(struct piece text, struct piece wanted, uint32_t *id, uint32_t *gid)
{
    struct piece line, f[4] = { 0 };
    uint32_t number_wanted = 0;
    bool by_number = number(wanted, &number_wanted);
    while (cut(&text, '\n', &line)) {
        size_t n = 0;
        while (n < 4 && cut(&line, ':', &f[n]))
            n++;
        if (n < (gid ? 4U : 3U) || f[0].n == 0 || f[0].p[0] == '#' || !number(f[2], id) || (gid && !number(f[3], gid)))
            continue;
        if (by_number ? *id == number_wanted : f[0].n == wanted.n && memcmp(f[0].p, wanted.p, wanted.n) == 0)
            return true;
    }
    return false;
}

int config_numeric_user(struct image_config *config, const struct look *look, struct gv_error *err)
{
    if (!config->user)
        return 0;
    cleanup_buf struct gv_buf passwd = { 0 }, group = { 0 };
    if (read_users(look, "/etc/passwd", &passwd, err) < 0 || read_users(look, "/etc/group", &group, err) < 0)
        return -1;
    struct piece rest = { config->user, strlen(config->user) }, user, wanted = { 0 };
    cut(&rest, ':', &user);
    if (rest.p)
        wanted = rest;
    uint32_t uid = 0, gid = 0, id = 0;
    if (user.n == 0)
        user = (struct piece){ "0", 1 };
    if (!find_line((struct piece){ (const char *)passwd.data, passwd.len }, user, &uid, &gid)) {
        gid = 0;
        if (!number(user, &uid))
            return gv_error_set(err, GV_E_NOT_FOUND, 0,
                                "the user `%.*s` of USER is not in the image's /etc/passwd; give another one with --user", (int)user.n,
                                user.p);
    }
    if (wanted.n > 0) {
        if (!number(wanted, &id) && !find_line((struct piece){ (const char *)group.data, group.len }, wanted, &id, NULL))
            return gv_error_set(err, GV_E_NOT_FOUND, 0,
                                "the group `%.*s` of USER is not in the image's /etc/group; give another one with --user", (int)wanted.n,
                                wanted.p);
        gid = id;
    }
    free(config->user);
    config->user = gv_asprintf("%u:%u", uid, gid);
    return 0;
}
