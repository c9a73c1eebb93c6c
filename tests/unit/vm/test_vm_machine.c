/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The life of a VM from vm_start() to ended, with fake_qemu.c in QEMU's place: every way to the end, and what is said about it. */
#include "vm_test.h"

#include <signal.h>

#include "vm/machine.h"
#include "vm/vm.h"

static const char *fake_qemu; /* argv[1] of the test */

struct stage {
    char *dir, *bin, *mode, *image, *volume;
    uv_loop_t loop;
    uv_timer_t watchdog;
    struct vm *vm;
    struct gv_buf events;
    struct gv_error why;
    bool ended, own_pids; /* own_pids: QEMU has a PID namespace of its own */
    const char *program;  /* run when ready; NULL: nothing */
    void (*when_ready)(struct stage *s);
    unsigned sleepers;
    pid_t qemu;
};

static int setup(void **state)
{
    struct stage *s = gv_new(struct stage);
    s->dir = test_directory();
    s->bin = gv_asprintf("%s/bin", s->dir);
    cleanup_free char *qemu = gv_asprintf("%s/qemu-system-x86_64", s->bin), *data = gv_asprintf("%s/share/qemu", s->dir),
                      *kernel = gv_asprintf("%s/vmlinux", s->dir), *bz = gv_asprintf("%s/bzImage", s->dir),
                      *initramfs = gv_asprintf("%s/initramfs.cpio", s->dir);
    s->mode = gv_asprintf("%s/mode", data);
    s->image = gv_asprintf("%s/image", s->dir);
    s->volume = gv_asprintf("%s/volume", s->dir);
    test_write(kernel, "k", 0644);
    test_write(bz, "k", 0644);
    test_write(initramfs, "i", 0644);
    test_write(s->image, "image", 0644);
    if (gv_mkdir_p(s->bin, 0755, NULL) < 0 || gv_mkdir_p(data, 0755, NULL) < 0 || gv_mkdir_p(s->volume, 0755, NULL) < 0)
        return -1;
    test_copy_program(fake_qemu, qemu);
    if (setenv("PATH", s->bin, 1) < 0 || setenv("GVMKIT_GUEST_DIR", s->dir, 1) < 0 || setenv("XDG_CACHE_HOME", s->dir, 1) < 0)
        return -1;
    *state = s;
    return uv_loop_init(&s->loop);
}

static int teardown(void **state)
{
    struct stage *s = *state;
    int status = uv_loop_close(&s->loop);
    if (gv_remove_tree(s->dir, NULL) < 0)
        status = -1;
    gv_buf_clear(&s->events);
    free(s->dir);
    free(s->bin);
    free(s->mode);
    free(s->image);
    free(s->volume);
    free(s);
    return status;
}

static void on_failed(void *user, struct vm_process *p, const struct gv_error *err)
{
    struct stage *s = user;
    (void)p;
    gv_buf_addf(&s->events, "failed %d %s;", err->code, err->msg);
}

static void on_output(void *user, struct vm_process *p, int stream, const void *data, size_t n)
{
    struct stage *s = user;
    gv_buf_addf(&s->events, "out %.*s;", (int)n, (const char *)data);
    vm_process_consumed(p, stream, n);
    if (s->sleepers && --s->sleepers == 0)
        vm_shutdown(s->vm, 100);
}

static void on_exited(void *user, struct vm_process *p, const struct vm_exit *e)
{
    struct stage *s = user;
    (void)p;
    gv_buf_addf(&s->events, "exited %s%d;", e->signalled ? "signal " : "", e->status);
    if (!e->signalled)
        vm_shutdown(s->vm, 100);
}

static void run(struct stage *s, const char *program)
{
    static const struct vm_process_events events = { .failed = on_failed, .output = on_output, .exited = on_exited };
    const char *argv[] = { program, NULL };
    const struct vm_process_spec spec = { .argv = argv };
    struct vm_process *p;
    struct gv_error err = GV_ERROR_INIT;
    if (vm_process_start(&p, s->vm, &spec, &events, s, &err) < 0)
        gv_buf_addf(&s->events, "no start: %s;", err.msg);
}

