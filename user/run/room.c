// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The module says what memory there is: what of the pool was touched, and what snapshots
 * have taken, or may yet take, of buffers that packets refer to. To ask it for each send
 * would be dear, so what was asked for since is counted:
 *
 * Whatever the module said when sends of so many bytes, "done", were over, it can have
 * become more by those bytes only that were not done then, however many are asked for
 * until now. So "allowed" stays right for ever, whichever thread stores it last, and
 * nobody needs a lock.
 */
#include <pthread.h>

#include <linux/fbuf.h>

#include "../lib/lib.h"
#include "fds.h"
#include "room.h"

/* While there is no room, it is looked for at each so manieth send. */
#define LOOK_CROWDED	32U

static size_t limit;
static uint64_t top;		/* of the pool, nothing was in use from here on */
static uint64_t asked, done;	/* bytes; they only grow */
static uint64_t allowed;	/* as many may be asked for before the next look */
static uint32_t crowded;	/* sends since there was no room, or 0 */

/* What this thread asked for: it may be cancelled while it sends. */
static pthread_key_t mine;
static bool has_mine;
/* Where setting such a value never needs memory, in glibc. */
#define KEYS_AT_HAND	32U

static void add(uint64_t *to, uint64_t bytes)
{
	__atomic_add_fetch(to, bytes, __ATOMIC_SEQ_CST);
}

static uint64_t get(const uint64_t *from)
{
	return __atomic_load_n(from, __ATOMIC_SEQ_CST);
}

/* Also what was in use once, and not touched, may be touched at any time. */
static void look(void)
{
	struct fbuf_info info = { .size = sizeof(info) };
	uint64_t over = get(&done), used;

	if (lib_ioctl(fds_get(FD_POOL), FBUF_IOC_INFO, &info) < 0)
		return;
	used = info.resident > get(&top) ? info.resident : get(&top);
	used += info.charged - info.pool_size;
	if (used < limit)
		__atomic_store_n(&allowed, over + limit - used, __ATOMIC_SEQ_CST);
}

static bool take(uint64_t bytes)
{
	uint64_t all = __atomic_add_fetch(&asked, bytes, __ATOMIC_SEQ_CST);

	if (all <= get(&allowed))
		return true;
	look();
	if (all <= get(&allowed))
		return true;
	add(&done, bytes);
	return false;
}

bool room_take(uint64_t bytes)
{
	bool ret;

	if (__atomic_load_n(&crowded, __ATOMIC_RELAXED) &&
	    __atomic_add_fetch(&crowded, 1, __ATOMIC_RELAXED) % LOOK_CROWDED)
		return false;
	ret = take(bytes);
	__atomic_store_n(&crowded, !ret, __ATOMIC_RELAXED);
	if (ret && has_mine)
		pthread_setspecific(mine, (void *)(uintptr_t)bytes);
	return ret;
}

void room_give(uint64_t bytes)
{
	if (has_mine)
		pthread_setspecific(mine, NULL);
	add(&done, bytes);
}

static void thread_ends(void *bytes)
{
	add(&done, (uintptr_t)bytes);
}

bool room_rise(size_t to)
{
	uint64_t more = to > top ? to - top : 0;

	if (!more)
		return true;
	if (!take(more))
		return false;
	/* From here on it is in what look() finds. */
	__atomic_store_n(&top, to, __ATOMIC_SEQ_CST);
	add(&done, more);
	return true;
}

void room_anew(size_t to)
{
	top = to;
	asked = 0;
	done = 0;
	allowed = 0;
	crowded = 0;
}

void room_start(size_t size)
{
	limit = size;
	has_mine = !pthread_key_create(&mine, thread_ends) &&
		   mine < KEYS_AT_HAND;
}
