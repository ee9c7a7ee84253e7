// SPDX-License-Identifier: GPL-2.0
/*
 * httpd [OPTION...]: objects and logs in memory, by HTTP/1.1 and HTTPS.
 *
 *	PUT, DELETE	a new object at a path, or none; with Content-Range some
 *			bytes of the one that is there
 *	GET, HEAD	it; Range, If-None-Match
 *	POST		append to the log at a path
 *	GET PATH?offset=N&wait=SECONDS
 *			what a log has from there on; if nothing, wait for it.
 *			Log-Next in the answer is where to go on; 416 and Log-First
 *			tell that the log has that no more, or not yet
 *
 * What a path names is memory of one pool, and goes out by reference, to however
 * many ask for it. A new object is new memory: whoever is being sent the old one
 * gets all of the old one, and its memory is free when the last packet is gone.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fbuf/parcel.h>
#include <fbuf/view.h>
#include <http_parser.h>

#include "loop.h"
#include "store.h"

#define QUEUED		(1 << 20)	/* with more, no request is looked at */
#define ANSWER		(1 << 20)	/* bytes of a log in one answer */
#define WAIT		60		/* seconds, at most */
#define VALUE		128		/* as much as is looked at of a header */
#define LONG		(64 << 10)	/* the shortest body that stays in parcels */
#define LINE		1024		/* the longest path; the longest head of ours */

enum { RANGE, IF_NONE_MATCH, CONTENT_RANGE, CONTENT_TYPE, EXPECT, NR_KEPT };

struct conn {
	struct peer peer;
	TAILQ_ENTRY(conn) in;		/* of those that wait */
	bool waiting, woken;
	http_parser parser;
	char *rest;			/* read, but the parser was paused before */
	size_t nr_rest;
	/* the request */
	bool in_value;
	char url[LINE], field[32], value[VALUE], kept[NR_KEPT][VALUE];
	char *body;
	struct stored *parts;		/* its body instead, if that may be parcels */
	size_t body_len, body_got;
	unsigned int refused;		/* why the body is of no use */
	time_t until;			/* how long it waits, once it does */
	struct stored *of;
};

static TAILQ_HEAD(conns, conn) waiting = TAILQ_HEAD_INITIALIZER(waiting);
static size_t log_size = 64 << 20;
static bool in_parcels;

/* What an object's answers begin with does not change. */
static void set_head(struct stored *entry, const char *type)
{
	static unsigned long long version;

	if (!version)
		version = (unsigned long long)now << 20;
	if (type)
		snprintf(entry->type, sizeof(entry->type), "%s", *type ? type :
			 "application/octet-stream");
	snprintf(entry->etag, sizeof(entry->etag), "\"%llx\"", version++);
	entry->skip = sprintf(entry->head, "Content-Length: %llu\r\n",
			      (unsigned long long)entry->end);
	snprintf(entry->head + entry->skip, sizeof(entry->head) - entry->skip,
		 "Content-Type: %s\r\nETag: %s\r\nAccept-Ranges: bytes\r\n",
		 entry->type, entry->etag);
}

/* Those who wait for this log, or without one those who waited long enough. */
static void wake(struct stored *log)
{
	struct conn *conn;

	TAILQ_FOREACH(conn, &waiting, in) {
		if (log ? conn->of == log : conn->until <= now) {
			conn->woken = true;
			peer_ready(&conn->peer);
		}
	}
}

/* Answers. */

/* The head of an answer, whose end is the caller's to write. */
static char *begin(struct conn *conn, char *p, unsigned int status)
{
	static time_t then;
	static char date[64];

	if (then != now)
		strftime(date, sizeof(date), "Date: %a, %d %b %Y %T GMT\r\n", gmtime(&now));
	then = now;
	if (status == 200)
		p = stpcpy(p, "HTTP/1.1 200 OK\r\n");
	else
		p += sprintf(p, "HTTP/1.1 %u %s\r\n", status, http_status_str(status));
	p = stpcpy(p, date);
	if (conn->peer.last)
		p = stpcpy(p, "Connection: close\r\n");
	else if (!conn->parser.http_minor)
		p = stpcpy(p, "Connection: keep-alive\r\n");
	return p;
}

