// SPDX-License-Identifier: GPL-2.0
/* fbuf compare: what each way to send costs on this machine. */
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "count.h"
#include "html.h"
#include "options.h"
#include "workload.h"

#define ROWS_MAX	64	/* of one size */
#define CONSUMERS_MAX	1024

static const char help[] =
"Usage: fbuf compare [OPTION]...\n"
"Measure ways to send a message over TCP loopback, and fbuf, side by side: what\n"
"fbuf costs of the best of the others comes first.\n"
"\n"
"  -m, --mode MODE      lockstep (one thread sends, then receives), stream\n"
"                       (a sender and a receiver run free) or both (default)\n"
"  -s, --sizes LIST     message sizes (default 1K,4K,64K,1M)\n"
"  -M, --methods LIST   which ways (default all): \"fbuf compare -M help\"\n"
"  -w, --workload LIST  measure instead what programs do, each way to do it: log,\n"
"                       queue, churn, pass, tail, or all\n"
"      --consumers LIST consumers of the workload log (default 1,16,64,256)\n"
"  -r, --repeats N      messages timed in lockstep (default 201 to 31, by\n"
"                       size), repetitions in stream (default 5)\n"
"  -S, --seconds S      length of a repetition in stream (default 0.5)\n"
"  -d, --dir DIR        keep the files of sendfile and the like in DIR, to be\n"
"                       read from its page cache (default: memfds)\n"
"  -q, --quick          fewer and shorter repetitions\n"
"  -j, --json           print JSON, not tables\n"
"  -o, --out FILE       write the JSON to FILE, too\n"
"  -f, --from FILE      print the tables of a JSON report; measure nothing\n"
"      --html FILE      write a page with tables and plots to FILE, too; gnuplot\n"
"                       draws them\n"
"      --also FILE      put another JSON report on that page as well: of fbuf\n"
"                       compare or bench, or of what was counted\n"
"      --source SIZE    let messages go round in so many bytes of memory, file\n"
"                       or pool (default: one message, over and over)\n"
"      --cpu-label TEXT name the CPU in the report\n"
"      --clock CLOCK    nanoseconds (default); tsc: the same, counted by the\n"
"                       processor, where asking the kernel takes long; or\n"
"                       instructions, which the clock must count, as under\n"
"                       QEMU -icount\n"
"      --count          count copies, calls and more instead, by probes: see\n"
"                       \"fbuf compare --count --help\"\n"
"  -h, --help           print this\n"
"\n"
"Exit status: 0 if every row was measured; 1 if data arrived changed, or a row\n"
"could not be measured, for instance as the module is not there (its note says\n"
"why); 2 for a bad command line.\n";

/* Of the page. */
enum { OPT_HTML = OPT_OWN + 32, OPT_ALSO };

struct options {
	struct html html;
	char command[COMMAND_MAX];
	struct measure_options m;
	bool lockstep, stream, quick;
	struct list sizes;
	bool use[METHODS_MAX];	/* by the number of method_get() */
	double seconds;		/* 0: the default */
	const char *from;
	unsigned int workloads;	/* by workload_parse() */
	bool has_sizes;		/* which the workloads have of their own */
	struct list consumers;
};

enum { OPT_SOURCE = OPT_OWN, OPT_CONSUMERS };

static const struct option longopts[] = {
	{ "mode", required_argument, NULL, 'm' },
	{ "sizes", required_argument, NULL, 's' },
	{ "methods", required_argument, NULL, 'M' },
	{ "workload", required_argument, NULL, 'w' },
	{ "consumers", required_argument, NULL, OPT_CONSUMERS },
	{ "seconds", required_argument, NULL, 'S' },
	{ "dir", required_argument, NULL, 'd' },
	{ "quick", no_argument, NULL, 'q' },
	{ "from", required_argument, NULL, 'f' },
	{ "html", required_argument, NULL, OPT_HTML },
	{ "also", required_argument, NULL, OPT_ALSO },
	{ "source", required_argument, NULL, OPT_SOURCE },
	LONG_REPEATS, LONG_OUT, LONG_CLOCK, LONG_CPU_LABEL,
	TOOL_LONG_JSON, TOOL_LONG_HELP,
	{ }
};

