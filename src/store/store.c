/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The directory: opening it, looking things up in it, listing it. Everything is found by the names of files, so there is no index that could be
 * wrong; a thousand images are a directory that is read in milliseconds.
 */
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/inside.h"

#define HEX_DIGITS (2 * GV_SHA3_224_SIZE)
#define SMALL_MAX ((size_t)64 << 10) /* of our own small files */
#define ORIGINS_MAX 8
#define EXPAND_MIN 6

/* ---- the directory ---- */

int store_open(struct image_store **out, const struct store_options *options, struct gv_error *err)
{
    CLEANUP(image_store) struct image_store *s = gv_new(struct image_store);
    s->options = *options;
    s->dir = options->dir ? gv_strdup(options->dir) : gv_data_dir(err);
    if (!s->dir)
        return -1;
    s->images = gv_asprintf("%s/images", s->dir);
    if (gv_mkdir_p(s->images, 0700, err) < 0)
        return -1;
    *out = steal_ptr(s);
    return 0;
}

void store_close(struct image_store *s)
{
    if (!s)
        return;
    http_client_free(s->http);
    free(s->images);
    free(s->dir);
    free(s);
}

struct http_client *store_http(struct image_store *s, struct gv_error *err)
{
    const struct http_options o = { .insecure = s->options.insecure,
                                    .attempts = s->options.attempts,
                                    .wait_ms = s->options.wait_ms,
                                    .stall_ms = s->options.stall_ms,
                                    .cancelled = s->options.cancelled,
                                    .log = s->options.log };
    return s->http || http_client_new(&s->http, &o, err) == 0 ? s->http : NULL;
}

char *store_file(const struct image_store *s, const char *hash, const char *suffix)
{
    return gv_asprintf("%s/%s.%s", s->images, hash, suffix);
}

int store_write(const char *path, const void *data, size_t n, struct gv_error *err)
{
    struct gv_outfile *out;
    if (gv_outfile_open(&out, path, 0600, err) < 0)
        return -1;
    if (gv_write_full(gv_outfile_fd(out), data, n) < 0) {
        gv_error_errno(err, "cannot write `%s`", path);
        gv_outfile_discard(out);
        return -1;
    }
    return gv_outfile_commit(out, err);
}

int store_sync(const struct image_store *s, struct gv_error *err)
{
    cleanup_close int fd = open(s->images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? gv_error_errno(err, "cannot sync `%s`", s->images) : 0;
}

/* ---- from where ---- */

void store_origins(struct image_store *s, const char *hash, struct gv_strv *out)
{
    cleanup_free char *path = store_file(s, hash, "json");
    cleanup_buf struct gv_buf data = { 0 };
    if (gv_read_file(path, SMALL_MAX, &data, NULL) < 0)
        return;
    json_t *o = json_loadb((const char *)data.data, data.len, 0, NULL);
    size_t i;
    json_t *url;
    json_array_foreach (json_object_get(o, "origins"), i, url) {
        if (json_is_string(url) && out->count < ORIGINS_MAX)
            gv_strv_add(out, json_string_value(url));
    }
    json_decref(o);
}

int store_add_origin(struct image_store *s, const char *hash, const char *url, struct gv_error *err)
{
    cleanup_strv struct gv_strv before = { 0 };
    cleanup_free char *path = store_file(s, hash, "json");
    store_origins(s, hash, &before);
    if (before.count && strcmp(before.items[0], url) == 0)
        return 0;
    json_t *list = json_array(), *o = json_object();
    json_array_append_new(list, json_string(url));
    for (size_t i = 0; i < before.count && json_array_size(list) < ORIGINS_MAX; i++)
        if (strcmp(before.items[i], url) != 0)
            json_array_append_new(list, json_string(before.items[i]));
    json_object_set_new(o, "origins", list);
    cleanup_free char *text = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    return text ? store_write(path, text, strlen(text), err) : gv_error_set(err, GV_E_USAGE, 0, "`%.200s` is not UTF-8", url);
}

/* ---- names ---- */

/* "DIR/names/REGISTRY", both parts escaped so that they are names of files. */
static char *names_dir(const struct image_store *s, const char *base)
{
    cleanup_buf struct gv_buf escaped = { 0 };
    http_escape(&escaped, base, "");
    return gv_asprintf("%s/names/%s", s->dir, gv_buf_str(&escaped));
}

static char *name_file(const struct image_store *s, const char *base, const char *name)
{
    cleanup_free char *dir = names_dir(s, base);
    cleanup_buf struct gv_buf escaped = { 0 };
    http_escape(&escaped, name, "");
    return gv_asprintf("%s/%s", dir, gv_buf_str(&escaped));
}

/* The hash in the file of a name. */
static bool read_name(const char *path, char hash[GV_SHA3_224_HEX])
{
    cleanup_buf struct gv_buf data = { 0 };
    if (gv_read_file(path, HEX_DIGITS + 1, &data, NULL) < 0 || data.len != HEX_DIGITS + 1 || data.data[HEX_DIGITS] != '\n')
        return false;
    data.data[HEX_DIGITS] = '\0';
    return refs_hash(hash, (const char *)data.data) == 0;
}

bool store_name_lookup(struct image_store *s, const char *base, const char *name, char hash[GV_SHA3_224_HEX])
{
    cleanup_free char *path = name_file(s, base, name);
    return read_name(path, hash);
}

int store_name_set(struct image_store *s, const char *base, const char *name, const char *hash, struct gv_error *err)
{
    cleanup_free char *dir = names_dir(s, base), *path = name_file(s, base, name), *text = gv_asprintf("%s\n", hash);
    char before[GV_SHA3_224_HEX];
    if (read_name(path, before) && strcmp(before, hash) == 0)
        return 0;
    return gv_mkdir_p(dir, 0700, err) < 0 ? -1 : store_write(path, text, strlen(text), err);
}

/* Undoes http_escape(). */
static char *unescape(const char *text)
{
    char *out = gv_alloc(strlen(text) + 1);
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        unsigned char byte;
        char digits[3] = { 0 };
        if (*p == '%')
            strncpy(digits, p + 1, 2);
        bool escaped = *p == '%' && gv_unhex(&byte, 1, digits) == 0 && byte != 0;
        out[n++] = escaped ? (char)byte : *p;
        p += escaped ? 2 : 0;
    }
    out[n] = '\0';
    return out;
}

