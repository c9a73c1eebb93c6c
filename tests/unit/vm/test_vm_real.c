/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Real virtual machines: QEMU, our kernel, our agent. Skipped, and saying so, where the guest's files ($GVMKIT_GUEST_DIR) or an image
 * with a shell ($GVMKIT_TEST_IMAGE) are missing. One VM serves most tests, as starting one takes a second.
 */
#include "vm_test.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "vm/vm.h"

#define MIB (1024U * 1024U)
#define IDLE_PSS_MAX_KIB (110U * 1024U)

static const char *image;

struct run {
    int status; /* exit code, 128 + signal, or -errno of a failed start */
    enum gv_code failed;
    bool done;
    size_t n;
    unsigned char digest[GV_HASH_MAX];
    struct gv_hash *hash;
    char text[4096];   /* the beginning of stdout */
    char errors[1024]; /* as long as an error's message */
    const char *input; /* for stdin, or NULL */
    size_t input_n, input_at;
    bool keep; /* nothing is consumed */
    struct vm_process *process;
};

struct stage {
    char *dir, *outer, *inner;
    uv_loop_t loop;
    struct vm *vm;
    int wire; /* our end of its network card, or -1 */
    bool ready, ended;
    struct gv_error why;
};

static void on_timer(uv_timer_t *t)
{
    (void)t;
    fprintf(stderr, "# a real VM takes too long\n");
    abort();
}

/* Runs the loop until *flag, at most two minutes. */
static void run_until(struct stage *s, const bool *flag)
{
    uv_timer_t watchdog;
    uv_timer_init(&s->loop, &watchdog);
    uv_timer_start(&watchdog, on_timer, 120000, 0);
    while (!*flag)
        uv_run(&s->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&watchdog, NULL);
    uv_run(&s->loop, UV_RUN_NOWAIT);
}

static void on_ready(void *user, struct vm *vm)
{
    (void)vm;
    ((struct stage *)user)->ready = true;
}

static void on_ended(void *user, struct vm *vm, const struct gv_error *why)
{
    struct stage *s = user;
    s->why = *why;
    s->ended = true;
    s->ready = true; /* nobody waits for it any more */
    vm_free(vm);
}

static void start(struct stage *s, bool with_volumes)
{
    static const struct vm_events events = { on_ready, on_ended };
    const char *images[] = { image };
    /* The inner one first: the order in which they are mounted is the room's business. */
    const struct vm_volume volumes[] = { { .host_path = s->inner, .guest_path = "/data/deep/inner", .give_to_user = true },
                                         { .host_path = s->outer, .guest_path = "/data", .readonly = false } };
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    const struct vm_link link = { .fd = pair[1], .mac = { 0x52, 0x54, 0, 1, 2, 3 } };
    s->wire = pair[0];
    const struct vm_config config = { .images = images,
                                      .image_count = 1,
                                      .accel = VM_ACCEL_TCG,
                                      .hostname = "testvm",
                                      .user = "1234:56",
                                      .volumes = volumes,
                                      .volume_count = with_volumes ? 2 : 0,
                                      .links = &link,
                                      .link_count = 1,
                                      .console_fd = -1 };
    struct gv_error err = GV_ERROR_INIT;
    s->ready = s->ended = false;
    if (vm_start(&s->vm, &s->loop, &config, &events, s, &err) < 0)
        fail_msg("vm_start: %s", err.msg);
    close(pair[1]);
}

static int open_stage(struct stage *s)
{
    s->wire = -1;
    s->dir = test_directory();
    s->outer = gv_asprintf("%s/outer", s->dir);
    s->inner = gv_asprintf("%s/inner", s->dir);
    if (mkdir(s->outer, 0755) < 0 || mkdir(s->inner, 0755) < 0)
        return -1;
    return uv_loop_init(&s->loop);
}

static int close_stage(struct stage *s)
{
    int status = uv_loop_close(&s->loop);
    if (s->wire >= 0)
        close(s->wire);
    if (gv_remove_tree(s->dir, NULL) < 0)
        status = -1;
    free(s->dir);
    free(s->outer);
    free(s->inner);
    return status;
}

/* ---- processes ------------------------------------------------------------------------------------------------------------------- */

