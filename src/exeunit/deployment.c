/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * deployment.json. It is ours alone, so it is strict: a version, and every key that there is. What it says is checked again when it is read: the
 * names in it become paths.
 */
#include "exeunit/deployment.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/file.h>

#define RECORD_VERSION 1
#define RECORD_MAX (4U << 20)
#define SUPERBLOCK 96U /* bytes of a squashfs that say how large all its parts are, and when it was made */

static const char *const kinds[] = { [VM_VOLUME_DIRECTORY] = "host", [VM_VOLUME_DISK] = "storage", [VM_VOLUME_RAM] = "ram" };
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* ---- writing --------------------------------------------------------------------------------------------------------------------- */

static json_t *volume_json(const struct deployment_volume *v)
{
    json_t *o = json_pack("{s:s, s:s}", "type", kinds[v->kind], "path", v->path);
    if (v->name)
        json_object_set_new(o, "name", json_string(v->name));
    if (v->kind != VM_VOLUME_DIRECTORY)
        json_object_set_new(o, "size", json_integer((json_int_t)v->size));
    if (v->seeded)
        json_object_set_new(o, "seeded", json_true());
    return o;
}

static json_t *list_json(const struct gv_strv *list)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, json_string(list->items[i]));
    return array;
}

static char *record_text(const struct deployment *d)
{
    json_t *root = json_pack("{s:i, s:I, s:I, s:I, s:s, s:o, s:o, s:[]}", "version", RECORD_VERSION, "cpu_cores", (json_int_t)d->cpus,
                             "mem_mib", (json_int_t)(d->memory >> 20), "storage_bytes", (json_int_t)d->storage, "hostname", d->hostname,
                             "task_packages", list_json(&d->packages), "package_marks", list_json(&d->marks), "volumes");
    for (size_t i = 0; root && i < d->volume_count; i++)
        json_array_append_new(json_object_get(root, "volumes"), volume_json(&d->volumes[i]));
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    return text;
}

int deployment_prepare(struct gv_outfile **out, const struct deployment *d, const char *workdir, struct gv_error *err)
{
    cleanup_free char *text = record_text(d), *path = gv_asprintf("%s/" DEPLOYMENT_FILE, workdir);
    struct gv_outfile *f;
    if (!text)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "a path of the deployment is not UTF-8");
    if (gv_outfile_open(&f, path, 0644, err) < 0)
        return -1;
    if (gv_write_full(gv_outfile_fd(f), text, strlen(text)) < 0 || gv_write_full(gv_outfile_fd(f), "\n", 1) < 0 ||
        fsync(gv_outfile_fd(f)) < 0) {
        gv_error_errno(err, "cannot write `%s`", path);
        gv_outfile_discard(f);
        return -1;
    }
    *out = f;
    return 0;
}

/* ---- reading --------------------------------------------------------------------------------------------------------------------- */

static int bad_record(struct gv_error *err, const char *what)
{
    return gv_error_set(err, GV_E_FORMAT, 0, "it %s; deploy again", what);
}

