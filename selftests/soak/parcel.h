/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FBUF_SOAK_PARCEL_H
#define FBUF_SOAK_PARCEL_H

#include "soak.h"

#define KEPT		8U
#define RECEIVE_MAX	(1U << 20)

/* Whoever receives by parcels: it keeps some of those that it has read. */
struct parcels {
	struct lane *l;
	struct pool *pool;
	int sock;
	struct kept {
		__u64 name;
		__u64 pos;
		size_t len;
	} kept[KEPT];		/* of a ring */
	unsigned int first, nr;
	__u8 *aside;		/* RECEIVE_MAX bytes */
};

void parcels_init(struct parcels *p, struct lane *l, struct pool *pool, int sock);

/* To be called before anything that waits for the sender. */
void parcels_before_wait(struct parcels *p);

/* Receives up to @len bytes, those from @pos on, as recv() does; EINTR: nothing yet. */
ssize_t parcels_next(struct parcels *p, size_t len, __u64 pos, __u8 *to);

/*
 * Sends what comes on to another socket, in this process, and goes on in another one,
 * whose peer is that socket; or does nothing, if the draw says so. Returns the path over
 * which it comes to the one that goes on.
 */
enum path parcels_send_on(struct lane *l, unsigned int nr);

#endif /* FBUF_SOAK_PARCEL_H */
