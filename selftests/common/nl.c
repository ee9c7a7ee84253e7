// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/genetlink.h>
#include <linux/netlink.h>

#include "nl.h"
#include "util.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK	270
#endif

#define NL_BUF		32768

struct request {
	struct nlmsghdr head;
	struct genlmsghdr genl;
	char attrs[512];
};

static void put(struct request *req, __u16 type, const void *data, __u16 len)
{
	struct nlattr *attr = (void *)((char *)req + req->head.nlmsg_len);

	attr->nla_type = type;
	attr->nla_len = NLA_HDRLEN + len;
	memcpy((char *)attr + NLA_HDRLEN, data, len);
	req->head.nlmsg_len += NLA_ALIGN(attr->nla_len);
}

static int request(struct nl *nl, struct request *req, __u16 family, __u8 cmd,
		   __u16 flags)
{
	req->head.nlmsg_type = family;
	req->head.nlmsg_flags = NLM_F_REQUEST | flags;
	req->head.nlmsg_seq = ++nl->seq;
	req->genl.cmd = cmd;
	req->genl.version = FBUF_FAMILY_VERSION;
	if (send(nl->fd, req, req->head.nlmsg_len, 0) < 0)
		return -errno;
	return 0;
}

static void request_init(struct request *req)
{
	memset(req, 0, sizeof(*req));
	req->head.nlmsg_len = offsetof(struct request, attrs);
}

/* Calls a function for each attribute of what is @len long. */
typedef void (*attr_fn)(const struct nlattr *attr, const void *data, int len,
			void *arg);

static void each_attr(const void *attrs, int len, attr_fn fn, void *arg)
{
	while (len >= NLA_HDRLEN) {
		const struct nlattr *attr = attrs;

		if (attr->nla_len < NLA_HDRLEN || attr->nla_len > len)
			return;
		fn(attr, (const char *)attrs + NLA_HDRLEN,
		   attr->nla_len - NLA_HDRLEN, arg);
		attrs = (const char *)attrs + NLA_ALIGN(attr->nla_len);
		len -= NLA_ALIGN(attr->nla_len);
	}
}

static void row_attr(const struct nlattr *attr, const void *data, int len,
		     void *arg)
{
	unsigned int type = attr->nla_type & NLA_TYPE_MASK;
	struct nl_row *row = arg;
	__u32 word;

	if (type >= NL_ATTRS)
		return;
	row->has[type] = true;
	row->val[type] = 1;
	if (len == 8) {
		memcpy(&row->val[type], data, 8);
	} else if (len == 4) {
		memcpy(&word, data, 4);
		row->val[type] = word;
	}
}

static void parse_row(const struct nlmsghdr *msg, struct nl_row *row)
{
	const struct genlmsghdr *genl = NLMSG_DATA(msg);

	memset(row, 0, sizeof(*row));
	row->cmd = genl->cmd;
	each_attr((const char *)genl + GENL_HDRLEN,
		  (int)msg->nlmsg_len - NLMSG_HDRLEN - (int)GENL_HDRLEN,
		  row_attr, row);
}

static void error_attr(const struct nlattr *attr, const void *data, int len,
		       void *arg)
{
	struct nl *nl = arg;

	if (attr->nla_type != NLMSGERR_ATTR_MSG)
		return;
	if (len >= (int)sizeof(nl->error))
		len = sizeof(nl->error) - 1;
	memcpy(nl->error, data, len);
	nl->error[len] = 0;
}

static int parse_error(struct nl *nl, const struct nlmsghdr *msg)
{
	const struct nlmsgerr *err = NLMSG_DATA(msg);
	int skip = NLMSG_HDRLEN + sizeof(*err);

	nl->error[0] = 0;
	if (!(msg->nlmsg_flags & NLM_F_ACK_TLVS))
		return err->error;
	if (!(msg->nlmsg_flags & NLM_F_CAPPED))
		skip += err->msg.nlmsg_len - NLMSG_HDRLEN;
	skip = NLMSG_ALIGN(skip);
	each_attr((const char *)msg + skip, (int)msg->nlmsg_len - skip,
		  error_attr, nl);
	return err->error;
}

/* Called for each message of an answer, but the last. */
typedef void (*msg_fn)(const struct nlmsghdr *msg, void *arg);

static int answer(struct nl *nl, msg_fn fn, void *arg)
{
	char *buf = malloc(NL_BUF);
	int len, ret = 1;

	while (buf && ret > 0) {
		struct nlmsghdr *msg = (void *)buf;

		len = recv(nl->fd, buf, NL_BUF, 0);
		if (len < 0)
			ret = errno == EINTR ? 1 : -errno;
		if (nl->between)
			nl->between(nl->between_arg);
		for (; len > 0 && ret > 0 && NLMSG_OK(msg, (unsigned int)len);
		     msg = NLMSG_NEXT(msg, len)) {
			if (msg->nlmsg_seq != nl->seq)
				continue;
			if (msg->nlmsg_type == NLMSG_ERROR)
				ret = parse_error(nl, msg);
			else if (msg->nlmsg_type == NLMSG_DONE)
				ret = 0;
			else
				fn(msg, arg);
		}
	}
	free(buf);
	return ret;
}

