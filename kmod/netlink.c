// SPDX-License-Identifier: GPL-2.0
/*
 * The control plane: generic netlink family "fbuf".
 *
 * Documentation/netlink/specs/fbuf.yaml is its source: the policies and the
 * table of operations here are those that it gives. Whoever is not privileged
 * sees the pools of his own user only. Events go to the initial network
 * namespace, to listeners with CAP_NET_ADMIN.
 */
#include <linux/cred.h>
#include <linux/jiffies.h>
#include <linux/workqueue.h>
#include <net/genetlink.h>
#include <net/sock.h>

#include <linux/fbuf_netlink.h>

#include "bound.h"
#include "charge.h"
#include "compat.h"
#include "event.h"
#include "look.h"
#include "netlink.h"
#include "nudge.h"
#include "parcel.h"
#include "pool.h"
#include "ring.h"
#include "stats.h"
#include "types.h"
#include "wait.h"

static struct genl_family fbuf_nl_family;

enum {
	FBUF_NLGRP_EVENTS,
};

/* How often to look whether something is stuck, while somebody listens. */
#define STUCK_PERIOD_MIN	50U	/* milliseconds */
#define STUCK_PERIOD_MAX	1000U

static void stuck_work_fn(struct work_struct *work);
static DECLARE_DELAYED_WORK(stuck_work, stuck_work_fn);

static bool nl_privileged(struct sk_buff *skb)
{
	return netlink_capable(skb, CAP_NET_ADMIN);
}

static bool nl_visible(struct sk_buff *skb, const struct fbuf_pool *pool)
{
	return uid_eq(NETLINK_CREDS(skb)->uid, pool->uid) ||
	       nl_privileged(skb);
}

static struct user_namespace *nl_user_ns(struct sk_buff *skb)
{
	return sk_user_ns(NETLINK_CB(skb).sk);
}

/* False once the family is gone, and its groups are another's. */
static bool nl_up;

static bool nl_listening(void)
{
	return READ_ONCE(nl_up) &&
	       genl_has_listeners(&fbuf_nl_family, &init_net,
				  FBUF_NLGRP_EVENTS);
}

static void stuck_start(void)
{
	unsigned int ms = clamp(READ_ONCE(fbuf_stuck_ms) / 4,
				STUCK_PERIOD_MIN, STUCK_PERIOD_MAX);

	queue_delayed_work(fbuf_wq, &stuck_work, msecs_to_jiffies(ms));
}

static int put_u64(struct sk_buff *msg, int attr, u64 value, int pad)
{
	return nla_put_u64_64bit(msg, attr, value, pad);
}

static int pool_put_static(struct sk_buff *msg, const struct fbuf_pool *pool,
			   struct user_namespace *ns)
{
	if (put_u64(msg, FBUF_A_POOL_ID, pool->id, FBUF_A_POOL_PAD) ||
	    nla_put_u32(msg, FBUF_A_POOL_UID,
			from_kuid_munged(ns, pool->uid)) ||
	    nla_put_u32(msg, FBUF_A_POOL_BUF_SIZE, 1U << pool->buf_shift) ||
	    nla_put_u32(msg, FBUF_A_POOL_NR_BUFS, pool->nr_bufs) ||
	    nla_put_u32(msg, FBUF_A_POOL_FLAGS, pool->flags) ||
	    nla_put_s32(msg, FBUF_A_POOL_NODE, pool->node) ||
	    nla_put_u32(msg, FBUF_A_POOL_SPLIT, pool->nr_split) ||
	    (pool->bound && nla_put_flag(msg, FBUF_A_POOL_BY_CGROUP)))
		return -EMSGSIZE;
	return 0;
}

static int pool_put_parcels(struct sk_buff *msg, struct fbuf_pool *pool)
	__must_hold(&pool->lock)
{
	const int pad = FBUF_A_POOL_PAD;
	const struct fbuf_parcel *oldest =
		list_first_entry_or_null(&pool->parcels, struct fbuf_parcel,
					 node);

	if (nla_put_u32(msg, FBUF_A_POOL_PARCELS, pool->nr_parcels) ||
	    put_u64(msg, FBUF_A_POOL_PARCEL_BYTES,
		    (u64)pool->parcel_pages << PAGE_SHIFT, pad))
		return -EMSGSIZE;
	return oldest ? put_u64(msg, FBUF_A_POOL_PARCEL_OLDEST_MS,
				jiffies_to_msecs(jiffies - oldest->born),
				pad) : 0;
}

