/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Layers that have been merged wrongly by one program or another, beyond the rules of test_source_merge.c: what other implementations have open or
 * mended bugs about, attacks through links, every type in place of every other.
 */
#include "helper.h"

#include <stdio.h>

#define LAYERS_MAX 6

struct layers_case {
    const char *what;
    const char *layers[LAYERS_MAX];
    const char *tree;  /* expected, or NULL: must be refused */
    const char *error; /* what the message must contain */
};

static const struct layers_case cases[] = {
    /* ---- the root ---- */
    { "extended attributes of the root", { "d ./ | x=user.a:1", "f a 1" }, "/ d x=user.a:1\n/a f 1\n" },
    { "an opaque root keeps its attributes", { "d ./ | m=700 u=3\nf a 1", "f .wh..wh..opq\nf b 2" }, "/ d m=700 u=3\n/b f 2\n" },
    { "a whiteout of the root's name", { "f a 1", "f ./.wh.a\nf .//b 2" }, "/b f 2\n" },

    /* ---- hard links over layers ---- */
    { "hard-link-1: both names in one layer, then one replaced", { "f a 1\nh b a", "f b 2" }, "/a f 1\n/b f 2\n" },
    { "hard-link-2: a name added above", { "f a 1", "h b a", "h c b" }, "/a f 1\n/b = /a\n/c = /a\n" },
    { "hard-link-delete-1: the first name goes", { "f a 1\nh b a", "f .wh.a" }, "/b f 1\n" },
    { "hard-link-delete-2: the second name goes", { "f a 1\nh b a", "f .wh.b" }, "/a f 1\n" },
    { "hard-link-delete-3: the first name goes and comes back as another file",
      { "f a 1\nh b a", "f .wh.a", "f a 2" },
      "/a f 2\n/b f 1\n" },
    { "hard-link-delete-4: the directory of the first name goes", { "d d\nf d/a 1\nh b d/a", "f .wh.d" }, "/b f 1\n" },
    { "hard-link-delete-xattr: the attributes stay with the other name",
      { "f a 1 | x=user.x:y m=4755\nh b a", "f .wh.a" },
      "/b f 1 m=4755 x=user.x:y\n" },
    { "the target is replaced above by a symbolic link", { "f a 1\nh b a", "l a b" }, "/a l b\n/b f 1\n" },
    { "the target's directory is replaced by a link to elsewhere",
      { "d d\nf d/a 1\nh b d/a", "l d e\nd e\nf e/a 2" },
      "/b f 1\n/d l e\n/e d\n/e/a f 2\n" },
    { "a chain whose ends are hidden", { "f a 1", "h b a", "h c b", "f .wh.a\nf .wh.b", "h d c" }, "/c f 1\n/d = /c\n" },
    { "a link in place of the directory that holds its target", { "d d\nf d/a 1", "h d d/a" }, "/d f 1\n" },
    { "a link to a fifo", { "p p | m=600\nh q p" }, "/p p m=600\n/q = /p\n" },
    { "links in opaque directories", { "d d\nf d/a 1", "d d\nf d/.wh..wh..opq\nh d/b d/a" }, "/d d\n/d/b f 1\n" },
    { "a new file under the name of a link leaves the others",
      { "f a 1\nh b a\nh c a", "f .wh.b\nf b 2", "h d a" },
      "/a f 1\n/b f 2\n/c = /a\n/d = /a\n" },

    /* ---- children of what is no directory ---- */
    { "below a device", { "c a 1 3", "f a/x 1" }, "/a d\n/a/x f 1\n" },
    { "below a fifo of the same layer", { "p a\nf a/b/x 1" }, "/a d\n/a/b d\n/a/b/x f 1\n" },
    { "below a hard link: the other name stays a file", { "f a 1\nh b a", "f b/x 2" }, "/a f 1\n/b d\n/b/x f 2\n" },
    { "through a link to a file", { "f t 1\nl a t", "f a/x 2" }, "/a l t\n/t d\n/t/x f 2\n" },
    { "a whiteout below a file", { "f a 1", "f a/.wh.x\nf a/.wh..wh..opq" }, "/a f 1\n" },

    /* ---- whiteouts and links ---- */
    { "a whiteout through an absolute link", { "d t\nf t/x 1\nl a /t", "f a/.wh.x" }, "/a l /t\n/t d\n" },
    { "opaque through a link", { "d t\nf t/x 1\nl a t", "f a/.wh..wh..opq" }, "/a l t\n/t d\n" },
    { "a whiteout through a link that climbs", { "l a ..", "f a/.wh.etc" }, NULL, "leads out of the image" },
    { "opaque through a link that climbs", { "l a ../..", "f a/b/.wh..wh..opq" }, NULL, "leads out of the image" },
    { "a whiteout through a circle", { "l a b\nl b a", "f a/.wh.x" }, NULL, "in a circle" },
    { "a hard link through an absolute link stays inside", { "l a /\nf x 1\nh b a/x" }, "/a l /\n/b f 1\n/x = /b\n" },
    { "a hard link to the host's files through one", { "l a /\nh b a/etc/shadow" }, NULL, "which is not there" },
    { "a file through a link to the root of the host",
      { "l a /", "f a/etc/cron.d/evil 1" },
      "/a l /\n/etc d\n/etc/cron.d d\n/etc/cron.d/evil f 1\n" },
    { "a link over the way of later members", { "d a\nf a/x 1\nl a /etc\nf a/y 2" }, "/a l /etc\n/etc d\n/etc/y f 2\n" },
    { "two links that swap", { "d d\nl d/a /\nl a d/a\nf a/x 1" }, "/a l d/a\n/d d\n/d/a l /\n/x f 1\n" },
    { "fuse-overlayfs's opaque mark", { "d a\nf a/x 1", "f a/.wh..opq" }, "/a d\n/a/x f 1\n" },
    { "whiteouts of whiteouts", { "f a 1", "f .wh..wh.a" }, "/a f 1\n" },

    /* ---- one name twice ---- */
    { "a whiteout twice", { "f a 1", "f .wh.a\nf .wh.a" }, "" },
    { "opaque twice", { "d a\nf a/x 1", "f a/.wh..wh..opq\nf a/.wh..wh..opq\nf a/y 1" }, "/a d\n/a/y f 1\n" },
    { "a link and a directory", { "l a t\nd a | m=700\nf a/x 1" }, "/a d m=700\n/a/x f 1\n" },
    { "names that differ by case, and by their form in Unicode",
      { "f A 1\nf a 2\nf \xc3\xa9 3\nf e\xcc\x81 4" },
      "/A f 1\n/a f 2\n/e\xcc\x81 f 4\n/\xc3\xa9 f 3\n" },
};

