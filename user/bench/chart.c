// SPDX-License-Identifier: GPL-2.0
/* Reports of fbuf compare and fbuf bench: their rows, sorted into charts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "row.h"
#include "tool.h"

#define READS	"+read"

/* What is looked at: the send if it can be told apart, and is not free to wait. */
static const char *figure(const json_t *row)
{
	if (json_object_get(row, "p99"))
		return "p99";
	if (!strcmp(row_text(row, "mode"), "stream") ||
	    (isnan(row_num(row, "send")) && !isnan(row_num(row, "total"))))
		return "total";
	return "send";
}

static double cost(const json_t *row, const char *key)
{
	double val = row_num(row, key);

	/* Nothing costs nothing, and a plot has no place for it. */
	return json_is_true(json_object_get(row, "verified")) && val > 0 ?
	       val : NAN;
}

static enum chart_axis axis(const json_t *row)
{
	const char *kind = row_text(row, "kind");

	return !strcmp(kind, "fan") ? BY_SOCKETS :
	       !strcmp(kind, "gather") ? BY_PIECES :
	       row_num(row, "consumers") > 0 ? BY_CONSUMERS : BY_SIZE;
}

static double x_of(const json_t *row)
{
	static const char * const keys[] = {
		"size", "sockets", "segments", "consumers"
	};

	return row_num(row, keys[axis(row)]);
}

/* What is the same all over a chart but is no word of its machine. */
static double fixed(const json_t *row)
{
	switch (axis(row)) {
	case BY_SOCKETS:
	case BY_CONSUMERS:
		return row_num(row, "size");
	case BY_PIECES:
		return row_num(row, "size") / row_num(row, "segments");
	default:
		return 1;
	}
}

static bool is_row(const json_t *row)
{
	return *row_text(row, "method") && x_of(row) >= 1 && x_of(row) < 1e15 &&
	       fixed(row) > 0 &&
	       (*row_text(row, "mode") || *row_text(row, "kind"));
}

static bool same_chart(const json_t *a, const json_t *b)
{
	static const char * const keys[] = {
		"kernel", "cpu", "cpus", "clock", "accelerator", "transport",
		"mode", "kind", "workload", "receiver", "pieces",
	};
	size_t i;

	for (i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		if (!row_same(a, b, keys[i]))
			return false;
	}
	return fixed(a) == fixed(b);
}

static void *more(void *old, size_t nr, size_t size)
{
	void *new = realloc(old, nr * size);

	if (!new) {
		tool_err("No memory.");
		exit(TOOL_FAIL);
	}
	return new;
}

static size_t name_len(const char *method)
{
	size_t len = strlen(method), end = strlen(READS);

	return len > end && !strcmp(method + len - end, READS) ? len - end : len;
}

static unsigned int find_line(const struct chart *c, const char *method)
{
	size_t len = name_len(method);
	unsigned int i;

	for (i = 0; i < c->nr_methods; i++) {
		if (strlen(c->methods[i]) == len &&
		    !strncmp(c->methods[i], method, len))
			break;
	}
	return i;
}

static void add_line(struct chart *c, const char *method)
{
	size_t len = name_len(method);
	char *name;

	if (find_line(c, method) < c->nr_methods)
		return;
	c->methods = more(c->methods, c->nr_methods + 1, sizeof(*c->methods));
	name = more(NULL, len + 1, 1);
	memcpy(name, method, len);
	name[len] = '\0';
	if (!strcmp(name, "fbuf") ||
	    (c->ours < 0 && !strcmp(name, "fbuf-rewrite")))
		c->ours = c->nr_methods;
	c->methods[c->nr_methods++] = name;
}

static unsigned int find_x(const struct chart *c, double x)
{
	unsigned int i;

	for (i = 0; i < c->nr_xs && c->xs[i] < x; i++)
		;
	return i;
}

static void add_x(struct chart *c, double x)
{
	unsigned int i = find_x(c, x);

	if (i < c->nr_xs && c->xs[i] == x)
		return;
	c->xs = more(c->xs, c->nr_xs + 1, sizeof(*c->xs));
	memmove(&c->xs[i + 1], &c->xs[i], (c->nr_xs++ - i) * sizeof(*c->xs));
	c->xs[i] = x;
}

static void fill_lines(struct chart *c, const json_t *rows, size_t from)
{
	const json_t *row;
	size_t i;

	for (i = from; i < json_array_size(rows); i++) {
		row = json_array_get(rows, i);
		if (!is_row(row) || !same_chart(row, c->like))
			continue;
		add_line(c, row_text(row, "method"));
		add_x(c, x_of(row));
	}
}

/* When all lines and columns are known. */
static void fill_cells(struct chart *c, const json_t *rows, size_t from)
{
	size_t nr = (size_t)c->nr_methods * c->nr_xs, i, at;
	const json_t *row;

	c->cells = more(NULL, nr + 1, sizeof(*c->cells));
	memset(c->cells, 0, (nr + 1) * sizeof(*c->cells));
	for (i = from; i < json_array_size(rows); i++) {
		row = json_array_get(rows, i);
		if (!is_row(row) || !same_chart(row, c->like))
			continue;
		at = find_x(c, x_of(row)) + (size_t)c->nr_xs *
		     find_line(c, row_text(row, "method"));
		if (!c->cells[at])
			c->cells[at] = row;
		if (!c->figure && !isnan(cost(row, figure(row))))
			c->figure = figure(row);
	}
	if (!c->figure)
		c->figure = figure(c->like);
}

