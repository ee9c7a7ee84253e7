// SPDX-License-Identifier: LGPL-2.1-or-later
/* fbuf_sendmsg() and fbuf_writev() without a module. TAP out. */
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <fbuf/msg.h>

#include "test_module.h"

#define MANY		3000U
#define KIB		((size_t)1024)
#define ALL		(2048 * KIB)

static int sock[2];
static char *beside;		/* memory of malloc() */
static char *inside;		/* of the heap */
static char *got;

static void make_pair(int type, int flags)
{
	const int room = 256 << 10;

	CHECK(!socketpair(AF_UNIX, type | flags, 0, sock));
	setsockopt(sock[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

static void start(int type)
{
	begin();
	make_pair(type, SOCK_NONBLOCK);
	beside = malloc(ALL);
	inside = fbuf_heap_alloc(heap, ALL);
	got = malloc(ALL);
	if (!beside || !inside || !got) {
		printf("Bail out! No memory.\n");
		exit(1);
	}
	pattern_fill(beside, ALL, 1);
	pattern_fill(inside, ALL, 2);
	errno = 4711;
}

static void stop(void)
{
	CHECK(errno == 4711);
	close(sock[0]);
	close(sock[1]);
	fbuf_heap_free(heap, inside);
	free(beside);
	free(got);
	end();
}

static size_t total(const struct iovec *iov, unsigned int nr)
{
	size_t len = 0;

	while (nr--)
		len += iov++->iov_len;
	return len;
}

/* Whether the bytes that came are those, from byte at of them on. */
static bool is_same(const struct iovec *iov, size_t at, const char *bytes,
		    size_t len)
{
	size_t n;

	for (; len; iov++) {
		if (at >= iov->iov_len) {
			at -= iov->iov_len;
			continue;
		}
		n = iov->iov_len - at;
		if (n > len)
			n = len;
		if (memcmp((char *)iov->iov_base + at, bytes, n))
			return false;
		bytes += n;
		len -= n;
		at = 0;
	}
	return true;
}

static ssize_t read_some(void)
{
	int saved = errno;
	ssize_t n = recv(sock[1], got, ALL, MSG_DONTWAIT);

	errno = saved;
	return n;
}

/* What is left after some bytes. */
static unsigned int skip(struct iovec *to, const struct iovec *iov,
			 unsigned int nr, size_t at)
{
	unsigned int n = 0;

	for (; nr; iov++, nr--) {
		if (at >= iov->iov_len && at) {
			at -= iov->iov_len;
			continue;
		}
		to[n] = *iov;
		to[n].iov_base = (char *)to[n].iov_base + at;
		to[n++].iov_len -= at;
		at = 0;
	}
	return n;
}

/* All of it, in as many calls as it takes; each says how much came. */
static void try_stream(const struct iovec *iov, unsigned int nr, int flags)
{
	static struct iovec rest[MANY];
	size_t len = total(iov, nr), at = 0, seen = 0;
	unsigned int calls = 0;
	ssize_t ret, n;

	do {
		struct msghdr msg = { .msg_iov = rest };

		msg.msg_iovlen = skip(rest, iov, nr, at);
		ret = flags < 0 ?
		      fbuf_writev(pool, sock[0], rest, msg.msg_iovlen) :
		      fbuf_sendmsg(pool, sock[0], &msg, flags);
		CHECK(ret >= 0 || ret == -EAGAIN);
		CHECK(ret <= (ssize_t)(len - at));
		at += ret > 0 ? ret : 0;
		while ((n = read_some()) > 0) {
			CHECK(is_same(iov, seen, got, n));
			seen += n;
		}
		/* All that was said, and no more. */
		CHECK(seen == at);
	} while (at < len && ++calls < 100000 && !failed);
}

static unsigned int any_iov(struct iovec *iov, unsigned int max, size_t top)
{
	unsigned int nr = 1 + below(max), i;
	size_t used = 0;

	for (i = 0; i < nr; i++) {
		size_t len = below(8) ? below(1 + below(top)) : 0;
		char *from = below(2) ? inside : beside;

		if (used + len > 2 * ALL)
			len = 0;
		used += len;
		iov[i].iov_base = from + below(ALL - len);
		iov[i].iov_len = len;
	}
	return nr;
}

static void test_mix(void)
{
	static struct iovec iov[MANY];
	unsigned int i, nr;

	start(SOCK_STREAM);
	for (i = 0; i < 400; i++) {
		nr = any_iov(iov, below(20) ? 30 : MANY,
			     (size_t)1 << below(20));
		fake.fail = below(20) ? 0 : EBUSY;
		fake.take = below(4) ? 0 : 1 + below(100000);
		try_stream(iov, nr, below(3) ? 0 : below(2) ? MSG_DONTWAIT : -1);
		while (fake.nr_flights > 100)
			fake_land(0);
		if (failed)
			break;
	}
	printf("# %u sends, %zu bytes by reference\n", fake.sends,
	       fake.referred);
	CHECK(fake.referred > 10 * 1024 * KIB);
	stop();
}

/* Where many buffers follow, and there is not room for all. */
static void test_full(void)
{
	static struct iovec iov[270];
	unsigned int i;

	start(SOCK_STREAM);
	for (i = 0; i < 270; i++)
		iov[i] = (struct iovec){ beside + i, 600 };
	for (i = 240; i < 256; i++) {
		iov[i] = (struct iovec){ inside, ALL };
		try_stream(iov, i + 3, 0);
	}
	stop();
}

static void test_by_reference(void)
{
	const struct iovec iov[] = {
		{ beside, 0 }, { NULL, 100 }, { NULL, 70000 }, { NULL, 10 },
		{ NULL, 9000 }, { NULL, 5000 },
	};
	struct iovec v[6];
	struct msghdr msg = { .msg_iov = v, .msg_iovlen = 6 };
	unsigned int i;

	start(SOCK_STREAM);
	for (i = 0; i < 6; i++) {
		v[i].iov_base = i % 2 ? beside + i * 1000 : inside + i * 7000;
		v[i].iov_len = iov[i].iov_len;
	}
	/* Of both kinds, by one send; 9000 beside are three segments. */
	v[4].iov_base = beside + 100000;
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, MSG_NOSIGNAL) == 84110);
	CHECK(fake.sends == 1 && fake.referred == 70000);
	CHECK(fake.flags == 0);
	CHECK(read_some() == 84110 && is_same(v, 0, got, 84110));
	/* A short send is the last one. */
	fake.take = 10000;
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, MSG_NOSIGNAL) == 10000);
	CHECK(fake.sends == 2);
	CHECK(read_some() == 10000 && is_same(v, 0, got, 10000));
	fake.sends = 1;
	fake.take = 0;
	/* Whose pieces are small, or none of the pool's, needs no send. */
	v[2].iov_len = 1000;
	CHECK(fbuf_writev(pool, sock[0], v, 6) == 15110);
	CHECK(fake.sends == 1);
	CHECK(read_some() == 15110 && is_same(v, 0, got, 15110));
	stop();
}

