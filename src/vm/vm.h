/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `vm`: one virtual machine. It probes accelerators, builds QEMU's arguments, starts QEMU under a guardian, speaks QMP and the
 * agent's protocol, and says what happens by callbacks on the caller's libuv loop. It knows nothing of ExeUnits or command lines.
 *
 * The processes. vm_start() forks a guardian, which starts QEMU. Each one's end ends the others within a second: QEMU and the guardian die
 * with their parent (PR_SET_PDEATHSIG and an inherited pipe), the guardian outlives the supervisor just long enough to kill QEMU. QEMU
 * gets its sockets as descriptors; nothing of a VM has a name in the file system.
 *
 * The order of callbacks. ready once, or not at all; then those of processes; ended exactly once, last, after every process has got its
 * exited or failed. All run inside the loop, never inside a call of this room. A callback may call anything here but vm_free inside
 * callbacks other than ended.
 *
 * Everything that comes from the guest is hostile: lengths, ids, credit and order are checked, and a violation ends the VM with
 * GV_E_PROTOCOL.
 */
#ifndef GV_VM_H
#define GV_VM_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "core/core.h"

enum vm_accel { VM_ACCEL_AUTO, VM_ACCEL_KVM, VM_ACCEL_TCG };

enum vm_volume_kind {
    VM_VOLUME_DIRECTORY, /* a directory of the host, shared by 9p */
    VM_VOLUME_DISK,      /* a file of the host that holds an ext4 */
    VM_VOLUME_RAM,       /* a tmpfs of the guest */
};

struct vm_volume {
    enum vm_volume_kind kind;
    const char *host_path;  /* what exists: the directory, or the file, of which only one VM at a time can have the use. Not for RAM */
    const char *guest_path; /* where it is mounted; made if missing, resolved inside the image */
    uint64_t size;          /* RAM: bytes */
    bool readonly;
    bool give_to_user; /* the mounted directory is given to vm_config.user, so that the image's USER can write */
};

#define VM_LINKS_MAX 4U
#define VM_MAC_SIZE 6U
#define VM_MTU_DEFAULT 1500U

/* A network card. What is at the other end of the wire is the caller's. */
struct vm_link {
    int fd; /* QEMU's end of a pair of unix datagram sockets: each datagram is one Ethernet frame without its checksum. A copy is made */
    uint8_t mac[VM_MAC_SIZE];
};

struct vm_config {
    const char *const *images; /* paths of .gvmi (or bare squashfs) files, the first on top */
    size_t image_count;
    enum vm_accel accel;
    unsigned cpus;         /* 0 = 1 */
    uint64_t memory;       /* bytes; 0 = 256 MiB */
    uint64_t root_size;    /* bytes of the writable layer in RAM; 0 = 128 MiB */
    const char *root_disk; /* or a file with an ext4 that holds this layer, kept from VM to VM; NULL = none */
    const char *hostname;  /* NULL = "gvmkit" */
    const char *user;      /* owner of volumes marked give_to_user, as Docker writes users; NULL = root */
    const struct vm_volume *volumes;
    size_t volume_count;
    const struct vm_link *links; /* eth0, eth1, ... of the guest, down until vm_net_configure() */
    size_t link_count;
    const char *const *pci_devices; /* addresses ("0000:01:00.0") of devices of the host that the VM gets */
    size_t pci_count;
    bool keep_group;          /* QEMU stays in our process group (for those who measure by it), where the terminal's signals reach it */
    bool require_jail;        /* QEMU runs in a complete jail (room `jail`) or not at all */
    int console_fd;           /* -1, or where the guest's console goes (a copy is made) */
    unsigned boot_timeout_ms; /* until the agent answers; 0 = 30 s with KVM, 120 s with TCG */
    const struct gv_log *log; /* used until `ended` */
};

struct vm;

struct vm_events {
    void (*ready)(void *user, struct vm *vm); /* root and volumes are mounted, processes can run */
    /* why->code is GV_OK after vm_shutdown() or vm_kill(); else what went wrong, with the last lines of the guest's console where they help. */
    void (*ended)(void *user, struct vm *vm, const struct gv_error *why);
};

/* Starts a VM. The strings and arrays of config are not needed after return. On success *out lives until vm_free(), which may be called
 * only after (or inside) ended. */
