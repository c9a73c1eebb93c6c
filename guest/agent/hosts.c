/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * HOSTS: the texts of /etc/hosts, /etc/resolv.conf and /etc/hostname, and a child that puts them into the payload's world. What the host
 * says is checked to be what such a file may hold, so that no name can bring a line of its own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "guest/agent/agent.h"

/* Text that grows. */
struct text {
    char *p;
    size_t n, size;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void text_add(struct text *t, const char *format, ...)
{
    va_list ap;
    for (;;) {
        va_start(ap, format);
        int n = vsnprintf(t->p ? t->p + t->n : NULL, t->size - t->n, format, ap);
        va_end(ap);
        if (n < 0 || t->failed)
            return;
        if ((size_t)n < t->size - t->n) {
            t->n += (size_t)n;
            return;
        }
        char *p = realloc(t->p, t->n + (size_t)n + 1024);
        if (!p) {
            t->failed = true;
            return;
        }
        t->p = p;
        t->size = t->n + (size_t)n + 1024;
    }
}

static int text_take(struct text *t, char **out, size_t *n, struct report *r)
{
    if (t->failed) {
        free(t->p);
        return report_set(r, ENOMEM, "no memory");
    }
    *out = t->p;
    *n = t->n;
    return 0;
}

/* Nothing that would begin a new line or field of the file, or a comment. */
static bool name_ok(const char *s, size_t n)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    return n > 0 && n < 256 && strspn(s, allowed) >= n;
}

bool hosts_name_ok(const char *name)
{
    return name_ok(name, strlen(name));
}

static bool address_ok(const char *s, size_t n)
{
    char text[INET6_ADDRSTRLEN + 20];
    uint8_t address[16];
    if (n == 0 || n >= sizeof(text))
        return false;
    memcpy(text, s, n);
    text[n] = '\0';
    char *scope = strchr(text, '%');
    if (scope && strchr(text, ':')) {
        if (!name_ok(scope + 1, strlen(scope + 1)))
            return false;
        *scope = '\0';
    }
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

/* "ADDRESS NAME..."; *has becomes true when one of the names is that one. */
static bool host_ok(const char *line, const char *name, bool *has)
{
    size_t n = strcspn(line, " ");
    const char *at = line + n;
    unsigned names = 0;
    if (!address_ok(line, n))
        return false;
    while (*(at += strspn(at, " ")) != '\0') {
        n = strcspn(at, " ");
        if (!name_ok(at, n))
            return false;
        if (strlen(name) == n && memcmp(at, name, n) == 0)
            *has = true;
        names++;
        at += n;
    }
    return names > 0;
}

int hosts_text(char **out, size_t *n, const struct text_list *hosts, const char *hostname, struct report *r)
{
    struct text t = { 0 };
    bool has = strcmp(hostname, "localhost") == 0;
    if (!name_ok(hostname, strlen(hostname)))
        return report_set(r, EINVAL, "'%s' cannot be a host name", hostname);
    for (size_t i = 0; i < hosts->n; i++)
        if (!host_ok(hosts->v[i], hostname, &has))
            return report_set(r, EINVAL, "'%.150s' is not an address and names", hosts->v[i]);
    text_add(&t, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n"
                 "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
    for (size_t i = 0; i < hosts->n; i++)
        text_add(&t, "%s\n", hosts->v[i]);
    if (!has)
        text_add(&t, "127.0.1.1\t%s\n", hostname);
    return text_take(&t, out, n, r);
}

int resolv_text(char **out, size_t *n, const struct hosts *hosts, struct report *r)
{
    struct text t = { 0 };
    text_add(&t, "%s", "");
    for (size_t i = 0; i < hosts->search.n; i++) {
        if (!name_ok(hosts->search.v[i], strlen(hosts->search.v[i]))) {
            free(t.p);
            return report_set(r, EINVAL, "'%.150s' is not a domain", hosts->search.v[i]);
        }
        text_add(&t, "%s%s", i ? " " : "search ", hosts->search.v[i]);
    }
    if (hosts->search.n)
        text_add(&t, "\n");
    for (size_t i = 0; i < hosts->dns.n; i++) {
        if (!address_ok(hosts->dns.v[i], strlen(hosts->dns.v[i]))) {
            free(t.p);
            return report_set(r, EINVAL, "'%.150s' is not an address", hosts->dns.v[i]);
        }
        text_add(&t, "nameserver %s\n", hosts->dns.v[i]);
    }
    return text_take(&t, out, n, r);
}

void hosts_write(struct agent *a, void *arguments, struct report *r)
{
    const struct hosts *hosts = arguments;
    cleanup_free char *etc_hosts = NULL;
    cleanup_free char *etc_resolv = NULL;
    size_t hosts_n = 0, resolv_n = 0;
    struct utsname names;
    if (a->payload.init_fd >= 0 && setns(a->payload.init_fd, CLONE_NEWNS | CLONE_NEWUTS) < 0) {
        report_set(r, errno, "entering the payload's world");
        return;
    }
    if (uname(&names) < 0) {
        report_set(r, errno, "host name");
        return;
    }
    /* Whatever the payload has called itself since, the file must stay well-formed. */
    const char *name = name_ok(names.nodename, strlen(names.nodename)) ? names.nodename : "localhost";
    if (hosts_text(&etc_hosts, &hosts_n, &hosts->hosts, name, r) < 0 || resolv_text(&etc_resolv, &resolv_n, hosts, r) < 0)
        return;
    char etc_hostname[sizeof(names.nodename) + 1];
    size_t hostname_n = (size_t)snprintf(etc_hostname, sizeof(etc_hostname), "%s\n", name);
    cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        report_set(r, errno, "/");
    else if (files_etc(root, "hosts", etc_hosts, hosts_n, r) == 0 && files_etc(root, "hostname", etc_hostname, hostname_n, r) == 0)
        files_etc(root, "resolv.conf", etc_resolv, resolv_n, r);
}
