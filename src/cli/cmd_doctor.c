/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <jansson.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/cli.h"
#include "jail/jail.h"
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

/* The jail of this host, measure by measure: what is in force, or why not and how to mend it. */
struct jail_found {
    bool tried;
    struct jail_result result;
    struct gv_error why; /* it could not be tried */
};

static bool jail_complete(const struct jail_found *j)
{
    bool complete = j->tried;
    for (enum jail_measure m = 0; m < JAIL_MEASURES; m++)
        complete = complete && !j->result.refused[m];
    return complete;
}

static void jail_print(const struct jail_found *j)
{
    if (!j->tried) {
        line("MISSING", "jail", j->why.msg);
        return;
    }
    for (enum jail_measure m = 0; m < JAIL_MEASURES; m++) {
        const int refused = j->result.refused[m];
        char text[600];
        if (refused)
            snprintf(text, sizeof(text), "%s: %s; %s", jail_measure_name(m), strerror(refused), jail_measure_remedy(m, refused));
        else
            snprintf(text, sizeof(text), "%s", jail_measure_name(m));
        line(refused ? "not" : "ok", "jail", text);
    }
}

/* Each measure's name with what is wrong, null when nothing is; or the one thing that is. */
static json_t *jail_json(const struct jail_found *j)
{
    if (!j->tried)
        return json_string(j->why.msg);
    json_t *o = json_object();
    for (enum jail_measure m = 0; m < JAIL_MEASURES; m++)
        json_object_set_new(o, jail_measure_name(m), j->result.refused[m] ? json_string(strerror(j->result.refused[m])) : json_null());
    return o;
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
    struct jail_found jail = { 0 };
    vm_host_probe(&r, true, &log);
    jail.tried = jail_try(&jail.result, &jail.why) == 0;
    struct statvfs fs;
    uint64_t disk = statvfs(scratch_dir(), &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
    uint64_t memory = memory_available();
    bool can_run = r.qemu_path && !r.qemu_problem && !r.guest_problem && jail.tried && (jail_complete(&jail) || !jail_demanded());
    if (a.json) {
        json_t *o = json_pack("{s:b, s:s, s:s?, s:s?, s:s?, s:s?, s:b, s:b, s:b, s:s?, s:s?, s:s?, s:I, s:I, s:b, s:o}", "can_run", can_run,
                              "accelerator", r.kvm_boots ? "kvm" : "tcg", "qemu", r.qemu_path, "qemu_version", r.qemu_version,
                              "qemu_problem", r.qemu_problem, "guest_problem", r.guest_problem, "kvm_exists", r.kvm_exists, "kvm_openable",
                              r.kvm_openable, "kvm_boots", r.kvm_boots, "kvm_problem", r.kvm_problem, "kernel", r.kernel_path, "initramfs",
                              r.initramfs_path, "memory_available", (json_int_t)memory, "disk_available", (json_int_t)disk, "jail_complete",
                              jail_complete(&jail), "jail", jail_json(&jail));
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
        jail_print(&jail);
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
    .details = "Boots the guest kernel under KVM to see whether that really works, and starts a program in the jail that QEMU runs in.\n"
               "Exit status 0 when VMs can run, 1 when not.",
    .example = "  gvmkit doctor",
    .options = options,
    .run = run,
};
