/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "cli/look.h"
#include "cli/password.h"
#include "demand/demand.h"

#define DAY_S (24 * 3600)

struct manifest_args {
    const char *output, *name, *description, *version, *hash;
    struct gv_strv urls, outbound, commands;
    bool outbound_any, regex;
    uint64_t days;
    const char *key, *password_file, *digest, *certificate, *ca, *signature;
};

static const struct cli_option options[] = {
    { "output", 'o', "FILE", "where the result goes (create: standard output; sign: FILE with .sig for .json)" },
    { "hash", 0, "HEX", "create: the image's hash, when there is no file of it here" },
    { "url", 0, "URL", "create: where providers fetch the image; can be repeated, they take the first" },
    { "name", 0, "TEXT", "create: what the manifest is for" },
    { "description", 0, "TEXT", "create: more of it, if it has a name" },
    { "image-version", 0, "TEXT", "create: the version of what it is for (default 0.1.0), if it has a name" },
    { "outbound", 0, "URL", "create: where programs may connect to, as https://HOST[:PORT]; can be repeated" },
    { "outbound-any", 0, NULL, "create: they may connect to anywhere" },
    { "command", 0, "TEXT", "create: a command of the script, as `run /bin/ls /`; can be repeated; then no others are allowed" },
    { "regex", 0, NULL, "create: the commands are regular expressions" },
    { "days", 0, "N", "create: how long it is valid (default 90)" },
    { "key", 'k', "FILE", "sign: the private key, in PEM" },
    { "password-file", 0, "FILE",
      "sign: the first line of it is the key's password; `-` is standard input (default: ask on the terminal)" },
    { "digest", 0, "NAME", "sign, verify: the digest, as OpenSSL calls it (default sha256)" },
    { "signature", 0, "FILE", "verify: the signature (default: FILE with .sig for .json)" },
    { "certificate", 'c', "FILE", "verify: the certificate of the key, the last one after those between the CA and it, in PEM; or in DER" },
    { "ca", 0, "FILE", "verify: certificates that must vouch for it" },
    { 0 },
};

static int take_create(struct manifest_args *a, const char *name, const char *value, struct gv_error *err)
{
    unsigned char digest[GV_SHA3_224_SIZE];
    if (!strcmp(name, "days"))
        return cli_number("a number of days", value, 1, 36500, &a->days, err);
    if (!strcmp(name, "hash") && gv_unhex(digest, sizeof(digest), value) < 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not 56 hex digits", value);
    if (!strcmp(name, "hash"))
        a->hash = value;
    else if (!strcmp(name, "url"))
        gv_strv_add(&a->urls, value);
    else if (!strcmp(name, "name"))
        a->name = value;
    else if (!strcmp(name, "description"))
        a->description = value;
    else if (!strcmp(name, "image-version"))
        a->version = value;
    else if (!strcmp(name, "outbound"))
        gv_strv_add(&a->outbound, value);
    else if (!strcmp(name, "outbound-any"))
        a->outbound_any = true;
    else if (!strcmp(name, "command"))
        gv_strv_add(&a->commands, value);
    else
        a->regex = true;
    return 0;
}

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct manifest_args *a = user;
    if (!strcmp(name, "output"))
        a->output = value;
    else if (!strcmp(name, "key"))
        a->key = value;
    else if (!strcmp(name, "password-file"))
        a->password_file = value;
    else if (!strcmp(name, "digest"))
        a->digest = value;
    else if (!strcmp(name, "signature"))
        a->signature = value;
    else if (!strcmp(name, "certificate"))
        a->certificate = value;
    else if (!strcmp(name, "ca"))
        a->ca = value;
    else
        return take_create(a, name, value, err);
    return 0;
}

static int write_text(const char *path, const char *text, struct gv_error *err)
{
    struct gv_outfile *out = NULL;
    if (!path) {
        fputs(text, stdout);
        return 0;
    }
    if (gv_outfile_open(&out, path, 0644, err) < 0)
        return -1;
    if (gv_write_full(gv_outfile_fd(out), text, strlen(text)) == 0)
        return gv_outfile_commit(out, err);
    gv_error_errno(err, "cannot write `%s`", path);
    gv_outfile_discard(out);
    return -1;
}

/* "manifest.json" has its signature in "manifest.sig", as Golem's own tool writes it. */
static char *signature_path(const char *manifest)
{
    size_t n = strlen(manifest);
    if (n > 5 && !strcmp(manifest + n - 5, ".json"))
        n -= 5;
    return gv_asprintf("%.*s.sig", (int)n, manifest);
}

static int hash_of(const char *path, char hash[GV_SHA3_224_HEX], struct gv_error *err)
{
    CLEANUP(gvmi) struct gvmi_image *img = NULL;
    return gvmi_open(&img, path, err) < 0 ? -1 : gvmi_hash(img, hash, err);
}

static int create(const struct manifest_args *a, const char *image, struct gv_error *err)
{
    time_t now = time(NULL);
    cleanup_free char *text = NULL;
    struct demand_manifest m = { .urls = &a->urls,
                                 .name = a->name,
                                 .description = a->description,
                                 .version = a->version,
                                 .commands = &a->commands,
                                 .commands_regex = a->regex,
                                 .outbound = &a->outbound,
                                 .outbound_any = a->outbound_any,
                                 .created = now,
                                 .expires = now + (int64_t)a->days * DAY_S };
    if (a->hash) {
        unsigned char digest[GV_SHA3_224_SIZE];
        gv_unhex(digest, sizeof(digest), a->hash);
        gv_hex(m.hash, digest, sizeof(digest));
    } else if (hash_of(image, m.hash, err) < 0) {
        return -1;
    }
    return demand_manifest_make(&text, &m, err) < 0 ? -1 : write_text(a->output, text, err);
}

