// SPDX-License-Identifier: GPL-2.0
/*
 * Memory errors: of a page that the kernel knows to be bad nothing is sent, read
 * into, or mapped. MADV_HWPOISON makes such pages, which are none; they are made
 * good again after the test, where the kernel has hwpoison-inject.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "util.h"

#define NR_BUFS		4U
#define BAD		1	/* the buffer of that page */
#define BIG_SIZE	(16 * PAGE)
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"
/* What /proc/kpageflags calls it. */
#define KPF_HWPOISON	19

#ifndef MADV_HWPOISON
#define MADV_HWPOISON	100
#endif

static sigjmp_buf on_sigbus;
static int sigbus_code;

static void handle_sigbus(int sig, siginfo_t *info, void *context)
{
	sigbus_code = info->si_code;
	siglongjmp(on_sigbus, 1);
}

static void catch_sigbus(void)
{
	struct sigaction sa = {
		.sa_sigaction = handle_sigbus,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	sigaction(SIGBUS, &sa, NULL);
}

/* Reads or writes a byte: 0, or the code of the SIGBUS. */
static int touch(__u8 *at, bool write)
{
	catch_sigbus();
	if (sigsetjmp(on_sigbus, 1))
		return sigbus_code;
	if (write)
		__atomic_store_n(at, 1, __ATOMIC_RELAXED);
	else
		__atomic_load_n(at, __ATOMIC_RELAXED);
	return 0;
}

static __u64 read_word(const char *path, __u64 index)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	__u64 word = 0;

	if (fd < 0 || pread(fd, &word, sizeof(word), index * 8) != 8)
		word = 0;
	close(fd);
	return word;
}

/* The number of the frame that is bad from now on, or 0. */
static __u64 poison(const __u8 *at)
{
	__u64 frame;

	/* It has to be mapped, which protection undoes. */
	__atomic_load_n(at, __ATOMIC_RELAXED);
	frame = read_word("/proc/self/pagemap", (uintptr_t)at / PAGE) &
		((1ULL << 55) - 1);
	/* It says EBUSY, or kills who has it mapped, where it can only note it. */
	catch_sigbus();
	if (!sigsetjmp(on_sigbus, 1))
		madvise((void *)at, PAGE, MADV_HWPOISON);
	if (!(read_word("/proc/kpageflags", frame) >> KPF_HWPOISON & 1))
		return 0;
	return frame;
}

static void unpoison(__u64 frame)
{
	char text[32];

	if (!frame)
		return;
	if (access(UNPOISON, W_OK) && system("modprobe -q hwpoison-inject"))
		return;
	snprintf(text, sizeof(text), "%#llx", (unsigned long long)frame);
	file_put(UNPOISON, text);
}

FIXTURE(poison)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
	__u64 frame;
};

FIXTURE_VARIANT(poison)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(poison, volatile_pool) { 0 };
FIXTURE_VARIANT_ADD(poison, secured) { FBUF_POOL_SECURED };
FIXTURE_VARIANT_ADD(poison, snapshot) { FBUF_POOL_SNAPSHOT };

FIXTURE_SETUP(poison)
{
	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make_flags(&self->pool, PAGE, NR_BUFS,
				     variant->flags));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	memset(self->pool.map, 7, self->pool.size);
}

/* It is in nobody's hands after the last of its references. */
FIXTURE_TEARDOWN(poison)
{
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->pool);
	unpoison(self->frame);
}

static __u8 *addr(struct _test_data_poison *self, unsigned int buf)
{
	return buf_addr(&self->pool, self->names[buf]);
}

static bool make_bad(struct _test_data_poison *self)
{
	self->frame = poison(addr(self, BAD));
	return self->frame;
}

#define NO_BAD_PAGES	"the kernel makes no bad pages"

TEST_F(poison, is_not_sent)
{
	static const __u32 engines[] = {
		0, FBUF_ENGINE_PAGEREF, FBUF_ENGINE_UBUF, FBUF_ENGINE_COPY,
	};
	struct fbuf_seg seg[NR_BUFS];
	unsigned int i;
	__u8 got[PAGE];

	for (i = 0; i < NR_BUFS; i++)
		seg[i] = buf_seg(&self->pool, self->names[i], 0, PAGE);
	if (!make_bad(self))
		SKIP(return, NO_BAD_PAGES);
	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		EXPECT_EQ(-EHWPOISON, pool_send(self->pool.fd, self->sock[0],
						seg + BAD, 1, 0, engines[i],
						NULL));
		EXPECT_EQ(-EHWPOISON, pool_send(self->pool.fd, self->sock[0],
						seg, NR_BUFS, 0, engines[i],
						NULL));
	}
	EXPECT_TRUE(sock_empty(self->sock[1]));
	/* The others are. */
	ASSERT_EQ((ssize_t)PAGE, pool_send(self->pool.fd, self->sock[0],
					   seg + 2, 1, 0, 0, NULL));
	ASSERT_EQ((ssize_t)PAGE, recv(self->sock[1], got, PAGE, MSG_WAITALL));
}

