/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/conversion.h"

#include <string.h>

int cli_convert_option(struct convert_options *o, enum cli_progress_mode *mode, const char *name, const char *value, struct gv_error *err)
{
    if (!strcmp(name, "platform")) {
        o->source.platform = value;
    } else if (!strcmp(name, "jobs")) {
        uint64_t n;
        if (cli_number("the number of threads", value, 1, 256, &n, err) < 0)
            return -1;
        o->source.jobs = o->write.jobs = (int)n;
    } else if (!strcmp(name, "max-size")) {
        if (cli_size(value, &o->source.max_bytes, err) < 0)
            return -1;
    } else if (!strcmp(name, "absolute-names")) {
        o->source.absolute_names = true;
    } else if (!strcmp(name, "root-owned")) {
        o->source.root_owned = true;
    } else if (!strcmp(name, "insecure")) {
        o->source.insecure = true;
    } else if (!strcmp(name, "as-is")) {
        o->as_is = true;
    } else if (!strcmp(name, "progress")) {
        if (cli_progress_mode(value, mode, err) < 0)
            return -1;
    } else {
        return 0;
    }
    return 1;
}

int cli_edit_option(struct convert_edits *edits, const char *name, const char *value, struct gv_error *err)
{
    static const struct {
        const char *name;
        enum convert_edit_kind kind;
    } known[] = {
        { "env", CONVERT_SET_ENV },
        { "unset-env", CONVERT_UNSET_ENV },
        { "volume", CONVERT_ADD_VOLUME },
        { "unset-volume", CONVERT_REMOVE_VOLUME },
        { "workdir", CONVERT_SET_WORKDIR },
        { "user", CONVERT_SET_USER },
        { "entrypoint", CONVERT_SET_ENTRYPOINT },
        { "cmd", CONVERT_SET_CMD },
        { "label", CONVERT_SET_LABEL },
        { "unset-label", CONVERT_UNSET_LABEL },
        { "clear", CONVERT_CLEAR },
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(name, known[i].name) == 0)
            return convert_edits_add(edits, known[i].kind, value, err) < 0 ? -1 : 1;
    return 0;
}

int cli_compression(const char *name, int *out, struct gv_error *err)
{
    int id = gvmi_compression_by_name(name);
    if (id != GVMI_GZIP && id != GVMI_LZO && id != GVMI_XZ && id != GVMI_ZSTD && id != GVMI_LZ4)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not one of gzip, lzo, xz, zstd, lz4", name);
    *out = id;
    return 0;
}

int cli_write_options(struct gvmi_write_options *out, const struct cli_write_choice *choice, struct gv_error *err)
{
    if (gvmi_profile(choice->profile ? choice->profile : gvmi_profiles()->name, out, err) < 0)
        return -1;
    if (choice->compression && choice->compression != out->compression) {
        out->compression = choice->compression;
        out->level = 0; /* each compression has levels of its own */
        if (!choice->profile)
            out->block_size = 0;
    }
    if (choice->level)
        out->level = choice->level;
    if (choice->block_size)
        out->block_size = choice->block_size;
    return 0;
}

void cli_print_stripped(const struct convert_result *r)
{
    for (int i = 0; i < CONVERT_STRIP_CLASSES; i++) {
        const struct convert_stripped *s = &r->stripped[i];
        char size[32];
        gv_format_size(size, s->bytes);
        if (s->files)
            printf("stripped %s: %llu file%s, %s\n", convert_strip_name(i), (unsigned long long)s->files, s->files == 1 ? "" : "s", size);
    }
}