static int put_head(struct conn *conn, char *head, char *end)
{
	end = stpcpy(end, "\r\n");
	return fbuf_queue_copy(conn->peer.queue, head, end - head);
}

/* Without a body. */
static int tell(struct conn *conn, unsigned int status, const char *more)
{
	char head[LINE], *p = begin(conn, head, status);

	if (status != 204 && status != 304)
		p = stpcpy(p, "Content-Length: 0\r\n");
	return put_head(conn, head, stpcpy(p, more));
}

/* Bytes from - to; 0 of no range that is understood; -1 of one that is not there. */
static int parse_range(const char *range, uint64_t len, uint64_t *from, uint64_t *to)
{
	char *end;

	if (strncmp(range, "bytes=", 6) || strchr(range, ','))
		return 0;
	range += 6;
	*to = len;
	if (*range == '-') {
		*from = strtoull(range + 1, &end, 10);
		if (end == range + 1 || *end)
			return 0;
		if (!*from || !len)
			return -1;
		*from = *from < len ? len - *from : 0;
		return 1;
	}
	*from = strtoull(range, &end, 10);
	if (end == range || *end++ != '-')
		return 0;
	if (*end) {
		*to = strtoull(end, &end, 10);
		if (*end || *to < *from)
			return 0;
		*to = *to < len ? *to + 1 : len;
	}
	return *from < len ? 1 : -1;
}

static int get_object(struct conn *conn, struct stored *entry)
{
	char head[LINE], *p;
	uint64_t from, to;
	int some = 0, err;

	if (!strcmp(conn->kept[IF_NONE_MATCH], "*") ||
	    strstr(conn->kept[IF_NONE_MATCH], entry->etag))
		return tell(conn, 304, entry->head + entry->skip);
	if (*conn->kept[RANGE] && conn->parser.method == HTTP_GET)
		some = parse_range(conn->kept[RANGE], entry->end, &from, &to);
	if (some <= 0) {
		from = 0;
		to = entry->end;
	}
	if (some < 0) {
		sprintf(head, "Content-Range: bytes */%llu\r\n", (unsigned long long)entry->end);
		return tell(conn, 416, head);
	}
	p = begin(conn, head, some ? 206 : 200);
	if (some)
		p += sprintf(p, "Content-Range: bytes %llu-%llu/%llu\r\nContent-Length: %llu\r\n",
			     (unsigned long long)from, (unsigned long long)to - 1,
			     (unsigned long long)entry->end, (unsigned long long)(to - from));
	err = put_head(conn, head, stpcpy(p, entry->head + (some ? entry->skip : 0)));
	if (err || conn->parser.method == HTTP_HEAD)
		return err;
	return store_queue(entry, conn->peer.queue, from, to);
}

static uint64_t number_in(const char *query, const char *name, uint64_t other)
{
	const char *found = strstr(query, name);

	return found ? strtoull(found + strlen(name), NULL, 10) : other;
}

static int get_log(struct conn *conn, struct stored *log, const char *query)
{
	uint64_t from = number_in(query, "offset=", log->first), to = log->end;
	time_t seconds = number_in(query, "wait=", 0);
	char head[LINE], *p;
	int err;

	if (from < log->first || from > log->end) {
		sprintf(head, "Log-First: %llu\r\nLog-Next: %llu\r\n",
			(unsigned long long)log->first, (unsigned long long)log->end);
		return tell(conn, 416, head);
	}
	if (to > from + ANSWER)
		to = from + ANSWER;
	if (from == to && seconds && (!conn->until || conn->until > now)) {
		conn->until = conn->until ?: now + (seconds < WAIT ? seconds : WAIT);
		conn->of = log;
		conn->waiting = true;
		TAILQ_INSERT_TAIL(&waiting, conn, in);
		return 0;
	}
	p = begin(conn, head, from < to ? 200 : 204);
	if (from < to)
		p += sprintf(p, "Content-Length: %llu\r\n", (unsigned long long)(to - from));
	p += sprintf(p, "Log-First: %llu\r\nLog-Next: %llu\r\n",
		     (unsigned long long)log->first, (unsigned long long)to);
	err = put_head(conn, head, p);
	if (err || conn->parser.method == HTTP_HEAD)
		return err;
	return store_queue(log, conn->peer.queue, from, to);
}

