// SPDX-License-Identifier: GPL-2.0
/*
 * Many pools that come and go while others look at them: no number is used again,
 * a dump has each pool that is there all the time, and has it once, and what pools
 * did is in the totals once, whether they are there or not. The events of each come
 * in order.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "nl.h"
#include "util.h"

#define NR_MAKERS	2U
#define NR_TURNS	1500U	/* pools that a maker makes */
#define STAYS_OF	12U	/* one of so many stays to the end */
#define NR_STAY		(NR_TURNS / STAYS_OF)
#define NR_ROWS		1024U

/* Makes pools, allocates once in each, and closes most of them. */
struct maker {
	struct _test_data_storm *self;
	pthread_t thread;
	unsigned int nr_stay;
	int fd[NR_STAY];
	__u64 id[NR_STAY];
	int err;
};

FIXTURE(storm)
{
	struct nl nl;
	struct nl_row *rows;
	int control;
	__u64 newest;		/* the greatest number that was seen */
	__u64 before;		/* ALLOCs in the totals at first */
	unsigned int begun;	/* ALLOCs, begun and ended */
	unsigned int ended;
	struct maker makers[NR_MAKERS];
	unsigned int working;
};

static __u64 all_allocs(struct nl *nl)
{
	struct nl_row row;

	if (nl_do(nl, FBUF_CMD_STATS_GET, NULL, 0, &row))
		return ~0ULL;
	return row.val[FBUF_A_STATS_ALLOCS];
}

FIXTURE_SETUP(storm)
{
	if (geteuid())
		SKIP(return, "only root sees all pools");
	ASSERT_EQ(0, nl_open(&self->nl));
	self->control = control_open();
	ASSERT_LE(0, self->control);
	self->rows = calloc(NR_ROWS, sizeof(*self->rows));
	ASSERT_NE(NULL, self->rows);
	self->before = all_allocs(&self->nl);
}

FIXTURE_TEARDOWN(storm)
{
	free(self->rows);
	nl_close(&self->nl);
	close(self->control);
}

