/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/fileset.h"

#include <string.h>

#define GLOB_MAX 4096U     /* bytes of a glob */
#define ALTERNATIVES 1024U /* that the braces of a glob may make */

/* One step of a glob. */
enum step_kind { STEP_CHAR, STEP_ANY, STEP_CLASS, STEP_STAR, STEP_DIRS, STEP_IN_DIRS, STEP_REST };
struct step {
    enum step_kind kind;
    unsigned char c;
    const char *class; /* of STEP_CLASS: what is between the brackets */
    size_t class_size;
};

struct glob {
    char *text;
    struct step *steps;
    size_t count;
};

struct globs {
    struct glob *list;
    size_t count;
};

struct fileset {
    struct globs includes, excludes;
    bool all; /* no includes were given */
    bool limited;
    uint64_t depth;
};

static int bad_glob(const char *text, struct gv_error *err)
{
    return gv_error_set(err, GV_E_USAGE, 0, "`%.200s` is not a pattern of file names", text);
}

/* Finds the end of the class that begins at p, after its bracket; NULL when there is none. */
static const char *class_end(const char *p)
{
    if (*p == '!' || *p == '^')
        p++;
    if (*p == ']')
        p++;
    return strchr(p, ']');
}

/* Turns a glob without braces into steps. "**" counts only as a whole component: then it is any number of directories, at the end everything below. */
static int compile(struct glob *g, const char *text, struct gv_error *err)
{
    g->text = gv_strdup(text);
    g->steps = gv_calloc(strlen(text) + 1, sizeof(*g->steps));
    for (const char *p = g->text; *p; p++) {
        struct step s = { .kind = STEP_CHAR, .c = (unsigned char)*p };
        bool whole = p == g->text || p[-1] == '/';
        if (whole && !strncmp(p, "**/", 3)) {
            g->steps[g->count++] = (struct step){ .kind = STEP_DIRS };
            s.kind = STEP_IN_DIRS;
            p += 2;
        } else if (whole && !strcmp(p, "**")) {
            s.kind = STEP_REST;
            p++;
        } else if (*p == '*') {
            s.kind = STEP_STAR;
        } else if (*p == '?') {
            s.kind = STEP_ANY;
        } else if (*p == '[') {
            const char *end = class_end(p + 1);
            if (!end)
                return bad_glob(text, err);
            s.kind = STEP_CLASS;
            s.class = p + 1;
            s.class_size = (size_t)(end - p - 1);
            p = end;
        } else if (*p == '\\') {
            if (!*++p)
                return bad_glob(text, err);
            s.c = (unsigned char)*p;
        }
        g->steps[g->count++] = s;
    }
    return 0;
}

static int add_glob(struct globs *all, const char *text, struct gv_error *err)
{
    if (all->count == ALTERNATIVES)
        return gv_error_set(err, GV_E_LIMIT, 0, "the patterns of file names are more than %u", ALTERNATIVES);
    all->list = gv_reallocarray(all->list, all->count + 1, sizeof(*all->list));
    struct glob *g = &all->list[all->count++];
    *g = (struct glob){ 0 };
    return compile(g, text, err);
}

/* The first brace that is one: not escaped, and not in a class. */
static const char *find_brace(const char *p)
{
    for (; *p; p++) {
        if (*p == '\\' && p[1])
            p++;
        else if (*p == '[' && class_end(p + 1))
            p = class_end(p + 1);
        else if (*p == '{')
            return p;
    }
    return NULL;
}

/* The end of one alternative: its comma, or the brace that closes the group. */
static const char *alternative_end(const char *p)
{
    for (size_t depth = 0; *p; p++) {
        if (*p == '\\' && p[1])
            p++;
        else if (*p == '{')
            depth++;
        else if (*p == '}' && depth-- == 0)
            return p;
        else if (*p == ',' && depth == 0)
            return p;
    }
    return NULL;
}

/* Adds the glob with each alternative of its braces. What is left to do is a list, so that nesting needs no stack. */
static int expand(struct globs *all, const char *text, struct gv_error *err)
{
    cleanup_strv struct gv_strv todo = { 0 };
    if (strlen(text) > GLOB_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "a pattern of file names has more than %u bytes", GLOB_MAX);
    gv_strv_add(&todo, text);
    for (size_t i = 0; i < todo.count; i++) {
        const char *glob = todo.items[i], *open = find_brace(glob);
        if (!open) {
            if (add_glob(all, glob, err) < 0)
                return -1;
            continue;
        }
        const char *close = alternative_end(open + 1);
        while (close && *close == ',')
            close = alternative_end(close + 1);
        if (!close)
            return bad_glob(text, err);
        for (const char *from = open + 1, *to;; from = to + 1) {
            to = alternative_end(from);
            if (todo.count > 2 * ALTERNATIVES)
                return gv_error_set(err, GV_E_LIMIT, 0, "the pattern `%.200s` is more than %u", text, ALTERNATIVES);
            gv_strv_take(&todo, gv_asprintf("%.*s%.*s%s", (int)(open - glob), glob, (int)(to - from), from, close + 1));
            if (to == close)
                break;
        }
    }
    return 0;
}

