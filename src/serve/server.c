/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The server as a whole: what it is made of, its clock, and its end. libmicrohttpd's threads accept, read and write (epoll, sendfile); the threads of
 * jobs do what waits for the disk; the main thread waits for signals, and every second looks after connections, statistics and the certificate, and
 * now and then has collected what expired.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "serve/server.h"

#define TICK_MS 1000U
#define BACKLOG 1024
#define PAGE_THREADS 2
#define PAGES_MAX 64                    /* that wait to be made */
#define JOBS_MAX 4096                   /* waiting */
#define MEMORY_LIMIT ((size_t)32 << 10) /* bytes of a connection's headers and buffers */
#define UPLOAD_RATE 1024U               /* least bytes a second */
#define BURST_SECONDS 2U
#define JOBS_GRACE 5000U /* ms that what has begun gets in any case */

struct serve_options serve_defaults(void)
{
    const uint64_t hour = 3600 * 1000, gib = (uint64_t)1 << 30;
    return (struct serve_options){
        .listen = "127.0.0.1:8080",
        .max_image = 10 * gib,
        .anonymous_quota = 100 * gib,
        .user_quota = 100 * gib,
        .user_images = 1000,
        .max_uploads = 1000,
        .max_receiving = 8 * gib,
        .anonymous_expiry = 30 * 24 * hour,
        .upload_expiry = 24 * hour,
        .gc_interval = hour / 60,
        .idle_timeout = 60000,
        .grace = 30000,
        .rate = 500,
        .login_rate = 10,
        .max_connections = 4096,
        .max_address = 512,
    };
}

/* ---- listening ---- */

/* ADDR:PORT or [ADDR]:PORT into its two parts. */
static int split_listen(const char *text, char **host, char **port, struct gv_error *err)
{
    const char *colon = strrchr(text, ':');
    uint64_t number;
    if (!colon || colon == text || !form_number(colon + 1, UINT16_MAX, &number))
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not an address to listen at; write ADDR:PORT, as in 127.0.0.1:8080", text);
    size_t n = (size_t)(colon - text);
    bool brackets = text[0] == '[' && text[n - 1] == ']' && n > 2;
    *host = brackets ? gv_strndup(text + 1, n - 2) : gv_strndup(text, n);
    *port = gv_strdup(colon + 1);
    return 0;
}

static int listen_at(const char *text, bool tls, char **url, struct gv_error *err)
{
    cleanup_free char *host = NULL, *port = NULL;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *list = NULL;
    if (split_listen(text, &host, &port, err) < 0)
        return -1;
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0)
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not an address to listen at: %s", text, gai_strerror(rc));
    const int on = 1;
    cleanup_close int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    bool bound = fd >= 0 && bind(fd, list->ai_addr, list->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0;
    int sys = errno;
    freeaddrinfo(list);
    if (!bound)
        return gv_error_set(err, GV_E_IO, sys, "cannot listen at %s", text);
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa);
    char address[NI_MAXHOST], service[NI_MAXSERV];
    if (getsockname(fd, (struct sockaddr *)&sa, &n) < 0 ||
        getnameinfo((struct sockaddr *)&sa, n, address, sizeof(address), service, sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return gv_error_errno(err, "cannot tell where it listens");
    *url = gv_asprintf(strchr(address, ':') ? "%s://[%s]:%s" : "%s://%s:%s", tls ? "https" : "http", address, service);
    return steal_fd(&fd);
}

/* Each connection is a descriptor, and each download another one. */
static void raise_descriptors(const struct serve_options *o, const struct gv_log *log)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)o->max_connections * 2 + 256;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
        return;
    limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < need)
        gv_warn(log,
                "%llu open files are allowed, and %llu connections may need %llu; raise the limit (ulimit -n), or lower --max-connections",
                (unsigned long long)limit.rlim_cur, (unsigned long long)o->max_connections, (unsigned long long)need);
}

