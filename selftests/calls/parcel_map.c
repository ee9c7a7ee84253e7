// SPDX-License-Identifier: GPL-2.0
/*
 * SHOW, and mappings of parcels: that they have the right bytes, that nothing is
 * shown but whole pages which nobody can change, and nothing after FREE, and that
 * there is no way to write through them, or to keep them.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	(PAGE < 8192 ? 65536U : 8 * PAGE)
#define NR_BUFS		8U
#define BUF_PAGES	(BUF_SIZE / PAGE)
#define SEED		4

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY	60
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY	0x4000000
#endif

/* Reads of memory that may not be there. */
static __thread sigjmp_buf fault_env;
static __thread bool fault_armed;

static void on_fault(int sig)
{
	if (!fault_armed) {
		signal(sig, SIG_DFL);
		return;
	}
	siglongjmp(fault_env, sig);
}

/* The signal that a read of a byte gets, or 0. */
static int touch(const void *p)
{
	int sig = sigsetjmp(fault_env, 1);

	if (!sig) {
		__atomic_store_n(&fault_armed, true, __ATOMIC_SEQ_CST);
		(void)__atomic_load_n((const __u8 *)p, __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&fault_armed, false, __ATOMIC_SEQ_CST);
	return sig;
}

static int touch_write(void *p)
{
	int sig = sigsetjmp(fault_env, 1);

	if (!sig) {
		__atomic_store_n(&fault_armed, true, __ATOMIC_SEQ_CST);
		__atomic_store_n((__u8 *)p, 1, __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&fault_armed, false, __ATOMIC_SEQ_CST);
	return sig;
}

FIXTURE(show)
{
	struct pool from;	/* the sender's */
	struct pool to;		/* the receiver's */
	__u64 names[NR_BUFS];
	int sock[2];
	struct fbuf_part parts[64];
	__u64 parcel;
};

FIXTURE_VARIANT(show)
{
	__u32 flags;
	bool same;	/* the receiver's pool is the sender's */
};

FIXTURE_VARIANT_ADD(show, snapshot)
{
	.flags = FBUF_POOL_SNAPSHOT,
};

FIXTURE_VARIANT_ADD(show, secured)
{
	.flags = FBUF_POOL_SECURED,
};

FIXTURE_VARIANT_ADD(show, own_pool)
{
	.flags = FBUF_POOL_SNAPSHOT,
	.same = true,
};

/* All of its buffers held, and full of the pattern from one to the next. */
static int sender_make(struct pool *p, __u64 *names, __u32 flags)
{
	int err = pool_make_flags(p, BUF_SIZE, NR_BUFS, flags);
	unsigned int i;

	if (err)
		return err;
	if (pool_alloc(p->fd, names, NR_BUFS) != (int)NR_BUFS)
		return -EIO;
	for (i = 0; i < NR_BUFS; i++)
		pattern_fill(buf_addr(p, names[i]), SEED, i * BUF_SIZE,
			     BUF_SIZE);
	return 0;
}

static void catch_faults(void)
{
	struct sigaction act = { .sa_handler = on_fault };

	sigaction(SIGBUS, &act, NULL);
	sigaction(SIGSEGV, &act, NULL);
}

FIXTURE_SETUP(show)
{
	catch_faults();
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, sender_make(&self->from, self->names, variant->flags));
	if (variant->same) {
		int fd = pool_share(self->from.fd, ALL_RIGHTS, 0, NULL);

		ASSERT_EQ(0, pool_map(&self->to, fd, PROT_READ));
	} else {
		ASSERT_EQ(0, pool_make(&self->to, PAGE, 1));
	}
}

FIXTURE_TEARDOWN(show)
{
	pool_unmake(&self->to);
	pool_unmake(&self->from);
	close(self->sock[0]);
	close(self->sock[1]);
}

static bool send_part(struct _test_data_show *self, unsigned int buf,
		      size_t offset, size_t len, __u32 flags)
{
	struct fbuf_seg seg = buf_seg(&self->from, self->names[buf], offset,
				      len);

	return pool_send(self->from.fd, self->sock[0], &seg, 1, flags, 0,
			 NULL) == (ssize_t)len;
}

/* A parcel of what comes next; 0 if it has not just as many bytes. */
static __u64 receive(struct _test_data_show *self, size_t len)
{
	__u64 name;

	return pool_recv(self->to.fd, self->sock[1], len, FBUF_RECV_ALL, &name,
			 NULL) == (int)len ? name : 0;
}

static int show(struct _test_data_show *self, __u64 name)
{
	memset(self->parts, 0xee, sizeof(self->parts));
	return parcel_show(self->to.fd, name, self->parts,
			   ARRAY_SIZE(self->parts));
}

static void *map_part(struct _test_data_show *self, const struct fbuf_part *p)
{
	return mmap(NULL, p->len, PROT_READ, MAP_SHARED, self->to.fd, p->at);
}

/* A whole buffer, sent, received and shown, and mapped. */
static __u8 *map_buf(struct _test_data_show *self, unsigned int buf)
{
	void *map;

	if (!send_part(self, buf, 0, BUF_SIZE, 0))
		return NULL;
	self->parcel = receive(self, BUF_SIZE);
	if (!self->parcel || show(self, self->parcel) != 1)
		return NULL;
	map = map_part(self, &self->parts[0]);
	return map == MAP_FAILED ? NULL : map;
}

/* What is shown is what is mapped, whole pages in order. */
static void parts_right(struct __test_metadata *_metadata,
			struct _test_data_show *self, int nr, size_t pos,
			size_t len)
{
	size_t end = 0;
	int i;

	for (i = 0; i < nr; i++) {
		const struct fbuf_part *p = &self->parts[i];
		__u8 *map = map_part(self, p);

		ASSERT_NE(MAP_FAILED, map);
		EXPECT_EQ(0U, p->len % PAGE);
		EXPECT_EQ(0ULL, p->at % PAGE);
		EXPECT_LE(end, p->offset);
		EXPECT_GE(len, (size_t)p->offset + p->len);
		EXPECT_EQ(-1, pattern_differs(map, SEED, pos + p->offset,
					      p->len));
		end = p->offset + p->len;
		munmap(map, p->len);
	}
}

/* All of the parcel's place in the handle's mapping, whatever is there. */
static __u8 *map_place(struct _test_data_show *self)
{
	void *map = mmap(NULL, FBUF_PARCEL_MAX, PROT_READ, MAP_SHARED,
			 self->to.fd, FBUF_MMAP_PARCELS +
			 (FBUF_NAME_INDEX(self->parcel) & ~FBUF_NAME_PARCEL) *
			 (__u64)FBUF_PARCEL_MAX);

	return map == MAP_FAILED ? NULL : map;
}

/* Just these pages of the parcel are there, those of a letter other than a dot. */
static void pages_are(struct __test_metadata *_metadata,
		      struct _test_data_show *self, const char *which)
{
	__u8 *map = map_place(self);
	unsigned int i;

	ASSERT_NE(NULL, map);
	for (i = 0; i < 2 * BUF_PAGES; i++)
		EXPECT_EQ(i < strlen(which) && which[i] != '.' ? 0 : SIGBUS,
			  touch(map + i * PAGE)) {
			TH_LOG("page %u of %s", i, which);
		}
	munmap(map, FBUF_PARCEL_MAX);
}

TEST_F(show, whole_buffers)
{
	unsigned int i;
	int nr;

	for (i = 0; i < NR_BUFS; i++)
		ASSERT_TRUE(send_part(self, i, 0, BUF_SIZE, 0));
	self->parcel = receive(self, NR_BUFS * BUF_SIZE);
	ASSERT_NE(0ULL, self->parcel);
	nr = show(self, self->parcel);
	/* All of it. */
	ASSERT_EQ(1, nr);
	EXPECT_EQ(0U, self->parts[0].offset);
	EXPECT_EQ(NR_BUFS * BUF_SIZE, self->parts[0].len);
	parts_right(_metadata, self, nr, 0, NR_BUFS * BUF_SIZE);
	/* Asked again it says the same. */
	EXPECT_EQ(nr, show(self, self->parcel));
	EXPECT_EQ(nr, parcel_show(self->to.fd, self->parcel, NULL, 0));
}

/* Only whole pages: what is around them is for READ. */
TEST_F(show, edges)
{
	const struct {
		size_t offset, len, first, pages;
	} sent[] = {
		{ 0, PAGE - 1, 0, 0 },
		{ 0, PAGE, 0, 1 },
		{ 1, PAGE / 2, 0, 0 },
		{ 1, 2 * PAGE - 2, 0, 0 },
		{ 1, 2 * PAGE - 1, PAGE - 1, 1 },
		{ 100, 5 * PAGE, PAGE - 100, 4 },
		{ PAGE - 1, PAGE + 2, 1, 1 },
		{ PAGE, 3 * PAGE + 50, 0, 3 },
	};
	unsigned int i;
	__u8 *all;
	int nr;

	for (i = 0; i < ARRAY_SIZE(sent); i++) {
		ASSERT_TRUE(send_part(self, i, sent[i].offset, sent[i].len, 0));
		self->parcel = receive(self, sent[i].len);
		ASSERT_NE(0ULL, self->parcel);
		nr = show(self, self->parcel);
		EXPECT_EQ(!!sent[i].pages, nr);
		if (nr == 1) {
			EXPECT_EQ(sent[i].first, self->parts[0].offset);
			EXPECT_EQ(sent[i].pages * PAGE, self->parts[0].len);
			parts_right(_metadata, self, nr,
				    i * BUF_SIZE + sent[i].offset, sent[i].len);
		}
		/* All around what is shown is nothing. */
		all = map_place(self);
		ASSERT_NE(NULL, all);
		if (nr == 1) {
			size_t at = self->parts[0].at % FBUF_PARCEL_MAX;

			EXPECT_EQ(0, touch(all + at));
			EXPECT_EQ(SIGBUS, touch(all + at + self->parts[0].len));
			if (at)
				EXPECT_EQ(SIGBUS, touch(all + at - 1));
		} else {
			EXPECT_EQ(SIGBUS, touch(all));
			EXPECT_EQ(SIGBUS, touch(all + PAGE));
		}
		EXPECT_EQ(SIGBUS, touch(all + FBUF_PARCEL_MAX - 1));
		munmap(all, FBUF_PARCEL_MAX);
		EXPECT_EQ(-1, parcel_differs(self->to.fd, self->parcel, SEED,
					     i * BUF_SIZE + sent[i].offset,
					     sent[i].len));
		ASSERT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
	}
}

/* A page of which only a part was received, whoever has the rest. */
TEST_F(show, page_cut_by_the_receiver)
{
	__u64 second;

	ASSERT_TRUE(send_part(self, 0, 0, 4 * PAGE, 0));
	self->parcel = receive(self, PAGE + 1);
	second = receive(self, 3 * PAGE - 1);
	ASSERT_TRUE(self->parcel && second);
	EXPECT_EQ(1, show(self, self->parcel));
	EXPECT_EQ(PAGE, self->parts[0].len);
	EXPECT_EQ(1, show(self, second));
	EXPECT_EQ(PAGE - 1, self->parts[0].offset);
	EXPECT_EQ(2 * PAGE, self->parts[0].len);
	parts_right(_metadata, self, 1, PAGE + 1, 3 * PAGE - 1);
}

/* Pages in between that may not be shown are missing, and READ has them. */
TEST_F(show, mixed)
{
	int nr;

	ASSERT_TRUE(send_part(self, 0, 0, 2 * PAGE, 0));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 2 * PAGE, 3 * PAGE));
	ASSERT_TRUE(send_part(self, 0, 5 * PAGE, 2 * PAGE, 0));
	self->parcel = receive(self, 7 * PAGE);
	ASSERT_NE(0ULL, self->parcel);
	nr = show(self, self->parcel);
	ASSERT_EQ(2, nr);
	EXPECT_EQ(0U, self->parts[0].offset);
	EXPECT_EQ(2 * PAGE, self->parts[0].len);
	EXPECT_EQ(5 * PAGE, self->parts[1].offset);
	EXPECT_EQ(2 * PAGE, self->parts[1].len);
	parts_right(_metadata, self, nr, 0, 7 * PAGE);
	EXPECT_EQ(-1, parcel_differs(self->to.fd, self->parcel, SEED, 0,
				     7 * PAGE));
	/* Told of as far as there is room. */
	memset(self->parts, 0xee, sizeof(self->parts));
	EXPECT_EQ(2, parcel_show(self->to.fd, self->parcel, self->parts, 1));
	EXPECT_EQ(0xeeeeeeeeU, self->parts[1].len);
	pages_are(_metadata, self, "ss...ss");
}

