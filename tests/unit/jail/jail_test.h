/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tests of the room `jail` share: starting the captive, and hearing what became of it. */
#ifndef GV_TESTS_JAIL_TEST_H
#define GV_TESTS_JAIL_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "jail/jail.h"

/* captive.c, built; argv[1] of the test. */
extern const char *captive;

/* A jail with nothing special around `captive what argument`. */
struct cell {
    struct jail_spec spec;
    const char *argv[4];
    struct jail_result result;
    struct gv_error err;
    int status; /* as from waitpid(2) */
};

/* Runs it to its end. What it has said, or the name of the signal that ended it, or "not started"; the caller's to free. */
char *cell_run(struct cell *c, const char *what, const char *argument);

char *jail_test_directory(void);

/* Skips the test where the host refuses what it is about. */
#define SKIP_WITHOUT(result, measure)                                                                                                      \
    do {                                                                                                                                   \
        if ((result).refused[measure]) {                                                                                                   \
            print_message("# skip: this host refuses: %s\n", jail_measure_name(measure));                                                  \
            skip();                                                                                                                        \
        }                                                                                                                                  \
    } while (0)

#endif
