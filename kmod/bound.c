// SPDX-License-Identifier: GPL-2.0
/*
 * Does a memory cgroup bound what the maker of a pool can take? Then RLIMIT_MEMLOCK
 * need not, if the administrator says so: containers have a limit of memory, and 8 MiB
 * to lock.
 *
 * A limit counts if root alone can raise it. In a group that was given to a user, he
 * makes groups of his own, and sets their limits as he likes.
 */
#include <linux/cgroup.h>
#include <linux/kernfs.h>
#include <linux/memcontrol.h>
#include <linux/uidgid.h>

#include "bound.h"
#include "compat.h"

/* A module parameter. */
bool fbuf_cgroup_alone;

#ifdef CONFIG_MEMCG
/*
 * Who has a file, as fs/kernfs/kernfs-internal.h has it first: from Linux 5.2 up to the
 * newest that was tried.
 */
struct kernfs_iattrs {
	kuid_t ia_uid;
	kgid_t ia_gid;
};

static bool file_is_roots(const struct kernfs_node *kn)
{
	/* There is none before the file is given to somebody, truncated, or labelled. */
	const struct kernfs_iattrs *attrs = READ_ONCE(kn->iattr);

	if (READ_ONCE(kn->mode) & 0022)
		return false;
	return !attrs || (!fbuf_kernel_is_untried() &&
			  uid_eq(READ_ONCE(attrs->ia_uid), GLOBAL_ROOT_UID));
}

static bool limit_is_roots(const struct mem_cgroup *memcg)
{
	struct kernfs_node *kn = kernfs_find_and_get(memcg->css.cgroup->kn,
						     "memory.max");
	bool ret;

	if (!kn)
		return false;
	ret = file_is_roots(kn);
	kernfs_put(kn);
	return ret;
}

/**
 * fbuf_bound_of() - the nearest memory cgroup with a limit that counts
 * @memcg: where to begin, for which the caller has a reference; or NULL
 *
 * Context: may sleep.
 * Return: @memcg or one above it, which stays for as long; or NULL if none bounds what
 * is charged to it, or what others charge counts too.
 */
struct mem_cgroup *fbuf_bound_of(struct mem_cgroup *memcg)
{
	/* Of version 1, nobody says who may raise what; and kernel memory may be free. */
	if (!READ_ONCE(fbuf_cgroup_alone) || !memcg_kmem_online() ||
	    !cgroup_subsys_on_dfl(memory_cgrp_subsys))
		return NULL;
	for (; memcg; memcg = parent_mem_cgroup(memcg)) {
		if (READ_ONCE(memcg->memory.max) < PAGE_COUNTER_MAX &&
		    limit_is_roots(memcg))
			return memcg;
	}
	return NULL;
}

/**
 * fbuf_bound_holds() - is what was charged to a memory cgroup still bounded by it?
 * @bound: as fbuf_bound_of() had it
 *
 * Once the group is removed, its parent is charged instead. Who charged first, and then
 * finds that it holds, has charged the group.
 *
 * Context: any.
 * Return: whether the group is there.
 */
bool fbuf_bound_holds(const struct mem_cgroup *bound)
{
	return !css_is_dying((struct cgroup_subsys_state *)&bound->css);
}
#endif