static void see(__u64 *newest, __u64 id)
{
	__u64 old = __atomic_load_n(newest, __ATOMIC_SEQ_CST);

	while (old < id &&
	       !__atomic_compare_exchange_n(newest, &old, id, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

static int make_one(struct maker *m, unsigned int turn)
{
	struct _test_data_storm *self = m->self;
	__u64 name, seen = __atomic_load_n(&self->newest, __ATOMIC_SEQ_CST);
	struct fbuf_info info;
	int fd;

	fd = pool_create_on(self->control, PAGE, 1, 0);
	if (fd < 0)
		return fd;
	if (pool_info(fd, &info) || info.id <= seen)
		return -EEXIST;
	see(&self->newest, info.id);
	__atomic_add_fetch(&self->begun, 1, __ATOMIC_SEQ_CST);
	if (pool_alloc(fd, &name, 1) != 1)
		return -ENOBUFS;
	__atomic_add_fetch(&self->ended, 1, __ATOMIC_SEQ_CST);
	if (turn % STAYS_OF || m->nr_stay == NR_STAY)
		return close(fd);
	m->fd[m->nr_stay] = fd;
	m->id[m->nr_stay] = info.id;
	__atomic_store_n(&m->nr_stay, m->nr_stay + 1, __ATOMIC_SEQ_CST);
	return 0;
}

static void *make_run(void *arg)
{
	struct maker *m = arg;
	unsigned int turn;

	for (turn = 0; turn < NR_TURNS / slower() && !m->err; turn++)
		m->err = make_one(m, turn);
	__atomic_sub_fetch(&m->self->working, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static bool has_row(const struct nl_row *rows, int nr, int attr, __u64 id)
{
	int low = 0, mid;

	while (low < nr) {
		mid = low + (nr - low) / 2;
		if (rows[mid].val[attr] == id)
			return true;
		if (rows[mid].val[attr] < id)
			low = mid + 1;
		else
			nr = mid;
	}
	return false;
}

/*
 * One dump, whose rows have the pool's number in @attr: 0 if they are by number,
 * none is there twice, and none of those that stay is missing.
 */
static int dump(struct _test_data_storm *self, __u8 cmd, int attr)
{
	unsigned int stay[NR_MAKERS], i, j;
	int nr, row;

	for (i = 0; i < NR_MAKERS; i++)
		stay[i] = __atomic_load_n(&self->makers[i].nr_stay,
					  __ATOMIC_SEQ_CST);
	nr = nl_dump(&self->nl, cmd, self->rows, NR_ROWS);
	if (nr < 0 || nr > (int)NR_ROWS)
		return nr < 0 ? nr : -E2BIG;
	for (row = 1; row < nr; row++) {
		if (self->rows[row].val[attr] <= self->rows[row - 1].val[attr])
			return -EEXIST;
	}
	for (i = 0; i < NR_MAKERS; i++) {
		for (j = 0; j < stay[i]; j++) {
			if (!has_row(self->rows, nr, attr,
				     self->makers[i].id[j]))
				return -ENOENT;
		}
	}
	return 0;
}

/* Whether the totals have no fewer ALLOCs than had ended, no more than had begun. */
static bool totals_fit(struct _test_data_storm *self, struct nl *nl)
{
	__u64 ended = __atomic_load_n(&self->ended, __ATOMIC_SEQ_CST);
	__u64 all = all_allocs(nl) - self->before;

	return all >= ended &&
	       all <= __atomic_load_n(&self->begun, __ATOMIC_SEQ_CST);
}

static bool working(struct _test_data_storm *self)
{
	return __atomic_load_n(&self->working, __ATOMIC_SEQ_CST);
}

/* Asks for them all the time; returns an error as a pointer. */
static void *totals_run(void *arg)
{
	struct _test_data_storm *self = arg;
	long err = 0;
	struct nl nl;

	if (nl_open(&nl))
		return (void *)-EIO;
	while (!err && working(self)) {
		if (!totals_fit(self, &nl))
			err = -ERANGE;
	}
	nl_close(&nl);
	return (void *)err;
}

/* Whether there is one row for each user, and his pools are those that stay. */
static bool users_fit(struct _test_data_storm *self)
{
	unsigned int stay = __atomic_load_n(&self->makers[0].nr_stay,
					    __ATOMIC_SEQ_CST);
	int i, mine = 0, nr;

	nr = nl_dump(&self->nl, FBUF_CMD_LIMIT_GET, self->rows, NR_ROWS);
	for (i = 0; i < nr && i < (int)NR_ROWS; i++) {
		if (self->rows[i].val[FBUF_A_LIMIT_UID] != getuid())
			continue;
		mine++;
		if (self->rows[i].val[FBUF_A_LIMIT_POOLS] < stay)
			return false;
	}
	return mine <= 1 && (mine || !stay);
}

static void makers_start(struct __test_metadata *const _metadata,
			 struct _test_data_storm *self)
{
	unsigned int i;

	self->working = NR_MAKERS;
	for (i = 0; i < NR_MAKERS; i++) {
		self->makers[i].self = self;
		ASSERT_EQ(0, pthread_create(&self->makers[i].thread, NULL,
					    make_run, &self->makers[i]));
	}
}

static void makers_end(struct __test_metadata *const _metadata,
		       struct _test_data_storm *self)
{
	unsigned int i, j;

	for (i = 0; i < NR_MAKERS; i++) {
		struct maker *m = &self->makers[i];

		pthread_join(m->thread, NULL);
		EXPECT_EQ(0, m->err);
		for (j = 0; j < m->nr_stay; j++)
			close(m->fd[j]);
	}
}

TEST_F_TIMEOUT(storm, dumps_and_totals, 120)
{
	unsigned int looks = 0;
	pthread_t totals;
	void *err;

	makers_start(_metadata, self);
	ASSERT_EQ(0, pthread_create(&totals, NULL, totals_run, self));
	do {
		EXPECT_EQ(0, dump(self, FBUF_CMD_POOL_GET, FBUF_A_POOL_ID));
		EXPECT_EQ(0, dump(self, FBUF_CMD_HANDLE_GET,
				  FBUF_A_HANDLE_POOL_ID));
		EXPECT_EQ(0, dump(self, FBUF_CMD_STATS_GET,
				  FBUF_A_STATS_POOL_ID));
		EXPECT_TRUE(users_fit(self));
		looks++;
	} while (working(self));
	makers_end(_metadata, self);
	pthread_join(totals, &err);
	EXPECT_EQ(NULL, err);
	EXPECT_EQ(NR_MAKERS * (NR_TURNS / slower()),
		  all_allocs(&self->nl) - self->before);
	TH_LOG("looked %u times", looks);
}

/* Events of many pools: what was told of each, a letter an event. */
#define NR_TOLD		400U	/* pools that a teller makes */
#define NR_STUCK	16U
#define TOLD_MAX	8U
#define STUCK_MS	"/sys/module/fbuf/parameters/stuck_ms"

struct teller {
	struct _test_data_told *self;
	pthread_t thread;
	int err;
};

FIXTURE(told)
{
	struct nl nl;
	int control;
	__u64 first;		/* number of the first pool */
	char (*told)[TOLD_MAX];
	unsigned int stuck;
	unsigned int gone;
	struct teller tellers[NR_MAKERS];
};

static int first_id(int control, __u64 *id)
{
	struct fbuf_info info = {};
	int fd = pool_create_on(control, PAGE, 1, 0);
	int err = fd < 0 ? fd : pool_info(fd, &info);

	if (fd >= 0)
		close(fd);
	*id = info.id + 1;
	return err;
}

FIXTURE_SETUP(told)
{
	int size = 64 << 20;
	struct nl_row row;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, nl_open(&self->nl));
	self->control = control_open();
	ASSERT_LE(0, self->control);
	ASSERT_EQ(0, setsockopt(self->nl.fd, SOL_SOCKET, SO_RCVBUFFORCE, &size,
				sizeof(size)));
	self->told = calloc(NR_MAKERS * NR_TOLD, sizeof(*self->told));
	ASSERT_NE(NULL, self->told);
	ASSERT_EQ(0, first_id(self->control, &self->first));
	ASSERT_EQ(0, nl_join(&self->nl));
	/* Whoever joins makes a request, to begin. */
	ASSERT_LE(0, nl_dump(&self->nl, FBUF_CMD_POOL_GET, &row, 1));
}

FIXTURE_TEARDOWN(told)
{
	free(self->told);
	nl_close(&self->nl);
	close(self->control);
}

/* Notes the next event; what does not fit there is wrong by its end. */
static int note(struct _test_data_told *self)
{
	static const char letters[] = {
		[FBUF_CMD_CREATED_NTF] = 'c', [FBUF_CMD_EXHAUSTED_NTF] = 'e',
		[FBUF_CMD_STUCK_NTF] = 's', [FBUF_CMD_DESTROYED_NTF] = 'd',
	};
	struct nl_row row;
	int err = nl_next(&self->nl, &row, DEADLINE_MS);
	__u64 at = row.val[FBUF_A_POOL_ID] - self->first;
	char *told;

	if (err || at >= NR_MAKERS * NR_TOLD)
		return err;
	if (row.cmd >= sizeof(letters) || !letters[row.cmd])
		return -EBADMSG;
	told = self->told[at];
	if (strlen(told) == TOLD_MAX - 1)
		return -E2BIG;
	told[strlen(told)] = letters[row.cmd];
	self->stuck += row.cmd == FBUF_CMD_STUCK_NTF;
	self->gone += row.cmd == FBUF_CMD_DESTROYED_NTF;
	return 0;
}

/* A pool of one buffer, with which nobody gets a second one. */
static int exhausted_pool(int control, __u64 *name)
{
	__u64 none;
	int fd = pool_create_on(control, PAGE, 1, 0);

	if (fd < 0)
		return fd;
	if (pool_alloc(fd, name, 1) == 1 && pool_alloc(fd, &none, 1) == -ENOBUFS)
		return fd;
	close(fd);
	return -EIO;
}

static void *tell_run(void *arg)
{
	struct teller *t = arg;
	unsigned int i;
	__u64 name;
	int fd;

	for (i = 0; i < NR_TOLD / slower() && !t->err; i++) {
		fd = exhausted_pool(t->self->control, &name);
		t->err = fd < 0 ? fd : close(fd);
	}
	return NULL;
}

/* Each is made first and gone last, and nothing is lost or told twice. */
TEST_F_TIMEOUT(told, in_order, 120)
{
	unsigned int i, all = NR_MAKERS * (NR_TOLD / slower());
	int err = 0;

	for (i = 0; i < NR_MAKERS; i++) {
		self->tellers[i].self = self;
		ASSERT_EQ(0, pthread_create(&self->tellers[i].thread, NULL,
					    tell_run, &self->tellers[i]));
	}
	while (!err && self->gone < all)
		err = note(self);
	EXPECT_EQ(0, err);
	for (i = 0; i < NR_MAKERS; i++) {
		pthread_join(self->tellers[i].thread, NULL);
		EXPECT_EQ(0, self->tellers[i].err);
	}
	for (i = 0; i < all; i++)
		EXPECT_STREQ("ced", self->told[i]);
}

/* As does a pool of which something is stuck. */
TEST_F(told, stuck_in_order)
{
	int fd[NR_STUCK], sock[NR_STUCK][2], err = 0;
	struct fbuf_seg seg;
	unsigned int i;
	__u64 name;

	ASSERT_EQ(0, file_put(STUCK_MS, "50"));
	for (i = 0; i < NR_STUCK; i++) {
		ASSERT_EQ(0, page_pair(sock[i]));
		fd[i] = exhausted_pool(self->control, &name);
		ASSERT_LE(0, fd[i]);
		seg = named_seg(name, 0, PAGE);
		ASSERT_EQ((int)PAGE, pool_send(fd[i], sock[i][0], &seg, 1, 0, 0,
					       NULL));
	}
	while (!err && self->stuck < NR_STUCK)
		err = note(self);
	EXPECT_EQ(0, err);
	for (i = 0; i < NR_STUCK; i++) {
		close(fd[i]);
		close(sock[i][0]);
		close(sock[i][1]);
	}
	while (!err && self->gone < NR_STUCK)
		err = note(self);
	EXPECT_EQ(0, err);
	EXPECT_EQ(0, file_put(STUCK_MS, "10000"));
	for (i = 0; i < NR_STUCK; i++)
		EXPECT_STREQ("cesd", self->told[i]);
}

#define BIG_BUFS	32768U
#define MOST_KEPT	2U	/* ALLOCs that wait for a dump that keeps the lock */

/* ALLOCs now and then; counts those that waited. */
struct asker {
	pthread_t thread;
	int fd;
	bool stop;
	unsigned int waited;
	int err;
};

static int ask(struct asker *a)
{
	struct rusage before, after;
	__u64 name;

	getrusage(RUSAGE_THREAD, &before);
	if (pool_alloc(a->fd, &name, 1) != 1)
		return -ENOBUFS;
	getrusage(RUSAGE_THREAD, &after);
	if (after.ru_nvcsw != before.ru_nvcsw)
		__atomic_add_fetch(&a->waited, 1, __ATOMIC_SEQ_CST);
	return pool_free(a->fd, &name, 1) != 1;
}

static void *ask_run(void *arg)
{
	struct sched_param first = { .sched_priority = 1 };
	struct timespec nap = { .tv_nsec = 20000 };
	struct asker *a = arg;

	pin_to_cpu(0);
	pthread_setschedparam(pthread_self(), SCHED_FIFO, &first);
	while (!a->err && !__atomic_load_n(&a->stop, __ATOMIC_SEQ_CST)) {
		a->err = ask(a);
		nanosleep(&nap, NULL);
	}
	return NULL;
}

/*
 * A dump does not have the lock for as long as it looks at the buffers of a pool: it
 * would keep one ALLOC of the thread waiting, and another one may be counted late.
 */
TEST(alloc_beside_a_dump)
{
	struct asker a = { .fd = pool_create(PAGE, BIG_BUFS) };
	long end = now_ms() + DEADLINE_MS;
	unsigned int before, waited, most = 0, dumps = 0;
	struct nl nl;

	ASSERT_LE(0, a.fd);
	ASSERT_EQ(0, nl_open(&nl));
	ASSERT_EQ(0, pin_to_cpu(0));
	ASSERT_EQ(0, pthread_create(&a.thread, NULL, ask_run, &a));
	do {
		before = __atomic_load_n(&a.waited, __ATOMIC_SEQ_CST);
		EXPECT_LE(1, nl_dump(&nl, FBUF_CMD_POOL_GET, NULL, 0));
		waited = __atomic_load_n(&a.waited, __ATOMIC_SEQ_CST) - before;
		if (waited > most)
			most = waited;
		dumps++;
	} while (most <= MOST_KEPT && now_ms() < end);
	__atomic_store_n(&a.stop, true, __ATOMIC_SEQ_CST);
	pthread_join(a.thread, NULL);
	EXPECT_EQ(0, a.err);
	EXPECT_LT(MOST_KEPT, most);
	TH_LOG("%u ALLOCs waited for one of %u dumps", most, dumps);
	nl_close(&nl);
	close(a.fd);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
