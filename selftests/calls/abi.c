// SPDX-License-Identifier: GPL-2.0
/*
 * The ABI: what every call does when all is well, and every error it can give.
 */
#include <assert.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	16384U
#define NR_BUFS		4U

/* An ioctl by number and size of its structure. */
static int call(int fd, unsigned int nr, size_t size, void *arg)
{
	int ret = ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, FBUF_IOC_MAGIC, nr,
				 size), arg);

	return ret < 0 ? -errno : ret;
}

/* Memory whose end is the end of what may be touched. */
static void *edge_alloc(size_t len)
{
	long page = sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p + page, page, PROT_NONE))
		return NULL;
	return p + page - len;
}

union any_arg {
	__u32 size;
	struct {
		__u32 size;
		__u32 flags;
	} head;
	struct fbuf_pool_create create;
	struct fbuf_batch batch;
	struct fbuf_send send;
	struct fbuf_fanout fanout;
	struct fbuf_send_batch send_batch;
	struct fbuf_fill fill;
	struct fbuf_recv recv;
	struct fbuf_read read;
	struct fbuf_show show;
	struct fbuf_info info;
	struct fbuf_share share;
	struct fbuf_pass pass;
	struct fbuf_ring_setup ring;
	char bytes[512];
};

/* What is common to all calls. */
FIXTURE(call)
{
	struct pool pool;
	int control;
	int second;	/* another handle, which can be passed to */
	int fd;		/* where the call belongs */
	int other;	/* where it does not */
	int sock[2];
	int zero;	/* a file */
	__u64 parcel;	/* for the calls that take one; or 0 */
	char got[64];
	__u64 names[NR_BUFS];
	struct fbuf_seg seg;
	struct fbuf_item item;
	struct fbuf_target target;
	struct fbuf_send_item send_item;
	struct ring ring;
	union any_arg arg;
};

FIXTURE_VARIANT(call)
{
	unsigned int nr;
	size_t size;
	size_t once;	/* the size that was first published, if another */
	bool on_control;
	bool on_second;
	__u32 flags;
	size_t pad;	/* of four bytes that must be zero */
};

FIXTURE_VARIANT_ADD(call, create)
{
	.nr = _IOC_NR(FBUF_IOC_POOL_CREATE),
	.size = sizeof(struct fbuf_pool_create),
	.once = offsetof(struct fbuf_pool_create, copy_above),
	.on_control = true,
	.flags = FBUF_POOL_SECURED | FBUF_POOL_SNAPSHOT | FBUF_POOL_LAZY,
	.pad = offsetof(struct fbuf_pool_create, pad),
};

FIXTURE_VARIANT_ADD(call, alloc)
{
	.nr = _IOC_NR(FBUF_IOC_ALLOC),
	.size = sizeof(struct fbuf_batch),
	.flags = FBUF_ALLOC_WAIT | FBUF_ALLOC_ALL,
	.pad = offsetof(struct fbuf_batch, timeout),
};

FIXTURE_VARIANT_ADD(call, free)
{
	.nr = _IOC_NR(FBUF_IOC_FREE),
	.size = sizeof(struct fbuf_batch),
	.pad = offsetof(struct fbuf_batch, timeout),
};

FIXTURE_VARIANT_ADD(call, hold)
{
	.nr = _IOC_NR(FBUF_IOC_HOLD),
	.size = sizeof(struct fbuf_batch),
	.on_second = true,
	.pad = offsetof(struct fbuf_batch, timeout),
};

FIXTURE_VARIANT_ADD(call, wait)
{
	.nr = _IOC_NR(FBUF_IOC_WAIT),
	.size = sizeof(struct fbuf_batch),
	.flags = FBUF_WAIT_ANY,
};

FIXTURE_VARIANT_ADD(call, secure)
{
	.nr = _IOC_NR(FBUF_IOC_SECURE),
	.size = sizeof(struct fbuf_batch),
	.pad = offsetof(struct fbuf_batch, timeout),
};

/* On a lazy pool, which the pool of the others is for this. */
FIXTURE_VARIANT_ADD(call, drop)
{
	.nr = _IOC_NR(FBUF_IOC_DROP),
	.size = sizeof(struct fbuf_batch),
	.pad = offsetof(struct fbuf_batch, timeout),
};

FIXTURE_VARIANT_ADD(call, share)
{
	.nr = _IOC_NR(FBUF_IOC_SHARE),
	.size = sizeof(struct fbuf_share),
	.flags = FBUF_SHARE_NO_PIN,
	.pad = offsetof(struct fbuf_share, pad),
};

FIXTURE_VARIANT_ADD(call, pass)
{
	.nr = _IOC_NR(FBUF_IOC_PASS),
	.size = sizeof(struct fbuf_pass),
	.flags = FBUF_PASS_KEEP,
};

/* The word that must be zero is the eventfd, without FBUF_RING_EVENTFD. */
FIXTURE_VARIANT_ADD(call, ring)
{
	.nr = _IOC_NR(FBUF_IOC_RING),
	.size = sizeof(struct fbuf_ring_setup),
	.flags = FBUF_RING_ACCEPT | FBUF_RING_EVENTFD,
	.pad = offsetof(struct fbuf_ring_setup, eventfd),
};

FIXTURE_VARIANT_ADD(call, send)
{
	.nr = _IOC_NR(FBUF_IOC_SEND),
	.size = sizeof(struct fbuf_send),
	.once = offsetof(struct fbuf_send, protects),
	.flags = FBUF_SEND_DONTWAIT | FBUF_SEND_MORE | FBUF_SEND_EOR |
		 FBUF_SEND_SIGPIPE | FBUF_SEND_VOLATILE | FBUF_SEND_SECURED |
		 FBUF_SEND_SNAPSHOT | FBUF_SEND_FREE,
};

FIXTURE_VARIANT_ADD(call, fanout)
{
	.nr = _IOC_NR(FBUF_IOC_FANOUT),
	.size = sizeof(struct fbuf_fanout),
	.once = offsetof(struct fbuf_fanout, cookie),
	.flags = FBUF_SEND_DONTWAIT | FBUF_SEND_MORE | FBUF_SEND_EOR |
		 FBUF_SEND_SIGPIPE | FBUF_SEND_VOLATILE | FBUF_SEND_SECURED |
		 FBUF_SEND_SNAPSHOT,
	.pad = offsetof(struct fbuf_fanout, pad),
};

FIXTURE_VARIANT_ADD(call, send_batch)
{
	.nr = _IOC_NR(FBUF_IOC_SEND_BATCH),
	.size = sizeof(struct fbuf_send_batch),
	.once = offsetof(struct fbuf_send_batch, cookie),
	.flags = FBUF_SEND_DONTWAIT | FBUF_SEND_MORE | FBUF_SEND_EOR |
		 FBUF_SEND_SIGPIPE | FBUF_SEND_VOLATILE | FBUF_SEND_SECURED |
		 FBUF_SEND_SNAPSHOT | FBUF_SEND_FREE,
	.pad = offsetof(struct fbuf_send_batch, pad),
};

FIXTURE_VARIANT_ADD(call, fill)
{
	.nr = _IOC_NR(FBUF_IOC_FILL),
	.size = sizeof(struct fbuf_fill),
	.flags = FBUF_FILL_DIRECT | FBUF_FILL_POS | FBUF_FILL_DONTWAIT |
		 FBUF_FILL_ALL,
	.pad = offsetof(struct fbuf_fill, pos),
};

/* From where the others' sends come. */
FIXTURE_VARIANT_ADD(call, recv)
{
	.nr = _IOC_NR(FBUF_IOC_RECV),
	.size = sizeof(struct fbuf_recv),
	.flags = FBUF_RECV_DONTWAIT | FBUF_RECV_ALL | FBUF_RECV_PEEK,
};

FIXTURE_VARIANT_ADD(call, read)
{
	.nr = _IOC_NR(FBUF_IOC_READ),
	.size = sizeof(struct fbuf_read),
};

FIXTURE_VARIANT_ADD(call, show)
{
	.nr = _IOC_NR(FBUF_IOC_SHOW),
	.size = sizeof(struct fbuf_show),
	.pad = offsetof(struct fbuf_show, pad),
};

FIXTURE_VARIANT_ADD(call, info)
{
	.nr = _IOC_NR(FBUF_IOC_INFO),
	.size = sizeof(struct fbuf_info),
	.once = offsetof(struct fbuf_info, pool_flags),
};

/* A good call, which the tests spoil. */
static void call_arg(struct _test_data_call *self, unsigned int nr)
{
	union any_arg *arg = &self->arg;

	switch (nr) {
	case _IOC_NR(FBUF_IOC_POOL_CREATE):
		arg->create.buf_size = BUF_SIZE;
		arg->create.nr_bufs = 1;
		arg->create.node = -1;
		break;
	case _IOC_NR(FBUF_IOC_ALLOC):
		arg->batch.names = (uintptr_t)&self->names[2];
		arg->batch.count = 1;
		break;
	case _IOC_NR(FBUF_IOC_FREE):
	case _IOC_NR(FBUF_IOC_HOLD):
	case _IOC_NR(FBUF_IOC_WAIT):
	case _IOC_NR(FBUF_IOC_SECURE):
	case _IOC_NR(FBUF_IOC_DROP):
		arg->batch.names = (uintptr_t)self->names;
		arg->batch.count = 1;
		break;
	case _IOC_NR(FBUF_IOC_SHARE):
		arg->share.rights = FBUF_RIGHT_READ;
		break;
	case _IOC_NR(FBUF_IOC_PASS):
		self->item.name = self->names[0];
		arg->pass.items = (uintptr_t)&self->item;
		arg->pass.count = 1;
		arg->pass.to = pool_handle(self->second);
		break;
	case _IOC_NR(FBUF_IOC_RING):
		arg->ring.entries = 8;
		break;
	case _IOC_NR(FBUF_IOC_SEND):
		self->seg = buf_seg(&self->pool, self->names[0], 0, 64);
		arg->send.segs = (uintptr_t)&self->seg;
		arg->send.nr_segs = 1;
		arg->send.fd = self->sock[0];
		break;
	case _IOC_NR(FBUF_IOC_FANOUT):
		self->seg = buf_seg(&self->pool, self->names[0], 0, 64);
		self->target.fd = self->sock[0];
		arg->fanout.segs = (uintptr_t)&self->seg;
		arg->fanout.targets = (uintptr_t)&self->target;
		arg->fanout.nr_segs = 1;
		arg->fanout.nr_targets = 1;
		break;
	case _IOC_NR(FBUF_IOC_SEND_BATCH):
		self->seg = buf_seg(&self->pool, self->names[0], 0, 64);
		self->send_item.segs = (uintptr_t)&self->seg;
		self->send_item.nr_segs = 1;
		self->send_item.fd = self->sock[0];
		arg->send_batch.items = (uintptr_t)&self->send_item;
		arg->send_batch.count = 1;
		break;
	case _IOC_NR(FBUF_IOC_FILL):
		arg->fill.name = self->names[0];
		arg->fill.len = 64;
		arg->fill.fd = self->zero;
		break;
	case _IOC_NR(FBUF_IOC_RECV):
		arg->recv.fd = self->sock[0];
		arg->recv.len = 64;
		break;
	case _IOC_NR(FBUF_IOC_READ):
		arg->read.name = self->parcel;
		arg->read.to = (uintptr_t)self->got;
		arg->read.len = 64;
		break;
	case _IOC_NR(FBUF_IOC_SHOW):
		arg->show.name = self->parcel;
		break;
	}
}

