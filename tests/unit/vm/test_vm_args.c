/* SPDX-License-Identifier: GPL-3.0-or-later */
/* QEMU's arguments, word for word: a change here is a change of what every VM is, and should be seen. */
#include "vm_test.h"

#include "vm/args.h"
#include "vm/clock.h"
#include "vm/volume.h"

static char *joined(const struct gv_strv *v)
{
    cleanup_buf struct gv_buf b = { 0 };
    for (size_t i = 0; i < v->count; i++)
        gv_buf_addf(&b, "%s\n", v->items[i]);
    return gv_strdup(gv_buf_str(&b));
}

static const struct vm_platform plain = { .accel = VM_ACCEL_TCG,
                                          .accel_option = "tcg",
                                          .machine = "q35",
                                          .cpu = "max",
                                          .firmware = "qboot.rom",
                                          .kernel = "vmlinux",
                                          .append = "console=ttyS0",
                                          .append_quiet = "quiet",
                                          .devices_max = 200 };

static void test_golden(void **state)
{
    (void)state;
    static const int images[] = { 10, 11 };
    static const struct vm_share shares[] = { { .fd = 20 }, { .fd = 21, .readonly = true, .mapped_file = true } };
    const struct vm_args a = { .platform = &plain,
                               .qemu = "/usr/bin/qemu-system-x86_64",
                               .kernel = "/lib/a, b=c/vmlinux",
                               .initramfs = "/lib/initramfs.cpio",
                               .cpus = 3,
                               .memory = (UINT64_C(256) << 20) + 1,
                               .agent_fd = 5,
                               .qmp_fd = 6,
                               .console_fd = 7,
                               .image_fds = images,
                               .image_count = 2,
                               .shares = shares,
                               .share_count = 2 };
    cleanup_strv struct gv_strv argv = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(vm_args_build(&argv, &a, &err), 0);
    cleanup_free char *text = joined(&argv);
    assert_string_equal(
        text,
        "/usr/bin/qemu-system-x86_64\n-nodefaults\n-no-user-config\n-no-reboot\n-display\nnone\n"
        "-sandbox\non,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny\n"
        "-accel\ntcg\n-machine\nq35\n-cpu\nmax\n-smp\n3\n-m\n257M\n-bios\nqboot.rom\n"
        "-kernel\n/lib/a, b=c/vmlinux\n-initrd\n/lib/initramfs.cpio\n-append\nconsole=ttyS0 quiet\n"
        "-chardev\nsocket,id=qmp,fd=6\n-mon\nchardev=qmp,mode=control\n"
        "-chardev\nsocket,id=console,fd=7\n-serial\nchardev:console\n"
        "-chardev\nsocket,id=agent,fd=5\n-device\nvirtio-serial-pci,addr=1.0,multifunction=on,id=serial,max_ports=2\n"
        "-device\nvirtserialport,bus=serial.0,nr=1,chardev=agent,name=gvmkit.agent\n"
        "-add-fd\nfd=10,set=1\n"
        "-blockdev\ndriver=raw,node-name=image-0,read-only=on,discard=ignore,file.driver=file,file.filename=/dev/fdset/1,file.locking=off\n"
        "-device\nvirtio-blk-pci,addr=1.1,multifunction=on,drive=image-0,serial=image-0\n"
        "-add-fd\nfd=11,set=2\n"
        "-blockdev\ndriver=raw,node-name=image-1,read-only=on,discard=ignore,file.driver=file,file.filename=/dev/fdset/2,file.locking=off\n"
        "-device\nvirtio-blk-pci,addr=1.2,multifunction=on,drive=image-1,serial=image-1\n"
        "-fsdev\nlocal,id=volume-0,path=/proc/self/fd/20,security_model=mapped-xattr,multidevs=remap\n"
        "-device\nvirtio-9p-pci,addr=1.3,multifunction=on,fsdev=volume-0,mount_tag=volume-0\n"
        "-fsdev\nlocal,id=volume-1,path=/proc/self/fd/21,security_model=mapped-file,multidevs=remap,readonly=on\n"
        "-device\nvirtio-9p-pci,addr=1.4,multifunction=on,fsdev=volume-1,mount_tag=volume-1\n"
        "-object\nrng-builtin,id=rng\n-device\nvirtio-rng-pci,addr=1.5,multifunction=on,rng=rng\n"
        "-device\nvirtio-balloon-pci,addr=1.6,multifunction=on,free-page-reporting=on\n");
}

