/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/endpoint.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SOCKET_BUFFER (2 << 20)
#define BACKLOG 4
#define FLAGS (SOCK_NONBLOCK | SOCK_CLOEXEC)

/* ---- URLs ------------------------------------------------------------------------------------------------------------------------ */

static int parse_path(struct endpoint *e, const char *path, struct gv_error *err)
{
    struct sockaddr_un *u = (struct sockaddr_un *)&e->address;
    if (!path || !*path)
        return gv_error_set(err, GV_E_USAGE, 0, "the endpoint `unix://` has no path");
    if (strlen(path) >= sizeof(u->sun_path))
        return gv_error_set(err, GV_E_LIMIT, 0, "the path `%s` is too long for a socket; at most %zu bytes are possible", path,
                            sizeof(u->sun_path) - 1);
    u->sun_family = AF_UNIX;
    strcpy(u->sun_path, path);
    e->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    return 0;
}

/* "HOST:PORT", "[HOST]:PORT", a slash at the end or not. *host is the caller's to free. */
static bool split(const char *text, char **host, char **port)
{
    const char *end = text + strcspn(text, "/");
    const char *bracket = *text == '[' ? memchr(text, ']', (size_t)(end - text)) : NULL;
    const char *colon = bracket ? bracket + 1 : memchr(text, ':', (size_t)(end - text));
    const char *from = bracket ? text + 1 : text, *to = bracket ? bracket : colon;
    if ((*end && end[1]) || !colon || colon >= end || *colon != ':' || to == from || end - colon < 2 || end - colon > 6 ||
        strspn(colon + 1, "0123456789") != (size_t)(end - colon - 1))
        return false;
    *host = gv_strndup(from, (size_t)(to - from));
    *port = gv_strndup(colon + 1, (size_t)(end - colon - 1));
    return true;
}

static int parse_host(struct endpoint *e, const char *url, const char *text, struct gv_error *err)
{
    const struct addrinfo hints = { .ai_socktype = e->scheme == ENDPOINT_UDP ? SOCK_DGRAM : SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    cleanup_free char *host = NULL, *port = NULL;
    struct addrinfo *found;
    if (!split(text, &host, &port) || strtoul(port, NULL, 10) > 65535 || (e->scheme != ENDPOINT_TCP_LISTEN && strtoul(port, NULL, 10) == 0))
        return gv_error_set(err, GV_E_USAGE, 0,
                            "the endpoint `%s` has no host and port; write it as udp://127.0.0.1:4000 or udp://[::1]:4000", url);
    int failed = getaddrinfo(host, port, &hints, &found);
    if (failed)
        return gv_error_set(err, GV_E_NOT_FOUND, 0, "the host of the endpoint `%s` has no address: %s", url, gai_strerror(failed));
    memcpy(&e->address, found->ai_addr, found->ai_addrlen);
    e->size = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

int endpoint_parse(struct endpoint *e, const char *url, const char *unix_path, struct gv_error *err)
{
    static const char *const schemes[] = { [ENDPOINT_UDP] = "udp://",
                                           [ENDPOINT_TCP_CONNECT] = "tcp-connect://",
                                           [ENDPOINT_TCP_LISTEN] = "tcp-listen://",
                                           [ENDPOINT_UNIX] = "unix://" };
    memset(e, 0, sizeof(*e));
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t n = strlen(schemes[i]);
        if (strncmp(url, schemes[i], n) != 0)
            continue;
        const char *rest = url + n;
        e->scheme = (enum endpoint_scheme)i;
        if (e->scheme == ENDPOINT_UNIX)
            return parse_path(e, *rest ? rest : unix_path, err);
        return parse_host(e, url, e->scheme == ENDPOINT_TCP_LISTEN && !*rest ? "127.0.0.1:0" : rest, err);
    }
    return gv_error_set(err, GV_E_USAGE, 0,
                        "the endpoint `%s` is of no known kind; there are udp://, tcp-connect://, tcp-listen:// and unix://", url);
}

char *endpoint_text(const struct sockaddr_storage *address, socklen_t size)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (address->ss_family == AF_UNIX)
        return gv_strdup(((const struct sockaddr_un *)address)->sun_path);
    if (getnameinfo((const struct sockaddr *)address, size, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return gv_strdup("");
    return address->ss_family == AF_INET6 ? gv_asprintf("[%s]:%s", host, port) : gv_asprintf("%s:%s", host, port);
}

char *endpoint_name(int fd)
{
    struct sockaddr_storage address = { 0 };
    socklen_t size = sizeof(address);
    return getsockname(fd, (struct sockaddr *)&address, &size) == 0 ? endpoint_text(&address, size) : gv_strdup("");
}

/* ---- sockets --------------------------------------------------------------------------------------------------------------------- */

static void buffers(int fd)
{
    const int size = SOCKET_BUFFER; /* of which the system may allow less */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

void endpoint_tune(int fd)
{
    const int on = 1;
    buffers(fd);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* no effect on unix sockets */
}

int endpoint_udp(const struct endpoint *e, struct gv_error *err)
{
    cleanup_close int fd = socket(e->address.ss_family, SOCK_DGRAM | FLAGS, 0);
    cleanup_free char *text = endpoint_text(&e->address, e->size);
    /* Connecting binds it to the right address of this host and to a free port, and lets the kernel refuse what others send. */
    if (fd < 0 || connect(fd, (const struct sockaddr *)&e->address, e->size) < 0)
        return gv_error_errno(err, "cannot reach the endpoint udp://%s", text);
    buffers(fd);
    return steal_fd(&fd);
}

static int bind_inet(int fd, const struct endpoint *e)
{
    const int on = 1;
    struct sockaddr_storage other = e->address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&e->address, e->size) == 0)
        return 0;
    if (errno != EADDRINUSE && errno != EACCES)
        return -1;
    if (other.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&other)->sin6_port = 0;
    else
        ((struct sockaddr_in *)&other)->sin_port = 0;
    return bind(fd, (const struct sockaddr *)&other, e->size);
}

/* Only we may connect (the mode of the socket becomes that of its name). */
static int bind_unix(int fd, const struct endpoint *e)
{
    const struct sockaddr_un *u = (const struct sockaddr_un *)&e->address;
    if (fchmod(fd, 0600) < 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)u, e->size) == 0)
        return 0;
    struct stat st;
    bool left_behind = errno == EADDRINUSE && lstat(u->sun_path, &st) == 0 && S_ISSOCK(st.st_mode);
    cleanup_close int probe = left_behind ? socket(AF_UNIX, SOCK_STREAM | FLAGS, 0) : -1;
    if (!left_behind)
        return -1;
    if (probe < 0 || connect(probe, (const struct sockaddr *)u, e->size) == 0 || errno != ECONNREFUSED) {
        errno = EADDRINUSE;
        return -1;
    }
    return unlink(u->sun_path) < 0 ? -1 : bind(fd, (const struct sockaddr *)u, e->size);
}

