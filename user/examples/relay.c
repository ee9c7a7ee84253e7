// SPDX-License-Identifier: GPL-2.0
/*
 * relay [OPTION...]: publish and subscribe in Redis' protocol (RESP2), for Redis' own
 * clients: SUBSCRIBE, PSUBSCRIBE, UNSUBSCRIBE, PUNSUBSCRIBE, PUBLISH, PUBSUB, CLIENT,
 * PING, QUIT and what clients ask when they connect.
 *
 * A message is stored once, and goes to all its subscribers by one call and by
 * reference. To those that are slow it goes later, from the same memory, which is free
 * when the last of them has it. Who has too much to get is dropped, as Redis does with
 * its client-output-buffer-limit.
 */
#include <errno.h>
#include <fnmatch.h>
#include <search.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include <fbuf/view.h>

#include "loop.h"

#define REQUEST		((size_t)64 << 20)	/* the longest */

/* What somebody subscribed to: a channel, or a pattern of channels. */
struct topic {
	bool pattern;
	const char *name;
	size_t len;
	unsigned int nr;
	LIST_HEAD(heard_by, sub) subs;
	LIST_ENTRY(topic) in;
};

LIST_HEAD(topics, topic);

struct client {
	struct peer peer;
	unsigned long long id;
	char *name;
	redisReader *reader;
	LIST_HEAD(hears, sub) subs;
	unsigned int nr;
	time_t behind;			/* since when it has more to get than is good */
};

struct sub {
	struct client *client;
	struct topic *topic;
	LIST_ENTRY(sub) of_client, of_topic;
};

static void *tree;			/* of topics: tsearch(3) */
static struct topics topics[2];		/* channels, patterns */
static size_t soft = 8 << 20;
static time_t patience = 60;

/* Replies. Who takes none is found out by the loop, when it sends. */

static void put(struct client *client, const void *data, size_t len)
{
	if (fbuf_queue_copy(client->peer.queue, data, len) == -EAGAIN)
		client->peer.last = true;
}

static void __attribute__((__format__(printf, 2, 3)))
say(struct client *client, const char *format, ...)
{
	char line[256];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line) - 2, format, args);
	va_end(args);
	if (len > (int)sizeof(line) - 3)
		len = sizeof(line) - 3;
	memcpy(line + len, "\r\n", 2);
	put(client, line, len + 2);
}

static void bulk(struct client *client, const char *data, size_t len)
{
	if (!data) {
		say(client, "$-1");
		return;
	}
	say(client, "$%zu", len);
	put(client, data, len);
	put(client, "\r\n", 2);
}

/* Topics. */

static int by_name(const void *left, const void *right)
{
	const struct topic *a = left, *b = right;

	if (a->pattern != b->pattern)
		return a->pattern - b->pattern;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->name, b->name, a->len);
}

static struct topic *find(bool pattern, const char *name, size_t len)
{
	struct topic key = { .pattern = pattern, .name = name, .len = len };
	struct topic **found = tfind(&key, &tree, by_name);

	return found ? *found : NULL;
}

static struct topic *topic_new(bool pattern, const char *name, size_t len)
{
	struct topic *topic = must(calloc(1, sizeof(*topic)));
	char *copy = must(malloc(len + 1));

	memcpy(copy, name, len);
	copy[len] = '\0';
	topic->pattern = pattern;
	topic->name = copy;
	topic->len = len;
	LIST_INIT(&topic->subs);
	must(tsearch(topic, &tree, by_name));
	LIST_INSERT_HEAD(&topics[pattern], topic, in);
	return topic;
}

static void sub_free(struct sub *sub)
{
	struct topic *topic = sub->topic;

	LIST_REMOVE(sub, of_client);
	LIST_REMOVE(sub, of_topic);
	sub->client->nr--;
	free(sub);
	if (--topic->nr)
		return;
	tdelete(topic, &tree, by_name);
	LIST_REMOVE(topic, in);
	free((char *)topic->name);
	free(topic);
}

static struct sub *sub_of(struct client *client, struct topic *topic)
{
	struct sub *sub;

	LIST_FOREACH(sub, &client->subs, of_client)
		if (sub->topic == topic)
			return sub;
	return NULL;
}

/* Messages. */

/* Has it more to get than is good, for longer than is borne? */
static bool is_late(struct client *client)
{
	if (fbuf_queue_len(client->peer.queue) <= soft) {
		client->behind = 0;
		return false;
	}
	if (!client->behind)
		client->behind = now;
	return now - client->behind >= patience;
}

