/* SPDX-License-Identifier: GPL-3.0-or-later */
/* RUN: what is started, as whom, where and with what; how its end is told; and the errno of what cannot be started. */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void exit_codes(void **state)
{
    struct result r;
    char command[32];
    static const int codes[] = { 0, 1, 7, 126, 127, 255 };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        snprintf(command, sizeof(command), "exit %d", codes[i]);
        run_shell(*state, command, &r);
        assert_int_equal(r.kind, WIRE_EXITED);
        assert_int_equal(r.status, codes[i]);
        assert_true(r.rss > 0);
        result_clear(&r);
    }
}

static void exit_signals(void **state)
{
    struct result r;
    run_shell(*state, "kill -9 $$", &r);
    assert_int_equal(r.kind, WIRE_SIGNALLED);
    assert_int_equal(r.status, SIGKILL);
    result_clear(&r);
    run_shell(*state, "ulimit -c 0; kill -SEGV $$", &r);
    assert_true(r.kind == WIRE_SIGNALLED || r.kind == WIRE_DUMPED);
    assert_int_equal(r.status, SIGSEGV);
    result_clear(&r);
    /* The program's signal mask is empty, whatever the agent blocks. */
    run_shell(*state, "kill -PIPE $$", &r);
    assert_int_equal(r.status, SIGPIPE);
    result_clear(&r);
    run_shell(*state, "grep -E '^Sig(Blk|Ign)' /proc/self/status", &r);
    assert_non_null(strstr(result_text(&r, 1), "SigBlk:\t0000000000000000"));
    result_clear(&r);
}

static int start_errno(struct bench *b, const char *program, const char *env, char *text)
{
    struct request_writer q;
    run_begin(&q, program, NULL);
    if (env)
        wire_put_text(&q.w, KEY_ENV, env);
    return request_answer(b, request_send(b, &q, WIRE_RUN), text);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static void start_errors(void **state)
{
    struct bench *b = *state;
    char dir[] = "/tmp/gvmkit-run-XXXXXX", path[100], env[100], text[256];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(start_errno(b, "/nowhere/at/all", NULL, text), ENOENT);
    assert_non_null(strstr(text, "/nowhere/at/all"));
    assert_int_equal(start_errno(b, "/etc/passwd/x", NULL, NULL), ENOTDIR);
    assert_int_equal(start_errno(b, "/etc", NULL, NULL), EACCES);
    assert_int_equal(start_errno(b, "no-such-program-here", NULL, text), ENOENT);
    assert_non_null(strstr(text, "PATH"));
    assert_int_equal(start_errno(b, "", NULL, NULL), ENOENT);

    snprintf(path, sizeof(path), "%s/script", dir);
    write_file(path, "echo no first line\n", 0755);
    assert_int_equal(start_errno(b, path, NULL, text), ENOEXEC);
    snprintf(env, sizeof(env), "PATH=/nowhere:%s", dir);
    assert_int_equal(start_errno(b, "script", env, NULL), ENOEXEC);
    write_file(path, "#!/nowhere/interpreter\n", 0755);
    assert_int_equal(start_errno(b, path, NULL, text), ENOENT);
    assert_non_null(strstr(text, "interpreter"));
    chmod(path, 0644);
    assert_int_equal(start_errno(b, path, NULL, NULL), EACCES);
    assert_int_equal(start_errno(b, "script", env, text), EACCES);
    assert_non_null(strstr(text, "may not be executed"));
    unlink(path);
    rmdir(dir);

    /* All those children are gone, and the agent goes on. */
    struct result r;
    run_shell(b, "exit 3", &r);
    assert_int_equal(r.status, 3);
}

static void where_and_what(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    uint64_t id;
    run_begin(&q, "sh", "-c", "pwd; env | sort; echo \"$0|$1\"; umask", "", "two words", NULL);
    wire_put_text(&q.w, KEY_CWD, "/usr/bin");
    wire_put_text(&q.w, KEY_ENV, "PATH=/usr/bin:/bin");
    wire_put_text(&q.w, KEY_ENV, "A=b=c d");
    assert_int_equal(run_send(b, &q, &id), 0);
    run_finish(b, id, &r);
    assert_string_equal(result_text(&r, 1), "/usr/bin\nA=b=c d\nPATH=/usr/bin:/bin\nPWD=/usr/bin\n|two words\n0022\n");
    assert_int_equal(r.n[1], 0);
    result_clear(&r);

    /* argv[0] and the program may differ. */
    run_begin(&q, "other name", "-c", "echo $0", NULL);
    wire_put_text(&q.w, KEY_PATH, "/bin/sh");
    assert_int_equal(run_send(b, &q, &id), 0);
    run_finish(b, id, &r);
    assert_string_equal(result_text(&r, 1), "other name\n");
    result_clear(&r);

    run_begin(&q, "/bin/true", NULL);
    wire_put_text(&q.w, KEY_CWD, "/nowhere/here");
    char text[256];
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_RUN), text), ENOENT);
    assert_non_null(strstr(text, "working directory"));
}

