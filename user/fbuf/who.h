/* SPDX-License-Identifier: GPL-2.0 */
/* Which processes have a pool open, or a socket; by what /proc tells. */
#ifndef FBUF_TOOL_WHO_H
#define FBUF_TOOL_WHO_H

#include <sys/types.h>

#include "tool.h"

#define WHO_COMMAND_MAX	32
#define WHO_LINK_MAX	64

/* A file descriptor of a process. */
struct who_fd {
	pid_t pid;
	char command[WHO_COMMAND_MAX];
	int fd;
	uint32_t handle;	/* of the pool; 0 if it is a socket */
};

/* A network namespace: what it is called, and a process in it. */
struct who_net {
	char link[WHO_LINK_MAX];
	pid_t pid;
};

struct who {
	struct who_fd *fds;	/* by process */
	size_t nr_fds;
	struct who_net *nets;
	size_t nr_nets;
	unsigned int unseen;	/* processes that could not be looked into */
	bool blind;		/* there is no /proc */
};

/* Who has the pool, or the socket of this inode number; 0 for neither. */
void who_look(struct who *w, uint64_t pool, uint64_t sock);
void who_end(struct who *w);

/* The processes that have a handle; 0: those that have the socket. */
json_t *who_json(const struct who *w, uint32_t handle);
/* Prints them, each in a line after so many spaces; how many. */
unsigned int who_print(const struct who *w, uint32_t handle, int indent);

#endif /* FBUF_TOOL_WHO_H */
