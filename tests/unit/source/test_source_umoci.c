/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The merge against umoci, an independent implementation that really unpacks: the same images, made at random and by hand, must give the same
 * files. Needs root (ownership, devices) and umoci.
 */
#include "helper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define IMAGES 60

static char *put_blob(const char *dir, const char *media, const void *p, size_t n)
{
    unsigned char hash[GV_HASH_MAX];
    char hex[65], name[128];
    gv_hash_bytes(GV_HASH_SHA256, p, n, hash);
    gv_hex(hex, hash, 32);
    snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
    char *path = path_in(dir, name);
    write_file(path, p, n);
    free(path);
    return gv_asprintf("{\"mediaType\":\"%s\",\"digest\":\"sha256:%s\",\"size\":%zu", media, hex, n);
}

static void write_layout(const char *dir, char *const *layers, size_t count)
{
    struct gv_buf diffs = { 0 }, list = { 0 };
    char *blobs = path_in(dir, "blobs"), *sha = path_in(blobs, "sha256"), *path;
    assert_int_equal(mkdir(dir, 0755) | mkdir(blobs, 0755) | mkdir(sha, 0755), 0);
    free(blobs);
    free(sha);
    for (size_t i = 0; i < count; i++) {
        struct tarb t = { 0 };
        struct gv_buf packed = { 0 };
        unsigned char hash[GV_HASH_MAX];
        char hex[65];
        tarb_text(&t, layers[i]);
        tarb_end(&t);
        gv_hash_bytes(GV_HASH_SHA256, t.out.data, t.out.len, hash);
        gv_hex(hex, hash, 32);
        gv_buf_addf(&diffs, "%s\"sha256:%s\"", i ? "," : "", hex);
        gzip_into(&packed, t.out.data, t.out.len);
        char *d = put_blob(dir, "application/vnd.oci.image.layer.v1.tar+gzip", packed.data, packed.len);
        gv_buf_addf(&list, "%s%s}", i ? "," : "", d);
        free(d);
        gv_buf_clear(&packed);
        tarb_clear(&t);
    }
    char *config =
        gv_asprintf("{\"os\":\"linux\",\"architecture\":\"amd64\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[%s]}}",
                    gv_buf_str(&diffs));
    char *c = put_blob(dir, "application/vnd.oci.image.config.v1+json", config, strlen(config));
    char *manifest = gv_asprintf("{\"schemaVersion\":2,\"config\":%s},\"layers\":[%s]}", c, gv_buf_str(&list));
    char *m = put_blob(dir, "application/vnd.oci.image.manifest.v1+json", manifest, strlen(manifest));
    char *index = gv_asprintf("{\"schemaVersion\":2,\"manifests\":[%s,\"annotations\":{\"org.opencontainers.image.ref.name\":\"t\"}}]}", m);
    path = path_in(dir, "index.json");
    write_file(path, index, strlen(index));
    free(path);
    path = path_in(dir, "oci-layout");
    write_file(path, "{\"imageLayoutVersion\":\"1.0.0\"}", 30);
    free(path);
    free(config);
    free(c);
    free(manifest);
    free(m);
    free(index);
    gv_buf_clear(&diffs);
    gv_buf_clear(&list);
}

/* ---- the text of what umoci unpacked, as tree_text writes it ---- */

struct seen_inode {
    ino_t ino;
    char *path;
};

struct walk {
    struct gv_buf out;
    struct seen_inode seen[1024];
    size_t count;
};

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void walk_dir(struct walk *w, const char *host, const char *path);

