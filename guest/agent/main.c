/* SPDX-License-Identifier: GPL-3.0-or-later */
/* PID 1 of the guest. */
#include <sys/stat.h>
#include <unistd.h>

#include "guest/agent/agent.h"

int main(void)
{
    static struct agent agent;
    if (getpid() != 1) {
        static const char why[] = "this is the gvmkit guest agent: it runs as process 1 of a virtual machine\n";
        return write(2, why, sizeof(why) - 1) < 0 ? 2 : 1;
    }
    umask(0);
    int port = boot_port();
    if (agent_init(&agent) < 0 || channel_open(&agent, port) < 0)
        boot_die("no memory");
    boot_world();
    agent_loop(&agent);
    boot_power_off();
}
