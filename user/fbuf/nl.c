// SPDX-License-Identifier: GPL-2.0
/* The module's netlink family, over libnl. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netlink/netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>

#include "nl.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK	270
#endif

#define ATTR_MAX	63	/* CTL_SEEN() has a bit for each */
#define EVENT_ROOM	(1 << 20)
#define ERRNO_MAX	4095	/* the kernel's greatest */

#define POOL(a, t, m)	{ #m, FBUF_A_POOL_##a, t, offsetof(struct ctl_pool, m) }
#define HANDLE(a, t, m)	{ #m, FBUF_A_HANDLE_##a, t, offsetof(struct ctl_handle, m) }
#define STATS(a, t, m)	{ #m, FBUF_A_STATS_##a, t, offsetof(struct ctl_stats, m) }
#define LIMIT(a, t, m)	{ #m, FBUF_A_LIMIT_##a, t, offsetof(struct ctl_limit, m) }

static const struct ctl_field pool_fields[] = {
	POOL(ID, CTL_U64, id),
	POOL(UID, CTL_U32, uid),
	POOL(BUF_SIZE, CTL_U32, buf_size),
	POOL(NR_BUFS, CTL_U32, nr_bufs),
	POOL(FLAGS, CTL_U32, flags),
	POOL(NODE, CTL_S32, node),
	POOL(HANDLES, CTL_U32, nr_handles),
	POOL(HELD, CTL_U32, nr_held),
	POOL(IN_FLIGHT, CTL_U32, nr_in_flight),
	POOL(IN_FLIGHT_BYTES, CTL_U64, in_flight_bytes),
	POOL(OLDEST_MS, CTL_U64, oldest_ms),
	POOL(OLDEST_SOCK, CTL_U64, oldest_sock),
	POOL(CHARGED, CTL_U64, charged),
	POOL(RESIDENT, CTL_U64, resident),
	POOL(SPLIT, CTL_U32, nr_split),
	POOL(PARCELS, CTL_U32, nr_parcels),
	POOL(PARCEL_BYTES, CTL_U64, parcel_bytes),
	POOL(PARCEL_OLDEST_MS, CTL_U64, parcel_oldest_ms),
	POOL(BY_CGROUP, CTL_FLAG, by_cgroup),
};

static const struct ctl_field handle_fields[] = {
	HANDLE(POOL_ID, CTL_U64, pool),
	HANDLE(ID, CTL_U32, id),
	HANDLE(RIGHTS, CTL_U32, rights),
	HANDLE(HOLDS, CTL_U32, holds),
	HANDLE(MAX_HOLDS, CTL_U32, max_holds),
	HANDLE(QUEUED, CTL_U32, queued),
};

static const struct ctl_field stats_fields[] = {
	STATS(POOL_ID, CTL_U64, pool),
	STATS(SENDS, CTL_U64, sends),
	STATS(BYTES, CTL_U64, bytes),
	STATS(COPIED, CTL_U64, copied),
	STATS(ALLOCS, CTL_U64, allocs),
	STATS(FREES, CTL_U64, frees),
	STATS(REUSES, CTL_U64, reuses),
	STATS(PASSES, CTL_U64, passes),
	STATS(PROTECTS, CTL_U64, protects),
	STATS(SNAPSHOTS, CTL_U64, snapshots),
	STATS(WAITS, CTL_U64, waits),
	STATS(RECLAIMS, CTL_U64, reclaims),
	STATS(FILLS, CTL_U64, fills),
	STATS(FILLED, CTL_U64, filled),
	STATS(RECVS, CTL_U64, recvs),
	STATS(RECEIVED, CTL_U64, received),
	STATS(RECV_COPIED, CTL_U64, recv_copied),
};

static const struct ctl_field limit_fields[] = {
	LIMIT(POOL_MAX, CTL_U64, pool_max),
	LIMIT(USER_MAX, CTL_U64, user_max),
	LIMIT(UID, CTL_U32, uid),
	LIMIT(CHARGED, CTL_U64, charged),
	LIMIT(POOLS, CTL_U32, pools),
	LIMIT(OWN, CTL_FLAG, own),
	LIMIT(CGROUP_ALONE, CTL_U32, cgroup_alone),
};

