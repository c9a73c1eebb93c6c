/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the unit tests of the room share. */
#ifndef EXEUNIT_TEST_H
#define EXEUNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#endif
