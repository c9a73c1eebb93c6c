/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Each line is added to the file of the history when it has been typed, so that nothing is lost however a session ends, and several at once do not take
 * each other's lines away. As in a shell, a line that begins with a blank is not remembered, nor one that is the same as the line before it.
 *
 * The library is loaded when there is a terminal: nothing else that this program does should take the time and the memory for it. Where it is missing
 * lines can be typed, and that is all.
 */
#include "exeunit/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#define LIBRARY "libreadline.so.8"
#define HISTORY_FILE "dbg_history"
#define HISTORY_LINES 1000
#define LINE_MAX_KEPT 4096U
#define FILE_MAX (HISTORY_LINES * (uint64_t)LINE_MAX_KEPT * 2)

struct prompt {
    char *text;
    char *file; /* of the history; NULL = none is kept */
    bool edited;
};

/* Functions and variables of the library, by their names. Written once. */
static struct readline_api {
    char *(*readline)(const char *);
    int (*rl_bind_key)(int, rl_command_func_t *);
    int (*rl_insert)(int, int);
    int (*rl_on_new_line)(void);
    void (*rl_replace_line)(const char *, int);
    void (*rl_redisplay)(void);
    void (*using_history)(void);
    void (*stifle_history)(int);
    void (*clear_history)(void);
    void (*add_history)(const char *);
    int (*read_history)(const char *);
    int (*append_history)(int, const char *);
    int (*history_truncate_file)(const char *, int);
    HIST_ENTRY *(*history_get)(int);
    const char **rl_readline_name;
    FILE **rl_instream, **rl_outstream;
    rl_getc_func_t **rl_getc_function;
    int (*rl_getc)(FILE *);
    int (*rl_pending_signal)(void);
    void (*rl_check_signals)(void);
    int *history_length, *history_base;
} api;

static bool load(void)
{
#define ENTRY(name) GV_LIBRARY_ENTRY(struct readline_api, "", name)
    static const struct gv_library_entry entries[] = {
        ENTRY(readline),
        ENTRY(rl_bind_key),
        ENTRY(rl_insert),
        ENTRY(rl_on_new_line),
        ENTRY(rl_replace_line),
        ENTRY(rl_redisplay),
        ENTRY(using_history),
        ENTRY(stifle_history),
        ENTRY(clear_history),
        ENTRY(add_history),
        ENTRY(read_history),
        ENTRY(append_history),
        ENTRY(history_truncate_file),
        ENTRY(history_get),
        ENTRY(rl_readline_name),
        ENTRY(rl_instream),
        ENTRY(rl_outstream),
        ENTRY(rl_getc_function),
        ENTRY(rl_getc),
        ENTRY(rl_pending_signal),
        ENTRY(rl_check_signals),
        ENTRY(history_length),
        ENTRY(history_base),
    };
    _Static_assert(sizeof(entries) / sizeof(*entries) * sizeof(void *) == sizeof(api), "an entry for each");
    return gv_library_load(LIBRARY, entries, sizeof(entries) / sizeof(*entries), &api);
}

static volatile sig_atomic_t given_up;

static void on_interrupt(int number)
{
    (void)number;
    given_up = 1;
}

/* Readline would go on with the line that it was at, which nobody wants any more. */
static void give_up_line(void)
{
    given_up = 0;
    fputc('\n', *api.rl_outstream);
    api.rl_on_new_line();
    api.rl_replace_line("", 0);
    api.rl_redisplay();
}

/*
 * The next byte that is typed. Readline only notes a signal when it comes, sees to it at certain places, and then sends it to whoever had it before:
 * to on_interrupt(), wherever that happens. Its own way to wait sleeps over a signal that comes after the last look and before the sleep. Here signals are
 * blocked between the two.
 */
