/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * deploy. Everything is checked before anything is made; volumes are made in a directory that goes away with us, however we end, and get their places when
 * all are there; the record comes last. So a deployment is whole or has not happened. When it replaces another one, the disk images of that one go (nobody could reach them any more), and its directories when they are
 * empty; what a user may still want to fetch from them stays.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "exeunit/deployment.h"
#include "gvmi/gvmi.h"

#define HOSTNAME_MAX 63U
#define MEMORY_MIN (UINT64_C(64) << 20)

static int check_hostname(const char *name, struct gv_error *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    size_t len = strlen(name);
    if (len == 0 || len > HOSTNAME_MAX || strspn(name, allowed) != len || name[0] == '-' || name[0] == '.')
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a host name of at most %u letters, digits, `-`, `.` and `_`", name,
                            HOSTNAME_MAX);
    return 0;
}

/* Of the second and further packages only the squashfs counts; they need no trailer. */
static int check_layer(const char *path, struct gv_error *err)
{
    static const char magic[4] = { 'h', 's', 'q', 's' };
    char head[4];
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return gv_error_errno(err, "cannot open the image `%s`", path);
    if (gv_read_full(fd, head, sizeof(head)) != sizeof(head) || memcmp(head, magic, sizeof(magic)) != 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the image `%s` does not begin with a squashfs", path);
    return 0;
}

static int add_package(struct deployment *d, const char *path, struct gv_error *err)
{
    char *real = realpath(path, NULL);
    if (!real)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot find the image `%s`", path);
    gv_strv_take(&d->packages, real);
    char *mark = deployment_mark(real, err);
    if (!mark)
        return -1;
    gv_strv_take(&d->marks, mark);
    return d->packages.count > 1 ? check_layer(real, err) : 0;
}

/* "vol-" and a random (version 4) UUID. */
static int make_name(char **name, const char *suffix, struct gv_error *err)
{
    unsigned char u[16];
    char hex[33];
    if (getrandom(u, sizeof(u), 0) != (ssize_t)sizeof(u))
        return gv_error_errno(err, "cannot get random numbers");
    u[6] = (unsigned char)((u[6] & 0x0f) | 0x40);
    u[8] = (unsigned char)((u[8] & 0x3f) | 0x80);
    gv_hex(hex, u, sizeof(u));
    *name = gv_asprintf("vol-%.8s-%.4s-%.4s-%.4s-%.12s%s", hex, hex + 8, hex + 12, hex + 16, hex + 20, suffix);
    return 0;
}

/* 9p (mapped-xattr) shows the directory with the owner and the mode that are kept beside it, so that the guest finds it to be root's, and whoever
 * looks at it from here can tell that there are such attributes. Where the file system has none, the guest sees what is there. */
static void mark_volume(const char *path)
{
    static const unsigned char root[4] = { 0 }, mode[4] = { 0755 & 0xff, 0x40 | 0755 >> 8 }; /* little-endian; 0x4000 is S_IFDIR */
    if (setxattr(path, "user.virtfs.uid", root, sizeof(root), 0) == 0) {
        setxattr(path, "user.virtfs.gid", root, sizeof(root), 0);
        setxattr(path, "user.virtfs.mode", mode, sizeof(mode), 0);
    }
}

static int make_volume(const struct deployment *d, struct deployment_volume *v, struct gvmi_image *img, const char *stage,
                       const struct gv_log *log, struct gv_error *err)
{
    if (v->kind == VM_VOLUME_RAM)
        return 0;
    cleanup_free char *name = NULL;
    if (make_name(&name, v->kind == VM_VOLUME_DISK ? ".img" : "", err) < 0)
        return -1;
    cleanup_free char *path = gv_asprintf("%s/%s", stage, name);
    if (v->kind == VM_VOLUME_DISK) {
        if (deployment_make_disk(path, v, err) < 0)
            return -1;
    } else if (v->seeded) {
        if (deployment_seed(d, v, img, path, log, err) < 0)
            return -1;
    } else if (mkdir(path, 0755) < 0) {
        return gv_error_errno(err, "cannot create the volume's directory `%s`", path);
    } else {
        mark_volume(path);
    }
    v->name = steal_ptr(name);
    return 0;
}

/* Takes away what a deployment has made. Directories that are not empty stay unless this is all ours; their number is returned. */
static size_t remove_volumes(const struct deployment *d, const char *workdir, bool ours)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->volume_count; i++) {
        const struct deployment_volume *v = &d->volumes[i];
        if (!v->name)
            continue;
        cleanup_free char *path = gv_asprintf("%s/%s", workdir, v->name);
        if (v->kind == VM_VOLUME_DISK)
            unlink(path);
        else
            kept += (ours ? gv_remove_tree(path, NULL) : rmdir(path)) < 0 && errno != ENOENT;
    }
    return kept;
}

