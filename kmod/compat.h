/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every difference between Linux 6.1 and the newest kernel. No other file tests
 * the kernel's version: it uses the names below, which follow the newest.
 */
#ifndef FBUF_COMPAT_H
#define FBUF_COMPAT_H

#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/socket.h>
#include <linux/uio.h>
#include <linux/version.h>
#include <linux/workqueue.h>
#include <net/genetlink.h>
#include <net/sock.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#include <net/rps.h>
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "fbuf needs Linux 6.1 or newer"
#endif

#ifndef CONFIG_64BIT
#error "fbuf needs a 64-bit kernel"
#endif

/* The newest kernel that the tests ran on; one of them builds with an older one here. */
#ifndef FBUF_TRIED
#define FBUF_TRIED	KERNEL_VERSION(7, 3, 0)
#endif

/* Is this one of a later series? */
static inline bool fbuf_kernel_is_untried(void)
{
	return LINUX_VERSION_CODE >> 8 > FBUF_TRIED >> 8;
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
#define memcg_kmem_online	memcg_kmem_enabled

static inline void vm_flags_mod(struct vm_area_struct *vma,
				unsigned long set, unsigned long clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define pte_mkwrite_novma	pte_mkwrite

/* Page faults had no other lock. */
static inline void release_fault_lock(struct vm_fault *vmf)
{
	mmap_read_unlock(vmf->vma->vm_mm);
}
#endif

/*
 * Entries of user space that are there get more rights: fbuf_set_writable() for each, and
 * for all of them fbuf_flush_readonly() after. An x86 CPU drops an entry by which it
 * faults. One of arm64 may keep it, and fault for ever: the kernel takes it that whoever
 * gave the rights has flushed.
 */
#ifdef CONFIG_ARM64
/* Not set_pte_at(): modules have no mte_sync_tags(), which an entry that is there needs not. */
static inline void fbuf_set_writable(struct mm_struct *mm, unsigned long addr,
				     pte_t *ptep, pte_t pte)
{
#ifdef CONFIG_ARM64_CONTPTE
	contpte_try_unfold(mm, addr, ptep, __ptep_get(ptep));
#endif
	set_pte(ptep, pte);
}

/* Despite its name it is for these addresses in all tables; modules have no other. */
static inline void fbuf_flush_readonly(unsigned long addr, unsigned long nr)
{
	flush_tlb_kernel_range(addr, addr + (nr << PAGE_SHIFT));
}
#else
static inline void fbuf_set_writable(struct mm_struct *mm, unsigned long addr,
				     pte_t *ptep, pte_t pte)
{
	set_pte_at(mm, addr, ptep, pte);
}

static inline void fbuf_flush_readonly(unsigned long addr, unsigned long nr)
{
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
#define FBUF_DEFINE_SHRINKER(name, count, scan)				\
	static struct shrinker name = {					\
		.count_objects	= (count),				\
		.scan_objects	= (scan),				\
		.seeks		= DEFAULT_SEEKS,			\
	}
#define fbuf_shrinker_register(s, name)	register_shrinker(s, name)
#define fbuf_shrinker_unregister(s)	unregister_shrinker(s)
#else
struct fbuf_shrinker {
	unsigned long (*count)(struct shrinker *s, struct shrink_control *sc);
	unsigned long (*scan)(struct shrinker *s, struct shrink_control *sc);
	struct shrinker *shrinker;
};

#define FBUF_DEFINE_SHRINKER(name, count_, scan_)			\
	static struct fbuf_shrinker name = {				\
		.count	= (count_),					\
		.scan	= (scan_),					\
	}

static inline int fbuf_shrinker_register(struct fbuf_shrinker *s,
					 const char *name)
{
	s->shrinker = shrinker_alloc(0, "%s", name);
	if (!s->shrinker)
		return -ENOMEM;
	s->shrinker->count_objects = s->count;
	s->shrinker->scan_objects = s->scan;
	shrinker_register(s->shrinker);
	return 0;
}

static inline void fbuf_shrinker_unregister(struct fbuf_shrinker *s)
{
	shrinker_free(s->shrinker);
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define fbuf_eventfd_signal(ctx)	eventfd_signal(ctx, 1)
#else
#define fbuf_eventfd_signal(ctx)	eventfd_signal(ctx)
#endif

static inline void fbuf_hrtimer_setup(struct hrtimer *timer,
				      enum hrtimer_restart (*fn)(struct hrtimer *))
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
	hrtimer_init(timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	timer->function = fn;
#else
	hrtimer_setup(timer, fn, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
#endif
}

/* Older point releases of 6.1 say so by a flag of operations. */
#ifndef GENL_MCAST_CAP_NET_ADMIN
#define GENL_MCAST_CAP_NET_ADMIN	GENL_UNS_ADMIN_PERM
#endif

/* Newer kernels want a work queue to say that it is for each CPU by itself. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
#define FBUF_WQ_PERCPU		0
#else
#define FBUF_WQ_PERCPU		WQ_PERCPU
#endif

/* For arrays of which little is used, where the compiler zeroes the stack. */
#ifndef __uninitialized
#define __uninitialized		__attribute__((__uninitialized__))
#endif

#ifndef fd_file
#define fd_file(f)		((f).file)
#endif

/* iov_iter_bvec() of a source, without a call. */
static __always_inline void fbuf_iov_iter_bvec(struct iov_iter *i,
					       const struct bio_vec *bvec,
					       unsigned long nr, size_t count)
{
	*i = (struct iov_iter) {
		.iter_type = ITER_BVEC,
		.data_source = ITER_SOURCE,
		.bvec = bvec,
		.nr_segs = nr,
		.count = count,
	};
}

/*
 * MSG_SPLICE_PAGES works from 6.5 on. The macro says nothing: 6.1.y has it, and
 * its protocols ignore it.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
#define FBUF_SPLICE_PAGES	1
static inline int fbuf_sendpage(struct socket *sock, struct page *page,
				int offset, size_t size, int flags)
{
	return -EOPNOTSUPP;
}
#else
#define FBUF_SPLICE_PAGES	0
#undef MSG_SPLICE_PAGES
#define MSG_SPLICE_PAGES	0
#define fbuf_sendpage		kernel_sendpage
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)

/* folio_mapcount() is not exported; the pool's folios are mapped by PTEs. */
static inline int fbuf_folio_mapcount(struct folio *folio)
{
	long i, nr = folio_nr_pages(folio);
	int count = 0;

	for (i = 0; i < nr; i++)
		count += atomic_read(&folio_page(folio, i)->_mapcount) + 1;
	return count;
}

static inline struct net_device *fbuf_alloc_netdev_dummy(void)
{
	struct net_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (dev)
		init_dummy_netdev(dev);
	return dev;
}

static inline void fbuf_free_netdev_dummy(struct net_device *dev)
{
	kfree(dev);
}

#define FBUF_DECLARE_UBUF_OPS(name)					\
	extern void (* const name)(struct sk_buff *, struct ubuf_info *, bool)
#define FBUF_DEFINE_UBUF_OPS(name, fn)					\
	void (* const name)(struct sk_buff *, struct ubuf_info *, bool) = (fn)
#define fbuf_ubuf_init(u, ops_)		((u)->callback = (ops_))

#else

#define FBUF_DECLARE_UBUF_OPS(name)	extern const struct ubuf_info_ops name
#define FBUF_DEFINE_UBUF_OPS(name, fn)					\
	const struct ubuf_info_ops name = { .complete = (fn) }
#define fbuf_ubuf_init(u, ops_)		((u)->ops = &(ops_))

#define fbuf_folio_mapcount	folio_mapcount

static inline struct net_device *fbuf_alloc_netdev_dummy(void)
{
	return alloc_netdev_dummy(0);
}

#define fbuf_free_netdev_dummy	free_netdev

#endif

/*
 * Until 6.11, sg_from_iter() charged the socket for the bytes that it added;
 * now its caller does.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
#define FBUF_DECLARE_SG_FROM_ITER(name)					\
int name(struct sock *sk, struct sk_buff *skb, struct iov_iter *from,	\
	 size_t length)
#define FBUF_DEFINE_SG_FROM_ITER(name, fn)				\
int name(struct sock *sk, struct sk_buff *skb, struct iov_iter *from,	\
	 size_t length)							\
{									\
	unsigned int truesize = skb->truesize;				\
	int err = fn(skb, from, length);				\
									\
	truesize = skb->truesize - truesize;				\
	if (sk && sk->sk_type == SOCK_STREAM) {				\
		sk_wmem_queued_add(sk, truesize);			\
		if (!skb_zcopy_pure(skb))				\
			sk_mem_charge(sk, truesize);			\
	} else {							\
		refcount_add(truesize, &skb->sk->sk_wmem_alloc);	\
	}								\
	return err;							\
}
#else
#define FBUF_DECLARE_SG_FROM_ITER(name)					\
int name(struct sk_buff *skb, struct iov_iter *from, size_t length)
#define FBUF_DEFINE_SG_FROM_ITER(name, fn)				\
int name(struct sk_buff *skb, struct iov_iter *from, size_t length)	\
{									\
	return fn(skb, from, length);					\
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#include <linux/io_uring.h>
#include <linux/io_uring_types.h>
#else
#include <linux/io_uring/cmd.h>
#endif

/* Task work of a command: a function of the command and the issue flags. */
#ifndef IO_URING_CMD_TASK_WORK_ISSUE_FLAGS
typedef void (*fbuf_uring_work_fn)(struct io_uring_cmd *cmd,
				   unsigned int issue_flags);
#define FBUF_DEFINE_URING_WORK(name, fn)				\
static void name(struct io_uring_cmd *cmd, unsigned int issue_flags)	\
{									\
	fn(cmd, issue_flags);						\
}
#else
typedef io_req_tw_func_t fbuf_uring_work_fn;
#define FBUF_DEFINE_URING_WORK(name, fn)				\
static void name(struct io_tw_req req, io_tw_token_t tw)		\
{									\
	fn(io_uring_cmd_from_tw(req), IO_URING_CMD_TASK_WORK_ISSUE_FLAGS); \
}
#endif

/*
 * A command of io_uring that waits without a thread has to be cancelled when its
 * ring goes (from 6.7 on), and its task work to run under uring_lock (from 6.10
 * on). Before, none waits.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
#define FBUF_URING_WAITS	0
#define FBUF_URING_F_CANCEL	0
static inline void fbuf_uring_mark_cancelable(struct io_uring_cmd *cmd,
					      unsigned int issue_flags)
{
}

static inline void fbuf_uring_in_task(struct io_uring_cmd *cmd,
				      fbuf_uring_work_fn fn)
{
}
#else
#define FBUF_URING_WAITS	1
#define FBUF_URING_F_CANCEL	IO_URING_F_CANCEL
#define fbuf_uring_mark_cancelable	io_uring_cmd_mark_cancelable
/*
 * For wait queues' callbacks: the flag is IOU_F_TWQ_IN_WAKE, which tells not to
 * signal an eventfd from there. Kernels that do not have it ignore it. Never
 * lazily: a send that goes on need not be a completion.
 */
static inline void fbuf_uring_in_task(struct io_uring_cmd *cmd,
				      fbuf_uring_work_fn fn)
{
	__io_uring_cmd_do_in_task(cmd, fn, 2);
}
#endif

/* What the caller wrote to the sqe; it is in user memory. */
static inline const void *fbuf_uring_sqe_cmd(const struct io_uring_cmd *cmd)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
	return cmd->cmd;
#else
	return cmd->sqe->cmd;
#endif
}

static inline void fbuf_uring_done(struct io_uring_cmd *cmd, int ret,
				   unsigned int issue_flags)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
	io_uring_cmd_done(cmd, ret, 0, issue_flags);
#else
	io_uring_cmd_done(cmd, ret, issue_flags);
#endif
}

/*
 * Is its ring one that is polled for completions? Since 7.0 or so the issue flags
 * do not tell, where the file has nothing to be polled.
 */
static inline bool fbuf_uring_polled(struct io_uring_cmd *cmd)
{
	return cmd_to_io_kiocb(cmd)->ctx->flags & IORING_SETUP_IOPOLL;
}

/* All flags that a caller may set. */
#ifndef IORING_URING_CMD_MASK
#define IORING_URING_CMD_MASK	IORING_URING_CMD_FIXED
#endif

/* As io_uring's own req_set_fail(): nothing that is linked to it is to run. */
static inline void fbuf_uring_set_fail(struct io_uring_cmd *cmd)
{
	struct io_kiocb *req = cmd_to_io_kiocb(cmd);

	req->flags |= REQ_F_FAIL;
	if (req->flags & REQ_F_CQE_SKIP) {
		req->flags &= ~REQ_F_CQE_SKIP;
		req->flags |= REQ_F_SKIP_LINK_CQES;
	}
}

#endif /* FBUF_COMPAT_H */