/*
 * Buffers side by side, whose bytes are one run of memory: each is as its own send had it
 * protected, and of neither is more than was received.
 */
TEST_F(show, neighbours)
{
	static const struct {
		__u32 flags[2];
		size_t last, first;
		const char *pages;
	} pairs[] = {
		{ { 0, FBUF_SEND_VOLATILE }, 1, 2, "s.." },
		{ { FBUF_SEND_VOLATILE, 0 }, 2, 2, "..ss" },
		{ { 0, 0 }, 1, 2, "sss" },
		{ { 0, 0 }, 3, 1, "ssss" },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pairs); i++) {
		size_t last = pairs[i].last * PAGE, first = pairs[i].first * PAGE;

		ASSERT_TRUE(send_part(self, 2 * i, BUF_SIZE - last, last,
				      pairs[i].flags[0]));
		ASSERT_TRUE(send_part(self, 2 * i + 1, 0, first,
				      pairs[i].flags[1]));
		self->parcel = receive(self, last + first);
		ASSERT_NE(0ULL, self->parcel);
		EXPECT_LT(0, show(self, self->parcel));
		pages_are(_metadata, self, pairs[i].pages);
		EXPECT_EQ(-1, parcel_differs(self->to.fd, self->parcel, SEED,
					     (2 * i + 1) * BUF_SIZE - last,
					     last + first));
		ASSERT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
	}
}

