/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `vm`: the object behind struct vm, and the parts that work on it.
 *
 *   launch.c  opens what QEMU needs and starts it under a guardian
 *   confine.c the jail around it
 *   setup.c   from the agent's greeting to `ready`: clock, root, hosts, volumes
 *   net.c, stats.c  what the guest is told of its network, and asked, when it is ready
 *   vm.c      the public calls, the sources of events, and the one way to the end
 *   accel.c   which accelerator, and whether KVM really boots
 *
 * States only ever go forward:
 *
 *   BOOTING  --HELLO-->  SETTING_UP  --all mounted-->  READY  --vm_shutdown-->  STOPPING
 *      \_______________________\________________________\______________________/
 *                              | a failure, vm_kill, a deadline, QEMU's end
 *                            ENDING    the guardian has been released (or is gone); waiting for its end of file
 *                              |
 *                            CLOSING   processes have got their failed, handles are being closed; then `ended`
 */
#ifndef GV_VM_MACHINE_H
#define GV_VM_MACHINE_H

#include "vm/agent.h"
#include "vm/args.h"
#include "vm/console.h"
#include "vm/guardian.h"
#include "vm/qmp.h"
#include "vm/vm.h"

enum vm_state { VM_BOOTING, VM_SETTING_UP, VM_READY, VM_STOPPING, VM_ENDING, VM_CLOSING };

/* A descriptor of ours that the loop watches for reading. */
struct vm_watch {
    uv_poll_t poll;
    int fd;
    bool open; /* poll is initialised and not closed */
    struct vm *vm;
    void (*readable)(struct vm *vm);
};

struct vm {
    uv_loop_t *loop;
    const struct gv_log *log;
    struct vm_events events;
    void *user;
    enum vm_state state;
    enum vm_accel accel;
    bool probe;               /* started only to see the agent's greeting: nothing is set up, `ready` comes at once */
    bool asked;               /* the caller wants the end: it is no error */
    bool abandoned;           /* vm_boot() failed half-way: freed when the handles are closed, nobody is told */
    bool greeted, qemu_ended; /* the agent has said hello; the guardian has reported qemu_status */
    int qemu_status;          /* as from waitpid(2) */
    unsigned boot_timeout_ms;
    struct gv_error why; /* the first failure */

    struct vm_guardian guardian;
    struct vm_agent *agent;
    struct vm_watch report, qmp_watch, console, output;
    uv_timer_t timer;
    bool timer_open;
    unsigned handles; /* open handles of the loop, the agent's counted as one */
    struct vm_qmp qmp;
    struct vm_tail console_tail, output_tail;
    int kernel_fd;    /* the kernel's copy in memory, or -1 */
    int console_copy; /* where the console goes besides, or -1 */

    /* What setup.c needs of the configuration. */
    size_t image_count;
    uint64_t root_size;
    bool root_on_disk;
    uint8_t macs[VM_LINKS_MAX][VM_MAC_SIZE]; /* by which the agent finds the cards */
    size_t link_count;
    char *hostname, *owner;
    struct vm_mount {
        enum vm_volume_kind kind;
        char *guest_path, *host_path;
        uint64_t size;
        bool readonly, give_to_user;
    } * mounts;
    size_t mount_count, mounts_done;
    size_t *mount_order;
};

/* What vm_start() has found out before. */
struct vm_boot {
    enum vm_accel accel; /* KVM or TCG */
    const char *qemu, *kernel, *initramfs;
    bool probe;
};

/* vm_start() after the choices: starts QEMU and the watching of it. */
int vm_boot(struct vm **out, uv_loop_t *loop, const struct vm_config *config, const struct vm_boot *boot, const struct vm_events *events,
            void *user, struct gv_error *err);

/* launch.c: the host's ends of the channels are in fds afterwards, and vm->guardian runs. */
struct vm_launch_fds {
    int agent, qmp, console, output;
};
int vm_launch(struct vm *vm, const struct vm_config *config, const struct vm_boot *boot, struct vm_launch_fds *fds, struct gv_error *err);

/* confine.c: the jail for a QEMU with these arguments. fds: all descriptors it gets under their numbers, those of the
 * shares included; output: its stdout and stderr. */
int vm_confine(struct jail **out, const struct vm_config *config, const struct vm_args *args, const struct gv_strv *argv, const int *fds,
               size_t fd_count, int output, struct gv_error *err);

/* The guest runs, so QEMU has loaded the kernel: gives back the memory that holds it. */
void vm_launch_kernel_loaded(struct vm *vm);

/* setup.c: called when the agent has greeted. Ends in vm_setup_done() or vm_fail(). */
void vm_setup_start(struct vm *vm);

/* vm.c */
void vm_setup_done(struct vm *vm);
/* Ends the VM; why is what `ended` will say, unless something else was first or the end was asked for. */
void vm_fail(struct vm *vm, const struct gv_error *why);

/* accel.c and host.c: what there is on this host. The strings are the caller's to free. */
int vm_host_find_qemu(char **path, struct gv_error *err);
int vm_host_find_guest(const struct vm_platform *platform, char **kernel, char **initramfs, struct gv_error *err);
/* Whether KVM can be used: 1 yes; 0 no, and *problem (the caller's to free) says why and how to mend it. Boots the kernel when there is no fresh verdict;
 * *exists and *openable may be NULL. */
int vm_kvm_usable(const char *qemu, bool fresh, const struct gv_log *log, bool *exists, bool *openable, char **problem);

#endif