const struct ctl_set ctl_pools = {
	FBUF_CMD_POOL_GET, sizeof(struct ctl_pool),
	pool_fields,
	sizeof(pool_fields) / sizeof(*pool_fields)
};

const struct ctl_set ctl_handles = {
	FBUF_CMD_HANDLE_GET, sizeof(struct ctl_handle),
	handle_fields,
	sizeof(handle_fields) / sizeof(*handle_fields)
};

const struct ctl_set ctl_stats = {
	FBUF_CMD_STATS_GET, sizeof(struct ctl_stats),
	stats_fields,
	sizeof(stats_fields) / sizeof(*stats_fields)
};

const struct ctl_set ctl_limits = {
	FBUF_CMD_LIMIT_GET, sizeof(struct ctl_limit),
	limit_fields,
	sizeof(limit_fields) / sizeof(*limit_fields)
};

struct ctl {
	struct nl_sock *sock;
	struct nl_cb *cb;
	int family;
	/* The answer. */
	const struct ctl_set *set;
	char *objs;
	size_t nr;
	bool done;
	int err;		/* negative errno */
	char text[256];		/* what the module says of it */
	/* Events. */
	ctl_event_fn *event;
	void *arg;
};

/* Attributes into an object. */
static bool decode(const struct ctl_set *set, struct nlmsghdr *nlh, char *obj)
{
	static const uint16_t types[] = {
		[CTL_U32] = NLA_U32, [CTL_S32] = NLA_U32,
		[CTL_U64] = NLA_U64, [CTL_FLAG] = NLA_FLAG,
	};
	static const size_t sizes[] = {
		[CTL_U32] = 4, [CTL_S32] = 4, [CTL_U64] = 8, [CTL_FLAG] = 0,
	};
	struct nla_policy policy[ATTR_MAX + 1] = { };
	struct nlattr *tb[ATTR_MAX + 1];
	const struct ctl_field *f;
	uint64_t seen = 0;
	unsigned int i;

	for (i = 0; i < set->nr_fields; i++)
		policy[set->fields[i].attr].type = types[set->fields[i].type];
	if (genlmsg_parse(nlh, 0, tb, ATTR_MAX, policy) < 0)
		return false;
	memset(obj, 0, set->size);
	for (i = 0; i < set->nr_fields; i++) {
		f = &set->fields[i];
		if (!tb[f->attr])
			continue;
		seen |= CTL_SEEN(f->attr);
		if (f->type == CTL_FLAG)
			*(bool *)(obj + f->offset) = true;
		else
			memcpy(obj + f->offset, nla_data(tb[f->attr]),
			       sizes[f->type]);
	}
	memcpy(obj, &seen, sizeof(seen));
	return true;
}

/* The reverse, for a request. */
static int encode(struct nl_msg *msg, const struct ctl_set *set,
		  const void *obj)
{
	const uint64_t *seen = obj;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < set->nr_fields && !ret; i++) {
		const struct ctl_field *f = &set->fields[i];
		const void *val = (const char *)obj + f->offset;

		if (!(*seen & CTL_SEEN(f->attr)))
			continue;
		if (f->type == CTL_FLAG)
			ret = nla_put_flag(msg, f->attr);
		else
			ret = nla_put(msg, f->attr, f->type == CTL_U64 ? 8 : 4,
				      val);
	}
	return ret;
}

json_t *ctl_json(const struct ctl_set *set, const void *obj)
{
	const uint64_t *seen = obj;
	json_t *j = json_object(), *v;
	unsigned int i;

	for (i = 0; i < set->nr_fields; i++) {
		const struct ctl_field *f = &set->fields[i];
		const void *val = (const char *)obj + f->offset;

		if (f->type == CTL_FLAG)
			v = json_boolean(*(const bool *)val);
		else if (!(*seen & CTL_SEEN(f->attr)))
			continue;
		else if (f->type == CTL_U64)
			v = tool_json_u64(*(const uint64_t *)val);
		else if (f->type == CTL_U32)
			v = json_integer(*(const uint32_t *)val);
		else
			v = json_integer(*(const int32_t *)val);
		json_object_set_new(j, f->name, v);
	}
	return j;
}

