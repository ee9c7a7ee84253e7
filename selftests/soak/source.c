// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "receive.h"
#include "source.h"

#define FEED_MAX	16384U
#define RING		64U
#define GARBAGE		0xee

static void overwrite(struct pool *pool, __u64 name)
{
	size_t from = between(0, pool->buf_size - 1), len = pool->buf_size;

	if (one_in(2))
		len = between(1, pool->buf_size - from);
	else
		from = 0;
	memset(buf_addr(pool, name) + from, GARBAGE, len);
	count(&soak->overwritten, len);
}

/* Owns what it has taken, until it passed it on. */
static void partner_run(const struct source *s, int fd, __u32 to, pid_t parent)
{
	unsigned int out = 0, most = s->pool.nr_bufs * 3 / 4;
	struct fbuf_ring_entry e;
	struct ring ring;
	struct pool pool;
	__u64 name;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || pool_map(&pool, fd, PROT_READ | PROT_WRITE) ||
	    ring_make(&ring, fd, FBUF_RING_ACCEPT, RING, 0))
		_exit(1);
	for (;;) {
		bool idle = true;

		while (out < most && pool_alloc(fd, &name, 1) == 1) {
			memset(buf_addr(&pool, name), GARBAGE, 4096);
			if (pool_pass_one(fd, to, name, 0) != 1) {
				pool_free(fd, &name, 1);
				break;
			}
			out++;
			idle = false;
		}
		while (ring_next(&ring, &e)) {
			if (e.data)
				overwrite(&pool, e.name);
			pool_free(fd, &e.name, 1);
			count(&soak->passed, 2);
			out--;
			idle = false;
		}
		if (idle)
			nap_us(200);
	}
}

static void partner_start(struct source *s)
{
	__u32 ours = pool_handle(s->pool.fd);
	pid_t self = getpid();
	int fd;

	fd = pool_share(s->pool.fd, ALL_RIGHTS, 0, &s->partner_handle);
	if (fd < 0 || ring_make(&s->ring, s->pool.fd, FBUF_RING_ACCEPT, RING,
				0))
		goto none;
	s->partner = fork();
	if (!s->partner) {
		munmap(s->pool.map, s->pool.size);
		close(s->pool.fd);
		ring_unmake(&s->ring);
		partner_run(s, fd, ours, self);
	}
	if (s->partner > 0) {
		close(fd);
		return;
	}
none:
	if (!s->l->in_cgroup)
		fail("no partner: %s", strerror(errno));
	close(fd);
	s->partner = 0;
}

void source_init(struct source *s, struct lane *l)
{
	static const __u32 protections[] = {
		0, FBUF_POOL_SECURED, FBUF_POOL_SNAPSHOT,
	};
	size_t buf_size = l->bulk ? 262144U << between(0, 2) :
				    4096U << between(0, 2);
	int err;

	memset(s, 0, sizeof(*s));
	s->l = l;
	s->pool_flags = protections[rnd() % 3];
	err = pool_make_flags(&s->pool, buf_size, l->bulk ? 12 : 64,
			      s->pool_flags);
	if (err && l->in_cgroup)
		_exit(0);
	if (err)
		fail("no pool: %s", strerror(-err));
	s->file = content_file();
	if (s->file < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, s->feed))
		lane_broke(l, "a file and a socket to fill from", errno);
	if (one_in(3))
		partner_start(s);
}

void source_exit(struct source *s)
{
	if (s->partner > 0) {
		kill(s->partner, SIGKILL);
		child_status(s->partner);
	}
	ring_unmake(&s->ring);
	pool_unmake(&s->pool);
	close(s->file);
	close(s->feed[0]);
	close(s->feed[1]);
}

static bool take_passed(struct source *s, __u64 *name)
{
	struct fbuf_ring_entry e;

	for (;;) {
		while (ring_next(&s->ring, &e)) {
			if (e.type != FBUF_RING_PASSED)
				continue;
			*name = e.name;
			return true;
		}
		if (s->l->slot->killed)
			_exit(0);
		nap_us(100);
	}
}

bool source_take(struct source *s, __u64 *name)
{
	int ret;

	s->l->slot->doing = "ALLOC";

	if (s->partner)
		return take_passed(s, name);
	do {
		ret = one_in(2) ? pool_alloc_wait(s->pool.fd, name, 1, 10) :
		      pool_batch(s->pool.fd, FBUF_IOC_ALLOC, name, 1,
				 FBUF_ALLOC_WAIT, 1000);
		if (ret < 0 && lane_short_of_memory(s->l, ret))
			return false;
		/* Work that io_uring has for the task ends a wait as well. */
		if (ret < 0 && ret != -EAGAIN && ret != -ETIMEDOUT &&
		    ret != -ENOMEM && ret != -EINTR)
			fail("ALLOC: %s", strerror(-ret));
	} while (ret != 1);
	return true;
}

static int fill_once(struct source *s, struct fbuf_fill *args, __u64 pos,
		     size_t len)
{
	args->len = len;
	args->flags = FBUF_FILL_ALL;
	if (s->fill == F_FILE) {
		args->fd = s->file;
		args->flags = FBUF_FILL_POS;
		args->pos = content_offset(pos);
	} else {
		args->fd = s->feed[0];
		args->len = len < FEED_MAX ? len : FEED_MAX;
		if (write(s->feed[1], content_at(pos), args->len) !=
		    (ssize_t)args->len)
			fail("feed: %s", strerror(errno));
	}
	return ioctl(s->pool.fd, FBUF_IOC_FILL, args);
}

