// SPDX-License-Identifier: GPL-2.0
/* fbuf compare --count: what each way to send copies, counted by probes. */
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <linux/magic.h>

#include "compare.h"
#include "count.h"
#include "row.h"

#define TEXT_WIDTH	80
#define DISK_DEFAULT	"/var/tmp"

static const char help[] =
"Usage: fbuf compare --count [OPTION]...\n"
"Count, by probes in the kernel, what each way to send really does for one\n"
"transfer, beside what is taught of it. As root, on x86-64 and a quiet machine.\n"
"\n"
"  -s, --size SIZE      of a message (default 1M), a multiple of 4K\n"
"  -r, --transfers N    to take the mean of (default 3)\n"
"  -M, --methods LIST   of those in the table (default all)\n"
"  -t, --to LIST        of loopback, veth, ktls, nic (default loopback,veth,\n"
"                       ktls)\n"
"  -d, --dir DIR        a folder on a disk for the rows that read from one\n"
"                       (default " DISK_DEFAULT ", if it is on one; none: leave\n"
"                       these rows out)\n"
"      --nic ADDR,TX,RX to nic: the receiver's address, and the network\n"
"                       namespaces of sender and receiver, by ip-netns(8)\n"
"      --no-hazards     do not try what becomes of data changed in flight\n"
"  -j, --json           print JSON, not tables\n"
"  -o, --out FILE       write the JSON to FILE, too\n"
"  -h, --help           print this\n"
"\n"
"Exit status: 0 if every row was measured and arrived as it was; 1 if not, or if\n"
"the probes miss what a known transfer copies: then there is no table; 2 for a\n"
"bad command line.\n";

struct options {
	struct count_options count;
	char *methods, *nic;
	unsigned int to;	/* mask of destinations */
	const char *out;
	bool json, no_hazards, no_disk;
};

enum { OPT_COUNT = 256, OPT_NIC, OPT_NO_HAZARDS };

