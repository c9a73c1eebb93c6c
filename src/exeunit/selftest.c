/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * test. A real VM with a real image (selftest/, part of the installation), because nothing else tells whether a host can serve: a KVM that opens and
 * does not run, a broken installation, a full disk. We play the network that its card is connected to. The program in it says what it has found as JSON; what that must be is known here.
 */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "exeunit/exeunit.h"
#include "exeunit/selftest/echo.h"
#include "exeunit/selftest/selftest.h"

#define IMAGE "self-test.gvmi"
#define OUTPUT_MAX 65536U
#define FRAME_MAX 2048U
/* The kernel keeps some of the memory for itself. */
#define MEMORY_LEAST_PERCENT 75U

struct selftest {
    const struct exeunit_options *o;
    uv_loop_t loop;
    uv_timer_t timer;
    struct vm *vm;
    int wire; /* our end of the VM's network card, or -1 */
    uv_poll_t wire_poll;
    struct gv_buf said[3];
    bool exited;
    struct vm_exit exit;
    struct gv_error why;
};

static void fail(struct selftest *t, const struct gv_error *why)
{
    if (!t->why.code)
        t->why = *why;
}

static void fail_and_kill(struct selftest *t, const struct gv_error *err, const char *what)
{
    struct gv_error why = *err;
    gv_error_prefix(&why, "%s", what);
    fail(t, &why);
    vm_kill(t->vm);
}

static void on_started_failed(void *user, struct vm_process *p, const struct gv_error *err)
{
    struct selftest *t = user;
    (void)p;
    fail_and_kill(t, err, "the self-test's program does not run");
}

static void on_output(void *user, struct vm_process *p, int stream, const void *data, size_t n)
{
    struct selftest *t = user;
    struct gv_buf *b = &t->said[stream];
    gv_buf_add(b, data, n < OUTPUT_MAX - b->len ? n : OUTPUT_MAX - b->len);
    vm_process_consumed(p, stream, n);
}

static void on_exited(void *user, struct vm_process *p, const struct vm_exit *e)
{
    struct selftest *t = user;
    (void)p;
    t->exited = true;
    t->exit = *e;
    vm_shutdown(t->vm, 0);
}

static void on_networked(void *user, const struct gv_error *failed)
{
    static const struct vm_process_events events = { .failed = on_started_failed, .output = on_output, .exited = on_exited };
    static const char *const argv[] = { SELFTEST_PROGRAM, SELFTEST_VOLUME, NULL };
    const struct vm_process_spec spec = { .argv = argv };
    struct selftest *t = user;
    struct vm_process *p;
    struct gv_error err = GV_ERROR_INIT;
    if (failed)
        fail_and_kill(t, failed, "the network card of the VM does not work");
    else if (vm_process_start(&p, t->vm, &spec, &events, t, &err) < 0)
        on_started_failed(t, NULL, &err);
}

static void on_ready(void *user, struct vm *vm)
{
    static const char *const addresses[] = { SELFTEST_ADDRESS, NULL };
    const struct vm_net net = { .addresses = addresses };
    struct selftest *t = user;
    struct gv_error err = GV_ERROR_INIT;
    if (vm_net_configure(vm, &net, on_networked, t, &err) < 0)
        on_networked(t, &err);
}

static void on_frame(uv_poll_t *poll, int status, int events)
{
    struct selftest *t = poll->data;
    uint8_t frame[FRAME_MAX];
    (void)status, (void)events;
    ssize_t n = recv(t->wire, frame, sizeof(frame), MSG_DONTWAIT);
    if (n > 0 && selftest_echo(frame, (size_t)n))
        (void)!send(t->wire, frame, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL); /* the guest tries again */
}

static void end_handles(struct selftest *t)
{
    uv_close((uv_handle_t *)&t->timer, NULL);
    uv_close((uv_handle_t *)&t->wire_poll, NULL);
}

static void on_ended(void *user, struct vm *vm, const struct gv_error *why)
{
    struct selftest *t = user;
    (void)vm;
    if (why->code != GV_OK)
        fail(t, why);
    end_handles(t);
}

static void on_late(uv_timer_t *timer)
{
    struct selftest *t = timer->data;
    struct gv_error why = GV_ERROR_INIT;
    gv_error_set(&why, GV_E_TIMEOUT, 0, "the self-test was not done within %u s (--test-timeout)", t->o->test_timeout_s);
    fail(t, &why);
    vm_kill(t->vm);
}

/* Makes the wire and listens to it. Returns the VM's end. */
static int open_wire(struct selftest *t, struct gv_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return gv_error_errno(err, "cannot make a socket pair");
    t->wire = pair[0];
    int failed = uv_poll_init(&t->loop, &t->wire_poll, t->wire);
    if (failed) {
        close(pair[1]);
        return gv_error_set(err, GV_E_IO, -failed, "cannot watch a socket");
    }
    t->wire_poll.data = t;
    uv_poll_start(&t->wire_poll, UV_READABLE, on_frame);
    return pair[1];
}