/* Something for these calls to be had of: bytes to receive, or a parcel of them. */
static int call_parcel(struct _test_data_call *self, unsigned int nr)
{
	if (nr != _IOC_NR(FBUF_IOC_RECV) && nr != _IOC_NR(FBUF_IOC_READ) &&
	    nr != _IOC_NR(FBUF_IOC_SHOW))
		return 0;
	if (pattern_write(self->sock[1], 1, 0, 64))
		return -EIO;
	if (nr == _IOC_NR(FBUF_IOC_RECV))
		return 0;
	return pool_recv(self->pool.fd, self->sock[0], 64, FBUF_RECV_ALL,
			 &self->parcel, NULL) == 64 ? 0 : -EIO;
}

FIXTURE_SETUP(call)
{
	self->control = control_open();
	ASSERT_LE(0, self->control);
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     FBUF_POOL_SNAPSHOT |
				     (variant->nr == _IOC_NR(FBUF_IOC_DROP) ?
				      FBUF_POOL_LAZY : 0)));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	self->zero = open("/dev/zero", O_RDONLY);
	ASSERT_LE(0, self->zero);
	self->second = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, self->second);
	ASSERT_EQ(0, ring_make(&self->ring, self->second, FBUF_RING_ACCEPT, 8,
			       0));
	/* Two buffers are held, one of which SEND sends and FREE drops. */
	ASSERT_EQ(2, pool_alloc(self->pool.fd, self->names, 2));

	self->fd = variant->on_second ? self->second : self->pool.fd;
	self->other = self->control;
	if (variant->on_control) {
		self->fd = self->control;
		self->other = self->pool.fd;
	}
	ASSERT_EQ(0, call_parcel(self, variant->nr));
	memset(&self->arg, 0, sizeof(self->arg));
	self->arg.size = variant->size;
	call_arg(self, variant->nr);
}

FIXTURE_TEARDOWN(call)
{
	ring_unmake(&self->ring);
	close(self->second);
	pool_unmake(&self->pool);
	close(self->control);
	close(self->zero);
	close(self->sock[0]);
	close(self->sock[1]);
}

/* True if nothing came of the call. */
static bool no_effect(struct _test_data_call *self)
{
	struct fbuf_info info;

	return !pool_info(self->pool.fd, &info) && info.nr_held == 2 &&
	       info.holds == 2 && info.nr_handles == 2 && info.allocs == 2 &&
	       !info.sends && !info.protects && !info.fills &&
	       info.recvs == !!self->parcel &&
	       info.nr_parcels == !!self->parcel &&
	       !ring_len(&self->ring) && sock_empty(self->sock[1]);
}

/* What a call returns that goes well. */
static bool is_good(unsigned int nr, int ret)
{
	switch (nr) {
	case _IOC_NR(FBUF_IOC_ALLOC):
	case _IOC_NR(FBUF_IOC_FREE):
	case _IOC_NR(FBUF_IOC_HOLD):
	case _IOC_NR(FBUF_IOC_WAIT):
	case _IOC_NR(FBUF_IOC_SECURE):
	case _IOC_NR(FBUF_IOC_DROP):
	case _IOC_NR(FBUF_IOC_PASS):
	case _IOC_NR(FBUF_IOC_FANOUT):
	case _IOC_NR(FBUF_IOC_SEND_BATCH):
		return ret == 1;
	case _IOC_NR(FBUF_IOC_SEND):
	case _IOC_NR(FBUF_IOC_FILL):
	case _IOC_NR(FBUF_IOC_RECV):
	case _IOC_NR(FBUF_IOC_READ):
		return ret == 64;
	case _IOC_NR(FBUF_IOC_INFO):
	case _IOC_NR(FBUF_IOC_RING):
	case _IOC_NR(FBUF_IOC_SHOW):
		return ret == 0;
	default:
		return ret >= 0;
	}
}

TEST_F(call, good)
{
	int ret = call(self->fd, variant->nr, variant->size, &self->arg);

	EXPECT_TRUE(is_good(variant->nr, ret)) TH_LOG("returned %d", ret);
}

TEST_F(call, unknown_flags)
{
	unsigned int bit;

	for (bit = 0; bit < 32; bit++) {
		if (variant->flags & (1U << bit))
			continue;
		self->arg.head.flags = 1U << bit;
		EXPECT_EQ(-EINVAL, call(self->fd, variant->nr, variant->size,
					&self->arg))
			TH_LOG("flag bit %u", bit);
	}
	EXPECT_TRUE(no_effect(self));
}

TEST_F(call, dirty_padding)
{
	unsigned int i;

	if (!variant->pad)
		SKIP(return, "no padding in this structure");
	for (i = 0; i < 4; i++) {
		self->arg.bytes[variant->pad + i] = 1;
		EXPECT_EQ(-EINVAL, call(self->fd, variant->nr, variant->size,
					&self->arg));
		self->arg.bytes[variant->pad + i] = 0;
	}
	EXPECT_TRUE(no_effect(self));
}

TEST_F(call, size_field_differs_from_encoding)
{
	static const int off[] = { -8, -4, -1, 1, 4, 8, 1 << 16 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(off); i++) {
		self->arg.size = variant->size + off[i];
		EXPECT_EQ(-EINVAL, call(self->fd, variant->nr, variant->size,
					&self->arg))
			TH_LOG("size %u", self->arg.size);
	}
	self->arg.size = 0;
	EXPECT_EQ(-EINVAL, call(self->fd, variant->nr, variant->size,
				&self->arg));
	EXPECT_TRUE(no_effect(self));
}

TEST_F(call, too_short)
{
	size_t once = variant->once ? variant->once : variant->size;
	size_t size;

	for (size = 0; size < once; size += 4) {
		self->arg.size = size;
		EXPECT_EQ(-EINVAL, call(self->fd, variant->nr, size,
					&self->arg))
			TH_LOG("size %zu", size);
	}
	EXPECT_TRUE(no_effect(self));
}

TEST_F(call, longer_with_zero_tail)
{
	size_t size = variant->size + 64;
	int ret;

	self->arg.size = size;
	ret = call(self->fd, variant->nr, size, &self->arg);
	EXPECT_TRUE(is_good(variant->nr, ret)) TH_LOG("returned %d", ret);
}

TEST_F(call, longer_with_dirty_tail)
{
	static const unsigned int at[] = { 0, 7, 8, 63 };
	size_t size = variant->size + 64;
	unsigned int i;

	self->arg.size = size;
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		self->arg.bytes[variant->size + at[i]] = 1;
		EXPECT_EQ(-E2BIG, call(self->fd, variant->nr, size,
				       &self->arg));
		self->arg.bytes[variant->size + at[i]] = 0;
	}
	EXPECT_TRUE(no_effect(self));
}

TEST_F(call, bad_pointer)
{
	char *edge = edge_alloc(variant->size - 4);

	ASSERT_NE(NULL, edge);
	memcpy(edge, &self->arg, variant->size - 4);

	EXPECT_EQ(-EFAULT, call(self->fd, variant->nr, variant->size, NULL));
	EXPECT_EQ(-EFAULT, call(self->fd, variant->nr, variant->size,
				(void *)-4096L));
	/* The size can be read, the rest cannot. */
	EXPECT_EQ(-EFAULT, call(self->fd, variant->nr, variant->size, edge));
	EXPECT_TRUE(no_effect(self));
}

TEST_F(call, longer_with_unreadable_tail)
{
	char *edge = edge_alloc(variant->size);

	ASSERT_NE(NULL, edge);
	self->arg.size = variant->size + 8;
	memcpy(edge, &self->arg, variant->size);
	EXPECT_EQ(-EFAULT, call(self->fd, variant->nr, variant->size + 8,
				edge));
	EXPECT_TRUE(no_effect(self));
}

TEST_F(call, wrong_fd)
{
	EXPECT_EQ(-ENOTTY, call(self->other, variant->nr, variant->size,
				&self->arg));
	EXPECT_TRUE(no_effect(self));
}

TEST_F(call, other_magic)
{
	EXPECT_EQ(-1, ioctl(self->fd, _IOC(_IOC_READ | _IOC_WRITE,
					   FBUF_IOC_MAGIC ^ 1, variant->nr,
					   variant->size), &self->arg));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_TRUE(no_effect(self));
}

#ifdef __x86_64__
/* A 32-bit program's call, from this one. */
static int ioctl32(int fd, unsigned int cmd, void *arg)
{
	int ret;

	asm volatile("int $0x80"
		     : "=a" (ret)
		     : "a" (54), "b" (fd), "c" (cmd),
		       "d" ((unsigned int)(uintptr_t)arg)
		     : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

TEST_F(call, from_32_bit)
{
	union any_arg *low;
	__u64 *names;
	pid_t pid;
	int ret;

	/* Where a 32-bit program could have it. */
	low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ASSERT_NE(MAP_FAILED, low);
	*low = self->arg;
	names = (void *)(low + 1);
	memcpy(names, self->names, sizeof(self->names));

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(ioctl32(-1, 0, NULL) == -EBADF ? 0 : 1);
	if (child_status(pid))
		SKIP(return, "this kernel runs no 32-bit programs");

	ret = ioctl32(self->fd, _IOC(_IOC_READ | _IOC_WRITE, FBUF_IOC_MAGIC,
				     variant->nr, variant->size), low);
	EXPECT_LE(0, ret);
}
#endif

/* Commands that nobody knows. */
TEST(unknown_command)
{
	union any_arg arg = { .size = sizeof(struct fbuf_info) };
	int control = control_open();
	int fd = pool_create(BUF_SIZE, 1);
	unsigned int nr;

	ASSERT_LE(0, control);
	ASSERT_LE(0, fd);
	for (nr = 0; nr < 256; nr++) {
		if (nr != _IOC_NR(FBUF_IOC_POOL_CREATE)) {
			EXPECT_EQ(-ENOTTY, call(control, nr, arg.size, &arg))
				TH_LOG("control, number %#x", nr);
		}
		if (nr < _IOC_NR(FBUF_IOC_ALLOC) ||
		    nr > _IOC_NR(FBUF_IOC_SHOW)) {
			EXPECT_EQ(-ENOTTY, call(fd, nr, arg.size, &arg))
				TH_LOG("pool, number %#x", nr);
		}
	}
	close(fd);
	close(control);
}

/* POOL_CREATE */
FIXTURE(create)
{
	struct fbuf_pool_create arg;
	int control;
};

FIXTURE_SETUP(create)
{
	self->control = control_open();
	ASSERT_LE(0, self->control);
	self->arg = (struct fbuf_pool_create) {
		.size = sizeof(self->arg),
		.buf_size = BUF_SIZE,
		.nr_bufs = NR_BUFS,
		.node = -1,
	};
}

FIXTURE_TEARDOWN(create)
{
	close(self->control);
}

static int create(struct _test_data_create *self)
{
	int fd = ioctl(self->control, FBUF_IOC_POOL_CREATE, &self->arg);

	return fd < 0 ? -errno : fd;
}

TEST_F(create, every_buf_size)
{
	size_t size;
	int fd;

	self->arg.nr_bufs = 2;
	for (size = sysconf(_SC_PAGESIZE); size <= FBUF_BUF_SIZE_MAX;
	     size *= 2) {
		struct fbuf_info info;

		self->arg.buf_size = size;
		fd = create(self);
		ASSERT_LE(0, fd)
			TH_LOG("size %zu", size);
		EXPECT_EQ(0, pool_info(fd, &info));
		EXPECT_EQ(size, info.buf_size);
		EXPECT_EQ(2 * size, info.pool_size);
		close(fd);
	}
}

TEST_F(create, bad_buf_size)
{
	static const unsigned int size[] = {
		0, 1, 2048, 4095, 4097, 3 * 4096, 65535, 65537,
		FBUF_BUF_SIZE_MAX - 4096, FBUF_BUF_SIZE_MAX + 4096,
		2 * FBUF_BUF_SIZE_MAX, 1U << 31, 0xffffffff,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(size); i++) {
		self->arg.buf_size = size[i];
		EXPECT_EQ(-EINVAL, create(self))
			TH_LOG("size %u", size[i]);
	}
}

TEST_F(create, no_bufs)
{
	self->arg.nr_bufs = 0;
	EXPECT_EQ(-EINVAL, create(self));
}

TEST_F(create, too_large)
{
	self->arg.buf_size = FBUF_BUF_SIZE_MAX;
	self->arg.nr_bufs = FBUF_POOL_SIZE_MAX / FBUF_BUF_SIZE_MAX + 1;
	EXPECT_EQ(-EINVAL, create(self));
	self->arg.nr_bufs = 0xffffffff;
	EXPECT_EQ(-EINVAL, create(self));
	/* The bytes are too many for 32 bits by far. */
	self->arg.buf_size = getpagesize();
	EXPECT_EQ(-EINVAL, create(self));
}

static long oom_kills(void)
{
	char line[128];
	long nr = -1;
	FILE *f = fopen("/proc/vmstat", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "oom_kill %ld", &nr) == 1)
			break;
	}
	if (f)
		fclose(f);
	return nr;
}