/* Short segments of a gather of many are copied, and so read. */
TEST_F(poison, is_not_copied)
{
	struct fbuf_seg seg[32];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(seg); i++)
		seg[i] = buf_seg(&self->pool, self->names[i % NR_BUFS],
				 i * 100, 64);
	if (!make_bad(self))
		SKIP(return, NO_BAD_PAGES);
	EXPECT_EQ(-EHWPOISON, pool_send(self->pool.fd, self->sock[0], seg,
					ARRAY_SIZE(seg), 0, 0, NULL));
	EXPECT_TRUE(sock_empty(self->sock[1]));
}

TEST_F(poison, is_not_sent_as_a_file)
{
	off_t at = buf_offset(&self->pool, self->names[BAD]);

	if (!make_bad(self))
		SKIP(return, NO_BAD_PAGES);
	EXPECT_EQ(-1, sendfile(self->sock[0], self->pool.fd, &at, PAGE));
	EXPECT_EQ(EHWPOISON, errno);
	EXPECT_TRUE(sock_empty(self->sock[1]));
}

TEST_F(poison, is_not_filled)
{
	struct fbuf_fill arg = {
		.size = sizeof(arg),
		.name = self->names[BAD],
		.len = 10,
	};

	arg.fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, arg.fd);
	ASSERT_EQ(10, ioctl(self->pool.fd, FBUF_IOC_FILL, &arg));
	if (!make_bad(self))
		SKIP(return, NO_BAD_PAGES);
	EXPECT_EQ(-1, ioctl(self->pool.fd, FBUF_IOC_FILL, &arg));
	EXPECT_EQ(EHWPOISON, errno);
	close(arg.fd);
}

/* Page faults in the same buffer and in others go on. */
TEST_F(poison, is_not_mapped)
{
	int fd[2];

	if (!make_bad(self))
		SKIP(return, NO_BAD_PAGES);
	ASSERT_EQ(0, madvise(self->pool.map, self->pool.size, MADV_DONTNEED));
	EXPECT_EQ(BUS_MCEERR_AR, touch(addr(self, BAD), false));
	EXPECT_EQ(BUS_MCEERR_AR, touch(addr(self, BAD), true));
	EXPECT_EQ(0, touch(addr(self, BAD + 1), false));
	EXPECT_EQ(0, touch(addr(self, BAD + 1), true));
	/* Nor for the kernel. */
	ASSERT_EQ(0, pipe(fd));
	EXPECT_EQ(-1, write(fd[1], addr(self, BAD), 10));
	EXPECT_EQ(EFAULT, errno);
	close(fd[0]);
	close(fd[1]);
}

/* A snapshot would be a copy of it. */
TEST_F(poison, is_not_kept_by_a_snapshot)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[BAD], 0, PAGE);

	if (variant->flags != FBUF_POOL_SNAPSHOT)
		SKIP(return, "of snapshots alone");
	ASSERT_EQ((ssize_t)PAGE, pool_send(self->pool.fd, self->sock[0], &seg,
					   1, 0, 0, NULL));
	if (!make_bad(self))
		SKIP(return, NO_BAD_PAGES);
	EXPECT_NE(0, touch(addr(self, BAD), true));
}

/* One page of a large folio: whoever gets the buffer next gets other memory. */
TEST(another_holder_gets_other_memory)
{
	struct fbuf_info info;
	struct fbuf_seg seg;
	struct pool pool;
	__u64 name, frame;
	int sock[2];
	ssize_t err;
	__u8 *bad;

	if (geteuid())
		SKIP(return, "needs root");
	/* Without, the kernel warns of a bad page in a large folio. */
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		SKIP(return, "this kernel splits no folio");
	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, pool_make(&pool, BIG_SIZE, 1));
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	if (info.nr_split)
		SKIP(return, "memory is fragmented");
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	memset(pool.map, 7, BIG_SIZE);
	bad = buf_addr(&pool, name) + 3 * PAGE;
	frame = poison(bad);
	if (!frame)
		SKIP(return, NO_BAD_PAGES);
	seg = buf_seg(&pool, name, 3 * PAGE + 100, 100);
	EXPECT_EQ(-EHWPOISON, pool_send(pool.fd, sock[0], &seg, 1, 0, 0, NULL));
	seg = buf_seg(&pool, name, 0, BIG_SIZE);
	err = pool_send(pool.fd, sock[0], &seg, 1, 0, 0, NULL);
	if (err == (ssize_t)BIG_SIZE)
		SKIP(return, "this kernel marks the page alone");
	EXPECT_EQ(-EHWPOISON, err);
	seg = buf_seg(&pool, name, 100, 2 * PAGE);
	EXPECT_EQ((ssize_t)(2 * PAGE), pool_send(pool.fd, sock[0], &seg, 1, 0,
						 0, NULL));
	close(sock[0]);
	close(sock[1]);
	ASSERT_EQ(1, pool_free(pool.fd, &name, 1));
	ASSERT_EQ(1, pool_alloc_wait(pool.fd, &name, 1, DEADLINE_MS));
	unpoison(frame);
	EXPECT_EQ(0, touch(bad, false));
	EXPECT_EQ(0, *bad);
	pool_unmake(&pool);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
