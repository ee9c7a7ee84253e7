// SPDX-License-Identifier: GPL-2.0
/* How statistics change from one look to the next. */

#include <stdlib.h>

#include "rate.h"

static uint64_t *value(struct ctl_stats *s, unsigned int field)
{
	return (uint64_t *)((char *)s + ctl_stats.fields[field].offset);
}

uint64_t rate_value(const struct ctl_stats *s, unsigned int field)
{
	return *value((struct ctl_stats *)s, field);
}

/* All but the first field, the pool, are counters. */
void rate_sum(struct ctl_stats *sum, const struct ctl_stats *stats, size_t nr)
{
	unsigned int f;
	size_t i;

	*sum = (struct ctl_stats){ };
	for (f = 1; f < ctl_stats.nr_fields; f++) {
		sum->seen |= CTL_SEEN(ctl_stats.fields[f].attr);
		for (i = 0; i < nr; i++)
			*value(sum, f) += rate_value(&stats[i], f);
	}
}

static const struct ctl_stats *find(const struct rate *r,
				    const struct ctl_stats *s)
{
	size_t i;

	for (i = 0; i < r->nr; i++) {
		if (r->last[i].pool == s->pool)
			return &r->last[i];
	}
	return NULL;
}

static void subtract(struct ctl_stats *s, const struct ctl_stats *old)
{
	unsigned int f;

	for (f = 1; f < ctl_stats.nr_fields; f++) {
		uint64_t was = rate_value(old, f), *val = value(s, f);

		/* Counted by each CPU, read one after the other. */
		*val = *val > was ? *val - was : 0;
	}
}

bool rate_next(struct rate *r, struct ctl_stats *stats, size_t nr)
{
	bool first = !r->when;
	double now = tool_now();
	struct ctl_stats *diff;
	size_t i;

	diff = calloc(nr + 1, sizeof(*diff));
	if (!diff) {
		tool_err("No memory.");
		exit(TOOL_FAIL);
	}
	for (i = 0; i < nr; i++) {
		const struct ctl_stats *old = find(r, &stats[i]);

		diff[i] = stats[i];
		if (old)
			subtract(&diff[i], old);
	}
	rate_end(r);
	*r = (struct rate){
		.last = stats, .diff = diff, .nr = nr, .when = now,
		.seconds = now - r->when,
	};
	return !first;
}

void rate_end(struct rate *r)
{
	free(r->last);
	free(r->diff);
}

json_t *rate_json(const struct ctl_stats *diff, double seconds)
{
	json_t *j = json_object();
	unsigned int f;

	if (diff->seen & CTL_SEEN(FBUF_A_STATS_POOL_ID))
		json_object_set_new(j, "pool", tool_json_u64(diff->pool));
	for (f = 1; f < ctl_stats.nr_fields; f++) {
		if (diff->seen & CTL_SEEN(ctl_stats.fields[f].attr))
			json_object_set_new(j, ctl_stats.fields[f].name,
					    json_real(rate_value(diff, f) /
						      seconds));
	}
	return j;
}