void charts_make(struct charts *c, const json_t *rows)
{
	const json_t *row;
	unsigned int j;
	size_t i;

	*c = (struct charts){ };
	json_array_foreach(rows, i, row) {
		if (!is_row(row))
			continue;
		for (j = 0; j < c->nr && !same_chart(row, c->v[j].like); j++)
			;
		if (j < c->nr)
			continue;
		c->v = more(c->v, c->nr + 1, sizeof(*c->v));
		c->v[c->nr] = (struct chart){
			.like = row, .axis = axis(row), .ours = -1,
		};
		fill_lines(&c->v[c->nr], rows, i);
		fill_cells(&c->v[c->nr++], rows, i);
	}
}

void charts_free(struct charts *c)
{
	unsigned int i, j;

	for (i = 0; i < c->nr; i++) {
		for (j = 0; j < c->v[i].nr_methods; j++)
			free(c->v[i].methods[j]);
		free(c->v[i].methods);
		free(c->v[i].xs);
		free(c->v[i].cells);
	}
	free(c->v);
}

const json_t *chart_row(const struct chart *c, unsigned int line,
			unsigned int x)
{
	return c->cells[(size_t)line * c->nr_xs + x];
}

double chart_cost(const struct chart *c, unsigned int line, unsigned int x)
{
	const json_t *row = chart_row(c, line, x);

	return row ? cost(row, c->figure) : NAN;
}

/* What anybody has without the module. */
static bool is_stock(const char *method)
{
	return strncmp(method, "fbuf", 4) && strcmp(method, "floor") &&
	       strcmp(method, "none");
}

static bool rewrites(const struct chart *c, unsigned int line)
{
	return strstr(c->methods[line], "-rewrite");
}

int chart_best(const struct chart *c, unsigned int line, unsigned int x)
{
	double val, least = INFINITY;
	unsigned int i;
	int best = -1;

	for (i = 0; i < c->nr_methods; i++) {
		val = chart_cost(c, i, x);
		if (is_stock(c->methods[i]) && val < least &&
		    rewrites(c, i) == rewrites(c, line)) {
			least = val;
			best = i;
		}
	}
	return best;
}

int chart_rival(const struct chart *c, unsigned int x)
{
	return c->ours < 0 ? -1 : chart_best(c, c->ours, x);
}

bool chart_is_send(const struct chart *c)
{
	return !strcmp(c->figure, "send");
}

double chart_ratio(const struct chart *c, unsigned int x)
{
	int best = chart_rival(c, x);

	if (best < 0)
		return NAN;
	return chart_cost(c, c->ours, x) / chart_cost(c, best, x);
}

static bool is_free(const struct chart *c)
{
	return !strcmp(row_text(c->like, "mode"), "stream") &&
	       !*row_text(c->like, "workload");
}

bool chart_beside(const struct chart *a, const struct chart *b)
{
	static const char * const keys[] = {
		"kernel", "cpu", "clock", "transport",
	};
	size_t i;

	for (i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		if (!row_same(a->like, b->like, keys[i]))
			return false;
	}
	return is_free(a) == is_free(b);
}

bool chart_noise(const struct chart *c)
{
	return strstr(row_text(c->like, "accelerator"), "TCG") &&
	       strncmp(row_text(c->like, "clock"), "instructions", 12);
}

static unsigned int count_stock(const struct chart *c)
{
	unsigned int i, nr = 0;

	for (i = 0; i < c->nr_methods; i++)
		nr += is_stock(c->methods[i]);
	return nr;
}

static bool is_loopback(const struct chart *c)
{
	const char *transport = row_text(c->like, "transport");

	return !*transport || !strcmp(transport, "tcp loopback");
}

/* The largest message that has a ratio; NAN if none has. */
static double last_ratio(const struct chart *c)
{
	double ratio = NAN;
	unsigned int i;

	for (i = c->nr_xs; i-- && isnan(ratio); )
		ratio = chart_ratio(c, i);
	return ratio;
}

/*
 * Which of two charts is to give the headline: below 0 if it is a. On one kernel
 * with the same peers the one in which fbuf gains least: nothing is picked to look
 * good.
 */
static int by_weight(const struct chart *a, const struct chart *b)
{
	double x = last_ratio(a), y = last_ratio(b);
	bool reads;
	int diff;

	diff = (a->axis != BY_SIZE) - (b->axis != BY_SIZE);
	diff = diff ?: isnan(x) - isnan(y);
	diff = diff ?: chart_noise(a) - chart_noise(b);
	diff = diff ?: !!*row_text(a->like, "workload") -
		       !!*row_text(b->like, "workload");
	diff = diff ?: is_free(a) - is_free(b);
	diff = diff ?: !is_loopback(a) - !is_loopback(b);
	diff = diff ?: strverscmp(row_text(b->like, "kernel"),
				  row_text(a->like, "kernel"));
	diff = diff ?: (int)count_stock(b) - (int)count_stock(a);
	reads = !strcmp(row_text(a->like, "receiver"), "read");
	diff = diff ?: !reads - !!strcmp(row_text(b->like, "receiver"), "read");
	/* No more of it is told. */
	return diff ?: (round(100 * x) < round(100 * y)) -
		       (round(100 * x) > round(100 * y));
}

const struct chart *charts_main(const struct charts *c)
{
	const struct chart *best = NULL;
	unsigned int i;

	for (i = 0; i < c->nr; i++) {
		if (!best || by_weight(&c->v[i], best) < 0)
			best = &c->v[i];
	}
	return best;
}
