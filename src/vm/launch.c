/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From a configuration to a running QEMU: everything is opened and checked here, in the supervisor, where failures can be told well;
 * what QEMU gets are descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "vm/clock.h"
#include "vm/machine.h"
#include "vm/volume.h"

#define MEMORY_DEFAULT (UINT64_C(256) << 20)
#define MEMORY_MIN (UINT64_C(48) << 20)

/* Descriptors for QEMU; the supervisor's copies are closed when the list goes out of scope. */
struct fd_list {
    int *fds;
    size_t count;
};

static void fd_list_clear(struct fd_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        close(l->fds[i]);
    free(l->fds);
}
#define cleanup_fd_list __attribute__((cleanup(fd_list_clear)))

static void fd_list_add(struct fd_list *l, int fd)
{
    l->fds = gv_reallocarray(l->fds, l->count + 1, sizeof(*l->fds));
    l->fds[l->count++] = fd;
}

/* A program started with closed standard descriptors would get ours under these numbers, and QEMU would lose them. */
static int occupy_stdio(struct gv_error *err)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) < 0) /* the lowest free number is fd */
            return gv_error_errno(err, "cannot open /dev/null");
    return 0;
}

static int open_image(struct fd_list *l, const char *path, struct gv_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open the image `%s`", path);
    fd_list_add(l, fd);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return gv_error_errno(err, "cannot examine the image `%s`", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return gv_error_set(err, GV_E_FORMAT, 0, "the image `%s` is not a file", path);
    if (S_ISREG(st.st_mode) && st.st_size == 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the image `%s` is empty", path);
    return 0;
}

static int open_shares(struct fd_list *l, struct vm_share *shares, const struct vm_config *config, const struct gv_log *log,
                       struct gv_error *err)
{
    for (size_t i = 0; i < config->volume_count; i++) {
        if (vm_volume_open(&shares[i], &config->volumes[i], err) < 0)
            return -1;
        if (shares[i].fd >= 0)
            fd_list_add(l, shares[i].fd);
        if (shares[i].mapped_file && !shares[i].readonly)
            gv_note(log,
                    "the file system of `%s` has no user xattrs; owners and modes set in the VM go to .virtfs_metadata directories there",
                    config->volumes[i].host_path);
    }
    return 0;
}

/* Copies of the descriptors, so that the caller may close its own at once. */
static int copy_links(struct fd_list *l, struct vm_link *links, const struct vm_config *config, struct gv_error *err)
{
    for (size_t i = 0; i < config->link_count; i++) {
        links[i] = config->links[i];
        links[i].fd = fcntl(config->links[i].fd, F_DUPFD_CLOEXEC, 3);
        if (links[i].fd < 0)
            return gv_error_errno(err, "cannot pass a network connection to QEMU");
        fd_list_add(l, links[i].fd);
    }
    return 0;
}

/* Two ends of a channel: ours is returned, QEMU's goes into the list and to *theirs. */
static int make_channel(struct fd_list *l, int *theirs, struct gv_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return gv_error_errno(err, "cannot make a socket pair");
    fd_list_add(l, pair[1]);
    *theirs = pair[1];
    return pair[0];
}

static int check_resources(const struct vm_config *config, struct vm_args *a, struct gv_error *err)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t host = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX;
    a->cpus = config->cpus ? config->cpus : 1;
    a->memory = config->memory ? config->memory : MEMORY_DEFAULT;
    if (a->cpus > VM_CPUS_MAX)
        return gv_error_set(err, GV_E_USAGE, 0, "%u CPUs are more than the guest kernel takes; at most %u are possible", a->cpus,
                            VM_CPUS_MAX);
    if (a->memory < MEMORY_MIN)
        return gv_error_set(err, GV_E_USAGE, 0, "%llu MiB of memory are too little for the guest; give it %llu MiB or more",
                            (unsigned long long)(a->memory >> 20), (unsigned long long)(MEMORY_MIN >> 20));
    if (a->memory > host)
        return gv_error_set(err, GV_E_LIMIT, 0, "no memory for the VM: %llu MiB are asked for, this host has %llu MiB; ask for less",
                            (unsigned long long)(a->memory >> 20), (unsigned long long)(host >> 20));
    if (config->image_count > VM_IMAGES_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "%zu images are too many for one VM; at most %u are possible", config->image_count,
                            VM_IMAGES_MAX);
    if (config->volume_count > VM_VOLUMES_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "%zu volumes are too many for one VM; at most %u are possible", config->volume_count,
                            VM_VOLUMES_MAX);
    if (config->link_count > VM_LINKS_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "%zu network cards are too many for one VM; at most %u are possible", config->link_count,
                            VM_LINKS_MAX);
    return 0;
}

/* A copy of the kernel in memory of its own. QEMU maps the file it loads and keeps that mapping, though it needs it only until the guest starts. The
 * pages of a copy can be given back then (vm_launch_kernel_loaded); those of the file could not. The descriptor for QEMU goes into the
 * list. Returns the path QEMU finds it by; NULL when there is no such memory, then the file itself has to do. */
static char *copy_kernel(struct vm *vm, struct fd_list *l, const char *path)
{
    struct stat st;
    cleanup_close int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("gvmkit-kernel", MFD_CLOEXEC);
    if (from < 0 || to < 0 || fstat(from, &st) < 0)
        return NULL;
    for (off_t left = st.st_size; left > 0;) {
        ssize_t n = sendfile(to, from, NULL, (size_t)left);
        if (n <= 0)
            return NULL;
        left -= n;
    }
    vm->kernel_fd = fcntl(to, F_DUPFD_CLOEXEC, 3);
    int theirs = steal_fd(&to);
    fd_list_add(l, theirs);
    return gv_asprintf(VM_FD_PATH "%d", theirs);
}

void vm_launch_kernel_loaded(struct vm *vm)
{
    struct stat st;
    if (vm->kernel_fd < 0)
        return;
    if (fstat(vm->kernel_fd, &st) == 0)
        fallocate(vm->kernel_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st.st_size);
    close(steal_fd(&vm->kernel_fd));
}

int vm_launch(struct vm *vm, const struct vm_config *config, const struct vm_boot *boot, struct vm_launch_fds *fds, struct gv_error *err)
{
    cleanup_fd_list struct fd_list given = { 0 };
    cleanup_free struct vm_share *shares = gv_calloc(config->volume_count + 1, sizeof(*shares));
    struct vm_link links[VM_LINKS_MAX];
    cleanup_strv struct gv_strv argv = { 0 };
    struct vm_args a = { .qemu = boot->qemu,
                         .kernel = boot->kernel,
                         .initramfs = boot->initramfs,
                         .image_count = config->image_count,
                         .shares = shares,
                         .share_count = config->volume_count,
                         .links = links,
                         .link_count = config->link_count,
                         .pci_devices = config->pci_devices,
                         .pci_count = config->pci_count,
                         .has_root_disk = config->root_disk != NULL,
                         .verbose = config->console_fd >= 0 };

    struct vm_clock clock;
    vm_clock_look(&clock);
    if (check_resources(config, &a, err) < 0 || occupy_stdio(err) < 0)
        return -1;
    for (size_t i = 0; i < config->image_count; i++)
        if (open_image(&given, config->images[i], err) < 0)
            return -1;
    cleanup_free int *image_fds = gv_memdup(given.fds ? given.fds : &(int){ -1 }, (given.count + !given.count) * sizeof(int));
    a.image_fds = image_fds;
    if (open_shares(&given, shares, config, vm->log, err) < 0 || copy_links(&given, links, config, err) < 0)
        return -1;
    if (config->root_disk) {
        a.root_disk_fd = vm_volume_open_disk(config->root_disk, err);
        if (a.root_disk_fd < 0)
            return -1;
        fd_list_add(&given, a.root_disk_fd);
    }
    cleanup_close int agent = make_channel(&given, &a.agent_fd, err);
    cleanup_close int qmp = agent < 0 ? -1 : make_channel(&given, &a.qmp_fd, err);
    cleanup_close int console = qmp < 0 ? -1 : make_channel(&given, &a.console_fd, err);
    if (console < 0)
        return -1;
    int output_pipe[2];
    if (pipe2(output_pipe, O_CLOEXEC) < 0)
        return gv_error_errno(err, "cannot make a pipe");
    cleanup_close int output = output_pipe[0], output_theirs = output_pipe[1];

    cleanup_free char *kernel = copy_kernel(vm, &given, boot->kernel);
    if (kernel)
        a.kernel = kernel;
    a.tsc_khz = boot->accel == VM_ACCEL_TCG ? vm_clock_khz(&clock) : 0;
    a.platform = vm_platform_for(boot->accel, a.tsc_khz);
    if (vm_args_build(&argv, &a, err) < 0)
        return -1;
    fd_list_add(&given, steal_fd(&output_theirs));
    CLEANUP(jail) struct jail *jail = NULL;
    if (vm_confine(&jail, config, &a, &argv, given.fds, given.count - 1, given.fds[given.count - 1], err) < 0)
        return -1;
    const struct vm_guardian_spec spec = { .jail = jail,
                                           .keep = given.fds,
                                           .keep_count = given.count,
                                           .no_huge_pages = a.platform->no_huge_pages,
                                           .keep_group = config->keep_group };
    if (vm_guardian_start(&vm->guardian, &spec, err) < 0)
        return -1;
    jail_complain(&vm->guardian.jail, vm->log);
    *fds = (struct vm_launch_fds){
        .agent = steal_fd(&agent), .qmp = steal_fd(&qmp), .console = steal_fd(&console), .output = steal_fd(&output)
    };
    return 0;
}