static void on_failed(void *user, struct vm_process *p, const struct gv_error *err)
{
    struct run *r = user;
    (void)p;
    r->status = -err->sys;
    r->failed = err->code;
    snprintf(r->errors, sizeof(r->errors), "%s", err->msg);
    r->done = true;
}

static void on_output(void *user, struct vm_process *p, int stream, const void *data, size_t n)
{
    struct run *r = user;
    if (stream == 1) {
        for (size_t i = 0; i < n && r->n + i < sizeof(r->text) - 1; i++)
            r->text[r->n + i] = ((const char *)data)[i];
        gv_hash_update(r->hash, data, n);
        r->n += n;
    } else {
        size_t at = strlen(r->errors);
        snprintf(r->errors + at, sizeof(r->errors) - at, "%.*s", (int)n, (const char *)data);
    }
    if (!r->keep)
        vm_process_consumed(p, stream, n);
}

static void feed(struct run *r, struct vm_process *p)
{
    if (!r->input)
        return;
    r->input_at += vm_process_write(p, r->input + r->input_at, r->input_n - r->input_at);
    if (r->input_at == r->input_n)
        vm_process_close_stdin(p);
}

static void on_started(void *user, struct vm_process *p)
{
    feed(user, p);
}

static void on_exited(void *user, struct vm_process *p, const struct vm_exit *e)
{
    struct run *r = user;
    (void)p;
    r->status = e->signalled ? 128 + e->status : e->status;
    r->done = true;
}

static const struct vm_process_events events = {
    .started = on_started, .failed = on_failed, .output = on_output, .writable = on_started, .exited = on_exited
};

static void launch(struct stage *s, struct run *r, const char *const *argv)
{
    static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "A=b c", NULL };
    const struct vm_process_spec spec = { .argv = argv, .env = env, .stdin_open = r->input != NULL };
    struct gv_error err = GV_ERROR_INIT;
    r->hash = gv_hash_new(GV_HASH_SHA256);
    if (vm_process_start(&r->process, s->vm, &spec, &events, r, &err) < 0)
        fail_msg("vm_process_start: %s", err.msg);
}

static void finish(struct stage *s, struct run *r)
{
    run_until(s, &r->done);
    gv_hash_final(r->hash, r->digest);
    gv_hash_free(r->hash);
}

static void shell(struct stage *s, struct run *r, const char *script)
{
    const char *argv[] = { "sh", "-c", script, NULL };
    *r = (struct run){ .input = r->input, .input_n = r->input_n };
    launch(s, r, argv);
    finish(s, r);
}

/* ---- one VM for all of these ----------------------------------------------------------------------------------------------------- */

static int group_setup(void **state)
{
    struct stage *s = gv_new(struct stage);
    if (open_stage(s) < 0)
        return -1;
    start(s, true);
    run_until(s, &s->ready);
    if (s->ended)
        fail_msg("the VM ended: %s", s->why.msg);
    *state = s;
    return 0;
}

static int group_teardown(void **state)
{
    struct stage *s = *state;
    pid_t qemu = vm_qemu_pid(s->vm);
    vm_shutdown(s->vm, 1000);
    run_until(s, &s->ended);
    bool clean = s->why.code == GV_OK && test_gone_within(qemu, 1000);
    if (close_stage(s) < 0)
        clean = false;
    free(s);
    return clean ? 0 : -1;
}

static void test_memory_when_idle(void **state)
{
    struct stage *s = *state;
    struct run r = { 0 };
    char path[64], line[256];
    unsigned pss = 0;
    shell(s, &r, "echo first");
    assert_string_equal(r.text, "first\n");
    usleep(500000);
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)vm_qemu_pid(s->vm));
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        sscanf(line, "Pss: %u kB", &pss);
    fclose(f);
    print_message("# QEMU of an idle VM of 256 MiB: %u KiB PSS\n", pss);
    assert_in_range(pss, 1, IDLE_PSS_MAX_KIB);
}

