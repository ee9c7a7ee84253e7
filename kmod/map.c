// SPDX-License-Identifier: GPL-2.0
/*
 * The pool in user space: ordinary struct pages, put into the page tables a
 * buffer at a time, so that everything that takes user pages (O_DIRECT, vmsplice,
 * MSG_ZEROCOPY, ptrace) works on the mapping. For handles that may not pin they
 * are bare page frames, on which none of that works.
 *
 * All entries are made and taken away under the pool's lock, by the handlers
 * themselves, which then have the access tried again (VM_FAULT_NOPAGE): none
 * appears behind the back of protect.c and shrink.c.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/userfaultfd_k.h>

#include "compat.h"
#include "folio.h"
#include "map.h"
#include "protect.h"
#include "types.h"
#include "wait.h"

/* What a write makes writable at once, at most: so many buffers, and bytes. */
#define AHEAD_BUFS	8U
#define AHEAD_BYTES	SZ_1M
/* How often a buffer is among those before it has to show that it belongs there. */
#define FOLLOWS_TIMES	32

static struct fbuf_buf *map_buf(const struct fbuf_pool *pool,
				unsigned long page)
{
	return &pool->bufs[page >> (pool->buf_shift - PAGE_SHIFT)];
}

/* Part of a buffer that a mapping has, or of some that adjoin. */
struct map_span {
	unsigned long first;	/* in the pool's pages */
	unsigned long nr;
	unsigned long addr;
};

static struct map_span map_span(const struct fbuf_pool *pool,
				const struct fbuf_buf *buf, unsigned int nr,
				struct vm_area_struct *vma)
{
	unsigned long first = fbuf_buf_first(pool, buf);
	unsigned long end = first + (unsigned long)nr * fbuf_buf_pages(pool);
	struct map_span span;

	span.first = max(first, vma->vm_pgoff);
	span.nr = min(end, vma->vm_pgoff + vma_pages(vma)) - span.first;
	span.addr = vma->vm_start +
		    ((span.first - vma->vm_pgoff) << PAGE_SHIFT);
	return span;
}

/* Without a reference: the buffer's memory goes after its entries, always. */
static vm_fault_t map_insert_frames(struct fbuf_pool *pool,
				    struct vm_area_struct *vma,
				    const struct map_span *span)
	__must_hold(&pool->lock)
{
	unsigned long i;

	for (i = 0; i < span->nr; i++) {
		struct page *page = pool->pages[span->first + i];
		vm_fault_t ret;

		if (PageHWPoison(page))
			continue;
		ret = vmf_insert_pfn(vma, span->addr + (i << PAGE_SHIFT),
				     page_to_pfn(page));
		if (ret != VM_FAULT_NOPAGE)
			return ret;
	}
	return 0;
}

/* How many pages are good to map, from one on. */
static unsigned long map_good(const struct fbuf_pool *pool, unsigned long first,
			      unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < nr && !PageHWPoison(pool->pages[first + i]); i++)
		;
	return i;
}

/*
 * Entries as the mapping has them: read-only where writes are to fault. None for
 * memory that has an error.
 */
static vm_fault_t map_insert(struct fbuf_pool *pool,
			     struct vm_area_struct *vma,
			     const struct map_span *span)
	__must_hold(&pool->lock)
{
	unsigned long done = 0;

	if (vma->vm_flags & VM_PFNMAP)
		return map_insert_frames(pool, vma, span);

	while (done < span->nr) {
		unsigned long good, left;
		int err;

		good = map_good(pool, span->first + done, span->nr - done);
		left = good;
		err = good ? vm_insert_pages(vma,
					     span->addr + (done << PAGE_SHIFT),
					     &pool->pages[span->first + done],
					     &left) : 0;
		done += good - left;
		if (err && err != -EBUSY)
			return vmf_error(err);
		/* There is one already, or is to be none, or this is the end. */
		done++;
	}
	return 0;
}

static int map_make_writable(pte_t *ptep, unsigned long addr, void *data)
{
	struct vm_area_struct *vma = data;
	pte_t pte = ptep_get(ptep);

	if (!pte_present(pte) || pte_protnone(pte) || pte_write(pte))
		return 0;
	fbuf_set_writable(vma->vm_mm, addr, ptep,
			  pte_mkdirty(pte_mkwrite_novma(pte)));
	return 0;
}

/* The tables are there; if one went again, the access faults again. */
static void map_upgrade(struct vm_area_struct *vma,
			const struct map_span *span)
{
	apply_to_page_range(vma->vm_mm, span->addr, span->nr << PAGE_SHIFT,
			    map_make_writable, vma);
	fbuf_flush_readonly(span->addr, span->nr);
}

