// SPDX-License-Identifier: GPL-2.0
/*
 * With cgroup_alone, a memory cgroup bounds the pools that are made in it, and
 * RLIMIT_MEMLOCK does not: but nobody gets more by that than root gave to the group.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kselftest_harness.h"
#include "nl.h"
#include "util.h"

#define CGROUPS		"/sys/fs/cgroup"
#define ALONE		"/sys/module/fbuf/parameters/cgroup_alone"
#define BUF_SIZE	65536U
/* What the user may lock, in buffers; a pool of more; and what the group may have. */
#define LOCKED		8U
#define MORE		32U
#define GROUP_MAX	"16M"
#define GROUP_BUFS	256U

FIXTURE(bound)
{
	char base[64];
	char group[96];		/* in @base */
	char inner[128];	/* in @group; not every case makes it */
	char free[96];		/* in @base, without a limit */
	int control;
	uid_t uid;
	char before[2];
	struct nl nl;
};

static int group_make(struct _test_data_bound *self)
{
	if (mkdir(self->group, 0755))
		return -errno;
	return put_file(self->group, "memory.max", GROUP_MAX);
}

/* One for which memory is counted as well. */
static int inner_make(struct _test_data_bound *self)
{
	int err = put_file(self->group, "cgroup.subtree_control", "+memory");

	return err ?: mkdir(self->inner, 0755);
}

/* Nobody is in there, if one who was is not quite gone. */
static bool group_remove(struct _test_data_bound *self)
{
	return wait_for(!rmdir(self->group), DEADLINE_MS);
}

FIXTURE_SETUP(bound)
{
	int fd;

	if (geteuid())
		SKIP(return, "needs root");
	snprintf(self->base, sizeof(self->base), CGROUPS "/fbuf-bound-%d",
		 getpid());
	snprintf(self->group, sizeof(self->group), "%s/group", self->base);
	snprintf(self->free, sizeof(self->free), "%s/free", self->base);
	snprintf(self->inner, sizeof(self->inner), "%s/inner", self->group);
	if (put_file(CGROUPS, "cgroup.subtree_control", "+memory") ||
	    mkdir(self->base, 0755))
		SKIP(return, "no memory cgroup");
	ASSERT_EQ(0, put_file(self->base, "cgroup.subtree_control", "+memory"));
	ASSERT_EQ(0, group_make(self));
	ASSERT_EQ(0, mkdir(self->free, 0755));
	fd = open(ALONE, O_RDONLY);
	ASSERT_EQ(1, read(fd, self->before, 1));
	close(fd);
	ASSERT_EQ(0, file_put(ALONE, "Y"));
	self->control = control_open();
	ASSERT_LE(0, self->control);
	self->uid = 100000 + getpid();
	ASSERT_EQ(0, nl_open(&self->nl));
}

FIXTURE_TEARDOWN(bound)
{
	file_put(ALONE, self->before);
	close(self->control);
	rmdir(self->inner);
	group_remove(self);
	wait_for(!rmdir(self->free), DEADLINE_MS);
	rmdir(self->base);
}

static int user_pool(struct _test_data_bound *self, const char *group,
		     unsigned int nr, __u32 flags)
{
	struct rlimit limit = { LOCKED * BUF_SIZE, LOCKED * BUF_SIZE };
	int err;

	err = put_file(group, "cgroup.procs", "0");
	if (!err && setrlimit(RLIMIT_MEMLOCK, &limit))
		err = -errno;
	err = err ?: become(self->uid);
	return err ?: pool_create_on(self->control, BUF_SIZE, nr, flags);
}

/* A pool that the user makes in a group, and hands on before he is gone; or an error. */
static int make_in(struct _test_data_bound *self, const char *group,
		   unsigned int nr, __u32 flags)
{
	int sock[2], fd, status;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sock))
		return -errno;
	pid = fork();
	if (!pid) {
		fd = user_pool(self, group, nr, flags);
		if (fd < 0)
			_exit(-fd);
		_exit(fd_pass(sock[0], fd) ? 255 : 0);
	}
	status = pid < 0 ? -1 : child_status(pid);
	fd = status ? -abs(status) : fd_take(sock[1]);
	close(sock[0]);
	close(sock[1]);
	return fd;
}

