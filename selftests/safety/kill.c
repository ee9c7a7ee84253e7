// SPDX-License-Identifier: GPL-2.0
/*
 * Processes that are killed at any point of what they do with a pool: nothing
 * of them stays held, in flight or charged.
 *
 * With SLOWER > 1 there are fewer rounds.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "nl.h"
#include "util.h"

#define BUF_SIZE	16384U
#define NR_BUFS		16U
#define NR_ASIDE	3U	/* buffers that the parent holds all the while */
#define ROUNDS		200

/* Up to when, after its first turn, a child is killed. */
#define LIFE_US		3000

FIXTURE(kill)
{
	struct pool pool;
	struct ring ring;
	__u32 handle;
	__u64 aside[NR_ASIDE];
	int sock[2];	/* the child's to send to; anew in each round */
	struct tally *tally;
};

/* What the children came to, in memory that they share with us. */
struct tally {
	unsigned int turns;	/* that this one has begun */
	unsigned int did;	/* what the turn is for, of all of them */
	unsigned int wrong;	/* calls that came to what they must not */
	int first;		/* what the first of those returned */
};

/* What a child does, again and again, on a handle of its own. */
struct child {
	struct pool pool;
	struct ring ring;
	int sock;
	unsigned int turn;
	__u32 parent;
	const __u64 *aside;
	struct tally *tally;
};

FIXTURE_VARIANT(kill)
{
	void (*turn)(struct child *c);
};

static void did(struct child *c)
{
	__atomic_add_fetch(&c->tally->did, 1, __ATOMIC_RELEASE);
}

static void wrong(struct child *c, int ret)
{
	if (!__atomic_fetch_add(&c->tally->wrong, 1, __ATOMIC_RELEASE))
		c->tally->first = ret;
}

/* A call that is to return @want; what it @may return besides, or 0. */
static bool is(struct child *c, int ret, int want, int may)
{
	if (ret == want)
		return true;
	if (!may || ret != may)
		wrong(c, ret);
	return false;
}

/* Some of @count: the rest may be in flight, or held by others than us. */
static int get(struct child *c, __u64 *names, unsigned int count)
{
	int n = pool_alloc(c->pool.fd, names, count);

	if (n == -EAGAIN || n == -ENOBUFS)
		return 0;
	if (n <= 0)
		wrong(c, n);
	return n > 0 ? n : 0;
}

static void turn_alloc(struct child *c)
{
	__u64 names[4];
	int want = 1 + c->turn % 4;

	if (is(c, pool_alloc(c->pool.fd, names, want), want, 0) &&
	    is(c, pool_free(c->pool.fd, names, want), want, 0))
		did(c);
}

/* Dies with what it has. */
static void turn_alloc_only(struct child *c)
{
	__u64 name;

	if (!is(c, pool_alloc(c->pool.fd, &name, 1), 1, -ENOBUFS))
		return;
	buf_addr(&c->pool, name)[0] = c->turn;
	did(c);
}

static void turn_hold(struct child *c)
{
	int fd = c->pool.fd, n = 1 + c->turn % (NR_ASIDE - 1);

	if (is(c, pool_hold(fd, c->aside, NR_ASIDE), NR_ASIDE, 0) &&
	    is(c, pool_free(fd, c->aside, n), n, 0) &&
	    is(c, pool_free(fd, c->aside + n, NR_ASIDE - n), NR_ASIDE - n, 0))
		did(c);
}

/* The parent sends them back, as it gets them. */
static void turn_pass(struct child *c)
{
	struct fbuf_ring_entry e;
	struct fbuf_item item = { 0 };
	bool keep = c->turn % 2;

	if (get(c, &item.name, 1)) {
		if (is(c, pool_pass(c->pool.fd, c->parent,
				    keep ? FBUF_PASS_KEEP : 0, &item, 1), 1,
		       -EAGAIN))
			did(c);
		else
			keep = true;
		/* Of one that has come back by now, too: that is one hold. */
		if (keep)
			pool_free(c->pool.fd, &item.name, 1);
	}
	while (ring_next(&c->ring, &e))
		pool_free(c->pool.fd, &e.name, 1);
}