/* Nobody looks at pages before SHOW, nor at those of another parcel. */
TEST_F(show, not_shown)
{
	__u64 at;
	__u8 *map;

	ASSERT_TRUE(send_part(self, 0, 0, BUF_SIZE, 0));
	self->parcel = receive(self, BUF_SIZE);
	at = FBUF_MMAP_PARCELS + (FBUF_NAME_INDEX(self->parcel) &
				  ~FBUF_NAME_PARCEL) * (__u64)FBUF_PARCEL_MAX;
	map = mmap(NULL, 2 * FBUF_PARCEL_MAX, PROT_READ, MAP_SHARED, self->to.fd,
		   at);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(SIGBUS, touch(map));
	EXPECT_EQ(SIGBUS, touch(map + FBUF_PARCEL_MAX));
	ASSERT_EQ(1, show(self, self->parcel));
	EXPECT_EQ(0, touch(map));
	EXPECT_EQ(-1, pattern_differs(map, SEED, 0, BUF_SIZE));
	EXPECT_EQ(SIGBUS, touch(map + FBUF_PARCEL_MAX));
	/* Another handle's parcels are its own. */
	munmap(map, 2 * FBUF_PARCEL_MAX);
	map = mmap(NULL, BUF_SIZE, PROT_READ, MAP_SHARED, self->from.fd, at);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(SIGBUS, touch(map));
	munmap(map, BUF_SIZE);
}

