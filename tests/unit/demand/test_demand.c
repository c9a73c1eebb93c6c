/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Demands word for word, manifests made, judged, signed and checked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "demand/demand.h"

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabb"

static void test_demand_json(void **state)
{
    (void)state;
    struct demand d = { .hash = HEX, .url = "http://example.org/a.gvmi" };
    cleanup_free char *text = demand_json(&d);
    json_t *o = json_loads(text, 0, NULL), *p = json_object_get(o, "properties");
    assert_string_equal(json_string_value(json_object_get(p, "golem.srv.comp.task_package")),
                        "hash:sha3:" HEX ":http://example.org/a.gvmi");
    assert_string_equal(json_string_value(json_object_get(p, "golem.srv.comp.vm.package_format")), "gvmkit-squash");
    assert_true(json_is_true(json_object_get(p, "golem.srv.caps.multi-activity")));
    assert_int_equal(json_object_size(p), 3);
    assert_string_equal(
        json_string_value(json_object_get(o, "constraints")),
        "(&(golem.inf.mem.gib>=0.5)\n\t(golem.inf.storage.gib>=2)\n\t(golem.inf.cpu.threads>=1)\n\t(golem.runtime.name=vm))");
    json_decref(o);

    struct gv_strv capabilities = { 0 };
    gv_strv_add(&capabilities, "vpn");
    gv_strv_add(&capabilities, "!exp:gpu");
    d = (struct demand){ .hash = HEX,
                         .url = "http://example.org/a.gvmi",
                         .memory_gib = 1.25,
                         .storage_gib = 10,
                         .threads = 4,
                         .cores = 2,
                         .capabilities = &capabilities,
                         .runtime = "vm-nvidia",
                         .subnet = "public",
                         .manifest = "bWFuaWZlc3Q=",
                         .signature = "c2ln",
                         .certificate = "Y2VydA==" };
    cleanup_free char *more = demand_json(&d);
    o = json_loads(more, 0, NULL);
    p = json_object_get(o, "properties");
    assert_string_equal(json_string_value(json_object_get(p, "golem.srv.comp.payload")), "bWFuaWZlc3Q=");
    assert_null(json_object_get(p, "golem.srv.comp.task_package")); /* as both SDKs */
    assert_string_equal(json_string_value(json_object_get(p, "golem.srv.comp.payload.sig")), "c2ln");
    assert_string_equal(json_string_value(json_object_get(p, "golem.srv.comp.payload.sig.algorithm")), "sha256");
    assert_string_equal(json_string_value(json_object_get(p, "golem.srv.comp.payload.cert")), "Y2VydA==");
    assert_string_equal(json_string_value(json_object_get(p, "golem.node.debug.subnet")), "public");
    assert_string_equal(
        json_string_value(json_object_get(o, "constraints")),
        "(&(golem.inf.mem.gib>=1.25)\n\t(golem.inf.storage.gib>=10)\n\t(golem.inf.cpu.threads>=4)\n\t(golem.inf.cpu.cores>=2)\n\t"
        "(golem.runtime.name=vm-nvidia)\n\t(golem.runtime.capabilities=vpn)\n\t(golem.runtime.capabilities=!exp:gpu)\n\t"
        "(golem.node.debug.subnet=public))");
    json_decref(o);
    gv_strv_clear(&capabilities);
}