static void check(const struct layers_case *c)
{
    struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    size_t count = 0;
    while (count < LAYERS_MAX && c->layers[count])
        count++;
    int status = load_layers(&image, c->layers, count, &err);
    if (!c->tree) {
        if (status == 0 || !strstr(err.msg, c->error))
            fail_msg("%s: expected an error with `%s`, got: %s", c->what, c->error, status ? err.msg : "success");
    } else if (status < 0) {
        fail_msg("%s: %s", c->what, err.msg);
    } else {
        char *text = tree_text(image.tree);
        if (strcmp(text, c->tree) != 0)
            fail_msg("%s: expected\n%sgot\n%s", c->what, c->tree, text);
        free(text);
    }
    source_image_clear(&image);
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        check(&cases[i]);
}

/* Everything in place of everything, in one layer and in two: the last one counts, and a directory keeps nothing of what it was not. */
static void test_every_type_over_every_other(void **state)
{
    (void)state;
    static const char *const entries[] = { "f x 1", "d x", "d x\nf x/in 1", "l x t", "c x 1 3", "b x 8 0", "p x", "h x t" };
    static const char *const trees[] = { "/x f 1\n",   "/x d\n", "/x d\n/x/in f 1\n", "/x l t\n", "/x c 1:3\n",
                                         "/x b 8:0\n", "/x p\n", "/x = /t\n" };
    size_t n = sizeof(entries) / sizeof(*entries);
    for (size_t i = 0; i < n * n * 2; i++) {
        size_t below = i % n, above = i / n % n;
        bool one = i >= n * n;
        char first[64], second[64], what[64], expected[80];
        snprintf(first, sizeof(first), one ? "f t 7\n%s\n%s" : "f t 7\n%s", entries[below], entries[above]);
        snprintf(second, sizeof(second), "%s", entries[above]);
        snprintf(what, sizeof(what), "`%s` over `%s`", entries[above], entries[below]);
        /* A directory over a directory keeps what is in it. */
        const char *tree = above == 1 && below == 2 ? trees[2] : trees[above];
        snprintf(expected, sizeof(expected), above == 7 ? "/t f 7\n%s" : "/t f 7\n%s", tree);
        check(&(struct layers_case){ .what = what, .layers = { first, one ? NULL : second }, .tree = expected });
    }
}

/* A name of 255 bytes can be hidden, though the name of its whiteout is longer than any file's. */
static void test_whiteouts_of_long_names(void **state)
{
    (void)state;
    for (int n = 250; n <= 256; n++) {
        char name[300], add[320], hide[320];
        memset(name, 'n', sizeof(name));
        name[n] = '\0';
        snprintf(add, sizeof(add), "f d/%.255s 1\nf a 1", name);
        snprintf(hide, sizeof(hide), "f d/.wh.%s", name);
        check(&(struct layers_case){ .what = "a whiteout of a long name",
                                     .layers = { add, hide },
                                     .tree = n <= 255 ? "/a f 1\n/d d\n" : NULL,
                                     .error = "255 are allowed" });
    }
    char name[258];
    memset(name, 'n', sizeof(name));
    name[257] = '\0';
    static const char *const below[][2] = {
        { "f .wh.", "/x 1" }, { "f .wh..wh.plnk/.wh.", " 1" }, { "h b .wh..wh.plnk/.wh.", "" }, { "h b .wh.", "" }
    };
    for (size_t i = 0; i < sizeof(below) / sizeof(*below); i++) {
        char *inside = gv_asprintf("%s%s%s", below[i][0], name, below[i][1]);
        check(&(struct layers_case){ .what = below[i][0], .layers = { inside }, .tree = NULL, .error = "" });
        free(inside);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_every_type_over_every_other),
        cmocka_unit_test(test_whiteouts_of_long_names),
    };
    return cmocka_run_group_tests_name("source_edge_layers", tests, NULL, NULL);
}