/* The sender's next write goes elsewhere, or waits: the reader does not see it. */
TEST_F(show, sender_writes)
{
	__u8 *map = map_buf(self, 0);
	pid_t pid;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(-1, pattern_differs(map, SEED, 0, BUF_SIZE));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		memset(buf_addr(&self->from, self->names[0]), 0x55, BUF_SIZE);
		_exit(0);
	}
	if (variant->flags & FBUF_POOL_SNAPSHOT) {
		EXPECT_EQ(0, child_status_within(pid, DEADLINE_MS));
		EXPECT_EQ(-1, pattern_differs(map, SEED, 0, BUF_SIZE));
		EXPECT_TRUE(is_all(buf_addr(&self->from, self->names[0]), 0x55,
				   BUF_SIZE));
		/* What a snapshot replaced can be shown as well. */
		EXPECT_EQ(1, show(self, self->parcel));
		return;
	}
	ASSERT_EQ(0, wait_state(pid, pid, "SD", DEADLINE_MS));
	usleep(50000);
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
	EXPECT_EQ(-1, pattern_differs(map, SEED, 0, BUF_SIZE));
	ASSERT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
	EXPECT_EQ(SIGBUS, touch(map));
	EXPECT_EQ(0, child_status_within(pid, DEADLINE_MS));
	EXPECT_TRUE(is_all(buf_addr(&self->from, self->names[0]), 0x55,
			   BUF_SIZE));
}

/* It was written to before anybody asked: these pages are nobody's any more. */
TEST_F(show, after_a_snapshot)
{
	if (!(variant->flags & FBUF_POOL_SNAPSHOT))
		SKIP(return, "no snapshots");
	ASSERT_TRUE(send_part(self, 0, 0, BUF_SIZE, 0));
	self->parcel = receive(self, BUF_SIZE);
	memset(buf_addr(&self->from, self->names[0]), 0x55, BUF_SIZE);
	ASSERT_EQ(1, show(self, self->parcel));
	EXPECT_EQ(BUF_SIZE, self->parts[0].len);
	parts_right(_metadata, self, 1, 0, BUF_SIZE);
}

/* Who may write while it is in flight may do so while it is read. */
TEST_F(show, of_a_volatile_send)
{
	ASSERT_TRUE(send_part(self, 0, 0, BUF_SIZE, FBUF_SEND_VOLATILE));
	self->parcel = receive(self, BUF_SIZE);
	EXPECT_EQ(0, show(self, self->parcel));
	EXPECT_EQ(-1, parcel_differs(self->to.fd, self->parcel, SEED, 0,
				     BUF_SIZE));
}

/* The pool, its maker and the socket may be gone. */
TEST_F(show, sender_gone)
{
	__u8 *map = map_buf(self, 3);

	ASSERT_NE(NULL, map);
	close(self->sock[0]);
	close(self->sock[1]);
	self->sock[0] = -1;
	self->sock[1] = -1;
	pool_unmake(&self->from);
	EXPECT_EQ(-1, pattern_differs(map, SEED, 3 * BUF_SIZE, BUF_SIZE));
	EXPECT_EQ(1, show(self, self->parcel));
	EXPECT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
	EXPECT_EQ(SIGBUS, touch(map));
}

