/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli/look.h"
#include "serve/serve.h"

struct serve_args {
    struct serve_options o;
    const char *label;
    bool password, json;
    uint64_t expires; /* ms, of a token */
};

static const struct cli_option options[] = {
    { "data", 0, "DIR", "where everything is kept (default ~/.local/share/gvmkit/registry)" },
    { "listen", 0, "ADDR:PORT", "where to listen (default 127.0.0.1:8080; port 0: any free one)" },
    { "public-url", 0, "URL", "how clients reach it; once for http, once for https" },
    { "tls-cert", 0, "FILE", "serve https with this certificate chain (PEM)" },
    { "tls-key", 0, "FILE", "and its key (PEM)" },
    { "trust-proxy", 0, NULL, "believe X-Forwarded-For and X-Forwarded-Proto: a proxy sets them" },
    { "max-image", 0, "SIZE", "of one image (default 10G)" },
    { "max-anonymous", 0, "SIZE", "of everything without a tag together (default 100G)" },
    { "max-user", 0, "SIZE", "of the tagged images of one user together (default 100G)" },
    { "max-user-images", 0, "N", "images of one user (default 1000)" },
    { "max-uploads", 0, "N", "uploads in progress (default 1000)" },
    { "max-receiving", 0, "SIZE", "of the chunks that arrive at a time (default 8G)" },
    { "keep-untagged", 0, "TIME", "how long an image without a tag is kept (default 720h)" },
    { "keep-uploads", 0, "TIME", "how long an upload that does not go on is kept (default 24h)" },
    { "gc-interval", 0, "TIME", "between two collections of what has expired (default 1m)" },
    { "idle-timeout", 0, "TIME", "how long a connection may stand still (default 60)" },
    { "grace", 0, "TIME", "what running requests get when the server is to end (default 30)" },
    { "rate", 0, "N", "requests a second from one address, 0 for any (default 500)" },
    { "login-rate", 0, "N", "failed logins a minute from one address, 0 for any (default 10)" },
    { "max-connections", 0, "N", "at a time (default 4096)" },
    { "max-address", 0, "N", "of them from one address, 0 for any (default 512)" },
    { "threads", 'j', "N", "that serve (default: one for each CPU)" },
    { "log", 0, "FORM", "of the line about each request: json, plain or none (default json)" },
    { "password", 0, NULL, "of admin user add: with a password, read from standard input" },
    { "label", 0, "TEXT", "of admin token add: what the token is for" },
    { "expires", 0, "TIME", "of admin token add: how long it is good" },
    { "json", 0, NULL, "of admin lists: print a JSON array" },
    { 0 },
};

/* ---- options ---- */

static int take_url(struct serve_args *a, const char *value, struct gv_error *err)
{
    size_t n = strlen(value);
    bool https = strncmp(value, "https://", 8) == 0, http = strncmp(value, "http://", 7) == 0;
    if ((!http && !https) || n > 1000 || strpbrk(value, " \"<>\\?#") || value[n - 1] == '/')
        return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not an URL like https://registry.example.org, without a slash at its end", value);
    *(https ? &a->o.https_url : &a->o.http_url) = value;
    return 0;
}

static int take_log(struct serve_args *a, const char *value, struct gv_error *err)
{
    static const char *const forms[] = { [SERVE_LOG_JSON] = "json", [SERVE_LOG_PLAIN] = "plain", [SERVE_LOG_NONE] = "none" };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        if (strcmp(value, forms[i]) == 0) {
            a->o.log = (enum serve_log)i;
            return 0;
        }
    return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not json, plain or none", value);
}

