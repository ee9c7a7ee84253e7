/* SPDX-License-Identifier: GPL-2.0 */
/* Charts: the rows of reports that belong into one table and one plot. */
#ifndef FBUF_CHART_H
#define FBUF_CHART_H

#include <stdbool.h>

#include <jansson.h>

/* What differs from column to column. */
enum chart_axis { BY_SIZE, BY_SOCKETS, BY_PIECES, BY_CONSUMERS };

/*
 * Rows measured on one machine, in one way: a line for each method, without the
 * "+read" of fbuf compare, and a column for each size, or number of sockets or
 * pieces.
 */
struct chart {
	const json_t *like;	/* its first row */
	enum chart_axis axis;
	const char *figure;	/* of a row: "send", "total" or "p99" */
	char **methods;
	unsigned int nr_methods;
	double *xs;		/* ascending */
	unsigned int nr_xs;
	const json_t **cells;	/* nr_methods lines of nr_xs; NULL: none */
	int ours;		/* the line that is fbuf as it comes, or -1 */
};

struct charts {
	struct chart *v;
	unsigned int nr;
};

/* Of all rows that have a method and are of fbuf compare or fbuf bench. */
void charts_make(struct charts *c, const json_t *rows);
void charts_free(struct charts *c);
/* The one that a headline is about; NULL if there is none. */
const struct chart *charts_main(const struct charts *c);
/* Those that are about the same machine, connected in the same way. */
bool chart_beside(const struct chart *a, const struct chart *b);

/* Of time on an emulated machine, which is none. */
bool chart_noise(const struct chart *c);

const json_t *chart_row(const struct chart *c, unsigned int line,
			unsigned int x);
/* What a message costs there; NAN if that was not measured. */
double chart_cost(const struct chart *c, unsigned int line, unsigned int x);
/*
 * The line of the cheapest stock way that does what a line does, or -1: making each
 * message anew is more than sending one again.
 */
int chart_best(const struct chart *c, unsigned int line, unsigned int x);
/* Cost of fbuf, over that of the best stock way; and the line of this. */
double chart_ratio(const struct chart *c, unsigned int x);
int chart_rival(const struct chart *c, unsigned int x);
/* Is it what the sender alone does? */
bool chart_is_send(const struct chart *c);

#endif /* FBUF_CHART_H */
