/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signatures of manifests, by OpenSSL: over the base64 text of the file, which is what a demand carries and a provider verifies. Of several
 * certificates in a file the last is the signer's, and those before it lead to the CA: so providers and golem-sdk read them.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <string.h>

#include "demand/demand.h"

#define SIGNATURE_MAX 8192U
#define CERTIFICATES_MAX 64

DEFINE_CLEANUP(key, EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(context, EVP_MD_CTX *, EVP_MD_CTX_free)
DEFINE_CLEANUP(bio, BIO *, BIO_free_all)
DEFINE_CLEANUP(store, X509_STORE *, X509_STORE_free)
DEFINE_CLEANUP(store_context, X509_STORE_CTX *, X509_STORE_CTX_free)

static void free_stack(STACK_OF(X509) * s)
{
    sk_X509_pop_free(s, X509_free);
}
DEFINE_CLEANUP(stack, STACK_OF(X509) *, free_stack)

/* Its errors stay in a queue of the thread, where the next call would find them. */
static int openssl_failed(struct gv_error *err, enum gv_code code, const char *what)
{
    unsigned long e = ERR_peek_last_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    gv_error_set(err, code, 0, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
    ERR_clear_error();
    return -1;
}

struct password {
    const char *text;
    bool wanted;
};

static int give_password(char *buf, int size, int writing, void *user)
{
    struct password *p = user;
    (void)writing;
    p->wanted = true;
    if (!p->text || strlen(p->text) > (size_t)size)
        return -1;
    memcpy(buf, p->text, strlen(p->text));
    return (int)strlen(p->text);
}

static const EVP_MD *digest_by_name(const char *name, struct gv_error *err)
{
    const EVP_MD *md = EVP_get_digestbyname(name ? name : "sha256");
    if (!md)
        gv_error_set(err, GV_E_USAGE, 0, "there is no digest `%s`; try sha256", name);
    return md;
}

/* Keys of Ed25519 hash by themselves: then a named digest would be an error. */
static const EVP_MD *digest_for(const EVP_PKEY *key, const EVP_MD *md)
{
    return EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448") ? NULL : md;
}

int demand_manifest_sign(char **signature, const void *manifest, size_t n, const char *key_path, const char *password, const char *digest,
                         struct gv_error *err)
{
    const EVP_MD *md = digest_by_name(digest, err);
    cleanup_buf struct gv_buf pem = { 0 };
    struct password p = { .text = password };
    if (!md || gv_read_file(key_path, DEMAND_MANIFEST_MAX, &pem, err) < 0)
        return -1;
    CLEANUP(bio) BIO *in = BIO_new_mem_buf(pem.data, (int)pem.len);
    CLEANUP(key) EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, give_password, &p) : NULL;
    explicit_bzero(pem.data, pem.len);
    if (!key && p.wanted && !password) {
        ERR_clear_error();
        return 1;
    }
    if (!key) {
        openssl_failed(err, GV_E_FORMAT, p.wanted ? "the password is wrong" : "this is no private key in PEM");
        return gv_error_prefix(err, "%s", key_path);
    }
    cleanup_free char *text = demand_base64(manifest, n);
    unsigned char out[SIGNATURE_MAX];
    size_t size = sizeof(out);
    CLEANUP(context) EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (!c || EVP_DigestSignInit(c, NULL, digest_for(key, md), NULL, key) != 1 ||
        EVP_DigestSign(c, out, &size, (const unsigned char *)text, strlen(text)) != 1) {
        openssl_failed(err, GV_E_UNSUPPORTED, "the key cannot sign");
        return gv_error_prefix(err, "%s", key_path);
    }
    *signature = demand_base64(out, size);
    return 0;
}

/* All certificates of a file, in PEM, or the one in DER. */
static int read_certificates(STACK_OF(X509) * *out, const char *path, struct gv_error *err)
{
    cleanup_buf struct gv_buf bytes = { 0 };
    CLEANUP(stack) STACK_OF(X509) *list = sk_X509_new_null();
    if (gv_read_file(path, DEMAND_MANIFEST_MAX, &bytes, err) < 0)
        return -1;
    CLEANUP(bio) BIO *in = BIO_new_mem_buf(bytes.data, (int)bytes.len);
    for (X509 *x; in && list && sk_X509_num(list) < CERTIFICATES_MAX && (x = PEM_read_bio_X509(in, NULL, NULL, NULL));)
        sk_X509_push(list, x);
    ERR_clear_error(); /* the end of the file is an error to it */
    if (list && sk_X509_num(list) == 0) {
        const unsigned char *at = bytes.data;
        X509 *x = bytes.len ? d2i_X509(NULL, &at, (long)bytes.len) : NULL;
        if (x)
            sk_X509_push(list, x);
        ERR_clear_error();
    }
    if (!list || sk_X509_num(list) == 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "%s: there is no certificate in it, neither PEM nor DER", path);
    *out = steal_ptr(list);
    return 0;
}

static int check_chain(STACK_OF(X509) * chain, const char *ca_path, struct gv_error *err)
{
    CLEANUP(stack) STACK_OF(X509) *roots = NULL;
    if (read_certificates(&roots, ca_path, err) < 0)
        return -1;
    CLEANUP(store) X509_STORE *store = X509_STORE_new();
    CLEANUP(store_context) X509_STORE_CTX *c = X509_STORE_CTX_new();
    if (!store || !c)
        return openssl_failed(err, GV_E_INTERNAL, "cannot check certificates");
    for (int i = 0; i < sk_X509_num(roots); i++)
        X509_STORE_add_cert(store, sk_X509_value(roots, i));
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN); /* a provider's keystore may hold any certificate of the chain */
    if (X509_STORE_CTX_init(c, store, sk_X509_value(chain, sk_X509_num(chain) - 1), chain) != 1)
        return openssl_failed(err, GV_E_INTERNAL, "cannot check certificates");
    if (X509_verify_cert(c) == 1)
        return 0;
    ERR_clear_error();
    return gv_error_set(err, GV_E_CORRUPT, 0, "the certificate is not vouched for by `%s`: %s", ca_path,
                        X509_verify_cert_error_string(X509_STORE_CTX_get_error(c)));
}

