/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A detached VM belongs to a fork of us with a session of its own. It says over a socket pair how the start went, and its starter's end before that is its end, too: so
 * an interrupted `run -d` leaves nothing. Until the start its warnings go to the user's stderr.
 */
#include "cli/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* What the fork says. */
struct report {
    bool started;
    int status;
    struct gv_error error; /* without a code when there is nothing to say */
};

struct child {
    int fd;
    bool told;
};

static void tell(struct child *c, const struct report *r)
{
    if (!c->told)
        (void)!send(c->fd, r, sizeof(*r), MSG_NOSIGNAL);
    c->told = true;
}

static void put_null(int fd)
{
    cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0)
        dup2(null, fd);
}

static void on_started(void *user)
{
    put_null(STDERR_FILENO);
    tell(user, &(struct report){ .started = true });
}

static int run_child(struct session_options *o, struct session_named *named, int fd, int *status)
{
    struct gv_error err = GV_ERROR_INIT;
    struct child c = { .fd = fd };
    setsid();
    put_null(STDIN_FILENO);
    put_null(STDOUT_FILENO);
    named->launcher = fd;
    named->started = on_started;
    named->user = &c;
    struct report r = { 0 };
    if (session_run(o, status, &err) < 0)
        r.error = err;
    r.status = *status;
    tell(&c, &r);
    return 0;
}

/* What the fork says, or its end without a word. */
static int wait_for_start(int fd, pid_t pid, int *status, struct gv_error *err)
{
    struct report r;
    ssize_t n;
    do
        n = recv(fd, &r, sizeof(r), 0);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof(r) && r.started) {
        *status = 0;
        return 0;
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    *status = SESSION_FAILED;
    if (n != (ssize_t)sizeof(r))
        return gv_error_set(err, GV_E_DIED, 0, "the process that was to run the VM has died");
    *status = r.status;
    if (err)
        *err = r.error;
    return r.error.code == GV_OK ? 0 : -1;
}

static int detach(struct session_options *o, struct session_named *named, char **name, int *status, struct gv_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        vms_entry_end(named->entry, SESSION_FAILED, false);
        return gv_error_errno(err, "cannot make a socket pair");
    }
    cleanup_close int ours = pair[0], theirs = pair[1];
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        vms_entry_end(named->entry, SESSION_FAILED, false);
        return gv_error_errno(err, "cannot start a process");
    }
    if (pid == 0) {
        close(steal_fd(&ours));
        return run_child(o, named, theirs, status);
    }
    close(steal_fd(&theirs));
    cleanup_free char *text = gv_strdup(vms_entry_name(named->entry));
    vms_entry_forget(named->entry);
    if (wait_for_start(ours, pid, status, err) < 0)
        return -1;
    if (*status == 0)
        *name = steal_ptr(text);
    return 0;
}

/* An image of the store is called by its hash. */
static bool hash_of(const char *path, char hash[GV_SHA3_224_HEX])
{
    unsigned char bytes[GV_SHA3_224_SIZE];
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    if (strlen(base) < GV_SHA3_224_HEX || strcmp(base + GV_SHA3_224_HEX - 1, ".gvmi") != 0)
        return false;
    memcpy(hash, base, GV_SHA3_224_HEX - 1);
    hash[GV_SHA3_224_HEX - 1] = '\0';
    return gv_unhex(bytes, sizeof(bytes), hash) == 0;
}

int launch_run(const struct launch *launch, struct session_options *options, char **name, int *status, struct gv_error *err)
{
    char hash[GV_SHA3_224_HEX];
    struct session_named named = { .image = launch->word, .stop_signal = SIGTERM, .detached = launch->detach, .launcher = -1 };
    const char *stop = options->config->stop_signal;
    *name = NULL;
    *status = SESSION_FAILED;
    if (stop && cli_signal(stop, &named.stop_signal, NULL) < 0)
        gv_warn(options->log, "the image's stop signal `%s` is unknown; SIGTERM is taken", stop);
    named.hash = hash_of(options->image, hash) ? hash : NULL;
    if (vms_entry_open(&named.entry, launch->name, err) < 0)
        return -1;
    options->named = &named;
    int result = launch->detach ? detach(options, &named, name, status, err) : session_run(options, status, err);
    options->named = NULL;
    return result;
}
