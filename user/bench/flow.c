// SPDX-License-Identifier: GPL-2.0
/* Flows: connecting them, and the messages on them. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flow.h"

/* Takes a message without waiting; less for each of many. */
#define SOCKBUF		(8 << 20)
#define SOCKBUF_MANY	(256 << 10)
#define STALL_NS	2000000000ULL	/* nothing comes: it would block */
#define HUGE_PAGE	((size_t)2 << 20)
#define STAT_BLOCK	512	/* bytes that st_blocks counts in */

const char *file_dir, *disk_dir;
size_t source_size;
struct transport transport = { .addr = "127.0.0.1" };

int flow_fail(struct flow *f, int err, const char *what)
{
	snprintf(f->why, sizeof(f->why), "%s: %s", what, strerror(-err));
	return err;
}

/* As far as the caller may. */
static void sockbuf(const struct flow *f, int fd)
{
	int size = f->nr == 1 || f->size > SOCKBUF_MANY ? SOCKBUF :
							  SOCKBUF_MANY;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

/* A socket in a network namespace, by its name for ip-netns(8). */
static int netns_socket(const char *name, int family)
{
	char path[256];
	int here = -1, there = -1, fd = -1, err;

	if (!name)
		return flow_result(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	snprintf(path, sizeof(path), "/run/netns/%s", name);
	here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	there = open(path, O_RDONLY | O_CLOEXEC);
	if (here >= 0 && there >= 0 && !setns(there, CLONE_NEWNET)) {
		fd = flow_result(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
		if (setns(here, CLONE_NEWNET)) {
			/* Not to go on in the wrong place. */
			tool_err("Cannot leave %s: %s.", path, strerror(errno));
			exit(TOOL_FAIL);
		}
	} else {
		err = errno;
		fd = -err;
	}
	if (here >= 0)
		close(here);
	if (there >= 0)
		close(there);
	return fd;
}

/* Lock step needs big buffers; free running leaves them to the kernel. */
static int connect_one(struct flow *f, int listener,
		       const struct sockaddr *addr, socklen_t len)
{
	int one = 1;

	f->tx = netns_socket(transport.netns_tx, addr->sa_family);
	if (f->tx < 0)
		return f->tx;
	if (!f->wait)
		sockbuf(f, f->tx);
	if (connect(f->tx, addr, len))
		return -errno;
	f->rx = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (f->rx < 0 ||
	    setsockopt(f->tx, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    (!f->wait && fcntl(f->tx, F_SETFL, O_NONBLOCK)))
		return -errno;
	return 0;
}

static int sockbuf_get(int fd, int name)
{
	socklen_t len = sizeof(int);
	int size;

	return getsockopt(fd, SOL_SOCKET, name, &size, &len) ? -1 : size;
}

static int connect_all(struct flow *f, int listener, struct sockaddr *addr,
		       socklen_t len)
{
	unsigned int i;
	int err;

	if (!f->wait)
		sockbuf(f, listener);	/* an accepted socket inherits it */
	if (bind(listener, addr, len) || listen(listener, 1) ||
	    getsockname(listener, addr, &len))
		return -errno;
	for (i = 0; i < f->nr; i++) {
		err = connect_one(f, listener, addr, len);
		f->txs[i] = f->tx;
		f->rxs[i] = f->rx;
		f->tx = -1;
		f->rx = -1;
		if (err)
			return err;
	}
	f->tx = f->txs[0];
	f->rx = f->rxs[0];
	f->sndbuf = sockbuf_get(f->tx, SO_SNDBUF);
	f->rcvbuf = sockbuf_get(f->rx, SO_RCVBUF);
	return 0;
}

static int flow_connect(struct flow *f)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *ai;
	int listener, err;

	if (getaddrinfo(transport.addr, "0", &hints, &ai))
		return flow_fail(f, -EINVAL, transport.addr);
	listener = netns_socket(transport.netns_rx, ai->ai_family);
	err = listener;
	if (listener >= 0) {
		err = connect_all(f, listener, ai->ai_addr, ai->ai_addrlen);
		close(listener);
	}
	freeaddrinfo(ai);
	return err < 0 ? flow_fail(f, err, "connecting by TCP") : 0;
}

static uint8_t *memory(struct flow *f, size_t size)
{
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p != MAP_FAILED)
		return p;
	flow_fail(f, -errno, "memory");
	return NULL;
}

/*
 * Messages do not share pages, as those that one program owns would not. Pieces
 * are far enough apart that no two of them touch, as buffers too.
 */
static void flow_layout(struct flow *f)
{
	f->apart = sysconf(_SC_PAGESIZE);
	while (f->apart < f->size / f->nr_iov)
		f->apart *= 2;
	if (f->nr_iov > 1)
		f->apart *= 2;
	f->stride = f->apart * f->nr_iov;
	f->source = source_size / f->stride * f->stride;
	if (!f->source)
		f->source = f->stride;
}

static int flow_arrays(struct flow *f)
{
	unsigned int i;

	f->txs = calloc(f->nr, sizeof(*f->txs));
	f->rxs = calloc(f->nr, sizeof(*f->rxs));
	f->iov = calloc(f->nr_iov, sizeof(*f->iov));
	if (!f->txs || !f->rxs || !f->iov)
		return flow_fail(f, -ENOMEM, "memory");
	for (i = 0; i < f->nr; i++) {
		f->txs[i] = -1;
		f->rxs[i] = -1;
	}
	return 0;
}

/*
 * A file that is kept in huge pages, as far as there are any: of a tmpfs, as
 * sendfile() does not take those of hugetlbfs. A negative errno value where that
 * is not allowed.
 */
static int huge_file(void)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), mount = -1, fd = -1, err;

	if (fs >= 0 &&
	    !fsconfig(fs, FSCONFIG_SET_STRING, "huge", "always", 0) &&
	    !fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	/* It stays mounted, nowhere, for as long as the file is open. */
	if (mount >= 0)
		fd = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	err = errno;
	if (mount >= 0)
		close(mount);
	if (fs >= 0)
		close(fs);
	return fd < 0 ? -err : fd;
}

/* A kernel that was told so has a memfd in huge pages, too. */
static int huge_open(void)
{
	int fd = huge_file();

	if (fd == -EPERM)
		fd = memfd_create("fbuf-compare", MFD_CLOEXEC);
	return fd;
}

static int flow_file(struct flow *f, const struct method *m)
{
	const char *dir = m->disk ? disk_dir : file_dir;

	if (m->disk && !dir) {
		snprintf(f->why, sizeof(f->why), "unsupported: no --dir given");
		return -EINVAL;
	}
	if (m->huge) {
		f->file = huge_open();
		return f->file < 0 ? flow_fail(f, f->file,
					       "unsupported: a huge tmpfs") : 0;
	}
	f->file = dir ? open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) :
			memfd_create("fbuf-compare", MFD_CLOEXEC);
	return f->file < 0 ? flow_fail(f, -errno, dir ?: "memfd") : 0;
}

