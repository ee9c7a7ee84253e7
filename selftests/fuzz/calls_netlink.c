// SPDX-License-Identifier: GPL-2.0
/* Messages of the generic netlink family, right and wrong, and its events. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/genetlink.h>
#include <linux/netlink.h>

#include "fuzz.h"
#include "nl.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK	270
#endif

static struct nl nl = { .fd = -1 };

static bool nl_ready(void)
{
	static bool tried;

	if (!tried) {
		tried = true;
		if (nl_open(&nl))
			nl.fd = -1;
	}
	return nl.fd >= 0;
}

struct message {
	struct nlmsghdr head;
	struct genlmsghdr genl;
	__u8 attrs[1024];
};

static void attr_put(struct message *m, __u16 type, const void *data,
		     unsigned int len)
{
	struct nlattr attr = { .nla_type = type, .nla_len = NLA_HDRLEN + len };
	size_t at = NLMSG_ALIGN(m->head.nlmsg_len);

	if (at + NLA_ALIGN(attr.nla_len) > sizeof(*m))
		return;
	memcpy((__u8 *)m + at, &attr, sizeof(attr));
	memcpy((__u8 *)m + at + NLA_HDRLEN, data, len);
	m->head.nlmsg_len = at + NLA_ALIGN(attr.nla_len);
}

/* One attribute; of the right type and length, most often. */
static void attr_make(struct message *m, __u32 *rng)
{
	static const __u8 lens[] = { 8, 8, 4, 0, 8, 4, 0, 1, 2, 16, 64, 200 };
	__u64 data[32] = { rnd(rng) % 8 ? rnd(rng) % 40 : rnd(rng) };
	__u16 type = rnd(rng) % 8 ? 1 + rnd(rng) % 8 : rnd(rng);
	unsigned int len = rnd(rng) % 4 && type < 8 ? lens[type - 1] :
					lens[rnd(rng) % ARRAY_LEN(lens)];
	struct nlattr inner = { .nla_len = rnd(rng) % 64, .nla_type = type };

	if (rnd(rng) % 8 == 0) {
		type |= NLA_F_NESTED;
		memcpy(data, &inner, sizeof(inner));
		len = 64;
	}
	attr_put(m, type, data, len);
}

static void drain(void)
{
	char buf[8192];
	int i;

	for (i = 0; i < 32 && recv(nl.fd, buf, sizeof(buf), MSG_DONTWAIT) > 0; i++)
		;
}

static long call_nl(struct actor *me, const __u32 *a)
{
	struct message m = {
		.head.nlmsg_len = offsetof(struct message, attrs),
		.head.nlmsg_flags = NLM_F_REQUEST |
				    (a[1] & 1 ? NLM_F_DUMP : NLM_F_ACK) |
				    (a[1] & ~15U),
		.genl.cmd = a[0] & WILD ? a[0] : 1 + a[0] % 6,
		.genl.version = 1,
	};
	__u32 rng = a[3] * 2654435761U | 1;
	unsigned int i;
	long ret;

	if (!nl_ready())
		return -1;
	m.head.nlmsg_type = nl.family;
	for (i = 0; i < a[2] % 8; i++)
		attr_make(&m, &rng);
	if (a[4] & WILD)
		m.head.nlmsg_len -= a[4] % 16;
	if (m.genl.cmd == FBUF_CMD_LIMIT_SET)
		me->run->dirty_module = true;
	ret = send(nl.fd, &m, m.head.nlmsg_len, MSG_DONTWAIT);
	/* A dump goes on when its first part is read. */
	if (a[4] % 4 != 3)
		drain();
	return ret;
}

static long call_nljoin(struct actor *me, const __u32 *a)
{
	(void)me;
	if (!nl_ready())
		return -1;
	return setsockopt(nl.fd, SOL_NETLINK, a[0] % 4 ? NETLINK_ADD_MEMBERSHIP :
			  NETLINK_DROP_MEMBERSHIP, &nl.events, sizeof(nl.events));
}

/* The limits as they are when the module is loaded. */
void netlink_reset(void)
{
	const struct nl_arg none[] = {
		{ FBUF_A_LIMIT_POOL_MAX, 8, 0 }, { FBUF_A_LIMIT_USER_MAX, 8, 0 },
	};
	struct nl_row rows[64];
	struct nl fresh;
	int i, nr;

	if (nl_open(&fresh))
		return;
	nl_do(&fresh, FBUF_CMD_LIMIT_SET, none, 2, NULL);
	nr = nl_dump(&fresh, FBUF_CMD_LIMIT_GET, rows, ARRAY_LEN(rows));
	for (i = 0; i < nr && i < (int)ARRAY_LEN(rows); i++) {
		const struct nl_arg own[] = {
			{ FBUF_A_LIMIT_UID, 4, rows[i].val[FBUF_A_LIMIT_UID] },
			{ FBUF_A_LIMIT_OWN, 0, 0 },
		};

		if (rows[i].has[FBUF_A_LIMIT_UID])
			nl_do(&fresh, FBUF_CMD_LIMIT_SET, own, 2, NULL);
	}
	nl_close(&fresh);
}

const struct call_desc netlink_calls[] = {
	{ "nl",		"nnnre",	10,	call_nl },
	{ "nljoin",	"n",		2,	call_nljoin },
	{ 0 },
};
