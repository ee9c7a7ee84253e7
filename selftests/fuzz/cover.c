// SPDX-License-Identifier: GPL-2.0
/*
 * What code of the module a thread reaches, by KCOV, with which only the module is
 * built. A signal is a step from one point to another. Without KCOV all of
 * this does nothing.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kcov.h>

#include "fuzz.h"

#define KCOV_FILE	"/sys/kernel/debug/kcov"
#define KCOV_WORDS	(64UL << 10)

static unsigned long text_start(void)
{
	static unsigned long start;
	FILE *f;

	if (!start) {
		f = fopen("/sys/module/fbuf/sections/.text", "r");
		if (!f || fscanf(f, "%lx", &start) != 1)
			start = 1;
		if (f)
			fclose(f);
	}
	return start;
}

bool cover_usable(void)
{
	return !access(KCOV_FILE, R_OK | W_OK) && text_start() > 1;
}

/* By the process that runs programs, before it enables it in its thread. */
void cover_open(struct cover *c)
{
	c->buf = NULL;
	c->fd = open(KCOV_FILE, O_RDWR | O_CLOEXEC);
	if (c->fd < 0)
		return;
	if (ioctl(c->fd, KCOV_INIT_TRACE, KCOV_WORDS))
		return;
	c->buf = mmap(NULL, KCOV_WORDS * sizeof(long), PROT_READ | PROT_WRITE,
		      MAP_SHARED, c->fd, 0);
	if (c->buf == MAP_FAILED)
		c->buf = NULL;
}

void cover_enable(struct cover *c)
{
	if (c->buf && ioctl(c->fd, KCOV_ENABLE, KCOV_TRACE_PC))
		c->buf = NULL;
}

void cover_begin(struct cover *c)
{
	if (c->buf)
		__atomic_store_n(&c->buf[0], 0, __ATOMIC_RELAXED);
}

static bool test_and_set(__u8 *bits, __u32 i)
{
	bool was = bits[i / 8] & 1U << i % 8;

	bits[i / 8] |= 1U << i % 8;
	return was;
}

static void signal_seen(struct covered *all, struct reached *r, __u32 signal)
{
	if (r->seen[signal] == r->run)
		return;
	r->seen[signal] = r->run;
	if (!(all->signal[signal / 8] & 1U << signal % 8) &&
	    r->nr_new < ARRAY_LEN(r->new))
		r->new[r->nr_new++] = signal;
}

void cover_end(struct cover *c, struct covered *all, struct reached *r)
{
	unsigned long i, nr, start = text_start();
	__u32 last = 0;

	if (!c->buf)
		return;
	nr = __atomic_load_n(&c->buf[0], __ATOMIC_RELAXED);
	for (i = 1; i <= nr && i < KCOV_WORDS; i++) {
		unsigned long at = c->buf[i] - start;
		__u32 here;

		if (at >= TEXT_MAX)
			continue;
		if (!test_and_set(all->text, at))
			all->nr_points++;
		here = at * 2654435761U;
		signal_seen(all, r, (here ^ last >> 1) >> 14);
		last = here;
	}
}

void cover_next_run(struct reached *r)
{
	r->run++;
	r->nr_new = 0;
}

/* Whether the last run had all of them. */
bool cover_has(const struct reached *r, const __u32 *signals, unsigned int nr)
{
	while (nr--) {
		if (r->seen[signals[nr]] != r->run)
			return false;
	}
	return true;
}

void cover_keep(struct covered *all, const struct reached *r)
{
	unsigned int i;

	for (i = 0; i < r->nr_new; i++) {
		if (!test_and_set(all->signal, r->new[i]))
			all->nr_signals++;
	}
}