/* Every way to map it that would be more than to look. */
TEST_F(show, mappings_refused)
{
	__u8 *map = map_buf(self, 0);
	__u64 at = self->parts[0].at, end = FBUF_MMAP_PARCELS +
		   FBUF_MMAP_PARCELS_SIZE;
	int fd = self->to.fd, ret;

	ASSERT_NE(NULL, map);
	ret = try_map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, at);
	EXPECT_TRUE(ret == -EACCES || ret == -EPERM);
	ret = try_map(fd, PAGE, PROT_WRITE, MAP_SHARED, at);
	EXPECT_TRUE(ret == -EACCES || ret == -EPERM);
	ret = try_map(fd, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, at);
	EXPECT_TRUE(ret == -EACCES || ret == -EPERM);
	EXPECT_EQ(-EINVAL, try_map(fd, PAGE, PROT_READ, MAP_PRIVATE, at));
	EXPECT_EQ(-EINVAL, try_map(fd, PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE, at));
	/* Past the end of all places, and over it. */
	EXPECT_EQ(0, try_map(fd, PAGE, PROT_READ, MAP_SHARED, end - PAGE));
	EXPECT_EQ(-EINVAL, try_map(fd, PAGE, PROT_READ, MAP_SHARED, end));
	EXPECT_EQ(-EINVAL, try_map(fd, 2 * PAGE, PROT_READ, MAP_SHARED,
				   end - PAGE));
	/* Nor later. */
	EXPECT_EQ(-1, mprotect(map, BUF_SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, mprotect(map, BUF_SIZE, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(SIGSEGV, touch_write(map));
	EXPECT_EQ(0, mprotect(map, BUF_SIZE, PROT_NONE));
	EXPECT_EQ(SIGSEGV, touch(map));
	EXPECT_EQ(0, mprotect(map, BUF_SIZE, PROT_READ));
	EXPECT_EQ(-1, pattern_differs(map, SEED, 0, BUF_SIZE));
}

/* Nobody gets a reference to what is mapped, by which it would outlive FREE. */
TEST_F(show, cannot_be_pinned)
{
	struct iovec local, remote;
	__u8 copy[PAGE];
	int end[2], one = 1, fd;
	__u8 *map = map_buf(self, 0);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, touch(map));
	remote = (struct iovec) { map, PAGE };
	local = (struct iovec) { copy, PAGE };
	EXPECT_EQ(-1, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, pipe(end));
	EXPECT_EQ(-1, vmsplice(end[1], &remote, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	/* To copy from it is to read. */
	EXPECT_EQ((ssize_t)PAGE, write(end[1], map, PAGE));
	EXPECT_EQ((ssize_t)PAGE, read(end[0], copy, PAGE));
	EXPECT_EQ(-1, pattern_differs(copy, SEED, 0, PAGE));
	/* To copy to it is not. */
	ASSERT_EQ((ssize_t)PAGE, write(end[1], copy, PAGE));
	EXPECT_EQ(-1, read(end[0], map, PAGE));
	EXPECT_EQ(EFAULT, errno);
	fd = open("/dev/ram0", O_RDWR | O_DIRECT);
	if (fd >= 0) {
		EXPECT_EQ(-1, write(fd, map, PAGE));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(-1, read(fd, map, PAGE));
		EXPECT_EQ(EFAULT, errno);
		close(fd);
	}
	fd = open("/proc/self/mem", O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, pread(fd, copy, PAGE, (uintptr_t)map));
	EXPECT_EQ(-1, pwrite(fd, copy, PAGE, (uintptr_t)map));
	close(fd);
	if (!setsockopt(self->sock[0], SOL_SOCKET, SO_ZEROCOPY, &one,
			sizeof(one))) {
		EXPECT_EQ(-1, send(self->sock[0], map, BUF_SIZE,
				   MSG_ZEROCOPY | MSG_DONTWAIT));
		EXPECT_EQ(EFAULT, errno);
	}
	EXPECT_EQ(-1, pattern_differs(map, SEED, 0, BUF_SIZE));
	close(end[0]);
	close(end[1]);
}

/* A debugger that writes where its child cannot. */
TEST_F(show, ptrace)
{
	__u8 *map = map_buf(self, 0);
	pid_t pid;

	ASSERT_NE(NULL, map);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(pattern_differs(map, SEED, 0, BUF_SIZE) == -1 ? 0 : 1);
	}
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, pid, map, 0x5555));
	errno = 0;
	EXPECT_EQ(-1, ptrace(PTRACE_PEEKDATA, pid, map, NULL));
	EXPECT_NE(0, errno);
	ptrace(PTRACE_CONT, pid, NULL, NULL);
	EXPECT_EQ(0, child_status_within(pid, DEADLINE_MS));
	EXPECT_EQ(-1, pattern_differs(map, SEED, 0, BUF_SIZE));
}

/* As a segment of a program's own memory it is copied; as what is to be, refused. */
TEST_F(show, as_an_argument)
{
	__u8 *map = map_buf(self, 0);
	struct fbuf_seg seg;
	__u8 got[FBUF_INLINE_MAX];
	__u64 name;

	ASSERT_NE(NULL, map);
	seg = inline_seg(map, sizeof(got));
	ASSERT_EQ((ssize_t)sizeof(got), pool_send(self->from.fd, self->sock[0],
						  &seg, 1, 0, 0, NULL));
	ASSERT_EQ((ssize_t)sizeof(got), read_full(self->sock[1], got,
						  sizeof(got)));
	EXPECT_EQ(-1, pattern_differs(got, SEED, 0, sizeof(got)));
	EXPECT_EQ(-EFAULT, parcel_read(self->to.fd, self->parcel, 0, map, PAGE));
	EXPECT_EQ(-1, pattern_differs(map, SEED, 0, BUF_SIZE));
	/* A call whose results cannot be written takes nothing. */
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 100));
	EXPECT_EQ(-1, ioctl(self->to.fd, FBUF_IOC_RECV, map));
	name = receive(self, 100);
	EXPECT_NE(0ULL, name);
}

