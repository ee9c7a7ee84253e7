// SPDX-License-Identifier: GPL-2.0
/*
 * What pools are and did, for people and programs to read. Counters are per CPU:
 * reading them slows nobody.
 */
#include <linux/cred.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/user_namespace.h>

#include "buffer.h"
#include "compat.h"
#include "folio.h"
#include "look.h"
#include "nudge.h"
#include "protect.h"
#include "ring.h"
#include "stats.h"
#include "types.h"

#define NR_COUNTERS	(sizeof(struct fbuf_counters) / sizeof(u64))

/* Buffers that are looked at with the pool's lock held, before others may have it. */
#define FLIGHT_LOOKS	1024U

static void counters_add(struct fbuf_counters *to,
			 const struct fbuf_counters *from)
{
	const u64 *src = (const u64 *)from;
	u64 *dst = (u64 *)to;
	size_t i;

	for (i = 0; i < NR_COUNTERS; i++)
		dst[i] += READ_ONCE(src[i]);
}

/**
 * fbuf_counters_sum() - add a pool's counters of all CPUs
 * @pool: the pool
 * @sum: what to add them to
 *
 * Context: any.
 */
void fbuf_counters_sum(const struct fbuf_pool *pool, struct fbuf_counters *sum)
{
	int cpu;

	for_each_possible_cpu(cpu)
		counters_add(sum, per_cpu_ptr(pool->counters, cpu));
}

static void flight_add(const struct fbuf_pool *pool,
		       const struct fbuf_buf *buf, struct fbuf_flight *flight)
{
	unsigned long sent = READ_ONCE(buf->sent);
	u64 age_ms = jiffies_to_msecs(jiffies - sent);

	flight->bufs++;
	flight->bytes += 1ULL << pool->buf_shift;
	if (!sent || age_ms < flight->age_ms)
		return;
	flight->aged = true;
	flight->age_ms = age_ms;
	flight->sock = READ_ONCE(buf->sock);
}

/* What of the buffers from number @from to before @to is in flight. */
static void flight_look(struct fbuf_pool *pool, unsigned int from,
			unsigned int to, struct fbuf_flight *flight)
{
	mutex_lock(&pool->lock);
	for (; from < to; from++) {
		if (!fbuf_buf_idle(pool, &pool->bufs[from], NULL))
			flight_add(pool, &pool->bufs[from], flight);
		cond_resched();
	}
	mutex_unlock(&pool->lock);
	cond_resched();
}

/**
 * fbuf_settle_all() - charge no more for what packets let go of
 * @pool: the pool
 *
 * Others may have the pool's lock between some of it and the next.
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_settle_all(struct fbuf_pool *pool)
{
	unsigned long i, nr = max_t(unsigned long, pool->nr_bufs,
				    READ_ONCE(pool->nr_orphans));

	if (!READ_ONCE(pool->nr_orphans) && list_empty_careful(&pool->reserved))
		return;
	for (i = 0; i < nr; i += FLIGHT_LOOKS) {
		mutex_lock(&pool->lock);
		fbuf_orphans_reap(pool, FLIGHT_LOOKS);
		fbuf_reserved_reap(pool, FLIGHT_LOOKS);
		mutex_unlock(&pool->lock);
		cond_resched();
	}
}

/**
 * fbuf_flight_get() - see what of a pool is in flight
 * @pool: the pool
 * @flight: where to
 *
 * Others may have the pool's lock between some buffers and the next: what is said
 * of these is of a later moment. A buffer that was in flight throughout is counted.
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_flight_get(struct fbuf_pool *pool, struct fbuf_flight *flight)
{
	unsigned int i, nr;

	memset(flight, 0, sizeof(*flight));
	for (i = 0; i < pool->nr_bufs; i += nr) {
		nr = min(pool->nr_bufs - i, FLIGHT_LOOKS);
		flight_look(pool, i, i + nr, flight);
	}
	fbuf_settle_all(pool);
	mutex_lock(&pool->lock);
	flight->bytes += (u64)pool->nr_orphans << PAGE_SHIFT;
	mutex_unlock(&pool->lock);
}

/**
 * fbuf_pool_resident() - how much memory a pool's buffers have now
 * @pool: the pool
 *
 * Context: the pool's lock is held.
 * Return: bytes.
 */
u64 fbuf_pool_resident(struct fbuf_pool *pool)
{
	lockdep_assert_held(&pool->lock);
	/* Of a retired pool, what is charged is what is left. */
	if (pool->dead)
		return (u64)(pool->charged - pool->nr_orphans) << PAGE_SHIFT;
	return (u64)(pool->nr_bufs - pool->nr_empty) << pool->buf_shift;
}

static void info_state(struct fbuf_handle *h, struct fbuf_info *info)
{
	struct fbuf_pool *pool = h->pool;
	unsigned int looks;
	bool in_flight;

	mutex_lock(&pool->lock);
	looks = fbuf_looks(pool);
	fbuf_reap(pool, looks);
	fbuf_orphans_reap(pool, looks);
	fbuf_reserved_reap(pool, looks);
	info->nr_held = pool->nr_held;
	info->nr_in_flight = pool->nr_limbo;
	info->nr_handles = pool->nr_handles;
	info->holds = h->nr_holds;
	if (h->ring)
		info->ring_size = (u64)h->ring->nr_pages << PAGE_SHIFT;
	info->charged = (u64)pool->charged << PAGE_SHIFT;
	info->resident = fbuf_pool_resident(pool);
	info->nr_parcels = pool->nr_parcels;
	info->parcel_bytes = (u64)pool->parcel_pages << PAGE_SHIFT;
	in_flight = pool->nr_limbo || pool->nr_orphans;
	mutex_unlock(&pool->lock);
	/* What was read elsewhere is not to be counted for long. */
	if (in_flight)
		fbuf_nudge();
}

/**
 * fbuf_info() - what a pool is and did
 * @h: a handle on the pool
 * @info: filled in, but for its size
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_info(struct fbuf_handle *h, struct fbuf_info *info)
{
	struct fbuf_pool *pool = h->pool;
	struct fbuf_counters sum = {};

	fbuf_counters_sum(pool, &sum);
	*info = (struct fbuf_info) {
		.size = info->size,
		.id = pool->id,
		.pool_size = (u64)pool->nr_pages << PAGE_SHIFT,
		.buf_size = 1U << pool->buf_shift,
		.nr_bufs = pool->nr_bufs,
		.nr_split = pool->nr_split,
		.node = pool->node,
		.uid = from_kuid_munged(current_user_ns(), pool->uid),
		.sends = sum.sends,
		.bytes = sum.bytes,
		.copied = sum.copied,
		.allocs = sum.allocs,
		.pool_flags = pool->flags,
		.rights = h->rights,
		.handle = h->id,
		.max_holds = h->max_holds,
		.reuses = sum.reuses,
		.protects = sum.protects,
		.snapshots = sum.snapshots,
		.fills = sum.fills,
		.filled = sum.filled,
		.features = FBUF_FEATURE_NAMED_SEGS | FBUF_FEATURE_NO_PIN |
			    FBUF_FEATURE_COPY_ABOVE | FBUF_FEATURE_LAZY |
			    FBUF_FEATURE_PROTECTS | FBUF_FEATURE_COOKIE |
			    FBUF_FEATURE_DROP | FBUF_FEATURE_PARCELS,
		.handle_flags = h->no_pin ? FBUF_SHARE_NO_PIN : 0,
		.copy_above = pool->copy_above_set,
		.recvs = sum.recvs,
		.received = sum.received,
		.recv_copied = sum.recv_copied,
	};
	info_state(h, info);
}
