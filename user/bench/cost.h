/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of "fbuf cost" share. */
#ifndef FBUF_COST_H
#define FBUF_COST_H

#include "compare.h"

#define COST_WARM_UP	16U	/* transfers before those that count */

struct pair;

/*
 * A row of the table. A transfer is timed by this process, the producer; the
 * receiver, if there is one, is a child on the same CPU.
 */
struct cost_row {
	const char *name;
	const char *what;	/* is in the figures */
	unsigned int protect;	/* FBUF_POOL_*, if it has a pool */
	int (*open)(struct pair *p);
	int (*receive)(struct pair *p);		/* of the child; or NULL */
	int (*transfer)(struct pair *p, uint64_t seq, uint64_t *ns);
};

extern const struct cost_row cost_rows[];
extern const unsigned int nr_cost_rows;

/*
 * Fill in ns[] with the times of calls transfers of size bytes, in order. On
 * failure a negative errno, after a message.
 */
int cost_measure(const struct cost_row *row, size_t size, double *ns,
		 unsigned int calls);

/* Secure, send, receive and rewrite a message, again and again: medians. */
#define REWRITE_SIZE	65536

struct rewrite {
	const char *name;
	const char *what;
	bool pool;		/* else write() of ordinary memory */
	double send, recv, rewrite, total, without;
};

int cost_rewrite(struct rewrite *r, unsigned int calls);

/* Memory had and freed at once, again and again, where nothing is special. */
#define HEAP_MOST	150	/* instructions that both may cost */

struct heap_cost {
	const char *name;
	const char *what;
	size_t size;
	bool heap;		/* else malloc() */
	double median, max;
};

int cost_heap(struct heap_cost *c, unsigned int calls);

#endif /* FBUF_COST_H */
