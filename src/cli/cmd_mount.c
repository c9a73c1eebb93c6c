/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Mounting is left to squashfuse, which takes a .gvmi as it is: the metadata is behind the end of the squashfs. We look at the image first, for our
 * messages are better, and at the mount point afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cli/image.h"
#include "cli/look.h"

extern char **environ;

struct mount_args {
    bool foreground, unmount, json;
};

static const struct cli_option options[] = {
    { "foreground", 'f', NULL, "stay until DIR is unmounted; Ctrl-C unmounts it" },
    { "unmount", 'u', NULL, "unmount DIR instead" },
    { "json", 0, NULL, "print the result as JSON" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)value;
    (void)err;
    struct mount_args *a = user;
    *(!strcmp(name, "foreground") ? &a->foreground : !strcmp(name, "unmount") ? &a->unmount : &a->json) = true;
    return 0;
}

/* Whether there is a program of that name in PATH. */
static bool have(const char *program)
{
    const char *path = getenv("PATH");
    if (!path || !*path)
        path = "/usr/local/bin:/usr/bin:/bin";
    while (*path) {
        size_t n = strcspn(path, ":");
        cleanup_free char *file = gv_asprintf("%.*s/%s", (int)n, path, program);
        if (n > 0 && access(file, X_OK) == 0)
            return true;
        path += n + (path[n] == ':');
    }
    return false;
}

/* Runs a program to its end. What it says on stderr, if caught is given, is kept for a message instead of being shown. Returns its wait status, or -1. */
static int run_program(char *const argv[], struct gv_buf *caught, struct gv_error *err)
{
    int pipe_fds[2] = { -1, -1 };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t defaults;
    if (caught && pipe2(pipe_fds, O_CLOEXEC) < 0)
        return gv_error_errno(err, "cannot make a pipe");
    posix_spawn_file_actions_init(&actions);
    if (caught)
        posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDERR_FILENO);
    posix_spawnattr_init(&attr);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGINT);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    pid_t pid;
    int sys = posix_spawnp(&pid, argv[0], &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    if (caught)
        close(pipe_fds[1]);
    cleanup_close int said = pipe_fds[0];
    if (sys != 0)
        return gv_error_set(err, GV_E_IO, sys, "cannot run %s", argv[0]);
    if (caught) {
        /* The end comes with the program's, or when it goes into the background and closes its stderr. */
        char piece[512];
        ssize_t n;
        while ((n = read(said, piece, sizeof(piece))) > 0 || (n < 0 && errno == EINTR))
            if (n > 0 && caught->len < 4096)
                gv_buf_add(caught, piece, (size_t)n);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return gv_error_errno(err, "cannot wait for %s", argv[0]);
    return status;
}

/* The last line that a program said, as the reason of its failure to do `what`. */
static int program_failed(const char *program, const char *what, const char *name, struct gv_buf *caught, struct gv_error *err)
{
    char *text = gv_buf_str(caught);
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] == '\n')
        text[--n] = '\0';
    const char *line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    return gv_error_set(err, GV_E_IO, 0, "cannot %s `%s`: %s failed%s%s", what, name, program, *line ? ": " : "", line);
}

/* posix_spawn wants arguments that could be changed, and does not change them. */
static char *constant(const char *s)
{
    return (char *)(uintptr_t)s;
}

/* A name as an argument that cannot be taken for an option. */
static char *operand(const char *path)
{
    return gv_asprintf("%s%s", path[0] == '-' ? "./" : "", path);
}

static int unmount(const char *dir, struct gv_error *err)
{
    static const char *const programs[] = { "fusermount3", "fusermount", "umount" };
    cleanup_buf struct gv_buf caught = { 0 };
    const char *program = NULL;
    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]) && !program; i++)
        if (have(programs[i]))
            program = programs[i];
    if (!program)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no fusermount3; install the package fuse3");
    cleanup_free char *where = operand(dir);
    bool fuse = strcmp(program, "umount") != 0;
    char *argv[] = { constant(program), fuse ? constant("-u") : where, fuse ? where : NULL, NULL };
    int status = run_program(argv, &caught, err);
    if (status < 0)
        return -1;
    return status == 0 ? 0 : program_failed(program, "unmount", dir, &caught, err);
}