static void test_exit_codes(void **state)
{
    struct stage *s = *state;
    struct run r = { 0 };
    static const int codes[] = { 0, 1, 42, 125, 126, 127, 128, 255 };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        char script[32];
        snprintf(script, sizeof(script), "exit %d", codes[i]);
        shell(s, &r, script);
        assert_int_equal(r.status, codes[i]);
    }
    shell(s, &r, "kill -TERM $$");
    assert_int_equal(r.status, 128 + SIGTERM);
    shell(s, &r, "kill -KILL $$");
    assert_int_equal(r.status, 128 + SIGKILL);
}

static void test_streams(void **state)
{
    struct stage *s = *state;
    struct run r = { 0 };
    shell(s, &r, "echo out; echo err >&2; echo $A; hostname");
    assert_string_equal(r.text, "out\nb c\ntestvm\n");
    assert_string_equal(r.errors, "err\n");
}

static void test_missing_program(void **state)
{
    struct stage *s = *state;
    const char *argv[] = { "no-such-program", NULL };
    struct run r = { 0 };
    launch(s, &r, argv);
    finish(s, &r);
    assert_int_equal(r.failed, GV_E_GUEST);
    assert_int_equal(r.status, -ENOENT);
    const char *directory[] = { "/etc", NULL };
    r = (struct run){ 0 };
    launch(s, &r, directory);
    finish(s, &r);
    assert_int_equal(r.status, -EACCES);
}

/* Every byte, in order: the guest's own sum of what it wrote is that of what arrived. */
static void test_much_output(void **state)
{
    struct stage *s = *state;
    struct run sum = { 0 }, r = { 0 };
    char hex[2 * GV_SHA256_SIZE + 1];
    const char *const write_it = "i=0; dd if=/dev/urandom of=/dev/shm/r bs=64k count=64 2>/dev/null; "
                                 "while [ $i -lt 16 ]; do cat /dev/shm/r; echo $i; i=$((i+1)); done";
    shell(s, &r, write_it);
    assert_int_equal(r.status, 0);
    assert_int_equal(r.n, 16 * 4 * MIB + 10 * 2 + 6 * 3);
    shell(s, &sum, "i=0; while [ $i -lt 16 ]; do cat /dev/shm/r; echo $i; i=$((i+1)); done | sha256sum");
    gv_hex(hex, r.digest, GV_SHA256_SIZE);
    assert_int_equal(strncmp(sum.text, hex, 2 * GV_SHA256_SIZE), 0);
}

static void test_much_input(void **state)
{
    struct stage *s = *state;
    size_t n = 3 * MIB + 17;
    char *data = gv_alloc(n), hex[2 * GV_SHA256_SIZE + 1];
    unsigned char digest[GV_HASH_MAX];
    for (size_t i = 0; i < n; i++)
        data[i] = (char)(i * 2654435761U >> 13);
    gv_hash_bytes(GV_HASH_SHA256, data, n, digest);
    gv_hex(hex, digest, GV_SHA256_SIZE);
    struct run r = { .input = data, .input_n = n };
    shell(s, &r, "sleep 0.2; sha256sum");
    assert_int_equal(r.status, 0);
    assert_int_equal(strncmp(r.text, hex, 2 * GV_SHA256_SIZE), 0);
    r = (struct run){ .input = data, .input_n = n };
    shell(s, &r, "cat");
    assert_int_equal(r.n, n);
    assert_memory_equal(r.digest, digest, GV_SHA256_SIZE);
    free(data);
}

/* Nobody consumes: the program stops at the credit, others go on, and it can be killed. */
static void test_slow_reader(void **state)
{
    struct stage *s = *state;
    struct run slow = { .keep = true }, other = { 0 };
    const char *argv[] = { "sh", "-c", "cat /dev/zero", NULL };
    launch(s, &slow, argv);
    for (int i = 0; i < 5; i++) {
        shell(s, &other, "echo still here");
        assert_string_equal(other.text, "still here\n");
    }
    assert_true(slow.n > 0);
    assert_in_range(slow.n, 1, WIRE_CREDIT_START);
    assert_false(slow.done);
    vm_process_signal(slow.process, SIGKILL, true);
    /* The end is told after everything that was written, so somebody has to take that. */
    slow.keep = false;
    vm_process_consumed(slow.process, 1, slow.n);
    finish(s, &slow);
    assert_int_equal(slow.status, 128 + SIGKILL);
}