static void on_ready(void *user, struct vm *vm)
{
    struct stage *s = user;
    assert_ptr_equal(vm, s->vm);
    gv_buf_addf(&s->events, "ready;");
    if (s->program)
        run(s, s->program);
    if (s->when_ready)
        s->when_ready(s);
}

static void on_ended(void *user, struct vm *vm, const struct gv_error *why)
{
    struct stage *s = user;
    assert_false(s->ended);
    s->ended = true;
    s->why = *why;
    gv_buf_addf(&s->events, "ended;");
    vm_free(vm);
    uv_close((uv_handle_t *)&s->watchdog, NULL);
}

static void on_watchdog(uv_timer_t *t)
{
    (void)t;
    fprintf(stderr, "# the VM does not end\n");
    abort();
}

static void begin(struct stage *s, const char *mode, const struct vm_volume *volume, unsigned boot_timeout_ms)
{
    static const struct vm_events events = { on_ready, on_ended };
    const char *images[] = { s->image };
    const struct vm_config config = { .images = images,
                                      .image_count = 1,
                                      .accel = VM_ACCEL_TCG,
                                      .volumes = volume,
                                      .volume_count = volume != NULL,
                                      .console_fd = -1,
                                      .boot_timeout_ms = boot_timeout_ms };
    struct gv_error err = GV_ERROR_INIT;
    test_write(s->mode, mode, 0644);
    if (vm_start(&s->vm, &s->loop, &config, &events, s, &err) < 0)
        fail_msg("vm_start: %s", err.msg);
    s->qemu = vm_qemu_pid(s->vm);
    s->own_pids = test_other_namespace(s->qemu, "pid");
    assert_true(test_alive(s->qemu) || !strcmp(mode, "nomemory") || !strcmp(mode, "noboot"));
    uv_timer_init(&s->loop, &s->watchdog);
    uv_timer_start(&s->watchdog, on_watchdog, 20000, 0);
}

