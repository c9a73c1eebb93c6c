/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `gvmkit login` and `gvmkit logout`. */
#include <errno.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli/login.h"
#include "registry/registry.h"

DEFINE_CLEANUP(client, struct http_client *, http_client_free)

#define TOKEN_MAX 4096
#define CTRL_C 3

struct login_args {
    const char *user;
    bool check, insecure;
};

static const struct cli_option login_options[] = {
    { "user", 'u', "NAME", "the account" },
    { "check", 0, NULL, "ask the registry whether the login is good, and change nothing" },
    { "insecure", 0, NULL, "any certificate will do, and no encryption; the token can be read on its way" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    struct login_args *a = user;
    (void)err;
    if (!strcmp(name, "user"))
        a->user = value;
    else if (!strcmp(name, "check"))
        a->check = true;
    else
        a->insecure = true;
    return 0;
}

/* A line of standard input, without its end; on a terminal after a question, and unseen if it is secret. The caller frees it. */
static char *ask(const char *question, bool secret, struct gv_error *err)
{
    struct termios before, quiet;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
    if (terminal) {
        fputs(question, stderr);
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG); /* Ctrl-C must not leave a terminal that shows nothing */
        if (secret)
            (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    }
    char line[TOKEN_MAX + 2];
    bool got = fgets(line, sizeof(line), stdin) != NULL;
    if (terminal && secret) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    size_t n = got && !strchr(line, CTRL_C) ? strcspn(line, "\r\n") : 0;
    char *text = n && n <= TOKEN_MAX ? gv_strndup(line, n) : NULL;
    explicit_bzero(line, sizeof(line));
    if (!text)
        gv_error_set(err, GV_E_USAGE, 0, "%s was not given", secret ? "the token" : "the user name");
    return text;
}

int cli_login(const char *user, bool insecure, struct gv_error *err)
{
    CLEANUP(client) struct http_client *http = NULL;
    cleanup_login struct registry_login login = { 0 };
    cleanup_free char *base = registry_url(err);
    const struct http_options options = { .insecure = insecure };
    if (!base || http_client_new(&http, &options, err) < 0)
        return -1;
    login.user = user ? gv_strdup(user) : ask("User: ", false, err);
    login.token = login.user ? ask("Access token: ", true, err) : NULL;
    if (!login.token || registry_login_check(http, base, &login, insecure, err) < 0 || registry_login_save(base, &login, err) < 0)
        return -1;
    printf("logged in at %s as ", base);
    cli_print_clean(stdout, login.user);
    putchar('\n');
    return 0;
}

int cli_login_check(bool insecure, struct gv_error *err)
{
    CLEANUP(client) struct http_client *http = NULL;
    cleanup_login struct registry_login login = { 0 };
    cleanup_free char *base = registry_url(err);
    const struct http_options options = { .insecure = insecure };
    if (!base || registry_login_find(base, &login, err) < 0 || http_client_new(&http, &options, err) < 0 ||
        registry_login_check(http, base, &login, insecure, err) < 0)
        return -1;
    printf("logged in at %s as ", base);
    cli_print_clean(stdout, login.user);
    putchar('\n');
    return 0;
}

int cli_logout(struct gv_error *err)
{
    bool forgotten;
    cleanup_free char *base = registry_url(err);
    if (!base || registry_login_forget(base, &forgotten, err) < 0)
        return -1;
    printf(forgotten ? "logged out at %s\n" : "was not logged in at %s\n", base);
    return 0;
}

static int run_login(const struct cli_command *self, int argc, char **argv)
{
    struct login_args a = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at < argc)
        return cli_usage(self, "there is nothing to say after it; GOLEM_REGISTRY_URL names the registry");
    return (a.check ? cli_login_check(a.insecure, &err) : cli_login(a.user, a.insecure, &err)) < 0 ? cli_fail(&err) : CLI_OK;
}

const struct cli_command cmd_login = {
    .name = "login",
    .synopsis = "[OPTIONS]",
    .summary = "Log in to a registry",
    .details =
        "Asks for the account and an access token, which the registry's web page gives out, and keeps them in a file that only its owner\n"
        "can read, registry.json in the directory gvmkit below $XDG_CONFIG_HOME (~/.config). When standard input is not a terminal, they "
        "are read from it,\n"
        "a line each. REGISTRY_USER and REGISTRY_TOKEN, if both are set, are taken instead of the file.\n\n"
        "The registry is the one that GOLEM_REGISTRY_URL or REGISTRY_URL names, by default https://registry.golem.network.",
    .example = "  gvmkit login --user somebody < token",
    .options = login_options,
    .run = run_login,
};

static const struct cli_option logout_options[] = { { 0 } };

static int run_logout(const struct cli_command *self, int argc, char **argv)
{
    struct gv_error err = GV_ERROR_INIT;
    int at = cli_parse(self, argc, argv, take, NULL);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at < argc)
        return cli_usage(self, "there is nothing to say after it; GOLEM_REGISTRY_URL names the registry");
    return cli_logout(&err) < 0 ? cli_fail(&err) : CLI_OK;
}

const struct cli_command cmd_logout = {
    .name = "logout",
    .synopsis = "",
    .summary = "Forget the login at a registry",
    .details = "The registry is the one that GOLEM_REGISTRY_URL or REGISTRY_URL names, by default https://registry.golem.network.",
    .example = "  gvmkit logout",
    .options = logout_options,
    .run = run_logout,
};
