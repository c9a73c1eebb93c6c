/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From a RUN to execve.
 *
 * A process of the payload's PID namespace is visible to hostile root there from its first instant, and may be traced before it has
 * reached execve. So what becomes visible must have nothing to steal. The fork therefore takes two steps:
 *
 *   1. A child that shares the agent's memory, as after vfork (the agent sleeps, nothing is copied). Still in the agent's PID namespace, and
 *      so out of sight, it joins the payload's namespaces, which also moves its root directory there, and closes every descriptor
 *      but the program's own.
 *   2. Its own fork, with memory of its own now, is the first to live in the payload's PID namespace. CLONE_PARENT makes it the agent's child,
 *      so that the agent gets its exit status itself. It finds the user, sets everything, and becomes the program. Whatever hangs
 *      there (a working directory on a dead FUSE mount) hangs nobody else. A builtin is done in this process, without another program.
 *
 * Step 1 does nothing that could block. Nothing is read from the image before step 2.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "guest/agent/agent.h"
#include "guest/agent/sys.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

#define SPAWN_STACK 131072U
#define SPAWN_FDS_MAX 8U
#define SPAWN_REPORT 3 /* the descriptor of the report pipe in the child */
#define SPAWN_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define SPAWN_NOFILE_SOFT 1024U
#define SPAWN_NOFILE_HARD 524288U

/* ---- the two steps ----------------------------------------------------------------------------------------------------------------- */

struct steps {
    const struct agent *agent;
    bool fresh;
    const int *fd;
    unsigned count;
    void (*child)(void *);
    void *arguments;
    pid_t pid;
    int error;
};

static int step_descriptors(const struct steps *s)
{
    int at[SPAWN_FDS_MAX];
    for (unsigned i = 0; i < s->count; i++) {
        /* Out of the way of the numbers that are about to be given. */
        at[i] = s->fd[i] < (int)SPAWN_FDS_MAX ? fcntl(s->fd[i], F_DUPFD, SPAWN_FDS_MAX) : s->fd[i];
        if (at[i] < 0)
            return -1;
    }
    for (unsigned i = 0; i < s->count; i++)
        if (dup2(at[i], (int)i) < 0)
            return -1;
    return sys_close_range(s->count);
}

/* Runs in the agent's memory. Changes nothing there but *s and errno. */
static int step_one(void *arguments)
{
    struct steps *s = arguments;
    int init = s->agent->payload.init_fd;
    s->error = 0;
    s->pid = -1;
    int entered = s->fresh ? unshare(CLONE_NEWPID) : init >= 0 ? setns(init, CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID) : 0;
    if (entered == 0 && step_descriptors(s) == 0)
        s->pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (s->pid == 0) {
        s->child(s->arguments);
        syscall(SYS_exit_group, 127);
    }
    if (s->pid < 0)
        s->error = errno;
    syscall(SYS_exit_group, 0);
    return 0;
}

pid_t spawn_fork(struct agent *a, bool fresh, const int *fd, unsigned count, void (*child)(void *), void *arguments)
{
    /* The child's own copy goes on using it, so it is as large as a main thread's deepest call needs; untouched pages cost nothing. */
    static uint8_t stack[SPAWN_STACK] __attribute__((aligned(64)));
    struct steps s = { .agent = a, .fresh = fresh, .fd = fd, .count = count, .child = child, .arguments = arguments };
    pid_t first = clone(step_one, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, &s);
    if (first < 0)
        return -1;
    while (waitpid(first, NULL, __WALL) < 0 && errno == EINTR)
        continue;
    if (s.pid < 0)
        errno = s.error;
    return s.pid;
}

