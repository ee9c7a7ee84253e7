// SPDX-License-Identifier: GPL-2.0
/*
 * Lanes of datagrams, which may be lost, doubled and come in any order: so each
 * says where in the stream its bytes are. Several are made in one buffer, and
 * go as one send cut into segments, by a batch, or one by one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "receive.h"
#include "source.h"
#include "uring.h"

#define MAGIC		0xfb0fU
#define SEND_MAX	60000U		/* bytes in one send */
#define NR_ITEMS	(NR_SEGS * NR_SOCKS)

struct head {
	__u64 pos;
	__u32 len;		/* after the head */
	__u16 magic;
	__u8 mech;
	__u8 fill;
};

struct sender {
	struct lane *l;
	struct source src;
	struct uring ring;
	enum mech mech;
	__u64 name;
	unsigned int nr;	/* datagrams, each of @size bytes */
	unsigned int size;
};

/* What may be said of a datagram where the network is as bad as here. */
static void may(const struct sender *s, int ret, bool segment)
{
	switch (-ret) {
	case EAGAIN:
	case EMSGSIZE:
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
	case ENOBUFS:
	case EOPNOTSUPP:
		return;
	case EINVAL:		/* a segment longer than the MTU */
	case EIO:		/* a device without checksums */
		if (segment)
			return;
		break;
	default:
		break;
	}
	if (ret < 0 && !lane_short_of_memory(s->l, ret))
		lane_broke(s->l, mech_names[s->mech], -ret);
}

static struct fbuf_seg one(const struct sender *s, unsigned int i)
{
	return buf_seg(&s->src.pool, s->name, i * s->size, s->size);
}

static void by_batch(struct sender *s)
{
	struct fbuf_send_item item[NR_ITEMS] = { 0 };
	struct fbuf_seg seg[NR_SEGS];
	struct fbuf_send_batch args = {
		.size = sizeof(args),
		.flags = s->src.flags,
		.items = (uintptr_t)item,
	};
	unsigned int i, t;
	int ret;

	for (i = 0; i < s->nr; i++) {
		seg[i] = one(s, i);
		for (t = 0; t < s->l->nr_socks; t++) {
			struct fbuf_send_item *it = &item[args.count++];

			it->segs = (uintptr_t)&seg[i];
			it->nr_segs = 1;
			it->fd = s->l->sock[t];
		}
	}
	ret = pool_command(s->mech == M_URING_BATCH ? &s->ring : NULL,
			   s->src.pool.fd, FBUF_IOC_SEND_BATCH, &args);
	may(s, ret, false);
	for (i = 0; ret >= 0 && i < args.count; i++)
		may(s, item[i].result, false);
}

static void by_fanout(struct sender *s)
{
	struct fbuf_target target[NR_SOCKS] = { 0 };
	struct fbuf_seg seg;
	struct fbuf_fanout args = {
		.size = sizeof(args),
		.flags = s->src.flags,
		.segs = (uintptr_t)&seg,
		.targets = (uintptr_t)target,
		.nr_segs = 1,
		.nr_targets = s->l->nr_socks,
	};
	unsigned int i, t;

	for (t = 0; t < s->l->nr_socks; t++)
		target[t].fd = s->l->sock[t];
	for (i = 0; i < s->nr; i++) {
		seg = one(s, i);
		if (ioctl(s->src.pool.fd, FBUF_IOC_FANOUT, &args) < 0) {
			may(s, -errno, false);
			continue;
		}
		for (t = 0; t < s->l->nr_socks; t++)
			may(s, target[t].result, false);
	}
}

/* One, or all of them as one send that is cut. */
static void by_send(struct sender *s, int sock, struct fbuf_seg seg, bool cut)
{
	struct fbuf_send args = {
		.size = sizeof(args),
		.flags = s->src.flags,
		.segs = (uintptr_t)&seg,
		.nr_segs = 1,
		.fd = sock,
		.segment = cut ? s->size : 0,
		.engines = mech_engine(s->mech),
	};

	may(s, pool_command(s->mech == M_URING ? &s->ring : NULL,
			    s->src.pool.fd, FBUF_IOC_SEND, &args), cut);
}

static void each(struct sender *s)
{
	struct fbuf_seg all = buf_seg(&s->src.pool, s->name, 0,
				      s->nr * s->size);
	unsigned int i, t;

	for (t = 0; t < s->l->nr_socks; t++) {
		if (s->mech == M_SEGMENT) {
			by_send(s, s->l->sock[t], all, true);
			continue;
		}
		for (i = 0; i < s->nr; i++) {
			struct fbuf_seg seg = one(s, i);
			const void *p = s->src.pool.map + seg.addr;

			if (s->mech != M_WRITE)
				by_send(s, s->l->sock[t], seg, false);
			else if (send(s->l->sock[t], p, seg.len, 0) < 0)
				may(s, -errno, false);
		}
	}
}

