// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What was done. It is told at the end, and on SIGUSR2 unless the program has a
 * use for that itself, to where standard error was at the start, or to a file.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fds.h"
#include "next.h"
#include "run.h"
#include "stats.h"

struct stats stats;
static bool talkative;
static bool counts;
static char name[32];
static unsigned int price;	/* in percent; 0: not known */

#define LINE_MAX_BYTES	256

static void tell(int fd, const char *line, int len)
{
	if (len >= LINE_MAX_BYTES)
		len = LINE_MAX_BYTES - 1;
	if (next.write(fd, line, len) < 0)
		return;	/* nobody to tell it to */
}

void stats_say(const char *words, int err)
{
	char line[LINE_MAX_BYTES];
	int saved = errno, fd = fds_get(FD_TELL);

	if (fd < 0 || !talkative || run_filtered)
		return;
	tell(fd, line,
	     snprintf(line, sizeof(line), "fbuf run: %s[%d]: %s%s%s.\n", name,
		      (int)getpid(), words, err ? ": " : "",
		      err ? strerrordesc_np(err) : ""));
	errno = saved;
}

static unsigned long long get(const uint64_t *what)
{
	return __atomic_load_n(what, __ATOMIC_RELAXED);
}

static void tell_copied(int fd, char *line)
{
	static const char * const why[NR_WHY] = {
		[WHY_UNPAID] = "protection would have cost more",
		[WHY_CROWDED] = "others keep too much in flight",
		[WHY_SOCKET] = "not a TCP socket, or not a socket",
		[WHY_BUSY] = "somebody else uses the memory",
		[WHY_LIMIT] = "a limit, or no memory, for snapshots",
		[WHY_OTHER] = "a flag, or an error",
	};
	int i;

	for (i = 0; i < NR_WHY; i++) {
		if (get(&stats.copied[i]))
			tell(fd, line,
			     snprintf(line, LINE_MAX_BYTES,
				      "fbuf run:   copied %llu bytes: %s\n",
				      get(&stats.copied[i]), why[i]));
	}
}

/* May be called in a signal handler. */
static void stats_tell(void)
{
	char line[LINE_MAX_BYTES];
	int saved = errno, fd = fds_get(FD_TELL);

	if (fd < 0 || !counts || run_filtered)
		return;
	tell(fd, line,
	     snprintf(line, sizeof(line),
		      "fbuf run: %s[%d]: sent %llu bytes without a copy, by %llu calls, and %llu beside them\n",
		      name, (int)getpid(), get(&stats.bytes), get(&stats.sends),
		      get(&stats.beside)));
	tell_copied(fd, line);
	if (price)
		tell(fd, line,
		     snprintf(line, sizeof(line),
			      "fbuf run:   to protect, and to write after it, takes %u %% of a copy here\n",
			      price));
	tell(fd, line,
	     snprintf(line, sizeof(line),
		      "fbuf run:   protected %llu buffers, %llu of them after a snapshot; at most %llu bytes in use; no room %llu times\n",
		      get(&stats.protects), get(&stats.snapshots),
		      get(&stats.peak), get(&stats.full)));
	errno = saved;
}

void stats_price(unsigned int percent)
{
	price = percent;
}

static void on_signal(int sig)
{
	(void)sig;
	stats_tell();
}

/* Ask for SIGUSR2, where nobody has a use for it. */
static void ask_for_signal(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct sigaction was;

	if (!sigaction(SIGUSR2, NULL, &was) && was.sa_handler == SIG_DFL)
		sigaction(SIGUSR2, &sa, NULL);
}

void stats_start(const char *to, bool verbose)
{
	int fd;

	snprintf(name, sizeof(name), "%s", program_invocation_short_name);
	talkative = verbose || to;
	if (!talkative)
		return;
	counts = to;
	/* As it is now: later that number may be a file of the program's. */
	if (!to || !strcmp(to, "1"))
		fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		fd = open(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	fds_set(FD_TELL, fd);
	if (counts)
		ask_for_signal();
}

/* Programs that end by exit(), and those that end in a hurry. */
__attribute__((__destructor__)) static void at_end(void)
{
	stats_tell();
}

EXPORT __attribute__((__noreturn__)) void _exit(int status)
{
	if (!run_filtered && getpid() == run_owner)
		stats_tell();
	next.exit_now(status);
	__builtin_unreachable();
}
