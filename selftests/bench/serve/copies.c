// SPDX-License-Identifier: GPL-2.0
/*
 * copies PID COMMAND...: what the CPU copies for a process while a command runs, by the
 * probes of fbuf compare --count, once these have counted what is known. Writes the
 * members of a JSON object, without braces.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "../../../user/bench/count.h"
#include "tool.h"

/* Its pid, once it has ended well, or -1. */
static pid_t run(char **argv)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return -1;
	return pid;
}

static int count(pid_t pid, char **argv)
{
	json_t *checks = json_array();
	struct counted c;
	pid_t client;

	if (!count_self_check(checks))
		return 1;
	json_decref(checks);
	probes_clear();
	client = run(argv);
	if (client < 0) {
		tool_err("%s failed.", argv[0]);
		return 1;
	}
	if (!probes_read(pid, client, &c))
		return 1;
	printf("\"proxy\": %.0f, \"client\": %.0f, \"softirq\": %.0f, \"calls\": %.0f\n",
	       c.copied[COUNT_SEND], c.copied[COUNT_RECEIVE],
	       c.copied[COUNT_OTHER], c.calls);
	return 0;
}

int main(int argc, char **argv)
{
	int ret;

	if (argc < 3 || atoi(argv[1]) <= 0) {
		fprintf(stderr, "usage: copies PID COMMAND...\n");
		return 2;
	}
	if (!probes_open())
		return 1;
	ret = count(atoi(argv[1]), argv + 2);
	probes_close();
	return ret;
}
