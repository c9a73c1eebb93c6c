/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One archive, three readers. Archives are put together at random from headers that have been read in different ways by different programs (sizes
 * in the header and in pax, records in front of long names, sizes for what has no data, old forms of numbers and types), and what our reader takes
 * must be what libarchive and GNU tar take: the same members with the same attributes and the same content. To refuse is always allowed.
 * GVMKIT_TEST_ROUNDS=N makes it go on for longer.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "source/tar.h"
#include "tar_text.h"

/* ---- random archives ---- */

static uint32_t dice;

static unsigned roll(unsigned n)
{
    dice = dice * 1664525 + 1013904223;
    return (dice >> 8) % n;
}

/* Octal with a border of blanks, zeros or nothing, or base-256. */
static void number(unsigned char *field, size_t n, uint64_t v)
{
    char text[32];
    memset(field, 0, n);
    switch (roll(8)) {
    case 0: /* full width, no end */
        snprintf(text, sizeof(text), "%0*" PRIo64, (int)n, v);
        break;
    case 1: /* blanks before it and one behind it */
        snprintf(text, sizeof(text), "%*" PRIo64 " ", (int)n - 1, v);
        break;
    case 2:
        snprintf(text, sizeof(text), "%" PRIo64, v);
        break;
    case 3:
        for (size_t i = n; i-- > 1; v >= 8 ? (void)(v >>= 8) : (void)(v = v >> 8))
            field[i] = (unsigned char)v;
        field[0] = 0x80;
        return;
    default:
        snprintf(text, sizeof(text), "%0*" PRIo64, (int)n - 1, v);
    }
    memcpy(field, text, strlen(text) < n ? strlen(text) : n);
}

static const char *some_name(char out[300])
{
    static const char *const names[] = {
        "a", "b", "d/", "d/e", "./f", "g//h", "i/./j", "k ", "l\xc3\xa4", "m/n/", ".", "./", "--o", "p:q"
    };
    unsigned k = roll(20);
    if (k < sizeof(names) / sizeof(*names)) {
        snprintf(out, 300, "%s", names[k]);
    } else {
        unsigned n = 90 + roll(180);
        for (unsigned i = 0; i < n; i++)
            out[i] = i % 50 == 49 ? '/' : (char)('a' + roll(26));
        out[n] = '\0';
    }
    return out;
}

static void data_block(struct tarb *t, char type, const char *name, const void *p, size_t n)
{
    tarb_add(t, &(struct tarb_member){ .name = name, .type = type, .data = p, .size = n });
}

static void pax(struct tarb *t, char type, uint64_t size, struct gv_buf *body)
{
    char name[300], text[32];
    struct tarb records = { 0 };
    for (unsigned i = 0, n = roll(4); i < n; i++) {
        switch (roll(9)) {
        case 0:
            some_name(name);
            tarb_record(&records, "path", name, strlen(name));
            break;
        case 1:
            some_name(name);
            tarb_record(&records, "linkpath", name, strlen(name));
            break;
        case 2:
        case 3:
            snprintf(text, sizeof(text), "%" PRIu64, roll(3) ? size : (uint64_t)roll(2000));
            tarb_record(&records, "size", text, strlen(text));
            break;
        case 4:
            tarb_record(&records, "uid", "70000", 5);
            break;
        case 5: /* of a global one, GNU tar takes it for all members, and the others do not */
            if (type == 'x')
                tarb_record(&records, "mtime", "1234567890", 10);
            break;
        case 6:
            tarb_record(&records, "comment", "10 path=x", 9);
            break;
        case 7:
            tarb_record(&records, roll(8) ? "ctime" : roll(2) ? "path" : "size", "", 0);
            break;
        default:
            tarb_record(&records, "atime", "5", 1);
        }
    }
    gv_buf_add(body, records.pax.data, records.pax.len);
    data_block(t, type, roll(2) ? "pax" : "dir/PaxHeaders/name", body->data, body->len);
    body->len = 0;
    tarb_clear(&records);
}

/* A header with its data, the data possibly missing or not announced. */
static void member(struct tarb *t, uint64_t size)
{
    static const char types[] = "00000\0\0112223455567";
    char name[300], link[300];
    unsigned char block[512];
    t->format = (enum tarb_format)roll(4);
    char type = types[roll(sizeof(types) - 1)];
    struct tarb_member m = { .name = some_name(name), .type = type ? type : '0', .mode = (int)roll(010000), .major = 8, .minor = 1 };
    if (type == '1' || type == '2' || roll(20) == 0)
        m.link = some_name(link);
    tarb_header(t, &m, block);
    if (!type)
        block[156] = 0;
    bool file = type == '0' || !type || type == '7';
    uint64_t said = file ? (roll(12) ? size : (uint64_t)roll(1600)) : roll(12) ? 0 : size;
    number(block + 124, 12, said);
    number(block + 108, 8, roll(2) ? 0 : roll(100000));
    number(block + 136, 12, roll(2) ? 1000 : 1700000000);
    if (t->format == TARB_USTAR && roll(4) == 0)
        memcpy(block + 345, "pre/fix", 7);
    tarb_checksum(block);
    tarb_raw(t, block, 512);
    if (file || (said && roll(2))) {
        char data[1600];
        for (size_t i = 0; i < size; i++)
            data[i] = (char)('a' + i % 26);
        tarb_raw(t, data, size);
        tarb_pad(t);
    }
}

