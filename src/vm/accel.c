/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whether KVM works here. /dev/kvm may open, create virtual machines and CPUs, and then never get a kernel past its first instructions, so
 * the only proof is our kernel's agent answering under it, within a deadline.
 *
 * The verdict holds as long as the host has not booted anew and neither QEMU nor the guest's files have changed. It is kept in the user's
 * cache directory: a line with the hash of all these, one with the verdict, one with the reason. Concurrent askers wait for one prober
 * (flock on a file beside it). Whether the device can be opened is asked each time: membership in a group changes without a boot.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <pwd.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "vm/machine.h"

#define KVM_DEVICE "/dev/kvm"
#define PROBE_TIMEOUT_MS 10000U
#define PROBE_MEMORY (UINT64_C(128) << 20)
#define VERDICT_MAX 2048U

/* ---- the device ------------------------------------------------------------------------------------------------------------------ */

static char *permission_problem(const struct stat *st)
{
    struct group *group = getgrgid(st->st_gid);
    cleanup_free char *name = group && group->gr_gid != 0 ? gv_strdup(group->gr_name) : NULL;
    const struct passwd *me = getpwuid(geteuid());
    if (name && (st->st_mode & 060) == 060)
        return gv_asprintf("no permission to open " KVM_DEVICE
                           "; become a member of the group `%s` (sudo usermod -aG %s %s) and log in again",
                           name, name, me ? me->pw_name : "YOUR-NAME");
    return gv_asprintf("no permission to open " KVM_DEVICE ", and no group has it; give it to one (sudo chgrp kvm " KVM_DEVICE
                       " && sudo chmod 660 " KVM_DEVICE ")");
}

/* NULL when the device opens and speaks the API; else what is wrong. */
static char *device_problem(bool *exists, bool *openable)
{
    struct stat st;
    *exists = stat(KVM_DEVICE, &st) == 0;
    *openable = false;
    if (!*exists)
        return gv_strdup("this host has no " KVM_DEVICE
                         "; enable virtualisation in its firmware (or nested virtualisation in its hypervisor) "
                         "and load the module kvm_intel or kvm_amd");
    cleanup_close int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
    if (fd < 0 && (errno == EACCES || errno == EPERM))
        return permission_problem(&st);
    if (fd < 0)
        return gv_asprintf("cannot open " KVM_DEVICE ": %s", strerror(errno));
    *openable = true;
    int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return gv_asprintf(KVM_DEVICE " is not what it claims to be (API version %d instead of %d)", version, KVM_API_VERSION);
    return NULL;
}

/* ---- the boot -------------------------------------------------------------------------------------------------------------------- */

struct boot_result {
    bool ready;
    struct gv_error why;
};

static void on_ready(void *user, struct vm *vm)
{
    struct boot_result *r = user;
    r->ready = true;
    vm_kill(vm);
}

static void on_ended(void *user, struct vm *vm, const struct gv_error *why)
{
    struct boot_result *r = user;
    r->why = *why;
    vm_free(vm);
}

/* NULL when the kernel has booted under KVM; else what went wrong. */
static char *boot_problem(const char *qemu, const char *kernel, const char *initramfs, const struct gv_log *log)
{
    static const struct vm_events events = { .ready = on_ready, .ended = on_ended };
    const struct vm_config config = { .memory = PROBE_MEMORY, .console_fd = -1, .boot_timeout_ms = PROBE_TIMEOUT_MS, .log = log };
    const struct vm_boot boot = { .accel = VM_ACCEL_KVM, .qemu = qemu, .kernel = kernel, .initramfs = initramfs, .probe = true };
    struct boot_result result = { 0 };
    uv_loop_t loop;
    struct vm *vm;
    if (uv_loop_init(&loop) < 0)
        return gv_strdup("cannot make an event loop to try it");
    if (vm_boot(&vm, &loop, &config, &boot, &events, &result, &result.why) == 0 || uv_loop_alive(&loop))
        uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    if (result.ready)
        return NULL;
    return gv_asprintf(KVM_DEVICE
                       " opens, but our kernel does not boot under it (%.600s); nested virtualisation may be switched off or broken "
                       "on this host",
                       result.why.msg);
}

/* ---- the verdict ----------------------------------------------------------------------------------------------------------------- */

