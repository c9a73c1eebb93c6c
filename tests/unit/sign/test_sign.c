/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Keys and signatures: made, read again, and every way in which they can be wrong. minisign itself has its say in tests/e2e/sign.bats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "sign/format.h"

/* The least that scrypt takes. */
static const struct sign_cost cheap = { 32768, 1U << 24 };

struct fixture {
    char dir[64];
    char *secret, *public_key;
    int image;
    struct sign_secret key;
    struct sign_public public_value;
};

static const char content[] = "what is signed";

static int set_up(void **state)
{
    struct gv_error err = GV_ERROR_INIT;
    struct fixture *f = gv_new(struct fixture);
    strcpy(f->dir, "/tmp/test_sign_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->secret = gv_asprintf("%s/k.key", f->dir);
    f->public_key = gv_asprintf("%s/k.pub", f->dir);
    assert_int_equal(sign_keys_make(f->secret, f->public_key, NULL, NULL, &err), 0);
    assert_int_equal(sign_secret_read(&f->key, f->secret, NULL, &err), 0);
    assert_int_equal(sign_public_read(&f->public_value, f->public_key, &err), 0);
    f->image = open(f->dir, O_TMPFILE | O_RDWR, 0600);
    assert_true(f->image >= 0);
    assert_int_equal(gv_write_full(f->image, content, sizeof(content) - 1), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    close(f->image);
    assert_int_equal(gv_remove_tree(f->dir, &err), 0);
    sign_secret_clear(&f->key);
    free(f->secret);
    free(f->public_key);
    free(f);
    return 0;
}

static char *make(struct fixture *f, const char *name, struct sign_claim *claim)
{
    struct gv_error err = GV_ERROR_INIT;
    struct gv_buf text = { 0 };
    *claim = (struct sign_claim){ 0 };
    strcpy(claim->name, name);
    assert_int_equal(sign_make(&text, claim, f->image, &f->key, NULL, &err), 0);
    return gv_buf_str(&text);
}

static void test_whose(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct sign_claim made, claim;
    const struct sign_public *key = NULL;
    char id[SIGN_ID_TEXT], want[SIGN_ID_TEXT];
    cleanup_free char *text = make(f, "me/thing:1", &made);
    struct sign_public keys[] = { f->public_value, f->public_value };
    keys[0].id[3] ^= 1;
    assert_int_equal(sign_key_for(&key, text, strlen(text), keys, 2, &err), 0);
    assert_ptr_equal(key, &keys[1]);
    assert_int_equal(sign_key_for(&key, text, strlen(text), keys, 1, &err), -1);
    assert_int_equal(err.code, GV_E_CORRUPT);
    gv_error_clear(&err);
    assert_int_equal(sign_key_for(&key, text, 10, keys, 2, &err), -1);
    assert_int_equal(err.code, GV_E_FORMAT);
    gv_error_clear(&err);

    for (size_t i = 0; i < SIGN_ID_SIZE; i++)
        snprintf(want + 2 * i, 3, "%02X", f->key.id[SIGN_ID_SIZE - 1 - i]);
    assert_int_equal(sign_peek(&claim, id, text, strlen(text), &err), 0);
    assert_string_equal(id, want);
    assert_memory_equal(&claim, &made, sizeof(claim));
    /* It believes what it reads, but it reads only what has the form. */
    char *name = strstr(text, "me/thing");
    *name = 'w';
    assert_int_equal(sign_peek(&claim, id, text, strlen(text), &err), 0);
    assert_string_equal(claim.name, "we/thing:1");
    memcpy(strstr(text, "gvmkit sha3"), "another", 7);
    assert_int_equal(sign_peek(&claim, id, text, strlen(text), &err), -1);
    assert_int_equal(err.code, GV_E_UNSUPPORTED);
}

static void test_keys(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct sign_secret k;
    struct sign_public p;
    struct stat st;
    assert_int_equal(stat(f->secret, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_memory_equal(f->key.id, f->public_value.id, SIGN_ID_SIZE);

    /* Neither file is ever overwritten, and a failure leaves none of the two behind. */
    cleanup_free char *other = gv_asprintf("%s/other.key", f->dir), *other_public = gv_asprintf("%s/other.pub", f->dir);
    assert_int_equal(sign_keys_make(f->secret, other_public, NULL, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_EXISTS);
    assert_int_equal(access(other_public, F_OK), -1);
    gv_error_clear(&err);
    assert_int_equal(sign_keys_make(other, f->public_key, NULL, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_EXISTS);
    assert_int_equal(access(other, F_OK), -1);
    gv_error_clear(&err);

    assert_int_equal(sign_keys_make(other, other_public, "secret words", &cheap, &err), 0);
    assert_int_equal(sign_secret_read(&k, other, NULL, &err), 1);
    assert_int_equal(sign_secret_read(&k, other, "wrong", &err), -1);
    assert_int_equal(err.code, GV_E_CORRUPT);
    gv_error_clear(&err);
    assert_int_equal(sign_secret_read(&k, other, "secret words", &err), 0);
    assert_int_equal(sign_public_read(&p, other_public, &err), 0);
    assert_memory_equal(k.id, p.id, SIGN_ID_SIZE);
    assert_memory_equal(k.key + 32, p.key, SIGN_PUBLIC_SIZE); /* libsodium's secret key ends with the public one */
    sign_secret_clear(&k);

    /* A secret key is no public one, nor the other way round. */
    assert_int_equal(sign_public_read(&p, f->secret, &err), -1);
    assert_int_equal(err.code, GV_E_FORMAT);
    gv_error_clear(&err);
    assert_int_equal(sign_secret_read(&k, f->public_key, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_FORMAT);
    gv_error_clear(&err);
    assert_int_equal(sign_public_read(&p, "/nonexistent/key", &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
}

static void test_public_key_as_text(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct sign_public p;
    cleanup_buf struct gv_buf text = { 0 };
    assert_int_equal(gv_read_file(f->public_key, 4096, &text, &err), 0);
    char *base64 = strchr(gv_buf_str(&text), '\n') + 1;
    base64[strcspn(base64, "\n")] = '\0';
    assert_int_equal(sign_public_read(&p, base64, &err), 0);
    assert_memory_equal(&p, &f->public_value, sizeof(p));
}

static void test_sign_and_verify(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct sign_claim made, claim;
    cleanup_free char *text = make(f, "me/thing:1.0 with spaces", &made);
    assert_int_equal(made.size, sizeof(content) - 1);
    unsigned char digest[GV_HASH_MAX];
    char hex[GV_SHA3_224_HEX];
    gv_hash_bytes(GV_HASH_SHA3_224, content, sizeof(content) - 1, digest);
    gv_hex(hex, digest, GV_SHA3_224_SIZE);
    assert_string_equal(made.hash, hex);

    assert_int_equal(sign_open(&claim, text, strlen(text), &f->public_value, &err), 0);
    assert_string_equal(claim.hash, hex);
    assert_int_equal(claim.size, made.size);
    assert_int_equal(claim.timestamp, made.timestamp);
    assert_string_equal(claim.name, "me/thing:1.0 with spaces");
    assert_int_equal(sign_verify(&claim, text, strlen(text), &f->public_value, f->image, NULL, &err), 0);

    assert_int_equal(gv_write_full(f->image, "!", 1), 0);
    assert_int_equal(sign_verify(&claim, text, strlen(text), &f->public_value, f->image, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_CORRUPT);
}

/* Changing any character of what is signed makes it wrong. */
static void test_every_byte_counts(void **state)
{
    struct fixture *f = *state;
    struct sign_claim made, claim;
    cleanup_free char *text = make(f, "name", &made);
    size_t n = strlen(text), signed_from = (size_t)(strchr(text, '\n') + 1 - text);
    unsigned refused = 0;
    for (size_t i = signed_from; i < n - 1; i++) {
        if (text[i] == '\n' || text[i] == '=')
            continue;
        char old = text[i];
        text[i] = old == 'A' ? 'B' : 'A';
        struct gv_error err = GV_ERROR_INIT;
        /* The first signature is checked against the file only. */
        assert_int_equal(sign_verify(&claim, text, n, &f->public_value, f->image, NULL, &err), -1);
        refused++;
        text[i] = old;
    }
    assert_true(refused > 200);
    for (size_t i = 0; i < n - 1; i++) {
        struct gv_error err = GV_ERROR_INIT;
        assert_int_equal(sign_open(&claim, text, i, &f->public_value, &err), -1);
    }
}

static void test_another_key(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct sign_claim made, claim;
    cleanup_free char *text = make(f, "name", &made);
    struct sign_public wrong = f->public_value;
    wrong.id[0] ^= 1;
    assert_int_equal(sign_open(&claim, text, strlen(text), &wrong, &err), -1);
    assert_non_null(strstr(err.msg, "another key"));
    gv_error_clear(&err);
    wrong = f->public_value;
    wrong.key[3] ^= 1;
    assert_int_equal(sign_open(&claim, text, strlen(text), &wrong, &err), -1);
    assert_int_equal(err.code, GV_E_CORRUPT);
}

static void test_claims(void **state)
{
    static const char hex[] = "00112233445566778899aabbccddeeff00112233445566778899aabb";
    static const char *const bad[] = {
        "gvmkit sha3-224:00 size:1 timestamp:2 name:x",
        "gvmkit sha3-224:00112233445566778899aabbccddeeff00112233445566778899aabb size: timestamp:2 name:x",
        "gvmkit sha3-224:00112233445566778899aabbccddeeff00112233445566778899aabb size:-1 timestamp:2 name:x",
        "gvmkit sha3-224:00112233445566778899aabbccddeeff00112233445566778899aabb size:18446744073709551616 timestamp:2 name:x",
        "gvmkit sha3-224:00112233445566778899aabbccddeeff00112233445566778899aabb size:1 name:x",
        "gvmkit sha3-224:00112233445566778899aabbccddeeff00112233445566778899aabg size:1 timestamp:2 name:x",
        "gvmkit sha3-224:00112233445566778899aabbccddeeff00112233445566778899aabb size:1 timestamp:2 name:\x1b[2J",
        "timestamp:1700000000\tfile:image.gvmi\thashed",
        "",
    };
    struct sign_claim claim;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(sign_claim_get(&claim, bad[i], strlen(bad[i])), 0);
    static const char good[] =
        "gvmkit sha3-224:00112233445566778899AABBccddeeff00112233445566778899aabb size:18446744073709551615 timestamp:2 name:";
    assert_int_equal(sign_claim_get(&claim, good, strlen(good)), 1);
    assert_string_equal(claim.hash, hex);
    assert_int_equal(claim.size, UINT64_MAX);
    assert_string_equal(claim.name, "");
}

/* minisign's old signatures are over the file itself, not a hash. */
static void test_old_kind(void **state)
{
    struct fixture *f = *state;
    struct gv_error err = GV_ERROR_INIT;
    struct sign_claim made, claim;
    cleanup_free char *text = make(f, "", &made);
    strchr(text, '\n')[2] = 'W'; /* "RUQ..." is "ED", "RWQ..." is "Ed" */
    assert_int_equal(sign_open(&claim, text, strlen(text), &f->public_value, &err), -1);
    assert_int_equal(err.code, GV_E_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whose, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_public_key_as_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sign_and_verify, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_byte_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_another_key, set_up, tear_down),
        cmocka_unit_test(test_claims),
        cmocka_unit_test_setup_teardown(test_old_kind, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("sign", tests, NULL, NULL);
}