void source_fill(struct source *s, __u64 name, unsigned int offset, __u64 pos,
		 size_t len)
{
	struct fbuf_fill args = {
		.size = sizeof(args),
		.name = name,
		.offset = offset,
	};
	int ret;

	if (s->fill == F_MEMORY) {
		s->l->slot->doing = "writing to the pool";
		memcpy(buf_addr(&s->pool, name) + offset, content_at(pos),
		       len);
		return;
	}
	s->l->slot->doing = "FILL";
	while (len) {
		ret = fill_once(s, &args, pos, len);
		if (ret <= 0)
			lane_broke(s->l, "FILL", errno);
		pos += ret;
		len -= ret;
		args.offset += ret;
	}
}

void source_choose(struct source *s)
{
	static const __u32 flags[] = {
		FBUF_SEND_VOLATILE, FBUF_SEND_SECURED, FBUF_SEND_SNAPSHOT,
	};

	s->flags = s->pool_flags && one_in(6) ? flags[rnd() % 3] : 0;
	s->fill = one_in(3) ? between(F_FILE, F_SOCKET) : F_MEMORY;
}

/* One more piece: in a buffer of its own, after the last one, or inline. */
static size_t append(struct source *s, unsigned int *end)
{
	size_t left = s->len, most = s->pool.buf_size, len;
	__u64 pos = s->pos, name;
	unsigned int i, offset;

	for (i = 0; i < s->nr_segs; i++) {
		left -= s->seg[i].len;
		pos += s->seg[i].len;
	}
	if (!left)
		return 0;
	if (one_in(6)) {
		len = left < 4096 ? left : 1 + rnd() % 4096;
		s->seg[s->nr_segs++] = inline_seg(content_at(pos), len);
		return len;
	}
	if (!s->nr_names || *end >= most || !one_in(4)) {
		if (!source_take(s, &s->names[s->nr_names]))
			return 0;
		s->nr_names++;
		*end = one_in(3) ? between(0, most - 1) : 0;
	}
	name = s->names[s->nr_names - 1];
	offset = *end;
	len = most - offset < left ? most - offset : left;
	if (!s->l->bulk && one_in(2))
		len = between(1, len);
	source_fill(s, name, offset, pos, len);
	*end += len;
	s->seg[s->nr_segs++] = buf_seg(&s->pool, name, offset, len);
	return len;
}

bool source_message(struct source *s, __u64 pos, size_t len)
{
	unsigned int end = 0;
	size_t made = 0, more;

	source_choose(s);
	s->pos = pos;
	s->len = len;
	s->nr_segs = 0;
	s->nr_names = 0;
	/* Who waits for more than half of the pool may wait for himself. */
	while (made < len && s->nr_segs < NR_SEGS &&
	       s->nr_names < s->pool.nr_bufs / 2) {
		more = append(s, &end);
		if (!more)
			break;
		made += more;
	}
	s->len = made;
	if (made)
		return true;
	source_sent(s);
	return false;
}

unsigned int source_rest(const struct source *s, size_t done,
			 struct fbuf_seg *seg)
{
	unsigned int i = 0, nr;

	while (done >= s->seg[i].len)
		done -= s->seg[i++].len;
	nr = s->nr_segs - i;
	memcpy(seg, s->seg + i, nr * sizeof(*seg));
	seg->addr += done;
	seg->len -= done;
	return nr;
}

/* Nobody but us may have written to it: not even what encrypts it. */
static void inspect(struct source *s)
{
	__u64 pos = s->pos;
	unsigned int i;
	int ret;

	ret = pool_wait(s->pool.fd, s->names, s->nr_names, -1);
	if (ret < 0)
		fail("WAIT: %s", strerror(-ret));
	for (i = 0; i < s->nr_segs; pos += s->seg[i++].len) {
		const __u8 *p = s->pool.map + s->seg[i].addr;

		if (s->seg[i].flags & FBUF_SEG_INLINE)
			continue;
		if (memcmp(p, content_at(pos), s->seg[i].len))
			content_mismatch(s->l, "pool after the send", pos, p,
					 s->seg[i].len);
		count(&soak->inspected, s->seg[i].len);
	}
}

static void give_back(struct source *s, bool protected)
{
	unsigned int i;
	int ret;

	for (i = 0; s->partner && i < s->nr_names; i++) {
		if (pool_pass_one(s->pool.fd, s->partner_handle, s->names[i],
				  protected) != 1)
			lane_broke(s->l, "PASS", errno);
	}
	if (s->partner)
		return;
	ret = pool_free(s->pool.fd, s->names, s->nr_names);
	if (ret != (int)s->nr_names)
		fail("FREE: %s", strerror(-ret));
}

void source_sent(struct source *s)
{
	bool protected = s->pool_flags && !(s->flags & FBUF_SEND_VOLATILE);
	unsigned int i;

	if (!s->nr_names)
		return;
	if (one_in(8)) {
		s->l->slot->doing = "WAIT";
		inspect(s);
	} else if (protected) {
		s->l->slot->doing = "overwriting";
		for (i = 0; i < s->nr_names; i++)
			overwrite(&s->pool, s->names[i]);
	}
	s->l->slot->doing = "giving back";
	give_back(s, protected);
	s->nr_names = 0;
}