static void first_group(const struct nlattr *attr, const void *data, int len,
			void *arg)
{
	if (attr->nla_type == CTRL_ATTR_MCAST_GRP_ID)
		memcpy(arg, data, sizeof(__u32));
}

static void each_group(const struct nlattr *attr, const void *data, int len,
		       void *arg)
{
	each_attr(data, len, first_group, arg);
}

static void family_attr(const struct nlattr *attr, const void *data, int len,
			void *arg)
{
	struct nl *nl = arg;

	if (attr->nla_type == CTRL_ATTR_FAMILY_ID)
		memcpy(&nl->family, data, sizeof(nl->family));
	else if (attr->nla_type == CTRL_ATTR_MCAST_GROUPS)
		each_attr(data, len, each_group, &nl->events);
}

static void family_msg(const struct nlmsghdr *msg, void *arg)
{
	each_attr((const char *)NLMSG_DATA(msg) + GENL_HDRLEN,
		  (int)msg->nlmsg_len - NLMSG_HDRLEN - (int)GENL_HDRLEN,
		  family_attr, arg);
}

static int find_family(struct nl *nl)
{
	struct request req;
	int err;

	request_init(&req);
	put(&req, CTRL_ATTR_FAMILY_NAME, FBUF_FAMILY_NAME,
	    sizeof(FBUF_FAMILY_NAME));
	err = request(nl, &req, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK);
	if (!err)
		err = answer(nl, family_msg, nl);
	if (!err && (!nl->family || !nl->events))
		err = -ENOENT;
	return err;
}

int nl_open(struct nl *nl)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK };
	struct timeval limit = { .tv_sec = 20 };
	int one = 1, err;

	memset(nl, 0, sizeof(*nl));
	nl->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	if (nl->fd < 0)
		return -errno;
	setsockopt(nl->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(nl->fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	err = bind(nl->fd, (void *)&addr, sizeof(addr)) ? -errno :
	      find_family(nl);
	if (err)
		nl_close(nl);
	return err;
}

void nl_close(struct nl *nl)
{
	if (nl->fd >= 0)
		close(nl->fd);
	nl->fd = -1;
}

static void reply_msg(const struct nlmsghdr *msg, void *arg)
{
	if (arg)
		parse_row(msg, arg);
}

int nl_do(struct nl *nl, __u8 cmd, const struct nl_arg *args, int nr,
	  struct nl_row *reply)
{
	struct request req;
	__u32 word;
	int i, err;

	request_init(&req);
	for (i = 0; i < nr; i++) {
		word = args[i].val;
		put(&req, args[i].type,
		    args[i].len == 4 ? (void *)&word : (void *)&args[i].val,
		    args[i].len);
	}
	err = request(nl, &req, nl->family, cmd, NLM_F_ACK);
	return err ? err : answer(nl, reply_msg, reply);
}

struct rows {
	struct nl_row *row;
	int nr;
	int max;
};

static void rows_msg(const struct nlmsghdr *msg, void *arg)
{
	struct rows *rows = arg;

	if (rows->nr < rows->max)
		parse_row(msg, &rows->row[rows->nr]);
	rows->nr++;
}

int nl_dump(struct nl *nl, __u8 cmd, struct nl_row *rows, int max)
{
	struct rows found = { .row = rows, .max = max };
	struct request req;
	int err;

	request_init(&req);
	err = request(nl, &req, nl->family, cmd, NLM_F_DUMP);
	if (!err)
		err = answer(nl, rows_msg, &found);
	return err ? err : found.nr;
}

int nl_join(struct nl *nl)
{
	return setsockopt(nl->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP,
			  &nl->events, sizeof(nl->events)) ? -errno : 0;
}

int nl_next(struct nl *nl, struct nl_row *row, int ms)
{
	struct pollfd p = { .fd = nl->fd, .events = POLLIN };
	char buf[8192];
	struct nlmsghdr *msg = (void *)buf;
	int len;

	if (poll(&p, 1, ms) != 1)
		return -ETIMEDOUT;
	len = recv(nl->fd, buf, sizeof(buf), 0);
	if (len < 0)
		return -errno;
	/* An event is a message of its own. */
	if (!NLMSG_OK(msg, (unsigned int)len) ||
	    msg->nlmsg_type != nl->family)
		return -EBADMSG;
	parse_row(msg, row);
	return 0;
}

int nl_pool(struct nl *nl, __u64 id, struct nl_row *row)
{
	struct nl_arg arg = { FBUF_A_POOL_ID, 8, id };

	return nl_do(nl, FBUF_CMD_POOL_GET, &arg, 1, row);
}

int nl_user(struct nl *nl, __u32 uid, struct nl_row *row)
{
	struct nl_row rows[64] = { };
	int i, nr;

	memset(row, 0, sizeof(*row));
	nr = nl_dump(nl, FBUF_CMD_LIMIT_GET, rows, 64);
	if (nr < 0)
		return nr;
	if (nr > 64)
		return -E2BIG;
	for (i = 0; i < nr; i++) {
		if (rows[i].val[FBUF_A_LIMIT_UID] == uid)
			*row = rows[i];
	}
	return 0;
}
