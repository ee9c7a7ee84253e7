/* SPDX-License-Identifier: GPL-2.0 */
/* The control plane. See netlink.c. */
#ifndef FBUF_NETLINK_H
#define FBUF_NETLINK_H

int fbuf_netlink_init(void);
void fbuf_netlink_exit(void);

#endif /* FBUF_NETLINK_H */