static int next_byte(FILE *stream)
{
    for (;;) {
        sigset_t all, before;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, &before);
        struct pollfd in = { .fd = fileno(stream), .events = POLLIN };
        bool signalled = given_up || api.rl_pending_signal();
        int ready = signalled ? 0 : ppoll(&in, 1, NULL, &before);
        sigprocmask(SIG_SETMASK, &before, NULL);
        if (ready > 0)
            return api.rl_getc(stream);
        api.rl_check_signals();
        if (given_up)
            give_up_line();
    }
}

/* The file is ours alone, whoever has made it and however. */
static int open_history(struct prompt *p, struct gv_error *err)
{
    cleanup_free char *dir = gv_state_dir(err);
    if (!dir)
        return -1;
    p->file = gv_asprintf("%s/" HISTORY_FILE, dir);
    cleanup_close int fd = open(p->file, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return gv_error_errno(err, "cannot open the history `%s`", p->file);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > FILE_MAX)
        return gv_error_set(err, GV_E_FORMAT, 0, "the history `%s` is not a file of at most %llu bytes", p->file,
                            (unsigned long long)FILE_MAX);
    if ((st.st_mode & 077) && fchmod(fd, 0600) < 0)
        return gv_error_errno(err, "cannot make the history `%s` ours alone", p->file);
    int sys = api.read_history(p->file);
    return sys ? gv_error_set(err, GV_E_IO, sys, "cannot read the history `%s`", p->file) : 0;
}

static void remember(const struct prompt *p, const char *line)
{
    const HIST_ENTRY *last = *api.history_length > 0 ? api.history_get(*api.history_base + *api.history_length - 1) : NULL;
    if (line[0] == '\0' || line[0] == ' ' || strlen(line) > LINE_MAX_KEPT || (last && !strcmp(last->line, line)))
        return;
    api.add_history(line);
    if (p->file)
        api.append_history(1, p->file);
}

struct prompt *prompt_open(const char *text, bool history, const struct gv_log *log)
{
    struct prompt *p = gv_new(struct prompt);
    struct gv_error err = GV_ERROR_INIT;
    p->text = gv_strdup(text);
    if (!isatty(STDIN_FILENO))
        return p;
    p->edited = load();
    if (!p->edited) {
        gv_note(log, "lines cannot be edited without the library " LIBRARY "; install the package libreadline8");
        return p;
    }
    *api.rl_readline_name = "gvmkit";
    *api.rl_instream = stdin;
    *api.rl_outstream = stderr; /* stdout is the programs' */
    *api.rl_getc_function = next_byte;
    api.rl_bind_key('\t', api.rl_insert); /* the files that could be completed are not those of the guest */
    api.using_history();
    api.stifle_history(HISTORY_LINES);
    if (history && open_history(p, &err) < 0) {
        gv_warn(log, "lines are not remembered: %s", err.msg);
        free(p->file);
        p->file = NULL;
    }
    return p;
}

int prompt_read(struct prompt *p, char **line)
{
    bool terminal = isatty(STDIN_FILENO);
    if (p->edited) {
        const struct sigaction action = { .sa_handler = on_interrupt };
        struct sigaction before;
        given_up = 0;
        sigaction(SIGINT, &action, &before);
        *line = api.readline(p->text);
        sigaction(SIGINT, &before, NULL);
        if (*line)
            remember(p, *line);
        else
            fputc('\n', stderr);
        return *line != NULL;
    }
    size_t size = 0;
    ssize_t n;
    *line = NULL;
    do {
        if (terminal)
            fputs(p->text, stderr);
        clearerr(stdin);
        errno = 0;
        n = getline(line, &size, stdin);
    } while (n < 0 && errno == EINTR); /* Ctrl-C while nothing runs */
    if (n < 0) {
        if (terminal)
            fputc('\n', stderr);
        free(*line);
        return 0;
    }
    if (n > 0 && (*line)[n - 1] == '\n')
        (*line)[n - 1] = '\0';
    return 1;
}

void prompt_close(struct prompt *p)
{
    if (p->file)
        api.history_truncate_file(p->file, HISTORY_LINES);
    if (p->edited)
        api.clear_history();
    free(p->file);
    free(p->text);
    free(p);
}
