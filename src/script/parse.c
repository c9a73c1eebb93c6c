/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The shapes that an ExeUnit takes, and no others: what it would refuse must not work here. Fields that it does not know it ignores, and so do we.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "exeunit/exeunit.h"
#include "script/script.h"

#define PROGRESS_MS 1000U

static int wrong(struct gv_error *err, const char *what)
{
    return gv_error_set(err, GV_E_FORMAT, 0, "%s", what);
}

/* A field that may be missing or null. *out is NULL then. */
static int optional_text(const json_t *o, const char *key, const char **out, struct gv_error *err)
{
    const json_t *v = json_object_get(o, key);
    *out = json_string_value(v);
    if (v && !json_is_null(v) && !*out)
        return gv_error_set(err, GV_E_FORMAT, 0, "`%s` is not a text", key);
    if (*out && strlen(*out) != json_string_length(v))
        return gv_error_set(err, GV_E_FORMAT, 0, "`%s` has a NUL in it", key);
    return 0;
}

static int needed_text(const json_t *o, const char *key, const char **out, struct gv_error *err)
{
    if (optional_text(o, key, out, err) < 0)
        return -1;
    return *out ? 0 : gv_error_set(err, GV_E_FORMAT, 0, "`%s` is missing", key);
}

/* Adds the texts of an array, or the one text. */
static int add_texts(const json_t *v, const char *key, bool one, struct gv_strv *out, struct gv_error *err)
{
    size_t count = json_is_array(v) ? json_array_size(v) : 1;
    if (!json_is_array(v) && !(one && json_is_string(v)))
        return gv_error_set(err, GV_E_FORMAT, 0, "`%s` is not %sa list of texts", key, one ? "a text or " : "");
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(item) || strlen(json_string_value(item)) != json_string_length(item))
            return gv_error_set(err, GV_E_FORMAT, 0, "`%s` has something in it that is no text, or a NUL", key);
        gv_strv_add(out, json_string_value(item));
    }
    return 0;
}

static int size_number(const json_t *v, const char *key, uint64_t *out, struct gv_error *err)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "`%s` is not a whole number", key);
    *out = (uint64_t)json_integer_value(v);
    return 0;
}

static bool present(const json_t *v)
{
    return v && !json_is_null(v);
}

/* ---- capture ---------------------------------------------------------------------------------------------------------------------- */

static int parse_format(const json_t *mode, struct script_capture *c, struct gv_error *err)
{
    const char *format;
    if (optional_text(mode, "format", &format, err) < 0)
        return -1;
    c->binary = format && (!strcmp(format, "bin") || !strcmp(format, "binary"));
    if (format && !c->binary && strcmp(format, "str") != 0 && strcmp(format, "string") != 0)
        return wrong(err, "the format of a capture is not one of str, string, bin, binary");
    return 0;
}

/* {"head": N}, {"tail": N} or {"headTail": N} beside the format. An object "part", which other documents have, is ignored as an ExeUnit does. */
static int parse_at_end(const json_t *mode, struct script_capture *c, struct gv_error *err)
{
    const json_t *head = json_object_get(mode, "head"), *tail = json_object_get(mode, "tail"), *both = json_object_get(mode, "headTail");
    uint64_t n = 0;
    c->head = UINT64_MAX;
    if (head)
        return size_number(head, "head", &c->head, err);
    if (tail) {
        c->head = 0;
        return size_number(tail, "tail", &c->tail, err);
    }
    if (!both)
        return 0;
    if (size_number(both, "headTail", &n, err) < 0)
        return -1;
    c->head = n - n / 2;
    c->tail = n / 2;
    return 0;
}

