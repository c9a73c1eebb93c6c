/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "usernet/usernet.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "jail/jail.h"
#include "usernet/rules.h"
#include "usernet/words.h"

#define START_MS 20000
#define RESOLV_CONF "/etc/resolv.conf"
#define RESOLV_CONF_MAX 65536U

struct usernet {
    pid_t pid;
    int wire, control;
    uv_poll_t poll;
    bool polling;
    const struct gv_log *log;
    usernet_died_fn died;
    void *user;
};

/* ---- what it is told --------------------------------------------------------------------------------------------------------------- */

static int tell(int fd, const char *word, const char *value, struct gv_error *err)
{
    char message[USERNET_MESSAGE_MAX];
    int n = snprintf(message, sizeof(message), "%s%s%s", word, *value ? " " : "", value);
    if (n < 0 || (size_t)n >= sizeof(message))
        return gv_error_set(err, GV_E_USAGE, 0, "`%.40s...` is too long", value);
    if (send(fd, message, (size_t)n, MSG_NOSIGNAL) < 0)
        return gv_error_errno(err, "gvmkit-net cannot be told its task");
    return 0;
}

static int tell_all(int fd, const char *word, const struct gv_strv *values, struct gv_error *err)
{
    for (size_t i = 0; values && i < values->count; i++)
        if (tell(fd, word, values->items[i], err) < 0)
            return -1;
    return 0;
}

/* The host's own resolvers. One that is reached by a link-local address is left out: such an address needs an interface. */
static void host_servers(struct gv_strv *out)
{
    cleanup_buf struct gv_buf file = { 0 };
    (void)!gv_read_file(RESOLV_CONF, RESOLV_CONF_MAX, &file, NULL); /* none is like an empty one */
    char *save, *text = gv_buf_str(&file);
    for (char *line = strtok_r(text, "\n", &save); line && out->count < NET_SERVERS_MAX; line = strtok_r(NULL, "\n", &save)) {
        struct net_server server;
        char *rest, *word = strtok_r(line, " \t\r", &rest), *value = word ? strtok_r(NULL, " \t\r", &rest) : NULL;
        if (value && !strcmp(word, "nameserver") && net_server_parse(&server, value, NULL) == 0)
            gv_strv_add(out, value);
    }
    if (out->count == 0)
        gv_strv_add(out, "127.0.0.1"); /* what resolv.conf(5) says of a file without any */
}

/* Waits for the answer. */
static int wait_ready(const struct usernet *u, struct gv_error *err)
{
    char message[USERNET_MESSAGE_MAX];
    struct pollfd p = { .fd = u->control, .events = POLLIN };
    int ready;
    do
        ready = poll(&p, 1, START_MS);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return gv_error_set(err, GV_E_TIMEOUT, 0, "gvmkit-net did not start within %d s", START_MS / 1000);
    ssize_t n = recv(u->control, message, sizeof(message) - 1, 0);
    if (n <= 0)
        return gv_error_set(err, GV_E_DIED, 0, "gvmkit-net ended at once");
    message[n] = '\0';
    if (!strncmp(message, "ready", 5))
        return 0;
    return gv_error_set(err, GV_E_IO, 0, "%s", !strncmp(message, "error ", 6) ? message + 6 : message);
}

/* ---- while it runs ----------------------------------------------------------------------------------------------------------------- */

static void on_message(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct usernet *u = poll->data;
    char message[USERNET_MESSAGE_MAX];
    ssize_t n = status < 0 ? 0 : recv(u->control, message, sizeof(message) - 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        message[n] = '\0';
        if (!strncmp(message, "note ", 5))
            gv_debug(u->log, "network: %s", message + 5);
        if (strncmp(message, "error ", 6) != 0)
            return;
    }
    uv_poll_stop(poll);
    struct gv_error why = GV_ERROR_INIT;
    gv_error_set(&why, GV_E_DIED, 0, "the network of the VM ended: %s", n > 0 ? message + 6 : "gvmkit-net was killed or has failed");
    u->died(u->user, &why);
}

