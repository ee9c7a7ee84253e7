/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was done, and why not; told by --stats. */
#ifndef RUN_STATS_H
#define RUN_STATS_H

#include <stdbool.h>
#include <stdint.h>

/* Why bytes of the pool were sent by a copy. */
enum stats_why {
	WHY_UNPAID,	/* its protection cost more than a copy: pays.c */
	WHY_CROWDED,	/* others keep too much of the pool in flight */
	WHY_SOCKET,	/* not a socket that takes pages */
	WHY_BUSY,	/* somebody else refers to the memory */
	WHY_LIMIT,	/* a limit, or memory, does not allow for snapshots */
	WHY_OTHER,	/* a flag, or an error */
	NR_WHY
};

struct stats {
	uint64_t sends;		/* calls that sent without a copy */
	uint64_t bytes;		/* of the pool, sent so */
	uint64_t beside;	/* bytes of small memory that went along, copied */
	uint64_t protects;	/* buffers that had to be protected for that */
	uint64_t snapshots;	/* of these, copied by a write since the last */
	uint64_t copied[NR_WHY];	/* bytes of the pool */
	uint64_t full;		/* allocations for which the pool had no room */
	uint64_t peak;		/* bytes in use at most */
};

extern struct stats stats;

static inline void stats_add(uint64_t *what, uint64_t n)
{
	__atomic_fetch_add(what, n, __ATOMIC_RELAXED);
}

/* What protection, and the faults of the writes after it, cost: in percent of a copy. */
void stats_price(unsigned int percent);
/* Where to tell, and whether to say why nothing is done; once, at start. */
void stats_start(const char *to, bool verbose);
/* Say a sentence, if that was asked for; nothing is allocated. */
void stats_say(const char *words, int err);

#endif /* RUN_STATS_H */
