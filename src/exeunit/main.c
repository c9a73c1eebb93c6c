/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ya-runtime-vm. Results go to stdout, everything else to stderr; any failure is a status that is not 0. The stderr of deploy is shown to the
 * requestor, so that it holds one line that says what is wrong, and no more.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "exeunit/exeunit.h"

static void log_write(void *user, enum gv_log_level level, const char *text)
{
    const struct exeunit_options *o = user;
    if (level == GV_LOG_DEBUG && !o->verbose)
        return;
    fprintf(stderr, EXEUNIT_NAME ": %s%s\n", level == GV_LOG_WARNING ? "warning: " : level == GV_LOG_NOTE ? "note: " : "", text);
}

static int say(const struct gv_error *err)
{
    fprintf(stderr, EXEUNIT_NAME ": %s\n", err->msg);
    return 1;
}

/* Output that nobody gets is a failure. */
static int print(const char *text)
{
    if (fputs(text, stdout) >= 0 && fflush(stdout) == 0)
        return 0;
    fprintf(stderr, EXEUNIT_NAME ": cannot write to standard output: %m\n");
    return 1;
}

static int deploy(const struct exeunit_options *o, const struct gv_log *log)
{
    struct gv_error err = GV_ERROR_INIT;
    cleanup_free char *answer = NULL;
    return exeunit_deploy(o, log, &answer, &err) < 0 ? say(&err) : print(answer);
}

static int start(const struct exeunit_options *o, const struct gv_log *log)
{
    struct gv_error err = GV_ERROR_INIT;
    int status = exeunit_start(o, log, &err);
    if (status)
        say(&err);
    return status;
}

/* An offer is made only by a host that can keep it. */
static int test(const struct exeunit_options *o, const struct gv_log *log, bool offer)
{
    struct gv_error err = GV_ERROR_INIT;
    cleanup_free char *found = NULL;
    if (exeunit_test(o, log, &found, &err) < 0) {
        gv_error_prefix(&err, "this host cannot run VMs");
        return say(&err);
    }
    cleanup_free char *text = offer ? exeunit_offer(o) : steal_ptr(found), *line = gv_asprintf("%s\n", text);
    return print(line);
}

static int act(const struct exeunit_options *o, const struct gv_log *log)
{
    switch (o->command) {
    case EXEUNIT_HELP:
        return print(exeunit_help());
    case EXEUNIT_VERSION:
        return print(EXEUNIT_NAME " " EXEUNIT_VERSION_TEXT "\n");
    case EXEUNIT_DEPLOY:
        return deploy(o, log);
    case EXEUNIT_START:
        return start(o, log);
    case EXEUNIT_RUN:
        fputs(EXEUNIT_NAME ": CLI `run` is not supported; programs are run by the VM that `start` serves\n", stderr);
        return 1;
    case EXEUNIT_OFFER_TEMPLATE:
        return test(o, log, true);
    case EXEUNIT_TEST:
        return test(o, log, false);
    }
    return 1;
}

int main(int argc, char **argv)
{
    /* A reader that goes away is an error where we write, not the end of the process with a VM running. */
    signal(SIGPIPE, SIG_IGN);
    struct exeunit_options o = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    const struct gv_log log = { .write = log_write, .user = &o };
    int status = exeunit_options_parse(&o, argc, argv, &err);
    if (status < 0) {
        gv_error_hint(&err, "see `" EXEUNIT_NAME " --help`");
        status = say(&err);
    } else {
        status = act(&o, &log);
    }
    exeunit_options_clear(&o);
    return status;
}
