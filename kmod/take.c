// SPDX-License-Identifier: GPL-2.0
/*
 * Parcels from TCP: references to the pages of the packets in a socket's queue.
 *
 * tcp_read_sock() shows what is next, acknowledges what was taken, and opens the
 * window. What is short, what is in a packet's linear part, and what a sender's
 * MSG_ZEROCOPY lent are copied into pages of the parcel's own.
 *
 * The pool's lock is not taken under a socket's, so that nobody who waits for the one
 * holds the other: first is charged for about what is to come, then as much taken as
 * there is room for, and so on.
 */
#include <linux/mm.h>
#include <linux/net.h>
#include <linux/sched/signal.h>
#include <linux/skbuff.h>
#include <net/inet_sock.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "compat.h"
#include "folio.h"
#include "parcel.h"
#include "take.h"
#include "types.h"

/* Up to so many bytes a copy costs less than a reference, and keeps no page busy. */
#define TAKE_COPY_MAX	512

/* How TCP receives by itself, with no ULP, BPF or other protocol in between. */
static void *take_recvmsg;

/**
 * struct take - what is taken by one call
 * @p: what it goes to
 * @left: bytes that are still wanted
 * @full: there was no room for more, by what is charged
 * @ends: it has as many runs as there may be, or there was no memory
 */
struct take {
	struct fbuf_parcel *p;
	unsigned int left;
	bool full;
	bool ends;
};

/* What take_locked() found, besides bytes. */
enum {
	TAKE_DONE,
	TAKE_MORE,	/* there are more, for which to charge first */
};

/* Bytes of memory that @len bytes of a packet stand for. */
static size_t take_cost(const struct sk_buff *skb, size_t len)
{
	return DIV_ROUND_UP_ULL((u64)skb->truesize * len, skb->len);
}

/* How many of @len bytes there is room for. */
static unsigned int take_fits(const struct take *t, const struct sk_buff *skb,
			      unsigned int len)
{
	size_t room = fbuf_parcel_room(t->p);

	if (take_cost(skb, len) <= room)
		return len;
	return min_t(u64, len, div_u64((u64)room * skb->len, skb->truesize));
}

/* A page of its own, for copies; nothing else comes to be in there. */
static int take_own_page(struct fbuf_parcel *p)
{
	struct page *page;

	if (fbuf_parcel_room(p) < PAGE_SIZE)
		return -EDQUOT;
	page = alloc_page(GFP_KERNEL_ACCOUNT);
	if (!page)
		return -ENOMEM;
	if (p->own)
		put_page(p->own);
	p->own = page;
	p->own_at = 0;
	p->cost += PAGE_SIZE;
	return 0;
}

static int take_copy(struct take *t, const void *from, unsigned int len)
{
	struct fbuf_parcel *p = t->p;
	int err;

	while (len) {
		unsigned int n;

		if (!p->own || p->own_at == PAGE_SIZE) {
			err = take_own_page(p);
			if (err)
				return err;
		}
		n = min_t(unsigned int, len, PAGE_SIZE - p->own_at);
		memcpy(page_address(p->own) + p->own_at, from, n);
		err = fbuf_parcel_add(p, p->own, p->own_at, n);
		if (err)
			return err;
		p->own_at += n;
		p->copied += n;
		from += n;
		len -= n;
	}
	return 0;
}

/* @lent: the pages are to be had for as long as the packet is there. */
static int take_frag(struct take *t, const skb_frag_t *frag, bool lent,
		     unsigned int offset, unsigned int len)
{
	struct page *page = skb_frag_page(frag), *head;
	struct fbuf_parcel *p = t->p;

	/* What the CPU cannot read. */
	if (unlikely(!page))
		return -EOPNOTSUPP;
	head = compound_head(page);
	offset += skb_frag_off(frag) + ((page - head) << PAGE_SHIFT);
	if (!lent && (len > TAKE_COPY_MAX ||
		      (p->nr && run_continues(&p->runs[p->nr - 1], head,
					      offset))))
		return fbuf_parcel_add(p, head, offset, len);
	return take_copy(t, page_address(head) + offset, len);
}

