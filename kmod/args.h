/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What calls take from user memory.
 */
#ifndef FBUF_ARGS_H
#define FBUF_ARGS_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/uaccess.h>

int fbuf_args_get_grown(void *args, size_t size, size_t min, size_t usize,
			const void __user *uargs);
void *fbuf_array_get(void *fast, size_t room, u64 from, size_t bytes);
void fbuf_array_put(void *array, const void *fast);

/**
 * fbuf_args_get() - copy the structure of an ioctl, once, and check its size
 * @args: where to
 * @size: bytes of the structure as this module knows it, a constant, which
 *        makes the copy a short one
 * @min: bytes of it as first published
 * @cmd: the ioctl, whose size field is the caller's idea of it
 * @arg: its address in user memory
 *
 * Context: may sleep.
 * Return: 0; -ENOTTY if @cmd has another direction; as fbuf_args_get_grown();
 * -EINVAL if the first word of the structure is not its size.
 */
static __always_inline int fbuf_args_get(void *args, size_t size, size_t min,
					 unsigned int cmd, unsigned long arg)
{
	const void __user *uargs = (const void __user *)arg;
	size_t usize = _IOC_SIZE(cmd);
	int err;

	if (_IOC_DIR(cmd) != (_IOC_READ | _IOC_WRITE))
		return -ENOTTY;
	if (usize == size)
		err = copy_from_user(args, uargs, size) ? -EFAULT : 0;
	else
		err = fbuf_args_get_grown(args, size, min, usize, uargs);
	if (err)
		return err;
	return *(u32 *)args == usize ? 0 : -EINVAL;
}

#endif /* FBUF_ARGS_H */
