// SPDX-License-Identifier: GPL-2.0
/*
 * Limits, what is charged and for how long, peers that never read, events, and
 * memory pressure.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include "kselftest_harness.h"
#include "nl.h"
#include "util.h"

#define BUF_SIZE	65536U
#define NR_BUFS		8U
#define POOL_SIZE	(BUF_SIZE * NR_BUFS)
#define DROP_CACHES	"/proc/sys/vm/drop_caches"

/* The limits as they were. */
struct limits {
	__u64 pool_max;
	__u64 user_max;
	__u64 stuck_ms;
};

static void limits_save(struct limits *l)
{
	l->pool_max = parameter_get("pool_max");
	l->user_max = parameter_get("user_max");
	l->stuck_ms = parameter_get("stuck_ms");
}

static void limits_restore(const struct limits *l)
{
	parameter_put("pool_max", l->pool_max);
	parameter_put("user_max", l->user_max);
	parameter_put("stuck_ms", l->stuck_ms);
}

FIXTURE(limit)
{
	struct limits limits;
	struct nl nl;
	int control;
	uid_t uid;	/* nobody else's */
};

FIXTURE_SETUP(limit)
{
	if (geteuid())
		SKIP(return, "needs root");
	limits_save(&self->limits);
	ASSERT_EQ(0, nl_open(&self->nl));
	self->control = control_open();
	ASSERT_LE(0, self->control);
	self->uid = 100000 + getpid();
}

FIXTURE_TEARDOWN(limit)
{
	limits_restore(&self->limits);
	nl_close(&self->nl);
	close(self->control);
}

static int make(struct _test_data_limit *self, unsigned int nr_bufs)
{
	return pool_create_on(self->control, BUF_SIZE, nr_bufs, 0);
}

TEST_F(limit, defaults)
{
	EXPECT_EQ(0ULL, self->limits.pool_max);
	EXPECT_EQ(0ULL, self->limits.user_max);
	EXPECT_EQ(10000ULL, self->limits.stuck_ms);
}

/* For root too. */
TEST_F(limit, pool_max)
{
	int fd;

	ASSERT_EQ(0, parameter_put("pool_max", 2 * BUF_SIZE));
	EXPECT_EQ(-EDQUOT, make(self, 3));
	fd = make(self, 2);
	EXPECT_LE(0, fd);
	close(fd);
	ASSERT_EQ(0, parameter_put("pool_max", 0));
	fd = make(self, 3);
	EXPECT_LE(0, fd);
	close(fd);
}

static __u64 charged_to(struct _test_data_limit *self, uid_t uid)
{
	struct nl_row row;

	return nl_user(&self->nl, uid, &row) ? ~0ULL :
	       row.val[FBUF_A_LIMIT_CHARGED];
}

/* What root has already, once what was closed is gone. */
static __u64 charged_to_root(struct _test_data_limit *self)
{
	wait_for(!charged_to(self, 0), 2000);
	return charged_to(self, 0);
}

TEST_F(limit, user_max)
{
	__u64 before = charged_to_root(self);
	int fd[2];

	ASSERT_NE(~0ULL, before);
	ASSERT_EQ(0, parameter_put("user_max", before + 4 * BUF_SIZE));
	EXPECT_EQ(-EDQUOT, make(self, 5));
	fd[0] = make(self, 3);
	EXPECT_LE(0, fd[0]);
	EXPECT_EQ(before + 3 * BUF_SIZE, charged_to(self, 0));
	EXPECT_EQ(-EDQUOT, make(self, 2));
	fd[1] = make(self, 1);
	EXPECT_LE(0, fd[1]);
	close(fd[0]);
	EXPECT_TRUE(wait_for(charged_to(self, 0) == before + BUF_SIZE,
			     DEADLINE_MS));
	fd[0] = make(self, 3);
	EXPECT_LE(0, fd[0]);
	close(fd[0]);
	close(fd[1]);
}

/* Snapshots are charged as well: where they would pass the limit, none is. */
TEST_F(limit, snapshots)
{
	__u64 before = charged_to_root(self);
	struct fbuf_info info;
	struct pool pool;
	int sock[2], i;
	__u64 name;

	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, pool_make_flags(&pool, BUF_SIZE, 1, FBUF_POOL_SNAPSHOT));
	ASSERT_EQ(0, parameter_put("user_max", before + 3 * BUF_SIZE));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	for (i = 1; i <= 2; i++) {
		struct fbuf_seg seg = buf_seg(&pool, name, 0, 100);

		ASSERT_EQ(100, pool_send(pool.fd, sock[0], &seg, 1, 0, 0,
					 NULL));
		memset(pool.map, i, BUF_SIZE);
		ASSERT_EQ(0, pool_info(pool.fd, &info));
		EXPECT_EQ((__u64)i, info.snapshots);
	}
	EXPECT_EQ(-EDQUOT, make(self, 1));
	pool_unmake(&pool);
	close(sock[0]);
	close(sock[1]);
}

/* What a pool of that user comes to: 0 if it could be made, or the error. */
static int as_user(struct _test_data_limit *self, unsigned int nr_bufs)
{
	struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	pid_t pid = fork();
	int ret;

	if (pid)
		return pid < 0 ? -errno : -child_status(pid);
	if (setrlimit(RLIMIT_MEMLOCK, &none) || become(self->uid))
		_exit(255);
	ret = make(self, nr_bufs);
	_exit(ret < 0 ? -ret : 0);
}

static int user_limit(struct _test_data_limit *self, __u64 bytes)
{
	struct nl_arg args[] = {
		{ FBUF_A_LIMIT_UID, 4, self->uid },
		{ FBUF_A_LIMIT_USER_MAX, 8, bytes },
	};

	return nl_do(&self->nl, FBUF_CMD_LIMIT_SET, args, 2, NULL);
}

static int user_limit_off(struct _test_data_limit *self)
{
	struct nl_arg args[] = {
		{ FBUF_A_LIMIT_UID, 4, self->uid },
		{ FBUF_A_LIMIT_OWN, 0, 0 },
	};

	return nl_do(&self->nl, FBUF_CMD_LIMIT_SET, args, 2, NULL);
}

/* What one limit refuses is not left on the account of another. */
TEST_F(limit, refused_is_not_charged)
{
	struct rlimit three = { 3 * BUF_SIZE, 3 * BUF_SIZE };
	pid_t pid;

	ASSERT_EQ(0, user_limit(self, 2 * BUF_SIZE));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (setrlimit(RLIMIT_MEMLOCK, &three) || become(self->uid))
			_exit(1);
		if (make(self, 3) != -EDQUOT || make(self, 4) != -ENOMEM)
			_exit(2);
		_exit(make(self, 2) < 0 ? 3 : 0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(0, user_limit_off(self));
}

/* RLIMIT_MEMLOCK is not for who has CAP_IPC_LOCK. */
TEST_F(limit, memlock_of_root)
{
	struct rlimit none = { 0, 0 };
	int fd;

	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &none));
	fd = make(self, 1);
	EXPECT_LE(0, fd);
	close(fd);
}