static int start_daemon(struct server *s, int listening, struct MHD_Daemon **out, struct gv_error *err)
{
    const struct serve_options *o = s->options;
    cleanup_buf struct gv_buf cert = { 0 }, key = { 0 };
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = o->threads ? (unsigned)o->threads : cpus > 1 ? (unsigned)cpus : 1;
    struct MHD_OptionItem tls[] = { { MHD_OPTION_END, 0, NULL }, { MHD_OPTION_END, 0, NULL }, { MHD_OPTION_END, 0, NULL } };
    if (o->tls_cert) {
        if (s->mhd->is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
            return gv_error_set(err, GV_E_UNSUPPORTED, 0, "this libmicrohttpd was built without TLS; use Debian's, or a proxy");
        if (tls_new(&s->tls, o->tls_cert, o->tls_key, &cert, &key, err) < 0)
            return -1;
        flags |= MHD_USE_TLS;
        tls[0] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0, gv_buf_str(&cert) };
        tls[1] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0, gv_buf_str(&key) };
    }
    if (threads > o->max_connections)
        threads = (unsigned)o->max_connections;
    *out = s->mhd->start_daemon(
        flags, 0, NULL, NULL, http_handle, s, MHD_OPTION_LISTEN_SOCKET, listening, MHD_OPTION_URI_LOG_CALLBACK, http_begin, s,
        MHD_OPTION_NOTIFY_COMPLETED, http_completed, s, MHD_OPTION_NOTIFY_CONNECTION, http_connection, s, MHD_OPTION_THREAD_POOL_SIZE,
        threads, MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->max_connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        o->trust_proxy ? 0 : (unsigned)o->max_address, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)((o->idle_timeout + 999) / 1000),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY_LIMIT, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (!*out)
        return gv_error_set(err, GV_E_IO, 0, "libmicrohttpd cannot start");
    return 0;
}

/* ---- the whole ---- */

static void server_clear(struct server *s)
{
    if (s->jobs)
        jobs_end(s->jobs, UINT32_MAX);
    if (s->maps)
        jobs_end(s->maps, UINT32_MAX);
    if (s->pages)
        jobs_end(s->pages, UINT32_MAX);
    jobs_free(s->jobs);
    jobs_free(s->pages);
    jobs_free(s->maps);
    uploads_free(s->uploads);
    usage_free(s->usage);
    limits_free(s->rate);
    limits_free(s->logins);
    db_pool_free(s->dbs);
    conns_clear(&s->conns);
    tls_free(s->tls);
    disk_close(&s->disk);
    free(s->url);
    free(s);
}
DEFINE_CLEANUP(server, struct server *, server_clear)

/* What a killed server has left, before anything is served. */
static int recover(struct server *s, struct gv_error *err)
{
    struct db *db = db_take(s->dbs, err);
    if (!db)
        return -1;
    int r = uploads_sweep(s->uploads, db, err);
    db_give(s->dbs, db);
    return r;
}

static int server_new(struct server **out, const struct serve_options *o, const struct gv_log *log, struct gv_error *err)
{
    CLEANUP(server) struct server *s = gv_new(struct server);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    s->options = o;
    s->log = log;
    conns_init(&s->conns);
    if (disk_open(&s->disk, o->data, err) < 0)
        return -1;
    s->mhd = mhd_load(err);
    if (!s->mhd)
        return -1;
    s->dbs = db_pool_new(o->data);
    s->uploads = uploads_new(&s->disk);
    s->usage = usage_new();
    s->rate = limits_new(o->rate, 1000, o->rate * BURST_SECONDS);
    s->logins = limits_new(o->login_rate, 60000, o->login_rate);
    if (recover(s, err) < 0 || jobs_new(&s->jobs, cpus > 4 ? (size_t)cpus : 4, JOBS_MAX, err) < 0 || jobs_new(&s->maps, 1, 1, err) < 0 ||
        jobs_new(&s->pages, PAGE_THREADS, PAGES_MAX, err) < 0)
        return -1;
    *out = steal_ptr(s);
    return 0;
}