static void add_file(struct gv_buf *b, const char *path)
{
    struct stat st = { 0 };
    (void)!stat(path, &st);
    gv_buf_addf(b, "%s %llu %llu %lld %ld\n", path, (unsigned long long)st.st_ino, (unsigned long long)st.st_size,
                (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void make_key(char key[2 * GV_SHA256_SIZE + 1], const char *qemu, const char *kernel, const char *initramfs)
{
    cleanup_buf struct gv_buf b = { 0 };
    unsigned char digest[GV_HASH_MAX];
    gv_read_file("/proc/sys/kernel/random/boot_id", 128, &b, NULL);
    add_file(&b, qemu);
    add_file(&b, kernel);
    add_file(&b, initramfs);
    gv_hash_bytes(GV_HASH_SHA256, b.data, b.len, digest);
    gv_hex(key, digest, GV_SHA256_SIZE);
}

/* 1 boots, 0 does not (*problem is filled), -1 no verdict for this key. */
static int read_verdict(const char *path, const char *key, char **problem)
{
    cleanup_buf struct gv_buf b = { 0 };
    if (gv_read_file(path, VERDICT_MAX, &b, NULL) < 0)
        return -1;
    char *text = gv_buf_str(&b), *save = NULL;
    const char *found = strtok_r(text, "\n", &save), *verdict = strtok_r(NULL, "\n", &save), *why = strtok_r(NULL, "\n", &save);
    if (!found || !verdict || strcmp(found, key))
        return -1;
    if (!strcmp(verdict, "boots"))
        return 1;
    if (strcmp(verdict, "fails") || !why)
        return -1;
    *problem = gv_strdup(why);
    return 0;
}

static void write_verdict(const char *path, const char *key, const char *problem, const struct gv_log *log)
{
    struct gv_outfile *f;
    struct gv_error err = GV_ERROR_INIT;
    cleanup_free char *text = gv_asprintf("%s\n%s\n%s%s", key, problem ? "fails" : "boots", problem ? problem : "", problem ? "\n" : "");
    int status = gv_outfile_open(&f, path, 0600, &err);
    if (status == 0 && gv_write_full(gv_outfile_fd(f), text, strlen(text)) < 0) {
        status = gv_error_errno(&err, "cannot write `%s`", path);
        gv_outfile_discard(f);
    } else if (status == 0) {
        status = gv_outfile_commit(f, &err);
    }
    if (status < 0)
        gv_note(log, "the verdict on KVM cannot be remembered: %s", err.msg);
}

int vm_kvm_usable(const char *qemu, bool fresh, const struct gv_log *log, bool *exists, bool *openable, char **problem)
{
    bool unused_exists, unused_openable;
    cleanup_free char *kernel = NULL, *initramfs = NULL, *path = NULL;
    struct gv_error err = GV_ERROR_INIT;
    *problem = device_problem(exists ? exists : &unused_exists, openable ? openable : &unused_openable);
    if (*problem)
        return 0;
    if (!qemu) {
        *problem = gv_strdup("there is no QEMU to try it with");
        return 0;
    }
    if (vm_host_find_guest(vm_platform_for(VM_ACCEL_KVM, 0), &kernel, &initramfs, &err) < 0) {
        *problem = gv_asprintf("it cannot be tried: %s", err.msg);
        return 0;
    }

    cleanup_close int lock = -1;
    char key[2 * GV_SHA256_SIZE + 1];
    make_key(key, qemu, kernel, initramfs);
    cleanup_free char *dir = gv_cache_dir(&err);
    if (dir) {
        path = gv_asprintf("%s/kvm-verdict", dir);
        int known = fresh ? -1 : read_verdict(path, key, problem);
        if (known >= 0)
            return known;
        cleanup_free char *lock_path = gv_asprintf("%s.lock", path);
        lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (lock >= 0 && flock(lock, LOCK_EX) == 0 && !fresh) {
            known = read_verdict(path, key, problem); /* somebody else may have found out while we waited */
            if (known >= 0)
                return known;
        }
    }
    gv_note(log, "trying whether KVM really works here (at most %u s, once for each boot of this host)", PROBE_TIMEOUT_MS / 1000);
    *problem = boot_problem(qemu, kernel, initramfs, log);
    if (path)
        write_verdict(path, key, *problem, log);
    return *problem ? 0 : 1;
}
