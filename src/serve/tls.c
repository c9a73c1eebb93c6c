/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/tls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#define LIBRARY "libgnutls.so.30"
#define FILE_MAX ((size_t)1 << 20)

struct gnutls_api {
    __typeof__(gnutls_certificate_allocate_credentials) *certificate_allocate_credentials;
    __typeof__(gnutls_certificate_free_credentials) *certificate_free_credentials;
    __typeof__(gnutls_certificate_set_x509_key_mem) *certificate_set_x509_key_mem;
    __typeof__(gnutls_credentials_set) *credentials_set;
    __typeof__(gnutls_strerror) *strerror;
};

/* Written once, by whoever comes first. */
static struct gnutls_api api;
static bool loaded;

static void load(void)
{
#define ENTRY(name) GV_LIBRARY_ENTRY(struct gnutls_api, "gnutls_", name)
    static const struct gv_library_entry entries[] = {
        ENTRY(certificate_allocate_credentials),
        ENTRY(certificate_free_credentials),
        ENTRY(certificate_set_x509_key_mem),
        ENTRY(credentials_set),
        ENTRY(strerror),
    };
    _Static_assert(sizeof(entries) / sizeof(*entries) * sizeof(void *) == sizeof(struct gnutls_api), "an entry for each function");
    loaded = gv_library_load(LIBRARY, entries, sizeof(entries) / sizeof(*entries), &api);
}

/* A pair, held by the server as long as it is the newest, and by each session that has begun with it. */
struct certificate {
    atomic_size_t holders;
    gnutls_certificate_credentials_t credentials;
};

struct tls {
    const char *paths[2];
    pthread_mutex_t lock;        /* for: */
    struct certificate *current; /* never NULL */
    struct stat seen[2];         /* of what was read for it; all 0: there was no file */
    char *complaint;             /* about what is there now, NULL when it is in use */
};

/* ---- one certificate ---- */

void tls_give_back(struct certificate *c)
{
    if (!c || atomic_fetch_sub(&c->holders, 1) > 1)
        return;
    if (c->credentials)
        api.certificate_free_credentials(c->credentials);
    free(c);
}
DEFINE_CLEANUP(certificate, struct certificate *, tls_give_back)

static gnutls_datum_t datum(struct gv_buf *b)
{
    return (gnutls_datum_t){ (unsigned char *)gv_buf_str(b), (unsigned)b->len };
}

static int read_pair(struct certificate **out, const char *const paths[2], struct gv_buf *pem_cert, struct gv_buf *pem_key,
                     struct gv_error *err)
{
    CLEANUP(certificate) struct certificate *c = gv_new(struct certificate);
    c->holders = 1;
    if (gv_read_file(paths[0], FILE_MAX, pem_cert, err) < 0 || gv_read_file(paths[1], FILE_MAX, pem_key, err) < 0)
        return -1;
    const gnutls_datum_t cert = datum(pem_cert), key = datum(pem_key);
    int rc = api.certificate_allocate_credentials(&c->credentials);
    if (rc >= 0)
        rc = api.certificate_set_x509_key_mem(c->credentials, &cert, &key, GNUTLS_X509_FMT_PEM);
    if (rc < 0)
        return gv_error_set(err, GV_E_USAGE, 0, "%s and %s are not a certificate and its key, both PEM: %s", paths[0], paths[1],
                            api.strerror(rc));
    *out = steal_ptr(c);
    return 0;
}

/* ---- the one of now ---- */

static void look(const struct tls *t, struct stat found[2])
{
    for (size_t i = 0; i < 2; i++)
        if (stat(t->paths[i], &found[i]) < 0)
            found[i] = (struct stat){ 0 };
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && same_time(a->st_mtim, b->st_mtim) &&
           same_time(a->st_ctim, b->st_ctim);
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    tls_give_back(t->current);
    pthread_mutex_destroy(&t->lock);
    free(t->complaint);
    free(t);
}
DEFINE_CLEANUP(tls, struct tls *, tls_free)

int tls_new(struct tls **out, const char *cert, const char *key, struct gv_buf *pem_cert, struct gv_buf *pem_key, struct gv_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (!loaded)
        return gv_error_set(err, GV_E_UNSUPPORTED, 0, "the library " LIBRARY " cannot be loaded; install the package libgnutls30");
    CLEANUP(tls) struct tls *t = gv_new(struct tls);
    t->paths[0] = cert;
    t->paths[1] = key;
    pthread_mutex_init(&t->lock, NULL);
    look(t, t->seen);
    if (read_pair(&t->current, t->paths, pem_cert, pem_key, err) < 0)
        return -1;
    *out = steal_ptr(t);
    return 0;
}

/* A pair that cannot be used is read again each time: it may have been written at the very moment that it was looked at. */
void tls_renew(struct tls *t, bool always, const struct gv_log *log)
{
    struct gv_error err = GV_ERROR_INIT;
    cleanup_buf struct gv_buf pem_cert = { 0 }, pem_key = { 0 };
    struct stat found[2];
    struct certificate *new = NULL;
    look(t, found);
    if (!always && !t->complaint && same_file(&found[0], &t->seen[0]) && same_file(&found[1], &t->seen[1]))
        return;
    if (read_pair(&new, t->paths, &pem_cert, &pem_key, &err) < 0) {
        if (always || !t->complaint || strcmp(t->complaint, err.msg) != 0)
            gv_warn(log, "the certificate stays the one of before: %s", err.msg);
        free(t->complaint);
        t->complaint = gv_strdup(err.msg);
        return;
    }
    free(t->complaint);
    t->complaint = NULL;
    memcpy(t->seen, found, sizeof(found));
    pthread_mutex_lock(&t->lock);
    struct certificate *old = t->current;
    t->current = new;
    pthread_mutex_unlock(&t->lock);
    tls_give_back(old);
    gv_note(log, "connections get the certificate that is in %s now", t->paths[0]);
}

struct certificate *tls_certify(struct tls *t, gnutls_session_t session)
{
    pthread_mutex_lock(&t->lock);
    struct certificate *c = t->current;
    atomic_fetch_add(&c->holders, 1);
    pthread_mutex_unlock(&t->lock);
    if (api.credentials_set(session, GNUTLS_CRD_CERTIFICATE, c->credentials) >= 0)
        return c;
    tls_give_back(c);
    return NULL;
}
