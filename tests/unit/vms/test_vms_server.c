/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Both ends of the socket: the caller is a fork, the owner a loop here. */
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state.h"

struct owner {
    uv_loop_t loop;
    struct vms_server *server;
    struct vms_entry *entry;
    unsigned requests, signals, gone, expected; /* it ends after so many requests are answered or gone */
};

static void maybe_end(struct owner *o)
{
    if (--o->expected == 0) {
        vms_server_close(o->server);
        o->server = NULL;
    }
}

/* exec: copies a line from its stdin to its stdout and exits with argc, unless argv[0] is "wait"; then it goes on until it is signalled. */
static void on_request(void *user, struct vms_conn *c, const struct vms_request *r, int fds[3])
{
    struct owner *o = user;
    o->requests++;
    vms_conn_set(c, o);
    if (r->op == VMS_EXEC && !strcmp(r->argv[0], "wait")) {
        vms_conn_answer(c, &(struct vms_answer){ .kind = VMS_STARTED });
        return;
    }
    struct vms_answer a = { .kind = VMS_DONE };
    if (r->op == VMS_EXEC) {
        char text[64];
        ssize_t n = read(fds[0], text, sizeof(text));
        assert_true(n > 0 && write(fds[1], text, (size_t)n) == n);
        a = (struct vms_answer){ .kind = VMS_EXITED };
        while (r->argv[a.status])
            a.status++;
    } else if (r->op == VMS_STATS) {
        a = (struct vms_answer){ .kind = VMS_STATS_ARE, .stats = { .memory = 4096 } };
    } else if (r->op == VMS_KILL) {
        a.kind = VMS_FAILED;
        gv_error_set(&a.error, GV_E_GUEST, 2, "not here");
    }
    vms_conn_answer(c, &a);
    maybe_end(o);
}

static void on_signal(void *user, struct vms_conn *c, int signal)
{
    struct owner *o = user;
    o->signals++;
    vms_conn_answer(c, &(struct vms_answer){ .kind = VMS_SIGNALLED, .status = signal });
    maybe_end(o);
}

static void on_resize(void *user, struct vms_conn *c, uint16_t rows, uint16_t columns)
{
    (void)user;
    (void)c;
    assert_int_equal(rows, 3);
    assert_int_equal(columns, 4);
}

static void on_gone(void *user, struct vms_conn *c)
{
    struct owner *o = user;
    assert_ptr_equal(vms_conn_get(c), o);
    o->gone++;
    maybe_end(o);
}

/* Serves `expected` callers, of whom caller() in a fork plays all; it returns what the fork exits with. */
static void serve(struct owner *o, unsigned expected, int (*caller)(void))
{
    static const struct vms_server_events events = { .request = on_request, .signal = on_signal, .resize = on_resize, .gone = on_gone };
    *o = (struct owner){ .expected = expected };
    assert_int_equal(uv_loop_init(&o->loop), 0);
    assert_int_equal(vms_entry_open(&o->entry, "web", NULL), 0);
    assert_int_equal(vms_server_open(&o->server, &o->loop, vms_entry_dir(o->entry), &events, o, NULL), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(caller());
    uv_run(&o->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&o->loop), 0);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    vms_entry_end(o->entry, 0, false);
}

#define CHECK(what)                                                                                                                        \
    if (!(what))                                                                                                                           \
    return __LINE__ & 127

static int call_all(void)
{
    int in[2], out[2];
    CHECK(pipe(in) == 0 && pipe(out) == 0 && write(in[1], "text\n", 5) == 5);
    const char *argv[] = { "a", "b", "c", NULL };
    const int fds[3] = { in[0], out[1], -1 };
    struct vms_outcome result;
    struct gv_error err = GV_ERROR_INIT;
    CHECK(vms_call("web", &(struct vms_request){ .op = VMS_EXEC, .argv = argv }, fds, &result, &err) == 0);
    char text[8];
    CHECK(result.status == 3 && !result.signalled && read(out[0], text, sizeof(text)) == 5);
    CHECK(vms_call("web", &(struct vms_request){ .op = VMS_STATS }, NULL, &result, &err) == 0 && result.stats.memory == 4096);
    CHECK(vms_call("web", &(struct vms_request){ .op = VMS_KILL, .signal = 9 }, NULL, &result, &err) < 0);
    CHECK(err.code == GV_E_GUEST && err.sys == 2 && !strcmp(err.msg, "not here: No such file or directory"));
    CHECK(vms_call("other", &(struct vms_request){ .op = VMS_STATS }, NULL, &result, &err) < 0 && err.code == GV_E_NOT_FOUND);

    const char *wait[] = { "wait", NULL };
    struct vms_call *c;
    CHECK(vms_call_start(&c, "web", &(struct vms_request){ .op = VMS_EXEC, .argv = wait }, NULL, &err) == 0);
    vms_call_resize(c, 3, 4);
    vms_call_signal(c, SIGTERM);
    CHECK(vms_call_wait(c, &result, &err) == 0 && result.signalled && result.status == SIGTERM);
    /* Whoever goes away is noticed. */
    CHECK(vms_call_start(&c, "web", &(struct vms_request){ .op = VMS_EXEC, .argv = wait }, NULL, &err) == 0);
    vms_call_close(c);
    return 0;
}

static void test_calls(void **state)
{
    (void)state;
    struct owner o;
    serve(&o, 5, call_all);
    assert_int_equal(o.requests, 5);
    assert_int_equal(o.signals, 1);
    assert_int_equal(o.gone, 1);
}

/* The flags of what was passed are as they were, even if the owner had to change them. */
static int call_flags(void)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    const char *argv[] = { "wait", NULL };
    struct vms_call *c;
    CHECK(vms_call_start(&c, "web", &(struct vms_request){ .op = VMS_EXEC, .argv = argv }, (const int[3]){ pair[0], -1, -1 }, NULL) == 0);
    CHECK(fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK) == 0);
    vms_call_close(c);
    CHECK(!(fcntl(pair[0], F_GETFL) & O_NONBLOCK));
    return 0;
}

static void test_flags(void **state)
{
    (void)state;
    struct owner o;
    serve(&o, 1, call_flags);
    assert_int_equal(o.gone, 1);
}

static int caller_socket(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/gvmkit/vms/web/socket", getenv("XDG_STATE_HOME"));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0 ? fd : -1;
}

/* More callers than are served at once, most of whom say half a line: those who hang up make room, and a line may come byte by byte. */
static int call_slowly(void)
{
    enum { CALLERS = 100 };
    int fds[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        fds[i] = caller_socket();
        CHECK(fds[i] >= 0 && write(fds[i], "{\"op\":", 6) == 6);
    }
    for (int i = 0; i < CALLERS - 1; i++)
        close(fds[i]);
    for (const char *c = "\"stats\"}\n"; *c; c++)
        CHECK(write(fds[CALLERS - 1], c, 1) == 1);
    char answer[256];
    CHECK(read(fds[CALLERS - 1], answer, sizeof(answer)) > 0 && strstr(answer, "stats"));
    return 0;
}

static void test_slow(void **state)
{
    (void)state;
    struct owner o;
    serve(&o, 1, call_slowly);
    assert_int_equal(o.requests, 1);
    assert_int_equal(o.gone, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_calls, state_make, state_remove),
                                        cmocka_unit_test_setup_teardown(test_flags, state_make, state_remove),
                                        cmocka_unit_test_setup_teardown(test_slow, state_make, state_remove) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
