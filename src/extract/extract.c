/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The walk. Directories are made with mode 0700 when the walk enters them and get their attributes when it leaves them, so that a read-only one can be
 * filled and a time stays as the image has it. A target that does not exist is made under a name of its own beside it, by core's workdir, which
 * removes it when we end before it has its name.
 */
#include "extract/extract.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "extract/entry.h"
#include "extract/links.h"
#include "extract/place.h"
#include "extract/select.h"

#define DISK_BLOCK 4096U /* what file systems give a file at least */
#define SHARE_BLOCKS 1U  /* for the attributes of a share, which are a few bytes too long for an inode of ext4 */
#define ENTRY_SIZE 24U   /* of a directory, beside the name */

struct run {
    struct extract x;
    struct place place;
    struct links links;
    struct gv_strv chosen; /* paths in the image; empty = everything */
    struct gvmi_stat root; /* the directory that the target becomes */
    uint64_t *hollow;      /* refs of directories */
    size_t hollow_count;
};

static void run_clear(struct run *r)
{
    place_clear(&r->place);
    links_clear(&r->links);
    gv_strv_clear(&r->chosen);
    free(r->hollow);
}
#define cleanup_run __attribute__((cleanup(run_clear)))

/* The innermost directory is complete. */
static int leave(struct run *r, const char *path, struct gv_error *err)
{
    struct place *p = &r->place;
    struct gvmi_stat st = p->levels[p->count - 1].st;
    int fd = place_fd(p);
    if (fd < 0)
        return extract_failed(&r->x, err, errno, "go back to", path);
    /* A target that was there already is the user's own directory. */
    if ((p->count > 1 || r->x.fresh) && entry_finish(&r->x, fd, &st, path, err) < 0)
        return -1;
    if (p->count > 1)
        place_leave(p);
    return 0;
}

/* Leaves directories until the innermost is the one that an entry of this depth is in. path is the entry's, or "" at the end of all. */
static int leave_to(struct run *r, size_t depth, struct gv_error *err)
{
    while (r->place.count > depth) {
        cleanup_free char *path = place_path(&r->place);
        if (leave(r, path, err) < 0)
            return -1;
    }
    return 0;
}

static int enter(struct run *r, int dir, const struct gvmi_step *step, struct gv_error *err)
{
    if (entry_make_dir(&r->x, dir, step->name, step->path, err) < 0)
        return -1;
    r->x.result->dirs++;
    return place_enter(&r->place, step->name, &step->st) < 0 ? extract_failed(&r->x, err, errno, "go into", step->path) : 0;
}

/* Makes an inode's second and later names links to the first. 1 when done, 0 when the entry must be made like any other. */
static int try_link(struct run *r, int dir, const struct gvmi_step *step, struct gv_error *err)
{
    const struct link_name *first = links_find(&r->links, step->st.ref);
    if (!first)
        return 0;
    cleanup_close int from = place_find(&r->place, first->dir);
    if (from < 0 && errno == EACCES) /* a finished directory that its owner may not search */
        return 0;
    if (from < 0)
        return extract_failed(&r->x, err, errno, "find the first name of", step->path);
    return entry_link(&r->x, from, first->name, dir, step->name, step->path, err);
}

static int make(struct run *r, int dir, const struct gvmi_step *step, struct gv_error *err)
{
    bool linked = step->st.nlink > 1;
    int done = linked ? try_link(r, dir, step, err) : 0;
    if (done != 0)
        return done < 0 ? -1 : 0;
    int made = entry_make(&r->x, dir, step->name, step->path, &step->st, err);
    if (made == 1 && linked)
        links_add(&r->links, step->st.ref, place_remember(&r->place), step->name);
    return made < 0 ? -1 : 0;
}

static bool is_hollow(const struct run *r, const struct gvmi_step *step)
{
    bool found = false;
    for (size_t i = 0; i < r->hollow_count; i++)
        found = found || r->hollow[i] == step->st.ref;
    return found;
}

