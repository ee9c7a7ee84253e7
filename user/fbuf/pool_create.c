// SPDX-License-Identifier: GPL-2.0
/* Making a pool, and what to do when there is none to be had. */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"
#include "nl.h"

void tool_no_module(void)
{
	if (!access("/sys/module/fbuf", F_OK))
		tool_err("The fbuf module is loaded, but is not to be had here: \"fbuf doctor\" says what to do.");
	else if (doctor_wants_signature())
		tool_err("The fbuf module is not loaded, and this kernel loads only modules that are signed with a key that it knows: \"sudo fbuf doctor --load\" says what to do.");
	else
		tool_err("The fbuf module is not loaded. Load it with \"sudo modprobe fbuf\", or with \"sudo make load\" in its source tree; if it does not load, \"sudo fbuf doctor --load\" says why.");
}

/* Whose the device is, and who asks. */
static void explain_access(void)
{
	struct stat st;
	struct passwd *pw;
	struct group *gr;
	char owner[64], group[64], me[64];

	if (stat(FBUF_DEVICE, &st)) {
		tool_err("%s: %s.", FBUF_DEVICE, strerror(errno));
		return;
	}
	/* Each look-up overwrites what the one before it returned. */
	pw = getpwuid(st.st_uid);
	snprintf(owner, sizeof(owner), "%s", pw ? pw->pw_name : "unnamed");
	gr = getgrgid(st.st_gid);
	snprintf(group, sizeof(group), "%s", gr ? gr->gr_name : "unnamed");
	pw = getpwuid(geteuid());
	snprintf(me, sizeof(me), "%s", pw ? pw->pw_name : "unnamed");

	tool_err("You (%s, uid %u) may not open %s: it belongs to %s:%s with mode %04o. Become root or a member of its group, or ask its owner to change the mode.",
		 me, geteuid(), FBUF_DEVICE, owner, group, st.st_mode & 07777);
}

