/* SPDX-License-Identifier: GPL-2.0 */
/* The memory cgroup that bounds a pool. See bound.c. */
#ifndef FBUF_BOUND_H
#define FBUF_BOUND_H

#include <linux/types.h>

struct mem_cgroup;

extern bool fbuf_cgroup_alone;
#ifdef CONFIG_MEMCG
struct mem_cgroup *fbuf_bound_of(struct mem_cgroup *memcg);
bool fbuf_bound_holds(const struct mem_cgroup *bound);
#else
static inline struct mem_cgroup *fbuf_bound_of(struct mem_cgroup *memcg)
{
	return NULL;
}

static inline bool fbuf_bound_holds(const struct mem_cgroup *bound)
{
	return true;
}
#endif

#endif /* FBUF_BOUND_H */
