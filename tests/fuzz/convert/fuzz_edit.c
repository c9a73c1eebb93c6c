/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Edits: the first line is a configuration, each other one an edit by the number of its kind ("a" is the first) and its value. What is accepted must give a
 * configuration that can be written and read. All of the input is tried as a descriptor, too. */
#include <stdlib.h>
#include <string.h>

#include "convert/edit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_descriptor(const uint8_t *data, size_t size)
{
    struct convert_descriptor d = { 0 };
    if (convert_descriptor_parse(&d, data, size, NULL) == 0 && (d.bytes.len != size || d.chunks * 32 + CONVERT_DESCRIPTOR_HEAD != size))
        abort();
    convert_descriptor_clear(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_descriptor(data, size);
    cleanup_free char *text = gv_strndup((const char *)data, size);
    char *rest = text, *line = strsep(&rest, "\n");
    struct image_config c = { 0 }, again = { 0 };
    struct convert_edits e = { 0 };
    struct image_tree *t = image_tree_new();
    if (image_config_parse(&c, line, strlen(line), NULL) < 0) {
        image_tree_free(t);
        return 0;
    }
    while ((line = strsep(&rest, "\n")))
        if (*line >= 'a' && *line < 'a' + CONVERT_EDIT_KINDS)
            (void)convert_edits_add(&e, (enum convert_edit_kind)(*line - 'a'), line + 1, NULL);
    struct gv_error err = GV_ERROR_INIT;
    if (edit_config(&c, &e, size % 2 ? &(struct look){ .tree = t } : NULL, NULL, &err) < 0 && err.code == GV_OK)
        abort();
    cleanup_free char *json = image_config_format(&c);
    if (strlen(json) <= 1 << 20 && image_config_parse(&again, json, strlen(json), NULL) < 0)
        abort();
    image_config_clear(&again);
    image_config_clear(&c);
    convert_edits_clear(&e);
    image_tree_free(t);
    return 0;
}