/* Of a file that small pages hold, no figure is one of huge pages. */
static int check_huge(struct flow *f)
{
	size_t want = (f->source + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	struct stat st;

	if (fstat(f->file, &st))
		return flow_fail(f, -errno, "file");
	if ((size_t)st.st_blocks * STAT_BLOCK >= want)
		return 0;
	snprintf(f->why, sizeof(f->why),
		 "unsupported: the kernel gave no huge pages%s",
		 geteuid() ? ": it takes root to mount a tmpfs with huge=always" :
		 "");
	return -EOPNOTSUPP;
}

static int flow_fill_all(struct flow *f)
{
	uint64_t seed = 0;
	int err = 0;

	for (f->at = 0; !err && !f->method->rewrites && f->at < f->source;
	     f->at += f->stride)
		err = flow_fill(f, seed++);
	f->at = 0;
	return err || !f->method->huge ? err : check_huge(f);
}

int flow_open_wide(struct flow *f, const struct method *m, size_t size,
		   unsigned int nr, unsigned int nr_iov, bool wait)
{
	unsigned int i;
	int err;

	*f = (struct flow){
		.size = size, .wait = wait, .tx = -1, .rx = -1, .file = -1,
		.nr = nr, .nr_iov = nr_iov,
	};
	flow_layout(f);
	err = flow_arrays(f);
	if (!err)
		err = flow_connect(f);
	if (err)
		goto fail;
	err = -ENOMEM;
	f->sink_size = size > SINK_SIZE ? size : SINK_SIZE;
	f->sink = memory(f, f->sink_size);
	if (!f->sink)
		goto fail;
	if (!m->memory) {
		f->mapped = m->file ? f->stride : f->source;
		f->mem = memory(f, f->mapped);
		if (!f->mem)
			goto fail;
	}
	err = m->file ? flow_file(f, m) : 0;
	f->method = m;
	if (!err && m->init)
		err = m->init(f);
	if (err) {
		f->method = NULL;
		goto fail;
	}
	for (i = 0; i < nr_iov; i++) {
		f->iov[i].iov_base = f->mem + i * f->apart;
		f->iov[i].iov_len = size / nr_iov;
	}
	err = flow_fill_all(f);
	if (!err)
		return 0;
fail:
	flow_close(f);
	return err;
}

int flow_open(struct flow *f, const struct method *m, size_t size, bool wait)
{
	return flow_open_wide(f, m, size, 1, 1, wait);
}

void flow_close(struct flow *f)
{
	unsigned int i;

	for (i = 0; f->txs && f->rxs && i < f->nr; i++) {
		if (f->txs[i] >= 0)
			close(f->txs[i]);
		if (f->rxs[i] >= 0)
			close(f->rxs[i]);
	}
	if (f->method && f->method->fini)
		f->method->fini(f);
	if (f->file >= 0)
		close(f->file);
	if (f->mem)
		munmap(f->mem, f->mapped);
	if (f->sink)
		munmap(f->sink, f->sink_size);
	free(f->txs);
	free(f->rxs);
	free(f->iov);
	f->txs = NULL;
	f->rxs = NULL;
	f->iov = NULL;
}

/* Bytes of a message, eight at a time: another one for every method. */
static uint64_t message_start(const struct flow *f, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + f->size;
	const char *p;

	for (p = f->method->name; *p; p++)
		x = (x ^ *p) * 0x100000001b3ULL;
	return x ^ x >> 29;
}

/* Cheap, as some methods write a message in the time that is measured. */
static uint64_t message_next(uint64_t *x)
{
	*x += 0xd1342543de82ef95ULL;
	return *x;
}

static void message_write(uint64_t *x, uint8_t *to, size_t len)
{
	uint64_t word;

	for (; len >= sizeof(word); len -= sizeof(word), to += sizeof(word)) {
		word = message_next(x);
		memcpy(to, &word, sizeof(word));
	}
	if (len) {
		word = message_next(x);
		memcpy(to, &word, len);
	}
}

static bool message_is(uint64_t *x, const uint8_t *message, size_t len)
{
	uint64_t word, is;

	for (; len >= sizeof(word);
	     len -= sizeof(word), message += sizeof(word)) {
		word = message_next(x);
		memcpy(&is, message, sizeof(is));
		if (is != word)
			return false;
	}
	if (!len)
		return true;
	word = message_next(x);
	return !memcmp(message, &word, len);
}

void flow_message(const struct flow *f, uint64_t seed, void *to)
{
	uint64_t x = message_start(f, seed);

	message_write(&x, to, f->size);
}

uint64_t flow_first(const struct flow *f, uint64_t seed)
{
	uint64_t x = message_start(f, seed);

	return message_next(&x);
}

int flow_fill(struct flow *f, uint64_t seed)
{
	uint64_t x = message_start(f, seed);
	unsigned int i;
	ssize_t n;

	for (i = 0; i < f->nr_iov; i++) {
		uint8_t *base = f->iov[i].iov_base;

		if (f->file < 0)
			base += f->at;
		message_write(&x, base, f->iov[i].iov_len);
		if (f->file < 0)
			continue;
		n = pwrite(f->file, base, f->iov[i].iov_len,
			   f->at + i * f->iov[i].iov_len);
		if (n != (ssize_t)f->iov[i].iov_len)
			return flow_fail(f, n < 0 ? -errno : -ENOSPC, "file");
		memset(base, 0, f->iov[i].iov_len);
	}
	return 0;
}

int flow_fresh(struct flow *f)
{
	f->seed = FLOW_SEED + f->number;
	return f->method->rewrites ? 0 : flow_fill(f, f->seed);
}

void flow_next(struct flow *f)
{
	f->number++;
	f->at += f->stride;
	if (f->at == f->source)
		f->at = 0;
}

bool flow_check(const struct flow *f, uint64_t seed, const uint8_t *message)
{
	uint64_t x = message_start(f, seed);
	size_t piece = f->size / f->nr_iov;
	unsigned int i;

	for (i = 0; i < f->nr_iov; i++, message += piece) {
		if (!message_is(&x, message, piece))
			return false;
	}
	return true;
}

static ssize_t drain(struct flow *f, size_t len, int flags)
{
	return flow_result(recv(f->rx, f->sink,
				len < SINK_SIZE ? len : SINK_SIZE, flags));
}

/*
 * Only when the receiver's window has grown as far as its buffer allows does it
 * stop to acknowledge each segment at once, inside the send. Messages would take
 * hundreds of turns for that.
 */
static int warm_up_one(struct flow *f)
{
	uint64_t moved = now_ns();
	size_t left, size;
	ssize_t n, m;

	for (left = f->rcvbuf; left; left -= n) {
		size = left < SINK_SIZE ? left : SINK_SIZE;
		n = flow_result(write(f->tx, f->sink, size));
		if (n == -EAGAIN && now_ns() - moved < STALL_NS)
			n = 0;
		if (n < 0)
			return n;
		for (size = n; size; size -= m) {
			m = drain(f, size, MSG_TRUNC | MSG_DONTWAIT);
			if (m > 0)
				moved = now_ns();
			else if (m == -EAGAIN && now_ns() - moved < STALL_NS)
				m = 0;
			else
				return m ? m : -EPIPE;
		}
	}
	return 0;
}

int flow_warm_up(struct flow *f)
{
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < f->nr; i++) {
		f->tx = f->txs[i];
		f->rx = f->rxs[i];
		err = warm_up_one(f);
	}
	f->tx = f->txs[0];
	f->rx = f->rxs[0];
	return err;
}

int flow_receive(struct flow *f, int flags)
{
	uint64_t moved = now_ns();
	size_t got = 0;
	ssize_t n;

	while (got < f->size) {
		n = flow_result(recv(f->rx, f->sink + got, f->size - got,
				     MSG_DONTWAIT | flags));
		if (n > 0) {
			got += n;
			moved = now_ns();
		} else if (n != -EAGAIN) {
			return n ? n : -EPIPE;
		} else if (now_ns() - moved > STALL_NS) {
			return -ETIMEDOUT;
		}
	}
	return 0;
}