static ssize_t turn_send(struct child *c, __u32 flags, bool free)
{
	struct fbuf_seg seg[3];
	__u64 names[3];
	ssize_t ret;
	int i, n;

	n = get(c, names, 3);
	if (!n)
		return 0;
	for (i = 0; i < n; i++)
		seg[i] = buf_seg(&c->pool, names[i], 0, BUF_SIZE);
	ret = pool_send(c->pool.fd, c->sock, seg, n, flags, 0, NULL);
	if (free)
		is(c, pool_free(c->pool.fd, names, n), n, 0);
	if (ret > 0)
		did(c);
	else if (ret != -EAGAIN || !(flags & FBUF_SEND_DONTWAIT))
		wrong(c, ret);
	return ret;
}

/* Before long the socket is full, and the send waits in the middle. */
static void turn_send_blocked(struct child *c)
{
	turn_send(c, 0, true);
}

static void turn_send_nonblock(struct child *c)
{
	turn_send(c, FBUF_SEND_DONTWAIT | FBUF_SEND_NOTIFY, c->turn % 2);
}

static void turn_secure(struct child *c)
{
	__u64 names[3];

	if (is(c, pool_alloc(c->pool.fd, names, 3), 3, 0) &&
	    is(c, pool_secure(c->pool.fd, names, 3), 3, 0) &&
	    is(c, pool_free(c->pool.fd, names, 3), 3, 0))
		did(c);
}

/* For what itself has: the wait must not end. */
static void turn_alloc_wait(struct child *c)
{
	__u64 names[NR_BUFS];

	if (is(c, pool_alloc(c->pool.fd, names, NR_BUFS), NR_BUFS - NR_ASIDE,
	       0))
		did(c);
	wrong(c, pool_batch(c->pool.fd, FBUF_IOC_ALLOC, names, 2,
			    FBUF_ALLOC_WAIT | FBUF_ALLOC_ALL, -1));
}

/* For what nobody reads. */
static void turn_wait(struct child *c)
{
	struct fbuf_seg seg;
	__u64 name;

	if (!is(c, pool_alloc(c->pool.fd, &name, 1), 1, 0))
		return;
	seg = buf_seg(&c->pool, name, 0, 1000);
	if (is(c, pool_send(c->pool.fd, c->sock, &seg, 1, FBUF_SEND_DONTWAIT,
			    0, NULL), 1000, 0))
		did(c);
	wrong(c, pool_wait(c->pool.fd, &name, 1, -1));
}

/* Returns whether the buffer was written while it was in flight. */
static bool turn_write(struct child *c, __u32 flags)
{
	struct sent how = { 0 };
	struct fbuf_seg seg;
	bool sent;
	__u64 name;

	if (!get(c, &name, 1))
		return false;
	memset(buf_addr(&c->pool, name), 1, BUF_SIZE);
	seg = buf_seg(&c->pool, name, 0, 2000);
	sent = is(c, pool_send(c->pool.fd, c->sock, &seg, 1,
			       flags | FBUF_SEND_DONTWAIT, 0, &how), 2000,
		  -EAGAIN);
	if (sent)
		did(c);
	memset(buf_addr(&c->pool, name), 2, BUF_SIZE);
	is(c, pool_free(c->pool.fd, &name, 1), 1, 0);
	return sent && !how.copied;
}

static void turn_protected_write(struct child *c)
{
	if (turn_write(c, FBUF_SEND_SECURED))
		wrong(c, 0);
}

static void turn_snapshot_write(struct child *c)
{
	turn_write(c, FBUF_SEND_SNAPSHOT);
}

static void turn_share(struct child *c)
{
	int fd = pool_share(c->pool.fd, ALL_RIGHTS, 0, NULL);
	struct pool other;
	__u64 name;

	if (fd < 0) {
		wrong(c, fd);
		return;
	}
	if (is(c, pool_alloc(fd, &name, 1), 1, 0) &&
	    is(c, pool_map(&other, fd, PROT_READ | PROT_WRITE), 0, 0)) {
		munmap(other.map, other.size);
		did(c);
	}
	close(fd);
}

