// SPDX-License-Identifier: GPL-2.0
/*
 * PUBLISH to many subscribers, in Redis' protocol: the next message when all have the
 * last one. There are several, which differ in each byte.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "load.h"

#define MESSAGES	8
#define PIECE		(1 << 20)

/* A channel, its publisher, and the messages: whole requests, and frames of answers. */
struct channel {
	char name;
	size_t size, head, frame, request;
	char frame_head[64], *requests[MESSAGES];
	struct conn *publisher;
	unsigned int version, left, replies;	/* that are still to come */
	double since;
};

static struct channel large = { .name = 'c' }, little = { .name = 's' };
static char input[PIECE];
static bool checking;

static void prepare(struct channel *channel, size_t size)
{
	unsigned int i;
	size_t n;

	channel->size = size;
	channel->head = sprintf(channel->frame_head, "*3\r\n$7\r\nmessage\r\n$1\r\n%c\r\n$%zu\r\n",
				channel->name, size);
	channel->frame = channel->head + size + 2;
	for (i = 0; i < MESSAGES; i++) {
		channel->requests[i] = malloc(size + 100);
		if (!channel->requests[i])
			die("malloc");
		n = sprintf(channel->requests[i], "*3\r\n$7\r\nPUBLISH\r\n$1\r\n%c\r\n$%zu\r\n",
			    channel->name, size);
		content_fill(channel->requests[i] + n, channel->name, i, size);
		memcpy(channel->requests[i] + n + size, "\r\n", 2);
		channel->request = n + size + 2;
	}
	channel->publisher = conn_new(false);
	channel->publisher->key = 0;
}

static void join(struct channel *channel, bool small)
{
	struct conn *conn = conn_new(small);
	char wanted[64], got[64], line[64];
	size_t n = sprintf(wanted, "*3\r\n$9\r\nsubscribe\r\n$1\r\n%c\r\n:1\r\n", channel->name);

	conn->key = (unsigned char)channel->name;
	sprintf(line, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\n%c\r\n", channel->name);
	put_out(conn, line, strlen(line));
	if (recv(conn->fd, got, n, MSG_WAITALL) != (ssize_t)n || memcmp(got, wanted, n))
		complain("it does not subscribe");
	conn->all = channel->frame;
}

static void publish(struct channel *channel, unsigned int subscribers)
{
	channel->version = (channel->version + 1) % MESSAGES;
	channel->left = subscribers;
	channel->replies = 1;
	channel->since = now();
	put_out(channel->publisher, channel->requests[channel->version], channel->request);
}

static void hear_reply(struct conn *conn)
{
	struct channel *channel = conn == large.publisher ? &large : &little;
	size_t i, n = take_in(conn, input, 64);

	if (n && !conn->got && *input != ':')
		complain("a message was refused");
	for (i = 0; i < n; i++)
		channel->replies -= input[i] == '\n';
	conn->got = n && input[n - 1] != '\n';
}

/* The part of a frame that is there, against what it is to be. */
static void check(struct conn *conn, const struct channel *channel, size_t n)
{
	const char *request = channel->requests[channel->version];
	size_t skip = channel->request - channel->frame, i = 0;

	for (; i < n && conn->got + i < channel->head; i++)
		if (input[i] != channel->frame_head[conn->got + i])
			conn->check.wrong = true;
	if (i < n && memcmp(input + i, request + skip + conn->got + i, n - i))
		conn->check.wrong = true;
}

static void hear(struct conn *conn)
{
	struct channel *channel = conn->key == 's' ? &little : &large;
	size_t n;

	if (!conn->key) {
		hear_reply(conn);
		return;
	}
	if (!conn->got)
		conn->checking = checking;
	n = take_in(conn, input, conn->all - conn->got < PIECE ? conn->all - conn->got : PIECE);
	if (n && !channel->left)
		complain("a message that nobody published");
	if (n && conn->checking)
		check(conn, channel, n);
	conn->got += n;
	if (!n || conn->got < conn->all)
		return;
	if (conn->checking)
		judge(!conn->check.wrong);
	conn->check.wrong = false;
	if (conn->small)
		sample(now() - channel->since);
	conn->got = 0;
	channel->left--;
}

static void some(unsigned int count, bool look)
{
	checking = look;
	while (count--) {
		publish(&large, options.connections);
		while (large.left || large.replies)
			listen_once(hear);
	}
}

static void small(unsigned int samples)
{
	prepare(&little, SMALL);
	join(&little, true);
	checking = false;
	while (nr_samples < samples) {
		if (!large.left && !large.replies)
			publish(&large, options.connections);
		if (!little.left && !little.replies)
			publish(&little, 1);
		listen_once(hear);
	}
	while (large.left || large.replies || little.left || little.replies)
		listen_once(hear);
}

static void start(void)
{
	unsigned int i;

	prepare(&large, options.size);
	for (i = 0; i < options.connections; i++)
		join(&large, false);
}

const struct work relay_work = { .start = start, .some = some, .small = small };
