/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The rules of layers, one table entry a rule; docs/layers.md explains them. */
#include "helper.h"

#define LAYERS_MAX 8

struct rule {
    const char *what;
    const char *layers[LAYERS_MAX];
    const char *tree;  /* expected, or NULL: must be refused */
    const char *error; /* what the message must contain */
};

static const struct rule rules[] = {
    /* ---- plain files and their attributes ---- */
    { "attributes",
      { "f a hello | m=4755 u=1000 g=2000 t=1234567890\nd d | m=1777\nl l a | u=5\nc c 1 3 | m=666\nb b 8 0\np p | m=600\nf e" },
      "/a f hello m=4755 u=1000 g=2000 t=1234567890\n/b b 8:0\n/c c 1:3 m=666\n/d d m=1777\n/e f\n/l l a u=5\n/p p m=600\n" },
    { "times before 1970 and after 2106", { "f a x | t=-5\nf b x | t=9999999999" }, "/a f x t=-5\n/b f x t=9999999999\n" },
    { "large owners", { "f a x | u=4294967294 g=2097152" }, "/a f x u=4294967294 g=2097152\n" },
    { "extended attributes",
      { "f a x | x=security.capability:cap x=user.b:2 x=user.a:1" },
      "/a f x x=security.capability:cap x=user.a:1 x=user.b:2\n" },
    { "an empty extended attribute", { "f a x | x=user.e:" }, "/a f x x=user.e:\n" },
    { "attributes that an image cannot hold are left out",
      { "f a x | x=system.posix_acl_access:1 x=trusted.overlay.opaque:y x=trusted.t:1 x=user.:1" },
      "/a f x x=trusted.t:1\n" },
    { "the later of two attributes of one name", { "f a x | x=user.a:1 x=user.a:2" }, "/a f x x=user.a:2\n" },
    { "no entries at all", { "" }, "" },
    { "no layers at all", { NULL }, "" },

    /* ---- forms of one name ---- */
    { "all forms of a name are one file, the last entry of it counts", { "f a 1\nf ./a 2\nf /a 3\nf a/ \nf .//a 5" }, "/a f 5\n" },
    { "slashes and dots inside", { "d a\nf a//b 1\nf a/./b 2\nf a/c/../x 3" }, NULL, "`..` leads out" },
    { "doubled slashes and dots", { "f a//b/./c 1\nf ./a/./d 2" }, "/a d\n/a/b d\n/a/b/c f 1\n/a/d f 2\n" },
    { "attributes of the root", { "d ./ | m=700 u=3 t=77" }, "/ d m=700 u=3 t=77\n" },
    { "attributes of the root written as a slash", { "d / | m=711 t=5" }, "/ d m=711 t=5\n" },
    { "the root's attributes come from the topmost layer that has them",
      { "d ./ | m=700", "d ./ | m=750 t=0\nf a x", "f b x" },
      "/ d m=750\n/a f x\n/b f x\n" },
    { "absolute names are below the root", { "d /etc\nf /etc/x 1\nh /y /etc/x" }, "/etc d\n/etc/x f 1\n/y = /etc/x\n" },
    { "the root cannot be a link (CVE-2021-29136)", { "l . /etc" }, NULL, "root of the image is not a directory" },
    { "nor a file", { "f ./. x" }, NULL, "root of the image is not a directory" },
    { "nor a hard link", { "f a 1\nh ./ a" }, NULL, "root of the image is not a directory" },
    { "names may contain what looks strange",
      { "f ... 1\nf .a 2\nf ..b 3\nf a: 4\nf \xff\xfe 5\nf \\ 6" },
      "/... f 1\n/..b f 3\n/.a f 2\n/\\ f 6\n/a: f 4\n/\xff\xfe f 5\n" },

    /* ---- implied parents ---- */
    { "missing parents are root's, 0755, as old as what needs them first",
      { "f a/b/c x | t=50\nf a/d y | t=60" },
      "/a d t=50\n/a/b d t=50\n/a/b/c f x t=50\n/a/d f y t=60\n" },
    { "a later entry of the directory gives it its attributes", { "f a/b x | t=50\nd a | m=700 t=9" }, "/a d m=700 t=9\n/a/b f x t=50\n" },
    { "parents that exist keep theirs", { "d a | m=700 u=7", "f a/b x" }, "/a d m=700 u=7\n/a/b f x\n" },

    /* ---- several layers ---- */
    { "the upper file counts", { "f a 1\nf b 1", "f a 2 | m=600" }, "/a f 2 m=600\n/b f 1\n" },
    { "directories are merged, the upper attributes count",
      { "d a | m=700 x=user.a:1\nf a/x 1", "d a | u=5\nf a/y 2" },
      "/a d u=5\n/a/x f 1\n/a/y f 2\n" },
    { "file to directory", { "f a 1", "d a\nf a/b 2" }, "/a d\n/a/b f 2\n" },
    { "directory to file", { "d a\nf a/b 1\nd a/c\nf a/c/d 2", "f a 3" }, "/a f 3\n" },
    { "directory to file to directory", { "d a | m=700\nf a/b 1", "f a 2", "d a\nf a/c 3" }, "/a d\n/a/c f 3\n" },
    { "symbolic link to directory", { "d t\nf t/x 1\nl a t", "d a\nf a/y 2" }, "/a d\n/a/y f 2\n/t d\n/t/x f 1\n" },
    { "directory to symbolic link", { "d a\nf a/x 1", "l a b" }, "/a l b\n" },
    { "file to device", { "f a 1", "c a 0 0" }, "/a c 0:0\n" },
    { "a child of what is a file below", { "f a 1", "f a/b 2" }, "/a d\n/a/b f 2\n" },
    { "a child of what is a file in the same layer", { "f a 1\nf a/b 2" }, "/a d\n/a/b f 2\n" },
    { "a file in place of a directory of the same layer", { "d a\nf a/b 2\nf a 1" }, "/a f 1\n" },

    /* ---- whiteouts ---- */
    { "a whiteout", { "f a 1\nf b 2", "f .wh.a" }, "/b f 2\n" },
    { "before its siblings, and after them",
      { "d d\nf d/a 1\nf d/b 1", "f d/.wh.a\nf d/c 2", "f d/e 3\nf d/.wh.b" },
      "/d d\n/d/c f 2\n/d/e f 3\n" },
    { "of a directory", { "d a\nf a/b 1\nd a/c\nf a/c/d 1\nf x 1", "f .wh.a" }, "/x f 1\n" },
    { "of what the same layer adds before it: that stays", { "f a 1", "f a 2\nf .wh.a" }, "/a f 2\n" },
    { "of what the same layer adds after it: that stays", { "f a 1", "f .wh.a\nf a 2" }, "/a f 2\n" },
    { "of a directory that the same layer makes anew: empty and new", { "d a | m=700\nf a/b 1", "f a/c 2\nf .wh.a" }, "/a d\n/a/c f 2\n" },
    { "the same, the other way round", { "d a | m=700\nf a/b 1", "f .wh.a\nd a\nf a/c 2" }, "/a d\n/a/c f 2\n" },
    { "of what is not there", { "f a 1", "f .wh.b\nf x/.wh.y\nf a/.wh.z" }, "/a f 1\n" },
    { "in the lowest layer they vanish", { "f .wh.a\nf b 1\nd d\nf d/.wh..wh..opq" }, "/b f 1\n/d d\n" },
    { "do not make their directories", { "f a 1", "f q/r/.wh.s" }, "/a f 1\n" },
    { "of any type", { "f a 1\nf b 1\nf c 1", "h .wh.a .wh..wh.aufs\nc .wh.b 0 0\nl .wh.c x" }, "" },
    { "and again above", { "f a 1", "f .wh.a", "f a 3", "f .wh.a" }, "" },
    { "that names nothing", { "f a 1", "f .wh." }, NULL, "names nothing" },
    { "that names nothing, in a directory", { "d d", "f d/.wh." }, NULL, "names nothing" },
    { "that names the directory", { "d d", "f d/.wh.." }, NULL, "names nothing" },
    { "that names the parent", { "d d", "f d/.wh..." }, NULL, "names nothing" },
    { "as a directory with something in it", { "f a 1", "d .wh.a\nf .wh.a/b 1" }, NULL, "below a whiteout" },
    { "of a link, not of what it means", { "d t\nf t/x 1\nl a t", "f .wh.a" }, "/t d\n/t/x f 1\n" },
    { "through a link of a layer below", { "d t\nf t/x 1\nf t/y 1\nl a t", "f a/.wh.x" }, "/a l t\n/t d\n/t/y f 1\n" },
    { "not through a link that the layer replaces", { "d t\nf t/x 1\nl a t", "d a\nf a/.wh.x" }, "/a d\n/t d\n/t/x f 1\n" },
    { "not through a link that the layer replaces, in any order",
      { "d t\nf t/x 1\nl a t", "f a/.wh.x\nf a/.wh..wh..opq\nd a" },
      "/a d\n/t d\n/t/x f 1\n" },
    { "not through a link that the layer takes away", { "d t\nf t/x 1\nl a t", "f a/.wh.x\nf .wh.a" }, "/t d\n/t/x f 1\n" },

    /* ---- opaque directories ---- */
    { "opaque, first", { "d a | m=700\nf a/x 1\nd a/d\nf a/d/y 1", "d a\nf a/.wh..wh..opq\nf a/z 2" }, "/a d\n/a/z f 2\n" },
    { "opaque, last", { "d a | m=700\nf a/x 1\nd a/d\nf a/d/y 1", "d a\nf a/z 2\nf a/.wh..wh..opq" }, "/a d\n/a/z f 2\n" },
    { "opaque, before the directory itself", { "d a | m=700\nf a/x 1", "f a/.wh..wh..opq\nf a/z 2\nd a | u=1" }, "/a d u=1\n/a/z f 2\n" },
    { "opaque keeps the attributes of the directory if it has no entry", { "d a | m=700\nf a/x 1", "f a/.wh..wh..opq" }, "/a d m=700\n" },
    { "opaque hides what the layer itself has only the parents of",
      { "d a\nd a/s | m=700\nf a/s/x 1", "f a/s/y 2\nf a/.wh..wh..opq" },
      "/a d\n/a/s d\n/a/s/y f 2\n" },
    { "opaque at the root", { "f a 1\nd b\nf b/c 1", "f x 2\nf .wh..wh..opq" }, "/x f 2\n" },
    { "opaque only for layers below", { "d a\nf a/x 1", "d a\nf a/.wh..wh..opq\nf a/y 2", "f a/z 3" }, "/a d\n/a/y f 2\n/a/z f 3\n" },
    { "opaque of what is a file below", { "f a 1", "d a\nf a/.wh..wh..opq\nf a/x 2" }, "/a d\n/a/x f 2\n" },
    { "`.wh..wh..opqX` is not opaque", { "d a\nf a/x 1", "f a/.wh..wh..opqX" }, "/a d\n/a/x f 1\n" },
    { "`.wh..opq` is an ordinary whiteout", { "d a\nf a/x 1\nf a/.opq 1", "f a/.wh..opq" }, "/a d\n/a/x f 1\n" },
    { "leftovers of aufs are no files", { "d .wh..wh.plnk\nd .wh..wh.orph\nf .wh..wh.aufs\nf .wh..wh.orph/x 1\nf a 1" }, "/a f 1\n" },
    { "overlayfs's own whiteouts are devices here", { "f a 1", "c a 0 0" }, "/a c 0:0\n" },

    /* ---- hard links ---- */
    { "a hard link", { "f a 1 | m=600\nh b a" }, "/a f 1 m=600\n/b = /a\n" },
    { "a chain of them", { "f a 1\nh b a\nh c b\nh d/e c" }, "/a f 1\n/b = /a\n/c = /a\n/d d\n/d/e = /a\n" },
    { "to a layer below", { "f a 1", "h b a" }, "/a f 1\n/b = /a\n" },
    { "the target is hidden above", { "f a 1\nh b a", "f .wh.a" }, "/b f 1\n" },
    { "the target is replaced above: the other name keeps the old file", { "f a 1\nh b a", "f a 2" }, "/a f 2\n/b f 1\n" },
    { "the target is replaced later in the layer", { "f a 1\nh b a\nf a 2" }, "/a f 2\n/b f 1\n" },
    { "to the old file of a layer below, replaced later in the layer", { "f a 1", "h b a\nf a 2" }, "/a f 2\n/b f 1\n" },
    { "to the new file", { "f a 1", "f a 2\nh b a" }, "/a f 2\n/b = /a\n" },
    { "to what the same layer hides", { "f a 1", "f .wh.a\nh b a" }, "/b f 1\n" },
    { "to what the same layer hides, in a hidden directory", { "d d\nf d/a 1", "f .wh.d\nh b d/a" }, "/b f 1\n" },
    { "to what two layers up is hidden", { "f a 1", "h b a", "f .wh.a", "h c b" }, "/b f 1\n/c = /b\n" },
    { "to a symbolic link", { "l a nowhere\nh b a" }, "/a l nowhere\n/b = /a\n" },
    { "to a device", { "c a 1 3\nh b a" }, "/a c 1:3\n/b = /a\n" },
    { "through a symbolic link", { "d t\nf t/x 1\nl a t\nh b a/x" }, "/a l t\n/b f 1\n/t d\n/t/x = /b\n" },
    { "its own attributes mean nothing",
      { "f a 1 | m=600 x=user.a:1\nh b a | m=777 u=9 x=user.b:2" },
      "/a f 1 m=600 x=user.a:1\n/b = /a\n" },
    { "to itself", { "f a 1", "h a a" }, "/a f 1\n" },
    { "in place of a directory", { "f a 1\nd d\nf d/x 2", "h d a" }, "/a f 1\n/d = /a\n" },
    { "to a name with dots and slashes", { "f x/a 1\nh b ./x//a\nh c /x/a" }, "/b f 1\n/c = /b\n/x d\n/x/a = /b\n" },
    { "before its target", { "h b a\nf a 1" }, NULL, "which is not there" },
    { "to nothing", { "h b a" }, NULL, "which is not there" },
    { "to a directory", { "d a\nh b a" }, NULL, "to the directory" },
    { "to the root", { "h b /" }, NULL, "not a file" },
    { "out of the image", { "h b ../../etc/shadow" }, NULL, "`..` leads out" },
    { "to a whiteout", { "f a 1", "f .wh.a\nh b .wh.a" }, NULL, "not a file" },
    { "to what a layer below hides", { "f a 1", "f .wh.a", "h b a" }, NULL, "which is not there" },
    { "to where aufs kept files with several names",
      { "d .wh..wh.plnk\nf .wh..wh.plnk/1.2 x\nh a .wh..wh.plnk/1.2\nh b .wh..wh.plnk/1.2" },
      "/a f x\n/b = /a\n" },
    { "to there from another layer", { "f .wh..wh.plnk/1.2 x", "h a .wh..wh.plnk/1.2" }, NULL, "which is not there" },

    /* ---- names that lead through symbolic links ---- */
    { "into a link of a layer below",
      { "d usr\nd usr/lib\nl lib usr/lib", "f lib/x 1" },
      "/lib l usr/lib\n/usr d\n/usr/lib d\n/usr/lib/x f 1\n" },
    { "into a link of the same layer", { "d usr/lib\nl lib usr/lib\nf lib/x 1" }, "/lib l usr/lib\n/usr d\n/usr/lib d\n/usr/lib/x f 1\n" },
    { "into an absolute one", { "d run\nd var\nl var/run /run", "f var/run/x 1" }, "/run d\n/run/x f 1\n/var d\n/var/run l /run\n" },
    { "into one to the parent", { "d a/b\nl a/up ..", "f a/up/x 1" }, "/a d\n/a/b d\n/a/up l ..\n/x f 1\n" },
    { "into one that points nowhere: what it points to is made", { "l a t/u", "f a/x 1" }, "/a l t/u\n/t d\n/t/u d\n/t/u/x f 1\n" },
    { "a link itself is replaced, not followed", { "f t 1\nl a t", "f a 2" }, "/a f 2\n/t f 1\n" },
    { "through several", { "l a b\nl b c\nd c", "f a/x 1" }, "/a l b\n/b l c\n/c d\n/c/x f 1\n" },
    { "one that climbs over the root", { "l a ../../etc\nf a/passwd x" }, NULL, "leads out of the image" },
    { "one that climbs over the root, deeper", { "d d\nl d/a ../..", "f d/a/x 1" }, NULL, "leads out of the image" },
    { "one that climbs, as the target of a hard link", { "l a ../..\nh b a/etc/passwd" }, NULL, "leads out of the image" },
    { "a link that points out is harmless while nobody goes there", { "l a ../../../etc/passwd" }, "/a l ../../../etc/passwd\n" },
    { "to the name of a whiteout", { "l a .wh.b\nf a/x 1" }, NULL, "below a whiteout" },
    { "a circle", { "l a b\nl b a\nf a/x 1" }, NULL, "in a circle" },
    { "a link to itself", { "l a a", "f a/x 1" }, NULL, "in a circle" },

    /* ---- bad names ---- */
    { "the parent", { "f ../x 1" }, NULL, "`..` leads out" },
    { "the parent, hidden in the middle", { "f a/b/../../../x 1" }, NULL, "`..` leads out" },
    { "the parent alone", { "d .." }, NULL, "`..` leads out" },
    { "the parent in an absolute name", { "f /../x 1" }, NULL, "`..` leads out" },
    { "the parent in a whiteout", { "f ../.wh.x" }, NULL, "`..` leads out" },
};

