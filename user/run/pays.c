// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Protection costs: a buffer that is written again has to be protected again, and
 * its write faults; if it was in flight, it was copied as well. Where that comes to
 * more than the copies that sends save, the program is better off with plain
 * write(). That is found out for each class of sends, by its own sends: each says
 * how many buffers it had to protect, and how many were copied since the last.
 *
 * A class begins with few sends, and is judged by them. If it loses, it goes plain
 * for a while, twice as long each time, and is tried again: so what is lost becomes
 * a small part of the whole. Counters may miss what threads add at once.
 */
#include "pays.h"
#include "pool.h"
#include "run.h"

/*
 * In bytes that a plain write() copies, for the same cost. That of a protection, with
 * the write fault that comes of it, is measured; until then, and where it cannot be, it
 * is what it came to in instructions: two thirds of a copy.
 */
static size_t cost_protect = POOL_BUF_SIZE / 3 * 2;	/* of a buffer */
#define COST_SNAPSHOT	(POOL_BUF_SIZE / 2 * 3)
#define COST_SEND	2000U	/* the call itself */

#define TRIAL_NEW	4U	/* sends before the first verdict */
#define TRIAL_KNOWN	32U	/* when it paid so far */
#define PLAIN_FIRST	64
#define PLAIN_MOST	4096

/* Sizes from 4 KiB on, each twice the one before. */
#define CLASS_SHIFT	12U
#define NR_CLASSES	16U

struct pays_class {
	int32_t plain;		/* sends that are still to go plain */
	int32_t penalty;	/* how many will, when it loses again */
	uint32_t sends;		/* of this trial */
	bool known;		/* it paid in the last one */
	uint64_t saved;		/* bytes not copied */
	uint64_t cost;		/* as bytes copied */
} __attribute__((__aligned__(64)));

static struct pays_class classes[NR_PAYS_KINDS][NR_CLASSES];

void pays_price(size_t bytes, size_t cost)
{
	if (cost)
		cost_protect = cost * POOL_BUF_SIZE / bytes;
}

struct pays_class *pays_class(size_t bytes, enum pays_kind kind)
{
	unsigned int order = 63 - __builtin_clzl(bytes | 1);

	order = order > CLASS_SHIFT ? order - CLASS_SHIFT : 0;
	return &classes[kind][order < NR_CLASSES ? order : NR_CLASSES - 1];
}

bool pays_try(struct pays_class *c)
{
	if (__atomic_load_n(&c->plain, __ATOMIC_RELAXED) <= 0)
		return true;
	__atomic_fetch_sub(&c->plain, 1, __ATOMIC_RELAXED);
	return false;
}

static void begin(struct pays_class *c, bool known)
{
	c->known = known;
	__atomic_store_n(&c->sends, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&c->saved, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&c->cost, 0, __ATOMIC_RELAXED);
}

void pays_lost(struct pays_class *c)
{
	int32_t penalty = c->penalty ?: PLAIN_FIRST;

	begin(c, false);
	__atomic_store_n(&c->plain, penalty, __ATOMIC_RELAXED);
	c->penalty = penalty < PLAIN_MOST ? 2 * penalty : PLAIN_MOST;
}

void pays_add(struct pays_class *c, size_t bytes, uint32_t protects,
	      uint32_t snapshots)
{
	uint64_t saved, cost;
	uint32_t sends;

	saved = __atomic_add_fetch(&c->saved, bytes, __ATOMIC_RELAXED);
	cost = __atomic_add_fetch(&c->cost, COST_SEND +
				  (uint64_t)protects * cost_protect +
				  (uint64_t)snapshots * COST_SNAPSHOT,
				  __ATOMIC_RELAXED);
	sends = __atomic_add_fetch(&c->sends, 1, __ATOMIC_RELAXED);
	if (likely(sends < (c->known ? TRIAL_KNOWN : TRIAL_NEW)))
		return;
	if (cost > saved) {
		pays_lost(c);
		return;
	}
	c->penalty = PLAIN_FIRST;
	begin(c, true);
}
