// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pools without the module: which call is which. */

#include <fbuf/backend.h>

#include "soft.h"

#define SOFT_FEATURES	(FBUF_FEATURE_NAMED_SEGS | FBUF_FEATURE_COPY_ABOVE |	\
			 FBUF_FEATURE_LAZY | FBUF_FEATURE_PROTECTS |		\
			 FBUF_FEATURE_COOKIE | FBUF_FEATURE_DROP |		\
			 FBUF_FEATURE_PARCELS)

static void info_get(struct soft_handle *h, struct fbuf_info *info)
{
	struct soft_pool *p = h->pool;

	soft_lock(p);
	*info = (struct fbuf_info) {
		.size = info->size,
		.id = p->id,
		.pool_size = p->size,
		.buf_size = p->buf_size,
		.nr_bufs = p->nr_bufs,
		.nr_held = p->nr_held,
		.nr_in_flight = p->nr_limbo,
		.node = p->node,
		.uid = p->uid,
		.sends = p->sends,
		.bytes = p->bytes,
		.copied = p->copied,
		.allocs = p->allocs,
		.pool_flags = p->flags,
		.rights = h->rights,
		.handle = h->number,
		.nr_handles = p->nr_handles,
		.holds = h->nr_holds,
		.max_holds = h->max_holds,
		.reuses = p->reuses,
		.fills = p->fills,
		.filled = p->filled,
		.features = SOFT_FEATURES,
		.copy_above = p->copy_above,
		.nr_parcels = p->nr_parcels,
		.parcel_bytes = p->parcel_bytes,
		.recvs = p->recvs,
		.received = p->received,
		.recv_copied = p->received,
	};
	if (h->ring)
		info->ring_size = FBUF_RING_ENTRIES + h->ring->entries *
				  sizeof(struct fbuf_ring_entry);
	soft_unlock(p);
	info->resident = soft_pool_resident(p);
	/* To the memory cgroup, and to nobody else. */
	info->charged = info->resident + info->parcel_bytes;
}

/* From a caller whose structure may be shorter than ours, or longer. */
static int soft_info(struct soft_handle *h, size_t size, struct fbuf_info *arg)
{
	struct fbuf_info info = { .size = size };

	soft_sweep(h->pool);
	info_get(h, &info);
	memcpy(arg, &info, size < sizeof(info) ? size : sizeof(info));
	return 0;
}

static int call(struct soft_handle *h, unsigned long cmd, void *arg)
{
	switch (_IOC_NR(cmd)) {
	case _IOC_NR(FBUF_IOC_SEND):
		return soft_send(h, arg);
	case _IOC_NR(FBUF_IOC_ALLOC):
	case _IOC_NR(FBUF_IOC_FREE):
	case _IOC_NR(FBUF_IOC_HOLD):
	case _IOC_NR(FBUF_IOC_WAIT):
	case _IOC_NR(FBUF_IOC_SECURE):
	case _IOC_NR(FBUF_IOC_DROP):
		return soft_batch(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_PASS):
		return soft_pass(h, arg);
	case _IOC_NR(FBUF_IOC_FANOUT):
		return soft_fanout(h, arg);
	case _IOC_NR(FBUF_IOC_SEND_BATCH):
		return soft_send_batch(h, arg);
	case _IOC_NR(FBUF_IOC_FILL):
		return soft_fill(h, arg);
	case _IOC_NR(FBUF_IOC_RECV):
		return soft_recv(h, arg);
	case _IOC_NR(FBUF_IOC_READ):
		return soft_read(h, arg);
	case _IOC_NR(FBUF_IOC_SHOW):
		return soft_show(h, arg);
	case _IOC_NR(FBUF_IOC_SHARE):
		return soft_share(h, arg);
	case _IOC_NR(FBUF_IOC_RING):
		return soft_ring_setup(h, arg);
	case _IOC_NR(FBUF_IOC_INFO):
		return soft_info(h, _IOC_SIZE(cmd), arg);
	}
	return -ENOTTY;
}

int soft_call(struct soft_handle *h, unsigned long cmd, void *arg)
{
	struct soft_entry e;
	int ret;

	/* What parent and child do with it, neither would know of the other. */
	if (soft_is_forked(h->pool))
		return -EXDEV;
	soft_enter(&e);
	ret = call(h, cmd, arg);
	soft_leave(&e);
	return ret;
}

uint64_t soft_features(void)
{
	struct soft_entry e;
	bool secures;

	soft_enter(&e);
	secures = soft_can_secure();
	soft_leave(&e);
	return SOFT_FEATURES | (secures ? FBUF_FEATURE_SECURE : 0);
}
