/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "sign/sign.h"

DEFINE_CLEANUP(client, struct http_client *, http_client_free)

void cli_upload_clear(struct cli_upload *u)
{
    for (size_t i = 0; i < u->tag_count; i++)
        refs_clear(&u->tags[i]);
    free(u->tags);
    *u = (struct cli_upload){ 0 };
}

int cli_upload_add(struct cli_upload *u, const char *name, struct gv_error *err)
{
    cleanup_refs struct refs r = { 0 };
    int status = strncasecmp(name, "golem:", 6) == 0 ? refs_parse(&r, name, err) : refs_parse_name(&r, name, err);
    if (status < 0)
        return -1;
    u->tags = gv_reallocarray(u->tags, u->tag_count + 1, sizeof(*u->tags));
    u->tags[u->tag_count++] = r;
    r = (struct refs){ 0 };
    return 0;
}

void cli_uploaded_clear(struct cli_uploaded *u)
{
    free(u->base);
    *u = (struct cli_uploaded){ 0 };
}

int cli_upload_login(const struct cli_upload *u, const char *base, struct registry_login *out, struct gv_error *err)
{
    if (u->anonymous && u->tag_count)
        return gv_error_set(err, GV_E_USAGE, 0, "an anonymous image cannot have a name");
    return u->anonymous ? 0 : registry_login_find(base, out, err);
}

int cli_upload_check(const struct cli_upload *u, struct gv_error *err)
{
    cleanup_login struct registry_login login = { 0 };
    cleanup_free char *base = registry_url(err);
    return base ? cli_upload_login(u, base, &login, err) : -1;
}

int cli_upload_signature(const char *path, const char *hash, struct gv_buf *text, const struct gv_log *log, struct gv_error *err)
{
    struct gv_error why = GV_ERROR_INIT;
    struct sign_claim claim;
    char id[SIGN_ID_TEXT];
    if (sign_read_beside(text, path, &why) < 0) {
        gv_buf_clear(text);
        if (why.code == GV_E_NOT_FOUND)
            return 0;
        if (err)
            *err = why;
        return -1;
    }
    if (sign_peek(&claim, id, text->data, text->len, &why) < 0) {
        gv_buf_clear(text);
        gv_warn(log, "%s" SIGN_SUFFIX " is not sent along: %s", path, why.msg);
        return 0;
    }
    if (strcmp(claim.hash, hash) == 0)
        return 0;
    return gv_error_set(err, GV_E_CORRUPT, 0, "%s" SIGN_SUFFIX " is of another image, %s; sign this one, or remove it", path, claim.hash);
}

int cli_upload(const struct cli_upload *u, const char *path, const struct convert_descriptor *d, const struct gv_buf *signature,
               const struct gv_log *log, const struct gv_progress *progress, struct cli_uploaded *out, struct gv_error *err)
{
    CLEANUP(client) struct http_client *http = NULL;
    cleanup_login struct registry_login login = { 0 };
    const struct http_options options = { .insecure = u->insecure, .log = log };
    if (d->chunks > CONVERT_DESCRIPTOR_CHUNKS_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "%llu chunks are more than the %u that the registry takes; give a larger chunk size",
                            (unsigned long long)d->chunks, CONVERT_DESCRIPTOR_CHUNKS_MAX);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "%s", path);
    out->base = registry_url(err);
    if (!out->base || cli_upload_login(u, out->base, &login, err) < 0 || http_client_new(&http, &options, err) < 0)
        return -1;
    const struct registry_push push = { .base = out->base,
                                        .login = u->anonymous ? NULL : &login,
                                        .tags = u->tags,
                                        .tag_count = u->tag_count,
                                        .signature = signature,
                                        .workers = u->workers,
                                        .insecure = u->insecure,
                                        .log = log,
                                        .progress = progress };
    return registry_push(http, fd, d, &push, &out->pushed, err);
}
