// SPDX-License-Identifier: GPL-2.0
/* fbuf compare --count: what it says of figures. TAP out. */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../lib/test.h"
#include "count.h"

static bool judge(double send, double receive, double other)
{
	const struct count_check checks[] = {
		{ .name = "right", .send = 0, .receive = 1, .other = 1,
		  .want_receive = 1, .want_other = 1, .slack = 0.01 },
		{ .name = "tried", .send = send, .receive = receive,
		  .other = other, .want_send = 1, .want_receive = 1,
		  .slack = 0.01 },
	};

	return judge_checks(checks, ARRAY_SIZE(checks));
}

static void test_right(void)
{
	CHECK(judge(1, 1, 0));
	CHECK(judge(1.005, 0.995, 0.005));
}

/* Probes that see nothing, not all, or the same twice. */
static void test_missed(void)
{
	CHECK(!judge(0, 1, 0));
	CHECK(!judge(1, 0, 0));
	CHECK(!judge(0.98, 1, 0));
	CHECK(!judge(2, 1, 0));
	CHECK(!judge(1, 2, 0));
	CHECK(!judge(1, 1, 0.5));
	CHECK(!judge(NAN, 1, 0));
	CHECK(!judge_checks(NULL, 0));
}

#define SIZE	1000

static struct count_row row(const char *mechanism, const char *destination,
			    struct taught taught)
{
	return (struct count_row){
		.mechanism = mechanism, .source = "memory",
		.destination = destination, .size = SIZE, .measured = true,
		.taught = taught,
	};
}

static bool says(const struct count_row *r, const char *words)
{
	unsigned int i;

	for (i = 0; i < r->nr_why; i++) {
		if (strstr(r->why[i], words))
			return true;
	}
	return false;
}

static void test_as_taught(void)
{
	struct count_row r = row("write", "nic", (struct taught){ 1, 1, 1, 2 });

	r.seen.copied[COUNT_SEND] = SIZE;
	r.seen.dma_out = SIZE;
	r.seen.calls = 1;
	judge_row(&r);
	CHECK(!r.nr_why);
}

static void test_copies(void)
{
	struct count_row r = row("msg-zerocopy", "loopback",
				 (struct taught){ 0, 0, 1, 2 });

	r.seen.calls = 1;
	r.seen.copied[COUNT_OTHER] = SIZE;
	r.seen.copier = "skb_copy_ubufs";
	judge_row(&r);
	CHECK(says(&r, "keep the program's pages"));

	r = row("sendfile", "loopback", (struct taught){ 0, 0, 1, 2 });
	r.seen.calls = 1;
	r.seen.copied[COUNT_RECEIVE] = SIZE;
	judge_row(&r);
	CHECK(says(&r, "all of it on the way in"));
	CHECK(r.nr_why == 1);

	/* The cipher's work is the reason only where it was seen. */
	r = row("write", "ktls", (struct taught){ 1, 0, 1, 2 });
	r.seen.calls = 1;
	judge_row(&r);
	CHECK(says(&r, "no probe saw"));
	r.nr_why = 0;
	r.seen.encrypted = SIZE;
	judge_row(&r);
	CHECK(says(&r, "takes the place of the copy"));
}

static void test_calls(void)
{
	struct count_row r = row("splice", "loopback",
				 (struct taught){ 0, 0, 1, 2 });

	r.seen.calls = 2;
	judge_row(&r);
	CHECK(says(&r, "two calls and not one"));

	r = row("write", "loopback", (struct taught){ 0, 0, 1, 2 });
	r.seen.calls = 2;
	r.waits = 3;
	judge_row(&r);
	CHECK(says(&r, "several parts, and the sender waited"));

	/* What is not taught is no difference. */
	r = row("cow", "loopback", (struct taught){ 0, 0, NAN, NAN });
	r.seen.calls = 2;
	judge_row(&r);
	CHECK(!r.nr_why);
}

static void test_faults(void)
{
	struct count_row r = row("mmap-write", "loopback",
				 (struct taught){ 0, 0, 3, 4 });

	r.seen.calls = 3;
	r.faults = 16;
	judge_row(&r);
	CHECK(says(&r, "16 page faults that nobody draws"));
	r.nr_why = 0;
	r.seen.user_faults = 16;
	judge_row(&r);
	CHECK(says(&r, "16 page faults from user mode"));
	CHECK(!says(&r, "nobody draws"));
}

static const struct test tests[] = {
	{ "count: counts that are right pass", test_right },
	{ "count: copies that are missed, or seen twice, do not", test_missed },
	{ "count: what is as taught needs no reason", test_as_taught },
	{ "count: copies have their reason", test_copies },
	{ "count: calls have their reason", test_calls },
	{ "count: page faults have their reason", test_faults },
};

int main(void)
{
	return run_tests(tests, ARRAY_SIZE(tests));
}