static void walk_one(struct walk *w, const char *host, const char *path)
{
    struct stat st;
    assert_int_equal(lstat(host, &st), 0);
    if (!S_ISDIR(st.st_mode)) {
        for (size_t i = 0; i < w->count; i++) {
            if (w->seen[i].ino == st.st_ino) {
                gv_buf_addf(&w->out, "%s = %s\n", path, w->seen[i].path);
                return;
            }
        }
        assert_true(w->count < 1024);
        w->seen[w->count++] = (struct seen_inode){ st.st_ino, gv_strdup(path) };
    }
    gv_buf_addf(&w->out, "%s", path);
    char text[4096] = "";
    unsigned plain = S_ISDIR(st.st_mode) ? 0755 : S_ISLNK(st.st_mode) ? 0777 : 0644;
    if (S_ISREG(st.st_mode)) {
        int fd = open(host, O_RDONLY | O_CLOEXEC);
        ssize_t got = gv_read_full(fd, text, sizeof(text) - 1);
        assert_true(got >= 0);
        close(fd);
        gv_buf_addf(&w->out, " f%s%s", got ? " " : "", text);
    } else if (S_ISLNK(st.st_mode)) {
        assert_true(readlink(host, text, sizeof(text) - 1) > 0);
        gv_buf_addf(&w->out, " l %s", text);
    } else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
        gv_buf_addf(&w->out, " %c %u:%u", S_ISCHR(st.st_mode) ? 'c' : 'b', major(st.st_rdev), minor(st.st_rdev));
    } else {
        gv_buf_addf(&w->out, " %c", S_ISDIR(st.st_mode) ? 'd' : 'p');
    }
    if ((st.st_mode & 07777) != plain)
        gv_buf_addf(&w->out, " m=%o", st.st_mode & 07777);
    if (st.st_uid)
        gv_buf_addf(&w->out, " u=%u", st.st_uid);
    if (st.st_gid)
        gv_buf_addf(&w->out, " g=%u", st.st_gid);
    if (st.st_mtime != 1000 && !S_ISDIR(st.st_mode)) /* what is right for a directory without an entry is for each to decide */
        gv_buf_addf(&w->out, " t=%" PRId64, (int64_t)st.st_mtime);
    ssize_t n = lgetxattr(host, "trusted.t", text, sizeof(text) - 1);
    if (n >= 0)
        gv_buf_addf(&w->out, " x=trusted.t:%.*s", (int)n, text);
    gv_buf_addf(&w->out, "\n");
    if (S_ISDIR(st.st_mode))
        walk_dir(w, host, path);
}

static void walk_dir(struct walk *w, const char *host, const char *path)
{
    struct dirent **entries;
    int n = scandir(host, &entries, NULL, by_name);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            char *below = path_in(host, name), *inner = gv_asprintf("%s/%s", path, name);
            walk_one(w, below, inner);
            free(below);
            free(inner);
        }
        free(entries[i]);
    }
    free(entries);
}

/* Leaves the root and the times of directories out of our own text. */
static char *without_dir_times(char *text)
{
    struct gv_buf out = { 0 };
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *time = strstr(line, " d") ? strstr(line, " t=") : NULL;
        if (!strncmp(line, "/ ", 2))
            continue;
        size_t tail = time ? 1 + strcspn(time + 1, " ") : 0;
        if (time)
            gv_buf_addf(&out, "%.*s%s\n", (int)(time - line), line, time + tail);
        else
            gv_buf_addf(&out, "%s\n", line);
    }
    free(text);
    gv_buf_str(&out);
    return (char *)out.data;
}

/* 1 when both unpack the image (to the same), 0 when one of them refuses it. */
static int compare(char *const *layers, size_t count)
{
    char *dir = temp_make(), *layout = path_in(dir, "oci"), *root = path_in(dir, "root");
    write_layout(layout, layers, count);
    char *command = gv_asprintf("umoci raw unpack --image '%s:t' '%s' >/dev/null 2>&1", layout, root);
    char *reference = gv_asprintf("oci:%s", layout);
    bool unpacked = system(command) == 0;
    struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    int status = source_load(&image, reference, &(struct source_options){ .absolute_names = true }, &err);
    if (unpacked && status == 0) {
        struct walk w = { 0 };
        walk_dir(&w, root, "");
        char *ours = without_dir_times(tree_text(image.tree));
        gv_buf_str(&w.out);
        if (strcmp(ours, (char *)w.out.data) != 0) {
            for (size_t i = 0; i < count; i++)
                print_message("# layer %zu:\n%s\n", i, layers[i]);
            fail_msg("umoci has\n%swe have\n%s", (char *)w.out.data, ours);
        }
        free(ours);
        gv_buf_clear(&w.out);
        for (size_t i = 0; i < w.count; i++)
            free(w.seen[i].path);
    }
    source_image_clear(&image);
    free(command);
    free(reference);
    free(layout);
    free(root);
    temp_remove(dir);
    return unpacked && status == 0;
}

static bool possible(void)
{
    if (geteuid() == 0 && system("umoci --version >/dev/null 2>&1") == 0)
        return true;
    print_message("# skipped: needs root and umoci\n");
    return false;
}