const char *ctl_protection(uint32_t flags)
{
	return flags & FBUF_POOL_SNAPSHOT ? "snapshot" :
	       flags & FBUF_POOL_SECURED ? "secured" : "volatile";
}

bool ctl_protection_flag(const char *word, unsigned int *flag)
{
	static const unsigned int flags[] = {
		0, FBUF_POOL_SECURED, FBUF_POOL_SNAPSHOT,
	};
	size_t i;

	for (i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		*flag = flags[i];
		if (!strcmp(word, ctl_protection(*flag)))
			return true;
	}
	return false;
}

json_t *ctl_pool_json(const struct ctl_pool *p)
{
	json_t *j = ctl_json(&ctl_pools, p);

	json_object_del(j, "flags");
	json_object_set_new(j, "pool_size",
			    tool_json_u64((uint64_t)p->buf_size * p->nr_bufs));
	json_object_set_new(j, "protection",
			    json_string(ctl_protection(p->flags)));
	json_object_set_new(j, "sigbus",
			    json_boolean(p->flags & FBUF_POOL_SIGBUS));
	json_object_set_new(j, "lazy",
			    json_boolean(p->flags & FBUF_POOL_LAZY));
	return j;
}

/* What the callers can go by: 0 and positive numbers are no errors. */
static int error_of(int err)
{
	return err < 0 && err >= -ERRNO_MAX ? err : -EPROTO;
}

/* The module's own words, from the attributes that follow an error. */
static void keep_text(struct ctl *c, const struct nlmsghdr *nlh, size_t skip)
{
	size_t len = nlmsg_datalen(nlh);
	struct nlattr *attr;

	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS) || len <= skip)
		return;
	attr = nla_find((struct nlattr *)((char *)nlmsg_data(nlh) + skip),
			len - skip, NLMSGERR_ATTR_MSG);
	if (!attr)
		return;
	nla_strlcpy(c->text, attr, sizeof(c->text));
	/* We make the sentence. */
	len = strlen(c->text);
	if (len && c->text[len - 1] == '.')
		c->text[len - 1] = '\0';
}

static int on_error(struct sockaddr_nl *addr, struct nlmsgerr *e, void *arg)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)e - 1;
	size_t skip = sizeof(*e);
	struct ctl *c = arg;

	(void)addr;
	if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
		skip += NLMSG_ALIGN(e->msg.nlmsg_len - NLMSG_HDRLEN);
	c->err = error_of(e->error);
	c->done = true;
	keep_text(c, nlh, skip);
	return NL_STOP;
}

static int on_ack(struct nl_msg *msg, void *arg)
{
	struct ctl *c = arg;

	(void)msg;
	c->done = true;
	return NL_STOP;
}

/* A dump tells at its end how it went. */
static int on_finish(struct nl_msg *msg, void *arg)
{
	const struct nlmsghdr *nlh = nlmsg_hdr(msg);
	struct ctl *c = arg;
	int err = 0;

	if (nlmsg_datalen(nlh) >= (int)sizeof(err))
		memcpy(&err, nlmsg_data(nlh), sizeof(err));
	if (err < 0) {
		c->err = error_of(err);
		keep_text(c, nlh, sizeof(err));
	}
	c->done = true;
	return NL_STOP;
}

static int on_object(struct nl_msg *msg, void *arg)
{
	struct ctl *c = arg;
	char *objs;

	objs = realloc(c->objs, (c->nr + 1) * c->set->size);
	if (!objs) {
		c->err = -ENOMEM;
		return NL_SKIP;
	}
	c->objs = objs;
	if (decode(c->set, nlmsg_hdr(msg), objs + c->nr * c->set->size))
		c->nr++;
	else
		c->err = -EPROTO;
	return NL_SKIP;
}

/* An error of libnl. */
static int to_errno(struct ctl *c, int nlerr)
{
	switch (-nlerr) {
	case NLE_NOMEM:
		return -ENOBUFS;
	case NLE_PERM:
		return -EPERM;
	case NLE_OBJ_NOTFOUND:
		return -ENODEV;
	case NLE_DUMP_INTR:
		return -EAGAIN;
	case NLE_INTR:
		return -EINTR;
	}
	snprintf(c->text, sizeof(c->text), "%s", nl_geterror(nlerr));
	return -EIO;
}

