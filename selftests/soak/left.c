// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/nl.h"
#include "left.h"

#define LINES	24		/* of a file or a table, at most */

static void copy(FILE *to, const char *path, const char *prefix)
{
	FILE *from = fopen(path, "re");
	char line[256];
	int i;

	for (i = 0; from && i < LINES && fgets(line, sizeof(line), from); i++)
		fprintf(to, "%s%s", prefix, line);
	if (from)
		fclose(from);
}

static void one_task(FILE *to, const char *pid, const char *tid)
{
	char path[600], line[512], state;
	int parent, group;
	FILE *from;

	snprintf(path, sizeof(path), "/proc/%s/task/%s/stat", pid, tid);
	from = fopen(path, "re");
	if (!from)
		return;
	/* Threads of the kernel are in group 0. */
	if (fgets(line, sizeof(line), from) && strrchr(line, ')') &&
	    sscanf(strrchr(line, ')') + 1, " %c %d %d", &state, &parent,
		   &group) == 3 && group && atoi(tid) != gettid()) {
		strrchr(line, ')')[1] = 0;
		fprintf(to, "  process %s, task %s of group %d, child of %d: %c\n",
			pid, line, group, parent, state);
		snprintf(path, sizeof(path), "/proc/%s/task/%s/stack", pid,
			 tid);
		copy(to, path, "    ");
	}
	fclose(from);
}

static void show_processes(FILE *to)
{
	DIR *proc = opendir("/proc"), *dir;
	struct dirent *pid, *tid;
	char path[300];

	while (proc && (pid = readdir(proc))) {
		if (!atoi(pid->d_name))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/task", pid->d_name);
		dir = opendir(path);
		while (dir && (tid = readdir(dir))) {
			if (atoi(tid->d_name))
				one_task(to, pid->d_name, tid->d_name);
		}
		if (dir)
			closedir(dir);
	}
	if (proc)
		closedir(proc);
}

static void show_pools(FILE *to)
{
	static const struct {
		const char *name;
		int attr;
	} column[] = {
		{ "", FBUF_A_POOL_ID },
		{ "handles", FBUF_A_POOL_HANDLES },
		{ "held", FBUF_A_POOL_HELD },
		{ "in flight", FBUF_A_POOL_IN_FLIGHT },
		{ "bytes in flight", FBUF_A_POOL_IN_FLIGHT_BYTES },
		{ "ms the oldest", FBUF_A_POOL_OLDEST_MS },
		{ "its socket", FBUF_A_POOL_OLDEST_SOCK },
		{ "charged", FBUF_A_POOL_CHARGED },
	};
	struct nl_row row[LINES];
	struct nl nl;
	int i, nr;
	size_t c;

	if (nl_open(&nl))
		return;
	nr = nl_dump(&nl, FBUF_CMD_POOL_GET, row, LINES);
	nl_close(&nl);
	fprintf(to, "  pools: %d\n", nr);
	for (i = 0; i < nr && i < LINES; i++) {
		fprintf(to, "  pool");
		for (c = 0; c < sizeof(column) / sizeof(*column); c++)
			fprintf(to, "%s %llu %s", c > 1 ? "," : "",
				(unsigned long long)row[i].val[column[c].attr],
				column[c].name);
		fprintf(to, "\n");
	}
}

/* The sockets of a table that are not in TIME-WAIT. */
static void table(FILE *to, const char *path)
{
	FILE *from = fopen(path, "re");
	unsigned int state;
	char line[256];

	while (from && fgets(line, sizeof(line), from)) {
		if (sscanf(line, "%*s %*s %*s %x", &state) == 1 &&
		    state != TCP_TIME_WAIT)
			fprintf(to, "  %s", line);
	}
	if (from)
		fclose(from);
}

/* In all namespaces that have a name. */
static void tables(FILE *to)
{
	static const char * const where[] = {
		"/run/netns/left", "/run/netns/right", "/proc/1/ns/net",
	};
	size_t i;

	for (i = 0; i < sizeof(where) / sizeof(*where); i++) {
		int ns = open(where[i], O_RDONLY | O_CLOEXEC);

		if (ns < 0)
			continue;
		setns(ns, CLONE_NEWNET);
		close(ns);
		fprintf(to, "  TCP in %s, as in /proc/net/tcp:\n", where[i]);
		table(to, "/proc/thread-self/net/tcp");
		table(to, "/proc/thread-self/net/tcp6");
	}
}

unsigned int left_orphans(void)
{
	FILE *from = fopen("/proc/net/sockstat", "re");
	unsigned int nr = 0;
	char line[256];

	while (from && fgets(line, sizeof(line), from) &&
	       sscanf(line, "TCP: inuse %*u orphan %u", &nr) != 1)
		;
	if (from)
		fclose(from);
	return nr;
}

void left_show(FILE *to)
{
	show_processes(to);
	show_pools(to);
	tables(to);
	fprintf(to, "  TCP without a process, in all namespaces: %u\n", left_orphans());
}
