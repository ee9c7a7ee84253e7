// SPDX-License-Identifier: GPL-2.0
/*
 * Page faults of a mapped pool with each allocation failing in turn. The kernel
 * has the access tried again, so that it must work in the end, as if nothing had
 * been; unless the buffer's own memory had gone, which SIGBUS tells. And events
 * of which one is lost so.
 */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/fbuf_netlink.h>

#include "kselftest_harness.h"
#include "../common/nl.h"
#include "../common/util.h"
#include "inject.h"

#define BUF_SIZE	65536U
#define NR_BUFS		4U
#define WORK_FAULTS	8U	/* more than an event has allocations */
#define STUCK_MS	"/sys/module/fbuf/parameters/stuck_ms"
#define FIRST		(BUF_SIZE / 2)	/* the byte that is touched */

static sigjmp_buf on_sigbus;

static void sigbus(int sig)
{
	siglongjmp(on_sigbus, 1);
}

/* What came of a touch. */
struct touch {
	bool taken;	/* the fault came */
	bool sigbus;
};

/* Touches a byte with the n-th allocation failing; a write writes 1 more. */
static struct touch touch(__u8 *at, bool write, unsigned int n)
{
	static struct touch t;

	t.sigbus = false;
	nth_set(n);
	if (sigsetjmp(on_sigbus, 1))
		t.sigbus = true;
	else if (write)
		__atomic_add_fetch(at, 1, __ATOMIC_RELAXED);
	else
		__atomic_load_n(at, __ATOMIC_RELAXED);
	t.taken = nth_taken();
	return t;
}

FIXTURE(fault)
{
	struct pool pool;
	__u64 name;
	__u8 *at;
};

FIXTURE_VARIANT(fault)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(fault, plain) { };

FIXTURE_VARIANT_ADD(fault, secured)
{
	.flags = FBUF_POOL_SECURED,
};

FIXTURE_VARIANT_ADD(fault, snapshot)
{
	.flags = FBUF_POOL_SNAPSHOT,
};

FIXTURE_SETUP(fault)
{
	if (!nth_ready())
		SKIP(return, "this kernel injects no faults");
	signal(SIGBUS, sigbus);
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     variant->flags));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &self->name, 1));
	pattern_fill(buf_addr(&self->pool, self->name), 1, 0, BUF_SIZE);
	self->at = buf_addr(&self->pool, self->name) + FIRST;
}

FIXTURE_TEARDOWN(fault)
{
	pool_unmake(&self->pool);
}

/* Maps the pool anew, so that there is something to fault in. */
static bool remap(struct _test_data_fault *self)
{
	munmap(self->pool.map, self->pool.size);
	if (pool_map(&self->pool, self->pool.fd, PROT_READ | PROT_WRITE))
		return false;
	self->at = buf_addr(&self->pool, self->name) + FIRST;
	return true;
}

/* The charge is the pool's size again, once nothing is in flight. */
static bool charge_settles(const struct pool *pool)
{
	struct fbuf_info info;
	__u64 name;

	/* ALLOC gives up what snapshots left. */
	return wait_for(pool_alloc(pool->fd, &name, 1) == 1 &&
			pool_free(pool->fd, &name, 1) == 1 &&
			!pool_info(pool->fd, &info) &&
			info.charged == info.pool_size, DEADLINE_MS);
}

static void tell(const char *what, unsigned int n)
{
	printf("# %s: %u faults\n", what, n - 1);
}

TEST_F(fault, read)
{
	struct touch t;
	unsigned int n = 0;

	do {
		ASSERT_TRUE(remap(self));
		t = touch(self->at, false, ++n);
		ASSERT_FALSE(t.sigbus);
		ASSERT_EQ(-1, pattern_differs(buf_addr(&self->pool, self->name),
					      1, 0, BUF_SIZE));
	} while (t.taken);
	EXPECT_LT(1, n);
	tell("read", n);
}

