/* SPDX-License-Identifier: GPL-2.0 */
/* What pools are and did. See stats.c. */
#ifndef FBUF_STATS_H
#define FBUF_STATS_H

#include <linux/types.h>

struct fbuf_counters;
struct fbuf_handle;
struct fbuf_info;
struct fbuf_pool;

/**
 * struct fbuf_flight - what of a pool is in flight
 * @bufs: buffers
 * @bytes: bytes, snapshots in flight included
 * @aged: one of them was sent
 * @age_ms: milliseconds since the last send of the one for which that is longest
 * @sock: inode number of the socket that it was last sent to; 0 if there were
 *        many, none of which was full
 */
struct fbuf_flight {
	unsigned int bufs;
	u64 bytes;
	bool aged;
	u64 age_ms;
	u64 sock;
};

void fbuf_counters_sum(const struct fbuf_pool *pool, struct fbuf_counters *sum);
void fbuf_settle_all(struct fbuf_pool *pool);
void fbuf_flight_get(struct fbuf_pool *pool, struct fbuf_flight *flight);
u64 fbuf_pool_resident(struct fbuf_pool *pool);
void fbuf_info(struct fbuf_handle *h, struct fbuf_info *info);

#endif /* FBUF_STATS_H */