int vm_start(struct vm **out, uv_loop_t *loop, const struct vm_config *config, const struct vm_events *events, void *user,
             struct gv_error *err);
void vm_free(struct vm *vm);

/* Orderly end: processes get SIGTERM, after grace_ms SIGKILL, file systems are synced and unmounted, QEMU ends. If the guest does not follow
 * within grace_ms + 2 s it is killed. `ended` follows. */
void vm_shutdown(struct vm *vm, unsigned grace_ms);
/* At once. `ended` follows. */
void vm_kill(struct vm *vm);

/* While hold is true nothing more is read from the guest (at most what has been received already still comes), so that the caller's memory
 * is bounded whatever many processes write. It makes vm_shutdown() wait for its deadline: end it before that. */
void vm_hold(struct vm *vm, bool hold);

/* Stops QEMU and all that is in it in the middle of whatever it does, or lets it go on: for moments only. vm_kill() ends a stopped VM, too; vm_shutdown() waits
 * for its deadline. */
void vm_freeze(struct vm *vm, bool freeze);
/* From now on no file that QEMU writes can become larger than that: the guest's write fails with EFBIG. */
void vm_limit_files(struct vm *vm, uint64_t bytes);

/* KVM or TCG, what it runs with. */
enum vm_accel vm_accel_used(const struct vm *vm);
/* QEMU's pid, for statistics and tests. */
pid_t vm_qemu_pid(const struct vm *vm);

/* ---- processes in the guest ------------------------------------------------------------------------------------------------------ */

struct vm_process;

/* What the agent does itself (wire.h, enum wire_builtin), for the image may have no program for it: argv are its arguments, and of the rest of the
 * specification only stdin_open counts. */
enum vm_builtin { VM_PROGRAM, VM_STAT, VM_PACK, VM_UNPACK };

struct vm_process_spec {
    const char *const *argv; /* NULL-terminated */
    enum vm_builtin builtin;
    const char *path;           /* the program, looked up in the PATH of env when it has no slash; NULL = argv[0] */
    const char *const *env;     /* NULL-terminated; HOME is added by the agent when it is missing, TERM too on a tty */
    const char *cwd;            /* NULL = "/"; made when missing, as Docker does */
    const char *user;           /* as Docker takes it; NULL = root */
    const char *const *rlimits; /* NULL-terminated list of "nofile 1024 4096" (wire.h, KEY_RLIMIT); NULL = the defaults */
    bool stdin_open;            /* false: /dev/null */
    bool tty;
    uint16_t rows, columns; /* of the tty; 0 = 24 x 80 */
};

struct vm_exit {
    bool signalled;
    bool dumped;
    int status; /* exit code, or signal number */
    uint64_t cpu_user_us, cpu_system_us, max_rss_kib;
};

/* What a user who does not consume has to keep at most, for each stream of a process. */
#define VM_OUTPUT_MAX (1U << 20)

struct vm_process_events {
    void (*started)(void *user, struct vm_process *p); /* may be NULL */
    /* It could not be started (err->code GV_E_GUEST and err->sys the guest's errno), or the VM ended before it did (GV_E_DIED). p is gone after it. */
    void (*failed)(void *user, struct vm_process *p, const struct gv_error *err);
    /* n bytes of stream 1 or 2, at data until the return. At most VM_OUTPUT_MAX bytes of a stream come without vm_process_consumed(). */
    void (*output)(void *user, struct vm_process *p, int stream, const void *data, size_t n);
    /* vm_process_write() takes bytes again after it had returned less than it was given. May be NULL without stdin. */
    void (*writable)(void *user, struct vm_process *p);
    /* Nobody reads stdin any more. May be NULL. */
    void (*input_gone)(void *user, struct vm_process *p);
    /* After the last output, which may need vm_process_consumed() to get here. p is gone after it. */
    void (*exited)(void *user, struct vm_process *p, const struct vm_exit *e);
};

/* Asks the guest to start a process. Only after ready. On success started or failed follows. */
int vm_process_start(struct vm_process **out, struct vm *vm, const struct vm_process_spec *spec, const struct vm_process_events *events,
                     void *user, struct gv_error *err);