/* ---- in the child: who and how ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    int resource;
} limits[] = {
    { "as", RLIMIT_AS },           { "core", RLIMIT_CORE },         { "cpu", RLIMIT_CPU },
    { "data", RLIMIT_DATA },       { "fsize", RLIMIT_FSIZE },       { "locks", RLIMIT_LOCKS },
    { "memlock", RLIMIT_MEMLOCK }, { "msgqueue", RLIMIT_MSGQUEUE }, { "nice", RLIMIT_NICE },
    { "nofile", RLIMIT_NOFILE },   { "nproc", RLIMIT_NPROC },       { "rss", RLIMIT_RSS },
    { "rtprio", RLIMIT_RTPRIO },   { "rttime", RLIMIT_RTTIME },     { "sigpending", RLIMIT_SIGPENDING },
    { "stack", RLIMIT_STACK },
};

/* A decimal number or "-", and the space or end after it. */
static bool limit_number(const char **at, rlim_t *v)
{
    while (**at == ' ')
        (*at)++;
    if (**at == '-') {
        (*at)++;
        *v = RLIM_INFINITY;
    } else {
        char *end;
        if (**at < '0' || **at > '9')
            return false;
        errno = 0;
        *v = strtoull(*at, &end, 10);
        if (errno)
            return false;
        *at = end;
    }
    return **at == ' ' || **at == '\0';
}

static int limit_set(const char *text, struct report *r)
{
    const char *name = strncasecmp(text, "RLIMIT_", 7) == 0 ? text + 7 : text;
    const char *at = strchr(name, ' ');
    struct rlimit limit;
    if (!at)
        return report_set(r, EINVAL, "limit '%s': not of the form RESOURCE SOFT HARD", text);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        if (strlen(limits[i].name) != (size_t)(at - name) || strncasecmp(limits[i].name, name, (size_t)(at - name)) != 0)
            continue;
        if (!limit_number(&at, &limit.rlim_cur) || !limit_number(&at, &limit.rlim_max) || *at)
            return report_set(r, EINVAL, "limit '%s': not of the form RESOURCE SOFT HARD", text);
        if (sys_setrlimit(limits[i].resource, &limit) < 0)
            return report_set(r, errno, "limit '%s'", text);
        return 0;
    }
    return report_set(r, EINVAL, "limit '%s': no such resource", text);
}

static int child_limits(const struct run *run, struct report *r)
{
    /* What the agent has raised for itself is not for its children. Whoever may not set this keeps what he has. */
    struct rlimit files = { SPAWN_NOFILE_SOFT, SPAWN_NOFILE_HARD };
    setrlimit(RLIMIT_NOFILE, &files);
    for (size_t i = 0; i < run->rlimits.n; i++)
        if (limit_set(run->rlimits.v[i], r) < 0)
            return -1;
    return 0;
}

static int child_directory(const struct run *run, struct report *r)
{
    if (chdir(run->cwd) == 0)
        return 0;
    if (errno != ENOENT || !run->cwd_create)
        return report_set(r, errno, "working directory '%s'", run->cwd);
    int fd = files_make_path(run->cwd, r);
    if (fd < 0)
        return -1;
    int done = fchdir(fd);
    close(fd);
    return done < 0 ? report_set(r, errno, "working directory '%s'", run->cwd) : 0;
}

/* So that a program without privilege can open /dev/stdout and its terminal again. */
static void child_give_streams(const struct user *u)
{
    for (int fd = 0; fd < 3; fd++) {
        struct stat st;
        if (fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || isatty(fd)))
            if (fchown(fd, u->uid, (gid_t)-1) < 0)
                return;
    }
}

static int child_become(const struct run *run, struct user *u, struct report *r)
{
    for (size_t i = 0; i < run->groups.n; i++) {
        if (u->group_count == USER_GROUPS_MAX)
            return report_set(r, EINVAL, "more than %u groups", USER_GROUPS_MAX);
        u->groups[u->group_count++] = (gid_t)run->groups.v[i];
    }
    if (u->uid)
        child_give_streams(u);
    if (setgroups(u->group_count, u->groups) == 0 && setresgid(u->gid, u->gid, u->gid) == 0 && setresuid(u->uid, u->uid, u->uid) == 0)
        return 0;
    /* An agent that is not root (in the test bench) can at least be itself. */
    if (errno == EPERM && u->uid == geteuid())
        return 0;
    return report_set(r, errno, "becoming user %u, group %u", u->uid, u->gid);
}

