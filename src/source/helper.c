/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Credential helpers (github.com/docker/docker-credential-helpers): `docker-credential-NAME get` reads the registry's name from its
 * standard input and answers with a JSON object, or with a message and a status. The program gets our environment, no descriptor but the
 * three, half a minute, and room for a short answer.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "source/archive.h"
#include "source/credentials.h"

#define ANSWER_MAX ((size_t)64 << 10)
#define DEADLINE_MS 30000
#define TOKEN_USER "<token>" /* the user name that says that the secret is an identity token */
#define UNKNOWN "credentials not found"

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* A file without a name that holds the question: a pipe could break, or fill. */
static int question(const char *host, struct gv_error *err)
{
    cleanup_close int fd = memfd_create("registry", MFD_CLOEXEC);
    if (fd < 0 || gv_write_full(fd, host, strlen(host)) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return gv_error_errno(err, "cannot make a file in memory");
    return steal_fd(&fd);
}

static int start(pid_t *pid, const char *program, int in, int out, struct gv_error *err)
{
    extern char **environ;
    char *argv[] = { gv_strdup(program), gv_strdup("get"), NULL };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int status = posix_spawnp(pid, program, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    free(argv[0]);
    free(argv[1]);
    return status ? gv_error_set(err, GV_E_IO, status, "cannot start `%s`", program) : 0;
}

/* Reads to the end, or to the deadline. */
static int read_answer(int fd, int64_t deadline, struct gv_buf *out, struct gv_error *err)
{
    for (;;) {
        int64_t left = deadline - now_ms();
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready < 0)
            return gv_error_errno(err, "cannot wait for its answer");
        if (ready == 0)
            return gv_error_set(err, GV_E_TIMEOUT, 0, "it has not answered in %d seconds", DEADLINE_MS / 1000);
        gv_buf_reserve(out, 4096);
        ssize_t n = read(fd, out->data + out->len, 4096);
        if (n < 0 && errno != EINTR)
            return gv_error_errno(err, "cannot read its answer");
        if (n == 0)
            return 0;
        if (n > 0)
            out->len += (size_t)n;
        if (out->len > ANSWER_MAX)
            return gv_error_set(err, GV_E_LIMIT, 0, "its answer is too long");
    }
}

/* Its status as of waitpid; what has not ended by the deadline is ended. */
static int await(pid_t pid, int64_t deadline)
{
    int status = 0;
    for (;;) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid)
            return status;
        if (got < 0 && errno != EINTR)
            return -1;
        if (now_ms() >= deadline)
            kill(pid, SIGKILL);
        nanosleep(&(struct timespec){ .tv_nsec = 2000000L }, NULL);
    }
}

int credentials_from_answer(struct credentials *out, const void *answer, size_t n, struct gv_error *err)
{
    cleanup_json json_t *j = json_parse(answer, n, err);
    if (!j)
        return -1;
    const char *user = json_string_of(j, "Username"), *secret = json_string_of(j, "Secret");
    if (!user || !secret)
        return gv_error_set(err, GV_E_FORMAT, 0, "an answer without Username and Secret");
    if (!*secret)
        return 0;
    if (!strcmp(user, TOKEN_USER)) {
        out->token = gv_strdup(secret);
    } else {
        out->user = gv_strdup(user);
        out->password = gv_strdup(secret);
    }
    return 1;
}

static int ask(struct credentials *out, const char *program, const char *host, struct gv_error *err)
{
    cleanup_close int in = question(host, err);
    int pipes[2];
    if (in < 0)
        return -1;
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return gv_error_errno(err, "cannot make a pipe");
    cleanup_close int from = pipes[0], to = pipes[1];
    pid_t pid;
    if (start(&pid, program, in, to, err) < 0)
        return -1;
    close(steal_fd(&to));
    cleanup_buf struct gv_buf answer = { 0 };
    int64_t deadline = now_ms() + DEADLINE_MS;
    int read_status = read_answer(from, deadline, &answer, err);
    int status = await(pid, read_status < 0 ? 0 : deadline);
    if (read_status < 0)
        return -1;
    const char *text = gv_buf_str(&answer);
    int got = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        got = credentials_from_answer(out, answer.data, answer.len, err);
    else if (!strstr(text, UNKNOWN))
        got = gv_error_set(err, GV_E_IO, 0, "it failed: %.*s", (int)strcspn(text, "\r\n"), text);
    explicit_bzero(answer.data, answer.len);
    return got;
}

int credentials_from_helper(struct credentials *out, const char *name, const char *host, struct gv_error *err)
{
    /* The name comes from a file and becomes that of a program: no way out of PATH. */
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
            return gv_error_set(err, GV_E_FORMAT, 0, "`%.100s` cannot be the name of a credential helper", name);
    cleanup_free char *program = gv_asprintf("docker-credential-%.100s", name);
    if (ask(out, program, credentials_is_hub(host) ? DOCKER_HUB_KEY : host, err) < 0)
        return gv_error_prefix(err, "`%s`", program);
    return out->user || out->token;
}