static void test_lines_of_the_sdks(void **state)
{
    (void)state;
    struct demand d = { .hash = HEX, .url = "http://example.org/a.gvmi" };
    cleanup_free char *plain = demand_yapapi(&d);
    assert_string_equal(plain, "from yapapi.payload import vm\n\npackage = await vm.repo(\n    image_hash=\"" HEX
                               "\",\n    image_url=\"http://example.org/a.gvmi\",\n    min_mem_gib=0.5,\n    min_storage_gib=2,\n"
                               "    min_cpu_threads=1,\n)\n");
    d.subnet = "public";
    d.cores = 2;
    d.runtime = "vm-nvidia";
    cleanup_free char *python = demand_yapapi(&d), *js = demand_golem_js(&d);
    /* what yapapi's calls have no arguments for is said */
    assert_non_null(strstr(python, "    min_cpu_threads=1,\n)\n# no argument: (golem.inf.cpu.cores>=2)\n"
                                   "# no argument: (golem.runtime.name=vm-nvidia)\n# Golem(..., subnet_tag=\"public\")\n"));
    assert_string_equal(js, "const order = {\n  demand: {\n    subnetTag: \"public\",\n    workload: {\n      imageHash: \"" HEX
                            "\",\n      imageUrl: \"http://example.org/a.gvmi\",\n      minMemGib: 0.5,\n      minStorageGib: 2,\n"
                            "      minCpuThreads: 1,\n      minCpuCores: 2,\n      engine: \"vm-nvidia\",\n    },\n  },\n};\n");
}

static void test_words_that_would_break_a_demand(void **state)
{
    (void)state;
    static const char *const bad[] = { "a)(b=c", "", "x\ny", "a b", "\"" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        struct gv_strv list = { 0 };
        gv_strv_add(&list, bad[i]);
        assert_int_equal(demand_check(&(struct demand){ .url = "u", .runtime = bad[i] }, &err), -1);
        assert_int_equal(demand_check(&(struct demand){ .url = "u", .subnet = bad[i] }, &err), -1);
        assert_int_equal(demand_check(&(struct demand){ .url = "u", .capabilities = &list }, &err), -1);
        if (*bad[i] && strcmp(bad[i], "a)(b=c") != 0)
            assert_int_equal(demand_check(&(struct demand){ .url = bad[i] }, &err), -1);
        gv_strv_clear(&list);
    }
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(demand_check(&(struct demand){ .url = "http://h/%20?x=(1)&y", .runtime = "vm", .subnet = "public" }, &err), 0);
}

static char *make(const char *outbound, bool any, struct gv_error *err)
{
    struct gv_strv urls = { 0 }, out = { 0 };
    char *text = NULL;
    gv_strv_add(&urls, "http://example.org/a.gvmi");
    if (outbound)
        gv_strv_add(&out, outbound);
    struct demand_manifest m = {
        .hash = HEX, .urls = &urls, .name = "thing", .outbound = &out, .outbound_any = any, .created = 1000, .expires = 2000
    };
    demand_manifest_make(&text, &m, err);
    gv_strv_clear(&urls);
    gv_strv_clear(&out);
    return text;
}

static void test_manifest_made(void **state)
{
    (void)state;
    struct gv_error err = GV_ERROR_INIT;
    cleanup_free char *text = make("tcp://db.example.org:5432", false, &err);
    assert_non_null(text);
    json_t *o = json_loads(text, 0, NULL), *entry = json_array_get(json_object_get(o, "payload"), 0);
    assert_string_equal(json_string_value(json_object_get(o, "createdAt")), "1970-01-01T00:16:40.000Z");
    assert_string_equal(json_string_value(json_object_get(entry, "hash")), "sha3:" HEX);
    json_t *out = json_object_get(json_object_get(json_object_get(json_object_get(o, "compManifest"), "net"), "inet"), "out");
    assert_string_equal(json_string_value(json_array_get(json_object_get(out, "protocols"), 0)), "tcp");
    assert_null(json_object_get(out, "unrestricted"));
    json_decref(o);

    char hash[GV_SHA3_224_HEX];
    cleanup_free char *url = NULL;
    assert_int_equal(demand_manifest_check(text, strlen(text), 1500, hash, &url, &err), 0);
    assert_string_equal(hash, HEX);
    assert_string_equal(url, "http://example.org/a.gvmi");
    assert_int_equal(demand_manifest_check(text, strlen(text), 2000, NULL, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_TIMEOUT);

    gv_error_clear(&err);
    cleanup_free char *any = make(NULL, true, &err);
    assert_int_equal(demand_manifest_check(any, strlen(any), 1500, NULL, NULL, &err), 0);
    assert_non_null(strstr(any, "\"unrestricted\""));

    static const char *const no_urls[] = { "example.org",     "://x",          "http://",      "http://a b",    "HTTP//x",
                                           "https://h/a[b]",  "https://h/%zz", "https://h/%4", "https://h/{x}", "https://h/a|b",
                                           "https://h/<a>",   "https://h/a^b", "https://h/`",  "https://h/\\",  "https://h:x/",
                                           "https://h:65536", "https://u@" };
    for (size_t i = 0; i < sizeof(no_urls) / sizeof(no_urls[0]); i++) {
        gv_error_clear(&err);
        assert_null(make(no_urls[i], false, &err));
        assert_int_equal(err.code, GV_E_USAGE);
    }
    static const char *const urls[] = { "https://[::1]:80/x", "https://u:p@h:65535/a'b?c=[%41", "udp://1.2.3.4:53", "https://h:" };
    static const bool good[] = { true, false, true, true };
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        gv_error_clear(&err);
        cleanup_free char *with = make(urls[i], false, &err);
        assert_int_equal(with != NULL, good[i]);
    }
}

