// SPDX-License-Identifier: GPL-2.0
/*
 * Who is charged for a pool: its maker's RLIMIT_MEMLOCK, unless he is
 * privileged, and the limits of this module, which are for everybody.
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
#include <linux/spinlock.h>
#include <linux/user_namespace.h>

#include "fbuf.h"

/* Module parameters, in bytes; 0 is no limit. */
unsigned long long fbuf_pool_max;
unsigned long long fbuf_user_max;

/* Protects what follows, and all on the list, which is by serial number. */
static DEFINE_SPINLOCK(users_lock);
static LIST_HEAD(users);
static u64 last_serial;

static struct fbuf_user *user_find(kuid_t uid)
	__must_hold(&users_lock)
{
	struct fbuf_user *user;

	list_for_each_entry(user, &users, node) {
		if (uid_eq(user->uid, uid))
			return user;
	}
	return NULL;
}

/* The user, on the list; @fresh if there was none, else it is left alone. */
static struct fbuf_user *user_find_or_add(kuid_t uid, struct fbuf_user **fresh)
	__must_hold(&users_lock)
{
	struct fbuf_user *user = user_find(uid);

	if (!user) {
		user = *fresh;
		*fresh = NULL;
		user->uid = uid;
		user->serial = ++last_serial;
		list_add_tail(&user->node, &users);
	}
	return user;
}

/* The user if nothing keeps him, off the list and to be freed, or NULL. */
static struct fbuf_user *user_unused(struct fbuf_user *user)
	__must_hold(&users_lock)
{
	if (user->pools || user->own)
		return NULL;
	list_del(&user->node);
	return user;
}

static int user_charge(struct fbuf_user *user, unsigned long nr)
{
	int err = -EDQUOT;
	u64 limit;

	spin_lock(&users_lock);
	limit = user->own ? user->limit : READ_ONCE(fbuf_user_max);
	if (!limit || user->pages + nr <= limit >> PAGE_SHIFT) {
		user->pages += nr;
		err = 0;
	}
	spin_unlock(&users_lock);
	return err;
}

static void user_uncharge(struct fbuf_user *user, unsigned long nr)
{
	spin_lock(&users_lock);
	user->pages -= nr;
	spin_unlock(&users_lock);
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

/**
 * fbuf_charge() - charge a pool's maker
 * @pool: the pool
 * @nr: pages
 *
 * Context: any; the pool's lock is held unless nobody else sees the pool.
 * Return: 0, or -ENOMEM or -EDQUOT, with nothing charged.
 */
int fbuf_charge(struct fbuf_pool *pool, unsigned long nr)
{
	int err;

	err = memlock_charge(pool, nr);
	if (err)
		return err;
	err = user_charge(pool->owner, nr);
	if (err) {
		memlock_uncharge(pool, nr);
		return err;
	}
	pool->charged += nr;
	return 0;
}

/**
 * fbuf_uncharge() - undo a part of what was charged
 * @pool: the pool
 * @nr: pages
 *
 * Context: as fbuf_charge().
 */
void fbuf_uncharge(struct fbuf_pool *pool, unsigned long nr)
{
	if (!nr)
		return;
	memlock_uncharge(pool, nr);
	user_uncharge(pool->owner, nr);
	pool->charged -= nr;
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
	struct fbuf_user *fresh;

	if (max && pool->nr_pages > max >> PAGE_SHIFT)
		return -EDQUOT;
	/* Most have no such privilege, and need none: that is no event to audit. */
	if (!ns_capable_noaudit(&init_user_ns, CAP_IPC_LOCK)) {
		pool->cred = get_current_cred();
		pool->memlock = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	}
	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		return -ENOMEM;
	spin_lock(&users_lock);
	pool->owner = user_find_or_add(pool->uid, &fresh);
	pool->owner->pools++;
	spin_unlock(&users_lock);
	kfree(fresh);
	return fbuf_charge(pool, pool->nr_pages);
}

/**
 * fbuf_charge_exit() - forget whom to charge
 * @pool: a pool for which nothing is charged any more
 *
 * Context: any.
 */
void fbuf_charge_exit(struct fbuf_pool *pool)
{
	struct fbuf_user *unused = NULL;

	if (pool->owner) {
		spin_lock(&users_lock);
		pool->owner->pools--;
		unused = user_unused(pool->owner);
		spin_unlock(&users_lock);
		kfree(unused);
	}
	if (pool->cred)
		put_cred(pool->cred);
}

/**
 * fbuf_user_next() - look at the users, one after another
 * @serial: that of the one before, or 0 to begin
 * @user: a copy of the next one is put there
 *
 * Context: any.
 * Return: 0, or -ENOENT if there are no more.
 */
int fbuf_user_next(u64 serial, struct fbuf_user *user)
{
	struct fbuf_user *pos;
	int err = -ENOENT;

	spin_lock(&users_lock);
	list_for_each_entry(pos, &users, node) {
		if (pos->serial <= serial)
			continue;
		*user = *pos;
		err = 0;
		break;
	}
	spin_unlock(&users_lock);
	return err;
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
	struct fbuf_user *fresh, *unused, *user;

	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		return -ENOMEM;
	spin_lock(&users_lock);
	user = user_find_or_add(uid, &fresh);
	user->own = own;
	user->limit = limit;
	unused = user_unused(user);
	spin_unlock(&users_lock);
	kfree(unused);
	kfree(fresh);
	return 0;
}

/**
 * fbuf_users_exit() - forget the limits of users
 *
 * Context: may sleep; there is no pool any more.
 */
void fbuf_users_exit(void)
{
	struct fbuf_user *user, *next;

	list_for_each_entry_safe(user, next, &users, node)
		kfree(user);
}
