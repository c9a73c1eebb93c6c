/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vm/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>

#define PROBE_XATTR "user.gvmkit.probe"
#define LOCK_TRIES 20
#define LOCK_EVERY_NS 50000000

/* Whether 9p can keep the guest's owners and modes in user xattrs there. A file system that cannot says EOPNOTSUPP; anything else (no
 * permission, no space) does not speak against it. A writable share is probed by writing, because an overlay may read and not write them. */
static bool has_user_xattrs(int fd, bool readonly)
{
    char value[1];
    if (!readonly) {
        if (fsetxattr(fd, PROBE_XATTR, "", 0, 0) == 0) {
            fremovexattr(fd, PROBE_XATTR);
            return true;
        }
        return errno != EOPNOTSUPP;
    }
    return fgetxattr(fd, PROBE_XATTR, value, sizeof(value)) >= 0 || errno != EOPNOTSUPP;
}

int vm_volume_open_disk(const char *path, struct gv_error *err)
{
    cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open the disk image `%s`", path);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return gv_error_set(err, GV_E_FORMAT, 0, "the disk image `%s` is not a file", path);
    /* QEMU gets this very open file, so that the lock lasts until the last of us has ended, whichever that is. A QEMU that is being killed needs a moment. */
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (errno != EWOULDBLOCK || i >= LOCK_TRIES)
            return gv_error_set(err, GV_E_BUSY, 0, "the disk image `%s` is in use by another VM", path);
        nanosleep(&(struct timespec){ .tv_nsec = LOCK_EVERY_NS }, NULL);
    }
    return steal_fd(&fd);
}

int vm_volume_open(struct vm_share *share, const struct vm_volume *volume, struct gv_error *err)
{
    if (!volume->guest_path || volume->guest_path[0] != '/' || strspn(volume->guest_path, "/") == strlen(volume->guest_path))
        return gv_error_set(err, GV_E_USAGE, 0, "a volume cannot be mounted at `%s`; give an absolute path below the root",
                            volume->guest_path ? volume->guest_path : "");
    share->kind = volume->kind;
    share->readonly = volume->readonly;
    share->fd = -1;
    if (volume->kind == VM_VOLUME_RAM)
        return 0;
    if (volume->kind == VM_VOLUME_DISK) {
        share->fd = vm_volume_open_disk(volume->host_path, err);
        return share->fd < 0 ? -1 : 0;
    }
    int fd = open(volume->host_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot share the directory `%s` with the VM",
                            volume->host_path);
    share->fd = fd;
    share->mapped_file = !has_user_xattrs(fd, volume->readonly);
    return 0;
}

static size_t depth(const char *path)
{
    size_t n = 0;
    for (; *path; path++)
        n += path[0] == '/' && path[1] != '/' && path[1] != '\0';
    return n;
}

void vm_volume_order(size_t *order, const struct vm_volume *volumes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        for (; at > 0 && depth(volumes[order[at - 1]].guest_path) > depth(volumes[i].guest_path); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}
