/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the guest is told before it is ready: the clock, random numbers and the root at once; when the root is there, the hosts file, and
 * then the volumes, outer ones before those mounted inside them.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "vm/machine.h"

#define SEED_SIZE 64U
/* Room for any request made here: paths up to PATH_MAX, some names. */
#define FRAME_SIZE 16384U

static void setup_failed(struct vm *vm, const struct gv_error *failed, const char *what)
{
    struct gv_error why = *failed;
    gv_error_prefix(&why, "%s", what);
    vm_fail(vm, &why);
}

static void mount_next(struct vm *vm);

static void on_mount_answer(void *user, const struct gv_error *failed, const void *payload, size_t n)
{
    struct vm *vm = user;
    (void)payload, (void)n;
    if (vm->state != VM_SETTING_UP)
        return;
    if (failed) {
        const struct vm_mount *m = &vm->mounts[vm->mount_order[vm->mounts_done]];
        struct gv_error why = *failed;
        gv_error_prefix(&why, "cannot mount the volume `%s` at `%s`", m->host_path, m->guest_path);
        vm_fail(vm, &why);
        return;
    }
    vm->mounts_done++;
    mount_next(vm);
}

static const char *const filesystems[] = { [VM_VOLUME_DIRECTORY] = "9p", [VM_VOLUME_DISK] = "ext4", [VM_VOLUME_RAM] = "tmpfs" };

/* One after the other: the guest works on requests side by side, and a volume inside another must come after it. */
static void mount_next(struct vm *vm)
{
    if (vm->mounts_done == vm->mount_count) {
        vm_setup_done(vm);
        return;
    }
    size_t i = vm->mount_order[vm->mounts_done];
    const struct vm_mount *m = &vm->mounts[i];
    struct gv_error err = GV_ERROR_INIT;
    uint8_t frame[FRAME_SIZE];
    char tag[VM_NAME_MAX];
    struct wire_writer w;
    vm_volume_tag(tag, i);
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_text(&w, KEY_TAG, tag);
    wire_put_text(&w, KEY_FS, filesystems[m->kind]);
    wire_put_text(&w, KEY_PATH, m->guest_path);
    if (m->readonly)
        wire_put_number(&w, KEY_READONLY, 1);
    if (m->kind == VM_VOLUME_RAM)
        wire_put_number(&w, KEY_SIZE, m->size);
    if (m->give_to_user && vm->owner)
        wire_put_text(&w, KEY_OWNER, vm->owner);
    if (vm_agent_request(vm->agent, &w, WIRE_MOUNT, on_mount_answer, vm, &err) < 0)
        setup_failed(vm, &err, "cannot mount a volume");
}

static void on_hosts_answer(void *user, const struct gv_error *failed, const void *payload, size_t n)
{
    struct vm *vm = user;
    (void)payload, (void)n;
    if (vm->state != VM_SETTING_UP)
        return;
    if (failed)
        setup_failed(vm, failed, "cannot write /etc/hosts in the VM");
    else
        mount_next(vm);
}

static int request_hosts(struct vm *vm, struct gv_error *err)
{
    uint8_t frame[FRAME_SIZE];
    struct wire_writer w;
    cleanup_free char *own = gv_asprintf("127.0.1.1 %s", vm->hostname); /* localhost is written by the agent itself */
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_text(&w, KEY_HOST, own);
    return vm_agent_request(vm->agent, &w, WIRE_HOSTS, on_hosts_answer, vm, err);
}

static void on_root_answer(void *user, const struct gv_error *failed, const void *payload, size_t n)
{
    struct vm *vm = user;
    struct gv_error err = GV_ERROR_INIT;
    (void)payload, (void)n;
    if (vm->state != VM_SETTING_UP)
        return;
    if (failed)
        setup_failed(vm, failed, "cannot mount the image in the VM");
    else if (request_hosts(vm, &err) < 0)
        vm_fail(vm, &err);
}

static void on_clock_answer(void *user, const struct gv_error *failed, const void *payload, size_t n)
{
    struct vm *vm = user;
    (void)payload, (void)n;
    if (failed && vm->state == VM_SETTING_UP)
        setup_failed(vm, failed, "cannot set the clock of the VM");
}

static int request_clock(struct vm *vm, struct gv_error *err)
{
    uint8_t frame[256], seed[SEED_SIZE];
    struct wire_writer w;
    struct timespec now;
    if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        return gv_error_errno(err, "cannot get random numbers for the VM");
    clock_gettime(CLOCK_REALTIME, &now);
    wire_frame_begin(&w, frame, sizeof(frame));
    wire_put_number(&w, KEY_SECONDS, (uint64_t)now.tv_sec);
    wire_put_number(&w, KEY_NANOSECONDS, (uint64_t)now.tv_nsec);
    wire_put_bytes(&w, KEY_SEED, seed, sizeof(seed));
    int status = vm_agent_request(vm->agent, &w, WIRE_CLOCK, on_clock_answer, vm, err);
    explicit_bzero(seed, sizeof(seed));
    explicit_bzero(frame, sizeof(frame));
    return status;
}

static int request_root(struct vm *vm, struct gv_error *err)
{
    uint8_t frame[FRAME_SIZE];
    struct wire_writer w;
    wire_frame_begin(&w, frame, sizeof(frame));
    for (size_t i = 0; i < vm->image_count; i++) {
        char serial[VM_NAME_MAX];
        vm_image_serial(serial, i);
        wire_put_text(&w, KEY_DISK, serial);
    }
    if (vm->root_on_disk)
        wire_put_text(&w, KEY_UPPER_DISK, VM_ROOT_SERIAL);
    wire_put_number(&w, KEY_UPPER_SIZE, vm->root_size);
    wire_put_text(&w, KEY_HOSTNAME, vm->hostname);
    return vm_agent_request(vm->agent, &w, WIRE_ROOT, on_root_answer, vm, err);
}

void vm_setup_start(struct vm *vm)
{
    struct gv_error err = GV_ERROR_INIT;
    if (vm->probe) {
        vm_setup_done(vm);
        return;
    }
    if (request_clock(vm, &err) < 0 || request_root(vm, &err) < 0)
        vm_fail(vm, &err);
}
