/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `vm`: QEMU's command line. Pure functions: the same input gives the same arguments.
 *
 * Everything that comes from outside reaches QEMU as a descriptor, never as a name inside an option: images through descriptor sets,
 * shared directories and the guest's kernel as /proc/self/fd/N or as whole arguments, sockets by number. So no file name is ever parsed by
 * QEMU's option syntax.
 */
#ifndef GV_VM_ARGS_H
#define GV_VM_ARGS_H

#include "vm/vm.h"

#define VM_CPUS_MAX 64U
#define VM_IMAGES_MAX 16U
#define VM_VOLUMES_MAX 128U

/* What an accelerator runs best on; measured in docs/guest-kernel.md. */
struct vm_platform {
    enum vm_accel accel;
    const char *accel_option; /* -accel */
    const char *machine;      /* -machine */
    const char *cpu;          /* -cpu */
    const char *firmware;     /* -bios, or NULL for the machine's own */
    const char *kernel;       /* file name of the guest kernel made for it */
    const char *append;       /* kernel command line, always */
    const char *append_quiet; /* and unless somebody watches the console */
    bool tell_tsc;            /* the kernel is told the frequency of the time-stamp counter */
    bool no_huge_pages;       /* QEMU's memory is better given out in small pages */
    bool mmio;                /* virtio devices are virtio-mmio, not PCI */
    unsigned devices_max;     /* virtio devices that fit */
};
/* tsc_khz: the host's counter's frequency as far as it is known, else 0. */
const struct vm_platform *vm_platform_for(enum vm_accel accel, uint32_t tsc_khz);

/* What becomes a volume, on its way into the guest. */
struct vm_share {
    enum vm_volume_kind kind;
    int fd; /* the open directory or file; -1 for RAM, which QEMU has nothing to do with */
    bool readonly;
    bool mapped_file; /* its file system has no user xattrs: 9p keeps guest modes and owners in files beside */
};

/* How QEMU finds a file that it has as a descriptor. */
#define VM_FD_PATH "/proc/self/fd/"

struct vm_args {
    const struct vm_platform *platform;
    const char *qemu, *kernel, *initramfs; /* paths */
    unsigned cpus;
    uint64_t memory;  /* bytes */
    uint32_t tsc_khz; /* as given to vm_platform_for() */
    int agent_fd, qmp_fd, console_fd;
    const int *image_fds;
    size_t image_count;
    const struct vm_share *shares;
    size_t share_count;
    bool has_root_disk;
    int root_disk_fd;
    const struct vm_link *links; /* with QEMU's own descriptors */
    size_t link_count;
    const char *const *pci_devices;
    size_t pci_count;
    bool verbose; /* the kernel talks on the console */
};

/* Fills *argv with QEMU's arguments, argv[0] being the program. -1 (GV_E_LIMIT) when there are more devices than the machine takes. */
int vm_args_build(struct gv_strv *argv, const struct vm_args *a, struct gv_error *err);

/* The serial of the i-th image's disk ("image-0"), and the tag or serial of the i-th volume ("volume-0"), as both QEMU and the agent get them. */
#define VM_NAME_MAX 16
#define VM_ROOT_SERIAL "root"
void vm_image_serial(char out[VM_NAME_MAX], size_t i);
void vm_volume_tag(char out[VM_NAME_MAX], size_t i);

/* A hardware address as QEMU and the agent take it. */
#define VM_MAC_TEXT 18
void vm_mac_text(char out[VM_MAC_TEXT], const uint8_t mac[VM_MAC_SIZE]);

#endif