#define TIMES "\"createdAt\":\"1970-01-01T00:00:01Z\",\"expiresAt\":\"1970-01-01T01:00:01.5+01:00\""
#define ENTRY "{\"urls\":[\"http://h/i\"],\"hash\":\"sha3:" HEX "\"}"

/* A provider reads all of a manifest or nothing: null stands for what may be left out, and one wrong type anywhere refuses it. */
static void test_parts_of_manifests_judged(void **state)
{
    (void)state;
    static const struct {
        const char *part;
        bool good;
    } cases[] = {
        { "\"payload\":[" ENTRY "],\"compManifest\":null,\"metadata\":null", true },
        { "\"payload\":[{\"platform\":null,\"urls\":[\"http://h/i\"],\"hash\":\"sha3:" HEX "\"}]", true },
        { "\"payload\":[" ENTRY "],\"compManifest\":{\"version\":\"0.1.0\",\"script\":null,\"net\":null}", true },
        { "\"payload\":[" ENTRY "],\"compManifest\":{\"version\":\"0.1.0\",\"net\":{\"inet\":null}}", true },
        { "\"payload\":[" ENTRY "],\"compManifest\":{\"version\":\"0.1.0\",\"net\":{\"inet\":{\"out\":null}}}", true },
        { "\"payload\":[" ENTRY "],\"compManifest\":{\"version\":\"0.1.0\",\"net\":{\"inet\":{\"out\":{\"urls\":null}}}}", true },
        { "\"payload\":[" ENTRY "],\"compManifest\":{\"version\":\"0.1.0\",\"net\":[]}", false },
        { "\"payload\":[" ENTRY "],\"compManifest\":{\"version\":\"0.1.0\",\"net\":{\"inet\":1}}", false },
        { "\"payload\":[" ENTRY "],\"compManifest\":{\"version\":\"0.1.0\",\"script\":{\"commands\":[],\"match\":null}}", false },
        { "\"payload\":[" ENTRY "],\"compManifest\":{\"version\":\"0.1.0\",\"script\":7}", false },
        { "\"payload\":[" ENTRY "],\"compManifest\":{\"version\":\"0.1.0\",\"net\":{\"inet\":{\"out\":{\"protocols\":null}}}}", false },
        { "\"payload\":[" ENTRY "],\"compManifest\":{\"version\":\"0.1.0\",\"net\":{\"inet\":{\"out\":{\"protocols\":[1]}}}}", false },
        { "\"payload\":[" ENTRY "],\"compManifest\":{\"version\":\"0.1.0\",\"net\":{\"inet\":{\"out\":{\"urls\":[\"https://h:x\"]}}}}",
          false },
        { "\"payload\":[" ENTRY ",{\"urls\":[\"x\"],\"hash\":\"y\"}]", false },
        { "\"payload\":[" ENTRY ",{\"hash\":\"y\"}]", false },
        { "\"payload\":[" ENTRY ",{\"urls\":[]}]", false },
        { "\"payload\":[" ENTRY ",{\"urls\":[],\"hash\":\"y\",\"platform\":{\"os\":\"linux\"}}]", false },
        { "\"payload\":[" ENTRY ",{\"urls\":[],\"hash\":\"y\",\"platform\":{\"os\":\"a\",\"arch\":\"b\",\"osVersion\":null}}]", true },
        { "\"payload\":[" ENTRY ",{\"urls\":[],\"hash\":\"y\",\"platform\":{\"os\":\"a\",\"arch\":\"b\",\"osVersion\":1}}]", false },
        { "\"payload\":[" ENTRY "],\"metadata\":{\"name\":\"x\"}", true },
        { "\"payload\":[" ENTRY "],\"metadata\":{\"name\":\"x\",\"version\":null,\"description\":null,\"authors\":[\"me\"]}", true },
        { "\"payload\":[" ENTRY "],\"metadata\":{}", false },
        { "\"payload\":[" ENTRY "],\"metadata\":{\"name\":1}", false },
        { "\"payload\":[" ENTRY "],\"metadata\":{\"name\":\"x\",\"version\":\"1\"}", false },
        { "\"payload\":[" ENTRY "],\"metadata\":{\"name\":\"x\",\"homepage\":[]}", false },
        { "\"payload\":[" ENTRY "],\"metadata\":{\"name\":\"x\",\"authors\":null}", false },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        cleanup_free char *text = gv_asprintf(
            "{\"version\":\"0.1.0\",\"createdAt\":\"1970-01-01T00:00:01Z\",\"expiresAt\":\"1970-01-01T00:00:09Z\",%s}", cases[i].part);
        int got = demand_manifest_check(text, strlen(text), 5, NULL, NULL, &err);
        if ((got == 0) != cases[i].good)
            fail_msg("%s: %s", cases[i].part, got ? err.msg : "taken");
    }
}

