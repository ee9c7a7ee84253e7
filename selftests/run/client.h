/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the client share: what it was told, and its connections. */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "content.h"
#include "protocol.h"

#define SIZES_MAX	16
#define PIECE		(256 << 10)	/* read at once */

struct client_options {
	const struct protocol *protocol;
	struct sockaddr_storage addr;
	socklen_t addrlen;
	size_t sizes[SIZES_MAX];
	unsigned int nr_sizes, keys, connections, threads, requests;
	unsigned int writes, slow, first, seconds, newest, seed;
	const char *files;
	bool fill, even, tls, lossy, stale, once;
	unsigned int rcvbuf;
};

extern struct client_options opt;

struct ssl_st;

/* A connection, and what it waits for. */
struct conn {
	int fd;
	struct ssl_st *ssl;
	bool slow, waits, put, fresh, ended;
	enum { PART_HEAD, PART_OBJECT, PART_END } part;
	unsigned int key, oldest, version, turn;
	char head[HEAD_MAX + 1];
	size_t nr_head, left, after;
	enum answer answer;
	struct head parsed;
	struct content_check check;
	unsigned long long since;
};

void __attribute__((__format__(printf, 1, 2), __noreturn__)) die(const char *format, ...);
unsigned long long now_ns(void);

/*
 * load.c: store the first versions; ask by many connections. False if an answer was
 * wrong.
 */
void load_prepare(void);
void load_fill(void);
bool load_ask(void);

/* conn.c */
void conn_prepare(void);
void call(struct conn *conn);
void hang_up(struct conn *conn);
bool send_all(struct conn *conn, const char *data, size_t len);
/* Bytes, 0 at the end, -1 for an error; without TLS it never waits. */
ssize_t receive(struct conn *conn, void *data, size_t len);
bool has_more(struct conn *conn);

#endif
