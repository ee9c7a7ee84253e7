// SPDX-License-Identifier: GPL-2.0
/* Workloads of "fbuf compare": their rows as tables. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "row.h"
#include "workload.h"

static bool same(const json_t *a, const json_t *b)
{
	static const char * const keys[] = { "workload", "kernel", "cpu", "clock" };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(row_text(a, keys[i]), row_text(b, keys[i])))
			return false;
	}
	return true;
}

static const struct {
	const char *name, *what;
	unsigned int more;	/* columns that name a row */
	const char *keys[9];	/* the columns after the method and the size */
	const char *heads[9];
} tables[] = {
	{ "log",
	  "a batch appended, then one to each consumer, all at offsets of their own",
	  1, { "consumers", "append", "send", "send_ratio_to_best", "total",
	    "ratio_to_best" },
	  { "consumers", "append", "send", "to best", "in all",
	    "to best" } },
	{ "queue",
	  "a header and 32 messages that lie scattered, gathered and sent",
	  0, { "send", "send_ratio_to_best", "total", "ratio_to_best" },
	  { "send", "to best", "in all", "to best" } },
	{ "churn",
	  "memory taken, every byte written, sent and freed, over and over",
	  0, { "send", "send_ratio_to_best", "total", "ratio_to_best" },
	  { "send", "to best", "in all", "to best" } },
	{ "pass",
	  "a buffer from process to process, the last of which sends it by TCP",
	  0, { "total", "ratio_to_best" },
	  { "all", "to best" } },
	{ "tail",
	  "answers of 1 KiB to others while 8 MiB at a time go out: how long",
	  0, { "p50", "p99", "p999", "ratio_to_best", "large_per_s" },
	  { "half", "99 %", "99.9 %", "to best", "MiB/s" } },
};

static void print_cell(struct tool_table *t, const json_t *row, const char *key)
{
	double x = row_num(row, key);

	if (isnan(x))
		table_cell(t, "-");
	else
		table_cell(t, strstr(key, "ratio") ? "%.2f" : "%.0f", x);
}

static void print_row(struct tool_table *t, const json_t *row, unsigned int nr)
{
	char size[FMT_BYTES_MAX];
	unsigned int i;

	table_cell(t, "%s", row_text(row, "method"));
	table_cell(t, "%s", row_size(size, row_num(row, "size")));
	for (i = 0; tables[nr].keys[i]; i++)
		print_cell(t, row, tables[nr].keys[i]);
}

/* Every note once, with its method. */
static void print_notes(const json_t *rows, const json_t *like)
{
	const json_t *row, *other;
	size_t i, j;

	json_array_foreach(rows, i, row) {
		if (!same(row, like) || !row_text(row, "note")[0])
			continue;
		for (j = 0; j < i; j++) {
			other = json_array_get(rows, j);
			if (same(other, row) &&
			    !strcmp(row_text(other, "method"), row_text(row, "method")) &&
			    !strcmp(row_text(other, "note"), row_text(row, "note")))
				break;
		}
		if (j == i)
			printf("%s: %s\n", row_text(row, "method"),
			       row_text(row, "note"));
	}
}

static void print_table(const json_t *rows, const json_t *like, unsigned int nr)
{
	struct tool_table t = { .keys = 2 + tables[nr].more, .left = 1U << 0 };
	const json_t *row;
	unsigned int i;
	size_t j;

	printf("\n== Linux %s, CPU %s (%.0f), workload %s: %s\n%s, medians\n\n",
	       row_text(like, "kernel"), row_text(like, "cpu"), row_num(like, "cpus"),
	       tables[nr].name, tables[nr].what, row_text(like, "clock"));
	t.cols = 2;
	while (tables[nr].keys[t.cols - 2])
		t.cols++;
	table_cell(&t, "method");
	table_cell(&t, "size");
	for (i = 0; tables[nr].keys[i]; i++)
		table_cell(&t, "%s", tables[nr].heads[i]);
	json_array_foreach(rows, j, row) {
		if (same(row, like))
			print_row(&t, row, nr);
	}
	table_print(&t, SIZE_MAX);
	print_notes(rows, like);
}

void workload_print(const json_t *rows)
{
	size_t i, j;
	unsigned int nr;

	for (i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);

		for (j = 0; j < i; j++) {
			if (same(json_array_get(rows, j), row))
				break;
		}
		for (nr = 0; nr < ARRAY_SIZE(tables); nr++) {
			if (!strcmp(tables[nr].name, row_text(row, "workload")))
				break;
		}
		if (j == i && nr < ARRAY_SIZE(tables))
			print_table(rows, row, nr);
	}
}