/* By one call, to all that are subscribed; those that failed are appended to lost. */
static void deliver(struct topic *topic, struct fbuf_view *view, struct client **lost,
		    unsigned int *nr_lost)
{
	static struct fbuf_queue **queues;
	static struct client **clients;
	static int *results;
	static unsigned int room;
	unsigned int i, nr = 0;
	struct sub *sub;

	if (room < topic->nr) {
		room = topic->nr * 2;
		queues = must(realloc(queues, room * sizeof(*queues)));
		clients = must(realloc(clients, room * sizeof(*clients)));
		results = must(realloc(results, room * sizeof(*results)));
	}
	LIST_FOREACH(sub, &topic->subs, of_topic) {
		queues[nr] = sub->client->peer.queue;
		clients[nr++] = sub->client;
	}
	fbuf_queue_fanout(queues, nr, view, results);
	for (i = 0; i < nr; i++) {
		if (results[i] < 0 || (!results[i] && is_late(clients[i])))
			lost[(*nr_lost)++] = clients[i];
		else if (!results[i])
			peer_watch(&clients[i]->peer);
	}
}

/* What goes out: for a pattern its own head before the same bytes. */
static struct fbuf_view *message_of(struct topic *topic, const redisReply *channel,
				    struct fbuf_view *message, size_t tail)
{
	struct fbuf_view *view, *part;
	char *head;
	size_t len;

	if (!topic->pattern)
		return fbuf_view_retain(message);
	head = fbuf_heap_alloc(heap, topic->len + channel->len + 128);
	if (!head)
		return NULL;
	len = sprintf(head, "*4\r\n$8\r\npmessage\r\n$%zu\r\n", topic->len);
	memcpy(head + len, topic->name, topic->len);
	len += topic->len;
	len += sprintf(head + len, "\r\n$%zu\r\n", (size_t)channel->len);
	memcpy(head + len, channel->str, channel->len);
	len += channel->len;
	len += sprintf(head + len, "\r\n$%zu\r\n", tail - 2);
	view = must(fbuf_view_composite(2));
	part = must(fbuf_view_own(heap, head, len));
	if (fbuf_view_add(view, part))
		die("view", ENOMEM);
	part = must(fbuf_view_retained_slice(message, fbuf_view_len(message) - tail, tail));
	if (fbuf_view_add(view, part))
		die("view", ENOMEM);
	return view;
}

static struct fbuf_view *message_new(const redisReply *channel, const redisReply *data)
{
	char *bytes = fbuf_heap_alloc(heap, channel->len + data->len + 128), *p;

	if (!bytes)
		return NULL;
	p = bytes + sprintf(bytes, "*3\r\n$7\r\nmessage\r\n$%zu\r\n", (size_t)channel->len);
	p = mempcpy(p, channel->str, channel->len);
	p += sprintf(p, "\r\n$%zu\r\n", (size_t)data->len);
	p = mempcpy(p, data->str, data->len);
	p = mempcpy(p, "\r\n", 2);
	return must(fbuf_view_own(heap, bytes, p - bytes));
}

/* All that a channel's messages go to: itself, and the patterns that it fits. */
static unsigned int topics_of(const redisReply *channel, struct topic ***found)
{
	static struct topic **all;
	static unsigned int room;
	struct topic *topic = find(false, channel->str, channel->len);
	unsigned int nr = 0;

	if (!all)
		all = must(malloc(++room * sizeof(*all)));
	if (topic)
		all[nr++] = topic;
	LIST_FOREACH(topic, &topics[true], in) {
		if (fnmatch(topic->name, channel->str, 0))
			continue;
		if (nr == room)
			all = must(realloc(all, (room *= 2) * sizeof(*all)));
		all[nr++] = topic;
	}
	*found = all;
	return nr;
}

static void publish(struct client *client, redisReply **args, size_t nr_args)
{
	unsigned int i, nr_topics, nr_lost = 0, receivers = 0;
	struct fbuf_view *message, *view;
	struct client **lost;
	struct topic **to;

	(void)nr_args;
	nr_topics = topics_of(args[1], &to);
	for (i = 0; i < nr_topics; i++)
		receivers += to[i]->nr;
	if (!receivers) {
		say(client, ":0");
		return;
	}
	message = message_new(args[1], args[2]);
	if (!message) {
		say(client, "-OOM the pool has no room for this message");
		return;
	}
	lost = must(malloc(receivers * sizeof(*lost)));
	for (i = 0; i < nr_topics; i++) {
		view = message_of(to[i], args[1], message, args[2]->len + 2);
		if (!view)
			continue;
		deliver(to[i], view, lost, &nr_lost);
		fbuf_view_release(view);
	}
	fbuf_view_release(message);
	say(client, ":%u", receivers);
	for (i = 0; i < nr_lost; i++)
		peer_drop(&lost[i]->peer);
	free(lost);
}

/* Commands. The first of args is their name. */

