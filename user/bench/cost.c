// SPDX-License-Identifier: GPL-2.0
/* fbuf cost: what it costs to move a buffer from one process to another. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cost.h"
#include "options.h"
#include "row.h"

#define NR_SIZES	7	/* from one page on, doubling */
#define CALLS		101

static const char help[] =
"Usage: fbuf cost [OPTIONS]\n"
"\n"
"Measure what it costs to move a buffer from one process to another and have\n"
"the answer, on one CPU: for each buffer and for each page in it, as table 1 of\n"
"\"Fbufs\" (Druschel and Peterson, 1993) has it. What it costs to send and\n"
"rewrite a buffer that is secured meanwhile. And what it costs to have memory of\n"
"a heap and free it: by instructions, more than 150 is a failure.\n"
"\n"
"  -r, --repeats N       transfers timed for each size (default 101)\n"
"  -o, --out FILE        write the JSON to FILE, too\n"
"      --cpu-label TEXT  name the CPU in the report\n"
"      --clock CLOCK     as for fbuf compare: nanoseconds (default), tsc or\n"
"                        instructions\n"
"  -j, --json            print JSON, not tables\n"
"  -h, --help            print this\n"
"\n"
"Exit status: 0; 1 if a row could not be measured.\n";

/* Least squares: y = fixed + slope * x. */
static void fit(const double *x, const double *y, unsigned int nr,
		double *fixed, double *slope)
{
	double mx = 0, my = 0, xy = 0, xx = 0;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		mx += x[i] / nr;
		my += y[i] / nr;
	}
	for (i = 0; i < nr; i++) {
		xy += (x[i] - mx) * (y[i] - my);
		xx += (x[i] - mx) * (x[i] - mx);
	}
	*slope = xy / xx;
	*fixed = my - *slope * mx;
}

/* NULL, after a message, if it cannot be measured. */
static json_t *measure_row(const struct cost_row *row, unsigned int calls,
			   const json_t *where)
{
	double pages[NR_SIZES], medians[NR_SIZES], fixed, slope;
	json_t *j = json_copy((json_t *)where), *list = json_array();
	double *ns = calloc(calls, sizeof(*ns));
	unsigned int i;
	int ret = 0;

	for (i = 0; ns && !ret && i < NR_SIZES; i++) {
		size_t size = (size_t)sysconf(_SC_PAGESIZE) << i;

		ret = cost_measure(row, size, ns, calls);
		pages[i] = 1U << i;
		medians[i] = median(ns, calls);
		json_array_append_new(list, json_pack("{s:I, s:f, s:f, s:f}",
						      "size", (json_int_t)size,
						      "median", medians[i],
						      "min", ns[0],
						      "max", ns[calls - 1]));
	}
	if (!ns || ret) {
		tool_err("No figures for \"%s\".", row->name);
		free(ns);
		json_decref(list);
		json_decref(j);
		return NULL;
	}
	free(ns);
	fit(pages, medians, NR_SIZES, &fixed, &slope);
	json_object_set_new(j, "row", json_string(row->name));
	json_object_set_new(j, "what", json_string(row->what));
	json_object_set_new(j, "per_buffer", json_real(fixed));
	json_object_set_new(j, "per_page", json_real(slope));
	json_object_set_new(j, "sizes", list);
	return j;
}

static json_t *measure_rewrite(struct rewrite *r, unsigned int calls,
			       const json_t *where)
{
	json_t *j;

	if (cost_rewrite(r, calls)) {
		tool_err("No figures for \"%s\".", r->name);
		return NULL;
	}
	j = json_copy((json_t *)where);
	json_object_set_new(j, "row", json_string(r->name));
	json_object_set_new(j, "what", json_string(r->what));
	json_object_set_new(j, "size", json_integer(REWRITE_SIZE));
	json_object_set_new(j, "send", json_real(r->send));
	json_object_set_new(j, "receive", json_real(r->recv));
	json_object_set_new(j, "rewrite", json_real(r->rewrite));
	json_object_set_new(j, "total", json_real(r->total));
	json_object_set_new(j, "without_rewrite", json_real(r->without));
	return j;
}

