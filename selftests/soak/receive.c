// SPDX-License-Identifier: GPL-2.0
/*
 * Reads a stream in all kinds of ways, sees that each byte is the one that the
 * stream has there, and counts it for the way in which it was sent.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "parcel.h"
#include "receive.h"

#define POOL_BUF	65536U

struct receiver {
	struct lane *l;
	struct log *log;
	int sock;
	enum path over;		/* by which it comes here, in the end */
	__u64 pos;
	__u64 counted;
	bool slow;
	struct pool pool;	/* to FILL from the socket, or none */
	__u64 name;
	struct parcels parcels;
	__u8 *buf;
};

/* Bytes up to @until are for whom the log says. */
static void attribute(struct receiver *r, __u64 until)
{
	unsigned int tail = __atomic_load_n(&r->log->tail, __ATOMIC_ACQUIRE);
	unsigned int path = r->l->path;

	while (r->counted < until && r->log->head != tail) {
		const typeof(*r->log->entry) *e =
			&r->log->entry[r->log->head % LOG_SIZE];
		__u64 end = e->end < until ? e->end : until;

		count(&soak->bytes[e->mech][path], end - r->counted);
		count(&soak->filled[e->fill], end - r->counted);
		r->counted = end;
		if (end == e->end)
			__atomic_store_n(&r->log->head, r->log->head + 1,
					 __ATOMIC_RELEASE);
	}
}

static void hex(char *text, const __u8 *bytes, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
	text[2 * len] = 0;
}

void content_mismatch(const struct lane *l, const char *mech, __u64 pos,
		      const __u8 *got, size_t len)
{
	char expected[33], found[33];
	size_t i = 0, show;
	long where;

	while (content_at(pos)[i] == got[i])
		i++;
	show = len - i < 16 ? len - i : 16;
	hex(expected, content_at(pos + i), show);
	hex(found, got + i, show);
	where = show == 16 ? content_find(got + i, show) : -1;
	fail("lane %u (seed %llu) over %s, by %s: byte %llu: %s, not %s%s%ld",
	     l->slot->nr, (unsigned long long)l->seed, path_names[l->path],
	     mech, (unsigned long long)(pos + i), found, expected,
	     where < 0 ? ", of nowhere " : ", of the window's byte ", where);
}

static void check(struct receiver *r, const __u8 *bytes, size_t len)
{
	const char *mech = "a send not over yet";
	unsigned int i;

	if (!memcmp(bytes, content_at(r->pos), len)) {
		r->pos += len;
		__atomic_store_n(&r->log->verified, r->pos, __ATOMIC_RELEASE);
		attribute(r, r->pos);
		return;
	}
	for (i = 0; i < len && bytes[i] == content_at(r->pos)[i]; i++)
		;
	for (i += r->pos; r->log->head != r->log->tail; r->log->head++) {
		const typeof(*r->log->entry) *e =
			&r->log->entry[r->log->head % LOG_SIZE];

		if (e->end > i) {
			mech = mech_names[e->mech];
			break;
		}
	}
	content_mismatch(r->l, mech, r->pos, bytes, len);
}

static ssize_t by_fill(struct receiver *r, size_t len, const __u8 **bytes)
{
	struct fbuf_fill args = {
		.size = sizeof(args),
		.name = r->name,
		.offset = between(0, 5000),
		.fd = r->sock,
	};
	ssize_t ret;

	args.len = len < POOL_BUF - args.offset ? len : POOL_BUF - args.offset;
	*bytes = buf_addr(&r->pool, r->name) + args.offset;
	ret = ioctl(r->pool.fd, FBUF_IOC_FILL, &args);
	return ret;
}

/* Those that can be mapped are of TCP itself. */
static bool plain_tcp(enum path path)
{
	return path != P_UNIX && path != P_TLS && path != P_VETH_TLS;
}

/* In turn, by what comes into pages that are somebody's, and by what copies. */
static ssize_t by_any(struct receiver *r, size_t len, const __u8 **bytes,
		      enum way *way)
{
	*bytes = r->buf;
	parcels_before_wait(&r->parcels);
	*way = rnd() % W_SHOWN;
	switch (*way) {
	case W_FILL:
		return by_fill(r, len, bytes);
	case W_SPLICE:
		return sock_splice(r->sock, r->buf, len);
	case W_MAP:
		if (plain_tcp(r->over))
			return sock_map(r->sock, r->buf, len);
		break;
	case W_READ:
		return parcels_next(&r->parcels, len, r->pos, r->buf);
	default:
		break;
	}
	*way = W_RECV;
	return recv(r->sock, r->buf, len, 0);
}

static ssize_t next(struct receiver *r, const __u8 **bytes, enum way *way)
{
	unsigned int most = r->l->bulk ? RECEIVE_MAX : 20000;
	/* What is left of a packet that was not read as a whole is lost. */
	size_t len = r->over == P_SEQPACKET ? RECEIVE_MAX : between(1, most);

	if (r->pool.map && r->over != P_SEQPACKET)
		return by_any(r, len, bytes, way);
	*way = W_RECV;
	*bytes = r->buf;
	return recv(r->sock, r->buf, len, one_in(8) &&
		    r->over != P_SEQPACKET && len < 4096 ? MSG_WAITALL : 0);
}

static void dawdle(const struct receiver *r)
{
	if (r->slow && one_in(r->l->bulk ? 4 : 16) && !stopped())
		nap_us(between(100, 20000));
}

static void receiver_init(struct receiver *r, struct lane *l, unsigned int nr)
{
	r->l = l;
	r->log = &l->slot->log[nr];
	r->sock = l->peer[nr];
	r->slow = one_in(4);
	r->buf = malloc(RECEIVE_MAX);
	if (!r->buf)
		fail("no memory to receive");
	if (!one_in(4))
		return;
	if (pool_make(&r->pool, POOL_BUF, 2) ||
	    pool_alloc(r->pool.fd, &r->name, 1) != 1) {
		if (!l->in_cgroup)
			fail("no pool to receive into");
		pool_unmake(&r->pool);
	}
	parcels_init(&r->parcels, l, &r->pool, r->sock);
}

bool nothing_yet(enum path path)
{
	/* recv() of a sockmap says so to one who waits and was woken in vain. */
	return errno == EINTR || (errno == EAGAIN && path == P_SOCKMAP);
}

/* What the sender could not log any more, as it was killed. */
static void attribute_rest(struct receiver *r)
{
	attribute(r, r->pos);
	count(&soak->bytes[M_KILLED][r->l->path], r->pos - r->counted);
}

void lane_receive(struct lane *l, unsigned int nr)
{
	struct receiver r = { 0 };
	const __u8 *bytes;
	enum way way;
	ssize_t ret;

	r.over = parcels_send_on(l, nr);
	receiver_init(&r, l, nr);
	for (;;) {
		ret = next(&r, &bytes, &way);
		if (ret < 0 && (nothing_yet(r.over) ||
				lane_short_of_memory(l, -errno)))
			continue;
		if (ret <= 0)
			break;
		check(&r, bytes, ret);
		if (way != W_READ)
			count(&soak->received[way], ret);
		dawdle(&r);
	}
	if (ret < 0)
		lane_broke(l, "receiver", errno);
	attribute_rest(&r);
	if (!__atomic_load_n(&l->slot->ended, __ATOMIC_ACQUIRE))
		lane_broke(l, "the stream ended too soon", EPIPE);
	if (r.pos != r.log->total)
		fail("lane %u over %s: %llu bytes came of %llu", l->slot->nr,
		     path_names[l->path], (unsigned long long)r.pos,
		     (unsigned long long)r.log->total);
}
