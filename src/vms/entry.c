/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Names and their locks. An owner makes its directory under a name that begins with a dot, locks `lock` in it, and renames it to its name: so whoever finds
 * a name finds it locked, or its owner is gone. A name that is used again is a new directory with a new lock, and those who still wait for the one
 * before have its lock open. The lock file's content is the status of the end.
 *
 * The locks are those of open file descriptions, which can be asked for without being taken.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vms/inside.h"

#define RECORD_MAX (4U << 20)

struct vms_entry {
    char *name, *path;
    int dir, lock;
};

int vms_name_check(const char *name, struct gv_error *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t n = strlen(name);
    if (n == 0 || n > VMS_NAME_MAX || strspn(name, letters) != n || strchr("_.-", name[0]))
        return gv_error_set(err, GV_E_USAGE, 0,
                            "`%s` is not a name of at most %u letters, digits, `_`, `.` and `-`, the first a letter or digit", name,
                            VMS_NAME_MAX);
    return 0;
}

static char *top_path(struct gv_error *err)
{
    cleanup_free char *state = gv_state_dir(err);
    if (!state)
        return NULL;
    char *path = gv_asprintf("%s/vms", state);
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return path;
    gv_error_errno(err, "cannot create `%s`", path);
    free(path);
    return NULL;
}

/* ---- locks ------------------------------------------------------------------------------------------------------------------------ */

static int lock_file(int fd, int command, short type)
{
    struct flock l = { .l_type = type, .l_whence = SEEK_SET };
    int status;
    do
        status = fcntl(fd, command, &l);
    while (status < 0 && errno == EINTR);
    return status;
}

/* Whether somebody owns it. A reader's lock does not hinder a reader. */
static bool is_owned(int lock)
{
    struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
    return fcntl(lock, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

/* The lock under which names are made and removed; ends when the descriptor is closed. */
static int lock_names(const char *top, struct gv_error *err)
{
    cleanup_free char *path = gv_asprintf("%s/.lock", top);
    cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || lock_file(fd, F_OFD_SETLKW, F_WRLCK) < 0)
        return gv_error_errno(err, "cannot lock `%s`", path);
    return steal_fd(&fd);
}

/* Whether the directory of that name in top belongs to a VM that runs; false, too, when there is none. */
static bool name_runs(int top, const char *name)
{
    cleanup_free char *path = gv_asprintf("%s/lock", name);
    cleanup_close int lock = openat(top, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return lock >= 0 && is_owned(lock);
}

/* ---- room for new ones ------------------------------------------------------------------------------------------------------------ */

struct old {
    char *name;
    struct timespec time;
};

static int compare_old(const void *a, const void *b)
{
    const struct old *x = a, *y = b;
    if (x->time.tv_sec != y->time.tv_sec)
        return x->time.tv_sec > y->time.tv_sec ? -1 : 1;
    return x->time.tv_nsec > y->time.tv_nsec ? -1 : x->time.tv_nsec < y->time.tv_nsec;
}

/* Removes what was never finished, and all but the latest of those that have ended. This is housekeeping: what cannot be removed stays. */
static void remove_old(const char *top)
{
    DIR *d = opendir(top);
    if (!d)
        return;
    cleanup_free struct old *list = NULL;
    size_t n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode) || name_runs(dirfd(d), e->d_name))
            continue;
        cleanup_free char *path = gv_asprintf("%s/%s", top, e->d_name);
        if (!strncmp(e->d_name, ".new-", 5)) {
            gv_remove_tree(path, NULL);
        } else if (e->d_name[0] != '.') {
            list = gv_reallocarray(list, n + 1, sizeof(*list));
            list[n++] = (struct old){ .name = gv_strdup(e->d_name), .time = st.st_mtim };
        }
    }
    if (n)
        qsort(list, n, sizeof(*list), compare_old);
    for (size_t i = 0; i < n; i++) {
        cleanup_free char *path = gv_asprintf("%s/%s", top, list[i].name);
        if (i >= VMS_ENDED_MAX - 1) /* with the new one */
            gv_remove_tree(path, NULL);
        free(list[i].name);
    }
    closedir(d);
}