/* The source's segments are what is after the heads. */
static bool make(struct sender *s)
{
	struct source *src = &s->src;
	unsigned int i, most = src->pool.buf_size, at = 0;

	if (most > SEND_MAX)
		most = SEND_MAX;
	source_choose(src);
	if (!source_take(src, &s->name))
		return false;
	s->size = one_in(2) ? between(17, 1400) : between(17, most);
	s->nr = between(1, most / s->size < NR_SEGS ? most / s->size :
			   NR_SEGS);
	src->names[0] = s->name;
	src->nr_names = 1;
	src->nr_segs = s->nr;
	src->pos = s->l->pos;
	for (i = 0; i < s->nr; i++, at += s->size) {
		struct head head = {
			.pos = s->l->pos,
			.len = s->size - sizeof(head),
			.magic = MAGIC,
			.mech = s->mech,
			.fill = src->fill,
		};

		memcpy(buf_addr(&src->pool, s->name) + at, &head, sizeof(head));
		src->seg[i] = buf_seg(&src->pool, s->name, at + sizeof(head),
				      head.len);
		source_fill(src, s->name, at + sizeof(head), head.pos,
			    head.len);
		s->l->pos += head.len;
	}
	return true;
}

static void message(struct sender *s)
{
	static const enum mech mechs[] = {
		M_PAGEREF, M_UBUF, M_COPY, M_SEND, M_FANOUT, M_BATCH, M_URING,
		M_URING_BATCH, M_SEGMENT, M_SEGMENT, M_WRITE,
	};

	s->mech = mechs[rnd() % (sizeof(mechs) / sizeof(*mechs))];
	if (!make(s))
		return;
	s->l->slot->doing = mech_names[s->mech];
	if (s->mech == M_BATCH || s->mech == M_URING_BATCH)
		by_batch(s);
	else if (s->mech == M_FANOUT)
		by_fanout(s);
	else
		each(s);
	count(&soak->messages[s->mech], 1);
	source_sent(&s->src);
	if (one_in(4))
		nap_us(200);
}

void lane_send_datagrams(struct lane *l)
{
	long until = now_ms() + between(1000, 12000) * soak->slower;
	struct sender s = { .l = l };

	uring_init(&s.ring, l);
	source_init(&s.src, l);
	while (now_ms() < until && !stopped())
		message(&s);
	__atomic_store_n(&l->slot->ended, true, __ATOMIC_RELEASE);
	source_exit(&s.src);
	uring_exit(&s.ring);
}

static __u16 checksum(const __u8 *p, size_t len)
{
	__u64 sum = 0;
	size_t i;

	for (i = 0; i < len; i++)
		sum += i % 2 ? p[i] << 8 : p[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/*
 * Each fragment of a datagram may have a bit turned: two of them can leave its
 * checksum as it was.
 */
static bool unseen(const struct lane *l, const struct head *head,
		   const __u8 *p)
{
	return l->path == P_LOSSY_UDP &&
	       checksum(p, head->len) ==
	       checksum(content_at(head->pos), head->len);
}

static void check(struct lane *l, struct log *log, const __u8 *p, size_t len)
{
	struct head head;

	if (len < sizeof(head))
		fail("a datagram of %zu bytes over %s", len,
		     path_names[l->path]);
	memcpy(&head, p, sizeof(head));
	if (head.magic != MAGIC || head.mech >= NR_MECHS ||
	    head.fill >= NR_FILLS || head.len != len - sizeof(head))
		fail("a datagram of %zu bytes over %s says that it has %u, by %u",
		     len, path_names[l->path], head.len, head.mech);
	if (memcmp(p + sizeof(head), content_at(head.pos), head.len)) {
		if (unseen(l, &head, p + sizeof(head))) {
			count(&soak->unseen, 1);
			return;
		}
		content_mismatch(l, mech_names[head.mech], head.pos,
				 p + sizeof(head), head.len);
	}
	count(&soak->bytes[head.mech][l->path], len);
	count(&soak->filled[head.fill], len);
	__atomic_store_n(&log->verified, log->verified + len,
			 __ATOMIC_RELEASE);
}

void lane_receive_datagrams(struct lane *l, unsigned int nr)
{
	struct timeval limit = { .tv_usec = 300000 };
	struct log *log = &l->slot->log[nr];
	__u8 *buf = malloc(65536);
	bool slow = one_in(4);
	ssize_t ret;

	setsockopt(l->peer[nr], SOL_SOCKET, SO_RCVTIMEO, &limit,
		   sizeof(limit));
	for (;;) {
		ret = recv(l->peer[nr], buf, 65536, 0);
		if (ret >= 0)
			check(l, log, buf, ret);
		else if (errno == EAGAIN && (l->slot->ended ||
					     l->slot->killed))
			return;
		else if (errno != EAGAIN && errno != EINTR &&
			 !lane_short_of_memory(l, -errno))
			lane_broke(l, "receiver", errno);
		if (slow && one_in(16) && !stopped())
			nap_us(between(100, 5000));
	}
}
