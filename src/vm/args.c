/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vm/args.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "wire/wire.h"

/* The translation cache of TCG. QEMU would take up to 1 GiB and fill it as the guest touches new code. The boot and a first small program
 * translate 25 to 35 MiB; a cache that is too small is thrown away as a whole and filled again. See docs/vm.md for the measurements. */
#define TB_SIZE_MIB "64"
/* One thread for all of the guest's CPUs. With one each, QEMU 7.2 may go on executing code that another CPU has just patched: the kernel then meets
 * its own breakpoint (static keys) and panics, once in some 80 boots with two CPUs on a busy host. Boots are faster so, too. */
#define ACCEL_TCG "tcg,thread=single,tb-size=" TB_SIZE_MIB
/* Without the fast string instructions that it would else believe to have, the guest copies by eight bytes and not by one: TCG executes `rep movsb` a
 * byte at a time. */
#define CPU_TCG "max,-erms,-fsrm"
/* CONFIG_HZ of the guest kernel: the delay loop's count is the counter's ticks in one of these. */
#define GUEST_HZ 250U

/* Nothing that the guest would have to find and set up, and never use. */
#define MACHINE "q35,sata=off,smbus=off,usb=off,vmport=off,i8042=off,graphics=off,smm=off,dump-guest-core=off"
#define MACHINE_BARE MACHINE ",acpi=off,hpet=off"

/* A panic prints the whole log and ends QEMU (-no-reboot); an NMI that we send to a guest that hangs is a panic. */
#define APPEND "console=ttyS0 panic=-1 reboot=t unknown_nmi_panic panic_print=0x20 no_timer_check"
#define APPEND_QUIET "quiet loglevel=1"
/* rep_good: the kernel's own loops move the pages of pipes faster under TCG than the string instructions do (docs/vm.md). */
#define APPEND_TCG APPEND " noreplace-smp lapic_timer_khz=1000000 clearcpuid=rep_good"

#define DEVICES_MAX 200

enum { PLATFORM_KVM, PLATFORM_TCG_TSC, PLATFORM_TCG };

static const struct vm_platform platforms[] = {
    [PLATFORM_KVM] = { .accel = VM_ACCEL_KVM,
                       .accel_option = "kvm",
                       .machine = MACHINE_BARE,
                       .cpu = "host",
                       .firmware = "qboot.rom",
                       .kernel = "vmlinux",
                       .append = APPEND " acpi=off tsc=reliable",
                       .append_quiet = APPEND_QUIET,
                       .devices_max = DEVICES_MAX },
    [PLATFORM_TCG_TSC] = { .accel = VM_ACCEL_TCG,
                           .accel_option = ACCEL_TCG,
                           .machine = MACHINE_BARE,
                           .cpu = CPU_TCG,
                           .firmware = "qboot.rom",
                           .kernel = "vmlinux",
                           .append = APPEND_TCG " acpi=off tsc=reliable",
                           .append_quiet = APPEND_QUIET,
                           .tell_tsc = true,
                           .no_huge_pages = true,
                           .devices_max = DEVICES_MAX },
    /* The host's counter is no clock: the guest has to measure, and needs something to measure against. */
    [PLATFORM_TCG] = { .accel = VM_ACCEL_TCG,
                       .accel_option = ACCEL_TCG,
                       .machine = MACHINE,
                       .cpu = CPU_TCG,
                       .firmware = "qboot.rom",
                       .kernel = "vmlinux",
                       .append = APPEND_TCG,
                       .append_quiet = APPEND_QUIET,
                       .no_huge_pages = true,
                       .devices_max = DEVICES_MAX },
};

const struct vm_platform *vm_platform_for(enum vm_accel accel, uint32_t tsc_khz)
{
    return &platforms[accel == VM_ACCEL_KVM ? PLATFORM_KVM : tsc_khz ? PLATFORM_TCG_TSC : PLATFORM_TCG];
}

void vm_image_serial(char out[VM_NAME_MAX], size_t i)
{
    snprintf(out, VM_NAME_MAX, "image-%u", (unsigned)(i % 1000));
}

void vm_volume_tag(char out[VM_NAME_MAX], size_t i)
{
    snprintf(out, VM_NAME_MAX, "volume-%u", (unsigned)(i % 1000));
}