static int pool_put_state(struct sk_buff *msg, struct fbuf_pool *pool,
			  const struct fbuf_flight *flight)
	__must_hold(&pool->lock)
{
	const int pad = FBUF_A_POOL_PAD;

	if (nla_put_u32(msg, FBUF_A_POOL_HANDLES, pool->nr_handles) ||
	    nla_put_u32(msg, FBUF_A_POOL_HELD, pool->nr_held) ||
	    nla_put_u32(msg, FBUF_A_POOL_IN_FLIGHT, flight->bufs) ||
	    put_u64(msg, FBUF_A_POOL_IN_FLIGHT_BYTES, flight->bytes, pad) ||
	    put_u64(msg, FBUF_A_POOL_CHARGED,
		    (u64)pool->charged << PAGE_SHIFT, pad) ||
	    put_u64(msg, FBUF_A_POOL_RESIDENT, fbuf_pool_resident(pool), pad))
		return -EMSGSIZE;
	if (flight->aged &&
	    put_u64(msg, FBUF_A_POOL_OLDEST_MS, flight->age_ms, pad))
		return -EMSGSIZE;
	if (flight->sock &&
	    put_u64(msg, FBUF_A_POOL_OLDEST_SOCK, flight->sock, pad))
		return -EMSGSIZE;
	return pool_put_parcels(msg, pool);
}

/* A message of a pool, whose header was just put. */
static int pool_fill(struct sk_buff *msg, void *hdr, struct fbuf_pool *pool,
		     const struct fbuf_flight *flight,
		     struct user_namespace *ns)
{
	int err;

	if (!hdr)
		return -EMSGSIZE;
	err = pool_put_static(msg, pool, ns);
	if (!err) {
		mutex_lock(&pool->lock);
		err = pool_put_state(msg, pool, flight);
		mutex_unlock(&pool->lock);
	}
	if (err) {
		genlmsg_cancel(msg, hdr);
		return -EMSGSIZE;
	}
	genlmsg_end(msg, hdr);
	return 0;
}

static struct sk_buff *event_new(struct fbuf_pool *pool, unsigned int cmd,
				 const struct fbuf_flight *flight)
{
	struct sk_buff *msg = genlmsg_new(NLMSG_GOODSIZE, GFP_KERNEL);
	void *hdr;

	if (!msg)
		return NULL;
	hdr = genlmsg_put(msg, 0, 0, &fbuf_nl_family, 0, cmd);
	if (!pool_fill(msg, hdr, pool, flight, &init_user_ns))
		return msg;
	nlmsg_free(msg);
	return NULL;
}

static void event_send(struct fbuf_pool *pool, unsigned int cmd,
		       const struct fbuf_flight *flight)
{
	struct sk_buff *msg = event_new(pool, cmd, flight);

	if (msg)
		genlmsg_multicast(&fbuf_nl_family, msg, 0, FBUF_NLGRP_EVENTS,
				  GFP_KERNEL);
	else
		/* As when a message does not fit: they miss one, and know. */
		genl_set_err(&fbuf_nl_family, &init_net, 0, FBUF_NLGRP_EVENTS,
			     -ENOBUFS);
}

/* Is something stuck that was not, the last time? Only the work asks. */
static bool stuck_anew(struct fbuf_pool *pool, const struct fbuf_flight *flight)
{
	bool before = pool->stuck;

	pool->stuck = flight->aged &&
		      flight->age_ms >= READ_ONCE(fbuf_stuck_ms);
	return pool->stuck && !before;
}