static const struct option longopts[] = {
	{ "count", no_argument, NULL, OPT_COUNT },
	{ "size", required_argument, NULL, 's' },
	{ "transfers", required_argument, NULL, 'r' },
	{ "methods", required_argument, NULL, 'M' },
	{ "to", required_argument, NULL, 't' },
	{ "dir", required_argument, NULL, 'd' },
	{ "nic", required_argument, NULL, OPT_NIC },
	{ "no-hazards", no_argument, NULL, OPT_NO_HAZARDS },
	{ "json", no_argument, NULL, 'j' },
	{ "out", required_argument, NULL, 'o' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

bool count_listed(const char *list, const char *word)
{
	size_t len = strlen(word);
	const char *p;

	for (p = list; (p = strstr(p, word)); p += len) {
		if ((p == list || p[-1] == ',') && (!p[len] || p[len] == ','))
			return true;
	}
	return false;
}

static bool known(const char *word)
{
	const struct count_def *def;
	unsigned int i;

	for (i = 0; (def = count_def_get(i)); i++) {
		if (!strcmp(def->mechanism, word))
			return true;
	}
	return false;
}

static bool parse_methods(struct options *o, const char *arg)
{
	char *copy = strdup(arg), *rest = copy, *word;
	bool good = true;

	while (good && (word = strsep(&rest, ","))) {
		good = known(word);
		if (!good)
			tool_err("There is no way \"%s\" to count.", word);
	}
	free(copy);
	o->methods = (char *)arg;
	return good;
}

static bool parse_to(struct options *o, char *arg)
{
	unsigned int i;
	char *word;

	o->to = 0;
	while ((word = strsep(&arg, ","))) {
		for (i = 0; i < NR_TO; i++) {
			if (!strcmp(word, count_destinations[i]))
				break;
		}
		if (i == NR_TO) {
			tool_err("A destination is loopback, veth, ktls or nic, not \"%s\".",
				 word);
			return false;
		}
		o->to |= 1U << i;
	}
	return true;
}

static bool parse_nic(struct options *o, char *arg)
{
	o->count.nic_addr = strsep(&arg, ",");
	o->count.nic_tx = strsep(&arg, ",");
	o->count.nic_rx = strsep(&arg, ",");
	if (o->count.nic_rx && !arg)
		return true;
	tool_err("--nic takes an address and two network namespaces, with commas between them.");
	return false;
}

static bool parse_size(struct options *o, const char *arg)
{
	uint64_t size;

	if (!tool_size("The size of a message", arg, 4096, FBUF_BUF_SIZE_MAX,
		       &size))
		return false;
	o->count.size = size;
	if (size % 4096 == 0)
		return true;
	tool_err("The size must be a multiple of 4096: direct I/O takes no other.");
	return false;
}

static bool parse_option(struct options *o, int opt)
{
	uint64_t val;

	switch (opt) {
	case OPT_COUNT:
		return true;
	case 's':
		return parse_size(o, optarg);
	case 'r':
		if (!tool_size("The number of transfers", optarg, 1, 1000, &val))
			return false;
		o->count.transfers = val;
		return true;
	case 'M':
		return parse_methods(o, optarg);
	case 't':
		return parse_to(o, optarg);
	case 'd':
		o->no_disk = !strcmp(optarg, "none");
		o->count.disk = optarg;
		return true;
	case OPT_NIC:
		return parse_nic(o, optarg);
	case OPT_NO_HAZARDS:
		o->no_hazards = true;
		return true;
	case 'j':
		o->json = true;
		return true;
	case 'o':
		o->out = optarg;
		return true;
	}
	return false;
}

/* A file of a tmpfs is not on a disk. */
static bool on_disk(const char *dir)
{
	struct statfs fs;

	return !statfs(dir, &fs) && fs.f_type != TMPFS_MAGIC &&
	       fs.f_type != RAMFS_MAGIC;
}

static const char cpu_copied[] =
"bytes for each payload byte on the way out: by the sender, and in softirq";
static const char not_counted[] =
"arguments of system calls; headers that are copied inline";

static json_t *conditions(const struct options *o, json_t *checks)
{
	json_t *c = report_where(NULL);
	char date[32], size[FMT_BYTES_MAX];
	time_t now = time(NULL);

	strftime(date, sizeof(date), "%FT%TZ", gmtime(&now));
	json_object_del(c, "clock");
	json_object_set_new(c, "date", json_string(date));
	json_object_set_new(c, "fbuf_version", json_string(fbuf_version()));
	json_object_set_new(c, "module", json_boolean(!access("/dev/fbuf", F_OK)));
	json_object_set_new(c, "size", json_integer(o->count.size));
	json_object_set_new(c, "message",
			    json_string(fmt_bytes(size, o->count.size)));
	json_object_set_new(c, "transfers", json_integer(o->count.transfers));
	json_object_set_new(c, "warm_up", json_integer(COUNT_WARM_UP));
	json_object_set_new(c, "disk", o->count.disk ?
			    json_string(o->count.disk) : json_null());
	json_object_set_new(c, "cpu_copied", json_string(cpu_copied));
	json_object_set_new(c, "not_counted", json_string(not_counted));
	json_object_set_new(c, "self_check", json_incref(checks));
	json_object_set_new(c, "probes", probes_json());
	return c;
}

static json_t *row_json(const struct count_row *r, const char *kernel)
{
	double n = r->size, *by = (double *)r->seen.copied;
	json_t *j = json_object(), *why = json_array();
	unsigned int i;

#define SET(key, value) json_object_set_new(j, key, value)
#define SEEN(key, value) SET(key, r->measured ? row_real(value) : json_null())
	SET("kernel", json_string(kernel));
	SET("mechanism", json_string(r->mechanism));
	SET("source", json_string(r->source));
	SET("destination", json_string(r->destination));
	SET("size", json_integer(r->size));
	SEEN("cpu_copied", (by[COUNT_SEND] + by[COUNT_OTHER]) / n);
	SEEN("cpu_copied_send", by[COUNT_SEND] / n);
	SEEN("cpu_copied_other", by[COUNT_OTHER] / n);
	SEEN("cpu_copied_receive", by[COUNT_RECEIVE] / n);
	SEEN("heads_copied", r->seen.heads / n);
	SEEN("encrypted", r->seen.encrypted / n);
	SEEN("decrypted", r->seen.decrypted / n);
	SEEN("dma_in", r->seen.dma_in / n);
	SEEN("dma_out", r->seen.dma_out / n);
	SEEN("calls", r->seen.calls);
	SEEN("crossings", r->crossings);
	SEEN("context_switches", r->waits + r->preempted);
	SEEN("preempted", r->preempted);
	SEEN("faults", r->faults);
	SEEN("frags", r->seen.frags);
	SET("verified", json_boolean(r->measured && r->verified));
	SET("taught", json_pack("{s:o, s:o, s:o, s:o}",
				"cpu_copies", row_real(r->taught.cpu_copies),
				"dma_copies", row_real(r->taught.dma_copies),
				"calls", row_real(r->taught.calls),
				"crossings", row_real(r->taught.crossings)));
	for (i = 0; i < r->nr_why; i++)
		json_array_append_new(why, json_string(r->why[i]));
	SET("why", why);
	if (r->note[0])
		SET("note", json_string(r->note));
	return j;
}

struct report {
	json_t *conditions, *rows, *refused, *hazards;
	bool failed;
};

static void add_row(struct report *rep, const struct count_def *def,
		    enum count_destination to, const struct options *o,
		    const char *kernel)
{
	struct count_row r;

	tool_progress("%s to %s", def->mechanism, count_destinations[to]);
	count_row(def, to, &o->count, &r);
	if (r.refused) {
		json_array_append_new(rep->refused, row_json(&r, kernel));
		return;
	}
	rep->failed |= !r.measured || !r.verified;
	if (r.measured && !r.verified)
		snprintf(r.note, sizeof(r.note), "the data arrived changed");
	json_array_append_new(rep->rows, row_json(&r, kernel));
}

static void add_rows(struct report *rep, const struct options *o,
		     const char *kernel)
{
	const struct count_def *def;
	unsigned int to, i;

	for (to = 0; to < NR_TO; to++) {
		for (i = 0; (def = count_def_get(i)); i++) {
			if (!(o->to & def->to & 1U << to) ||
			    (o->methods && !count_listed(o->methods, def->mechanism)) ||
			    (def->disk && !o->count.disk))
				continue;
			add_row(rep, def, to, o, kernel);
		}
	}
	tool_progress_end();
}

static void cell(struct tool_table *t, const json_t *row, const char *key,
		 const char *fmt, const json_t *taught)
{
	const json_t *val = json_object_get(row, key);
	char seen[32] = "-";

	if (json_is_number(val))
		snprintf(seen, sizeof(seen), fmt, json_number_value(val));
	if (!taught)
		table_cell(t, "%s", seen);
	else if (json_is_number(taught))
		table_cell(t, "%s (%g)", seen, json_number_value(taught));
	else
		table_cell(t, "%s (-)", seen);
}

static bool of(const json_t *row, const char *source, const char *to)
{
	return !strcmp(json_string_value(json_object_get(row, "source")),
		       source) &&
	       !strcmp(json_string_value(json_object_get(row, "destination")),
		       to);
}

static void print_table(const json_t *rows, const char *source, const char *to)
{
	static const char * const heads[] = {
		"", "copied", "recv", "in", "out", "calls", "cross.",
		"sched", "fault", "frags", NULL
	};
	struct tool_table t = { .left = 1 };
	const json_t *row, *taught;
	size_t i;

	table_heads(&t, heads);
	json_array_foreach(rows, i, row) {
		if (!of(row, source, to))
			continue;
		taught = json_object_get(row, "taught");
		table_cell(&t, "%s", json_string_value(json_object_get(row, "mechanism")));
		cell(&t, row, "cpu_copied", "%.2f",
		     json_object_get(taught, "cpu_copies"));
		cell(&t, row, "cpu_copied_receive", "%.2f", NULL);
		cell(&t, row, "dma_in", "%.2f", NULL);
		cell(&t, row, "dma_out", "%.2f", NULL);
		cell(&t, row, "calls", "%.3g", json_object_get(taught, "calls"));
		cell(&t, row, "crossings", "%.4g",
		     json_object_get(taught, "crossings"));
		cell(&t, row, "context_switches", "%.1f", NULL);
		cell(&t, row, "faults", "%.4g", NULL);
		cell(&t, row, "frags", "%.0f", NULL);
	}
	if (t.nr > t.cols)
		printf("\nFrom %s to %s:\n", source, to);
	else
		t.cols = 0;
	table_print(&t, t.cols ? -1 : 0);
}

static void print_rows(const json_t *rows)
{
	unsigned int to;

	for (to = 0; to < NR_TO; to++) {
		print_table(rows, "memory", count_destinations[to]);
		print_table(rows, "disk", count_destinations[to]);
	}
}

/* Words, in lines that begin with two blanks. */
static void print_wrapped(const char *first, const char *text)
{
	size_t room = TEXT_WIDTH - 1, col = printf("%s", first), len;

	while (*text) {
		len = strcspn(text, " ");
		if (col + 1 + len > room) {
			printf("\n   ");
			col = 3;
		}
		col += printf(" %.*s", (int)len, text);
		text += len;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static bool has_why(const json_t *row, const char *why)
{
	const json_t *list = json_object_get(row, "why"), *one;
	size_t i;

	json_array_foreach(list, i, one) {
		if (!strcmp(json_string_value(one), why))
			return true;
	}
	return false;
}

/* One sentence, after the names of all rows that it is said of. */
static void print_why(const json_t *rows, const char *why)
{
	char names[4096] = "", name[128];
	const json_t *row;
	size_t i, len = 0, nr = 0;

	json_array_foreach(rows, i, row) {
		if (!has_why(row, why))
			continue;
		snprintf(name, sizeof(name), "%s%s",
			 json_string_value(json_object_get(row, "mechanism")),
			 strcmp(json_string_value(json_object_get(row, "source")),
				"disk") ? "" : " (disk)");
		nr++;
		if (!strstr(names, name) && len + strlen(name) + 3 < sizeof(names))
			len += sprintf(names + len, "%s%s", len ? ", " : "", name);
	}
	strcat(names, ":");
	print_wrapped("-", nr == json_array_size(rows) ? "all:" : names);
	print_wrapped("   ", why);
}

static void print_whys(const json_t *rows)
{
	const json_t *row, *other, *list, *why;
	size_t i, j, k;

	puts("\nWhy, where it is not as taught:");
	json_array_foreach(rows, i, row) {
		list = json_object_get(row, "why");
		json_array_foreach(list, j, why) {
			json_array_foreach(rows, k, other) {
				if (has_why(other, json_string_value(why)))
					break;
			}
			if (k == i)
				print_why(rows, json_string_value(why));
		}
	}
}

static void print_notes(const json_t *rows, const char *head)
{
	const json_t *row;
	char first[128];
	bool any = false;
	size_t i;

	json_array_foreach(rows, i, row) {
		if (!json_object_get(row, "note"))
			continue;
		if (!any)
			printf("\n%s\n", head);
		any = true;
		snprintf(first, sizeof(first), "- %s, %s to %s:",
			 json_string_value(json_object_get(row, "mechanism")),
			 json_string_value(json_object_get(row, "source")),
			 json_string_value(json_object_get(row, "destination")));
		print_wrapped(first, json_string_value(json_object_get(row, "note")));
	}
}

static void print_hazards(const json_t *hazards)
{
	const json_t *h;
	char first[128];
	size_t i;

	if (!json_array_size(hazards))
		return;
	puts("\nTried: the data are changed while they are in flight");
	json_array_foreach(hazards, i, h) {
		snprintf(first, sizeof(first), "- %s:",
			 json_string_value(json_object_get(h, "mechanism")));
		print_wrapped(first, json_string_value(json_object_get(h, "what")));
	}
}

static void print_probes(const json_t *probes)
{
	unsigned int on, found;
	char first[64];
	const char *key;
	json_t *how;

	puts("\nNot counted on this kernel, or not all of it:");
	json_object_foreach((json_t *)probes, key, how) {
		const char *text = json_string_value(how);

		snprintf(first, sizeof(first), "- %s:", key);
		if (!strncmp(text, "not counted: ", 13))
			print_wrapped(first, text + 13);
		else if (sscanf(text, "where it is called: %u of %u", &on,
				&found) == 2 && on < found)
			print_wrapped(first, text);
	}
}

static const char columns[] =
"\nFor each byte of the message, bytes\n"
"  copied  by the CPU on the way out: by the sender, and in softirq\n"
"  recv    copied by the receiver\n"
"  in, out moved by DMA from a disk, and to a NIC\n"
"and of the sender: system calls, crossings between user and kernel, context\n"
"switches (sched), page faults; and frags of packets.";

static void print_report(const struct report *rep)
{
	printf("Linux %s\n%s sent once, by each way (taught in brackets)\n",
	       json_string_value(json_object_get(rep->conditions, "kernel")),
	       json_string_value(json_object_get(rep->conditions, "message")));
	print_rows(rep->rows);
	puts(columns);
	print_whys(rep->rows);
	print_notes(rep->rows, "Not measured:");
	print_notes(rep->refused, "What this kernel refuses:");
	print_hazards(rep->hazards);
	print_probes(json_object_get(rep->conditions, "probes"));
}

static int finish(struct report *rep, const struct options *o, int out)
{
	const size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(6);
	json_t *j = json_pack("{s:o, s:o, s:o, s:o}",
			      "conditions", rep->conditions, "rows", rep->rows,
			      "hazards", rep->hazards, "refused", rep->refused);

	if (o->out && !report_write(out, o->out, j, flags))
		rep->failed = true;
	if (o->json) {
		json_dumpf(j, stdout, flags);
		putchar('\n');
	} else {
		print_report(rep);
	}
	json_decref(j);
	return rep->failed ? TOOL_FAIL : TOOL_OK;
}

/* It may be the reason why something is missed. */
static void say_missing(void)
{
	json_t *probes = probes_json(), *how;
	const char *name;

	json_object_foreach(probes, name, how) {
		if (!strncmp(json_string_value(how), "not counted: ", 13))
			tool_err("%s: %s.", name, json_string_value(how));
	}
	json_decref(probes);
}

static int run(const struct options *o)
{
	json_t *checks = json_array();
	struct report rep = { .failed = false };
	struct utsname uts;
	int out = -1;

	if (o->out) {
		out = report_open(o->out);
		if (out < 0)
			return TOOL_FAIL;
	}
	if (!probes_open())
		return TOOL_FAIL;
	tool_progress("self-check");
	if (!count_self_check(checks)) {
		tool_progress_end();
		say_missing();
		return TOOL_FAIL;
	}
	rep.rows = json_array();
	rep.refused = json_array();
	uname(&uts);
	add_rows(&rep, o, uts.release);
	rep.hazards = o->no_hazards ? json_array() :
				      count_hazards(o->methods, &rep.failed);
	rep.conditions = conditions(o, checks);
	json_decref(checks);
	return finish(&rep, o, out);
}

int cmd_count(int argc, char **argv)
{
	struct options o = {
		.count = { .size = 1 << 20, .transfers = 3,
			   .disk = on_disk(DISK_DEFAULT) ? DISK_DEFAULT : NULL },
		.to = 1U << TO_LOOPBACK | 1U << TO_VETH | 1U << TO_KTLS,
		.json = tool_json,
	};
	int opt, status;

	while ((opt = tool_getopt(argc, argv, "s:r:M:t:d:jo:h",
				  longopts)) != -1) {
		if (opt == 'h') {
			fputs(help, stdout);
			return TOOL_OK;
		}
		if (opt == '?' || !parse_option(&o, opt))
			return TOOL_USAGE;
	}
	if (tool_no_args("compare", argc, argv))
		return TOOL_USAGE;
	if (o.no_disk)
		o.count.disk = NULL;
	if (o.to & 1U << TO_NIC && !o.count.nic_rx) {
		tool_err("To count on the way to a NIC, say which: --nic.");
		return TOOL_USAGE;
	}
	signal(SIGPIPE, SIG_IGN);
	status = run(&o);
	probes_close();
	return status;
}