static int parse_mode(const json_t *mode, struct script_capture *c, struct gv_error *err)
{
    const json_t *at_end = json_object_get(mode, "atEnd"), *stream = json_object_get(mode, "stream"), *inside = at_end ? at_end : stream;
    if (!json_is_object(mode) || json_object_size(mode) != 1 || !json_is_object(inside))
        return wrong(err, "a capture is {\"atEnd\": {...}} or {\"stream\": {...}}");
    if (parse_format(inside, c, err) < 0)
        return -1;
    if (at_end)
        return parse_at_end(inside, c, err);
    const json_t *limit = json_object_get(inside, "limit");
    c->stream = true;
    c->head = UINT64_MAX;
    return present(limit) ? size_number(limit, "limit", &c->head, err) : 0;
}

static int parse_captures(const json_t *o, struct script_command *c, struct gv_error *err)
{
    static const char *const names[] = { NULL, "stdout", "stderr" };
    const json_t *capture = json_object_get(o, "capture");
    if (!present(capture))
        return 0;
    if (!json_is_object(capture))
        return wrong(err, "`capture` is not an object");
    for (int i = 1; i <= 2; i++) {
        const json_t *mode = json_object_get(capture, names[i]);
        if (present(mode) && parse_mode(mode, &c->capture[i], err) < 0)
            return gv_error_prefix(err, "capture of %s", names[i]);
    }
    return 0;
}

/* ---- commands --------------------------------------------------------------------------------------------------------------------- */

/* "300ms", "2s", "1m 30s": as people write spans of time. */
static int parse_interval(const char *text, unsigned *ms, struct gv_error *err)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = { { "ms", 1 }, { "s", 1e3 }, { "sec", 1e3 }, { "m", 6e4 }, { "min", 6e4 }, { "h", 3.6e6 }, { "us", 1e-3 }, { "ns", 1e-6 } };
    double all = 0;
    bool any = false;
    for (const char *p = text; *p; any = true) {
        size_t digits = strspn(p, "0123456789");
        cleanup_free char *number = gv_strndup(p, digits);
        p += digits + strspn(p + digits, " ");
        size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz"), i = 0;
        while (i < sizeof(units) / sizeof(*units) && (strlen(units[i].unit) != n || strncmp(units[i].unit, p, n) != 0))
            i++;
        if (!digits || digits > 15 || i == sizeof(units) / sizeof(*units))
            return wrong(err, "`updateInterval` is not a span of time like 300ms");
        all += strtod(number, NULL) * units[i].factor;
        p += n + strspn(p + n, " ");
    }
    if (!any || all > 4e9)
        return wrong(err, "`updateInterval` is not a span of time like 300ms");
    *ms = (unsigned)all;
    return 0;
}

static int parse_progress(const json_t *o, struct script_command *c, struct gv_error *err)
{
    const json_t *progress = json_object_get(o, "progress");
    const char *interval;
    if (!present(progress))
        return 0;
    if (!json_is_object(progress))
        return wrong(err, "`progress` is not an object");
    c->progress = true;
    c->progress_ms = PROGRESS_MS;
    if (optional_text(progress, "updateInterval", &interval, err) < 0)
        return -1;
    return interval ? parse_interval(interval, &c->progress_ms, err) : 0;
}

static int check_size(const json_t *mount, const char *key, bool needed, struct gv_error *err)
{
    const json_t *v = json_object_get(mount, key);
    uint64_t bytes;
    if (!v && !needed)
        return 0;
    if (json_is_string(v))
        return exeunit_size(json_string_value(v), &bytes, NULL, err);
    return size_number(v, key, &bytes, err);
}

static int check_mount(const json_t *mount, struct gv_error *err)
{
    if (!json_is_object(mount) || json_object_size(mount) != 1)
        return wrong(err, "a volume is {\"host\": {}}, {\"ram\": {\"size\": ...}} or {\"storage\": {\"size\": ...}}");
    const json_t *host = json_object_get(mount, "host"), *ram = json_object_get(mount, "ram"), *storage = json_object_get(mount, "storage");
    if (json_is_object(host))
        return 0;
    if (json_is_object(ram))
        return check_size(ram, "size", true, err);
    if (!json_is_object(storage))
        return wrong(err, "a volume is none of host, ram and storage");
    return check_size(storage, "size", true, err) < 0 ? -1 : check_size(storage, "preallocate", false, err);
}

