/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agent's own world, and its end.
 *
 * The kernel starts us in the initial ramfs, which can never be unmounted and lies at the bottom of every mount namespace, also the payload's.
 * So it is emptied, and the agent lives in a tmpfs of its own that it moves on top; the payload's namespace takes that off again.
 *
 * Only what is needed to say HELLO comes before HELLO: the time until then is part of every start.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "guest/agent/agent.h"

#define BOOT_PORT_WAIT_MS 10000U
#define BOOT_FILES 32768U

void boot_die(const char *format, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    dprintf(2, "gvmkit agent: %.*s\n", n < 0 ? 0 : (int)sizeof(text), text);
    boot_power_off();
}

void boot_power_off(void)
{
    /* Without ACPI "power off" would only halt the processors; a restart ends QEMU too, as it runs with -no-reboot. */
    reboot(access("/sys/firmware/acpi", F_OK) == 0 ? RB_POWER_OFF : RB_AUTOBOOT);
    reboot(RB_AUTOBOOT);
    for (;;)
        pause();
}

static void boot_mount(const char *fs, const char *at, unsigned long flags, const char *options)
{
    if (mkdir(at, 0755) < 0 && errno != EEXIST)
        boot_die("making %s: errno %d", at, errno);
    if (mount(fs, at, fs, flags, options) < 0)
        boot_die("mounting %s on %s: errno %d", fs, at, errno);
}

/* Opens the port if its name is the agent's. */
static int port_try(const char *device)
{
    char path[300], name[64];
    snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", device);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof(name) - 1);
    if (n <= 0)
        return -1;
    name[n] = '\0';
    name[strcspn(name, "\n")] = '\0';
    if (strcmp(name, WIRE_PORT_NAME) != 0)
        return -1;
    snprintf(path, sizeof(path), "/dev/%s", device);
    return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

static int port_find(void)
{
    DIR *d = opendir("/sys/class/virtio-ports");
    int fd = -1;
    for (struct dirent *e; d && fd < 0 && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.')
            fd = port_try(e->d_name);
    if (d)
        closedir(d);
    return fd;
}

int boot_port(void)
{
    boot_mount("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    boot_mount("devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=755");
    /* Descriptors 0 to 2 are there even if the kernel found no console, so that no other descriptor gets these numbers. */
    int fd;
    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd < 3);
    if (fd >= 0)
        close(fd);
    /* A port gets its name by a message from QEMU that the kernel handles when it comes to it. */
    uint64_t until = clock_ms() + BOOT_PORT_WAIT_MS;
    for (long wait = 200000; (fd = port_find()) < 0; wait = wait < 10000000 ? wait * 2 : wait) {
        if (clock_ms() >= until)
            boot_die("no virtio-serial port has the name " WIRE_PORT_NAME);
        nanosleep(&(struct timespec){ .tv_nsec = wait }, NULL);
    }
    return fd;
}

/* What the payload could find at the bottom of its own mount namespace, if it took off all that lies on it. */
static void boot_ramfs(int root)
{
    char path[40];
    unlinkat(root, "new", AT_REMOVEDIR);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", root);
    mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    /*
     * Programs that the kernel itself starts (a core_pattern with a pipe) start there, outside of the payload's namespaces. They get no
     * capability, and what is written here cannot be taken back.
     */
    files_write("/proc/sys/kernel/usermodehelper/bset", "0 0");
    files_write("/proc/sys/kernel/usermodehelper/inheritable", "0 0");
}

void boot_world(void)
{
    static const char *const move[] = { "/sys", "/dev" };
    char to[16];
    cleanup_close int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    boot_mount("tmpfs", "/new", MS_NOSUID, "mode=755,size=1048576");
    for (size_t i = 0; i < sizeof(move) / sizeof(move[0]); i++) {
        snprintf(to, sizeof(to), "/new%s", move[i]);
        if (mkdir(to, 0755) < 0 || mount(move[i], to, NULL, MS_MOVE, NULL) < 0)
            boot_die("moving %s: errno %d", move[i], errno);
    }
    unlink("/init");
    unlink("/dev/console");
    rmdir("/dev");
    rmdir("/sys");
    rmdir("/root");
    if (chdir("/new") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        boot_die("moving the root: errno %d", errno);
    boot_mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    boot_ramfs(root);

    /* There is no swap: when programs have taken all memory, only the pages of their own code can be reclaimed, and without this the
     * guest would read them back from the image for ever instead of ending one of them. A kernel that does not know it goes without. */
    files_write("/sys/kernel/mm/lru_gen/min_ttl_ms", "1000");

    struct rlimit files = { BOOT_FILES, BOOT_FILES };
    setrlimit(RLIMIT_NOFILE, &files);
    reboot(RB_DISABLE_CAD);
}
