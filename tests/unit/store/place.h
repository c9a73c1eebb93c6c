/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store of a test's own. */
#ifndef GV_TEST_STORE_PLACE_H
#define GV_TEST_STORE_PLACE_H

#include <string.h>
#include <sys/stat.h>

#include "server.h"
#include "store/store.h"

struct place {
    char *dir;
    struct image_store *store;
};

static inline int make_place(void **state)
{
    struct place *p = gv_new(struct place);
    p->dir = gv_strdup("/tmp/gvmkit-test-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    const struct store_options o = { .dir = p->dir, .wait_ms = 1, .stall_ms = 1000, .attempts = 3 };
    assert_int_equal(store_open(&p->store, &o, NULL), 0);
    setenv("GOLEM_REGISTRY_URL", "http://127.0.0.1:1", 1);
    *state = p;
    return 0;
}

static inline int remove_place(void **state)
{
    struct place *p = *state;
    store_close(p->store);
    assert_int_equal(gv_remove_tree(p->dir, NULL), 0);
    free(p->dir);
    free(p);
    return 0;
}

static inline char *place_file(const struct place *p, const char *hash, const char *suffix)
{
    return gv_asprintf("%s/images/%s.%s", p->dir, hash, suffix);
}

static inline bool place_has(const struct place *p, const char *hash, const char *suffix)
{
    cleanup_free char *path = place_file(p, hash, suffix);
    struct stat st;
    return lstat(path, &st) == 0;
}

static inline void place_write(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void hash_of(const void *data, size_t n, char hex[GV_SHA3_224_HEX])
{
    unsigned char digest[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA3_224, data, n, digest);
    gv_hex(hex, digest, GV_SHA3_224_SIZE);
}

#endif
