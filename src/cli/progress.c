/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Progress on stderr. Updates come from any thread and at any rate; what is shown is bounded to ten bars or a line every three seconds. A
 * bar is drawn over itself and removed at the end, so that nothing of it stays between the results.
 */
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define BAR_EVERY 0.1
#define LINE_EVERY 3.0

struct cli_progress {
    struct gv_progress sink;
    enum cli_progress_mode mode;
    bool bar, drawn;
    pthread_mutex_t lock;
    char what[64];
    double started, shown; /* seconds of the monotonic clock; started: of this phase */
};

int cli_progress_mode(const char *text, enum cli_progress_mode *out, struct gv_error *err)
{
    static const char *const names[] = { "auto", "plain", "none", "json" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!strcmp(text, names[i])) {
            *out = (enum cli_progress_mode)i;
            return 0;
        }
    }
    return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not one of auto, plain, none, json", text);
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void draw_bar(struct cli_progress *p, uint64_t done, uint64_t total, double rate)
{
    struct winsize ws;
    int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 20 ? ws.ws_col : 80;
    char size[32], per[32], text[160];
    cli_format_size(size, done);
    cli_format_size(per, (uint64_t)rate);
    if (total && rate > 0 && done <= total) {
        unsigned left = (unsigned)((double)(total - done) / rate + 0.5);
        snprintf(text, sizeof(text), " %3u%%  %s  %s/s  %u:%02u left", (unsigned)(done * 100 / total), size, per, left / 60, left % 60);
    } else {
        snprintf(text, sizeof(text), "  %s  %s/s", size, per);
    }
    int cells = width - (int)strlen(text) - (int)strlen(p->what) - 4;
    fprintf(stderr, "\r\033[K%s", p->what);
    if (total && cells >= 8) {
        if (cells > 40)
            cells = 40;
        int full = (int)((double)cells * (double)done / (double)total);
        fputs(" [", stderr);
        for (int i = 0; i < cells; i++)
            fputc(i < full ? '#' : '.', stderr);
        fputc(']', stderr);
    }
    fputs(text, stderr);
    fflush(stderr);
    p->drawn = true;
}

static void update(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct cli_progress *p = user;
    if (p->mode == CLI_PROGRESS_NONE)
        return;
    pthread_mutex_lock(&p->lock);
    double t = now();
    if (strcmp(what, p->what) != 0) {
        snprintf(p->what, sizeof(p->what), "%s", what);
        p->started = t;
        if (!p->bar)
            p->shown = t;
    }
    double rate = t > p->started ? (double)done / (t - p->started) : 0;
    if (t - p->shown >= (p->bar ? BAR_EVERY : LINE_EVERY) || (p->mode == CLI_PROGRESS_JSON && t - p->shown >= 0.25)) {
        p->shown = t;
        if (p->bar) {
            draw_bar(p, done, total, rate);
        } else if (p->mode == CLI_PROGRESS_JSON) {
            fprintf(stderr, "{\"event\":\"progress\",\"what\":\"%s\",\"done\":%llu,\"total\":%llu,\"rate\":%.0f}\n", what,
                    (unsigned long long)done, (unsigned long long)total, rate);
        } else {
            char size[32], all[32];
            cli_format_size(size, done);
            cli_format_size(all, total);
            fprintf(stderr, "gvmkit: %s: %s%s%s\n", what, size, total ? " of " : "", total ? all : "");
        }
    }
    pthread_mutex_unlock(&p->lock);
}

struct cli_progress *cli_progress_new(enum cli_progress_mode mode)
{
    struct cli_progress *p = gv_new(struct cli_progress);
    p->mode = mode;
    p->bar = mode == CLI_PROGRESS_AUTO && isatty(STDERR_FILENO);
    pthread_mutex_init(&p->lock, NULL);
    p->sink = (struct gv_progress){ .update = update, .user = p };
    return p;
}

const struct gv_progress *cli_progress_sink(struct cli_progress *p)
{
    return &p->sink;
}

void cli_progress_free(struct cli_progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
