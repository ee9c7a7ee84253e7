// SPDX-License-Identifier: GPL-2.0
/*
 * At load, a look whether the kernel counts mappings as the idle test takes for granted
 * (Documentation/design.rst, "When is a buffer idle?"): a page-table entry for a page of
 * a driver comes with one reference and one count of mappings, and both go with it. That
 * it counts them at all is something that its memory management may end.
 */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pagemap.h>

#include "compat.h"
#include "folio.h"
#include "probe.h"

/* Both kinds of folio: of one page, and of more. */
#define PROBE_ORDERS	2

static vm_fault_t probe_fault(struct vm_fault *vmf)
{
	struct folio *folio = vmf->vma->vm_file->private_data;
	unsigned long i, nr = folio_nr_pages(folio);

	for (i = 0; i < nr; i++) {
		if (vm_insert_page(vmf->vma, vmf->vma->vm_start + i * PAGE_SIZE,
				   folio_page(folio, i)))
			return VM_FAULT_SIGBUS;
	}
	return VM_FAULT_NOPAGE;
}

static const struct vm_operations_struct probe_vm_ops = {
	.fault	= probe_fault,
};

static int probe_mmap(struct file *file, struct vm_area_struct *vma)
{
	vm_flags_mod(vma, VM_DONTEXPAND | VM_MIXEDMAP, 0);
	vma->vm_ops = &probe_vm_ops;
	return 0;
}

static const struct file_operations probe_fops = {
	.owner	= THIS_MODULE,
	.mmap	= probe_mmap,
};

/* Idle, with so many references of page tables, and busy with one more. */
static bool probe_counts(struct folio *folio, unsigned long mapped)
{
	bool right = fbuf_folio_idle(folio, 0) &&
		     fbuf_folio_mapcount(folio) == mapped &&
		     folio_ref_count(folio) == 1 + mapped;

	folio_get(folio);
	right &= !fbuf_folio_idle(folio, 0) && fbuf_folio_idle(folio, 1);
	folio_put(folio);
	return right;
}

/* Maps the folio of the file in the calling process, and takes it out again. */
static int probe_mapped(struct file *file, struct folio *folio)
{
	unsigned long nr = folio_nr_pages(folio), addr;
	bool right = probe_counts(folio, 0);

	addr = vm_mmap(file, 0, nr * PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_SHARED, 0);
	if (IS_ERR_VALUE(addr))
		return addr;
	right &= !fault_in_readable((char __user *)addr, 1);
	right &= probe_counts(folio, nr);
	vm_munmap(addr, nr * PAGE_SIZE);
	return right && probe_counts(folio, 0) ? 0 : -EOPNOTSUPP;
}

static int probe_order(unsigned int order)
{
	struct folio *folio;
	struct file *file;
	struct page *page;
	int err;

	page = alloc_pages(GFP_USER | __GFP_ZERO | (order ? __GFP_COMP : 0),
			   order);
	if (!page)
		return -ENOMEM;
	folio = page_folio(page);
	file = anon_inode_getfile("[fbuf]", &probe_fops, folio, O_RDWR);
	if (IS_ERR(file)) {
		folio_put(folio);
		return PTR_ERR(file);
	}
	/* As those of pools have one. */
	folio->mapping = file->f_mapping;
	err = probe_mapped(file, folio);
	folio->mapping = NULL;
	/* It goes a little later, when there may be no module. */
	replace_fops(file, &generic_ro_fops);
	fput(file);
	folio_put(folio);
	return err;
}

/**
 * fbuf_probe() - see that the idle test holds on this kernel
 *
 * Context: may sleep; the calling process has memory of its own.
 * Return: 0; -EOPNOTSUPP if it does not; -ENOMEM and the like.
 */
int __init fbuf_probe(void)
{
	unsigned int order;
	int err;

	for (order = 0; order < PROBE_ORDERS; order++) {
		err = probe_order(order);
		if (err == -EOPNOTSUPP)
			pr_err("fbuf: this kernel counts references to mapped pages in another way than the module needs to tell whether a buffer is in use: it is not loaded. A newer fbuf may know this kernel.\n");
		if (err)
			return err;
	}
	return 0;
}