/* Is there a row for the user, if only with nothing in it? */
static bool known(struct _test_data_limit *self)
{
	struct nl_row row;

	return nl_user(&self->nl, self->uid, &row) ||
	       row.has[FBUF_A_LIMIT_UID];
}

TEST_F(limit, one_user)
{
	int fd;

	ASSERT_EQ(0, user_limit(self, 2 * BUF_SIZE));
	EXPECT_EQ(0, as_user(self, 2));
	EXPECT_EQ(-EDQUOT, as_user(self, 3));
	/* Nobody else's. */
	fd = make(self, 3);
	EXPECT_LE(0, fd);
	close(fd);
	EXPECT_TRUE(known(self));
	ASSERT_EQ(0, user_limit_off(self));
	EXPECT_FALSE(known(self));
	EXPECT_EQ(0, as_user(self, 3));
	/* He is forgotten with the last of his pools. */
	EXPECT_TRUE(wait_for(!known(self), DEADLINE_MS));
}

/* His own goes before that for all. */
TEST_F(limit, one_user_may_have_more)
{
	ASSERT_EQ(0, parameter_put("user_max", BUF_SIZE));
	EXPECT_EQ(-EDQUOT, as_user(self, 2));
	ASSERT_EQ(0, user_limit(self, 2 * BUF_SIZE));
	EXPECT_EQ(0, as_user(self, 2));
	ASSERT_EQ(0, user_limit_off(self));
	EXPECT_EQ(-EDQUOT, as_user(self, 2));
}

TEST_F(limit, by_netlink)
{
	struct nl_arg args[] = {
		{ FBUF_A_LIMIT_POOL_MAX, 8, 3 * BUF_SIZE },
		{ FBUF_A_LIMIT_USER_MAX, 8, 1ULL << 40 },
	};
	struct nl_row row;

	ASSERT_EQ(0, nl_do(&self->nl, FBUF_CMD_LIMIT_SET, args, 2, NULL));
	ASSERT_EQ(0, nl_do(&self->nl, FBUF_CMD_LIMIT_GET, NULL, 0, &row));
	EXPECT_EQ(3 * BUF_SIZE, row.val[FBUF_A_LIMIT_POOL_MAX]);
	EXPECT_EQ(1ULL << 40, row.val[FBUF_A_LIMIT_USER_MAX]);
	EXPECT_EQ(3 * BUF_SIZE, parameter_get("pool_max"));
	EXPECT_EQ(1ULL << 40, parameter_get("user_max"));
	EXPECT_EQ(-EDQUOT, make(self, 4));
}

/* A user is given a limit or loses his own: not both, and not neither. */
TEST_F(limit, user_max_or_own)
{
	struct nl_arg args[] = {
		{ FBUF_A_LIMIT_UID, 4, self->uid },
		{ FBUF_A_LIMIT_USER_MAX, 8, BUF_SIZE },
		{ FBUF_A_LIMIT_OWN, 0, 0 },
	};
	struct nl_row row;

	ASSERT_EQ(0, user_limit(self, 2 * BUF_SIZE));
	EXPECT_EQ(-EINVAL, nl_do(&self->nl, FBUF_CMD_LIMIT_SET, args, 3, NULL));
	EXPECT_NE(0, self->nl.error[0]);
	EXPECT_EQ(-EINVAL, nl_do(&self->nl, FBUF_CMD_LIMIT_SET, args, 1, NULL));
	EXPECT_NE(0, self->nl.error[0]);
	/* Nor is there an own limit of nobody. */
	EXPECT_EQ(-EINVAL, nl_do(&self->nl, FBUF_CMD_LIMIT_SET, args + 2, 1,
				 NULL));
	EXPECT_NE(0, self->nl.error[0]);
	ASSERT_EQ(0, nl_user(&self->nl, self->uid, &row));
	EXPECT_TRUE(row.has[FBUF_A_LIMIT_OWN]);
	EXPECT_EQ(2 * BUF_SIZE, row.val[FBUF_A_LIMIT_USER_MAX]);
	EXPECT_EQ(0, user_limit_off(self));
}

TEST_F(limit, requests_refused)
{
	struct nl_arg uid = { FBUF_A_LIMIT_UID, 4, 0xffffffff };
	struct nl_row row;

	EXPECT_EQ(-EINVAL, nl_do(&self->nl, FBUF_CMD_LIMIT_SET, NULL, 0,
				 NULL));
	EXPECT_NE(0, self->nl.error[0]);
	EXPECT_EQ(-EINVAL, nl_do(&self->nl, FBUF_CMD_LIMIT_SET, &uid, 1,
				 NULL));
	EXPECT_NE(0, self->nl.error[0]);
	self->uid = -1;
	EXPECT_EQ(-EINVAL, user_limit(self, 1));
	EXPECT_NE(0, self->nl.error[0]);
	EXPECT_EQ(-EINVAL, nl_do(&self->nl, FBUF_CMD_POOL_GET, NULL, 0, &row));
	EXPECT_NE(0, self->nl.error[0]);
	EXPECT_EQ(-ENOENT, nl_pool(&self->nl, ~0ULL, &row));
	EXPECT_NE(0, self->nl.error[0]);
}

/* Sees his own pools, and sets no limits. */
static int unprivileged(struct _test_data_limit *self, __u64 others)
{
	struct fbuf_info info;
	struct nl_row row;
	struct nl nl;
	int fd;

	if (become(self->uid) || nl_open(&nl))
		return 2;
	fd = make(self, 1);
	if (fd < 0 || pool_info(fd, &info))
		return 3;
	if (nl_pool(&nl, info.id, &row) || row.val[FBUF_A_POOL_UID] != getuid())
		return 4;
	if (nl_pool(&nl, others, &row) != -ENOENT)
		return 5;
	if (nl_dump(&nl, FBUF_CMD_POOL_GET, &row, 1) != 1)
		return 6;
	if (nl_dump(&nl, FBUF_CMD_STATS_GET, &row, 1) != 1)
		return 9;
	if (nl_dump(&nl, FBUF_CMD_HANDLE_GET, &row, 1) != 1)
		return 10;
	/* Root's account is not his to see, his own is. */
	if (nl_dump(&nl, FBUF_CMD_LIMIT_GET, &row, 1) != 1 ||
	    row.val[FBUF_A_LIMIT_UID] != getuid())
		return 11;
	self->nl = nl;
	if (user_limit(self, 1) != -EPERM || user_limit_off(self) != -EPERM)
		return 7;
	if (nl_do(&nl, FBUF_CMD_STATS_GET, NULL, 0, &row) != -EPERM)
		return 8;
	return 0;
}

TEST_F(limit, another_user)
{
	struct fbuf_info info;
	int fd = make(self, 1);
	pid_t pid;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pool_info(fd, &info));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(unprivileged(self, info.id));
	EXPECT_EQ(0, child_status(pid));
	close(fd);
}

#define SLOW_BUFS	((128U << 20) / getpagesize())
#define NR_QUICK	8

/* A pool of many small buffers takes long to make. */
struct slow {
	pthread_t thread;
	int control;
	int fd;
	bool done;
};

