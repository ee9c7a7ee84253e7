// SPDX-License-Identifier: GPL-2.0
/* The protocols; see protocol.h. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "protocol.h"

static bool begins(const char *data, const char *with)
{
	return !strncmp(data, with, strlen(with));
}

/* A line that ends what is no object. */
static enum answer line_is(const char *data, const char *line, enum answer answer,
			   struct head *head)
{
	head->used = strlen(line);
	head->len = 0;
	return begins(data, line) ? answer : ANSWER_BAD;
}

/* memcached's text protocol */

static int memcached_put(char *to, size_t room, unsigned int key, size_t len)
{
	return snprintf(to, room, "set k%u 0 0 %zu\r\n", key, len);
}

static int memcached_get(char *to, size_t room, unsigned int key)
{
	return snprintf(to, room, "get k%u\r\n", key);
}

static enum answer memcached_answer(const char *data, struct head *head)
{
	const char *end = strstr(data, "\r\n");

	if (!end)
		return ANSWER_MORE;
	if (begins(data, "STORED"))
		return line_is(data, "STORED\r\n", ANSWER_STORED, head);
	if (begins(data, "END"))
		return line_is(data, "END\r\n", ANSWER_MISS, head);
	/* All its memory is in use, by those who ask. It forgot what it had. */
	if (begins(data, "SERVER_ERROR Out of memory")) {
		head->used = end + 2 - data;
		head->len = 0;
		return ANSWER_MISS;
	}
	if (sscanf(data, "VALUE %*s %*u %zu", &head->len) != 1)
		return ANSWER_BAD;
	head->used = end + 2 - data;
	head->after = "\r\nEND\r\n";
	return ANSWER_OBJECT;
}

/* RESP, which redis speaks */

static int redis_key(char *name, size_t room, unsigned int key)
{
	return snprintf(name, room, "k%u", key);
}

static int redis_put(char *to, size_t room, unsigned int key, size_t len)
{
	char name[16];
	int n = redis_key(name, sizeof(name), key);

	return snprintf(to, room, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%zu\r\n", n, name, len);
}

static int redis_get(char *to, size_t room, unsigned int key)
{
	char name[16];
	int n = redis_key(name, sizeof(name), key);

	return snprintf(to, room, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", n, name);
}

static enum answer redis_answer(const char *data, struct head *head)
{
	const char *end = strstr(data, "\r\n");

	if (!end)
		return ANSWER_MORE;
	if (*data == '+')
		return line_is(data, "+OK\r\n", ANSWER_STORED, head);
	if (begins(data, "$-1"))
		return line_is(data, "$-1\r\n", ANSWER_MISS, head);
	if (sscanf(data, "$%zu", &head->len) != 1)
		return ANSWER_BAD;
	head->used = end + 2 - data;
	head->after = "\r\n";
	return ANSWER_OBJECT;
}

/* HTTP/1.1, of which an answer has a length, or ends with its connection */

static int http_put(char *to, size_t room, unsigned int key, size_t len)
{
	return snprintf(to, room, "PUT /k%u HTTP/1.1\r\nHost: fbuf\r\nContent-Length: %zu\r\n\r\n",
			key, len);
}

static int http_get(char *to, size_t room, unsigned int key)
{
	return snprintf(to, room, "GET /k%u HTTP/1.1\r\nHost: fbuf\r\n\r\n", key);
}

static enum answer http_answer(const char *data, struct head *head)
{
	const char *end = strstr(data, "\r\n\r\n"), *line;
	unsigned int status;

	if (!end)
		return ANSWER_MORE;
	if (sscanf(data, "HTTP/1.%*u %u", &status) != 1)
		return ANSWER_BAD;
	head->used = end + 4 - data;
	head->len = SIZE_MAX;
	for (line = strstr(data, "\r\n"); line < end; line = strstr(line + 2, "\r\n")) {
		if (!strncasecmp(line + 2, "Content-Length:", 15))
			head->len = strtoul(line + 17, NULL, 10);
		if (!strncasecmp(line + 2, "Transfer-Encoding:", 18))
			return ANSWER_BAD;
	}
	if (status == 204)
		head->len = 0;
	switch (status) {
	case 200:	return ANSWER_OBJECT;
	case 201:
	case 204:	return ANSWER_STORED;
	case 404:	return ANSWER_MISS;
	default:	return ANSWER_BAD;
	}
}

/* The plainest: a line that asks, a line with the length, the object. */

static int plain_put(char *to, size_t room, unsigned int key, size_t len)
{
	return snprintf(to, room, "put %u %zu\n", key, len);
}

static int plain_get(char *to, size_t room, unsigned int key)
{
	return snprintf(to, room, "get %u\n", key);
}

static enum answer plain_answer(const char *data, struct head *head)
{
	const char *end = strchr(data, '\n');

	if (!end)
		return ANSWER_MORE;
	if (begins(data, "stored"))
		return line_is(data, "stored\n", ANSWER_STORED, head);
	if (begins(data, "none"))
		return line_is(data, "none\n", ANSWER_MISS, head);
	if (sscanf(data, "%zu", &head->len) != 1)
		return ANSWER_BAD;
	head->used = end + 1 - data;
	return ANSWER_OBJECT;
}

static const struct protocol protocols[] = {
	{ "memcached", memcached_put, memcached_get, "\r\n", memcached_answer },
	{ "redis", redis_put, redis_get, "\r\n", redis_answer },
	{ "http", http_put, http_get, "", http_answer },
	{ "tcp", plain_put, plain_get, "", plain_answer },
};

const struct protocol *protocol_named(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(protocols) / sizeof(*protocols); i++)
		if (!strcmp(protocols[i].name, name))
			return &protocols[i];
	return NULL;
}
