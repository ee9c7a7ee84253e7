// SPDX-License-Identifier: GPL-2.0
/*
 * Requests of the netlink family. The kernel handles one within the call that sends
 * it, and goes on with a dump within those that receive. So they are made with
 * faults on a socket of their own, up to the end of the answer; the test's own
 * request has none.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/fbuf_netlink.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>

#include "inject.h"
#include "../common/nl.h"

#define ROOM		4096	/* so that long dumps take several calls */
#define NR_LIMITS	64

struct answer {
	long err;
	int rows;
};

struct request {
	const struct nlmsghdr *msg;
	bool asked;
	struct answer before;	/* the first, without a fault */
};

/* By command, and whether it is a dump. */
static const char *const names[KIND_NR - KIND_NETLINK] = {
	[2 * FBUF_CMD_POOL_GET] = "NL_POOL_GET",
	[2 * FBUF_CMD_POOL_GET + 1] = "NL_POOL_GET_DUMP",
	[2 * FBUF_CMD_HANDLE_GET + 1] = "NL_HANDLE_GET_DUMP",
	[2 * FBUF_CMD_STATS_GET] = "NL_STATS_GET",
	[2 * FBUF_CMD_STATS_GET + 1] = "NL_STATS_GET_DUMP",
	[2 * FBUF_CMD_LIMIT_GET] = "NL_LIMIT_GET",
	[2 * FBUF_CMD_LIMIT_GET + 1] = "NL_LIMIT_GET_DUMP",
	[2 * FBUF_CMD_LIMIT_SET] = "NL_LIMIT_SET",
};

/* What a datagram says; true if it is the end. */
static bool parse(struct answer *a, const struct nlmsghdr *msg, unsigned int len)
{
	bool end = false;

	for (; NLMSG_OK(msg, len); msg = NLMSG_NEXT(msg, len)) {
		if (msg->nlmsg_type == NLMSG_ERROR ||
		    msg->nlmsg_type == NLMSG_DONE) {
			/* Both begin with an error. */
			a->err = a->err ?: *(const int *)NLMSG_DATA(msg);
			end = true;
		} else {
			a->rows++;
		}
	}
	return end;
}

static ssize_t take(int fd, char *room)
{
	ssize_t len = syscall(SYS_recvfrom, fd, room, ROOM, MSG_DONTWAIT, NULL,
			      NULL);

	return len < 0 ? -errno : len;
}

/* The first error is what it comes to. */
static struct answer ask(const struct request *r, int fd)
{
	struct answer a = { };
	char room[ROOM];
	bool end = false;
	ssize_t len;

	if (syscall(SYS_sendto, fd, r->msg, r->msg->nlmsg_len, 0, NULL, 0) < 0)
		return (struct answer){ .err = -errno };
	while ((len = take(fd, room)) != -EAGAIN) {
		if (len >= 0)
			end |= parse(&a, (void *)room, len);
		else
			a.err = a.err ?: len;
	}
	/* Not even told of an error: that is one. */
	if (!end && !a.err)
		a.err = -ENODATA;
	return a;
}

static int open_socket(void)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);

	/* Else it is bound by what is to fail. */
	if (fd < 0 || !bind(fd, (void *)&addr, sizeof(addr)))
		return fd;
	close(fd);
	return -1;
}

/* With the n-th fault, or 0. The socket goes: a dump may have halted half-way. */
static struct answer ask_anew(const struct request *r, unsigned int n,
			      bool *taken)
{
	int fd = open_socket();
	struct answer a;

	nth_set(n);
	a = ask(r, fd);
	*taken = nth_taken() && n;
	close(fd);
	return a;
}

/* All limits that there are. */
struct limits {
	struct nl_row all;
	struct nl_row own[NR_LIMITS];
	int nr;
};

static void limits_get(struct limits *l)
{
	struct nl_row rows[NR_LIMITS];
	struct nl nl;
	int i, nr;

	memset(l, 0, sizeof(*l));
	if (nl_open(&nl))
		return;
	nl_do(&nl, FBUF_CMD_LIMIT_GET, NULL, 0, &l->all);
	nr = nl_dump(&nl, FBUF_CMD_LIMIT_GET, rows, NR_LIMITS);
	nl_close(&nl);
	for (i = 0; i < nr && i < NR_LIMITS; i++) {
		if (rows[i].has[FBUF_A_LIMIT_OWN])
			l->own[l->nr++] = rows[i];
	}
}

static bool row_differs(const struct nl_row *a, const struct nl_row *b)
{
	return a->val[FBUF_A_LIMIT_POOL_MAX] != b->val[FBUF_A_LIMIT_POOL_MAX] ||
	       a->val[FBUF_A_LIMIT_USER_MAX] != b->val[FBUF_A_LIMIT_USER_MAX] ||
	       a->val[FBUF_A_LIMIT_UID] != b->val[FBUF_A_LIMIT_UID];
}

static bool limits_differ(const struct limits *a, const struct limits *b)
{
	bool differ = a->nr != b->nr || row_differs(&a->all, &b->all);
	int i;

	for (i = 0; i < a->nr && !differ; i++)
		differ = row_differs(&a->own[i], &b->own[i]);
	return differ;
}

static void limit_set(struct nl *nl, __u32 uid, struct nl_arg limit)
{
	struct nl_arg args[] = { { FBUF_A_LIMIT_UID, 4, uid }, limit };

	nl_do(nl, FBUF_CMD_LIMIT_SET, args, 2, NULL);
}