static void check_rule(const struct rule *r)
{
    struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    size_t count = 0;
    while (count < LAYERS_MAX && r->layers[count])
        count++;
    int status = load_layers(&image, r->layers, count, &err);
    if (!r->tree) {
        if (status == 0 || !strstr(err.msg, r->error))
            fail_msg("%s: expected an error with `%s`, got: %s", r->what, r->error, status ? err.msg : "success");
        assert_null(image.tree);
    } else if (status < 0) {
        fail_msg("%s: %s", r->what, err.msg);
    } else {
        char *text = tree_text(image.tree);
        if (strcmp(text, r->tree) != 0)
            fail_msg("%s: expected\n%sgot\n%s", r->what, r->tree, text);
        free(text);
    }
    source_image_clear(&image);
}

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++)
        check_rule(&rules[i]);
}

static void test_link_counts(void **state)
{
    (void)state;
    struct source_image image = { 0 };
    const char *layers[] = { "f a 1\nh b a\nd d\nd d/e\nh d/c a", "f .wh.a" };
    assert_int_equal(load_layers(&image, layers, 2, NULL), 0);
    assert_int_equal(image_tree_lookup(image.tree, "/b", false)->inode->nlink, 2);
    assert_int_equal(image_tree_lookup(image.tree, "/d", false)->inode->nlink, 3);
    assert_int_equal(image_tree_root(image.tree)->inode->nlink, 3);
    assert_int_equal(image.totals.files, 1);
    assert_int_equal(image.totals.dirs, 3);
    assert_int_equal(image.totals.nodes, 5);
    source_image_clear(&image);
}

