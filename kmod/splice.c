// SPDX-License-Identifier: GPL-2.0
/*
 * The splice engine: what splice(2) to a socket does, for the sockets that take
 * pages but not MSG_ZEROCOPY: AF_UNIX streams and TCP under kTLS.
 *
 * From 6.5 on that is MSG_SPLICE_PAGES. Before, it is one sendpage for each run,
 * between which others' data could get in: so there it takes gathers of one run,
 * and for kTLS alone. An AF_UNIX socket's sendpage puts bytes into the last packet
 * of the peer's queue, whatever that is: one with an fd, or an urgent byte.
 */
#include <net/inet_connection_sock.h>
#include <net/tcp.h>

#include "compat.h"
#include "gather.h"
#include "splice.h"

static bool splice_ulp_is_tls(const struct sock *sk)
{
	const struct tcp_ulp_ops *ulp = READ_ONCE(inet_csk(sk)->icsk_ulp_ops);

	return ulp && !strcmp(ulp->name, "tls");
}

/**
 * fbuf_splice_takes() - does the engine serve this socket and gather?
 * @sock: the socket
 * @g: the gather
 *
 * AF_UNIX it serves from 6.5 on. So it does plain TCP, when asked for by name:
 * pageref comes first. Before 6.5 sendpage and io_uring's zero-copy sends on one
 * TCP socket leak page references.
 *
 * Context: any.
 * Return: whether it does.
 */
bool fbuf_splice_takes(struct socket *sock, const struct fbuf_gather *g)
{
	const struct sock *sk = sock->sk;

	if (sock->type != SOCK_STREAM || (!FBUF_SPLICE_PAGES && g->nr > 1))
		return false;
	if (sk->sk_family == AF_UNIX)
		return FBUF_SPLICE_PAGES;
	if (sk->sk_family != AF_INET && sk->sk_family != AF_INET6)
		return false;
	if (sk->sk_protocol != IPPROTO_TCP)
		return false;
	if (splice_ulp_is_tls(sk))
		return true;
	return FBUF_SPLICE_PAGES && test_bit(SOCK_SUPPORT_ZC, &sock->flags) &&
	       sk->sk_route_caps & NETIF_F_SG;
}

/**
 * fbuf_splice_send() - send a message whose iterator is over a gather's runs
 * @sock: a socket that fbuf_splice_takes()
 * @fm: the message
 * @g: the gather
 *
 * Context: may sleep.
 * Return: as sock_sendmsg().
 */
int fbuf_splice_send(struct socket *sock, struct fbuf_msg *fm,
		     const struct fbuf_gather *g)
{
	const struct bio_vec *run = g->runs;

	if (FBUF_SPLICE_PAGES) {
		fm->msg.msg_flags |= MSG_SPLICE_PAGES;
		return sock_sendmsg(sock, &fm->msg);
	}
	return fbuf_sendpage(sock, run->bv_page + run->bv_offset / PAGE_SIZE,
			     offset_in_page(run->bv_offset), run->bv_len,
			     fm->msg.msg_flags);
}
