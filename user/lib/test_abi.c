// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A program of any release: what the library writes to its structures must fit.
 *
 *	test_abi fake BYTES	without a module: ioctl() is our own
 *	test_abi real BYTES
 *
 * BYTES is how much of struct fbuf_info it should get. RELEASE is the second
 * number of the release whose headers these are, OWN whether it uses functions of
 * its release. Prints what is wrong.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fbuf/fbuf.h>

#ifndef RELEASE
#define RELEASE		4
#define OWN		1
#define NAME		"the newest"
#endif

#define BUF_SIZE	16384U
#define ROOM		1024

static bool fake, failed;

#define CHECK(cond)							\
	do {								\
		if (!(cond)) {						\
			printf("# %s: line %d: %s\n", NAME, __LINE__,	\
			       #cond);					\
			failed = true;					\
		}							\
	} while (0)

/* Bytes at the start of memory that were written: those after are still these. */
struct guarded {
	unsigned char bytes[ROOM];
	unsigned char fill;
};

static void *guard(struct guarded *g, unsigned char fill)
{
	memset(g, fill, sizeof(*g));
	return g->bytes;
}

static size_t written(const struct guarded *g)
{
	size_t n = sizeof(g->bytes);

	while (n && g->bytes[n - 1] == g->fill)
		n--;
	return n;
}

/* A module that knows longer structures than anybody else. */
static long fake_call(unsigned long cmd, unsigned char *arg)
{
	const struct fbuf_pool_create *create = (const void *)arg;
	struct fbuf_info *info = (void *)arg;
	unsigned int i, size = _IOC_SIZE(cmd);

	memcpy(&i, arg, sizeof(i));
	if (i != size)
		return -EINVAL;
	switch (_IOC_NR(cmd)) {
	case _IOC_NR(FBUF_IOC_POOL_CREATE):
		CHECK(create->buf_size == BUF_SIZE);
		/* Set by nobody who was built before it was there. */
		for (i = sizeof(*create); i < size; i++)
			CHECK(!arg[i]);
		return open("/dev/zero", O_RDWR);
	case _IOC_NR(FBUF_IOC_INFO):
		for (i = 8; i < size; i++)
			CHECK(!arg[i]);
		memset(arg + 8, 0xaa, size - 8);
		/* With no right to read, nothing is mapped. */
		if (size > 100)
			memset(arg + 92, 0, 4);
		info->buf_size = BUF_SIZE;
		info->nr_bufs = 1;
		info->pool_size = BUF_SIZE;
		return 0;
	case _IOC_NR(FBUF_IOC_SEND):
		return BUF_SIZE;
	}
	return -ENOTTY;
}

int ioctl(int fd, unsigned long request, ...)
{
	void *arg;
	va_list ap;
	long ret;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!fake)
		return syscall(SYS_ioctl, fd, request, arg);
	ret = fake_call(request, arg);
	if (ret < 0) {
		errno = -ret;
		ret = -1;
	}
	return ret;
}

int open(const char *file, int oflag, ...)
{
	if (fake && !strcmp(file, FBUF_DEVICE))
		file = "/dev/null";
	return syscall(SYS_openat, AT_FDCWD, file, oflag, 0);
}

/* On the stack, as most have it: the compiler's own guard ends the program. */
static __attribute__((__noinline__)) void info_on_stack(struct fbuf_pool *pool)
{
	struct fbuf_info info;

	CHECK(!fbuf_pool_info(pool, &info));
	CHECK(info.buf_size == BUF_SIZE && info.nr_bufs == 1);
}

static void test_info(struct fbuf_pool *pool, size_t want)
{
	static struct guarded g;
	size_t n = 0, got;
	unsigned int i;

	for (i = 1; i < 255; i += 126) {
		CHECK(!fbuf_pool_info(pool, guard(&g, i)));
		got = written(&g);
		if (got > n)
			n = got;
	}
	if (n > sizeof(struct fbuf_info))
		printf("# %s: struct fbuf_info has %zu bytes, %zu written\n",
		       NAME, sizeof(struct fbuf_info), n);
	CHECK(n <= sizeof(struct fbuf_info));
	CHECK(n == want);
	info_on_stack(pool);
}

