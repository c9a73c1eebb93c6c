/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whole archives, from their own descriptions down to the layers. The input is a list of documents with lines of "%%" between them; "@N" in one
 * stands for the digest of document N and "#N" for its size, for N greater than its own number. Document 0 becomes index.json and manifest.json,
 * each of the others the blob of its digest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "source/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DOCUMENTS 8

struct document {
    struct gv_buf text;
    char hex[65];
};

static void add_member(struct gv_buf *tar, const char *name, const struct gv_buf *content)
{
    unsigned char h[512] = { 0 };
    snprintf((char *)h, 100, "%s", name);
    snprintf((char *)h + 100, 8, "%07o", 0644);
    snprintf((char *)h + 124, 12, "%011zo", content->len);
    memcpy(h + 257, "ustar\00000", 8);
    h[156] = '0';
    unsigned sum = 8 * ' ';
    for (size_t i = 0; i < 512; i++)
        sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum);
    gv_buf_add(tar, h, 512);
    gv_buf_add(tar, content->data, content->len);
    memset(h, 0, 512);
    gv_buf_add(tar, h, (512 - content->len % 512) % 512);
}

/* Fills in the references; those to documents before this one stay as they are. */
static void resolve(struct document *docs, size_t n, size_t self, const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        size_t ref = i + 1 < len && p[i + 1] >= '0' ? (size_t)(p[i + 1] - '0') : n;
        if ((p[i] != '@' && p[i] != '#') || ref <= self || ref >= n) {
            gv_buf_add(&docs[self].text, p + i, 1);
            continue;
        }
        if (p[i] == '@')
            gv_buf_addf(&docs[self].text, "sha256:%s", docs[ref].hex);
        else
            gv_buf_addf(&docs[self].text, "%zu", docs[ref].text.len);
        i++;
    }
    unsigned char hash[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, docs[self].text.data, docs[self].text.len, hash);
    gv_hex(docs[self].hex, hash, 32);
}

static void load(const struct gv_buf *tar, const char *transport)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || gv_write_full(fd, tar->data, tar->len) < 0)
        abort();
    struct source_image image = { 0 };
    struct source_options options = { .jobs = 1, .max_bytes = (uint64_t)1 << 24, .max_entries = 1000 };
    struct gv_error err = GV_ERROR_INIT;
    char reference[64];
    snprintf(reference, sizeof(reference), "%s/proc/self/fd/%d", transport, fd);
    if (source_load(&image, reference, &options, &err) < 0) {
        if (err.code == GV_OK || err.code == GV_E_INTERNAL || image.tree)
            abort();
    } else {
        char *config = image_config_format(&image.config);
        struct image_config again = { 0 };
        if (image_config_parse(&again, config, strlen(config), &err) < 0)
            abort();
        image_config_clear(&again);
        free(config);
    }
    source_image_clear(&image);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *start[DOCUMENTS];
    size_t len[DOCUMENTS], n = 0;
    for (const char *p = (const char *)data, *end = p + size; n < DOCUMENTS && p <= end; n++) {
        const char *next = memmem(p, (size_t)(end - p), "\n%%\n", 4);
        start[n] = p;
        len[n] = (size_t)((next ? next : end) - p);
        p = next ? next + 4 : end + 1;
    }
    struct document docs[DOCUMENTS] = { 0 };
    struct gv_buf tar = { 0 };
    for (size_t i = n; i-- > 0;)
        resolve(docs, n, i, start[i], len[i]);
    for (size_t i = 1; i < n; i++) {
        char name[100];
        snprintf(name, sizeof(name), "blobs/sha256/%s", docs[i].hex);
        add_member(&tar, name, &docs[i].text);
    }
    add_member(&tar, "index.json", &docs[0].text);
    add_member(&tar, "manifest.json", &docs[0].text);
    load(&tar, "oci-archive:");
    load(&tar, "docker-archive:");
    for (size_t i = 0; i < n; i++)
        gv_buf_clear(&docs[i].text);
    gv_buf_clear(&tar);
    return 0;
}