/* Gives the guest credit for n more bytes of a stream: call it when the bytes have been passed on. */
void vm_process_consumed(struct vm_process *p, int stream, size_t n);
/* Sends up to n bytes to stdin; returns how many were taken (0 when there is no credit: wait for writable). */
size_t vm_process_write(struct vm_process *p, const void *data, size_t n);
/* End of stdin, after all that was written. */
void vm_process_close_stdin(struct vm_process *p);
void vm_process_resize(struct vm_process *p, uint16_t rows, uint16_t columns);
/* Sends a signal to the process, or to its process group. Errors (it has ended just now) are ignored. */
void vm_process_signal(struct vm_process *p, int signal, bool group);

/* ---- network ---------------------------------------------------------------------------------------------------------------------- */

/* How an interface of the guest is to be. Texts and arrays are not needed after the call. */
struct vm_net {
    size_t link;                    /* index into vm_config.links */
    const char *const *addresses;   /* NULL-terminated: "10.0.0.2/24", "fd00::2/64" */
    const char *const *routes;      /* NULL-terminated: "10.0.0.0/8", or "10.0.0.0/8 via 10.0.0.1"; may be NULL */
    const char *gateway, *gateway6; /* default routes; NULL or "" = none */
    unsigned mtu;                   /* 0 = VM_MTU_DEFAULT */
    const uint8_t *mac;             /* a new one, VM_MAC_SIZE bytes; NULL = as it is */
};

typedef void (*vm_done_fn)(void *user, const struct gv_error *failed); /* failed is NULL when it is done */

/* Sets an interface up. Only after ready. On success done is called once, from the loop; with GV_E_DIED when the VM ends before the guest has answered,
 * with GV_E_GUEST and its reason when it refuses; what came before the refused part is done then. Doing it again adds addresses and routes. */
int vm_net_configure(struct vm *vm, const struct vm_net *net, vm_done_fn done, void *user, struct gv_error *err);

/* What the guest's files about names hold beside localhost and its own name; all NULL-terminated, NULL = none. hosts: "ADDRESS NAME...". */
struct vm_names {
    const char *const *hosts, *const *dns, *const *search;
};
/* Writes /etc/hosts and /etc/resolv.conf anew; done as in vm_net_configure(). A line that is no address with names is refused by the guest. Calls that overlap
 * may be done in any order, so make the next one when done has been called. */
int vm_names_set(struct vm *vm, const struct vm_names *names, vm_done_fn done, void *user, struct gv_error *err);

/* ---- what it uses ------------------------------------------------------------------------------------------------------------------- */

/* As the guest sees it, and as true as the guest is. */
struct vm_stats {
    uint64_t uptime_us;
    uint64_t cpu_user_us, cpu_system_us; /* of all its CPUs since it has started */
    uint64_t memory_total, memory_available;
    uint64_t root_used, root_size; /* bytes of the layer that takes the writes; 0 when the guest cannot tell */
    uint64_t processes;            /* that vm_process_start() has started */
};
/* stats is NULL when failed says why; both are valid until the return. */
typedef void (*vm_stats_fn)(void *user, const struct vm_stats *stats, const struct gv_error *failed);
/* Asks the guest. Only after ready. On success done is called once, from the loop, as in vm_net_configure(). */
int vm_stats_get(struct vm *vm, vm_stats_fn done, void *user, struct gv_error *err);

/* ---- the host -------------------------------------------------------------------------------------------------------------------- */

struct vm_host_report {
    char *qemu_path, *qemu_version; /* NULL when there is none; then qemu_problem says what to do */
    char *kernel_path, *initramfs_path, *guest_problem;
    bool kvm_exists, kvm_openable, kvm_boots;
    char *kvm_problem; /* why not, and how to mend it; NULL when it boots */
    char *qemu_problem;
};

/* Looks for everything a VM needs, and boots our kernel under KVM (deadline 10 s) unless the verdict for this host boot, QEMU and kernel is
 * cached and fresh is false. Never fails: problems are in the report. */
void vm_host_probe(struct vm_host_report *r, bool fresh, const struct gv_log *log);
void vm_host_report_clear(struct vm_host_report *r);

/* The path of a file that is installed beside the guest's kernel ("self-test.gvmi"), the caller's to free. */
int vm_host_file(const char *name, char **path, struct gv_error *err);

#endif
