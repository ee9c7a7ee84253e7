// SPDX-License-Identifier: GPL-2.0
/* fbuf pool watch: what happens to pools, as it happens. */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nl.h"
#include "sock.h"

#define STUCK_MS	10000	/* the module's default */

static const char help[] =
"Usage: fbuf pool watch [OPTIONS] [ID]\n"
"\n"
"Print what happens to pools, one line each: first those that exist, then\n"
"\n"
"  created     a pool was made\n"
"  destroyed   it is gone, and nothing of it is charged any more\n"
"  exhausted   somebody asked for a buffer, and none was idle\n"
"  stuck       a buffer has been in flight for longer than the module's stuck_ms\n"
"\n"
"With ID, of that pool only, until it is gone. Root is told by the kernel;\n"
"others look every second at their own pools, and do not see which are\n"
"exhausted.\n"
"\n"
"  -n, --count COUNT   end after so many events\n"
"  -j, --json          as JSON, one object in a line\n"
"  -h, --help          print this\n";

struct watch {
	bool one;		/* only this pool: */
	uint64_t id;
	uint64_t left;		/* events until the end */
	uint64_t last;		/* youngest pool that existed */
	struct ctl_pool *pools;	/* as last listed */
	ssize_t nr;
};

static void look(struct who *w, struct sock_view *s, const struct ctl_pool *p)
{
	who_look(w, 0, p->oldest_sock);
	sock_look(s, w, p->oldest_sock);
}

static void print_stuck(const struct ctl_pool *p)
{
	char a[FMT_BYTES_MAX], b[FMT_BYTES_MAX], words[SOCK_WORDS_MAX];
	struct sock_view sock;
	struct who who;

	printf(": %s in flight, for up to %s",
	       fmt_bytes(a, p->in_flight_bytes), fmt_ms(b, p->oldest_ms));
	if (!p->oldest_sock)
		return;
	look(&who, &sock, p);
	printf(", to the socket with inode %llu; %s",
	       (unsigned long long)p->oldest_sock, sock_words(words, &sock));
	who_end(&who);
}

static void print_text(const char *event, const struct ctl_pool *p)
{
	char a[FMT_BYTES_MAX], user[FMT_USER_MAX];

	printf("%-10s pool %llu", event, (unsigned long long)p->id);
	if (!strcmp(event, "exhausted")) {
		printf(": of %u buffers %u held, %u in flight", p->nr_bufs,
		       p->nr_held, p->nr_in_flight);
	} else if (!strcmp(event, "stuck")) {
		print_stuck(p);
	} else if (p->nr_bufs) {
		printf(": %u buffers of %s, %s, of %s", p->nr_bufs,
		       fmt_bytes(a, p->buf_size), ctl_protection(p->flags),
		       fmt_user(user, p->uid));
	}
	putchar('\n');
}

static json_t *event_json(const char *event, const struct ctl_pool *p,
			  const struct timespec *now)
{
	json_t *j = ctl_pool_json(p);
	struct sock_view sock;
	struct who who;

	json_object_set_new(j, "event", json_string(event));
	json_object_set_new(j, "time_ms", json_integer(now->tv_sec * 1000LL +
						       now->tv_nsec / 1000000));
	if (!strcmp(event, "stuck") && p->oldest_sock) {
		look(&who, &sock, p);
		json_object_set_new(j, "socket", sock_json(&sock, &who));
		who_end(&who);
	}
	return j;
}

/* False if nobody reads it any more. */
static bool print_event(const char *event, const struct ctl_pool *p)
{
	struct timespec now;
	struct tm tm;
	char day[16];

	clock_gettime(CLOCK_REALTIME, &now);
	if (tool_json)
		return tool_print_json_line(event_json(event, p, &now));
	localtime_r(&now.tv_sec, &tm);
	strftime(day, sizeof(day), "%T", &tm);
	printf("%s.%03ld  ", day, now.tv_nsec / 1000000);
	print_text(event, p);
	return tool_flush();
}

/* One event. False if it was the last one to print. */
static bool happened(struct watch *w, const char *event,
		     const struct ctl_pool *p)
{
	if (w->one && p->id != w->id)
		return true;
	if (!print_event(event, p) || !--w->left)
		return false;
	return !w->one || strcmp(event, "destroyed");
}

static bool on_event(unsigned int cmd, const struct ctl_pool *p, void *arg)
{
	struct watch *w = arg;

	switch (cmd) {
	case FBUF_CMD_CREATED_NTF:
		/* Between joining and listing: it was listed. */
		return p->id <= w->last || happened(w, "created", p);
	case FBUF_CMD_DESTROYED_NTF:
		return happened(w, "destroyed", p);
	case FBUF_CMD_EXHAUSTED_NTF:
		return happened(w, "exhausted", p);
	case FBUF_CMD_STUCK_NTF:
		return happened(w, "stuck", p);
	}
	return true;
}

static const struct ctl_pool *find(const struct ctl_pool *pools, ssize_t nr,
				   uint64_t id)
{
	ssize_t i;

	for (i = 0; i < nr; i++) {
		if (pools[i].id == id)
			return &pools[i];
	}
	return NULL;
}

