/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A disk image with an ext4, made by mkfs.ext4 of e2fsprogs in a sparse file: it takes from the host what is written to it, and no more than its
 * size. It has a journal (where it is large enough for one), so that it survives the end of a VM at any moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#include "exeunit/deployment.h"

#define MKFS "mkfs.ext4"
#define OUTPUT_MAX 2000U

/* The program's path, for the caller to free. Ordinary users do not have its directory in PATH. */
static char *find_mkfs(void)
{
    static const char *const dirs[] = { "/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin" };
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        char *path = gv_asprintf("%s/" MKFS, dirs[i]);
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

/* What it says, without more than we want to keep. */
static void read_output(int fd, char *out, size_t size)
{
    char rest[512];
    size_t n = 0;
    for (;;) {
        bool room = n < size - 1;
        ssize_t got = read(fd, room ? out + n : rest, room ? size - 1 - n : sizeof(rest));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += room ? (size_t)got : 0;
    }
    out[n] = '\0';
}

static int run_mkfs(const char *mkfs, const char *file, const char *errors, struct gv_error *err)
{
    int out[2];
    if (pipe2(out, O_CLOEXEC) < 0)
        return gv_error_errno(err, "cannot make a pipe");
    cleanup_close int reading = out[0], writing = out[1];
    const char *const words[] = {
        mkfs, "-q", "-F", "-m", "0", "-b", "4096", "-e", errors, "-E", "nodiscard,assume_storage_prezeroed=1", "-O", "^resize_inode",
        file, NULL
    };
    char *env[] = { (char[]){ "LC_ALL=C" }, (char[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin" }, NULL };
    cleanup_strv struct gv_strv argv = { 0 };
    for (size_t i = 0; words[i]; i++)
        gv_strv_add(&argv, words[i]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, writing, 1);
    posix_spawn_file_actions_adddup2(&actions, writing, 2);
    pid_t pid;
    int sys = posix_spawn(&pid, mkfs, &actions, NULL, argv.items, env), status = 0;
    posix_spawn_file_actions_destroy(&actions);
    if (sys)
        return gv_error_set(err, GV_E_IO, sys, "cannot start `%s`", mkfs);
    close(steal_fd(&writing));
    char said[OUTPUT_MAX];
    read_output(reading, said, sizeof(said));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    /* Its last line is the reason. */
    size_t n = strlen(said);
    while (n > 0 && said[n - 1] == '\n')
        said[--n] = '\0';
    const char *last = strrchr(said, '\n');
    return gv_error_set(err, GV_E_IO, 0, "`%s` failed: %s", mkfs, last ? last + 1 : said);
}

int deployment_make_disk(const char *path, const struct deployment_volume *v, struct gv_error *err)
{
    cleanup_free char *mkfs = find_mkfs();
    if (!mkfs) {
        gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no " MKFS " for the storage volume `%s`", v->path);
        return gv_error_hint(err, "install it: apt-get install e2fsprogs");
    }
    cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return gv_error_errno(err, "cannot create `%s`", path);
    int status = 0;
    if (ftruncate(fd, (off_t)v->size) < 0)
        status = gv_error_errno(err, "cannot give `%s` its size", path);
    uint64_t taken = v->preallocate < v->size ? v->preallocate : v->size;
    if (status == 0 && taken > 0 && fallocate(fd, 0, 0, (off_t)taken) < 0 && errno != EOPNOTSUPP)
        status = gv_error_errno(err, "cannot reserve the space of the storage volume `%s`", v->path);
    if (status == 0)
        status = run_mkfs(mkfs, path, v->errors ? v->errors : "continue", err);
    if (status < 0)
        unlink(path);
    return status;
}
