/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The header WWW-Authenticate (RFC 9110, 11.6.1): challenges separated by commas, each a scheme with parameters that are separated by
 * commas as well, or with one word in the alphabet of base64. What follows a comma is a parameter when an equals sign comes after its name,
 * and a new scheme else.
 */
#include <ctype.h>
#include <string.h>

#include "http/http.h"

#define WORD_MAX 256
#define VALUE_MAX 4096

void http_challenges_clear(struct http_challenges *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->list[i].scheme);
        for (size_t k = 0; k < c->list[i].count; k++) {
            free(c->list[i].parameters[k].name);
            free(c->list[i].parameters[k].value);
        }
    }
    *c = (struct http_challenges){ 0 };
}

const struct http_challenge *http_challenges_find(const struct http_challenges *c, const char *scheme)
{
    for (size_t i = 0; i < c->count; i++)
        if (!strcmp(c->list[i].scheme, scheme))
            return &c->list[i];
    return NULL;
}

const char *http_challenge_parameter(const struct http_challenge *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (!strcmp(c->parameters[i].name, name))
            return c->parameters[i].value;
    return NULL;
}

static bool is_token(char c)
{
    return c && ((unsigned char)c < 0x80) && (isalnum((unsigned char)c) || strchr("!#$%&'*+-.^_`|~", c));
}

static const char *skip_space(const char *p)
{
    return p + strspn(p, " \t");
}

/* A token, copied in lower case; NULL if there is none or it is too long. */
static char *take_word(const char **p)
{
    size_t n = 0;
    while (is_token((*p)[n]))
        n++;
    if (n == 0 || n > WORD_MAX)
        return NULL;
    char *word = gv_strndup(*p, n);
    for (char *c = word; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    *p += n;
    return word;
}

/* A token or a quoted string. */
static char *take_value(const char **p)
{
    cleanup_buf struct gv_buf out = { 0 };
    const char *s = *p;
    if (*s != '"') {
        /* Servers write more than tokens without quotes: everything up to the comma is meant. */
        size_t n = strcspn(s, ", \t\"");
        if (n == 0 || n > VALUE_MAX || *s == '=') /* the end of a word of base64 is no value */
            return NULL;
        *p = s + n;
        return gv_strndup(s, n);
    }
    for (s++; *s != '"'; s++) {
        if (*s == '\\')
            s++;
        if (!*s || out.len >= VALUE_MAX)
            return NULL;
        gv_buf_add(&out, s, 1);
    }
    *p = s + 1;
    return gv_strdup(gv_buf_str(&out));
}

/* NAME = VALUE at *p, which is moved behind it; false, and *p as it was, when it is something else. */
static bool take_parameter(struct http_challenge *c, const char **p)
{
    const char *s = *p;
    cleanup_free char *name = take_word(&s), *value = NULL;
    s = skip_space(s);
    if (!name || *s != '=')
        return false;
    s = skip_space(s + 1);
    value = take_value(&s);
    if (!value)
        return false;
    if (c->count == HTTP_PARAMETERS_MAX || http_challenge_parameter(c, name)) {
        *p = s; /* too much, or said before: the first one counts */
        return true;
    }
    c->parameters[c->count].name = steal_ptr(name);
    c->parameters[c->count].value = steal_ptr(value);
    c->count++;
    *p = s;
    return true;
}

void http_challenges_parse(struct http_challenges *out, const char *value)
{
    const char *p = value;
    for (;;) {
        p += strspn(p, ", \t");
        if (!*p || out->count == HTTP_CHALLENGES_MAX)
            return;
        char *scheme = take_word(&p);
        if (!scheme)
            return;
        struct http_challenge *c = &out->list[out->count++];
        *c = (struct http_challenge){ .scheme = scheme };
        if (*p && *p != ' ' && *p != '\t' && *p != ',')
            return;
        p = skip_space(p);
        while (*p && *p != ',' && take_parameter(c, &p)) {
            const char *next = p + strspn(p, ", \t");
            if (next == p && *p)
                return; /* no separator */
            const char *after = next;
            while (is_token(*after))
                after++;
            if (*skip_space(after) != '=')
                break; /* a new scheme */
            p = next;
        }
        p += strcspn(p, ","); /* what is no parameter, a word of base64 perhaps */
    }
}
