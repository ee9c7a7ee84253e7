/* SPDX-License-Identifier: GPL-2.0 */
/* What measures servers: a clock, connections, and windows of what is counted. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/epoll.h>

#include "../../run/content.h"

#define SMALL		4096	/* bytes of what must not wait for what is large */
#define SAMPLES_MAX	100000

struct load_options {
	unsigned int port, connections, windows, requests, warm, samples;
	size_t size;
	int server;		/* its process, or 0 */
	bool instructions, drop;
	const char *fill;
};

extern struct load_options options;

/* One that asks, or is told. */
struct conn {
	int fd;
	bool small, checking;
	unsigned int key;
	size_t got, all;	/* bytes of an answer; all: 0 before its head is known */
	size_t head;
	double since;
	struct content_check check;
};

void __attribute__((__noreturn__)) die(const char *what);
void __attribute__((__noreturn__)) complain(const char *what);
/* Nanoseconds, or instructions. */
double now(void);
struct conn *conn_new(bool small);
void put_out(const struct conn *conn, const void *data, size_t len);
/* Up to so many bytes, read, or dropped by the kernel if so asked; 0 for none there. */
size_t take_in(const struct conn *conn, void *to, size_t len);
/* One turn: to all that have something, hear() is called. */
void listen_once(void (*hear)(struct conn *conn));
/* What an answer was, and how long a small one took. */
void judge(bool right);
void sample(double took);

/* What is measured: so many requests or messages, from a state that goes on. */
struct work {
	void (*start)(void);
	/* Until so many more are done, looking at each byte or not. */
	void (*some)(unsigned int count, bool check);
	/* The same, and a small one in turn, until there are so many samples of it. */
	void (*small)(unsigned int samples);
	unsigned int each;	/* answers for each, or 0: one for each connection */
};

extern const struct work http_work, relay_work;
extern unsigned int nr_samples;

void http_fill(const char *dir);

#endif
