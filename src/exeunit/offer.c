/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * offer-template: what the provider adds to its offer. Family and model of the CPU are what the CPU says they are. The original adds the extended
 * parts a second time (a Coffee Lake of model 158 is offered as 302); who needs its numbers gets them with --original-cpu-numbers.
 */
#include <cpuid.h>
#include <ctype.h>
#include <jansson.h>
#include <string.h>

#include "exeunit/exeunit.h"

enum reg { B, C, D };

/* In the order in which the original lists them. */
static const struct {
    const char *name;
    unsigned leaf;
    enum reg reg;
    unsigned bit;
} capabilities[] = {
    { "sse3", 1, C, 0 },
    { "pclmulqdq", 1, C, 1 },
    { "dtes64", 1, C, 2 },
    { "monitor", 1, C, 3 },
    { "dscpl", 1, C, 4 },
    { "vmx", 1, C, 5 },
    { "smx", 1, C, 6 },
    { "eist", 1, C, 7 },
    { "tm2", 1, C, 8 },
    { "ssse3", 1, C, 9 },
    { "cnxtid", 1, C, 10 },
    { "fma", 1, C, 12 },
    { "cmpxchg16b", 1, C, 13 },
    { "pdcm", 1, C, 15 },
    { "pcid", 1, C, 17 },
    { "dca", 1, C, 18 },
    { "sse41", 1, C, 19 },
    { "sse42", 1, C, 20 },
    { "x2apic", 1, C, 21 },
    { "movbe", 1, C, 22 },
    { "popcnt", 1, C, 23 },
    { "tsc_deadline", 1, C, 24 },
    { "aesni", 1, C, 25 },
    { "xsave", 1, C, 26 },
    { "osxsave", 1, C, 27 },
    { "avx", 1, C, 28 },
    { "f16c", 1, C, 29 },
    { "rdrand", 1, C, 30 },
    { "hypervisor", 1, C, 31 },
    { "fpu", 1, D, 0 },
    { "vme", 1, D, 1 },
    { "de", 1, D, 2 },
    { "pse", 1, D, 3 },
    { "tsc", 1, D, 4 },
    { "msr", 1, D, 5 },
    { "pae", 1, D, 6 },
    { "mce", 1, D, 7 },
    { "cx8", 1, D, 8 },
    { "apic", 1, D, 9 },
    { "sep", 1, D, 11 },
    { "mtrr", 1, D, 12 },
    { "pge", 1, D, 13 },
    { "mca", 1, D, 14 },
    { "cmov", 1, D, 15 },
    { "pat", 1, D, 16 },
    { "pse36", 1, D, 17 },
    { "psn", 1, D, 18 },
    { "clfsh", 1, D, 19 },
    { "ds", 1, D, 21 },
    { "acpi", 1, D, 22 },
    { "mmx", 1, D, 23 },
    { "fxsr", 1, D, 24 },
    { "sse", 1, D, 25 },
    { "sse2", 1, D, 26 },
    { "ss", 1, D, 27 },
    { "htt", 1, D, 28 },
    { "tm", 1, D, 29 },
    { "pbe", 1, D, 31 },
    { "fsgsbase", 7, B, 0 },
    { "adjust_msr", 7, B, 1 },
    { "bmi1", 7, B, 3 },
    { "hle", 7, B, 4 },
    { "avx2", 7, B, 5 },
    { "fdp", 7, B, 6 },
    { "smep", 7, B, 7 },
    { "bmi2", 7, B, 8 },
    { "rep_movsb_stosb", 7, B, 9 },
    { "invpcid", 7, B, 10 },
    { "rtm", 7, B, 11 },
    { "rdtm", 7, B, 12 },
    { "deprecate_fpu_cs_ds", 7, B, 13 },
    { "mpx", 7, B, 14 },
    { "rdta", 7, B, 15 },
    { "rdseed", 7, B, 18 },
    { "adx", 7, B, 19 },
    { "smap", 7, B, 20 },
    { "clflushopt", 7, B, 23 },
    { "processor_trace", 7, B, 25 },
    { "sha", 7, B, 29 },
    { "sgx", 7, B, 2 },
    { "avx512f", 7, B, 16 },
    { "avx512dq", 7, B, 17 },
    { "avx512_ifma", 7, B, 21 },
    { "avx512pf", 7, B, 26 },
    { "avx512er", 7, B, 27 },
    { "avx512cd", 7, B, 28 },
    { "avx512bw", 7, B, 30 },
    { "avx512vl", 7, B, 31 },
    { "clwb", 7, B, 24 },
    { "prefetchwt1", 7, C, 0 },
    { "umip", 7, C, 2 },
    { "pku", 7, C, 3 },
    { "ospke", 7, C, 4 },
    { "rdpid", 7, C, 22 },
    { "sgx_lc", 7, C, 30 },
};
#define CAPABILITIES (sizeof(capabilities) / sizeof(capabilities[0]))

