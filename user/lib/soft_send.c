// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pools without the module: sends, by sendmsg(), which copies. When it is over,
 * nothing refers to the pool.
 */

#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>

#include <fbuf/parcel.h>

#include "soft.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT	103
#endif

#define SEND_PROTS	(FBUF_SEND_VOLATILE | FBUF_SEND_SECURED |	\
			 FBUF_SEND_SNAPSHOT)
#define SEND_FLAGS	(FBUF_SEND_DONTWAIT | FBUF_SEND_MORE |		\
			 FBUF_SEND_EOR | FBUF_SEND_SIGPIPE |		\
			 FBUF_SEND_NOTIFY | FBUF_SEND_COOKIE |		\
			 FBUF_SEND_FREE | SEND_PROTS)
/* What comes into the ring. */
#define SEND_TELLS	(FBUF_SEND_NOTIFY | FBUF_SEND_COOKIE)
#define SEND_ENGINES	(FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE |	\
			 FBUF_ENGINE_UBUF | FBUF_ENGINE_COPY)
#define SEG_FLAGS	0xffU

/* Segments that need no memory besides. */
#define FAST_SEGS	16

/*
 * A gather, checked. Its buffers are in flight until it is put, and its parcels stay.
 */
struct soft_gather {
	struct iovec *iov;
	uint64_t parcel;	/* the name of the one that it has; ~0: of many */
	struct soft_parcel **parcels;	/* of each: its parcel, or NULL */
	uint32_t *bufs;			/* its buffer, or SOFT_NONE */
	size_t len;
	unsigned int nr;
	struct iovec fast_iov[FAST_SEGS];
	struct soft_parcel *fast_parcels[FAST_SEGS];
	uint32_t fast_bufs[FAST_SEGS];
};

/* Where a gather goes to. */
struct soft_to {
	int fd;
	unsigned int flags;
	uint32_t namelen, segment;
	void *name;
	uint64_t cookie;
	bool protect;
	bool copies;		/* the engine that there is may run */
};

static int send_check(const struct soft_handle *h, uint32_t flags,
		      uint32_t engines)
{
	uint32_t prots = flags & SEND_PROTS;

	if (!(h->rights & FBUF_RIGHT_SEND))
		return -EACCES;
	if (engines & ~SEND_ENGINES || flags & ~SEND_FLAGS ||
	    prots & (prots - 1))
		return -EINVAL;
	if (prots & ~FBUF_SEND_VOLATILE && soft_is_volatile(h->pool))
		return -EOPNOTSUPP;
	if (flags & SEND_TELLS &&
	    !__atomic_load_n(&h->ring, __ATOMIC_ACQUIRE))
		return -EINVAL;
	return 0;
}

static bool send_protects(const struct soft_handle *h, uint32_t flags)
{
	if (flags & SEND_PROTS)
		return !(flags & FBUF_SEND_VOLATILE);
	return !soft_is_volatile(h->pool);
}

static bool engines_copy(uint32_t engines)
{
	return !engines || engines & FBUF_ENGINE_COPY;
}

/* The buffer of a segment, of which the offset is set; or an error. */
static int64_t seg_buf(const struct soft_handle *h, const struct fbuf_seg *seg,
		       uint64_t *offset)
{
	const struct soft_pool *p = h->pool;
	uint64_t index;

	if (seg->flags & FBUF_SEG_NAMED) {
		index = FBUF_NAME_INDEX(seg->addr);
		*offset = seg->flags >> 8;
	} else {
		index = seg->addr / p->buf_size;
		*offset = seg->addr & (p->buf_size - 1);
	}
	if (index >= p->nr_bufs || *offset >= p->buf_size ||
	    seg->len > p->buf_size - *offset)
		return -EINVAL;
	if (seg->flags & FBUF_SEG_NAMED)
		return soft_buf_check(h, seg->addr);
	return soft_bit(h->holds, index) ? (int64_t)index : -ESTALE;
}

static int seg_parcel(struct soft_gather *g, const struct soft_handle *h,
		      const struct fbuf_seg *seg)
{
	char *at;
	int err = soft_parcel_get(h, seg->addr, seg->flags >> 8, seg->len,
				  &g->parcels[g->nr], &at);

	if (err)
		return err;
	g->iov[g->nr].iov_base = at;
	g->parcel = !g->parcel || g->parcel == seg->addr ? seg->addr : ~0ULL;
	return 0;
}