static int connect_sock(struct ctl *c)
{
	const int on = 1;
	int ret, fd;

	nl_cb_set(c->cb, NL_CB_VALID, NL_CB_CUSTOM, on_object, c);
	nl_cb_set(c->cb, NL_CB_FINISH, NL_CB_CUSTOM, on_finish, c);
	nl_cb_set(c->cb, NL_CB_ACK, NL_CB_CUSTOM, on_ack, c);
	nl_cb_err(c->cb, NL_CB_CUSTOM, on_error, c);

	ret = genl_connect(c->sock);
	if (ret < 0)
		return ret;
	nl_socket_enable_msg_peek(c->sock);
	fd = nl_socket_get_fd(c->sock);
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	c->family = genl_ctrl_resolve(c->sock, FBUF_FAMILY_NAME);
	return c->family;
}

struct ctl *ctl_open(bool quiet)
{
	struct ctl *c = calloc(1, sizeof(*c));
	int ret = -NLE_NOMEM;

	if (c) {
		c->sock = nl_socket_alloc();
		c->cb = nl_cb_alloc(NL_CB_DEFAULT);
		if (c->sock && c->cb)
			ret = connect_sock(c);
	}
	if (ret >= 0)
		return c;
	if (!quiet && ret == -NLE_OBJ_NOTFOUND)
		tool_no_module();
	else if (!quiet)
		tool_err("Cannot speak netlink with the kernel: %s.",
			 nl_geterror(ret));
	ctl_close(c);
	return NULL;
}

void ctl_close(struct ctl *c)
{
	if (!c)
		return;
	nl_cb_put(c->cb);
	nl_socket_free(c->sock);
	free(c->objs);
	free(c);
}

/* One request, and all of its answer into c->objs. */
static int ask(struct ctl *c, unsigned int cmd, int flags,
	       const struct ctl_set *set, const void *obj)
{
	struct nl_msg *msg = nlmsg_alloc();
	int ret = -NLE_NOMEM;

	c->set = set;
	c->nr = 0;
	c->err = 0;
	c->done = false;
	*c->text = '\0';
	if (msg && genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, c->family, 0,
			       flags, cmd, FBUF_FAMILY_VERSION) &&
	    (!obj || !encode(msg, set, obj)))
		ret = nl_send_auto(c->sock, msg);
	if (msg)
		nlmsg_free(msg);
	while (ret >= 0 && !c->done)
		ret = nl_recvmsgs(c->sock, c->cb);
	if (c->err)
		return c->err;
	return ret < 0 ? to_errno(c, ret) : 0;
}

int ctl_get(struct ctl *c, const struct ctl_set *set, void *obj)
{
	int ret = ask(c, set->get, 0, set, obj);

	if (ret < 0)
		return ret;
	if (!c->nr)
		return -EPROTO;
	memcpy(obj, c->objs, set->size);
	return 0;
}

ssize_t ctl_list(struct ctl *c, const struct ctl_set *set, void **objs)
{
	int ret, tries = 10;

	/* Something changed while it was listed. */
	do {
		ret = ask(c, set->get, NLM_F_DUMP, set, NULL);
	} while (ret == -EAGAIN && tries--);
	if (ret < 0 && ret != -EAGAIN)
		return ret;
	*objs = c->objs;
	c->objs = NULL;
	return c->nr;
}

bool ctl_limit_own(struct ctl_limit *limit)
{
	struct ctl *c = ctl_open(true);
	struct ctl_limit *users;
	ssize_t nr = -1, i;

	*limit = (struct ctl_limit){ };
	if (!c)
		return false;
	if (!ctl_get(c, &ctl_limits, limit))
		nr = ctl_list(c, &ctl_limits, (void **)&users);
	ctl_close(c);
	for (i = 0; i < nr; i++) {
		if (users[i].uid != getuid())
			continue;
		limit->user_max = users[i].user_max;
		limit->charged = users[i].charged;
	}
	if (nr >= 0)
		free(users);
	return nr >= 0;
}