static int sign(const struct manifest_args *a, const char *path, struct gv_error *err)
{
    cleanup_buf struct gv_buf manifest = { 0 };
    cleanup_free char *signature = NULL, *beside = signature_path(path);
    if (gv_read_file(path, DEMAND_MANIFEST_MAX, &manifest, err) < 0)
        return -1;
    if (demand_manifest_check(manifest.data, manifest.len, time(NULL), NULL, NULL, err) < 0)
        return gv_error_prefix(err, "%s", path);
    int status = demand_manifest_sign(&signature, manifest.data, manifest.len, a->key, NULL, a->digest, err);
    if (status > 0) {
        struct cli_password password;
        status = cli_password_get(&password, a->password_file, "Password of the key", err);
        if (status == 0)
            status = demand_manifest_sign(&signature, manifest.data, manifest.len, a->key, password.text, a->digest, err);
        cli_password_clear(&password);
    }
    return status < 0 ? -1 : write_text(a->output ? a->output : beside, signature, err);
}

static int verify(const struct manifest_args *a, const char *path, struct gv_error *err)
{
    cleanup_buf struct gv_buf manifest = { 0 }, signature = { 0 };
    cleanup_free char *beside = signature_path(path), *url = NULL;
    char hash[GV_SHA3_224_HEX];
    if (gv_read_file(path, DEMAND_MANIFEST_MAX, &manifest, err) < 0)
        return -1;
    if (demand_manifest_check(manifest.data, manifest.len, time(NULL), hash, &url, err) < 0)
        return gv_error_prefix(err, "%s", path);
    if (a->certificate &&
        (gv_read_file(a->signature ? a->signature : beside, DEMAND_MANIFEST_MAX, &signature, err) < 0 ||
         demand_manifest_verify(gv_buf_str(&signature), manifest.data, manifest.len, a->certificate, a->ca, a->digest, err) < 0))
        return -1;
    cli_print_clean(stdout, path);
    printf(": %s, sha3:%s ", a->ca ? "signed, and vouched for" : a->certificate ? "signed" : "valid", hash);
    cli_print_clean(stdout, url);
    putchar('\n');
    return 0;
}

/* Words that belong to another action would be ignored otherwise. */
static const char *misplaced(const struct manifest_args *a, const char *action)
{
    bool creates = !strcmp(action, "create"), signs = !strcmp(action, "sign"), verifies = !strcmp(action, "verify");
    if (!creates && (a->hash || a->urls.count || a->name || a->description || a->version || a->outbound.count || a->outbound_any ||
                     a->commands.count || a->regex || a->days))
        return "options about the content are for `create`";
    if (!signs && (a->key || a->password_file))
        return "a private key is for `sign`";
    if (!verifies && (a->certificate || a->ca || a->signature))
        return "certificates and signatures are for `verify`";
    if (verifies && a->output)
        return "`verify` has no output";
    if (creates && a->digest)
        return "a digest is for `sign` and `verify`";
    if ((a->description || a->version) && !a->name)
        return "--description and --image-version need --name";
    if (a->outbound_any && a->outbound.count)
        return "--outbound-any and --outbound exclude each other";
    if (a->regex && !a->commands.count)
        return "--regex needs --command";
    return verifies && !a->certificate && (a->ca || a->signature || a->digest) ? "a signature is verified with --certificate" : NULL;
}

static int act(const struct cli_command *self, struct manifest_args *a, int argc, char **argv)
{
    struct gv_error err = GV_ERROR_INIT;
    const char *action = argc > 0 ? argv[0] : "", *wrong;
    int status;
    if (strcmp(action, "create") != 0 && strcmp(action, "sign") != 0 && strcmp(action, "verify") != 0)
        return cli_usage(self, "say what to do: create, sign or verify");
    if ((wrong = misplaced(a, action)))
        return cli_usage(self, "%s", wrong);
    if (!strcmp(action, "create")) {
        if (argc != (a->hash ? 1 : 2))
            return cli_usage(self, "`create` needs one image, or --hash");
        if (!a->urls.count)
            return cli_usage(self, "say where providers fetch the image (--url)");
        if (!a->days)
            a->days = 90;
        status = create(a, argv[1], &err);
    } else {
        if (argc != 2)
            return cli_usage(self, "`%s` needs one manifest", action);
        if (!strcmp(action, "sign") && !a->key)
            return cli_usage(self, "say which key to sign with (--key)");
        status = !strcmp(action, "sign") ? sign(a, argv[1], &err) : verify(a, argv[1], &err);
    }
    return status < 0 ? cli_fail(&err) : CLI_OK;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct manifest_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    int status = at == CLI_HELP ? CLI_OK : at < 0 ? CLI_USAGE : act(self, &a, argc - at, argv + at);
    gv_strv_clear(&a.urls);
    gv_strv_clear(&a.outbound);
    gv_strv_clear(&a.commands);
    return status;
}

const struct cli_command cmd_manifest = {
    .name = "manifest",
    .synopsis = "create|sign|verify [OPTIONS] [FILE]",
    .summary = "Make, sign and check manifests of Golem",
    .details = "A manifest names an image, where it is, and what its programs may connect to. A provider that lets programs into the "
               "internet wants\n"
               "it signed by a key whose certificate it trusts.",
    .example = "  gvmkit manifest create hello.gvmi --url https://example.org/hello.gvmi --outbound https://ipfs.io -o manifest.json\n"
               "  gvmkit manifest sign --key author.key manifest.json\n"
               "  gvmkit manifest verify --certificate author.crt --ca golem.pem manifest.json",
    .options = options,
    .run = run,
};
