/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the host refused, in words, and the trial for those who want to know. */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jail/jail.h"
#include "jail/order.h"

static const char *const names[JAIL_MEASURES] = {
    [JAIL_USER] = "user namespace",
    [JAIL_MOUNT] = "mount namespace",
    [JAIL_PID] = "PID namespace",
    [JAIL_NET] = "network namespace",
    [JAIL_IPC] = "IPC namespace",
    [JAIL_UTS] = "UTS namespace",
    [JAIL_ROOT] = "root of its own",
    [JAIL_CAPABILITIES] = "no capabilities",
    [JAIL_PRIVILEGES] = "no new privileges",
    [JAIL_SECCOMP] = "system call filter",
    [JAIL_LIMITS] = "resource limits",
};

const char *jail_measure_name(enum jail_measure m)
{
    return m < JAIL_MEASURES ? names[m] : "?";
}

static const char *namespace_remedy(enum jail_measure m, int refused)
{
    if (refused == ENOSPC || refused == EUSERS)
        return m == JAIL_USER ? "set the sysctl user.max_user_namespaces to some thousands, or nest fewer containers"
                              : "set the sysctls user.max_*_namespaces to some thousands";
    if (refused == EINVAL)
        return "use a kernel that has this kind of namespace";
    if (m != JAIL_USER)
        return "an ordinary user needs user namespaces for it";
    return "set the sysctl kernel.unprivileged_userns_clone to 1 (Debian) or kernel.apparmor_restrict_unprivileged_userns to 0 (Ubuntu); "
           "in a "
           "container, allow it (docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined)";
}

const char *jail_measure_remedy(enum jail_measure m, int refused)
{
    switch (m) {
    case JAIL_USER:
    case JAIL_MOUNT:
    case JAIL_PID:
    case JAIL_NET:
    case JAIL_IPC:
    case JAIL_UTS:
        return namespace_remedy(m, refused);
    case JAIL_ROOT:
        if (refused == ENOSYS)
            return "use Linux 5.12 or newer";
        if (refused == ESTALE)
            return "do not rename or replace the directory of a volume while the VM is started";
        return "it needs a mount namespace and the right to mount in it; in a container, allow that";
    case JAIL_CAPABILITIES:
        return "run gvmkit as an ordinary user";
    case JAIL_PRIVILEGES:
    case JAIL_SECCOMP:
        return "use a kernel with CONFIG_SECCOMP_FILTER";
    case JAIL_LIMITS:
    case JAIL_MEASURES:
        break;
    }
    return "see setrlimit(2)";
}

/* "user namespace (No space left on device), ..." of all that was refused; NULL when nothing was. */
static char *list_refused(const struct jail_result *result, enum jail_measure *first)
{
    struct gv_buf b = { 0 };
    *first = JAIL_MEASURES;
    for (int m = 0; m < JAIL_MEASURES; m++) {
        if (!result->refused[m])
            continue;
        if (b.len)
            gv_buf_add(&b, ", ", 2);
        else
            *first = (enum jail_measure)m;
        gv_buf_addf(&b, "%s (%s)", names[m], strerror(result->refused[m]));
    }
    return *first == JAIL_MEASURES ? NULL : gv_buf_str(&b);
}

int jail_explain(const struct jail *j, const struct jail_result *result, struct gv_error *err)
{
    enum jail_measure first;
    cleanup_free char *missing = result->started && !result->exec_errno ? list_refused(result, &first) : NULL;
    if (missing) {
        gv_error_set(err, GV_E_UNSUPPORTED, 0, "a complete jail is required, and this host refuses: %s", missing);
        return gv_error_hint(err, "%s; `gvmkit doctor` tells more", jail_measure_remedy(first, result->refused[first]));
    }
    const char *program = jail_program(j);
    if (!result->started)
        return gv_error_set(err, GV_E_IO, result->exec_errno, "cannot make the jail for `%s`", program);
    gv_error_set(err, GV_E_IO, result->exec_errno, "cannot start `%s`", program);
    if (result->exec_errno == ENOENT && access(program, X_OK) == 0)
        gv_error_hint(err, "the file is there, but what it is loaded by is not among the libraries that the jail shows");
    return -1;
}

void jail_complain(const struct jail_result *result, const struct gv_log *log)
{
    enum jail_measure first;
    cleanup_free char *missing = list_refused(result, &first);
    if (missing)
        gv_note(log, "the jail is not complete, this host refuses: %s; `gvmkit doctor` says how to mend it", missing);
}

int jail_try(struct jail_result *result, struct gv_error *err)
{
    cleanup_free char *program = NULL;
    CLEANUP(jail) struct jail *j = NULL;
    if (jail_find_program(JAIL_PROGRAM, JAIL_PROGRAM_ENV, &program, err) < 0)
        return -1;
    const char *const argv[] = { program, JAIL_NOTHING, NULL };
    const struct jail_spec spec = { .profile = JAIL_PROFILE_QEMU, .measures = JAIL_ALL, .argv = argv, .stdio = { -1, -1, -1 } };
    if (jail_new(&j, &spec, err) < 0)
        return -1;
    if (jail_start(j, result) < 0) /* what is demanded and refused has been found out all the same */
        return result->started && !result->exec_errno ? 0 : jail_explain(j, result, err);
    int status = 0;
    while (waitpid(result->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return gv_error_set(err, GV_E_DIED, 0, "a program dies in the jail (%s %d)", WIFSIGNALED(status) ? "signal" : "status",
                            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return 0;
}
