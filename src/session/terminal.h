/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The user's terminal. */
#ifndef GV_SESSION_TERMINAL_H
#define GV_SESSION_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

/* The signals that are not for us but for the command. */
#define TERMINAL_SIGNALS                                                                                                                   \
    {                                                                                                                                      \
        SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2                                                                                 \
    }

/* The size of our terminal; 0 x 0 when there is none. */
void terminal_size(uint16_t *rows, uint16_t *columns);

struct terminal {
    struct termios saved;
    bool raw;
};
/* Each key goes to the command as it is. Nothing happens without a terminal. */
void terminal_raw(struct terminal *t);
void terminal_restore(struct terminal *t);

#endif