static void *slow_make(void *arg)
{
	struct slow *s = arg;

	s->fd = pool_create_on(s->control, getpagesize(), SLOW_BUFS, 0);
	__atomic_store_n(&s->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Has a dump a row for that pool? */
static bool dumped(struct nl *nl, __u8 cmd, unsigned int attr, __u64 id)
{
	struct nl_row rows[64];
	int i, nr = nl_dump(nl, cmd, rows, 64);

	for (i = 0; i < nr && i < 64; i++) {
		if (rows[i].val[attr] == id)
			return true;
	}
	return false;
}

/* A pool, and how many others were made meanwhile. */
static unsigned int slow_and_quick(struct slow *s, int quick[NR_QUICK])
{
	unsigned int nr = 0;

	s->done = false;
	if (pthread_create(&s->thread, NULL, slow_make, s))
		return 0;
	while (!__atomic_load_n(&s->done, __ATOMIC_ACQUIRE)) {
		close(quick[nr % NR_QUICK]);
		quick[nr++ % NR_QUICK] = pool_create_on(s->control,
							getpagesize(), 1, 0);
		sched_yield();
	}
	pthread_join(s->thread, NULL);
	return nr;
}

/* Others that were begun later are there before it is: dumps have them all. */
TEST_F(limit, made_slowly)
{
	struct slow s = { .control = self->control, .fd = -1 };
	int quick[NR_QUICK] = { [0 ... NR_QUICK - 1] = -1 };
	long end = now_ms() + DEADLINE_MS;
	struct fbuf_info info;
	unsigned int nr;
	int i;

	/* One CPU may have no turn for both at once. */
	do {
		close(s.fd);
		nr = slow_and_quick(&s, quick);
	} while (nr < 2 && time_left(end));
	ASSERT_LE(0, s.fd);
	EXPECT_LT(1, nr);
	ASSERT_EQ(0, pool_info(s.fd, &info));
	EXPECT_TRUE(dumped(&self->nl, FBUF_CMD_POOL_GET, FBUF_A_POOL_ID,
			   info.id));
	EXPECT_TRUE(dumped(&self->nl, FBUF_CMD_HANDLE_GET,
			   FBUF_A_HANDLE_POOL_ID, info.id));
	EXPECT_TRUE(dumped(&self->nl, FBUF_CMD_STATS_GET, FBUF_A_STATS_POOL_ID,
			   info.id));
	for (i = 0; i < NR_QUICK; i++)
		close(quick[i]);
	close(s.fd);
}

#define FIRST_UID	200000U
#define NR_USERS	1600U	/* more than go into three parts of an answer */
#define NR_LEAVING	400U

/* Gives them a limit each, or takes it away; returns how many it did. */
static unsigned int users_limit(struct nl *nl, __u32 first, unsigned int nr,
				bool own)
{
	struct nl_arg args[] = {
		{ FBUF_A_LIMIT_UID, 4, 0 },
		{ own ? FBUF_A_LIMIT_USER_MAX : FBUF_A_LIMIT_OWN, own ? 8 : 0,
		  own ? BUF_SIZE : 0 },
	};
	unsigned int i;

	for (i = 0; i < nr; i++) {
		args[0].val = first + i;
		if (nl_do(nl, FBUF_CMD_LIMIT_SET, args, 2, NULL))
			break;
	}
	return i;
}

struct leaving {
	struct nl nl;
	bool done;
};

static void users_leave(void *arg)
{
	struct leaving *l = arg;

	if (!l->done)
		users_limit(&l->nl, FIRST_UID, NR_LEAVING, false);
	l->done = true;
}

/* Some are gone while the rows of the others are still to come. */
TEST_F(limit, users_leave_in_a_dump)
{
	struct nl_row *rows = calloc(NR_USERS + 64, sizeof(*rows));
	unsigned int stayed = 0;
	struct leaving l = { .done = false };
	int i, nr;

	ASSERT_NE(NULL, rows);
	ASSERT_EQ(0, nl_open(&l.nl));
	EXPECT_EQ(NR_USERS, users_limit(&self->nl, FIRST_UID, NR_USERS, true));
	self->nl.between = users_leave;
	self->nl.between_arg = &l;
	nr = nl_dump(&self->nl, FBUF_CMD_LIMIT_GET, rows, NR_USERS + 64);
	self->nl.between = NULL;
	for (i = 0; i < nr; i++) {
		__u64 uid = rows[i].val[FBUF_A_LIMIT_UID];

		stayed += uid >= FIRST_UID + NR_LEAVING &&
			  uid < FIRST_UID + NR_USERS;
	}
	EXPECT_EQ(NR_USERS - NR_LEAVING, stayed);
	EXPECT_EQ(NR_USERS, users_limit(&self->nl, FIRST_UID, NR_USERS, false));
	nl_close(&l.nl);
	free(rows);
}

/* Some before and some behind them come; and each has changed meanwhile. */
static void users_come(void *arg)
{
	struct leaving *l = arg;

	if (!l->done) {
		users_limit(&l->nl, FIRST_UID - NR_LEAVING, NR_LEAVING, true);
		users_limit(&l->nl, FIRST_UID, NR_USERS + NR_LEAVING, true);
	}
	l->done = true;
}

/* Those who were there all the time are in the dump, and nobody is twice. */
TEST_F(limit, users_come_in_a_dump)
{
	unsigned int max = NR_USERS + 2 * NR_LEAVING + 64;
	struct nl_row *rows = calloc(max, sizeof(*rows));
	__u8 *seen = calloc(max, 1);
	struct leaving l = { .done = false };
	int i, nr;

	ASSERT_NE(NULL, rows);
	ASSERT_NE(NULL, seen);
	ASSERT_EQ(0, nl_open(&l.nl));
	EXPECT_EQ(NR_USERS, users_limit(&self->nl, FIRST_UID, NR_USERS, true));
	self->nl.between = users_come;
	self->nl.between_arg = &l;
	nr = nl_dump(&self->nl, FBUF_CMD_LIMIT_GET, rows, max);
	self->nl.between = NULL;
	EXPECT_LE(nr, (int)max);
	for (i = 0; i < nr; i++) {
		__u64 at = rows[i].val[FBUF_A_LIMIT_UID] - FIRST_UID +
			   NR_LEAVING;

		if (at < max)
			seen[at]++;
	}
	for (i = 0; i < (int)max; i++) {
		EXPECT_GE(1, seen[i]);
		if (i >= (int)NR_LEAVING && i < (int)(NR_LEAVING + NR_USERS))
			EXPECT_EQ(1, seen[i]);
	}
	EXPECT_EQ(NR_USERS + 2 * NR_LEAVING,
		  users_limit(&self->nl, FIRST_UID - NR_LEAVING,
			      NR_USERS + 2 * NR_LEAVING, false));
	nl_close(&l.nl);
	free(seen);
	free(rows);
}

#define NR_FEW		2000U
#define NR_MANY		16000U	/* eight times as many */

/* How long a dump takes, in microseconds: the best of three. */
static long dump_us(struct nl *nl)
{
	struct timespec start, end;
	long us, best = LONG_MAX;
	int i;

	for (i = 0; i < 3; i++) {
		clock_gettime(CLOCK_MONOTONIC, &start);
		if (nl_dump(nl, FBUF_CMD_LIMIT_GET, NULL, 0) < (int)NR_FEW)
			return -1;
		clock_gettime(CLOCK_MONOTONIC, &end);
		us = (end.tv_sec - start.tv_sec) * 1000000 +
		     (end.tv_nsec - start.tv_nsec) / 1000;
		if (us < best)
			best = us;
	}
	return best;
}

/* A dump takes longer for more users, but not for each of them. */
TEST_F_TIMEOUT(limit, dump_of_many_users, 240)
{
	long few, many;

	EXPECT_EQ(NR_FEW, users_limit(&self->nl, FIRST_UID, NR_FEW, true));
	few = dump_us(&self->nl);
	EXPECT_EQ(NR_MANY, users_limit(&self->nl, FIRST_UID, NR_MANY, true));
	many = dump_us(&self->nl);
	EXPECT_EQ(NR_MANY, users_limit(&self->nl, FIRST_UID, NR_MANY, false));
	EXPECT_LT(0, few);
	EXPECT_LT(0, many);
	EXPECT_GT(3 * few * (long)(NR_MANY / NR_FEW), many);
	TH_LOG("%u users %ld us, %u users %ld us", NR_FEW, few, NR_MANY, many);
}

/* A peer that does not read. */
FIXTURE(stuck)
{
	struct limits limits;
	struct nl nl;
	struct pool pool;
	__u64 id;
	__u64 names[NR_BUFS];
	int sock[2];
	__u64 inode;	/* of the socket that sends */
	__u8 *got;
};

FIXTURE_VARIANT(stuck)
{
	int family;
};

FIXTURE_VARIANT_ADD(stuck, tcp)
{
	.family = AF_INET,
};

FIXTURE_VARIANT_ADD(stuck, unix_stream)
{
	.family = AF_UNIX,
};

FIXTURE_SETUP(stuck)
{
	struct fbuf_info info;
	struct stat st;

	if (geteuid())
		SKIP(return, "needs root");
	if (variant->family == AF_UNIX && unix_copies())
		SKIP(return, "copied before Linux 6.5");
	limits_save(&self->limits);
	ASSERT_EQ(0, nl_open(&self->nl));
	ASSERT_EQ(0, sock_pair(variant->family, SOCK_STREAM, self->sock));
	ASSERT_EQ(0, fstat(self->sock[0], &st));
	self->inode = st.st_ino;
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     FBUF_POOL_SNAPSHOT));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	self->id = info.id;
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	self->got = malloc(2 * BUF_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(stuck)
{
	limits_restore(&self->limits);
	pool_unmake(&self->pool);
	nl_close(&self->nl);
	close(self->sock[0]);
	close(self->sock[1]);
	free(self->got);
}

static ssize_t stuck_send(struct _test_data_stuck *self, unsigned int buf)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[buf], 0, 1000);

	return pool_send(self->pool.fd, self->sock[0], &seg, 1, 0,
			 FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE, NULL);
}

