/* SPDX-License-Identifier: GPL-3.0-or-later */
/* WWW-Authenticate of a hostile server, in one header or two. What comes out must stay within its bounds and be lower case where it says
 * so. */
#include <assert.h>
#include <ctype.h>
#include <string.h>

#include "http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const char *s)
{
    assert(*s);
    for (; *s; s++)
        assert(!isupper((unsigned char)*s) && (unsigned char)*s > 0x20 && (unsigned char)*s < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_challenges struct http_challenges c = { 0 };
    cleanup_free char *text = gv_strndup((const char *)data, size);
    char *second = strchr(text, '\n');
    if (second)
        *second++ = '\0';
    http_challenges_parse(&c, text);
    if (second)
        http_challenges_parse(&c, second);
    assert(c.count <= HTTP_CHALLENGES_MAX);
    for (size_t i = 0; i < c.count; i++) {
        const struct http_challenge *h = &c.list[i];
        check_name(h->scheme);
        assert(h->count <= HTTP_PARAMETERS_MAX && http_challenges_find(&c, h->scheme));
        for (size_t k = 0; k < h->count; k++) {
            check_name(h->parameters[k].name);
            assert(http_challenge_parameter(h, h->parameters[k].name) == h->parameters[k].value);
        }
    }
    return 0;
}
