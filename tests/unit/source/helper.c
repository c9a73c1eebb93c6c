/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "helper.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

static void put_octal(unsigned char *field, size_t n, uint64_t v)
{
    if (n < 22 && v >> (3 * (n - 1))) {
        /* base-256 */
        for (size_t i = n; i-- > 0; v >>= 8)
            field[i] = (unsigned char)v;
        field[0] = 0x80;
        return;
    }
    for (size_t i = n - 1; i-- > 0; v >>= 3)
        field[i] = (unsigned char)('0' + (v & 7));
    field[n - 1] = '\0';
}

void tarb_checksum(unsigned char block[512])
{
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++)
        sum += block[i];
    put_octal(block + 148, 7, sum);
}

void tarb_header(struct tarb *t, const struct tarb_member *m, unsigned char block[512])
{
    memset(block, 0, 512);
    char type = m->type ? m->type : '0';
    strncpy((char *)block, m->name, 100);
    if (m->link)
        strncpy((char *)block + 157, m->link, 100);
    put_octal(block + 100, 8, m->mode < 0 ? 0 : m->mode ? (uint64_t)m->mode : type == '5' ? 0755 : 0644);
    put_octal(block + 108, 8, m->uid);
    put_octal(block + 116, 8, m->gid);
    put_octal(block + 124, 12, m->said_size ? m->said_size : m->size);
    if (m->mtime < 0) {
        uint64_t v = (uint64_t)m->mtime;
        for (size_t i = 12; i-- > 0; v = (uint64_t)((int64_t)v >> 8))
            block[136 + i] = (unsigned char)v;
    } else {
        put_octal(block + 136, 12, (uint64_t)(m->mtime ? m->mtime : 1000));
    }
    block[156] = t->format == TARB_V7 && type == '0' ? 0 : (unsigned char)type;
    if (t->format == TARB_GNU)
        memcpy(block + 257, "ustar  \0", 8);
    else if (t->format != TARB_V7)
        memcpy(block + 257, "ustar\00000", 8);
    if (type == '3' || type == '4') {
        put_octal(block + 329, 8, m->major);
        put_octal(block + 337, 8, m->minor);
    }
    if (m->prefix)
        strncpy((char *)block + 345, m->prefix, 155);
    tarb_checksum(block);
}

void tarb_raw(struct tarb *t, const void *p, size_t n)
{
    gv_buf_reserve(&t->out, n);
    if (p && n)
        memcpy(t->out.data + t->out.len, p, n);
    else if (n)
        memset(t->out.data + t->out.len, 0, n);
    t->out.len += n;
}

void tarb_pad(struct tarb *t)
{
    tarb_raw(t, NULL, (512 - t->out.len % 512) % 512);
}

void tarb_record(struct tarb *t, const char *key, const char *value, size_t n)
{
    size_t body = strlen(key) + n + 3, len = body;
    for (;;) {
        char digits[32];
        size_t total = body + (size_t)snprintf(digits, sizeof(digits), "%zu", len);
        if (total == len)
            break;
        len = total;
    }
    gv_buf_addf(&t->pax, "%zu %s=", len, key);
    gv_buf_add(&t->pax, value, n);
    gv_buf_add(&t->pax, "\n", 1);
}

static void add_block(struct tarb *t, const struct tarb_member *m)
{
    unsigned char block[512];
    tarb_header(t, m, block);
    tarb_raw(t, block, 512);
    tarb_raw(t, m->data, m->size);
    tarb_pad(t);
}

static void long_name(struct tarb *t, char type, const char *name)
{
    add_block(t, &(struct tarb_member){ .name = "././@LongLink", .type = type, .data = name, .size = strlen(name) + 1 });
}

void tarb_add(struct tarb *t, const struct tarb_member *m)
{
    bool long_path = strlen(m->name) > 100, long_link = m->link && strlen(m->link) > 100;
    if (t->format == TARB_GNU && long_path)
        long_name(t, 'L', m->name);
    if (t->format == TARB_GNU && long_link)
        long_name(t, 'K', m->link);
    if (t->format == TARB_PAX && long_path)
        tarb_record(t, "path", m->name, strlen(m->name));
    if (t->format == TARB_PAX && long_link)
        tarb_record(t, "linkpath", m->link, strlen(m->link));
    if (t->pax.len) {
        add_block(t, &(struct tarb_member){ .name = "pax", .type = 'x', .data = t->pax.data, .size = t->pax.len });
        t->pax.len = 0;
    }
    add_block(t, m);
}

void tarb_end(struct tarb *t)
{
    tarb_raw(t, NULL, 1024);
}

void tarb_clear(struct tarb *t)
{
    gv_buf_clear(&t->out);
    gv_buf_clear(&t->pax);
}

