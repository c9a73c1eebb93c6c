/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Images of a daemon: what is asked of it, where it is looked for, and what is said when something is not there. The daemon is the test's
 * own; e2e/remote.bats has a real one. */
#include <grp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"
#include "server.h"
#include "source/open.h"

#define LAYER "d etc\nf etc/motd hello"

struct engine {
    char *dir, *socket, *address;
    struct gv_buf archive;
    char id[65];
    const char *tags;     /* RepoTags, as JSON */
    const char *platform; /* further members of the inspection */
    const char *version;  /* of the interface */
    const char *answer;   /* in place of the right one, raw */
    size_t cut;           /* of the archive; 0 = nothing */
    char exported[256], query[256];
    struct server *server;
};

static void engine_answer(void *user, struct call *c)
{
    struct engine *e = user;
    if (e->answer) {
        call_raw(c, e->answer, strlen(e->answer));
        c->hang_up = true;
        return;
    }
    char *query = strchr(c->path, '?');
    if (query)
        *query++ = '\0';
    char *what = strrchr(c->path, '/');
    *what++ = '\0';
    bool known = strncmp(c->path, "/images/", 8) == 0 && !strstr(c->path, "missing");
    if (!known) {
        call_text(c, 404, "Content-Type: application/json\r\n", "{\"message\":\"No such image\"}");
    } else if (!strcmp(what, "json")) {
        char text[1024];
        snprintf(text, sizeof(text), "{\"Id\":\"sha256:%s\",\"RepoTags\":%s,\"Size\":%zu%s}", e->id, e->tags, e->archive.len,
                 e->platform ? e->platform : "");
        char header[64];
        snprintf(header, sizeof(header), "Api-Version: %s\r\n", e->version ? e->version : "1.41");
        call_text(c, 200, header, text);
    } else if (!strcmp(what, "get")) {
        snprintf(e->exported, sizeof(e->exported), "%s", c->path + 8);
        snprintf(e->query, sizeof(e->query), "%s", query ? query : "");
        call_print(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n", e->archive.len);
        call_raw(c, e->archive.data, e->cut ? e->cut : e->archive.len);
        if (e->cut)
            c->hang_up = true;
        else
            call_print(c, "\r\n0\r\n\r\n");
    }
}

static int setup(void **state)
{
    static const char *const variables[] = { "DOCKER_HOST",    "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH",
                                             "DOCKER_CONTEXT", "DOCKER_CONFIG",     "XDG_RUNTIME_DIR" };
    for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
        unsetenv(variables[i]);
    struct engine *e = gv_new(struct engine);
    e->dir = temp_make();
    e->socket = path_in(e->dir, "docker.sock");
    e->address = gv_asprintf("unix://%s", e->socket);
    e->tags = "[\"team/hello:1\"]";
    setenv("HOME", e->dir, 1);
    struct tarb t = { 0 };
    tarb_text(&t, LAYER);
    tarb_end(&t);
    struct layer_bytes layer = { .p = t.out.data, .n = t.out.len };
    cleanup_free char *path = path_in(e->dir, "image.tar");
    write_docker_archive(path, &layer, 1, "team/hello:1");
    assert_int_equal(gv_read_file(path, 1 << 20, &e->archive, NULL), 0);
    unlink(path);
    tarb_clear(&t);
    memset(e->id, 'a', 64);
    e->server = server_start_unix(e->socket, engine_answer, e);
    setenv("DOCKER_HOST", e->address, 1);
    *state = e;
    return 0;
}

static int teardown(void **state)
{
    struct engine *e = *state;
    server_stop(e->server);
    temp_remove(e->dir);
    gv_buf_clear(&e->archive);
    free(e->socket);
    free(e->address);
    free(e);
    return 0;
}

static void expect_image(const char *reference, const char *name)
{
    __attribute__((cleanup(gv_cleanup_source_image_fn))) struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    if (source_load(&image, reference, NULL, &err) < 0)
        fail_msg("%s", err.msg);
    assert_tree(&image, "/etc d\n/etc/motd f hello\n");
    assert_string_equal(image.name, name);
}

static void expect_failure(const char *reference, enum gv_code code, const char *text)
{
    __attribute__((cleanup(gv_cleanup_source_image_fn))) struct source_image image = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(source_load(&image, reference, NULL, &err), -1);
    if (err.code != code || !strstr(err.msg, text))
        fail_msg("code %d: %s", (int)err.code, err.msg);
}

static void test_by_name(void **state)
{
    struct engine *e = *state;
    expect_image("docker-daemon:team/hello:1", "team/hello:1");
    assert_string_equal(e->exported, "team/hello:1");
    expect_image("team/hello:1", "team/hello:1"); /* no file of that name */
}

/* By id, or a part of one: the archive is asked for by the image's name, so that it tells it. */
static void test_by_id(void **state)
{
    struct engine *e = *state;
    expect_image("docker-daemon:aaaa", "team/hello:1");
    assert_string_equal(e->exported, "team/hello:1");
    cleanup_free char *full = gv_asprintf("docker-daemon:sha256:%s", e->id);
    expect_image(full, "team/hello:1");
    e->tags = "null";
    expect_image(full, "team/hello:1"); /* the archive's own word */
    assert_string_equal(e->exported, full + strlen("docker-daemon:"));
    e->tags = "[\"../../etc\"]"; /* no name that we would repeat */
    expect_image("docker-daemon:aaaa", "team/hello:1");
    assert_string_equal(e->exported, "aaaa");
}

static int load_platform(const char *platform, struct gv_error *err)
{
    __attribute__((cleanup(gv_cleanup_source_image_fn))) struct source_image image = { 0 };
    return source_load(&image, "docker-daemon:team/hello:1", &(struct source_options){ .platform = platform }, err);
}

/* An old daemon has one platform of an image and says which; one of today can be told which to export. */
static void test_platform(void **state)
{
    struct engine *e = *state;
    struct gv_error err = GV_ERROR_INIT;
    e->platform = ",\"Os\":\"linux\",\"Architecture\":\"arm64\",\"Variant\":\"v8\"";
    assert_int_equal(load_platform(NULL, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "there is no image for linux/amd64 in it; there are images for: linux/arm64/v8"));
    assert_string_equal(e->exported, "");
    e->version = "1.50";
    assert_int_equal(load_platform(NULL, &err), 0);
    assert_string_equal(e->query, "platform=%7B%22architecture%22%3A%22amd64%22%2C%22os%22%3A%22linux%22%7D");
    e->platform = ",\"Os\":\"linux\",\"Architecture\":\"amd64\"";
    assert_int_equal(load_platform(NULL, &err), 0);
    assert_string_equal(e->query, "");
    /* It may take no notice: then the image itself says what it is. */
    assert_int_equal(load_platform("linux/arm64", &err), -1);
    assert_non_null(strstr(err.msg, "there are images for: linux/amd64"));
    assert_string_not_equal(e->query, "");
}

static void test_missing(void **state)
{
    const struct engine *e = *state;
    expect_failure("docker-daemon:missing", GV_E_NOT_FOUND, "does not have the image `missing`; `docker pull missing`");
    setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock", 1);
    expect_failure("docker-daemon:team/hello:1", GV_E_NOT_FOUND, "there is no Docker daemon: cannot connect to `/nonexistent/docker.sock`");
    setenv("DOCKER_HOST", "ssh://somewhere", 1);
    expect_failure("docker-daemon:team/hello:1", GV_E_NOT_FOUND, "docker save");
    setenv("DOCKER_HOST", "npipe:////./pipe/docker", 1);
    expect_failure("docker-daemon:team/hello:1", GV_E_NOT_FOUND, "is not the address");
    setenv("DOCKER_HOST", e->address, 1);
    /* Both are told about when neither has it; the registry is one that is not there. */
    struct server *s = server_start(engine_answer, *state);
    cleanup_free char *name = gv_asprintf("127.0.0.1:%u/missing", server_port(s));
    server_stop(s);
    expect_failure(name, GV_E_IO, "does not have the image");
    expect_failure(name, GV_E_IO, "Connection refused");
}

/* What an ordinary user is told about a socket that he may not use. Root may use all of them, and becomes one. */
static void test_permission(void **state)
{
    const struct engine *e = *state;
    assert_int_equal(chmod(e->socket, 0), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        __attribute__((cleanup(gv_cleanup_source_image_fn))) struct source_image image = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0))
            _exit(2);
        int status = source_load(&image, "docker-daemon:team/hello:1", NULL, &err);
        _exit(status == -1 && err.code == GV_E_NOT_FOUND && strstr(err.msg, "usermod -aG docker") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_tcp(void **state)
{
    struct engine *e = *state;
    struct server *s = server_start(engine_answer, e);
    for (size_t i = 0; i < 2; i++) {
        char address[64];
        snprintf(address, sizeof(address), i ? "http://127.0.0.1:%u/" : "tcp://127.0.0.1:%u", server_port(s));
        setenv("DOCKER_HOST", address, 1);
        expect_image("docker-daemon:team/hello:1", "team/hello:1");
    }
    server_stop(s);
}

static void test_tls(void **state)
{
    struct engine *e = *state;
    cleanup_free char *ca = path_in(e->dir, "ca.pem");
    struct server *s = server_start_tls(ca, engine_answer, e);
    cleanup_free char *address = gv_asprintf("tcp://127.0.0.1:%u", server_port(s));
    setenv("DOCKER_HOST", address, 1);
    setenv("DOCKER_TLS_VERIFY", "1", 1);
    setenv("DOCKER_CERT_PATH", e->dir, 1);
    expect_image("docker-daemon:team/hello:1", "team/hello:1");
    /* With another certificate to trust it is not believed. */
    struct server *other = server_start_tls(ca, engine_answer, e);
    expect_failure("docker-daemon:team/hello:1", GV_E_NOT_FOUND, "does not prove who it is");
    unsetenv("DOCKER_TLS_VERIFY");
    expect_image("docker-daemon:team/hello:1", "team/hello:1"); /* encrypted, and anybody */
    server_stop(other);
    server_stop(s);
}

static void test_context(void **state)
{
    struct engine *e = *state;
    unsetenv("DOCKER_HOST");
    cleanup_free char *config = path_in(e->dir, "config.json");
    write_file(config, "{\"currentContext\":\"mine\"}", 25);
    setenv("DOCKER_CONFIG", e->dir, 1);
    unsigned char hash[GV_HASH_MAX];
    char hex[65];
    gv_hash_bytes(GV_HASH_SHA256, "mine", 4, hash);
    gv_hex(hex, hash, 32);
    cleanup_free char *dir = gv_asprintf("%s/contexts/meta/%s", e->dir, hex), *meta = path_in(dir, "meta.json");
    assert_int_equal(gv_mkdir_p(dir, 0700, NULL), 0);
    cleanup_free char *text = gv_asprintf("{\"Name\":\"mine\",\"Endpoints\":{\"docker\":{\"Host\":\"%s\"}}}", e->address);
    write_file(meta, text, strlen(text));
    expect_image("docker-daemon:team/hello:1", "team/hello:1");
    write_file(meta, "{}", 2); /* then the usual sockets */
    setenv("XDG_RUNTIME_DIR", e->dir, 1);
    if (access("/var/run/docker.sock", F_OK) != 0)
        expect_image("docker-daemon:team/hello:1", "team/hello:1");
}

static void test_resolve(void **state)
{
    const struct engine *e = *state;
    cleanup_free char *exact = NULL, *print = NULL, *id = gv_asprintf("docker-daemon:sha256:%s", e->id);
    assert_int_equal(source_resolve("team/hello:1", NULL, &exact, NULL), 0);
    assert_string_equal(exact, id);
    assert_int_equal(source_fingerprint(exact, &print, NULL), 0);
    assert_non_null(strstr(print, e->id));
    struct gv_error err = GV_ERROR_INIT;
    char *none = NULL;
    assert_int_equal(source_fingerprint("docker-daemon:team/hello:1", &none, &err), -1);
    assert_int_equal(err.code, GV_E_UNSUPPORTED);
    assert_int_equal(source_resolve("docker-daemon:missing", NULL, &none, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
}

static void test_liars(void **state)
{
    struct engine *e = *state;
    static const struct {
        const char *answer;
        enum gv_code code;
    } cases[] = {
        { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", GV_E_PROTOCOL },
        { "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{ x", GV_E_FORMAT },
        { "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"Id\":\"sha256:zzzz\"} ", GV_E_PROTOCOL },
        { "HTTP/1.1 500 Oops\r\nContent-Length: 18\r\n\r\n{\"message\":\"disk\"}", GV_E_IO },
        { "HTTP/1.1 301 Away\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", GV_E_IO },
        { "SSH-2.0\r\n\r\n", GV_E_PROTOCOL },
        { "", GV_E_NOT_FOUND },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        e->answer = cases[i].answer;
        expect_failure("docker-daemon:team/hello:1", cases[i].code, "");
    }
    e->answer = NULL;
    e->cut = e->archive.len / 2;
    expect_failure("docker-daemon:team/hello:1", GV_E_IO, "exporting `team/hello:1`");
    e->cut = 0;
    memset(e->archive.data, 'x', e->archive.len);
    expect_failure("docker-daemon:team/hello:1", GV_E_FORMAT, "as the Docker daemon exports it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_by_name, setup, teardown),  cmocka_unit_test_setup_teardown(test_by_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing, setup, teardown),  cmocka_unit_test_setup_teardown(test_permission, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tcp, setup, teardown),      cmocka_unit_test_setup_teardown(test_tls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_context, setup, teardown),  cmocka_unit_test_setup_teardown(test_resolve, setup, teardown),
        cmocka_unit_test_setup_teardown(test_platform, setup, teardown), cmocka_unit_test_setup_teardown(test_liars, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
