/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `gvmkit stats`: what VMs use. */
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/look.h"
#include "cli/table.h"
#include "vms/vms.h"

#define EVERY_MS 1000
#define FIRST_MS 500   /* between the two looks that tell the use of the CPU */
#define ANSWER_MS 3000 /* for all VMs together */

static const struct cli_option options[] = {
    { "no-stream", 0, NULL, "print once, and end" },
    { "json", 0, NULL, "print a JSON array, once" },
    { 0 },
};

struct args {
    bool once, json;
};

/* One VM, and what it said. */
struct sample {
    char *name;
    struct vms_call *call;
    bool known, before; /* now and last hold something */
    struct vms_stats now, last;
};

struct samples {
    struct sample *list;
    size_t count;
};

static int take(void *user, const char *name, const char *value, struct gv_error *err)
{
    (void)value;
    (void)err;
    struct args *a = user;
    a->once = true;
    if (!strcmp(name, "json"))
        a->json = true;
    return 0;
}

static void samples_clear(struct samples *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->list[i].name);
    free(s->list);
    *s = (struct samples){ 0 };
}

static void samples_add(struct samples *s, const char *name)
{
    s->list = gv_reallocarray(s->list, s->count + 1, sizeof(*s->list));
    s->list[s->count++] = (struct sample){ .name = gv_strdup(name) };
}

/* Those that run now, with what was known of them. */
static int samples_list(struct samples *s, struct gv_error *err)
{
    struct vms_record *list;
    size_t n;
    if (vms_list(&list, &n, err) < 0)
        return -1;
    struct samples old = *s;
    *s = (struct samples){ 0 };
    for (size_t i = 0; i < n; i++) {
        if (list[i].state != VMS_RUNNING)
            continue;
        samples_add(s, list[i].name);
        for (size_t k = 0; k < old.count; k++) {
            if (!strcmp(old.list[k].name, list[i].name)) {
                s->list[s->count - 1].now = old.list[k].now;
                s->list[s->count - 1].known = old.list[k].known;
            }
        }
    }
    samples_clear(&old);
    vms_list_free(list, n);
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Asks all at once; who does not answer in time is not known. With must, one that cannot be asked is a failure. */
static int samples_take(struct samples *s, bool must, struct gv_error *err)
{
    const struct vms_request request = { .op = VMS_STATS };
    int status = 0;
    for (size_t i = 0; i < s->count; i++) {
        struct sample *m = &s->list[i];
        m->last = m->now;
        m->before = m->known;
        m->known = false;
        if (vms_call_start(&m->call, m->name, &request, NULL, err) < 0) {
            m->call = NULL;
            status = must ? -1 : status;
        }
    }
    int64_t deadline = now_ms() + ANSWER_MS;
    for (size_t i = 0; i < s->count; i++) {
        struct sample *m = &s->list[i];
        int got = 0;
        for (int64_t left; m->call && got == 0 && (left = deadline - now_ms()) > 0;) {
            struct vms_outcome out = { 0 };
            struct pollfd p = { .fd = vms_call_fd(m->call), .events = POLLIN };
            if (poll(&p, 1, (int)left) > 0)
                got = vms_call_read(m->call, &out, NULL);
            if (got > 0) {
                m->now = out.stats;
                m->known = true;
            }
        }
        vms_call_close(steal_ptr(m->call));
    }
    return status;
}

/* Of one CPU; negative when it is not known. */
static double cpu_percent(const struct sample *m)
{
    if (!m->known || !m->before || m->now.at_ms <= m->last.at_ms || m->now.cpu_ms < m->last.cpu_ms)
        return -1;
    return 100.0 * (double)(m->now.cpu_ms - m->last.cpu_ms) / (double)(m->now.at_ms - m->last.at_ms);
}

static void print_json(const struct samples *s)
{
    size_t elements = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct sample *m = &s->list[i];
        json_t *o = json_pack("{s:s}", "name", m->name);
        double cpu = cpu_percent(m);
        if (cpu >= 0)
            json_object_set_new(o, "cpu_percent", json_real(cpu));
        if (m->known)
            json_object_update_new(o, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "cpu_ms", (json_int_t)m->now.cpu_ms, "cpus",
                                                (json_int_t)m->now.cpus, "memory", (json_int_t)m->now.memory, "guest_memory_used",
                                                (json_int_t)m->now.guest_used, "guest_memory_total", (json_int_t)m->now.guest_total,
                                                "processes", (json_int_t)m->now.processes));
        look_json_element(o, &elements);
    }
    look_json_array_end(elements);
}

static void print_table(const struct samples *s)
{
    static const char *const head[] = { "NAME", "CPU %", "MEMORY", "GUEST MEMORY", "PROCESSES" };
    struct table t = { .columns = 5 };
    for (size_t i = 0; i < 5; i++)
        table_add(&t, head[i], 0);
    for (size_t i = 0; i < s->count; i++) {
        const struct sample *m = &s->list[i];
        char cpu[32] = "-", memory[GV_SIZE_TEXT] = "-", used[GV_SIZE_TEXT], total[GV_SIZE_TEXT], guest[80] = "-", processes[32] = "-";
        if (cpu_percent(m) >= 0)
            snprintf(cpu, sizeof(cpu), "%.1f", cpu_percent(m));
        if (m->known) {
            gv_format_size(memory, m->now.memory);
            gv_format_size(used, m->now.guest_used);
            gv_format_size(total, m->now.guest_total);
            snprintf(guest, sizeof(guest), "%s / %s", used, total);
            snprintf(processes, sizeof(processes), "%llu", (unsigned long long)m->now.processes);
        }
        const char *const cells[] = { m->name, cpu, memory, guest, processes };
        for (size_t k = 0; k < 5; k++)
            table_add(&t, cells[k], 0);
    }
    table_print(&t);
}

static int show(struct samples *s, const struct args *a, bool all, struct gv_error *err)
{
    bool redraw = isatty(STDOUT_FILENO) && !a->once;
    for (bool first = true;; first = false) {
        if ((all && samples_list(s, err) < 0) || samples_take(s, !all, err) < 0)
            return -1;
        if (!first) {
            if (a->json)
                print_json(s);
            else
                print_table(s);
            if (redraw)
                fputs("\033[J", stdout); /* what was below */
            if (a->once || fflush(stdout) != 0)
                return 0;
        }
        int ms = first ? FIRST_MS : EVERY_MS;
        nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
        if (redraw)
            fputs(first ? "\033[2J\033[H" : "\033[H", stdout);
    }
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct args a = { 0 };
    struct gv_error err = GV_ERROR_INIT;
    struct samples s = { 0 };
    int at = cli_parse(self, argc, argv, take, &a);
    if (at < 0)
        return at == CLI_HELP ? CLI_OK : CLI_USAGE;
    look_begin();
    for (int i = at; i < argc; i++)
        samples_add(&s, argv[i]);
    int status = show(&s, &a, at == argc, &err);
    samples_clear(&s);
    return status < 0 ? cli_fail(&err) : CLI_OK;
}

const struct cli_command cmd_stats = {
    .name = "stats",
    .synopsis = "[OPTIONS] [NAME...]",
    .summary = "Show what VMs use",
    .details = "CPU % is of one CPU of the host, MEMORY what QEMU has in the host's memory; GUEST MEMORY and PROCESSES are what the guest "
               "says. Without\n"
               "a NAME all VMs that run and have one are shown; again each second, until Ctrl-C.",
    .example = "  gvmkit stats --no-stream",
    .options = options,
    .run = run,
};