/*
 * Only a program's own write may wait for a peer. Whatever else writes, a system
 * call, ptrace(), a task that exits or dumps core, may hold locks that others
 * need, and may be beyond any signal: as for userfaultfd, see handle_userfault().
 * It waits a moment for what passes, with the mapping locked, and is not to be
 * told to try again: some callers do so for ever.
 */
static vm_fault_t map_wait_in_kernel(struct vm_fault *vmf, struct fbuf_buf *buf)
{
	struct fbuf_handle *h = vmf->vma->vm_file->private_data;

	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;
	if (READ_ONCE(buf->secures) ||
	    fbuf_write_wait(h->pool, buf, FBUF_KERNEL_GRACE_MS, TASK_KILLABLE))
		return VM_FAULT_SIGBUS;
	return VM_FAULT_NOPAGE;
}

/* Wait with no lock held, then have the access tried again. */
static vm_fault_t map_wait(struct vm_fault *vmf, struct fbuf_buf *buf)
{
	struct file *file = vmf->vma->vm_file;
	struct fbuf_handle *h = file->private_data;
	bool sigbus = h->pool->flags & FBUF_POOL_SIGBUS;

	if (!(vmf->flags & FAULT_FLAG_USER))
		return map_wait_in_kernel(vmf, buf);
	if (!(vmf->flags & FAULT_FLAG_ALLOW_RETRY))
		return VM_FAULT_SIGBUS;
	/* Once is enough, and who secured it is not waited for. */
	if (sigbus &&
	    (vmf->flags & FAULT_FLAG_TRIED || READ_ONCE(buf->secures)))
		return VM_FAULT_SIGBUS;
	/* The mapping may go meanwhile, and the pool with it. */
	get_file(file);
	release_fault_lock(vmf);
	fbuf_write_wait(h->pool, buf, sigbus ? FBUF_GRACE_MS : -1,
			vmf->flags & FAULT_FLAG_INTERRUPTIBLE ?
			TASK_INTERRUPTIBLE : TASK_KILLABLE);
	fput(file);
	return VM_FAULT_RETRY;
}

/*
 * A message is often written anew from its first buffer to its last, or, as memcpy()
 * may do it, from the last to the first. Where a write fault came just after that of
 * the buffer beside, it will again: next time the buffer is made writable along with
 * that one, if it is idle. Nobody knows whether it is written then; so that holds for
 * some times only, until a fault of its own shows it again. Returns how many buffers
 * there are to map, from *@first on, with the one that is written among them.
 */
static unsigned int map_write_ahead(struct fbuf_handle *h,
				    struct vm_area_struct *vma,
				    struct fbuf_buf *buf,
				    struct fbuf_buf **first)
	__must_hold(&h->pool->lock)
{
	struct fbuf_pool *pool = h->pool;
	unsigned int index = fbuf_buf_index(pool, buf), nr = 1, before = 0;
	unsigned long pages = fbuf_buf_pages(pool), most, behind, page;

	/* No further than the mapping has all of it, which is none beyond the pool. */
	page = fbuf_buf_first(pool, buf);
	most = (vma->vm_pgoff + vma_pages(vma) - page) / pages;
	most = min3(most, (unsigned long)AHEAD_BUFS,
		    (unsigned long)AHEAD_BYTES >> pool->buf_shift);
	behind = page > vma->vm_pgoff ? (page - vma->vm_pgoff) / pages : 0;
	if (index && index == h->next_write)
		pool->follows[index] = FOLLOWS_TIMES;
	else if (index + 1 == h->last_write)
		pool->precedes[index] = FOLLOWS_TIMES;
	while (nr < most && pool->follows[index + nr] &&
	       fbuf_idle_to_write(pool, buf + nr))
		pool->follows[index + nr++]--;
	while (nr + before < most && before < behind &&
	       pool->precedes[index - before - 1] &&
	       fbuf_idle_to_write(pool, buf - before - 1))
		pool->precedes[index - ++before]--;
	h->next_write = index + nr;
	h->last_write = index - before;
	*first = buf - before;
	return nr + before;
}

/* Before Linux 6.9 vmf_error() takes a memory error for any other. */
static vm_fault_t map_error(const struct fbuf_pool *pool, int err)
{
	/* No process was killed to make room: it would be tried again for ever. */
	if (err == -ENOMEM && pool->bound)
		return VM_FAULT_SIGBUS;
	return err == -EHWPOISON ? VM_FAULT_HWPOISON : vmf_error(err);
}

