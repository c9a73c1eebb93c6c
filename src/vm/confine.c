/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The jail around QEMU: which files of the host it may see. Its firmware and option ROMs, its modules and libraries, the guest's initramfs; KVM's
 * device, and what belongs to devices that are handed through. Everything else it has as descriptors.
 */
#include <fcntl.h>
#include <string.h>

#include "vm/machine.h"

/* What a QEMU from the distribution reads, wherever it lies itself. */
static const char *const data_places[] = { "/usr/share/qemu", "/usr/share/seabios" };
/* How VFIO finds a device and its group, and its driver. */
static const char *const pci_places[] = { "/sys/bus/pci", "/sys/devices", "/sys/kernel/iommu_groups" };
/* Below the directory that holds QEMU's bin directory, for one that was installed beside the distribution's. */
static const char *const own_places[] = { "share/qemu", "lib", "lib64" };
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void add_own_places(struct gv_strv *files, const char *qemu)
{
    const char *name = strrchr(qemu, '/');
    size_t prefix = name ? (size_t)(name - qemu) : 0;
    if (prefix <= 4 || memcmp(qemu + prefix - 4, "/bin", 4) != 0)
        return;
    for (size_t i = 0; i < COUNT(own_places); i++)
        gv_strv_take(files, gv_asprintf("%.*s/%s", (int)(prefix - 4), qemu, own_places[i]));
}

static void add_library_path(struct gv_strv *files, const char *dirs)
{
    for (const char *at = dirs; *at;) {
        size_t n = strcspn(at, ":");
        if (n && at[0] == '/')
            gv_strv_take(files, gv_asprintf("%.*s", (int)n, at));
        at += n + (at[n] == ':');
    }
}

/* Both what the loader needs and one malloc arena: each thread's own would cost address space and pages. */
static void make_environment(struct gv_strv *env, const char *library_path)
{
    if (library_path)
        gv_strv_take(env, gv_asprintf("LD_LIBRARY_PATH=%s", library_path));
    gv_strv_add(env, "LC_ALL=C");
    gv_strv_add(env, "MALLOC_ARENA_MAX=1");
}

/* The descriptors but those of shared directories, and the shared directories. Both lists have room for all. */
static void divide(const struct vm_args *a, const int *fds, size_t count, struct jail_spec *spec, int *keep, struct jail_share *shares)
{
    for (size_t i = 0; i < count; i++) {
        const struct vm_share *share = NULL;
        for (size_t k = 0; k < a->share_count && !share; k++)
            if (a->shares[k].kind == VM_VOLUME_DIRECTORY && a->shares[k].fd == fds[i])
                share = &a->shares[k];
        if (share)
            shares[spec->share_count++] = (struct jail_share){ share->fd, share->readonly };
        else
            keep[spec->keep_count++] = fds[i];
    }
    spec->keep = keep;
    spec->shares = shares;
}

int vm_confine(struct jail **out, const struct vm_config *config, const struct vm_args *args, const struct gv_strv *argv, const int *fds,
               size_t fd_count, int output, struct gv_error *err)
{
    const char *devices[3];
    size_t device_count = 0;
    const char *library_path = getenv("LD_LIBRARY_PATH");
    cleanup_strv struct gv_strv files = { 0 }, envp = { 0 };
    cleanup_free int *keep = gv_calloc(fd_count, sizeof(*keep));
    cleanup_free struct jail_share *shares = gv_calloc(fd_count, sizeof(*shares));
    for (size_t i = 0; i < COUNT(data_places); i++)
        gv_strv_add(&files, data_places[i]);
    for (size_t i = 0; i < COUNT(pci_places) && args->pci_count; i++)
        gv_strv_add(&files, pci_places[i]);
    add_own_places(&files, args->qemu);
    if (library_path)
        add_library_path(&files, library_path);
    if (strncmp(args->kernel, VM_FD_PATH, sizeof(VM_FD_PATH) - 1) != 0)
        gv_strv_add(&files, args->kernel);
    gv_strv_add(&files, args->initramfs);
    make_environment(&envp, library_path);

    if (args->platform->accel == VM_ACCEL_KVM)
        devices[device_count++] = "/dev/kvm";
    if (args->pci_count)
        devices[device_count++] = "/dev/vfio";
    devices[device_count] = NULL;
    struct jail_spec spec = { .profile = JAIL_PROFILE_QEMU,
                              .measures = JAIL_ALL,
                              .required = config->require_jail,
                              .argv = (const char *const *)argv->items,
                              .envp = (const char *const *)envp.items,
                              .files = (const char *const *)files.items,
                              .devices = devices,
                              .lock_memory = args->pci_count > 0,
                              .stdio = { -1, output, output } };
    divide(args, fds, fd_count, &spec, keep, shares);
    spec.foreign_files = spec.share_count > 0;
    return jail_new(out, &spec, err);
}
