// SPDX-License-Identifier: GPL-2.0
/* fbuf bench: messages of all sizes, to many sockets, of many pieces. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "options.h"
#include "row.h"

#define BENCH_KINDS	(IN_ONE | IN_FAN | IN_GATHER)
#define SOCKETS_MAX	1024U
#define SEGS_MAX	1024U

static const char help[] =
"Usage: fbuf bench [OPTION]...\n"
"\n"
"Measure every way to send, in lock step: one thread sends a message and then\n"
"receives it. One message to one socket, in all sizes; one message to many\n"
"sockets; and messages gathered from many pieces of memory. For instructions\n"
"rather than time, run it under QEMU -icount.\n"
"\n"
"  -k, --kinds LIST         of one, fan, gather (default all)\n"
"  -M, --methods LIST       which ways (default all): \"fbuf bench -M help\"\n"
"  -s, --sizes LIST         sizes of one (default 256,1K,4K,16K,64K,256K,1M)\n"
"      --fan-sizes LIST     sizes of fan (default 4K,64K)\n"
"      --sockets LIST       sockets of fan (default 1,16,256)\n"
"      --segment-sizes LIST sizes of a piece of gather (default 256,4K)\n"
"      --segments LIST      pieces of gather (default 1,16,256)\n"
"  -r, --repeats N          messages timed (default 101 to 9, by size)\n"
"  -d, --dir DIR            where the files of the -disk methods are\n"
"  -a, --addr ADDRESS       where the receiver is (default 127.0.0.1)\n"
"      --netns-tx NAME      the sender's network namespace, by ip-netns(8)\n"
"      --netns-rx NAME      and the receiver's\n"
"  -t, --transport TEXT     name the transport in the report\n"
"  -o, --out FILE           write the JSON to FILE, too\n"
"      --cpu-label TEXT     name the CPU in the report\n"
"      --clock CLOCK        as for fbuf compare: nanoseconds (default), tsc or\n"
"                           instructions\n"
"  -j, --json               print JSON, not a table\n"
"  -h, --help               print this\n"
"\n"
"Exit status: 0; 1 if a row failed that should work here; 2 for a bad command\n"
"line.\n";

struct options {
	struct measure_options m;
	struct list sizes, fan_sizes, sockets, seg_sizes, segs;
	unsigned int kinds;		/* IN_* */
	bool use[METHODS_MAX];		/* by the number of method_get() */
	const char *transport;
};

static bool parse_kinds(struct options *o, char *arg)
{
	unsigned int in;
	char *p;

	o->kinds = 0;
	while ((p = strsep(&arg, ","))) {
		for (in = IN_ONE; in <= IN_GATHER; in <<= 1) {
			if (!strcmp(p, kind_name(in)))
				break;
		}
		if (in > IN_GATHER) {
			tool_err("There is no kind \"%s\": take one, fan or gather.",
				 p);
			return false;
		}
		o->kinds |= in;
	}
	return true;
}

enum {
	OPT_FAN_SIZES = OPT_OWN, OPT_SOCKETS,
	OPT_SEG_SIZES, OPT_SEGS, OPT_NETNS_TX, OPT_NETNS_RX,
};

static const struct option longs[] = {
	{ "kinds", required_argument, NULL, 'k' },
	{ "methods", required_argument, NULL, 'M' },
	{ "sizes", required_argument, NULL, 's' },
	{ "fan-sizes", required_argument, NULL, OPT_FAN_SIZES },
	{ "sockets", required_argument, NULL, OPT_SOCKETS },
	{ "segment-sizes", required_argument, NULL, OPT_SEG_SIZES },
	{ "segments", required_argument, NULL, OPT_SEGS },
	{ "dir", required_argument, NULL, 'd' },
	{ "addr", required_argument, NULL, 'a' },
	{ "netns-tx", required_argument, NULL, OPT_NETNS_TX },
	{ "netns-rx", required_argument, NULL, OPT_NETNS_RX },
	{ "transport", required_argument, NULL, 't' },
	LONG_REPEATS, LONG_OUT, LONG_CLOCK, LONG_CPU_LABEL,
	TOOL_LONG_JSON, TOOL_LONG_HELP,
	{ 0 }
};

static bool parse_text(struct options *o, int opt)
{
	switch (opt) {
	case 'd':
		disk_dir = optarg;
		return true;
	case 'a':
		transport.addr = optarg;
		return true;
	case OPT_NETNS_TX:
		transport.netns_tx = optarg;
		return true;
	case OPT_NETNS_RX:
		transport.netns_rx = optarg;
		return true;
	case 't':
		o->transport = optarg;
		return true;
	}
	return measure_option(&o->m, opt);
}