/* Asks for too much: an error, and nobody is killed for it. */
TEST_F(create, more_than_memory)
{
	__u64 total = (__u64)sysconf(_SC_PHYS_PAGES) *
			 sysconf(_SC_PAGESIZE);
	long before = oom_kills();
	int fd;

	if (total >= FBUF_POOL_SIZE_MAX / 8)
		SKIP(return, "this machine has too much memory");
	self->arg.buf_size = FBUF_BUF_SIZE_MAX;
	self->arg.nr_bufs = 4 * total / FBUF_BUF_SIZE_MAX;
	EXPECT_EQ(-ENOMEM, create(self));
	/* Not so much that it can be told without trying. */
	self->arg.nr_bufs = total / FBUF_BUF_SIZE_MAX - 1;
	EXPECT_EQ(-ENOMEM, create(self));
	EXPECT_EQ(before, oom_kills());

	/* And a small one can be had right after. */
	self->arg.buf_size = BUF_SIZE;
	self->arg.nr_bufs = NR_BUFS;
	fd = create(self);
	EXPECT_LE(0, fd);
	close(fd);
}

TEST_F(create, node)
{
	struct fbuf_info info;
	int fd;

	self->arg.node = 0;
	fd = create(self);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(0, info.node);
	close(fd);
}

TEST_F(create, bad_node)
{
	static const int node[] = { -2, 1000, 1 << 20, 0x7fffffff,
				    -0x7fffffff - 1 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(node); i++) {
		self->arg.node = node[i];
		EXPECT_EQ(-EINVAL, create(self))
			TH_LOG("node %d", node[i]);
	}
}

/* A number with another direction is another call. */
TEST_F(create, other_direction)
{
	int fd = create(self);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, ioctl(fd, _IOC(_IOC_WRITE, FBUF_IOC_MAGIC,
				     _IOC_NR(FBUF_IOC_INFO),
				     sizeof(struct fbuf_info)), &self->arg));
	EXPECT_EQ(ENOTTY, errno);
	close(fd);
}

TEST_F(create, protection)
{
	static const __u32 good[] = {
		0, FBUF_POOL_SECURED, FBUF_POOL_SNAPSHOT,
		FBUF_POOL_SECURED | FBUF_POOL_SIGBUS,
		FBUF_POOL_SNAPSHOT | FBUF_POOL_SIGBUS,
		FBUF_POOL_LAZY, FBUF_POOL_SECURED | FBUF_POOL_LAZY,
		FBUF_POOL_SNAPSHOT | FBUF_POOL_SIGBUS | FBUF_POOL_LAZY,
	};
	struct fbuf_info info;
	unsigned int i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		self->arg.flags = good[i];
		fd = create(self);
		ASSERT_LE(0, fd);
		EXPECT_EQ(0, pool_info(fd, &info));
		EXPECT_EQ(good[i], info.pool_flags);
		close(fd);
	}
}

TEST_F(create, protection_that_makes_no_sense)
{
	self->arg.flags = FBUF_POOL_SECURED | FBUF_POOL_SNAPSHOT;
	EXPECT_EQ(-EINVAL, create(self));
	self->arg.flags |= FBUF_POOL_SIGBUS;
	EXPECT_EQ(-EINVAL, create(self));
	self->arg.flags = FBUF_POOL_SIGBUS;
	EXPECT_EQ(-EINVAL, create(self));
}

TEST_F(create, close_on_exec)
{
	int fd = create(self);

	ASSERT_LE(0, fd);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

TEST_F(create, no_fd_left)
{
	int fd, last = -1;

	/* Use up the descriptors that this process may have. */
	while ((fd = dup(self->control)) >= 0)
		last = fd;
	ASSERT_EQ(EMFILE, errno);
	EXPECT_EQ(-EMFILE, create(self));
	close(last);
	EXPECT_EQ(last, create(self));
}

/* An fd as good as any. */
TEST_F(create, fd_0)
{
	struct fbuf_info info;

	close(0);
	ASSERT_EQ(0, create(self));
	EXPECT_EQ(0, pool_info(0, &info));
	close(0);
}

/* ALLOC and FREE */
FIXTURE(bufs)
{
	struct pool pool;
	__u64 names[NR_BUFS + 1];
};

FIXTURE_SETUP(bufs)
{
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
}

FIXTURE_TEARDOWN(bufs)
{
	pool_unmake(&self->pool);
}

static unsigned int held(int fd)
{
	struct fbuf_info info;

	return pool_info(fd, &info) ? ~0U : info.nr_held;
}

TEST_F(bufs, alloc_all)
{
	__u64 *n = self->names;
	unsigned int i, j;

	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, n, NR_BUFS));
	for (i = 0; i < NR_BUFS; i++) {
		EXPECT_GT(NR_BUFS, FBUF_NAME_INDEX(n[i]));
		for (j = 0; j < i; j++)
			EXPECT_NE(FBUF_NAME_INDEX(n[i]), FBUF_NAME_INDEX(n[j]));
	}
	EXPECT_EQ(NR_BUFS, held(self->pool.fd));
}

TEST_F(bufs, alloc_when_all_held)
{
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	EXPECT_EQ(-ENOBUFS, pool_alloc(self->pool.fd, self->names, 1));
	EXPECT_EQ(NR_BUFS, held(self->pool.fd));
}

TEST_F(bufs, alloc_some)
{
	__u64 more[NR_BUFS + 2];

	ASSERT_EQ(1, pool_alloc(self->pool.fd, self->names, 1));
	memset(more, 0xee, sizeof(more));
	EXPECT_EQ((int)NR_BUFS - 1, pool_alloc(self->pool.fd, more,
					       NR_BUFS + 2));
	/* The rest of the array stays as it was. */
	EXPECT_EQ(0xeeeeeeeeeeeeeeeeULL, more[NR_BUFS - 1]);
	EXPECT_EQ(NR_BUFS, held(self->pool.fd));
}

TEST_F(bufs, batch_limits)
{
	__u64 *names = calloc(FBUF_BATCH_MAX + 1, sizeof(*names));

	ASSERT_NE(NULL, names);
	EXPECT_EQ(-EINVAL, pool_alloc(self->pool.fd, names, 0));
	EXPECT_EQ(-EINVAL, pool_alloc(self->pool.fd, names,
				      FBUF_BATCH_MAX + 1));
	EXPECT_EQ(-EINVAL, pool_alloc(self->pool.fd, names, 0xffffffff));
	EXPECT_EQ(0U, held(self->pool.fd));
	EXPECT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, names,
					   FBUF_BATCH_MAX));
	EXPECT_EQ(-EINVAL, pool_free(self->pool.fd, names, 0));
	EXPECT_EQ(-EINVAL, pool_free(self->pool.fd, names,
				     FBUF_BATCH_MAX + 1));
	EXPECT_EQ(NR_BUFS, held(self->pool.fd));
}

TEST_F(bufs, alloc_bad_names_pointer)
{
	__u64 *edge = edge_alloc(sizeof(*edge));
	struct fbuf_info info;

	ASSERT_NE(NULL, edge);
	EXPECT_EQ(-EFAULT, pool_alloc(self->pool.fd, NULL, 1));
	EXPECT_EQ(-EFAULT, pool_alloc(self->pool.fd, edge, 2));
	/* A hold that nobody was told of is dropped, and not counted. */
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(0U, info.nr_held);
	EXPECT_EQ(0ULL, info.allocs);
	EXPECT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
}

TEST_F(bufs, free_bad_names_pointer)
{
	__u64 *edge = edge_alloc(sizeof(*edge));

	ASSERT_NE(NULL, edge);
	ASSERT_EQ(2, pool_alloc(self->pool.fd, self->names, 2));
	*edge = self->names[0];
	EXPECT_EQ(-EFAULT, pool_free(self->pool.fd, NULL, 1));
	EXPECT_EQ(-EFAULT, pool_free(self->pool.fd, edge, 2));
	EXPECT_EQ(2U, held(self->pool.fd));
}

TEST_F(bufs, free_never_allocated)
{
	unsigned int i;

	for (i = 0; i < NR_BUFS; i++) {
		__u64 name = FBUF_NAME(i, 0);

		EXPECT_EQ(-ESTALE, pool_free(self->pool.fd, &name, 1));
		name = FBUF_NAME(i, 1);
		EXPECT_EQ(-ESTALE, pool_free(self->pool.fd, &name, 1));
	}
	EXPECT_EQ(0U, held(self->pool.fd));
}

TEST_F(bufs, free_twice)
{
	ASSERT_EQ(2, pool_alloc(self->pool.fd, self->names, 2));
	EXPECT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	EXPECT_EQ(-ESTALE, pool_free(self->pool.fd, self->names, 1));
	EXPECT_EQ(1U, held(self->pool.fd));
}

