/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/signers.h"

void cli_image_clear(struct cli_image *i)
{
    free(i->path);
    if (i->lock >= 0)
        close(i->lock);
    *i = (struct cli_image)CLI_IMAGE_INIT;
}

int cli_image_check(const char *path, const char *hash, const struct gv_progress *progress, struct gv_error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    unsigned char digest[GV_HASH_MAX];
    char is[GV_SHA3_224_HEX];
    if (fd < 0 || fstat(fd, &st) < 0)
        return gv_error_set(err, errno == ENOENT ? GV_E_NOT_FOUND : GV_E_IO, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return gv_error_set(err, GV_E_FORMAT, 0, "%s: not a regular file", path);
    if (gv_hash_fd_shown(GV_HASH_SHA3_224, fd, (uint64_t)st.st_size, progress, digest, err) < 0)
        return gv_error_prefix(err, "%s", path);
    gv_hex(is, digest, GV_SHA3_224_SIZE);
    return strcmp(is, hash) == 0 ? 0 : gv_error_set(err, GV_E_CORRUPT, 0, "%s: the hash is %s, not %s", path, is, hash);
}

static int take_stored(struct cli_image *out, const struct refs *ref, enum store_lookup how, const struct store_options *options,
                       struct gv_error *err)
{
    CLEANUP(image_store) struct image_store *store = NULL;
    cleanup_store_image struct store_image found = STORE_IMAGE_INIT;
    if (store_open(&store, options, err) < 0 || store_get(store, ref, how, NULL, &found, err) < 0)
        return -1;
    out->path = steal_ptr(found.path);
    out->lock = steal_fd(&found.lock);
    return 0;
}

/* 1 when the word is the path of a file (which need not be there), 0 when it is something else. */
static int take_path(struct cli_image *out, struct refs *ref, const char *word, const struct gv_progress *progress, struct gv_error *err)
{
    if (access(word, F_OK) == 0) {
        out->path = gv_strdup(word);
        return 1;
    }
    if (refs_parse(ref, word, err) < 0)
        return -1;
    if (ref->kind != REFS_PATH)
        return 0;
    if (*ref->hash && cli_image_check(ref->path, ref->hash, progress, err) < 0)
        return -1;
    out->path = gv_strdup(ref->path);
    return 1;
}

int cli_image_find(struct cli_image *out, const char *word, struct gv_error *err)
{
    cleanup_refs struct refs ref = { 0 };
    struct cli_progress *progress = cli_progress_new(CLI_PROGRESS_AUTO);
    struct gv_log log = cli_progress_log(progress, false);
    const struct store_options options = { .log = &log, .progress = cli_progress_sink(progress) };
    int status = take_path(out, &ref, word, options.progress, err);
    if (status == 0)
        status = take_stored(out, &ref, STORE_FIRST, &options, err);
    cli_progress_free(progress);
    return status < 0 ? -1 : 0;
}

int cli_image_open(struct cli_image *out, struct gvmi_image **img, const char *word, struct gv_error *err)
{
    return cli_image_find(out, word, err) < 0 ? -1 : gvmi_open(img, out->path, err);
}

/* A bare USER/REPO:TAG: 1 when it is in the store or in the registry that was chosen, 0 when it is for Docker. */
static int take_name(struct cli_image *out, const struct refs *ref, const struct store_options *options, struct gv_error *err)
{
    struct gv_error why = GV_ERROR_INIT;
    if (take_stored(out, ref, registry_is_chosen() ? STORE_FIRST : STORE_LOCAL, options, &why) == 0)
        return 1;
    if (why.code == GV_E_NOT_FOUND)
        return 0;
    if (err)
        *err = why;
    return -1;
}

int cli_image_to_run(struct cli_image *out, const char *word, const struct convert_options *options, const struct store_signers *signers,
                     struct gv_error *err)
{
    cleanup_refs struct refs ref = { 0 };
    const struct store_options store = {
        .insecure = options->source.insecure, .signers = signers, .log = options->source.log, .progress = options->source.progress
    };
    int status = take_path(out, &ref, word, options->source.progress, err);
    if (status < 0)
        return -1;
    if (status == 0 && (ref.kind == REFS_IMAGE || ref.is_explicit))
        return take_stored(out, &ref, STORE_FIRST, &store, err);
    if (status == 0) {
        status = take_name(out, &ref, &store, err);
        if (status)
            return status < 0 ? -1 : 0;
        if (signers)
            return cli_signers_refuse_conversion(word, err);
        if (convert_for_use(word, options, &out->path, &out->lock, err) == 0)
            return 0;
        return gv_error_hint(err, "an image of Golem's registry is golem:%.200s", word);
    }
    cleanup_free char *source = steal_ptr(out->path);
    if (signers && cli_signers_check(signers, source, options->source.progress, err) < 0)
        return -1;
    return convert_for_use(source, options, &out->path, &out->lock, err);
}
