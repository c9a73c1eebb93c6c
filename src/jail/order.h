/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the room `jail`: what jail.c and the program gvmkit-jail say to each other.
 *
 *     gvmkit-jail [OPTIONS] -- PROGRAM [ARGUMENTS]
 *
 * Through one pipe the program gets a struct jail_order; its writing end stays open as long as the parent lives. Into the other it puts a struct
 * jail_report before it becomes PROGRAM, and a second one when that failed. exec closes both.
 */
#ifndef GV_JAIL_ORDER_H
#define GV_JAIL_ORDER_H

#include "jail/jail.h"

#define JAIL_PROGRAM "gvmkit-jail"
#define JAIL_PROGRAM_ENV "GVMKIT_JAIL"

/* The options; all but REQUIRE and the flags take a value. */
enum jail_option {
    JAIL_OPTION_CHANNEL = 'c',  /* "ORDER,REPORT": the numbers of the pipes */
    JAIL_OPTION_DEVICE = 'd',   /* path */
    JAIL_OPTION_FILE = 'f',     /* path */
    JAIL_OPTION_FOREIGN = 'o',  /* spec.foreign_files */
    JAIL_OPTION_LOCK = 'l',     /* spec.lock_memory */
    JAIL_OPTION_MEASURES = 'm', /* number */
    JAIL_OPTION_PROFILE = 'p',  /* number */
    JAIL_OPTION_READONLY = 'r', /* descriptor of a directory */
    JAIL_OPTION_WRITABLE = 'w', /* the same, writable */
    JAIL_OPTION_REQUIRE = 'x',  /* spec.required */
};
#define JAIL_OPTIONS "+c:d:f:olm:p:r:w:x"

/* The only argument of a program that ends at once, for jail_try(). */
#define JAIL_NOTHING "--nothing"

/* What jail_new() was told to run. */
const char *jail_program(const struct jail *j);

struct jail_order {
    int refused[JAIL_MEASURES]; /* of the namespaces */
};

struct jail_report {
    int refused[JAIL_MEASURES];
    int exec_errno; /* of PROGRAM; 0 = it is about to be executed */
    bool enough;    /* false: something was refused that is required, and PROGRAM is not executed */
};

#endif
