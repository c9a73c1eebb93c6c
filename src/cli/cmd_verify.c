/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>

#include "cli/image.h"
#include "cli/look.h"
#include "sign/sign.h"

struct verify_args {
    const char *hash, *signature;
    struct sign_public key;
    bool signed_by, json, all;
    enum cli_progress_mode progress;
};

static const struct cli_option options[] = {
    { "hash", 0, "HEX", "the SHA3-224 that the file must have, as 56 hex digits" },
    { "all", 0, NULL, "check the hash of each image in the store, and fetch again what is damaged" },
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
    } else if (!strcmp(name, "all")) {
        a->all = true;
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
static int verify(struct cli_image *image, const char *word, const struct verify_args *a, const struct gv_progress *progress,
                  char hash[GV_SHA3_224_HEX], struct sign_claim *claim, struct gv_error *err)
{
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    if (cli_image_open(image, &img, word, err) < 0)
        return -1;
    if (a->signed_by) {
        if (check_signature(image->path, a, progress, claim, err) < 0)
            return -1;
        memcpy(hash, claim->hash, GV_SHA3_224_HEX);
    } else if (gvmi_hash(img, hash, err) < 0) {
        return -1;
    }
    if (a->hash && strcasecmp(a->hash, hash) != 0)
        return gv_error_set(err, GV_E_CORRUPT, 0, "%s: the hash is %s, not %s", image->path, hash, a->hash);
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

/* ---- the store ---- */

static void print_stored(const struct verify_args *a, const struct store_entry *e, enum store_health health, const struct gv_error *err,
                         size_t *elements)
{
    static const char *const words[] = {
        [STORE_GOOD] = "ok", [STORE_REPAIRED] = "was damaged, is repaired", [STORE_LOST] = "was damaged, is removed"
    };
    if (a->json) {
        json_t *o = json_pack("{s:s, s:b, s:b}", "hash", e->hash, "ok", err == NULL, "repaired", health == STORE_REPAIRED);
        if (err)
            json_object_set_new(o, "error", json_string(err->msg));
        look_json_element(o, elements);
    } else if (!err) {
        printf("%s: %s\n", e->hash, words[health]);
    }
}

static int verify_all(const struct verify_args *a)
{
    struct cli_progress *progress = cli_progress_new(a->progress);
    struct gv_log log = cli_progress_log(progress, false);
    const struct store_options o = { .log = &log, .progress = cli_progress_sink(progress) };
    CLEANUP(image_store) struct image_store *store = NULL;
    cleanup_store_list struct store_list list = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    size_t elements = 0;
    int status = CLI_OK;
    if (store_open(&store, &o, &err) < 0 || store_list(store, &list, &err) < 0)
        status = cli_fail(&err);
    for (size_t i = 0; i < list.count; i++) {
        enum store_health health = STORE_GOOD;
        if (!list.entries[i].size)
            continue;
        gv_error_clear(&err);
        int r = store_verify(store, list.entries[i].hash, &health, &err);
        if (r < 0 && err.code == GV_E_NOT_FOUND)
            continue; /* removed since the list was made */
        bool bad = r < 0 || health == STORE_LOST;
        cli_progress_hide(progress);
        print_stored(a, &list.entries[i], health, bad ? &err : NULL, &elements);
        fflush(stdout);
        if (bad)
            status = cli_fail(&err);
    }
    cli_progress_free(progress);
    if (a->json)
        look_json_array_end(elements);
    return status;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct verify_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (a.all && (at < argc || a.hash || a.signed_by))
        return cli_usage(self, "--all is for the store alone");
    if (a.all)
        return verify_all(&a);
    if (at == argc)
        return cli_usage(self, "say which image to verify");
    if (a.hash && argc - at > 1)
        return cli_usage(self, "--hash is for one image");
    if (a.signature && (!a.signed_by || argc - at > 1))
        return cli_usage(self, a.signed_by ? "--signature is for one image" : "--signature needs the key that has signed (--key)");
    look_begin();
    int status = CLI_OK;
    size_t elements = 0;
    for (int i = at; i < argc; i++) {
        struct gv_error err = GV_ERROR_INIT;
        char hash[GV_SHA3_224_HEX] = "";
        struct sign_claim claim = { 0 };
        cleanup_cli_image struct cli_image image = CLI_IMAGE_INIT;
        struct cli_progress *progress = cli_progress_new(a.progress);
        int bad = verify(&image, argv[i], &a, cli_progress_sink(progress), hash, &claim, &err);
        cli_progress_free(progress);
        if (a.json)
            print_json(image.path ? image.path : argv[i], hash, &claim, bad ? &err : NULL, &elements);
        if (bad) {
            status = cli_fail(&err);
        } else if (!a.json) {
            cli_print_clean(stdout, image.path);
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
    .synopsis = "[OPTIONS] IMAGE...",
    .summary = "Check every table and every block of a .gvmi, and its hash",
    .details = "Prints a line with the hash for each good image, and one on standard error for each bad one.\n\n"
               "With --all, an image of the store that has rotted is fetched again from where it came, or from the registry; one that\n"
               "cannot be had any more is removed, so that nothing runs it.",
    .example = "  gvmkit verify hello.gvmi\n"
               "  gvmkit verify --hash 4b1a... hello.gvmi\n"
               "  gvmkit verify --key me.pub hello.gvmi",
    .options = options,
    .run = run,
};
