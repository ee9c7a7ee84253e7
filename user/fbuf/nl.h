/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The module's netlink family: what it tells, and how to ask for it.
 *
 * One table for each kind of object says which attribute goes where in which
 * structure; requests, answers and JSON are all made by it.
 */
#ifndef FBUF_TOOL_NL_H
#define FBUF_TOOL_NL_H

#include <linux/fbuf_netlink.h>

#include "tool.h"

/* In @seen of each object: this attribute is there. */
#define CTL_SEEN(attr)	(1ULL << (attr))

struct ctl_pool {
	uint64_t seen;
	uint64_t id;
	uint64_t in_flight_bytes;
	uint64_t oldest_ms;
	uint64_t oldest_sock;
	uint64_t charged;
	uint64_t resident;
	uint64_t parcel_bytes;
	uint64_t parcel_oldest_ms;
	uint32_t uid;
	uint32_t buf_size;
	uint32_t nr_bufs;
	uint32_t flags;
	int32_t node;
	uint32_t nr_handles;
	uint32_t nr_held;
	uint32_t nr_in_flight;
	uint32_t nr_split;
	uint32_t nr_parcels;
	bool by_cgroup;
};

struct ctl_handle {
	uint64_t seen;
	uint64_t pool;
	uint32_t id;
	uint32_t rights;
	uint32_t holds;
	uint32_t max_holds;
	uint32_t queued;
};

struct ctl_stats {
	uint64_t seen;
	uint64_t pool;
	uint64_t sends;
	uint64_t bytes;
	uint64_t copied;
	uint64_t allocs;
	uint64_t frees;
	uint64_t reuses;
	uint64_t passes;
	uint64_t protects;
	uint64_t snapshots;
	uint64_t waits;
	uint64_t reclaims;
	uint64_t fills;
	uint64_t filled;
	uint64_t recvs;
	uint64_t received;
	uint64_t recv_copied;
};

struct ctl_limit {
	uint64_t seen;
	uint64_t pool_max;
	uint64_t user_max;
	uint64_t charged;
	uint32_t uid;
	uint32_t pools;
	uint32_t cgroup_alone;
	bool own;
};

enum ctl_type { CTL_U32, CTL_S32, CTL_U64, CTL_FLAG };

struct ctl_field {
	const char *name;
	uint16_t attr;
	uint16_t type;
	size_t offset;
};

struct ctl_set {
	uint8_t get;		/* the command that gets them */
	size_t size;		/* of the structure */
	const struct ctl_field *fields;
	unsigned int nr_fields;
};

extern const struct ctl_set ctl_pools, ctl_handles, ctl_stats, ctl_limits;

struct ctl;

/* NULL after a message, or silently if quiet. */
struct ctl *ctl_open(bool quiet);
void ctl_close(struct ctl *c);

/*
 * These return a negative errno; ctl_fail() turns the last into a message: "You
 * cannot WHAT: ...", and returns TOOL_FAIL.
 *
 * Get one object: what is seen in obj is asked for, and the answer replaces it.
 */
int ctl_get(struct ctl *c, const struct ctl_set *set, void *obj);
/* Get all; returns how many. *objs is to be freed if it succeeds. */
ssize_t ctl_list(struct ctl *c, const struct ctl_set *set, void **objs);
/*
 * The limits that hold for this user, and what he is charged, without a message; 0 for
 * what is not known. False if that is all of it.
 */
bool ctl_limit_own(struct ctl_limit *limit);
/* Ask to set what is seen in limit. */
int ctl_limit_set(struct ctl *c, const struct ctl_limit *limit);

int ctl_fail(struct ctl *c, const char *what, int err);
/* The same for what was asked of one pool. */
int ctl_fail_pool(struct ctl *c, uint64_t id, int err);

/* Events. A connection that has joined the group takes no requests. */
int ctl_join(struct ctl *c);
/*
 * Hands each event to fn, until it returns false. -ENOBUFS: some were lost, one
 * may go on; -ENODEV: the module is gone.
 */
typedef bool ctl_event_fn(unsigned int cmd, const struct ctl_pool *pool,
			  void *arg);
int ctl_events(struct ctl *c, ctl_event_fn *fn, void *arg);

/* What of the object was seen, as JSON. */
json_t *ctl_json(const struct ctl_set *set, const void *obj);
/* The same with words for flags. */
json_t *ctl_pool_json(const struct ctl_pool *pool);

/* "volatile", "secured" or "snapshot", and the flag of such a word. */
const char *ctl_protection(uint32_t flags);
bool ctl_protection_flag(const char *word, unsigned int *flag);

#endif /* FBUF_TOOL_NL_H */