/* Disks that the guest writes, RAM that QEMU knows nothing of, and devices of the host. */
static void test_disks_and_devices(void **state)
{
    (void)state;
    static const int images[] = { 10 };
    static const struct vm_share shares[] = { { .kind = VM_VOLUME_RAM, .fd = -1 }, { .kind = VM_VOLUME_DISK, .fd = 20 } };
    static const char *const good[] = { "0000:01:00.0" }, *const bad[] = { "01:00.0,x-foo=1" };
    struct vm_args a = { .platform = &plain,
                         .qemu = "qemu",
                         .kernel = "k",
                         .initramfs = "i",
                         .cpus = 1,
                         .memory = UINT64_C(256) << 20,
                         .image_fds = images,
                         .image_count = 1,
                         .shares = shares,
                         .share_count = 2,
                         .has_root_disk = true,
                         .root_disk_fd = 21,
                         .pci_devices = good,
                         .pci_count = 1 };
    cleanup_strv struct gv_strv argv = { 0 }, none = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(vm_args_build(&argv, &a, &err), 0);
    cleanup_free char *text = joined(&argv);
    const char *at = strstr(text, "serial=image-0\n");
    assert_non_null(at);
    assert_string_equal(
        at,
        "serial=image-0\n"
        "-add-fd\nfd=21,set=4\n"
        "-blockdev\ndriver=raw,node-name=root,read-only=off,discard=unmap,file.driver=file,file.filename=/dev/fdset/4,file.locking=off\n"
        "-device\nvirtio-blk-pci,addr=1.2,multifunction=on,drive=root,serial=root,werror=report\n"
        "-add-fd\nfd=20,set=3\n"
        "-blockdev\ndriver=raw,node-name=volume-1,read-only=off,discard=unmap,file.driver=file,file.filename=/dev/fdset/3,"
        "file.locking=off\n"
        "-device\nvirtio-blk-pci,addr=1.3,multifunction=on,drive=volume-1,serial=volume-1,werror=report\n"
        "-object\nrng-builtin,id=rng\n-device\nvirtio-rng-pci,addr=1.4,multifunction=on,rng=rng\n"
        "-device\nvirtio-balloon-pci,addr=1.5,multifunction=on,free-page-reporting=on\n"
        "-device\nvfio-pci,host=0000:01:00.0\n");
    /* Cards come after everything that the guest needs to start. */
    const struct vm_link links[] = { { .fd = 30, .mac = { 0xa0, 0x13, 0, 0, 0, 1 } }, { .fd = 31, .mac = { 0xff, 9, 8, 7, 6, 0x5a } } };
    cleanup_strv struct gv_strv with_links = { 0 };
    a.links = links;
    a.link_count = 2;
    assert_int_equal(vm_args_build(&with_links, &a, &err), 0);
    cleanup_free char *text_with_links = joined(&with_links);
    assert_non_null(strstr(text_with_links,
                           "-netdev\ndgram,id=net-0,local.type=fd,local.str=30\n"
                           "-device\nvirtio-net-pci,addr=1.4,multifunction=on,netdev=net-0,mac=a0:13:00:00:00:01,romfile=\n"
                           "-netdev\ndgram,id=net-1,local.type=fd,local.str=31\n"
                           "-device\nvirtio-net-pci,addr=1.5,multifunction=on,netdev=net-1,mac=ff:09:08:07:06:5a,romfile=\n"
                           "-object\nrng-builtin,id=rng\n"));
    a.pci_devices = bad;
    assert_int_equal(vm_args_build(&none, &a, &err), -1);
    assert_int_equal(err.code, GV_E_USAGE);
}

