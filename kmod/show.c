// SPDX-License-Identifier: GPL-2.0
/*
 * Parcels in user space: what may be shown of them can be mapped, for reading.
 *
 * A page is shown if the parcel has every byte of it, and if it belongs to a pool
 * whose sender had it protected: then nobody can write to it for as long as the parcel
 * refers to it. The reference makes the buffer one that is in flight, so that a write
 * goes to other pages, or waits. Any other page may have bytes that were not sent to
 * this socket, or may get some.
 *
 * A handle's parcels have a place each, by their index, FBUF_PARCEL_MAX long, and byte
 * @at of one is at @at there, rounded up to whole pages: no two pages meet. Entries
 * are of bare page frames. Nothing takes a reference by them, or can: when the parcel
 * is dropped they are taken away, before its own references are.
 */
#include <linux/bitmap.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pgtable.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "parcel.h"
#include "pool.h"
#include "show.h"
#include "types.h"

#define PARCELS_FIRST	(FBUF_MMAP_PARCELS >> PAGE_SHIFT)
/* Pages of a place. */
#define PLACE_PAGES	((unsigned long)FBUF_PARCEL_MAX >> PAGE_SHIFT)
/* Pages that a fault maps at most, a power of two. */
#define FAULT_PAGES	256UL

/**
 * struct show_run - the whole pages of a run
 * @page: the first of them
 * @nr: how many
 * @at: the byte of the parcel with which it begins
 */
struct show_run {
	struct page *page;
	unsigned int nr;
	unsigned int at;
};

/* @start: the byte of the parcel with which the run begins */
static struct show_run show_run(const struct bio_vec *run, unsigned int start)
{
	unsigned int head = -run->bv_offset & (PAGE_SIZE - 1);
	struct show_run s = {
		.page = run->bv_page + ((run->bv_offset + head) >> PAGE_SHIFT),
		.at = start + head,
	};

	if (run->bv_len > head)
		s.nr = (run->bv_len - head) >> PAGE_SHIFT;
	return s;
}

static unsigned int show_slot(const struct show_run *s)
{
	return DIV_ROUND_UP(s->at, PAGE_SIZE);
}

/*
 * Are the pages such as nobody can change while there is a reference to them, which we
 * have? Those of one folio, which is one buffer's, are as the first one is. Protection does
 * not end before that reference goes; a write that looks whether it may end it looks like its
 * end for a moment, which is an error to the safe side. Nor can protection that begins
 * be of another send: it does not, while there is a reference.
 */
static bool show_protected(struct page *page, unsigned int *nr)
{
	struct folio *folio = page_folio(page);
	unsigned int left = folio_nr_pages(folio) - folio_page_idx(folio, page);
	const struct fbuf_pool *owner;
	bool ret = false;

	rcu_read_lock();
	owner = fbuf_pool_of(folio);
	if (owner) {
		unsigned long i = folio->index + folio_page_idx(folio, page);
		unsigned int shift = owner->buf_shift - PAGE_SHIFT;

		/* In any order. What a snapshot replaced is nobody's to write. */
		ret = READ_ONCE(owner->pages[i]) != page ||
		      READ_ONCE(owner->bufs[i >> shift].prot) != FBUF_VOLATILE;
	}
	rcu_read_unlock();
	*nr = min(*nr, left);
	return ret && !folio_test_hwpoison(folio) &&
	       !(folio_test_large(folio) && folio_test_has_hwpoisoned(folio));
}

/* What may be shown, once and for all. */
static int show_look(struct fbuf_parcel *p)
	__must_hold(&p->h->show_lock)
{
	unsigned int i, j, n, start = 0;
	unsigned long *shown;

	if (p->shown)
		return 0;
	shown = kvcalloc(BITS_TO_LONGS(PLACE_PAGES), sizeof(long),
			 GFP_KERNEL_ACCOUNT);
	if (!shown)
		return -ENOMEM;
	for (i = 0; i < p->nr; start += p->runs[i++].bv_len) {
		struct show_run s = show_run(&p->runs[i], start);

		for (j = 0; j < s.nr; j += n) {
			n = s.nr - j;
			if (show_protected(s.page + j, &n))
				bitmap_set(shown, show_slot(&s) + j, n);
		}
	}
	p->shown = shown;
	return 0;
}