/* Makes of both forms what the runtime takes: an object from paths to mounts. */
static int parse_volumes(const json_t *volumes, struct script_command *c, struct gv_error *err)
{
    if (!present(volumes))
        return 0;
    json_t *all = json_object();
    int result = 0;
    if (json_is_array(volumes)) {
        cleanup_strv struct gv_strv paths = { 0 };
        result = add_texts(volumes, "volumes", false, &paths, err);
        for (size_t i = 0; result == 0 && i < paths.count; i++)
            json_object_set_new(all, paths.items[i], json_pack("{s:{}}", "host"));
    } else if (json_is_object(volumes)) {
        const char *path;
        json_t *mount;
        json_object_foreach ((json_t *)volumes, path, mount) {
            if (result == 0 && check_mount(mount, err) < 0)
                result = gv_error_prefix(err, "volume `%s`", path);
            json_object_set(all, path, mount);
        }
    } else {
        result = wrong(err, "`volumes` is neither a list of paths nor an object");
    }
    if (result == 0) {
        char *text = json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS);
        c->volumes = gv_strdup(text ? text : "{}");
        free(text);
    }
    json_decref(all);
    return result;
}

static int parse_deploy(const json_t *o, struct script_command *c, struct gv_error *err)
{
    const json_t *net = json_object_get(o, "net");
    const char *hostname;
    if (net && !json_is_array(net))
        return wrong(err, "`net` is not a list");
    if (optional_text(o, "hostname", &hostname, err) < 0)
        return -1;
    c->networks = json_array_size(net) > 0;
    c->hostname = hostname ? gv_strdup(hostname) : NULL;
    if (parse_volumes(json_object_get(o, "volumes"), c, err) < 0)
        return -1;
    return parse_progress(o, c, err);
}

static int parse_args(const json_t *o, struct script_command *c, struct gv_error *err)
{
    const json_t *args = json_object_get(o, "args");
    return args ? add_texts(args, "args", false, &c->args, err) : 0;
}

static int parse_run(const json_t *o, struct script_command *c, struct gv_error *err)
{
    const char *entry_point;
    if (needed_text(o, "entry_point", &entry_point, err) < 0)
        return -1;
    c->entry_point = gv_strdup(entry_point);
    return parse_args(o, c, err) < 0 ? -1 : parse_captures(o, c, err);
}

static int parse_set_object(const json_t *set, struct script_command *c, struct gv_error *err)
{
    const json_t *includes = json_object_get(set, "includes"), *excludes = json_object_get(set, "excludes");
    if (!json_is_object(set))
        return wrong(err, "a list in `fileset` has texts or objects, not both");
    if (present(includes) && add_texts(includes, "includes", true, &c->transfer.includes, err) < 0)
        return -1;
    return present(excludes) ? add_texts(excludes, "excludes", true, &c->transfer.excludes, err) : 0;
}

static int parse_fileset(const json_t *set, struct script_command *c, struct gv_error *err)
{
    if (!present(set))
        return 0;
    if (json_is_string(set) || (json_is_array(set) && (json_array_size(set) == 0 || json_is_string(json_array_get(set, 0)))))
        return add_texts(set, "fileset", true, &c->transfer.includes, err);
    if (!json_is_array(set))
        return parse_set_object(set, c, err);
    for (size_t i = 0; i < json_array_size(set); i++)
        if (parse_set_object(json_array_get(set, i), c, err) < 0)
            return -1;
    return 0;
}

static int parse_transfer(const json_t *o, struct script_command *c, struct gv_error *err)
{
    const json_t *depth = json_object_get(o, "depth");
    if (needed_text(o, "from", &c->transfer.from, err) < 0 || needed_text(o, "to", &c->transfer.to, err) < 0 ||
        optional_text(o, "format", &c->transfer.format, err) < 0)
        return -1;
    if (present(depth)) {
        if (size_number(depth, "depth", &c->depth, err) < 0)
            return -1;
        c->transfer.depth = &c->depth;
    }
    return parse_fileset(json_object_get(o, "fileset"), c, err) < 0 ? -1 : parse_progress(o, c, err);
}

