/* SPDX-License-Identifier: GPL-2.0 */
/* What fbuf_floor.ko is asked: one structure for both calls. */
#ifndef FBUF_FLOOR_H
#define FBUF_FLOOR_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define FLOOR_DEVICE	"/dev/fbuf-floor"
#define FLOOR_SEGS_MAX	1024U
#define FLOOR_SOCKS_MAX	4096U

/**
 * struct floor - FLOOR_IOC_SETUP and FLOOR_IOC_SEND
 * @nr: SETUP: segments of the message; SEND: sockets
 * @seg_size: SETUP: bytes in a segment, up to 2 MiB
 * @fds: SEND: address of an array of @nr sockets (__s32)
 * @ns: SEND, out: what the sends took by the clock
 *
 * SETUP makes the message anew, of zeros; write(2) fills it. SEND sends it to
 * each socket, and returns 0 if each took all of it.
 */
struct floor {
	__u32 nr;
	__u32 seg_size;
	__u64 fds;
	__u64 ns;
};

#define FLOOR_IOC_SETUP	_IOW(0xf1, 0, struct floor)
#define FLOOR_IOC_SEND	_IOWR(0xf1, 1, struct floor)

#endif /* FBUF_FLOOR_H */
