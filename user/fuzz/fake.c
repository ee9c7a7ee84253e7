// SPDX-License-Identifier: GPL-2.0
/* The fake kernel of the library. */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fbuf.h>

#include "fake.h"

#define FD_FIRST	1000	/* no real one is that high */
#define FDS		16
#define MAPS		16
#define MAP_LEN_MAX	(8U << 20)

static struct {
	const uint8_t *at;
	size_t left;
	bool open[FDS];
	struct {
		char *addr;
		size_t len;
	} maps[MAPS];
	char *ring;		/* in maps: what the enemy writes to */
	size_t ring_len;
	bool poor;
} fake;

void fake_bug(const char *file, int line, const char *cond)
{
	char text[256];
	int len = snprintf(text, sizeof(text), "%s:%d: not so: %s\n", file,
			   line, cond);

	/* stderr may be closed. */
	if (write(STDERR_FILENO, text, len) < 0)
		_exit(1);
	abort();
}

void fake_start(const uint8_t *data, size_t size)
{
	memset(&fake, 0, sizeof(fake));
	fake.at = data;
	fake.left = size;
}

void fake_stop(bool strict)
{
	unsigned int i;

	for (i = 0; i < FDS; i++)
		FAKE_CHECK(!strict || !fake.open[i]);
	for (i = 0; i < MAPS; i++) {
		FAKE_CHECK(!strict || !fake.maps[i].addr);
		free(fake.maps[i].addr);
	}
	/* What runs at the end of the program finds none of the input. */
	fake.left = 0;
}

bool fake_more(void)
{
	return fake.left;
}

size_t fake_take(void *to, size_t len)
{
	if (len > fake.left)
		len = fake.left;
	if (!len)
		return 0;
	memcpy(to, fake.at, len);
	fake.at += len;
	fake.left -= len;
	return len;
}

uint64_t fake_bytes(size_t len)
{
	uint64_t val = 0;

	fake_take(&val, len);
	return val;
}

uint8_t fake_byte(void)
{
	return fake_bytes(1);
}

/* Any errno value. */
static int fail(unsigned int err)
{
	errno = fake.left && err ? err : EIO;
	return -1;
}

int fake_fd(void)
{
	unsigned int i;

	for (i = 0; i < FDS; i++) {
		if (fake.open[i])
			continue;
		fake.open[i] = true;
		return FD_FIRST + i;
	}
	return fail(EMFILE);
}

int fake_open(const char *path, int flags, ...)
{
	uint8_t how = fake_byte();

	(void)flags;
	if (how & 1 && !strcmp(path, FBUF_DEVICE))
		return fake_fd();
	return fail(how >> 1);
}

int fake_close(int fd)
{
	if (fd < FD_FIRST || fd >= FD_FIRST + FDS)
		return fail(EBADF);
	/* Closed twice, it might be another thread's by now. */
	FAKE_CHECK(fake.open[fd - FD_FIRST]);
	fake.open[fd - FD_FIRST] = false;
	return 0;
}

/* Memory of just that size, next to which the sanitizer looks. */
void *fake_mmap(void *addr, size_t len)
{
	uint8_t how = fake_byte();
	unsigned int i;

	(void)addr;
	for (i = 0; i < MAPS && fake.maps[i].addr; i++)
		;
	if (how & 1 || i == MAPS || !len || len > MAP_LEN_MAX) {
		fail(how >> 1);
		return (void *)-1;
	}
	fake.maps[i].addr = calloc(1, len);
	fake.maps[i].len = len;
	fake.ring = fake.maps[i].addr;
	fake.ring_len = len;
	return fake.ring;
}

int fake_munmap(void *addr, size_t len)
{
	unsigned int i;

	for (i = 0; i < MAPS && fake.maps[i].addr != addr; i++)
		;
	FAKE_CHECK(i < MAPS && fake.maps[i].len == len);
	if (fake.ring == addr)
		fake.ring = NULL;
	free(addr);
	fake.maps[i].addr = NULL;
	return 0;
}

