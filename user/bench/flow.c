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
#include <sys/socket.h>
#include <unistd.h>

#include "flow.h"

/* Takes a message without waiting; less for each of many. */
#define SOCKBUF		(8 << 20)
#define SOCKBUF_MANY	(256 << 10)

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

static int flow_file(struct flow *f, const struct method *m)
{
	const char *dir = m->disk ? disk_dir : file_dir;

	if (m->disk && !dir) {
		snprintf(f->why, sizeof(f->why), "unsupported: no --dir given");
		return -EINVAL;
	}
	f->file = dir ? open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) :
			memfd_create("fbuf-compare", MFD_CLOEXEC);
	return f->file < 0 ? flow_fail(f, -errno, dir ?: "memfd") : 0;
}

static int flow_fill_all(struct flow *f)
{
	uint64_t seed = 0;
	int err = 0;

	for (f->at = 0; !err && f->at < f->source; f->at += f->stride)
		err = flow_fill(f, seed++, NULL);
	f->at = 0;
	return err;
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
	f->sink = memory(f, SINK_SIZE);
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
		munmap(f->sink, SINK_SIZE);
	free(f->txs);
	free(f->rxs);
	free(f->iov);
}

/* Bytes of a message, eight at a time: another one for every method. */
static uint64_t message_start(const struct flow *f, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + f->size;
	const char *p;

	for (p = f->method->name; *p; p++)
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

int flow_fill(struct flow *f, uint64_t seed, struct tool_sha *sha)
{
	uint64_t x = message_start(f, seed), word;
	unsigned int i;
	size_t at;
	ssize_t n;

	for (i = 0; i < f->nr_iov; i++) {
		uint8_t *base = f->iov[i].iov_base;

		if (f->file < 0)
			base += f->at;
		for (at = 0; at < f->iov[i].iov_len; at += sizeof(word)) {
			word = message_next(&x);
			memcpy(base + at, &word,
			       word_len(f->iov[i].iov_len - at));
		}
		if (sha)
			tool_sha_update(sha, base, f->iov[i].iov_len);
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

bool flow_check(const struct flow *f, uint64_t seed, const uint8_t *message)
{
	uint64_t x = message_start(f, seed), word;
	size_t piece = f->size / f->nr_iov, i, at;

	for (i = 0; i < f->nr_iov; i++, message += piece) {
		for (at = 0; at < piece; at += sizeof(word)) {
			word = message_next(&x);
			if (memcmp(message + at, &word, word_len(piece - at)))
				return false;
		}
	}
	return true;
}

ssize_t flow_drain(struct flow *f, size_t len, int flags)
{
	return flow_result(recv(f->rx, f->sink,
				len < SINK_SIZE ? len : SINK_SIZE, flags));
}
