/* SPDX-License-Identifier: GPL-2.0 */
/* How statistics change from one look to the next. */
#ifndef FBUF_TOOL_RATE_H
#define FBUF_TOOL_RATE_H

#include "nl.h"

struct rate {
	struct ctl_stats *last;	/* as given */
	struct ctl_stats *diff;	/* to the look before */
	size_t nr;		/* in both */
	double when;
	double seconds;		/* since the look before */
};

/*
 * The next look; takes the array, which malloc() made. False for the first one,
 * which has no differences. A pool that was not there before began at nothing.
 */
bool rate_next(struct rate *r, struct ctl_stats *stats, size_t nr);
void rate_end(struct rate *r);

/* The value of a field of ctl_stats, by its number there. */
uint64_t rate_value(const struct ctl_stats *s, unsigned int field);
void rate_sum(struct ctl_stats *sum, const struct ctl_stats *stats, size_t nr);
/* Differences by the second. */
json_t *rate_json(const struct ctl_stats *diff, double seconds);

#endif /* FBUF_TOOL_RATE_H */
