/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vm/clock.h"

#include <stdbool.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>

#define CPUID_POWER 0x80000007U
#define CPUID_POWER_INVARIANT_TSC (1U << 8)

/* Looks so often; the look between two readings of the clock that are nearest to each other counts. */
#define LOOKS 8
/* A look that takes longer than this was interrupted, all of them. */
#define LOOK_NS 2000U
/* Anything else is no processor's frequency. */
#define KHZ_MIN 400000U
#define KHZ_MAX 10000000U

static uint64_t raw_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static bool is_invariant(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(CPUID_POWER, &a, &b, &c, &d) && (d & CPUID_POWER_INVARIANT_TSC);
}

void vm_clock_look(struct vm_clock *first)
{
    uint64_t best = LOOK_NS;
    *first = (struct vm_clock){ 0 };
    if (!is_invariant())
        return;
    for (int i = 0; i < LOOKS; i++) {
        uint64_t before = raw_ns(), tsc = __rdtsc(), took = raw_ns() - before;
        if (took < best) {
            best = took;
            *first = (struct vm_clock){ .tsc = tsc, .ns = before + took / 2 };
        }
    }
}

uint32_t vm_clock_khz(const struct vm_clock *first)
{
    struct vm_clock now;
    if (!first->ns)
        return 0;
    uint64_t passed = raw_ns() - first->ns;
    if (passed < VM_CLOCK_MS * 1000000U) {
        struct timespec rest = { .tv_nsec = (long)(VM_CLOCK_MS * 1000000U - passed) };
        nanosleep(&rest, NULL);
    }
    vm_clock_look(&now);
    if (!now.ns || now.ns <= first->ns || now.tsc <= first->tsc)
        return 0;
    double khz = (double)(now.tsc - first->tsc) * 1e6 / (double)(now.ns - first->ns);
    return khz >= KHZ_MIN && khz <= KHZ_MAX ? (uint32_t)(khz + 0.5) : 0;
}

#else

void vm_clock_look(struct vm_clock *first)
{
    *first = (struct vm_clock){ 0 };
}

uint32_t vm_clock_khz(const struct vm_clock *first)
{
    (void)first;
    return 0;
}

#endif
