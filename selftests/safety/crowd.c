// SPDX-License-Identifier: GPL-2.0
/*
 * All that is done with a pool, at once, for a while: two send the same buffers, one
 * takes buffers, writes, sends, and gives them back, one looks at the pool. The kernel
 * that looks for data races sees one access in some hundreds: it wants many.
 */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/fbuf_netlink.h>

#include "kselftest_harness.h"
#include "nl.h"
#include "util.h"

#define BUF_SIZE	((unsigned int)getpagesize())
#define NR_BUFS		64U
#define NR_SHARED	16U
#define MESSAGE		1000U
#define SEED		7
#define LAST_MS		500

FIXTURE(pool)
{
	struct pool pool;
	__u64 shared[NR_SHARED];	/* held throughout, and never written */
	bool stop;
	unsigned int errors;
};

FIXTURE_VARIANT(pool)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(pool, volatile_pool)
{
	.flags = 0,
};

FIXTURE_VARIANT_ADD(pool, snapshot)
{
	.flags = FBUF_POOL_SNAPSHOT,
};

FIXTURE_VARIANT_ADD(pool, secured)
{
	.flags = FBUF_POOL_SECURED,
};

FIXTURE_SETUP(pool)
{
	unsigned int i;

	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     variant->flags));
	ASSERT_EQ((int)NR_SHARED, pool_alloc(self->pool.fd, self->shared,
					     NR_SHARED));
	for (i = 0; i < NR_SHARED; i++)
		pattern_fill(buf_addr(&self->pool, self->shared[i]), SEED, 0,
			     BUF_SIZE);
}

FIXTURE_TEARDOWN(pool)
{
	pool_unmake(&self->pool);
}

/* One of the crowd; @rounds is how often it did what it does. */
struct actor {
	struct _test_data_pool *self;
	pthread_t thread;
	int sock[2];
	unsigned long rounds;
};

static bool stopped(const struct actor *a)
{
	return __atomic_load_n(&a->self->stop, __ATOMIC_ACQUIRE);
}

static void wrong(struct actor *a)
{
	__atomic_add_fetch(&a->self->errors, 1, __ATOMIC_SEQ_CST);
}

/* A part of a buffer goes through the actor's own socket pair. */
static void through(struct actor *a, __u64 name, size_t offset)
{
	struct fbuf_seg seg = buf_seg(&a->self->pool, name, offset, MESSAGE);
	__u8 got[MESSAGE];

	if (pool_send(a->self->pool.fd, a->sock[0], &seg, 1, 0, 0, NULL) !=
	    MESSAGE ||
	    recv(a->sock[1], got, sizeof(got), 0) != MESSAGE ||
	    pattern_differs(got, SEED, offset, MESSAGE) >= 0)
		wrong(a);
}

static void *send_run(void *arg)
{
	struct actor *a = arg;

	for (; !stopped(a); a->rounds++)
		through(a, a->self->shared[a->rounds % NR_SHARED],
			a->rounds % (BUF_SIZE - MESSAGE));
	return NULL;
}

static void *alloc_run(void *arg)
{
	struct actor *a = arg;
	__u64 names[4];
	int nr;

	for (; !stopped(a); a->rounds++) {
		nr = pool_alloc(a->self->pool.fd, names, ARRAY_SIZE(names));
		if (nr == -EAGAIN)
			continue;
		if (nr < 1) {
			wrong(a);
			break;
		}
		pattern_fill(buf_addr(&a->self->pool, names[0]), SEED, 0,
			     BUF_SIZE);
		through(a, names[0], 0);
		memset(buf_addr(&a->self->pool, names[0]), 0, BUF_SIZE);
		if (pool_free(a->self->pool.fd, names, nr) != nr)
			wrong(a);
	}
	return NULL;
}

static void *look_run(void *arg)
{
	struct actor *a = arg;
	struct fbuf_info info;
	struct nl nl;

	if (nl_open(&nl)) {
		wrong(a);
		return NULL;
	}
	for (; !stopped(a); a->rounds++) {
		if (nl_dump(&nl, FBUF_CMD_POOL_GET, NULL, 0) < 1 ||
		    nl_dump(&nl, FBUF_CMD_STATS_GET, NULL, 0) < 1 ||
		    pool_info(a->self->pool.fd, &info) ||
		    info.nr_held < NR_SHARED)
			wrong(a);
	}
	nl_close(&nl);
	return NULL;
}

TEST_F(pool, all_at_once)
{
	static void *(*const run[])(void *) = {
		send_run, send_run, alloc_run, look_run,
	};
	struct actor a[ARRAY_SIZE(run)] = { 0 };
	struct fbuf_info info;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(a); i++) {
		a[i].self = self;
		ASSERT_EQ(0, udp_pair(AF_INET, a[i].sock));
		ASSERT_EQ(0, pthread_create(&a[i].thread, NULL, run[i], &a[i]));
	}
	usleep(LAST_MS * 1000 * slower());
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	for (i = 0; i < ARRAY_SIZE(a); i++) {
		pthread_join(a[i].thread, NULL);
		close(a[i].sock[0]);
		close(a[i].sock[1]);
		EXPECT_LT(0UL, a[i].rounds);
	}
	EXPECT_EQ(0U, self->errors);
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(NR_SHARED, info.nr_held);
	EXPECT_LE(a[0].rounds + a[1].rounds, info.sends);
	ASSERT_EQ((int)NR_SHARED, pool_free(self->pool.fd, self->shared,
					    NR_SHARED));
	EXPECT_EQ(0, pool_wait_idle(self->pool.fd, NR_BUFS, DEADLINE_MS));
	TH_LOG("%lu and %lu sends, %lu turns, %lu looks", a[0].rounds,
	       a[1].rounds, a[2].rounds, a[3].rounds);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