static int take_frags(struct take *t, const struct sk_buff *skb,
		      unsigned int offset, unsigned int end)
{
	const struct skb_shared_info *shinfo = skb_shinfo(skb);
	unsigned int i, at = skb_headlen(skb);
	bool lent = skb_zcopy((struct sk_buff *)skb);
	int err = 0;

	for (i = 0; i < shinfo->nr_frags && at < end && !err; i++) {
		const skb_frag_t *frag = &shinfo->frags[i];
		unsigned int stop = at + skb_frag_size(frag);

		if (offset < stop) {
			unsigned int skip = max(offset, at) - at;

			err = take_frag(t, frag, lent, skip,
					min(stop, end) - at - skip);
		}
		at = stop;
	}
	return err;
}

/* Bytes from @offset to before @end of a packet: 0, or what stopped it. */
static int take_skb(struct take *t, struct sk_buff *skb, unsigned int offset,
		    unsigned int end)
{
	unsigned int at = skb_headlen(skb);
	struct sk_buff *part;
	int err = 0;

	if (offset < at)
		err = take_copy(t, skb->data + offset, min(at, end) - offset);
	if (!err)
		err = take_frags(t, skb, max(offset, at), end);
	at = skb_pagelen(skb);
	skb_walk_frags(skb, part) {
		unsigned int stop = at + part->len;

		if (err || at >= end)
			break;
		if (offset < stop)
			err = take_skb(t, part, max(offset, at) - at,
				       min(stop, end) - at);
		at = stop;
	}
	return err;
}

/* tcp_read_sock() has @len bytes from @offset on. Returns how many were taken. */
static int take_actor(read_descriptor_t *desc, struct sk_buff *skb,
		      unsigned int offset, size_t len)
{
	struct take *t = desc->arg.data;
	unsigned int before = t->p->len, want, n;
	size_t cost;
	int err;

	if (!t->left)
		return 0;
	want = take_fits(t, skb, min_t(size_t, len, t->left));
	if (!want) {
		t->full = true;
		return 0;
	}
	/* First, as pages of its own come on top of it. */
	cost = take_cost(skb, want);
	t->p->cost += cost;
	err = take_skb(t, skb, offset, offset + want);
	n = t->p->len - before;
	if (unlikely(n < want))
		t->p->cost -= cost - take_cost(skb, n);
	t->left -= n;
	desc->count = t->left;
	t->full = err == -EDQUOT;
	t->ends = err && !t->full;
	if (n || t->full)
		return n;
	return err;
}

/*
 * The queue has nothing to take. Returns 0 after it waited; 1 if that is all there is;
 * or an error. As tcp_recvmsg() has it.
 */
static int take_wait(struct sock *sk, long *timeo, bool some)
{
	if (some)
		return sk->sk_err || sk->sk_state == TCP_CLOSE ||
		       sk->sk_shutdown & RCV_SHUTDOWN || !*timeo ||
		       signal_pending(current) ||
		       sk_wait_data(sk, timeo, NULL) < 0;
	if (sock_flag(sk, SOCK_DONE))
		return 1;
	if (sk->sk_err)
		return sock_error(sk);
	if (sk->sk_shutdown & RCV_SHUTDOWN)
		return 1;
	if (sk->sk_state == TCP_CLOSE)
		return -ENOTCONN;
	if (!*timeo)
		return -EAGAIN;
	if (signal_pending(current))
		return sock_intr_errno(*timeo);
	return min(sk_wait_data(sk, timeo, NULL), 0);
}

static bool take_is_plain(const struct sock *sk)
{
	return READ_ONCE(sk->sk_prot)->recvmsg == take_recvmsg;
}

/* Is it as it was when fbuf_take_takes() looked? */
static int take_check(const struct sock *sk)
{
	if (!take_is_plain(sk))
		return -ENOPROTOOPT;
	return tcp_sk(sk)->repair ? -EPERM : 0;
}

