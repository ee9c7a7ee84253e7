// SPDX-License-Identifier: GPL-2.0
/*
 * What calls take from user memory: copied once, and only the copy looked at.
 */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "args.h"
#include "log.h"

/**
 * fbuf_args_get_grown() - fbuf_args_get() of a structure not as long as ours
 * @args: where to
 * @size: bytes of the structure as this module knows it
 * @min: bytes of it as first published
 * @usize: bytes of it as the caller does
 * @uargs: its address in user memory
 *
 * Context: may sleep.
 * Return: 0; -EFAULT; -E2BIG if the caller uses what this module does not know;
 * -EINVAL if it is too short.
 */
int fbuf_args_get_grown(void *args, size_t size, size_t min, size_t usize,
			const void __user *uargs)
{
	int err;

	if (usize < min)
		return -EINVAL;
	err = copy_struct_from_user(args, size, uargs, usize);
	if (err == -E2BIG)
		fbuf_log_notice("a call with %zu bytes of arguments, of which this module knows %zu: the program is for a newer fbuf, load a newer module",
				usize, size);
	return err;
}

/**
 * fbuf_array_get() - copy the array that a call names, once
 * @fast: where to, if it has room
 * @room: bytes at @fast
 * @from: its address in user memory
 * @bytes: how long it is
 *
 * Context: may sleep.
 * Return: the copy, to be given to fbuf_array_put(); -ENOMEM or -EFAULT.
 */
void *fbuf_array_get(void *fast, size_t room, u64 from, size_t bytes)
{
	void *array = fast;

	if (bytes > room) {
		array = kvmalloc(bytes, GFP_KERNEL_ACCOUNT);
		if (!array)
			return ERR_PTR(-ENOMEM);
	}
	if (!copy_from_user(array, u64_to_user_ptr(from), bytes))
		return array;
	if (array != fast)
		kvfree(array);
	return ERR_PTR(-EFAULT);
}

/**
 * fbuf_array_put() - free what fbuf_array_get() returned
 * @array: that
 * @fast: as it was given then
 *
 * Context: may sleep.
 */
void fbuf_array_put(void *array, const void *fast)
{
	if (array != fast)
		kvfree(array);
}