static bool env_has(const struct text_list *env, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < env->n; i++)
        if (strncmp(env->v[i], name, n) == 0 && env->v[i][n] == '=')
            return true;
    return false;
}

static const char *env_path(const struct text_list *env)
{
    for (size_t i = 0; i < env->n; i++)
        if (strncmp(env->v[i], "PATH=", 5) == 0)
            return env->v[i] + 5;
    return SPAWN_PATH;
}

/* ---- in the child: the program ------------------------------------------------------------------------------------------------------ */

static int program_failed(const char *path, int error, struct report *r)
{
    if (error == ENOENT && access(path, F_OK) == 0)
        return report_set(r, error, "program '%s': its interpreter does not exist", path);
    if (error == ENOEXEC)
        return report_set(r, error, "program '%s': neither a program for this machine nor a script with #!", path);
    return report_set(r, error, "program '%s'", path);
}

/* Comes back only when the program could not be started. */
static int program_search(const struct run *run, char *const *argv, char *const *env, struct report *r)
{
    char path[AGENT_PATH_MAX];
    const char *at = env_path(&run->env);
    bool denied = false;
    for (;;) {
        const char *end = strchrnul(at, ':');
        int n = end == at ? snprintf(path, sizeof(path), "./%s", run->path)
                          : snprintf(path, sizeof(path), "%.*s/%s", (int)(end - at), at, run->path);
        if (n > 0 && (size_t)n < sizeof(path)) {
            execve(path, argv, env);
            if (errno == EACCES)
                denied = true;
            else if (errno == ENOENT ? access(path, F_OK) == 0 : errno != ENOTDIR && errno != ELOOP && errno != ENAMETOOLONG)
                return program_failed(path, errno == ENOENT || errno == 0 ? ENOENT : errno, r);
        }
        if (!*end)
            break;
        at = end + 1;
    }
    if (denied)
        return report_set(r, EACCES, "program '%s': found in PATH, but it may not be executed", run->path);
    return report_set(r, ENOENT, "program '%s': not found in PATH '%.120s'", run->path, env_path(&run->env));
}

static int program_start(const struct run *run, char *const *argv, char *const *env, struct report *r)
{
    if (!strchr(run->path, '/'))
        return program_search(run, argv, env, r);
    execve(run->path, argv, env);
    return program_failed(run->path, errno, r);
}

struct run_child {
    const struct run *run;
    char **argv, **env; /* with room for two more variables */
};

static void child_environment(const struct run_child *c, const struct user *u, char *home, size_t size)
{
    size_t n = c->run->env.n;
    static char term[] = "TERM=xterm";
    if (!c->run->default_env)
        return;
    if (!env_has(&c->run->env, "HOME")) {
        snprintf(home, size, "HOME=%s", u->home);
        c->env[n++] = home;
    }
    if (c->run->terminal && !env_has(&c->run->env, "TERM"))
        c->env[n++] = term;
    c->env[n] = NULL;
}