/* Whether a pool can be made there, and no more of it. */
static int try_in(struct _test_data_bound *self, const char *group,
		  unsigned int nr)
{
	int fd = make_in(self, group, nr, 0);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static bool by_cgroup(struct _test_data_bound *self, int fd)
{
	struct fbuf_info info;
	struct nl_row row;

	return !pool_info(fd, &info) && !nl_pool(&self->nl, info.id, &row) &&
	       row.has[FBUF_A_POOL_BY_CGROUP];
}

TEST_F(bound, off_by_default)
{
	EXPECT_EQ('N', self->before[0]);
	ASSERT_EQ(0, file_put(ALONE, "N"));
	EXPECT_EQ(-ENOMEM, try_in(self, self->group, MORE));
	EXPECT_EQ(0, try_in(self, self->group, LOCKED));
}

TEST_F(bound, more_than_memlock)
{
	int fd[2];

	fd[0] = make_in(self, self->group, MORE, 0);
	ASSERT_LE(0, fd[0]);
	EXPECT_TRUE(by_cgroup(self, fd[0]));
	EXPECT_LE((long long)MORE * BUF_SIZE, get_file(self->group, "memory.current", NULL));
	/* Nor is it locked by the user's other account. */
	fd[1] = make_in(self, self->free, LOCKED, 0);
	EXPECT_LE(0, fd[1]);
	EXPECT_FALSE(by_cgroup(self, fd[1]));
	EXPECT_EQ(-ENOMEM, try_in(self, self->free, 1));
	close(fd[1]);
	close(fd[0]);
	EXPECT_EQ(0, try_in(self, self->free, LOCKED));
}

/* By netlink, where root alone may; what is there stays as it is. */
TEST_F(bound, set_by_netlink)
{
	struct nl_arg arg = { FBUF_A_LIMIT_CGROUP_ALONE, 4, 0 };
	struct nl_row row;
	int fd;

	fd = make_in(self, self->group, MORE, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, nl_do(&self->nl, FBUF_CMD_LIMIT_SET, &arg, 1, NULL));
	ASSERT_EQ(0, nl_do(&self->nl, FBUF_CMD_LIMIT_GET, NULL, 0, &row));
	EXPECT_TRUE(row.has[FBUF_A_LIMIT_CGROUP_ALONE]);
	EXPECT_EQ(0ULL, row.val[FBUF_A_LIMIT_CGROUP_ALONE]);
	EXPECT_EQ(-ENOMEM, try_in(self, self->group, MORE));
	EXPECT_TRUE(by_cgroup(self, fd));
	arg.val = 2;
	EXPECT_GT(0, nl_do(&self->nl, FBUF_CMD_LIMIT_SET, &arg, 1, NULL));
	arg.val = 1;
	ASSERT_EQ(0, nl_do(&self->nl, FBUF_CMD_LIMIT_SET, &arg, 1, NULL));
	EXPECT_EQ(0, try_in(self, self->group, MORE));
	close(fd);
	/* The account is even: he may lock as much as ever, and no more. */
	EXPECT_EQ(0, try_in(self, self->free, LOCKED));
	EXPECT_EQ(-ENOMEM, try_in(self, self->free, LOCKED + 1));
}

TEST_F(bound, not_without_a_limit)
{
	ASSERT_EQ(0, put_file(self->group, "memory.max", "max"));
	EXPECT_EQ(-ENOMEM, try_in(self, self->group, MORE));
	/* memory.high alone slows down, and bounds nothing. */
	ASSERT_EQ(0, put_file(self->group, "memory.high", GROUP_MAX));
	EXPECT_EQ(-ENOMEM, try_in(self, self->group, MORE));
	EXPECT_EQ(0, try_in(self, self->group, LOCKED));
}

TEST_F(bound, limit_further_up)
{
	ASSERT_EQ(0, inner_make(self));
	EXPECT_EQ(0, try_in(self, self->inner, MORE));
	EXPECT_EQ(-ENOMEM, try_in(self, self->inner, 2 * GROUP_BUFS));
}

/* The group is the user's, as that of his session is: its limit is root's, the inner's is not. */
TEST_F(bound, limit_of_ones_own)
{
	char path[256];
	pid_t pid;

	ASSERT_EQ(0, put_file(self->group, "memory.max", "max"));
	ASSERT_EQ(0, chown(self->group, self->uid, self->uid));
	ASSERT_EQ(0, put_file(self->group, "cgroup.subtree_control", "+memory"));
	pid = fork();
	if (!pid)
		_exit(become(self->uid) || mkdir(self->inner, 0755) ||
		      put_file(self->inner, "memory.max", GROUP_MAX));
	ASSERT_EQ(0, child_status(pid));
	EXPECT_EQ(-ENOMEM, try_in(self, self->inner, MORE));
	ASSERT_EQ(0, put_file(self->group, "memory.max", GROUP_MAX));
	EXPECT_EQ(0, try_in(self, self->inner, MORE));

	snprintf(path, sizeof(path), "%s/memory.max", self->group);
	ASSERT_EQ(0, chown(path, self->uid, -1));
	EXPECT_EQ(-ENOMEM, try_in(self, self->inner, MORE));
	ASSERT_EQ(0, chown(path, 0, -1));
	EXPECT_EQ(0, try_in(self, self->inner, MORE));
	ASSERT_EQ(0, chmod(path, 0664));
	EXPECT_EQ(-ENOMEM, try_in(self, self->inner, MORE));
	ASSERT_EQ(0, chmod(path, 0646));
	EXPECT_EQ(-ENOMEM, try_in(self, self->inner, MORE));
	ASSERT_EQ(0, chmod(path, 0644));
	EXPECT_EQ(0, try_in(self, self->inner, MORE));
}

/* As a shell's ">" does. */
TEST_F(bound, limit_written_anew)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/memory.max", self->group);
	fd = open(path, O_WRONLY | O_TRUNC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(3, write(fd, GROUP_MAX, 3));
	close(fd);
	EXPECT_EQ(0, try_in(self, self->group, MORE));
}

/* The user has what the group may have, and not a page more. */
TEST_F(bound, limit_holds)
{
	int fd[2];

	EXPECT_EQ(-ENOMEM, try_in(self, self->group, GROUP_BUFS + 1));
	fd[0] = make_in(self, self->group, GROUP_BUFS / 2, 0);
	ASSERT_LE(0, fd[0]);
	EXPECT_EQ(-ENOMEM, try_in(self, self->group, GROUP_BUFS / 2 + 1));
	fd[1] = make_in(self, self->group, GROUP_BUFS / 4, 0);
	EXPECT_LE(0, fd[1]);
	EXPECT_GE(16LL << 20, get_file(self->group, "memory.current", NULL));
	close(fd[0]);
	close(fd[1]);
}

TEST_F(bound, limits_of_the_module_hold)
{
	__u64 user_max = parameter_get("user_max");

	ASSERT_EQ(0, parameter_put("user_max", MORE * BUF_SIZE));
	EXPECT_EQ(0, try_in(self, self->group, MORE));
	EXPECT_EQ(-EDQUOT, try_in(self, self->group, MORE + 1));
	parameter_put("user_max", user_max);
}

static int touch_in_child(const struct pool *pool, __u64 name, bool write)
{
	__u8 *at = pool->map + FBUF_NAME_INDEX(name) * BUF_SIZE;
	pid_t pid = fork();

	if (pid)
		return pid < 0 ? -errno : child_status(pid);
	if (write)
		__atomic_store_n(at, 7, __ATOMIC_RELAXED);
	else
		__atomic_load_n(at, __ATOMIC_RELAXED);
	_exit(0);
}

/*
 * A lazy pool for all memory that there is: once its group is gone, what is touched would
 * be charged to the one above it, without a limit.
 */
TEST_F(bound, nothing_after_the_group)
{
	struct fbuf_fill fill = { .size = sizeof(fill), .len = 1 };
	__u64 names[4];
	struct pool pool;
	__u64 resident;
	struct fbuf_info info;

	ASSERT_EQ(0, pool_map(&pool, make_in(self, self->group, MORE,
					     FBUF_POOL_LAZY),
			      PROT_READ | PROT_WRITE));
	ASSERT_EQ(4, pool_alloc(pool.fd, names, 4));
	EXPECT_EQ(0, touch_in_child(&pool, names[0], true));
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	resident = info.resident;
	EXPECT_LT(0ULL, resident);
	ASSERT_TRUE(group_remove(self));
	EXPECT_EQ(-SIGBUS, touch_in_child(&pool, names[1], true));
	EXPECT_EQ(-SIGBUS, touch_in_child(&pool, names[2], false));
	fill.fd = open("/dev/zero", O_RDONLY);
	fill.name = names[3];
	EXPECT_EQ(-1, ioctl(pool.fd, FBUF_IOC_FILL, &fill));
	EXPECT_EQ(ENOMEM, errno);
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	EXPECT_EQ(resident, info.resident);
	/* What is there is as it was. */
	EXPECT_EQ(0, touch_in_child(&pool, names[0], true));
	close(fill.fd);
	pool_unmake(&pool);
	ASSERT_EQ(0, group_make(self));
}

/* Where an inner group goes, the one above it bounds what is touched. */
TEST_F(bound, inner_group_goes)
{
	__u64 names[2];
	struct pool pool;

	ASSERT_EQ(0, inner_make(self));
	ASSERT_EQ(0, pool_map(&pool, make_in(self, self->inner, MORE,
					     FBUF_POOL_LAZY),
			      PROT_READ | PROT_WRITE));
	ASSERT_EQ(2, pool_alloc(pool.fd, names, 2));
	ASSERT_TRUE(wait_for(!rmdir(self->inner), DEADLINE_MS));
	EXPECT_EQ(0, touch_in_child(&pool, names[0], true));
	ASSERT_TRUE(group_remove(self));
	EXPECT_EQ(-SIGBUS, touch_in_child(&pool, names[1], true));
	pool_unmake(&pool);
	ASSERT_EQ(0, group_make(self));
}

/*
 * Snapshots take memory at a write, whoever writes. If the group is full, nobody outside
 * pays for it: else a user would have any number of them by writing from there.
 */
TEST_F(bound, copies_are_in_the_group)
{
	struct fbuf_fill fill = { .size = sizeof(fill), .len = 1 };
	__u64 names[MORE], more;
	struct fbuf_info info;
	struct fbuf_seg seg;
	struct pool pool;
	int sock[2], ret = 0;
	char max[32];
	unsigned int i;

	ASSERT_EQ(0, page_pair(sock));
	ASSERT_EQ(0, pool_map(&pool, make_in(self, self->group, MORE,
					     FBUF_POOL_SNAPSHOT),
			      PROT_READ | PROT_WRITE));
	ASSERT_EQ((int)MORE, pool_alloc(pool.fd, names, MORE));
	for (i = 0; i < MORE; i++) {
		seg = buf_seg(&pool, names[i], 0, 1);
		ASSERT_EQ(1, pool_send(pool.fd, sock[0], &seg, 1, 0, 0, NULL));
	}
	more = get_file(self->group, "memory.current", NULL) + MORE / 2 * BUF_SIZE;
	snprintf(max, sizeof(max), "%llu", more);
	ASSERT_EQ(0, put_file(self->group, "memory.max", max));
	for (i = 0; i < MORE && !ret; i += !ret)
		ret = touch_in_child(&pool, names[i], true);
	EXPECT_EQ(-SIGBUS, ret);
	EXPECT_LT(0U, i);
	fill.name = names[MORE - 1];
	fill.fd = open("/dev/zero", O_RDONLY);
	EXPECT_EQ(-1, ioctl(pool.fd, FBUF_IOC_FILL, &fill));
	EXPECT_EQ(ENOMEM, errno);
	close(fill.fd);
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	EXPECT_EQ(i, info.snapshots);
	EXPECT_GE(more, (__u64)get_file(self->group, "memory.current", NULL));
	ASSERT_EQ(0, put_file(self->group, "memory.max", GROUP_MAX));
	EXPECT_EQ(0, touch_in_child(&pool, names[i], true));
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	EXPECT_EQ(i + 1, info.snapshots);
	pool_unmake(&pool);
	close(sock[0]);
	close(sock[1]);
}

/* What a parcel keeps is the network's, of which no group is charged. */
TEST_F(bound, parcels_are_locked)
{
	unsigned int nr = 0, most = LOCKED * BUF_SIZE / PAGE;
	int sock[2], fd, ret = 1;
	__u64 name;

	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	fd = make_in(self, self->group, MORE, 0);
	ASSERT_LE(0, fd);
	for (; ret == 1 && nr <= most; nr += ret == 1) {
		ASSERT_EQ(1, send(sock[0], "x", 1, 0));
		ret = pool_recv(fd, sock[1], 1, 0, &name, NULL);
	}
	EXPECT_EQ(-ENOMEM, ret);
	EXPECT_GE(most, nr);
	EXPECT_LT(0U, nr);
	close(fd);
	EXPECT_EQ(0, try_in(self, self->free, LOCKED));
	close(sock[0]);
	close(sock[1]);
}

/*
 * Group after group goes, and its pool stays, in another's hands: the limit of each would
 * be the user's anew. Beyond what he may lock, he gets none.
 */
TEST_F(bound, groups_in_turn)
{
	int fd, after;

	fd = make_in(self, self->group, MORE, 0);
	ASSERT_LE(0, fd);
	/* While it is there, there may be more. */
	EXPECT_EQ(0, try_in(self, self->group, MORE));
	ASSERT_TRUE(group_remove(self));
	ASSERT_EQ(0, group_make(self));
	EXPECT_EQ(-ENOMEM, try_in(self, self->group, MORE));
	/* He has what everybody has. */
	after = make_in(self, self->group, LOCKED, 0);
	EXPECT_LE(0, after);
	EXPECT_FALSE(by_cgroup(self, after));
	close(after);
	close(fd);
	EXPECT_EQ(0, try_in(self, self->group, MORE));
}

/* As much of it as he may lock does no harm; nor does what he gave back before. */
TEST_F(bound, little_outlives_the_group)
{
	int fd[2];

	fd[0] = make_in(self, self->group, MORE, 0);
	fd[1] = make_in(self, self->group, LOCKED, 0);
	ASSERT_LE(0, fd[0]);
	ASSERT_LE(0, fd[1]);
	close(fd[0]);
	ASSERT_TRUE(group_remove(self));
	ASSERT_EQ(0, group_make(self));
	EXPECT_EQ(0, try_in(self, self->group, MORE));
	close(fd[1]);
}

/* What nobody has any more, and packets keep, is not held against the next. */
TEST_F(bound, in_flight_is_left_alone)
{
	struct fbuf_seg seg;
	struct pool pool;
	int sock[2];
	__u64 name;

	ASSERT_EQ(0, page_pair(sock));
	ASSERT_EQ(0, pool_map(&pool, make_in(self, self->group, MORE, 0),
			      PROT_READ));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	seg = buf_seg(&pool, name, 0, 1);
	ASSERT_EQ(1, pool_send(pool.fd, sock[0], &seg, 1, 0, 0, NULL));
	pool_unmake(&pool);
	ASSERT_TRUE(group_remove(self));
	ASSERT_EQ(0, group_make(self));
	EXPECT_EQ(0, try_in(self, self->group, MORE));
	close(sock[0]);
	close(sock[1]);
	/* The account is even when all is over. */
	EXPECT_TRUE(wait_for(!try_in(self, self->free, LOCKED), DEADLINE_MS));
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
