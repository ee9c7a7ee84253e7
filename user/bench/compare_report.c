// SPDX-License-Identifier: GPL-2.0
/* fbuf compare: rows to JSON, and a report, of one run or merged, to tables. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "row.h"
#include "workload.h"

#define CELL_MAX	32
#define METHOD_MAX	32
#define SIZES_MAX	16

json_t *report_row(const struct row *r, const json_t *where)
{
	const char *clock = json_string_value(json_object_get(where, "clock"));
	/* A rate by the clock means nothing when the clock counts instructions. */
	bool rates = !strcmp(clock, "nanoseconds");
	json_t *row = json_copy((json_t *)where);
	char method[METHOD_MAX];

	/* So that a method's name and a size are one row. */
	snprintf(method, sizeof(method), "%s%s", r->method->name,
		 r->read ? "+read" : "");
	json_object_set_new(row, "mode",
			    json_string(r->stream ? "stream" : "lockstep"));
	json_object_set_new(row, "method", json_string(method));
	json_object_set_new(row, "receiver",
			    json_string(r->read ? "read" : "trunc"));
	json_object_set_new(row, "size", json_integer(r->size));
	json_object_set_new(row, "send", row_whole(r->send));
	json_object_set_new(row, "total", row_whole(r->total));
	json_object_set_new(row, "min", row_whole(r->min));
	json_object_set_new(row, "max", row_whole(r->max));
	json_object_set_new(row, "repeats", json_integer(r->repeats));
	json_object_set_new(row, "verified", json_boolean(r->verified));
	json_object_set_new(row, "send_cpu", row_whole(r->send_cpu));
	json_object_set_new(row, "gbytes_per_s",
			    row_real(rates ? r->gbytes_per_s : NAN));
	json_object_set_new(row, "cpu_s_per_gib",
			    row_real(rates ? r->cpu_s_per_gib : NAN));
	json_object_set_new(row, "ratio_to_sendfile", json_null());
	json_object_set_new(row, "ratio_to_best", json_null());
	json_object_set_new(row, "best", json_null());
	json_object_set_new(row, "send_ratio_to_best", json_null());
	json_object_set_new(row, "send_best", json_null());
	json_object_set_new(row, "calls", row_real(r->calls));
	row_outcome(row, r->copied, r->engine, r->note);
	return row;
}

static bool same_text(const json_t *a, const json_t *b, const char *key)
{
	return !strcmp(row_text(a, key), row_text(b, key));
}

static bool same_number(const json_t *a, const json_t *b, const char *key)
{
	double x = row_num(a, key), y = row_num(b, key);

	return x == y || (isnan(x) && isnan(y));
}

/* Measured on the same machine, in the same way: they share a table. */
static bool same_table(const json_t *a, const json_t *b)
{
	return same_text(a, b, "kernel") && same_text(a, b, "cpu") &&
	       same_text(a, b, "mode") && same_text(a, b, "clock") &&
	       same_text(a, b, "receiver") && same_text(a, b, "workload");
}

static bool is_stream(const json_t *row)
{
	return !strcmp(row_text(row, "mode"), "stream");
}

/* The row of like's table for a method and size. */
static const json_t *find(const json_t *rows, const json_t *like,
			  const char *method, double size)
{
	const json_t *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		if (same_table(row, like) && row_num(row, "size") == size &&
		    same_number(row, like, "consumers") &&
		    !strcmp(row_text(row, "method"), method))
			return row;
	}
	return NULL;
}

/* Not measured because this system cannot: that is no failure. */
static bool unsupported(const json_t *row)
{
	return !strncmp(row_text(row, "note"), "unsupported", 11);
}

static bool failed(const json_t *row)
{
	return !json_is_true(json_object_get(row, "verified")) &&
	       !unsupported(row);
}

/* Cost of a row: less is better. */
static double cost(const json_t *row)
{
	if (!row || failed(row))
		return NAN;
	if (json_object_get(row, "p99"))
		return row_num(row, "p99");
	return is_stream(row) ? 1 / row_num(row, "gbytes_per_s") : row_num(row, "total");
}

