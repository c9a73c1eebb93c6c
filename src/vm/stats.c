/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vm/machine.h"

struct asked {
    vm_stats_fn done;
    void *user;
};

static void on_answer(void *user, const struct gv_error *failed, const void *payload, size_t n)
{
    struct asked asked = *(struct asked *)user;
    struct vm_stats s = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    const struct {
        uint16_t key;
        uint64_t *value;
    } numbers[] = {
        { KEY_STAT_UPTIME, &s.uptime_us },
        { KEY_STAT_CPU_USER, &s.cpu_user_us },
        { KEY_STAT_CPU_SYSTEM, &s.cpu_system_us },
        { KEY_STAT_MEM_TOTAL, &s.memory_total },
        { KEY_STAT_MEM_AVAILABLE, &s.memory_available },
        { KEY_STAT_ROOT_USED, &s.root_used },
        { KEY_STAT_ROOT_SIZE, &s.root_size },
        { KEY_STAT_PROCESSES, &s.processes },
    };
    free(user);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers) && !failed; i++)
        if (wire_find_number(payload, n, numbers[i].key, 0, numbers[i].value) < 0) {
            gv_error_set(&err, GV_E_PROTOCOL, 0, "the guest's statistics cannot be read");
            failed = &err;
        }
    asked.done(asked.user, failed ? NULL : &s, failed);
}

int vm_stats_get(struct vm *vm, vm_stats_fn done, void *user, struct gv_error *err)
{
    uint8_t frame[WIRE_HEADER];
    struct wire_writer w;
    if (vm->state != VM_READY)
        return gv_error_set(err, GV_E_DIED, 0, "the VM is not ready yet, or ending");
    wire_frame_begin(&w, frame, sizeof(frame));
    struct asked *asked = gv_new(struct asked);
    *asked = (struct asked){ done, user };
    if (vm_agent_request(vm->agent, &w, WIRE_STATS, on_answer, asked, err) == 0)
        return 0;
    free(asked);
    return -1;
}
