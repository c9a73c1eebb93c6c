/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vm/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#define PROBE_XATTR "user.gvmkit.probe"

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

int vm_volume_open(struct vm_share *share, const struct vm_volume *volume, struct gv_error *err)
{
    if (!volume->guest_path || volume->guest_path[0] != '/' || strspn(volume->guest_path, "/") == strlen(volume->guest_path))
        return gv_error_set(err, GV_E_USAGE, 0, "a volume cannot be mounted at `%s`; give an absolute path below the root",
                            volume->guest_path ? volume->guest_path : "");
    int fd = open(volume->host_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot share the directory `%s` with the VM",
                            volume->host_path);
    share->fd = fd;
    share->readonly = volume->readonly;
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