FIXTURE_VARIANT_ADD(kill, alloc)
{
	.turn = turn_alloc,
};

FIXTURE_VARIANT_ADD(kill, alloc_only)
{
	.turn = turn_alloc_only,
};

FIXTURE_VARIANT_ADD(kill, hold)
{
	.turn = turn_hold,
};

FIXTURE_VARIANT_ADD(kill, pass)
{
	.turn = turn_pass,
};

FIXTURE_VARIANT_ADD(kill, send_blocked)
{
	.turn = turn_send_blocked,
};

FIXTURE_VARIANT_ADD(kill, send_nonblock)
{
	.turn = turn_send_nonblock,
};

FIXTURE_VARIANT_ADD(kill, secure)
{
	.turn = turn_secure,
};

FIXTURE_VARIANT_ADD(kill, alloc_wait)
{
	.turn = turn_alloc_wait,
};

FIXTURE_VARIANT_ADD(kill, wait)
{
	.turn = turn_wait,
};

FIXTURE_VARIANT_ADD(kill, protected_write)
{
	.turn = turn_protected_write,
};

FIXTURE_VARIANT_ADD(kill, snapshot_write)
{
	.turn = turn_snapshot_write,
};

FIXTURE_VARIANT_ADD(kill, share)
{
	.turn = turn_share,
};

FIXTURE_SETUP(kill)
{
	unsigned int i;

	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     FBUF_POOL_SNAPSHOT));
	ASSERT_EQ(0, ring_make(&self->ring, self->pool.fd, FBUF_RING_ACCEPT,
			       64, 0));
	self->handle = pool_handle(self->pool.fd);
	ASSERT_EQ((int)NR_ASIDE, pool_alloc(self->pool.fd, self->aside,
					    NR_ASIDE));
	for (i = 0; i < NR_ASIDE; i++)
		pattern_fill(buf_addr(&self->pool, self->aside[i]), i, 0,
			     BUF_SIZE);
	self->tally = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->tally);
	srand(getpid());
}

FIXTURE_TEARDOWN(kill)
{
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
}

static void child_run(struct _test_data_kill *self,
		      const struct _fixture_variant_kill *variant, int from)
{
	struct child c = {
		.sock = self->sock[0],
		.parent = self->handle,
		.aside = self->aside,
		.tally = self->tally,
	};
	int fd = fd_take(from);

	/* Only what it was handed; and of the socket, only its end. */
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
	close(self->sock[1]);
	if (fd < 0 || pool_map(&c.pool, fd, PROT_READ | PROT_WRITE) ||
	    ring_make(&c.ring, fd, FBUF_RING_ACCEPT, 16, 0))
		_exit(1);
	for (;; c.turn++) {
		__atomic_add_fetch(&c.tally->turns, 1, __ATOMIC_RELEASE);
		variant->turn(&c);
	}
}

static pid_t child_start(struct _test_data_kill *self,
			 const struct _fixture_variant_kill *variant)
{
	int pair[2], fd, err;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return -errno;
	__atomic_store_n(&self->tally->turns, 0, __ATOMIC_RELEASE);
	pid = fork();
	if (!pid) {
		close(pair[0]);
		child_run(self, variant, pair[1]);
	}
	close(pair[1]);
	fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	err = fd < 0 ? fd : fd_pass(pair[0], fd);
	close(fd);
	close(pair[0]);
	if (err && pid > 0) {
		kill(pid, SIGKILL);
		child_status(pid);
		return err;
	}
	return pid;
}

/* What was passed to us goes back, or is dropped when it cannot. */
static void echo(struct _test_data_kill *self, bool back)
{
	struct fbuf_ring_entry e;

	while (ring_next(&self->ring, &e)) {
		if (e.type != FBUF_RING_PASSED)
			continue;
		if (!back ||
		    pool_pass_one(self->pool.fd, e.from, e.name, 0) != 1)
			pool_free(self->pool.fd, &e.name, 1);
	}
}