static void limits_restore(const struct limits *to, const struct limits *from)
{
	struct nl_arg all[] = {
		{ FBUF_A_LIMIT_POOL_MAX, 8, to->all.val[FBUF_A_LIMIT_POOL_MAX] },
		{ FBUF_A_LIMIT_USER_MAX, 8, to->all.val[FBUF_A_LIMIT_USER_MAX] },
	};
	struct nl_arg limit = { .type = FBUF_A_LIMIT_OWN };
	struct nl nl;
	int i;

	if (nl_open(&nl))
		return;
	nl_do(&nl, FBUF_CMD_LIMIT_SET, all, 2, NULL);
	for (i = 0; i < from->nr; i++)
		limit_set(&nl, from->own[i].val[FBUF_A_LIMIT_UID], limit);
	limit = all[1];
	for (i = 0; i < to->nr; i++) {
		limit.val = to->own[i].val[FBUF_A_LIMIT_USER_MAX];
		limit_set(&nl, to->own[i].val[FBUF_A_LIMIT_UID], limit);
	}
	nl_close(&nl);
}

/* It is what one gets without a fault; others may be at it meanwhile. */
static bool is_right(struct answer got, struct answer before, struct answer after)
{
	return (got.err == before.err || got.err == after.err) &&
	       (got.rows >= before.rows || got.rows >= after.rows);
}

static long rehearse_get(struct call *c, unsigned int n, bool *taken)
{
	struct request *r = c->more;
	struct answer got, after;
	bool none;

	if (!r->asked)
		r->before = ask_anew(r, 0, &none);
	r->asked = true;
	got = ask_anew(r, n, taken);
	if (inject_expects(c, got.err))
		return got.err;
	after = ask_anew(r, 0, &none);
	if (!is_right(got, r->before, after))
		inject_complain(c, n, "error %ld and %d rows, without a fault %ld and %d",
				-got.err, got.rows, -after.err, after.rows);
	return 0;
}

/* Done or not; but if it says that it was not, it was not. */
static long rehearse_set(struct call *c, unsigned int n, bool *taken)
{
	struct limits before, after;
	struct answer got;
	bool none;

	limits_get(&before);
	got = ask_anew(c->more, n, taken);
	limits_get(&after);
	if (limits_differ(&before, &after)) {
		/* What was lost may be the answer alone. */
		if (got.err && got.err != -ENOBUFS && got.err != -EFAULT)
			inject_complain(c, n, "error %ld, and a limit changed",
					-got.err);
		/* The next one is to do it as well. */
		limits_restore(&before, &after);
	}
	if (inject_expects(c, got.err))
		return got.err;
	if (got.err && ask_anew(c->more, 0, &none).err != got.err)
		inject_complain(c, n, "error %ld, and none without a fault",
				-got.err);
	return 0;
}

/* The number of the family. */
static __u16 family(void)
{
	static __u16 known;
	struct nl nl;

	if (!known && !nl_open(&nl)) {
		known = nl.family;
		nl_close(&nl);
	}
	return known;
}

static bool is_generic(int fd)
{
	int domain = 0, protocol = 0;
	socklen_t len = sizeof(int);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) &&
	       domain == AF_NETLINK &&
	       !getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) &&
	       protocol == NETLINK_GENERIC;
}

/* Which request it is, or -1 if it is none of ours. */
static int which(int fd, const void *data, size_t len)
{
	const struct nlmsghdr *msg = data;
	const struct genlmsghdr *genl;
	unsigned int nr;

	if (len < NLMSG_HDRLEN + GENL_HDRLEN || inject_off() ||
	    !is_generic(fd) || msg->nlmsg_len > len ||
	    msg->nlmsg_type <= GENL_ID_CTRL || msg->nlmsg_type != family())
		return -1;
	genl = NLMSG_DATA(msg);
	nr = 2 * genl->cmd + !!(msg->nlmsg_flags & NLM_F_DUMP);
	return nr < KIND_NR - KIND_NETLINK && names[nr] ? (int)nr : -1;
}

/* With faults, if it is a request; then as the test wants it. */
static ssize_t request(struct call *c, int fd, size_t len)
{
	static const int errnos[] = { ENOMEM, EFAULT, ENOBUFS, 0 };
	const struct request *r = c->more;
	int saved = errno, nr = which(fd, r->msg, len);

	errno = saved;
	c->make = call_make;
	if (nr < 0)
		return call_give(call_make(c));
	c->name = names[nr];
	c->kind = KIND_NETLINK + nr;
	c->errnos = errnos;
	c->fd = -1;
	c->of_user = true;
	c->rehearse = nr == 2 * FBUF_CMD_LIMIT_SET ? rehearse_set : rehearse_get;
	return call_give(inject(c));
}

WRAPS ssize_t send(int fd, const void *data, size_t len, int flags)
{
	struct request r = { .msg = data };
	struct call c = {
		.nr = SYS_sendto, .arg = { fd, (long)data, len, flags },
		.more = &r,
	};

	return request(&c, fd, len);
}

WRAPS ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct request r = { .msg = NULL };
	struct call c = {
		.nr = SYS_sendmsg, .arg = { fd, (long)msg, flags }, .more = &r,
	};

	/* As libnl has it. */
	if (msg->msg_iovlen != 1)
		return call_give(call_make(&c));
	r.msg = msg->msg_iov->iov_base;
	return request(&c, fd, msg->msg_iov->iov_len);
}