static void test_overlapping(void **state)
{
    struct stage *s = *state;
    struct run runs[8];
    char scripts[8][64];
    for (int i = 0; i < 8; i++) {
        snprintf(scripts[i], sizeof(scripts[i]), "sleep 0.%d; echo %d; exit %d", 8 - i, i, i);
        const char *argv[] = { "sh", "-c", scripts[i], NULL };
        runs[i] = (struct run){ 0 };
        launch(s, &runs[i], argv);
    }
    for (int i = 0; i < 8; i++) {
        char expected[8];
        snprintf(expected, sizeof(expected), "%d\n", i);
        finish(s, &runs[i]);
        assert_int_equal(runs[i].status, i);
        assert_string_equal(runs[i].text, expected);
    }
}

static void test_background_child(void **state)
{
    struct stage *s = *state;
    struct run r = { 0 };
    uint64_t begin = test_now_ms();
    shell(s, &r, "sleep 60 & echo parent");
    assert_string_equal(r.text, "parent\n");
    assert_true(test_now_ms() - begin < 20000);
    shell(s, &r, "pkill sleep");
}

static void test_volumes(void **state)
{
    struct stage *s = *state;
    struct run r = { 0 };
    cleanup_free char *outer = gv_asprintf("%s/a", s->outer), *inner = gv_asprintf("%s/b", s->inner);
    shell(s, &r,
          "echo 1 > /data/a && echo 2 > /data/deep/inner/b && chown 7:8 /data/a && chmod 640 /data/a && stat -c '%u:%g %a' /data/a && "
          "stat -c '%u:%g' /data/deep/inner");
    assert_string_equal(r.errors, "");
    assert_string_equal(r.text, "7:8 640\n1234:56\n");
    cleanup_buf struct gv_buf text = { 0 };
    assert_int_equal(gv_read_file(outer, 100, &text, NULL), 0);
    assert_int_equal(gv_read_file(inner, 100, &text, NULL), 0);
    assert_string_equal(gv_buf_str(&text), "1\n2\n");
}

/* ---- network --------------------------------------------------------------------------------------------------------------------- */

struct answer {
    bool done;
    struct gv_error failed;
};

static void on_done(void *user, const struct gv_error *failed)
{
    struct answer *a = user;
    a->done = true;
    if (failed)
        a->failed = *failed;
}

static enum gv_code configure(struct stage *s, const struct vm_net *net)
{
    struct answer a = { 0 };
    assert_int_equal(vm_net_configure(s->vm, net, on_done, &a, &a.failed), 0);
    run_until(s, &a.done);
    return a.failed.code;
}

/* Waits for an ARP request for an address, and says whether it is from that MAC. */
static bool asked_for(int wire, const uint8_t mac[VM_MAC_SIZE], const char *from, const char *whom)
{
    uint8_t frame[2048];
    char source[16], target[16];
    struct pollfd p = { .fd = wire, .events = POLLIN };
    while (poll(&p, 1, 20000) > 0) {
        ssize_t n = recv(wire, frame, sizeof(frame), MSG_DONTWAIT);
        if (n < 42 || frame[12] != 8 || frame[13] != 6)
            continue;
        snprintf(source, sizeof(source), "%u.%u.%u.%u", frame[28], frame[29], frame[30], frame[31]);
        snprintf(target, sizeof(target), "%u.%u.%u.%u", frame[38], frame[39], frame[40], frame[41]);
        if (!strcmp(source, from) && !strcmp(target, whom))
            return memcmp(frame + 6, mac, VM_MAC_SIZE) == 0;
    }
    return false;
}

