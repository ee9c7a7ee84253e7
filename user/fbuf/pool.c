// SPDX-License-Identifier: GPL-2.0
/* fbuf pool: the pools that there are, and a fresh one. */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "nl.h"
#include "sock.h"

static const char help[] =
"Usage: fbuf pool [list | show | watch | make] [OPTIONS]\n"
"\n"
"  fbuf pool [list]      the pools that you may see: root all, others their own;\n"
"                        \"ls\" is the same\n"
"  fbuf pool show ID     all of one pool, or --fd N\n"
"  fbuf pool watch [ID]  what happens to pools, as it happens\n"
"  fbuf pool make        make a pool, show it, and drop it\n"
"\n"
"  -j, --json            as JSON\n"
"  -h, --help            print this, or after a command its own help\n";

static const char list_help[] =
"Usage: fbuf pool [list] [OPTIONS]\n"
"\n"
"List the pools that you may see: root all, others their own; FLIGHT are buffers\n"
"in flight, and OLDEST is for how long the oldest of these has been that.\n"
"\n"
"  -w, --who    the processes that have each open, instead\n"
"  -j, --json   as JSON\n"
"  -h, --help   print this\n";

static const char show_help[] =
"Usage: fbuf pool show [OPTIONS] ID\n"
"\n"
"Show all of a pool, its handles, the processes that have them open, and what it\n"
"did. \"fbuf pool list\" has the IDs.\n"
"\n"
"      --fd N   the pool that file descriptor N is, as its handle sees it; \"in\n"
"               flight\" are then those only that nobody holds\n"
"  -j, --json   as JSON\n"
"  -h, --help   print this\n";

static const char make_help[] =
"Usage: fbuf pool make [OPTIONS]\n"
"\n"
"Make a pool, show what the kernel says of it, and drop it.\n"
"\n"
"  -b, --buf-size SIZE   bytes in a buffer, a power of two (default 256K)\n"
"  -n, --buffers N       buffers (default 16)\n"
"  -p, --protect HOW     what a write to a buffer in flight does: volatile (the\n"
"                        peer sees it; default), secured (waits), snapshot (goes\n"
"                        to a copy)\n"
"      --sigbus          what would wait gets SIGBUS instead\n"
"      --lazy            buffers get memory when they are touched, not before\n"
"      --hold            drop it only when standard input ends\n"
"  -j, --json            as JSON\n"
"  -h, --help            print this\n"
"\n"
"SIZE takes a suffix K, M or G.\n";

#define INDENT	15	/* of what stands after a name */

/* All that is known of one pool, from wherever. */
struct view {
	struct ctl_pool pool;
	struct ctl_stats stats;
	struct ctl_handle *handles;
	size_t nr_handles;
	bool with_who;		/* and these: */
	struct who who;
	struct sock_view sock;	/* if something is in flight to one */
};

/* What /proc has to say. */
static void look_around(struct view *v)
{
	uint64_t sock = v->pool.in_flight_bytes ? v->pool.oldest_sock : 0;

	v->with_who = true;
	who_look(&v->who, v->pool.id, sock);
	if (sock)
		sock_look(&v->sock, &v->who, sock);
}

static bool has(const struct view *v, unsigned int attr)
{
	return v->pool.seen & CTL_SEEN(attr);
}

static json_t *rights_json(uint32_t rights)
{
	static const char * const names[] = { "read", "write", "alloc", "send" };
	json_t *j = json_array();
	unsigned int i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (rights & (1U << i))
			json_array_append_new(j, json_string(names[i]));
	}
	return j;
}

static void print_view_json(const struct view *v)
{
	json_t *j = ctl_pool_json(&v->pool), *list = json_array(), *more;
	size_t i;

	more = ctl_json(&ctl_stats, &v->stats);
	json_object_del(more, "pool");
	json_object_update(j, more);
	json_decref(more);
	for (i = 0; i < v->nr_handles; i++) {
		more = ctl_json(&ctl_handles, &v->handles[i]);
		json_object_del(more, "pool");
		json_object_set_new(more, "rights",
				    rights_json(v->handles[i].rights));
		if (v->with_who)
			json_object_set_new(more, "processes",
					    who_json(&v->who, v->pool.id,
						     v->handles[i].id));
		json_array_append_new(list, more);
	}
	json_object_set_new(j, "handles", list);
	if (v->with_who)
		json_object_set_new(j, "unseen_processes",
				    json_integer(v->who.unseen));
	if (v->sock.inode)
		json_object_set_new(j, "socket", sock_json(&v->sock, &v->who));
	tool_print_json(stdout, j);
}

