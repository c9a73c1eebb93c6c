/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/look.h"
#include "cli/password.h"
#include "sign/sign.h"

struct sign_args {
    const char *key, *name, *output, *password_file, *generate;
    bool no_password, json;
    enum cli_progress_mode progress;
};

static const struct cli_option options[] = {
    { "key", 'k', "FILE", "the secret key to sign with" },
    { "name", 0, "NAME", "a name to be signed with the image, as USER/REPO:TAG (default: the file's name)" },
    { "output", 'o', "FILE", "the signature's file (default: FILE" SIGN_SUFFIX ")" },
    { "generate", 0, "NAME", "make a pair of keys, NAME.key and NAME.pub" },
    { "no-password", 0, NULL, "do not encrypt the new secret key" },
    { "password-file", 0, "FILE", "the first line of it is the key's password; `-` is standard input (default: ask on the terminal)" },
    { "json", 0, NULL, "print a JSON array" },
    { "progress", 0, "MODE", "auto, plain, none or json (default auto)" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct sign_args *a = user;
    if (!strcmp(name, "key"))
        a->key = value;
    else if (!strcmp(name, "name"))
        a->name = value;
    else if (!strcmp(name, "output"))
        a->output = value;
    else if (!strcmp(name, "generate"))
        a->generate = value;
    else if (!strcmp(name, "no-password"))
        a->no_password = true;
    else if (!strcmp(name, "password-file"))
        a->password_file = value;
    else if (!strcmp(name, "json"))
        a->json = true;
    else
        return cli_progress_mode(value, &a->progress, err);
    if (!strcmp(name, "name") && strlen(value) > SIGN_NAME_MAX)
        return gv_error_set(err, GV_E_USAGE, 0, "at most %u characters", SIGN_NAME_MAX);
    return 0;
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------------ */

static int new_password(const struct sign_args *a, struct cli_password *p, struct gv_error *err)
{
    if (cli_password_get(p, a->password_file, "Password for the new key", err) < 0)
        return -1;
    if (!*p->text)
        return gv_error_set(err, GV_E_USAGE, 0, "the password is empty; use --no-password for a key without one");
    if (a->password_file)
        return 0;
    struct cli_password again;
    int status = cli_password_get(&again, NULL, "The same again", err);
    if (status == 0 && strcmp(again.text, p->text) != 0)
        status = gv_error_set(err, GV_E_USAGE, 0, "the two passwords differ");
    cli_password_clear(&again);
    return status;
}

static int generate(const struct sign_args *a)
{
    struct gv_error err = GV_ERROR_INIT;
    struct cli_password password = { "" };
    cleanup_free char *secret = gv_asprintf("%s.key", a->generate), *public_key = gv_asprintf("%s.pub", a->generate);
    int status = a->no_password ? 0 : new_password(a, &password, &err);
    if (status == 0)
        status = sign_keys_make(secret, public_key, a->no_password ? NULL : password.text, NULL, &err);
    cli_password_clear(&password);
    if (status < 0)
        return cli_fail(&err);
    cli_print_clean(stdout, public_key);
    putchar('\n');
    return CLI_OK;
}

static int read_key(const struct sign_args *a, struct sign_secret *k, struct gv_error *err)
{
    struct cli_password password;
    int status = sign_secret_read(k, a->key, NULL, err);
    if (status <= 0)
        return status;
    status = cli_password_get(&password, a->password_file, "Password of the key", err);
    if (status == 0)
        status = sign_secret_read(k, a->key, password.text, err);
    cli_password_clear(&password);
    return status;
}

/* ---- images ---------------------------------------------------------------------------------------------------------------------- */

/* Writes the signature beside the image, or where it is wanted. */
static int sign_image(const char *path, const struct sign_args *a, const struct sign_secret *k, const struct gv_progress *progress,
                      struct sign_claim *claim, const char *signature, struct gv_error *err)
{
    cleanup_buf struct gv_buf text = { 0 };
    struct stat st;
    const char *slash = strrchr(path, '/'), *name = a->name ? a->name : slash ? slash + 1 : path;
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "%s", path);
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    if (gvmi_open(&img, path, err) < 0) /* a signature is for images; another file is a mistake */
        return -1;
    *claim = (struct sign_claim){ 0 };
    strncpy(claim->name, name, SIGN_NAME_MAX);
    if (sign_make(&text, claim, fd, k, progress, err) < 0)
        return gv_error_prefix(err, "%s", path);
    struct gv_outfile *out = NULL;
    if (gv_outfile_open(&out, signature, 0644, err) < 0)
        return -1;
    if (gv_write_full(gv_outfile_fd(out), text.data, text.len) == 0)
        return gv_outfile_commit(out, err);
    gv_error_errno(err, "cannot write `%s`", signature);
    gv_outfile_discard(out);
    return -1;
}

static void print_claim(const struct sign_claim *c, const char *path, const char *signature, bool json, size_t *elements)
{
    if (!json) {
        cli_print_clean(stdout, signature);
        putchar('\n');
        return;
    }
    json_t *o = json_object();
    look_json_bytes(o, "file", path);
    look_json_bytes(o, "signature", signature);
    json_object_set_new(o, "hash", json_string(c->hash));
    json_object_set_new(o, "size", json_integer((json_int_t)c->size));
    look_json_bytes(o, "name", c->name);
    look_json_element(o, elements);
}

static int sign_all(const struct sign_args *a, char *const *files)
{
    struct gv_error err = GV_ERROR_INIT;
    struct sign_secret key;
    int status = CLI_OK;
    size_t elements = 0;
    if (read_key(a, &key, &err) < 0)
        return cli_fail(&err);
    for (; *files; files++) {
        struct sign_claim claim;
        cleanup_free char *signature = a->output ? gv_strdup(a->output) : gv_asprintf("%s%s", *files, SIGN_SUFFIX);
        struct cli_progress *progress = cli_progress_new(a->progress);
        gv_error_clear(&err);
        int failed = sign_image(*files, a, &key, cli_progress_sink(progress), &claim, signature, &err);
        cli_progress_free(progress);
        if (failed)
            status = cli_fail(&err);
        else
            print_claim(&claim, *files, signature, a->json, &elements);
    }
    sign_secret_clear(&key);
    if (a->json)
        look_json_array_end(elements);
    return status;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct sign_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (a.generate)
        return at < argc || a.key ? cli_usage(self, "--generate makes keys and signs nothing") : generate(&a);
    if (!a.key)
        return cli_usage(self, "say which key to sign with (--key), or make one (--generate)");
    if (at == argc)
        return cli_usage(self, "say which image to sign");
    if ((a.output || a.name) && argc - at > 1)
        return cli_usage(self, "--output and --name are for one image");
    look_begin();
    return sign_all(&a, argv + at);
}

const struct cli_command cmd_sign = {
    .name = "sign",
    .synopsis = "[OPTIONS] IMAGE...",
    .summary = "Sign images: hash, size and name, with Ed25519",
    .details =
        "The signature is written beside the image. It is one of minisign, which can check it too; its trusted comment has hash, size\n"
        "and name, so that an image can be judged before it is fetched. `gvmkit verify --key` checks it.",
    .example = "  gvmkit sign --generate me\n"
               "  gvmkit sign --key me.key hello.gvmi\n"
               "  gvmkit verify --key me.pub hello.gvmi\n"
               "  minisign -Vm hello.gvmi -p me.pub",
    .options = options,
    .run = run,
};