/* A name of the last holder must not free the new holder's buffer. */
TEST_F(bufs, free_stale_name)
{
	__u64 old[NR_BUFS];
	unsigned int i;

	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, old, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, old, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	for (i = 0; i < NR_BUFS; i++)
		EXPECT_EQ(-ESTALE, pool_free(self->pool.fd, &old[i], 1));
	EXPECT_EQ(NR_BUFS, held(self->pool.fd));
}

TEST_F(bufs, free_bad_index)
{
	__u64 name = FBUF_NAME(NR_BUFS, 1);

	EXPECT_EQ(-EINVAL, pool_free(self->pool.fd, &name, 1));
	name = ~0ULL;
	EXPECT_EQ(-EINVAL, pool_free(self->pool.fd, &name, 1));
}

TEST_F(bufs, free_with_duplicate_drops_none)
{
	__u64 names[3];

	ASSERT_EQ(2, pool_alloc(self->pool.fd, names, 2));
	names[2] = names[0];
	EXPECT_EQ(-ESTALE, pool_free(self->pool.fd, names, 3));
	EXPECT_EQ(2U, held(self->pool.fd));
	/* Nor did it leave a mark. */
	EXPECT_EQ(2, pool_free(self->pool.fd, names, 2));
	EXPECT_EQ(0U, held(self->pool.fd));
}

TEST_F(bufs, free_with_bad_name_drops_none)
{
	__u64 names[3];

	ASSERT_EQ(2, pool_alloc(self->pool.fd, names, 2));
	names[2] = FBUF_NAME(NR_BUFS + 7, 1);
	EXPECT_EQ(-EINVAL, pool_free(self->pool.fd, names, 3));
	names[2] = names[1] ^ (1ULL << 32);
	EXPECT_EQ(-ESTALE, pool_free(self->pool.fd, names, 3));
	EXPECT_EQ(2U, held(self->pool.fd));
	EXPECT_EQ(2, pool_free(self->pool.fd, names, 2));
}

TEST_F(bufs, alloc_all_or_none)
{
	int fd = self->pool.fd;

	ASSERT_EQ(1, pool_alloc(fd, self->names, 1));
	EXPECT_EQ(-ENOBUFS, pool_batch(fd, FBUF_IOC_ALLOC, &self->names[1],
				       NR_BUFS, FBUF_ALLOC_ALL, 0));
	EXPECT_EQ(1U, held(fd));
	EXPECT_EQ((int)NR_BUFS - 1,
		  pool_batch(fd, FBUF_IOC_ALLOC, &self->names[1], NR_BUFS - 1,
			     FBUF_ALLOC_ALL, 0));
	EXPECT_EQ(NR_BUFS, held(fd));
}

TEST_F(bufs, alloc_all_of_more_than_there_are)
{
	EXPECT_EQ(-EINVAL, pool_batch(self->pool.fd, FBUF_IOC_ALLOC,
				      self->names, NR_BUFS + 1,
				      FBUF_ALLOC_ALL, 0));
	EXPECT_EQ(-EINVAL, pool_batch(self->pool.fd, FBUF_IOC_ALLOC,
				      self->names, NR_BUFS + 1,
				      FBUF_ALLOC_ALL | FBUF_ALLOC_WAIT, -1));
	EXPECT_EQ(0U, held(self->pool.fd));
}

TEST_F(bufs, timeouts)
{
	static const int bad[] = { -2, -1000, -0x7fffffff - 1 };
	int fd = self->pool.fd;
	__u64 *n = self->names;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, pool_batch(fd, FBUF_IOC_ALLOC, n, 1,
					      FBUF_ALLOC_WAIT, bad[i]));
		EXPECT_EQ(-EINVAL, pool_batch(fd, FBUF_IOC_ALLOC, n, 1, 0,
					      bad[i]));
	}
	/* One is there: no need to wait. */
	EXPECT_EQ(1, pool_batch(fd, FBUF_IOC_ALLOC, n, 1, FBUF_ALLOC_WAIT, 0));
	EXPECT_EQ(1, pool_batch(fd, FBUF_IOC_ALLOC, n + 1, 1, FBUF_ALLOC_WAIT,
				-1));
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(-EINVAL, pool_wait(fd, n, 1, bad[i]));
	EXPECT_EQ(2U, held(fd));
}

/* What HOLD, WAIT and SECURE have in common with FREE. */
FIXTURE(names)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int fd;
};

FIXTURE_VARIANT(names)
{
	unsigned long cmd;
	bool others;	/* the buffers are those of another handle */
};

FIXTURE_VARIANT_ADD(names, hold)
{
	.cmd = FBUF_IOC_HOLD,
	.others = true,
};

FIXTURE_VARIANT_ADD(names, wait)
{
	.cmd = FBUF_IOC_WAIT,
};

FIXTURE_VARIANT_ADD(names, secure)
{
	.cmd = FBUF_IOC_SECURE,
};

FIXTURE_SETUP(names)
{
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     FBUF_POOL_SECURED));
	ASSERT_EQ(2, pool_alloc(self->pool.fd, self->names, 2));
	self->fd = self->pool.fd;
	if (variant->others)
		self->fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(names)
{
	if (variant->others)
		close(self->fd);
	pool_unmake(&self->pool);
}

static int names_call(struct _test_data_names *self, unsigned long cmd,
		      const __u64 *names, unsigned int count)
{
	return pool_batch(self->fd, cmd, names, count, 0, 0);
}

TEST_F(names, batch_limits)
{
	__u64 *names = calloc(FBUF_BATCH_MAX + 1, sizeof(*names));

	ASSERT_NE(NULL, names);
	EXPECT_EQ(-EINVAL, names_call(self, variant->cmd, self->names, 0));
	EXPECT_EQ(-EINVAL, names_call(self, variant->cmd, names,
				      FBUF_BATCH_MAX + 1));
	EXPECT_EQ(-EINVAL, names_call(self, variant->cmd, names, 0xffffffff));
	EXPECT_EQ(2, names_call(self, variant->cmd, self->names, 2));
	free(names);
}

TEST_F(names, bad_pointer)
{
	__u64 *edge = edge_alloc(sizeof(*edge));

	ASSERT_NE(NULL, edge);
	*edge = self->names[0];
	EXPECT_EQ(-EFAULT, names_call(self, variant->cmd, NULL, 1));
	EXPECT_EQ(-EFAULT, names_call(self, variant->cmd, edge, 2));
	/* Nothing came of the one that could be read. */
	EXPECT_EQ(1, names_call(self, variant->cmd, edge, 1));
}

TEST_F(names, bad_index)
{
	__u64 names[2] = { self->names[0], FBUF_NAME(NR_BUFS, 1) };

	EXPECT_EQ(-EINVAL, names_call(self, variant->cmd, names, 2));
	names[1] = ~0ULL;
	EXPECT_EQ(-EINVAL, names_call(self, variant->cmd, names, 2));
	EXPECT_EQ(1, names_call(self, variant->cmd, names, 1));
}

TEST_F(names, stale)
{
	__u64 names[2] = { self->names[0] };
	unsigned int i;

	for (i = 0; i < NR_BUFS; i++) {
		/* Of a buffer that nobody holds, or another's name of it. */
		names[1] = FBUF_NAME(i, FBUF_NAME_GEN(self->names[1]) + 1);
		EXPECT_EQ(-ESTALE, names_call(self, variant->cmd, names, 2));
	}
	EXPECT_EQ(1, names_call(self, variant->cmd, names, 1));
}

/* A large pool: batches cross from one word of its bookkeeping to the next. */
TEST_F(bufs, many)
{
	unsigned int nr = 1000, got = 0, i;
	__u64 names[1000];
	__u8 *seen;
	int ret, fd;

	fd = pool_create(getpagesize(), nr);
	ASSERT_LE(0, fd);
	seen = calloc(1, nr);
	ASSERT_NE(NULL, seen);
	while (got < nr) {
		ret = pool_alloc(fd, names + got, 37);
		ASSERT_LT(0, ret);
		got += ret;
	}
	ASSERT_EQ(nr, got);
	for (i = 0; i < nr; i++) {
		ASSERT_GT(nr, FBUF_NAME_INDEX(names[i]));
		EXPECT_EQ(0, seen[FBUF_NAME_INDEX(names[i])]++);
	}
	free(seen);
	EXPECT_EQ(-ENOBUFS, pool_alloc(fd, names, 1));
	EXPECT_EQ((int)nr, pool_free(fd, names, nr));
	EXPECT_EQ(0U, held(fd));
	close(fd);
}

/* SEND */
FIXTURE(send)
{
	struct pool pool;
	int sock[2];
	__u64 names[NR_BUFS];
	struct fbuf_seg seg[2];
	struct fbuf_send arg;
};

FIXTURE_SETUP(send)
{
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	/* The last buffer is not held. */
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->names[NR_BUFS - 1], 1));

	/* Two good segments: tests spoil the second. */
	self->seg[0] = buf_seg(&self->pool, self->names[0], 0, 100);
	self->seg[1] = buf_seg(&self->pool, self->names[1], 0, 100);
	self->arg = (struct fbuf_send) {
		.size = sizeof(self->arg),
		.segs = (uintptr_t)self->seg,
		.nr_segs = 2,
		.fd = self->sock[0],
	};
}

FIXTURE_TEARDOWN(send)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

static int send_arg(struct _test_data_send *self)
{
	int ret = ioctl(self->pool.fd, FBUF_IOC_SEND, &self->arg);

	return ret < 0 ? -errno : ret;
}

/* An error, and not a byte of the good first segment sent. */
#define EXPECT_SEND_FAILS(err) do {					\
		struct fbuf_info _info;					\
									\
		EXPECT_EQ(-(err), send_arg(self));			\
		EXPECT_TRUE(sock_empty(self->sock[1]));			\
		EXPECT_EQ(0, pool_info(self->pool.fd, &_info));		\
		EXPECT_EQ(0ULL, _info.sends);				\
		EXPECT_EQ(0ULL, _info.bytes);				\
	} while (0)

/* Shows that the tests below fail for their own reason. */
TEST_F(send, good)
{
	EXPECT_EQ(200, send_arg(self));
	EXPECT_FALSE(sock_empty(self->sock[1]));
}

TEST_F(send, out_fields_ignored_on_the_way_in)
{
	self->arg.engine = 0xdeadbeef;
	self->arg.copied = 0x123456789abcdefULL;
	self->arg.protects = 0xdeadbeef;
	self->arg.snapshots = 0xdeadbeef;
	EXPECT_EQ(200, send_arg(self));
	EXPECT_EQ(FBUF_ENGINE_PAGEREF, self->arg.engine);
	EXPECT_EQ(0ULL, self->arg.copied);
	EXPECT_EQ(0U, self->arg.protects);
	EXPECT_EQ(0U, self->arg.snapshots);
}

TEST_F(send, out_fields_left_alone_on_error)
{
	self->arg.engine = 0xdeadbeef;
	self->arg.copied = 0x123456789abcdefULL;
	self->arg.protects = 0xdeadbeef;
	self->arg.snapshots = 0xdeadbeef;
	self->seg[1].len = 0;
	EXPECT_SEND_FAILS(EINVAL);
	shutdown(self->sock[0], SHUT_WR);
	self->seg[1].len = 1;
	EXPECT_EQ(-EPIPE, send_arg(self));
	EXPECT_EQ(0xdeadbeef, self->arg.engine);
	EXPECT_EQ(0x123456789abcdefULL, self->arg.copied);
	EXPECT_EQ(0xdeadbeef, self->arg.protects);
	EXPECT_EQ(0xdeadbeef, self->arg.snapshots);
}

