/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/password.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

#define CTRL_C '\x03'

void cli_password_clear(struct cli_password *p)
{
    explicit_bzero(p->text, sizeof(p->text));
}

/* The first line of what can be read from fd; no more than that is taken. */
static int read_line(int fd, struct cli_password *p, const char *what, struct gv_error *err)
{
    size_t n = 0;
    for (;;) {
        ssize_t got = gv_read_full(fd, p->text + n, 1);
        if (got < 0)
            return gv_error_errno(err, "cannot read the password from %s", what);
        if (got == 0 || p->text[n] == '\n')
            break;
        if (++n + 1 == sizeof(p->text))
            return gv_error_set(err, GV_E_LIMIT, 0, "the password in %s is too long; at most %u bytes are possible", what,
                                CLI_PASSWORD_MAX - 2);
    }
    p->text[n] = '\0';
    return 0;
}

static int ask(const char *prompt, struct cli_password *p, struct gv_error *err)
{
    struct termios before, silent;
    cleanup_close int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0 || tcgetattr(tty, &before) < 0)
        return gv_error_set(err, GV_E_USAGE, 0, "a password is needed, and there is no terminal to ask for it; use --password-file");
    silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ISIG); /* Ctrl-C must not leave the terminal without echo, so it comes as a character */
    tcsetattr(tty, TCSAFLUSH, &silent);
    dprintf(tty, "%s: ", prompt);
    int status = read_line(tty, p, "the terminal", err);
    tcsetattr(tty, TCSAFLUSH, &before);
    dprintf(tty, "\n");
    if (status == 0 && strchr(p->text, CTRL_C))
        return gv_error_set(err, GV_E_CANCELLED, 0, "interrupted");
    return status;
}

int cli_password_get(struct cli_password *p, const char *file, const char *prompt, struct gv_error *err)
{
    if (!file)
        return ask(prompt, p, err);
    if (!strcmp(file, "-"))
        return read_line(STDIN_FILENO, p, "standard input", err);
    cleanup_close int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return gv_error_errno(err, "cannot open `%s`", file);
    return read_line(fd, p, file, err);
}