TEST_F(fault, write)
{
	struct touch t;
	unsigned int n = 0;
	__u8 was;

	do {
		ASSERT_TRUE(remap(self));
		was = pattern_byte(1, FIRST) + n;
		t = touch(self->at, true, ++n);
		ASSERT_FALSE(t.sigbus);
		ASSERT_EQ((__u8)(was + 1), *self->at);
	} while (t.taken);
	EXPECT_LT(1, n);
	tell("write", n);
}

/* The peer gets what was sent, the writer a copy, and neither is charged twice. */
TEST_F(fault, snapshot_in_flight)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->name, 0, BUF_SIZE);
	unsigned int n = 0;
	struct touch t;
	__u8 *got, was;
	int sock[2];

	if (variant->flags != FBUF_POOL_SNAPSHOT)
		SKIP(return, "of snapshots alone");
	got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, got);
	do {
		/* Packets of the socket before may linger, and do not matter. */
		ASSERT_EQ(0, sock_pair(AF_UNIX, SOCK_STREAM, sock));
		was = *self->at;
		ASSERT_EQ((ssize_t)BUF_SIZE,
			  pool_send(self->pool.fd, sock[0], &seg, 1, 0, 0,
				    NULL));
		t = touch(self->at, true, ++n);
		ASSERT_FALSE(t.sigbus);
		ASSERT_EQ((__u8)(was + 1), *self->at);
		ASSERT_EQ((ssize_t)BUF_SIZE, read_full(sock[1], got, BUF_SIZE));
		ASSERT_EQ(was, got[FIRST]);
		close(sock[0]);
		close(sock[1]);
		ASSERT_TRUE(charge_settles(&self->pool));
	} while (t.taken);
	EXPECT_LT(1, n);
	tell("snapshot", n);
	free(got);
}

/* The memory of a free buffer has gone: there may be none to come back. */
TEST_F(fault, bare)
{
	struct fbuf_info info;
	unsigned int n = 0;
	struct touch t;
	FILE *f;

	ASSERT_EQ(1, pool_free(self->pool.fd, &self->name, 1));
	do {
		f = fopen("/proc/sys/vm/drop_caches", "w");
		ASSERT_NE(NULL, f);
		fputs("2\n", f);
		fclose(f);
		ASSERT_EQ(0, pool_info(self->pool.fd, &info));
		ASSERT_GT(info.pool_size, info.resident);
		t = touch(self->at, false, ++n);
		if (t.sigbus) {
			ASSERT_TRUE(t.taken);
			continue;
		}
		ASSERT_EQ(0, *self->at);
	} while (t.taken);
	EXPECT_LT(1, n);
	ASSERT_TRUE(charge_settles(&self->pool));
	tell("bare", n);
}

/* An ALLOC of which listeners are told asks for no memory itself. */
TEST(event)
{
	unsigned int n = 0;
	__u64 name, none;
	struct nl_row row;
	struct pool pool;
	struct nl nl;

	if (!nth_ready())
		SKIP(return, "this kernel injects no faults");
	ASSERT_EQ(0, pool_make(&pool, BUF_SIZE, 1));
	ASSERT_EQ(0, nl_open(&nl));
	ASSERT_EQ(0, nl_join(&nl));
	/* Whoever joins makes a request, to begin. */
	ASSERT_LE(0, nl_dump(&nl, FBUF_CMD_POOL_GET, &row, 1));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	do {
		nth_set(++n);
		pool_alloc(pool.fd, &none, 1);
	} while (nth_taken());
	/* What could fail is to copy what the caller asks for. */
	EXPECT_EQ(2, n);
	ASSERT_EQ(0, nl_next(&nl, &row, DEADLINE_MS));
	EXPECT_EQ(FBUF_CMD_EXHAUSTED_NTF, row.cmd);
	nl_close(&nl);
	pool_unmake(&pool);
}

/* Has the n-th allocation of each thread that does our work fail; 0: none. */
static void workers_fail(unsigned int n)
{
	DIR *dir = opendir("/proc");
	char path[64], name[16] = "";
	struct dirent *d;
	FILE *f;

	while (dir && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%.20s/comm", d->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (!fgets(name, sizeof(name), f))
			name[0] = 0;
		fclose(f);
		if (strncmp(name, "kworker/u", 9))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/task/%.20s/fail-nth",
			 d->d_name, d->d_name);
		snprintf(name, sizeof(name), "%u", n);
		file_put(path, name);
	}
	if (dir)
		closedir(dir);
}