/*
 * An urgent byte is next, at which tcp_read_sock() stops. It is recvmsg() that knows
 * whether it is to be skipped.
 */
static bool take_urgent(const struct sock *sk)
{
	return tcp_sk(sk)->urg_data && !skb_queue_empty(&sk->sk_receive_queue);
}

static int take_locked(struct sock *sk, struct take *t, unsigned int target,
		       long *timeo)
	__must_hold(sk)
{
	read_descriptor_t desc = { .arg.data = t };
	int ret;

	do {
		ret = take_check(sk);
		if (ret)
			return ret;
		desc.count = t->left;
		t->full = false;
		ret = tcp_read_sock(sk, &desc, take_actor);
		if (ret < 0)
			return ret;
		if (t->full)
			return TAKE_MORE;
		if (t->p->len >= target || t->ends)
			return TAKE_DONE;
		if (!ret && take_urgent(sk))
			return -ENOPROTOOPT;
		ret = take_wait(sk, timeo, t->p->len);
	} while (!ret);
	return min(ret, 0);
}

/* About what is to come: packets have up to as much again besides their bytes. */
static int take_charge(struct take *t, const struct sock *sk)
{
	size_t want = min_t(size_t, 2UL * t->left,
			    atomic_read(&sk->sk_rmem_alloc));
	size_t room = fbuf_parcel_room(t->p);

	/* With a page for what is copied. */
	want += PAGE_SIZE;
	if (!t->full)
		want -= min(want, room);
	return want ? fbuf_parcel_charge(t->p, want) : 0;
}

/**
 * fbuf_take() - take bytes from a TCP socket
 * @sock: a socket that fbuf_take_takes()
 * @p: a parcel that is being made
 * @len: bytes to take at most
 * @dontwait: take what there is
 * @all: wait for all
 *
 * Context: may sleep; takes the pool's lock and the socket's, one after another.
 * Return: bytes; 0 at the end of the stream; as recv(); -ENOPROTOOPT if recvmsg() has to
 * do it; -EOPNOTSUPP if what is next cannot be read; -EDQUOT or -ENOMEM if the pool's
 * maker may not be charged.
 */
int fbuf_take(struct socket *sock, struct fbuf_parcel *p, unsigned int len,
	      bool dontwait, bool all)
{
	struct take t = { .p = p, .left = len };
	struct sock *sk = sock->sk;
	long timeo = sock_rcvtimeo(sk, dontwait);
	int target = sock_rcvlowat(sk, all, len);
	int ret, err;

	sock_rps_record_flow(sk);
	do {
		err = 0;
		/* Who waits is not charged for it. */
		if (t.full || !skb_queue_empty_lockless(&sk->sk_receive_queue))
			err = take_charge(&t, sk);
		lock_sock(sk);
		ret = take_locked(sk, &t, target, &timeo);
		release_sock(sk);
	} while (ret == TAKE_MORE && !err);
	if (ret == TAKE_MORE)
		ret = err;
	return p->len ?: ret;
}

/**
 * fbuf_take_takes() - does a socket's TCP receive by itself?
 * @sock: a stream socket
 *
 * Context: any.
 * Return: whether it does, at this moment.
 */
bool fbuf_take_takes(const struct socket *sock)
{
	const struct sock *sk = sock->sk;

	return (sk->sk_family == AF_INET || sk->sk_family == AF_INET6) &&
	       sk->sk_protocol == IPPROTO_TCP && take_is_plain(sk);
}

/**
 * fbuf_take_init() - find out how TCP receives
 *
 * The function is not exported by all kernels. Both families have the same.
 *
 * Context: may sleep.
 * Return: 0 or an error.
 */
int __init fbuf_take_init(void)
{
	struct socket *sock;
	int err;

	err = sock_create_kern(&init_net, AF_INET, SOCK_STREAM, IPPROTO_TCP,
			       &sock);
	if (err)	/* It says so when there is no memory for one. */
		return err == -ENFILE ? -ENOMEM : err;
	take_recvmsg = sock->sk->sk_prot->recvmsg;
	sock_release(sock);
	return 0;
}