static void print_handle(const struct ctl_handle *h)
{
	json_t *rights = rights_json(h->rights), *name;
	size_t i;

	printf("  handle %-5u holds %u", h->id, h->holds);
	if (h->max_holds)
		printf(" (of %u)", h->max_holds);
	fputs("; may", stdout);
	json_array_foreach(rights, i, name)
		printf(" %s", json_string_value(name));
	if (!i)
		fputs(" do nothing", stdout);
	if (h->queued)
		printf("; %u entries in its ring", h->queued);
	putchar('\n');
	json_decref(rights);
}

/* Words after the first column, in lines that fit. */
static void print_words(const char *text)
{
	size_t room = 80 - INDENT, len = strlen(text);

	while (len > room) {
		for (len = room; len && text[len] != ' '; len--)
			;
		if (!len)
			len = strcspn(text, " ");
		printf("%*s%.*s\n", INDENT, "", (int)len, text);
		text += len + (text[len] == ' ');
		len = strlen(text);
	}
	printf("%*s%s\n", INDENT, "", text);
}

static void print_flight(const struct view *v)
{
	char bytes[FMT_BYTES_MAX], age[FMT_BYTES_MAX], words[SOCK_WORDS_MAX];
	const struct ctl_pool *p = &v->pool;

	printf("  in flight    %u", p->nr_in_flight);
	if (p->in_flight_bytes)
		printf(", %s", fmt_bytes(bytes, p->in_flight_bytes));
	if (p->seen & CTL_SEEN(FBUF_A_POOL_OLDEST_MS) && p->in_flight_bytes)
		printf("; oldest for %s", fmt_ms(age, p->oldest_ms));
	if (p->oldest_sock)
		printf(", to the socket with inode %llu",
		       (unsigned long long)p->oldest_sock);
	putchar('\n');
	if (!v->sock.inode)
		return;
	who_print(&v->who, 0, 0, INDENT);
	print_words(sock_words(words, &v->sock));
}

static void print_stats(const struct ctl_stats *s)
{
	char sent[FMT_BYTES_MAX], copied[FMT_BYTES_MAX], filled[FMT_BYTES_MAX];
	static const struct {
		unsigned int attr;
		const char *what;
		size_t offset;
	} lines[] = {
		{ FBUF_A_STATS_ALLOCS, "handed out",
		  offsetof(struct ctl_stats, allocs) },
		{ FBUF_A_STATS_REUSES, "reused",
		  offsetof(struct ctl_stats, reuses) },
		{ FBUF_A_STATS_PASSES, "passed",
		  offsetof(struct ctl_stats, passes) },
		{ FBUF_A_STATS_PROTECTS, "protected",
		  offsetof(struct ctl_stats, protects) },
		{ FBUF_A_STATS_SNAPSHOTS, "snapshots",
		  offsetof(struct ctl_stats, snapshots) },
		{ FBUF_A_STATS_WAITS, "waits",
		  offsetof(struct ctl_stats, waits) },
		{ FBUF_A_STATS_RECLAIMS, "reclaimed",
		  offsetof(struct ctl_stats, reclaims) },
	};
	size_t i;

	for (i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		const void *val = (const char *)s + lines[i].offset;

		if (s->seen & CTL_SEEN(lines[i].attr))
			printf("  %-12s %llu\n", lines[i].what,
			       *(const unsigned long long *)val);
	}
	printf("  filled       %llu times, %s\n", (unsigned long long)s->fills,
	       fmt_bytes(filled, s->filled));
	if (s->recvs)
		printf("  received     %llu parcels, %s, of which copied %s\n",
		       (unsigned long long)s->recvs, fmt_bytes(sent, s->received),
		       fmt_bytes(copied, s->recv_copied));
	printf("  sent         %llu gathers, %s, of which copied %s\n",
	       (unsigned long long)s->sends, fmt_bytes(sent, s->bytes),
	       fmt_bytes(copied, s->copied));
}