static bool parse_mode(struct options *o, const char *arg)
{
	bool both = !strcmp(arg, "both");

	o->lockstep = both || !strcmp(arg, "lockstep");
	o->stream = both || !strcmp(arg, "stream");
	if (o->lockstep || o->stream)
		return true;
	tool_err("The mode is lockstep, stream or both, not \"%s\".", arg);
	return false;
}

static bool parse_seconds(struct options *o, const char *arg)
{
	char *end;

	o->seconds = strtod(arg, &end);
	if (end != arg && !*end && o->seconds >= 0.001 && o->seconds <= 3600)
		return true;
	tool_err("The seconds must be from 0.001 to 3600, not \"%s\".", arg);
	return false;
}

static bool parse_option(struct options *o, int opt)
{
	uint64_t val;

	switch (opt) {
	case 'm':
		return parse_mode(o, optarg);
	case 's':
		o->has_sizes = true;
		return parse_list(&o->sizes, "The size of a message", optarg,
				  FBUF_BUF_SIZE_MAX);
	case 'M':
		return parse_methods(o->use, IN_COMPARE, optarg, "compare");
	case 'S':
		return parse_seconds(o, optarg);
	case 'w':
		return workload_parse(optarg, &o->workloads);
	case OPT_CONSUMERS:
		return parse_list(&o->consumers, "The number of consumers",
				  optarg, CONSUMERS_MAX);
	case OPT_SOURCE:
		if (!tool_size("The source", optarg, 1, 1ULL << 40, &val))
			return false;
		source_size = val;
		return true;
	case 'd':
		file_dir = optarg;
		return true;
	case 'q':
		o->quick = true;
		return true;
	case 'f':
		o->from = optarg;
		return true;
	case OPT_HTML:
		o->html.path = optarg;
		return true;
	case OPT_ALSO:
		return html_also(&o->html, optarg);
	}
	return measure_option(&o->m, opt);
}

static void first_line(const char *path, const char *key, char *buf, size_t len)
{
	char line[256], *p;
	FILE *f = fopen(path, "re");

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)))
			continue;
		p = line + strlen(key);
		p += strspn(p, " \t:");
		p[strcspn(p, "\n")] = '\0';
		snprintf(buf, len, "%s", p);
		break;
	}
	fclose(f);
}

json_t *report_where(const char *cpu_label)
{
	char cpu[128] = "unknown";
	struct utsname uts;

	uname(&uts);
	if (cpu_label)
		snprintf(cpu, sizeof(cpu), "%s", cpu_label);
	else
		first_line("/proc/cpuinfo", "model name", cpu, sizeof(cpu));
	/* Not every text can be in JSON. */
	return json_pack("{s:s, s:o, s:I, s:s}", "kernel", uts.release, "cpu",
			 json_string(cpu) ?: json_string("not UTF-8"),
			 "cpus", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN),
			 "clock", clock_is_instructions() ?
			 "instructions (QEMU -icount)" : "nanoseconds");
}

static void set(json_t *object, const char *key, const char *value)
{
	json_object_set_new(object, key, json_string(value));
}

static json_t *make_conditions(const struct options *o, const json_t *where)
{
	char date[32], module[32] = "not loaded";
	json_t *c = json_copy((json_t *)where);
	time_t now = time(NULL);

	strftime(date, sizeof(date), "%FT%TZ", gmtime(&now));
	first_line("/sys/module/fbuf/version", "", module, sizeof(module));
	set(c, "mode", o->workloads ? "workloads" : !o->stream ? "lockstep" :
		       !o->lockstep ? "stream" : "lockstep, stream");
	set(c, "transport", "tcp loopback");
	set(c, "date", date);
	set(c, "fbuf_version", fbuf_version());
	set(c, "module_version", module);
	set(c, "source", o->workloads ? "as each workload has it" :
	    source_size ?
	    "many messages, of which each send takes the next" :
	    "one message, sent over and over: hot in the cache");
	json_object_set_new(c, "source_bytes", json_integer(source_size));
	json_object_set_new(c, "system_call_ns",
			    clock_is_instructions() ? json_null() :
			    json_real(clock_syscall()));
	set(c, "files", file_dir ?: "memfd");
	set(c, "sockets",
	    "TCP_NODELAY; buffers: lockstep 8 MiB if allowed, stream default");
	json_object_set_new(c, "socket_buffers", json_object());
	set(c, "notices",
	    "of msg-zerocopy, send-zc: lockstep untimed, stream every 16 sends");
	set(c, "command", o->command);
	return c;
}