static void test_by_hand(void **state)
{
    (void)state;
    if (!possible())
        return;
    static const char *const images[][5] = {
        { "f a hello | m=4755 u=1000 g=2000 t=1234567890\nd d | m=1777\nl l a | u=5\nc c 1 3 | m=666\nb b 8 0\np p | m=600\nf e" },
        { "f a x | x=trusted.t:1" },
        { "f a/b/c x", "f a/d y" },
        { "d d\nf d/a 1\nf d/b 1", "f d/.wh.a\nf d/c 2", "f d/e 3\nf d/.wh.b" },
        { "d a\nf a/b 1\nd a/c\nf a/c/d 1\nf x 1", "f .wh.a" },
        { "f a 1", "f a 2\nf .wh.a" },
        { "f a 1", "f .wh.a\nf a 2" },
        { "d a | m=700\nf a/x 1\nd a/d\nf a/d/y 1", "d a\nf a/.wh..wh..opq\nf a/z 2" },
        { "d a | m=700\nf a/x 1\nd a/d\nf a/d/y 1", "d a\nf a/z 2\nf a/.wh..wh..opq" },
        { "f a 1 | m=600\nh b a\nh c b\nd d\nh d/e c" },
        { "f a 1\nh b a", "f .wh.a" },
        { "f a 1\nh b a", "f a 2" },
        { "f a 1", "h b a\nf a 2" },
        { "f a 1", "h b a", "f .wh.a", "h c b" },
        { "l a nowhere\nh b a" },
        { "f a 1", "d a\nf a/b 2", "f a 3" },
        { "d t\nf t/x 1\nl a t", "d a\nf a/y 2" },
        { "d usr\nd usr/lib\nl lib usr/lib", "f lib/x 1" },
        { "d run\nd var\nl var/run /run", "f var/run/x 1" },
        { "d t\nf t/x 1\nf t/y 1\nl a t", "f a/.wh.x" },
        { "d /etc\nf /etc/x 1\nf ./etc//y 2\nf etc/./z 3" },
        { "f .wh.a\nf b 1\nd d\nf d/.wh..wh..opq" },
    };
    for (size_t i = 0; i < sizeof(images) / sizeof(*images); i++) {
        size_t count = 0;
        while (count < 5 && images[i][count])
            count++;
        if (!compare((char *const *)images[i], count))
            fail_msg("image %zu: one of us refuses it", i);
    }
}

static uint32_t next_random(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

/* Names of files made so far, for hard links to mean something. */
struct files {
    char names[64][16];
    unsigned count;
};

static const char *random_dir(uint32_t *x)
{
    static const char *const dirs[] = { "", "d/", "d/e/", "g/" };
    return dirs[next_random(x) % 4];
}

/* Directories are d, d/e, g; everything else is called a to c. As in layers made from real changes each directory that something is in has an
 * entry of its own: what becomes of the attributes of others that a whiteout hides is for each to decide. */
static char *random_layer(uint32_t *x, int number, struct files *files)
{
    struct gv_buf b = { 0 };
    static const char *const dirs[] = { "d", "d/e", "g" };
    for (size_t i = 0; i < 3; i++)
        gv_buf_addf(&b, "d %s | m=7%u0 u=%u\n", dirs[i], next_random(x) % 6, next_random(x) % 3);
    unsigned entries = 1 + next_random(x) % 10;
    for (unsigned i = 0; i < entries; i++) {
        unsigned kind = next_random(x) % 12;
        char name = (char)('a' + next_random(x) % 3);
        const char *dir = random_dir(x);
        if (kind < 5) {
            gv_buf_addf(&b, "f %s%c %d.%u | u=%u t=%u\n", dir, name, number, i, next_random(x) % 4, 1 + next_random(x) % 1000);
            if (files->count < 64)
                snprintf(files->names[files->count++], 16, "%s%c", dir, name);
        } else if (kind < 6) {
            gv_buf_addf(&b, "l %s%c %c\n", dir, name, (char)('a' + next_random(x) % 3));
        } else if (kind < 7) {
            if (files->count)
                gv_buf_addf(&b, "h %s%c %s\n", dir, name, files->names[next_random(x) % files->count]);
        } else if (kind < 11) {
            gv_buf_addf(&b, "f %s.wh.%c\n", dir, next_random(x) % 5 ? name : next_random(x) % 2 ? 'd' : 'e');
        } else {
            gv_buf_addf(&b, "f %s.wh..wh..opq\n", dir);
        }
    }
    gv_buf_str(&b);
    return (char *)b.data;
}

static void test_at_random(void **state)
{
    (void)state;
    if (!possible())
        return;
    uint32_t x = 20250607;
    int compared = 0;
    for (int i = 0; i < IMAGES; i++) {
        char *layers[4];
        struct files files = { 0 };
        size_t count = 1 + next_random(&x) % 4;
        for (size_t k = 0; k < count; k++)
            layers[k] = random_layer(&x, (int)k, &files);
        compared += compare(layers, count);
        for (size_t k = 0; k < count; k++)
            free(layers[k]);
    }
    print_message("# %d of %d images were fit to compare\n", compared, IMAGES);
    assert_true(compared >= IMAGES / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_at_random),
    };
    return cmocka_run_group_tests_name("source_umoci", tests, NULL, NULL);
}
