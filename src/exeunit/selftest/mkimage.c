/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Makes the self-test's image when gvmkit is built: mkimage PROGRAM IMAGE. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "exeunit/selftest/selftest.h"
#include "gvmi/gvmi.h"

static int read_program(void *reader, const struct image_content *content, uint64_t at, void *buf, size_t len, struct gv_error *err)
{
    const struct gv_buf *program = reader;
    (void)content;
    if (at > program->len || len > program->len - at)
        return gv_error_set(err, GV_E_INTERNAL, 0, "read past the end of the program");
    memcpy(buf, program->data + at, len);
    return 0;
}

static void fill(struct image_tree *t, size_t size)
{
    static const char *const directories[] = { "dev", "etc", "mnt", "proc", "sys", "tmp" };
    static const char name[] = SELFTEST_PROGRAM; /* "/" and the name */
    struct image_node *root = image_tree_root(t);
    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
        struct image_inode *dir = image_inode_new(t, IMAGE_DIR);
        dir->mode = 0755;
        image_node_add(t, root, directories[i], strlen(directories[i]), dir);
    }
    struct image_inode *program = image_inode_new(t, IMAGE_FILE);
    program->mode = 0755;
    program->size = size;
    image_node_add(t, root, &name[1], strlen(&name[1]), program);
    image_tree_finish(t, NULL);
}

static int make(const char *from, const char *to, struct gv_error *err)
{
    static const char json[] = "{\"Cmd\":[\"" SELFTEST_PROGRAM "\",\"" SELFTEST_VOLUME "\"],\"Volumes\":{\"" SELFTEST_VOLUME "\":{}}}";
    cleanup_buf struct gv_buf program = { 0 };
    __attribute__((cleanup(gv_cleanup_image_config_fn))) struct image_config config = { 0 };
    CLEANUP(image_tree) struct image_tree *tree = image_tree_new();
    struct gv_outfile *out;
    if (gv_read_file(from, 16U << 20, &program, err) < 0 || image_config_parse(&config, json, sizeof(json) - 1, err) < 0)
        return -1;
    image_tree_set_reader(tree, read_program, &program, NULL);
    fill(tree, program.len);
    if (gv_outfile_open(&out, to, 0644, err) < 0)
        return -1;
    if (gvmi_write(gv_outfile_fd(out), tree, &config, NULL, NULL, err) < 0) {
        gv_outfile_discard(out);
        return -1;
    }
    return gv_outfile_commit(out, err);
}

int main(int argc, char **argv)
{
    struct gv_error err = GV_ERROR_INIT;
    if (argc == 3 && make(argv[1], argv[2], &err) == 0)
        return 0;
    fprintf(stderr, "mkimage: %s\n", argc == 3 ? err.msg : "usage: mkimage PROGRAM IMAGE");
    return 1;
}