static vm_fault_t map_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct fbuf_handle *h = vma->vm_file->private_data;
	struct fbuf_pool *pool = h->pool;
	bool write = vmf->flags & FAULT_FLAG_WRITE && !fbuf_is_volatile(pool);
	struct fbuf_buf *buf;
	struct map_span span;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	unsigned int nr = 1;
	int err;

	if (vmf->pgoff >= pool->nr_pages)
		return VM_FAULT_SIGBUS;
	/*
	 * Kernels from 6.7 on that do not refuse it leave marks for userfaultfd
	 * where entries were: we would find them there and try again for ever.
	 */
	if (userfaultfd_wp(vma))
		return VM_FAULT_SIGBUS;
	buf = map_buf(pool, vmf->pgoff);
	mutex_lock(&pool->lock);
	/* In a pool that is not lazy only one that is free has none. */
	if (fbuf_buf_get_memory(pool, buf))
		goto out;
	err = write ? fbuf_may_write(pool, buf, NULL) : 0;
	if (err == -EBUSY) {
		mutex_unlock(&pool->lock);
		return map_wait(vmf, buf);
	}
	if (!err && PageHWPoison(pool->pages[vmf->pgoff]))
		err = -EHWPOISON;
	ret = err ? map_error(pool, err) : 0;
	if (ret)
		goto out;
	if (write)
		nr = map_write_ahead(h, vma, buf, &buf);
	span = map_span(pool, buf, nr, vma);
	ret = map_insert(pool, vma, &span);
	if (ret)
		goto out;
	if (write)
		map_upgrade(vma, &span);
	ret = VM_FAULT_NOPAGE;
out:
	mutex_unlock(&pool->lock);
	return ret;
}

/*
 * A write through a read-only entry; with a reference to its page, if it is
 * vmf->page.
 */
static vm_fault_t map_mkwrite(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct fbuf_handle *h = vma->vm_file->private_data;
	struct page *page = vmf->page, *was;
	struct fbuf_pool *pool = h->pool;
	unsigned long i = vmf->pgoff;
	struct fbuf_buf *buf = map_buf(pool, i);
	struct map_span span = map_span(pool, buf, 1, vma);
	vm_fault_t ret = 0;
	int err = -EBUSY;

	mutex_lock(&pool->lock);
	was = pool->pages[i];
	if (was && (!page || page == was))
		err = fbuf_may_write(pool, buf, page ? page_folio(page) : NULL);
	if (err) {
		/*
		 * It must wait, or has other pages by now: start anew without
		 * the entry and the caller's reference, with map_fault().
		 */
		fbuf_unmap(pool, buf, 1);
	} else {
		/* A snapshot has fresh pages, and took the entries away. */
		if (pool->pages[i] != was)
			ret = map_insert(pool, vma, &span);
		if (!ret)
			map_upgrade(vma, &span);
	}
	mutex_unlock(&pool->lock);
	return ret ?: VM_FAULT_NOPAGE;
}

/* Long-term pins are possible, as there is nothing that they could bypass. */
static const struct vm_operations_struct map_volatile_ops = {
	.fault		= map_fault,
};

static const struct vm_operations_struct map_protected_ops = {
	.fault		= map_fault,
	.page_mkwrite	= map_mkwrite,
	.pfn_mkwrite	= map_mkwrite,
};

/**
 * fbuf_map_pool() - map a part of the pool
 * @h: the handle
 * @vma: the mapping to be, with an offset in the pool
 *
 * Context: the mmap lock is held for writing.
 * Return: 0; -EINVAL if it passes the end of the pool; -EACCES if the handle has no
 * right to it.
 */
int fbuf_map_pool(struct fbuf_handle *h, struct vm_area_struct *vma)
{
	struct fbuf_pool *pool = h->pool;
	unsigned long end, clear = VM_MAYEXEC;

	if (check_add_overflow(vma->vm_pgoff, vma_pages(vma), &end) ||
	    end > pool->nr_pages)
		return -EINVAL;
	if (!(h->rights & FBUF_RIGHT_READ))
		return -EACCES;
	if (!(h->rights & FBUF_RIGHT_WRITE)) {
		if (vma->vm_flags & VM_WRITE)
			return -EACCES;
		/* Nor by mprotect(); it also keeps ptrace from forcing it. */
		clear |= VM_MAYWRITE;
	}
	/* What is no page to the kernel cannot be pinned. */
	vm_flags_mod(vma, VM_DONTEXPAND | (h->no_pin ? VM_PFNMAP : VM_MIXEDMAP),
		     clear);
	vma->vm_ops = fbuf_is_volatile(pool) ? &map_volatile_ops :
					       &map_protected_ops;
	return 0;
}