static void test_manifests_judged(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t now;
        bool good;
    } cases[] = {
        { "{\"version\":\"0.1.0\"," TIMES ",\"payload\":[" ENTRY "]}", 0, false }, /* +01:00 makes both the same second */
        { "{\"version\":\"0.1.0\",\"createdAt\":\"1970-01-01T00:00:01Z\",\"expiresAt\":\"1970-01-01T00:00:09Z\",\"payload\":[" ENTRY "]}",
          5, true },
        { "{\"version\":\"0.1.0\",\"createdAt\":\"1970-01-01T00:00:01Z\",\"expiresAt\":\"1970-01-01T00:00:09Z\",\"payload\":[{\"platform\":"
          "{\"arch\":"
          "\"arm\",\"os\":\"linux\"},\"urls\":[\"x://y\"],\"hash\":\"y\"}," ENTRY "],\"other\":1}",
          5, true },
        { "{\"version\":\"0.1.0\",\"createdAt\":\"1970-01-01T00:00:01Z\",\"expiresAt\":\"1970-01-01T00:00:09Z\",\"payload\":[]}", 5,
          false },
        { "{\"version\":\"0.1.0\",\"createdAt\":\"1970-01-01T00:00:01Z\",\"expiresAt\":\"1970-01-01T00:00:09Z\"}", 5, false },
        { "{\"version\":\"1\",\"createdAt\":\"1970-01-01T00:00:01Z\",\"expiresAt\":\"1970-01-01T00:00:09Z\",\"payload\":[" ENTRY "]}", 5,
          false },
        { "{\"version\":\"0.1.0\",\"createdAt\":\"yesterday\",\"expiresAt\":\"1970-01-01T00:00:09Z\",\"payload\":[" ENTRY "]}", 5, false },
        { "{\"version\":\"0.1.0\",\"createdAt\":\"1970-01-01T00:00:01Z\",\"expiresAt\":\"1970-01-01T00:00:09Z\",\"payload\":[" ENTRY
          "],\"compManifest\":{\"version\":\"0.1.0\",\"script\":{\"commands\":[1]}}}",
          5, false },
        { "{\"version\":\"0.1.0\",\"createdAt\":\"1970-01-01T00:00:01Z\",\"expiresAt\":\"1970-01-01T00:00:09Z\",\"payload\":[" ENTRY
          "],\"compManifest\":{\"version\":\"0.1.0\",\"net\":{\"inet\":{\"out\":{\"urls\":[\"nothing\"]}}}}}",
          5, false },
        { "{\"version\":\"0.1.0\",\"createdAt\":\"1970-01-01T00:00:01Z\",\"expiresAt\":\"1970-01-01T00:00:09Z\",\"payload\":[" ENTRY
          "],\"compManifest\":{\"version\":\"0.1.0\",\"script\":{\"commands\":[\"run x\"],\"match\":\"regex\"}}}",
          5, true },
        { "[]", 0, false },
        { "{", 0, false },
        { "", 0, false },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gv_error err = GV_ERROR_INIT;
        int got = demand_manifest_check(cases[i].text, strlen(cases[i].text), cases[i].now, NULL, NULL, &err);
        if ((got == 0) != cases[i].good)
            fail_msg("case %zu: %s", i, err.msg);
    }
}