/* What this runtime can do beyond running programs, in the original's order. */
static const char *const runtime_capabilities[] = { "inet", "vpn", "manifest-support", "start-entrypoint" };

struct leaf {
    unsigned a, b, c, d;
};

static struct leaf cpuid(unsigned number)
{
    struct leaf l = { 0 };
    __get_cpuid_count(number, 0, &l.a, &l.b, &l.c, &l.d); /* leaves zeros where there is no such leaf */
    return l;
}

static json_t *capability_list(void)
{
    const struct leaf one = cpuid(1), seven = cpuid(7);
    json_t *list = json_array();
    for (size_t i = 0; i < CAPABILITIES; i++) {
        const struct leaf *l = capabilities[i].leaf == 1 ? &one : &seven;
        unsigned bits = capabilities[i].reg == B ? l->b : capabilities[i].reg == C ? l->c : l->d;
        if (bits >> capabilities[i].bit & 1)
            json_array_append_new(list, json_string(capabilities[i].name));
    }
    return list;
}

static char *model_text(bool original)
{
    unsigned a = cpuid(1).a;
    unsigned stepping = a & 0xf, base_model = a >> 4 & 0xf, base_family = a >> 8 & 0xf, more_model = a >> 16 & 0xf,
             more_family = a >> 20 & 0xff;
    unsigned family = base_family == 0xf ? base_family + more_family : base_family;
    unsigned model = base_family == 0xf || base_family == 6 ? base_model + (more_model << 4) : base_model;
    if (original) {
        family += more_family;
        model += more_model << 4;
    }
    return gv_asprintf("Stepping %u Family %u Model %u", stepping, family, model);
}

/* Printable ASCII without blanks at its ends. */
static char *clean(char *s, size_t n)
{
    s[n] = '\0';
    for (char *p = s; *p; p++)
        if (!isprint((unsigned char)*p))
            *p = ' ';
    while (*s == ' ')
        s++;
    for (n = strlen(s); n > 0 && s[n - 1] == ' ';)
        s[--n] = '\0';
    return gv_strdup(s);
}

static char *vendor(void)
{
    const struct leaf l = cpuid(0);
    char text[13];
    memcpy(text, &l.b, 4);
    memcpy(text + 4, &l.d, 4);
    memcpy(text + 8, &l.c, 4);
    return clean(text, 12);
}

static char *brand(void)
{
    char text[49] = "";
    for (unsigned i = 0; i < 3; i++) {
        const struct leaf l = cpuid(0x80000002U + i);
        memcpy(text + 16 * i, &l, 16);
    }
    return clean(text, 48);
}

char *exeunit_offer(const struct exeunit_options *o)
{
    cleanup_free char *cpu_vendor = vendor(), *cpu_brand = brand(), *model = model_text(o->original_cpu);
    json_t *runtime = json_array();
    for (size_t i = 0; i < sizeof(runtime_capabilities) / sizeof(runtime_capabilities[0]); i++)
        json_array_append_new(runtime, json_string(runtime_capabilities[i]));
    json_t *root = json_pack("{s:s, s:{s:s, s:o, s:s, s:s, s:o}}", "constraints", "", "properties", "golem.inf.cpu.brand", cpu_brand,
                             "golem.inf.cpu.capabilities", capability_list(), "golem.inf.cpu.model", model, "golem.inf.cpu.vendor",
                             cpu_vendor, "golem.runtime.capabilities", runtime);
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(root);
    return text ? text : gv_strdup("");
}
