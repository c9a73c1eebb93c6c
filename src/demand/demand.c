/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Demands. Names and values are those of the standard properties of Golem's market; the constraints are LDAP-like terms that are joined as both
 * SDKs do.
 */
#include "demand/demand.h"

#include <ctype.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <string.h>

#define PROPERTY "golem.srv.comp."

static double memory_gib(const struct demand *d)
{
    return d->memory_gib > 0 ? d->memory_gib : 0.5;
}

static double storage_gib(const struct demand *d)
{
    return d->storage_gib > 0 ? d->storage_gib : 2;
}

static unsigned threads(const struct demand *d)
{
    return d->threads ? d->threads : 1;
}

char *demand_base64(const void *p, size_t n)
{
    char *text = gv_alloc(4 * ((n + 2) / 3) + 1);
    EVP_EncodeBlock((unsigned char *)text, p, (int)n);
    return text;
}

/* A word of the constraints. */
static int check_word(const char *what, const char *word, struct gv_error *err)
{
    size_t n = strlen(word);
    if (n == 0 || n > 128)
        return gv_error_set(err, GV_E_USAGE, 0, "%s `%s` has no sensible length", what, word);
    for (; *word; word++)
        if (!isalnum((unsigned char)*word) && !strchr("-_.:!+", *word))
            return gv_error_set(err, GV_E_USAGE, 0, "%s can have letters, digits and -_.:!+ only", what);
    return 0;
}

int demand_check(const struct demand *d, struct gv_error *err)
{
    for (const unsigned char *c = (const unsigned char *)d->url; *c; c++)
        if (*c <= ' ' || *c >= 0x7f || *c == '"' || *c == '\\')
            return gv_error_set(err, GV_E_USAGE, 0, "the URL `%s` has a character that must be percent-encoded", d->url);
    if (d->runtime && check_word("a runtime's name", d->runtime, err) < 0)
        return -1;
    if (d->subnet && check_word("a subnet", d->subnet, err) < 0)
        return -1;
    for (size_t i = 0; d->capabilities && i < d->capabilities->count; i++)
        if (check_word("a capability", d->capabilities->items[i], err) < 0)
            return -1;
    return 0;
}

char *demand_task_package(const struct demand *d)
{
    return gv_asprintf("hash:sha3:%s:%s", d->hash, d->url);
}

static void add_term(struct gv_buf *b, const char *name, const char *operator, const char * value)
{
    gv_buf_addf(b, "%s(%s%s%s)", b->len ? "\n\t" : "", name, operator, value);
}

/* Numbers as both SDKs print them, without needless zeros. */
static void add_number(struct gv_buf *b, const char *name, double value)
{
    char text[64];
    snprintf(text, sizeof(text), "%.10g", value);
    add_term(b, name, ">=", text);
}

static char *constraints(const struct demand *d)
{
    cleanup_buf struct gv_buf b = { 0 };
    add_number(&b, "golem.inf.mem.gib", memory_gib(d));
    add_number(&b, "golem.inf.storage.gib", storage_gib(d));
    add_number(&b, "golem.inf.cpu.threads", threads(d));
    if (d->cores)
        add_number(&b, "golem.inf.cpu.cores", d->cores);
    add_term(&b, "golem.runtime.name", "=", d->runtime ? d->runtime : "vm");
    for (size_t i = 0; d->capabilities && i < d->capabilities->count; i++)
        add_term(&b, "golem.runtime.capabilities", "=", d->capabilities->items[i]);
    if (d->subnet)
        add_term(&b, "golem.node.debug.subnet", "=", d->subnet);
    return gv_asprintf("(&%s)", gv_buf_str(&b));
}

static void set(json_t *o, const char *name, const char *value)
{
    if (value)
        json_object_set_new(o, name, json_string(value));
}