/* What no engine takes is refused before anything is protected. */
TEST_F(send, protects_nothing_in_vain)
{
	struct fbuf_info info;
	int sv[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	self->arg.fd = sv[0];
	self->arg.engines = FBUF_ENGINE_PAGEREF | FBUF_ENGINE_UBUF;
	EXPECT_SEND_FAILS(EOPNOTSUPP);
	self->arg.engines |= FBUF_ENGINE_COPY;
	EXPECT_EQ(200, send_arg(self));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(0ULL, info.protects);
	close(sv[0]);
	close(sv[1]);
}

/* Three segments of two buffers, in a pool that protects. */
FIXTURE(protects)
{
	struct pool pool;
	int sock[2];
	__u64 names[NR_BUFS];
	struct fbuf_seg seg[3];
	struct fbuf_send arg;
};

FIXTURE_VARIANT(protects)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(protects, snapshot)
{
	.flags = FBUF_POOL_SNAPSHOT,
};

FIXTURE_VARIANT_ADD(protects, secured)
{
	.flags = FBUF_POOL_SECURED,
};

FIXTURE_SETUP(protects)
{
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     variant->flags));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	self->seg[0] = buf_seg(&self->pool, self->names[0], 0, 100);
	self->seg[1] = buf_seg(&self->pool, self->names[1], 0, 100);
	self->seg[2] = buf_seg(&self->pool, self->names[0], 200, 100);
	self->arg = (struct fbuf_send) {
		.size = sizeof(self->arg),
		.segs = (uintptr_t)self->seg,
		.nr_segs = 3,
		.fd = self->sock[0],
	};
}

FIXTURE_TEARDOWN(protects)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

/* What a send says of how many it protected; its bytes are read. */
static int protects(struct _test_data_protects *self)
{
	int want = 100 * self->arg.nr_segs;
	char got[300];

	self->arg.protects = 0xdeadbeef;
	if (ioctl(self->pool.fd, FBUF_IOC_SEND, &self->arg) != want ||
	    read_full(self->sock[1], got, want) != want)
		return -1;
	return self->arg.protects;
}

TEST_F(protects, counted_once)
{
	EXPECT_EQ(2, protects(self));
	EXPECT_EQ(0, protects(self));
	/* One segment alone goes another way, with the same to say. */
	self->arg.nr_segs = 1;
	EXPECT_EQ(0, protects(self));
	self->seg[0] = buf_seg(&self->pool, self->names[2], 0, 100);
	EXPECT_EQ(1, protects(self));
	EXPECT_EQ(0, protects(self));
}

TEST_F(protects, again_after_a_write)
{
	struct fbuf_info info;
	unsigned int i;

	EXPECT_EQ(2, protects(self));
	for (i = 0; i < 3; i++) {
		buf_addr(&self->pool, self->names[1])[5000] = i;
		EXPECT_EQ(1, protects(self));
		EXPECT_EQ(0U, self->arg.snapshots);
		EXPECT_EQ(0, protects(self));
	}
	/* And after one that was in flight. */
	ASSERT_EQ(300, ioctl(self->pool.fd, FBUF_IOC_SEND, &self->arg));
	EXPECT_EQ(0U, self->arg.protects);
	if (variant->flags & FBUF_POOL_SNAPSHOT) {
		buf_addr(&self->pool, self->names[0])[0] = i;
		ASSERT_EQ(300, ioctl(self->pool.fd, FBUF_IOC_SEND, &self->arg));
		EXPECT_EQ(1U, self->arg.protects);
		EXPECT_EQ(1U, self->arg.snapshots);
		ASSERT_EQ(300, ioctl(self->pool.fd, FBUF_IOC_SEND, &self->arg));
		EXPECT_EQ(0U, self->arg.snapshots);
	}
	/* All that was counted for the pool, and no more. */
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(variant->flags & FBUF_POOL_SNAPSHOT ? 6ULL : 5ULL,
		  info.protects);
}

/* What is secured is protected already; a volatile send protects nothing. */
TEST_F(protects, not_what_is_protected)
{
	self->arg.flags = FBUF_SEND_VOLATILE;
	EXPECT_EQ(0, protects(self));
	self->arg.flags = 0;
	ASSERT_EQ(1, pool_secure(self->pool.fd, self->names, 1));
	EXPECT_EQ(1, protects(self));
}

/* A caller that knows the structure as it once was is told as much as it knows. */
TEST_F(protects, of_a_shorter_structure)
{
	size_t once = offsetof(struct fbuf_send, protects), size;
	union any_arg arg;
	char got[300];

	for (size = once; size <= sizeof(self->arg); size += 4) {
		memset(&arg, 0x5a, sizeof(arg));
		memcpy(&arg, &self->arg, once);
		arg.send.size = size;
		buf_addr(&self->pool, self->names[1])[0] = size;
		EXPECT_EQ(300, call(self->pool.fd, _IOC_NR(FBUF_IOC_SEND),
				    size, &arg));
		ASSERT_EQ(300, read_full(self->sock[1], got, 300));
		EXPECT_EQ(FBUF_ENGINE_PAGEREF, arg.send.engine);
		EXPECT_EQ(0ULL, arg.send.copied);
		EXPECT_EQ(size == once ? 0x5a5a5a5aU : 1U, arg.send.protects);
		EXPECT_EQ(size < offsetof(struct fbuf_send, cookie) ?
			  0x5a5a5a5aU : 0, arg.send.snapshots);
	}
	/* Where one buffer was protected before, what was there is not left. */
	arg.send.size = once + 4;
	arg.send.nr_segs = 1;
	arg.send.protects = 0x5a5a5a5a;
	EXPECT_EQ(100, call(self->pool.fd, _IOC_NR(FBUF_IOC_SEND), once + 4,
			    &arg));
	EXPECT_EQ(0U, arg.send.protects);
}

TEST_F(send, segment_beyond_pool)
{
	self->seg[1].addr = self->pool.size;
	EXPECT_SEND_FAILS(EINVAL);
	self->seg[1].addr = ~0ULL;
	EXPECT_SEND_FAILS(EINVAL);
	self->seg[1].addr = ~0ULL - 99;
	EXPECT_SEND_FAILS(EINVAL);
	/* Its end is in the first buffer, as far as 64 bits can tell. */
	self->seg[1].len = 200;
	EXPECT_SEND_FAILS(EINVAL);
	self->seg[1].len = 100;
	/* An offset that only 64 bits can tell from the first buffer's. */
	self->seg[1].addr = 1ULL << 32;
	EXPECT_SEND_FAILS(EINVAL);
	self->seg[1].addr = (__u64)BUF_SIZE << 32;
	EXPECT_SEND_FAILS(EINVAL);
}

TEST_F(send, segment_crosses_buffers)
{
	/* The first buffer's end and the start of the second, both held. */
	self->seg[1].addr = BUF_SIZE - 50;
	EXPECT_SEND_FAILS(EINVAL);
	self->seg[1].addr = 0;
	self->seg[1].len = BUF_SIZE + 1;
	EXPECT_SEND_FAILS(EINVAL);
	self->seg[1].addr = 1;
	self->seg[1].len = 0xffffffff;
	EXPECT_SEND_FAILS(EINVAL);
	/* All of one buffer is good. */
	self->seg[1].addr = buf_offset(&self->pool, self->names[1]);
	self->seg[1].len = BUF_SIZE;
	EXPECT_EQ((int)BUF_SIZE + 100, send_arg(self));
}

TEST_F(send, empty_segment)
{
	self->seg[1].len = 0;
	EXPECT_SEND_FAILS(EINVAL);
}

TEST_F(send, unknown_segment_flags)
{
	unsigned int bit;

	for (bit = 1; bit < 32; bit++) {
		self->seg[1].flags = 1U << bit;
		EXPECT_SEND_FAILS(EINVAL);
	}
}

TEST_F(send, buffer_without_hold)
{
	self->seg[1] = buf_seg(&self->pool, self->names[NR_BUFS - 1], 0, 100);
	EXPECT_SEND_FAILS(ESTALE);
}

/* A hold is the handle's: another pool's does not count. */
/* Segments by the names of their buffers. */
TEST_F(send, named_segments)
{
	char got[200];

	pattern_fill(buf_addr(&self->pool, self->names[0]), 1, 0, BUF_SIZE);
	pattern_fill(buf_addr(&self->pool, self->names[1]), 2, 0, BUF_SIZE);
	self->seg[0] = named_seg(self->names[0], 0, 100);
	self->seg[1] = named_seg(self->names[1], BUF_SIZE - 100, 100);
	EXPECT_EQ(200, send_arg(self));
	ASSERT_EQ(200, read_full(self->sock[1], got, 200));
	EXPECT_EQ(-1, pattern_differs(got, 1, 0, 100));
	EXPECT_EQ(-1, pattern_differs(got + 100, 2, BUF_SIZE - 100, 100));
	/* And one alone. */
	self->arg.nr_segs = 1;
	self->seg[0] = named_seg(self->names[1], 17, 50);
	EXPECT_EQ(50, send_arg(self));
	ASSERT_EQ(50, read_full(self->sock[1], got, 50));
	EXPECT_EQ(-1, pattern_differs(got, 2, 17, 50));
}

/* Freed and handed out again, to the same handle: the bytes are another's. */
TEST_F(send, named_segment_that_is_stale)
{
	__u64 fresh[3];

	/* With the one that was free, all are handed out again. */
	ASSERT_EQ(2, pool_free(self->pool.fd, self->names, 2));
	ASSERT_EQ(3, pool_alloc(self->pool.fd, fresh, 3));
	self->seg[0] = named_seg(fresh[0], 0, 100);
	self->seg[1] = named_seg(self->names[0], 0, 100);
	EXPECT_SEND_FAILS(ESTALE);
	self->seg[0] = named_seg(self->names[1], 0, 100);
	self->arg.nr_segs = 1;
	EXPECT_SEND_FAILS(ESTALE);
	/* Without a name nobody can tell. */
	self->seg[0] = buf_seg(&self->pool, self->names[1], 0, 100);
	EXPECT_EQ(100, send_arg(self));
}

/* Short ones of many are copied, and checked all the same. */
/* What comes after it is good, and does not make up for it. */
TEST_F(send, named_segment_that_is_stale_in_between)
{
	struct fbuf_seg segs[3];
	__u64 fresh;

	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &fresh, 1));
	ASSERT_EQ(FBUF_NAME_INDEX(self->names[0]), FBUF_NAME_INDEX(fresh));
	segs[0] = named_seg(self->names[1], 0, 100);
	segs[1] = named_seg(self->names[0], 0, 100);
	segs[2] = named_seg(self->names[1], 200, 100);
	self->arg.segs = (uintptr_t)segs;
	self->arg.nr_segs = 3;
	EXPECT_SEND_FAILS(ESTALE);
	segs[1] = named_seg(fresh, 0, 100);
	EXPECT_EQ(300, send_arg(self));
}

