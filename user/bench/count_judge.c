// SPDX-License-Identifier: GPL-2.0
/* fbuf compare --count: what the figures say, and whether they can be right. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "count.h"

/* Of a byte for each byte, or a call: less is no difference. */
#define SLACK		0.05

static void because(struct count_row *r, const char *fmt, ...) __printf(2, 3);
static void because(struct count_row *r, const char *fmt, ...)
{
	va_list ap;

	if (r->nr_why == WHY_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(r->why[r->nr_why++], WHY_LEN, fmt, ap);
	va_end(ap);
}

static bool differs(double a, double b)
{
	return !isnan(a) && !isnan(b) && fabs(a - b) > SLACK;
}

static bool is(const struct count_row *r, const char *beginning)
{
	return !strncmp(r->mechanism, beginning, strlen(beginning));
}

static bool over(const struct count_row *r, const char *destination)
{
	return !strcmp(r->destination, destination);
}

static void judge_copies(struct count_row *r)
{
	double send = r->seen.copied[COUNT_SEND] / r->size;
	double other = r->seen.copied[COUNT_OTHER] / r->size;
	double receive = r->seen.copied[COUNT_RECEIVE] / r->size;
	double taught = r->taught.cpu_copies;
	double cipher = r->seen.encrypted / r->size;

	if (differs(send + other, taught) && send + other < taught) {
		if (cipher > 1 - SLACK)
			because(r,
				"the cipher reads the program's own pages: it takes the place of the copy");
		else
			because(r, "%.2f copies fewer than taught: no probe saw them",
				taught - send - other);
	} else if (differs(send + other, taught)) {
		if (other > SLACK && r->seen.copier &&
		    !strcmp(r->seen.copier, "skb_copy_ubufs"))
			because(r,
				"a local receiver could keep the program's pages for ever: so the kernel copies them (skb_copy_ubufs)");
		else
			because(r, "the CPU copies %.2f for each byte (%s)",
				send + other,
				r->seen.copier ?: "no single function");
	}
	if (taught < SLACK && send + other < SLACK && receive > 1 - SLACK &&
	    (over(r, "loopback") || over(r, "veth")))
		because(r,
			"nothing is copied on the way out, and all of it on the way in, when the receiver reads");
	if (cipher > SLACK)
		because(r,
			"the cipher goes over every byte: that is no copy, but as much work");
}

static void judge_calls(struct count_row *r)
{
	double calls = r->seen.calls, taught = r->taught.calls;

	if (!differs(calls, taught))
		return;
	if (calls < taught && is(r, "mmap-write-once"))
		because(r, "the file is mapped once, and not for each transfer");
	else if (is(r, "splice") && calls >= 2)
		because(r,
			"splice is two calls and not one: from the file to a pipe, from the pipe to the socket");
	else if (is(r, "mmap-write") && calls > 2 + SLACK)
		because(r, "munmap is a call as well");
	else if (is(r, "msg-zerocopy"))
		because(r,
			"to wait for the notice that memory may be used again, and to read it, takes poll and recvmsg");
	else if (calls > taught && r->waits > 0.5)
		because(r, "the socket took the message in several parts, and the sender waited");
	else if (calls > taught)
		because(r, "%.1f calls: the message was taken in several parts",
			calls);
	else
		because(r, "%.1f calls fewer than taught", taught - calls);
}

static void judge_faults(struct count_row *r)
{
	if (r->seen.user_faults > 0.5)
		because(r, "%.0f page faults from user mode are crossings too",
			r->seen.user_faults);
	if (r->faults - r->seen.user_faults > 0.5)
		because(r, "%.0f page faults that nobody draws, inside the call that copies",
			r->faults - r->seen.user_faults);
}

static void judge_dma(struct count_row *r)
{
	double dma = (r->seen.dma_in + r->seen.dma_out) / r->size;

	if (!differs(dma, r->taught.dma_copies))
		return;
	if (!over(r, "nic") && r->seen.dma_out < SLACK * r->size)
		because(r, "%s is no device: nothing goes out by DMA",
			over(r, "veth") ? "a veth" : "loopback");
	else if (dma > r->taught.dma_copies)
		because(r,
			"%.2f bytes by DMA for each byte: headers, what is read ahead, or others at work",
			dma);
	else
		because(r, "%.2f bytes by DMA for each byte: some was in the page cache",
			dma);
}

static void judge_switches(struct count_row *r)
{
	if (r->waits > 0.5 && r->seen.dma_in > SLACK * r->size)
		because(r, "the sender waits for the disk (context switches)");
	else if (r->waits > 0.5)
		because(r, "the sender sleeps in its calls (context switches)");
	if (r->preempted > 0.5)
		because(r, "the receiver, woken, takes the sender's CPU (context switches)");
}

void judge_row(struct count_row *r)
{
	judge_copies(r);
	judge_calls(r);
	judge_faults(r);
	judge_dma(r);
	judge_switches(r);
}

/* NAN is not near anything. */
static bool near(const struct count_check *c, double got, double want)
{
	return fabs(got - want) <= c->slack;
}

bool check_is_right(const struct count_check *c)
{
	return near(c, c->send, c->want_send) &&
	       near(c, c->receive, c->want_receive) &&
	       near(c, c->other, c->want_other);
}

static bool right(const struct count_check *c, const char *who, double got,
		  double want)
{
	if (near(c, got, want))
		return true;
	tool_err("The probes miss something: of %s, %s, they count %.2f bytes copied for each byte, and it is %.2f (most in %s).",
		 c->name, who, got, want, c->copier ?: "none");
	return false;
}

bool judge_checks(const struct count_check *checks, unsigned int nr)
{
	bool all = nr > 0;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		const struct count_check *c = &checks[i];

		all &= right(c, "the sender", c->send, c->want_send);
		all &= right(c, "the receiver", c->receive, c->want_receive);
		all &= right(c, "the kernel between them", c->other,
			     c->want_other);
	}
	return all;
}