/* Changes. They answer with a status. */

static unsigned int put_object(struct conn *conn, const char *path, struct stored *entry)
{
	unsigned int status = entry ? 204 : 201;

	if (!entry)
		entry = store_new(path, false);
	if (conn->parts)
		store_take(entry, conn->parts);
	else
		store_replace(entry, conn->body, conn->body_len);
	conn->parts = NULL;
	conn->body = NULL;
	set_head(entry, conn->kept[CONTENT_TYPE]);
	return status;
}

static unsigned int put_range(struct conn *conn, struct stored *entry)
{
	unsigned long long from, to;

	if (!entry)
		return 404;
	if (sscanf(conn->kept[CONTENT_RANGE], "bytes %llu-%llu", &from, &to) != 2 ||
	    to < from || to - from + 1 != conn->body_len || to >= entry->end)
		return 416;
	if (store_change(entry, from, conn->body, conn->body_len))
		return 507;
	conn->body = NULL;
	set_head(entry, NULL);
	return 204;
}

static unsigned int post(struct conn *conn, const char *path, struct stored *entry)
{
	if (!entry)
		entry = store_new(path, true);
	if (conn->body)
		store_append(entry, conn->body, conn->body_len, log_size);
	conn->body = NULL;
	wake(entry);
	return 204;
}

static unsigned int delete(struct stored *entry)
{
	if (!entry)
		return 404;
	wake(entry);
	store_delete(entry);
	return 204;
}

/* The request is whole. Its answer is queued; or it waits, and is tried again. */
static int respond(struct conn *conn)
{
	struct http_parser_url url;
	const char *query = "";
	struct stored *entry;
	unsigned int status = conn->refused;
	bool is_post = conn->parser.method == HTTP_POST;
	char path[LINE];

	http_parser_url_init(&url);
	if (status)
		return tell(conn, status, "");
	if (http_parser_parse_url(conn->url, strlen(conn->url), 0, &url) ||
	    !(url.field_set & 1 << UF_PATH))
		return tell(conn, 400, "");
	*(char *)mempcpy(path, conn->url + url.field_data[UF_PATH].off,
			 url.field_data[UF_PATH].len) = '\0';
	if (url.field_set & 1 << UF_QUERY)
		query = conn->url + url.field_data[UF_QUERY].off;
	entry = store_find(path);
	switch (conn->parser.method) {
	case HTTP_GET:
	case HTTP_HEAD:
		if (!entry)
			return tell(conn, 404, "");
		return entry->log ? get_log(conn, entry, query) : get_object(conn, entry);
	case HTTP_PUT:
	case HTTP_POST:
		if (entry && entry->log != is_post)
			status = 409;
		else if (is_post)
			status = post(conn, path, entry);
		else if (*conn->kept[CONTENT_RANGE])
			status = put_range(conn, entry);
		else
			status = put_object(conn, path, entry);
		break;
	case HTTP_DELETE:
		status = delete(entry);
		break;
	default:
		return tell(conn, 405, "Allow: GET, HEAD, PUT, POST, DELETE\r\n");
	}
	return tell(conn, status, "");
}

/* The parser. */

static void append_to(char *to, size_t room, const char *from, size_t len)
{
	size_t had = strlen(to);

	if (len > room - 1 - had)
		len = room - 1 - had;
	memcpy(to + had, from, len);
	to[had + len] = '\0';
}

