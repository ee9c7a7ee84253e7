// SPDX-License-Identifier: GPL-2.0
/* Lanes: connecting them, and the messages on them. */
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
#include <sys/socket.h>
#include <unistd.h>

#include "flow.h"

/* Takes a message without waiting; less for each of many. */
#define SOCKBUF		(8 << 20)
#define SOCKBUF_MANY	(256 << 10)

const char *file_dir, *disk_dir;
size_t source_size;
struct transport transport = { .addr = "127.0.0.1" };

int lane_fail(struct lane *l, int err, const char *what)
{
	snprintf(l->why, sizeof(l->why), "%s: %s", what, strerror(-err));
	return err;
}

/* As far as the caller may. */
static void sockbuf(const struct lane *l, int fd)
{
	int size = l->nr == 1 || l->size > SOCKBUF_MANY ? SOCKBUF :
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
		return lane_result(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	snprintf(path, sizeof(path), "/run/netns/%s", name);
	here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	there = open(path, O_RDONLY | O_CLOEXEC);
	if (here >= 0 && there >= 0 && !setns(there, CLONE_NEWNET)) {
		fd = lane_result(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
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
static int connect_one(struct lane *l, int listener,
		       const struct sockaddr *addr, socklen_t len)
{
	int one = 1;

	l->tx = netns_socket(transport.netns_tx, addr->sa_family);
	if (l->tx < 0)
		return l->tx;
	if (!l->wait)
		sockbuf(l, l->tx);
	if (connect(l->tx, addr, len))
		return -errno;
	l->rx = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (l->rx < 0 ||
	    setsockopt(l->tx, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    (!l->wait && fcntl(l->tx, F_SETFL, O_NONBLOCK)))
		return -errno;
	return 0;
}

static int connect_all(struct lane *l, int listener, struct sockaddr *addr,
		       socklen_t len)
{
	unsigned int i;
	int err;

	if (!l->wait)
		sockbuf(l, listener);	/* an accepted socket inherits it */
	if (bind(listener, addr, len) || listen(listener, 1) ||
	    getsockname(listener, addr, &len))
		return -errno;
	for (i = 0; i < l->nr; i++) {
		err = connect_one(l, listener, addr, len);
		l->txs[i] = l->tx;
		l->rxs[i] = l->rx;
		l->tx = -1;
		l->rx = -1;
		if (err)
			return err;
	}
	l->tx = l->txs[0];
	l->rx = l->rxs[0];
	return 0;
}

static int lane_connect(struct lane *l)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *ai;
	int listener, err;

	if (getaddrinfo(transport.addr, "0", &hints, &ai))
		return lane_fail(l, -EINVAL, transport.addr);
	listener = netns_socket(transport.netns_rx, ai->ai_family);
	err = listener;
	if (listener >= 0) {
		err = connect_all(l, listener, ai->ai_addr, ai->ai_addrlen);
		close(listener);
	}
	freeaddrinfo(ai);
	return err < 0 ? lane_fail(l, err, "connecting by TCP") : 0;
}

static uint8_t *memory(struct lane *l, size_t size)
{
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p != MAP_FAILED)
		return p;
	lane_fail(l, -errno, "memory");
	return NULL;
}

/*
 * Messages do not share pages, as those that one program owns would not. Pieces
 * are far enough apart that no two of them touch, as buffers too.
 */
static void lane_layout(struct lane *l)
{
	l->apart = sysconf(_SC_PAGESIZE);
	while (l->apart < l->size / l->nr_iov)
		l->apart *= 2;
	if (l->nr_iov > 1)
		l->apart *= 2;
	l->stride = l->apart * l->nr_iov;
	l->source = source_size / l->stride * l->stride;
	if (!l->source)
		l->source = l->stride;
}

static int lane_arrays(struct lane *l)
{
	unsigned int i;

	l->txs = calloc(l->nr, sizeof(*l->txs));
	l->rxs = calloc(l->nr, sizeof(*l->rxs));
	l->iov = calloc(l->nr_iov, sizeof(*l->iov));
	if (!l->txs || !l->rxs || !l->iov)
		return lane_fail(l, -ENOMEM, "memory");
	for (i = 0; i < l->nr; i++) {
		l->txs[i] = -1;
		l->rxs[i] = -1;
	}
	return 0;
}

static int lane_file(struct lane *l, const struct method *m)
{
	const char *dir = m->disk ? disk_dir : file_dir;

	if (m->disk && !dir) {
		snprintf(l->why, sizeof(l->why), "unsupported: no --dir given");
		return -EINVAL;
	}
	l->file = dir ? open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) :
			memfd_create("fbuf-compare", MFD_CLOEXEC);
	return l->file < 0 ? lane_fail(l, -errno, dir ?: "memfd") : 0;
}

static int lane_fill_all(struct lane *l)
{
	uint64_t seed = 0;
	int err = 0;

	for (l->at = 0; !err && l->at < l->source; l->at += l->stride)
		err = lane_fill(l, seed++, NULL);
	l->at = 0;
	return err;
}

int lane_open_wide(struct lane *l, const struct method *m, size_t size,
		   unsigned int nr, unsigned int nr_iov, bool wait)
{
	unsigned int i;
	int err;

	*l = (struct lane){
		.size = size, .wait = wait, .tx = -1, .rx = -1, .file = -1,
		.nr = nr, .nr_iov = nr_iov,
	};
	lane_layout(l);
	err = lane_arrays(l);
	if (!err)
		err = lane_connect(l);
	if (err)
		goto fail;
	err = -ENOMEM;
	l->sink = memory(l, SINK_SIZE);
	if (!l->sink)
		goto fail;
	if (!m->memory) {
		l->mapped = m->file ? l->stride : l->source;
		l->mem = memory(l, l->mapped);
		if (!l->mem)
			goto fail;
	}
	err = m->file ? lane_file(l, m) : 0;
	l->method = m;
	if (!err && m->init)
		err = m->init(l);
	if (err) {
		l->method = NULL;
		goto fail;
	}
	for (i = 0; i < nr_iov; i++) {
		l->iov[i].iov_base = l->mem + i * l->apart;
		l->iov[i].iov_len = size / nr_iov;
	}
	err = lane_fill_all(l);
	if (!err)
		return 0;
fail:
	lane_close(l);
	return err;
}

int lane_open(struct lane *l, const struct method *m, size_t size, bool wait)
{
	return lane_open_wide(l, m, size, 1, 1, wait);
}

void lane_close(struct lane *l)
{
	unsigned int i;

	for (i = 0; l->txs && l->rxs && i < l->nr; i++) {
		if (l->txs[i] >= 0)
			close(l->txs[i]);
		if (l->rxs[i] >= 0)
			close(l->rxs[i]);
	}
	if (l->method && l->method->fini)
		l->method->fini(l);
	if (l->file >= 0)
		close(l->file);
	if (l->mem)
		munmap(l->mem, l->mapped);
	if (l->sink)
		munmap(l->sink, SINK_SIZE);
	free(l->txs);
	free(l->rxs);
	free(l->iov);
}

/* Bytes of a message, eight at a time: another one for every method. */
static uint64_t message_start(const struct lane *l, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + l->size;
	const char *p;

	for (p = l->method->name; *p; p++)
		x = (x ^ *p) * 0x100000001b3ULL;
	return x | 1;
}

static uint64_t message_next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static size_t word_len(size_t left)
{
	return left < sizeof(uint64_t) ? left : sizeof(uint64_t);
}

int lane_fill(struct lane *l, uint64_t seed, struct tool_sha *sha)
{
	uint64_t x = message_start(l, seed), word;
	unsigned int i;
	size_t at;
	ssize_t n;

	for (i = 0; i < l->nr_iov; i++) {
		uint8_t *base = l->iov[i].iov_base;

		if (l->file < 0)
			base += l->at;
		for (at = 0; at < l->iov[i].iov_len; at += sizeof(word)) {
			word = message_next(&x);
			memcpy(base + at, &word,
			       word_len(l->iov[i].iov_len - at));
		}
		if (sha)
			tool_sha_update(sha, base, l->iov[i].iov_len);
		if (l->file < 0)
			continue;
		n = pwrite(l->file, base, l->iov[i].iov_len,
			   l->at + i * l->iov[i].iov_len);
		if (n != (ssize_t)l->iov[i].iov_len)
			return lane_fail(l, n < 0 ? -errno : -ENOSPC, "file");
		memset(base, 0, l->iov[i].iov_len);
	}
	return 0;
}

bool lane_check(const struct lane *l, uint64_t seed, const uint8_t *message)
{
	uint64_t x = message_start(l, seed), word;
	size_t piece = l->size / l->nr_iov, i, at;

	for (i = 0; i < l->nr_iov; i++, message += piece) {
		for (at = 0; at < piece; at += sizeof(word)) {
			word = message_next(&x);
			if (memcmp(message + at, &word, word_len(piece - at)))
				return false;
		}
	}
	return true;
}

ssize_t lane_drain(struct lane *l, size_t len, int flags)
{
	return lane_result(recv(l->rx, l->sink,
				len < SINK_SIZE ? len : SINK_SIZE, flags));
}