static void tell_sub(struct client *client, const char *what, const char *name, size_t len)
{
	say(client, "*3\r\n$%zu\r\n%s", strlen(what), what);
	bulk(client, name, len);
	say(client, ":%u", client->nr);
}

static void subscribe(struct client *client, redisReply **args, size_t nr)
{
	bool pattern = *args[0]->str == 'P' || *args[0]->str == 'p';
	struct topic *topic;
	struct sub *sub;
	size_t i;

	for (i = 1; i < nr; i++) {
		topic = find(pattern, args[i]->str, args[i]->len) ?:
			topic_new(pattern, args[i]->str, args[i]->len);
		if (!sub_of(client, topic)) {
			sub = must(calloc(1, sizeof(*sub)));
			sub->client = client;
			sub->topic = topic;
			LIST_INSERT_HEAD(&client->subs, sub, of_client);
			LIST_INSERT_HEAD(&topic->subs, sub, of_topic);
			topic->nr++;
			client->nr++;
		}
		tell_sub(client, pattern ? "psubscribe" : "subscribe", args[i]->str, args[i]->len);
	}
}

static void unsubscribe_all(struct client *client, bool pattern, const char *what)
{
	struct sub *sub = LIST_FIRST(&client->subs), *next;
	bool any = false;
	char *name;
	size_t len;

	for (; sub; sub = next) {
		next = LIST_NEXT(sub, of_client);
		if (sub->topic->pattern != pattern)
			continue;
		len = sub->topic->len;
		name = must(malloc(len + 1));
		memcpy(name, sub->topic->name, len);
		sub_free(sub);
		tell_sub(client, what, name, len);
		free(name);
		any = true;
	}
	if (!any)
		tell_sub(client, what, NULL, 0);
}

static void unsubscribe(struct client *client, redisReply **args, size_t nr)
{
	bool pattern = *args[0]->str == 'P' || *args[0]->str == 'p';
	const char *what = pattern ? "punsubscribe" : "unsubscribe";
	struct topic *topic;
	struct sub *sub;
	size_t i;

	if (nr == 1)
		unsubscribe_all(client, pattern, what);
	for (i = 1; i < nr; i++) {
		topic = find(pattern, args[i]->str, args[i]->len);
		sub = topic ? sub_of(client, topic) : NULL;
		if (sub)
			sub_free(sub);
		tell_sub(client, what, args[i]->str, args[i]->len);
	}
}

static void ping(struct client *client, redisReply **args, size_t nr)
{
	const char *word = nr > 1 ? args[1]->str : "";
	size_t len = nr > 1 ? args[1]->len : 0;

	if (client->nr) {
		say(client, "*2\r\n$4\r\npong");
		bulk(client, word, len);
	} else if (nr > 1) {
		bulk(client, word, len);
	} else {
		say(client, "+PONG");
	}
}

static void quit(struct client *client, redisReply **args, size_t nr)
{
	(void)args;
	(void)nr;
	say(client, "+OK");
	client->peer.last = true;
}

static void channels(struct client *client, const char *pattern)
{
	struct topic *topic;
	unsigned int nr = 0;

	LIST_FOREACH(topic, &topics[false], in)
		nr += !pattern || !fnmatch(pattern, topic->name, 0);
	say(client, "*%u", nr);
	LIST_FOREACH(topic, &topics[false], in)
		if (!pattern || !fnmatch(pattern, topic->name, 0))
			bulk(client, topic->name, topic->len);
}

static void pubsub(struct client *client, redisReply **args, size_t nr)
{
	const char *what = args[1]->str;
	struct topic *topic;
	unsigned int patterns = 0;
	size_t i;

	if (!strcasecmp(what, "NUMSUB")) {
		say(client, "*%zu", 2 * (nr - 2));
		for (i = 2; i < nr; i++) {
			topic = find(false, args[i]->str, args[i]->len);
			bulk(client, args[i]->str, args[i]->len);
			say(client, ":%u", topic ? topic->nr : 0);
		}
	} else if (!strcasecmp(what, "NUMPAT")) {
		LIST_FOREACH(topic, &topics[true], in)
			patterns++;
		say(client, ":%u", patterns);
	} else if (!strcasecmp(what, "CHANNELS")) {
		channels(client, nr > 2 ? args[2]->str : NULL);
	} else {
		say(client, "-ERR unknown subcommand '%.64s'", what);
	}
}

static void client_command(struct client *client, redisReply **args, size_t nr)
{
	const char *what = args[1]->str;

	if (!strcasecmp(what, "ID")) {
		say(client, ":%llu", client->id);
	} else if (!strcasecmp(what, "GETNAME")) {
		bulk(client, client->name, client->name ? strlen(client->name) : 0);
	} else if (!strcasecmp(what, "SETNAME") && nr == 3) {
		free(client->name);
		client->name = *args[2]->str ? must(strdup(args[2]->str)) : NULL;
		say(client, "+OK");
	} else if (!strcasecmp(what, "SETINFO")) {
		say(client, "+OK");
	} else {
		say(client, "-ERR unknown subcommand '%.64s'", what);
	}
}