static void directory_made(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    uint64_t id;
    char dir[] = "/tmp/gvmkit-run-XXXXXX", path[100];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/a//b/../c/", dir);
    run_begin(&q, "/bin/pwd", NULL);
    wire_put_text(&q.w, KEY_CWD, path);
    wire_put_number(&q.w, KEY_CWD_CREATE, 1);
    assert_int_equal(run_send(b, &q, &id), 0);
    run_finish(b, id, &r);
    snprintf(path, sizeof(path), "%s/a/c\n", dir);
    assert_string_equal(result_text(&r, 1), path);
    result_clear(&r);
    snprintf(path, sizeof(path), "rm -r %s", dir);
    run_shell(b, path, &r);
    assert_int_equal(r.status, 0);
}

static void session(void **state)
{
    struct result r;
    run_shell(*state, "ps -o sid=,pgid= -p $$ | tr -d ' \\n'; echo; echo $$$$; ls /proc/self/fd | wc -l", &r);
    char *sids = strtok((char *)r.out[0], "\n"), *pids = strtok(NULL, "\n"), *fds = strtok(NULL, "\n");
    assert_string_equal(sids, pids);
    /* 0, 1, 2 and the directory that ls reads. */
    assert_string_equal(fds, "4");
    result_clear(&r);
}

static void limits(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    uint64_t id;
    run_begin(&q, "/bin/sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -Sc", NULL);
    wire_put_text(&q.w, KEY_RLIMIT, "nofile 77 88");
    wire_put_text(&q.w, KEY_RLIMIT, "RLIMIT_CORE 0 -");
    int error = run_send(b, &q, &id);
    if (error == EPERM && geteuid()) {
        print_message("# skipped: raising a limit needs root\n");
        return;
    }
    assert_int_equal(error, 0);
    run_finish(b, id, &r);
    assert_string_equal(result_text(&r, 1), "77\n88\n0\n");
    result_clear(&r);
    static const char *const bad[] = { "nofile",      "nofile 1", "nofile 1 2 3", "nofile x 2", "nothing 1 2", "nofile 2 1",
                                       "nofile 1 2x", "",         "core  - -1" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        run_begin(&q, "/bin/true", NULL);
        wire_put_text(&q.w, KEY_RLIMIT, bad[i]);
        assert_int_equal(request_answer(b, request_send(b, &q, WIRE_RUN), NULL), EINVAL);
    }
}

static void identity(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    uint64_t id;
    char text[256];
    run_begin(&q, "/bin/true", NULL);
    if (geteuid() == 0) {
        wire_put_text(&q.w, KEY_USER, "no-such-user-here");
        assert_int_equal(request_answer(b, request_send(b, &q, WIRE_RUN), text), EINVAL);
        assert_non_null(strstr(text, "no-such-user-here"));
    }
    if (geteuid()) {
        print_message("# skipped: changing the user needs root\n");
        return;
    }
    run_begin(&q, "/bin/sh", "-c", "id -u; id -g; id -G; echo $HOME; echo out > /dev/stdout; cat < /dev/null", NULL);
    wire_put_text(&q.w, KEY_USER, "12345:54321");
    wire_put_number(&q.w, KEY_GROUP_EXTRA, 777);
    wire_put_number(&q.w, KEY_GROUP_EXTRA, 778);
    wire_put_number(&q.w, KEY_DEFAULT_ENV, 1);
    assert_int_equal(run_send(b, &q, &id), 0);
    run_finish(b, id, &r);
    assert_string_equal(result_text(&r, 1), "12345\n54321\n54321 777 778\n/\nout\n");
    result_clear(&r);
    run_begin(&q, "/bin/sh", "-c", "echo $HOME:$(id -u)", NULL);
    wire_put_text(&q.w, KEY_USER, "daemon");
    wire_put_text(&q.w, KEY_ENV, "HOME=/mine");
    wire_put_number(&q.w, KEY_DEFAULT_ENV, 1);
    assert_int_equal(run_send(b, &q, &id), 0);
    run_finish(b, id, &r);
    assert_string_equal(result_text(&r, 1), "/mine:1\n");
    result_clear(&r);
}

