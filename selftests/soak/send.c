// SPDX-License-Identifier: GPL-2.0
/*
 * Sends a stream, message after message, each in another way. What a way leaves
 * undone, because the socket is full or does not know it, a plain SEND does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "receive.h"
#include "source.h"
#include "uring.h"

#define PIPE_MAX	65536U		/* bytes in a pipe, at most */

struct sender {
	struct lane *l;
	struct source src;
	struct uring ring;
	int pipe[2][2];
	size_t done[NR_SOCKS];		/* of the message, for each socket */
	__u8 *aside;
};

static void log_wait(struct sender *s, const struct log *log)
{
	while (log->tail - __atomic_load_n(&log->head, __ATOMIC_ACQUIRE) ==
	       LOG_SIZE) {
		if (__atomic_load_n(&s->l->slot->killed, __ATOMIC_ACQUIRE))
			_exit(0);
		nap_us(500);
	}
}

/* Socket @t took @ret bytes, or not; false if it is of no use to go on so. */
static bool took(struct sender *s, unsigned int t, enum mech mech, ssize_t ret)
{
	struct log *log = &s->l->slot->log[t];
	typeof(*log->entry) *e;

	if (ret <= 0) {
		if (ret == -EAGAIN || ret == -EOPNOTSUPP || !ret ||
		    ret == -EINTR || lane_short_of_memory(s->l, ret))
			return false;
		lane_broke(s->l, mech_names[mech], -ret);
	}
	s->done[t] += ret;
	log_wait(s, log);
	e = &log->entry[log->tail % LOG_SIZE];
	e->end = s->l->pos + s->done[t];
	e->mech = mech;
	e->fill = mech <= M_POOL_LAST ? s->src.fill : F_NONE;
	__atomic_store_n(&log->tail, log->tail + 1, __ATOMIC_RELEASE);
	return true;
}

static __u32 send_flags(const struct sender *s)
{
	__u32 flags = s->src.flags;

	if (one_in(4))
		flags |= FBUF_SEND_DONTWAIT;
	/* kTLS keeps an open record for as long as nothing comes after it. */
	if (one_in(8) && s->l->path != P_TLS && s->l->path != P_VETH_TLS)
		flags |= FBUF_SEND_MORE;
	if (s->src.partner && one_in(8))
		flags |= FBUF_SEND_NOTIFY;
	return flags;
}

static void by_send(struct sender *s, unsigned int t, enum mech mech)
{
	struct fbuf_seg seg[NR_SEGS];
	unsigned int nr = source_rest(&s->src, s->done[t], seg);

	took(s, t, mech, pool_send(s->src.pool.fd, s->l->sock[t], seg, nr,
				   send_flags(s), mech_engine(mech), NULL));
}

/* However long it takes, but for when all is to end. */
static void by_send_all(struct sender *s, unsigned int t)
{
	struct fbuf_seg seg[NR_SEGS];
	unsigned int nr;

	while (s->done[t] < s->src.len && !stopped()) {
		nr = source_rest(&s->src, s->done[t], seg);
		took(s, t, M_SEND, pool_send(s->src.pool.fd, s->l->sock[t],
					     seg, nr, s->src.flags, 0, NULL));
	}
}

static void by_uring(struct sender *s, unsigned int t)
{
	struct fbuf_seg seg[NR_SEGS];
	struct fbuf_send args = {
		.size = sizeof(args),
		.flags = send_flags(s) & ~FBUF_SEND_DONTWAIT,
		.segs = (uintptr_t)seg,
		.nr_segs = source_rest(&s->src, s->done[t], seg),
		.fd = s->l->sock[t],
	};

	took(s, t, M_URING, pool_command(&s->ring, s->src.pool.fd,
					 FBUF_IOC_SEND, &args));
}

static void by_fanout(struct sender *s, enum mech mech)
{
	struct fbuf_target target[NR_SOCKS] = { 0 };
	struct fbuf_fanout args = {
		.size = sizeof(args),
		.flags = send_flags(s),
		.segs = (uintptr_t)s->src.seg,
		.targets = (uintptr_t)target,
		.nr_segs = s->src.nr_segs,
		.nr_targets = s->l->nr_socks,
	};
	unsigned int t;
	int ret;

	for (t = 0; t < s->l->nr_socks; t++)
		target[t].fd = s->l->sock[t];
	ret = pool_command(mech == M_URING_FANOUT ? &s->ring : NULL,
			   s->src.pool.fd, FBUF_IOC_FANOUT, &args);
	if (ret < 0 && !lane_short_of_memory(s->l, ret))
		lane_broke(s->l, mech_names[mech], -ret);
	for (t = 0; ret >= 0 && t < s->l->nr_socks; t++)
		took(s, t, mech, target[t].result);
}

