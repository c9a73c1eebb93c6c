/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Everything of a request that is taken apart by us: the first byte says as what. */
#include <assert.h>
#include <string.h>

#include "serve/descriptor.h"
#include "serve/form.h"
#include "serve/limits.h"
#include "serve/names.h"
#include "serve/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_SIZE 100000

static void check_descriptor(const uint8_t *data, size_t size)
{
    struct descriptor d;
    if (descriptor_parse(data, size, &d, NULL) < 0)
        return;
    assert(d.chunks > 0 && d.chunks <= DESCRIPTOR_CHUNKS_MAX && DESCRIPTOR_HEAD + (size_t)d.chunks * GV_SHA256_SIZE == size);
    uint64_t total = 0;
    for (uint32_t i = 0; i < d.chunks; i++) {
        uint64_t length = descriptor_chunk_length(&d, i);
        assert(length > 0 && length <= d.chunk_size && total == d.chunk_size * i);
        total += length;
    }
    assert(total == d.size);
}

static void check_ranges(const char *text)
{
    struct range ranges[RANGES_MAX];
    uint64_t total = 0;
    int count = ranges_parse(text, FILE_SIZE, ranges);
    assert(count >= -1 && count <= RANGES_MAX);
    for (int i = 0; i < count; i++) {
        assert(ranges[i].length > 0 && ranges[i].start < FILE_SIZE && ranges[i].length <= FILE_SIZE - ranges[i].start);
        total += ranges[i].length;
    }
    assert(total <= FILE_SIZE);
    assert(ranges_parse(text, 0, ranges) <= 0);
}

static void check_conditions(const char *text)
{
    const struct conditions tags = { .if_match = text, .if_none_match = text, .if_range = text };
    const struct conditions dates = { .if_modified_since = text, .if_unmodified_since = text };
    int status = conditions_check(&tags, "\"etag\"", 784111777);
    assert(status == 200 || status == 304 || status == 412);
    conditions_range(&tags, "\"etag\"", 784111777);
    conditions_check(&dates, "\"etag\"", 784111777);
    int64_t seconds = http_date_parse(text);
    if (seconds >= 0) {
        char again[HTTP_DATE_SIZE];
        http_date_format(again, seconds);
        assert(strcmp(again, text) == 0);
    }
}

static void check_names(const char *text)
{
    struct reference ref;
    struct address a;
    uint64_t number;
    if (reference_parse(text, &ref, NULL) == 0)
        assert(name_valid(ref.user, NAME_MAX_USER) && name_valid(ref.repo, NAME_MAX_USER) && name_valid(ref.tag, NAME_MAX_TAG));
    if (reference_parse_repo(text, &ref, NULL) == 0)
        assert(name_valid(ref.user, NAME_MAX_USER) && name_valid(ref.repo, NAME_MAX_USER));
    if (host_valid(text))
        assert(!strpbrk(text, "/\"<> \r\n"));
    if (form_number(text, 1000, &number))
        assert(number <= 1000);
    if (address_parse(text, &a)) {
        char again[INET6_ADDRSTRLEN];
        struct address b;
        address_format(&a, again);
        assert(address_parse(again, &b) && memcmp(&a, &b, sizeof(a)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    cleanup_free char *text = gv_strndup((const char *)data + 1, size - 1);
    switch (data[0]) {
    case 'd':
        check_descriptor(data + 1, size - 1);
        break;
    case 'r':
        check_ranges(text);
        break;
    case 'c':
        check_conditions(text);
        break;
    default:
        check_names(text);
        break;
    }
    return 0;
}