int ctl_limit_set(struct ctl *c, const struct ctl_limit *limit)
{
	return ask(c, FBUF_CMD_LIMIT_SET, 0, &ctl_limits, limit);
}

int ctl_fail(struct ctl *c, const char *what, int err)
{
	if (err == -EPERM || err == -EACCES)
		tool_err("You may not %s: that takes root, or the capability CAP_NET_ADMIN.",
			 what);
	else if (err == -ENOENT || err == -ENODEV)
		tool_err("Cannot %s: the fbuf module is not loaded any more.",
			 what);
	else if (err == -EPROTO)
		tool_err("Cannot %s: the module's answer makes no sense; is it of another version?",
			 what);
	else
		tool_err("Cannot %s: %s.", what,
			 *c->text ? c->text : strerror(-err));
	return TOOL_FAIL;
}

int ctl_fail_pool(struct ctl *c, uint64_t id, int err)
{
	char what[64];

	if (err == -ENOENT) {
		tool_err("There is no pool %llu, or it is another user's; \"fbuf pool list\" shows those that you may see.",
			 (unsigned long long)id);
		return TOOL_FAIL;
	}
	snprintf(what, sizeof(what), "look at pool %llu",
		 (unsigned long long)id);
	return ctl_fail(c, what, err);
}

/* The kernel tells when families go: so that nobody waits for ours in vain. */
static bool family_gone(struct ctl *c, struct nlmsghdr *nlh)
{
	struct nla_policy policy[CTRL_ATTR_MAX + 1] = {
		[CTRL_ATTR_FAMILY_ID] = { .type = NLA_U16 },
	};
	struct nlattr *tb[CTRL_ATTR_MAX + 1];

	return genlmsg_hdr(nlh)->cmd == CTRL_CMD_DELFAMILY &&
	       genlmsg_parse(nlh, 0, tb, CTRL_ATTR_MAX, policy) >= 0 &&
	       tb[CTRL_ATTR_FAMILY_ID] &&
	       nla_get_u16(tb[CTRL_ATTR_FAMILY_ID]) == c->family;
}

/* Events answer no request. */
static int any_seq(struct nl_msg *msg, void *arg)
{
	(void)msg;
	(void)arg;
	return NL_OK;
}

static int on_event(struct nl_msg *msg, void *arg)
{
	struct nlmsghdr *nlh = nlmsg_hdr(msg);
	struct ctl_pool pool;
	struct ctl *c = arg;

	if (c->done || !genlmsg_valid_hdr(nlh, 0))
		return NL_SKIP;
	if (nlh->nlmsg_type == GENL_ID_CTRL && family_gone(c, nlh)) {
		c->err = -ENODEV;
		c->done = true;
	}
	if (nlh->nlmsg_type == c->family &&
	    decode(&ctl_pools, nlh, (char *)&pool))
		c->done = !c->event(genlmsg_hdr(nlh)->cmd, &pool, c->arg);
	return NL_SKIP;
}

int ctl_join(struct ctl *c)
{
	int events, notify, ret;

	events = genl_ctrl_resolve_grp(c->sock, FBUF_FAMILY_NAME,
				       FBUF_MCGRP_EVENTS);
	if (events < 0)
		return to_errno(c, events);
	notify = genl_ctrl_resolve_grp(c->sock, "nlctrl", "notify");
	nl_socket_set_buffer_size(c->sock, EVENT_ROOM, 0);
	nl_cb_set(c->cb, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, any_seq, NULL);
	nl_cb_set(c->cb, NL_CB_VALID, NL_CB_CUSTOM, on_event, c);
	ret = nl_socket_add_membership(c->sock, events);
	if (ret >= 0 && notify >= 0)
		nl_socket_add_membership(c->sock, notify);
	return ret < 0 ? to_errno(c, ret) : 0;
}

int ctl_events(struct ctl *c, ctl_event_fn *fn, void *arg)
{
	int ret = 0;

	c->event = fn;
	c->arg = arg;
	c->err = 0;
	c->done = false;
	while (ret >= 0 && !c->done)
		ret = nl_recvmsgs(c->sock, c->cb);
	if (c->err)
		return c->err;
	return ret < 0 ? to_errno(c, ret) : 0;
}