static int gather_seg(struct soft_gather *g, const struct soft_handle *h,
		      const struct fbuf_seg *seg)
{
	uint32_t kind = seg->flags & SEG_FLAGS;
	struct iovec *iov = &g->iov[g->nr];
	uint64_t offset;
	int64_t index;
	int err;

	if (!seg->len)
		return -EINVAL;
	iov->iov_len = seg->len;
	g->parcels[g->nr] = NULL;
	g->bufs[g->nr] = SOFT_NONE;
	if (kind == FBUF_SEG_NAMED && fbuf_is_parcel(seg->addr)) {
		err = seg_parcel(g, h, seg);
		if (err)
			return err;
	} else if (seg->flags == FBUF_SEG_INLINE) {
		if (seg->len > FBUF_INLINE_MAX)
			return -EINVAL;
		if (!seg->addr)
			return -EFAULT;
		iov->iov_base = (void *)(uintptr_t)seg->addr;
	} else if (!seg->flags || kind == FBUF_SEG_NAMED) {
		index = seg_buf(h, seg, &offset);
		if (index < 0)
			return index;
		iov->iov_base = soft_addr(h->pool, index) + offset;
		g->bufs[g->nr] = index;
	} else {
		return -EINVAL;
	}
	g->nr++;
	g->len += seg->len;
	return g->len > FBUF_GATHER_MAX ? -EMSGSIZE : 0;
}

static int gather_room(struct soft_gather *g, unsigned int nr)
{
	g->iov = g->fast_iov;
	g->parcels = g->fast_parcels;
	g->bufs = g->fast_bufs;
	if (nr <= FAST_SEGS)
		return 0;
	g->iov = malloc(nr * (sizeof(*g->iov) + sizeof(*g->parcels) +
			      sizeof(*g->bufs)));
	if (!g->iov)
		return -ENOMEM;
	g->parcels = (void *)(g->iov + nr);
	g->bufs = (void *)(g->parcels + nr);
	return 0;
}

/* The pool is locked. */
static void gather_let_go(const struct soft_gather *g)
{
	unsigned int i;

	for (i = 0; i < g->nr; i++)
		if (g->parcels[i])
			soft_parcel_put(g->parcels[i]);
}

static void gather_free(struct soft_gather *g)
{
	if (g->iov != g->fast_iov)
		free(g->iov);
}

/* The pool is locked. */
static int gather_fly(struct soft_gather *g, struct soft_handle *h,
		      const struct fbuf_seg *segs, unsigned int nr,
		      const struct soft_to *to)
{
	struct soft_pool *p = h->pool;
	unsigned int i;
	int err = 0;

	for (i = 0; i < nr && !err; i++)
		err = gather_seg(g, h, &segs[i]);
	/* As the module: one parcel, no more and no fewer. */
	if (!err && to->flags & FBUF_SEND_FREE &&
	    (!g->parcel || g->parcel == ~0ULL))
		err = -EINVAL;
	/* Bytes that are being read into it are neither old nor new. */
	for (i = 0; i < g->nr && !err; i++)
		if (to->protect && g->bufs[i] != SOFT_NONE &&
		    p->bufs[g->bufs[i]].fills)
			err = -EBUSY;
	if (!err && to->flags & SEND_TELLS)
		err = soft_ring_reserve(h->ring, g->nr + 1);
	if (!err && to->flags & FBUF_SEND_COOKIE)
		err = soft_ring_cookie_check(h->ring);
	for (i = 0; i < g->nr && !err; i++)
		if (g->bufs[i] != SOFT_NONE)
			soft_fly(p, g->bufs[i]);
	return err;
}

static int gather_get(struct soft_gather *g, struct soft_handle *h,
		      uint64_t segs, unsigned int nr, const struct soft_to *to)
{
	int err;

	g->nr = 0;
	g->len = 0;
	g->parcel = 0;
	if (!nr || nr > FBUF_SEGS_MAX)
		return -EINVAL;
	if (!segs)
		return -EFAULT;
	err = gather_room(g, nr);
	if (err)
		return err;
	soft_lock(h->pool);
	err = gather_fly(g, h, (const void *)(uintptr_t)segs, nr, to);
	if (err)
		gather_let_go(g);
	soft_unlock(h->pool);
	if (err)
		gather_free(g);
	return err;
}

/* What there is to count, and whether to tell of it. */
struct soft_sent {
	uint64_t sends, bytes, copied;
	uint64_t cookie;
	uint32_t tells;		/* of SEND_TELLS */
};

static void gather_put(struct soft_gather *g, struct soft_handle *h,
		       const struct soft_sent *sent)
{
	struct soft_pool *p = h->pool;
	unsigned int i;

	soft_lock(p);
	for (i = 0; i < g->nr && sent->tells & FBUF_SEND_NOTIFY; i++)
		if (g->bufs[i] != SOFT_NONE)
			soft_ring_expect(h->ring, g->bufs[i]);
	for (i = 0; i < g->nr; i++)
		if (g->bufs[i] != SOFT_NONE)
			soft_land(p, g->bufs[i]);
	gather_let_go(g);
	/* As after any send that copies. */
	if (sent->tells & FBUF_SEND_COOKIE)
		soft_ring_cookie(h->ring, sent->cookie, g->nr);
	p->sends += sent->sends;
	p->bytes += sent->bytes;
	p->copied += sent->copied;
	soft_told(p);
	soft_unlock(p);
	gather_free(g);
}