/* One that goes on where the one before ends is looked at elsewhere. */
TEST_F(send, named_segment_that_is_stale_goes_on)
{
	__u64 fresh;

	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &fresh, 1));
	ASSERT_EQ(FBUF_NAME_INDEX(self->names[0]), FBUF_NAME_INDEX(fresh));
	self->seg[0] = named_seg(fresh, 0, 100);
	self->seg[1] = named_seg(self->names[0], 100, 100);
	EXPECT_SEND_FAILS(ESTALE);
	self->seg[1] = named_seg(fresh, 100, 100);
	EXPECT_EQ(200, send_arg(self));
}

TEST_F(send, named_segment_that_is_stale_among_many)
{
	struct fbuf_seg segs[64];
	unsigned int i;
	__u64 fresh;

	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &fresh, 1));
	ASSERT_EQ(FBUF_NAME_INDEX(self->names[0]), FBUF_NAME_INDEX(fresh));
	for (i = 0; i < 64; i++)
		segs[i] = named_seg(self->names[1], 40 * i, 20);
	self->arg.segs = (uintptr_t)segs;
	self->arg.nr_segs = 64;
	segs[50] = named_seg(self->names[0], 0, 20);
	EXPECT_SEND_FAILS(ESTALE);
	segs[50] = named_seg(fresh, 0, 20);
	EXPECT_EQ(64 * 20, send_arg(self));
}

TEST_F(send, named_segment_with_a_bad_offset)
{
	static const unsigned int at[] = { BUF_SIZE - 99, BUF_SIZE,
					   2 * BUF_SIZE, (1U << 24) - 1 };
	unsigned int i, nr;

	for (nr = 1; nr <= 2; nr++) {
		self->arg.nr_segs = nr;
		for (i = 0; i < ARRAY_SIZE(at); i++) {
			self->seg[nr - 1] = named_seg(self->names[0], at[i],
						      100);
			EXPECT_SEND_FAILS(EINVAL);
		}
		self->seg[nr - 1] = named_seg(FBUF_NAME(NR_BUFS, 1), 0, 100);
		EXPECT_SEND_FAILS(EINVAL);
		self->seg[nr - 1] = named_seg(~0ULL, 0, 100);
		EXPECT_SEND_FAILS(EINVAL);
		self->seg[nr - 1] = named_seg(self->names[0], 0, 100);
	}
}

TEST_F(send, named_segment_without_hold)
{
	self->seg[1] = named_seg(self->names[NR_BUFS - 1], 0, 100);
	EXPECT_SEND_FAILS(ESTALE);
}

TEST_F(send, segment_flags_that_exclude_each_other)
{
	static const __u32 flags[] = {
		FBUF_SEG_NAMED | FBUF_SEG_INLINE,
		FBUF_SEG_OFFSET(1),
		FBUF_SEG_INLINE | FBUF_SEG_OFFSET(1),
		FBUF_SEG_NAMED | 1U << 2, FBUF_SEG_NAMED | 1U << 7,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		self->seg[1] = named_seg(self->names[0], 0, 100);
		self->seg[1].flags = flags[i];
		EXPECT_SEND_FAILS(EINVAL);
		self->seg[1] = self->seg[0];
		self->seg[1].flags = flags[i];
		EXPECT_SEND_FAILS(EINVAL);
	}
}

TEST_F(send, hold_on_another_pool)
{
	struct pool other;
	__u64 names[NR_BUFS];

	ASSERT_EQ(0, pool_make(&other, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(other.fd, names, NR_BUFS));
	self->seg[1] = buf_seg(&other, self->names[NR_BUFS - 1], 0, 100);
	EXPECT_SEND_FAILS(ESTALE);
	pool_unmake(&other);
}

TEST_F(send, number_of_segments)
{
	struct fbuf_seg *seg = calloc(FBUF_SEGS_MAX + 1, sizeof(*seg));
	unsigned int i;

	ASSERT_NE(NULL, seg);
	for (i = 0; i <= FBUF_SEGS_MAX; i++)
		seg[i] = buf_seg(&self->pool, self->names[0], i, 1);
	self->arg.segs = (uintptr_t)seg;
	self->arg.nr_segs = 0;
	EXPECT_SEND_FAILS(EINVAL);
	self->arg.nr_segs = FBUF_SEGS_MAX + 1;
	EXPECT_SEND_FAILS(EINVAL);
	self->arg.nr_segs = 0xffffffff;
	EXPECT_SEND_FAILS(EINVAL);
	self->arg.nr_segs = FBUF_SEGS_MAX;
	EXPECT_EQ((int)FBUF_SEGS_MAX, send_arg(self));
}

TEST_F(send, inline_length)
{
	char *data = calloc(1, FBUF_INLINE_MAX + 1);

	ASSERT_NE(NULL, data);
	self->seg[1] = inline_seg(data, FBUF_INLINE_MAX + 1);
	EXPECT_SEND_FAILS(EINVAL);
	self->seg[1] = inline_seg(data, 0);
	EXPECT_SEND_FAILS(EINVAL);
	self->seg[1] = inline_seg(data, FBUF_INLINE_MAX);
	EXPECT_EQ((int)FBUF_INLINE_MAX + 100, send_arg(self));
}

TEST_F(send, inline_bad_pointer)
{
	char *edge = edge_alloc(50);

	ASSERT_NE(NULL, edge);
	self->seg[1] = inline_seg(NULL, 100);
	EXPECT_SEND_FAILS(EFAULT);
	self->seg[1] = inline_seg(edge, 100);
	EXPECT_SEND_FAILS(EFAULT);
	/* The kernel's own memory is not the caller's to send. */
	self->seg[1] = inline_seg((void *)0xffff888000001000UL, 100);
	EXPECT_SEND_FAILS(EFAULT);
}

TEST_F(send, bad_segments_pointer)
{
	struct fbuf_seg *edge = edge_alloc(sizeof(*edge));

	ASSERT_NE(NULL, edge);
	*edge = self->seg[0];
	self->arg.segs = 0;
	EXPECT_SEND_FAILS(EFAULT);
	self->arg.segs = (uintptr_t)edge;
	EXPECT_SEND_FAILS(EFAULT);
}

TEST_F(send, gather_too_large)
{
	struct fbuf_seg *seg = calloc(FBUF_SEGS_MAX, sizeof(*seg));
	struct pool big;
	__u64 name;
	unsigned int i;

	ASSERT_NE(NULL, seg);
	ASSERT_EQ(0, pool_make(&big, FBUF_BUF_SIZE_MAX, 1));
	ASSERT_EQ(1, pool_alloc(big.fd, &name, 1));
	/* The same buffer again and again: 2 GiB. */
	for (i = 0; i < FBUF_SEGS_MAX; i++)
		seg[i] = buf_seg(&big, name, 0, FBUF_BUF_SIZE_MAX);
	EXPECT_EQ(-EMSGSIZE, pool_send(big.fd, self->sock[0], seg,
				       FBUF_SEGS_MAX, 0, 0, NULL));
	/* One byte more than allowed. */
	seg[FBUF_SEGS_MAX - 1].len = FBUF_GATHER_MAX -
		(FBUF_SEGS_MAX - 1) * FBUF_BUF_SIZE_MAX + 1;
	EXPECT_EQ(-EMSGSIZE, pool_send(big.fd, self->sock[0], seg,
				       FBUF_SEGS_MAX, 0, 0, NULL));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	/* What is allowed goes as far as the socket takes it. */
	seg[FBUF_SEGS_MAX - 1].len--;
	EXPECT_LT(0, pool_send(big.fd, self->sock[0], seg, FBUF_SEGS_MAX,
			       FBUF_SEND_DONTWAIT, 0, NULL));
	pool_unmake(&big);
}

TEST_F(send, bad_fd)
{
	self->arg.fd = -1;
	EXPECT_SEND_FAILS(EBADF);
	self->arg.fd = 1 << 20;
	EXPECT_SEND_FAILS(EBADF);
}

TEST_F(send, not_a_socket)
{
	int fd = open("/dev/null", O_RDWR);

	ASSERT_LE(0, fd);
	self->arg.fd = fd;
	EXPECT_SEND_FAILS(ENOTSOCK);
	self->arg.fd = self->pool.fd;
	EXPECT_SEND_FAILS(ENOTSOCK);
	close(fd);
}

TEST_F(send, unknown_engines)
{
	unsigned int bit;

	for (bit = 0; bit < 32; bit++) {
		if ((1U << bit) & (FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE |
				   FBUF_ENGINE_UBUF | FBUF_ENGINE_COPY))
			continue;
		self->arg.engines = 1U << bit;
		EXPECT_SEND_FAILS(EINVAL);
		self->arg.engines |= FBUF_ENGINE_PAGEREF;
		EXPECT_SEND_FAILS(EINVAL);
	}
}

TEST_F(send, protection_flags)
{
	static const __u32 flags[] = {
		FBUF_SEND_VOLATILE | FBUF_SEND_SECURED,
		FBUF_SEND_VOLATILE | FBUF_SEND_SNAPSHOT,
		FBUF_SEND_SECURED | FBUF_SEND_SNAPSHOT,
		FBUF_SEND_VOLATILE | FBUF_SEND_SECURED | FBUF_SEND_SNAPSHOT,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		self->arg.flags = flags[i];
		EXPECT_SEND_FAILS(EINVAL);
	}
	/* This pool is volatile. */
	self->arg.flags = FBUF_SEND_SECURED;
	EXPECT_SEND_FAILS(EOPNOTSUPP);
	self->arg.flags = FBUF_SEND_SNAPSHOT;
	EXPECT_SEND_FAILS(EOPNOTSUPP);
	self->arg.flags = FBUF_SEND_VOLATILE;
	EXPECT_EQ(200, send_arg(self));
}

TEST_F(send, notify_without_a_ring)
{
	self->arg.flags = FBUF_SEND_NOTIFY;
	EXPECT_SEND_FAILS(EINVAL);
	self->arg.flags = FBUF_SEND_COOKIE;
	EXPECT_SEND_FAILS(EINVAL);
}

TEST_F(send, engine_that_the_socket_does_not_take)
{
	int pair[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	self->arg.fd = pair[0];
	self->arg.engines = FBUF_ENGINE_PAGEREF;
	EXPECT_SEND_FAILS(EOPNOTSUPP);
	self->arg.engines = FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE;
	EXPECT_SEND_FAILS(EOPNOTSUPP);
	EXPECT_TRUE(sock_empty(pair[1]));
	close(pair[0]);
	close(pair[1]);
}

TEST_F(send, address)
{
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);
	char *edge = edge_alloc(8);
	int pair[2];
	int sock;

	ASSERT_NE(NULL, edge);
	ASSERT_EQ(0, udp_pair(AF_INET, pair));
	ASSERT_EQ(0, getsockname(pair[1], (void *)&addr, &len));
	sock = socket(AF_INET, SOCK_DGRAM, 0);
	ASSERT_LE(0, sock);

	self->arg.fd = sock;
	self->arg.name = (uintptr_t)&addr;
	self->arg.namelen = FBUF_NAME_MAX + 1;
	EXPECT_SEND_FAILS(EINVAL);
	self->arg.namelen = 0xffffffff;
	EXPECT_SEND_FAILS(EINVAL);
	self->arg.namelen = 4;
	EXPECT_SEND_FAILS(EINVAL);
	self->arg.namelen = len;
	self->arg.name = 0;
	EXPECT_SEND_FAILS(EFAULT);
	self->arg.name = (uintptr_t)edge;
	EXPECT_SEND_FAILS(EFAULT);
	EXPECT_TRUE(sock_empty(pair[1]));
	self->arg.name = (uintptr_t)&addr;
	EXPECT_EQ(200, send_arg(self));
	EXPECT_FALSE(sock_empty(pair[1]));
}

/* What sendmsg() says of a socket that is not connected. */
FIXTURE(unconnected)
{
	struct pool pool;
	__u64 name;
	int sock;
};

FIXTURE_VARIANT(unconnected)
{
	int family;
	int type;
};

FIXTURE_VARIANT_ADD(unconnected, tcp)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(unconnected, udp)
{
	.family = AF_INET,
	.type = SOCK_DGRAM,
};

FIXTURE_VARIANT_ADD(unconnected, unix_stream)
{
	.family = AF_UNIX,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(unconnected, unix_seqpacket)
{
	.family = AF_UNIX,
	.type = SOCK_SEQPACKET,
};

FIXTURE_VARIANT_ADD(unconnected, unix_dgram)
{
	.family = AF_UNIX,
	.type = SOCK_DGRAM,
};

FIXTURE_SETUP(unconnected)
{
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, 1));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &self->name, 1));
	self->sock = socket(variant->family, variant->type, 0);
	ASSERT_LE(0, self->sock);
}