/* What is there; the request also makes the kernel look for what is stuck. */
static int print_existing(struct watch *w, struct ctl *c)
{
	ssize_t i;

	w->nr = ctl_list(c, &ctl_pools, (void **)&w->pools);
	if (w->nr < 0)
		return ctl_fail(c, "list the pools", w->nr);
	if (w->one && !find(w->pools, w->nr, w->id))
		return ctl_fail_pool(c, w->id, -ENOENT);
	for (i = 0; i < w->nr; i++) {
		if (w->pools[i].id > w->last)
			w->last = w->pools[i].id;
		if (w->one && w->pools[i].id != w->id)
			continue;
		if (!print_event("exists", &w->pools[i]))
			return TOOL_FAIL;
	}
	return TOOL_OK;
}

static uint64_t stuck_after(void)
{
	unsigned long long val = STUCK_MS;
	FILE *f = fopen("/sys/module/fbuf/parameters/stuck_ms", "re");

	if (!f)
		return val;
	if (fscanf(f, "%llu", &val) != 1)
		val = STUCK_MS;
	fclose(f);
	return val;
}

/* What changed from the pools last listed to these. False at the end. */
static bool compare(struct watch *w, const struct ctl_pool *pools, ssize_t nr)
{
	uint64_t limit = stuck_after();
	const struct ctl_pool *old;
	ssize_t i;

	for (i = 0; i < w->nr; i++) {
		if (!find(pools, nr, w->pools[i].id) &&
		    !happened(w, "destroyed", &w->pools[i]))
			return false;
	}
	for (i = 0; i < nr; i++) {
		old = find(w->pools, w->nr, pools[i].id);
		if (!old && !happened(w, "created", &pools[i]))
			return false;
		if (pools[i].in_flight_bytes && pools[i].oldest_ms >= limit &&
		    (!old || old->oldest_ms < limit) &&
		    !happened(w, "stuck", &pools[i]))
			return false;
	}
	return true;
}

static int poll_pools(struct watch *w, struct ctl *c)
{
	struct ctl_pool *pools;
	bool more = true;
	ssize_t nr;

	while (more) {
		tool_sleep(1);
		nr = ctl_list(c, &ctl_pools, (void **)&pools);
		if (nr < 0)
			return ctl_fail(c, "list the pools", nr);
		more = compare(w, pools, nr);
		free(w->pools);
		w->pools = pools;
		w->nr = nr;
	}
	return TOOL_OK;
}

/* True if the one pool to watch is gone, and no event will tell. */
static bool is_gone(struct watch *w, struct ctl *c)
{
	struct ctl_pool p = { .seen = CTL_SEEN(FBUF_A_POOL_ID), .id = w->id };
	const struct ctl_pool *known = find(w->pools, w->nr, w->id);

	if (!w->one || ctl_get(c, &ctl_pools, &p) != -ENOENT)
		return false;
	happened(w, "destroyed", known ? known : &p);
	return true;
}

static int listen_events(struct watch *w, struct ctl *events, struct ctl *c)
{
	int ret;

	while ((ret = ctl_events(events, on_event, w)) == -ENOBUFS) {
		tool_err("Events were lost: too many at once, or too little memory.");
		if (is_gone(w, c))
			return TOOL_OK;
	}
	return ret ? ctl_fail(events, "watch", ret) : TOOL_OK;
}

static int watch(struct watch *w, struct ctl *events, struct ctl *c)
{
	int joined = ctl_join(events), ret;

	if (joined == -EPERM || joined == -EACCES)
		tool_err("The kernel tells events to root only, or with the capability CAP_NET_ADMIN: looking every second instead.");
	else if (joined)
		return ctl_fail(events, "watch", joined);
	ret = print_existing(w, c);
	if (ret)
		return ret;
	return joined ? poll_pools(w, c) : listen_events(w, events, c);
}

static int parse(int argc, char **argv, struct watch *w)
{
	static const struct option longs[] = {
		{ "count", required_argument, NULL, 'n' },
		TOOL_LONG_JSON,
		TOOL_LONG_HELP,
		{ 0 }
	};
	int c, ret;

	while ((c = tool_getopt(argc, argv, "n:jh", longs)) != -1) {
		if (c == 'n') {
			if (!tool_size("The number of events", optarg, 1,
				       UINT32_MAX, &w->left))
				return TOOL_USAGE;
			continue;
		}
		ret = tool_option(c, help);
		if (ret)
			return ret;
	}
	if (optind < argc) {
		w->one = true;
		if (!tool_pool_id(argv[optind++], &w->id))
			return TOOL_USAGE;
	}
	return tool_no_args("pool watch", argc, argv);
}

int cmd_pool_watch(int argc, char **argv)
{
	struct watch w = { .left = UINT64_MAX };
	struct ctl *c, *events;
	int ret = parse(argc, argv, &w);

	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	c = ctl_open(false);
	events = c ? ctl_open(false) : NULL;
	ret = events ? watch(&w, events, c) : TOOL_FAIL;
	if (w.nr >= 0)
		free(w.pools);
	ctl_close(events);
	ctl_close(c);
	return ret;
}