static void nl_tell(struct fbuf_pool *pool, unsigned long events)
{
	static const u8 order[] = {
		FBUF_CMD_CREATED_NTF, FBUF_CMD_EXHAUSTED_NTF,
		FBUF_CMD_STUCK_NTF, FBUF_CMD_DESTROYED_NTF,
	};
	struct fbuf_flight flight;
	unsigned int i;

	if (!nl_listening())
		return;
	stuck_start();
	fbuf_flight_get(pool, &flight);
	if (events & BIT(FBUF_EVENT_LOOK) && stuck_anew(pool, &flight))
		events |= BIT(FBUF_CMD_STUCK_NTF);
	for (i = 0; i < ARRAY_SIZE(order); i++) {
		if (events & BIT(order[i]))
			event_send(pool, order[i], &flight);
	}
}

static const struct fbuf_teller nl_teller = {
	.listening	= nl_listening,
	.tell		= nl_tell,
};

static void stuck_work_fn(struct work_struct *work)
{
	struct fbuf_pool *pool;
	u64 id = 0;

	if (!nl_listening())
		return;
	/* A packet that was read is not stuck: have it gone by the next look. */
	fbuf_nudge();
	/* Each pool by itself: its lock may be long in coming. */
	while ((pool = fbuf_pool_next(id))) {
		id = pool->id;
		fbuf_event(pool, FBUF_EVENT_LOOK);
		fbuf_pool_unref(pool);
	}
	stuck_start();
}

/* Calls @fill for all pools that the caller may see. */
static int pools_dump(struct sk_buff *msg, struct netlink_callback *cb,
		      int (*fill)(struct sk_buff *msg,
				  struct netlink_callback *cb,
				  struct fbuf_pool *pool))
{
	struct fbuf_pool *pool;
	int err = 0;

	/* cb->args[0] is the last that was had. */
	while (!err && (pool = fbuf_pool_next(cb->args[0]))) {
		if (nl_visible(cb->skb, pool))
			err = fill(msg, cb, pool);
		if (!err)
			cb->args[0] = pool->id;
		fbuf_pool_unref(pool);
	}
	if (nl_listening())
		stuck_start();
	/* More next time, unless not even one fits. */
	return msg->len ?: err;
}

static int pool_dump_one(struct sk_buff *msg, struct netlink_callback *cb,
			 struct fbuf_pool *pool)
{
	struct fbuf_flight flight;
	void *hdr;

	fbuf_flight_get(pool, &flight);
	hdr = genlmsg_put(msg, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
			  &fbuf_nl_family, NLM_F_MULTI, FBUF_CMD_POOL_GET);
	return pool_fill(msg, hdr, pool, &flight, nl_user_ns(cb->skb));
}

static int fbuf_nl_pool_get_dumpit(struct sk_buff *skb,
				   struct netlink_callback *cb)
{
	return pools_dump(skb, cb, pool_dump_one);
}

/* A reply that @fill makes of the pool that the request names in @attr. */
static int pool_reply(struct genl_info *info, struct sk_buff *skb, int attr,
		      int (*fill)(struct sk_buff *msg, struct genl_info *info,
				  struct sk_buff *skb, struct fbuf_pool *pool))
{
	struct fbuf_pool *pool;
	struct sk_buff *msg;
	int err = -ENOENT;

	msg = genlmsg_new(NLMSG_GOODSIZE, GFP_KERNEL);
	if (!msg)
		return -ENOMEM;
	pool = fbuf_pool_find(nla_get_u64(info->attrs[attr]));
	if (pool && nl_visible(skb, pool))
		err = fill(msg, info, skb, pool);
	if (pool)
		fbuf_pool_unref(pool);
	if (!err)
		return genlmsg_reply(msg, info);
	nlmsg_free(msg);
	if (err == -ENOENT)
		NL_SET_ERR_MSG_ATTR(info->extack, info->attrs[attr],
				    "there is no such pool, or it is another user's");
	return err;
}

static int pool_reply_fill(struct sk_buff *msg, struct genl_info *info,
			   struct sk_buff *skb, struct fbuf_pool *pool)
{
	struct fbuf_flight flight;
	void *hdr;

	fbuf_flight_get(pool, &flight);
	hdr = genlmsg_put_reply(msg, info, &fbuf_nl_family, 0,
				FBUF_CMD_POOL_GET);
	return pool_fill(msg, hdr, pool, &flight, nl_user_ns(skb));
}