static void test_network(void **state)
{
    static const uint8_t mac[] = { 0xa0, 0x13, 10, 9, 0, 2 };
    static const char *const first[] = { "10.9.0.2/24", "fd09::2/64", NULL }, *const second[] = { "10.10.0.2/16", NULL };
    static const char *const routes[] = { "10.77.0.0/16 via 10.9.0.1", "fd77::/32 via fd09::1", NULL };
    struct stage *s = *state;
    struct run r = { 0 };
    struct vm_net net = { .addresses = first, .routes = routes, .mtu = 1400, .mac = mac };
    shell(s, &r, "cat /sys/class/net/eth0/operstate; wc -l </proc/net/route");
    assert_string_equal(r.text, "down\n1\n");
    assert_int_equal(configure(s, &net), GV_OK);
    /* The card is found again, though its address is another one now. */
    net = (struct vm_net){ .addresses = second, .gateway = "10.10.0.9", .gateway6 = "fd09::9" };
    assert_int_equal(configure(s, &net), GV_OK);
    shell(s, &r, "cd /sys/class/net/eth0; cat mtu address /proc/sys/net/ipv6/conf/eth0/accept_ra; ip route; ip -6 route | grep via");
    assert_string_equal(r.text, "1500\na0:13:0a:09:00:02\n0\n"
                                "default via 10.10.0.9 dev eth0 \n"
                                "10.9.0.0/24 dev eth0 scope link  src 10.9.0.2 \n"
                                "10.10.0.0/16 dev eth0 scope link  src 10.10.0.2 \n"
                                "10.77.0.0/16 via 10.9.0.1 dev eth0 \n"
                                "fd77::/32 via fd09::1 dev eth0  metric 1024 \n"
                                "default via fd09::9 dev eth0  metric 1024 \n");
    shell(s, &r, "ping -c 1 -W 1 10.77.1.1 >/dev/null 2>&1; true");
    assert_true(asked_for(s->wire, mac, "10.9.0.2", "10.9.0.1"));
    static const char *const bad[] = { "10.9.0.300/24", NULL };
    net = (struct vm_net){ .addresses = bad };
    assert_int_equal(configure(s, &net), GV_E_GUEST);
    struct answer none = { 0 };
    net.link = 1;
    assert_int_equal(vm_net_configure(s->vm, &net, on_done, &none, &none.failed), -1);
    assert_int_equal(none.failed.code, GV_E_USAGE);
}

static void test_names(void **state)
{
    static const char *const hosts[] = { "10.9.0.7 seven also-seven", NULL }, *const dns[] = { "1.2.3.4", "fd::1", NULL };
    static const char *const search[] = { "example.org", NULL }, *const bad[] = { "10.9.0.7 a\nb", NULL };
    struct stage *s = *state;
    struct run r = { 0 };
    struct answer a = { 0 };
    struct vm_names names = { .hosts = hosts, .dns = dns, .search = search };
    assert_int_equal(vm_names_set(s->vm, &names, on_done, &a, &a.failed), 0);
    run_until(s, &a.done);
    assert_int_equal(a.failed.code, GV_OK);
    shell(s, &r, "grep -v ip6- /etc/hosts; cat /etc/resolv.conf");
    assert_string_equal(r.text, "127.0.0.1\tlocalhost\n10.9.0.7 seven also-seven\n127.0.1.1\ttestvm\n"
                                "search example.org\nnameserver 1.2.3.4\nnameserver fd::1\n");
    a = (struct answer){ 0 };
    names = (struct vm_names){ .hosts = bad };
    assert_int_equal(vm_names_set(s->vm, &names, on_done, &a, &a.failed), 0);
    run_until(s, &a.done);
    assert_int_equal(a.failed.code, GV_E_GUEST);
    assert_int_equal(a.failed.sys, EINVAL);
}

struct counted {
    bool done;
    struct vm_stats stats;
    struct gv_error failed;
};

static void on_stats(void *user, const struct vm_stats *stats, const struct gv_error *failed)
{
    struct counted *c = user;
    c->done = true;
    if (stats)
        c->stats = *stats;
    else
        c->failed = *failed;
}

static void test_stats(void **state)
{
    struct stage *s = *state;
    struct counted c = { .failed = GV_ERROR_INIT };
    assert_int_equal(vm_stats_get(s->vm, on_stats, &c, &c.failed), 0);
    run_until(s, &c.done);
    assert_int_equal(c.failed.code, GV_OK);
    assert_true(c.stats.uptime_us > 0 && c.stats.cpu_system_us > 0);
    assert_true(c.stats.memory_available > 0 && c.stats.memory_available < c.stats.memory_total);
    assert_true(c.stats.root_used <= c.stats.root_size && c.stats.root_size > 0);
    assert_int_equal(c.stats.processes, 0);
}

/* ---- VMs that are killed --------------------------------------------------------------------------------------------------------- */

