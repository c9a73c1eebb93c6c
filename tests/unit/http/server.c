/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define CONNECTIONS_MAX 256
#define HEAD_MAX 65536
#define BODY_MAX (64U << 20)

struct connection {
    struct server *server;
    pthread_t thread;
    int fd;
    SSL *ssl;
    atomic_bool over;
};

struct server {
    int fd;
    unsigned short port;
    bool tls;
    SSL_CTX *context;
    server_fn answer;
    void *user;
    pthread_t thread;
    atomic_uint calls;
    pthread_mutex_t lock;
    bool stopped;
    struct connection *list[CONNECTIONS_MAX];
    size_t count;
};

void sleep_ms(unsigned ms)
{
    struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L };
    nanosleep(&ts, NULL);
}

unsigned short server_port(const struct server *s)
{
    return s->port;
}

unsigned server_calls(const struct server *s)
{
    return atomic_load(&s->calls);
}

char *server_url(const struct server *s, const char *path)
{
    return gv_asprintf("%s://127.0.0.1:%u%s", s->tls ? "https" : "http", s->port, path);
}

/* ---- one connection ---- */

static ssize_t receive(struct connection *k, void *p, size_t n)
{
    if (k->ssl)
        return SSL_read(k->ssl, p, (int)n);
    return recv(k->fd, p, n, 0);
}

bool call_raw(struct call *c, const void *p, size_t n)
{
    struct connection *k = c->connection;
    for (size_t done = 0; done < n;) {
        ssize_t put = k->ssl ? SSL_write(k->ssl, (const char *)p + done, (int)(n - done > 16384 ? 16384 : n - done))
                             : send(k->fd, (const char *)p + done, n - done, MSG_NOSIGNAL);
        if (put <= 0) {
            c->hang_up = true;
            return false;
        }
        done += (size_t)put;
    }
    return true;
}

void call_print(struct call *c, const char *fmt, ...)
{
    char text[8192];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    assert_true(n >= 0 && (size_t)n < sizeof(text));
    call_raw(c, text, (size_t)n);
}