static const char nobody[] =
"open in no process that was seen; mapped, or on its way in a message";

static void print_unseen(const struct view *v)
{
	if (v->who.blind)
		printf("  which processes have it is not known: there is no /proc\n");
	else if (v->who.unseen)
		printf("  processes that could not be looked into: %u%s\n",
		       v->who.unseen, geteuid() ? "; root can" : "");
}

static void print_parcels(const struct view *v)
{
	char size[FMT_BYTES_MAX], age[FMT_BYTES_MAX];
	const struct ctl_pool *p = &v->pool;

	if (!p->nr_parcels)
		return;
	printf("  parcels      %u, %s", p->nr_parcels,
	       fmt_bytes(size, p->parcel_bytes));
	if (has(v, FBUF_A_POOL_PARCEL_OLDEST_MS))
		printf(", the oldest received %s ago",
		       fmt_ms(age, p->parcel_oldest_ms));
	putchar('\n');
}

static void print_view(const struct view *v)
{
	char size[FMT_BYTES_MAX], buf[FMT_BYTES_MAX], charged[FMT_BYTES_MAX];
	const struct ctl_pool *p = &v->pool;
	char user[FMT_USER_MAX];
	size_t i;

	if (tool_json) {
		print_view_json(v);
		return;
	}
	printf("pool %llu: %s, %u buffers of %s, %s%s%s\n",
	       (unsigned long long)p->id,
	       fmt_bytes(size, (double)p->buf_size * p->nr_bufs), p->nr_bufs,
	       fmt_bytes(buf, p->buf_size), ctl_protection(p->flags),
	       p->flags & FBUF_POOL_SIGBUS ? " (SIGBUS)" : "",
	       p->flags & FBUF_POOL_LAZY ? ", lazy" : "");
	printf("  charged to   uid %u (%s)", p->uid, fmt_user(user, p->uid));
	if (has(v, FBUF_A_POOL_CHARGED))
		printf(": %s", fmt_bytes(charged, p->charged));
	if (p->by_cgroup)
		printf(", by its memory cgroup alone");
	putchar('\n');
	if (has(v, FBUF_A_POOL_RESIDENT))
		printf("  resident     %s\n", fmt_bytes(size, p->resident));
	if (p->node < 0)
		printf("  NUMA node    any\n");
	else
		printf("  NUMA node    %d\n", p->node);
	printf("  held         %u\n", p->nr_held);
	print_flight(v);
	printf("  split        %u\n", p->nr_split);
	print_parcels(v);
	print_stats(&v->stats);
	for (i = 0; i < v->nr_handles; i++) {
		print_handle(&v->handles[i]);
		if (v->with_who && !who_print(&v->who, v->pool.id,
					      v->handles[i].id, INDENT))
			print_words(nobody);
	}
	print_unseen(v);
	if (has(v, FBUF_A_POOL_HANDLES) && !p->nr_handles)
		printf("  closed; it goes when nothing of it is in flight\n");
}