/* Makes the volumes in a directory that goes away with us. */
static int make_volumes(struct deployment *d, struct gvmi_image *img, const char *stage, const struct gv_log *log, struct gv_error *err)
{
    bool seeded = false;
    for (size_t i = 0; i < d->volume_count; i++) {
        if (make_volume(d, &d->volumes[i], img, stage, log, err) < 0)
            return -1;
        seeded = seeded || d->volumes[i].seeded;
    }
    /* What the record will speak of must be there after a restart of the host, too. */
    cleanup_close int dir = seeded ? open(stage, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    return seeded && (dir < 0 || syncfs(dir) < 0) ? gv_error_errno(err, "cannot write the volumes in `%s` to the disk", stage) : 0;
}

static int move_volumes(const struct deployment *d, const char *stage, const char *workdir, struct gv_error *err)
{
    for (size_t i = 0; i < d->volume_count; i++) {
        if (!d->volumes[i].name)
            continue;
        cleanup_free char *from = gv_asprintf("%s/%s", stage, d->volumes[i].name);
        cleanup_free char *to = gv_asprintf("%s/%s", workdir, d->volumes[i].name);
        if (rename(from, to) < 0)
            return gv_error_errno(err, "cannot give the volume `%s` its name", to);
    }
    return 0;
}

static int make_all(struct deployment *d, struct gvmi_image *img, const char *workdir, const struct gv_log *log, struct gv_error *err)
{
    struct gv_workdir *stage = NULL;
    size_t lasting = 0;
    for (size_t i = 0; i < d->volume_count; i++)
        lasting += d->volumes[i].kind != VM_VOLUME_RAM;
    if (lasting && gv_workdir_open(&stage, workdir, ".deploy", err) < 0)
        return -1;
    struct gv_outfile *record = NULL;
    int status = lasting ? make_volumes(d, img, gv_workdir_path(stage), log, err) : 0;
    if (status == 0)
        status = deployment_prepare(&record, d, workdir, err);
    /* What takes time has been done. */
    if (status == 0 && lasting)
        status = move_volumes(d, gv_workdir_path(stage), workdir, err);
    if (status == 0)
        status = gv_outfile_commit(steal_ptr(record), err);
    gv_outfile_discard(record);
    if (status < 0)
        remove_volumes(d, workdir, true);
    struct gv_error ignored = GV_ERROR_INIT;
    if (gv_workdir_remove(stage, &ignored) < 0)
        gv_warn(log, "%s", ignored.msg);
    return status;
}

/* The answer, as the ExeUnit reads it: the keys in the order of the alphabet, without blanks. Failure is the exit status, never `valid`. */
static char *answer_text(const struct deployment *d)
{
    json_t *vols = json_array();
    for (size_t i = 0; i < d->volume_count; i++)
        if (d->volumes[i].kind == VM_VOLUME_DIRECTORY)
            json_array_append_new(vols, json_pack("{s:s, s:s}", "name", d->volumes[i].name, "path", d->volumes[i].path));
    json_t *root = json_pack("{s:s, s:{s:s}, s:o}", "startMode", "blocking", "valid", "Ok", "", "vols", vols);
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(root);
    return text;
}

/* Fills d with everything that was asked for, checked, and opens the image. */
static int plan(struct deployment *d, struct gvmi_image **img, const struct exeunit_options *o, const struct gv_log *log,
                struct gv_error *err)
{
    if (check_hostname(o->hostname, err) < 0)
        return gv_error_prefix(err, "--hostname");
    if (o->memory < MEMORY_MIN)
        return gv_error_set(err, GV_E_USAGE, 0, "--mem-gib: %llu MiB are too little for a VM; it needs %llu MiB",
                            (unsigned long long)(o->memory >> 20), (unsigned long long)(MEMORY_MIN >> 20));
    d->cpus = o->cpus;
    d->memory = o->memory;
    d->storage = o->storage;
    d->hostname = gv_strdup(o->hostname);
    for (size_t i = 0; i < o->packages.count; i++)
        if (add_package(d, o->packages.items[i], err) < 0)
            return -1;
    if (gvmi_open(img, d->packages.items[0], err) < 0 || deployment_plan(d, gvmi_config(*img), o->volume_override, log, err) < 0)
        return -1;
    return o->seed_volumes ? deployment_seed_plan(d, *img, err) : 0;
}

int exeunit_deploy(const struct exeunit_options *o, const struct gv_log *log, char **answer, struct gv_error *err)
{
    cleanup_deployment struct deployment d = { 0 }, before = { 0 };
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    if (!o->workdir)
        return gv_error_set(err, GV_E_USAGE, 0, "deploy needs --workdir");
    if (o->packages.count == 0)
        return gv_error_set(err, GV_E_USAGE, 0, "deploy needs --task-package");
    cleanup_close int lock = deployment_lock(o->workdir, err);
    if (lock < 0)
        return -1;
    cleanup_free char *workdir = realpath(o->workdir, NULL);
    if (!workdir)
        return gv_error_errno(err, "cannot find the work directory `%s`", o->workdir);
    bool again = deployment_read(&before, workdir, NULL) == 0;
    if (plan(&d, &img, o, log, err) < 0 || make_all(&d, img, workdir, log, err) < 0)
        return -1;
    if (again) {
        size_t kept = remove_volumes(&before, workdir, false);
        if (kept)
            gv_note(log, "%zu directories of the deployment before this one are not empty and stay in `%s`", kept, workdir);
    }
    *answer = answer_text(&d);
    if (!*answer)
        return gv_error_set(err, GV_E_INTERNAL, 0, "the answer could not be made");
    return 0;
}