/* A header is whole: those that matter are kept. */
static void end_header(struct conn *conn)
{
	static const char *const names[NR_KEPT] = {
		"Range", "If-None-Match", "Content-Range", "Content-Type", "Expect"
	};
	unsigned int i;

	for (i = 0; i < NR_KEPT; i++)
		if (tolower(*conn->field) == tolower(*names[i]) &&
		    !strcasecmp(conn->field, names[i]))
			memcpy(conn->kept[i], conn->value, VALUE);
	*conn->field = '\0';
	*conn->value = '\0';
	conn->in_value = false;
}

static int on_begin(http_parser *parser)
{
	struct conn *conn = parser->data;
	unsigned int i;

	*conn->url = '\0';
	for (i = 0; i < NR_KEPT; i++)
		*conn->kept[i] = '\0';
	conn->body_len = 0;
	conn->body_got = 0;
	conn->refused = 0;
	conn->until = 0;
	return 0;
}

static int on_url(http_parser *parser, const char *at, size_t len)
{
	struct conn *conn = parser->data;

	if (strlen(conn->url) + len >= sizeof(conn->url))
		conn->refused = 414;
	append_to(conn->url, sizeof(conn->url), at, len);
	return 0;
}

static int on_field(http_parser *parser, const char *at, size_t len)
{
	struct conn *conn = parser->data;

	if (conn->in_value)
		end_header(conn);
	append_to(conn->field, sizeof(conn->field), at, len);
	return 0;
}

static int on_value(http_parser *parser, const char *at, size_t len)
{
	struct conn *conn = parser->data;

	conn->in_value = true;
	append_to(conn->value, sizeof(conn->value), at, len);
	return 0;
}

/* In parcels there are no more bytes than the pool has. */
static bool parcels_have_room(size_t len)
{
	struct fbuf_info info;

	return !fbuf_pool_info(fbuf_heap_pool(heap), &info) &&
	       info.parcel_bytes + len <= (uint64_t)info.nr_bufs * info.buf_size;
}

static bool may_be_parcels(const struct conn *conn)
{
	return in_parcels && !conn->peer.ssl && conn->parser.method == HTTP_PUT &&
	       !*conn->kept[CONTENT_RANGE] && conn->body_len >= LONG &&
	       parcels_have_room(conn->body_len);
}