/* One number of the pool, as netlink says it; a minus error if it does not. */
static __s64 look(struct _test_data_stuck *self, int what)
{
	struct nl_row row;
	int err = nl_pool(&self->nl, self->id, &row);

	if (err)
		return err;
	return row.has[what] ? (__s64)row.val[what] : -ENODATA;
}

/* The pool is gone, and nothing of it is charged. */
static bool gone(struct _test_data_stuck *self)
{
	return look(self, FBUF_A_POOL_ID) == -ENOENT;
}

TEST_F(stuck, shown)
{
	__s64 age;

	EXPECT_EQ(0, look(self, FBUF_A_POOL_IN_FLIGHT));
	EXPECT_EQ(0, look(self, FBUF_A_POOL_IN_FLIGHT_BYTES));
	ASSERT_EQ(1000, stuck_send(self, 0));
	ASSERT_EQ(1000, stuck_send(self, 1));
	EXPECT_EQ(2, look(self, FBUF_A_POOL_IN_FLIGHT));
	EXPECT_EQ(2 * BUF_SIZE, look(self, FBUF_A_POOL_IN_FLIGHT_BYTES));
	EXPECT_EQ((__s64)self->inode, look(self, FBUF_A_POOL_OLDEST_SOCK));
	age = look(self, FBUF_A_POOL_OLDEST_MS);
	EXPECT_LE(0, age);
	EXPECT_TRUE(wait_for(look(self, FBUF_A_POOL_OLDEST_MS) >= age + 100,
			     DEADLINE_MS));
	EXPECT_EQ(NR_BUFS, look(self, FBUF_A_POOL_HELD));
	/* Read: and none is in flight. */
	ASSERT_EQ(2000, read_full(self->sock[1], self->got, 2000));
	EXPECT_EQ(2, pool_wait(self->pool.fd, self->names, 2, DEADLINE_MS));
	EXPECT_EQ(0, look(self, FBUF_A_POOL_IN_FLIGHT));
	EXPECT_EQ(0, look(self, FBUF_A_POOL_IN_FLIGHT_BYTES));
}

/* The oldest is the one that was sent first. */
TEST_F(stuck, oldest_of_two_sockets)
{
	struct stat st;
	int other[2];

	ASSERT_EQ(0, sock_pair(variant->family, SOCK_STREAM, other));
	ASSERT_EQ(0, fstat(other[0], &st));
	ASSERT_EQ(1000, stuck_send(self, 0));
	EXPECT_TRUE(wait_for(look(self, FBUF_A_POOL_OLDEST_MS) >= 100,
			     DEADLINE_MS));
	close(self->sock[0]);
	self->sock[0] = other[0];
	ASSERT_EQ(1000, stuck_send(self, 1));
	EXPECT_EQ((__s64)self->inode, look(self, FBUF_A_POOL_OLDEST_SOCK));
	ASSERT_EQ(1000, read_full(self->sock[1], self->got, 1000));
	EXPECT_EQ(1, pool_wait(self->pool.fd, self->names, 1, DEADLINE_MS));
	EXPECT_EQ((__s64)st.st_ino, look(self, FBUF_A_POOL_OLDEST_SOCK));
	close(other[1]);
}

/* Of a fan-out, a socket without room for all of it is the one to look at. */
TEST_F(stuck, fan_out)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[0], 0, BUF_SIZE);
	struct fbuf_target targets[2] = { 0 };
	int other[2];

	ASSERT_EQ(0, sock_pair(variant->family, SOCK_STREAM, other));
	ASSERT_LT(0, sock_fill(self->sock[0]));
	targets[0].fd = other[0];
	targets[1].fd = self->sock[0];
	ASSERT_LE(1, pool_fanout(self->pool.fd, &seg, 1, targets, 2, 0));
	EXPECT_GT((int)BUF_SIZE, targets[1].result);
	EXPECT_EQ((__s64)self->inode, look(self, FBUF_A_POOL_OLDEST_SOCK));
	close(other[0]);
	close(other[1]);
}