static int run_vm(struct selftest *t, const char *volume, const struct gv_log *log, struct gv_error *err)
{
    static const struct vm_events events = { .ready = on_ready, .ended = on_ended };
    cleanup_free char *image = NULL;
    struct vm_link link = { .mac = { 0xa0, 0x13, 0, 0, 0, 1 } };
    const struct vm_volume volumes[] = { { .host_path = volume, .guest_path = SELFTEST_VOLUME } };
    struct vm_config config = { .image_count = 1,
                                .cpus = t->o->test_cpus,
                                .memory = t->o->test_memory,
                                .volumes = volumes,
                                .volume_count = 1,
                                .links = &link,
                                .link_count = 1,
                                .pci_devices = (const char *const *)t->o->pci_devices.items,
                                .pci_count = t->o->pci_devices.count,
                                .keep_group = true,
                                .require_jail = t->o->require_jail,
                                .console_fd = t->o->verbose ? STDERR_FILENO : -1,
                                .boot_timeout_ms = t->o->test_timeout_s * 1000,
                                .log = log };
    if (exeunit_accel(t->o->accel, &config.accel, err) < 0 || vm_host_file(IMAGE, &image, err) < 0)
        return -1;
    config.images = (const char *const *)&image;
    cleanup_close int theirs = open_wire(t, err);
    if (theirs < 0)
        return -1;
    link.fd = theirs;
    uv_timer_init(&t->loop, &t->timer);
    t->timer.data = t;
    int status = vm_start(&t->vm, &t->loop, &config, &events, t, err);
    if (status < 0) {
        exeunit_accel_hint(t->o->accel, config.accel, err);
        end_handles(t);
    } else {
        uv_timer_start(&t->timer, on_late, (uint64_t)t->o->test_timeout_s * 1000, 0);
    }
    uv_run(&t->loop, UV_RUN_DEFAULT);
    if (t->vm)
        vm_free(t->vm);
    uv_run(&t->loop, UV_RUN_DEFAULT);
    return status;
}

/* ---- the verdict ----------------------------------------------------------------------------------------------------------------- */

static int check_volume(const char *volume, struct gv_error *err)
{
    cleanup_free char *path = gv_asprintf("%s/" SELFTEST_FILE, volume);
    cleanup_buf struct gv_buf b = { 0 };
    if (gv_read_file(path, SELFTEST_SIZE + 1, &b, err) < 0)
        return gv_error_prefix(err, "what the guest has written to a volume");
    bool same = b.len == SELFTEST_SIZE;
    for (size_t i = 0; same && i < b.len; i++)
        same = b.data[i] == selftest_byte(i);
    return same ? 0 : gv_error_set(err, GV_E_CORRUPT, 0, "what the guest has written to a volume does not arrive on the host");
}

static int check_found(const struct selftest *t, const json_t *found, struct gv_error *err)
{
    json_int_t cpus = json_integer_value(json_object_get(found, "cpu_cores"));
    json_int_t mib = json_integer_value(json_object_get(found, "memory_mib")), want = (json_int_t)(t->o->test_memory >> 20);
    if (cpus != (json_int_t)t->o->test_cpus)
        return gv_error_set(err, GV_E_INTERNAL, 0, "the guest sees %lld CPUs instead of %u", (long long)cpus, t->o->test_cpus);
    if (mib > want || mib < want * (json_int_t)MEMORY_LEAST_PERCENT / 100)
        return gv_error_set(err, GV_E_INTERNAL, 0, "the guest sees %lld MiB of memory instead of %lld", (long long)mib, (long long)want);
    return 0;
}

static int judge(struct selftest *t, const char *volume, char **result, struct gv_error *err)
{
    if (t->why.code) {
        *err = t->why;
        return -1;
    }
    if (!t->exited)
        return gv_error_set(err, GV_E_INTERNAL, 0, "the VM ended without a result");
    if (t->exit.signalled || t->exit.status)
        return gv_error_set(err, GV_E_GUEST, 0, "the self-test failed in the guest (%s %d): %.300s",
                            t->exit.signalled ? "signal" : "status", t->exit.status, gv_buf_str(&t->said[2]));
    json_t *found = json_loadb((const char *)t->said[1].data, t->said[1].len, 0, NULL);
    int status = json_is_object(found) ? check_found(t, found, err)
                                       : gv_error_set(err, GV_E_PROTOCOL, 0, "the output of the self-test does not arrive whole");
    if (status == 0)
        status = check_volume(volume, err);
    if (status == 0)
        *result = json_dumps(found, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(found);
    return status;
}

int exeunit_test(const struct exeunit_options *o, const struct gv_log *log, char **result, struct gv_error *err)
{
    struct selftest t = { .o = o, .wire = -1 };
    struct gv_workdir *work;
    const char *tmp = getenv("TMPDIR");
    if (gv_workdir_open(&work, tmp && *tmp ? tmp : "/tmp", "ya-runtime-vm-self-test", err) < 0)
        return gv_error_prefix(err, "no place for the self-test");
    int failed = uv_loop_init(&t.loop), status = -1;
    if (failed) {
        gv_error_set(err, GV_E_IO, -failed, "cannot create an event loop");
    } else {
        status = run_vm(&t, gv_workdir_path(work), log, err);
        if (status == 0)
            status = judge(&t, gv_workdir_path(work), result, err);
        uv_loop_close(&t.loop);
    }
    struct gv_error left = GV_ERROR_INIT;
    if (gv_workdir_remove(work, &left) < 0)
        gv_warn(log, "%s", left.msg);
    if (t.wire >= 0)
        close(t.wire);
    gv_buf_clear(&t.said[1]);
    gv_buf_clear(&t.said[2]);
    return status;
}