/* Numbers, sizes and times of the server. 1 when it was one of them. */
static int take_value(struct serve_args *a, const char *name, const char *value, struct gv_error *err)
{
    enum kind { NUMBER, SIZE, TIME };
    const struct {
        const char *name;
        enum kind kind;
        uint64_t *out;
        uint64_t min, max;
    } values[] = {
        { "max-image", SIZE, &a->o.max_image, 0, 0 },
        { "max-anonymous", SIZE, &a->o.anonymous_quota, 0, 0 },
        { "max-user", SIZE, &a->o.user_quota, 0, 0 },
        { "max-receiving", SIZE, &a->o.max_receiving, 0, 0 },
        { "max-user-images", NUMBER, &a->o.user_images, 0, INT32_MAX },
        { "max-uploads", NUMBER, &a->o.max_uploads, 1, 1000000 },
        { "rate", NUMBER, &a->o.rate, 0, 1000000 },
        { "login-rate", NUMBER, &a->o.login_rate, 0, 1000000 },
        { "max-connections", NUMBER, &a->o.max_connections, 1, 100000 },
        { "max-address", NUMBER, &a->o.max_address, 0, 100000 },
        { "threads", NUMBER, &a->o.threads, 1, 256 },
        { "keep-untagged", TIME, &a->o.anonymous_expiry, 0, 0 },
        { "keep-uploads", TIME, &a->o.upload_expiry, 0, 0 },
        { "gc-interval", TIME, &a->o.gc_interval, 0, 0 },
        { "idle-timeout", TIME, &a->o.idle_timeout, 0, 0 },
        { "grace", TIME, &a->o.grace, 0, 0 },
        { "expires", TIME, &a->expires, 0, 0 },
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        unsigned ms = 0;
        if (strcmp(name, values[i].name) != 0)
            continue;
        int r = values[i].kind == NUMBER ? cli_number("it", value, values[i].min, values[i].max, values[i].out, err)
                : values[i].kind == SIZE ? cli_size(value, values[i].out, err)
                                         : cli_duration(value, &ms, err);
        if (r == 0 && values[i].kind == TIME)
            *values[i].out = ms;
        return r < 0 ? -1 : 1;
    }
    return 0;
}

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct serve_args *a = user;
    const struct {
        const char *name;
        const char **text;
        bool *flag;
    } plain[] = {
        { "data", &a->o.data, NULL },       { "listen", &a->o.listen, NULL }, { "tls-cert", &a->o.tls_cert, NULL },
        { "tls-key", &a->o.tls_key, NULL }, { "label", &a->label, NULL },     { "trust-proxy", NULL, &a->o.trust_proxy },
        { "password", NULL, &a->password }, { "json", NULL, &a->json },
    };
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        if (strcmp(name, plain[i].name) == 0) {
            if (plain[i].text)
                *plain[i].text = value;
            else
                *plain[i].flag = true;
            return 0;
        }
    if (strcmp(name, "public-url") == 0)
        return take_url(a, value, err);
    if (strcmp(name, "log") == 0)
        return take_log(a, value, err);
    int r = take_value(a, name, value, err);
    return r < 0 ? -1 : 0;
}

/* ---- administration ---- */

struct admin {
    struct serve_admin *a;
    const struct serve_args *args;
    char **words; /* what follows the verb, NULL where there is none */
};

/* A line from standard input, without echo on a terminal. */
static int read_password(char **out, struct gv_error *err)
{
    struct termios old;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &old) == 0;
    if (terminal) {
        struct termios quiet = old;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        fputs("Password: ", stderr);
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    }
    size_t room = 0;
    ssize_t n = getline(out, &room, stdin);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
        fputc('\n', stderr);
    }
    if (n <= 0)
        return gv_error_set(err, GV_E_USAGE, 0, "there is no password on standard input");
    (*out)[strcspn(*out, "\r\n")] = '\0';
    return 0;
}

static int user_add(struct admin *m, struct gv_error *err)
{
    cleanup_free char *password = NULL;
    if (m->args->password && read_password(&password, err) < 0)
        return -1;
    return serve_admin_user_add(m->a, m->words[0], password, err);
}

static int user_password(struct admin *m, struct gv_error *err)
{
    cleanup_free char *password = NULL;
    if (read_password(&password, err) < 0)
        return -1;
    return serve_admin_user_password(m->a, m->words[0], password, err);
}

static int user_rm(struct admin *m, struct gv_error *err)
{
    return serve_admin_user_remove(m->a, m->words[0], err);
}

static int token_add(struct admin *m, struct gv_error *err)
{
    char token[SERVE_TOKEN_SIZE];
    if (serve_admin_token_add(m->a, m->words[0], m->args->label ? m->args->label : "", m->args->expires, token, err) < 0)
        return -1;
    puts(token);
    return 0;
}