/* Base64 with white space around and in it. Returns the length, or -1. */
static int decode(const char *text, unsigned char *out, size_t size)
{
    EVP_ENCODE_CTX *c = EVP_ENCODE_CTX_new();
    int n = 0, more = 0;
    size_t length = strlen(text);
    if (!c || length > size) {
        EVP_ENCODE_CTX_free(c);
        return -1;
    }
    EVP_DecodeInit(c);
    bool good = EVP_DecodeUpdate(c, out, &n, (const unsigned char *)text, (int)length) >= 0 && EVP_DecodeFinal(c, out + n, &more) == 1;
    EVP_ENCODE_CTX_free(c);
    return good ? n + more : -1;
}

/* 1: the text has this signature by the certificate's key; 0: it has not; -1: such a key cannot verify. */
static int signed_by(const X509 *x, const EVP_MD *md, const unsigned char *signature, int size, const char *text)
{
    EVP_PKEY *key = X509_get0_pubkey(x);
    CLEANUP(context) EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (!key || !c || EVP_DigestVerifyInit(c, NULL, digest_for(key, md), NULL, key) != 1)
        return -1;
    return EVP_DigestVerify(c, signature, (size_t)size, (const unsigned char *)text, strlen(text)) == 1;
}

int demand_manifest_verify(const char *signature, const void *manifest, size_t n, const char *certificate_path, const char *ca_path,
                           const char *digest, struct gv_error *err)
{
    const EVP_MD *md = digest_by_name(digest, err);
    unsigned char bytes[SIGNATURE_MAX];
    CLEANUP(stack) STACK_OF(X509) *chain = NULL;
    if (!md || read_certificates(&chain, certificate_path, err) < 0)
        return -1;
    int size = decode(signature, bytes, sizeof(bytes));
    if (size <= 0)
        return gv_error_set(err, GV_E_FORMAT, 0, "the signature is no base64");
    cleanup_free char *text = demand_base64(manifest, n);
    int last = sk_X509_num(chain) - 1, is = signed_by(sk_X509_value(chain, last), md, bytes, size, text);
    if (is < 0)
        return openssl_failed(err, GV_E_UNSUPPORTED, "the certificate's key cannot verify");
    bool by_another = false;
    for (int i = 0; !is && i < last; i++)
        by_another |= signed_by(sk_X509_value(chain, i), md, bytes, size, text) == 1;
    ERR_clear_error();
    if (by_another)
        return gv_error_set(err, GV_E_CORRUPT, 0,
                            "the signature is by another certificate of `%s` than the last: providers take the last for the signer's; "
                            "put it behind those that vouch for it",
                            certificate_path);
    if (!is)
        return gv_error_set(err, GV_E_CORRUPT, 0, "the signature is not of this manifest by the key of `%s`", certificate_path);
    return ca_path ? check_chain(chain, ca_path, err) : 0;
}