static double send_cost(const json_t *row)
{
	return failed(row) || is_stream(row) ? NAN : row_num(row, "send");
}

/* Makes each message anew: costs that others do not have. */
static bool rewrites(const json_t *row)
{
	return strstr(row_text(row, "method"), "-rewrite");
}

/* A stock way that does the same as a row. */
static bool is_peer(const json_t *row, const json_t *like)
{
	return same_table(row, like) && rewrites(row) == rewrites(like) &&
	       row_num(row, "size") == row_num(like, "size") &&
	       same_number(row, like, "consumers") &&
	       strncmp(row_text(row, "method"), "fbuf", 4) &&
	       strcmp(row_text(row, "method"), "none");
}

static const json_t *best_peer(const json_t *rows, const json_t *like,
			       double (*of)(const json_t *row))
{
	const json_t *best = NULL, *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		if (is_peer(row, like) && !isnan(of(row)) &&
		    (!best || of(row) < of(best)))
			best = row;
	}
	return best;
}

static void set_best(json_t *row, const json_t *best, const char *ratio_key,
		     double ratio, const char *best_key)
{
	if (!best || isnan(ratio))
		return;
	json_object_set_new(row, ratio_key, json_real(ratio));
	json_object_set(row, best_key, json_object_get(best, "method"));
}

static void row_ratios(const json_t *rows, json_t *row)
{
	bool load = row_text(row, "workload")[0];
	const char *key = load && is_stream(row) ? "p99" :
			  is_stream(row) ? "gbytes_per_s" : "total";
	bool read = !load && !strcmp(row_text(row, "receiver"), "read");
	const json_t *base = find(rows, row, read ? "sendfile+read" :
				  "sendfile", row_num(row, "size"));
	const json_t *best = best_peer(rows, row, cost);
	double ratio = base ? row_num(row, key) / row_num(base, key) : NAN;

	json_object_set_new(row, "ratio_to_sendfile", row_real(ratio));
	set_best(row, best, "ratio_to_best",
		 best ? row_num(row, key) / row_num(best, key) : NAN, "best");
	best = best_peer(rows, row, send_cost);
	set_best(row, best, "send_ratio_to_best",
		 best ? send_cost(row) / send_cost(best) : NAN, "send_best");
}

void report_ratios(json_t *report)
{
	json_t *rows = json_object_get(report, "rows"), *row;
	size_t i;

	json_array_foreach(rows, i, row)
		row_ratios(rows, row);
}

/* What a row gives a table, the text for one cell. */
typedef void (*cell_fn)(const json_t *row, char *cell);

static void cell_total(const json_t *row, char *cell)
{
	snprintf(cell, CELL_MAX, "%.0f", row_num(row, "total"));
}

static void cell_send(const json_t *row, char *cell)
{
	snprintf(cell, CELL_MAX, "%.0f", row_num(row, "send"));
}

static void cell_range(const json_t *row, char *cell)
{
	snprintf(cell, CELL_MAX, "%.4g-%.4gk", row_num(row, "min") / 1e3,
		 row_num(row, "max") / 1e3);
}

static void cell_rate(const json_t *row, char *cell)
{
	snprintf(cell, CELL_MAX, "%.3f", row_num(row, "gbytes_per_s"));
}

static void cell_spread(const json_t *row, char *cell)
{
	snprintf(cell, CELL_MAX, "%.0f%%", 100 *
		 (row_num(row, "max") - row_num(row, "min")) / row_num(row, "total"));
}

static void cell_cpu(const json_t *row, char *cell)
{
	snprintf(cell, CELL_MAX, "%.3f", row_num(row, "cpu_s_per_gib"));
}

static void cell_ratio(const json_t *row, char *cell)
{
	double ratio = row_num(row, "ratio_to_best");

	snprintf(cell, CELL_MAX, isnan(ratio) ? "-" : "%.2f", ratio);
}