/* What the last holder sent, and when, is not the next one's. */
TEST_F(stuck, forgotten_at_alloc)
{
	struct iovec iov = { .iov_len = 1 };
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(1000, stuck_send(self, 0));
	ASSERT_EQ(1000, read_full(self->sock[1], self->got, 1000));
	ASSERT_EQ(1, pool_wait(self->pool.fd, self->names, 1, DEADLINE_MS));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, self->names, 1));
	iov.iov_base = buf_addr(&self->pool, self->names[0]);
	ASSERT_EQ(1, vmsplice(fd[1], &iov, 1, 0));
	EXPECT_EQ(1, look(self, FBUF_A_POOL_IN_FLIGHT));
	EXPECT_EQ(-ENODATA, look(self, FBUF_A_POOL_OLDEST_SOCK));
	EXPECT_EQ(-ENODATA, look(self, FBUF_A_POOL_OLDEST_MS));
	close(fd[0]);
	close(fd[1]);
}

TEST_F(stuck, snapshots_count)
{
	__s64 before = look(self, FBUF_A_POOL_CHARGED);

	ASSERT_EQ(1000, stuck_send(self, 0));
	memset(buf_addr(&self->pool, self->names[0]), 1, BUF_SIZE);
	EXPECT_EQ(BUF_SIZE, look(self, FBUF_A_POOL_IN_FLIGHT_BYTES));
	EXPECT_EQ(before + BUF_SIZE, look(self, FBUF_A_POOL_CHARGED));
}

TEST_F(stuck, charged_after_close_until_read)
{
	ASSERT_EQ(1000, stuck_send(self, 0));
	pool_unmake(&self->pool);
	EXPECT_TRUE(wait_for(look(self, FBUF_A_POOL_HANDLES) == 0,
			     DEADLINE_MS));
	EXPECT_EQ(1, look(self, FBUF_A_POOL_IN_FLIGHT));
	EXPECT_EQ((__s64)self->inode, look(self, FBUF_A_POOL_OLDEST_SOCK));
	/* What was idle is given back; the rest is not. */
	EXPECT_TRUE(wait_for(look(self, FBUF_A_POOL_CHARGED) == BUF_SIZE,
			     DEADLINE_MS));
	ASSERT_EQ(1000, read_full(self->sock[1], self->got, 1000));
	EXPECT_TRUE(wait_for(gone(self), DEADLINE_MS));
}

TEST_F(stuck, charged_after_close_until_the_sockets_go)
{
	ASSERT_EQ(1000, stuck_send(self, 0));
	ASSERT_EQ(1000, stuck_send(self, 1));
	memset(buf_addr(&self->pool, self->names[0]), 1, BUF_SIZE);
	pool_unmake(&self->pool);
	EXPECT_TRUE(wait_for(look(self, FBUF_A_POOL_CHARGED) == 2 * BUF_SIZE,
			     DEADLINE_MS));
	close(self->sock[1]);
	close(self->sock[0]);
	self->sock[0] = -1;
	self->sock[1] = -1;
	EXPECT_TRUE(wait_for(gone(self), DEADLINE_MS));
}

/* A buffer of two folios, of which the peer has one: the other goes at once. */
TEST_F(stuck, half_a_buffer_in_flight_after_close)
{
	const size_t big = 2 << 20;
	long end = now_ms() + DEADLINE_MS;
	struct fbuf_info info;
	struct fbuf_seg seg;
	unsigned int half;
	__u64 name;
	__s64 left;

	/* No folio has more than half of what one page table maps. */
	if (big <= PAGE / 2 * (PAGE / sizeof(__u64)))
		SKIP(return, "one folio has all of it");
	for (half = 0; half < 2; half++) {
		pool_unmake(&self->pool);
		ASSERT_EQ(0, pool_make_flags(&self->pool, big, 1,
					     FBUF_POOL_SNAPSHOT));
		ASSERT_EQ(0, pool_info(self->pool.fd, &info));
		self->id = info.id;
		ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
		seg = buf_seg(&self->pool, name, half * (big / 2), 1000);
		ASSERT_EQ(1000, pool_send(self->pool.fd, self->sock[0], &seg, 1,
					  0, 0, NULL));
		pool_unmake(&self->pool);
		EXPECT_TRUE(wait_for(look(self, FBUF_A_POOL_CHARGED) <=
				     (__s64)big / 2, DEADLINE_MS));
		EXPECT_EQ(1, look(self, FBUF_A_POOL_IN_FLIGHT));
		/* The shrinker leaves it alone, too. */
		EXPECT_EQ(0, file_put(DROP_CACHES, "2"));
		EXPECT_EQ(1, look(self, FBUF_A_POOL_IN_FLIGHT));
		ASSERT_EQ(1000, read_full(self->sock[1], self->got, 1000));
		/* It is charged until it is gone, and not for less than that. */
		do {
			left = look(self, FBUF_A_POOL_CHARGED);
			ASSERT_TRUE(left == -ENOENT ||
				    (left >= 0 && left <= (__s64)big / 2));
		} while (left != -ENOENT && time_left(end));
		EXPECT_EQ(-ENOENT, left);
	}
}

TEST_F(stuck, nothing_in_flight_at_close)
{
	pool_unmake(&self->pool);
	EXPECT_TRUE(wait_for(gone(self), DEADLINE_MS));
}

/* Events */
static int listen_to(struct nl *events)
{
	struct nl_row row;
	int err = nl_open(events);

	if (err)
		return err;
	err = nl_join(events);
	if (err)
		return err;
	/* Whoever joins makes a request, to begin. */
	err = nl_dump(events, FBUF_CMD_POOL_GET, &row, 1);
	return err < 0 ? err : 0;
}

/* Waits for an event of a pool. */
static bool event(struct nl *events, __u8 cmd, __u64 id, struct nl_row *row)
{
	long end = now_ms() + DEADLINE_MS;

	while (!nl_next(events, row, end - now_ms())) {
		if (row->cmd == cmd && row->val[FBUF_A_POOL_ID] == id)
			return true;
	}
	return false;
}

/* Closes the pool, and counts the events of a kind up to its last. */
static int events_to_the_end(struct nl *events, __u8 cmd, __u64 id)
{
	struct nl_row row;
	int nr = 0;

	while (!nl_next(events, &row, DEADLINE_MS)) {
		if (row.val[FBUF_A_POOL_ID] != id)
			continue;
		if (row.cmd == FBUF_CMD_DESTROYED_NTF)
			return nr;
		nr += row.cmd == cmd;
	}
	return -1;
}

/*
 * Packets that others than the peer keep: here a capture that nobody reads. The
 * peer has read all, and the sender goes on.
 */
FIXTURE(kept)
{
	struct limits limits;
	struct pool pool;
	int capture;
	int sock[2];
};

FIXTURE_VARIANT(kept)
{
	int family;
	int type;
};

FIXTURE_VARIANT_ADD(kept, tcp)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(kept, udp)
{
	.family = AF_INET,
	.type = SOCK_DGRAM,
};

#define KEPT_BUFS	8U
#define KEPT_LEN	1000U

FIXTURE_SETUP(kept)
{
	int room = 64 << 20;

	if (geteuid())
		SKIP(return, "needs root");
	limits_save(&self->limits);
	self->pool.fd = -1;
	self->capture = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	if (self->capture < 0)
		SKIP(return, "no packet sockets");
	ASSERT_EQ(0, setsockopt(self->capture, SOL_SOCKET, SO_RCVBUFFORCE,
				&room, sizeof(room)));
	ASSERT_EQ(0, sock_pair(variant->family, variant->type, self->sock));
}

