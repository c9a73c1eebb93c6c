/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

static void print_help(const struct cli_command *c)
{
    printf("Usage: %s%s %s\n\n%s.\n", c->door ? "" : "gvmkit ", c->name, c->synopsis, c->summary);
    if (c->details)
        printf("\n%s\n", c->details);
    printf("\nOptions:\n");
    for (const struct cli_option *o = c->options; o && o->name; o++) {
        char left[64];
        int n = o->letter ? snprintf(left, sizeof(left), "  -%c, --%s", o->letter, o->name)
                          : snprintf(left, sizeof(left), "      --%s", o->name);
        if (o->arg && n > 0 && (size_t)n < sizeof(left))
            snprintf(left + n, sizeof(left) - (size_t)n, " %s", o->arg);
        printf("%-32s %s\n", left, o->help);
    }
    printf("%-32s %s\n", "      --help", "show this text");
    if (c->example)
        printf("\nExample:\n%s\n", c->example);
}

const char *cli_program(void)
{
    const char *door = "gvmkit-build";
    return strcmp(program_invocation_short_name, door) == 0 ? door : "gvmkit";
}

int cli_usage(const struct cli_command *c, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fprintf(stderr, "%s: ", cli_program());
    cli_print_clean(stderr, text);
    fprintf(stderr, "; see `%s%s --help`\n", c->door ? "" : "gvmkit ", c->name);
    return CLI_USAGE;
}

int cli_fail(const struct gv_error *err)
{
    fprintf(stderr, "%s: %s\n", cli_program(), err->msg);
    return CLI_FAILED;
}

int cli_parse(const struct cli_command *c, int argc, char **argv,
              int (*take)(void *user, const char *name, const char *value, struct gv_error *err), void *user)
{
    size_t count = 0;
    while (c->options && c->options[count].name)
        count++;
    cleanup_free struct option *longs = gv_calloc(count + 2, sizeof(*longs));
    cleanup_buf struct gv_buf shorts = { 0 };
    gv_buf_addf(&shorts, "%s:", c->stop_at_operand ? "+" : "");
    enum { FIRST_LONG = 256 };
    for (size_t i = 0; i < count; i++) {
        const struct cli_option *o = &c->options[i];
        longs[i] = (struct option){ .name = o->name, .has_arg = o->arg ? required_argument : no_argument, .val = FIRST_LONG + (int)i };
        if (o->letter)
            gv_buf_addf(&shorts, "%c%s", o->letter, o->arg ? ":" : "");
    }
    longs[count] = (struct option){ .name = "help", .val = FIRST_LONG + (int)count };
    opterr = 0;
    optind = 0; /* glibc: start anew */
    for (int v; (v = getopt_long(argc, argv, gv_buf_str(&shorts), longs, NULL)) != -1;) {
        if (v == FIRST_LONG + (int)count) {
            print_help(c);
            return CLI_HELP;
        }
        const struct cli_option *o = NULL;
        for (size_t i = 0; i < count; i++)
            if (v == FIRST_LONG + (int)i || (c->options[i].letter && v == c->options[i].letter))
                o = &c->options[i];
        if (!o || v == '?' || v == ':') {
            const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";
            if (v == ':')
                cli_usage(c, "the option `%s` needs an argument", word);
            else if (optopt && optopt < FIRST_LONG)
                cli_usage(c, "there is no option `-%c`", optopt);
            else
                cli_usage(c, "there is no option `%s`, or it is not unique, or takes no argument", word);
            return CLI_WRONG;
        }
        struct gv_error err = GV_ERROR_INIT;
        if (take(user, o->name, optarg, &err) < 0) {
            cli_usage(c, "--%s: %s", o->name, err.msg);
            return CLI_WRONG;
        }
    }
    return optind;
}

