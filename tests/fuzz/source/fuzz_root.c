/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of which only the content says what they are: what is told from the names in them, tars of root file systems, their compression. The first byte
 * says how they are given, the rest is the file; checksums of tar headers are put right, else nothing would come past them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "source/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void put_right(unsigned char *b)
{
    char text[8];
    unsigned sum = 8 * ' ';
    for (size_t i = 0; i < 512; i++)
        sum += i < 148 || i >= 156 ? b[i] : 0;
    snprintf(text, sizeof(text), "%06o", sum);
    memcpy(b + 148, text, 7);
    b[155] = ' ';
}

static void check_node(struct image_tree *t, const struct image_node *n, unsigned depth)
{
    const struct image_inode *i = n->inode;
    static unsigned char buf[4096];
    struct gv_error err = GV_ERROR_INIT;
    require(depth < 2100 && i->type <= IMAGE_SOCKET);
    require(n->parent == n || image_name_check(n->name, n->namelen) == 0);
    if (i->type == IMAGE_FILE && i->size) {
        size_t len = i->size < sizeof(buf) ? (size_t)i->size : sizeof(buf);
        require(image_tree_read(t, i, 0, buf, len, &err) == 0 || err.code != GV_OK);
        require(image_tree_read(t, i, i->size - len, buf, len, &err) == 0 || err.code != GV_OK);
    }
    size_t count = image_node_child_count(n);
    cleanup_free struct image_node **children = image_node_children(n);
    for (size_t k = 0; k < count; k++)
        check_node(t, children[k], depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const transports[] = { "", "tar:", "docker-archive:", "oci-archive:" };
    if (size < 1)
        return 0;
    unsigned how = data[0];
    cleanup_free unsigned char *file = gv_memdup(data, size);
    unsigned char *begin = file + 1;
    size_t n = size - 1;
    for (size_t at = 0; at + 512 <= n && !(how & 8); at += 512)
        if (memcmp(begin + at + 257, "ustar", 5) == 0)
            put_right(begin + at);
    cleanup_close int fd = memfd_create("root", MFD_CLOEXEC);
    require(fd >= 0 && gv_write_full(fd, begin, n) == 0);
    char reference[64], path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    snprintf(reference, sizeof(reference), "%s%s", transports[how & 3], path);
    const struct source_options options = { .jobs = 1, .absolute_names = (how & 4) != 0, .max_bytes = 1 << 24, .max_entries = 2000 };
    struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (source_load(&image, reference, &options, &err) == 0) {
        require(image.tree && image.architecture && image_tree_root(image.tree)->inode->type == IMAGE_DIR);
        check_node(image.tree, image_tree_root(image.tree), 0);
    } else {
        require(err.code != GV_OK && err.msg[0] && !image.tree);
    }
    source_image_clear(&image);
    return 0;
}