/* Equal sets of attributes are kept once. */
static void test_shared_xattrs(void **state)
{
    (void)state;
    struct source_image image = { 0 };
    const char *layers[] = { "f a 1 | x=user.a:1\nf b 1 | x=user.a:1\nf c 1 | x=user.a:2" };
    assert_int_equal(load_layers(&image, layers, 1, NULL), 0);
    const struct image_inode *a = image_tree_lookup(image.tree, "a", false)->inode, *b = image_tree_lookup(image.tree, "b", false)->inode;
    assert_ptr_equal(a->xattrs, b->xattrs);
    assert_ptr_not_equal(a->xattrs, image_tree_lookup(image.tree, "c", false)->inode->xattrs);
    source_image_clear(&image);
}

static void load_tar(struct source_image *image, struct tarb *t, const struct source_options *options, int expected, const char *error)
{
    struct gv_error err = GV_ERROR_INIT;
    tarb_end(t);
    char *dir = temp_make(), *path = path_in(dir, "i.tar");
    write_docker_archive(path, &(struct layer_bytes){ .p = t->out.data, .n = t->out.len }, 1, "a:b");
    int status = source_load(image, path, options, &err);
    if (status != expected)
        fail_msg("%s", err.msg);
    if (error && !strstr(err.msg, error))
        fail_msg("expected `%s` in: %s", error, err.msg);
    free(path);
    temp_remove(dir);
    tarb_clear(t);
}

