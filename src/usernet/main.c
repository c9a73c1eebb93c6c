/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gvmkit-net: what usernet.h says. It is started by gvmkit only. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "usernet/stack.h"
#include "usernet/words.h"

/* All that can be open at once, with some to spare: what a turn brings too many, the resolver's, ours. */
#define FILES_MAX (STACK_SOCKETS_MAX + 2 * NET_PUBLISH_MAX + 256U)

static void say(const char *word, const char *text)
{
    char message[USERNET_MESSAGE_MAX];
    int n = snprintf(message, sizeof(message), "%s %s", word, text);
    if (n > 0)
        (void)!send(USERNET_CONTROL_FD, message, (size_t)n < sizeof(message) ? (size_t)n : sizeof(message) - 1,
                    MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void on_note(void *user, const char *text)
{
    (void)user;
    say("note", text);
}

/* Does what one message says. 1 = it was the last one. */
static int configure(struct stack_config *c, const char *message, struct gv_error *err)
{
    const char *space = strchr(message, ' '), *value = space ? space + 1 : "";
    size_t n = space ? (size_t)(space - message) : strlen(message);
    if (n == 5 && !memcmp(message, "start", n))
        return 1;
    if (n == 5 && !memcmp(message, "allow", n))
        return net_rules_add(&c->rules, value, err);
    if (n == 7 && !memcmp(message, "publish", n)) {
        struct net_publish p;
        if (net_publish_parse(&p, value, err) < 0)
            return -1;
        size_t ports = p.count;
        for (size_t i = 0; i < c->publish_count; i++)
            ports += c->publish[i].count;
        if (ports > NET_PUBLISH_MAX)
            return gv_error_set(err, GV_E_LIMIT, 0, "more than %u published ports", NET_PUBLISH_MAX);
        c->publish = gv_reallocarray(c->publish, c->publish_count + 1, sizeof(*c->publish));
        c->publish[c->publish_count++] = p;
        return 0;
    }
    if (n == 3 && !memcmp(message, "dns", n)) {
        if (c->server_count == NET_SERVERS_MAX)
            return gv_error_set(err, GV_E_LIMIT, 0, "more than %u resolvers", NET_SERVERS_MAX);
        return net_server_parse(&c->servers[c->server_count++], value, err);
    }
    return gv_error_set(err, GV_E_PROTOCOL, 0, "`%s` is no word of gvmkit-net", message);
}

/* Reads to the last word even after a bad one: an end with words unread would reset the socket, and the reason would be lost. */
static int read_config(struct stack_config *c, struct gv_error *err)
{
    int status = 0;
    for (;;) {
        char message[USERNET_MESSAGE_MAX];
        ssize_t n = recv(USERNET_CONTROL_FD, message, sizeof(message) - 1, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return gv_error_set(err, GV_E_DIED, n < 0 ? errno : 0, "gvmkit ended before gvmkit-net had begun");
        message[n] = '\0';
        int got = configure(c, message, status == 0 ? err : NULL);
        if (got > 0)
            return status;
        if (got < 0)
            status = -1;
    }
}

static int serve(struct stack_config *c, struct gv_error *err)
{
    struct stack *stack;
    if (read_config(c, err) < 0 || stack_new(&stack, c, err) < 0)
        return -1;
    say("ready", "");
    int got;
    do
        got = stack_turn(stack, USERNET_CONTROL_FD, err);
    while (got == 0);
    stack_free(stack);
    return got < 0 ? -1 : 0;
}

int main(void)
{
    struct gv_error err = GV_ERROR_INIT;
    struct stat st;
    if (fstat(USERNET_FRAMES_FD, &st) < 0 || !S_ISSOCK(st.st_mode) || fstat(USERNET_CONTROL_FD, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        fprintf(stderr, "gvmkit-net is a part of gvmkit, for `gvmkit run --net user`; it cannot be used by itself\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* libslirp writes to sockets whose peers are gone */
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FILES_MAX) {
        limit.rlim_cur = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    struct stack_config config = { .frames_fd = USERNET_FRAMES_FD, .note = on_note };
    int status = serve(&config, &err);
    if (status < 0)
        say("error", err.msg);
    net_rules_clear(&config.rules);
    free(config.publish);
    return status < 0;
}