static void by_batch(struct sender *s, enum mech mech)
{
	struct fbuf_send_item item[NR_SOCKS] = { 0 };
	struct fbuf_send_batch args = {
		.size = sizeof(args),
		.flags = send_flags(s),
		.items = (uintptr_t)item,
		.count = s->l->nr_socks,
	};
	unsigned int t;
	int ret;

	for (t = 0; t < s->l->nr_socks; t++) {
		item[t].segs = (uintptr_t)s->src.seg;
		item[t].nr_segs = s->src.nr_segs;
		item[t].fd = s->l->sock[t];
	}
	ret = pool_command(mech == M_URING_BATCH ? &s->ring : NULL,
			   s->src.pool.fd, FBUF_IOC_SEND_BATCH, &args);
	if (ret < 0 && !lane_short_of_memory(s->l, ret))
		lane_broke(s->l, mech_names[mech], -ret);
	for (t = 0; ret >= 0 && t < s->l->nr_socks; t++)
		took(s, t, mech, item[t].result);
}

/* A piece of the pool, as a program would that takes it for a file. */
static void by_sendfile(struct sender *s, unsigned int t)
{
	struct fbuf_seg seg[NR_SEGS];
	ssize_t ret;
	loff_t from;

	do {
		source_rest(&s->src, s->done[t], seg);
		if (seg->flags & FBUF_SEG_INLINE)
			return;
		from = seg->addr;
		ret = sendfile(s->l->sock[t], s->src.pool.fd, &from, seg->len);
	} while (took(s, t, M_SENDFILE, ret < 0 ? -errno : ret) &&
		 s->done[t] < s->src.len);
}

/* All that a pipe has; who interrupts it is killed. */
static void pipe_to_socket(struct sender *s, unsigned int t, enum mech mech,
			   int from, size_t len)
{
	ssize_t ret;

	while (len) {
		ret = splice(from, NULL, s->l->sock[t], NULL, len,
			     one_in(4) ? SPLICE_F_MOVE : 0);
		if (ret < 0 && lane_short_of_memory(s->l, -errno))
			continue;
		if (ret <= 0)
			lane_broke(s->l, mech_names[mech], errno);
		took(s, t, mech, ret);
		len -= ret;
	}
}

/* Puts a piece of the message into a pipe; returns its length, or 0. */
static size_t pool_to_pipe(struct sender *s, size_t done)
{
	struct fbuf_seg seg[NR_SEGS];
	ssize_t ret;
	loff_t from;

	source_rest(&s->src, done, seg);
	if (seg->flags & FBUF_SEG_INLINE)
		return 0;
	from = seg->addr;
	ret = splice(s->src.pool.fd, &from, s->pipe[0][1], NULL,
		     seg->len < PIPE_MAX ? seg->len : PIPE_MAX, 0);
	if (ret < 0 && !lane_short_of_memory(s->l, -errno))
		lane_broke(s->l, "splice from the pool", errno);
	return ret < 0 ? 0 : ret;
}

static void by_splice(struct sender *s, unsigned int t)
{
	size_t len;

	while (s->done[t] < s->src.len) {
		len = pool_to_pipe(s, s->done[t]);
		if (!len)
			return;
		pipe_to_socket(s, t, M_SPLICE, s->pipe[0][0], len);
	}
}

/* To each socket a copy of what is in the pipe; in the end we read it, too. */
static void by_tee(struct sender *s)
{
	size_t done = 0, len;
	unsigned int t;

	while (done < s->src.len) {
		len = pool_to_pipe(s, done);
		if (!len)
			return;
		for (t = 0; t < s->l->nr_socks; t++) {
			if (tee(s->pipe[0][0], s->pipe[1][1], len, 0) !=
			    (ssize_t)len)
				lane_broke(s->l, "tee", errno);
			pipe_to_socket(s, t, M_TEE, s->pipe[1][0], len);
		}
		if (read_full(s->pipe[0][0], s->aside, len) != (ssize_t)len)
			fail("a pipe does not give what it has");
		if (memcmp(s->aside, content_at(s->src.pos + done), len))
			content_mismatch(s->l, "pipe", s->src.pos + done,
					 s->aside, len);
		done += len;
	}
}