/* Calls fn for each name that there is, with the path of its file. */
static void each_name(struct image_store *s, void (*fn)(void *user, const char *base, const char *name, const char *path, const char *hash),
                      void *user)
{
    cleanup_free char *top = gv_asprintf("%s/names", s->dir);
    DIR *bases = opendir(top);
    for (struct dirent *b; bases && (b = readdir(bases));) {
        cleanup_free char *dir = gv_asprintf("%s/%s", top, b->d_name), *base = unescape(b->d_name);
        DIR *names = b->d_name[0] == '.' ? NULL : opendir(dir);
        for (struct dirent *n; names && (n = readdir(names));) {
            cleanup_free char *path = gv_asprintf("%s/%s", dir, n->d_name), *name = unescape(n->d_name);
            char hash[GV_SHA3_224_HEX];
            if (n->d_name[0] != '.' && read_name(path, hash))
                fn(user, base, name, path, hash);
        }
        if (names)
            closedir(names);
    }
    if (bases)
        closedir(bases);
}

static void drop_name(void *user, const char *base, const char *name, const char *path, const char *hash)
{
    cleanup_free char *image = store_file(user, hash, "gvmi");
    (void)base;
    (void)name;
    if (access(image, F_OK) < 0 && errno == ENOENT)
        unlink(path);
}

void store_drop_names(struct image_store *s)
{
    each_name(s, drop_name, s);
}

/* ---- images ---- */

void store_image_clear(struct store_image *i)
{
    free(i->path);
    if (i->lock >= 0)
        close(i->lock);
    *i = (struct store_image)STORE_IMAGE_INIT;
}

int store_use(struct image_store *s, const char *hash, struct store_image *out, struct gv_error *err)
{
    cleanup_free char *path = store_file(s, hash, "gvmi"), *lock_path = store_file(s, hash, "lock");
    if (access(path, R_OK) < 0)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image %s in the store", hash);
    cleanup_close int lock = gv_lock_open(lock_path, LOCK_SH, err);
    if (lock < 0)
        return -1;
    /* It may have gone while we waited for the lock. */
    if (utimensat(AT_FDCWD, path, NULL, 0) < 0 && access(path, R_OK) < 0)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image %s in the store", hash);
    memcpy(out->hash, hash, sizeof(out->hash));
    out->lock = steal_fd(&lock);
    out->path = steal_ptr(path);
    return 0;
}