static unsigned int lockstep_calls(const struct options *o, size_t size)
{
	unsigned int n = size <= 4096 ? 201 : size <= 65536 ? 101 : 31;

	return o->m.repeats ? o->m.repeats : o->quick ? n / 4 * 2 + 1 : n;
}

static unsigned int make_rows(const struct options *o, struct row *rows,
			      bool stream, size_t size)
{
	const struct method *m;
	unsigned int i, nr = 0;
	int read;

	for (read = 1; read >= 0; read--) {
		for (i = 0; (m = method_get(i)); i++) {
			if (!o->use[i])
				continue;
			rows[nr++] = (struct row){
				.method = m, .stream = stream,
				.read = read, .size = size,
				.send = NAN, .total = NAN, .min = NAN,
				.max = NAN, .send_cpu = NAN,
				.gbytes_per_s = NAN, .cpu_s_per_gib = NAN,
				.copied = NAN, .calls = NAN,
			};
		}
	}
	return nr;
}

/* What the sockets had in the end, whatever was asked for. */
static void note_buffers(json_t *buffers, const struct row *r)
{
	if (r->sndbuf)
		json_object_set_new(buffers, r->stream ? "stream" : "lockstep",
				    json_pack("{s:i, s:i}", "send", r->sndbuf,
					      "receive", r->rcvbuf));
}

static void measure_size(const struct options *o, bool stream, size_t size,
			 json_t *out, json_t *buffers, const json_t *where)
{
	struct row rows[ROWS_MAX];
	unsigned int nr = make_rows(o, rows, stream, size), i;

	if (stream) {
		tool_progress("stream, %zu bytes", size);
		measure_stream(rows, nr, o->m.repeats ? o->m.repeats :
			       o->quick ? 3 : 5, o->seconds ? o->seconds :
			       o->quick ? 0.1 : 0.5);
	}
	for (i = 0; i < nr; i++) {
		if (!stream) {
			tool_progress("lockstep, %zu bytes: %s", size,
				      rows[i].method->name);
			measure_lockstep(&rows[i], lockstep_calls(o, size));
		}
		json_array_append_new(out, report_row(&rows[i], where));
		note_buffers(buffers, &rows[i]);
	}
}

static void measure_modes(const struct options *o, json_t *rows,
			  json_t *buffers, const json_t *where)
{
	unsigned int i;

	for (i = 0; o->lockstep && i < o->sizes.nr; i++)
		measure_size(o, false, o->sizes.v[i], rows, buffers, where);
	for (i = 0; o->stream && i < o->sizes.nr; i++)
		measure_size(o, true, o->sizes.v[i], rows, buffers, where);
}

static void measure_workloads(const struct options *o, json_t *rows,
			      json_t *buffers, const json_t *where)
{
	struct load_options load = {
		.consumers = o->consumers, .repeats = o->m.repeats,
		.seconds = o->seconds, .quick = o->quick,
	};
	struct load_run r = {
		.o = &load, .where = where, .rows = rows, .buffers = buffers,
	};

	if (o->has_sizes)
		load.sizes = o->sizes;
	workload_run(o->workloads, &r);
}