static bool parse_option(struct options *o, int opt)
{
	static const char size[] = "The size of a message";

	switch (opt) {
	case 'k':
		return parse_kinds(o, optarg);
	case 'M':
		return parse_methods(o->use, BENCH_KINDS, optarg, "bench");
	case 's':
		return parse_list(&o->sizes, size, optarg, SINK_SIZE);
	case OPT_FAN_SIZES:
		return parse_list(&o->fan_sizes, size, optarg, SINK_SIZE);
	case OPT_SOCKETS:
		return parse_list(&o->sockets, "The number of sockets", optarg,
				  SOCKETS_MAX);
	case OPT_SEG_SIZES:
		return parse_list(&o->seg_sizes, "The size of a piece", optarg,
				  SINK_SIZE);
	case OPT_SEGS:
		return parse_list(&o->segs, "The number of pieces", optarg,
				  SEGS_MAX);
	}
	return parse_text(o, opt);
}

static unsigned int calls(const struct options *o, const struct bench_row *r)
{
	size_t bytes = r->size * r->sockets;

	if (o->m.repeats)
		return o->m.repeats;
	return r->sockets > 64 || bytes > 4 << 20 ? 9 : bytes > 65536 ? 21 :
	       bytes > 4096 ? 51 : 101;
}

static void progress(const struct bench_row *r)
{
	char size[FMT_BYTES_MAX];

	tool_progress("%s, %s, %u sockets, %u pieces: %s", kind_name(r->in),
		      row_size(size, r->size), r->sockets, r->segs,
		      r->method->name);
}

static json_t *row_json(const struct bench_row *r, const json_t *where)
{
	json_t *j = json_copy((json_t *)where);

	json_object_set_new(j, "kind", json_string(kind_name(r->in)));
	json_object_set_new(j, "method", json_string(r->method->name));
	json_object_set_new(j, "size", json_integer(r->size));
	json_object_set_new(j, "sockets", json_integer(r->sockets));
	json_object_set_new(j, "segments", json_integer(r->segs));
	json_object_set_new(j, "send", row_whole(r->send));
	json_object_set_new(j, "total", row_whole(r->total));
	json_object_set_new(j, "send_min", row_whole(r->min));
	json_object_set_new(j, "send_max", row_whole(r->max));
	json_object_set_new(j, "repeats", json_integer(r->repeats));
	json_object_set_new(j, "verified", json_boolean(r->verified));
	row_outcome(j, r->copied, r->engine, r->note);
	return j;
}

/* What is measured, and where to put it. */
struct bench {
	const struct options *o;
	const json_t *where;
	json_t *rows;
	bool failed;
};

/* Every method that does this. */
static void measure(struct bench *b, unsigned int in, size_t size,
		    unsigned int sockets, unsigned int segs)
{
	const struct method *m;
	unsigned int i;

	for (i = 0; (m = method_get(i)); i++) {
		struct bench_row r = {
			.method = m, .in = in, .size = size,
			.sockets = sockets, .segs = segs,
			.send = NAN, .total = NAN, .min = NAN, .max = NAN,
			.copied = NAN,
		};

		if (!b->o->use[i] || !(m->in & in))
			continue;
		progress(&r);
		bench_measure(&r, calls(b->o, &r));
		if (r.note[0] && strncmp(r.note, "unsupported", 11))
			b->failed = true;
		json_array_append_new(b->rows, row_json(&r, b->where));
	}
}

static void measure_kinds(struct bench *b)
{
	const struct options *o = b->o;
	unsigned int i, j;

	for (i = 0; o->kinds & IN_ONE && i < o->sizes.nr; i++)
		measure(b, IN_ONE, o->sizes.v[i], 1, 1);
	for (i = 0; o->kinds & IN_FAN && i < o->fan_sizes.nr; i++) {
		for (j = 0; j < o->sockets.nr; j++)
			measure(b, IN_FAN, o->fan_sizes.v[i],
				o->sockets.v[j], 1);
	}
	for (i = 0; o->kinds & IN_GATHER && i < o->seg_sizes.nr; i++) {
		for (j = 0; j < o->segs.nr; j++)
			measure(b, IN_GATHER,
				o->seg_sizes.v[i] * o->segs.v[j], 1,
				o->segs.v[j]);
	}
	tool_progress_end();
}