static int fbuf_nl_pool_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	if (!info->attrs[FBUF_A_POOL_ID]) {
		NL_SET_ERR_MSG(info->extack, "which pool? its id is missing");
		return -EINVAL;
	}
	return pool_reply(info, skb, FBUF_A_POOL_ID, pool_reply_fill);
}

static int handle_fill(struct sk_buff *msg, struct netlink_callback *cb,
		       struct fbuf_handle *h)
{
	unsigned int queued = h->ring ? fbuf_ring_used(h->ring) : 0;
	void *hdr;

	hdr = genlmsg_put(msg, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
			  &fbuf_nl_family, NLM_F_MULTI, FBUF_CMD_HANDLE_GET);
	if (!hdr)
		return -EMSGSIZE;
	if (put_u64(msg, FBUF_A_HANDLE_POOL_ID, h->pool->id,
		    FBUF_A_HANDLE_PAD) ||
	    nla_put_u32(msg, FBUF_A_HANDLE_ID, h->id) ||
	    nla_put_u32(msg, FBUF_A_HANDLE_RIGHTS, h->rights) ||
	    nla_put_u32(msg, FBUF_A_HANDLE_HOLDS, h->nr_holds) ||
	    nla_put_u32(msg, FBUF_A_HANDLE_MAX_HOLDS, h->max_holds) ||
	    nla_put_u32(msg, FBUF_A_HANDLE_QUEUED, queued)) {
		genlmsg_cancel(msg, hdr);
		return -EMSGSIZE;
	}
	genlmsg_end(msg, hdr);
	return 0;
}

/* cb->args[1] is the last handle that is out of pool number cb->args[2]. */
static int handle_dump_pool(struct sk_buff *msg, struct netlink_callback *cb,
			    struct fbuf_pool *pool)
{
	struct fbuf_handle *h;
	unsigned long id;
	int err = 0;

	if (cb->args[2] != pool->id) {
		cb->args[2] = pool->id;
		cb->args[1] = 0;
	}
	mutex_lock(&pool->lock);
	xa_for_each_start(&pool->handles, id, h, cb->args[1] + 1) {
		err = handle_fill(msg, cb, h);
		if (err)
			break;
		cb->args[1] = id;
	}
	mutex_unlock(&pool->lock);
	return err;
}

static int fbuf_nl_handle_get_dumpit(struct sk_buff *skb,
				     struct netlink_callback *cb)
{
	return pools_dump(skb, cb, handle_dump_pool);
}

static int stats_put(struct sk_buff *msg, const struct fbuf_counters *c)
{
	const int pad = FBUF_A_STATS_PAD;

	if (put_u64(msg, FBUF_A_STATS_SENDS, c->sends, pad) ||
	    put_u64(msg, FBUF_A_STATS_BYTES, c->bytes, pad) ||
	    put_u64(msg, FBUF_A_STATS_COPIED, c->copied, pad) ||
	    put_u64(msg, FBUF_A_STATS_ALLOCS, c->allocs, pad) ||
	    put_u64(msg, FBUF_A_STATS_FREES, c->frees, pad) ||
	    put_u64(msg, FBUF_A_STATS_REUSES, c->reuses, pad) ||
	    put_u64(msg, FBUF_A_STATS_PASSES, c->passes, pad) ||
	    put_u64(msg, FBUF_A_STATS_PROTECTS, c->protects, pad) ||
	    put_u64(msg, FBUF_A_STATS_SNAPSHOTS, c->snapshots, pad) ||
	    put_u64(msg, FBUF_A_STATS_WAITS, c->waits, pad) ||
	    put_u64(msg, FBUF_A_STATS_RECLAIMS, c->reclaims, pad) ||
	    put_u64(msg, FBUF_A_STATS_FILLS, c->fills, pad) ||
	    put_u64(msg, FBUF_A_STATS_FILLED, c->filled, pad) ||
	    put_u64(msg, FBUF_A_STATS_RECVS, c->recvs, pad) ||
	    put_u64(msg, FBUF_A_STATS_RECEIVED, c->received, pad) ||
	    put_u64(msg, FBUF_A_STATS_RECV_COPIED, c->recv_copied, pad))
		return -EMSGSIZE;
	return 0;
}