/* A table's rows, and what it has columns and lines for. */
struct table {
	const json_t *rows;
	const json_t *like;		/* its first row */
	double sizes[SIZES_MAX];
	unsigned int nr_sizes;
	const json_t **lines;		/* first row of each method */
	unsigned int nr_lines;
};

static void add_size(struct table *t, double size)
{
	unsigned int i;

	/* What a file says need not be a size. */
	if (!(size >= 0 && size <= UINT32_MAX))
		return;
	for (i = 0; i < t->nr_sizes && t->sizes[i] < size; i++)
		;
	if ((i < t->nr_sizes && t->sizes[i] == size) ||
	    t->nr_sizes == SIZES_MAX)
		return;
	memmove(&t->sizes[i + 1], &t->sizes[i],
		(t->nr_sizes++ - i) * sizeof(t->sizes[0]));
	t->sizes[i] = size;
}

static void add_line(struct table *t, const json_t *row)
{
	unsigned int i;

	for (i = 0; i < t->nr_lines; i++) {
		if (same_text(t->lines[i], row, "method"))
			return;
	}
	t->lines[t->nr_lines++] = row;
}

static const json_t *at(const struct table *t, unsigned int line,
			unsigned int size)
{
	return find(t->rows, t->like, row_text(t->lines[line], "method"),
		    t->sizes[size]);
}

static const char *size_text(double size)
{
	static char buf[FMT_BYTES_MAX];
	unsigned long n = size;

	if (n && !(n % (1 << 20)))
		snprintf(buf, sizeof(buf), "%lu MiB", n >> 20);
	else if (n && !(n % (1 << 10)))
		snprintf(buf, sizeof(buf), "%lu KiB", n >> 10);
	else
		snprintf(buf, sizeof(buf), "%lu B", n);
	return buf;
}

static void print_block(const struct table *t, const char *title, cell_fn fn)
{
	struct tool_table out = {
		.cols = 1 + t->nr_sizes, .left = 1U << 0, .width = 13,
	};
	unsigned int i, j;

	printf("\n%s\n", title);
	table_cell(&out, "method");
	for (j = 0; j < t->nr_sizes; j++)
		table_cell(&out, "%s", size_text(t->sizes[j]));
	for (i = 0; i < t->nr_lines; i++) {
		table_cell(&out, "%s", row_text(t->lines[i], "method"));
		for (j = 0; j < t->nr_sizes; j++) {
			const json_t *row = at(t, i, j);
			char cell[CELL_MAX] = "-";

			if (row && failed(row))
				snprintf(cell, CELL_MAX, "FAILED");
			else if (row && !isnan(row_num(row, "total")))
				fn(row, cell);
			table_cell(&out, "%s", cell);
		}
	}
	table_print(&out, SIZE_MAX);
}

/* Every note once, with the sizes that it is about. */
static void print_notes(const struct table *t, unsigned int line)
{
	unsigned int i, j;

	for (i = 0; i < t->nr_sizes; i++) {
		const json_t *row = at(t, line, i);
		bool known = !row || !row_text(row, "note")[0];

		for (j = 0; !known && j < i; j++)
			known = at(t, line, j) &&
				same_text(at(t, line, j), row, "note");
		if (known)
			continue;
		printf("%s:", row_text(row, "method"));
		for (j = i; j < t->nr_sizes; j++) {
			if (at(t, line, j) &&
			    same_text(at(t, line, j), row, "note"))
				printf(" %s,", size_text(t->sizes[j]));
		}
		printf(" %s\n", row_text(row, "note"));
	}
}

/* What became of the promise not to copy. */
static void print_copied(const struct table *t, unsigned int line)
{
	double copied = 0, bytes = 0;
	unsigned int j;

	for (j = 0; j < t->nr_sizes; j++) {
		const json_t *row = at(t, line, j);

		if (!row || isnan(row_num(row, "copied")))
			continue;
		copied += row_num(row, "copied");
		bytes += t->sizes[j];
	}
	if (bytes)
		printf("%s: the sender's kernel copied %s bytes\n",
		       row_text(t->lines[line], "method"),
		       copied == bytes ? "all" : copied ? "some" : "no");
}