static void test_mmio_and_verbose(void **state)
{
    (void)state;
    struct vm_platform mmio = plain;
    mmio.mmio = true;
    mmio.firmware = NULL;
    static const int images[] = { 10 };
    const struct vm_args a = { .platform = &mmio,
                               .qemu = "q",
                               .kernel = "k",
                               .initramfs = "i",
                               .cpus = 1,
                               .memory = 1U << 20,
                               .agent_fd = 5,
                               .qmp_fd = 6,
                               .console_fd = 7,
                               .image_fds = images,
                               .image_count = 1,
                               .verbose = true };
    cleanup_strv struct gv_strv argv = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(vm_args_build(&argv, &a, &err), 0);
    cleanup_free char *text = joined(&argv);
    assert_null(strstr(text, "-bios"));
    assert_null(strstr(text, "pci"));
    assert_null(strstr(text, "quiet"));
    assert_non_null(strstr(text, "-append\nconsole=ttyS0\n"));
    assert_non_null(strstr(text, "-device\nvirtio-blk-device,drive=image-0,serial=image-0\n"));
    assert_non_null(strstr(text, "-device\nvirtio-serial-device,id=serial,max_ports=2\n"));
}

static void test_many_devices(void **state)
{
    (void)state;
    static struct vm_share shares[VM_VOLUMES_MAX];
    struct vm_args a = { .platform = &plain,
                         .qemu = "q",
                         .kernel = "k",
                         .initramfs = "i",
                         .cpus = 1,
                         .memory = 1U << 20,
                         .shares = shares,
                         .share_count = VM_VOLUMES_MAX };
    cleanup_strv struct gv_strv argv = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    assert_int_equal(vm_args_build(&argv, &a, &err), 0);
    cleanup_free char *text = joined(&argv);
    /* The serial device is 0; volume 127 is device 128, in slot 1 + 128 / 8 = 17. */
    assert_non_null(strstr(text, "virtio-9p-pci,addr=11.0,multifunction=on,fsdev=volume-127,"));
    struct vm_platform small = plain;
    small.devices_max = 100;
    a.platform = &small;
    assert_int_equal(vm_args_build(&argv, &a, &err), -1);
    assert_int_equal(err.code, GV_E_LIMIT);
    assert_non_null(strstr(err.msg, "128 volumes"));
}

/* Whatever is chosen for an accelerator: no network, nothing that QEMU starts by itself, no name of a socket. */
static void test_platforms(void **state)
{
    (void)state;
    static const struct {
        enum vm_accel accel;
        uint32_t tsc_khz;
    } cases[] = { { VM_ACCEL_KVM, 0 }, { VM_ACCEL_TCG, 0 }, { VM_ACCEL_TCG, 2500000 } };
    for (size_t i = 0; i < 3; i++) {
        const struct vm_platform *p = vm_platform_for(cases[i].accel, cases[i].tsc_khz);
        assert_int_equal(p->accel, cases[i].accel);
        assert_int_equal(strncmp(p->accel_option, p->accel == VM_ACCEL_KVM ? "kvm" : "tcg", 3), 0);
        assert_non_null(strstr(p->append, "panic=-1"));
        assert_non_null(p->kernel);
        const struct vm_args a = {
            .platform = p, .qemu = "q", .kernel = "k", .initramfs = "i", .cpus = 1, .memory = 1U << 20, .tsc_khz = cases[i].tsc_khz
        };
        cleanup_strv struct gv_strv argv = { 0 };
        struct gv_error err = GV_ERROR_INIT;
        assert_int_equal(vm_args_build(&argv, &a, &err), 0);
        cleanup_free char *text = joined(&argv);
        /* Without a known counter the guest must find something to measure it with. */
        assert_int_equal(strstr(text, "tsc_early_khz=2500000 lpj=10000000") != NULL, cases[i].tsc_khz != 0);
        assert_int_equal(strstr(text, "acpi=off") == NULL, p->accel == VM_ACCEL_TCG && cases[i].tsc_khz == 0);
        assert_null(strstr(text, "net"));
        assert_null(strstr(text, "path="));
        assert_non_null(strstr(text, "-nodefaults\n-no-user-config\n-no-reboot\n"));
    }
}

static void test_clock(void **state)
{
    (void)state;
    struct vm_clock first, odd;
    uint32_t khz[3];
    for (int i = 0; i < 3; i++) {
        vm_clock_look(&first);
        khz[i] = vm_clock_khz(&first);
        if (khz[i] == 0) {
            print_message("# skip: the counter of this host is no clock, or the host is too busy to read it\n");
            return;
        }
    }
    for (int i = 1; i < 3; i++)
        assert_true(abs((int)khz[i] - (int)khz[0]) < (int)(khz[0] / 2000)); /* generous: the host may be busy */
    odd = first;
    odd.ns = 0;
    assert_int_equal(vm_clock_khz(&odd), 0);
    odd = first;
    odd.tsc = UINT64_MAX;
    assert_int_equal(vm_clock_khz(&odd), 0);
    odd = first;
    odd.tsc -= 1ULL << 50;
    assert_int_equal(vm_clock_khz(&odd), 0);
}