void vm_mac_text(char out[VM_MAC_TEXT], const uint8_t mac[VM_MAC_SIZE])
{
    snprintf(out, VM_MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

struct builder {
    struct gv_strv *argv;
    const struct vm_args *a;
    unsigned devices; /* placed so far */
};

__attribute__((format(printf, 3, 4))) static void add(struct builder *b, const char *option, const char *fmt, ...)
{
    va_list ap;
    char *value = NULL;
    va_start(ap, fmt);
    int n = vasprintf(&value, fmt, ap);
    va_end(ap);
    gv_strv_add(b->argv, option);
    if (n < 0)
        value = gv_strdup("");
    gv_strv_take(b->argv, value);
}

/* A virtio device. On PCI each gets an explicit address, eight to a slot from slot 1 on: more fit so, and the guest sees them in our order. */
__attribute__((format(printf, 3, 4))) static void add_device(struct builder *b, const char *name, const char *fmt, ...)
{
    va_list ap;
    char *rest = NULL;
    va_start(ap, fmt);
    int n = vasprintf(&rest, fmt, ap);
    va_end(ap);
    const char *comma = n > 0 ? "," : "";
    if (b->a->platform->mmio)
        add(b, "-device", "virtio-%s-device%s%s", name, comma, n > 0 ? rest : "");
    else
        add(b, "-device", "virtio-%s-pci,addr=%x.%u,multifunction=on%s%s", name, 1 + b->devices / 8, b->devices % 8, comma,
            n > 0 ? rest : "");
    b->devices++;
    free(rest);
}

static void add_machine(struct builder *b)
{
    const struct vm_args *a = b->a;
    const struct vm_platform *p = a->platform;
    gv_strv_add(b->argv, "-nodefaults");
    gv_strv_add(b->argv, "-no-user-config");
    gv_strv_add(b->argv, "-no-reboot");
    add(b, "-display", "none");
    add(b, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    add(b, "-accel", "%s", p->accel_option);
    add(b, "-machine", "%s", p->machine);
    add(b, "-cpu", "%s", p->cpu);
    add(b, "-smp", "%u", a->cpus);
    add(b, "-m", "%" PRIu64 "M", (a->memory + (1U << 20) - 1) >> 20);
    if (p->firmware)
        add(b, "-bios", "%s", p->firmware);
    add(b, "-kernel", "%s", a->kernel);
    add(b, "-initrd", "%s", a->initramfs);
    cleanup_free char *tsc =
        p->tell_tsc ? gv_asprintf(" tsc_early_khz=%u lpj=%llu", a->tsc_khz, a->tsc_khz * 1000ULL / GUEST_HZ) : gv_strdup("");
    add(b, "-append", "%s%s%s%s", p->append, tsc, a->verbose ? "" : " ", a->verbose ? "" : p->append_quiet);
}

static void add_channels(struct builder *b)
{
    const struct vm_args *a = b->a;
    add(b, "-chardev", "socket,id=qmp,fd=%d", a->qmp_fd);
    add(b, "-mon", "chardev=qmp,mode=control");
    add(b, "-chardev", "socket,id=console,fd=%d", a->console_fd);
    add(b, "-serial", "chardev:console");
    add(b, "-chardev", "socket,id=agent,fd=%d", a->agent_fd);
    /* Port 0 is for consoles, so that the agent's port needs a second one; more would only cost the guest time to set up. */
    add_device(b, "serial", "id=serial,max_ports=2");
    add(b, "-device", "virtserialport,bus=serial.0,nr=1,chardev=agent,name=%s", WIRE_PORT_NAME);
}

static void add_images(struct builder *b)
{
    const struct vm_args *a = b->a;
    for (size_t i = 0; i < a->image_count; i++) {
        char serial[VM_NAME_MAX];
        vm_image_serial(serial, i);
        add(b, "-add-fd", "fd=%d,set=%zu", a->image_fds[i], i + 1);
        add(b, "-blockdev",
            "driver=raw,node-name=%s,read-only=on,discard=ignore,file.driver=file,file.filename=/dev/fdset/%zu,file.locking=off", serial,
            i + 1);
        add_device(b, "blk", "drive=%s,serial=%s", serial, serial);
    }
}

/* A disk that the guest writes. Without room on the host its write fails; QEMU would else stop the VM and wait for somebody to make room. Our lock on the file (launch.c) is one that QEMU's descriptor shares; its own would only be in the way. */
static void add_disk(struct builder *b, const char *serial, int fd, size_t set, bool readonly)
{
    add(b, "-add-fd", "fd=%d,set=%zu", fd, set);
    add(b, "-blockdev", "driver=raw,node-name=%s,read-only=%s,discard=unmap,file.driver=file,file.filename=/dev/fdset/%zu,file.locking=off",
        serial, readonly ? "on" : "off", set);
    add_device(b, "blk", "drive=%s,serial=%s,werror=report", serial, serial);
}

static void add_shares(struct builder *b)
{
    const struct vm_args *a = b->a;
    if (a->has_root_disk)
        add_disk(b, VM_ROOT_SERIAL, a->root_disk_fd, a->image_count + a->share_count + 1, false);
    for (size_t i = 0; i < a->share_count; i++) {
        const struct vm_share *s = &a->shares[i];
        char tag[VM_NAME_MAX];
        vm_volume_tag(tag, i);
        if (s->kind == VM_VOLUME_DISK)
            add_disk(b, tag, s->fd, a->image_count + i + 1, s->readonly);
        if (s->kind != VM_VOLUME_DIRECTORY)
            continue;
        add(b, "-fsdev", "local,id=%s,path=" VM_FD_PATH "%d,security_model=%s,multidevs=remap%s", tag, s->fd,
            s->mapped_file ? "mapped-file" : "mapped-xattr", s->readonly ? ",readonly=on" : "");
        add_device(b, "9p", "fsdev=%s,mount_tag=%s", tag, tag);
    }
}

/* Network cards. One datagram is one frame, so that a frame is never half received, nor a stream out of step. */
static void add_links(struct builder *b)
{
    const struct vm_args *a = b->a;
    for (size_t i = 0; i < a->link_count; i++) {
        char mac[VM_MAC_TEXT];
        vm_mac_text(mac, a->links[i].mac);
        add(b, "-netdev", "dgram,id=net-%zu,local.type=fd,local.str=%d", i, a->links[i].fd);
        /* No firmware of ours would run what the card has in its ROM. */
        add_device(b, "net", "netdev=net-%zu,mac=%s%s", i, mac, a->platform->mmio ? "" : ",romfile=");
    }
}

/* An address as `lspci` writes it: hexadecimal digits, colons and dots, so that nothing else gets into QEMU's option. */
static bool is_pci_address(const char *s)
{
    size_t n = strlen(s);
    return n >= 4 && n <= 12 && strspn(s, "0123456789abcdefABCDEF:.") == n;
}

int vm_args_build(struct gv_strv *argv, const struct vm_args *a, struct gv_error *err)
{
    struct builder b = { .argv = argv, .a = a };
    size_t devices = 3 + a->image_count + a->share_count + a->has_root_disk + a->link_count + a->pci_count;
    for (size_t i = 0; i < a->pci_count; i++)
        if (!is_pci_address(a->pci_devices[i]))
            return gv_error_set(err, GV_E_USAGE, 0, "`%s` is not the address of a PCI device; write it as lspci does: 0000:01:00.0",
                                a->pci_devices[i]);
    if (devices > a->platform->devices_max)
        return gv_error_set(err, GV_E_LIMIT, 0, "%zu images and %zu volumes are more than one VM can have; %u are possible", a->image_count,
                            a->share_count, a->platform->devices_max - 3);
    gv_strv_add(argv, a->qemu);
    add_machine(&b);
    add_channels(&b);
    add_images(&b);
    add_shares(&b);
    add_links(&b);
    add(&b, "-object", "rng-builtin,id=rng");
    add_device(&b, "rng", "rng=rng");
    add_device(&b, "balloon", "free-page-reporting=on");
    for (size_t i = 0; i < a->pci_count; i++)
        add(&b, "-device", "vfio-pci,host=%s", a->pci_devices[i]);
    return 0;
}