/* The URLs of a reference, and the hash if it says one. */
static int resolve(struct image_store *s, const struct refs *ref, const char *base, const char *name, struct registry_image *want,
                   struct gv_error *err)
{
    if (ref->kind == REFS_OCI)
        return store_oci_find(s, ref->path, want, err);
    struct http_client *http = store_http(s, err);
    if (!http)
        return -1;
    if (name)
        return registry_find(http, base, name, NULL, want, err);
    memcpy(want->hash, ref->hash, sizeof(want->hash));
    want->size = HTTP_SIZE_UNKNOWN;
    if (ref->is_link)
        return registry_read_link(http, ref->url, want, err);
    if (!ref->url)
        return registry_find(http, base, NULL, ref->hash, want, err);
    gv_strv_add(&want->urls, ref->url);
    return 0;
}

/* An image that is here, and taken only when it is signed as is wanted. */
static int use_signed(struct image_store *s, const struct refs *ref, const char *hash, enum store_lookup how, struct store_image *out,
                      struct gv_error *err)
{
    cleanup_registry_image struct registry_image is = { .size = HTTP_SIZE_UNKNOWN };
    cleanup_buf struct gv_buf signature = { 0 };
    if (!s->options.signers)
        return 0;
    memcpy(is.hash, hash, sizeof(is.hash));
    if (how != STORE_LOCAL && ref->url && !ref->is_link)
        gv_strv_add(&is.urls, ref->url);
    if (how != STORE_LOCAL)
        store_origins(s, hash, &is.urls);
    if (store_judge(s, &is, &signature, err) == 0 && store_keep_signature(s, hash, &signature, err) == 0)
        return 0;
    store_image_clear(out);
    return -1;
}

int store_get(struct image_store *s, const struct refs *ref, enum store_lookup how, const struct gv_strv *mirrors, struct store_image *out,
              struct gv_error *err)
{
    cleanup_registry_image struct registry_image want = { 0 };
    bool oci = ref->kind == REFS_OCI;
    cleanup_free char *base = oci ? gv_strdup(STORE_OCI_BASE) : registry_url(err);
    cleanup_free char *name = ref->kind == REFS_NAME ? refs_name(ref) : oci ? gv_strdup(ref->path) : NULL;
    char known[GV_SHA3_224_HEX] = "";
    if (!base)
        return -1;
    if (ref->kind == REFS_PATH)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not a reference to an image", ref->path);
    if (!name && !*ref->hash)
        return gv_error_set(err, GV_E_USAGE, 0, "`%.300s` says no hash, so nobody could tell what comes from there; write URL#HASH",
                            ref->url);
    if (!name)
        memcpy(known, ref->hash, sizeof(known));
    else if (how != STORE_ASK)
        (void)store_name_lookup(s, base, name, known);
    struct gv_error missing = GV_ERROR_INIT;
    if (*known && store_use(s, known, out, &missing) == 0)
        return use_signed(s, ref, known, how, out, err);
    if (how == STORE_LOCAL)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image `%s` in the store", name ? name : known);
    if (resolve(s, ref, base, name, &want, err) < 0) {
        if (name || !mirrors || !mirrors->count)
            return -1;
        memcpy(want.hash, known, sizeof(known));
    }
    for (size_t i = 0; mirrors && i < mirrors->count; i++)
        gv_strv_add(&want.urls, mirrors->items[i]);
    cleanup_buf struct gv_buf signature = { 0 };
    if ((s->options.signers && store_judge(s, &want, &signature, err) < 0) || store_fetch(s, &want, out, err) < 0 ||
        store_keep_signature(s, out->hash, &signature, err) < 0)
        return -1;
    return name ? store_name_set(s, base, name, out->hash, err) : 0;
}

/* ---- lists ---- */

void store_list_clear(struct store_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        gv_strv_clear(&l->entries[i].names);
    free(l->entries);
    *l = (struct store_list){ 0 };
}

static int by_hash(const void *a, const void *b)
{
    const struct store_entry *x = a, *y = b;
    return strcmp(x->hash, y->hash);
}

static int by_use(const void *a, const void *b)
{
    const struct store_entry *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    if (x->used.tv_nsec != y->used.tv_nsec)
        return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
    return strcmp(x->hash, y->hash);
}

