/* SPDX-License-Identifier: GPL-2.0 */
/* Who is charged for pools. See charge.c. */
#ifndef FBUF_CHARGE_H
#define FBUF_CHARGE_H

#include <linux/list.h>
#include <linux/types.h>
#include <linux/uidgid.h>

struct fbuf_pool;

/**
 * struct fbuf_user - what is charged to one user
 * @uid: the user
 * @pages: pages charged
 * @pools: pools that the user made, retired ones included
 * @limit: bytes that may be charged, if @own
 * @own: the user has a limit of his own
 * @bounds: memory cgroups that are enough for pools of his, see charge.c
 *
 * Protected by the lock of all users. One of them while @pools or @own.
 */
struct fbuf_user {
	kuid_t uid;
	unsigned long pages;
	unsigned int pools;
	u64 limit;
	bool own;
	struct list_head bounds;
};

extern unsigned long long fbuf_pool_max;
extern unsigned long long fbuf_user_max;
void fbuf_charge_log(struct fbuf_pool *pool, unsigned long nr, int err,
		     const char *what);
int fbuf_charge_init(struct fbuf_pool *pool);
void fbuf_charge_close(struct fbuf_pool *pool);
void fbuf_charge_exit(struct fbuf_pool *pool);
int fbuf_charge(struct fbuf_pool *pool, unsigned long nr);
int fbuf_charge_parcel(struct fbuf_pool *pool, unsigned long nr);
void fbuf_uncharge(struct fbuf_pool *pool, unsigned long nr);
void fbuf_uncharge_parcel(struct fbuf_pool *pool, unsigned long nr);
int fbuf_user_next(u64 from, struct fbuf_user *user);
int fbuf_user_set_limit(kuid_t uid, bool own, u64 limit);
void fbuf_users_exit(void);

#endif /* FBUF_CHARGE_H */
