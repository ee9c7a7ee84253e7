// SPDX-License-Identifier: GPL-2.0
/*
 * The ubuf engine: as pageref, but a callback tells when the last packet is
 * gone, so that nobody has to look again and again. The price: an allocation and
 * packets of its own for each send, a copy wherever packets are delivered
 * locally, and a pool fd that lives on until they are gone.
 *
 * The callback comes in any context, and before the packet lets go of its pages.
 * So it only queues work, on its own CPU: which runs when that CPU is done with
 * the packet. (If not, because the task that frees it was preempted, waiters
 * find the buffer busy and nobody to tell them: they go back to looking.)
 *
 * A send keeps its handle's file, and so the module, until the work has run:
 * destroy_workqueue() on unload waits for the rest of the work, and
 * synchronize_rcu_tasks() for a callback's last instructions, if what called it
 * was preempted in them.
 */
#include <linux/file.h>
#include <linux/rcupdate.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "folio.h"
#include "gather.h"
#include "pageref.h"
#include "trace.h"
#include "types.h"
#include "ubuf.h"
#include "wait.h"
#include "watch.h"

/**
 * struct ubuf_send - one send, until its packets are gone
 * @ubuf: what packets refer to; the send itself has a reference, too
 * @work: tells whoever waits
 * @file: the handle's; keeps the pool
 * @pool: the pool
 * @copied: a packet's pages were copied on its way
 * @len: bytes taken without a copy that the send knew of
 * @nr: entries in @bufs
 * @bufs: the buffers that were sent, one for each run
 */
struct ubuf_send {
	struct ubuf_info ubuf;
	struct work_struct work;
	struct file *file;
	struct fbuf_pool *pool;
	bool copied;
	size_t len;
	unsigned int nr;
	u32 bufs[];
};

static struct workqueue_struct *ubuf_wq;
static bool ubuf_used;

static void ubuf_work(struct work_struct *work)
{
	struct ubuf_send *u = container_of(work, struct ubuf_send, work);
	struct fbuf_pool *pool = u->pool;
	unsigned int i;

	if (u->copied && u->len) {
		this_cpu_add(pool->counters->copied, u->len);
		trace_fbuf_copy(pool, u->len);
	}
	mutex_lock(&pool->lock);
	for (i = 0; i < u->nr; i++) {
		struct fbuf_buf *buf = &pool->bufs[u->bufs[i]];

		if (buf->told)	/* a snapshot makes it 0 */
			buf->told--;
	}
	fbuf_watch_look(pool);
	fbuf_wake(pool);
	mutex_unlock(&pool->lock);
	fput(u->file);
	kvfree(u);
}

static void ubuf_put(struct ubuf_send *u)
{
	if (refcount_dec_and_test(&u->ubuf.refcnt))
		queue_work_on(raw_smp_processor_id(), ubuf_wq, &u->work);
}

static void ubuf_complete(struct sk_buff *skb, struct ubuf_info *ubuf,
			  bool success)
{
	struct ubuf_send *u = container_of(ubuf, struct ubuf_send, ubuf);

	if (!success)
		WRITE_ONCE(u->copied, true);
	ubuf_put(u);
}

static FBUF_DEFINE_UBUF_OPS(ubuf_ops, ubuf_complete);

/* From now on the buffers' waiters will be told. */
static void ubuf_name_bufs(struct ubuf_send *u, const struct fbuf_gather *g)
{
	struct fbuf_pool *pool = u->pool;
	unsigned int i;

	mutex_lock(&pool->lock);
	for (i = 0; i < g->nr; i++) {
		struct fbuf_buf *buf = fbuf_run_buf(&g->runs[i], pool);

		if (!buf)
			continue;
		u->bufs[u->nr++] = fbuf_buf_index(pool, buf);
		buf->told++;
	}
	mutex_unlock(&pool->lock);
}

static struct ubuf_send *ubuf_new(struct fbuf_handle *h,
				  const struct fbuf_gather *g)
{
	struct ubuf_send *u;

	u = kvzalloc(struct_size(u, bufs, g->nr), GFP_KERNEL_ACCOUNT);
	if (!u)
		return NULL;
	fbuf_ubuf_init(&u->ubuf, ubuf_ops);
	refcount_set(&u->ubuf.refcnt, 1);
	/* Packets are cloned on their way: only local delivery may copy. */
	u->ubuf.flags = SKBFL_ZEROCOPY_FRAG | SKBFL_DONT_ORPHAN;
	INIT_WORK(&u->work, ubuf_work);
	u->pool = h->pool;
	/* Whoever calls us has it open. */
	u->file = get_file(h->file);
	ubuf_name_bufs(u, g);
	WRITE_ONCE(ubuf_used, true);
	return u;
}

/**
 * fbuf_ubuf_send() - send a message whose iterator is over a gather's runs
 * @sock: a socket that fbuf_pageref_takes()
 * @fm: the message
 * @h: whose gather it is
 * @g: the gather
 * @copied: set to the bytes that were copied all the same, if any; those that
 *          are copied later are counted then
 *
 * Context: may sleep; takes the pool's lock.
 * Return: as sock_sendmsg(); -ENOMEM.
 */
int fbuf_ubuf_send(struct socket *sock, struct fbuf_msg *fm,
		   struct fbuf_handle *h, const struct fbuf_gather *g,
		   u64 *copied)
{
	struct ubuf_send *u = ubuf_new(h, g);
	int ret;

	if (!u)
		return -ENOMEM;
	ret = fbuf_pageref_sendmsg(sock, fm, &u->ubuf, copied);
	if (ret > 0)
		u->len = ret - *copied;
	ubuf_put(u);
	return ret;
}

/**
 * fbuf_ubuf_start() - make ready for fbuf_ubuf_send()
 *
 * Return: 0 or -ENOMEM.
 */
int __init fbuf_ubuf_start(void)
{
	/* Not unbound: see above. */
	ubuf_wq = alloc_workqueue("fbuf-ubuf", WQ_HIGHPRI | FBUF_WQ_PERCPU, 0);
	return ubuf_wq ? 0 : -ENOMEM;
}

/**
 * fbuf_ubuf_stop() - undo fbuf_ubuf_start(), when there is no handle any more
 *
 * Context: may sleep.
 */
void fbuf_ubuf_stop(void)
{
	destroy_workqueue(ubuf_wq);
	if (ubuf_used)
		synchronize_rcu_tasks();
}