/* Whether somebody has the lock of an image; one that nobody ever locked has none. */
static bool is_locked(const struct image_store *s, const char *hash)
{
    cleanup_free char *path = store_file(s, hash, "lock");
    cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/* HASH.gvmi and HASH.part; what else is in the directory belongs to one of them. */
static bool take_file(int dir, const char *name, struct store_entry *out)
{
    struct stat st;
    *out = (struct store_entry){ 0 };
    if (strlen(name) != HEX_DIGITS + 5)
        return false;
    bool image = strcmp(name + HEX_DIGITS, ".gvmi") == 0;
    char digits[GV_SHA3_224_HEX];
    memcpy(digits, name, HEX_DIGITS);
    digits[HEX_DIGITS] = '\0';
    if ((!image && strcmp(name + HEX_DIGITS, ".part") != 0) || refs_hash(out->hash, digits) < 0 || strcmp(digits, out->hash) != 0 ||
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return false;
    *(image ? &out->size : &out->part) = (uint64_t)st.st_size;
    out->used = st.st_mtim;
    /* The clock was wrong once: the image was used now, as far as can be told, and will become older from now on. */
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (st.st_mtim.tv_sec > now.tv_sec + 60 && utimensat(dir, name, NULL, 0) == 0)
        out->used = now;
    return true;
}

struct naming {
    struct store_list *list;
    const char *base;
};

static void add_name(void *user, const char *base, const char *name, const char *path, const char *hash)
{
    struct naming *n = user;
    struct store_entry key = { 0 };
    (void)path;
    memcpy(key.hash, hash, sizeof(key.hash));
    struct store_entry *e = n->list->count ? bsearch(&key, n->list->entries, n->list->count, sizeof(key), by_hash) : NULL;
    if (!e || !e->size)
        return;
    if (n->base && strcmp(base, n->base) == 0)
        gv_strv_add(&e->names, name);
    else
        gv_strv_take(&e->names, gv_asprintf("%s/%s", base, name));
}

int store_list(struct image_store *s, struct store_list *out, struct gv_error *err)
{
    DIR *d = opendir(s->images);
    if (!d)
        return gv_error_errno(err, "cannot read `%s`", s->images);
    size_t cap = 0, n = 0;
    for (struct dirent *f; (f = readdir(d));) {
        if (n == cap) {
            cap = cap ? cap * 2 : 64;
            out->entries = gv_reallocarray(out->entries, cap, sizeof(*out->entries));
        }
        n += take_file(dirfd(d), f->d_name, &out->entries[n]);
    }
    closedir(d);
    if (n)
        qsort(out->entries, n, sizeof(*out->entries), by_hash);
    /* An image and a download of the same hash (a repair) are one entry. */
    for (size_t i = 0; i < n; i++) {
        struct store_entry *e = &out->entries[i], *last = out->count ? &out->entries[out->count - 1] : NULL;
        if (last && strcmp(last->hash, e->hash) == 0) {
            last->used = e->size ? e->used : last->used;
            last->size += e->size;
            last->part += e->part;
        } else {
            out->entries[out->count++] = *e;
        }
    }
    for (size_t i = 0; i < out->count; i++)
        out->entries[i].in_use = is_locked(s, out->entries[i].hash);
    cleanup_free char *base = registry_url(NULL);
    struct naming naming = { .list = out, .base = base };
    each_name(s, add_name, &naming);
    if (out->count)
        qsort(out->entries, out->count, sizeof(*out->entries), by_use);
    return 0;
}

int store_expand(struct image_store *s, const char *text, char hash[GV_SHA3_224_HEX], struct gv_error *err)
{
    size_t n = strlen(text), found = 0;
    char lower[GV_SHA3_224_HEX] = "";
    for (size_t i = 0; i < n && n <= HEX_DIGITS; i++)
        lower[i] = (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] + ('a' - 'A') : text[i]);
    if (n < EXPAND_MIN || n > HEX_DIGITS || strspn(lower, "0123456789abcdef") != n)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "there is no image `%s` in the store", text);
    DIR *d = opendir(s->images);
    if (!d)
        return gv_error_errno(err, "cannot read `%s`", s->images);
    for (struct dirent *f; (f = readdir(d));) {
        struct store_entry e;
        if (strncmp(f->d_name, lower, n) != 0 || !take_file(dirfd(d), f->d_name, &e))
            continue;
        found += !found || strcmp(hash, e.hash) != 0;
        memcpy(hash, e.hash, sizeof(e.hash));
    }
    closedir(d);
    if (found == 1)
        return 0;
    return gv_error_set(err, found ? GV_E_USAGE : GV_E_NOT_FOUND, 0,
                        found ? "`%s` is the beginning of several hashes" : "there is no image `%s` in the store", text);
}