/* What the fd says. Not through the library, which would map the pool. */
static int view_fd(int fd, bool with_who)
{
	struct fbuf_info i = { .size = sizeof(i) };
	struct ctl_handle handle = { };
	struct view v = { .handles = &handle, .nr_handles = 1 };

	if (ioctl(fd, FBUF_IOC_INFO, &i))
		return -errno;
	v.pool = (struct ctl_pool){
		.seen = -1ULL & ~CTL_SEEN(FBUF_A_POOL_IN_FLIGHT_BYTES) &
			~CTL_SEEN(FBUF_A_POOL_OLDEST_MS) &
			~CTL_SEEN(FBUF_A_POOL_OLDEST_SOCK) &
			~CTL_SEEN(FBUF_A_POOL_PARCEL_OLDEST_MS),
		.id = i.id, .uid = i.uid, .buf_size = i.buf_size,
		.nr_bufs = i.nr_bufs, .flags = i.pool_flags, .node = i.node,
		.nr_handles = i.nr_handles, .nr_held = i.nr_held,
		.nr_in_flight = i.nr_in_flight, .charged = i.charged,
		.resident = i.resident, .nr_split = i.nr_split,
		.nr_parcels = i.nr_parcels, .parcel_bytes = i.parcel_bytes,
	};
	v.stats = (struct ctl_stats){
		.seen = CTL_SEEN(FBUF_A_STATS_SENDS) |
			CTL_SEEN(FBUF_A_STATS_BYTES) |
			CTL_SEEN(FBUF_A_STATS_COPIED) |
			CTL_SEEN(FBUF_A_STATS_ALLOCS) |
			CTL_SEEN(FBUF_A_STATS_REUSES) |
			CTL_SEEN(FBUF_A_STATS_PROTECTS) |
			CTL_SEEN(FBUF_A_STATS_SNAPSHOTS) |
			CTL_SEEN(FBUF_A_STATS_FILLS) |
			CTL_SEEN(FBUF_A_STATS_FILLED) |
			CTL_SEEN(FBUF_A_STATS_RECVS) |
			CTL_SEEN(FBUF_A_STATS_RECEIVED) |
			CTL_SEEN(FBUF_A_STATS_RECV_COPIED),
		.sends = i.sends, .bytes = i.bytes, .copied = i.copied,
		.allocs = i.allocs, .reuses = i.reuses,
		.protects = i.protects, .snapshots = i.snapshots,
		.fills = i.fills, .filled = i.filled,
		.recvs = i.recvs, .received = i.received,
		.recv_copied = i.recv_copied,
	};
	handle = (struct ctl_handle){
		.seen = -1ULL & ~CTL_SEEN(FBUF_A_HANDLE_QUEUED),
		.id = i.handle, .rights = i.rights, .holds = i.holds,
		.max_holds = i.max_holds,
	};
	if (with_who)
		look_around(&v);
	print_view(&v);
	who_end(&v.who);
	return 0;
}

static int show_fd(int fd, bool with_who)
{
	int err = -view_fd(fd, with_who);

	if (!err)
		return TOOL_OK;
	if (err == ENOTTY)
		tool_err("File descriptor %d is not a pool.", fd);
	else if (err == EBADF)
		tool_err("There is no file descriptor %d: the shell must pass one on, as in \"fbuf pool show --fd 3 3<&POOL\".",
			 fd);
	else
		tool_err("Cannot ask pool fd %d: %s.", fd, strerror(err));
	return TOOL_FAIL;
}

static int ask_view(struct ctl *c, struct view *v)
{
	struct ctl_handle *all;
	ssize_t nr, i;
	int ret;

	ret = ctl_get(c, &ctl_pools, &v->pool);
	if (!ret)
		ret = ctl_get(c, &ctl_stats, &v->stats);
	if (ret)
		return ret;
	nr = ctl_list(c, &ctl_handles, (void **)&all);
	if (nr < 0)
		return nr;
	for (i = 0; i < nr; i++) {
		if (all[i].pool == v->pool.id)
			all[v->nr_handles++] = all[i];
	}
	v->handles = all;
	return 0;
}

static int show_id(uint64_t id)
{
	struct view v = {
		.pool = { .seen = CTL_SEEN(FBUF_A_POOL_ID), .id = id },
		.stats = { .seen = CTL_SEEN(FBUF_A_STATS_POOL_ID), .pool = id },
	};
	struct ctl *c = ctl_open(false);
	int ret;

	if (!c)
		return TOOL_FAIL;
	ret = ask_view(c, &v);
	if (ret) {
		ret = ctl_fail_pool(c, id, ret);
	} else {
		look_around(&v);
		print_view(&v);
		who_end(&v.who);
	}
	free(v.handles);
	ctl_close(c);
	return ret;
}

static int cmd_pool_show(int argc, char **argv)
{
	enum { OPT_FD = 256 };
	static const struct option longs[] = {
		{ "fd", required_argument, NULL, OPT_FD },
		TOOL_LONG_JSON,
		TOOL_LONG_HELP,
		{ 0 }
	};
	uint64_t fd = UINT64_MAX, id;
	int c, ret;

	while ((c = tool_getopt(argc, argv, "jh", longs)) != -1) {
		if (c == OPT_FD) {
			if (!tool_size("A file descriptor", optarg, 0, INT_MAX,
				       &fd))
				return TOOL_USAGE;
			continue;
		}
		ret = tool_option(c, show_help);
		if (ret)
			return ret < 0 ? TOOL_OK : ret;
	}
	if (argc - optind != (fd == UINT64_MAX ? 1 : 0))
		return tool_usage("pool show", "It takes ID, or --fd.");
	if (fd != UINT64_MAX)
		return show_fd(fd, true);
	return tool_pool_id(argv[optind], &id) ? show_id(id) : TOOL_USAGE;
}