/* Waits for an event, or to be told that one was lost: 1; or for neither: -1. */
static int is_lost(struct nl *nl, __u8 cmd)
{
	struct nl_row row;
	int err;

	do {
		err = nl_next(nl, &row, DEADLINE_MS);
	} while (!err && row.cmd != cmd);
	return err == -ENOBUFS ? 1 : err ? -1 : 0;
}

FIXTURE(work)
{
	struct nl events;
	struct nl nl;
	struct pool pool;
	int sock[2];
};

FIXTURE_SETUP(work)
{
	struct nl_row row;

	if (!nth_ready())
		SKIP(return, "this kernel injects no faults");
	ASSERT_EQ(0, nl_open(&self->nl));
	ASSERT_EQ(0, nl_open(&self->events));
	ASSERT_EQ(0, nl_join(&self->events));
	ASSERT_LE(0, nl_dump(&self->nl, FBUF_CMD_POOL_GET, &row, 1));
	ASSERT_EQ(0, file_put(STUCK_MS, "50"));
}

FIXTURE_TEARDOWN(work)
{
	workers_fail(0);
	file_put(STUCK_MS, "10000");
	nl_close(&self->events);
	nl_close(&self->nl);
}

/* A pool of which a buffer is in flight. */
static bool work_begin(struct _test_data_work *self)
{
	struct fbuf_seg seg;
	__u64 name;

	if (sock_pair(AF_UNIX, SOCK_STREAM, self->sock) ||
	    pool_make(&self->pool, BUF_SIZE, 1) ||
	    pool_alloc(self->pool.fd, &name, 1) != 1)
		return false;
	seg = buf_seg(&self->pool, name, 0, BUF_SIZE);
	return pool_send(self->pool.fd, self->sock[0], &seg, 1, 0, 0, NULL) > 0;
}

/* Work queues tell of all events; and nothing is left of a pool that is gone. */
TEST_F_TIMEOUT(work, events, 120)
{
	int full, stuck, gone, lost_full = 0, lost_stuck = 0, lost_gone = 0;
	struct nl_row row;
	unsigned int i, n;
	__u64 none;

	/* Other work may take a fault: twice each. */
	for (i = 0; i < 2 * WORK_FAULTS; i++) {
		n = 1 + i / 2;
		ASSERT_TRUE(work_begin(self));
		workers_fail(n);
		ASSERT_EQ(-ENOBUFS, pool_alloc(self->pool.fd, &none, 1));
		full = is_lost(&self->events, FBUF_CMD_EXHAUSTED_NTF);
		workers_fail(0);
		ASSERT_LE(0, full);
		lost_full += full;

		workers_fail(n);
		stuck = is_lost(&self->events, FBUF_CMD_STUCK_NTF);
		workers_fail(0);
		ASSERT_LE(0, stuck);
		lost_stuck += stuck;

		pool_unmake(&self->pool);
		workers_fail(n);
		close(self->sock[0]);
		close(self->sock[1]);
		gone = is_lost(&self->events, FBUF_CMD_DESTROYED_NTF);
		workers_fail(0);
		ASSERT_LE(0, gone);
		lost_gone += gone;
		/* The work has yet to end. */
		ASSERT_TRUE(wait_for(!nl_user(&self->nl, getuid(), &row) &&
				     !row.val[FBUF_A_LIMIT_POOLS],
				     DEADLINE_MS));
		ASSERT_EQ(0, row.val[FBUF_A_LIMIT_CHARGED]);
	}
	EXPECT_LT(0, lost_full);
	EXPECT_LT(0, lost_stuck);
	EXPECT_LT(0, lost_gone);
	printf("# of %u events each %d, %d and %d were lost\n", i, lost_full,
	       lost_stuck, lost_gone);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
