/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What can be left out of an image on request. Each class is a list of places, and for each a rule that says of a name there whether it goes. Rules are on
 * the side of keeping: what no rule knows stays, and so do
 *
 *   docs         copyright files and licences, links to directories; the directories of manual pages, into which packages install links
 *   locales      C, POSIX, English and the languages of LANG, LANGUAGE and LC_* in ENV; sources of locales that others include
 *   caches       everything but the package managers' downloads and indices and what pip, npm, yarn and Go have downloaded
 *   static-libs  archives without a shared library of the same name beside them (libgcc.a, libc_nonshared.a, an empty libpthread.a): linking needs those
 *   headers      pyconfig.h, which Python's sysconfig reads
 *
 * Places that are links are not followed: what they lead to has a place of its own. Directories that have become empty go too, except where programs expect
 * them. A file with several names goes with the last of them.
 */
#include "convert/strip.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static const char *const class_names[CONVERT_STRIP_CLASSES] = { "docs", "locales", "caches", "static-libs", "headers" };

/* What a rule is asked about. */
struct candidate {
    struct image_tree *tree;
    const struct gv_strv *languages; /* to be kept */
    const struct image_node *node;
    const struct image_node *first; /* its ancestor (or itself) right below the place */
    size_t depth;                   /* 1 right below the place */
};

/* Whether it goes; directories are asked only with `whole` places. */
typedef bool (*rule_fn)(const struct candidate *c);

struct place {
    int class;
    const char *path; /* "*" stands for each directory there */
    rule_fn rule;
    size_t empty_depth; /* directories this deep or deeper go when nothing is left in them; 0 = none */
};

static bool goes(const struct candidate *c)
{
    (void)c;
    return true;
}

static bool leads_to_directory(const struct candidate *c)
{
    if (c->node->inode->type != IMAGE_SYMLINK)
        return false;
    cleanup_free char *path = image_node_path(c->node);
    const struct image_node *target = image_tree_lookup(c->tree, path, true);
    return target && target->inode->type == IMAGE_DIR;
}

static bool is_legal(const char *name)
{
    static const char *const patterns[] = { "copyright*", "licen[cs]e*", "copying*", "notice*", "authors*" };
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
        if (fnmatch(patterns[i], name, FNM_CASEFOLD) == 0)
            return true;
    return false;
}

static bool doc_goes(const struct candidate *c)
{
    return !is_legal(c->node->name) && !leads_to_directory(c);
}

/* "de", "pt_BR", "sr@latin", "zh_Hans.UTF-8": what the name of a language looks like. */
static bool is_language(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz");
    if (n != 2 && n != 3)
        return false;
    if (name[n] == '_' || name[n] == '-')
        return isupper((unsigned char)name[n + 1]);
    return name[n] == '\0' || name[n] == '.' || name[n] == '@';
}

static bool kept_language(const struct gv_strv *languages, const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz");
    if (n == 2 && !strncmp(name, "en", 2))
        return true;
    for (size_t i = 0; i < languages->count; i++)
        if (strlen(languages->items[i]) == n && strncmp(languages->items[i], name, n) == 0)
            return true;
    return false;
}

static bool locale_goes(const struct candidate *c)
{
    return is_language(c->first->name) && !kept_language(c->languages, c->first->name);
}

/* Translated manual pages: the directories beside man1, man2, ... */
static bool man_locale_goes(const struct candidate *c)
{
    return c->depth > 1 && locale_goes(c);
}

/* Of the sources of locales only those of countries; others are included by name. */
static bool locale_source_goes(const struct candidate *c)
{
    return strchr(c->node->name, '_') && locale_goes(c);
}

/* A name of an archive goes when the linker has the shared library. */
static bool archive_goes(const struct candidate *c)
{
    const char *name = c->node->name;
    size_t n = strlen(name);
    if (c->node->inode->type != IMAGE_FILE || n < 6 || n > 250 || strncmp(name, "lib", 3) != 0 || strcmp(name + n - 2, ".a") != 0)
        return false;
    cleanup_free char *dir = image_node_path(c->node->parent), *shared = gv_asprintf("%s/%.*s.so", dir, (int)n - 2, name);
    const struct image_node *found = image_tree_lookup(c->tree, shared, true);
    return found && found->inode->type == IMAGE_FILE;
}

static bool header_goes(const struct candidate *c)
{
    return strcmp(c->node->name, "pyconfig.h") != 0;
}

