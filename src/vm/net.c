/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Network of a guest that is ready: its interfaces, and its files about names. An interface is named to the agent by the hardware address
 * that its card was made with, whatever address and name it has by now.
 */
#include <string.h>

#include "vm/machine.h"

/* What the headers of a frame, of its fields and its numbers take at most, without the texts. */
#define FIELD_ROOM 16U
#define FRAME_ROOM 512U

struct pending {
    vm_done_fn done;
    void *user;
};

static void on_answer(void *user, const struct gv_error *failed, const void *payload, size_t n)
{
    struct pending *p = user;
    (void)payload, (void)n;
    struct pending call = *p;
    free(p);
    if (call.done)
        call.done(call.user, failed);
}

static int request(struct vm *vm, struct wire_writer *w, enum wire_type type, vm_done_fn done, void *user, struct gv_error *err)
{
    struct pending *p = gv_new(struct pending);
    *p = (struct pending){ done, user };
    if (vm_agent_request(vm->agent, w, type, on_answer, p, err) == 0)
        return 0;
    free(p);
    return -1;
}

static int check_state(const struct vm *vm, struct gv_error *err)
{
    if (vm->state < VM_READY)
        return gv_error_set(err, GV_E_USAGE, 0, "the VM is not ready yet");
    if (vm->state > VM_READY)
        return gv_error_set(err, GV_E_DIED, 0, "the VM is ending");
    return 0;
}

/* Room for a list, and the list. */
static size_t texts_size(const char *const *list)
{
    size_t n = 0;
    for (; list && *list; list++)
        n += strlen(*list) + FIELD_ROOM;
    return n;
}

static void put_texts(struct wire_writer *w, uint16_t key, const char *const *list)
{
    for (; list && *list; list++)
        wire_put_text(w, key, *list);
}

static bool given(const char *s)
{
    return s && *s;
}

int vm_net_configure(struct vm *vm, const struct vm_net *net, vm_done_fn done, void *user, struct gv_error *err)
{
    char mac[VM_MAC_TEXT];
    struct wire_writer w;
    if (check_state(vm, err) < 0)
        return -1;
    if (net->link >= vm->link_count)
        return gv_error_set(err, GV_E_USAGE, 0, "the VM has no network card %zu", net->link);
    /* The agent's own field for the default route takes one family. */
    cleanup_free char *route6 = given(net->gateway6) ? gv_asprintf("::/0 via %s", net->gateway6) : NULL;
    size_t size = FRAME_ROOM + texts_size(net->addresses) + texts_size(net->routes) + (given(net->gateway) ? strlen(net->gateway) : 0) +
                  (route6 ? strlen(route6) : 0);
    cleanup_free uint8_t *frame = gv_alloc(size);
    wire_frame_begin(&w, frame, size);
    vm_mac_text(mac, vm->macs[net->link]);
    wire_put_text(&w, KEY_IFACE, mac);
    put_texts(&w, KEY_ADDRESS, net->addresses);
    if (given(net->gateway))
        wire_put_text(&w, KEY_GATEWAY, net->gateway);
    if (route6)
        wire_put_text(&w, KEY_ROUTE, route6);
    put_texts(&w, KEY_ROUTE, net->routes);
    wire_put_number(&w, KEY_MTU, net->mtu ? net->mtu : VM_MTU_DEFAULT);
    if (net->mac) {
        vm_mac_text(mac, net->mac);
        wire_put_text(&w, KEY_MAC, mac);
    }
    return request(vm, &w, WIRE_NET, done, user, err);
}

int vm_names_set(struct vm *vm, const struct vm_names *names, vm_done_fn done, void *user, struct gv_error *err)
{
    struct wire_writer w;
    if (check_state(vm, err) < 0)
        return -1;
    /* The guest's own name is added by the agent, unless one of these lines has it. */
    size_t size = FRAME_ROOM + texts_size(names->hosts) + texts_size(names->dns) + texts_size(names->search);
    cleanup_free uint8_t *frame = gv_alloc(size);
    wire_frame_begin(&w, frame, size);
    put_texts(&w, KEY_HOST, names->hosts);
    put_texts(&w, KEY_DNS, names->dns);
    put_texts(&w, KEY_SEARCH, names->search);
    return request(vm, &w, WIRE_HOSTS, done, user, err);
}