FIXTURE_TEARDOWN(unconnected)
{
	pool_unmake(&self->pool);
	close(self->sock);
}

TEST_F(unconnected, as_sendmsg)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->name, 0, 100);

	ASSERT_EQ(-1, send(self->sock, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(-errno, pool_send(self->pool.fd, self->sock, &seg, 1, 0, 0,
				    NULL));
}

/* INFO */
TEST(info_of_a_new_pool)
{
	struct fbuf_info info;
	struct pool pool;

	ASSERT_EQ(0, pool_make(&pool, BUF_SIZE, NR_BUFS));
	memset(&info, 0xff, sizeof(info));
	info.size = sizeof(info);
	info.flags = 0;
	ASSERT_EQ(0, ioctl(pool.fd, FBUF_IOC_INFO, &info));
	EXPECT_EQ(sizeof(info), info.size);
	EXPECT_EQ(0U, info.flags);
	EXPECT_EQ(pool.size, info.pool_size);
	EXPECT_EQ(BUF_SIZE, info.buf_size);
	EXPECT_EQ(NR_BUFS, info.nr_bufs);
	EXPECT_EQ(0U, info.nr_held);
	EXPECT_EQ(0U, info.nr_in_flight);
	EXPECT_GE(NR_BUFS, info.nr_split);
	EXPECT_EQ(-1, info.node);
	EXPECT_EQ(getuid(), info.uid);
	EXPECT_EQ(0U, info.pad);
	EXPECT_EQ(0ULL, info.sends);
	EXPECT_EQ(0ULL, info.bytes);
	EXPECT_EQ(0ULL, info.copied);
	EXPECT_EQ(0ULL, info.allocs);
	EXPECT_EQ(0U, info.pool_flags);
	EXPECT_EQ(ALL_RIGHTS, info.rights);
	EXPECT_EQ(1U, info.nr_handles);
	EXPECT_EQ(0U, info.holds);
	EXPECT_EQ(0U, info.max_holds);
	EXPECT_EQ(pool.size, info.charged);
	EXPECT_EQ(pool.size, info.resident);
	EXPECT_EQ(0ULL, info.ring_size);
	EXPECT_EQ(0ULL, info.reuses);
	EXPECT_EQ(0ULL, info.protects);
	EXPECT_EQ(0ULL, info.snapshots);
	EXPECT_EQ(0ULL, info.fills);
	EXPECT_EQ(0ULL, info.filled);
	EXPECT_EQ(FBUF_FEATURE_NAMED_SEGS | FBUF_FEATURE_NO_PIN |
		  FBUF_FEATURE_COPY_ABOVE | FBUF_FEATURE_LAZY |
		  FBUF_FEATURE_PROTECTS | FBUF_FEATURE_COOKIE |
		  FBUF_FEATURE_DROP | FBUF_FEATURE_PARCELS, info.features);
	EXPECT_EQ(0U, info.handle_flags);
	EXPECT_EQ(0U, info.copy_above);
	EXPECT_EQ(0U, info.pad2);
	EXPECT_EQ(0U, info.nr_parcels);
	EXPECT_EQ(0U, info.pad3);
	EXPECT_EQ(0ULL, info.parcel_bytes);
	EXPECT_EQ(0ULL, info.recvs);
	EXPECT_EQ(0ULL, info.received);
	EXPECT_EQ(0ULL, info.recv_copied);
	pool_unmake(&pool);
}

/* A page cannot be split; a buffer of more may be, or not. */
TEST(info_of_a_pool_of_pages)
{
	struct fbuf_info info;
	struct pool pool;

	ASSERT_EQ(0, pool_make(&pool, getpagesize(), NR_BUFS));
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	EXPECT_EQ(0U, info.nr_split);
	pool_unmake(&pool);
}

/* A caller that knows the structure as it once was gets that, and no more. */
TEST(info_as_it_was)
{
	size_t once = offsetof(struct fbuf_info, pool_flags);
	union any_arg arg;
	struct pool pool;
	unsigned int i;

	ASSERT_EQ(0, pool_make(&pool, BUF_SIZE, NR_BUFS));
	memset(&arg, 0xee, sizeof(arg));
	arg.info.size = once;
	arg.info.flags = 0;
	ASSERT_EQ(0, call(pool.fd, _IOC_NR(FBUF_IOC_INFO), once, &arg));
	EXPECT_EQ(once, arg.info.size);
	EXPECT_EQ(pool.size, arg.info.pool_size);
	EXPECT_EQ(NR_BUFS, arg.info.nr_bufs);
	EXPECT_EQ(0ULL, arg.info.allocs);
	for (i = once; i < sizeof(arg); i++)
		ASSERT_EQ(0xee, (__u8)arg.bytes[i]);
	pool_unmake(&pool);
}

/* Not even when what follows it cannot be touched. */
TEST(info_as_it_was_at_the_edge)
{
	size_t once = offsetof(struct fbuf_info, pool_flags);
	int fd = pool_create(BUF_SIZE, NR_BUFS);
	struct fbuf_info *info = edge_alloc(once);

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, info);
	info->size = once;
	info->flags = 0;
	EXPECT_EQ(0, call(fd, _IOC_NR(FBUF_IOC_INFO), once, info));
	EXPECT_EQ(NR_BUFS, info->nr_bufs);
	close(fd);
}

TEST(info_ids_differ)
{
	struct fbuf_info a, b, c;
	int fd[2];

	fd[0] = pool_create(BUF_SIZE, 1);
	fd[1] = pool_create(BUF_SIZE, 1);
	ASSERT_LE(0, fd[0]);
	ASSERT_LE(0, fd[1]);
	ASSERT_EQ(0, pool_info(fd[0], &a));
	ASSERT_EQ(0, pool_info(fd[1], &b));
	EXPECT_NE(a.id, b.id);
	close(fd[1]);
	/* Nor is one used again. */
	fd[1] = pool_create(BUF_SIZE, 1);
	ASSERT_LE(0, fd[1]);
	ASSERT_EQ(0, pool_info(fd[1], &c));
	EXPECT_NE(a.id, c.id);
	EXPECT_NE(b.id, c.id);
	close(fd[0]);
	close(fd[1]);
}

TEST_F(send, info_counts)
{
	struct fbuf_info info;
	char head[10] = "";
	int pair[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	ASSERT_EQ(200, send_arg(self));
	self->arg.fd = pair[0];
	self->seg[1] = inline_seg(head, sizeof(head));
	ASSERT_EQ(110, send_arg(self));
	EXPECT_EQ(FBUF_ENGINE_COPY, self->arg.engine);
	EXPECT_EQ(110ULL, self->arg.copied);

	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(NR_BUFS - 1, info.nr_held);
	EXPECT_EQ((__u64)NR_BUFS, info.allocs);
	EXPECT_EQ(2ULL, info.sends);
	EXPECT_EQ(310ULL, info.bytes);
	EXPECT_EQ(110ULL, info.copied);

	/* Freed while the peer has not read them. */
	ASSERT_EQ(2, pool_free(self->pool.fd, self->names, 2));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(NR_BUFS - 3, info.nr_held);
	EXPECT_EQ(2U, info.nr_in_flight);
}

TEST(info_to_read_only_memory)
{
	struct fbuf_info *info;
	int fd = pool_create(BUF_SIZE, 1);

	ASSERT_LE(0, fd);
	info = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, info);
	info->size = sizeof(*info);
	ASSERT_EQ(0, mprotect(info, 4096, PROT_READ));
	EXPECT_EQ(-1, ioctl(fd, FBUF_IOC_INFO, info));
	EXPECT_EQ(EFAULT, errno);
	close(fd);
}

/* What programs that were built once will go by. */
#define AT(type, word, bytes)						\
	static_assert(offsetof(struct type, word) == (bytes), #type "." #word)

static_assert(sizeof(struct fbuf_recv) == 48, "fbuf_recv");
AT(fbuf_recv, fd, 8);
AT(fbuf_recv, len, 12);
AT(fbuf_recv, drop, 16);
AT(fbuf_recv, head, 24);
AT(fbuf_recv, head_len, 32);
AT(fbuf_recv, copied, 36);
AT(fbuf_recv, name, 40);
static_assert(sizeof(struct fbuf_read) == 32, "fbuf_read");
AT(fbuf_read, name, 8);
AT(fbuf_read, to, 16);
AT(fbuf_read, offset, 24);
AT(fbuf_read, len, 28);
static_assert(sizeof(struct fbuf_part) == 16, "fbuf_part");
AT(fbuf_part, at, 0);
AT(fbuf_part, offset, 8);
AT(fbuf_part, len, 12);
static_assert(sizeof(struct fbuf_show) == 32, "fbuf_show");
AT(fbuf_show, name, 8);
AT(fbuf_show, parts, 16);
AT(fbuf_show, count, 24);
AT(fbuf_show, pad, 28);
AT(fbuf_info, nr_parcels, 192);
AT(fbuf_info, parcel_bytes, 200);
AT(fbuf_info, recvs, 208);
AT(fbuf_info, received, 216);
AT(fbuf_info, recv_copied, 224);
static_assert(sizeof(struct fbuf_info) == 232, "fbuf_info");

/* RECV, READ and SHOW: what is wrong with one word, all others being right. */
FIXTURE(parcel)
{
	struct pool pool;
	int sock[2];
	int udp[2];
	int zero;
	int idle;	/* a socket with nothing to receive */
	int idle_peer;
	int none;	/* a socket that is not connected */
	__u64 name;
	__u64 stale;
	struct fbuf_part part;
	char got[64];
};

#define PARCEL_LEN	5000U

FIXTURE_SETUP(parcel)
{
	int idle[2];

	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, udp_pair(AF_INET, self->udp));
	ASSERT_EQ(0, tcp_pair(AF_INET, idle));
	self->idle_peer = idle[0];
	self->idle = idle[1];
	self->none = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_LE(0, self->none);
	self->zero = open("/dev/zero", O_RDONLY);
	ASSERT_LE(0, self->zero);
	ASSERT_EQ(0, pattern_write(self->sock[0], 1, 0, 2 * PARCEL_LEN));
	ASSERT_EQ((int)PARCEL_LEN, pool_recv(self->pool.fd, self->sock[1],
					     PARCEL_LEN, FBUF_RECV_ALL,
					     &self->stale, NULL));
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->stale, 1));
	ASSERT_EQ((int)PARCEL_LEN, pool_recv(self->pool.fd, self->sock[1],
					     PARCEL_LEN, FBUF_RECV_ALL,
					     &self->name, NULL));
}