/* Of the first bytes of a gather: how many are the pool's, or parcels'. */
static size_t gather_copied(const struct soft_gather *g, size_t len)
{
	size_t copied = 0;
	unsigned int i;

	for (i = 0; i < g->nr && len; i++) {
		size_t part = g->iov[i].iov_len;

		if (part > len)
			part = len;
		if (g->bufs[i] != SOFT_NONE || g->parcels[i])
			copied += part;
		len -= part;
	}
	return copied;
}

static int to_flags(uint32_t flags)
{
	return (flags & FBUF_SEND_DONTWAIT ? MSG_DONTWAIT : 0) |
	       (flags & FBUF_SEND_MORE ? MSG_MORE : 0) |
	       (flags & FBUF_SEND_EOR ? MSG_EOR : 0) |
	       (flags & FBUF_SEND_SIGPIPE ? 0 : MSG_NOSIGNAL);
}

/* 0 for a socket, of UDP if it has to be; or an error. */
static int sock_check(int fd, bool udp)
{
	int protocol = -1;
	socklen_t len = sizeof(protocol);

	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len))
		return -errno;
	return udp && protocol != IPPROTO_UDP ? -EOPNOTSUPP : 0;
}

union segment_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(uint16_t))];
};

static void segment_set(struct msghdr *msg, union segment_control *control,
			uint16_t segment)
{
	struct cmsghdr *c;

	memset(control, 0, sizeof(*control));
	msg->msg_control = control;
	msg->msg_controllen = sizeof(*control);
	c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_UDP;
	c->cmsg_type = UDP_SEGMENT;
	c->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(c), &segment, sizeof(segment));
}

static ssize_t send_iov(const struct soft_to *to, struct iovec *iov,
			unsigned int nr, int flags)
{
	union segment_control control;
	struct msghdr msg = {
		.msg_name = to->name, .msg_namelen = to->namelen,
		.msg_iov = iov, .msg_iovlen = nr,
	};
	ssize_t ret;

	if (to->segment)
		segment_set(&msg, &control, to->segment);
	ret = sendmsg(to->fd, &msg, flags);
	return ret < 0 ? -errno : ret;
}

/* Bytes of the gather from done on, in memory of their own. */
static void *gather_copy(const struct soft_gather *g, size_t done)
{
	char *copy = malloc(g->len - done), *at = copy;
	unsigned int i;

	for (i = 0; copy && i < g->nr; i++) {
		size_t len = g->iov[i].iov_len;
		size_t skip = done < len ? done : len;

		memcpy(at, (char *)g->iov[i].iov_base + skip, len - skip);
		at += len - skip;
		done -= skip;
	}
	return copy;
}

/*
 * A send that protects and has to wait for room waits with a copy: what is
 * written meanwhile is not to be sent.
 */
static ssize_t send_protected(const struct soft_to *to, struct soft_gather *g)
{
	int flags = to_flags(to->flags);
	struct iovec iov;
	ssize_t done, ret;
	void *copy;

	done = send_iov(to, g->iov, g->nr, flags | MSG_DONTWAIT);
	if (flags & MSG_DONTWAIT || (done < 0 && done != -EAGAIN) ||
	    done == (ssize_t)g->len)
		return done;
	if (done < 0)
		done = 0;
	copy = gather_copy(g, done);
	if (!copy)
		return done ? done : -ENOMEM;
	iov.iov_base = copy;
	iov.iov_len = g->len - done;
	ret = send_iov(to, &iov, 1, flags);
	free(copy);
	if (ret < 0)
		return done ? done : ret;
	return done + ret;
}

static ssize_t send_to(const struct soft_handle *h, const struct soft_to *to,
		       struct soft_gather *g)
{
	int err = 0;

	/* Nobody is to see that a pool fd is one. */
	if (soft_is_own_fd(h, to->fd))
		return -ENOTSOCK;
	if (to->segment || !to->copies)
		err = sock_check(to->fd, to->segment);
	if (!err && !to->copies)
		err = -EOPNOTSUPP;
	if (err)
		return err;
	if (to->protect)
		return send_protected(to, g);
	return send_iov(to, g->iov, g->nr, to_flags(to->flags));
}

static int to_check(const struct soft_to *to)
{
	if (to->namelen > FBUF_NAME_MAX || to->segment > UINT16_MAX)
		return -EINVAL;
	return to->name && !to->namelen ? -EINVAL : 0;
}