void call_reset(struct call *c)
{
    struct linger hard = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(c->connection->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    c->hang_up = true;
}

void call_reply(struct call *c, int status, const char *headers, const void *body, size_t n)
{
    call_print(c, "HTTP/1.1 %d Status\r\nContent-Length: %zu\r\n%s\r\n", status, n, headers ? headers : "");
    if (strcmp(c->method, "HEAD") != 0)
        call_raw(c, body, n);
}

void call_text(struct call *c, int status, const char *headers, const char *body)
{
    call_reply(c, status, headers, body, strlen(body));
}

const char *call_header(struct call *c, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = strstr(c->head, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (!strncasecmp(line + 2, name, n) && line[2 + n] == ':') {
            const char *value = line + 3 + n + strspn(line + 3 + n, " ");
            static _Thread_local char copy[16384];
            snprintf(copy, sizeof(copy), "%.*s", (int)strcspn(value, "\r"), value);
            return copy;
        }
    return NULL;
}

void call_file(struct call *c, const char *headers, const void *p, size_t n)
{
    const char *range = call_header(c, "Range");
    if (!range) {
        call_reply(c, 200, headers, p, n);
        return;
    }
    size_t first = strtoul(range + strlen("bytes="), NULL, 10);
    char line[1024];
    if (first >= n) {
        snprintf(line, sizeof(line), "%sContent-Range: bytes */%zu\r\n", headers ? headers : "", n);
        call_text(c, 416, line, "");
        return;
    }
    snprintf(line, sizeof(line), "%sContent-Range: bytes %zu-%zu/%zu\r\n", headers ? headers : "", first, n - 1, n);
    call_reply(c, 206, line, (const char *)p + first, n - first);
}

/* Reads a request: false at the end of the connection. *have bytes of buf are there already, and on return those after the request. */
static bool read_call(struct connection *k, struct call *c, char *buf, size_t *have)
{
    char *end;
    buf[*have] = '\0';
    while (!(end = strstr(buf, "\r\n\r\n"))) {
        ssize_t n = *have < HEAD_MAX ? receive(k, buf + *have, HEAD_MAX - *have) : 0;
        if (n <= 0)
            return false;
        *have += (size_t)n;
        buf[*have] = '\0';
        if (buf[0] < 'A' || buf[0] > 'Z') /* TLS, for one */
            return false;
    }
    c->head = gv_strndup(buf, (size_t)(end - buf));
    c->connection = k;
    if (sscanf(c->head, "%7s %4095s", c->method, c->path) != 2)
        return false;
    const char *length = call_header(c, "Content-Length");
    size_t body = length ? strtoul(length, NULL, 10) : 0, head = (size_t)(end - buf) + 4;
    if (body > BODY_MAX)
        return false;
    size_t there = *have - head < body ? *have - head : body;
    c->body = gv_alloc(body + 1);
    memcpy(c->body, buf + head, there);
    memmove(buf, buf + head + there, *have - head - there);
    *have -= head + there;
    while (there < body) {
        ssize_t n = receive(k, c->body + there, body - there);
        if (n <= 0)
            return false;
        there += (size_t)n;
    }
    c->body[body] = '\0';
    return true;
}

static void *serve(void *user)
{
    struct connection *k = user;
    char *buf = gv_alloc(HEAD_MAX + 1);
    size_t have = 0;
    bool open = !k->ssl || SSL_accept(k->ssl) == 1;
    while (open) {
        struct call c = { 0 };
        open = read_call(k, &c, buf, &have);
        if (open) {
            c.number = atomic_fetch_add(&k->server->calls, 1);
            k->server->answer(k->server->user, &c);
            open = !c.hang_up;
        }
        free(c.head);
        free(c.body);
    }
    if (k->ssl) {
        SSL_shutdown(k->ssl);
        SSL_free(k->ssl);
    }
    free(buf);
    pthread_mutex_lock(&k->server->lock);
    close(k->fd);
    k->fd = -1;
    pthread_mutex_unlock(&k->server->lock);
    return NULL;
}

static void *listen_loop(void *user)
{
    struct server *s = user;
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE); /* OpenSSL's writes raise it; the threads of connections inherit the mask */
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    for (;;) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        pthread_mutex_lock(&s->lock);
        if (s->stopped || s->count == CONNECTIONS_MAX) {
            close(fd);
            pthread_mutex_unlock(&s->lock);
            continue;
        }
        struct connection *k = gv_new(struct connection);
        k->server = s;
        k->fd = fd;
        if (s->tls) {
            k->ssl = SSL_new(s->context);
            SSL_set_fd(k->ssl, fd);
        }
        s->list[s->count++] = k;
        pthread_create(&k->thread, NULL, serve, k);
        pthread_mutex_unlock(&s->lock);
    }
}

static struct server *start_on(int fd, SSL_CTX *context, server_fn answer, void *user)
{
    struct server *s = gv_new(struct server);
    s->fd = fd;
    s->context = context;
    s->tls = context != NULL;
    s->answer = answer;
    s->user = user;
    pthread_mutex_init(&s->lock, NULL);
    assert_int_equal(listen(fd, 64), 0);
    struct sockaddr_in a = { 0 };
    socklen_t len = sizeof(a);
    if (getsockname(fd, (struct sockaddr *)&a, &len) == 0 && a.sin_family == AF_INET)
        s->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, listen_loop, s), 0);
    return s;
}

static int tcp_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

struct server *server_start(server_fn answer, void *user)
{
    return start_on(tcp_socket(), NULL, answer, user);
}

struct server *server_start_unix(const char *path, server_fn answer, void *user)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    assert_true(fd >= 0 && strlen(path) < sizeof(a.sun_path));
    memcpy(a.sun_path, path, strlen(path));
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return start_on(fd, NULL, answer, user);
}

static void add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, x, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(e);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

struct server *server_start_tls(const char *ca_path, server_fn answer, void *user)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"gvmkit test", -1, -1, 0);
    X509_set_issuer_name(x, name);
    X509_set_pubkey(x, key);
    add_extension(x, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(x, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    FILE *f = fopen(ca_path, "w");
    assert_non_null(f);
    PEM_write_X509(f, x);
    fclose(f);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(context, x), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
    X509_free(x);
    EVP_PKEY_free(key);
    return start_on(tcp_socket(), context, answer, user);
}

void server_stop(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    shutdown(s->fd, SHUT_RDWR);
    for (size_t i = 0; i < s->count; i++)
        if (s->list[i]->fd >= 0)
            shutdown(s->list[i]->fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    for (size_t i = 0; i < s->count; i++) {
        pthread_join(s->list[i]->thread, NULL);
        free(s->list[i]);
    }
    close(s->fd);
    SSL_CTX_free(s->context);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
