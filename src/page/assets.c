/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Style, script and icon, which embed.py has made C of. */
#include <string.h>

#include "page/assets.inc"
#include "page/page.h"

const void *page_asset(const char *name, size_t *size, const char **type, const char **etag)
{
    static const struct {
        const char *name;
        const void *bytes;
        size_t size;
        const char *type, *etag;
    } assets[] = {
        { "style.css", style_css, sizeof(style_css), "text/css; charset=utf-8", STYLE_CSS_ETAG },
        { "page.js", page_js, sizeof(page_js), "text/javascript; charset=utf-8", PAGE_JS_ETAG },
        { "icon.svg", icon_svg, sizeof(icon_svg), "image/svg+xml", ICON_SVG_ETAG },
    };
    for (size_t i = 0; i < sizeof(assets) / sizeof(assets[0]); i++) {
        if (strcmp(name, assets[i].name) != 0)
            continue;
        *size = assets[i].size;
        *type = assets[i].type;
        *etag = assets[i].etag;
        return assets[i].bytes;
    }
    return NULL;
}