static pid_t parent_of(pid_t pid)
{
    char path[64];
    int parent = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%*d (%*[^)]) %*c %d", &parent) != 1)
        parent = 0;
    if (f)
        fclose(f);
    return parent;
}

enum victim { QEMU, GUARDIAN };

static void kill_one(struct stage *s, enum victim victim, bool when_ready)
{
    start(s, false);
    pid_t qemu = vm_qemu_pid(s->vm), guardian = parent_of(qemu);
    assert_true(guardian > 0);
    if (when_ready)
        run_until(s, &s->ready);
    uint64_t begin = test_now_ms();
    kill(victim == QEMU ? qemu : guardian, SIGKILL);
    run_until(s, &s->ended);
    assert_int_equal(s->why.code, GV_E_DIED);
    assert_true(test_now_ms() - begin < 3000);
    assert_true(test_gone_within(qemu, 1000) && test_gone_within(guardian, 1000));
}

static void test_killed(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct stage s = { 0 };
        assert_int_equal(open_stage(&s), 0);
        kill_one(&s, i & 1 ? QEMU : GUARDIAN, i & 2);
        assert_int_equal(close_stage(&s), 0);
    }
}

static void test_supervisor_killed(void **state)
{
    (void)state;
    for (int when_ready = 0; when_ready < 2; when_ready++) {
        struct stage s = { 0 };
        int report[2];
        assert_int_equal(open_stage(&s), 0);
        assert_int_equal(pipe2(report, O_CLOEXEC), 0);
        pid_t supervisor = fork();
        if (supervisor == 0) {
            uv_loop_fork(&s.loop);
            start(&s, false);
            if (when_ready)
                run_until(&s, &s.ready);
            pid_t qemu = vm_qemu_pid(s.vm);
            (void)!write(report[1], &qemu, sizeof(qemu));
            uv_run(&s.loop, UV_RUN_DEFAULT);
            _exit(0);
        }
        close(report[1]);
        pid_t qemu = 0;
        assert_int_equal(gv_read_full(report[0], &qemu, sizeof(qemu)), sizeof(qemu));
        close(report[0]);
        pid_t guardian = parent_of(qemu);
        assert_true(test_alive(qemu) && test_alive(guardian));
        kill(supervisor, SIGKILL);
        waitpid(supervisor, NULL, 0);
        assert_true(test_gone_within(qemu, 1000));
        assert_true(test_gone_within(guardian, 1000));
        assert_int_equal(close_stage(&s), 0);
    }
}

/* What keeps these tests from running here, or NULL. */
static const char *missing(void)
{
    const char *dir = getenv("GVMKIT_GUEST_DIR");
    if (!dir || !*dir)
        return "GVMKIT_GUEST_DIR is not set";
    image = getenv("GVMKIT_TEST_IMAGE");
    if (!image || access(image, R_OK) < 0)
        return "GVMKIT_TEST_IMAGE is not an image";
    cleanup_free char *kernel = gv_asprintf("%s/vmlinux", dir), *initramfs = gv_asprintf("%s/initramfs.cpio", dir);
    return access(kernel, R_OK) < 0 || access(initramfs, R_OK) < 0 ? "no guest kernel there" : NULL;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest together[] = {
        cmocka_unit_test(test_memory_when_idle),
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_missing_program),
        cmocka_unit_test(test_much_output),
        cmocka_unit_test(test_much_input),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_overlapping),
        cmocka_unit_test(test_background_child),
        cmocka_unit_test(test_volumes),
        cmocka_unit_test(test_network),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_stats),
    };
    const struct CMUnitTest alone[] = { cmocka_unit_test(test_killed), cmocka_unit_test(test_supervisor_killed) };
    if (argc != 2) {
        fprintf(stderr, "usage: %s together|killed\n", argv[0]);
        return 2;
    }
    const char *why = missing();
    if (why) {
        printf("1..0 # SKIP %s\n", why);
        return 0;
    }
    if (!strcmp(argv[1], "killed"))
        return cmocka_run_group_tests_name("vm_real_killed", alone, NULL, NULL);
    return cmocka_run_group_tests_name("vm_real", together, group_setup, group_teardown);
}