static void print_list_json(const struct ctl_pool *pools, size_t nr,
			    const struct who *who)
{
	json_t *list = json_array(), *j;
	size_t i;

	for (i = 0; i < nr; i++) {
		j = ctl_pool_json(&pools[i]);
		if (who)
			json_object_set_new(j, "processes",
					    who_json(who, pools[i].id, WHO_ANY));
		json_array_append_new(list, j);
	}
	tool_print_json(stdout, list);
}

/* The processes instead of much else, so that they are in one table. */
static void print_owners(const struct ctl_pool *pools, size_t nr,
			 const struct who *who)
{
	static const char * const heads[] = {
		"ID", "USER", "CHARGED", "PROCESSES", NULL
	};
	char bytes[FMT_BYTES_MAX], user[FMT_USER_MAX], text[WHO_BRIEF_MAX];
	struct tool_table t = { .left = 1U << 1 | 1U << 3 };
	size_t i;

	table_heads(&t, heads);
	for (i = 0; i < nr; i++) {
		table_cell(&t, "%llu", (unsigned long long)pools[i].id);
		table_cell(&t, "%s", fmt_user(user, pools[i].uid));
		table_cell(&t, "%s", fmt_bytes(bytes, pools[i].charged));
		table_cell(&t, "%s", who_brief(text, who, pools[i].id));
	}
	table_print(&t, SIZE_MAX);
	if (who->blind)
		printf("There is no /proc to find processes in.\n");
	else if (who->unseen)
		printf("Processes that could not be looked into: %u%s.\n",
		       who->unseen, geteuid() ? "; root can" : "");
}

static void print_list(const struct ctl_pool *pools, size_t nr)
{
	static const char * const heads[] = {
		"ID", "USER", "BUFS", "SIZE", "HELD", "FLIGHT", "OLDEST",
		"CHARGED", "PROTECTION", NULL
	};
	char bytes[FMT_BYTES_MAX], user[FMT_USER_MAX];
	struct tool_table t = { .left = 1U << 1 | 1U << 8 };
	size_t i;

	table_heads(&t, heads);
	for (i = 0; i < nr; i++) {
		const struct ctl_pool *p = &pools[i];

		table_cell(&t, "%llu", (unsigned long long)p->id);
		table_cell(&t, "%s", fmt_user(user, p->uid));
		table_cell(&t, "%u", p->nr_bufs);
		table_cell(&t, "%s", fmt_bytes(bytes, p->buf_size));
		table_cell(&t, "%u", p->nr_held);
		table_cell(&t, "%u", p->nr_in_flight);
		table_cell(&t, "%s", p->in_flight_bytes ?
			   fmt_ms(bytes, p->oldest_ms) : "-");
		table_cell(&t, "%s", fmt_bytes(bytes, p->charged));
		table_cell(&t, "%s%s%s", ctl_protection(p->flags),
			   p->flags & FBUF_POOL_SIGBUS ? ", SIGBUS" : "",
			   p->flags & FBUF_POOL_LAZY ? ", lazy" : "");
	}
	table_print(&t, SIZE_MAX);
}

static void show_list(const struct ctl_pool *pools, size_t nr, bool with_who)
{
	struct who who = { };

	if (with_who)
		who_look(&who, WHO_ALL, 0);
	if (tool_json)
		print_list_json(pools, nr, with_who ? &who : NULL);
	else if (with_who)
		print_owners(pools, nr, &who);
	else
		print_list(pools, nr);
	who_end(&who);
}

static int parse_list(int argc, char **argv, bool *with_who)
{
	static const struct option longs[] = {
		{ "who", no_argument, NULL, 'w' },
		TOOL_LONG_JSON,
		TOOL_LONG_HELP,
		{ 0 }
	};
	int c, ret;

	while ((c = tool_getopt(argc, argv, "wjh", longs)) != -1) {
		if (c == 'w') {
			*with_who = true;
			continue;
		}
		ret = tool_option(c, list_help);
		if (ret)
			return ret;
	}
	return TOOL_OK;
}