/* The body goes to where it is served from. */
static int on_headers(http_parser *parser)
{
	struct conn *conn = parser->data;

	end_header(conn);
	parser->upgrade = 0;
	if (parser->flags & F_CHUNKED) {
		conn->refused = 411;
		return 0;
	}
	if (!(parser->flags & F_CONTENTLENGTH) || !parser->content_length || conn->refused)
		return 0;
	conn->body_len = parser->content_length;
	if (may_be_parcels(conn))
		conn->parts = store_loose();
	else
		conn->body = fbuf_heap_alloc(heap, conn->body_len);
	if (!conn->parts && !conn->body)
		conn->refused = 507;
	else if (!strcasecmp(conn->kept[EXPECT], "100-continue"))
		fbuf_queue_copy(conn->peer.queue, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	return 0;
}

/* What the parser is given for bytes that are in a parcel: it only counts them. */
static const char unseen[64 << 10];

/* What came with the head, or found no room in a parcel. */
static void add_part(struct conn *conn, const char *at, size_t len)
{
	char *data = fbuf_heap_alloc(heap, len);

	if (data) {
		store_add(conn->parts, memcpy(data, at, len), len);
		return;
	}
	store_free(conn->parts);
	conn->parts = NULL;
	conn->refused = 507;
}

static int on_body(http_parser *parser, const char *at, size_t len)
{
	struct conn *conn = parser->data;

	if (conn->parts && (at < unseen || at >= unseen + sizeof(unseen)))
		add_part(conn, at, len);
	if (conn->body && at != conn->body + conn->body_got)
		memcpy(conn->body + conn->body_got, at, len);
	conn->body_got += len;
	return 0;
}

static void drop_body(struct conn *conn)
{
	fbuf_heap_free(heap, conn->body);
	conn->body = NULL;
	store_free(conn->parts);
	conn->parts = NULL;
}

static void answer(struct conn *conn)
{
	if (respond(conn))
		peer_drop(&conn->peer);
	if (conn->waiting)
		return;
	drop_body(conn);
}

static int on_complete(http_parser *parser)
{
	struct conn *conn = parser->data;

	conn->peer.last |= !http_should_keep_alive(parser);
	answer(conn);
	conn->peer.stopped = conn->waiting || fbuf_queue_len(conn->peer.queue) >= QUEUED;
	if (conn->peer.stopped || conn->peer.last || conn->peer.dead)
		http_parser_pause(parser, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_message_begin = on_begin, .on_url = on_url, .on_header_field = on_field,
	.on_header_value = on_value, .on_headers_complete = on_headers,
	.on_body = on_body, .on_message_complete = on_complete,
};

/* Connections. */

static void take(struct peer *peer, const char *data, size_t len)
{
	struct conn *conn = (struct conn *)peer;
	size_t used;

	if (!conn->parser.data) {
		http_parser_init(&conn->parser, HTTP_REQUEST);
		conn->parser.data = conn;
	}
	used = http_parser_execute(&conn->parser, &settings, data, len);
	if (peer->last || peer->dead)
		return;
	if (peer->stopped) {
		conn->nr_rest = len - used;
		conn->rest = must(malloc(conn->nr_rest + 1));
		memcpy(conn->rest, data + used, conn->nr_rest);
	} else if (HTTP_PARSER_ERRNO(&conn->parser) != HPE_OK) {
		peer->last = true;
		tell(conn, 400, "");
	}
}

static char *room(struct peer *peer, size_t *len)
{
	struct conn *conn = (struct conn *)peer;

	if (!conn->body)
		return NULL;
	*len = conn->body_len - conn->body_got;
	return conn->body + conn->body_got;
}

static size_t wants(struct peer *peer)
{
	struct conn *conn = (struct conn *)peer;
	size_t left = conn->body_len - conn->body_got;

	return conn->parts && parcels_have_room(left) ? left : 0;
}

static void give(struct peer *peer, struct fbuf_view *parcel)
{
	struct conn *conn = (struct conn *)peer;
	size_t left = fbuf_view_len(parcel), len;

	store_add_parcel(conn->parts, parcel);
	for (; left; left -= len) {
		len = left < sizeof(unseen) ? left : sizeof(unseen);
		take(peer, unseen, len);
	}
}

/* Try again what waits; then what came meanwhile. */
static bool more(struct peer *peer)
{
	struct conn *conn = (struct conn *)peer;
	char *rest = conn->rest;

	if (conn->woken) {
		TAILQ_REMOVE(&waiting, conn, in);
		conn->waiting = false;
		conn->woken = false;
		answer(conn);
		return true;
	}
	if (!peer->stopped || conn->waiting || peer->last)
		return false;
	peer->stopped = false;
	http_parser_pause(&conn->parser, 0);
	conn->rest = NULL;
	take(peer, rest, conn->nr_rest);
	free(rest);
	return true;
}

static void tick(void)
{
	wake(NULL);
}

static void end(struct peer *peer)
{
	struct conn *conn = (struct conn *)peer;

	if (conn->waiting)
		TAILQ_REMOVE(&waiting, conn, in);
	drop_body(conn);
	free(conn->rest);
}

static bool option(int letter, const char *value)
{
	if (letter == 'l')
		log_size = size_in(value);
	else if (letter == 'r')
		in_parcels = true;
	else
		return false;
	return true;
}

static const struct server server = {
	.name = "httpd", .options = "l:r", .option = option, .port = 8080,
	.usage = "[-l LOG_SIZE] [-r]", .peer_size = sizeof(struct conn),
	.queue_limit = SIZE_MAX / 2, .take = take, .room = room, .wants = wants, .give = give,
	.more = more, .tick = tick, .end = end,
};

int main(int argc, char **argv)
{
	now = time(NULL);
	loop_run(&server, argc, argv);
	store_clear();
	loop_end();
	return 0;
}
