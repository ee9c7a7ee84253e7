// SPDX-License-Identifier: GPL-2.0
/*
 * GET by many connections, each of which asks again as soon as it has its answer. The
 * objects are /k1 to /kN, of SIZE bytes, and /k0, which is small: version 1 of each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "../../run/protocol.h"

#define OBJECTS		8
#define PIECE		(1 << 20)

static char answer[PIECE + HEAD_MAX];
static char heads[OBJECTS + 1][HEAD_MAX];	/* of the last answer of each */
static size_t head_lens[OBJECTS + 1];
static char lines[OBJECTS + 1][256];
static size_t line_lens[OBJECTS + 1];
static unsigned int done, goal;
static bool checking, going;

static void ask(struct conn *conn)
{
	conn->got = 0;
	conn->all = 0;
	conn->checking = checking;
	conn->since = now();
	put_out(conn, lines[conn->key], line_lens[conn->key]);
}

/* The same head as last time needs no more than this look. */
static bool find_head(struct conn *conn, size_t got)
{
	const struct protocol *http = protocol_named("http");
	char start[HEAD_MAX + 1];
	struct head head = { };
	size_t size = conn->small ? SMALL : options.size;

	if (head_lens[conn->key] && got >= head_lens[conn->key] &&
	    !memcmp(answer, heads[conn->key], head_lens[conn->key])) {
		conn->head = head_lens[conn->key];
		conn->all = conn->head + size;
		return true;
	}
	if (got > HEAD_MAX)
		got = HEAD_MAX;
	memcpy(start, answer, got);
	start[got] = '\0';
	if (http->answer(start, &head) != ANSWER_OBJECT || head.len != size)
		return false;
	memcpy(heads[conn->key], answer, head.used);
	head_lens[conn->key] = head.used;
	conn->head = head.used;
	conn->all = head.used + head.len;
	return true;
}

static void hear(struct conn *conn)
{
	size_t room = sizeof(answer), n, from = 0;

	if (conn->all && conn->all - conn->got < room)
		room = conn->all - conn->got;
	else if (!conn->all && options.drop && !conn->checking)
		room = HEAD_MAX / 4;
	n = take_in(conn, answer, room);
	if (!n)
		return;
	if (!conn->all) {
		if (!find_head(conn, n))
			complain("no object, or of another size, or its head comes in pieces");
		if (conn->checking)
			content_start(&conn->check, conn->key);
		from = conn->head;
	}
	if (conn->checking && n > from)
		content_piece(&conn->check, answer + from, n - from);
	conn->got += n;
	if (conn->got > conn->all)
		complain("more than was asked for");
	if (conn->got < conn->all)
		return;
	if (conn->checking)
		judge(!conn->check.wrong && conn->check.version == 1);
	if (conn->small)
		sample(now() - conn->since);
	else
		done++;
	if (!conn->small || going)
		ask(conn);
}

static void some(unsigned int count, bool check)
{
	checking = check;
	goal = done + count;
	while (done < goal)
		listen_once(hear);
}

static void small(unsigned int samples)
{
	struct conn *conn = conn_new(true);

	going = true;
	checking = false;
	ask(conn);
	while (nr_samples < samples)
		listen_once(hear);
	going = false;
}

static void start(void)
{
	const struct protocol *http = protocol_named("http");
	unsigned int i;

	for (i = 0; i <= OBJECTS; i++)
		line_lens[i] = http->get(lines[i], sizeof(lines[i]), i);
	for (i = 0; i < options.connections; i++) {
		struct conn *conn = conn_new(false);

		conn->key = 1 + i % OBJECTS;
		checking = true;
		ask(conn);
	}
}

/* The objects as files, for servers that have them as such, or are given them. */
void http_fill(const char *dir)
{
	char path[4096], *data = malloc(options.size < SMALL ? SMALL : options.size);
	unsigned int i;
	size_t size;
	FILE *file;

	if (!data)
		die("malloc");
	for (i = 0; i <= OBJECTS; i++) {
		size = i ? options.size : SMALL;
		content_fill(data, i, 1, size);
		snprintf(path, sizeof(path), "%s/k%u", dir, i);
		file = fopen(path, "w");
		if (!file || fwrite(data, size, 1, file) != 1 || fclose(file))
			die(path);
	}
	free(data);
}

const struct work http_work = { .start = start, .some = some, .small = small, .each = 1 };
