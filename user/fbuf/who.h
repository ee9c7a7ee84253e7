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
	uint64_t pool;		/* and a handle of it; 0 if it is a socket */
	uint32_t handle;
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

#define WHO_ALL		UINT64_MAX	/* pools */
#define WHO_ANY		UINT32_MAX	/* handle */

/* Who has the pool, or the socket of this inode number; 0 for neither. */
void who_look(struct who *w, uint64_t pool, uint64_t sock);
void who_end(struct who *w);

/* The processes that have a handle of a pool; of 0 and 0, those that have the socket. */
json_t *who_json(const struct who *w, uint64_t pool, uint32_t handle);
/* Prints them, each in a line after so many spaces; how many. */
unsigned int who_print(const struct who *w, uint64_t pool, uint32_t handle,
		       int indent);
/* Those that have the pool: "cat 12, dog 13, 5 more". text is returned. */
#define WHO_BRIEF_MAX	96	/* so that it is in a line, beside the ID */
const char *who_brief(char text[WHO_BRIEF_MAX], const struct who *w,
		      uint64_t pool);

#endif /* FBUF_TOOL_WHO_H */