FIXTURE_TEARDOWN(parcel)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
	close(self->udp[0]);
	close(self->udp[1]);
	close(self->idle);
	close(self->idle_peer);
	close(self->none);
	close(self->zero);
}

/* Not even the call's own words change. */
static void recv_says(struct __test_metadata *_metadata,
		      struct _test_data_parcel *self, struct fbuf_recv arg,
		      int err, const char *what)
{
	struct fbuf_recv before;
	struct fbuf_info info;

	arg.size = sizeof(arg);
	arg.copied = 1234;
	arg.name = 5678;
	before = arg;
	EXPECT_EQ(err, call(self->pool.fd, _IOC_NR(FBUF_IOC_RECV), sizeof(arg),
			    &arg))
		TH_LOG("%s", what);
	EXPECT_EQ(0, memcmp(&before, &arg, sizeof(arg)))
		TH_LOG("%s", what);
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(2ULL, info.recvs);
	EXPECT_EQ(1U, info.nr_parcels);
}

TEST_F(parcel, recv_errors)
{
	const int dontwait = FBUF_RECV_DONTWAIT, sock = self->sock[1];
	const __u64 buf = FBUF_NAME(0, 1);
	const struct {
		const char *what;
		int err;
		struct fbuf_recv arg;
	} bad[] = {
		{ "flags", -EINVAL, { .fd = sock, .len = 1, .flags = 8 } },
		{ "no bytes", -EINVAL, { .fd = sock } },
		{ "too many bytes", -EINVAL,
		  { .fd = sock, .len = FBUF_PARCEL_MAX + 1 } },
		{ "most bytes", -EINVAL, { .fd = sock, .len = ~0U } },
		{ "room for a head, but nowhere", -EINVAL,
		  { .fd = sock, .len = 1, .head_len = 1 } },
		{ "no fd", -EBADF, { .fd = -1, .len = 1 } },
		{ "not an fd", -EBADF, { .fd = 1 << 20, .len = 1 } },
		{ "a file", -ENOTSOCK, { .fd = self->zero, .len = 1 } },
		{ "the pool", -ENOTSOCK, { .fd = self->pool.fd, .len = 1 } },
		{ "datagrams", -EOPNOTSUPP, { .fd = self->udp[1], .len = 1 } },
		{ "not connected", -ENOTCONN, { .fd = self->none, .len = 1 } },
		{ "nothing there", -EAGAIN,
		  { .fd = self->idle, .len = 1, .flags = dontwait } },
		{ "nothing to peek at", -EAGAIN,
		  { .fd = self->idle, .len = FBUF_PARCEL_MAX,
		    .flags = dontwait | FBUF_RECV_PEEK } },
		{ "to drop what is dropped", -ESTALE,
		  { .fd = sock, .len = 1, .drop = self->stale } },
		{ "to drop what never was", -ESTALE,
		  { .fd = sock, .len = 1, .drop = self->name + 1 } },
		{ "to drop a buffer", -EINVAL,
		  { .fd = sock, .len = 1, .drop = buf } },
		{ "to drop past all places", -EINVAL,
		  { .fd = sock, .len = 1,
		    .drop = self->name + FBUF_PARCELS_MAX } },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		recv_says(_metadata, self, bad[i].arg, bad[i].err, bad[i].what);
}

/* A right that a handle has not comes before all else that is wrong. */
TEST_F(parcel, recv_rights)
{
	int fd = pool_share(self->pool.fd, ALL_RIGHTS & ~FBUF_RIGHT_ALLOC, 0,
			    NULL);
	__u64 name;

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, pool_recv(fd, self->sock[1], 1, 0, &name, NULL));
	EXPECT_EQ(-EACCES, pool_recv(fd, -1, 0, ~0U, &name, NULL));
	close(fd);
}

/* Nobody could be told: nothing is received, nor dropped. */
TEST_F(parcel, recv_to_read_only_memory)
{
	struct fbuf_recv *arg = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	__u64 name;

	ASSERT_NE(MAP_FAILED, arg);
	ASSERT_EQ(0, pattern_write(self->sock[0], 1, 0, 100));
	*arg = (struct fbuf_recv) {
		.size = sizeof(*arg),
		.fd = self->sock[1],
		.len = 100,
		.drop = self->name,
	};
	ASSERT_EQ(0, mprotect(arg, 4096, PROT_READ));
	EXPECT_EQ(-1, ioctl(self->pool.fd, FBUF_IOC_RECV, arg));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(100, pool_recv(self->pool.fd, self->sock[1], 200, 0, &name,
				 NULL));
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, name, 1, 0, 100));
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, self->name, 1, PARCEL_LEN,
				     PARCEL_LEN));
	munmap(arg, 4096);
}

TEST_F(parcel, read_errors)
{
	const __u64 to = (uintptr_t)self->got;
	const __u64 edge = (uintptr_t)edge_alloc(10);
	const struct {
		const char *what;
		int err;
		struct fbuf_read arg;
	} bad[] = {
		{ "flags", -EINVAL,
		  { .name = self->name, .to = to, .len = 1, .flags = 1 } },
		{ "no bytes", -EINVAL, { .name = self->name, .to = to } },
		{ "behind the end", -EINVAL,
		  { .name = self->name, .to = to, .len = 1,
		    .offset = PARCEL_LEN } },
		{ "over the end", -EINVAL,
		  { .name = self->name, .to = to, .len = 2,
		    .offset = PARCEL_LEN - 1 } },
		{ "around", -EINVAL,
		  { .name = self->name, .to = to, .len = 10,
		    .offset = ~0U - 4 } },
		{ "most", -EINVAL,
		  { .name = self->name, .to = to, .len = ~0U, .offset = 1 } },
		{ "no name", -EINVAL, { .to = to, .len = 1 } },
		{ "a buffer", -EINVAL,
		  { .name = FBUF_NAME(0, 1), .to = to, .len = 1 } },
		{ "stale", -ESTALE,
		  { .name = self->stale, .to = to, .len = 1 } },
		{ "never was", -ESTALE,
		  { .name = self->name + 1, .to = to, .len = 1 } },
		{ "past all places", -EINVAL,
		  { .name = self->name + FBUF_PARCELS_MAX, .to = to,
		    .len = 1 } },
		{ "to nowhere", -EFAULT, { .name = self->name, .len = 1 } },
		{ "to the kernel", -EFAULT,
		  { .name = self->name, .to = ~0ULL << 20, .len = 1 } },
		{ "over the edge", -EFAULT,
		  { .name = self->name, .to = edge, .len = 11 } },
	};
	unsigned int i;

	memset(self->got, 0xee, sizeof(self->got));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fbuf_read arg = bad[i].arg;

		arg.size = sizeof(arg);
		EXPECT_EQ(bad[i].err, call(self->pool.fd, _IOC_NR(FBUF_IOC_READ),
					   sizeof(arg), &arg))
			TH_LOG("%s", bad[i].what);
	}
	EXPECT_TRUE(is_all((__u8 *)self->got, 0xee, sizeof(self->got)));
	EXPECT_EQ(0, parcel_read(self->pool.fd, self->name, PARCEL_LEN - 10,
				 (void *)(uintptr_t)edge, 10));
}

TEST_F(parcel, show_errors)
{
	const __u64 parts = (uintptr_t)&self->part;
	const struct {
		const char *what;
		int err;
		struct fbuf_show arg;
	} bad[] = {
		{ "flags", -EINVAL,
		  { .name = self->name, .parts = parts, .flags = 1 } },
		{ "padding", -EINVAL,
		  { .name = self->name, .parts = parts, .pad = 1 } },
		{ "too many", -EINVAL,
		  { .name = self->name, .parts = parts,
		    .count = FBUF_BATCH_MAX + 1 } },
		{ "no name", -EINVAL, { .parts = parts, .count = 1 } },
		{ "a buffer", -EINVAL,
		  { .name = FBUF_NAME(0, 1), .parts = parts, .count = 1 } },
		{ "stale", -ESTALE,
		  { .name = self->stale, .parts = parts, .count = 1 } },
		{ "never was", -ESTALE,
		  { .name = self->name + 1, .parts = parts, .count = 1 } },
		{ "past all places", -EINVAL,
		  { .name = self->name + FBUF_PARCELS_MAX, .parts = parts,
		    .count = 1 } },
		{ "none to show, nowhere", 0,
		  { .name = self->name, .count = FBUF_BATCH_MAX } },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fbuf_show arg = bad[i].arg;

		arg.size = sizeof(arg);
		EXPECT_EQ(bad[i].err, call(self->pool.fd, _IOC_NR(FBUF_IOC_SHOW),
					   sizeof(arg), &arg))
			TH_LOG("%s", bad[i].what);
	}
	EXPECT_EQ(0U, self->part.len);
}

/* Of one that has a page to show, in memory where that cannot be said. */
TEST(show_to_nowhere)
{
	struct fbuf_part *edge = edge_alloc(sizeof(*edge) - 4);
	struct fbuf_seg seg;
	struct pool pool;
	__u64 buf, name;
	int sock[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, pool_make_flags(&pool, BUF_SIZE, 1, FBUF_POOL_SNAPSHOT));
	ASSERT_EQ(1, pool_alloc(pool.fd, &buf, 1));
	pattern_fill(pool.map, 1, 0, BUF_SIZE);
	seg = buf_seg(&pool, buf, 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)BUF_SIZE, pool_send(pool.fd, sock[0], &seg, 1, 0, 0,
					       NULL));
	ASSERT_EQ((int)BUF_SIZE, pool_recv(pool.fd, sock[1], BUF_SIZE,
					   FBUF_RECV_ALL, &name, NULL));
	EXPECT_EQ(1, parcel_show(pool.fd, name, NULL, 0));
	EXPECT_EQ(-EFAULT, parcel_show(pool.fd, name, NULL, 1));
	EXPECT_EQ(-EFAULT, parcel_show(pool.fd, name, edge, 1));
	EXPECT_EQ(1, parcel_show(pool.fd, name, edge, 0));
	pool_unmake(&pool);
	close(sock[0]);
	close(sock[1]);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