int endpoint_listen(const struct endpoint *e, struct gv_error *err)
{
    cleanup_close int fd = socket(e->address.ss_family, SOCK_STREAM | FLAGS, 0);
    cleanup_free char *text = endpoint_text(&e->address, e->size);
    if (fd < 0 || (e->scheme == ENDPOINT_UNIX ? bind_unix(fd, e) : bind_inet(fd, e)) < 0 || listen(fd, BACKLOG) < 0)
        return gv_error_errno(err, "cannot listen at `%s`", text);
    return steal_fd(&fd);
}

int endpoint_connect(const struct endpoint *e, struct gv_error *err)
{
    cleanup_close int fd = socket(e->address.ss_family, SOCK_STREAM | FLAGS, 0);
    cleanup_free char *text = endpoint_text(&e->address, e->size);
    if (fd < 0 || (connect(fd, (const struct sockaddr *)&e->address, e->size) < 0 && errno != EINPROGRESS))
        return gv_error_errno(err, "cannot connect to %s", text);
    return steal_fd(&fd);
}

int endpoint_connected(int fd, struct gv_error *err)
{
    struct sockaddr_storage ours, theirs;
    socklen_t ours_n = sizeof(ours), theirs_n = sizeof(theirs), n = sizeof(int);
    int failed = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &n) < 0 || failed)
        return gv_error_set(err, GV_E_IO, failed ? failed : errno, "cannot connect");
    if (getsockname(fd, (struct sockaddr *)&ours, &ours_n) < 0 || getpeername(fd, (struct sockaddr *)&theirs, &theirs_n) < 0)
        return gv_error_errno(err, "cannot connect");
    /* Who tries often enough to connect to a port that nobody listens at gets it for himself one day, and then is connected to himself. */
    if (ours_n == theirs_n && memcmp(&ours, &theirs, ours_n) == 0)
        return gv_error_set(err, GV_E_IO, ECONNREFUSED, "cannot connect");
    return 0;
}