/* Returns after a while that may be any up to @us. */
static void live(struct _test_data_kill *self, long us)
{
	struct timespec now, end;
	long ns;

	clock_gettime(CLOCK_MONOTONIC, &end);
	ns = end.tv_nsec + rand() % us * 1000;
	end.tv_sec += ns / 1000000000;
	end.tv_nsec = ns % 1000000000;
	do {
		echo(self, true);
		usleep(rand() % 100);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec ||
		 (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
}

/* Nothing is left of the child but what we hold aside. */
static bool only_ours(struct _test_data_kill *self)
{
	struct fbuf_info info;

	echo(self, false);
	return !pool_info(self->pool.fd, &info) && info.nr_handles == 1 &&
	       info.nr_held == NR_ASIDE && info.holds == NR_ASIDE;
}

static int none_in_flight(struct _test_data_kill *self)
{
	struct fbuf_info info;
	int err;

	err = pool_wait_idle(self->pool.fd, NR_BUFS - NR_ASIDE, DEADLINE_MS);
	if (err)
		return err;
	err = pool_info(self->pool.fd, &info);
	return err ? err : (int)info.nr_in_flight;
}

static bool nothing_charged(struct nl *nl)
{
	struct nl_row row;

	return !nl_user(nl, getuid(), &row) && !row.val[FBUF_A_LIMIT_CHARGED] &&
	       !row.val[FBUF_A_LIMIT_POOLS];
}

/* Each round has the kinds of socket in turn. */
static int round_sockets(struct _test_data_kill *self, int round)
{
	/* Those of AF_UNIX keep no pages before Linux 6.5. */
	int other = kernel_before(6, 5) ? AF_INET6 : AF_UNIX;
	int err = sock_pair(round % 2 ? other : AF_INET, SOCK_STREAM,
			    self->sock);

	if (!err)
		sock_small(self->sock);
	return err;
}

static void one_round(struct __test_metadata *const _metadata,
		      struct _test_data_kill *self,
		      const struct _fixture_variant_kill *variant, int round)
{
	pid_t pid;

	ASSERT_EQ(0, round_sockets(self, round));
	pid = child_start(self, variant);
	ASSERT_LT(0, pid);
	/* One in eight is killed on its way to its first turn. */
	if (round % 8)
		EXPECT_TRUE(wait_for(__atomic_load_n(&self->tally->turns,
						     __ATOMIC_ACQUIRE),
				     DEADLINE_MS));
	live(self, LIFE_US * slower());
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(-SIGKILL, child_status(pid));
	ASSERT_TRUE(wait_for(only_ours(self), DEADLINE_MS));
	close(self->sock[0]);
	close(self->sock[1]);
	ASSERT_EQ(0, none_in_flight(self));
}

TEST_F_TIMEOUT(kill, rounds, 150)
{
	int rounds = ROUNDS / slower();
	unsigned int i;
	struct nl nl;
	int round;

	for (round = 0; round < rounds; round++)
		one_round(_metadata, self, variant, round);

	/* It was not for nothing that they lived. */
	TH_LOG("%u turns of %d children did it", self->tally->did, rounds);
	EXPECT_LE(rounds / 4U, self->tally->did);
	EXPECT_EQ(0U, self->tally->wrong) {
		TH_LOG("the first: %d", self->tally->first);
	}

	/* What the parent has is as it was. */
	for (i = 0; i < NR_ASIDE; i++)
		EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool,
						       self->aside[i]),
					      i, 0, BUF_SIZE));
	EXPECT_EQ((int)NR_ASIDE, pool_free(self->pool.fd, self->aside,
					   NR_ASIDE));
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
	ASSERT_EQ(0, nl_open(&nl));
	EXPECT_TRUE(wait_for(nothing_charged(&nl), 10000));
	nl_close(&nl);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
