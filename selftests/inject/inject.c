// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "inject.h"

/* Every n up to this one, then one in NTH_STEP: those are of loops. */
#define NTH_ALL		128U
#define NTH_STEP	32U

/* Of each kind that many calls are tried, then one in CALLS_STEP, and so on. */
#define CALLS_ALL	64U
#define CALLS_STEP	4U

/*
 * What is known of each kind. In a file: each test case is a process of its own, and
 * scripts run many programs.
 */
static struct {
	unsigned int next_nth;	/* where the next goes on, one having survived */
	unsigned int nr_calls;
} *kinds;
/* No faults for what the injection itself calls. */
static __thread bool inside;
static bool stopped;

__attribute__((constructor)) static void inject_init(void)
{
	const size_t size = KIND_NR * sizeof(*kinds);
	const char *path = getenv("INJECT_KINDS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map;

	if (fd < 0)
		return;
	if (ftruncate(fd, size))
		perror("inject: kinds");
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		kinds = map;
	close(fd);
}

/* A line for each call: its name, and for each n what came of it. */
struct line {
	char text[2048];
	size_t len;
};

static void line_write(const char *text, size_t len)
{
	const char *path = getenv("INJECT_LOG");
	int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC,
			     0666) : -1;

	if (fd < 0)
		return;
	if (write(fd, text, len) != (ssize_t)len)
		perror("inject: log");
	close(fd);
}

__attribute__((format(printf, 2, 3)))
static void line_add(struct line *line, const char *format, ...)
{
	va_list ap;

	if (line->len >= sizeof(line->text) - 64)
		return;
	va_start(ap, format);
	line->len += vsnprintf(line->text + line->len,
			       sizeof(line->text) - line->len, format, ap);
	va_end(ap);
}

static void line_point(struct line *line, const struct call *c, unsigned int n,
		       const char *result)
{
	line_add(line, " %u=%s", n, result);
	/* The same call goes on in the next line. */
	if (line->len >= sizeof(line->text) - 128) {
		line_add(line, " +\n");
		line_write(line->text, line->len);
		line->len = 0;
		line_add(line, "%s", c->name);
	}
}

void inject_complain(const struct call *c, unsigned int n, const char *format,
		     ...)
{
	char text[512];
	va_list ap;
	int len;

	len = snprintf(text, sizeof(text), "WRONG %s n=%u: ", c->name, n);
	va_start(ap, format);
	len += vsnprintf(text + len, sizeof(text) - len, format, ap);
	va_end(ap);
	len += snprintf(text + len, sizeof(text) - len, "\n");
	line_write(text, len);
	fprintf(stderr, "# %s", text);
}

bool inject_expects(const struct call *c, long ret)
{
	const int *err;

	for (err = c->errnos; *err; err++) {
		if (ret == -*err)
			return true;
	}
	return false;
}

/* The memory may be no memory: that is for the call to find out. */
static void args_copy(struct call *c, bool back)
{
	struct iovec ours = { c->saved, c->size };
	struct iovec theirs = { c->args, c->size };
	ssize_t ret;

	if (!c->args)
		return;
	if (back)
		ret = process_vm_writev(getpid(), &ours, 1, &theirs, 1, 0);
	else
		ret = process_vm_readv(getpid(), &ours, 1, &theirs, 1, 0);
	if (ret != (ssize_t)c->size)
		c->args = NULL;
}

static unsigned int step(unsigned int n)
{
	return n < NTH_ALL ? 1 : n / NTH_STEP;
}

/* One fault: true if the test can be spared the call, and it be made again. */
static bool try_one(struct call *c, unsigned int n, const struct state *before,
		    struct line *line, long *ret, bool *taken)
{
	if (c->rehearse) {
		*ret = c->rehearse(c, n, taken);
	} else {
		nth_set(n);
		*ret = c->make(c);
		*taken = nth_taken();
	}
	if (!*taken)
		return false;
	if (inject_expects(c, *ret)) {
		line_point(line, c, n, strerrorname_np(-*ret));
		args_copy(c, true);
		state_check(before, c, n);
		return true;
	}
	if (*ret < 0) {
		/* What it says without a fault too, or the test will tell. */
		line_point(line, c, n, strerrorname_np(-*ret));
		return false;
	}
	line_point(line, c, n, "survived");
	if (c->rehearse)
		return true;
	if (!c->undo)
		return false;
	c->undo(c, *ret);
	args_copy(c, true);
	state_check(before, c, n);
	return true;
}

/*
 * A signal that ends a wait would have its frame for what cannot be written, which
 * kills: no call with a fault to come waits.
 */
static void no_wait(struct call *c)
{
	if (!c->args || !c->no_wait)
		return;
	memcpy(c->asked, c->saved, c->size);
	c->waits = c->no_wait(c->saved);
	if (c->waits)
		args_copy(c, true);
}

/* Back to what the test asked for, which may be to wait; but not what it was told. */
static long wait_now(struct call *c, long ret)
{
	unsigned char did[ARGS_MAX];
	size_t i;

	memcpy(did, c->saved, c->size);
	args_copy(c, false);
	for (i = 0; i < c->size; i++) {
		if (did[i] != c->asked[i])
			c->saved[i] = c->asked[i];
	}
	args_copy(c, true);
	if (ret == -EAGAIN || ret == -ETIMEDOUT)
		return c->make(c);
	return ret;
}

static long sweep(struct call *c)
{
	unsigned int n = kinds[c->kind].next_nth ?: 1;
	struct line line = { .len = 0 };
	struct state before;
	bool taken;
	long ret;

	line_add(&line, "%s", c->name);
	args_copy(c, false);
	if (c->spare && c->args && c->spare(c->saved))
		return c->make(c);
	no_wait(c);
	state_get(&before, c);
	while (try_one(c, n, &before, &line, &ret, &taken))
		n += step(n);
	if (c->waits)
		ret = wait_now(c, ret);
	if ((taken || c->waits) && c->finish && ret >= 0)
		ret = c->finish(c, ret);
	/* With the next such call, or from the start again. */
	kinds[c->kind].next_nth = taken ? n + step(n) : 1;
	line_add(&line, "\n");
	line_write(line.text, line.len);
	return c->rehearse ? c->make(c) : ret;
}

/*
 * Test cases begin with the same calls, and look for a change again and again: the
 * more calls there were of a kind, the fewer are tried. Which ones is not to follow
 * the order in which a test makes them.
 */
static bool is_chosen(unsigned int kind)
{
	unsigned int nr = __atomic_fetch_add(&kinds[kind].nr_calls, 1,
					     __ATOMIC_RELAXED);
	unsigned int one_in = 1;

	while (nr / one_in >= CALLS_ALL)
		one_in *= CALLS_STEP;
	return !((nr * 2654435761U >> 16) % one_in);
}

/* From now on the process does nothing but what it says itself. */
void inject_stop(void)
{
	stopped = true;
}

bool inject_off(void)
{
	return inside || stopped;
}

/* Returns as system calls do in the kernel; leaves errno alone. */
long inject(struct call *c)
{
	int saved = errno;
	long ret;

	if (inject_off() || !kinds || !is_chosen(c->kind) ||
	    !nth_ready()) {
		ret = c->make(c);
	} else {
		inside = true;
		ret = sweep(c);
		inside = false;
	}
	errno = saved;
	return ret;
}