/* A name that nobody has: for people to type. */
static char *invent(const char *top)
{
    static const char *const first[] = { "amber", "bold",  "brave", "brisk",  "calm",  "clear", "crisp", "deep",  "eager", "early", "fair",
                                         "fast",  "fine",  "fresh", "gentle", "glad",  "grand", "green", "happy", "keen",  "kind",  "light",
                                         "loyal", "lucky", "neat",  "noble",  "quick", "quiet", "sharp", "sunny", "warm",  "wise" };
    static const char *const second[] = { "badger", "bear",  "beaver", "bison", "crane", "deer",  "eagle", "falcon",
                                          "finch",  "fox",   "hare",   "hawk",  "heron", "ibex",  "jay",   "koala",
                                          "lark",   "lynx",  "marten", "moose", "otter", "owl",   "panda", "puma",
                                          "raven",  "robin", "seal",   "swan",  "tiger", "trout", "whale", "wolf" };
    for (unsigned try = 0;; try++) {
        uint32_t random = 0;
        if (getrandom(&random, sizeof(random), 0) < 0)
            random = (uint32_t)getpid() + try * 40503U;
        const char *a = first[random % 32], *b = second[random / 32 % 32];
        char *name = try < 10 ? gv_asprintf("%s-%s", a, b) : gv_asprintf("%s-%s-%u", a, b, random >> 10);
        cleanup_free char *path = gv_asprintf("%s/%s", top, name);
        if (access(path, F_OK) < 0)
            return name;
        free(name);
    }
}

/* ---- the owner -------------------------------------------------------------------------------------------------------------------- */

void vms_entry_forget(struct vms_entry *e)
{
    if (!e)
        return;
    if (e->dir >= 0)
        close(e->dir);
    if (e->lock >= 0)
        close(e->lock);
    free(e->name);
    free(e->path);
    free(e);
}
DEFINE_CLEANUP(vms_entry, struct vms_entry *, vms_entry_forget)

/* Makes the directory, locked, with a first record, and gives it its name. */
static int make_entry(struct vms_entry *e, const char *top, struct gv_error *err)
{
    cleanup_free char *path = gv_asprintf("%s/.new-XXXXXX", top);
    if (!mkdtemp(path))
        return gv_error_errno(err, "cannot create a directory in `%s`", top);
    e->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    e->lock = e->dir < 0 ? -1 : openat(e->dir, "lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int status = -1;
    if (e->lock < 0 || lock_file(e->lock, F_OFD_SETLK, F_WRLCK) < 0) {
        gv_error_errno(err, "cannot lock `%s/lock`", path);
    } else {
        struct vms_record first = { .name = e->name, .owner = getpid(), .created_ms = vms_now_ms() };
        status = vms_entry_write(e, &first, err);
    }
    if (status == 0 && gv_remove_tree(e->path, err) < 0)
        status = -1;
    if (status == 0 && rename(path, e->path) < 0)
        status = gv_error_errno(err, "cannot create `%s`", e->path);
    if (status < 0)
        gv_remove_tree(path, NULL);
    return status;
}

int vms_entry_open(struct vms_entry **out, const char *name, struct gv_error *err)
{
    if (name && vms_name_check(name, err) < 0)
        return -1;
    cleanup_free char *top = top_path(err);
    if (!top)
        return -1;
    cleanup_close int names = lock_names(top, err);
    if (names < 0)
        return -1;
    CLEANUP(vms_entry) struct vms_entry *e = gv_new(struct vms_entry);
    e->dir = e->lock = -1;
    e->name = name ? gv_strdup(name) : invent(top);
    e->path = gv_asprintf("%s/%s", top, e->name);
    cleanup_close int dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0 && name_runs(dir, e->name)) {
        gv_error_set(err, GV_E_EXISTS, 0, "a VM with the name `%s` runs already", e->name);
        return gv_error_hint(err, "choose another name, or end it with `gvmkit stop %s`", e->name);
    }
    remove_old(top);
    if (make_entry(e, top, err) < 0)
        return -1;
    *out = steal_ptr(e);
    return 0;
}

const char *vms_entry_name(const struct vms_entry *e)
{
    return e->name;
}

int vms_entry_dir(const struct vms_entry *e)
{
    return e->dir;
}

int vms_entry_write(struct vms_entry *e, const struct vms_record *r, struct gv_error *err)
{
    cleanup_free char *text = vms_record_format(r);
    cleanup_close int fd = openat(e->dir, "json.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || gv_write_full(fd, text, strlen(text)) < 0 || renameat(e->dir, "json.new", e->dir, "json") < 0)
        return gv_error_errno(err, "cannot write the record of the VM `%s`", e->name);
    return 0;
}

void vms_entry_end(struct vms_entry *e, int status, bool keep)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%d\n", status);
    /* Without room on the disk nobody knows the status: vms_wait() says so. */
    (void)!pwrite(e->lock, text, (size_t)n, 0);
    unlinkat(e->dir, "socket", 0);
    if (!keep) {
        cleanup_free char *top = gv_strndup(e->path, strlen(e->path) - strlen(e->name) - 1);
        cleanup_close int names = lock_names(top, NULL);
        (void)names; /* held while it goes */
        gv_remove_tree(e->path, NULL);
    }
    vms_entry_forget(e);
}

