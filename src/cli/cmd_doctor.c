/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <jansson.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/cli.h"
#include "vm/vm.h"

struct doctor_args {
    bool json;
};

static const struct cli_option options[] = {
    { "json", 0, NULL, "print JSON" },
    { 0 },
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)name;
    (void)value;
    (void)err;
    ((struct doctor_args *)user)->json = true;
    return 0;
}

static void line(const char *verdict, const char *what, const char *text)
{
    printf("%-8s %-12s ", verdict, what);
    cli_print_clean(stdout, text);
    putchar('\n');
}

static uint64_t memory_available(void)
{
    cleanup_buf struct gv_buf b = { 0 };
    if (gv_read_file("/proc/meminfo", 65536, &b, NULL) < 0)
        return 0;
    const char *p = strstr(gv_buf_str(&b), "MemAvailable:");
    return p ? strtoull(p + 13, NULL, 10) * 1024 : 0;
}

static const char *scratch_dir(void)
{
    const char *t = getenv("TMPDIR");
    return t && *t ? t : "/var/tmp";
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct doctor_args a = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    if (at != argc)
        return cli_usage(self, "doctor takes no operand");
    struct gv_log log = cli_log(false);
    struct vm_host_report r = { 0 };
    vm_host_probe(&r, true, &log);
    struct statvfs fs;
    uint64_t disk = statvfs(scratch_dir(), &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
    uint64_t memory = memory_available();
    bool can_run = r.qemu_path && !r.qemu_problem && !r.guest_problem;
    if (a.json) {
        json_t *o = json_pack("{s:b, s:s, s:s?, s:s?, s:s?, s:s?, s:b, s:b, s:b, s:s?, s:s?, s:s?, s:I, s:I}", "can_run", can_run,
                              "accelerator", r.kvm_boots ? "kvm" : "tcg", "qemu", r.qemu_path, "qemu_version", r.qemu_version,
                              "qemu_problem", r.qemu_problem, "guest_problem", r.guest_problem, "kvm_exists", r.kvm_exists, "kvm_openable",
                              r.kvm_openable, "kvm_boots", r.kvm_boots, "kvm_problem", r.kvm_problem, "kernel", r.kernel_path, "initramfs",
                              r.initramfs_path, "memory_available", (json_int_t)memory, "disk_available", (json_int_t)disk);
        if (o)
            json_dumpf(o, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
        putchar('\n');
        json_decref(o);
    } else {
        char text[512], size[32];
        snprintf(text, sizeof(text), "%s, version %s", r.qemu_path ? r.qemu_path : "", r.qemu_version ? r.qemu_version : "unknown");
        line(r.qemu_problem ? "MISSING" : "ok", "qemu", r.qemu_problem ? r.qemu_problem : text);
        snprintf(text, sizeof(text), "%s", r.kernel_path ? r.kernel_path : "");
        line(r.guest_problem ? "MISSING" : "ok", "guest", r.guest_problem ? r.guest_problem : text);
        line(r.kvm_boots ? "ok" : "slow", "kvm", r.kvm_boots ? "boots our kernel" : r.kvm_problem ? r.kvm_problem : "not tried");
        if (!r.kvm_boots)
            line("note", "tcg", "VMs are emulated: slower, and no security boundary against hostile code");
        gv_format_size(size, memory);
        snprintf(text, sizeof(text), "%s available; a VM takes 256 MiB by default", size);
        line(memory >= (512ULL << 20) ? "ok" : "low", "memory", text);
        gv_format_size(size, disk);
        snprintf(text, sizeof(text), "%s free in %.300s for volumes and conversions", size, scratch_dir());
        line(disk >= (1ULL << 30) ? "ok" : "low", "disk", text);
    }
    vm_host_report_clear(&r);
    return can_run ? CLI_OK : CLI_FAILED;
}

const struct cli_command cmd_doctor = {
    .name = "doctor",
    .synopsis = "[OPTIONS]",
    .summary = "Tell what this host can do, and how to mend what is missing",
    .details = "Boots the guest kernel under KVM to see whether that really works. Exit status 0 when VMs can run, 1 when not.",
    .example = "  gvmkit doctor",
    .options = options,
    .run = run,
};
