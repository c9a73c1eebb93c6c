/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

void terminal_size(uint16_t *rows, uint16_t *columns)
{
    struct winsize ws = { 0 };
    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) < 0)
        (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws);
    *rows = ws.ws_row;
    *columns = ws.ws_col;
}

void terminal_raw(struct terminal *t)
{
    if (tcgetattr(STDIN_FILENO, &t->saved) < 0)
        return;
    struct termios raw = t->saved;
    cfmakeraw(&raw);
    t->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

void terminal_restore(struct terminal *t)
{
    if (t->raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &t->saved);
    t->raw = false;
}