/* Of one pool, or of all if it is NULL. */
static int stats_fill(struct sk_buff *msg, const struct fbuf_pool *pool,
		      const struct fbuf_counters *c, u32 portid, u32 seq,
		      int flags)
{
	void *hdr;

	hdr = genlmsg_put(msg, portid, seq, &fbuf_nl_family, flags,
			  FBUF_CMD_STATS_GET);
	if (!hdr)
		return -EMSGSIZE;
	if ((pool && put_u64(msg, FBUF_A_STATS_POOL_ID, pool->id,
			     FBUF_A_STATS_PAD)) ||
	    stats_put(msg, c)) {
		genlmsg_cancel(msg, hdr);
		return -EMSGSIZE;
	}
	genlmsg_end(msg, hdr);
	return 0;
}

static int stats_dump_one(struct sk_buff *msg, struct netlink_callback *cb,
			  struct fbuf_pool *pool)
{
	struct fbuf_counters sum = {};

	fbuf_counters_sum(pool, &sum);
	return stats_fill(msg, pool, &sum, NETLINK_CB(cb->skb).portid,
			  cb->nlh->nlmsg_seq, NLM_F_MULTI);
}

static int fbuf_nl_stats_get_dumpit(struct sk_buff *skb,
				    struct netlink_callback *cb)
{
	return pools_dump(skb, cb, stats_dump_one);
}

static int stats_reply_fill(struct sk_buff *msg, struct genl_info *info,
			    struct sk_buff *skb, struct fbuf_pool *pool)
{
	struct fbuf_counters sum = {};

	fbuf_counters_sum(pool, &sum);
	return stats_fill(msg, pool, &sum, info->snd_portid, info->snd_seq, 0);
}

static int stats_reply_totals(struct genl_info *info)
{
	struct fbuf_counters sum;
	struct sk_buff *msg;

	msg = genlmsg_new(NLMSG_GOODSIZE, GFP_KERNEL);
	if (!msg)
		return -ENOMEM;
	fbuf_totals(&sum);
	if (stats_fill(msg, NULL, &sum, info->snd_portid, info->snd_seq, 0)) {
		nlmsg_free(msg);
		return -EMSGSIZE;
	}
	return genlmsg_reply(msg, info);
}

static int fbuf_nl_stats_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	if (info->attrs[FBUF_A_STATS_POOL_ID])
		return pool_reply(info, skb, FBUF_A_STATS_POOL_ID,
				  stats_reply_fill);
	if (!nl_privileged(skb)) {
		NL_SET_ERR_MSG(info->extack,
			       "the sum over all users needs CAP_NET_ADMIN");
		return -EPERM;
	}
	return stats_reply_totals(info);
}

static int fbuf_nl_limit_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	const int pad = FBUF_A_LIMIT_PAD;
	struct sk_buff *msg;
	void *hdr;

	msg = genlmsg_new(NLMSG_GOODSIZE, GFP_KERNEL);
	if (!msg)
		return -ENOMEM;
	hdr = genlmsg_put_reply(msg, info, &fbuf_nl_family, 0,
				FBUF_CMD_LIMIT_GET);
	if (!hdr ||
	    put_u64(msg, FBUF_A_LIMIT_POOL_MAX, fbuf_pool_max, pad) ||
	    put_u64(msg, FBUF_A_LIMIT_USER_MAX, fbuf_user_max, pad) ||
	    nla_put_u32(msg, FBUF_A_LIMIT_CGROUP_ALONE, fbuf_cgroup_alone)) {
		nlmsg_free(msg);
		return -EMSGSIZE;
	}
	genlmsg_end(msg, hdr);
	return genlmsg_reply(msg, info);
}

static int user_put(struct sk_buff *msg, const struct fbuf_user *user,
		    struct user_namespace *ns)
{
	const int pad = FBUF_A_LIMIT_PAD;
	u64 limit = user->own ? user->limit : READ_ONCE(fbuf_user_max);