/* Those with CAP_IPC_LOCK in the first user namespace are not held to RLIMIT_MEMLOCK. */
static bool may_lock_all(void)
{
	unsigned int inside = 1, outside = 1, nr = 0;
	unsigned long long caps = 0;
	char line[DOCTOR_LINE];
	FILE *f;

	if (!doctor_read(line, "/proc/self/uid_map") ||
	    sscanf(line, "%u %u %u", &inside, &outside, &nr) != 3 ||
	    inside || outside || nr != UINT32_MAX)
		return false;
	f = fopen("/proc/self/status", "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	}
	fclose(f);
	return caps >> CAP_IPC_LOCK & 1;
}

int tool_pool_try(uint32_t buf_size, uint32_t nr_bufs)
{
	struct fbuf_pool_create create = {
		.size = sizeof(create), .node = -1,
		.buf_size = buf_size, .nr_bufs = nr_bufs,
	};
	int ctl, fd, err;

	ctl = open(FBUF_DEVICE, O_RDWR | O_CLOEXEC);
	if (ctl < 0)
		return -errno;
	fd = ioctl(ctl, FBUF_IOC_POOL_CREATE, &create);
	err = errno;
	close(ctl);
	return fd < 0 ? -err : fd;
}

/* By the module's leave; a pool of this process's tells. */
static bool cgroup_is_enough(void)
{
	int fd = tool_pool_try(getpagesize(), 1);
	struct fbuf_info info = { .size = sizeof(info) };
	struct ctl_pool pool = { .seen = CTL_SEEN(FBUF_A_POOL_ID) };
	bool alone = false;
	struct ctl *c;

	if (fd < 0)
		return false;
	c = ctl_open(true);
	if (c && !ioctl(fd, FBUF_IOC_INFO, &info)) {
		pool.id = info.id;
		alone = !ctl_get(c, &ctl_pools, &pool) && pool.by_cgroup;
	}
	if (c)
		ctl_close(c);
	close(fd);
	return alone;
}

enum tool_bound tool_pool_bound(void)
{
	struct rlimit rl;

	if (may_lock_all() || getrlimit(RLIMIT_MEMLOCK, &rl) ||
	    rl.rlim_cur == RLIM_INFINITY)
		return TOOL_BOUND_NONE;
	return cgroup_is_enough() ? TOOL_BOUND_CGROUP : TOOL_BOUND_MEMLOCK;
}

static void explain_memory(size_t buf_size, unsigned int nr_bufs)
{
	char want[FMT_BYTES_MAX], max[FMT_BYTES_MAX];
	struct rlimit rl;

	fmt_bytes(want, (double)buf_size * nr_bufs);
	if (tool_pool_bound() != TOOL_BOUND_MEMLOCK ||
	    getrlimit(RLIMIT_MEMLOCK, &rl)) {
		tool_err("No memory for a pool of %u buffers, %s in all: this machine, or the memory cgroup, has no room for it. Make the pool smaller with -b or -n.",
			 nr_bufs, want);
		return;
	}
	fmt_bytes(max, rl.rlim_cur);
	tool_err("No memory for a pool of %u buffers, %s in all: RLIMIT_MEMLOCK is %s for all your pools and locked memory. Make the pool smaller with -b or -n, or raise the limit (ulimit -l, memlock in /etc/security/limits.conf, or --ulimit memlock= of a container).",
		 nr_bufs, want, max);
}

static void explain_quota(size_t buf_size, unsigned int nr_bufs)
{
	char want[FMT_BYTES_MAX], max[FMT_BYTES_MAX], have[FMT_BYTES_MAX];
	uint64_t size = (uint64_t)buf_size * nr_bufs;
	struct ctl_limit limit;
	char user[FMT_USER_MAX];

	ctl_limit_own(&limit);
	fmt_bytes(want, size);
	fmt_bytes(have, limit.charged);
	fmt_user(user, getuid());
	if (limit.pool_max && size > limit.pool_max)
		tool_err("The pool would have %s, and the limit for one pool is %s. Make it smaller with -b or -n, or have the limit raised: \"fbuf limit set --pool SIZE\", as root.",
			 want, fmt_bytes(max, limit.pool_max));
	else if (limit.user_max)
		tool_err("The pool would have %s, your pools have %s already, and the limit for user %s is %s. Make it smaller with -b or -n, close others, or have the limit raised: \"fbuf limit set --uid %s --user SIZE\", as root.",
			 want, have, user, fmt_bytes(max, limit.user_max),
			 user);
	else
		tool_err("The pool would have %s, and the administrator's limits for a pool or for user %s do not allow it. Make it smaller with -b or -n, or have the limit raised: \"fbuf limit set\", as root.",
			 want, user);
}

static bool is_buf_size(size_t size)
{
	return size >= (size_t)sysconf(_SC_PAGESIZE) &&
	       size <= FBUF_BUF_SIZE_MAX && !(size & (size - 1));
}

static void explain_create(int err, size_t buf_size, unsigned int nr_bufs,
			   unsigned int flags)
{
	char want[FMT_BYTES_MAX], max[FMT_BYTES_MAX], version[DOCTOR_LINE];

	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		tool_no_module();
		break;
	case EACCES:
	case EPERM:
		explain_access();
		break;
	case ENOMEM:
		explain_memory(buf_size, nr_bufs);
		break;
	case EDQUOT:
		explain_quota(buf_size, nr_bufs);
		break;
	case EINVAL:
		if ((uint64_t)buf_size * nr_bufs > FBUF_POOL_SIZE_MAX) {
			tool_err("The pool would have %s, and no pool may have more than %s. Make it smaller with -b or -n.",
				 fmt_bytes(want, (double)buf_size * nr_bufs),
				 fmt_bytes(max, FBUF_POOL_SIZE_MAX));
			break;
		}
		if (flags & FBUF_POOL_LAZY && is_buf_size(buf_size) &&
		    doctor_read(version, "/sys/module/fbuf/version")) {
			tool_err("The module that is loaded, version %s, knows no lazy pools: load a newer one, or do without --lazy.",
				 version);
			break;
		}
		tool_err("The module refuses buffers of %zu bytes%s: the size must be a power of two from %ld to %u.",
			 buf_size, flags ? ", or their protection" : "",
			 sysconf(_SC_PAGESIZE), FBUF_BUF_SIZE_MAX);
		break;
	default:
		tool_err("Cannot make a pool of %u buffers of %zu bytes: %s.",
			 nr_bufs, buf_size, strerror(err));
	}
}

int tool_pool_create(struct fbuf_pool **pool, size_t buf_size,
		     unsigned int nr_bufs)
{
	int ret = fbuf_pool_create(pool, buf_size, nr_bufs);

	if (ret < 0)
		explain_create(-ret, buf_size, nr_bufs, 0);
	return ret;
}

int tool_pool_fd(size_t buf_size, unsigned int nr_bufs, unsigned int flags)
{
	struct fbuf_pool_create create = {
		.size = sizeof(create),
		.flags = flags,
		.buf_size = buf_size,
		.nr_bufs = nr_bufs,
		.node = -1,
	};
	int ctl, fd, err;

	ctl = open(FBUF_DEVICE, O_RDWR | O_CLOEXEC);
	fd = ctl < 0 ? -1 : ioctl(ctl, FBUF_IOC_POOL_CREATE, &create);
	err = errno;
	if (ctl >= 0)
		close(ctl);
	if (fd >= 0)
		return fd;
	explain_create(err, buf_size, nr_bufs, flags);
	return -err;
}