/* A part that is being put together, and those that are told. */
struct show_parts {
	const struct fbuf_parcel *p;
	struct fbuf_part part;
	struct fbuf_part __user *to;
	unsigned int room;
	unsigned int nr;
};

static int show_tell(struct show_parts *parts)
{
	if (!parts->part.len)
		return 0;
	if (parts->nr < parts->room &&
	    copy_to_user(&parts->to[parts->nr], &parts->part,
			 sizeof(parts->part)))
		return -EFAULT;
	parts->nr++;
	parts->part.len = 0;
	return 0;
}

/* One more page; it may go on where the part ends. */
static int show_page(struct show_parts *parts, unsigned int at)
{
	struct fbuf_part *part = &parts->part;
	int err;

	if (part->len && part->offset + part->len == at) {
		part->len += PAGE_SIZE;
		return 0;
	}
	err = show_tell(parts);
	part->at = FBUF_MMAP_PARCELS + (u64)parts->p->index * FBUF_PARCEL_MAX +
		   round_up(at, PAGE_SIZE);
	part->offset = at;
	part->len = PAGE_SIZE;
	return err;
}

static int show_run_pages(struct show_parts *parts, const struct show_run *s)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < s->nr && !err; i++) {
		if (test_bit(show_slot(s) + i, parts->p->shown))
			err = show_page(parts, s->at + (i << PAGE_SHIFT));
	}
	return err;
}

static int show_all(const struct fbuf_parcel *p, const struct fbuf_show *args)
{
	struct show_parts parts = {
		.p = p,
		.to = u64_to_user_ptr(args->parts),
		.room = args->count,
	};
	unsigned int i, start = 0;
	int err = 0;

	for (i = 0; i < p->nr && !err; start += p->runs[i++].bv_len) {
		struct show_run s = show_run(&p->runs[i], start);

		err = show_run_pages(&parts, &s);
		cond_resched();
	}
	err = err ?: show_tell(&parts);
	return err ?: parts.nr;
}

/**
 * fbuf_show() - SHOW: have a parcel's pages be ones that can be mapped
 * @h: the handle to which it belongs
 * @args: which, and where to tell of them
 *
 * Context: may sleep.
 * Return: how many parts there are; -EINVAL, -ESTALE, -ENOMEM or -EFAULT.
 */
int fbuf_show(struct fbuf_handle *h, const struct fbuf_show *args)
{
	struct fbuf_parcel *p;
	int ret;

	if (args->flags || args->pad || args->count > FBUF_BATCH_MAX)
		return -EINVAL;
	p = fbuf_parcel_get(h, args->name);
	if (IS_ERR(p))
		return PTR_ERR(p);
	mutex_lock(&h->show_lock);
	ret = show_look(p);
	mutex_unlock(&h->show_lock);
	if (!ret)
		ret = show_all(p, args);
	fbuf_parcel_put(p);
	return ret;
}

/* Pages of a run for addresses that follow each other. */
struct show_entries {
	struct vm_area_struct *vma;
	struct page *page;
};

static int show_set_entry(pte_t *ptep, unsigned long addr, void *data)
{
	struct show_entries *e = data;
	unsigned long pfn = page_to_pfn(e->page++);

	/* Two faults at once. */
	if (pte_none(ptep_get(ptep)))
		set_pte_at(e->vma->vm_mm, addr, ptep,
			   pte_mkspecial(pfn_pte(pfn, e->vma->vm_page_prot)));
	return 0;
}

/*
 * Those pages of a run that are among the ones from @first to before @end of the
 * place, which is at @addr.
 */
