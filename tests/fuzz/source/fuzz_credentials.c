/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The first byte chooses: a file of logins, the answer of a credential helper, the answer of a token service. Whatever a token service says
 * must be fit for a header. */
#include <stdlib.h>
#include <string.h>

#include "source/archive.h"
#include "source/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct credentials *c, int got)
{
    if ((got > 0) != (c->user || c->token) && got >= 0)
        abort();
    if (c->user && !c->password)
        abort();
}

static void file(const void *text, size_t n, const char *host, struct gv_error *err)
{
    cleanup_credentials struct credentials c = { 0 };
    cleanup_free char *helper = NULL;
    cleanup_json json_t *j = json_parse(text, n, err);
    if (!j)
        return;
    int got = credentials_in_file(&c, j, host, "team/app", &helper, err);
    check(&c, got);
    if (got > 0 && helper)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gv_error err = GV_ERROR_INIT;
    if (size == 0)
        return 0;
    const void *text = data + 1;
    if (data[0] == 'f') {
        file(text, size - 1, "example.org:5000", &err);
        file(text, size - 1, "docker.io", &err);
    } else if (data[0] == 'h') {
        cleanup_credentials struct credentials c = { 0 };
        check(&c, credentials_from_answer(&c, text, size - 1, &err));
    } else {
        cleanup_free char *token = registry_token(text, size - 1, &err);
        if (!token && err.code == GV_OK)
            abort();
        for (const char *p = token; p && *p; p++)
            if (*p <= 0x20 || *p >= 0x7f)
                abort();
    }
    return 0;
}