static void zerocopy_reap(int sock)
{
	char control[256];
	struct msghdr msg = {
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};

	while (recvmsg(sock, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0)
		msg.msg_controllen = sizeof(control);
}

static ssize_t stock_once(struct sender *s, unsigned int t, enum mech mech,
			  const __u8 *p, size_t len)
{
	int sock = s->l->sock[t];
	off_t from;

	switch (mech) {
	case M_FILE:
		from = content_offset(s->l->pos + s->done[t]);
		return sendfile(sock, s->src.file, &from, len);
	case M_ZEROCOPY:
		zerocopy_reap(sock);
		return send(sock, p, len, MSG_ZEROCOPY | MSG_NOSIGNAL);
	default:
		return send(sock, p, len, MSG_NOSIGNAL);
	}
}

/* What others send on the same socket, from memory of their own. */
static void by_stock(struct sender *s, unsigned int t, enum mech mech,
		     size_t len)
{
	while (s->done[t] < len) {
		const __u8 *p = content_at(s->l->pos + s->done[t]);
		size_t left = len - s->done[t];
		ssize_t ret;

		if (mech == M_SEND_ZC) {
			ret = uring_send_zc(&s->ring, s->l->sock[t], p, left);
		} else {
			ret = stock_once(s, t, mech, p, left);
			ret = ret < 0 ? -errno : ret;
		}
		/* After a send by the ubuf engine this is so. */
		if (ret == -ENOBUFS || ret == -EOPNOTSUPP || ret == -ENOMEM)
			mech = M_WRITE;
		else
			took(s, t, mech, ret);
	}
}

static bool takes_zerocopy(const struct lane *l)
{
	return l->path != P_UNIX && l->path != P_SEQPACKET &&
	       l->path != P_TLS && l->path != P_VETH_TLS;
}

static enum mech choose(const struct sender *s)
{
	for (;;) {
		enum mech mech = rnd() % M_KILLED;

		if ((mech == M_ZEROCOPY || mech == M_SEND_ZC) &&
		    (!takes_zerocopy(s->l) || (mech == M_SEND_ZC &&
					       kernel_before(6, 5))))
			continue;
		/* A packet for each page. */
		if (s->l->path == P_SEQPACKET && mech >= M_SENDFILE &&
		    mech != M_WRITE)
			continue;
		if (mech == M_SEGMENT || (mech == M_COPY && !one_in(4)))
			continue;
		/* What the pool is for comes more often. */
		if (mech > M_POOL_LAST && s->l->bulk && one_in(2))
			continue;
		return mech;
	}
}

/* On to the next message; after one that was not sent to its end is none. */
static void advance(struct sender *s, size_t len)
{
	if (stopped())
		return;
	s->l->pos += len;
	memset(s->done, 0, sizeof(s->done));
}

static void pool_message(struct sender *s, enum mech by, size_t len)
{
	unsigned int t;

	if (!source_message(&s->src, s->l->pos, len))
		return;
	s->l->slot->doing = mech_names[by];
	switch (by) {
	case M_FANOUT:
	case M_URING_FANOUT:
		by_fanout(s, by);
		break;
	case M_BATCH:
	case M_URING_BATCH:
		by_batch(s, by);
		break;
	case M_TEE:
		by_tee(s);
		break;
	default:
		break;
	}
	for (t = 0; t < s->l->nr_socks; t++) {
		if (by == M_URING)
			by_uring(s, t);
		else if (by == M_SENDFILE)
			by_sendfile(s, t);
		else if (by == M_SPLICE)
			by_splice(s, t);
		else if (by <= M_SEND)
			by_send(s, t, by);
		by_send_all(s, t);
	}
	count(&soak->messages[by], 1);
	source_sent(&s->src);
	advance(s, s->src.len);
}

static void stock_message(struct sender *s, enum mech by, size_t len)
{
	unsigned int t;

	s->l->slot->doing = mech_names[by];
	for (t = 0; t < s->l->nr_socks; t++)
		by_stock(s, t, by, len);
	count(&soak->messages[by], 1);
	advance(s, len);
}

static size_t choose_len(const struct sender *s)
{
	size_t most = 5 * s->src.pool.buf_size;

	if (s->l->path == P_SEQPACKET)
		return between(1, 16384);
	if (!s->l->bulk)
		return one_in(3) ? between(1, 300) : between(1, 20000);
	return between(most / 4, most < MSG_MAX ? most : MSG_MAX);
}

static void message(struct sender *s)
{
	enum mech mech = choose(s);

	if (mech <= M_POOL_LAST)
		pool_message(s, mech, choose_len(s));
	else
		stock_message(s, mech, choose_len(s));
}

static void sender_init(struct sender *s, struct lane *l)
{
	int one = 1;
	unsigned int t;

	memset(s, 0, sizeof(*s));
	s->l = l;
	s->aside = malloc(PIPE_MAX);
	if (!s->aside || pipe(s->pipe[0]) || pipe(s->pipe[1]))
		lane_broke(l, "pipes", errno);
	uring_init(&s->ring, l);
	source_init(&s->src, l);
	for (t = 0; takes_zerocopy(l) && t < l->nr_socks; t++)
		setsockopt(l->sock[t], SOL_SOCKET, SO_ZEROCOPY, &one,
			   sizeof(one));
}

/* Without MSG_MORE, so that nothing is kept back. */
static void end(struct sender *s)
{
	struct lane *l = s->l;
	unsigned int t;

	for (t = 0; t < l->nr_socks; t++) {
		by_stock(s, t, M_WRITE, s->done[t] + between(1, 4096));
		l->slot->log[t].total = l->pos + s->done[t];
	}
	__atomic_store_n(&l->slot->ended, true, __ATOMIC_RELEASE);
	for (t = 0; t < l->nr_socks; t++)
		shutdown(l->sock[t], SHUT_WR);
}

void lane_send(struct lane *l)
{
	long until = now_ms() + between(1000, 12000) * soak->slower;
	struct sender s;

	sender_init(&s, l);
	while (now_ms() < until && !stopped())
		message(&s);
	end(&s);
	source_exit(&s.src);
	uring_exit(&s.ring);
}
