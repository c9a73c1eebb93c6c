/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The bytes that the bench sends out of a guest: blocks of noise, each with its number in front, so that a lost, doubled or exchanged piece
 * is seen. Making them costs almost nothing, so that the channel is measured and not the program. */
#ifndef BENCH_PATTERN_H
#define BENCH_PATTERN_H

#include <stdint.h>
#include <string.h>

#define BENCH_BLOCK 65536

static inline void bench_pattern_init(unsigned char block[BENCH_BLOCK])
{
    uint32_t x = 2463534242U;
    for (uint32_t i = 0; i < BENCH_BLOCK; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        block[i] = (unsigned char)x;
    }
}

static inline void bench_pattern_stamp(unsigned char block[BENCH_BLOCK], uint64_t number)
{
    memcpy(block, &number, sizeof(number));
}

#endif