/* What a heap gave back in flight, it does not give out. */
static void test_heap_waits(void)
{
	struct iovec iov;
	char *p, *again;

	start(SOCK_STREAM);
	p = fbuf_heap_alloc(heap, 200000);
	iov.iov_base = p + 5000;
	iov.iov_len = 150000;
	CHECK(fbuf_writev(pool, sock[0], &iov, 1) == 150000);
	fbuf_heap_free(heap, p);
	again = fbuf_heap_alloc(heap, 200000);
	CHECK(again && again != p);
	fbuf_heap_free(heap, again);
	CHECK(fake.sends == 1 && fake.referred == 150000);
	stop();
}

static void test_zero(void)
{
	struct iovec iov[3] = { { 0 } };
	struct msghdr msg = { .msg_iov = iov };

	start(SOCK_STREAM);
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, 0) == 0);
	CHECK(fbuf_writev(pool, sock[0], iov, 0) == 0);
	msg.msg_iovlen = 3;
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, 0) == 0);
	CHECK(fbuf_writev(pool, sock[0], iov, 3) == 0);
	iov[1].iov_base = inside;
	iov[1].iov_len = 5000;
	CHECK(fbuf_writev(pool, sock[0], iov, 3) == 5000);
	CHECK(fake.sends == 1 && fake.segs == 1);
	stop();
}