static void finish(struct usernet *u)
{
    if (u->control >= 0)
        close(steal_fd(&u->control)); /* which is its end */
    usernet_wire_given(u);
    if (u->pid > 0) {
        kill(u->pid, SIGKILL); /* nothing in it is worth waiting for */
        while (waitpid(u->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    u->pid = -1;
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

void usernet_stop(struct usernet *u)
{
    if (!u)
        return;
    if (u->polling) {
        uv_poll_stop(&u->poll);
        finish(u);
        if (!uv_is_closing((uv_handle_t *)&u->poll))
            uv_close((uv_handle_t *)&u->poll, on_closed);
    } else {
        finish(u);
        free(u);
    }
}

int usernet_wire(const struct usernet *u)
{
    return u->wire;
}

void usernet_wire_given(struct usernet *u)
{
    if (u->wire >= 0)
        close(steal_fd(&u->wire));
}

/* In a jail that has the host's network and no file at all. */
static int start_program(struct usernet *u, bool require_jail, int frames, int control, struct gv_error *err)
{
    cleanup_free char *program = NULL;
    if (jail_find_program(USERNET_PROGRAM, USERNET_PROGRAM_ENV, &program, err) < 0)
        return -1;
    const char *const argv[] = { program, NULL };
    const struct jail_spec spec = {
        .profile = JAIL_PROFILE_NET,
        .measures = JAIL_ALL & ~JAIL_BIT(JAIL_NET),
        .required = require_jail,
        .argv = argv,
        .own_session = true, /* Ctrl-C on our terminal is for the guest's command */
        .stdio = { [USERNET_FRAMES_FD] = frames, [USERNET_CONTROL_FD] = control, [STDERR_FILENO] = -1 },
    };
    CLEANUP(jail) struct jail *jail = NULL;
    struct jail_result result;
    if (jail_new(&jail, &spec, err) < 0)
        return -1;
    if (jail_start(jail, &result) < 0)
        return jail_explain(jail, &result, err);
    u->pid = result.pid;
    jail_complain(&result, u->log);
    return 0;
}

static int begin(struct usernet *u, uv_loop_t *loop, const struct usernet_config *c, struct gv_error *err)
{
    int frames[2], control[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, frames) < 0)
        return gv_error_errno(err, "cannot make a socket pair");
    u->wire = frames[0];
    cleanup_close int frames_end = frames[1];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
        return gv_error_errno(err, "cannot make a socket pair");
    u->control = control[0];
    cleanup_close int control_end = control[1];

    if (start_program(u, c->require_jail, frames_end, control_end, err) < 0)
        return -1;
    close(steal_fd(&frames_end));
    close(steal_fd(&control_end)); /* else its end of file would never come */

    cleanup_strv struct gv_strv servers = { 0 };
    if (!c->dns || c->dns->count == 0)
        host_servers(&servers);
    if (tell_all(u->control, "allow", c->allow, err) < 0 || tell_all(u->control, "publish", c->publish, err) < 0 ||
        tell_all(u->control, "dns", servers.count ? &servers : c->dns, err) < 0 || tell(u->control, "start", "", err) < 0)
        return -1;
    if (wait_ready(u, err) < 0)
        return -1;
    int failed = uv_poll_init(loop, &u->poll, u->control);
    if (failed)
        return gv_error_set(err, GV_E_IO, -failed, "cannot watch gvmkit-net");
    u->poll.data = u;
    u->polling = true;
    uv_poll_start(&u->poll, UV_READABLE, on_message);
    return 0;
}

int usernet_start(struct usernet **out, uv_loop_t *loop, const struct usernet_config *config, usernet_died_fn died, void *user,
                  struct gv_error *err)
{
    struct usernet *u = gv_new(struct usernet);
    u->pid = u->wire = u->control = -1;
    u->log = config->log;
    u->died = died;
    u->user = user;
    if (begin(u, loop, config, err) < 0) {
        finish(u);
        free(u);
        return -1;
    }
    *out = u;
    return 0;
}