static void test_long_paths(void **state)
{
    (void)state;
    struct source_image image = { 0 };
    struct tarb t = { 0 };
    char name[5000];
    /* 4095 bytes are as many as Linux has. */
    memset(name, 'a', sizeof(name));
    for (size_t i = 0; i < sizeof(name); i += 200)
        name[i] = '/';
    name[4096] = '\0'; /* with the leading slash */
    tarb_add(&t, &(struct tarb_member){ .name = name, .data = "x", .size = 1 });
    load_tar(&image, &t, &(struct source_options){ .absolute_names = true }, 0, NULL);
    assert_non_null(image_tree_lookup(image.tree, name, false));
    source_image_clear(&image);
    name[4096] = 'a';
    name[4097] = '\0';
    tarb_add(&t, &(struct tarb_member){ .name = name, .data = "x", .size = 1 });
    load_tar(&image, &t, NULL, -1, "a path of more than 4095 bytes");

    memset(name, 'n', 256);
    name[255] = '\0';
    tarb_add(&t, &(struct tarb_member){ .name = name, .data = "x", .size = 1 });
    load_tar(&image, &t, NULL, 0, NULL);
    source_image_clear(&image);
    name[255] = 'n';
    name[256] = '\0';
    tarb_add(&t, &(struct tarb_member){ .name = name, .data = "x", .size = 1 });
    load_tar(&image, &t, NULL, -1, "a name of 256 bytes");
}