static int get_number(const json_t *root, const char *key, uint64_t max, uint64_t *out, struct gv_error *err)
{
    const json_t *v = json_object_get(root, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
        return gv_error_set(err, GV_E_FORMAT, 0, "its `%s` is missing or no possible number; deploy again", key);
    *out = (uint64_t)json_integer_value(v);
    return 0;
}

/* A name of ours, directly in the work directory. */
static bool is_name(const char *s)
{
    return !strncmp(s, "vol-", 4) && !strchr(s, '/') && strlen(s) < 100;
}

static int read_volume(struct deployment_volume *v, const json_t *o, struct gv_error *err)
{
    const char *type = json_string_value(json_object_get(o, "type")), *path = json_string_value(json_object_get(o, "path"));
    const char *name = json_string_value(json_object_get(o, "name"));
    size_t kind = 0;
    while (type && kind < KINDS && strcmp(type, kinds[kind]) != 0)
        kind++;
    if (!type || kind == KINDS || !path || (kind != VM_VOLUME_RAM && (!name || !is_name(name))))
        return bad_record(err, "has a volume that makes no sense");
    v->kind = (enum vm_volume_kind)kind;
    v->path = gv_path_normal(path);
    if (!v->path || (kind == VM_VOLUME_DIRECTORY && !strcmp(v->path, "/")))
        return bad_record(err, "has a volume that is nowhere");
    if (kind != VM_VOLUME_RAM)
        v->name = gv_strdup(name);
    v->seeded = json_is_true(json_object_get(o, "seeded"));
    return kind == VM_VOLUME_DIRECTORY ? 0 : get_number(o, "size", INT64_MAX, &v->size, err);
}

static int read_lists(struct deployment *d, const json_t *root, struct gv_error *err)
{
    const json_t *packages = json_object_get(root, "task_packages"), *volumes = json_object_get(root, "volumes");
    const json_t *marks = json_object_get(root, "package_marks");
    if (!json_is_array(packages) || json_array_size(packages) == 0 || json_array_size(marks) != json_array_size(packages) ||
        !json_is_array(volumes) || json_array_size(volumes) > DEPLOYMENT_VOLUMES_MAX)
        return bad_record(err, "has no list of images or volumes");
    for (size_t i = 0; i < json_array_size(packages); i++) {
        const char *path = json_string_value(json_array_get(packages, i)), *mark = json_string_value(json_array_get(marks, i));
        if (!path || !mark)
            return bad_record(err, "has an image without a name");
        gv_strv_add(&d->packages, path);
        gv_strv_add(&d->marks, mark);
    }
    d->volumes = gv_calloc(json_array_size(volumes) + 1, sizeof(*d->volumes));
    for (size_t i = 0; i < json_array_size(volumes); i++)
        if (read_volume(&d->volumes[d->volume_count++], json_array_get(volumes, i), err) < 0)
            return -1;
    return 0;
}

static int read_record(struct deployment *d, const json_t *root, struct gv_error *err)
{
    uint64_t version = 0, cpus = 0, mib = 0;
    const char *hostname = json_string_value(json_object_get(root, "hostname"));
    if (get_number(root, "version", RECORD_VERSION, &version, NULL) < 0 || version != RECORD_VERSION)
        return bad_record(err, "is that of another runtime, or of a newer version");
    if (get_number(root, "cpu_cores", UINT32_MAX, &cpus, err) < 0 || get_number(root, "mem_mib", UINT32_MAX, &mib, err) < 0 ||
        get_number(root, "storage_bytes", INT64_MAX, &d->storage, err) < 0)
        return -1;
    if (!hostname)
        return bad_record(err, "has no host name");
    d->cpus = (unsigned)cpus;
    d->memory = mib << 20;
    d->hostname = gv_strdup(hostname);
    return read_lists(d, root, err);
}

int deployment_read(struct deployment *d, const char *workdir, struct gv_error *err)
{
    cleanup_free char *path = gv_asprintf("%s/" DEPLOYMENT_FILE, workdir);
    cleanup_buf struct gv_buf b = { 0 };
    json_error_t where;
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "nothing has been deployed in `%s`", workdir);
    if (gv_read_file(path, RECORD_MAX, &b, err) < 0)
        return -1;
    json_t *root = json_loadb((const char *)b.data, b.len, 0, &where);
    int status = json_is_object(root) ? read_record(d, root, err) : bad_record(err, "is not a JSON object");
    json_decref(root);
    return status < 0 ? gv_error_prefix(err, "`%s`", path) : 0;
}

/* ---- images ---------------------------------------------------------------------------------------------------------------------- */

char *deployment_mark(const char *package, struct gv_error *err)
{
    unsigned char head[SUPERBLOCK], digest[GV_HASH_MAX];
    char hex[2 * GV_HASH_MAX + 1];
    cleanup_close int fd = open(package, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (size < 0) {
        gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open the image `%s`", package);
        return NULL;
    }
    ssize_t n = gv_pread_full(fd, head, sizeof(head), 0);
    if (n < 0) {
        gv_error_errno(err, "cannot read the image `%s`", package);
        return NULL;
    }
    gv_hex(hex, digest, gv_hash_bytes(GV_HASH_SHA256, head, (size_t)n, digest));
    return gv_asprintf("%lld:%s", (long long)size, hex);
}

int deployment_check_images(const struct deployment *d, struct gv_error *err)
{
    for (size_t i = 0; i < d->packages.count; i++) {
        cleanup_free char *mark = deployment_mark(d->packages.items[i], err);
        if (!mark)
            return -1;
        if (strcmp(mark, d->marks.items[i]) != 0)
            return gv_error_set(err, GV_E_FORMAT, 0, "the image `%s` is not the one that was deployed; deploy again", d->packages.items[i]);
    }
    return 0;
}

/* ---- the lock -------------------------------------------------------------------------------------------------------------------- */

int deployment_lock(const char *workdir, struct gv_error *err)
{
    cleanup_close int fd = open(workdir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open the work directory `%s`", workdir);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return gv_error_set(err, GV_E_BUSY, 0, "the work directory `%s` is in use by another " EXEUNIT_NAME, workdir);
        return gv_error_errno(err, "cannot lock the work directory `%s`", workdir);
    }
    return steal_fd(&fd);
}