static void random_archive(struct tarb *t)
{
    struct gv_buf body = { 0 };
    char name[300];
    for (unsigned i = 0, n = 1 + roll(4); i < n; i++) {
        uint64_t size = roll(3) ? roll(1500) : 512 * (uint64_t)roll(3);
        t->format = (enum tarb_format)roll(4);
        for (unsigned k = roll(10); k < 3; k++) {
            switch (roll(6)) {
            case 0:
            case 1:
                pax(t, 'x', size, &body);
                break;
            case 2:
                pax(t, 'g', size, &body);
                break;
            case 3:
            case 4:
                some_name(name);
                data_block(t, roll(3) ? 'L' : 'K', roll(4) ? "././@LongLink" : "other", name, strlen(name) + roll(2));
                break;
            default:
                break;
            }
        }
        member(t, size);
        if (roll(40) == 0)
            tarb_raw(t, NULL, 512);
    }
    unsigned ends = roll(10) ? roll(4) : 0;
    tarb_raw(t, NULL, 512 * (size_t)ends);
    if (ends >= 2 && roll(5) == 0)
        tarb_raw(t, "junk at the end", 15);
    gv_buf_clear(&body);
}

/* ---- as GNU tar lists and extracts it ---- */

static void strip_slashes(char *s)
{
    for (size_t n = strlen(s); n > 1 && s[n - 1] == '/';)
        s[--n] = '\0';
}

/* "-rw-r--r-- 0/0 5 1970-01-01 00:16:40 name", as tar -tv writes it but with single blanks. */
static void our_line(struct gv_buf *out, const struct tar_entry *e)
{
    static const char letters[] = { [TAR_FILE] = '-',     [TAR_HARDLINK] = 'h', [TAR_SYMLINK] = 'l', [TAR_CHAR] = 'c',
                                    [TAR_BLOCKDEV] = 'b', [TAR_DIR] = 'd',      [TAR_FIFO] = 'p' };
    char mode[11] = "?rwxrwxrwx", when[64];
    mode[0] = letters[e->type];
    for (int i = 0; i < 9; i++)
        if (!(e->mode >> (8 - i) & 1))
            mode[1 + i] = '-';
    static const char special[] = { 't', 's', 's' };
    for (int i = 0; i < 3; i++)
        if (e->mode >> (9 + i) & 1)
            mode[9 - 3 * i] = mode[9 - 3 * i] == 'x' ? special[i] : (char)(special[i] - 32);
    time_t t = (time_t)e->mtime;
    struct tm tm;
    strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", gmtime_r(&t, &tm));
    gv_buf_addf(out, "%s %u/%u ", mode, e->uid, e->gid);
    if (e->type == TAR_CHAR || e->type == TAR_BLOCKDEV)
        gv_buf_addf(out, "%u,%u", e->major, e->minor);
    else
        gv_buf_addf(out, "%" PRIu64, e->type == TAR_FILE ? e->size : 0);
    char *path = gv_strdup(e->path);
    strip_slashes(path);
    gv_buf_addf(out, " %s %s", when, path);
    if (e->type == TAR_HARDLINK)
        gv_buf_addf(out, " link to %s", e->link);
    if (e->type == TAR_SYMLINK)
        gv_buf_addf(out, " -> %s", e->link);
    gv_buf_addf(out, "\n");
    free(path);
}

static void our_listing(const char *path, size_t n, struct gv_buf *list, struct gv_buf *data)
{
    FILE *f = fopen(path, "r");
    struct stream *s = stream_file_new(fileno(f), 0, n);
    struct tar_reader *r = tar_reader_new(s);
    struct tar_entry e;
    while (tar_reader_next(r, &e, NULL) > 0) {
        our_line(list, &e);
        if (e.type != TAR_FILE)
            continue;
        assert_true(e.size < 100000);
        gv_buf_reserve(data, e.size);
        for (uint64_t left = e.size; left;) {
            ssize_t got = tar_reader_data(r, data->data + data->len, left, NULL);
            assert_true(got > 0);
            data->len += (size_t)got;
            left -= (uint64_t)got;
        }
    }
    gv_buf_str(list);
    tar_reader_free(r);
    stream_close(s);
    fclose(f);
}