	if (nla_put_u32(msg, FBUF_A_LIMIT_UID,
			from_kuid_munged(ns, user->uid)) ||
	    put_u64(msg, FBUF_A_LIMIT_USER_MAX, limit, pad) ||
	    put_u64(msg, FBUF_A_LIMIT_CHARGED,
		    (u64)user->pages << PAGE_SHIFT, pad) ||
	    nla_put_u32(msg, FBUF_A_LIMIT_POOLS, user->pools) ||
	    (user->own && nla_put_flag(msg, FBUF_A_LIMIT_OWN)))
		return -EMSGSIZE;
	return 0;
}

static int user_fill(struct sk_buff *msg, struct netlink_callback *cb,
		     const struct fbuf_user *user)
{
	void *hdr;

	hdr = genlmsg_put(msg, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
			  &fbuf_nl_family, NLM_F_MULTI, FBUF_CMD_LIMIT_GET);
	if (!hdr)
		return -EMSGSIZE;
	if (user_put(msg, user, nl_user_ns(cb->skb))) {
		genlmsg_cancel(msg, hdr);
		return -EMSGSIZE;
	}
	genlmsg_end(msg, hdr);
	return 0;
}

/*
 * What packets let go of is charged no more, once somebody has looked: at what he
 * is to see, and nobody else's.
 */
static void pools_settle(struct sk_buff *skb)
{
	struct fbuf_pool *pool;
	u64 id = 0;

	while ((pool = fbuf_pool_next(id))) {
		id = pool->id;
		if (nl_visible(skb, pool))
			fbuf_settle_all(pool);
		fbuf_pool_unref(pool);
	}
}

static int fbuf_nl_limit_get_dumpit(struct sk_buff *skb,
				    struct netlink_callback *cb)
{
	struct fbuf_user user;
	int err = 0;

	if (!cb->args[0])
		pools_settle(cb->skb);
	while (!fbuf_user_next(cb->args[0], &user)) {
		if (uid_eq(NETLINK_CREDS(cb->skb)->uid, user.uid) ||
		    nl_privileged(cb->skb))
			err = user_fill(skb, cb, &user);
		if (err)
			break;
		cb->args[0] = __kuid_val(user.uid) + 1L;
	}
	return skb->len ?: err;
}

static int limit_set_user(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *max = info->attrs[FBUF_A_LIMIT_USER_MAX];
	struct nlattr *uid = info->attrs[FBUF_A_LIMIT_UID];
	kuid_t kuid = make_kuid(nl_user_ns(skb), nla_get_u32(uid));

	if (!uid_valid(kuid)) {
		NL_SET_ERR_MSG_ATTR(info->extack, uid,
				    "this user id is not valid here");
		return -EINVAL;
	}
	if (!max == !info->attrs[FBUF_A_LIMIT_OWN]) {
		NL_SET_ERR_MSG(info->extack,
			       "a user id wants either user-max or own");
		return -EINVAL;
	}
	return fbuf_user_set_limit(kuid, max, max ? nla_get_u64(max) : 0);
}

static int fbuf_nl_limit_set_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *pool_max = info->attrs[FBUF_A_LIMIT_POOL_MAX];
	struct nlattr *user_max = info->attrs[FBUF_A_LIMIT_USER_MAX];
	struct nlattr *alone = info->attrs[FBUF_A_LIMIT_CGROUP_ALONE];
	struct nlattr *uid = info->attrs[FBUF_A_LIMIT_UID];
	int err = 0;

	if (!uid && info->attrs[FBUF_A_LIMIT_OWN]) {
		NL_SET_ERR_MSG(info->extack, "own is of a user: uid is missing");
		return -EINVAL;
	}
	if (!pool_max && !user_max && !alone && !uid) {
		NL_SET_ERR_MSG(info->extack, "there is no limit to set");
		return -EINVAL;
	}
	if (uid)
		err = limit_set_user(skb, info);
	else if (user_max)
		WRITE_ONCE(fbuf_user_max, nla_get_u64(user_max));
	if (!err && pool_max)
		WRITE_ONCE(fbuf_pool_max, nla_get_u64(pool_max));
	if (!err && alone)
		WRITE_ONCE(fbuf_cgroup_alone, nla_get_u32(alone));
	return err;
}