static json_t *report(const struct options *o, bool *failed)
{
	json_t *where = report_where(o->m.cpu_label);
	struct bench b = { .o = o, .where = where, .rows = json_array() };
	json_t *conditions = json_copy(where);

	json_object_set_new(where, "transport", json_string(o->transport));
	json_object_set_new(conditions, "fbuf_version",
			    json_string(fbuf_version()));
	json_object_set_new(conditions, "disk",
			    disk_dir ? json_string(disk_dir) : json_null());
	measure_kinds(&b);
	json_decref(where);
	*failed = b.failed;
	return json_pack("{s:o, s:o}", "conditions", conditions, "rows",
			 b.rows);
}

static void cell(struct tool_table *t, const json_t *row, const char *key)
{
	const json_t *v = json_object_get(row, key);

	if (json_is_number(v))
		table_cell(t, "%.0f", json_number_value(v));
	else
		table_cell(t, "-");
}

static void print_text(const json_t *rep)
{
	static const char * const heads[] = {
		"kind", "method", "size", "sockets", "pieces", "send",
		"lowest", "highest", "total", "copied", "", NULL
	};
	const json_t *c = json_object_get(rep, "conditions"), *row;
	struct tool_table t = {
		.keys = 5, .left = 1U << 0 | 1U << 1 | 1U << 10,
	};
	char size[FMT_BYTES_MAX];
	size_t i;

	printf("Linux %s; CPU %s; figures in %s, medians\n\n",
	       json_string_value(json_object_get(c, "kernel")),
	       json_string_value(json_object_get(c, "cpu")),
	       json_string_value(json_object_get(c, "clock")));
	table_heads(&t, heads);
	json_array_foreach(json_object_get(rep, "rows"), i, row) {
		const char *note =
			json_string_value(json_object_get(row, "note"));

		table_cell(&t, "%s",
			   json_string_value(json_object_get(row, "kind")));
		table_cell(&t, "%s",
			   json_string_value(json_object_get(row, "method")));
		table_cell(&t, "%s", row_size(size, row_num(row, "size")));
		cell(&t, row, "sockets");
		cell(&t, row, "segments");
		cell(&t, row, "send");
		cell(&t, row, "send_min");
		cell(&t, row, "send_max");
		cell(&t, row, "total");
		cell(&t, row, "copied");
		table_cell(&t, "%s", note ? note : "");
	}
	table_print(&t, SIZE_MAX);
}

static int run(const struct options *o)
{
	const size_t flags = JSON_INDENT(1) | JSON_SORT_KEYS;
	struct fbuf_pool *pool;
	bool failed;
	json_t *rep;
	int out = -1;

	if (!clock_start())
		return TOOL_FAIL;
	/* Says why, if there is no module. */
	if (tool_pool_create(&pool, sysconf(_SC_PAGESIZE), 1))
		return TOOL_FAIL;
	fbuf_pool_close(pool);
	if (o->m.out) {
		out = report_open(o->m.out);
		if (out < 0)
			return TOOL_FAIL;
	}

	rep = report(o, &failed);
	if (o->m.out && !report_write(out, o->m.out, rep, flags))
		failed = true;
	if (tool_json) {
		tool_print_json(stdout, rep);
	} else {
		print_text(rep);
		json_decref(rep);
	}
	return failed ? TOOL_FAIL : TOOL_OK;
}

int cmd_bench(int argc, char **argv)
{
	struct options o = {
		.sizes = { { 256, 1024, 4096, 16384, 65536, 262144, 1048576 },
			   7 },
		.fan_sizes = { { 4096, 65536 }, 2 },
		.sockets = { { 1, 16, 256 }, 3 },
		.seg_sizes = { { 256, 4096 }, 2 },
		.segs = { { 1, 16, 256 }, 3 },
		.kinds = BENCH_KINDS,
		.transport = "tcp loopback",
	};
	int c;

	memset(o.use, true, sizeof(o.use));
	while ((c = tool_getopt(argc, argv,
				"k:M:s:d:a:t:" MEASURE_SHORTS,
				longs)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return TOOL_OK;
		}
		if (c == 'M' && !strcmp(optarg, "help")) {
			print_methods(BENCH_KINDS);
			return TOOL_OK;
		}
		if (!parse_option(&o, c))
			return TOOL_USAGE;
	}
	if (tool_no_args("bench", argc, argv))
		return TOOL_USAGE;
	return run(&o);
}