static void ok(struct client *client, redisReply **args, size_t nr)
{
	(void)args;
	(void)nr;
	say(client, "+OK");
}

static void nothing(struct client *client, redisReply **args, size_t nr)
{
	(void)args;
	(void)nr;
	say(client, "*0");
}

static const struct command {
	const char *name;
	size_t least, most;
	bool subscribed;		/* also for those that are subscribed */
	void (*run)(struct client *client, redisReply **args, size_t nr);
} commands[] = {
	{ "PUBLISH", 3, 3, false, publish },
	{ "SUBSCRIBE", 2, SIZE_MAX, true, subscribe },
	{ "PSUBSCRIBE", 2, SIZE_MAX, true, subscribe },
	{ "UNSUBSCRIBE", 1, SIZE_MAX, true, unsubscribe },
	{ "PUNSUBSCRIBE", 1, SIZE_MAX, true, unsubscribe },
	{ "PING", 1, 2, true, ping },
	{ "QUIT", 1, SIZE_MAX, true, quit },
	{ "PUBSUB", 2, SIZE_MAX, false, pubsub },
	{ "CLIENT", 2, SIZE_MAX, false, client_command },
	{ "SELECT", 2, 2, false, ok },
	{ "COMMAND", 1, SIZE_MAX, false, nothing },
	{ "CONFIG", 2, SIZE_MAX, false, nothing },
};

static void run(struct client *client, redisReply **args, size_t nr)
{
	const struct command *command = commands;
	const struct command *end = commands + sizeof(commands) / sizeof(*commands);

	while (command < end && strcasecmp(args[0]->str, command->name))
		command++;
	if (command == end)
		say(client, "-ERR unknown command '%.64s'", args[0]->str);
	else if (nr < command->least || nr > command->most)
		say(client, "-ERR wrong number of arguments for '%s' command", command->name);
	else if (client->nr && !command->subscribed)
		say(client, "-ERR Can't execute '%s' while subscribed", command->name);
	else
		command->run(client, args, nr);
}

/* An array of strings is one; else the client speaks something else. */
static void request(struct client *client, redisReply *asked)
{
	size_t i;

	if (asked->type == REDIS_REPLY_ARRAY) {
		for (i = 0; i < asked->elements; i++)
			if (asked->element[i]->type != REDIS_REPLY_STRING)
				break;
		if (i && i == asked->elements)
			run(client, asked->element, i);
		if (i == asked->elements)
			return;
	}
	say(client, "-ERR Protocol error: no array of strings");
	client->peer.last = true;
}

/* Connections. */

static void take(struct peer *peer, const char *data, size_t len)
{
	struct client *client = (struct client *)peer;
	static unsigned long long id;
	void *asked;

	if (!client->reader) {
		client->reader = must(redisReaderCreate());
		client->id = ++id;
	}
	if (redisReaderFeed(client->reader, data, len) != REDIS_OK)
		die("memory", ENOMEM);
	while (!peer->last && !peer->dead) {
		if (redisReaderGetReply(client->reader, &asked) != REDIS_OK ||
		    (!asked && client->reader->len > REQUEST)) {
			say(client, "-ERR Protocol error: no request, or one too long");
			peer->last = true;
			return;
		}
		if (!asked)
			return;
		request(client, asked);
		freeReplyObject(asked);
	}
}

static void end(struct peer *peer)
{
	struct client *client = (struct client *)peer;
	struct sub *sub, *next;

	for (sub = LIST_FIRST(&client->subs); sub; sub = next) {
		next = LIST_NEXT(sub, of_client);
		sub_free(sub);
	}
	if (client->reader)
		redisReaderFree(client->reader);
	free(client->name);
}

static struct server server = {
	.name = "relay", .options = "l:", .port = 6379, .queue_limit = 32 << 20,
	.usage = "[-l HARD_LIMIT[:SOFT_LIMIT:SECONDS]]", .peer_size = sizeof(struct client),
	.take = take, .end = end,
};

static bool option(int letter, const char *value)
{
	const char *rest = strchr(value, ':');

	server.queue_limit = size_in(value);
	soft = rest ? size_in(rest + 1) : server.queue_limit;
	rest = rest ? strchr(rest + 1, ':') : NULL;
	patience = rest ? atol(rest + 1) : 60;
	return letter == 'l';
}

int main(int argc, char **argv)
{
	server.option = option;
	loop_run(&server, argc, argv);
	loop_end();
	return 0;
}