static int cmd_pool_list(int argc, char **argv)
{
	struct ctl_pool *pools;
	bool with_who = false;
	struct ctl *c;
	ssize_t nr;
	int ret;

	ret = parse_list(argc, argv, &with_who);
	if (!ret)
		ret = tool_no_args("pool list", argc, argv);
	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	c = ctl_open(false);
	if (!c)
		return TOOL_FAIL;
	nr = ctl_list(c, &ctl_pools, (void **)&pools);
	if (nr < 0) {
		ret = ctl_fail(c, "list the pools", nr);
	} else {
		show_list(pools, nr, with_who);
		free(pools);
	}
	ctl_close(c);
	return ret;
}

struct make {
	uint64_t buf_size;
	uint64_t nr_bufs;
	unsigned int flags;
	bool hold;
};

static int no_protection(const char *word)
{
	return tool_usage("pool make",
			  "There is no protection \"%s\": take volatile, secured or snapshot.",
			  word);
}

static int parse_make(int argc, char **argv, struct make *m)
{
	enum { OPT_SIGBUS = 256, OPT_LAZY, OPT_HOLD };
	static const struct option longs[] = {
		{ "buf-size", required_argument, NULL, 'b' },
		{ "buffers", required_argument, NULL, 'n' },
		{ "protect", required_argument, NULL, 'p' },
		{ "sigbus", no_argument, NULL, OPT_SIGBUS },
		{ "lazy", no_argument, NULL, OPT_LAZY },
		{ "hold", no_argument, NULL, OPT_HOLD },
		TOOL_LONG_JSON,
		TOOL_LONG_HELP,
		{ 0 }
	};
	unsigned int flag = 0, sigbus = 0, lazy = 0;
	int c, ret;

	while ((c = tool_getopt(argc, argv, "b:n:p:jh", longs)) != -1) {
		switch (c) {
		case 'b':
			if (!tool_buf_size(optarg, &m->buf_size))
				return TOOL_USAGE;
			break;
		case 'n':
			if (!tool_nr_bufs(optarg, &m->nr_bufs))
				return TOOL_USAGE;
			break;
		case 'p':
			if (!ctl_protection_flag(optarg, &flag))
				return no_protection(optarg);
			break;
		case OPT_SIGBUS:
			sigbus = FBUF_POOL_SIGBUS;
			break;
		case OPT_LAZY:
			lazy = FBUF_POOL_LAZY;
			break;
		case OPT_HOLD:
			m->hold = true;
			break;
		default:
			ret = tool_option(c, make_help);
			if (ret)
				return ret;
		}
	}
	m->flags = flag | sigbus | lazy;
	if (sigbus && !flag)
		return tool_usage("pool make",
				  "--sigbus goes with --protect secured or snapshot.");
	return tool_no_args("pool make", argc, argv);
}

static int cmd_pool_make(int argc, char **argv)
{
	struct make m = {
		.buf_size = TOOL_BUF_SIZE,
		.nr_bufs = TOOL_NR_BUFS,
	};
	int ret = parse_make(argc, argv, &m), fd;
	char drop[256];

	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	fd = tool_pool_fd(m.buf_size, m.nr_bufs, m.flags);
	if (fd < 0)
		return TOOL_FAIL;
	ret = show_fd(fd, false);
	if (!ret && m.hold && tool_flush()) {
		while (read(STDIN_FILENO, drop, sizeof(drop)) > 0)
			;
	}
	close(fd);
	return ret;
}

int cmd_pool(int argc, char **argv)
{
	static const struct tool_command commands[] = {
		{ "list", cmd_pool_list },
		{ "ls", cmd_pool_list },
		{ "show", cmd_pool_show },
		{ "watch", cmd_pool_watch },
		{ "make", cmd_pool_make },
		{ }
	};

	if (argc > 1 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help") ||
			 !strcmp(argv[1], "help"))) {
		fputs(help, stdout);
		return TOOL_OK;
	}
	/* Options, if any, are those of list. */
	if (argc == 1 || *argv[1] == '-')
		return cmd_pool_list(argc, argv);
	return tool_dispatch("pool", commands, argc - 1, argv + 1);
}