char *demand_json(const struct demand *d)
{
    json_t *root = json_object(), *p = json_object();
    cleanup_free char *package = d->manifest ? NULL : demand_task_package(d), *terms = constraints(d);
    set(p, PROPERTY "task_package", package); /* a manifest names the image by itself */
    set(p, PROPERTY "vm.package_format", "gvmkit-squash");
    json_object_set_new(p, "golem.srv.caps.multi-activity", json_true());
    set(p, "golem.node.debug.subnet", d->subnet);
    set(p, PROPERTY "payload", d->manifest);
    set(p, PROPERTY "payload.sig", d->signature);
    set(p, PROPERTY "payload.sig.algorithm", d->signature ? (d->algorithm ? d->algorithm : "sha256") : NULL);
    set(p, PROPERTY "payload.cert", d->certificate);
    json_object_set_new(root, "properties", p);
    set(root, "constraints", terms);
    cleanup_free char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    json_decref(root);
    return gv_asprintf("%s\n", text ? text : "{}");
}

/* "name=value" or "name: value" lines of the two languages; strings need no escaping after demand_check(). */
struct call {
    struct gv_buf b;
    bool python;
};

__attribute__((format(printf, 4, 5))) static void add_argument(struct call *c, const char *python, const char *js, const char *fmt, ...)
{
    va_list ap;
    char *value = NULL;
    va_start(ap, fmt);
    int n = vasprintf(&value, fmt, ap);
    va_end(ap);
    if (n >= 0)
        gv_buf_addf(&c->b, "%s%s%s%s,\n", c->python ? "    " : "      ", c->python ? python : js, c->python ? "=" : ": ", value);
    free(value);
}

static void add_arguments(struct call *c, const struct demand *d)
{
    if (!d->manifest) {
        add_argument(c, "image_hash", "imageHash", "\"%s\"", d->hash);
        add_argument(c, "image_url", "imageUrl", "\"%s\"", d->url);
    } else {
        add_argument(c, "manifest", "manifest", "\"%s\"", d->manifest);
        if (d->signature) {
            add_argument(c, "manifest_sig", "manifestSig", "\"%s\"", d->signature);
            add_argument(c, "manifest_sig_algorithm", "manifestSigAlgorithm", "\"%s\"", d->algorithm ? d->algorithm : "sha256");
        }
        if (d->certificate)
            add_argument(c, "manifest_cert", "manifestCert", "\"%s\"", d->certificate);
    }
    add_argument(c, "min_mem_gib", "minMemGib", "%.10g", memory_gib(d));
    add_argument(c, "min_storage_gib", "minStorageGib", "%.10g", storage_gib(d));
    add_argument(c, "min_cpu_threads", "minCpuThreads", "%u", threads(d));
    if (d->cores && !c->python) /* yapapi has no such argument */
        add_argument(c, "", "minCpuCores", "%u", d->cores);
    if (d->runtime && !c->python) /* nor this one; all golem-js from 0.12 to 3 know `engine` */
        add_argument(c, "", "engine", "\"%s\"", d->runtime);
    if (d->capabilities && d->capabilities->count) {
        cleanup_buf struct gv_buf list = { 0 };
        for (size_t i = 0; i < d->capabilities->count; i++)
            gv_buf_addf(&list, "%s\"%s\"", i ? ", " : "", d->capabilities->items[i]);
        add_argument(c, "capabilities", "capabilities", "[%s]", gv_buf_str(&list));
    }
}

char *demand_yapapi(const struct demand *d)
{
    struct call c = { .python = true };
    gv_buf_addf(&c.b, "from yapapi.payload import vm\n\npackage = await vm.%s(\n", d->manifest ? "manifest" : "repo");
    add_arguments(&c, d);
    gv_buf_addf(&c.b, ")\n");
    if (d->cores)
        gv_buf_addf(&c.b, "# no argument: (golem.inf.cpu.cores>=%u)\n", d->cores);
    if (d->runtime)
        gv_buf_addf(&c.b, "# no argument: (golem.runtime.name=%s)\n", d->runtime);
    if (d->subnet)
        gv_buf_addf(&c.b, "# Golem(..., subnet_tag=\"%s\")\n", d->subnet);
    return gv_buf_str(&c.b);
}

char *demand_golem_js(const struct demand *d)
{
    struct call c = { .python = false };
    gv_buf_addf(&c.b, "const order = {\n  demand: {\n");
    if (d->subnet)
        gv_buf_addf(&c.b, "    subnetTag: \"%s\",\n", d->subnet);
    gv_buf_addf(&c.b, "    workload: {\n");
    add_arguments(&c, d);
    gv_buf_addf(&c.b, "    },\n  },\n};\n");
    return gv_buf_str(&c.b);
}