static bool old_copy_goes(const struct candidate *c)
{
    return c->depth == 1 && fnmatch("*-old", c->node->name, 0) == 0;
}

static const struct place places[] = {
    { CONVERT_STRIP_DOCS, "/usr/share/doc", doc_goes, 1 },
    { CONVERT_STRIP_DOCS, "/usr/local/share/doc", doc_goes, 1 },
    { CONVERT_STRIP_DOCS, "/usr/share/man", goes, 3 },
    { CONVERT_STRIP_DOCS, "/usr/local/share/man", goes, 3 },
    { CONVERT_STRIP_DOCS, "/usr/local/man", goes, 3 },
    { CONVERT_STRIP_DOCS, "/usr/share/info", goes, 1 },
    { CONVERT_STRIP_DOCS, "/usr/share/gtk-doc", goes, 1 },
    { CONVERT_STRIP_DOCS, "/usr/share/lintian", goes, 1 },
    { CONVERT_STRIP_LOCALES, "/usr/share/locale", locale_goes, 1 },
    { CONVERT_STRIP_LOCALES, "/usr/local/share/locale", locale_goes, 1 },
    { CONVERT_STRIP_LOCALES, "/usr/lib/locale", locale_goes, 1 },
    { CONVERT_STRIP_LOCALES, "/usr/share/i18n/locales", locale_source_goes, 0 },
    { CONVERT_STRIP_LOCALES, "/usr/share/man", man_locale_goes, 1 },
    { CONVERT_STRIP_CACHES, "/var/cache/apt", goes, 0 },
    { CONVERT_STRIP_CACHES, "/var/lib/apt/lists", goes, 0 },
    { CONVERT_STRIP_CACHES, "/var/cache/debconf", old_copy_goes, 0 },
    { CONVERT_STRIP_CACHES, "/var/lib/dpkg", old_copy_goes, 0 },
    { CONVERT_STRIP_CACHES, "/var/cache/man", goes, 2 },
    { CONVERT_STRIP_CACHES, "/var/cache/apk", goes, 1 },
    { CONVERT_STRIP_CACHES, "/var/cache/dnf", goes, 1 },
    { CONVERT_STRIP_CACHES, "/var/cache/yum", goes, 1 },
    { CONVERT_STRIP_CACHES, "/var/cache/libdnf5", goes, 1 },
    { CONVERT_STRIP_CACHES, "/var/cache/zypp", goes, 1 },
    { CONVERT_STRIP_CACHES, "/var/cache/pacman/pkg", goes, 1 },
    { CONVERT_STRIP_CACHES, "/root/.cache/pip", goes, 1 },
    { CONVERT_STRIP_CACHES, "/root/.cache/yarn", goes, 1 },
    { CONVERT_STRIP_CACHES, "/root/.cache/go-build", goes, 1 },
    { CONVERT_STRIP_CACHES, "/root/.npm/_cacache", goes, 1 },
    { CONVERT_STRIP_CACHES, "/home/*/.cache/pip", goes, 1 },
    { CONVERT_STRIP_CACHES, "/home/*/.cache/yarn", goes, 1 },
    { CONVERT_STRIP_CACHES, "/home/*/.cache/go-build", goes, 1 },
    { CONVERT_STRIP_CACHES, "/home/*/.npm/_cacache", goes, 1 },
    { CONVERT_STRIP_CACHES, "/usr/local/share/.cache/yarn", goes, 1 },
    { CONVERT_STRIP_STATIC_LIBS, "/lib", archive_goes, 0 },
    { CONVERT_STRIP_STATIC_LIBS, "/lib64", archive_goes, 0 },
    { CONVERT_STRIP_STATIC_LIBS, "/usr/lib", archive_goes, 0 },
    { CONVERT_STRIP_STATIC_LIBS, "/usr/lib64", archive_goes, 0 },
    { CONVERT_STRIP_STATIC_LIBS, "/usr/local/lib", archive_goes, 0 },
    { CONVERT_STRIP_HEADERS, "/usr/include", header_goes, 1 },
    { CONVERT_STRIP_HEADERS, "/usr/local/include", header_goes, 1 },
};

const char *convert_strip_name(int class)
{
    return class >= 0 && class < CONVERT_STRIP_CLASSES ? class_names[class] : "unknown";
}