static int token_rm(struct admin *m, struct gv_error *err)
{
    uint64_t id;
    if (cli_number("the number of a token", m->words[1], 1, INT64_MAX, &id, err) < 0)
        return -1;
    return serve_admin_token_remove(m->a, m->words[0], (int64_t)id, err);
}

static int repo_add(struct admin *m, struct gv_error *err)
{
    return serve_admin_repo_add(m->a, m->words[0], err);
}

static int repo_rm(struct admin *m, struct gv_error *err)
{
    return serve_admin_repo_remove(m->a, m->words[0], err);
}

static int repo_allow(struct admin *m, struct gv_error *err)
{
    return serve_admin_repo_allow(m->a, m->words[0], m->words[1], true, err);
}

static int repo_deny(struct admin *m, struct gv_error *err)
{
    return serve_admin_repo_allow(m->a, m->words[0], m->words[1], false, err);
}

static int tag_set(struct admin *m, struct gv_error *err)
{
    return serve_admin_tag_set(m->a, m->words[0], m->words[1], err);
}

static int tag_rm(struct admin *m, struct gv_error *err)
{
    return serve_admin_tag_remove(m->a, m->words[0], err);
}

static int image_rm(struct admin *m, struct gv_error *err)
{
    return serve_admin_image_remove(m->a, m->words[0], err);
}

struct listing {
    const char *const *columns;
    bool json;
    size_t elements;
};

static void list_row(void *user, const char *const *values)
{
    struct listing *l = user;
    if (l->json) {
        json_t *o = json_object();
        for (size_t i = 0; l->columns[i]; i++)
            look_json_bytes(o, l->columns[i], values[i]);
        look_json_element(o, &l->elements);
        return;
    }
    for (size_t i = 0; l->columns[i]; i++) {
        if (i > 0)
            putchar('\t');
        cli_print_clean(stdout, *values[i] ? values[i] : "-");
    }
    putchar('\n');
}

static int list(struct admin *m, enum serve_list which, struct gv_error *err)
{
    struct listing l = { .columns = serve_admin_columns(which), .json = m->args->json };
    for (size_t i = 0; !l.json && l.columns[i]; i++)
        printf(i > 0 ? "\t%s" : "%s", l.columns[i]);
    if (!l.json)
        putchar('\n');
    if (serve_admin_list(m->a, which, m->words[0], list_row, &l, err) < 0)
        return -1;
    if (l.json)
        look_json_array_end(l.elements);
    return 0;
}

static int user_list(struct admin *m, struct gv_error *err)
{
    return list(m, SERVE_USERS, err);
}

static int token_list(struct admin *m, struct gv_error *err)
{
    return list(m, SERVE_TOKENS, err);
}

static int repo_list(struct admin *m, struct gv_error *err)
{
    return list(m, SERVE_REPOS, err);
}

static int tag_list(struct admin *m, struct gv_error *err)
{
    return list(m, SERVE_TAGS, err);
}

static int image_list(struct admin *m, struct gv_error *err)
{
    return list(m, SERVE_IMAGES, err);
}

static const struct {
    const char *object, *verb;
    int least, most; /* words that follow */
    const char *words;
    int (*run)(struct admin *m, struct gv_error *err);
} verbs[] = {
    { "user", "add", 1, 1, "NAME", user_add },
    { "user", "password", 1, 1, "NAME", user_password },
    { "user", "list", 0, 1, "[NAME]", user_list },
    { "user", "rm", 1, 1, "NAME", user_rm },
    { "token", "add", 1, 1, "USER", token_add },
    { "token", "list", 0, 1, "[USER]", token_list },
    { "token", "rm", 2, 2, "USER NUMBER", token_rm },
    { "repo", "add", 1, 1, "USER/REPO", repo_add },
    { "repo", "list", 0, 1, "[USER]", repo_list },
    { "repo", "allow", 2, 2, "USER/REPO OTHER", repo_allow },
    { "repo", "deny", 2, 2, "USER/REPO OTHER", repo_deny },
    { "repo", "rm", 1, 1, "USER/REPO", repo_rm },
    { "tag", "set", 2, 2, "USER/REPO:TAG HASH", tag_set },
    { "tag", "list", 0, 1, "[USER/REPO]", tag_list },
    { "tag", "rm", 1, 1, "USER/REPO:TAG", tag_rm },
    { "image", "list", 0, 1, "[HASH]", image_list },
    { "image", "rm", 1, 1, "HASH", image_rm },
};

