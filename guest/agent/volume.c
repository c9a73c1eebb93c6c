/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * MOUNT, in a child. The mount is made in the agent's world, where the disks are, and is nowhere yet; then the child enters the payload's
 * world, where it resolves the path and looks up the owner, and attaches it there. The child stays in the agent's PID namespace
 * all the time, so the payload can neither see nor stop it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "guest/agent/agent.h"
#include "guest/agent/sys.h"

static int volume_make(const struct volume *v, struct report *r)
{
    char source[300], size[40], mode[20];
    const char *options[8] = { source };
    size_t n = 1;
    if (v->fs[0] && strcmp(v->fs, "tmpfs") != 0 && (!v->tag || !v->tag[0]))
        return report_set(r, EINVAL, "a volume of type %s needs a tag", v->fs);
    if (strcmp(v->fs, "9p") == 0) {
        /* cache=mmap with large messages was the fastest that shows each side the other's changes. */
        snprintf(source, sizeof(source), "source=%s", v->tag);
        options[n++] = "trans=virtio";
        options[n++] = "version=9p2000.L";
        options[n++] = "msize=524288";
        options[n++] = "cache=mmap";
    } else if (strcmp(v->fs, "ext4") == 0) {
        memcpy(source, "source=", 7);
        if (root_disk(v->tag, source + 7, sizeof(source) - 7, r) < 0)
            return -1;
    } else if (strcmp(v->fs, "tmpfs") == 0) {
        snprintf(source, sizeof(source), "source=tmpfs");
        snprintf(mode, sizeof(mode), "mode=%o", v->mode == VOLUME_MODE_ABSENT ? 01777U : (unsigned)v->mode);
        snprintf(size, sizeof(size), "size=%llu", (unsigned long long)v->size);
        options[n++] = mode;
        if (v->size)
            options[n++] = size;
    } else {
        return report_set(r, EINVAL, "no volume of type '%s': 9p, ext4 and tmpfs are known", v->fs);
    }
    if (v->readonly)
        options[n++] = "ro";
    return mount_make(v->fs, options, 0, r);
}

/* Owner and mode of the root of the mount. */
static int volume_give(const struct volume *v, int mount, struct report *r)
{
    struct user u;
    if (v->owner) {
        if (user_load(&u, v->owner, r) < 0)
            return -1;
        if (fchownat(mount, "", u.uid, u.gid, AT_EMPTY_PATH) < 0)
            return report_set(r, errno, "giving volume '%s' to user %u", v->path, u.uid);
    }
    if (v->mode == VOLUME_MODE_ABSENT)
        return 0;
    /* There is no chmod of an O_PATH descriptor but that of the current directory. */
    if (fchdir(mount) < 0 || chmod(".", (mode_t)v->mode) < 0 || chdir("/") < 0)
        return report_set(r, errno, "mode of volume '%s'", v->path);
    return 0;
}

void volume_mount(struct agent *a, void *volume, struct report *r)
{
    const struct volume *v = volume;
    if (v->path[strspn(v->path, "/.")] == '\0' || v->path[0] != '/') {
        report_set(r, EINVAL, "a volume cannot be mounted at '%s'", v->path);
        return;
    }
    cleanup_close int mount = volume_make(v, r);
    if (mount < 0 || payload_enter(a, r) < 0)
        return;
    if (!v->readonly && volume_give(v, mount, r) < 0)
        return;
    cleanup_close int at = files_make_path(v->path, r);
    if (at >= 0)
        mount_attach(mount, at, "", v->path, r);
}
