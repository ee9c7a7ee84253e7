// SPDX-License-Identifier: GPL-2.0
/* fbuf stat: what pools did, in all or by the second. */

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nl.h"
#include "rate.h"

#define LINES	20	/* between heads */
#define WIDTH	9U	/* of a column, so that lines agree */

static const char help[] =
"Usage: fbuf stat [OPTIONS] [ID]\n"
"\n"
"Print what pool ID did; without ID, all pools since the module was loaded (if\n"
"you are not root: your pools that there are).\n"
"\n"
"  -a, --all                each pool that there is\n"
"  -i, --interval SECONDS   print rates, every so often\n"
"  -n, --count COUNT        end after printing rates so many times\n"
"  -j, --json               as JSON; with -i, one object in a line\n"
"  -h, --help               print this\n"
"\n"
"SENDS are gathers, BYTES of them COPIED by the CPU; ALLOCS and FREES buffers\n"
"handed out and dropped; REUSES buffers freed in flight that are idle since;\n"
"PASSES to other handles; PROTECTS against writes; SNAPSHOTS copies because of a\n"
"write; WAITS for a buffer; RECLAIMS of memory under pressure. FILLS read into a\n"
"buffer, FILLED bytes in all; RECVS made a parcel, RECEIVED bytes in all,\n"
"RECV_COPIED of them by the CPU.\n";

/* The name of who may not see them all. */
static const char yours[] = "yours";

struct options {
	bool all, one;
	uint64_t id;
	double interval;	/* 0: once */
	uint64_t left;
};

/* "BYTES" for "bytes". */
static void add_heads(struct tool_table *t)
{
	unsigned int i;
	char head[16], *p;

	for (i = 0; i < ctl_stats.nr_fields; i++) {
		snprintf(head, sizeof(head), "%s", ctl_stats.fields[i].name);
		for (p = head; *p; p++)
			*p = toupper((unsigned char)*p);
		table_cell(t, "%s", head);
	}
}

static bool is_bytes(unsigned int attr)
{
	return attr == FBUF_A_STATS_BYTES || attr == FBUF_A_STATS_COPIED ||
	       attr == FBUF_A_STATS_FILLED || attr == FBUF_A_STATS_RECEIVED ||
	       attr == FBUF_A_STATS_RECV_COPIED;
}

static void add_row(struct tool_table *t, const struct ctl_stats *s,
		    const char *name, double seconds)
{
	char bytes[FMT_BYTES_MAX];
	unsigned int i;

	if (s->seen & CTL_SEEN(FBUF_A_STATS_POOL_ID))
		table_cell(t, "%llu", (unsigned long long)s->pool);
	else
		table_cell(t, "%s", name);
	for (i = 1; i < ctl_stats.nr_fields; i++) {
		double val = rate_value(s, i) / seconds;

		if (is_bytes(ctl_stats.fields[i].attr))
			table_cell(t, "%s", fmt_bytes(bytes, val));
		else
			table_cell(t, "%.*f", val && val < 10 && seconds != 1,
				   val);
	}
}

/* The statistics that the options name; how many, or -1 after a message. */
static ssize_t gather(const struct options *o, struct ctl *c,
		      struct ctl_stats **stats, const char **name)
{
	struct ctl_stats s = { };
	ssize_t nr;
	int ret;

	if (o->one)
		s = (struct ctl_stats){
			.seen = CTL_SEEN(FBUF_A_STATS_POOL_ID), .pool = o->id,
		};
	*name = "all";
	ret = o->all ? -EPERM : ctl_get(c, &ctl_stats, &s);
	if (ret == -EPERM && !o->one) {
		nr = ctl_list(c, &ctl_stats, (void **)stats);
		if (nr < 0)
			ctl_fail(c, "read the statistics", nr);
		if (!o->all)
			*name = yours;
		return nr;
	}
	if (ret) {
		if (o->one)
			ctl_fail_pool(c, o->id, ret);
		else
			ctl_fail(c, "read the statistics", ret);
		return -1;
	}
	*stats = malloc(sizeof(s));
	if (!*stats)
		return -1;
	**stats = s;
	return 1;
}

/* What is to be printed: of each pool, or only of all of them. */
struct shown {
	const struct ctl_stats *stats;
	size_t nr;
	const char *name;
	struct ctl_stats sum;
};

/* A pool that is gone takes what it did along: sum differences, not counters. */
static void choose(struct shown *shown, const struct ctl_stats *stats,
		   size_t nr, const char *name)
{
	*shown = (struct shown){ .stats = stats, .nr = nr, .name = name };
	if (name != yours)
		return;
	rate_sum(&shown->sum, stats, nr);
	shown->stats = &shown->sum;
	shown->nr = 1;
}

