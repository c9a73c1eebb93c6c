/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/look.h"

static const struct cli_option options[] = {
    { "json", 0, NULL, "print a JSON array" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)name;
    (void)value;
    (void)err;
    *(bool *)user = true;
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

static int run(const struct cli_command *self, int argc, char **argv)
{
    bool json = false;
    int at = cli_parse(self, argc, argv, take, &json);
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
        if (hash_file(argv[i], hex, &size, &err) < 0) {
            status = cli_fail(&err);
        } else if (json) {
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
    if (json)
        look_json_array_end(elements);
    return status;
}

const struct cli_command cmd_hash = {
    .name = "hash",
    .synopsis = "[OPTIONS] FILE...",
    .summary = "Print the SHA3-224 of files, which is the address of a .gvmi",
    .details = "The bytes are hashed as they are; `gvmkit verify` tells whether they are a good image.",
    .example = "  gvmkit hash hello.gvmi",
    .options = options,
    .run = run,
};
