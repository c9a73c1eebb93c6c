/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The input is a squashfs, with a good trailer put behind it. It is extracted beside a directory that it must not touch, into a target that is new, then
 * into one that holds what it left there, and as a share; and it is compared with itself, in which there must be no difference. Whatever happens, the directory above
 * the target must hold the two names that it had, and the file that the images would like to change must be what it was.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "compare/compare.h"
#include "extract/extract.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char json[] = "{\"Cmd\":[\"file\"]}";

struct ground {
    char *base, *target, *victim, *file;
    struct stat before;
};

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzz_extract: %s\n", what);
        abort();
    }
}

static void put(const char *path, const char *text)
{
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    must(fd >= 0 && gv_write_full(fd, text, strlen(text)) == 0, "cannot write the file");
}

static void prepare(struct ground *g)
{
    const char *tmp = getenv("TMPDIR");
    g->base = gv_asprintf("%s/fuzz-extract-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    must(mkdtemp(g->base) != NULL, "cannot make a directory");
    g->target = gv_asprintf("%s/target", g->base);
    g->victim = gv_asprintf("%s/victim", g->base);
    g->file = gv_asprintf("%s/file", g->victim);
    must(mkdir(g->victim, 0755) == 0 && mkdir(g->target, 0755) == 0, "cannot make directories");
    put(g->file, "untouched");
    must(stat(g->file, &g->before) == 0, "cannot look at the file");
}

static unsigned count_names(const char *path)
{
    DIR *d = opendir(path);
    must(d != NULL, "a directory is gone");
    unsigned n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void check(const struct ground *g)
{
    struct stat now;
    must(count_names(g->base) == 4 && count_names(g->victim) == 3, "something was made outside of the target");
    must(lstat(g->file, &now) == 0 && S_ISREG(now.st_mode), "the file outside of the target is gone");
    must(now.st_ino == g->before.st_ino && now.st_size == g->before.st_size && now.st_mode == g->before.st_mode && now.st_nlink == 1 &&
             now.st_uid == g->before.st_uid && now.st_mtim.tv_sec == g->before.st_mtim.tv_sec &&
             now.st_mtim.tv_nsec == g->before.st_mtim.tv_nsec,
         "the file outside of the target was changed");
}

static void finish(struct ground *g)
{
    struct gv_error err = GV_ERROR_INIT;
    must(gv_remove_tree(g->base, &err) == 0, err.msg);
    free(g->base);
    free(g->target);
    free(g->victim);
    free(g->file);
}

static int any_difference(void *user, const struct compare_entry *e)
{
    (void)user;
    (void)e;
    return 1;
}

/* As a share, of the whole image or of a directory. What was measured before is not less than what is made. */
static void share(struct gvmi_image *img, struct ground *g, bool whole)
{
    static const char *const hollow[] = { "/dir/out", "/link", NULL };
    const struct extract_options options = { .share = true, .root = whole ? NULL : "/dir", .hollow = hollow, .max_bytes = 4 << 20 };
    struct extract_result made = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    uint64_t bytes = 0;
    must(gv_remove_tree(g->target, &err) == 0, err.msg);
    bool measured = extract_measure(img, &options, &bytes, &err) == 0;
    if (extract_image(img, g->target, &options, &made, &err) == 0)
        must(measured && made.bytes <= bytes, "a share was measured wrongly");
    else
        must(mkdir(g->target, 0755) == 0, "something is left of a share that failed");
    check(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* The CRC-32 of the JSON and its length, as the format has them. */
    unsigned char crc[4];
    uint32_t sum = gv_crc32(json, strlen(json));
    for (int i = 0; i < 4; i++)
        crc[i] = (unsigned char)(sum >> 8 * i);
    cleanup_close int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CLEANUP(gvmi) struct gvmi_image *img = NULL, *again = NULL;
    struct gv_error err = GV_ERROR_INIT;
    char length[9];
    snprintf(length, sizeof(length), "%08zu", strlen(json));
    if (fd < 0 || gv_write_full(fd, data, size) < 0 || gv_write_full(fd, crc, 4) < 0 || gv_write_full(fd, json, strlen(json)) < 0 ||
        gv_write_full(fd, length, 8) < 0)
        abort();
    if (gvmi_open_fd(&img, fd, "fuzz", &err) < 0 || gvmi_open_fd(&again, fd, "fuzz", &err) < 0)
        return 0;
    struct ground g;
    prepare(&g);
    static const char *const paths[] = { "bin/tool", "/dir/out/file", "link" };
    struct extract_options options = { .setuid = size % 2, .all_xattrs = size % 3 == 0, .max_bytes = 4 << 20 };
    extract_image(img, g.target, &options, NULL, &err);
    check(&g);
    options.force = true;
    extract_image(img, g.target, &options, NULL, &err);
    check(&g);
    options.paths = paths;
    options.path_count = sizeof(paths) / sizeof(paths[0]);
    extract_image(img, g.target, &options, NULL, &err);
    check(&g);
    share(img, &g, size % 2);
    must(compare_files(img, again, NULL, any_difference, NULL, NULL, &err) != 1, "an image differs from itself");
    finish(&g);
    return 0;
}