/* Directories in each other through links: deeper than any name that can be written down. */
static void test_depth_through_links(void **state)
{
    (void)state;
    struct source_image image = { 0 };
    struct tarb t = { 0 };
    char deep[2002];
    for (size_t i = 0; i < 2000; i++)
        deep[i] = i % 2 ? '/' : 'd';
    deep[1999] = '\0';
    for (int i = 0; i < 4; i++) {
        char link[32], below[32];
        snprintf(link, sizeof(link), "l%d", i);
        snprintf(below, sizeof(below), "l%d/", i - 1);
        char *target = gv_asprintf("%s%s", i ? below : "", deep);
        char *file = gv_asprintf("%s/x", link);
        tarb_add(&t, &(struct tarb_member){ .name = link, .type = '2', .link = target });
        tarb_add(&t, &(struct tarb_member){ .name = file, .data = "x", .size = 1 });
        free(target);
        free(file);
    }
    load_tar(&image, &t, NULL, -1, "a path of more than 4095 bytes");
}

/* The tables above take absolute names; unless asked to, source refuses them. */
static void test_absolute_names(void **state)
{
    (void)state;
    struct source_image image = { 0 };
    struct tarb t = { 0 };
    tarb_text(&t, "d /\nf a x");
    load_tar(&image, &t, NULL, 0, NULL);
    source_image_clear(&image);
    tarb_text(&t, "f /a x");
    load_tar(&image, &t, NULL, -1, "an absolute name; --absolute-names");
    tarb_text(&t, "f a x\nh b /a");
    load_tar(&image, &t, NULL, -1, "an absolute name; --absolute-names");
}

