/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whole archives, from their own descriptions down to the layers. Of the input's documents (documents.h) the first becomes index.json
 * and manifest.json, each of the others the blob of its digest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "documents.h"
#include "source/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    struct document docs[DOCUMENTS] = { 0 };
    size_t n = documents_read(docs, data, size);
    struct gv_buf tar = { 0 };
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