int convert_strip_parse(const char *list, unsigned *classes, struct gv_error *err)
{
    for (const char *p = list;; p++) {
        size_t n = strcspn(p, ","), k = 0;
        while (k < CONVERT_STRIP_CLASSES && (strlen(class_names[k]) != n || strncmp(p, class_names[k], n) != 0))
            k++;
        if (k == CONVERT_STRIP_CLASSES)
            return gv_error_set(err, GV_E_USAGE, 0, "`%.*s` is not one of docs, locales, caches, static-libs, headers", (int)n, p);
        *classes |= 1U << k;
        p += n;
        if (!*p)
            return 0;
    }
}

/* ---- one place ---- */

struct stripper {
    struct image_tree *tree;
    struct gv_strv languages;
    struct convert_stripped *stripped; /* of the place's class */
};

struct level {
    struct image_node *dir, **children;
    size_t count, next;
    bool removed; /* something was taken out */
};

static void take_out(struct stripper *s, struct image_node *node)
{
    struct image_inode *inode = node->inode;
    gv_strv_take(&s->stripped->paths, image_node_path(node));
    s->stripped->files++;
    if (--inode->nlink == 0 && inode->type == IMAGE_FILE)
        s->stripped->bytes += inode->size;
    image_node_remove(node);
}

static void push(struct level **stack, size_t *depth, size_t *room, struct image_node *dir)
{
    if (*depth == *room) {
        *room = *room ? *room * 2 : 16;
        *stack = gv_reallocarray(*stack, *room, sizeof(**stack));
    }
    (*stack)[(*depth)++] = (struct level){ .dir = dir, .children = image_node_children(dir), .count = image_node_child_count(dir) };
}

/* Without recursion: an image can be as deep as it likes. The level at depth d (from 1) holds what is d below the place. */
static void strip_dir(struct stripper *s, const struct place *place, struct image_node *top)
{
    struct level *stack = NULL;
    size_t depth = 0, room = 0;
    push(&stack, &depth, &room, top);
    while (depth > 0) {
        struct level *at = &stack[depth - 1];
        if (at->next == at->count) {
            struct image_node *dir = at->dir;
            bool empty = at->removed && image_node_child_count(dir) == 0;
            free(at->children);
            depth--;
            if (empty && place->empty_depth && depth >= place->empty_depth) {
                image_node_remove(dir);
                stack[depth - 1].removed = true;
            }
            continue;
        }
        struct image_node *child = at->children[at->next++];
        if (child->inode->type == IMAGE_DIR) {
            push(&stack, &depth, &room, child);
            continue;
        }
        struct candidate c = { .tree = s->tree, .languages = &s->languages, .node = child, .depth = depth };
        c.first = depth > 1 ? stack[1].dir : child;
        if (place->rule(&c)) {
            take_out(s, child);
            at->removed = true;
        }
    }
    free(stack);
}

/* Walks the path without following links. */
static void strip_path(struct stripper *s, const struct place *place, struct image_node *at, const char *path)
{
    path += strspn(path, "/");
    size_t n = strcspn(path, "/");
    if (at->inode->type != IMAGE_DIR)
        return;
    if (n == 0) {
        strip_dir(s, place, at);
        return;
    }
    if (n == 1 && *path == '*') {
        struct image_node **children = image_node_children(at);
        for (size_t i = 0, count = image_node_child_count(at); i < count; i++)
            strip_path(s, place, children[i], path + n);
        free(children);
        return;
    }
    struct image_node *child = image_node_child(at, path, n);
    if (child)
        strip_path(s, place, child, path + n); /* as deep as the paths of the table */
}

/* The languages that the image is set to: "de" of LANG=de_DE.UTF-8, all of LANGUAGE=de:fr. */
static void find_languages(const struct image_config *config, struct gv_strv *out)
{
    for (size_t i = 0; i < config->env.count; i++) {
        const char *p = config->env.items[i];
        if (strncmp(p, "LANG=", 5) != 0 && strncmp(p, "LANGUAGE=", 9) != 0 && strncmp(p, "LC_", 3) != 0)
            continue;
        for (p = strchr(p, '='); p && *p; p = strchr(p, ':')) {
            p++;
            size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz");
            if (n == 2 || n == 3)
                gv_strv_take(out, gv_strndup(p, n));
        }
    }
}

void strip_tree(struct image_tree *tree, const struct image_config *config, unsigned classes, struct convert_stripped *stripped)
{
    struct stripper s = { .tree = tree };
    find_languages(config, &s.languages);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (!(classes & 1U << places[i].class))
            continue;
        s.stripped = &stripped[places[i].class];
        strip_path(&s, &places[i], image_tree_root(tree), places[i].path);
    }
    gv_strv_clear(&s.languages);
}
