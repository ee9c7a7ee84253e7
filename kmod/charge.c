// SPDX-License-Identifier: GPL-2.0
/*
 * Who is charged for a pool: its maker's RLIMIT_MEMLOCK, unless he is
 * privileged, and the limits of this module, which are for everybody. What a memory
 * cgroup is charged for, and bounds, need not count as locked, see bound.c.
 *
 * The charge is for what the pool may have, memory that went back under
 * pressure included, so that it can return; and for snapshots in flight.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>
#include <linux/xarray.h>

#include "bound.h"
#include "charge.h"
#include "log.h"
#include "types.h"

#define PAGE_KIB(nr)	((u64)(nr) << (PAGE_SHIFT - 10))

/* Module parameters, in bytes; 0 is no limit. */
unsigned long long fbuf_pool_max;
unsigned long long fbuf_user_max;

/**
 * struct bound - what a user has in pools for which a memory cgroup is enough
 * @node: in the user's
 * @memcg: the group; it stays while there are such pools
 * @pages: of them, but for what is in flight of those that nobody has any more
 * @pools: how many
 *
 * Protected by the lock of all users.
 */
struct bound {
	struct list_head node;
	struct mem_cgroup *memcg;
	unsigned long pages;
	unsigned int pools;
};

/*
 * By user id, which is also the order of a dump: it goes on after the last it had,
 * whoever came or went. Its lock protects all that is there, too.
 */
static DEFINE_XARRAY(users);

/* The user if he is there, else a new one; NULL if there is no memory for that. */
static struct fbuf_user *user_find_or_add(kuid_t uid)
	__must_hold(&users.xa_lock)
{
	struct fbuf_user *fresh, *user = xa_load(&users, __kuid_val(uid));

	if (user)
		return user;
	xa_unlock(&users);
	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	xa_lock(&users);
	if (!fresh)
		return NULL;
	fresh->uid = uid;
	INIT_LIST_HEAD(&fresh->bounds);
	user = __xa_cmpxchg(&users, __kuid_val(uid), NULL, fresh, GFP_KERNEL);
	if (!user)
		return fresh;
	/* There is no memory, or another one was quicker. */
	kfree(fresh);
	return xa_is_err(user) ? NULL : user;
}

/* Forget the user if nothing keeps him. */
static void user_check(struct fbuf_user *user)
	__must_hold(&users.xa_lock)
{
	if (user->pools || user->own)
		return;
	__xa_erase(&users, __kuid_val(user->uid));
	kfree(user);
}

/* In bytes, or 0. */
static u64 user_limit(const struct fbuf_user *user)
	__must_hold(&users.xa_lock)
{
	return user->own ? user->limit : READ_ONCE(fbuf_user_max);
}

static int user_charge(struct fbuf_user *user, unsigned long nr)
{
	int err = -EDQUOT;
	u64 limit;

	xa_lock(&users);
	limit = user_limit(user);
	if (!limit || user->pages + nr <= limit >> PAGE_SHIFT) {
		user->pages += nr;
		err = 0;
	}
	xa_unlock(&users);
	return err;
}

static void user_uncharge(struct fbuf_user *user, unsigned long nr)
{
	xa_lock(&users);
	user->pages -= nr;
	xa_unlock(&users);
}

/*
 * Pages for which a group was enough that is gone: what its parent is charged for may
 * have no limit.
 */
static unsigned long user_unbounded(const struct fbuf_user *user)
	__must_hold(&users.xa_lock)
{
	const struct bound *b;
	unsigned long nr = 0;

	list_for_each_entry(b, &user->bounds, node) {
		if (!fbuf_bound_holds(b->memcg))
			nr += b->pages;
	}
	return nr;
}

static struct bound *user_bound(struct fbuf_user *user,
				struct mem_cgroup *memcg)
	__must_hold(&users.xa_lock)
{
	struct bound *b;

	list_for_each_entry(b, &user->bounds, node) {
		if (b->memcg == memcg)
			return b;
	}
	return NULL;
}

/*
 * From now on, its own memory does not count as locked. Not so for one who has more
 * than he may lock in pools that outlived their groups: he would get a limit anew with
 * each group. Nor if there is no memory to remember it.
 */
