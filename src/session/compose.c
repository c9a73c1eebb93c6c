/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What Docker makes of an image's configuration and the words of a `run`: argv is ENTRYPOINT followed by the arguments, or by CMD when
 * there are none; the environment is PATH and HOSTNAME (and TERM on a terminal), then the image's ENV, then -e; later ones win by name, in
 * place. HOME depends on the user, whom only the guest can look up: the agent adds it.
 */
#include <string.h>

#include "session/compose.h"
#include "session/session.h"

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

void compose_env_set(struct gv_strv *env, const char *entry)
{
    size_t len = strcspn(entry, "=");
    if (len == 0)
        return; /* the kernel takes "=x", but nobody can mean it */
    for (size_t i = 0; i < env->count; i++) {
        if (!strncmp(env->items[i], entry, len) && env->items[i][len] == '=') {
            free(env->items[i]);
            env->items[i] = gv_strdup(entry);
            return;
        }
    }
    if (entry[len] == '=')
        gv_strv_add(env, entry);
}

int session_compose(const struct session_options *o, struct gv_strv *argv, struct gv_strv *env, struct gv_error *err)
{
    if (!o->entrypoint)
        gv_strv_copy(argv, &o->config->entrypoint);
    else if (*o->entrypoint)
        gv_strv_add(argv, o->entrypoint);
    if (o->args && o->args[0]) {
        for (size_t i = 0; o->args[i]; i++)
            gv_strv_add(argv, o->args[i]);
    } else if (!o->entrypoint) {
        gv_strv_copy(argv, &o->config->cmd);
    }
    if (!argv->count)
        return gv_error_set(err, GV_E_USAGE, 0, "the image `%s` has neither ENTRYPOINT nor CMD; say which command to run", o->image);
    if (!argv->items[0][0])
        return gv_error_set(err, GV_E_USAGE, 0, "the command to run is an empty word");

    cleanup_free char *hostname = gv_asprintf("HOSTNAME=%s", o->hostname ? o->hostname : "gvmkit");
    compose_env_set(env, DEFAULT_PATH);
    compose_env_set(env, hostname);
    if (o->tty)
        compose_env_set(env, "TERM=xterm");
    for (size_t i = 0; i < o->config->env.count; i++)
        compose_env_set(env, o->config->env.items[i]);
    for (size_t i = 0; o->env && i < o->env->count; i++)
        compose_env_set(env, o->env->items[i]);
    return 0;
}
