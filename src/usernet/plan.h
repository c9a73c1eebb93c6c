/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The guest's side of the user-space network: fixed addresses, so that nothing needs DHCP. The IPv4 network is TEST-NET-1, which nobody has:
 * whatever real network a user allows, it is not hidden behind ours.
 */
#ifndef GV_USERNET_PLAN_H
#define GV_USERNET_PLAN_H

/* A number of this file within a text. */
#define NET_PLAN_TEXT(number) NET_PLAN_TEXT_OF(number)
#define NET_PLAN_TEXT_OF(number) #number

#define NET_PLAN_NETWORK4 "192.0.2.0"
#define NET_PLAN_MASK4 "255.255.255.0"
#define NET_PLAN_GATEWAY4 "192.0.2.2"
#define NET_PLAN_RESOLVER4 "192.0.2.3"
#define NET_PLAN_GUEST4 "192.0.2.15"
#define NET_PLAN_BITS4 24

#define NET_PLAN_NETWORK6 "fd67:766d:6b69:7400::"
#define NET_PLAN_GATEWAY6 "fd67:766d:6b69:7400::2"
#define NET_PLAN_RESOLVER6 "fd67:766d:6b69:7400::3"
#define NET_PLAN_GUEST6 "fd67:766d:6b69:7400::f"
#define NET_PLAN_BITS6 64

/* Of the guest's card; the stack's own is 52:55 and its address. */
#define NET_PLAN_MAC                                                                                                                       \
    {                                                                                                                                      \
        0x52, 0x54, 0x00, 0x67, 0x76, 0x6d                                                                                                 \
    }

/* What the guest may send at once: any datagram, for fragments are refused. */
#define NET_PLAN_MTU 65520

#endif