static void test_send(struct fbuf_pool *pool)
{
	struct fbuf_gather *g = fbuf_gather_new(pool);
	static char data[BUF_SIZE];
	static struct guarded r;
	int sock[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	if (fake) {
		CHECK(!fbuf_gather_append_inline(g, "x", 1));
	} else {
		uint64_t name;

		CHECK(fbuf_alloc(pool, &name, 1, 0) == 1);
		memset(fbuf_addr(pool, name), 'a', BUF_SIZE);
		CHECK(!fbuf_gather_append(g, name, 0, BUF_SIZE));
	}
	CHECK(fbuf_send(g, sock[0], 0, guard(&r, 0xee)) == BUF_SIZE);
	CHECK(written(&r) <= sizeof(struct fbuf_result));
	if (!fake) {
		CHECK(recv(sock[1], data, sizeof(data), MSG_WAITALL) ==
		      BUF_SIZE);
		CHECK(data[0] == 'a' && data[BUF_SIZE - 1] == 'a');
	}
	fbuf_gather_destroy(g);
	close(sock[0]);
	close(sock[1]);
}

#if OWN && RELEASE >= 2
/* What is behind the members is not the library's, whatever it has there. */
static struct fbuf_pool *make_pool(void)
{
	struct fbuf_pool_options init = FBUF_POOL_OPTIONS_INIT;
	struct fbuf_pool *pool = NULL;
	static struct guarded g;
	struct fbuf_pool_options *opt = guard(&g, 0xee);

	opt->buf_size = BUF_SIZE;
	opt->nr_bufs = 1;
	opt->node = init.node;
	opt->flags = init.flags;
#if RELEASE >= 4
	*opt = init;
	opt->buf_size = BUF_SIZE;
	opt->nr_bufs = 1;
#endif
	CHECK(!fbuf_pool_create_with(&pool, opt));
	return pool;
}
#else
static struct fbuf_pool *make_pool(void)
{
	struct fbuf_pool *pool = NULL;

	CHECK(!fbuf_pool_create(&pool, BUF_SIZE, 1));
	return pool;
}
#endif

#if OWN && RELEASE >= 3
static void test_uring(struct fbuf_pool *pool)
{
	struct fbuf_gather *g = fbuf_gather_new(pool);
	static struct guarded a, i;
	struct fbuf_target target;
	uint64_t cmd[2];
	unsigned int op;
	uint32_t size;

	op = fbuf_uring_send(guard(&a, 0xee), cmd, g, -1, 0, 0);
	memcpy(&size, a.bytes, sizeof(size));
	CHECK(op == FBUF_IOC_SEND && size == sizeof(struct fbuf_send));
	CHECK(written(&a) == sizeof(struct fbuf_send));
	op = fbuf_uring_fanout(guard(&a, 0xee), cmd, g, &target, 1, 0, 0);
	memcpy(&size, a.bytes, sizeof(size));
	CHECK(op == FBUF_IOC_FANOUT && size == sizeof(struct fbuf_fanout));
	CHECK(written(&a) == sizeof(struct fbuf_fanout));
	fbuf_item_set(guard(&i, 0xee), g, -1);
	CHECK(written(&i) == sizeof(struct fbuf_send_item));
	fbuf_gather_destroy(g);
}
#else
static void test_uring(struct fbuf_pool *pool)
{
	(void)pool;
}
#endif

int main(int argc, char **argv)
{
	struct fbuf_pool *pool;

	setlinebuf(stdout);
	if (argc != 3)
		return 2;
	fake = !strcmp(argv[1], "fake");
	pool = make_pool();
	if (!pool)
		return 1;
	test_info(pool, strtoul(argv[2], NULL, 0));
	test_send(pool);
	test_uring(pool);
	fbuf_pool_close(pool);
	return failed;
}