FIXTURE_TEARDOWN(kept)
{
	limits_restore(&self->limits);
	pool_unmake(&self->pool);
	close(self->capture);
	close(self->sock[0]);
	close(self->sock[1]);
}

static int kept_make(struct _test_data_kept *self, unsigned int copy_above)
{
	struct fbuf_pool_create arg = {
		.size = sizeof(arg),
		.buf_size = BUF_SIZE,
		.nr_bufs = KEPT_BUFS,
		.node = -1,
		.copy_above = copy_above,
	};
	int control = control_open();
	int fd = ioctl(control, FBUF_IOC_POOL_CREATE, &arg);

	close(control);
	return fd < 0 ? -errno :
			pool_map(&self->pool, fd, PROT_READ | PROT_WRITE);
}

/* A buffer is taken, sent, read by the peer and freed: 0, or an error. */
static int kept_round(struct _test_data_kept *self, unsigned int seed,
		      __u32 engines, struct sent *sent)
{
	char got[KEPT_LEN];
	struct fbuf_seg seg;
	__u64 name;
	int ret;

	ret = pool_alloc(self->pool.fd, &name, 1);
	if (ret < 0)
		return ret;
	pattern_fill(buf_addr(&self->pool, name), seed, 0, KEPT_LEN);
	seg = named_seg(name, 0, KEPT_LEN);
	ret = pool_send(self->pool.fd, self->sock[0], &seg, 1, 0, engines,
			sent);
	pool_free(self->pool.fd, &name, 1);
	if (ret < 0)
		return ret;
	if (read_full(self->sock[1], got, KEPT_LEN) != KEPT_LEN)
		return -EIO;
	return pattern_differs(got, seed, 0, KEPT_LEN) < 0 ? 0 : -EILSEQ;
}

/* More than so many are not kept: the others go round, by copies. */
TEST_F(kept, copy_above)
{
	struct fbuf_info info;
	struct sent sent;
	unsigned int i;

	ASSERT_EQ(0, kept_make(self, 3));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, kept_round(self, i, 0, &sent));
		EXPECT_EQ(FBUF_ENGINE_PAGEREF, sent.engine);
	}
	for (; i < 10 * KEPT_BUFS; i++) {
		ASSERT_EQ(0, kept_round(self, i, 0, &sent));
		ASSERT_EQ(FBUF_ENGINE_COPY, sent.engine);
	}
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(4U, info.nr_in_flight);
	EXPECT_EQ(3U, info.copy_above);
	/* Who must not copy is told to try again. */
	EXPECT_EQ(-EAGAIN, kept_round(self, 0, FBUF_ENGINE_PAGEREF, NULL));
	/* And when they are let go of, sends refer to buffers again. */
	close(self->capture);
	EXPECT_TRUE(wait_for(!kept_round(self, ++i, 0, &sent) &&
			     sent.engine == FBUF_ENGINE_PAGEREF, DEADLINE_MS));
}

/* Nobody said how many: then half may be, until they have been for long. */
TEST_F(kept, half_of_the_pool_for_long)
{
	struct sent sent;
	unsigned int i;
	long end;

	ASSERT_EQ(0, kept_make(self, 0));
	for (i = 0; i < KEPT_BUFS / 2 + 1; i++) {
		ASSERT_EQ(0, kept_round(self, i, 0, &sent));
		EXPECT_EQ(FBUF_ENGINE_PAGEREF, sent.engine);
	}
	/* Not for long yet. */
	ASSERT_EQ(0, kept_round(self, i, 0, &sent));
	EXPECT_EQ(FBUF_ENGINE_PAGEREF, sent.engine);
	ASSERT_EQ(0, parameter_put("stuck_ms", 1));
	/* The module's clock is coarse. */
	end = now_ms() + 50;
	while (time_left(end))
		;
	for (i = 0; i < 10 * KEPT_BUFS; i++) {
		ASSERT_TRUE(wait_for(!kept_round(self, i, 0, &sent),
				     DEADLINE_MS));
		ASSERT_EQ(FBUF_ENGINE_COPY, sent.engine);
	}
}

/* Half of the pool to peers that read in time is no reason to copy. */
TEST_F(kept, not_those_that_peers_read)
{
	struct sent sent;
	unsigned int i;

	close(self->capture);
	self->capture = -1;
	ASSERT_EQ(0, kept_make(self, 0));
	for (i = 0; i < 10 * KEPT_BUFS; i++) {
		ASSERT_TRUE(wait_for(!kept_round(self, i, 0, &sent),
				     DEADLINE_MS));
		ASSERT_EQ(FBUF_ENGINE_PAGEREF, sent.engine);
	}
}

FIXTURE(events)
{
	struct limits limits;
	struct nl nl;
	struct pool pool;
	__u64 id;
	__u64 names[NR_BUFS];
	int sock[2];
};

FIXTURE_SETUP(events)
{
	struct fbuf_info info;

	if (geteuid())
		SKIP(return, "needs root");
	limits_save(&self->limits);
	ASSERT_EQ(0, listen_to(&self->nl));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	self->id = info.id;
}

FIXTURE_TEARDOWN(events)
{
	limits_restore(&self->limits);
	pool_unmake(&self->pool);
	nl_close(&self->nl);
	close(self->sock[0]);
	close(self->sock[1]);
}

TEST_F(events, created_and_destroyed)
{
	struct nl_row row;

	ASSERT_TRUE(event(&self->nl, FBUF_CMD_CREATED_NTF, self->id, &row));
	EXPECT_EQ(getuid(), row.val[FBUF_A_POOL_UID]);
	EXPECT_EQ(BUF_SIZE, row.val[FBUF_A_POOL_BUF_SIZE]);
	EXPECT_EQ(NR_BUFS, row.val[FBUF_A_POOL_NR_BUFS]);
	pool_unmake(&self->pool);
	EXPECT_TRUE(event(&self->nl, FBUF_CMD_DESTROYED_NTF, self->id, &row));
}

/* Not at the close, but when nothing is charged any more. */
TEST_F(events, destroyed_once_it_is_read)
{
	struct fbuf_seg seg;
	struct nl_row row;
	char got[100];

	ASSERT_EQ(1, pool_alloc(self->pool.fd, self->names, 1));
	seg = buf_seg(&self->pool, self->names[0], 0, 100);
	ASSERT_EQ(100, pool_send(self->pool.fd, self->sock[0], &seg, 1, 0, 0,
				 NULL));
	ASSERT_TRUE(event(&self->nl, FBUF_CMD_CREATED_NTF, self->id, &row));
	pool_unmake(&self->pool);
	while (!nl_next(&self->nl, &row, 300))
		EXPECT_NE(self->id, row.val[FBUF_A_POOL_ID]);
	ASSERT_EQ(100, read_full(self->sock[1], got, 100));
	EXPECT_TRUE(event(&self->nl, FBUF_CMD_DESTROYED_NTF, self->id, &row));
}

