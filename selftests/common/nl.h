/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The generic netlink family of fbuf, by raw sockets. All its attributes are
 * numbers, so a message is a row of them. Functions return a negative errno
 * value on failure.
 */
#ifndef FBUF_TEST_NL_H
#define FBUF_TEST_NL_H

#include <stdbool.h>

#include <linux/types.h>

#include <linux/fbuf_netlink.h>

#define NL_ATTRS	24

struct nl {
	int fd;
	__u32 seq;
	__u16 family;
	__u32 events;		/* the multicast group */
	char error[128];	/* what the kernel said of the last error */
	void (*between)(void *arg);	/* called after each part of an answer */
	void *between_arg;
};

/* A message: which attributes it has, and their values. */
struct nl_row {
	__u8 cmd;
	bool has[NL_ATTRS];
	__u64 val[NL_ATTRS];
};

/* An attribute of a request; @len is 4 or 8, or 0 for a flag. */
struct nl_arg {
	__u16 type;
	__u16 len;
	__u64 val;
};

int nl_open(struct nl *nl);
void nl_close(struct nl *nl);
/* One request; @reply may be NULL. Returns 0. */
int nl_do(struct nl *nl, __u8 cmd, const struct nl_arg *args, int nr,
	  struct nl_row *reply);
/* Returns the number of rows, of which it keeps @max. */
int nl_dump(struct nl *nl, __u8 cmd, struct nl_row *rows, int max);
/* Joins the group of events; an answer to a request loses those before it. */
int nl_join(struct nl *nl);
/* The next event. */
int nl_next(struct nl *nl, struct nl_row *row, int ms);

/* A pool by its number. */
int nl_pool(struct nl *nl, __u64 id, struct nl_row *row);
/* What is charged to a user; all zero if the kernel has no row of him. */
int nl_user(struct nl *nl, __u32 uid, struct nl_row *row);

#endif /* FBUF_TEST_NL_H */