int cli_size(const char *text, uint64_t *out, struct gv_error *err)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (end == text || !isdigit((unsigned char)text[0]) || errno || !isfinite(v))
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a size; write 512m or 1.5g", text);
    static const char units[] = "bkmgt";
    double factor = 1;
    if (*end) {
        const char *u = strchr(units, tolower((unsigned char)*end));
        if (!u)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a size; write 512m or 1.5g", text);
        factor = pow(1024, (double)(u - units));
        end++;
        if (!strcasecmp(end, "ib") || (factor > 1 && !strcasecmp(end, "b")))
            end += strlen(end);
        if (*end)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a size; write 512m or 1.5g", text);
    }
    v *= factor;
    if (v >= 9.2e18)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is too large", text);
    *out = (uint64_t)v;
    return 0;
}

int cli_duration(const char *text, unsigned *ms, struct gv_error *err)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    double factor = !*end || !strcmp(end, "s") ? 1000
                    : !strcmp(end, "ms")       ? 1
                    : !strcmp(end, "m")        ? 60000
                    : !strcmp(end, "h")        ? 3600000
                                               : 0;
    if (end == text || !isdigit((unsigned char)text[0]) || errno || !isfinite(v) || factor == 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a duration; write 30, 1.5s, 5m or 1h", text);
    v *= factor;
    if (v < 1 || v > 4e9)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is too %s", text, v < 1 ? "short" : "long");
    *ms = (unsigned)v;
    return 0;
}

int cli_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out, struct gv_error *err)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end || errno || v < min || v > max)
        return gv_error_set(err, GV_E_USAGE, 0, "%s must be a whole number from %llu to %llu, not `%s`", what, (unsigned long long)min,
                            (unsigned long long)max, text);
    *out = v;
    return 0;
}

int cli_env(struct gv_strv *env, const char *text, struct gv_error *err)
{
    size_t len = strcspn(text, "=");
    if (len == 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not NAME=VALUE or NAME", text);
    if (text[len] == '=') {
        gv_strv_add(env, text);
        return 0;
    }
    const char *ours = getenv(text);
    if (ours)
        gv_strv_take(env, gv_asprintf("%s=%s", text, ours));
    return 0;
}

int cli_signal(const char *text, int *out, struct gv_error *err)
{
    const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
    uint64_t n = 0;
    if (isdigit((unsigned char)*name))
        (void)cli_number("the signal", name, 1, (uint64_t)SIGRTMAX, &n, NULL);
    else if (!strncasecmp(name, "RTMIN", 5) && (!name[5] || name[5] == '+'))
        n = name[5] && cli_number("the signal", name + 6, 0, (uint64_t)(SIGRTMAX - SIGRTMIN), &n, NULL) < 0 ? 0 : n + (uint64_t)SIGRTMIN;
    for (int i = 1; n == 0 && i < SIGRTMIN; i++)
        if (sigabbrev_np(i) && !strcasecmp(name, sigabbrev_np(i)))
            n = (uint64_t)i;
    if (n == 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not the name or number of a signal", text);
    *out = (int)n;
    return 0;
}

void cli_clean(struct gv_buf *b, const char *s)
{
    /* Long values go in pieces that fit an error message, which is where control bytes are replaced. */
    for (size_t left = strlen(s); left > 0;) {
        size_t n = left > 200 ? 200 : left;
        while (n < left && n > 190 && ((unsigned char)s[n] & 0xc0) == 0x80)
            n--;
        struct gv_error clean = GV_ERROR_INIT;
        gv_error_set(&clean, GV_OK, 0, "%.*s", (int)n, s);
        gv_buf_addf(b, "%s", clean.msg);
        s += n;
        left -= n;
    }
}

void cli_print_clean(FILE *f, const char *s)
{
    cleanup_buf struct gv_buf b = { 0 };
    cli_clean(&b, s);
    fputs(gv_buf_str(&b), f);
}

static void log_write(void *user, enum gv_log_level level, const char *text)
{
    if (level == GV_LOG_DEBUG && !user)
        return;
    fprintf(stderr, "%s: %s%s\n", cli_program(), level == GV_LOG_WARNING ? "warning: " : level == GV_LOG_NOTE ? "note: " : "", text);
}

struct gv_log cli_log(bool verbose)
{
    static char yes;
    return (struct gv_log){ .write = log_write, .user = verbose ? &yes : NULL };
}
