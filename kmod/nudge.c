// SPDX-License-Identifier: GPL-2.0
/*
 * A reader on another CPU leaves the packets that it has read on a list of the
 * sender's CPU (net/core/skbuff.c, skb_attempt_defer_free()), where they keep
 * their pages until that CPU next runs its receive softirq: on a quiet CPU,
 * seconds. A NAPI with nothing to do, scheduled on each CPU, makes it run.
 *
 * An interrupt schedules it; with PREEMPT_RT, where calls of other CPUs must not
 * raise softirqs, a work item does.
 */
#include <linux/cpumask.h>
#include <linux/ktime.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "nudge.h"

#define NUDGE_NS	(NSEC_PER_MSEC)

static struct net_device *nudge_dev;
static struct napi_struct __percpu *nudge_napi;
static DEFINE_PER_CPU(struct work_struct, nudge_works);

static int nudge_poll(struct napi_struct *napi, int budget)
{
	napi_complete_done(napi, 0);
	return 0;
}

static void nudge_cpu(void *unused)
{
	napi_schedule_irqoff(this_cpu_ptr(nudge_napi));
}

static void nudge_work(struct work_struct *work)
{
	local_bh_disable();
	napi_schedule(this_cpu_ptr(nudge_napi));
	local_bh_enable();
}

static void nudge_all(void)
{
	int cpu;

	if (!IS_ENABLED(CONFIG_PREEMPT_RT)) {
		on_each_cpu(nudge_cpu, NULL, 0);
		return;
	}
	for_each_online_cpu(cpu)
		schedule_work_on(cpu, per_cpu_ptr(&nudge_works, cpu));
}

static void nudge_nothing(void *unused)
{
}

/**
 * fbuf_nudge() - have every CPU free the packets that were read elsewhere
 *
 * Returns before they have done so. At most one round in NUDGE_NS, however many
 * callers ask.
 *
 * Context: may not be called with interrupts off.
 */
void fbuf_nudge(void)
{
	static atomic64_t next;
	s64 now = ktime_get_ns(), due = atomic64_read(&next);

	/* If another takes this round, it is as good as ours. */
	if (now >= due && atomic64_try_cmpxchg(&next, &due, now + NUDGE_NS))
		nudge_all();
}

/**
 * fbuf_nudge_init() - make ready for fbuf_nudge()
 *
 * Return: 0 or -ENOMEM.
 */
int fbuf_nudge_init(void)
{
	int cpu;

	nudge_dev = fbuf_alloc_netdev_dummy();
	if (!nudge_dev)
		return -ENOMEM;
	nudge_napi = alloc_percpu(struct napi_struct);
	if (!nudge_napi) {
		fbuf_free_netdev_dummy(nudge_dev);
		return -ENOMEM;
	}
	for_each_possible_cpu(cpu) {
		struct napi_struct *napi = per_cpu_ptr(nudge_napi, cpu);

		netif_napi_add(nudge_dev, napi, nudge_poll);
		napi_enable(napi);
		INIT_WORK(per_cpu_ptr(&nudge_works, cpu), nudge_work);
	}
	return 0;
}

/**
 * fbuf_nudge_exit() - undo fbuf_nudge_init(), when nobody can nudge any more
 */
void fbuf_nudge_exit(void)
{
	int cpu;

	/*
	 * Waits for the interrupts of nudge_all() that are still on their way: a
	 * CPU takes its calls in the order in which they were sent.
	 */
	on_each_cpu(nudge_nothing, NULL, 1);
	for_each_possible_cpu(cpu) {
		struct napi_struct *napi = per_cpu_ptr(nudge_napi, cpu);

		cancel_work_sync(per_cpu_ptr(&nudge_works, cpu));
		napi_disable(napi);
		netif_napi_del(napi);
	}
	free_percpu(nudge_napi);
	fbuf_free_netdev_dummy(nudge_dev);
}
