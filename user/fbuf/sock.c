// SPDX-License-Identifier: GPL-2.0
/*
 * What became of the socket that buffers in flight were last sent to: by the
 * tables in /proc/PID/net, of each network namespace that can be seen. Buffers
 * stay in flight without it where packets wait for others than its peer.
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sock.h"

#define ADDR_MAX	33

/* States of TCP, as the kernel numbers them. */
#define TCP_FIN_WAIT1	4
#define TCP_LAST_ACK	9
#define TCP_LISTEN	10
#define TCP_CLOSING	11

/* A line of /proc/net/tcp, udp or raw. */
struct line {
	char local[ADDR_MAX], remote[ADDR_MAX];
	unsigned int local_port, remote_port, state, to_send, unread;
	unsigned long long inode;
};

struct look {
	struct sock_view *view;
	struct line found;	/* the socket's, once found */
	uint64_t unread;	/* of all */
	bool tcp;		/* the table is one of TCP */
};

typedef void (*line_fn)(struct look *l, const char *text);

static bool parse(struct line *line, const char *text)
{
	return sscanf(text,
		      "%*d: %32[0-9A-F]:%x %32[0-9A-F]:%x %x %x:%x %*x:%*x %*x %*u %*d %llu",
		      line->local, &line->local_port, line->remote,
		      &line->remote_port, &line->state, &line->to_send,
		      &line->unread, &line->inode) == 8;
}

/* The end of the stream, not acknowledged yet, counts as a byte to send. */
static bool fin_is_out(const struct line *line)
{
	return line->state == TCP_FIN_WAIT1 || line->state == TCP_LAST_ACK ||
	       line->state == TCP_CLOSING;
}

static void find_inet(struct look *l, const char *text)
{
	struct sock_view *s = l->view;
	struct line line;

	if (!parse(&line, text) || (l->tcp && line.state == TCP_LISTEN))
		return;
	if (l->tcp && fin_is_out(&line) && line.to_send)
		line.to_send--;
	l->unread += line.unread;
	if (line.inode == s->inode) {
		l->found = line;
		s->queued = line.to_send;
		s->state = line.to_send ? SOCK_SENDING : SOCK_EMPTY;
	} else if (l->tcp && !line.inode && line.to_send) {
		s->orphans++;
		s->orphan_bytes += line.to_send;
	}
}

static void find_unix(struct look *l, const char *text)
{
	unsigned long long inode;

	if (sscanf(text, "%*x: %*x %*x %*x %*x %*x %llu", &inode) == 1 &&
	    inode == l->view->inode)
		l->view->state = SOCK_UNIX;
}

static bool is_any(const char *addr)
{
	return !addr[strspn(addr, "0")];
}

/* Whether it is where the found one sends to. */
static void find_peer(struct look *l, const char *text)
{
	const struct line *to = &l->found;
	struct line line;

	if (!parse(&line, text) || (l->tcp && line.state == TCP_LISTEN) ||
	    line.local_port != to->remote_port)
		return;
	if (strcmp(line.local, to->remote) && !is_any(line.local))
		return;
	if (!l->tcp || line.remote_port == to->local_port)
		l->view->unread += line.unread;
}

static void add(struct sock_holder *list, unsigned int *nr, uint64_t id,
		uint64_t amount)
{
	if (amount && *nr < SOCK_LIST_MAX)
		list[(*nr)++] = (struct sock_holder){ id, amount };
}

static void find_capture(struct look *l, const char *text)
{
	unsigned long long inode;
	unsigned int bytes;

	if (sscanf(text, "%*x %*d %*d %*x %*d %*d %u %*u %llu", &bytes,
		   &inode) == 2)
		add(l->view->captures, &l->view->nr_captures, inode, bytes);
}

static void find_queue(struct look *l, const char *text)
{
	unsigned int number, packets;

	if (sscanf(text, "%u %*d %u", &number, &packets) == 2)
		add(l->view->queues, &l->view->nr_queues, number, packets);
}

/* A table of each network namespace, line by line. */
static void each_line(struct look *l, const struct who *w, const char *table,
		      line_fn fn)
{
	char path[64], text[512];
	size_t i;
	FILE *f;

	l->tcp = !strncmp(table, "tcp", 3);
	for (i = 0; i < w->nr_nets; i++) {
		snprintf(path, sizeof(path), "/proc/%d/net/%s", w->nets[i].pid,
			 table);
		f = fopen(path, "re");
		if (!f)
			continue;
		while (fgets(text, sizeof(text), f))
			fn(l, text);
		fclose(f);
	}
}

void sock_look(struct sock_view *s, const struct who *w, uint64_t inode)
{
	static const char * const tables[] = {
		"tcp", "tcp6", "udp", "udp6", "raw", "raw6",
	};
	struct look l = { .view = s };
	size_t i;

	*s = (struct sock_view){ .inode = inode };
	s->state = w->unseen || w->blind ? SOCK_UNSEEN : SOCK_CLOSED;
	for (i = 0; i < w->nr_fds; i++) {
		if (!w->fds[i].handle)
			s->state = SOCK_OPEN;
	}
	for (i = 0; i < sizeof(tables) / sizeof(*tables); i++)
		each_line(&l, w, tables[i], find_inet);
	each_line(&l, w, "unix", find_unix);
	for (i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		if (s->state == SOCK_EMPTY && l.found.remote_port)
			each_line(&l, w, tables[i], find_peer);
	}
	if (s->state == SOCK_CLOSED || s->state == SOCK_UNSEEN)
		s->unread = l.unread;
	each_line(&l, w, "packet", find_capture);
	each_line(&l, w, "netfilter/nfnetlink_queue", find_queue);
}

