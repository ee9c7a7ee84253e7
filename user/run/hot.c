// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Programs keep what they write beside what they send: memcached counts in front of
 * each item who uses it. Each send then protects that buffer again, and each count
 * faults. Where that was seen twice, the part is copied instead, as long as it is
 * short, and referred to again now and then, to see whether it is still so.
 *
 * What is known may be old, or another buffer's: it decides on costs alone.
 */
#include <stdint.h>

#include "pool.h"
#include "hot.h"
#include "run.h"

#define HOT_SEEN	2U	/* times before it is hot */
#define HOT_USES	128U	/* copies before the next try */

/* By buffer; those of pools that have more share them. */
static uint8_t hot[16384];

static uint8_t *of(const void *p)
{
	size_t i = ((uintptr_t)p - run.base) >> POOL_BUF_SHIFT;

	return &hot[i % (sizeof(hot) / sizeof(*hot))];
}

bool hot_is(const void *p, size_t len)
{
	uint8_t n = __atomic_load_n(of(p), __ATOMIC_RELAXED);

	if (len > HOT_PART_MAX || n < HOT_SEEN)
		return false;
	__atomic_store_n(of(p), n - 1, __ATOMIC_RELAXED);
	return n > HOT_SEEN;
}

void hot_sent(const void *p, bool protected)
{
	uint8_t n = __atomic_load_n(of(p), __ATOMIC_RELAXED);

	if (!protected)
		n = 0;
	else if (++n >= HOT_SEEN)
		n = HOT_USES;
	__atomic_store_n(of(p), n, __ATOMIC_RELAXED);
}
