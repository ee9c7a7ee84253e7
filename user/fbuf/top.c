// SPDX-License-Identifier: GPL-2.0
/* fbuf top: pools by what they send and receive, live. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "nl.h"
#include "rate.h"

static const char help[] =
"Usage: fbuf top [OPTIONS]\n"
"\n"
"Show the pools that you may see, those first that send and receive most, again\n"
"and again. RECEIVED/S and PARCELS are shown when there are any.\n"
"\n"
"  -d, --delay SECONDS     time between two looks (default 1)\n"
"  -n, --iterations N      end after so many\n"
"  -j, --json              as JSON, one object in a line\n"
"  -h, --help              print this\n";

struct options {
	double delay;
	uint64_t left;
	bool tty;
};

/* A pool, and what it did since the last look. */
struct line {
	const struct ctl_pool *pool;
	struct ctl_stats diff;
};

static uint64_t moved(const struct line *l)
{
	return l->diff.bytes + l->diff.received;
}

static int by_bytes(const void *va, const void *vb)
{
	const struct line *a = va, *b = vb;

	if (moved(a) != moved(b))
		return moved(a) < moved(b) ? 1 : -1;
	if (a->diff.sends != b->diff.sends)
		return a->diff.sends < b->diff.sends ? 1 : -1;
	return a->pool->id < b->pool->id ? -1 : a->pool->id > b->pool->id;
}

/* Pools and statistics were asked for one after the other. */
static struct line *make_lines(const struct ctl_pool *pools, size_t nr,
			       const struct rate *r)
{
	struct line *lines = calloc(nr + 1, sizeof(*lines));
	size_t i, k;

	if (!lines) {
		tool_err("No memory.");
		exit(TOOL_FAIL);
	}
	for (i = 0; i < nr; i++) {
		lines[i].pool = &pools[i];
		for (k = 0; k < r->nr; k++) {
			if (r->diff[k].pool == pools[i].id)
				lines[i].diff = r->diff[k];
		}
	}
	qsort(lines, nr, sizeof(*lines), by_bytes);
	return lines;
}

static void print_json(const struct line *lines, size_t nr, double seconds)
{
	json_t *list = json_array(), *j, *rates;
	size_t i;

	for (i = 0; i < nr; i++) {
		j = ctl_pool_json(lines[i].pool);
		rates = rate_json(&lines[i].diff, seconds);
		json_object_del(rates, "pool");
		json_object_set_new(j, "rates", rates);
		json_array_append_new(list, j);
	}
	j = json_object();
	json_object_set_new(j, "seconds", json_real(seconds));
	json_object_set_new(j, "pools", list);
	tool_print_json_line(j);
}

/* Most programs have none. */
static bool any_parcels(const struct line *lines, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		if (lines[i].pool->nr_parcels || lines[i].diff.recvs)
			return true;
	}
	return false;
}

static void add_row(struct tool_table *t, const struct line *l, double seconds,
		    bool parcels)
{
	char text[FMT_BYTES_MAX], user[FMT_USER_MAX];
	const struct ctl_pool *p = l->pool;

	table_cell(t, "%llu", (unsigned long long)p->id);
	table_cell(t, "%s", fmt_user(user, p->uid));
	table_cell(t, "%.0f", l->diff.sends / seconds);
	table_cell(t, "%s", fmt_bytes(text, l->diff.bytes / seconds));
	table_cell(t, "%s", fmt_bytes(text, l->diff.copied / seconds));
	table_cell(t, "%.0f", l->diff.allocs / seconds);
	table_cell(t, "%u", p->nr_held);
	table_cell(t, "%u", p->nr_in_flight);
	table_cell(t, "%s", p->in_flight_bytes ?
		   fmt_ms(text, p->oldest_ms) : "-");
	if (!parcels)
		return;
	table_cell(t, "%s", fmt_bytes(text, l->diff.received / seconds));
	table_cell(t, "%u", p->nr_parcels);
}

static size_t rows_of_tty(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_row < 4)
		return SIZE_MAX;
	/* The line above the table, and the one the cursor is left in. */
	return size.ws_row - 2;
}

static void print_text(const struct options *o, const struct line *lines,
		       size_t nr, double seconds)
{
	bool parcels = any_parcels(lines, nr);
	const char * const heads[] = {
		"ID", "USER", "SENDS/S", "BYTES/S", "COPIED/S", "ALLOCS/S",
		"HELD", "FLIGHT", "OLDEST", parcels ? "RECEIVED/S" : NULL,
		"PARCELS", NULL
	};
	struct tool_table t = { .left = 1U << 1, .width = 5 };
	char bytes[FMT_BYTES_MAX], day[16];
	time_t now = time(NULL);
	uint64_t charged = 0;
	size_t i;

	table_heads(&t, heads);
	for (i = 0; i < nr; i++) {
		add_row(&t, &lines[i], seconds, parcels);
		charged += lines[i].pool->charged;
	}
	strftime(day, sizeof(day), "%T", localtime(&now));
	printf("%s%s  pools: %zu, charged: %s\n", o->tty ? "\033[H\033[J" : "",
	       day, nr, fmt_bytes(bytes, charged));
	table_print(&t, o->tty ? rows_of_tty() : SIZE_MAX);
	if (!o->tty)
		putchar('\n');
}

static void print(const struct options *o, const struct ctl_pool *pools,
		  size_t nr, const struct rate *r)
{
	struct line *lines = make_lines(pools, nr, r);

	if (tool_json)
		print_json(lines, nr, r->seconds);
	else
		print_text(o, lines, nr, r->seconds);
	free(lines);
}

static int run(struct options *o, struct ctl *c)
{
	struct ctl_pool *pools = NULL;
	struct ctl_stats *stats;
	struct rate r = { };
	bool more = true;
	ssize_t nr;

	while (more) {
		nr = ctl_list(c, &ctl_stats, (void **)&stats);
		if (nr < 0)
			break;
		/* The first look is only to compare with. */
		if (rate_next(&r, stats, nr)) {
			nr = ctl_list(c, &ctl_pools, (void **)&pools);
			if (nr < 0)
				break;
			print(o, pools, nr, &r);
			free(pools);
			more = tool_flush() && --o->left;
		}
		if (more)
			tool_sleep(o->delay);
	}
	rate_end(&r);
	return nr < 0 ? ctl_fail(c, "list the pools", nr) : TOOL_OK;
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "delay", required_argument, NULL, 'd' },
		{ "iterations", required_argument, NULL, 'n' },
		TOOL_LONG_JSON,
		TOOL_LONG_HELP,
		{ 0 }
	};
	int c, ret;

	while ((c = tool_getopt(argc, argv, "d:n:jh", longs)) != -1) {
		switch (c) {
		case 'd':
			if (!tool_seconds(optarg, &o->delay))
				return TOOL_USAGE;
			break;
		case 'n':
			if (!tool_size("The number of times", optarg, 1,
				       UINT32_MAX, &o->left))
				return TOOL_USAGE;
			break;
		default:
			ret = tool_option(c, help);
			if (ret)
				return ret;
		}
	}
	return tool_no_args("top", argc, argv);
}

int cmd_top(int argc, char **argv)
{
	struct options o = { .delay = 1, .left = UINT64_MAX };
	struct ctl *c;
	int ret = parse(argc, argv, &o);

	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	c = ctl_open(false);
	if (!c)
		return TOOL_FAIL;
	o.tty = isatty(STDOUT_FILENO);
	/* A screen at a time, so that it does not flicker. */
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	ret = run(&o, c);
	ctl_close(c);
	return ret;
}