static void add_name(json_t *j, const struct ctl_stats *s, const char *name)
{
	if (!(s->seen & CTL_SEEN(FBUF_A_STATS_POOL_ID)))
		json_object_set_new(j, "pools", json_string(name));
}

static void print_totals_json(const struct shown *shown, bool all)
{
	json_t *list = json_array(), *j;
	size_t i;

	for (i = 0; i < shown->nr; i++) {
		j = ctl_json(&ctl_stats, &shown->stats[i]);
		add_name(j, &shown->stats[i], shown->name);
		json_array_append_new(list, j);
	}
	j = all ? list : json_incref(json_array_get(list, 0));
	if (!all)
		json_decref(list);
	tool_print_json(stdout, j);
}

static int print_totals(const struct options *o, struct ctl *c)
{
	struct tool_table t = { .cols = ctl_stats.nr_fields };
	struct ctl_stats *stats;
	struct shown shown;
	const char *name;
	ssize_t nr;
	size_t i;

	nr = gather(o, c, &stats, &name);
	if (nr < 0)
		return TOOL_FAIL;
	choose(&shown, stats, nr, name);
	if (tool_json) {
		print_totals_json(&shown, o->all);
	} else {
		add_heads(&t);
		for (i = 0; i < shown.nr; i++)
			add_row(&t, &shown.stats[i], name, 1);
		table_print(&t, SIZE_MAX);
	}
	free(stats);
	return TOOL_OK;
}

static bool print_rates_json(const struct shown *shown, double seconds)
{
	json_t *list = json_array(), *j;
	size_t i;

	for (i = 0; i < shown->nr; i++) {
		j = rate_json(&shown->stats[i], seconds);
		add_name(j, &shown->stats[i], shown->name);
		json_array_append_new(list, j);
	}
	j = json_object();
	json_object_set_new(j, "seconds", json_real(seconds));
	json_object_set_new(j, "rates", list);
	return tool_print_json_line(j);
}

static bool print_rates(const struct options *o, const struct shown *shown,
			double seconds, unsigned int *line)
{
	struct tool_table t = { .cols = ctl_stats.nr_fields, .width = WIDTH };
	/* Whether each look is a table, or a line of one. */
	bool table = o->all || t.cols * (WIDTH + 2) - 2 > table_room();
	size_t i;

	if (tool_json)
		return print_rates_json(shown, seconds);
	if (table && *line)
		putchar('\n');
	if (table || *line % LINES == 0)
		add_heads(&t);
	for (i = 0; i < shown->nr; i++)
		add_row(&t, &shown->stats[i], shown->name, seconds);
	table_print(&t, SIZE_MAX);
	++*line;
	return tool_flush();
}

static int repeat(struct options *o, struct ctl *c)
{
	struct ctl_stats *stats;
	struct rate r = { };
	struct shown shown;
	unsigned int line = 0;
	const char *name;
	ssize_t nr;

	for (;;) {
		nr = gather(o, c, &stats, &name);
		if (nr < 0)
			break;
		/* The first time there is nothing to compare with. */
		if (rate_next(&r, stats, nr)) {
			choose(&shown, r.diff, r.nr, name);
			if (!print_rates(o, &shown, r.seconds, &line) ||
			    !--o->left)
				break;
		}
		tool_sleep(o->interval);
	}
	rate_end(&r);
	return nr < 0 ? TOOL_FAIL : TOOL_OK;
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "interval", required_argument, NULL, 'i' },
		{ "count", required_argument, NULL, 'n' },
		TOOL_LONG_JSON,
		TOOL_LONG_HELP,
		{ 0 }
	};
	int c, ret;

	while ((c = tool_getopt(argc, argv, "ai:n:jh", longs)) != -1) {
		switch (c) {
		case 'a':
			o->all = true;
			break;
		case 'i':
			if (!tool_seconds(optarg, &o->interval))
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
	if (optind < argc) {
		o->one = true;
		if (!tool_pool_id(argv[optind++], &o->id))
			return TOOL_USAGE;
	}
	if (o->one && o->all)
		return tool_usage("stat", "It takes --all or ID, not both.");
	if (o->left && !o->interval)
		return tool_usage("stat", "--count goes with --interval.");
	return tool_no_args("stat", argc, argv);
}

int cmd_stat(int argc, char **argv)
{
	struct options o = { };
	struct ctl *c;
	int ret = parse(argc, argv, &o);

	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	c = ctl_open(false);
	if (!c)
		return TOOL_FAIL;
	if (!o.left)
		o.left = UINT64_MAX;
	ret = o.interval ? repeat(&o, c) : print_totals(&o, c);
	ctl_close(c);
	return ret;
}
