/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "jail_test.h"

char *jail_test_directory(void)
{
    const char *tmp = getenv("TMPDIR");
    char *path = gv_asprintf("%s/gvmkit-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(path))
        fail_msg("%s: %s", path, strerror(errno));
    return path;
}

char *cell_run(struct cell *c, const char *what, const char *argument)
{
    int out[2];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    c->argv[0] = captive;
    c->argv[1] = what;
    c->argv[2] = argument;
    c->argv[3] = NULL;
    c->spec.argv = c->argv;
    c->spec.stdio[0] = -1;
    c->spec.stdio[1] = out[1];
    c->spec.stdio[2] = -1;
    CLEANUP(jail) struct jail *jail = NULL;
    if (jail_new(&jail, &c->spec, &c->err) < 0)
        fail_msg("%s", c->err.msg);
    int started = jail_start(jail, &c->result);
    close(out[1]);
    if (started < 0) {
        jail_explain(jail, &c->result, &c->err);
        close(out[0]);
        return gv_strdup("not started");
    }
    char text[64] = "";
    ssize_t n = gv_read_full(out[0], text, sizeof(text) - 1);
    close(out[0]);
    assert_int_equal(waitpid(c->result.pid, &c->status, 0), c->result.pid);
    if (WIFSIGNALED(c->status))
        return gv_asprintf("SIG%s", sigabbrev_np(WTERMSIG(c->status)));
    assert_int_equal(WEXITSTATUS(c->status), 0);
    assert_true(n > 0);
    return gv_strdup(text);
}
