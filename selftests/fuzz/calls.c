// SPDX-License-Identifier: GPL-2.0
/* All calls, by number and by name. */
#include <string.h>

#include "fuzz.h"

static const struct call_desc *const lists[] = {
	pool_calls, memory_calls, io_calls, task_calls, uring_calls,
	netlink_calls,
};

static const struct call_desc *table[KINDS_MAX];
static unsigned int nr_calls, all_weights;

static void table_init(void)
{
	const struct call_desc *d;
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(lists); i++) {
		for (d = lists[i]; d->name; d++) {
			table[nr_calls++] = d;
			all_weights += d->weight;
		}
	}
}

const struct call_desc *call_desc(unsigned int op)
{
	if (!nr_calls)
		table_init();
	return table[op];
}

int call_find(const char *name, size_t len)
{
	unsigned int i;

	if (!nr_calls)
		table_init();
	for (i = 0; i < nr_calls; i++) {
		if (strlen(table[i]->name) == len &&
		    !strncmp(table[i]->name, name, len))
			return i;
	}
	return -1;
}

unsigned int call_random(__u32 *rng)
{
	unsigned int i = 0, at;

	if (!nr_calls)
		table_init();
	at = rnd(rng) % all_weights;
	while (at >= table[i]->weight)
		at -= table[i++]->weight;
	return i;
}