/* ---- everybody -------------------------------------------------------------------------------------------------------------------- */

static int unknown(const char *name, struct gv_error *err)
{
    gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no VM with the name `%s`", name);
    return gv_error_hint(err, "`gvmkit ps -a` lists those that there are");
}

int vms_dir_open(const char *name, int *lock, struct gv_error *err)
{
    if (vms_name_check(name, err) < 0)
        return -1;
    cleanup_free char *top = top_path(err);
    if (!top)
        return -1;
    cleanup_free char *path = gv_asprintf("%s/%s", top, name);
    cleanup_close int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    *lock = dir < 0 ? -1 : openat(dir, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (*lock < 0)
        return errno == ENOENT ? unknown(name, err) : gv_error_errno(err, "cannot open `%s`", path);
    return steal_fd(&dir);
}

bool vms_dir_runs(int lock)
{
    return is_owned(lock);
}

/* Reads the record of a directory. Between two readings of an owner's lock nothing is changed by somebody else, so the state is that of one moment. */
static int read_record(struct vms_record *r, int dir, int lock, struct gv_error *err)
{
    bool runs = is_owned(lock);
    cleanup_buf struct gv_buf text = { 0 };
    cleanup_free char *path = gv_asprintf("/proc/self/fd/%d/json", dir);
    if (gv_read_file(path, RECORD_MAX, &text, err) < 0 || vms_record_parse(r, (const char *)text.data, text.len, err) < 0)
        return -1;
    if (!runs && r->state != VMS_ENDED)
        r->state = VMS_DIED;
    return 0;
}

int vms_find(struct vms_record *r, const char *name, struct gv_error *err)
{
    cleanup_close int lock = -1, dir = vms_dir_open(name, &lock, err);
    if (dir < 0)
        return -1;
    if (read_record(r, dir, lock, err) == 0)
        return 0;
    /* One that ends, and leaves nothing, ends while we look. */
    return is_owned(lock) ? gv_error_prefix(err, "the record of the VM `%s`", name) : unknown(name, err);
}

static int compare_records(const void *a, const void *b)
{
    const struct vms_record *x = a, *y = b;
    bool x_over = x->state >= VMS_ENDED, y_over = y->state >= VMS_ENDED;
    if (x_over != y_over)
        return x_over ? 1 : -1;
    if (x->created_ms != y->created_ms)
        return x->created_ms > y->created_ms ? -1 : 1;
    return strcmp(x->name, y->name);
}

int vms_list(struct vms_record **list, size_t *count, struct gv_error *err)
{
    *list = NULL;
    *count = 0;
    cleanup_free char *top = top_path(err);
    if (!top)
        return -1;
    DIR *d = opendir(top);
    if (!d)
        return gv_error_errno(err, "cannot read `%s`", top);
    for (struct dirent *e; (e = readdir(d));) {
        struct vms_record r = { 0 };
        if (e->d_name[0] == '.' || vms_find(&r, e->d_name, NULL) < 0)
            continue; /* what ends just now, and what is no VM */
        *list = gv_reallocarray(*list, *count + 1, sizeof(**list));
        (*list)[(*count)++] = r;
    }
    closedir(d);
    if (*count)
        qsort(*list, *count, sizeof(**list), compare_records);
    return 0;
}

void vms_list_free(struct vms_record *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        vms_record_clear(&list[i]);
    free(list);
}

int vms_wait(const char *name, int *status, struct gv_error *err)
{
    cleanup_close int lock = -1, dir = vms_dir_open(name, &lock, err);
    if (dir < 0)
        return -1;
    if (lock_file(lock, F_OFD_SETLKW, F_RDLCK) < 0)
        return gv_error_errno(err, "cannot wait for the VM `%s`", name);
    char text[16];
    ssize_t n = gv_pread_full(lock, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    char *end;
    long v = strtol(text, &end, 10);
    if (n <= 0 || *end != '\n' || v < 0 || v > 255)
        return gv_error_set(err, GV_E_DIED, 0, "the VM `%s` has died without a result: the process that ran it was ended from outside",
                            name);
    *status = (int)v;
    return 0;
}