static void bound_join(struct fbuf_pool *pool, struct mem_cgroup *memcg)
	__must_hold(&users.xa_lock)
{
	struct bound *b;

	if (!memcg || user_unbounded(pool->owner) > pool->memlock)
		return;
	b = user_bound(pool->owner, memcg);
	if (!b) {
		b = kzalloc(sizeof(*b), GFP_ATOMIC | __GFP_ACCOUNT |
					__GFP_NOWARN);
		if (!b)
			return;
		b->memcg = memcg;
		list_add(&b->node, &pool->owner->bounds);
	}
	b->pages += pool->nr_pages;
	b->pools++;
	pool->bound = memcg;
	pool->bounds = true;
}

static void bound_leave(struct fbuf_pool *pool)
	__must_hold(&users.xa_lock)
{
	struct bound *b;

	if (!pool->bounds)
		return;
	pool->bounds = false;
	b = user_bound(pool->owner, pool->bound);
	b->pages -= pool->nr_pages;
	if (--b->pools)
		return;
	list_del(&b->node);
	kfree(b);
}

/*
 * The pool keeps the maker's credentials, and they his user: modules cannot let
 * go of a user themselves with every kernel (free_uid() is not always exported).
 */
static int memlock_charge(struct fbuf_pool *pool, unsigned long nr)
{
	atomic_long_t *locked;
	long cur;

	if (!pool->cred)
		return 0;
	locked = &pool->cred->user->locked_vm;
	cur = atomic_long_read(locked);
	do {
		if (cur + nr > pool->memlock)
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(locked, &cur, cur + nr));
	return 0;
}

static void memlock_uncharge(struct fbuf_pool *pool, unsigned long nr)
{
	if (pool->cred)
		atomic_long_sub(nr, &pool->cred->user->locked_vm);
}

static int charge(struct fbuf_pool *pool, unsigned long nr, bool locked)
{
	int err;

	err = locked ? memlock_charge(pool, nr) : 0;
	if (err)
		return err;
	err = user_charge(pool->owner, nr);
	if (err) {
		if (locked)
			memlock_uncharge(pool, nr);
		return err;
	}
	pool->charged += nr;
	return 0;
}

static void uncharge(struct fbuf_pool *pool, unsigned long nr, bool locked)
{
	if (!nr)
		return;
	if (locked)
		memlock_uncharge(pool, nr);
	user_uncharge(pool->owner, nr);
	pool->charged -= nr;
}

/**
 * fbuf_charge() - charge a pool's maker for its own memory
 * @pool: the pool
 * @nr: pages, for which its memory cgroup is charged when they are taken
 *
 * Context: any; the pool's lock is held unless nobody else sees the pool.
 * Return: 0, or -ENOMEM or -EDQUOT, with nothing charged.
 */
int fbuf_charge(struct fbuf_pool *pool, unsigned long nr)
{
	return charge(pool, nr, !pool->bound);
}

/**
 * fbuf_charge_parcel() - charge a pool's maker for what was received
 * @pool: the pool
 * @nr: pages, which are the network's: no memory cgroup is charged
 *
 * Context: as fbuf_charge().
 * Return: the same.
 */
int fbuf_charge_parcel(struct fbuf_pool *pool, unsigned long nr)
{
	return charge(pool, nr, true);
}

/**
 * fbuf_uncharge() - undo a part of what fbuf_charge() did
 * @pool: the pool
 * @nr: pages
 *
 * Context: as fbuf_charge().
 */
void fbuf_uncharge(struct fbuf_pool *pool, unsigned long nr)
{
	uncharge(pool, nr, !pool->bound);
}

/**
 * fbuf_uncharge_parcel() - undo a part of what fbuf_charge_parcel() did
 * @pool: the pool
 * @nr: pages
 *
 * Context: as fbuf_charge().
 */
void fbuf_uncharge_parcel(struct fbuf_pool *pool, unsigned long nr)
{
	uncharge(pool, nr, true);
}

/**
 * fbuf_charge_log() - tell the administrator of a charge that was refused
 * @pool: the pool
 * @nr: pages
 * @err: what fbuf_charge() returned
 * @what: what they were for
 *
 * Context: as fbuf_charge().
 */