static int take_step(struct run *r, struct gvmi_walker *w, const struct gvmi_step *step, struct gv_error *err)
{
    enum selection how = select_path(&r->chosen, step->path);
    if (how == SELECT_NOT) {
        gvmi_walker_skip(w);
        return 0;
    }
    /* A directory on the way to what is wanted is made too; anything else that has this path only now is not what was found there. */
    if (how == SELECT_WAY && step->st.type != IMAGE_DIR)
        return 0;
    if (leave_to(r, step->depth, err) < 0)
        return -1;
    int dir = place_fd(&r->place);
    if (dir < 0)
        return extract_failed(&r->x, err, errno, "go back to where", step->path);
    if (image_name_check(step->name, strlen(step->name)) < 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the image holds the name `%s`, which no file can have", step->name);
    if (step->st.type != IMAGE_DIR)
        return make(r, dir, step, err);
    if (is_hollow(r, step))
        gvmi_walker_skip(w);
    return enter(r, dir, step, err);
}

/* How much there is to do: from the tables alone. */
static int add_up(struct run *r, struct gv_error *err)
{
    CLEANUP(gvmi_walker) struct gvmi_walker *w = NULL;
    struct gvmi_step step;
    int more;
    if (gvmi_walker_open(&w, r->x.img, r->root.ref, err) < 0)
        return -1;
    while ((more = gvmi_walker_next(w, &step, err)) == 1) {
        enum selection how = select_path(&r->chosen, step.path);
        if (how == SELECT_NOT)
            gvmi_walker_skip(w);
        else if (how == SELECT_IN && step.st.type == IMAGE_FILE)
            r->x.bytes_total += step.st.size / (step.st.nlink ? step.st.nlink : 1);
    }
    return more;
}

/* Fills the directory, whose descriptor it takes over. */
static int fill(struct run *r, int target, struct gv_error *err)
{
    CLEANUP(gvmi_walker) struct gvmi_walker *w = NULL;
    struct gvmi_step step;
    int more;
    place_init(&r->place, target, &r->root);
    if (gvmi_walker_open(&w, r->x.img, r->root.ref, err) < 0 || gvmi_walker_next(w, &step, err) < 0) /* the root itself */
        return -1;
    while ((more = gvmi_walker_next(w, &step, err)) == 1)
        if (take_step(r, w, &step, err) < 0)
            return -1;
    if (more < 0 || leave_to(r, 1, err) < 0)
        return -1;
    return leave(r, "", err);
}

static int fill_at(struct run *r, const char *path, struct gv_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? gv_error_errno(err, "cannot open the directory `%s`", path) : fill(r, fd, err);
}

/* Whether the directory has entries; -1 with errno when it cannot be read. */
static int has_entries(const char *path)
{
    DIR *d = opendir(path);
    if (!d)
        return -1;
    struct dirent *e;
    int found = 0;
    while (!found && (errno = 0, e = readdir(d)) != NULL)
        found = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (!e && errno)
        found = -1;
    closedir(d);
    return found;
}

static int fill_existing(struct run *r, const char *target, struct gv_error *err)
{
    int full = has_entries(target);
    if (full < 0)
        return gv_error_errno(err, "cannot extract to `%s`", target);
    if (full && !r->x.options->force)
        return gv_error_set(err, GV_E_EXISTS, 0, "`%s` is not empty; --force extracts into it all the same", target);
    r->x.fresh = false;
    return fill_at(r, target, err);
}

static int fill_new(struct run *r, const char *target, struct gv_error *err)
{
    const char *slash = strrchr(target, '/');
    const char *name = slash ? slash + 1 : target;
    cleanup_free char *parent = !slash ? gv_strdup(".") : gv_strndup(target, slash == target ? 1 : (size_t)(slash - target));
    cleanup_free char *prefix = gv_asprintf(".%.200s", name);
    struct gv_workdir *dir = NULL;
    if (gv_workdir_open(&dir, parent, prefix, err) < 0)
        return -1;
    r->x.fresh = true;
    int status = fill_at(r, gv_workdir_path(dir), err);
    if (status == 0 && renameat2(AT_FDCWD, gv_workdir_path(dir), AT_FDCWD, target, RENAME_NOREPLACE) < 0) {
        /* Not every file system knows the flag; without it, only an empty directory can be replaced. */
        if (errno != EINVAL || rename(gv_workdir_path(dir), target) < 0)
            status = gv_error_errno(err, "cannot give `%s` its name", target);
    }
    struct gv_error ignored = GV_ERROR_INIT;
    if (gv_workdir_remove(dir, status == 0 ? err : &ignored) < 0)
        status = -1;
    return status;
}

static void tell_left_out(const struct extract *x)
{
    const struct gv_log *log = x->options->log;
    const struct extract_result *e = x->result;
    if (e->devices_left_out)
        gv_note(log, "%llu device node%s left out; --devices makes them", (unsigned long long)e->devices_left_out,
                e->devices_left_out == 1 ? "" : "s");
    if (e->bits_left_out)
        gv_note(log, "setuid and setgid bits of %llu file%s left out; --setuid keeps them", (unsigned long long)e->bits_left_out,
                e->bits_left_out == 1 ? "" : "s");
    if (e->capabilities_left_out)
        gv_note(log, "capabilities of %llu file%s left out; --setuid keeps them", (unsigned long long)e->capabilities_left_out,
                e->capabilities_left_out == 1 ? "" : "s");
}

/* Finds in the image what the options name. */
static int find_all(struct run *r, struct gv_error *err)
{
    const struct extract_options *o = r->x.options;
    const char *root = o->root ? o->root : "/";
    if (gvmi_lookup(r->x.img, root, true, &r->root, err) < 0)
        return -1;
    if (r->root.type != IMAGE_DIR)
        return gv_error_set(err, o->root ? GV_E_NOT_FOUND : GV_E_CORRUPT, 0, "`%s` is not a directory in the image", root);
    for (size_t i = 0; i < o->path_count; i++)
        if (select_add(&r->chosen, r->x.img, o->paths[i], err) < 0)
            return -1;
    for (size_t i = 0; o->hollow && o->hollow[i]; i++) {
        struct gvmi_stat st;
        struct gv_error why = GV_ERROR_INIT;
        if (gvmi_lookup(r->x.img, o->hollow[i], true, &st, &why) < 0) {
            if (why.code == GV_E_NOT_FOUND)
                continue;
            if (err)
                *err = why;
            return -1;
        }
        r->hollow = gv_reallocarray(r->hollow, r->hollow_count + 1, sizeof(*r->hollow));
        r->hollow[r->hollow_count++] = st.ref;
    }
    return 0;
}

static void run_init(struct run *r, struct gvmi_image *img, const struct extract_options *options, struct extract_result *result)
{
    static const struct extract_options none;
    r->x = (struct extract){ .img = img, .options = options ? options : &none, .result = result, .privileged = geteuid() == 0 };
    r->x.owners = r->x.privileged && !r->x.options->no_owner;
    *result = (struct extract_result){ 0 };
}

/* Who reads an inode's extended attributes for their size. */
static int add_xattr(void *user, const char *name, const void *value, size_t n)
{
    (void)value;
    *(uint64_t *)user += strlen(name) + n;
    return 0;
}

int extract_measure(struct gvmi_image *img, const struct extract_options *options, uint64_t *bytes, struct gv_error *err)
{
    struct extract_result unused;
    cleanup_run struct run r = { 0 };
    CLEANUP(gvmi_walker) struct gvmi_walker *w = NULL;
    struct gvmi_step step;
    uint64_t names = 0; /* bytes of directories */
    int more;
    run_init(&r, img, options, &unused);
    if (find_all(&r, err) < 0 || gvmi_walker_open(&w, img, r.root.ref, err) < 0)
        return -1;
    *bytes = 0;
    while ((more = gvmi_walker_next(w, &step, err)) == 1) {
        enum selection how = select_path(&r.chosen, step.path);
        if (how == SELECT_NOT || (step.depth > 0 && is_hollow(&r, &step)))
            gvmi_walker_skip(w);
        if (how != SELECT_IN || (step.st.type != IMAGE_DIR && step.st.nlink > 1 && links_find(&r.links, step.st.ref)))
            continue;
        if (step.st.type != IMAGE_DIR && step.st.nlink > 1)
            links_add(&r.links, step.st.ref, NULL, step.name);
        uint64_t xattrs = 0;
        if (step.st.xattr != UINT32_MAX && gvmi_read_xattrs(img, step.st.ref, add_xattr, &xattrs, err) < 0)
            return -1;
        uint64_t size = step.st.type == IMAGE_FILE ? step.st.size : DISK_BLOCK;
        uint64_t blocks = size / DISK_BLOCK + (size % DISK_BLOCK != 0) + (r.x.options->share ? SHARE_BLOCKS : 0) + xattrs / DISK_BLOCK;
        if (blocks > (UINT64_MAX - *bytes) / DISK_BLOCK)
            return gv_error_set(err, GV_E_LIMIT, 0, "the files of the image have more bytes than can be counted");
        *bytes += blocks * DISK_BLOCK;
        names += strlen(step.name) + ENTRY_SIZE;
    }
    *bytes += names - names % DISK_BLOCK; /* each directory has got a block already */
    return more;
}

int extract_image(struct gvmi_image *img, const char *target, const struct extract_options *options, struct extract_result *result,
                  struct gv_error *err)
{
    struct extract_result mine;
    cleanup_run struct run r = { 0 };
    run_init(&r, img, options, result ? result : &mine);
    cleanup_free char *trimmed = gv_strdup(target);
    for (size_t n = strlen(trimmed); n > 1 && trimmed[n - 1] == '/'; n--)
        trimmed[n - 1] = '\0';
    if (!*trimmed)
        return gv_error_set(err, GV_E_USAGE, 0, "the name of the directory is empty");
    r.x.target = trimmed;
    if (find_all(&r, err) < 0 || (r.x.options->progress && add_up(&r, err) < 0))
        return -1;
    struct stat st;
    bool there = lstat(trimmed, &st) == 0;
    if (!there && errno != ENOENT)
        return gv_error_errno(err, "cannot extract to `%s`", trimmed);
    if ((there ? fill_existing(&r, trimmed, err) : fill_new(&r, trimmed, err)) < 0)
        return -1;
    tell_left_out(&r.x);
    return 0;
}
