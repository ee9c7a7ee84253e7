// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "inject.h"

/* Out of the way of what tests expect to be free. */
#define FD_FROM		700

/* A thread's own; a child has to open its own again. */
static __thread int nth_fd = -1;

static void nth_forget(void)
{
	if (nth_fd >= 0)
		close(nth_fd);
	nth_fd = -1;
}

__attribute__((constructor)) static void nth_init(void)
{
	pthread_atfork(NULL, NULL, nth_forget);
}

bool nth_ready(void)
{
	int fd;

	/* Some tests close all that they do not know. */
	if (nth_fd >= 0 && fcntl(nth_fd, F_GETFD) >= 0)
		return true;
	fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	nth_fd = fcntl(fd, F_DUPFD_CLOEXEC, FD_FROM);
	close(fd);
	return nth_fd >= 0;
}

void nth_set(unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	/* To write it is to copy, which may be what fails: then it is 0. */
	if (pwrite(nth_fd, text, len, 0) != len && n)
		perror("inject: fail-nth");
}

bool nth_taken(void)
{
	char text[16] = "";

	/* So may be to read it: then a fault was still to come. */
	if (pread(nth_fd, text, sizeof(text) - 1, 0) <= 0)
		return false;
	if (text[0] == '0')
		return true;
	nth_set(0);
	return false;
}
