/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve/limits.h"

#include <arpa/inet.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>

#include "core/core.h"

enum { SETS = 4096, WAYS = 4 };

struct bucket {
    unsigned char key[16];
    bool used;
    uint64_t at; /* when level was right */
    double level;
};

struct limits {
    pthread_mutex_t lock;
    double rate, most; /* events a ms */
    uint64_t seed;     /* so that nobody can choose addresses that share a set */
    struct bucket (*sets)[WAYS];
};

struct address address_of(const struct sockaddr *sa)
{
    struct address a = { .bytes = { [10] = 0xff, [11] = 0xff } };
    if (sa && sa->sa_family == AF_INET6)
        memcpy(a.bytes, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
    else if (sa && sa->sa_family == AF_INET)
        memcpy(a.bytes + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
    return a;
}

bool address_parse(const char *s, struct address *out)
{
    *out = (struct address){ .bytes = { [10] = 0xff, [11] = 0xff } };
    return inet_pton(AF_INET, s, out->bytes + 12) == 1 || inet_pton(AF_INET6, s, out->bytes) == 1;
}

static bool mapped(const struct address *a)
{
    static const unsigned char prefix[12] = { [10] = 0xff, [11] = 0xff };
    return memcmp(a->bytes, prefix, sizeof(prefix)) == 0;
}

void address_format(const struct address *a, char out[INET6_ADDRSTRLEN])
{
    if (mapped(a))
        inet_ntop(AF_INET, a->bytes + 12, out, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET6, a->bytes, out, INET6_ADDRSTRLEN);
}

struct limits *limits_new(uint64_t count, uint64_t ms, uint64_t burst)
{
    struct limits *l = gv_new(struct limits);
    pthread_mutex_init(&l->lock, NULL);
    l->rate = (double)count / (double)ms;
    l->most = (double)(count > burst ? count : burst);
    if (count)
        l->sets = gv_calloc(SETS, sizeof(*l->sets));
    if (RAND_bytes((unsigned char *)&l->seed, sizeof(l->seed)) != 1)
        l->seed = (uint64_t)(uintptr_t)l;
    return l;
}

void limits_free(struct limits *l)
{
    if (!l)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l->sets);
    free(l);
}

static size_t set_of(const struct limits *l, const unsigned char key[16])
{
    uint64_t a, b;
    memcpy(&a, key, 8);
    memcpy(&b, key + 8, 8);
    uint64_t h = (a ^ l->seed) * UINT64_C(0x9e3779b97f4a7c15);
    h = ((h ^ h >> 29) + b) * UINT64_C(0xbf58476d1ce4e5b9);
    return (size_t)((h ^ h >> 32) % SETS);
}

static double level_at(const struct limits *l, const struct bucket *b, uint64_t now)
{
    double level = b->level + (now > b->at ? (double)(now - b->at) * l->rate : 0);
    return level < l->most ? level : l->most;
}

static uint64_t ask(struct limits *l, const struct address *a, uint64_t now, double cost)
{
    unsigned char key[16] = { 0 };
    if (!l->sets)
        return 0;
    memcpy(key, a->bytes, mapped(a) ? 16 : 8);
    struct bucket *set = l->sets[set_of(l, key)], *found = NULL, *best = &set[0];
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < WAYS && !found; i++) {
        if (set[i].used && memcmp(set[i].key, key, sizeof(key)) == 0)
            found = &set[i];
        if (!set[i].used || (best->used && level_at(l, &set[i], now) > level_at(l, best, now)))
            best = &set[i];
    }
    if (!found) {
        found = best;
        *found = (struct bucket){ .used = true, .at = now, .level = l->most };
        memcpy(found->key, key, sizeof(key));
    }
    double level = level_at(l, found, now);
    *found = (struct bucket){ .used = true, .at = now > found->at ? now : found->at, .level = level };
    memcpy(found->key, key, sizeof(key));
    uint64_t wait = level >= 1 ? 0 : (uint64_t)((1 - level) / l->rate) + 1;
    if (wait == 0)
        found->level -= cost;
    pthread_mutex_unlock(&l->lock);
    return wait;
}

uint64_t limits_take(struct limits *l, const struct address *a, uint64_t now)
{
    return ask(l, a, now, 1);
}

uint64_t limits_wait(struct limits *l, const struct address *a, uint64_t now)
{
    return ask(l, a, now, 0);
}
