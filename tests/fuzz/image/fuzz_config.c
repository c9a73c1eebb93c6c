/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The configuration: what is accepted must be written in one form, which reads back as itself. */
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_config c = { 0 }, again = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (image_config_parse(&c, (const char *)data, size, &err) < 0) {
        if (err.code == GV_OK)
            abort();
        return 0;
    }
    char *text = image_config_format(&c);
    if (image_config_parse(&again, text, strlen(text), &err) < 0)
        abort();
    char *twice = image_config_format(&again);
    if (strcmp(text, twice) != 0)
        abort();
    image_config_getenv(&c, "PATH");
    free(text);
    free(twice);
    image_config_clear(&c);
    image_config_clear(&again);
    return 0;
}
