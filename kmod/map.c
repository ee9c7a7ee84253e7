// SPDX-License-Identifier: GPL-2.0
/*
 * The pool in user space: ordinary struct pages, put into the page tables one
 * fault at a time, so that everything that takes user pages (O_DIRECT, vmsplice,
 * MSG_ZEROCOPY, ptrace) works on the mapping.
 */
#include <linux/fs.h>
#include <linux/mm.h>

#include "compat.h"
#include "fbuf.h"

static vm_fault_t map_fault(struct vm_fault *vmf)
{
	struct fbuf_handle *h = vmf->vma->vm_file->private_data;
	struct fbuf_pool *pool = h->pool;

	if (vmf->pgoff >= pool->nr_pages)
		return VM_FAULT_SIGBUS;
	vmf->page = pool->pages[vmf->pgoff];
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct map_ops = {
	.fault	= map_fault,
};

/**
 * fbuf_mmap() - map a part of the pool
 * @file: a pool fd's file
 * @vma: the mapping to be
 *
 * A child inherits the mapping: it is shared memory. It cannot grow, and it
 * cannot be made executable: what is received from a network must not run.
 *
 * Context: the mmap lock is held for writing.
 * Return: 0; -EINVAL if the mapping is private or passes the end of the pool;
 * -EPERM if it is executable.
 */
int fbuf_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct fbuf_handle *h = file->private_data;
	unsigned long end;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (check_add_overflow(vma->vm_pgoff, vma_pages(vma), &end) ||
	    end > h->pool->nr_pages)
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	vm_flags_mod(vma, VM_DONTEXPAND, VM_MAYEXEC);
	vma->vm_ops = &map_ops;
	return 0;
}
