/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A Dockerfile as a source: buildah, docker or podman builds it, and says the image's id in a file; then it exports the image by that id. Nothing is
 * given a name in the builder's store, so nothing there has to be cleaned up or could be somebody else's; the layers that it keeps are its cache,
 * by which an unchanged Dockerfile gives the same image again. The builder ends when we do, however that happens, and the directory for id and
 * export has a keeper (core/workdir.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "source/open.h"

#define BUILDER "GVMKIT_BUILDER"
#define ID_FILE "id"
#define IMAGE_FILE "image.tar"
#define ID_MAX 200

static void gv_cleanup_workdir_fn(struct gv_workdir **w)
{
    gv_workdir_remove(*w, NULL);
}

/* The program of that name in $PATH, or NULL; the caller frees it. */
static char *find_program(const char *name)
{
    const char *path = getenv("PATH");
    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? realpath(name, NULL) : NULL;
    for (const char *p = path ? path : "/usr/local/bin:/usr/bin:/bin"; *p;) {
        size_t n = strcspn(p, ":");
        cleanup_free char *file = gv_asprintf("%.*s/%s", (int)n, p, name);
        struct stat st;
        /* Relative directories in PATH would be others in the directory where it runs. */
        if (n && p[0] == '/' && access(file, X_OK) == 0 && stat(file, &st) == 0 && S_ISREG(st.st_mode))
            return steal_ptr(file);
        p += n + (p[n] == ':');
    }
    return NULL;
}

static int find_builder(char **out, struct gv_error *err)
{
    static const char *const known[] = { "buildah", "docker", "podman" };
    const char *wanted = getenv(BUILDER);
    if (wanted && *wanted) {
        *out = find_program(wanted);
        return *out ? 0 : gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no program `%.200s`, which " BUILDER " asks for", wanted);
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        *out = find_program(known[i]);
        if (*out)
            return 0;
    }
    gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no program that could build a Dockerfile");
    return gv_error_hint(err, "install buildah (`apt install buildah`) or Docker");
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Where the Dockerfile and its directory are, absolute. `given` may be either. */
static int find_dockerfile(const char *given, char **dir, char **file, struct gv_error *err)
{
    static const char *const names[] = { "Dockerfile", "Containerfile" };
    cleanup_free char *whole = realpath(given, NULL);
    struct stat st;
    if (!whole || stat(whole, &st) < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "cannot open it");
    if (!S_ISDIR(st.st_mode)) {
        *file = steal_ptr(whole);
        size_t n = (size_t)(base_name(*file) - *file);
        *dir = gv_strndup(*file, n > 1 ? n - 1 : n);
        return 0;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        cleanup_free char *path = gv_asprintf("%s/%s", whole, names[i]);
        if (access(path, R_OK) == 0) {
            *file = steal_ptr(path);
            *dir = steal_ptr(whole);
            return 0;
        }
    }
    return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no Dockerfile in it");
}

/* In the new process: everything as a program expects it, all it says on standard error. */
static _Noreturn void become(char *const *argv, const char *dir, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDONLY);
    bool ready = prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent && chdir(dir) == 0 && null >= 0 && dup2(null, 0) == 0 &&
                 dup2(2, 1) == 1;
    if (ready)
        execv(argv[0], argv);
    _exit(127);
}

/* Runs the program in dir to its end. */
static int run(char *const *argv, const char *dir, struct gv_error *err)
{
    const char *name = base_name(argv[0]);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become(argv, dir, parent);
    if (pid < 0)
        return gv_error_errno(err, "cannot start %s", name);
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return gv_error_errno(err, "cannot wait for %s", name);
    if (WIFSIGNALED(status))
        return gv_error_set(err, GV_E_DIED, 0, "`%s %s` was ended by the signal %s", name, argv[1], strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status) != 0)
        return gv_error_set(err, GV_E_DIED, 0, "`%s %s` failed with the status %d; it has said why above", name, argv[1],
                            WEXITSTATUS(status));
    return 0;
}

