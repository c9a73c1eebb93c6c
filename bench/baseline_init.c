/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * PID 1 of the virtual machine that cold start is measured against: the usual way to boot an image with a distribution's kernel. Modules are
 * loaded one by one in the order of /modules, then the image disk is mounted under an overlay, and /bin/echo writes to a virtio-serial
 * port. It does no more than that, so that the comparison is kind to it. Static, built with musl-gcc by bench/run.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
    fprintf(stderr, "baseline: %s: %s\n", what, strerror(errno));
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

static void mount_or_die(const char *from, const char *at, const char *type, unsigned long flags, const char *options)
{
    mkdir(at, 0755);
    if (mount(from, at, type, flags, options) < 0)
        die(at);
}

static void load_modules(void)
{
    FILE *list = fopen("/modules", "re");
    if (!list)
        die("/modules");
    char path[256];
    while (fgets(path, sizeof(path), list)) {
        path[strcspn(path, "\n")] = '\0';
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
            die(path);
        close(fd);
    }
    fclose(list);
}

/* Opens the port of that name, waiting for it to appear. */
static int open_port(const char *wanted)
{
    for (;;) {
        DIR *d = opendir("/sys/class/virtio-ports");
        for (struct dirent *e; d && (e = readdir(d));) {
            char path[300], name[64] = "";
            snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof(name) - 1);
            if (fd >= 0)
                close(fd);
            if (n <= 0 || strncmp(name, wanted, strlen(wanted)) != 0)
                continue;
            snprintf(path, sizeof(path), "/dev/%s", e->d_name);
            fd = open(path, O_RDWR);
            if (fd >= 0) {
                closedir(d);
                return fd;
            }
        }
        if (d)
            closedir(d);
        usleep(1000);
    }
}

int main(void)
{
    mount_or_die("proc", "/proc", "proc", 0, NULL);
    mount_or_die("sysfs", "/sys", "sysfs", 0, NULL);
    mount_or_die("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    int console = open("/dev/console", O_RDWR);
    for (int fd = 0; console >= 0 && fd <= 2; fd++)
        dup2(console, fd);
    load_modules();
    int port = open_port("bench.output");
    while (access("/dev/vda", F_OK) < 0)
        usleep(1000);
    mount_or_die("/dev/vda", "/lower", "squashfs", MS_RDONLY, NULL);
    mount_or_die("tmpfs", "/upper", "tmpfs", 0, "size=128m");
    mkdir("/upper/data", 0755);
    mkdir("/upper/work", 0755);
    mount_or_die("overlay", "/root", "overlay", 0, "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work");
    mount_or_die("proc", "/root/proc", "proc", 0, NULL);
    mount_or_die("sysfs", "/root/sys", "sysfs", 0, NULL);
    mount_or_die("devtmpfs", "/root/dev", "devtmpfs", 0, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(port, 1) < 0 || chroot("/root") < 0 || chdir("/") < 0)
            die("/root");
        execl("/bin/echo", "/bin/echo", "hello", (char *)NULL);
        die("/bin/echo");
    }
    waitpid(pid, NULL, 0);
    sync();
    reboot(RB_POWER_OFF);
    return 1;
}
