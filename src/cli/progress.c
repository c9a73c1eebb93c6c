/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Progress on stderr. Updates come from any thread and at any rate; what is shown is bounded to ten bars, four objects or a third of a line a second. A bar
 * is drawn over itself and removed at the end, so that nothing of it stays between the results; notes go through here too, so that they get lines of
 * their own. The rate is that of the last seconds, for the time that is left depends on that.
 */
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define BAR_EVERY 0.1
#define LINE_EVERY 3.0
#define OBJECT_EVERY 0.25
#define RATE_OVER 4.0 /* seconds */
#define TEXT_ROOM 54  /* what describe() makes at most, so that the bar does not change its length */
#define CELLS_MIN 8
#define CELLS_MAX 40

struct cli_progress {
    struct gv_progress sink;
    enum cli_progress_mode mode;
    bool bar, drawn, verbose;
    pthread_mutex_t lock;
    char what[64];
    uint64_t done, total;
    bool pending;           /* done is newer than what was shown */
    double shown;           /* seconds of the monotonic clock */
    double rate, sampled;   /* bytes a second, and when that was computed; rate < 0: not yet */
    uint64_t sampled_bytes; /* done at that time */
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

static void sample(struct cli_progress *p, double t)
{
    double seconds = t - p->sampled;
    if (seconds < BAR_EVERY || p->done < p->sampled_bytes)
        return;
    double recent = (double)(p->done - p->sampled_bytes) / seconds;
    p->rate = p->rate < 0 ? recent : p->rate + (recent - p->rate) * (1 - exp(-seconds / RATE_OVER));
    p->sampled = t;
    p->sampled_bytes = p->done;
}

/* Seconds that are left, -1 when nobody knows. */
static double left(const struct cli_progress *p)
{
    return p->total && p->rate >= 1 && p->done <= p->total ? (double)(p->total - p->done) / p->rate : -1;
}

void cli_format_left(char out[32], double seconds)
{
    unsigned long s = seconds < 0 ? 0 : seconds > 359999 ? 359999 : (unsigned long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, 32, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 32, "%lu:%02lu", s / 60, s % 60);
}

/* " 42%  1.2 GiB of 2.9 GiB  85.3 MiB/s  0:20 left" as far as it is known. */
static void describe(const struct cli_progress *p, char out[160])
{
    char size[32], all[32], rate[32], time[32];
    struct gv_buf b = { 0 };
    gv_format_size(size, p->done);
    gv_format_size(all, p->total);
    gv_format_size(rate, p->rate > 0 ? (uint64_t)p->rate : 0);
    if (p->total && p->done <= p->total)
        gv_buf_addf(&b, "%3u%%  %s of %s", (unsigned)((double)p->done / (double)p->total * 100), size, all);
    else
        gv_buf_addf(&b, "%s", size);
    if (p->rate >= 0)
        gv_buf_addf(&b, "  %s/s", rate);
    if (left(p) >= 0) {
        cli_format_left(time, left(p));
        gv_buf_addf(&b, "  %s left", time);
    }
    snprintf(out, 160, "%s", gv_buf_str(&b));
    gv_buf_clear(&b);
}

static void draw_bar(struct cli_progress *p)
{
    struct winsize ws;
    int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0 ? ws.ws_col : 80;
    char text[160], line[256];
    describe(p, text);
    int n = snprintf(line, sizeof(line), "%s  ", p->what);
    int cells = width - 1 - n - 3 - TEXT_ROOM;
    if (p->total && cells >= CELLS_MIN) {
        if (cells > CELLS_MAX)
            cells = CELLS_MAX;
        int full = p->done < p->total ? (int)((double)cells * (double)p->done / (double)p->total) : cells;
        line[n++] = '[';
        for (int i = 0; i < cells; i++)
            line[n++] = i < full ? '#' : '.';
        line[n++] = ']';
        line[n++] = ' ';
    }
    snprintf(line + n, sizeof(line) - (size_t)n, "%s", text);
    /* A line that is too long would wrap, and could not be drawn over. */
    fprintf(stderr, "\r\033[K%.*s", width > 1 ? width - 1 : 1, line);
    fflush(stderr);
    p->drawn = true;
}

static void print_object(const struct cli_progress *p)
{
    fprintf(stderr, "{\"event\":\"progress\",\"what\":\"%s\",\"done\":%llu,\"total\":%llu,\"rate\":%.0f", p->what,
            (unsigned long long)p->done, (unsigned long long)p->total, p->rate > 0 ? p->rate : 0);
    if (left(p) >= 0)
        fprintf(stderr, ",\"left\":%.0f", left(p));
    fputs("}\n", stderr);
}

static void show(struct cli_progress *p, double t)
{
    p->shown = t;
    p->pending = false;
    if (p->bar) {
        draw_bar(p);
    } else if (p->mode == CLI_PROGRESS_JSON) {
        print_object(p);
    } else {
        char text[160];
        describe(p, text);
        fprintf(stderr, "%s: %s: %s\n", cli_program(), p->what, text + strspn(text, " "));
    }
}

static void begin(struct cli_progress *p, const char *what, double t)
{
    /* Programs see how each phase ended, people only what takes long. */
    if (p->pending && p->mode == CLI_PROGRESS_JSON)
        show(p, t);
    snprintf(p->what, sizeof(p->what), "%s", what);
    p->rate = -1;
    p->sampled = t;
    p->sampled_bytes = 0;
    p->shown = p->bar ? p->shown : t;
}

static void update(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct cli_progress *p = user;
    if (p->mode == CLI_PROGRESS_NONE)
        return;
    pthread_mutex_lock(&p->lock);
    double t = now(), every = p->bar ? BAR_EVERY : p->mode == CLI_PROGRESS_JSON ? OBJECT_EVERY : LINE_EVERY;
    if (strcmp(what, p->what) != 0)
        begin(p, what, t);
    p->done = done;
    p->total = total;
    p->pending = true;
    sample(p, t);
    if (t - p->shown >= every)
        show(p, t);
    pthread_mutex_unlock(&p->lock);
}

static void print_json_text(const char *event, const char *text)
{
    fprintf(stderr, "{\"event\":\"%s\",\"text\":\"", event);
    for (; *text; text++) { /* control bytes are replaced already */
        if (*text == '"' || *text == '\\')
            fputc('\\', stderr);
        fputc(*text, stderr);
    }
    fputs("\"}\n", stderr);
}

static void log_write(void *user, enum gv_log_level level, const char *text)
{
    struct cli_progress *p = user;
    const char *name = level == GV_LOG_WARNING ? "warning" : level == GV_LOG_NOTE ? "note" : "debug";
    if (level == GV_LOG_DEBUG && !p->verbose)
        return;
    pthread_mutex_lock(&p->lock);
    if (p->mode == CLI_PROGRESS_JSON)
        print_json_text(name, text);
    else
        fprintf(stderr, "%s%s: %s%s%s\n", p->drawn ? "\r\033[K" : "", cli_program(), level == GV_LOG_DEBUG ? "" : name,
                level == GV_LOG_DEBUG ? "" : ": ", text);
    p->drawn = false;
    pthread_mutex_unlock(&p->lock);
}

struct gv_log cli_progress_log(struct cli_progress *p, bool verbose)
{
    p->verbose = verbose;
    return (struct gv_log){ .write = log_write, .user = p };
}

struct cli_progress *cli_progress_new(enum cli_progress_mode mode)
{
    struct cli_progress *p = gv_new(struct cli_progress);
    const char *term = getenv("TERM");
    p->mode = mode;
    p->bar = mode == CLI_PROGRESS_AUTO && isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0;
    pthread_mutex_init(&p->lock, NULL);
    p->sink = (struct gv_progress){ .update = update, .user = p };
    return p;
}

const struct gv_progress *cli_progress_sink(struct cli_progress *p)
{
    return &p->sink;
}

void cli_progress_hide(struct cli_progress *p)
{
    pthread_mutex_lock(&p->lock);
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
    pthread_mutex_unlock(&p->lock);
}

void cli_progress_free(struct cli_progress *p)
{
    if (p->pending && p->mode == CLI_PROGRESS_JSON)
        show(p, now());
    cli_progress_hide(p);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
