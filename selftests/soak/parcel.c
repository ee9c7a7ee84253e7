// SPDX-License-Identifier: GPL-2.0
/*
 * Receives by parcels: reads them, looks at what of them can be mapped, keeps some while
 * the sender goes on, and sends them on to another socket, from which it is received.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "parcel.h"
#include "receive.h"

#define PARTS		16U
#define HEAD_MAX	3000U

/* A parcel has what the stream has at @pos; says by what, if not. */
static void differ(const struct parcels *p, const char *what, __u64 pos,
		   const __u8 *bytes, size_t len)
{
	if (memcmp(bytes, content_at(pos), len))
		content_mismatch(p->l, what, pos, bytes, len);
}

static void read_all(const struct parcels *p, const struct kept *k, void *to,
		     size_t from)
{
	int err = from < k->len ? parcel_read(p->pool->fd, k->name, from,
					      (__u8 *)to + from,
					      k->len - from) : 0;

	if (err)
		fail("READ of a parcel: %s", strerror(-err));
}

/* The oldest is as it was. */
static void look_again(struct parcels *p)
{
	const struct kept *k = &p->kept[p->first % KEPT];

	read_all(p, k, p->aside, 0);
	differ(p, "a parcel that was kept", k->pos, p->aside, k->len);
	count(&soak->received[W_KEPT], k->len);
}

static void forget(struct parcels *p)
{
	p->first++;
	p->nr--;
}

static void free_one(struct parcels *p)
{
	look_again(p);
	if (pool_free(p->pool->fd, &p->kept[p->first % KEPT].name, 1) != 1)
		fail("FREE of a parcel: %s", strerror(errno));
	forget(p);
}

/*
 * A sender may wait for what it lent, so who waits for it keeps nothing. All are dropped
 * if there is nothing to receive.
 */
void parcels_before_wait(struct parcels *p)
{
	struct pollfd in = { .fd = p->sock, .events = POLLIN };

	if (p->nr && poll(&in, 1, 0) == 1)
		return;
	while (p->nr)
		free_one(p);
}

static void look_at_maps(struct parcels *p, const struct kept *k)
{
	struct fbuf_part parts[PARTS];
	int i, nr;

	nr = parcel_show(p->pool->fd, k->name, parts, PARTS);
	if (nr < 0 && !lane_short_of_memory(p->l, nr))
		fail("SHOW: %s", strerror(-nr));
	for (i = 0; i < nr && i < (int)PARTS; i++) {
		void *map = mmap(NULL, parts[i].len, PROT_READ, MAP_SHARED,
				 p->pool->fd, parts[i].at);

		if (map == MAP_FAILED)
			lane_broke(p->l, "a mapping of a parcel", errno);
		differ(p, "a mapping of a parcel", k->pos + parts[i].offset,
		       map, parts[i].len);
		munmap(map, parts[i].len);
		count(&soak->received[W_SHOWN], parts[i].len);
	}
}

/* RECV, which may drop the oldest as well, and read some at once. */
static ssize_t receive(struct parcels *p, size_t len, __u8 *to, __u32 head,
		       struct kept *k)
{
	struct fbuf_recv args = {
		.size = sizeof(args),
		.fd = p->sock,
		.len = len,
		.head = (uintptr_t)to,
		.head_len = head,
	};
	bool drop = p->nr == KEPT || (p->nr && one_in(3));
	ssize_t ret;

	if (drop) {
		look_again(p);
		args.drop = p->kept[p->first % KEPT].name;
	}
	ret = ioctl(p->pool->fd, FBUF_IOC_RECV, &args);
	if (drop && !args.drop)
		forget(p);
	if (ret <= 0)
		return ret;
	k->name = args.name;
	k->len = ret;
	if (args.head_len != (head < k->len ? head : k->len))
		fail("RECV read %u bytes, not %u", args.head_len, head);
	return ret;
}

/* Nothing was received, as there are as many in parcels as there may be. */
static bool refused(struct parcels *p)
{
	if (errno != EDQUOT)
		return false;
	while (p->nr)
		free_one(p);
	count(&soak->refused, 1);
	nap_us(2000);
	errno = EINTR;
	return true;
}

ssize_t parcels_next(struct parcels *p, size_t len, __u64 pos, __u8 *to)
{
	struct kept k = { .pos = pos };
	__u32 head = one_in(2) ? between(1, HEAD_MAX) : 0;
	ssize_t ret;

	ret = receive(p, len, to, head, &k);
	if (ret < 0)
		refused(p);
	if (ret <= 0)
		return ret;
	read_all(p, &k, to, head);
	count(&soak->received[W_READ], ret);
	if (one_in(4))
		look_at_maps(p, &k);
	p->kept[(p->first + p->nr++) % KEPT] = k;
	if (one_in(2))
		free_one(p);
	return ret;
}