static int administrate(const struct cli_command *self, const struct serve_args *args, int count, char **words)
{
    struct gv_error err = GV_ERROR_INIT;
    CLEANUP(serve_admin) struct serve_admin *a = NULL;
    for (size_t i = 0; count >= 2 && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(words[0], verbs[i].object) != 0 || strcmp(words[1], verbs[i].verb) != 0)
            continue;
        if (count - 2 < verbs[i].least || count - 2 > verbs[i].most)
            return cli_usage(self, "write `gvmkit serve admin %s %s %s`", words[0], words[1], verbs[i].words);
        char *rest[3] = { count > 2 ? words[2] : NULL, count > 3 ? words[3] : NULL, NULL };
        struct admin m = { .args = args, .words = rest };
        if (serve_admin_open(&a, args->o.data, &err) < 0)
            return cli_fail(&err);
        m.a = a;
        return verbs[i].run(&m, &err) < 0 ? cli_fail(&err) : CLI_OK;
    }
    return cli_usage(self, "`admin` is followed by user, token, repo, tag or image, and by what to do with it");
}

/* ---- the command ---- */

static void ready(void *user, const char *url)
{
    (void)user;
    printf("%s\n", url);
    fflush(stdout);
}

static char *default_data(struct gv_error *err)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data && data[0] == '/')
        return gv_asprintf("%s/gvmkit/registry", data);
    if (home && home[0] == '/')
        return gv_asprintf("%s/.local/share/gvmkit/registry", home);
    gv_error_set(err, GV_E_USAGE, 0, "neither XDG_DATA_HOME nor HOME is set; say by --data where to keep the registry");
    return NULL;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct gv_error err = GV_ERROR_INIT;
    cleanup_free char *data = NULL;
    struct serve_args a = { .o = serve_defaults() };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (!a.o.data)
        a.o.data = data = default_data(&err);
    if (!a.o.data)
        return cli_fail(&err);
    if (at < argc && strcmp(argv[at], "admin") == 0)
        return administrate(self, &a, argc - at - 1, argv + at + 1);
    if (at < argc)
        return cli_usage(self, "`%s` is one word too many", argv[at]);
    if (!a.o.tls_cert != !a.o.tls_key)
        return cli_usage(self, "--tls-cert and --tls-key go together");
    if (a.password || a.label || a.expires || a.json)
        return cli_usage(self, "--password, --label, --expires and --json are for `gvmkit serve admin`");
    struct gv_log log = cli_log(false);
    a.o.ready = ready;
    return serve_run(&a.o, &log, &err) < 0 ? cli_fail(&err) : CLI_OK;
}

const struct cli_command cmd_serve = {
    .name = "serve",
    .synopsis = "[OPTIONS] [admin OBJECT VERB [WORD...]]",
    .summary = "Serve a registry of images, as Golem's tools know it",
    .details = "Prints its URL when it is ready. SIGTERM ends it as soon as running requests have ended.\n"
               "\n"
               "Its owner's words, also while it runs:\n"
               "  admin user add|password|rm NAME, user list [NAME]\n"
               "  admin token add USER, token list [USER], token rm USER NUMBER\n"
               "  admin repo add|rm USER/REPO, repo list [USER], repo allow|deny USER/REPO OTHER\n"
               "  admin tag set USER/REPO:TAG HASH, tag list [USER/REPO], tag rm USER/REPO:TAG\n"
               "  admin image list [HASH], image rm HASH",
    .example = "  gvmkit serve --data /srv/registry --listen 0.0.0.0:80 --public-url http://registry.example.org\n"
               "  gvmkit serve --data /srv/registry admin user add alice\n"
               "  gvmkit serve --data /srv/registry admin token add alice --label laptop\n"
               "  gvmkit serve --data /srv/registry admin repo add alice/hello",
    .options = options,
    .run = run,
};