static void test_entry_limit(void **state)
{
    (void)state;
    struct source_image image = { 0 };
    struct source_options options = { .max_entries = 10 };
    struct tarb t = { 0 };
    for (int i = 0; i < 10; i++)
        tarb_text(&t, "f a x");
    load_tar(&image, &t, &options, 0, NULL);
    source_image_clear(&image);
    for (int i = 0; i < 11; i++)
        tarb_text(&t, "f a x");
    load_tar(&image, &t, &options, -1, "more than 10 entries");
    /* Implied directories count as well. */
    tarb_text(&t, "f a/b/c/d/e/f/g/h/i/j/k/l x");
    load_tar(&image, &t, &options, -1, "more than 10 entries");
}

static void test_many_names(void **state)
{
    (void)state;
    struct source_image image = { 0 };
    struct tarb t = { 0 };
    tarb_text(&t, "f a x");
    for (int i = 0; i < 70000; i++) { /* more than 16 bits, in one directory, to one file */
        char name[32];
        snprintf(name, sizeof(name), "d/%d", i);
        tarb_add(&t, &(struct tarb_member){ .name = name, .type = '1', .link = "a" });
    }
    load_tar(&image, &t, NULL, 0, NULL);
    assert_int_equal(image_tree_lookup(image.tree, "a", false)->inode->nlink, 70001);
    assert_int_equal(image_node_child_count(image_tree_lookup(image.tree, "d", false)), 70000);
    source_image_clear(&image);
}