void parcels_init(struct parcels *p, struct lane *l, struct pool *pool, int sock)
{
	memset(p, 0, sizeof(*p));
	p->l = l;
	p->pool = pool;
	p->sock = sock;
	p->aside = malloc(RECEIVE_MAX);
	if (!p->aside)
		fail("no memory to receive");
}

/* Some of it, with a copy of its beginning in its stead, or without. */
static ssize_t send_some(const struct parcels *p, int sock, const struct kept *k,
			 size_t from, size_t head)
{
	struct fbuf_seg segs[2] = {
		{
			.addr = (uintptr_t)p->aside,
			.len = head,
			.flags = FBUF_SEG_INLINE,
		}, {
			.addr = k->name,
			.len = k->len - from - head,
			.flags = FBUF_SEG_NAMED | FBUF_SEG_OFFSET(from + head),
		},
	};
	bool inlined = !from && head;

	return pool_send(p->pool->fd, sock, segs + !inlined, 1 + inlined, 0,
			 one_in(8) ? FBUF_ENGINE_COPY : 0, NULL);
}

/* With FBUF_SEND_FREE, as a whole; true if it went, and the parcel with it. */
static ssize_t send_free(const struct parcels *p, int sock, const struct kept *k)
{
	struct fbuf_seg seg = {
		.addr = k->name, .len = k->len, .flags = FBUF_SEG_NAMED,
	};

	return pool_send(p->pool->fd, sock, &seg, 1, FBUF_SEND_FREE, 0, NULL);
}

static void send_on(struct parcels *p, int sock, struct kept *k, size_t head,
		    enum path path)
{
	size_t done = 0;
	ssize_t ret;

	if (head >= k->len)
		head = 0;
	while (done < k->len) {
		bool frees = !done && one_in(2);

		ret = frees ? send_free(p, sock, k) :
			      send_some(p, sock, k, done, done ? 0 : head);
		if (ret == -EINTR || ret == -EAGAIN ||
		    lane_short_of_memory(p->l, ret))
			continue;
		if (ret <= 0)
			lane_broke(p->l, "a send of a parcel", -ret);
		done += ret;
		if (frees && done == k->len)
			k->name = 0;
	}
	count(&soak->received[W_ON], done);
	count(&soak->onward[path], done);
	if (k->name && pool_free(p->pool->fd, &k->name, 1) != 1)
		fail("FREE of a parcel: %s", strerror(errno));
}

/* As a proxy does. */
static void pump(struct parcels *p, int sock, enum path path)
{
	struct kept k = { 0 };
	ssize_t ret;

	for (;;) {
		__u32 head = one_in(2) ? between(1, HEAD_MAX) : 0;

		ret = receive(p, between(1, RECEIVE_MAX), p->aside, head, &k);
		if (!ret)
			return;
		if (ret > 0) {
			if (head > k.len)
				head = k.len;
			differ(p, "the head of a parcel", k.pos, p->aside, head);
			send_on(p, sock, &k, head, path);
			k.pos += ret;
		} else if (!refused(p) && !nothing_yet(p->l->path) &&
			   !lane_short_of_memory(p->l, -errno)) {
			lane_broke(p->l, "a proxy", errno);
		}
	}
}

static bool onward(enum path path)
{
	return soak->paths & 1U << path && path_there(path) &&
	       path != P_SEQPACKET && path != P_DOOMED && !path_udp(path);
}

enum path parcels_send_on(struct lane *l, unsigned int nr)
{
	enum path path = rnd() % NR_PATHS;
	struct parcels p;
	struct pool pool;
	int fd[2], err;
	pid_t pid;

	/* Of the doomed it is the namespace that is. */
	if (l->path == P_SEQPACKET || l->path == P_DOOMED || !one_in(3) ||
	    !onward(path))
		return l->path;
	err = path_pair(path, fd, -1, -1);
	if (err == -ETIMEDOUT || (err && l->in_cgroup))
		_exit(0);
	if (err)
		fail("no sockets over %s: %s", path_names[path], strerror(-err));
	if (path_loses(path))
		__atomic_store_n(&l->slot->lossy, true, __ATOMIC_RELAXED);
	pid = fork();
	if (pid < 0)
		lane_broke(l, "fork", errno);
	if (!pid) {
		close(fd[0]);
		close(l->peer[nr]);
		l->peer[nr] = fd[1];
		rnd_seed(l->seed, 2, nr);
		return path;
	}
	close(fd[1]);
	if (pool_make(&pool, PAGE, 1))
		lane_broke(l, "a pool to send on from", ENOMEM);
	parcels_init(&p, l, &pool, l->peer[nr]);
	pump(&p, fd[0], path);
	shutdown(fd[0], SHUT_WR);
	_exit(child_status(pid) ? 1 : 0);
}
