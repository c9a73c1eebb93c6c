/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/look.h"

struct hash_args {
    bool json, chunks;
};

static const struct cli_option options[] = {
    { "chunks", 0, NULL, "write FILE.chunks beside each image, by which others fetch only what has changed" },
    { "json", 0, NULL, "print a JSON array" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct hash_args *a = user;
    (void)value;
    (void)err;
    *(strcmp(name, "chunks") == 0 ? &a->chunks : &a->json) = true;
    return 0;
}

/* The address of a file is that of its bytes, whatever they are: nothing of them is interpreted. */
static int hash_file(const char *path, char hex[GV_SHA3_224_HEX], uint64_t *size, struct gv_error *err)
{
    unsigned char digest[GV_HASH_MAX];
    struct stat st;
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return gv_error_set(err, GV_E_FORMAT, 0, "%s: not a regular file", path);
    if (gv_hash_fd(GV_HASH_SHA3_224, fd, digest, err) < 0)
        return gv_error_prefix(err, "%s", path);
    gv_hex(hex, digest, GV_SHA3_224_SIZE);
    *size = (uint64_t)st.st_size;
    return 0;
}

/* The chunk map of an image. */
static int write_chunks(const char *path, struct gv_error *err)
{
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    cleanup_chunk_map struct gvmi_chunk_map map = { 0 };
    cleanup_buf struct gv_buf data = { 0 };
    cleanup_free char *name = gv_asprintf("%s.chunks", path);
    struct gv_outfile *out;
    if (gvmi_open(&img, path, err) < 0 || gvmi_chunks(img, NULL, &map, err) < 0 || gv_outfile_open(&out, name, 0644, err) < 0)
        return -1;
    gvmi_chunks_format(&map, &data);
    if (gv_write_full(gv_outfile_fd(out), data.data, data.len) < 0) {
        gv_error_errno(err, "cannot write `%s`", name);
        gv_outfile_discard(out);
        return -1;
    }
    return gv_outfile_commit(out, err);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct hash_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at == argc)
        return cli_usage(self, "say which file to hash");
    look_begin();
    int status = CLI_OK;
    size_t elements = 0;
    for (int i = at; i < argc; i++) {
        struct gv_error err = GV_ERROR_INIT;
        char hex[GV_SHA3_224_HEX];
        uint64_t size = 0;
        if (hash_file(argv[i], hex, &size, &err) < 0 || (a.chunks && write_chunks(argv[i], &err) < 0)) {
            status = cli_fail(&err);
        } else if (a.json) {
            json_t *o = json_object();
            look_json_bytes(o, "file", argv[i]);
            json_object_set_new(o, "hash", json_string(hex));
            json_object_set_new(o, "size", json_integer((json_int_t)size));
            look_json_element(o, &elements);
        } else {
            printf("%s  ", hex);
            cli_print_clean(stdout, argv[i]);
            putchar('\n');
        }
    }
    if (a.json)
        look_json_array_end(elements);
    return status;
}

const struct cli_command cmd_hash = {
    .name = "hash",
    .synopsis = "[OPTIONS] FILE...",
    .summary = "Print the SHA3-224 of files, which is the address of a .gvmi",
    .details = "The bytes are hashed as they are; `gvmkit verify` tells whether they are a good image. With --chunks FILE has to be one:\n"
               "FILE.chunks lies beside it on any server of files, and `gvmkit pull` takes from the images in its store what it can.",
    .example = "  gvmkit hash hello.gvmi",
    .options = options,
    .run = run,
};