void fake_enemy(void)
{
	static const uint16_t places[] = {
		offsetof(struct fbuf_ring, tail),
		offsetof(struct fbuf_ring, head),
		offsetof(struct fbuf_ring, mask),
		offsetof(struct fbuf_ring, overflow),
	};
	uint8_t how = fake_byte();
	size_t at, len = how >> 3 & 7;

	if (!fake.ring || !len)
		return;
	at = how & 4 ? fake_bytes(2) : places[how & 3];
	if (at <= fake.ring_len && len <= fake.ring_len - at)
		fake_take(fake.ring + at, len);
}

/* What a kernel would say that is in its right mind. */
static int plausible(unsigned long cmd, void *arg, uint8_t how)
{
	struct fbuf_ring_setup *ring = arg;
	struct fbuf_info *info = arg;
	struct fbuf_batch *batch = arg;

	switch (cmd) {
	case FBUF_IOC_INFO:
		info->buf_size = 4096U << (how >> 2 & 3);
		info->nr_bufs = (how >> 4) + 1;
		info->pool_size = (uint64_t)info->buf_size * info->nr_bufs;
		info->rights = ~fake_byte();
		info->features = info->rights;
		return 0;
	case FBUF_IOC_RING:
		ring->map_size = FBUF_RING_ENTRIES + (uint64_t)ring->entries *
				 sizeof(struct fbuf_ring_entry);
		return 0;
	case FBUF_IOC_ALLOC:
		if (!batch->names || !batch->count)
			return fail(EINVAL);
		*(uint64_t *)(uintptr_t)batch->names = FBUF_NAME(how >> 2, 1);
		return 1;
	}
	return fake_bytes(2);
}

int fake_ioctl(int fd, unsigned long cmd, void *arg)
{
	uint8_t how = fake_byte();
	int32_t ret;

	(void)fd;
	if (!fake.left || !(how & 3))
		return fail(how >> 2);
	if (cmd == FBUF_IOC_POOL_CREATE || cmd == FBUF_IOC_SHARE)
		return fake_fd();
	if (how & 2)
		return plausible(cmd, arg, how);
	/* Anything, but for the two words that each structure begins with. */
	if (_IOC_SIZE(cmd) > 8)
		fake_take((char *)arg + 8, _IOC_SIZE(cmd) - 8);
	ret = fake_bytes(4);
	return ret < 0 ? fail(-(int64_t)ret & 0xfff) : ret;
}

int fake_poll(struct pollfd *pfd, unsigned long nr, int timeout)
{
	uint8_t how = fake_byte();

	(void)timeout;
	FAKE_CHECK(nr == 1);
	if (!fake.left || how & 1)
		return fail(how >> 1);
	pfd->revents = how >> 1;
	return pfd->revents != 0;
}

int fake_answer(void)
{
	uint8_t how = fake_byte();

	return !fake.left || how & 1 ? fail(how >> 1) : 0;
}

int fake_epoll(void)
{
	return fake_answer() < 0 ? -1 : fake_fd();
}

int fake_flags(void)
{
	uint8_t how = fake_byte();

	return how & 1 ? fail(how >> 1) : (int)fake_bytes(4);
}

ssize_t fake_sendmsg(void)
{
	uint8_t how = fake_byte();

	return how & 1 ? fail(how >> 1) : 1;
}

/* A fd as it should be; or any bytes in its place. */
ssize_t fake_recvmsg(int sock, struct msghdr *m, int flags)
{
	struct cmsghdr *c = m->msg_control;
	uint8_t how = fake_byte();
	int fd;

	(void)sock;
	FAKE_CHECK(flags & MSG_CMSG_CLOEXEC);
	if (!fake.left || how & 1)
		return fail(how >> 1);
	m->msg_flags = how & 4 ? MSG_CTRUNC : 0;
	if (how & 2) {
		c->cmsg_len = CMSG_LEN(sizeof(fd));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		fd = fake_fd();
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	} else {
		m->msg_controllen = fake_take(c, m->msg_controllen);
	}
	return how >> 3 & 1;
}

void fake_be_poor(void)
{
	fake.poor = true;
}

/* Asks the real one for memory that is not zero. */
void *fake_realloc(void *old, size_t len)
{
	if (fake.poor) {
		fake.poor = false;
		errno = ENOMEM;
		return NULL;
	}
	return realloc(old, len);
}

void *fake_calloc(size_t nr, size_t len)
{
	if (fake.poor) {
		fake.poor = false;
		errno = ENOMEM;
		return NULL;
	}
	return calloc(nr, len);
}