static void test_control(void)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov;
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	start(SOCK_STREAM);
	iov.iov_base = inside;
	iov.iov_len = 20000;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &sock[0], sizeof(int));
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, 0) == 20000);
	CHECK(!fake.sends);
	iov.iov_base = got;
	iov.iov_len = ALL;
	memset(control, 0, sizeof(control));
	CHECK(recvmsg(sock[1], &msg, MSG_DONTWAIT) == 20000);
	c = CMSG_FIRSTHDR(&msg);
	CHECK(c && c->cmsg_type == SCM_RIGHTS);
	if (c) {
		int fd;

		memcpy(&fd, CMSG_DATA(c), sizeof(int));
		close(fd);
	}
	CHECK(!memcmp(got, inside, 20000));
	stop();
}

static void test_flags(void)
{
	struct iovec iov;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	start(SOCK_STREAM);
	iov.iov_base = inside;
	iov.iov_len = 20000;
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, 0) == 20000);
	CHECK(fake.flags == FBUF_SEND_SIGPIPE);
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, MSG_DONTWAIT | MSG_MORE |
			   MSG_EOR | MSG_NOSIGNAL) == 20000);
	CHECK(fake.flags == (FBUF_SEND_DONTWAIT | FBUF_SEND_MORE |
			     FBUF_SEND_EOR));
	/* The socket's own answer to what a send does not know. */
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, MSG_OOB) ==
	      sendmsg(sock[0], &msg, MSG_OOB));
	errno = 4711;
	CHECK(fake.sends == 2);
	CHECK(read_some() > 0);
	stop();
}

static void test_messages(void)
{
	static struct iovec iov[MANY];
	struct msghdr msg = { .msg_iov = iov };
	unsigned int i;
	ssize_t ret;

	start(SOCK_SEQPACKET);
	for (i = 0; i < 50; i++) {
		msg.msg_iovlen = any_iov(iov, 100, 3000);
		ret = fbuf_sendmsg(pool, sock[0], &msg, 0);
		CHECK(ret == (ssize_t)total(iov, msg.msg_iovlen));
		CHECK(read_some() == ret && is_same(iov, 0, got, ret));
	}
	CHECK(fake.sends > 20);
	/* More than a send takes: by the real call, in one piece. */
	for (i = 0; i < 600; i++)
		iov[i] = (struct iovec){ i % 2 ? inside + i * 3 : beside, 50 };
	iov[0] = (struct iovec){ inside, 5000 };
	for (i = 1; i < 600; i += 2)
		iov[i] = (struct iovec){ beside + i, 513 };
	msg.msg_iovlen = 600;
	fake.sends = 0;
	ret = fbuf_sendmsg(pool, sock[0], &msg, 0);
	CHECK(ret == (ssize_t)total(iov, 600) && !fake.sends);
	CHECK(read_some() == ret && is_same(iov, 0, got, ret));
	/* More than the kernel takes. */
	msg.msg_iovlen = 1100;
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, 0) == -EMSGSIZE);
	CHECK(read_some() < 0);
	stop();
}

static void test_address(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	socklen_t len = sizeof(to);
	struct iovec iov;
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_name = &to,
		.msg_namelen = sizeof(to),
	};

	start(SOCK_STREAM);
	close(sock[0]);
	close(sock[1]);
	sock[0] = socket(AF_INET, SOCK_DGRAM, 0);
	sock[1] = socket(AF_INET, SOCK_DGRAM, 0);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(!bind(sock[1], (void *)&to, len));
	CHECK(!getsockname(sock[1], (void *)&to, &len));
	iov.iov_base = inside;
	iov.iov_len = 20000;
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, 0) == 20000);
	CHECK(fake.sends == 1);
	CHECK(read_some() == 20000 && !memcmp(got, inside, 20000));
	msg.msg_namelen = 3;
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, 0) == -EINVAL);
	stop();
}

static atomic_int nr_sigpipe;

static void on_sigpipe(int sig)
{
	(void)sig;
	nr_sigpipe++;
}

