/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * libcurl, loaded when it is first needed. It brings some thirty libraries with it, which would make every start of the program several
 * times slower, and most of what gvmkit is asked for has no use for a network.
 */
#ifndef GV_HTTP_CURL_H
#define GV_HTTP_CURL_H

#define CURL_DISABLE_TYPECHECK /* its macros would call the functions by name */
#include <curl/curl.h>

#include "core/core.h"

struct curl_api {
    __typeof__(curl_global_init) *global_init;
    __typeof__(curl_easy_init) *easy_init;
    __typeof__(curl_easy_cleanup) *easy_cleanup;
    __typeof__(curl_easy_reset) *easy_reset;
    __typeof__(curl_easy_setopt) *easy_setopt;
    __typeof__(curl_easy_getinfo) *easy_getinfo;
    __typeof__(curl_easy_perform) *easy_perform;
    __typeof__(curl_easy_strerror) *easy_strerror;
    __typeof__(curl_slist_append) *slist_append;
    __typeof__(curl_slist_free_all) *slist_free_all;
    __typeof__(curl_url) *url;
    __typeof__(curl_url_set) *url_set;
    __typeof__(curl_url_get) *url_get;
    __typeof__(curl_url_cleanup) *url_cleanup;
    __typeof__(curl_free) *free;
    __typeof__(curl_getdate) *getdate;
};

/* The library, initialised; from any thread. NULL when it is not installed. */
const struct curl_api *curl_load(struct gv_error *err);

#endif