static int exhaust(struct _test_data_events *self)
{
	__u64 name;
	int i;

	for (i = 0; i < 3; i++) {
		if (pool_alloc(self->pool.fd, &name, 1) != -ENOBUFS)
			return -1;
	}
	return 0;
}

TEST_F(events, exhausted_once)
{
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	ASSERT_EQ(0, exhaust(self));
	pool_unmake(&self->pool);
	EXPECT_EQ(1, events_to_the_end(&self->nl, FBUF_CMD_EXHAUSTED_NTF,
				       self->id));
}

TEST_F(events, exhausted_again)
{
	struct nl_row row;

	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	ASSERT_EQ(0, exhaust(self));
	EXPECT_TRUE(event(&self->nl, FBUF_CMD_EXHAUSTED_NTF, self->id, &row));
	EXPECT_EQ(NR_BUFS, row.val[FBUF_A_POOL_HELD]);
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, self->names, 1));
	ASSERT_EQ(0, exhaust(self));
	pool_unmake(&self->pool);
	EXPECT_EQ(1, events_to_the_end(&self->nl, FBUF_CMD_EXHAUSTED_NTF,
				       self->id));
}

TEST_F(events, not_exhausted)
{
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	pool_unmake(&self->pool);
	EXPECT_EQ(0, events_to_the_end(&self->nl, FBUF_CMD_EXHAUSTED_NTF,
				       self->id));
}

TEST_F(events, stuck_once)
{
	struct fbuf_seg seg;
	struct nl_row row;
	struct stat st;
	char got[100];

	ASSERT_EQ(0, parameter_put("stuck_ms", 200));
	ASSERT_EQ(0, fstat(self->sock[0], &st));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, self->names, 1));
	seg = buf_seg(&self->pool, self->names[0], 0, 100);
	ASSERT_EQ(100, pool_send(self->pool.fd, self->sock[0], &seg, 1, 0, 0,
				 NULL));
	ASSERT_TRUE(event(&self->nl, FBUF_CMD_STUCK_NTF, self->id, &row));
	EXPECT_EQ(1ULL, row.val[FBUF_A_POOL_IN_FLIGHT]);
	EXPECT_LE(200ULL, row.val[FBUF_A_POOL_OLDEST_MS]);
	EXPECT_EQ(st.st_ino, row.val[FBUF_A_POOL_OLDEST_SOCK]);
	/* No second one, though it goes on. */
	EXPECT_EQ(-ETIMEDOUT, pool_wait(self->pool.fd, self->names, 1, 600));
	ASSERT_EQ(100, read_full(self->sock[1], got, 100));
	pool_unmake(&self->pool);
	EXPECT_EQ(0, events_to_the_end(&self->nl, FBUF_CMD_STUCK_NTF,
				       self->id));
}

/* Memory pressure: this calls every shrinker there is. */
#define NR_KEPT		2U

FIXTURE(pressure)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
};

FIXTURE_SETUP(pressure)
{
	unsigned int i;

	if (access(DROP_CACHES, W_OK))
		SKIP(return, "no " DROP_CACHES);
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	for (i = 0; i < NR_BUFS; i++)
		pattern_fill(buf_addr(&self->pool, self->names[i]), i, 0,
			     BUF_SIZE);
}

FIXTURE_TEARDOWN(pressure)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

static __u64 press(struct _test_data_pressure *self)
{
	file_put(DROP_CACHES, "2");
	return pool_resident(self->pool.fd);
}

/* Until so much of it is left. */
static bool press_to(struct _test_data_pressure *self, __u64 size)
{
	return wait_for(press(self) <= size, DEADLINE_MS);
}

static int free_all_but(struct _test_data_pressure *self, unsigned int nr)
{
	return pool_free(self->pool.fd, self->names + nr, NR_BUFS - nr);
}

TEST_F(pressure, free_buffers_go)
{
	struct fbuf_info info;

	EXPECT_EQ(POOL_SIZE, pool_resident(self->pool.fd));
	ASSERT_EQ((int)(NR_BUFS - NR_KEPT), free_all_but(self, NR_KEPT));
	EXPECT_TRUE(press_to(self, NR_KEPT * BUF_SIZE));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(NR_KEPT * BUF_SIZE, info.resident);
	/* So that it can come back. */
	EXPECT_EQ(POOL_SIZE, info.charged);
	EXPECT_EQ(POOL_SIZE, info.pool_size);
}

TEST_F(pressure, held_buffers_stay)
{
	unsigned int i;

	for (i = 0; i < 3; i++)
		EXPECT_EQ(POOL_SIZE, press(self));
	ASSERT_EQ((int)(NR_BUFS - NR_KEPT), free_all_but(self, NR_KEPT));
	EXPECT_TRUE(press_to(self, NR_KEPT * BUF_SIZE));
	for (i = 0; i < NR_KEPT; i++)
		EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool,
						       self->names[i]),
					      i, 0, BUF_SIZE));
}

TEST_F(pressure, back_on_alloc)
{
	__u64 again[NR_BUFS];
	unsigned int i;

	ASSERT_EQ((int)NR_BUFS, free_all_but(self, 0));
	EXPECT_TRUE(press_to(self, 0));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, again, NR_BUFS));
	for (i = 0; i < NR_BUFS; i++) {
		EXPECT_TRUE(is_all(buf_addr(&self->pool, again[i]), 0,
				   BUF_SIZE));
		pattern_fill(buf_addr(&self->pool, again[i]), i, 0, BUF_SIZE);
	}
	EXPECT_EQ(POOL_SIZE, pool_resident(self->pool.fd));
	EXPECT_EQ(POOL_SIZE, press(self));
	for (i = 0; i < NR_BUFS; i++)
		EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool, again[i]),
					      i, 0, BUF_SIZE));
}

/* They are not handed out, and mapped: that is use too. */
TEST_F(pressure, back_on_touch)
{
	struct pollfd p = { .fd = self->pool.fd, .events = POLLOUT };
	__u8 *at = buf_addr(&self->pool, self->names[3]);

	ASSERT_EQ((int)NR_BUFS, free_all_but(self, 0));
	EXPECT_TRUE(press_to(self, 0));
	EXPECT_TRUE(is_all(at, 0, BUF_SIZE));
	EXPECT_LE(BUF_SIZE, pool_resident(self->pool.fd));
	EXPECT_GT(POOL_SIZE, pool_resident(self->pool.fd));
	at[7] = 7;
	EXPECT_EQ(7, at[7]);
	/* It is one of those to be had, and only once. */
	EXPECT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	EXPECT_EQ(0, poll(&p, 1, 0));
}

/* And sent, without ever being touched. */
TEST_F(pressure, back_on_send)
{
	__u8 got[1000];
	struct fbuf_seg seg;
	__u64 name;

	ASSERT_EQ((int)NR_BUFS, free_all_but(self, 0));
	EXPECT_TRUE(press_to(self, 0));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
	seg = buf_seg(&self->pool, name, 100, sizeof(got));
	ASSERT_EQ(1000, pool_send(self->pool.fd, self->sock[0], &seg, 1, 0, 0,
				  NULL));
	ASSERT_EQ(1000, read_full(self->sock[1], got, sizeof(got)));
	EXPECT_TRUE(is_all(got, 0, sizeof(got)));
}

