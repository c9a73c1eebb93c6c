/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where QEMU and the guest's files are on this host, and the report of vm_host_probe(). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "vm/machine.h"

#define QEMU_NAME "qemu-system-x86_64"
#define VERSION_TIMEOUT_MS 5000
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

int vm_host_find_qemu(char **path, struct gv_error *err)
{
    const char *dirs = getenv("PATH");
    for (const char *at = dirs && *dirs ? dirs : DEFAULT_PATH; *at;) {
        size_t n = strcspn(at, ":");
        /* An empty element means the current directory in PATH; a program is not taken from there. */
        cleanup_free char *candidate = n && at[0] == '/' ? gv_asprintf("%.*s/" QEMU_NAME, (int)n, at) : NULL;
        struct stat st;
        if (candidate && stat(candidate, &st) == 0 && S_ISREG(st.st_mode) && access(candidate, X_OK) == 0) {
            *path = realpath(candidate, NULL); /* in the jail there are no links to it */
            if (*path)
                return 0;
        }
        at += n + (at[n] == ':');
    }
    gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no " QEMU_NAME " in PATH");
    return gv_error_hint(err, "install it: apt-get install qemu-system-x86");
}

/* The kernel and the initramfs in dir, when both are there and can be read. */
static bool try_guest_dir(const char *dir, const struct vm_platform *platform, char **kernel, char **initramfs)
{
    cleanup_free char *absolute = realpath(dir, NULL);
    if (!absolute)
        return false;
    cleanup_free char *k = gv_asprintf("%s/%s", absolute, platform->kernel), *i = gv_asprintf("%s/initramfs.cpio", absolute);
    if (access(k, R_OK) < 0 || access(i, R_OK) < 0)
        return false;
    *kernel = steal_ptr(k);
    *initramfs = steal_ptr(i);
    return true;
}

int vm_host_find_guest(const struct vm_platform *platform, char **kernel, char **initramfs, struct gv_error *err)
{
    const char *env = getenv("GVMKIT_GUEST_DIR");
    if (env && *env) {
        if (try_guest_dir(env, platform, kernel, initramfs))
            return 0;
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no readable %s and initramfs.cpio in `%s` (GVMKIT_GUEST_DIR)",
                            platform->kernel, env);
    }
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    char *slash = NULL;
    if (n > 0) {
        exe[n] = '\0';
        slash = strrchr(exe, '/');
    }
    if (slash) {
        *slash = '\0';
        /* Beside PREFIX/bin/gvmkit, and beside PREFIX/lib/yagna/plugins/ya-runtime-vm/ya-runtime-vm. */
        static const char *const places[] = { "../lib/gvmkit", "../../../gvmkit" };
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
            cleanup_free char *beside = gv_asprintf("%s/%s", exe, places[i]);
            if (try_guest_dir(beside, platform, kernel, initramfs))
                return 0;
        }
    }
    if (try_guest_dir(GVMKIT_LIBDIR, platform, kernel, initramfs))
        return 0;
    gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no guest kernel (%s and initramfs.cpio in " GVMKIT_LIBDIR ")", platform->kernel);
    return gv_error_hint(err, "install gvmkit completely, or set GVMKIT_GUEST_DIR");
}

int vm_host_file(const char *name, char **path, struct gv_error *err)
{
    cleanup_free char *kernel = NULL, *initramfs = NULL;
    if (vm_host_find_guest(vm_platform_for(VM_ACCEL_TCG, 0), &kernel, &initramfs, err) < 0)
        return -1;
    const char *slash = strrchr(initramfs, '/');
    cleanup_free char *file = gv_asprintf("%.*s/%s", (int)(slash - initramfs), initramfs, name);
    if (access(file, R_OK) < 0) {
        gv_error_errno(err, "cannot read `%s`", file);
        return gv_error_hint(err, "install gvmkit completely");
    }
    *path = steal_ptr(file);
    return 0;
}

/* ---- the report ------------------------------------------------------------------------------------------------------------------ */

/* Reads from fd until its end or the deadline; the first line ends up in out. */
static void read_first_line(int fd, char *out, size_t size)
{
    size_t n = 0;
    struct pollfd p = { .fd = fd, .events = POLLIN };
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (n < size - 1) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        long passed = (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000;
        if (passed >= VERSION_TIMEOUT_MS || poll(&p, 1, (int)(VERSION_TIMEOUT_MS - passed)) <= 0)
            break;
        ssize_t got = read(fd, out + n, size - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

/* What `qemu --version` says about itself, or NULL. */
static char *qemu_version(const char *qemu)
{
    int out[2];
    if (pipe2(out, O_CLOEXEC) < 0)
        return NULL;
    cleanup_close int reading = out[0], writing = out[1];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, writing, 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_RDWR, 0);
    char *const argv[] = { (char *)(uintptr_t)qemu, (char *)(uintptr_t) "--version", NULL };
    pid_t pid;
    int status = posix_spawn(&pid, qemu, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (status)
        return NULL;
    close(steal_fd(&writing));
    char line[256];
    read_first_line(reading, line, sizeof(line));
    kill(pid, SIGKILL); /* not reaped yet, so the pid is still its own */
    waitpid(pid, NULL, 0);
    static const char before[] = "QEMU emulator version ";
    if (strncmp(line, before, sizeof(before) - 1))
        return NULL;
    return gv_strdup(line + sizeof(before) - 1);
}

void vm_host_probe(struct vm_host_report *r, bool fresh, const struct gv_log *log)
{
    struct gv_error err = GV_ERROR_INIT;
    *r = (struct vm_host_report){ 0 };
    if (vm_host_find_qemu(&r->qemu_path, &err) < 0) {
        r->qemu_problem = gv_strdup(err.msg);
    } else {
        r->qemu_version = qemu_version(r->qemu_path);
        if (!r->qemu_version)
            r->qemu_problem = gv_asprintf("`%s --version` does not answer as QEMU does; install qemu-system-x86 again", r->qemu_path);
    }
    gv_error_clear(&err);
    if (vm_host_find_guest(vm_platform_for(VM_ACCEL_TCG, 0), &r->kernel_path, &r->initramfs_path, &err) < 0)
        r->guest_problem = gv_strdup(err.msg);
    r->kvm_boots = vm_kvm_usable(r->qemu_problem ? NULL : r->qemu_path, fresh, log, &r->kvm_exists, &r->kvm_openable, &r->kvm_problem) == 1;
}

void vm_host_report_clear(struct vm_host_report *r)
{
    free(r->qemu_path);
    free(r->qemu_version);
    free(r->kernel_path);
    free(r->initramfs_path);
    free(r->guest_problem);
    free(r->kvm_problem);
    free(r->qemu_problem);
    *r = (struct vm_host_report){ 0 };
}
