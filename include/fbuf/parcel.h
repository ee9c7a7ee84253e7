/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfbuf: parcels, fbuf_parcel(3): received bytes that stay where the network put
 * them, to be looked at where needed and sent on without a copy.
 *
 * A parcel has a name, as a buffer has. fbuf_gather_append() takes a stretch of one
 * like a stretch of a buffer, fbuf_free() drops parcels, and a view can have one.
 *
 * Calls that can fail return a negative errno value.
 */
#ifndef FBUF_PARCEL_H
#define FBUF_PARCEL_H

#include <fbuf/fbuf.h>
#include <fbuf/view.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Is this the name of a parcel, rather than a buffer's? */
static __inline__ int fbuf_is_parcel(uint64_t name)
{
	return (name & FBUF_NAME_PARCEL) != 0;
}

/*
 * Receive up to len bytes of a stream socket as a parcel, whose name goes to *name;
 * flags is FBUF_RECV_*. Returns how many there are; 0 at the end of the stream, with
 * no parcel.
 */
ssize_t fbuf_recv(struct fbuf_pool *pool, int sock, size_t len,
		  unsigned int flags, uint64_t *name);
/*
 * The same, by one call with what often goes with it: the parcel *name is dropped
 * first, unless it is 0, and the first bytes are copied to head, which has room for
 * *head_len; it becomes how many they are.
 */
ssize_t fbuf_recv_head(struct fbuf_pool *pool, int sock, size_t len,
		       unsigned int flags, void *head, size_t *head_len,
		       uint64_t *name);
/* Copy len bytes from offset on out of a parcel: returns 0. */
int fbuf_parcel_read(const struct fbuf_pool *pool, uint64_t name, size_t offset,
		     void *to, size_t len);
/*
 * Tell the parts of a parcel that can be looked at where they are, up to count of
 * them; returns how many there are, which may be none. struct fbuf_part.offset and
 * .len say which bytes of the parcel.
 */
int fbuf_parcel_show(struct fbuf_pool *pool, uint64_t name,
		     struct fbuf_part *parts, unsigned int count);
/* Where such a part is, for reading, until the parcel is dropped; or NULL. */
const void *fbuf_parcel_addr(struct fbuf_pool *pool,
			     const struct fbuf_part *part);
/*
 * A view of a parcel of len bytes, which has the parcel from then on and drops it with
 * its last reference. Its bytes are read-only, and copied when they are asked for,
 * unless they can be looked at where they are. NULL: there is no memory, or it is no
 * parcel's name.
 */
struct fbuf_view *fbuf_view_parcel(struct fbuf_pool *pool, uint64_t name,
				   size_t len);

#ifdef __cplusplus
}
#endif

#endif /* FBUF_PARCEL_H */