/* A mapping that is moved, cut, or inherited has nothing after FREE either. */
TEST_F(show, moved_and_cut)
{
	__u8 *map = map_buf(self, 0), *to;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, touch(map));
	to = mremap(map, BUF_SIZE, BUF_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		    mmap(NULL, 2 * BUF_SIZE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ASSERT_NE(MAP_FAILED, to);
	EXPECT_EQ(SIGSEGV, touch(map));
	EXPECT_EQ(-1, pattern_differs(to, SEED, 0, BUF_SIZE));
	ASSERT_EQ(0, munmap(to + PAGE, PAGE));
	EXPECT_EQ(SIGSEGV, touch(to + PAGE));
	EXPECT_EQ(-1, pattern_differs(to + 2 * PAGE, SEED, 2 * PAGE,
				      BUF_SIZE - 2 * PAGE));
	/* It does not grow over what is behind it. */
	EXPECT_EQ(MAP_FAILED, mremap(to, PAGE, 2 * PAGE, 0));
	ASSERT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
	EXPECT_EQ(SIGBUS, touch(to));
	EXPECT_EQ(SIGBUS, touch(to + BUF_SIZE - 1));
}

/* Zapped in a child's page tables as well. */
TEST_F(show, forked)
{
	__u8 *map = map_buf(self, 0);
	int go[2], ready[2];
	pid_t pid;
	char c;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, touch(map));
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int bad = pattern_differs(map, SEED, 0, BUF_SIZE) != -1;

		if (write(ready[1], "", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(2);
		_exit(bad || touch(map) != SIGBUS ||
		      touch(map + BUF_SIZE - 1) != SIGBUS);
	}
	ASSERT_EQ(1, read(ready[0], &c, 1));
	ASSERT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
	ASSERT_EQ(1, write(go[1], "", 1));
	EXPECT_EQ(0, child_status_within(pid, DEADLINE_MS));
	EXPECT_EQ(SIGBUS, touch(map));
	close(go[0]);
	close(go[1]);
	close(ready[0]);
	close(ready[1]);
}

/* The mapping has the handle, and so its parcels. */
TEST_F(show, fd_closed)
{
	__u8 *map = map_buf(self, 0);
	struct fbuf_info info;

	ASSERT_NE(NULL, map);
	if (variant->same) {
		munmap(self->to.map, self->to.size);
		close(self->to.fd);
		self->to.map = NULL;
		EXPECT_EQ(-1, pattern_differs(map, SEED, 0, BUF_SIZE));
		ASSERT_EQ(0, pool_info(self->from.fd, &info));
		EXPECT_EQ(1U, info.nr_parcels);
		munmap(map, BUF_SIZE);
		EXPECT_TRUE(wait_for(!pool_info(self->from.fd, &info) &&
				     !info.nr_parcels, DEADLINE_MS));
		EXPECT_EQ(0ULL, info.parcel_bytes);
		return;
	}
	close(self->to.fd);
	EXPECT_EQ(-1, pattern_differs(map, SEED, 0, BUF_SIZE));
	munmap(map, BUF_SIZE);
}

/* The next parcel in the same place shows its own bytes, or nothing. */
TEST_F(show, place_used_again)
{
	__u8 *map = map_buf(self, 0);
	__u64 first = self->parcel;
	int i;

	ASSERT_NE(NULL, map);
	for (i = 1; i < 6; i++) {
		ASSERT_EQ(0, touch(map));
		ASSERT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
		EXPECT_EQ(SIGBUS, touch(map));
		ASSERT_TRUE(send_part(self, i, 0, BUF_SIZE, 0));
		self->parcel = receive(self, BUF_SIZE);
		ASSERT_EQ(FBUF_NAME_INDEX(first),
			  FBUF_NAME_INDEX(self->parcel));
		EXPECT_NE(first, self->parcel);
		EXPECT_EQ(SIGBUS, touch(map));
		ASSERT_EQ(1, show(self, self->parcel));
		EXPECT_EQ(-1, pattern_differs(map, SEED, i * BUF_SIZE,
					      BUF_SIZE));
		EXPECT_EQ(-ESTALE, show(self, first));
	}
}

/* A thread that reads all the time what is there, until it is told to end. */
struct watcher {
	pthread_t thread;
	const __u8 *map;
	size_t len;
	size_t at;
	unsigned int reads, faults, wrong;
	bool stop;
};

static void *watcher_run(void *arg)
{
	struct watcher *w = arg;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		int sig = sigsetjmp(fault_env, 1);

		if (!sig) {
			__u8 byte;

			__atomic_store_n(&fault_armed, true, __ATOMIC_SEQ_CST);
			byte = __atomic_load_n(__atomic_load_n(&w->map,
							       __ATOMIC_RELAXED) +
					       w->at, __ATOMIC_SEQ_CST);
			__atomic_store_n(&fault_armed, false, __ATOMIC_SEQ_CST);
			w->reads++;
			w->wrong += byte != pattern_byte(SEED, w->at);
		} else {
			__atomic_store_n(&fault_armed, false, __ATOMIC_SEQ_CST);
			w->faults += sig == SIGBUS;
			w->wrong += sig != SIGBUS;
		}
		w->at = (w->at + 1021) % w->len;
	}
	return NULL;
}