bool sock_is_not_it(const struct sock_view *s)
{
	return (s->state == SOCK_CLOSED && !s->orphans) ||
	       (s->state == SOCK_EMPTY && !s->unread);
}

static void __printf(2, 3) say(char buf[SOCK_WORDS_MAX], const char *fmt, ...)
{
	size_t len = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + len, SOCK_WORDS_MAX - len, fmt, ap);
	va_end(ap);
}

/* What is known of those who may have them instead. */
static void say_others(char buf[SOCK_WORDS_MAX], const struct sock_view *s)
{
	char bytes[FMT_BYTES_MAX];
	unsigned int i;

	say(buf, "; look for captures (packet sockets), taps, queues (NFQUEUE)");
	if (s->state != SOCK_EMPTY && s->unread)
		say(buf, ", receivers here (%s unread)",
		    fmt_bytes(bytes, s->unread));
	for (i = 0; i < s->nr_captures; i++)
		say(buf, "; the packet socket with inode %llu has %s unread",
		    (unsigned long long)s->captures[i].id,
		    fmt_bytes(bytes, s->captures[i].amount));
	for (i = 0; i < s->nr_queues; i++)
		say(buf, "; in NFQUEUE %llu packets wait: %llu",
		    (unsigned long long)s->queues[i].id,
		    (unsigned long long)s->queues[i].amount);
}

static void say_orphans(char buf[SOCK_WORDS_MAX], const struct sock_view *s)
{
	static const char what[] =
		"connections that were closed, and still have to send";
	char bytes[FMT_BYTES_MAX];

	say(buf, "it is closed; %s: %llu, with %s", what,
	    (unsigned long long)s->orphans, fmt_bytes(bytes, s->orphan_bytes));
}

const char *sock_words(char buf[SOCK_WORDS_MAX], const struct sock_view *s)
{
	char bytes[FMT_BYTES_MAX];

	*buf = '\0';
	if (s->state == SOCK_OPEN)
		say(buf, "its queue cannot be seen");
	else if (s->state == SOCK_UNIX)
		say(buf, "a Unix socket, whose peer has not read all");
	else if (s->state == SOCK_SENDING)
		say(buf, "it has %s to send, which the peer does not take",
		    fmt_bytes(bytes, s->queued));
	else if (s->state == SOCK_EMPTY && s->unread)
		say(buf, "all is sent; its peer, on this machine, has %s unread",
		    fmt_bytes(bytes, s->unread));
	else if (s->state == SOCK_EMPTY)
		say(buf, "not the socket: it is empty");
	else if (s->orphans)
		say_orphans(buf, s);
	else if (s->state == SOCK_CLOSED)
		say(buf, "not the socket: it is closed");
	else
		say(buf, "it is closed, or where you may not look");
	if (sock_is_not_it(s) || (s->state == SOCK_UNSEEN && !s->orphans))
		say_others(buf, s);
	return buf;
}

static json_t *holders_json(const struct sock_holder *list, unsigned int nr,
			    const char *id, const char *amount)
{
	json_t *j = json_array(), *one;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		one = json_object();
		json_object_set_new(one, id, tool_json_u64(list[i].id));
		json_object_set_new(one, amount, tool_json_u64(list[i].amount));
		json_array_append_new(j, one);
	}
	return j;
}

json_t *sock_json(const struct sock_view *s, const struct who *w)
{
	static const char * const states[] = {
		[SOCK_UNSEEN] = "unseen", [SOCK_CLOSED] = "closed",
		[SOCK_OPEN] = "open", [SOCK_UNIX] = "unix",
		[SOCK_EMPTY] = "empty", [SOCK_SENDING] = "sending",
	};
	json_t *j = json_object();

	json_object_set_new(j, "inode", tool_json_u64(s->inode));
	json_object_set_new(j, "state", json_string(states[s->state]));
	json_object_set_new(j, "not_it", json_boolean(sock_is_not_it(s)));
	json_object_set_new(j, "to_send", tool_json_u64(s->queued));
	json_object_set_new(j, "unread", tool_json_u64(s->unread));
	json_object_set_new(j, "closed_senders", tool_json_u64(s->orphans));
	json_object_set_new(j, "closed_to_send",
			    tool_json_u64(s->orphan_bytes));
	json_object_set_new(j, "captures",
			    holders_json(s->captures, s->nr_captures, "inode",
					 "unread"));
	json_object_set_new(j, "queues",
			    holders_json(s->queues, s->nr_queues, "number",
					 "packets"));
	json_object_set_new(j, "processes", who_json(w, 0, 0));
	return j;
}