static json_t *measure_rewrites(unsigned int calls, const json_t *where,
				bool *good)
{
	struct rewrite ways[] = {
		{ .name = "fbuf, secured", .pool = true,
		  .what =
		  "fbuf_send() with FBUF_SEND_SECURED; recv() with MSG_TRUNC; every byte rewritten, the first of which faults once"
		},
		{ .name = "write",
		  .what =
		  "write() of ordinary memory; recv() with MSG_TRUNC; every byte rewritten"
		},
	};
	json_t *list = json_array(), *j;
	unsigned int i;

	for (i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		j = measure_rewrite(&ways[i], calls, where);
		if (j)
			json_array_append_new(list, j);
		else
			*good = false;
	}
	return list;
}

static json_t *measure_heap(struct heap_cost *c, unsigned int calls,
			    const json_t *where)
{
	json_t *j;

	if (cost_heap(c, calls)) {
		tool_err("No figures for \"%s\".", c->name);
		return NULL;
	}
	j = json_copy((json_t *)where);
	json_object_set_new(j, "row", json_string(c->name));
	json_object_set_new(j, "what", json_string(c->what));
	json_object_set_new(j, "size", json_integer(c->size));
	json_object_set_new(j, "median", json_real(c->median));
	json_object_set_new(j, "max", json_real(c->max));
	return j;
}

/* Of the heap's the median: now and then something else comes in between. */
static bool heap_is_dear(const struct heap_cost *c)
{
	if (!c->heap || !clock_is_instructions() || c->median <= HEAP_MOST)
		return false;
	tool_err("%zu bytes of a heap cost %.0f instructions, more than %d.",
		 c->size, c->median, HEAP_MOST);
	return true;
}

static json_t *measure_heaps(unsigned int calls, const json_t *where,
			     bool *good)
{
	static const size_t sizes[] = { 64, 4096, 65536 };
	json_t *list = json_array(), *j;
	unsigned int i;

	for (i = 0; i < 2 * sizeof(sizes) / sizeof(*sizes); i++) {
		struct heap_cost c = {
			.heap = i % 2 == 0, .size = sizes[i / 2],
		};

		c.name = c.heap ? "fbuf_heap" : "malloc";
		c.what = c.heap ?
			 "fbuf_heap_alloc() and fbuf_heap_free(), from a thousand in a row" :
			 "malloc() and free(), likewise";
		j = measure_heap(&c, calls, where);
		if (j)
			json_array_append_new(list, j);
		if (!j || heap_is_dear(&c))
			*good = false;
	}
	return list;
}

static json_t *measure(const struct measure_options *o, bool *good)
{
	json_t *where = report_where(o->cpu_label);
	json_t *rows = json_array(), *report = json_object(), *j;
	unsigned int i;

	/* No date: the same again is the same report. */
	j = json_copy(where);
	json_object_set_new(j, "fbuf_version", json_string(fbuf_version()));
	json_object_set_new(j, "repeats", json_integer(o->repeats));
	json_object_set_new(j, "warm_up", json_integer(COST_WARM_UP));
	json_object_set_new(j, "page", json_integer(sysconf(_SC_PAGESIZE)));
	json_object_set_new(report, "conditions", j);

	for (i = 0; i < nr_cost_rows; i++) {
		j = measure_row(&cost_rows[i], o->repeats, where);
		if (j)
			json_array_append_new(rows, j);
		else
			*good = false;
	}
	json_object_set_new(report, "rows", rows);
	json_object_set_new(report, "rewrite",
			    measure_rewrites(o->repeats, where, good));
	json_object_set_new(report, "heap",
			    measure_heaps(o->repeats, where, good));
	json_decref(where);
	return report;
}

static void print_what(const json_t *rows)
{
	const json_t *row;
	size_t i;

	putchar('\n');
	json_array_foreach(rows, i, row)
		printf("%s: %s.\n", row_text(row, "row"), row_text(row, "what"));
}