void fbuf_charge_log(struct fbuf_pool *pool, unsigned long nr, int err,
		     const char *what)
{
	kuid_t uid = pool->owner->uid;
	unsigned long has;
	u64 limit;

	if (err == -ENOMEM) {
		has = atomic_long_read(&pool->cred->user->locked_vm);
		fbuf_log_notice("%s of %llu KiB passes RLIMIT_MEMLOCK of uid %u, %llu KiB, of which %llu KiB are used: raise it by ulimit -l, limits.conf, LimitMEMLOCK= of the service, or --ulimit memlock= of the container",
				what, PAGE_KIB(nr),
				from_kuid(&init_user_ns, uid),
				PAGE_KIB(pool->memlock), PAGE_KIB(has));
		return;
	}
	xa_lock(&users);
	limit = user_limit(pool->owner);
	has = pool->owner->pages;
	xa_unlock(&users);
	fbuf_log_notice("%s of %llu KiB passes the limit of uid %u, %llu KiB, of which %llu KiB are used: raise it by fbuf limit set --uid %u --user SIZE",
			what, PAGE_KIB(nr), from_kuid(&init_user_ns, uid),
			limit >> 10, PAGE_KIB(has),
			from_kuid(&init_user_ns, uid));
}

/**
 * fbuf_charge_init() - find out whom to charge for a new pool, and do so
 * @pool: the pool; its maker is the calling task's user
 *
 * Context: may sleep.
 * Return: 0, -ENOMEM or -EDQUOT; either way fbuf_charge_exit() undoes it.
 */
int fbuf_charge_init(struct fbuf_pool *pool)
{
	u64 max = READ_ONCE(fbuf_pool_max);
	struct mem_cgroup *bound = NULL;
	int err;

	if (max && pool->nr_pages > max >> PAGE_SHIFT) {
		fbuf_log_notice("a pool of %llu KiB passes pool_max, %llu KiB: raise it by fbuf limit set --pool SIZE",
				PAGE_KIB(pool->nr_pages), max >> 10);
		return -EDQUOT;
	}
	/* Most have no such privilege, and need none: that is no event to audit. */
	if (!ns_capable_noaudit(&init_user_ns, CAP_IPC_LOCK)) {
		pool->cred = get_current_cred();
		pool->memlock = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
		bound = fbuf_bound_of(pool->memcg);
	}
	xa_lock(&users);
	pool->owner = user_find_or_add(pool->uid);
	if (pool->owner) {
		pool->owner->pools++;
		bound_join(pool, bound);
	}
	xa_unlock(&users);
	if (!pool->owner)
		return -ENOMEM;
	err = fbuf_charge(pool, pool->nr_pages);
	if (err)
		fbuf_charge_log(pool, pool->nr_pages, err, "a pool");
	return err;
}

/**
 * fbuf_charge_close() - nobody has the pool any more
 * @pool: the pool; what is in flight stays charged
 *
 * That is in packets, as it might be without a pool.
 *
 * Context: any.
 */
void fbuf_charge_close(struct fbuf_pool *pool)
{
	xa_lock(&users);
	bound_leave(pool);
	xa_unlock(&users);
}

/**
 * fbuf_charge_exit() - forget whom to charge
 * @pool: a pool for which nothing is charged any more
 *
 * Context: any.
 */
void fbuf_charge_exit(struct fbuf_pool *pool)
{
	if (pool->owner) {
		xa_lock(&users);
		bound_leave(pool);
		pool->owner->pools--;
		user_check(pool->owner);
		xa_unlock(&users);
	}
	put_cred(pool->cred);
}

/**
 * fbuf_user_next() - look at the users, one after another
 * @from: the least user id that is of interest
 * @user: a copy of the next one is put there
 *
 * Context: may sleep, but waits for nobody.
 * Return: 0, or -ENOENT if there are no more.
 */
int fbuf_user_next(u64 from, struct fbuf_user *user)
{
	unsigned long uid = from;
	struct fbuf_user *pos;

	cond_resched();
	xa_lock(&users);
	pos = xa_find(&users, &uid, ULONG_MAX, XA_PRESENT);
	if (pos)
		*user = *pos;
	xa_unlock(&users);
	return pos ? 0 : -ENOENT;
}

/**
 * fbuf_user_set_limit() - give a user a limit of his own, or take it away
 * @uid: the user
 * @own: give, rather than take away
 * @limit: bytes that may be charged, or 0 for no limit
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM.
 */
int fbuf_user_set_limit(kuid_t uid, bool own, u64 limit)
{
	struct fbuf_user *user;

	xa_lock(&users);
	user = user_find_or_add(uid);
	if (user) {
		user->own = own;
		user->limit = limit;
		user_check(user);
	}
	xa_unlock(&users);
	return user ? 0 : -ENOMEM;
}

/**
 * fbuf_users_exit() - forget the limits of users
 *
 * Context: may sleep; there is no pool any more.
 */
void fbuf_users_exit(void)
{
	struct fbuf_user *user;
	unsigned long uid;

	xa_for_each(&users, uid, user)
		kfree(user);
	xa_destroy(&users);
}