static int is_mounted(const char *dir)
{
    cleanup_free char *above = gv_asprintf("%s/..", dir);
    struct stat st, up;
    return stat(dir, &st) == 0 && stat(above, &up) == 0 && st.st_dev != up.st_dev;
}

static int check_dir(const char *dir, struct gv_error *err)
{
    struct stat st;
    if (stat(dir, &st) < 0)
        return gv_error_errno(err, "cannot mount at `%s`", dir);
    if (!S_ISDIR(st.st_mode))
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a directory", dir);
    if (is_mounted(dir))
        return gv_error_set(err, GV_E_EXISTS, 0, "something is mounted at `%s` already", dir);
    return 0;
}

static int mount_image(const char *word, const char *dir, bool foreground, struct gv_error *err)
{
    cleanup_cli_image struct cli_image found = CLI_IMAGE_INIT;
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    if (cli_image_open(&found, &img, word, err) < 0 || check_dir(dir, err) < 0)
        return -1;
    const char *image = found.path;
    const char *program = have("squashfuse_ll") ? "squashfuse_ll" : "squashfuse";
    if (!have(program))
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no squashfuse; install the packages squashfuse and fuse3");
    cleanup_buf struct gv_buf caught = { 0 };
    cleanup_free char *from = operand(image), *to = operand(dir);
    char *argv[8];
    size_t n = 0;
    argv[n++] = constant(program);
    if (foreground)
        argv[n++] = constant("-f");
    argv[n++] = constant("-o");
    argv[n++] = constant("ro,nosuid,nodev");
    argv[n++] = from;
    argv[n++] = to;
    argv[n] = NULL;
    /* Ctrl-C is for squashfuse, which then unmounts; we tell how that went. */
    if (foreground)
        signal(SIGINT, SIG_IGN);
    int status = run_program(argv, foreground ? NULL : &caught, err);
    if (status < 0)
        return -1;
    if (status != 0)
        return program_failed(program, "mount", image, &caught, err);
    if (!foreground && !is_mounted(dir))
        return gv_error_set(err, GV_E_IO, 0, "%s says that it has mounted `%s`, but nothing is at `%s`", program, image, dir);
    return 0;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct mount_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (a.unmount ? argc - at != 1 : argc - at != 2)
        return cli_usage(self, a.unmount ? "say which directory to unmount" : "say which image to mount, and at which directory");
    struct gv_error err = GV_ERROR_INIT;
    const char *dir = argv[argc - 1];
    if (a.unmount ? unmount(dir, &err) < 0 : mount_image(argv[at], dir, a.foreground, &err) < 0)
        return cli_fail(&err);
    if (a.json) {
        json_t *o = json_object();
        look_json_bytes(o, "directory", dir);
        if (!a.unmount)
            look_json_bytes(o, "file", argv[at]);
        json_object_set_new(o, "mounted", json_boolean(!a.unmount && !a.foreground));
        look_json_print(o);
    } else if (!a.unmount && !a.foreground) {
        cli_print_clean(stdout, dir);
        fputs(" shows ", stdout);
        cli_print_clean(stdout, argv[at]);
        fputs("; `gvmkit mount --unmount ", stdout);
        cli_print_clean(stdout, dir);
        fputs("` ends it\n", stdout);
    }
    return CLI_OK;
}

const struct cli_command cmd_mount = {
    .name = "mount",
    .synopsis = "[OPTIONS] IMAGE DIR | --unmount DIR",
    .summary = "Show the files of a .gvmi at a directory, through squashfuse",
    .details = "Needs squashfuse and fuse3, but not root. squashfuse reads the image then, not gvmkit: do not mount images that you\n"
               "do not trust; `ls`, `cat` and `extract` are for those.",
    .example = "  gvmkit mount hello.gvmi /mnt\n"
               "  gvmkit mount --unmount /mnt",
    .options = options,
    .run = run,
};