static void print_rows(const json_t *rows)
{
	const json_t *sizes = json_object_get(json_array_get(rows, 0), "sizes");
	struct tool_table t = {
		.cols = 3 + json_array_size(sizes), .left = 1U << 0,
	};
	const json_t *row, *size;
	size_t i, k;

	table_cell(&t, "%s", "");
	table_cell(&t, "per buffer");
	table_cell(&t, "per page");
	json_array_foreach(sizes, k, size)
		table_cell(&t, "%.0fK", row_num(size, "size") / 1024);
	json_array_foreach(rows, i, row) {
		table_cell(&t, "%s", row_text(row, "row"));
		table_cell(&t, "%.0f", row_num(row, "per_buffer"));
		table_cell(&t, "%.0f", row_num(row, "per_page"));
		json_array_foreach(json_object_get(row, "sizes"), k, size)
			table_cell(&t, "%.0f", row_num(size, "median"));
		for (; k + 3 < t.cols; k++)
			table_cell(&t, "-");
	}
	table_print(&t, SIZE_MAX);
	print_what(rows);
}

static void print_rewrites(const json_t *rows)
{
	static const char * const heads[] = {
		"", "send", "receive", "rewrite", "all", "without rewriting",
		NULL
	};
	struct tool_table t = { .left = 1U << 0 };
	const json_t *row;
	size_t i;

	printf("\n64 KiB sent, received and rewritten, again and again:\n\n");
	table_heads(&t, heads);
	json_array_foreach(rows, i, row) {
		table_cell(&t, "%s", row_text(row, "row"));
		table_cell(&t, "%.0f", row_num(row, "send"));
		table_cell(&t, "%.0f", row_num(row, "receive"));
		table_cell(&t, "%.0f", row_num(row, "rewrite"));
		table_cell(&t, "%.0f", row_num(row, "total"));
		table_cell(&t, "%.0f", row_num(row, "without_rewrite"));
	}
	table_print(&t, SIZE_MAX);
	print_what(rows);
}

static void print_heaps(const json_t *rows)
{
	static const char * const heads[] = { "", "bytes", "median", "max", NULL };
	struct tool_table t = { .left = 1U << 0 };
	const json_t *row;
	size_t i;

	printf("\nMemory had and freed, again and again:\n\n");
	table_heads(&t, heads);
	json_array_foreach(rows, i, row) {
		table_cell(&t, "%s", row_text(row, "row"));
		table_cell(&t, "%.0f", row_num(row, "size"));
		table_cell(&t, "%.0f", row_num(row, "median"));
		table_cell(&t, "%.0f", row_num(row, "max"));
	}
	table_print(&t, SIZE_MAX);
}

static void print_text(const json_t *report)
{
	const json_t *c = json_object_get(report, "conditions");

	printf("Linux %s; CPU %s; figures in %s, medians of %.0f transfers\n\n",
	       row_text(c, "kernel"), row_text(c, "cpu"), row_text(c, "clock"),
	       row_num(c, "repeats"));
	print_rows(json_object_get(report, "rows"));
	print_rewrites(json_object_get(report, "rewrite"));
	print_heaps(json_object_get(report, "heap"));
}

static int run(const struct measure_options *o)
{
	const size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(9);
	struct fbuf_pool *pool;
	json_t *report;
	bool good = true;
	int out = -1;

	if (!clock_start())
		return TOOL_FAIL;
	/* Says why, if there is no module. */
	if (tool_pool_create_flags(&pool, sysconf(_SC_PAGESIZE), 1, 0))
		return TOOL_FAIL;
	fbuf_pool_close(pool);
	if (o->out) {
		out = report_open(o->out);
		if (out < 0)
			return TOOL_FAIL;
	}

	report = measure(o, &good);
	if (o->out && !report_write(out, o->out, report, flags))
		good = false;
	if (tool_json) {
		tool_print_json(stdout, report);
	} else {
		print_text(report);
		json_decref(report);
	}
	return good ? TOOL_OK : TOOL_FAIL;
}

static const struct option longs[] = {
	LONG_REPEATS, LONG_OUT, LONG_CLOCK, LONG_CPU_LABEL,
	TOOL_LONG_JSON, TOOL_LONG_HELP,
	{ }
};

int cmd_cost(int argc, char **argv)
{
	struct measure_options o = { .repeats = CALLS };
	int c;

	while ((c = tool_getopt(argc, argv, MEASURE_SHORTS, longs)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return TOOL_OK;
		}
		if (!measure_option(&o, c))
			return TOOL_USAGE;
	}
	if (tool_no_args("cost", argc, argv))
		return TOOL_USAGE;
	return run(&o);
}