#define FEW_PLACES	64U

/*
 * What another thread reads meanwhile is right, or it is not there. A parcel's place may
 * be another one than the last one's was, as that is kept while the thread faults there.
 */
TEST_F(show, freed_while_it_is_read)
{
	const __u8 *places = mmap(NULL, FEW_PLACES * (size_t)FBUF_PARCEL_MAX,
				  PROT_READ, MAP_SHARED, self->to.fd,
				  FBUF_MMAP_PARCELS);
	struct watcher w = { .map = places, .len = BUF_SIZE };
	unsigned int i, rounds = 1500 / slower();

	ASSERT_NE(MAP_FAILED, places);
	ASSERT_NE(NULL, map_buf(self, 0));
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, watcher_run, &w));
	for (i = 0; i < rounds; i++) {
		ASSERT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
		if (i % 32 == 0)
			relax();
		/* The same bytes each time. */
		ASSERT_TRUE(send_part(self, 0, 0, BUF_SIZE, 0));
		self->parcel = receive(self, BUF_SIZE);
		ASSERT_NE(0ULL, self->parcel);
		ASSERT_EQ(1, show(self, self->parcel));
		ASSERT_GT(FEW_PLACES, FBUF_NAME_INDEX(self->parcel) &
				  ~FBUF_NAME_PARCEL);
		__atomic_store_n(&w.map, places + self->parts[0].at -
				 FBUF_MMAP_PARCELS, __ATOMIC_RELAXED);
		if (i % 32 == 16)
			relax();
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	pthread_join(w.thread, NULL);
	TH_LOG("%u reads, %u faults", w.reads, w.faults);
	EXPECT_EQ(0U, w.wrong);
	EXPECT_LT(0U, w.reads);
	EXPECT_LT(0U, w.faults);
}

/*
 * A FREE of many parcels, all of them mapped, while another thread receives: what it
 * gets has one of their places, and must not show their bytes there.
 */
struct batch_free {
	pthread_t thread;
	int fd;
	__u64 *names;
	unsigned int nr;
	int ret;
	bool done;
};

static void *batch_free_run(void *arg)
{
	struct batch_free *b = arg;

	b->ret = pool_free(b->fd, b->names, b->nr);
	__atomic_store_n(&b->done, true, __ATOMIC_RELEASE);
	return NULL;
}

#define MANY	2000U
/* With those that come while they are freed. */
#define PLACES	(MANY + 128)

TEST_F(show, received_while_others_are_freed)
{
	const size_t place = FBUF_PARCEL_MAX;
	__u64 names[MANY], more[64], name;
	struct batch_free b = {
		.fd = self->to.fd, .names = names, .nr = MANY,
	};
	unsigned int i, nr, round, wrong = 0, seen = 0;
	bool shown[ARRAY_SIZE(more)];
	__u8 *map;

	/* A page of each, at the place's beginning. */
	map = mmap(NULL, PLACES * place, PROT_READ, MAP_SHARED | MAP_NORESERVE,
		   self->to.fd, FBUF_MMAP_PARCELS);
	ASSERT_NE(MAP_FAILED, map);
	for (round = 0; round < 6; round++) {
		for (i = 0; i < MANY; i++) {
			ASSERT_TRUE(send_part(self, 0, 0, PAGE, 0));
			names[i] = receive(self, PAGE);
			ASSERT_NE(0ULL, names[i]);
			if (show(self, names[i]) == 1)
				ASSERT_EQ(0, touch(map + place *
						   (FBUF_NAME_INDEX(names[i]) &
						    ~FBUF_NAME_PARCEL)));
		}
		for (i = 0; i < ARRAY_SIZE(more); i++)
			ASSERT_TRUE(send_part(self, 1, 0, PAGE, 0));
		b.done = false;
		ASSERT_EQ(0, pthread_create(&b.thread, NULL, batch_free_run,
					    &b));
		for (nr = 0; nr < ARRAY_SIZE(more); nr++) {
			const __u8 *p;

			more[nr] = receive(self, PAGE);
			ASSERT_NE(0ULL, more[nr]);
			/* Not if a packet ended in the page, early on. */
			shown[nr] = show(self, more[nr]) == 1;
			name = FBUF_NAME_INDEX(more[nr]) & ~FBUF_NAME_PARCEL;
			if (name >= PLACES || !shown[nr])
				continue;
			p = map + place * name;
			seen++;
			/* It may be gone again for a moment, and comes back. */
			wrong += !touch(p) &&
				 pattern_differs(p, SEED, BUF_SIZE, PAGE) >= 0;
		}
		pthread_join(b.thread, NULL);
		ASSERT_EQ((int)MANY, b.ret);
		for (i = 0; i < nr; i++) {
			name = FBUF_NAME_INDEX(more[i]) & ~FBUF_NAME_PARCEL;
			if (name < PLACES && shown[i])
				wrong += pattern_differs(map + place * name,
							 SEED, BUF_SIZE,
							 PAGE) >= 0;
		}
		ASSERT_EQ((int)nr, pool_free(self->to.fd, more, nr));
	}
	TH_LOG("%u in places of others", seen);
	EXPECT_EQ(0U, wrong);
	munmap(map, PLACES * place);
}