static int parse_nothing(const json_t *o, struct script_command *c, struct gv_error *err)
{
    (void)o, (void)c, (void)err;
    return 0;
}

static int parse_command(struct script_command *c, json_t *json, struct gv_error *err)
{
    static const struct {
        const char *name;
        enum script_kind kind;
        int (*parse)(const json_t *o, struct script_command *c, struct gv_error *err);
    } kinds[] = {
        { "sign", SCRIPT_SIGN, parse_nothing },          { "deploy", SCRIPT_DEPLOY, parse_deploy },
        { "start", SCRIPT_START, parse_args },           { "run", SCRIPT_RUN, parse_run },
        { "transfer", SCRIPT_TRANSFER, parse_transfer }, { "terminate", SCRIPT_TERMINATE, parse_nothing },
    };
    if (!json_is_object(json) || json_object_size(json) != 1)
        return wrong(err, "a command is an object with one key, its name");
    const char *name = json_object_iter_key(json_object_iter(json));
    const json_t *o = json_object_get(json, name);
    c->json = json_incref(json);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        if (strcmp(kinds[i].name, name) != 0)
            continue;
        if (!json_is_object(o))
            return gv_error_set(err, GV_E_FORMAT, 0, "%s: its value is not an object; write {\"%s\": {}}", name, name);
        c->kind = kinds[i].kind;
        return kinds[i].parse(o, c, err) < 0 ? gv_error_prefix(err, "%s", name) : 0;
    }
    return gv_error_set(err, GV_E_FORMAT, 0, "there is no command `%s`; there are sign, deploy, start, run, transfer and terminate", name);
}

static void clear_command(struct script_command *c)
{
    json_decref(c->json);
    gv_strv_clear(&c->args);
    gv_strv_clear(&c->transfer.includes);
    gv_strv_clear(&c->transfer.excludes);
    free(c->entry_point);
    free(c->hostname);
    free(c->volumes);
}

void script_free(struct script *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        clear_command(&s->commands[i]);
    free(s->commands);
    free(s);
}

static int parse_array(struct script **out, const json_t *array, struct gv_error *err)
{
    size_t count = json_array_size(array);
    if (count == 0)
        return wrong(err, "the script has no commands");
    if (count > SCRIPT_COMMANDS_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "the script has more than %u commands", SCRIPT_COMMANDS_MAX);
    CLEANUP(script) struct script *s = gv_new(struct script);
    s->commands = gv_calloc(count, sizeof(*s->commands));
    for (size_t i = 0; i < count; i++)
        if (parse_command(&s->commands[s->count++], json_array_get(array, i), err) < 0)
            return gv_error_prefix(err, "command %zu", i);
    *out = steal_ptr(s);
    return 0;
}

static json_t *load(const char *text, size_t n, struct gv_error *err)
{
    json_error_t why;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!root)
        gv_error_set(err, GV_E_FORMAT, 0, "the script is no JSON: line %d, column %d: %s", why.line, why.column, why.text);
    return root;
}

int script_parse(struct script **out, const char *text, size_t n, struct gv_error *err)
{
    if (n > SCRIPT_SIZE_MAX)
        return gv_error_set(err, GV_E_LIMIT, 0, "the script has more than %zu bytes", SCRIPT_SIZE_MAX);
    json_t *root = load(text, n, err);
    const json_t *wrapped = json_object_get(root, "text");
    if (json_is_string(wrapped)) {
        json_t *inner = load(json_string_value(wrapped), json_string_length(wrapped), err);
        json_decref(root);
        root = inner;
    }
    if (!root)
        return -1;
    int result = json_is_array(root) ? parse_array(out, root, err) : wrong(err, "the script is not an array of commands");
    json_decref(root);
    return result;
}
