/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>

#include "cli/look.h"
#include "sign/sign.h"

struct verify_args {
    const char *hash, *signature;
    struct sign_public key;
    bool signed_by;
    bool json;
    enum cli_progress_mode progress;
};

static const struct cli_option options[] = {
    { "hash", 0, "HEX", "the SHA3-224 that the file must have, as 56 hex digits" },
    { "key", 'k', "KEY", "the file must be signed with this public key (a file, or the key itself)" },
    { "signature", 0, "FILE", "the signature (default: FILE" SIGN_SUFFIX ")" },
    { "json", 0, NULL, "print a JSON array" },
    { "progress", 0, "MODE", "auto, plain, none or json (default auto)" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct verify_args *a = user;
    unsigned char digest[GV_SHA3_224_SIZE];
    if (!strcmp(name, "json")) {
        a->json = true;
    } else if (!strcmp(name, "progress")) {
        return cli_progress_mode(value, &a->progress, err);
    } else if (!strcmp(name, "key")) {
        a->signed_by = true;
        return sign_public_read(&a->key, value, err);
    } else if (!strcmp(name, "signature")) {
        a->signature = value;
    } else {
        if (gv_unhex(digest, sizeof(digest), value) < 0)
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not 56 hex digits", value);
        a->hash = value;
    }
    return 0;
}

/* Finds and checks the signature, which needs all of the file; its hash comes with it. */
static int check_signature(const char *path, const struct verify_args *a, const struct gv_progress *progress, struct sign_claim *claim,
                           struct gv_error *err)
{
    cleanup_buf struct gv_buf text = { 0 };
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return gv_error_errno(err, "%s", path);
    if ((a->signature ? gv_read_file(a->signature, SIGN_FILE_MAX, &text, err) : sign_read_beside(&text, path, err)) < 0)
        return gv_error_prefix(err, "%s: there is no signature", path);
    if (sign_verify(claim, text.data, text.len, &a->key, fd, progress, err) < 0)
        return gv_error_prefix(err, "%s: the signature is not good", path);
    return 0;
}

/* The hash is of what is there, also when it is damaged: then both are told. */
static int verify(const char *path, const struct verify_args *a, const struct gv_progress *progress, char hash[GV_SHA3_224_HEX],
                  struct sign_claim *claim, struct gv_error *err)
{
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    if (gvmi_open(&img, path, err) < 0)
        return -1;
    if (a->signed_by) {
        if (check_signature(path, a, progress, claim, err) < 0)
            return -1;
        memcpy(hash, claim->hash, GV_SHA3_224_HEX);
    } else if (gvmi_hash(img, hash, err) < 0) {
        return -1;
    }
    if (a->hash && strcasecmp(a->hash, hash) != 0)
        return gv_error_set(err, GV_E_CORRUPT, 0, "%s: the hash is %s, not %s", path, hash, a->hash);
    return gvmi_verify(img, progress, err);
}

static void print_json(const char *path, const char *hash, const struct sign_claim *claim, const struct gv_error *err, size_t *elements)
{
    json_t *o = json_object();
    look_json_bytes(o, "file", path);
    json_object_set_new(o, "ok", json_boolean(err == NULL));
    if (*hash)
        json_object_set_new(o, "hash", json_string(hash));
    if (!err && *claim->hash)
        look_json_bytes(o, "signed_name", claim->name);
    if (err)
        json_object_set_new(o, "error", json_string(err->msg));
    look_json_element(o, elements);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct verify_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at == argc)
        return cli_usage(self, "say which file to verify");
    if (a.hash && argc - at > 1)
        return cli_usage(self, "--hash is for one file");
    if (a.signature && (!a.signed_by || argc - at > 1))
        return cli_usage(self, a.signed_by ? "--signature is for one file" : "--signature needs the key that has signed (--key)");
    look_begin();
    int status = CLI_OK;
    size_t elements = 0;
    for (int i = at; i < argc; i++) {
        struct gv_error err = GV_ERROR_INIT;
        char hash[GV_SHA3_224_HEX] = "";
        struct sign_claim claim = { 0 };
        struct cli_progress *progress = cli_progress_new(a.progress);
        int bad = verify(argv[i], &a, cli_progress_sink(progress), hash, &claim, &err);
        cli_progress_free(progress);
        if (a.json)
            print_json(argv[i], hash, &claim, bad ? &err : NULL, &elements);
        if (bad) {
            status = cli_fail(&err);
        } else if (!a.json) {
            cli_print_clean(stdout, argv[i]);
            printf(": ok, %s%s", hash, *claim.name ? ", signed as " : a.signed_by ? ", signed" : "");
            cli_print_clean(stdout, claim.name);
            putchar('\n');
        }
    }
    if (a.json)
        look_json_array_end(elements);
    return status;
}

const struct cli_command cmd_verify = {
    .name = "verify",
    .synopsis = "[OPTIONS] FILE...",
    .summary = "Check every table and every block of a .gvmi, and its hash",
    .details = "Prints a line with the hash for each good file, and one on standard error for each bad one.",
    .example = "  gvmkit verify hello.gvmi\n"
               "  gvmkit verify --hash 4b1a... hello.gvmi\n"
               "  gvmkit verify --key me.pub hello.gvmi",
    .options = options,
    .run = run,
};