static bool overlap(const json_t *a, const json_t *b)
{
	return row_num(a, "min") <= row_num(b, "max") && row_num(b, "min") <= row_num(a, "max");
}

static void print_losses(const struct table *t, const char *method)
{
	unsigned int j, losses = 0, seen = 0;
	double more;

	printf("%s", method);
	for (j = 0; j < t->nr_sizes; j++) {
		const json_t *fbuf = find(t->rows, t->like, method,
					  t->sizes[j]);
		const json_t *best = fbuf ? best_peer(t->rows, fbuf, cost) :
					    NULL;

		if (!best || isnan(cost(fbuf)))
			continue;
		seen++;
		more = 100 * (cost(fbuf) / cost(best) - 1);
		if (more <= 0)
			continue;
		printf("%s at %s to %s by %.*f %%%s", losses++ ? ";" : " loses",
		       size_text(t->sizes[j]), row_text(best, "method"),
		       more < 1 ? 2 : 0, more,
		       is_stream(fbuf) && overlap(fbuf, best) ?
		       " (within the spread)" : "");
	}
	if (!seen)
		printf(": not measured\n");
	else
		printf("%s\n", losses ? "" : " loses at no size measured");
}

static void print_lockstep(const struct table *t)
{
	char title[128];

	snprintf(title, sizeof(title),
		 "%s a message, send and receive together: median",
		 row_text(t->like, "clock"));
	print_block(t, title, cell_total);
	print_block(t, "of these, in the send: median", cell_send);
	print_block(t, "lowest and highest, thousands", cell_range);
	print_block(t, "cost / cost of the best stock way (below 1: cheaper)",
		    cell_ratio);
}

static void print_stream(const struct table *t)
{
	print_block(t, "throughput, GB/s: median", cell_rate);
	print_block(t, "spread of the repetitions, (max - min) / median",
		    cell_spread);
	print_block(t, "CPU seconds a GiB, sender and receiver", cell_cpu);
	print_block(t, "throughput / throughput of the best stock way (above 1: faster)",
		    cell_ratio);
}

/* A ratio to the best stock way, and which that was. */
static void best_cells(struct tool_table *out, const json_t *row,
		       const char *ratio_key, const char *best_key)
{
	const char *best = row_text(row, best_key);

	if (!best[0]) {
		table_cell(out, "-");
		table_cell(out, "-");
		return;
	}
	table_cell(out, "%.2f", row_num(row, ratio_key));
	table_cell(out, "%.*s", (int)strcspn(best, "+"), best);
}

static void headline_row(struct tool_table *out, const json_t *row, bool stream)
{
	const char *method = row_text(row, "method");

	table_cell(out, "%.*s", (int)strcspn(method, "+"), method);
	table_cell(out, "%s", size_text(row_num(row, "size")));
	if (!stream)
		best_cells(out, row, "send_ratio_to_best", "send_best");
	best_cells(out, row, "ratio_to_best", "best");
}

/* First what is asked first: fbuf, to the best that there is without it. */
static void print_headline(const struct table *t, bool stream)
{
	static const char * const lockstep_heads[] = {
		"", "message", "send", "of", "with receiving", "of", NULL
	};
	static const char * const stream_heads[] = {
		"", "message", "throughput", "of", NULL
	};
	struct tool_table out = {
		.keys = 2, .left = 1U << 0 | 1U << 3 | 1U << 5,
	};
	unsigned int i, j, seen = 0;

	table_heads(&out, stream ? stream_heads : lockstep_heads);
	for (i = 0; i < t->nr_lines; i++) {
		if (strncmp(row_text(t->lines[i], "method"), "fbuf", 4))
			continue;
		for (j = 0; j < t->nr_sizes; j++) {
			const json_t *row = at(t, i, j);

			if (!row || !row_text(row, "best")[0])
				continue;
			headline_row(&out, row, stream);
			seen++;
		}
	}
	printf("\nfbuf to the best stock way (%s)\n", stream ?
	       "above 1: faster" : "below 1: cheaper");
	if (!seen)
		puts("not measured");
	table_print(&out, seen ? SIZE_MAX : 0);
}