/* ---- keys and certificates ------------------------------------------------------------------------------------------------------- */

static X509 *certificate(EVP_PKEY *key, const char *name, EVP_PKEY *issuer_key, X509 *issuer)
{
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), issuer ? 2 : 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
    if (!issuer) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(x, issuer_key, EVP_sha256()) > 0);
    return x;
}

static char *path_in(const char *dir, const char *name)
{
    return gv_asprintf("%s/%s", dir, name);
}

static void write_pem(const char *path, EVP_PKEY *key, const char *password, X509 *x, X509 *more)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    if (key)
        assert_int_equal(PEM_write_PrivateKey(f, key, password ? EVP_aes_128_cbc() : NULL, (const unsigned char *)password,
                                              password ? (int)strlen(password) : 0, NULL, NULL),
                         1);
    if (x)
        assert_int_equal(PEM_write_X509(f, x), 1);
    if (more)
        assert_int_equal(PEM_write_X509(f, more), 1);
    fclose(f);
}

static void test_signature(void **state)
{
    (void)state;
    static const char manifest[] = "{\"a\":1}\n";
    struct gv_error err = GV_ERROR_INIT;
    char dir[] = "/tmp/test_demand_XXXXXX";
    assert_non_null(mkdtemp(dir));
    cleanup_free char *key_path = path_in(dir, "key"), *locked_path = path_in(dir, "locked"), *chain_path = path_in(dir, "chain");
    cleanup_free char *ca_path = path_in(dir, "ca"), *other_path = path_in(dir, "other"), *der_path = path_in(dir, "der");
    cleanup_free char *reversed_path = path_in(dir, "reversed");
    EVP_PKEY *ca = EVP_RSA_gen(2048), *key = EVP_RSA_gen(2048), *other = EVP_RSA_gen(2048);
    X509 *ca_cert = certificate(ca, "ca", ca, NULL), *cert = certificate(key, "me", ca, ca_cert),
         *other_cert = certificate(other, "o", other, NULL);
    write_pem(key_path, key, NULL, NULL, NULL);
    write_pem(locked_path, key, "words", NULL, NULL);
    write_pem(chain_path, NULL, NULL, ca_cert, cert);
    write_pem(reversed_path, NULL, NULL, cert, ca_cert);
    write_pem(ca_path, NULL, NULL, ca_cert, NULL);
    write_pem(other_path, NULL, NULL, other_cert, NULL);
    FILE *f = fopen(der_path, "w");
    assert_int_equal(i2d_X509_fp(f, cert), 1);
    fclose(f);

    cleanup_free char *signature = NULL;
    assert_int_equal(demand_manifest_sign(&signature, manifest, sizeof(manifest) - 1, key_path, NULL, NULL, &err), 0);
    assert_null(strchr(signature, '\n'));
    assert_int_equal(demand_manifest_verify(signature, manifest, sizeof(manifest) - 1, chain_path, NULL, NULL, &err), 0);
    assert_int_equal(demand_manifest_verify(signature, manifest, sizeof(manifest) - 1, chain_path, ca_path, "sha256", &err), 0);
    assert_int_equal(demand_manifest_verify(signature, manifest, sizeof(manifest) - 1, der_path, ca_path, NULL, &err), 0);

    assert_int_equal(demand_manifest_verify(signature, manifest, sizeof(manifest) - 1, chain_path, other_path, NULL, &err), -1);
    assert_non_null(strstr(err.msg, "vouched"));
    /* providers and golem-sdk take the last certificate for the signer's */
    assert_int_equal(demand_manifest_verify(signature, manifest, sizeof(manifest) - 1, reversed_path, ca_path, NULL, &err), -1);
    assert_int_equal(err.code, GV_E_CORRUPT);
    assert_non_null(strstr(err.msg, "last"));
    assert_int_equal(demand_manifest_verify(signature, manifest, sizeof(manifest) - 2, reversed_path, NULL, NULL, &err), -1);
    assert_null(strstr(err.msg, "last"));
    assert_int_equal(demand_manifest_verify(signature, manifest, sizeof(manifest) - 2, chain_path, NULL, NULL, &err), -1);
    assert_int_equal(demand_manifest_verify(signature, manifest, sizeof(manifest) - 1, other_path, NULL, NULL, &err), -1);
    assert_int_equal(demand_manifest_verify(signature, manifest, sizeof(manifest) - 1, chain_path, NULL, "sha512", &err), -1);
    assert_int_equal(demand_manifest_verify("!!!", manifest, sizeof(manifest) - 1, chain_path, NULL, NULL, &err), -1);
    assert_int_equal(demand_manifest_verify("", manifest, sizeof(manifest) - 1, chain_path, NULL, NULL, &err), -1);
    assert_int_equal(demand_manifest_verify(signature, manifest, sizeof(manifest) - 1, key_path, NULL, NULL, &err), -1);

    cleanup_free char *again = NULL, *unused = NULL;
    assert_int_equal(demand_manifest_sign(&unused, manifest, sizeof(manifest) - 1, locked_path, NULL, NULL, &err), 1);
    assert_int_equal(demand_manifest_sign(&unused, manifest, sizeof(manifest) - 1, locked_path, "wrong", NULL, &err), -1);
    assert_int_equal(demand_manifest_sign(&again, manifest, sizeof(manifest) - 1, locked_path, "words", NULL, &err), 0);
    assert_string_equal(again, signature);
    assert_int_equal(demand_manifest_sign(&unused, manifest, sizeof(manifest) - 1, key_path, NULL, "no-such-digest", &err), -1);
    assert_int_equal(demand_manifest_sign(&unused, manifest, sizeof(manifest) - 1, chain_path, NULL, NULL, &err), -1);

    X509_free(ca_cert);
    X509_free(cert);
    X509_free(other_cert);
    EVP_PKEY_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    assert_int_equal(gv_remove_tree(dir, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_demand_json),
        cmocka_unit_test(test_lines_of_the_sdks),
        cmocka_unit_test(test_words_that_would_break_a_demand),
        cmocka_unit_test(test_manifest_made),
        cmocka_unit_test(test_manifests_judged),
        cmocka_unit_test(test_parts_of_manifests_judged),
        cmocka_unit_test(test_signature),
    };
    return cmocka_run_group_tests_name("demand", tests, NULL, NULL);
}
