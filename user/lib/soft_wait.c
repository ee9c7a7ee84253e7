// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pools without the module: threads that wait for others. By a futex, because a
 * condition variable does not tell of signals, as a call must.
 */

#include <linux/futex.h>
#include <time.h>
#include <unistd.h>

#include "soft.h"

void soft_deadline(struct soft_deadline *d, int timeout_ms)
{
	d->forever = timeout_ms < 0;
	if (d->forever)
		return;
	clock_gettime(CLOCK_MONOTONIC, &d->end);
	d->end.tv_sec += timeout_ms / 1000;
	d->end.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (d->end.tv_nsec >= 1000000000L) {
		d->end.tv_sec++;
		d->end.tv_nsec -= 1000000000L;
	}
}

int soft_sleep(struct soft_pool *p, const struct soft_deadline *d)
{
	uint32_t seq = p->seq;
	int err = 0;

	p->waiters++;
	soft_unlock(p);
	if (syscall(SYS_futex, &p->seq, FUTEX_WAIT_BITSET_PRIVATE, seq,
		    d->forever ? NULL : &d->end, NULL,
		    FUTEX_BITSET_MATCH_ANY) < 0 && errno != EAGAIN)
		err = -errno;
	soft_lock(p);
	p->waiters--;
	return err;
}

void soft_wake(struct soft_pool *p)
{
	if (!p->waiters)
		return;
	__atomic_add_fetch(&p->seq, 1, __ATOMIC_RELAXED);
	syscall(SYS_futex, &p->seq, FUTEX_WAKE_PRIVATE, INT_MAX);
}