static void output_of(const char *command, struct gv_buf *out)
{
    FILE *p = popen(command, "r");
    assert_non_null(p);
    char buf[4096];
    size_t n;
    while ((n = fread(buf, 1, sizeof(buf), p)) > 0)
        gv_buf_add(out, buf, n);
    pclose(p);
    gv_buf_str(out);
}

static void gnu_listing(const char *path, struct gv_buf *list, struct gv_buf *data)
{
    struct gv_buf raw = { 0 };
    char *command = gv_asprintf("TZ=UTC LC_ALL=C tar --numeric-owner --full-time --quoting-style=literal -tvf '%s' 2>/dev/null", path);
    output_of(command, &raw);
    free(command);
    char *save = NULL;
    for (char *line = strtok_r((char *)raw.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char mode[16], owner[64], size[64], day[32], hour[32];
        int at = 0;
        if (sscanf(line, "%15s %63s %63s %31s %31s%n", mode, owner, size, day, hour, &at) != 5)
            fail_msg("GNU tar says: %s", line);
        if (mode[0] == 'C') /* contiguous */
            mode[0] = '-';
        char *name = line + at + 1, *link = strstr(name, mode[0] == 'h' ? " link to " : " -> ");
        bool has_link = link && (mode[0] == 'h' || mode[0] == 'l');
        if (has_link)
            *link = '\0';
        strip_slashes(name);
        gv_buf_addf(list, "%s %s %s %s %s %s", mode, owner, mode[0] == '-' || mode[0] == 'c' || mode[0] == 'b' ? size : "0", day, hour,
                    name);
        if (has_link)
            gv_buf_addf(list, "%s%s", mode[0] == 'h' ? " link to " : " -> ", link + (mode[0] == 'h' ? 9 : 4));
        gv_buf_addf(list, "\n");
    }
    gv_buf_str(list);
    gv_buf_clear(&raw);
    command = gv_asprintf("LC_ALL=C tar -xOf '%s' 2>/dev/null", path);
    output_of(command, data);
    free(command);
}

static bool is_gnu_tar_there(void)
{
    if (system("tar --version 2>/dev/null | grep -q 'GNU tar'") == 0)
        return true;
    print_message("# no GNU tar\n");
    return false;
}

static void compare_with_gnu(const char *what, const char *path, const struct tarb *t)
{
    struct gv_buf ours = { 0 }, theirs = { 0 }, our_data = { 0 }, their_data = { 0 };
    write_file(path, t->out.data, t->out.len);
    our_listing(path, t->out.len, &ours, &our_data);
    gnu_listing(path, &theirs, &their_data);
    if (strcmp((char *)ours.data, (char *)theirs.data) != 0)
        fail_msg("%s: we read\n%sGNU tar reads\n%s", what, (char *)ours.data, (char *)theirs.data);
    if (our_data.len != their_data.len || (our_data.len && memcmp(our_data.data, their_data.data, our_data.len) != 0))
        fail_msg("%s: we read %zu bytes, GNU tar %zu others, of\n%s", what, our_data.len, their_data.len, (char *)ours.data);
    gv_buf_clear(&ours);
    gv_buf_clear(&theirs);
    gv_buf_clear(&our_data);
    gv_buf_clear(&their_data);
}

static void with_all_readers(unsigned first, unsigned count, bool gnu)
{
    char *dir = temp_make(), *path = path_in(dir, "random.tar"), what[32];
    unsigned taken = 0;
    for (unsigned seed = first; seed < first + count; seed++) {
        struct tarb t = { 0 };
        struct gv_buf text = { 0 };
        dice = seed;
        random_archive(&t);
        if (our_text(t.out.data, t.out.len, &text, false, NULL) == 0) {
            taken++;
            snprintf(what, sizeof(what), "archive %u", seed);
            compare_readers(what, t.out.data, t.out.len, true, NULL);
            if (gnu)
                compare_with_gnu(what, path, &t);
        }
        gv_buf_clear(&text);
        tarb_clear(&t);
    }
    print_message("# %u of %u archives are read\n", taken, count);
    assert_true(taken > count / 5);
    free(path);
    temp_remove(dir);
}

static void test_libarchive_at_random(void **state)
{
    (void)state;
    const char *more = getenv("GVMKIT_TEST_ROUNDS");
    with_all_readers(1, more ? (unsigned)atoi(more) : 5000, false);
}

static void test_gnu_tar_at_random(void **state)
{
    (void)state;
    const char *more = getenv("GVMKIT_TEST_ROUNDS");
    if (!is_gnu_tar_there())
        skip();
    with_all_readers(1000000, more ? (unsigned)atoi(more) / 10 : 400, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_libarchive_at_random),
        cmocka_unit_test(test_gnu_tar_at_random),
    };
    return cmocka_run_group_tests_name("source_edge_tar", tests, NULL, NULL);
}