/* Runs until the end, and checks that nothing is left. */
static void finish(struct stage *s, enum gv_code code, const char *message, const char *events)
{
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_true(s->ended);
    assert_string_equal(gv_buf_str(&s->events), events);
    if (s->why.code != code || !strstr(s->why.msg, message))
        fail_msg("ended with %d `%s`, not %d `%s`", s->why.code, s->why.msg, code, message);
    assert_true(test_gone_within(s->qemu, 1000));
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void test_runs(void **state)
{
    struct stage *s = *state;
    s->program = "echo";
    const struct vm_volume v = { .host_path = s->volume, .guest_path = "/v" };
    begin(s, "good", &v, 0);
    assert_int_equal(vm_accel_used(s->vm), VM_ACCEL_TCG);
    finish(s, GV_OK, "", "ready;out hello\n;exited 5;ended;");
}

static void test_shutdown_ends_processes(void **state)
{
    struct stage *s = *state;
    s->program = "sleep";
    s->sleepers = 1;
    begin(s, "good", NULL, 0);
    finish(s, GV_OK, "", "ready;out hello\n;exited signal 15;ended;");
}

static void test_shutdown_of_a_stubborn_guest(void **state)
{
    struct stage *s = *state;
    s->program = "sleep";
    s->sleepers = 1;
    uint64_t start = test_now_ms();
    begin(s, "stubborn", NULL, 0);
    finish(s, GV_OK, "", "ready;out hello\n;failed 12 the VM was stopped;ended;");
    assert_true(test_now_ms() - start < 100 + 2000 + 2000);
}

static void kill_vm(struct stage *s)
{
    vm_kill(s->vm);
    vm_kill(s->vm);
    vm_shutdown(s->vm, 0);
    run(s, "echo");
}

static void test_kill(void **state)
{
    struct stage *s = *state;
    s->program = "sleep";
    s->when_ready = kill_vm;
    begin(s, "norun", NULL, 0);
    finish(s, GV_OK, "", "ready;no start: the VM is ending;failed 12 the VM was stopped;ended;");
}

static void test_kill_while_booting(void **state)
{
    struct stage *s = *state;
    begin(s, "silent", NULL, 0);
    run(s, "echo");
    vm_shutdown(s->vm, 100000);
    finish(s, GV_OK, "", "no start: the VM is not ready yet;ended;");
}

static void test_boot_deadline(void **state)
{
    struct stage *s = *state;
    begin(s, "silent", NULL, 400);
    finish(s, GV_E_TIMEOUT, "did not answer within 0.4 s; the guest's console said: booting | last line", "ended;");
    assert_null(strstr(s->why.msg, "NMI"));
}

static void test_boot_deadline_of_a_dead_guest(void **state)
{
    struct stage *s = *state;
    begin(s, "dead", NULL, 200);
    finish(s, GV_E_TIMEOUT, "the guest's console said: booting", "ended;");
}

static void test_setup_deadline(void **state)
{
    struct stage *s = *state;
    begin(s, "deaf", NULL, 300);
    finish(s, GV_E_TIMEOUT, "was not ready within 0.3 s", "ended;");
}

static void test_qemu_fails(void **state)
{
    struct stage *s = *state;
    begin(s, "nomemory", NULL, 0);
    finish(s, GV_E_DIED,
           "QEMU failed with status 1: cannot set up guest memory 'pc.ram': Cannot allocate memory; there is no memory for the VM",
           "ended;");
}

static void test_guest_stops_in_boot(void **state)
{
    struct stage *s = *state;
    begin(s, "noboot", NULL, 0);
    finish(s, GV_E_DIED, "stopped before its agent answered; the guest's console said: booting", "ended;");
}

static void test_other_version(void **state)
{
    struct stage *s = *state;
    begin(s, "newer", NULL, 0);
    finish(s, GV_E_UNSUPPORTED, "protocol 99", "ended;");
}

static void test_root_fails(void **state)
{
    struct stage *s = *state;
    begin(s, "rootfails", NULL, 0);
    finish(s, GV_E_GUEST, "cannot mount the image in the VM: no squashfs on image-0", "ended;");
    assert_int_equal(s->why.sys, EINVAL);
}

static void test_mount_fails(void **state)
{
    struct stage *s = *state;
    const struct vm_volume v = { .host_path = s->volume, .guest_path = "/v" };
    begin(s, "mountfails", &v, 0);
    finish(s, GV_E_GUEST, "at `/v`: a file is in the way", "ended;");
}

static void test_guest_crashes(void **state)
{
    struct stage *s = *state;
    s->program = "echo";
    begin(s, "crash", NULL, 0);
    finish(s, GV_E_DIED, "the guest crashed; the guest's console said: Kernel panic - not syncing: the test says so",
           "ready;failed 12 the guest crashed; the guest's console said: Kernel panic - not syncing: the test says so;ended;");
}

static void test_guest_switches_off(void **state)
{
    struct stage *s = *state;
    s->program = "echo";
    begin(s, "off", NULL, 0);
    finish(s, GV_E_DIED, "switched itself off", "ready;failed 12 the guest switched itself off;ended;");
}

static void test_qemu_aborts(void **state)
{
    struct stage *s = *state;
    s->program = "echo";
    begin(s, "abort", NULL, 0);
    /* The first process of a PID namespace is deaf to what it sends itself; abort() has a second way. */
    if (s->own_pids)
        finish(s, GV_E_DIED, "QEMU was killed by signal 11", "ready;failed 12 QEMU was killed by signal 11 (Segmentation fault);ended;");
    else
        finish(s, GV_E_DIED, "QEMU was killed by signal 6", "ready;failed 12 QEMU was killed by signal 6 (Aborted);ended;");
}

static void test_guest_lies(void **state)
{
    struct stage *s = *state;
    s->program = "echo";
    begin(s, "garbage", NULL, 0);
    finish(s, GV_E_PROTOCOL, "a frame that is none", "ready;failed 12 the guest broke the agent protocol: a frame that is none;ended;");
}

/* What was said before QEMU's end is heard after it. */
static void test_last_words_are_heard(void **state)
{
    struct stage *s = *state;
    s->program = "echo";
    begin(s, "ends", NULL, 0);
    finish(s, GV_OK, "", "ready;out hello\n;exited 5;ended;");
}

static void kill_qemu(struct stage *s)
{
    kill(s->qemu, SIGKILL);
}

static void test_qemu_is_killed(void **state)
{
    struct stage *s = *state;
    s->program = "sleep";
    s->when_ready = kill_qemu;
    begin(s, "norun", NULL, 0);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(s->why.code, GV_E_DIED);
    assert_non_null(strstr(s->why.msg, "signal 9"));
    assert_non_null(strstr(gv_buf_str(&s->events), "failed 12 QEMU was killed"));
}

static void kill_guardian(struct stage *s)
{
    kill(s->vm->guardian.pid, SIGKILL);
}

static void test_guardian_is_killed(void **state)
{
    struct stage *s = *state;
    s->when_ready = kill_guardian;
    begin(s, "good", NULL, 0);
    finish(s, GV_E_DIED, "guardian process of the VM was killed", "ready;ended;");
}

static void test_start_errors(void **state)
{
    struct stage *s = *state;
    static const struct vm_events events = { on_ready, on_ended };
    const char *images[] = { s->image }, *no_images[] = { "/nonexistent/image" }, *directory[] = { s->dir };
    struct vm_config good = { .images = images, .image_count = 1, .accel = VM_ACCEL_TCG, .console_fd = -1 };
    struct vm *vm;
    struct gv_error err = GV_ERROR_INIT;
    test_write(s->mode, "good", 0644);
#define ASSERT_START_FAILS(change, part)                                                                                                   \
    do {                                                                                                                                   \
        struct vm_config c = good;                                                                                                         \
        change;                                                                                                                            \
        assert_int_equal(vm_start(&vm, &s->loop, &c, &events, s, &err), -1);                                                               \
        if (!strstr(err.msg, part))                                                                                                        \
            fail_msg("`%s` does not say `%s`", err.msg, part);                                                                             \
    } while (0)
    const struct vm_volume missing = { .host_path = "/nonexistent/volume", .guest_path = "/v" };
    ASSERT_START_FAILS(c.image_count = 0, "needs an image");
    ASSERT_START_FAILS(c.images = no_images, "`/nonexistent/image`: No such file");
    ASSERT_START_FAILS(c.images = directory, "is not a file");
    ASSERT_START_FAILS(c.cpus = 1000, "1000 CPUs");
    ASSERT_START_FAILS(c.memory = 1024, "too little");
    ASSERT_START_FAILS(c.memory = UINT64_MAX / 2, "no memory for the VM");
    ASSERT_START_FAILS((c.volumes = &missing, c.volume_count = 1), "`/nonexistent/volume` with the VM: No such file");
    cleanup_free char *initramfs = gv_asprintf("%s/initramfs.cpio", s->dir), *link = gv_asprintf("%s/qemu-system-x86_64", s->bin);
    unlink(initramfs);
    ASSERT_START_FAILS((void)c, "initramfs.cpio in");
    unlink(link);
    ASSERT_START_FAILS((void)c, "apt-get install qemu-system-x86");
    test_write(link, "#!/nonexistent\n", 0755);
    test_write(initramfs, "i", 0644);
    ASSERT_START_FAILS((void)c, "/bin/qemu-system-x86_64`: No such file");
    assert_int_equal(uv_loop_alive(&s->loop), 0);
}

/* The verdict on KVM: found out by a boot, remembered, forgotten when a file changes. */
static void test_kvm_verdict(void **state)
{
    struct stage *s = *state;
    cleanup_free char *qemu = gv_asprintf("%s/qemu-system-x86_64", s->bin), *kernel = gv_asprintf("%s/vmlinux", s->dir),
                      *bz = gv_asprintf("%s/bzImage", s->dir);
    char *problem = NULL;
    bool exists, openable;
    test_write(s->mode, "good", 0644);
    int usable = vm_kvm_usable(qemu, false, NULL, &exists, &openable, &problem);
    if (!openable) {
        assert_int_equal(usable, 0);
        assert_non_null(problem);
        if (exists)
            assert_non_null(strstr(problem, "/dev/kvm"));
        print_message("# skip: there is no /dev/kvm to open: %s\n", problem);
        free(problem);
        return;
    }
    if (usable != 1) /* a device without the right API is told before anything boots */
        assert_non_null(strstr(problem, "API version"));
    free(problem);
    if (usable != 1)
        return;
    test_write(s->mode, "nomemory", 0644);
    assert_int_equal(vm_kvm_usable(qemu, false, NULL, NULL, NULL, &problem), 1);
    assert_int_equal(vm_kvm_usable(qemu, true, NULL, NULL, NULL, &problem), 0);
    assert_non_null(strstr(problem, "cannot set up guest memory"));
    free(problem);
    test_write(s->mode, "good", 0644);
    assert_int_equal(vm_kvm_usable(qemu, false, NULL, NULL, NULL, &problem), 0);
    assert_non_null(strstr(problem, "does not boot"));
    free(problem);
    test_write(kernel, "another kernel", 0644);
    test_write(bz, "another kernel", 0644);
    assert_int_equal(vm_kvm_usable(qemu, false, NULL, NULL, NULL, &problem), 1);
}

static void test_host_report(void **state)
{
    struct stage *s = *state;
    struct vm_host_report r;
    test_write(s->mode, "nomemory", 0644);
    vm_host_probe(&r, false, NULL);
    assert_non_null(r.qemu_path);
    assert_string_equal(r.qemu_version, "1.2.3 (a fake)");
    assert_null(r.qemu_problem);
    assert_null(r.guest_problem);
    assert_false(r.kvm_boots);
    assert_non_null(r.kvm_problem);
    vm_host_report_clear(&r);
    setenv("PATH", "/nonexistent", 1);
    setenv("GVMKIT_GUEST_DIR", "/nonexistent", 1);
    vm_host_probe(&r, false, NULL);
    assert_null(r.qemu_path);
    assert_non_null(strstr(r.qemu_problem, "apt-get install"));
    assert_non_null(strstr(r.guest_problem, "GVMKIT_GUEST_DIR"));
    vm_host_report_clear(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_runs),
        TEST(test_shutdown_ends_processes),
        TEST(test_shutdown_of_a_stubborn_guest),
        TEST(test_kill),
        TEST(test_kill_while_booting),
        TEST(test_boot_deadline),
        TEST(test_boot_deadline_of_a_dead_guest),
        TEST(test_setup_deadline),
        TEST(test_qemu_fails),
        TEST(test_guest_stops_in_boot),
        TEST(test_other_version),
        TEST(test_root_fails),
        TEST(test_mount_fails),
        TEST(test_guest_crashes),
        TEST(test_guest_switches_off),
        TEST(test_qemu_aborts),
        TEST(test_guest_lies),
        TEST(test_last_words_are_heard),
        TEST(test_qemu_is_killed),
        TEST(test_guardian_is_killed),
        TEST(test_start_errors),
        TEST(test_kvm_verdict),
        TEST(test_host_report),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: %s FAKE-QEMU\n", argv[0]);
        return 2;
    }
    fake_qemu = argv[1];
    return cmocka_run_group_tests_name("vm_machine", tests, NULL, NULL);
}