static int expand_all(struct globs *all, const struct gv_strv *texts, struct gv_error *err)
{
    for (size_t i = 0; i < texts->count; i++)
        if (expand(all, texts->items[i], err) < 0)
            return -1;
    return 0;
}

static void clear_globs(struct globs *all)
{
    for (size_t i = 0; i < all->count; i++) {
        free(all->list[i].text);
        free(all->list[i].steps);
    }
    free(all->list);
}

int fileset_new(struct fileset **out, const struct transfer_request *r, struct gv_error *err)
{
    CLEANUP(fileset) struct fileset *f = gv_new(struct fileset);
    f->all = r->includes.count == 0;
    f->limited = r->depth != NULL;
    f->depth = r->depth ? *r->depth : 0;
    if (expand_all(&f->includes, &r->includes, err) < 0 || expand_all(&f->excludes, &r->excludes, err) < 0)
        return -1;
    *out = steal_ptr(f);
    return 0;
}

void fileset_free(struct fileset *f)
{
    if (!f)
        return;
    clear_globs(&f->includes);
    clear_globs(&f->excludes);
    free(f);
}

/* ---- matching --------------------------------------------------------------------------------------------------------------------- */

static bool in_class(const struct step *s, unsigned char c)
{
    const char *p = s->class, *end = p + s->class_size;
    bool not = p < end && (*p == '!' || *p == '^'), found = false;
    for (p += not ; p < end; p++) {
        unsigned char low = (unsigned char)*p, high = low;
        if (end - p > 2 && p[1] == '-') {
            high = (unsigned char)p[2];
            p += 2;
        }
        found = found || (c >= low && c <= high);
    }
    return found != not &&c != '/';
}

/* Marks the step as one where matching may go on, and those that may be passed over from there. */
static void reach(const struct glob *g, bool *at, size_t i)
{
    for (;; i++) {
        at[i] = true;
        if (i == g->count || (g->steps[i].kind != STEP_STAR && g->steps[i].kind != STEP_DIRS))
            return;
        if (g->steps[i].kind == STEP_DIRS)
            i++; /* over the half of it that is inside of a directory's name */
    }
}

static void advance(const struct glob *g, const bool *at, bool *next, unsigned char c)
{
    for (size_t i = 0; i < g->count; i++) {
        const struct step *s = &g->steps[i];
        if (!at[i])
            continue;
        switch (s->kind) {
        case STEP_CHAR:
            if (c == s->c)
                reach(g, next, i + 1);
            break;
        case STEP_ANY:
            if (c != '/')
                reach(g, next, i + 1);
            break;
        case STEP_CLASS:
            if (in_class(s, c))
                reach(g, next, i + 1);
            break;
        case STEP_STAR:
            if (c != '/')
                reach(g, next, i);
            break;
        case STEP_DIRS:
            next[i + 1] = true;
            break;
        case STEP_IN_DIRS:
            next[i] = true;
            if (c == '/')
                reach(g, next, i + 1);
            break;
        case STEP_REST:
            next[i] = next[i + 1] = true;
            break;
        }
    }
}

static bool glob_matches(const struct glob *g, const char *path)
{
    cleanup_free bool *at = gv_calloc(g->count + 1, sizeof(*at)), *next = gv_calloc(g->count + 1, sizeof(*next));
    reach(g, at, 0);
    for (; *path; path++) {
        memset(next, 0, (g->count + 1) * sizeof(*next));
        advance(g, at, next, (unsigned char)*path);
        bool *swap = at;
        at = next;
        next = swap;
    }
    return at[g->count];
}

static bool any_matches(const struct globs *all, const char *path)
{
    for (size_t i = 0; i < all->count; i++)
        if (glob_matches(&all->list[i], path))
            return true;
    return false;
}

bool fileset_enters(const struct fileset *f, size_t levels)
{
    return !f->limited || levels <= f->depth;
}

bool fileset_has(const struct fileset *f, const char *path)
{
    size_t levels = 0;
    for (const char *p = path; (p = strchr(p, '/')); p++)
        levels++;
    return fileset_enters(f, levels) && !any_matches(&f->excludes, path) && (f->all || any_matches(&f->includes, path));
}
