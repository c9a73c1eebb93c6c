/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vm/console.h"

#include <string.h>

void vm_tail_add(struct vm_tail *t, const char *data, size_t n)
{
    if (n > TAIL_SIZE) {
        data += n - TAIL_SIZE;
        n = TAIL_SIZE;
    }
    size_t first = n < TAIL_SIZE - t->at ? n : TAIL_SIZE - t->at;
    memcpy(t->text + t->at, data, first);
    memcpy(t->text, data + first, n - first);
    t->at = (t->at + n) % TAIL_SIZE;
    t->held = t->held + n < TAIL_SIZE ? t->held + n : TAIL_SIZE;
}

/* Skips a terminal sequence at s, of which n bytes are left: ESC [ parameters letter, or ESC and one byte. */
static size_t escape_length(const char *s, size_t n)
{
    if (n < 2 || s[1] != '[')
        return n < 2 ? n : 2;
    size_t i = 2;
    while (i < n && (unsigned char)s[i] < 0x40)
        i++;
    return i < n ? i + 1 : n;
}

char *vm_tail_last(const struct vm_tail *t, size_t lines, const char *marker, char *out, size_t size)
{
    /* The text in order, then cleaned in place: every line break becomes one '\n', none at the ends. */
    char flat[TAIL_SIZE];
    size_t start = (t->at + TAIL_SIZE - t->held) % TAIL_SIZE, n = 0;
    for (size_t i = 0; i < t->held; i++)
        flat[i] = t->text[(start + i) % TAIL_SIZE];
    for (size_t i = 0; i < t->held;) {
        char c = flat[i];
        if (c == '\033') {
            i += escape_length(flat + i, t->held - i);
            continue;
        }
        i++;
        if (c == '\r' || c == '\n') {
            if (n && flat[n - 1] != '\n')
                flat[n++] = '\n';
        } else if (c == '\t' || ((unsigned char)c >= 0x20 && (c != ' ' || (n && flat[n - 1] != '\n')))) {
            flat[n++] = c == '\t' ? ' ' : c;
        }
    }
    while (n && (flat[n - 1] == '\n' || flat[n - 1] == ' '))
        n--;
    const char *found = marker ? memmem(flat, n, marker, strlen(marker)) : NULL;
    if (found) {
        const char *end = memchr(found, '\n', n - (size_t)(found - flat));
        n = end ? (size_t)(end - flat) : n;
    }
    size_t from = n;
    for (size_t seen = 0; from > 0; from--)
        if (flat[from - 1] == '\n' && ++seen == lines)
            break;
    size_t used = 0;
    for (size_t i = n; i > from; i--) { /* from the end, so that it is the end which is kept */
        const char *part = flat[i - 1] == '\n' ? " | " : flat + i - 1;
        size_t length = flat[i - 1] == '\n' ? 3 : 1;
        if (used + length >= size)
            break;
        used += length;
        memcpy(out + size - 1 - used, part, length);
    }
    memmove(out, out + size - 1 - used, used);
    out[used] = '\0';
    return out;
}