/* One send, of which all but the target was checked. */
static int send_one(struct soft_handle *h, uint64_t segs, uint32_t nr,
		    const struct soft_to *to, __u64 *copied)
{
	struct soft_sent sent = { 0 };
	struct soft_gather g;
	ssize_t ret;

	ret = to_check(to);
	if (!ret)
		ret = gather_get(&g, h, segs, nr, to);
	if (ret)
		return ret;
	ret = send_to(h, to, &g);
	if (ret >= 0) {
		*copied = gather_copied(&g, ret);
		sent = (struct soft_sent){
			.sends = 1, .bytes = ret, .copied = *copied,
			.cookie = to->cookie,
			.tells = to->flags & SEND_TELLS,
		};
	}
	if (to->flags & FBUF_SEND_FREE && ret == (ssize_t)g.len) {
		soft_lock(h->pool);
		soft_parcels_free(h, &g.parcel, 1);
		soft_unlock(h->pool);
	}
	gather_put(&g, h, &sent);
	return ret;
}

int soft_send(struct soft_handle *h, struct fbuf_send *args)
{
	const struct soft_to to = {
		.fd = args->fd,
		.flags = args->flags,
		.namelen = args->namelen,
		.segment = args->segment,
		.name = (void *)(uintptr_t)args->name,
		.cookie = args->cookie,
		.protect = send_protects(h, args->flags),
		.copies = engines_copy(args->engines),
	};
	__u64 copied = 0;
	int ret;

	ret = send_check(h, args->flags, args->engines);
	if (ret < 0)
		return ret;
	ret = send_one(h, args->segs, args->nr_segs, &to, &copied);
	if (ret < 0)
		return ret;
	args->engine = FBUF_ENGINE_COPY;
	args->copied = copied;
	args->protects = 0;
	args->snapshots = 0;
	return ret;
}

/* How many took bytes. */
static int fanout_all(const struct soft_handle *h, struct soft_gather *g,
		      struct soft_to *to, const struct fbuf_fanout *args, struct soft_sent *sent)
{
	struct fbuf_target *t = (void *)(uintptr_t)args->targets;
	int took = 0;
	uint32_t i;

	for (i = 0; i < args->nr_targets; i++) {
		to->fd = t[i].fd;
		t[i].result = send_to(h, to, g);
		if (t[i].result < 0)
			continue;
		t[i].engine = FBUF_ENGINE_COPY;
		t[i].copied = gather_copied(g, t[i].result);
		sent->sends++;
		sent->bytes += t[i].result;
		sent->copied += t[i].copied;
		took++;
	}
	sent->cookie = args->cookie;
	sent->tells = took ? to->flags & SEND_TELLS : 0;
	return took;
}

int soft_fanout(struct soft_handle *h, const struct fbuf_fanout *args)
{
	struct soft_to to = {
		.flags = args->flags | FBUF_SEND_DONTWAIT,
		.protect = send_protects(h, args->flags),
		.copies = engines_copy(args->engines),
	};
	struct soft_sent sent = { 0 };
	struct soft_gather g;
	int ret;

	if (!args->nr_targets || args->nr_targets > FBUF_TARGETS_MAX)
		return -EINVAL;
	if (!args->targets)
		return -EFAULT;
	ret = send_check(h, args->flags, args->engines);
	if (ret < 0)
		return ret;
	if (args->pad || args->flags & FBUF_SEND_FREE)
		return -EINVAL;
	ret = gather_get(&g, h, args->segs, args->nr_segs, &to);
	if (ret)
		return ret;
	ret = fanout_all(h, &g, &to, args, &sent);
	gather_put(&g, h, &sent);
	return ret;
}

int soft_send_batch(struct soft_handle *h, const struct fbuf_send_batch *args)
{
	struct fbuf_send_item *items = (void *)(uintptr_t)args->items;
	uint32_t i;
	int ret;

	ret = send_check(h, args->flags, args->engines);
	if (ret < 0)
		return ret;
	if (!args->count || args->count > FBUF_BATCH_MAX || args->pad)
		return -EINVAL;
	if (!items)
		return -EFAULT;
	for (i = 0; i < args->count; i++) {
		struct fbuf_send_item *item = &items[i];
		const struct soft_to to = {
			.fd = item->fd,
			.flags = args->flags | FBUF_SEND_DONTWAIT,
			.namelen = item->namelen,
			.segment = item->segment,
			.name = (void *)(uintptr_t)item->name,
			.cookie = args->cookie + i,
			.protect = send_protects(h, args->flags),
			.copies = engines_copy(args->engines),
		};

		item->result = send_one(h, item->segs, item->nr_segs, &to,
					&item->copied);
		if (item->result >= 0)
			item->engine = FBUF_ENGINE_COPY;
	}
	return args->count;
}