static void print_table(const struct table *t)
{
	bool read = !strcmp(row_text(t->like, "receiver"), "read");
	bool stream = is_stream(t->like);
	unsigned int i;

	printf("\n== Linux %s, CPU %s (%.0f), %s; %s\n", row_text(t->like, "kernel"),
	       row_text(t->like, "cpu"), row_num(t->like, "cpus"), stream ?
	       "stream: sender and receiver run free, each in a thread" :
	       "lockstep: one thread sends a message, then receives it",
	       read ? "receivers read" : "receivers drop (MSG_TRUNC)");
	print_headline(t, stream);
	if (stream)
		print_stream(t);
	else
		print_lockstep(t);
	putchar('\n');
	for (i = 0; i < t->nr_lines; i++) {
		print_notes(t, i);
		print_copied(t, i);
	}
	print_losses(t, read ? "fbuf+read" : "fbuf");
	print_losses(t, read ? "fbuf-rewrite+read" : "fbuf-rewrite");
}

static void print_conditions(const json_t *conditions)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)conditions, key, value) {
		char *s = json_is_string(value) ? NULL :
			  json_dumps(value, JSON_ENCODE_ANY);

		printf("%-14s %s\n", key, s ? s : json_string_value(value));
		free(s);
	}
	printf("%-14s %s\n%-14s %s\n", "receiver",
	       "with +read, reads the bytes; else drops them (MSG_TRUNC)",
	       "verified", "on the connection that is timed, byte by byte, untimed");
}

bool report_failed(const json_t *report)
{
	const json_t *row;
	size_t i, bad = 0;

	json_array_foreach(json_object_get(report, "rows"), i, row)
		bad += !json_is_true(json_object_get(row, "verified")) ||
		       isnan(row_num(row, "total"));
	if (bad)
		tool_err("%zu of %zu rows failed or could not be measured.",
			 bad, i);
	return bad;
}

int report_open(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

	if (fd < 0)
		tool_err("Cannot open %s: %s.", path, strerror(errno));
	return fd;
}

bool report_write(int fd, const char *path, const json_t *report, size_t flags)
{
	FILE *f = fdopen(fd, "w");
	bool ok;
	int err;

	/* What cannot be cut, a pipe or a device, need not be. */
	ok = f && (!ftruncate(fd, 0) || errno == EINVAL) &&
	     !json_dumpf(report, f, flags) && fputc('\n', f) != EOF;
	err = errno;
	if ((f ? fclose(f) : close(fd)) && ok) {
		ok = false;
		err = errno;
	}
	if (!ok)
		tool_err("Cannot write %s: %s.", path, strerror(err));
	return ok;
}

void report_print(const json_t *report)
{
	struct table t = { .rows = json_object_get(report, "rows") };
	size_t nr = json_array_size(t.rows), i, j;

	t.lines = calloc(nr + 1, sizeof(*t.lines));
	if (!t.lines)
		return;
	print_conditions(json_object_get(report, "conditions"));
	for (i = 0; i < nr; i++) {
		t.like = json_array_get(t.rows, i);
		if (row_text(t.like, "workload")[0])
			continue;
		for (j = 0; j < i; j++) {
			if (same_table(json_array_get(t.rows, j), t.like))
				break;
		}
		if (j < i)
			continue;
		t.nr_lines = 0;
		t.nr_sizes = 0;
		for (; j < nr; j++) {
			const json_t *row = json_array_get(t.rows, j);

			if (!same_table(row, t.like))
				continue;
			add_size(&t, row_num(row, "size"));
			add_line(&t, row);
		}
		print_table(&t);
	}
	free(t.lines);
	workload_print(t.rows);
}
