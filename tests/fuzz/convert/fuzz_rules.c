/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Trees of links and wrong types: lines "d PATH", "f PATH", "p PATH" (a program), "l PATH TARGET" make the tree, lines "v PATH", "w PATH", "c WORD", "e PAIR" and
 * "u USER" the configuration. Whatever it is, afterwards the tree keeps the rules, the configuration needs no more changes, and the finished image
 * says the same of itself.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "convert/rules.h"
#include "convert/strip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_nothing(void *user, const struct image_content *content, uint64_t at, void *buf, size_t len, struct gv_error *err)
{
    (void)user;
    (void)content;
    (void)at;
    (void)err;
    memset(buf, 'x', len);
    return 0;
}

/* The directory for a path, made as far as it is missing; links are not followed. */
static struct image_node *make_parents(struct image_tree *t, char *path, char **name)
{
    struct image_node *at = image_tree_root(t);
    for (;;) {
        path += strspn(path, "/");
        size_t n = strcspn(path, "/");
        if (image_name_check(path, n) < 0)
            return NULL;
        if (!path[n]) {
            *name = path;
            return image_node_child(at, path, n) ? NULL : at;
        }
        struct image_node *child = image_node_child(at, path, n);
        if (!child) {
            child = image_node_add(t, at, path, n, image_inode_new(t, IMAGE_DIR));
            child->inode->mode = 0755;
        }
        if (child->inode->type != IMAGE_DIR)
            return NULL;
        at = child;
        path += n;
    }
}

static void add_entry(struct image_tree *t, char kind, char *path)
{
    char *name, *target = strchr(path, ' ');
    if (kind == 'l' && !target)
        return;
    if (target)
        *target++ = '\0';
    struct image_node *dir = make_parents(t, path, &name);
    if (!dir)
        return;
    struct image_inode *inode = image_inode_new(t, kind == 'l' ? IMAGE_SYMLINK : kind == 'd' ? IMAGE_DIR : IMAGE_FILE);
    inode->mode = kind == 'f' ? 0644 : 0755;
    if (kind == 'l') {
        inode->size = strlen(target);
        inode->u.target = gv_arena_strndup(image_tree_arena(t), target, inode->size);
    } else if (kind != 'd') {
        inode->size = 3;
    }
    image_node_add(t, dir, name, strlen(name), inode);
}

static void add_config(struct image_config *c, char kind, const char *value)
{
    if (kind == 'v')
        gv_strv_add(&c->volumes, value);
    if (kind == 'c')
        gv_strv_add(&c->cmd, value);
    if (kind == 'e')
        gv_strv_add(&c->env, value);
    if ((kind == 'w' && !c->workdir && *value))
        c->workdir = gv_strdup(value);
    if (kind == 'u' && !c->user && *value)
        c->user = gv_strdup(value);
    c->has_cmd = c->cmd.count > 0;
}

static void complain(void *user, enum gv_log_level level, const char *text)
{
    (void)text;
    *(unsigned *)user += level != GV_LOG_DEBUG;
}

static void check_tree(struct image_tree *t)
{
    static const char *const dirs[] = { "/proc", "/sys", "/dev", "/tmp", "/etc", "/var", "/var/tmp" };
    static const char *const files[] = { "/etc/hosts", "/etc/resolv.conf", "/etc/hostname" };
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        if (image_tree_lookup(t, dirs[i], false)->inode->type != IMAGE_DIR)
            abort();
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (image_tree_lookup(t, files[i], false)->inode->type != IMAGE_FILE)
            abort();
}

/* The rules again, which must have nothing to do. */
static void check_settled(const struct image_config *config, const struct look *look)
{
    unsigned complaints = 0;
    struct gv_log log = { .write = complain, .user = &complaints };
    struct image_config copy = { 0 };
    cleanup_free char *text = image_config_format(config);
    if (image_config_parse(&copy, text, strlen(text), NULL) < 0 || config_fit(&copy, look, &log, NULL) < 0)
        abort();
    cleanup_free char *after = image_config_format(&copy);
    if (strcmp(text, after) != 0 || complaints)
        abort();
    image_config_clear(&copy);
}

static void check_image(struct image_tree *t, const struct image_config *config)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gvmi_write_options options = { .compression = GVMI_ZSTD, .level = 1, .block_size = 4096, .jobs = 1 };
    int fd = memfd_create("image", MFD_CLOEXEC);
    image_tree_finish(t, NULL);
    if (gvmi_write(fd, t, config, &options, NULL, &err) == 0) {
        struct gvmi_image *img;
        if (gvmi_open_fd(&img, fd, "image", &err) < 0)
            abort();
        check_settled(config, &(struct look){ .img = img });
        gvmi_close(img);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096)
        return 0;
    struct image_tree *t = image_tree_new();
    struct image_config c = { 0 };
    image_tree_set_reader(t, read_nothing, NULL, NULL);
    cleanup_free char *text = gv_strndup((const char *)data, size);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (!line[0] || line[1] != ' ')
            continue;
        if (strchr("dfpl", line[0])) {
            add_entry(t, line[0], line + 2);
        } else {
            struct convert_edits probe = { 0 }; /* as configurations are UTF-8 */
            cleanup_free char *pair = gv_asprintf("x=%s", line + 2);
            if (convert_edits_add(&probe, CONVERT_SET_ENV, pair, NULL) == 0)
                add_config(&c, line[0], line + 2);
            convert_edits_clear(&probe);
        }
    }
    struct look look = { .tree = t };
    struct convert_stripped stripped[CONVERT_STRIP_CLASSES] = { 0 };
    image_tree_finish(t, NULL);
    strip_tree(t, &c, (1U << CONVERT_STRIP_CLASSES) - 1, stripped);
    for (int i = 0; i < CONVERT_STRIP_CLASSES; i++)
        gv_strv_clear(&stripped[i].paths);
    root_fit(t, 1000, NULL);
    check_tree(t);
    if (config_fit(&c, &look, NULL, NULL) < 0)
        abort();
    check_settled(&c, &look);
    (void)config_numeric_user(&c, &look, NULL);
    check_image(t, &c);
    image_config_clear(&c);
    image_tree_free(t);
    return 0;
}