static void test_peer_goes(void)
{
	struct iovec iov;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	start(SOCK_STREAM);
	signal(SIGPIPE, on_sigpipe);
	iov.iov_base = inside;
	iov.iov_len = ALL;
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, 0) > 0);
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, 0) == -EAGAIN);
	close(sock[1]);
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, MSG_NOSIGNAL) == -EPIPE);
	CHECK(!nr_sigpipe);
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, 0) == -EPIPE);
	CHECK(nr_sigpipe == 1);
	CHECK(fbuf_writev(pool, sock[0], &iov, 1) == -EPIPE);
	CHECK(nr_sigpipe == 2);
	signal(SIGPIPE, SIG_DFL);
	make_pair(SOCK_STREAM, 0);
	stop();
}

/* Whatever can be written to: the module says that these are no sockets. */
static void test_writev_elsewhere(void)
{
	static struct iovec many[3000];
	struct iovec iov[2];
	int pipes[2], file, null;
	unsigned int i;

	start(SOCK_STREAM);
	iov[0] = (struct iovec){ inside, 10000 };
	iov[1] = (struct iovec){ beside, 500 };
	CHECK(!pipe(pipes));
	CHECK(fbuf_writev(pool, pipes[1], iov, 2) == 10500);
	CHECK(read(pipes[0], got, ALL) == 10500);
	CHECK(is_same(iov, 0, got, 10500));
	file = memfd_create("file", 0);
	CHECK(fbuf_writev(pool, file, iov, 2) == 10500);
	CHECK(fbuf_writev(pool, file, iov, 2) == 10500);
	CHECK(pread(file, got, ALL, 10500) == 10500);
	CHECK(is_same(iov, 0, got, 10500));
	/* No more than the kernel ever takes by one call. */
	null = open("/dev/null", O_WRONLY);
	for (i = 0; i < 3000; i++)
		many[i] = (struct iovec){ beside, ALL / 2 };
	many[0].iov_base = inside;
	CHECK(fbuf_writev(pool, null, many, 3000) == FBUF_GATHER_MAX);
	many[1].iov_len = SIZE_MAX;
	CHECK(fbuf_writev(pool, null, many, 3) == -EINVAL);
	close(null);
	CHECK(fbuf_writev(pool, -1, iov, 2) == -EBADF);
	CHECK(fbuf_writev(pool, file, iov, -1) == -EINVAL);
	CHECK(fake.sends == 4);
	close(pipes[0]);
	close(pipes[1]);
	close(file);
	stop();
}

static void test_refused(void)
{
	static const int errs[] = {
		EOPNOTSUPP, EBUSY, ENOMEM, EDQUOT, ESTALE, ENOTTY, EACCES,
	};
	struct iovec iov;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	unsigned int i;

	start(SOCK_STREAM);
	iov.iov_base = inside;
	iov.iov_len = 20000;
	for (i = 0; i < sizeof(errs) / sizeof(*errs); i++) {
		fake.fail = errs[i];
		CHECK(fbuf_sendmsg(pool, sock[0], &msg, 0) == 20000);
		CHECK(read_some() == 20000 && !memcmp(got, inside, 20000));
	}
	/* What is the socket's is the caller's. */
	fake.fail = ECONNRESET;
	CHECK(fbuf_sendmsg(pool, sock[0], &msg, 0) == -ECONNRESET);
	CHECK(fbuf_writev(pool, sock[0], &iov, 1) == -ECONNRESET);
	CHECK(read_some() < 0);
	stop();
}

static const struct test tests[] = {
	{ "sendmsg any mix", test_mix },
	{ "sendmsg of more than a send takes", test_full },
	{ "sendmsg by reference and inline", test_by_reference },
	{ "sendmsg of memory that is freed", test_heap_waits },
	{ "sendmsg of nothing", test_zero },
	{ "sendmsg with control data", test_control },
	{ "sendmsg flags", test_flags },
	{ "sendmsg of messages", test_messages },
	{ "sendmsg to an address", test_address },
	{ "sendmsg whose peer goes", test_peer_goes },
	{ "sendmsg that the module refuses", test_refused },
	{ "writev to what is no socket", test_writev_elsewhere },
};

int main(void)
{
	return run_tests(tests, sizeof(tests) / sizeof(*tests));
}