static void test_volume_order(void **state)
{
    (void)state;
    static const struct vm_volume v[] = {
        { .guest_path = "/a/b/c" }, { .guest_path = "/z/" }, { .guest_path = "/a" }, { .guest_path = "//a//b" }, { .guest_path = "/b" },
    };
    size_t order[5];
    vm_volume_order(order, v, 5);
    static const size_t expected[] = { 1, 2, 4, 3, 0 };
    assert_memory_equal(order, expected, sizeof(order));
}

static void test_volume_open(void **state)
{
    (void)state;
    cleanup_free char *dir = test_directory(), *file = gv_asprintf("%s/file", dir);
    struct vm_share s = { .fd = -1 };
    struct gv_error err = GV_ERROR_INIT;
    test_write(file, "x", 0644);
    assert_int_equal(vm_volume_open(&s, &(struct vm_volume){ .host_path = dir, .guest_path = "/v", .readonly = true }, &err), 0);
    assert_true(s.readonly);
    close(s.fd);
    assert_int_equal(vm_volume_open(&s, &(struct vm_volume){ .host_path = dir, .guest_path = "/v/" }, &err), 0);
    assert_false(s.readonly);
    close(s.fd);

    static const char *const bad[] = { "", "v", "/", "//", NULL };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(vm_volume_open(&s, &(struct vm_volume){ .host_path = dir, .guest_path = bad[i] }, &err), -1);
        assert_int_equal(err.code, GV_E_USAGE);
    }
    assert_int_equal(vm_volume_open(&s, &(struct vm_volume){ .host_path = "/nonexistent/x", .guest_path = "/v" }, &err), -1);
    assert_int_equal(err.code, GV_E_NOT_FOUND);
    assert_int_equal(vm_volume_open(&s, &(struct vm_volume){ .host_path = file, .guest_path = "/v" }, &err), -1);
    assert_int_equal(err.sys, ENOTDIR);

    assert_int_equal(vm_volume_open(&s, &(struct vm_volume){ .kind = VM_VOLUME_RAM, .guest_path = "/v", .size = 4096 }, &err), 0);
    assert_int_equal(s.fd, -1);
    assert_int_equal(s.kind, VM_VOLUME_RAM);
    gv_remove_tree(dir, NULL);
}

/* A disk is one VM's alone, for as long as anybody has it open. */
static void test_disk_lock(void **state)
{
    (void)state;
    cleanup_free char *dir = test_directory(), *file = gv_asprintf("%s/disk", dir), *link = gv_asprintf("%s/link", dir);
    const struct vm_volume disk = { .kind = VM_VOLUME_DISK, .host_path = file, .guest_path = "/v" };
    struct vm_share s = { .fd = -1 }, other = { .fd = -1 };
    struct gv_error err = GV_ERROR_INIT;
    test_write(file, "x", 0600);
    assert_int_equal(symlink("disk", link), 0);
    assert_int_equal(vm_volume_open(&s, &disk, &err), 0);
    int inherited = dup(s.fd); /* as QEMU has it */
    close(s.fd);
    assert_int_equal(vm_volume_open(&other, &disk, &err), -1);
    assert_int_equal(err.code, GV_E_BUSY);
    close(inherited);
    assert_int_equal(vm_volume_open(&other, &disk, &err), 0);
    close(other.fd);
    assert_int_equal(vm_volume_open_disk(link, &err), -1);
    assert_int_equal(vm_volume_open_disk(dir, &err), -1);
    gv_remove_tree(dir, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),       cmocka_unit_test(test_disks_and_devices), cmocka_unit_test(test_mmio_and_verbose),
        cmocka_unit_test(test_many_devices), cmocka_unit_test(test_platforms),         cmocka_unit_test(test_clock),
        cmocka_unit_test(test_volume_order), cmocka_unit_test(test_volume_open),       cmocka_unit_test(test_disk_lock),
    };
    return cmocka_run_group_tests_name("vm_args", tests, NULL, NULL);
}