static void text_attributes(struct tarb *t, struct tarb_member *m, char *s)
{
    char *save = NULL;
    for (char *a = strtok_r(s, " ", &save); a; a = strtok_r(NULL, " ", &save)) {
        assert_true(a[0] && a[1] == '=');
        if (a[0] == 'm') {
            m->mode = (int)strtol(a + 2, NULL, 8);
            if (!m->mode)
                m->mode = -1;
        } else if (a[0] == 'u') {
            m->uid = strtoull(a + 2, NULL, 10);
        } else if (a[0] == 'g') {
            m->gid = strtoull(a + 2, NULL, 10);
        } else if (a[0] == 't') {
            m->mtime = strtoll(a + 2, NULL, 10);
        } else if (a[0] == 'x') {
            char *colon = strchr(a, ':');
            assert_non_null(colon);
            *colon = '\0';
            char *key = gv_asprintf("SCHILY.xattr.%s", a + 2);
            tarb_record(t, key, colon + 1, strlen(colon + 1));
            free(key);
        } else {
            fail_msg("unknown attribute %s", a);
        }
    }
}

static void text_line(struct tarb *t, char *line)
{
    struct tarb_member m = { 0 };
    char *attributes = strstr(line, " | ");
    if (attributes) {
        *attributes = '\0';
        text_attributes(t, &m, attributes + 3);
    }
    char *save = NULL, *type = strtok_r(line, " ", &save), *name = strtok_r(NULL, " ", &save), *arg = strtok_r(NULL, " ", &save);
    assert_non_null(type);
    assert_non_null(name);
    m.name = name;
    switch (type[0]) {
    case 'd':
        m.type = '5';
        break;
    case 'f':
        m.data = arg;
        m.size = arg ? strlen(arg) : 0;
        break;
    case 'l':
        m.type = '2';
        m.link = arg;
        m.mode = 0777;
        break;
    case 'h':
        m.type = '1';
        m.link = arg;
        break;
    case 'c':
    case 'b':
        m.type = type[0] == 'c' ? '3' : '4';
        m.major = (unsigned)strtoul(arg, NULL, 10);
        m.minor = (unsigned)strtoul(strtok_r(NULL, " ", &save), NULL, 10);
        break;
    case 'p':
        m.type = '6';
        break;
    default:
        fail_msg("unknown entry %s", type);
    }
    tarb_add(t, &m);
}

void tarb_text(struct tarb *t, const char *text)
{
    char *copy = gv_strdup(text), *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        line += strspn(line, " ");
        if (*line)
            text_line(t, line);
    }
    free(copy);
}

char *temp_make(void)
{
    const char *base = getenv("TMPDIR");
    char *dir = gv_asprintf("%s/gvmkit-test-XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(dir));
    return dir;
}

void temp_remove(char *dir)
{
    assert_int_equal(gv_remove_tree(dir, NULL), 0);
    free(dir);
}

void write_file(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    if (n)
        assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

char *path_in(const char *dir, const char *name)
{
    return gv_asprintf("%s/%s", dir, name);
}

void gzip_into(struct gv_buf *out, const void *p, size_t n)
{
    z_stream z = { 0 };
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t room = deflateBound(&z, n) + 64;
    gv_buf_reserve(out, room);
    z.next_in = (Bytef *)(uintptr_t)p;
    z.avail_in = (uInt)n;
    z.next_out = out->data + out->len;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out->len += z.total_out;
    deflateEnd(&z);
}

void zstd_into(struct gv_buf *out, const void *p, size_t n)
{
    size_t room = ZSTD_compressBound(n);
    gv_buf_reserve(out, room);
    size_t got = ZSTD_compress(out->data + out->len, room, p, n, 3);
    assert_false(ZSTD_isError(got));
    out->len += got;
}

static void hex_digest(char out[65], const void *p, size_t n)
{
    unsigned char hash[GV_HASH_MAX];
    gv_hash_bytes(GV_HASH_SHA256, p, n, hash);
    gv_hex(out, hash, 32);
}

void write_docker_archive(const char *path, const struct layer_bytes *layers, size_t count, const char *tag)
{
    struct tarb t = { 0 };
    struct gv_buf config = { 0 }, manifest = { 0 };
    char hex[65];
    gv_buf_addf(&config, "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"/bin/sh\"]},"
                         "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[");
    for (size_t i = 0; i < count; i++) {
        const struct layer_bytes *l = &layers[i];
        hex_digest(hex, l->uncompressed ? l->uncompressed : l->p, l->uncompressed ? l->uncompressed_n : l->n);
        gv_buf_addf(&config, "%s\"sha256:%s\"", i ? "," : "", hex);
    }
    gv_buf_addf(&config, "]}}");
    hex_digest(hex, config.data, config.len);
    gv_buf_addf(&manifest, "[{\"Config\":\"%s.json\",\"RepoTags\":[\"%s\"],\"Layers\":[", hex, tag);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof(name), "%zu/layer.tar", i);
        gv_buf_addf(&manifest, "%s\"%s\"", i ? "," : "", name);
        tarb_add(&t, &(struct tarb_member){ .name = name, .data = layers[i].p, .size = layers[i].n });
    }
    gv_buf_addf(&manifest, "]}]");
    char *name = gv_asprintf("%s.json", hex);
    tarb_add(&t, &(struct tarb_member){ .name = name, .data = config.data, .size = config.len });
    tarb_add(&t, &(struct tarb_member){ .name = "manifest.json", .data = manifest.data, .size = manifest.len });
    tarb_end(&t);
    write_file(path, t.out.data, t.out.len);
    free(name);
    gv_buf_clear(&config);
    gv_buf_clear(&manifest);
    tarb_clear(&t);
}