static void flush_usage(struct server *s)
{
    struct gv_error err = GV_ERROR_INIT;
    struct db *db = db_take(s->dbs, &err);
    if (!db || usage_flush(s->usage, db, &err) < 0)
        gv_warn(s->log, "statistics: %s", err.msg);
    if (db)
        db_give(s->dbs, db);
}

static void collect_job(void *arg)
{
    server_collect(arg);
}

/* Until a signal says that it is enough; SIGHUP says that the certificate is another one. */
static void look_after(struct server *s, const sigset_t *signals)
{
    const struct serve_options *o = s->options;
    uint64_t collected = server_ticks(), tick = o->gc_interval < TICK_MS ? o->gc_interval : TICK_MS;
    const struct timespec wait = { (time_t)(tick / 1000), (long)(tick % 1000) * 1000000 };
    server_make_chunks(s);
    jobs_submit(s->jobs, collect_job, s);
    for (;;) {
        int signal = sigtimedwait(signals, NULL, &wait);
        if (signal == SIGTERM || signal == SIGINT)
            return;
        if (s->tls)
            tls_renew(s->tls, signal == SIGHUP, s->log);
        uint64_t now = server_ticks();
        s->metrics.reaped += conns_reap(&s->conns, now, o->idle_timeout, UPLOAD_RATE);
        flush_usage(s);
        if (now - collected >= o->gc_interval && jobs_submit(s->jobs, collect_job, s))
            collected = now;
    }
}

/*
 * No more connections. MHD_quiesce_daemon() is for that, but in 0.9.75 its removal of the socket from the epoll sets races with that of the library's
 * threads, and the one that comes second aborts the process. So the socket is closed by putting something in its place under which nothing ever
 * happens; that is the library's then, as the socket was.
 */
static void refuse_connections(int listening)
{
    cleanup_close int never = eventfd(0, EFD_CLOEXEC);
    if (never < 0 || dup3(never, listening, O_CLOEXEC) < 0)
        shutdown(listening, SHUT_RDWR);
}

/* Running requests get the time of grace. false when threads of ours could not be waited for. */
static bool end(struct server *s, struct MHD_Daemon *daemon, int listening, const sigset_t *signals)
{
    const struct timespec moment = { 0, 20000000 };
    sigset_t again = *signals;
    sigdelset(&again, SIGHUP);
    uint64_t deadline = server_ticks() + s->options->grace;
    s->ending = true;
    refuse_connections(listening);
    while (s->active > 0 && server_ticks() < deadline)
        if (sigtimedwait(&again, NULL, &moment) >= 0)
            break;
    if (s->active > 0)
        gv_note(s->log, "%llu requests are broken off", (unsigned long long)s->active);
    /* Jobs resume the connections that wait for them; the library must not end before. */
    uint64_t now = server_ticks(), left = now < deadline ? deadline - now : 0;
    if (!jobs_end(s->jobs, left > JOBS_GRACE ? left : JOBS_GRACE) || !jobs_end(s->maps, left) || !jobs_end(s->pages, left))
        return false;
    s->mhd->stop_daemon(daemon);
    flush_usage(s);
    return true;
}

int serve_run(const struct serve_options *options, const struct gv_log *log, struct gv_error *err)
{
    CLEANUP(server) struct server *s = NULL;
    struct MHD_Daemon *daemon = NULL;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    int rc = pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before there are threads, which inherit it */
    if (rc != 0)
        return gv_error_set(err, GV_E_IO, rc, "cannot block signals");
    signal(SIGPIPE, SIG_IGN);
    raise_descriptors(options, log);
    if (server_new(&s, options, log, err) < 0)
        return -1;
    cleanup_close int listening = listen_at(options->listen, options->tls_cert != NULL, &s->url, err);
    if (listening < 0 || start_daemon(s, listening, &daemon, err) < 0)
        return -1;
    const int theirs = steal_fd(&listening); /* the library closes it */
    if (options->ready)
        options->ready(options->user, s->url);
    look_after(s, &signals);
    /* What cannot be waited for ends with the process, and so does what it uses. */
    if (!end(s, daemon, theirs, &signals))
        steal_ptr(s);
    return 0;
}