/* Received from whoever sends otherwise: nothing of it may be shown. */
FIXTURE(other)
{
	struct pool pool;
	int sock[2];
	__u64 parcel;
	struct fbuf_part part;
};

FIXTURE_SETUP(other)
{
	catch_faults();
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     FBUF_POOL_SNAPSHOT));
}

FIXTURE_TEARDOWN(other)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

/* What comes is right, but not to be shown. */
static void not_shown(struct __test_metadata *_metadata,
		      struct _test_data_other *self, size_t len)
{
	__u64 at;
	__u8 *map;

	ASSERT_EQ((int)len, pool_recv(self->pool.fd, self->sock[1], len,
				      FBUF_RECV_ALL, &self->parcel, NULL));
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, self->parcel, SEED, 0, len));
	EXPECT_EQ(0, parcel_show(self->pool.fd, self->parcel, &self->part, 1));
	at = FBUF_MMAP_PARCELS + (FBUF_NAME_INDEX(self->parcel) &
				  ~FBUF_NAME_PARCEL) * (__u64)FBUF_PARCEL_MAX;
	map = mmap(NULL, len, PROT_READ, MAP_SHARED, self->pool.fd, at);
	ASSERT_NE(MAP_FAILED, map);
	for (at = 0; at < len; at += PAGE)
		EXPECT_EQ(SIGBUS, touch(map + at));
	munmap(map, len);
	EXPECT_EQ(1, pool_free(self->pool.fd, &self->parcel, 1));
}

TEST_F(other, written)
{
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 4 * BUF_SIZE));
	not_shown(_metadata, self, 4 * BUF_SIZE);
}

TEST_F(other, of_a_file)
{
	int fd = memfd_create("parcel", 0);
	off_t pos = 0;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pattern_write(fd, SEED, 0, BUF_SIZE));
	ASSERT_EQ((ssize_t)BUF_SIZE, sendfile(self->sock[0], fd, &pos,
					      BUF_SIZE));
	not_shown(_metadata, self, BUF_SIZE);
	close(fd);
}

TEST_F(other, of_a_pipe)
{
	size_t left = 8 * PAGE;
	int end[2];

	ASSERT_EQ(0, pipe(end));
	ASSERT_EQ(0, pattern_write(end[1], SEED, 0, left));
	while (left) {
		ssize_t ret = splice(end[0], NULL, self->sock[0], NULL, left, 0);

		ASSERT_LT(0, ret);
		left -= ret;
	}
	not_shown(_metadata, self, 8 * PAGE);
	close(end[0]);
	close(end[1]);
}

TEST_F(other, of_a_volatile_pool)
{
	struct fbuf_seg seg;
	struct pool pool;
	__u64 name;

	ASSERT_EQ(0, pool_make(&pool, BUF_SIZE, 1));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	pattern_fill(pool.map, SEED, 0, BUF_SIZE);
	seg = buf_seg(&pool, name, 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)BUF_SIZE, pool_send(pool.fd, self->sock[0], &seg, 1,
					       0, 0, NULL));
	not_shown(_metadata, self, BUF_SIZE);
	pool_unmake(&pool);
}

TEST_F(other, lent_by_the_sender)
{
	int one = 1;
	__u8 *data = mmap(NULL, BUF_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, data);
	pattern_fill(data, SEED, 0, BUF_SIZE);
	ASSERT_EQ(0, setsockopt(self->sock[0], SOL_SOCKET, SO_ZEROCOPY, &one,
				sizeof(one)));
	ASSERT_EQ((ssize_t)BUF_SIZE, send(self->sock[0], data, BUF_SIZE,
					  MSG_ZEROCOPY));
	not_shown(_metadata, self, BUF_SIZE);
}

/* What the CPU copied is in pages of the parcel's own: not a sender's. */
TEST_F(other, copied)
{
	close(self->sock[0]);
	close(self->sock[1]);
	ASSERT_EQ(0, sock_pair(AF_UNIX, SOCK_STREAM, self->sock));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, BUF_SIZE));
	not_shown(_metadata, self, BUF_SIZE);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