int load_layers(struct source_image *out, const char *const *layers, size_t count, struct gv_error *err)
{
    struct layer_bytes bytes[16] = { 0 };
    struct tarb tars[16] = { 0 };
    struct gv_buf packed[16] = { 0 };
    assert_true(count <= 16);
    for (size_t i = 0; i < count; i++) {
        tarb_text(&tars[i], layers[i]);
        tarb_end(&tars[i]);
        bytes[i] = (struct layer_bytes){ .p = tars[i].out.data, .n = tars[i].out.len };
        if (i % 3 == 0)
            continue;
        /* Some plain, some compressed: the rules are the same. */
        bytes[i].uncompressed = (const char *)tars[i].out.data;
        bytes[i].uncompressed_n = tars[i].out.len;
        (i % 3 == 1 ? gzip_into : zstd_into)(&packed[i], tars[i].out.data, tars[i].out.len);
        bytes[i].p = packed[i].data;
        bytes[i].n = packed[i].len;
    }
    char *dir = temp_make(), *path = path_in(dir, "image.tar");
    write_docker_archive(path, bytes, count, "test:latest");
    int status = source_load(out, path, &(struct source_options){ .absolute_names = true }, err);
    free(path);
    temp_remove(dir);
    for (size_t i = 0; i < count; i++) {
        tarb_clear(&tars[i]);
        gv_buf_clear(&packed[i]);
    }
    return status;
}

static void inode_text(struct gv_buf *b, struct image_tree *t, const struct image_inode *i)
{
    switch ((enum image_type)i->type) {
    case IMAGE_FILE: {
        assert_true(i->size < 1 << 20);
        char *data = gv_alloc(i->size + 1);
        struct gv_error err = GV_ERROR_INIT;
        if (image_tree_read(t, i, 0, data, i->size, &err) < 0)
            fail_msg("cannot read: %s", err.msg);
        gv_buf_addf(b, " f%s", i->size ? " " : "");
        gv_buf_add(b, data, i->size);
        free(data);
        break;
    }
    case IMAGE_DIR:
        gv_buf_addf(b, " d");
        break;
    case IMAGE_SYMLINK:
        gv_buf_addf(b, " l %s", i->u.target);
        assert_int_equal(i->size, strlen(i->u.target));
        break;
    case IMAGE_CHAR:
    case IMAGE_BLOCK:
        gv_buf_addf(b, " %c %u:%u", i->type == IMAGE_CHAR ? 'c' : 'b', i->u.rdev.major, i->u.rdev.minor);
        break;
    case IMAGE_FIFO:
        gv_buf_addf(b, " p");
        break;
    case IMAGE_SOCKET:
        gv_buf_addf(b, " s");
        break;
    }
    unsigned plain = i->type == IMAGE_DIR ? 0755 : i->type == IMAGE_SYMLINK ? 0777 : 0644;
    if (i->mode != plain)
        gv_buf_addf(b, " m=%o", i->mode);
    if (i->uid)
        gv_buf_addf(b, " u=%u", i->uid);
    if (i->gid)
        gv_buf_addf(b, " g=%u", i->gid);
    if (i->mtime != 1000)
        gv_buf_addf(b, " t=%" PRId64, i->mtime);
    for (uint32_t k = 0; k < i->xattr_count; k++)
        gv_buf_addf(b, " x=%s:%.*s", i->xattrs[k].name, (int)i->xattrs[k].size, (const char *)i->xattrs[k].value);
}

static void node_text(struct gv_buf *b, struct image_tree *t, struct image_node *n, struct gv_strv *seen)
{
    char *path = image_node_path(n);
    struct image_inode *i = n->inode;
    bool plain_root = n->parent == n && i->mode == 0755 && !i->uid && !i->gid && !i->mtime && !i->xattr_count;
    if (i->user && i->type != IMAGE_DIR) {
        gv_buf_addf(b, "%s = %s\n", path, (const char *)i->user);
    } else if (!plain_root) {
        gv_buf_addf(b, "%s", path);
        inode_text(b, t, i);
        gv_buf_addf(b, "\n");
        gv_strv_add(seen, path);
        i->user = seen->items[seen->count - 1];
    }
    free(path);
    size_t count = image_node_child_count(n);
    struct image_node **children = image_node_children(n);
    for (size_t k = 0; k < count; k++)
        node_text(b, t, children[k], seen);
    free(children);
}

static void forget(struct image_node *n)
{
    n->inode->user = NULL;
    size_t count = image_node_child_count(n);
    struct image_node **children = image_node_children(n);
    for (size_t k = 0; k < count; k++)
        forget(children[k]);
    free(children);
}

char *tree_text(struct image_tree *t)
{
    struct gv_buf b = { 0 };
    struct gv_strv seen = { 0 };
    node_text(&b, t, image_tree_root(t), &seen);
    forget(image_tree_root(t));
    gv_strv_clear(&seen);
    gv_buf_str(&b);
    return (char *)b.data;
}