static int show_insert_run(const struct fbuf_parcel *p, const struct show_run *s,
			   struct vm_area_struct *vma, unsigned long first,
			   unsigned long end, unsigned long addr)
{
	unsigned long slot = show_slot(s), i = max(slot, first), n;
	unsigned long stop = min(slot + s->nr, end);
	struct show_entries e = { .vma = vma };
	int err = 0;

	for (; i < stop && !err; i += n) {
		n = 1;
		if (!test_bit(i, p->shown))
			continue;
		while (i + n < stop && test_bit(i + n, p->shown))
			n++;
		e.page = s->page + (i - slot);
		err = apply_to_page_range(vma->vm_mm,
					  addr + ((i - first) << PAGE_SHIFT),
					  n << PAGE_SHIFT, show_set_entry, &e);
	}
	return err;
}

/* Of the pages around one, those that the mapping has. */
static int show_insert(struct fbuf_parcel *p, struct vm_area_struct *vma,
		       unsigned long slot)
	__must_hold(&p->h->show_lock)
{
	unsigned long place = PARCELS_FIRST + p->index * PLACE_PAGES;
	unsigned long first = round_down(slot, FAULT_PAGES);
	unsigned long end = min(first + FAULT_PAGES, PLACE_PAGES);
	unsigned int i, start = 0;
	unsigned long addr;
	int err = 0;

	first = max(place + first, vma->vm_pgoff) - place;
	end = min(place + end, vma->vm_pgoff + vma_pages(vma)) - place;
	addr = vma->vm_start + ((place + first - vma->vm_pgoff) << PAGE_SHIFT);
	p->mapped = true;
	for (i = 0; i < p->nr && !err; start += p->runs[i++].bv_len) {
		struct show_run s = show_run(&p->runs[i], start);

		if (s.nr)
			err = show_insert_run(p, &s, vma, first, end, addr);
	}
	return err;
}

static vm_fault_t show_fault(struct vm_fault *vmf)
{
	struct fbuf_handle *h = vmf->vma->vm_file->private_data;
	unsigned long i = vmf->pgoff - PARCELS_FIRST;
	u32 index = i / PLACE_PAGES;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	struct fbuf_parcel *p;

	if (index >= FBUF_PARCELS_MAX)
		return VM_FAULT_SIGBUS;
	p = fbuf_parcel_at(h, index);
	if (!p)
		return VM_FAULT_SIGBUS;
	mutex_lock(&h->show_lock);
	/* Who drops it looks under the lock whether it is mapped, after this. */
	if (fbuf_parcel_there(p) && p->shown &&
	    test_bit(i % PLACE_PAGES, p->shown)) {
		int err = show_insert(p, vmf->vma, i % PLACE_PAGES);

		ret = err ? vmf_error(err) : VM_FAULT_NOPAGE;
	}
	mutex_unlock(&h->show_lock);
	fbuf_parcel_put(p);
	return ret;
}

static const struct vm_operations_struct show_ops = {
	.fault	= show_fault,
};

/**
 * fbuf_show_mmap() - map a part of where a handle's parcels are
 * @vma: the mapping to be, with an offset from FBUF_MMAP_PARCELS on
 *
 * Context: the mmap lock is held for writing.
 * Return: 0; -EINVAL if it passes the end; -EACCES if it is to be written.
 */
int fbuf_show_mmap(struct vm_area_struct *vma)
{
	unsigned long first = vma->vm_pgoff - PARCELS_FIRST, end;

	if (check_add_overflow(first, vma_pages(vma), &end) ||
	    end > FBUF_MMAP_PARCELS_SIZE >> PAGE_SHIFT)
		return -EINVAL;
	if (vma->vm_flags & VM_WRITE)
		return -EACCES;
	/* Nor by mprotect(). */
	vm_flags_mod(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP,
		     VM_MAYWRITE | VM_MAYEXEC);
	vma->vm_ops = &show_ops;
	return 0;
}