/* The platform to ask for; NULL when it is the builder's own anyway, about which some of them would complain. */
static char *platform_wanted(const struct source_context *c)
{
    struct utsname u;
    if (!c->options->platform && uname(&u) == 0 && !strcmp(u.machine, "x86_64"))
        return NULL;
    return platform_format(c->platform);
}

static int read_id(const char *work, char id[ID_MAX], struct gv_error *err)
{
    cleanup_free char *path = gv_asprintf("%s/" ID_FILE, work);
    cleanup_buf struct gv_buf b = { 0 };
    if (gv_read_file(path, ID_MAX - 1, &b, err) < 0)
        return -1;
    const char *text = gv_buf_str(&b);
    size_t n = strcspn(text, " \r\n");
    if (!n || strspn(text, "sha256:0123456789abcdef") < n)
        return gv_error_set(err, GV_E_PROTOCOL, 0, "the builder has not said which image it built");
    memcpy(id, text, n);
    id[n] = '\0';
    return 0;
}

/* Writes the image of the Dockerfile to IMAGE_FILE in work. */
static int build(const char *builder, const char *dir, const char *file, const char *work, const struct source_context *c,
                 struct gv_error *err)
{
    bool buildah = strncmp(base_name(builder), "buildah", 7) == 0;
    cleanup_free char *platform = platform_wanted(c);
    cleanup_strv struct gv_strv args = { 0 };
    const char *const begin[] = { builder, buildah ? "bud" : "build", "--iidfile", ID_FILE, "-f", file };
    for (size_t i = 0; i < sizeof(begin) / sizeof(*begin); i++)
        gv_strv_add(&args, begin[i]);
    if (buildah) {
        gv_strv_add(&args, "--layers");   /* keep them for the next time, */
        gv_strv_add(&args, "--force-rm"); /* but no container of a failure; both as the others do by themselves */
    }
    if (platform) {
        gv_strv_add(&args, "--platform");
        gv_strv_add(&args, platform);
    }
    gv_strv_add(&args, dir);
    if (run(args.items, work, err) < 0)
        return -1;

    char id[ID_MAX];
    if (read_id(work, id, err) < 0)
        return -1;
    char *const push[] = {
        (char *)(uintptr_t)builder, (char[]){ "push" }, (char[]){ "--quiet" }, id, (char[]){ "docker-archive:" IMAGE_FILE }, NULL
    };
    char *const save[] = { (char *)(uintptr_t)builder, (char[]){ "save" }, (char[]){ "-o" }, (char[]){ IMAGE_FILE }, id, NULL };
    return run(buildah ? push : save, work, err);
}

static int open_image(struct archive **out, const char *work, const struct source_context *c, struct gv_error *err)
{
    cleanup_free char *path = gv_asprintf("%s/" IMAGE_FILE, work);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return gv_error_errno(err, "the builder has not written an image");
    return archive_open_fd(out, fd, c->budget, c->threads, err);
}

int dockerfile_open(struct archive **out, const char *given, const struct source_context *c, struct gv_error *err)
{
    cleanup_free char *builder = NULL, *dir = NULL, *file = NULL;
    const char *tmp = getenv("TMPDIR");
    __attribute__((cleanup(gv_cleanup_workdir_fn))) struct gv_workdir *work = NULL;
    if (find_dockerfile(given, &dir, &file, err) < 0 || find_builder(&builder, err) < 0 ||
        gv_workdir_open(&work, tmp && *tmp ? tmp : "/var/tmp", "gvmkit-dockerfile", err) < 0)
        return gv_error_prefix(err, "`%s`", given);
    if (build(builder, dir, file, gv_workdir_path(work), c, err) < 0 || open_image(out, gv_workdir_path(work), c, err) < 0)
        return gv_error_prefix(err, "`%s`", given);
    return 0;
}
