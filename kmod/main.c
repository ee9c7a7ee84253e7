// SPDX-License-Identifier: GPL-2.0
/*
 * fbuf: buffers that user space and kernel share, sent without a CPU copy.
 *
 * After Druschel & Peterson, "Fbufs: a high-bandwidth cross-domain transfer
 * facility" (SOSP 1993). This file is the module and its device; the calls on
 * a pool are in the files named after what they do.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "args.h"
#include "bound.h"
#include "charge.h"
#include "compat.h"
#include "handle.h"
#include "look.h"
#include "netlink.h"
#include "nudge.h"
#include "parcel.h"
#include "pool.h"
#include "probe.h"
#include "shrink.h"
#include "take.h"
#include "ubuf.h"

static long fbuf_control_ioctl(struct file *file, unsigned int cmd,
			       unsigned long arg)
{
	const struct fbuf_share all = {
		.rights = FBUF_RIGHT_READ | FBUF_RIGHT_WRITE |
			  FBUF_RIGHT_ALLOC | FBUF_RIGHT_SEND,
	};
	struct fbuf_pool_create args;
	struct fbuf_pool *pool;
	int err;

	if (_IOC_TYPE(cmd) != FBUF_IOC_MAGIC ||
	    _IOC_NR(cmd) != _IOC_NR(FBUF_IOC_POOL_CREATE))
		return -ENOTTY;
	err = fbuf_args_get(&args, sizeof(args),
			    offsetof(struct fbuf_pool_create, copy_above), cmd,
			    arg);
	if (err)
		return err;
	pool = fbuf_pool_create(&args);
	return IS_ERR(pool) ? PTR_ERR(pool) :
			      fbuf_handle_install(pool, &all, NULL);
}

static const struct file_operations fbuf_control_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= fbuf_control_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.llseek		= noop_llseek,
};

/* For root, until udev gives it to a group: see user/dist. */
static struct miscdevice fbuf_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "fbuf",
	.mode	= 0600,
	.fops	= &fbuf_control_fops,
};

static int __init start(void)
{
	int err;

	if (fbuf_kernel_is_untried())
		pr_warn("fbuf: this kernel is newer than Linux %u.%u, the newest that this version was tried on. It is loaded if mappings are counted as it needs; a newer fbuf may know this kernel.\n",
			FBUF_TRIED >> 16, FBUF_TRIED >> 8 & 0xff);
	err = fbuf_probe();
	if (err)
		return err;
	err = fbuf_take_init();
	if (err)
		return err;
	err = fbuf_nudge_init();
	if (err)
		return err;
	err = fbuf_pool_init();
	if (err)
		goto err_nudge;
	err = fbuf_ubuf_start();
	if (err)
		goto err_pool;
	err = fbuf_shrink_init();
	if (err)
		goto err_ubuf;
	err = fbuf_netlink_init();
	if (err)
		goto err_shrink;
	err = misc_register(&fbuf_device);
	if (err)
		goto err_netlink;
	return 0;

err_netlink:
	fbuf_netlink_exit();
err_shrink:
	fbuf_shrink_exit();
err_ubuf:
	fbuf_ubuf_stop();
err_pool:
	fbuf_pool_exit();
err_nudge:
	fbuf_nudge_exit();
	return err;
}

static int __init fbuf_init(void)
{
	int err = start();

	if (err)
		pr_err("fbuf: the module is not loaded: error %d\n", err);
	return err;
}

/* No file is open and nothing is mapped: they hold the module. */
static void __exit fbuf_exit(void)
{
	misc_deregister(&fbuf_device);
	fbuf_netlink_exit();
	fbuf_shrink_exit();
	fbuf_ubuf_stop();
	fbuf_pool_exit();
	fbuf_users_exit();
	fbuf_nudge_exit();
}

module_param_named(pool_max, fbuf_pool_max, ullong, 0644);
MODULE_PARM_DESC(pool_max, "bytes that a pool may have (0: no limit)");
module_param_named(user_max, fbuf_user_max, ullong, 0644);
MODULE_PARM_DESC(user_max, "bytes that may be charged to a user (0: no limit)");
module_param_named(cgroup_alone, fbuf_cgroup_alone, bool, 0644);
MODULE_PARM_DESC(cgroup_alone, "where root has set memory.max, it is enough: RLIMIT_MEMLOCK bounds parcels only");
module_param_named(parcel_max, fbuf_parcel_max, ullong, 0644);
MODULE_PARM_DESC(parcel_max, "bytes in parcels that a pool may have (0: no limit)");
module_param_named(stuck_ms, fbuf_stuck_ms, uint, 0644);
MODULE_PARM_DESC(stuck_ms, "milliseconds in flight after which a buffer is stuck");

module_init(fbuf_init);
module_exit(fbuf_exit);

MODULE_DESCRIPTION("Shared buffers, sent without a CPU copy");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.4.0");