static void child_unblock(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Does not come back. (A sanitizer must not be told so: it knows nothing of this stack.) */
static int child_builtin(const struct run *run)
{
    umask(0);
    child_unblock();
    close(SPAWN_REPORT); /* it has started */
    syscall(SYS_exit_group, builtin_main(run));
    return -1;
}

static int run_child_try(const struct run_child *c, struct report *r)
{
    const struct run *run = c->run;
    struct user user;
    char home[sizeof("HOME=") + AGENT_PATH_MAX];
    setsid();
    if (run->builtin)
        return child_builtin(run);
    if (run->terminal && ioctl(0, TIOCSCTTY, 0) < 0)
        return report_set(r, errno, "terminal");
    umask(022);
    if (user_load(&user, run->user, r) < 0 || child_limits(run, r) < 0 || child_directory(run, r) < 0 || child_become(run, &user, r) < 0)
        return -1;
    child_environment(c, &user, home, sizeof(home));
    child_unblock();
    return program_start(run, c->argv, c->env, r);
}

static void run_child(void *arguments)
{
    struct report r = { 0 };
    fcntl(SPAWN_REPORT, F_SETFD, FD_CLOEXEC);
    run_child_try(arguments, &r);
    if (write(SPAWN_REPORT, &r, sizeof(r)) < 0)
        return;
}

/* ---- in the agent ------------------------------------------------------------------------------------------------------------------ */

static int pipe_open(int *mine, int *theirs, bool reading)
{
    int fd[2];
    if (pipe2(fd, O_CLOEXEC) < 0)
        return -1;
    *mine = fd[!reading];
    *theirs = fd[reading];
    return fcntl(*mine, F_SETFL, O_NONBLOCK);
}

static int terminal_open(const struct agent *a, const struct run *run, struct spawn_ends *ends, int theirs[4])
{
    int unlock = 0;
    struct winsize size = { .ws_row = (unsigned short)run->rows, .ws_col = (unsigned short)run->columns };
    /* Nothing that root of the payload may have put there: neither a link nor another mount. */
    int master = sys_openat2(a->payload.terminals, "ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
                             SYS_RESOLVE_NO_SYMLINKS | SYS_RESOLVE_NO_XDEV);
    if (master < 0)
        return -1;
    ends->output[0] = master;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCSWINSZ, &size) < 0)
        return -1;
    theirs[0] = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (theirs[0] < 0)
        return -1;
    theirs[1] = fcntl(theirs[0], F_DUPFD_CLOEXEC, 3);
    theirs[2] = fcntl(theirs[0], F_DUPFD_CLOEXEC, 3);
    ends->input = run->input == WIRE_STDIN_PIPE ? fcntl(master, F_DUPFD_CLOEXEC, 3) : -1;
    return theirs[1] < 0 || theirs[2] < 0 || (run->input == WIRE_STDIN_PIPE && ends->input < 0) ? -1 : 0;
}

static int ends_open(const struct agent *a, const struct run *run, struct spawn_ends *ends, int theirs[4])
{
    if (pipe_open(&ends->report, &theirs[SPAWN_REPORT], true) < 0)
        return -1;
    if (run->terminal)
        return terminal_open(a, run, ends, theirs);
    if (run->input == WIRE_STDIN_PIPE ? pipe_open(&ends->input, &theirs[0], false) < 0
                                      : (theirs[0] = fcntl(a->payload.null, F_DUPFD_CLOEXEC, 3)) < 0)
        return -1;
    return pipe_open(&ends->output[0], &theirs[1], true) < 0 || pipe_open(&ends->output[1], &theirs[2], true) < 0 ? -1 : 0;
}

static void close_all(int *fd, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fd[i] >= 0)
            close(steal_fd(&fd[i]));
}

static char **vector_copy(const struct text_list *l, size_t more)
{
    char **v = calloc(l->n + more + 1, sizeof(*v));
    /* execve wants char *, and writes to none. */
    for (size_t i = 0; v && i < l->n; i++)
        v[i] = (char *)(uintptr_t)l->v[i];
    return v;
}

int spawn_run(struct agent *a, const struct run *run, pid_t *pid, struct spawn_ends *ends, struct report *r)
{
    int theirs[4] = { -1, -1, -1, -1 };
    channel_trim(a);
    cleanup_free char **argv = vector_copy(&run->argv, 0);
    cleanup_free char **env = vector_copy(&run->env, 2);
    struct run_child c = { .run = run, .argv = argv, .env = env };
    const char *what = "no memory for a process";
    *pid = -1;
    errno = ENOMEM;
    if (argv && env) {
        what = run->terminal ? "no terminal for a process" : "no pipes for a process";
        if (ends_open(a, run, ends, theirs) == 0) {
            what = "fork";
            *pid = spawn_fork(a, false, theirs, 4, run_child, &c);
        }
    }
    int error = errno;
    close_all(theirs, 4);
    if (*pid >= 0)
        return 0;
    close_all(&ends->report, 1);
    close_all(&ends->input, 1);
    close_all(ends->output, 2);
    return report_set(r, error, "%s", what);
}