static json_t *measure(const struct options *o)
{
	json_t *where = report_where(o->m.cpu_label);
	json_t *conditions = make_conditions(o, where);
	json_t *buffers = json_object_get(conditions, "socket_buffers");
	json_t *rows = json_array(), *report;

	if (o->workloads)
		measure_workloads(o, rows, buffers, where);
	else
		measure_modes(o, rows, buffers, where);
	tool_progress_end();
	report = json_pack("{s:o, s:o}", "conditions", conditions, "rows",
			   rows);
	report_ratios(report);
	json_decref(where);
	return report;
}

json_t *report_load(const char *path)
{
	json_error_t err;
	json_t *report = json_load_file(path, 0, &err);

	if (!report) {
		tool_err("%s is no report: %s.", path, err.text);
	} else if (!json_is_object(json_object_get(report, "conditions")) ||
		   !json_is_array(json_object_get(report, "rows"))) {
		tool_err("%s is not a report of fbuf compare.", path);
		json_decref(report);
		report = NULL;
	}
	return report;
}

/* Is there something to be measured that wants the module? */
static bool wants_fbuf(const struct options *o)
{
	const struct method *m;
	unsigned int i;

	for (i = 0; !o->workloads && (m = method_get(i)); i++) {
		if (o->use[i] && !strncmp(m->name, "fbuf", 4))
			return true;
	}
	return o->workloads;
}

/* True if fbuf is asked for and cannot run; says how to load it. */
static bool fbuf_missing(const struct options *o)
{
	struct fbuf_pool *pool;

	if (!wants_fbuf(o))
		return false;
	if (tool_pool_create(&pool, sysconf(_SC_PAGESIZE), 1)) {
		tool_err("The rows of fbuf will be missing.");
		return true;
	}
	fbuf_pool_close(pool);
	return false;
}

static int run(struct options *o)
{
	const size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(5);
	int status = TOOL_OK, out = -1;
	json_t *report;

	if (o->m.out) {
		out = report_open(o->m.out);
		if (out < 0)
			return TOOL_FAIL;
	}
	if (o->html.path && !html_open(&o->html))
		return TOOL_FAIL;
	if (!o->from && fbuf_missing(o))
		status = TOOL_FAIL;
	report = o->from ? report_load(o->from) : measure(o);
	if (!report)
		return TOOL_FAIL;
	if (o->m.out && !report_write(out, o->m.out, report, flags))
		status = TOOL_FAIL;
	if (o->html.path && !html_write(&o->html, report))
		status = TOOL_FAIL;
	if (tool_json) {
		json_dumpf(report, stdout, flags);
		putchar('\n');
	} else {
		report_print(report);
	}
	if (report_failed(report))
		status = TOOL_FAIL;
	json_decref(report);
	return status;
}

int cmd_compare(int argc, char **argv)
{
	struct options o = {
		.lockstep = true, .stream = true,
		.sizes = { { 1024, 4096, 65536, 1048576 }, 4 },
	};
	const struct method *m;
	unsigned int i;
	int opt;

	for (i = 1; i < (unsigned int)argc; i++) {
		if (!strcmp(argv[i], "--count"))
			return cmd_count(argc, argv);
	}
	report_command(o.command, argc, argv);
	for (i = 0; (m = method_get(i)); i++)
		o.use[i] = m->in & IN_COMPARE;
	while ((opt = tool_getopt(argc, argv,
				  "m:s:M:w:S:d:qf:" MEASURE_SHORTS,
				  longopts)) != -1) {
		if (opt == 'h') {
			fputs(help, stdout);
			return TOOL_OK;
		}
		if (opt == 'M' && !strcmp(optarg, "help")) {
			print_methods(IN_COMPARE);
			return TOOL_OK;
		}
		if (opt == '?')
			return TOOL_USAGE;
		if (!parse_option(&o, opt))
			return TOOL_USAGE;
	}
	if (tool_no_args("compare", argc, argv))
		return TOOL_USAGE;
	if (o.html.nr_also && !o.html.path)
		return tool_usage("compare",
				  "--also is for the page of --html.");
	if (!o.from && !clock_start())
		return TOOL_FAIL;
	signal(SIGPIPE, SIG_IGN);
	return run(&o);
}