static void fifty_at_once(void **state)
{
    struct bench *b = *state;
    enum { N = 50 };
    uint64_t ids[N];
    bool answered[N] = { false }, exited[N] = { false };
    struct request_writer q;
    for (unsigned i = 0; i < N; i++) {
        char command[40];
        snprintf(command, sizeof(command), "exit %u", i);
        run_begin(&q, "/bin/sh", "-c", command, NULL);
        ids[i] = request_send(b, &q, WIRE_RUN);
    }
    for (unsigned left = N; left;) {
        struct frame f;
        uint64_t v;
        assert_true(bench_next(b, &f));
        assert_true(f.id >= ids[0] && f.id < ids[0] + N);
        unsigned i = (unsigned)(f.id - ids[0]);
        if (f.type == WIRE_ANSWER) {
            assert_false(answered[i]);
            answered[i] = true;
            assert_int_equal(wire_find_number(f.payload, f.n, KEY_ERRNO, 9, &v), 0);
            assert_int_equal(v, 0);
            continue;
        }
        assert_int_equal(f.type, WIRE_EXIT);
        assert_true(answered[i]);
        assert_false(exited[i]);
        exited[i] = true;
        assert_int_equal(wire_find_number(f.payload, f.n, KEY_STATUS, 999, &v), 0);
        assert_int_equal(v, i);
        left--;
    }
}

static void signals(void **state)
{
    struct bench *b = *state;
    struct request_writer q;
    struct result r;
    uint64_t id;
    run_begin(&q, "/bin/sleep", "100", NULL);
    assert_int_equal(run_send(b, &q, &id), 0);
    request_begin(&q);
    wire_put_number(&q.w, KEY_ID, id);
    wire_put_number(&q.w, KEY_SIGNAL, SIGUSR1);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_SIGNAL), NULL), 0);
    run_finish(b, id, &r);
    assert_int_equal(r.kind, WIRE_SIGNALLED);
    assert_int_equal(r.status, SIGUSR1);

    /* The whole group: the shell says how its child ended. */
    run_begin(&q, "/bin/sh", "-c", "trap : TERM; sh -c 'echo up; exec sleep 100' & p=$!; wait; wait $p; exit $?", NULL);
    assert_int_equal(run_send(b, &q, &id), 0);
    struct frame f;
    memset(&r, 0, sizeof(r));
    assert_true(bench_next(b, &f));
    assert_true(run_take(b, id, &r, &f));
    request_begin(&q);
    wire_put_number(&q.w, KEY_ID, id);
    wire_put_number(&q.w, KEY_SIGNAL, SIGTERM);
    wire_put_number(&q.w, KEY_GROUP, 1);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_SIGNAL), NULL), 0);
    result_clear(&r);
    run_finish(b, id, &r);
    assert_int_equal(r.kind, WIRE_EXITED);
    assert_int_equal(r.status, 128 + SIGTERM);
    result_clear(&r);

    request_begin(&q);
    wire_put_number(&q.w, KEY_ID, id);
    wire_put_number(&q.w, KEY_SIGNAL, SIGTERM);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_SIGNAL), NULL), ESRCH);
    request_begin(&q);
    wire_put_number(&q.w, KEY_ID, id);
    wire_put_number(&q.w, KEY_SIGNAL, 65);
    assert_int_equal(request_answer(b, request_send(b, &q, WIRE_SIGNAL), NULL), EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(exit_codes, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(exit_signals, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(start_errors, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(where_and_what, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(directory_made, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(session, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(limits, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(identity, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(fifty_at_once, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(signals, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests_name("guest_run", tests, NULL, NULL);
}