/* FBUF_CMD_POOL_GET - do */
static const struct nla_policy fbuf_pool_get_nl_policy[FBUF_A_POOL_ID + 1] = {
	[FBUF_A_POOL_ID] = { .type = NLA_U64, },
};

/* FBUF_CMD_STATS_GET - do */
static const struct nla_policy fbuf_stats_get_nl_policy[FBUF_A_STATS_POOL_ID + 1] = {
	[FBUF_A_STATS_POOL_ID] = { .type = NLA_U64, },
};

/* FBUF_CMD_LIMIT_SET - do */
static const struct nla_policy fbuf_limit_set_nl_policy[FBUF_A_LIMIT_CGROUP_ALONE + 1] = {
	[FBUF_A_LIMIT_POOL_MAX] = { .type = NLA_U64, },
	[FBUF_A_LIMIT_USER_MAX] = { .type = NLA_U64, },
	[FBUF_A_LIMIT_UID] = { .type = NLA_U32, },
	[FBUF_A_LIMIT_OWN] = { .type = NLA_FLAG, },
	[FBUF_A_LIMIT_CGROUP_ALONE] = NLA_POLICY_MAX(NLA_U32, 1),
};

static const struct genl_ops fbuf_nl_ops[] = {
	{
		.cmd		= FBUF_CMD_POOL_GET,
		.doit		= fbuf_nl_pool_get_doit,
		.dumpit		= fbuf_nl_pool_get_dumpit,
		.policy		= fbuf_pool_get_nl_policy,
		.maxattr	= FBUF_A_POOL_ID,
	},
	{
		.cmd		= FBUF_CMD_HANDLE_GET,
		.dumpit		= fbuf_nl_handle_get_dumpit,
	},
	{
		.cmd		= FBUF_CMD_STATS_GET,
		.doit		= fbuf_nl_stats_get_doit,
		.dumpit		= fbuf_nl_stats_get_dumpit,
		.policy		= fbuf_stats_get_nl_policy,
		.maxattr	= FBUF_A_STATS_POOL_ID,
	},
	{
		.cmd		= FBUF_CMD_LIMIT_GET,
		.doit		= fbuf_nl_limit_get_doit,
		.dumpit		= fbuf_nl_limit_get_dumpit,
	},
	{
		.cmd		= FBUF_CMD_LIMIT_SET,
		.doit		= fbuf_nl_limit_set_doit,
		.policy		= fbuf_limit_set_nl_policy,
		.maxattr	= FBUF_A_LIMIT_CGROUP_ALONE,
		.flags		= GENL_ADMIN_PERM,
	},
};

static const struct genl_multicast_group fbuf_nl_mcgrps[] = {
	[FBUF_NLGRP_EVENTS] = {
		.name	= FBUF_MCGRP_EVENTS,
		.flags	= GENL_MCAST_CAP_NET_ADMIN,
	},
};

static struct genl_family fbuf_nl_family __ro_after_init = {
	.name		= FBUF_FAMILY_NAME,
	.version	= FBUF_FAMILY_VERSION,
	.netnsok	= true,
	.parallel_ops	= true,
	.module		= THIS_MODULE,
	.ops		= fbuf_nl_ops,
	.n_ops		= ARRAY_SIZE(fbuf_nl_ops),
	.resv_start_op	= FBUF_CMD_POOL_GET,
	.mcgrps		= fbuf_nl_mcgrps,
	.n_mcgrps	= ARRAY_SIZE(fbuf_nl_mcgrps),
};

/**
 * fbuf_netlink_init() - offer the netlink family
 *
 * Return: 0 or what genl_register_family() says.
 */
int __init fbuf_netlink_init(void)
{
	int err = genl_register_family(&fbuf_nl_family);

	fbuf_teller = &nl_teller;
	WRITE_ONCE(nl_up, !err);
	return err;
}

/**
 * fbuf_netlink_exit() - undo fbuf_netlink_init()
 *
 * Context: may sleep; there is no handle any more.
 */
void fbuf_netlink_exit(void)
{
	WRITE_ONCE(nl_up, false);
	/* Work may have seen it up. */
	flush_workqueue(fbuf_wq);
	genl_unregister_family(&fbuf_nl_family);
	cancel_delayed_work_sync(&stuck_work);
}