static void test_large_xattrs(void **state)
{
    (void)state;
    struct source_image image = { 0 };
    struct tarb t = { 0 };
    char *value = gv_alloc(70000);
    memset(value, 'v', 70000);
    tarb_record(&t, "SCHILY.xattr.user.a", value, 65536);
    tarb_text(&t, "f a x");
    load_tar(&image, &t, NULL, 0, NULL);
    assert_int_equal(image_tree_lookup(image.tree, "a", false)->inode->xattrs[0].size, 65536);
    source_image_clear(&image);
    tarb_record(&t, "SCHILY.xattr.user.a", value, 65537);
    tarb_text(&t, "f a x");
    load_tar(&image, &t, NULL, -1, "larger than 65536");
    for (int i = 0; i < 3; i++) {
        char key[64];
        snprintf(key, sizeof(key), "SCHILY.xattr.user.a%d", i);
        tarb_record(&t, key, value, 60000);
    }
    tarb_text(&t, "f a x");
    load_tar(&image, &t, NULL, -1, "bytes of extended attributes");
    /* Different ones for each file: bounded in sum. */
    for (int i = 0; i < 1100; i++) {
        memcpy(value, &i, sizeof(i));
        tarb_record(&t, "SCHILY.xattr.user.a", value, 65536);
        tarb_text(&t, "f a x");
    }
    load_tar(&image, &t, NULL, -1, "of extended attributes");
    free(value);
}

static void test_symlink_target_length(void **state)
{
    (void)state;
    struct source_image image = { 0 };
    struct tarb t = { 0 };
    char target[4097];
    memset(target, 't', sizeof(target));
    target[4095] = '\0';
    tarb_add(&t, &(struct tarb_member){ .name = "a", .type = '2', .link = target });
    load_tar(&image, &t, NULL, 0, NULL);
    assert_int_equal(image_tree_lookup(image.tree, "a", false)->inode->size, 4095);
    source_image_clear(&image);
    target[4095] = 't';
    target[4096] = '\0';
    tarb_add(&t, &(struct tarb_member){ .name = "a", .type = '2', .link = target });
    load_tar(&image, &t, NULL, -1, "target of a symbolic link");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_link_counts),
        cmocka_unit_test(test_shared_xattrs),
        cmocka_unit_test(test_long_paths),
        cmocka_unit_test(test_depth_through_links),
        cmocka_unit_test(test_absolute_names),
        cmocka_unit_test(test_entry_limit),
        cmocka_unit_test(test_many_names),
        cmocka_unit_test(test_large_xattrs),
        cmocka_unit_test(test_symlink_target_length),
    };
    return cmocka_run_group_tests_name("source_merge", tests, NULL, NULL);
}
