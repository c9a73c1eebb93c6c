/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/signers.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void cli_signers_clear(struct cli_signers *s)
{
    free(s->keys);
    gv_buf_clear(&s->signature);
    *s = (struct cli_signers){ 0 };
}

int cli_signers_add(struct cli_signers *s, const char *key, struct gv_error *err)
{
    struct sign_public k;
    if (sign_public_read(&k, key, err) < 0)
        return -1;
    s->keys = gv_reallocarray(s->keys, s->signers.count + 1, sizeof(*s->keys));
    s->keys[s->signers.count++] = k;
    s->signers.keys = s->keys;
    return 0;
}

int cli_signers_read(struct cli_signers *s, const char *path, struct gv_error *err)
{
    if (gv_read_file(path, SIGN_FILE_MAX, &s->signature, err) < 0)
        return -1;
    s->signers.signature = &s->signature;
    return 0;
}

const struct store_signers *cli_signers_of(const struct cli_signers *s)
{
    return s->signers.count ? &s->signers : NULL;
}

int cli_signers_refuse_conversion(const char *word, struct gv_error *err)
{
    return gv_error_set(
        err, GV_E_UNSUPPORTED, 0,
        "`%.300s` would be converted here, so nobody can have signed what would run; `gvmkit build` and sign it, and run that", word);
}

int cli_signers_check(const struct store_signers *who, const char *path, const struct gv_progress *progress, struct gv_error *err)
{
    cleanup_buf struct gv_buf text = { 0 };
    const struct sign_public *key;
    struct sign_claim claim;
    struct stat st;
    unsigned char head[4] = { 0 };
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "%s", path);
    if (!S_ISREG(st.st_mode) || gv_pread_full(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head) || memcmp(head, "hsqs", 4) != 0)
        return cli_signers_refuse_conversion(path, err);
    if (sign_read_beside(&text, path, err) < 0)
        return gv_error_prefix(err, "%s is not signed as required: there is no signature", path);
    if (sign_key_for(&key, text.data, text.len, who->keys, who->count, err) < 0 ||
        sign_verify(&claim, text.data, text.len, key, fd, progress, err) < 0)
        return gv_error_prefix(err, "%s is not signed as required", path);
    return 0;
}