/* Free, but a packet refers to it. */
TEST_F(pressure, in_flight_stays)
{
	__u8 *got = malloc(BUF_SIZE);
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[0], 0,
				      BUF_SIZE);

	ASSERT_NE(NULL, got);
	ASSERT_EQ((ssize_t)BUF_SIZE, pool_send(self->pool.fd, self->sock[0],
					       &seg, 1, 0, 0, NULL));
	ASSERT_EQ((int)NR_BUFS, free_all_but(self, 0));
	EXPECT_TRUE(press_to(self, BUF_SIZE));
	EXPECT_EQ(BUF_SIZE, press(self));
	ASSERT_EQ((ssize_t)BUF_SIZE, read_full(self->sock[1], got, BUF_SIZE));
	EXPECT_EQ(-1, pattern_differs(got, 0, 0, BUF_SIZE));
	EXPECT_EQ(0, pool_wait_idle(self->pool.fd, NR_BUFS, DEADLINE_MS));
	EXPECT_TRUE(press_to(self, 0));
	free(got);
}

/* Free and idle when it was freed, but in a pipe by now. */
TEST_F(pressure, spliced_stays)
{
	struct iovec iov = { .iov_len = 4096 };
	struct fbuf_info info;
	__u8 got[4096];
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ((int)NR_BUFS, free_all_but(self, 0));
	iov.iov_base = buf_addr(&self->pool, self->names[0]);
	ASSERT_EQ(4096, vmsplice(fd[1], &iov, 1, 0));
	EXPECT_TRUE(press_to(self, BUF_SIZE));
	EXPECT_EQ(BUF_SIZE, press(self));
	/* Once is enough to see that it does not go. */
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(1U, info.nr_in_flight);
	EXPECT_EQ(-1, pattern_differs(iov.iov_base, 0, 0, BUF_SIZE));
	ASSERT_EQ(4096, read_full(fd[0], got, sizeof(got)));
	EXPECT_EQ(-1, pattern_differs(got, 0, 0, sizeof(got)));
	EXPECT_TRUE(press_to(self, 0));
	close(fd[0]);
	close(fd[1]);
}

/* Its memory goes, and what protected that: the next is protected anew. */
TEST_F(pressure, protection_goes_too)
{
	struct fbuf_seg seg;
	struct pool pool;
	__u64 name;
	char c;

	close(self->sock[0]);
	close(self->sock[1]);
	ASSERT_EQ(0, page_pair(self->sock));
	ASSERT_EQ(0, pool_make_flags(&pool, BUF_SIZE, 1, FBUF_POOL_SNAPSHOT));
	/* Until it has gone: then what is written is not there any more. */
	do {
		ASSERT_EQ(1, pool_alloc_wait(pool.fd, &name, 1, DEADLINE_MS));
		pool.map[1] = 1;
		seg = buf_seg(&pool, name, 0, 1);
		ASSERT_EQ(1, pool_send(pool.fd, self->sock[0], &seg, 1, 0, 0,
				       NULL));
		ASSERT_EQ(1, read(self->sock[1], &c, 1));
		ASSERT_EQ(1, pool_free(pool.fd, &name, 1));
		file_put(DROP_CACHES, "2");
		ASSERT_EQ(1, pool_alloc_wait(pool.fd, &name, 1, DEADLINE_MS));
	} while (pool.map[1] && pool_free(pool.fd, &name, 1) == 1);
	EXPECT_EQ(BUF_SIZE, pool_charged(&pool));
	seg = buf_seg(&pool, name, 0, 1);
	ASSERT_EQ(1, pool_send(pool.fd, self->sock[0], &seg, 1, 0, 0, NULL));
	EXPECT_EQ(2 * BUF_SIZE, pool_charged(&pool));
	pool.map[1] = 2;
	EXPECT_EQ(2 * BUF_SIZE, pool_charged(&pool));
	ASSERT_EQ(1, read(self->sock[1], &c, 1));
	EXPECT_TRUE(wait_for(pool_charged(&pool) == BUF_SIZE, DEADLINE_MS));
	pool_unmake(&pool);
}

/* What calls do is counted, once each; what they refuse to do is not. */
TEST(counted)
{
	__u64 names[3], gone = 1ULL << 40;
	struct nl_arg arg = { FBUF_A_STATS_POOL_ID, 8, 0 };
	struct fbuf_info info;
	struct fbuf_seg seg;
	struct pool pool;
	struct nl_row row;
	struct ring ring;
	int sock[2], fd;
	struct nl nl;

	ASSERT_EQ(0, nl_open(&nl));
	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, pool_make_flags(&pool, BUF_SIZE, NR_BUFS,
				     FBUF_POOL_SNAPSHOT));
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	arg.val = info.id;
	fd = pool_share(pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ring_make(&ring, fd, FBUF_RING_ACCEPT, 8, 0));

	ASSERT_EQ(2, pool_alloc(pool.fd, names, 2));
	ASSERT_EQ(1, pool_alloc(pool.fd, names + 2, 1));
	EXPECT_EQ(-EINVAL, pool_batch(pool.fd, FBUF_IOC_ALLOC, &gone, 1, ~0U,
				      0));
	seg = buf_seg(&pool, names[0], 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)BUF_SIZE,
		  pool_send(pool.fd, sock[0], &seg, 1, 0,
			    FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE, NULL));
	buf_addr(&pool, names[0])[0]++;
	seg.len = 0;
	EXPECT_EQ(-EINVAL, pool_send(pool.fd, sock[0], &seg, 1, 0, 0, NULL));
	EXPECT_EQ(1, pool_pass_one(pool.fd, pool_handle(fd), names[1], 0));
	EXPECT_EQ(-ESTALE, pool_pass_one(pool.fd, pool_handle(fd), names[1],
					 0));
	ASSERT_EQ(1, pool_free(pool.fd, names, 1));
	ASSERT_EQ(1, pool_free(pool.fd, names + 2, 1));
	EXPECT_EQ(-ESTALE, pool_free(pool.fd, names, 1));

	ASSERT_EQ(0, nl_do(&nl, FBUF_CMD_STATS_GET, &arg, 1, &row));
	EXPECT_EQ(1ULL, row.val[FBUF_A_STATS_SENDS]);
	EXPECT_EQ(BUF_SIZE, row.val[FBUF_A_STATS_BYTES]);
	EXPECT_EQ(3ULL, row.val[FBUF_A_STATS_ALLOCS]);
	EXPECT_EQ(2ULL, row.val[FBUF_A_STATS_FREES]);
	EXPECT_EQ(1ULL, row.val[FBUF_A_STATS_PASSES]);
	EXPECT_EQ(1ULL, row.val[FBUF_A_STATS_PROTECTS]);
	EXPECT_EQ(1ULL, row.val[FBUF_A_STATS_SNAPSHOTS]);
	EXPECT_EQ(0ULL, row.val[FBUF_A_STATS_RECLAIMS]);
	EXPECT_EQ(0ULL, row.val[FBUF_A_STATS_FILLS]);
	ring_unmake(&ring);
	close(fd);
	pool_unmake(&pool);
	close(sock[0]);
	close(sock[1]);
	nl_close(&nl);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
