// SPDX-License-Identifier: GPL-2.0
/* fbuf doctor: how large may pools be, by each limit that there is? */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "doctor.h"
#include "nl.h"
#include "../run/limits.h"

#define CGROUPS		"/sys/fs/cgroup"
/* What "fbuf send" makes, and what "fbuf run" does. */
#define LEAST		((uint64_t)TOOL_BUF_SIZE * TOOL_NR_BUFS)
#define MUCH		((uint64_t)RUN_POOL_DEFAULT)

static void find_memlock(struct doctor *d)
{
	char have[FMT_BYTES_MAX], want[FMT_BYTES_MAX], user[FMT_USER_MAX];
	struct rlimit rl;

	enum tool_bound bound = tool_pool_bound();

	if (getrlimit(RLIMIT_MEMLOCK, &rl))
		return;
	if (bound == TOOL_BOUND_NONE) {
		doctor_find(d, DOCTOR_OK, "memlock",
			    "RLIMIT_MEMLOCK does not bound your pools.");
		return;
	}
	fmt_bytes(have, rl.rlim_cur);
	if (bound == TOOL_BOUND_CGROUP) {
		doctor_find(d, DOCTOR_OK, "memlock",
			    "Your memory cgroup alone bounds your pools; what they receive may have %s (RLIMIT_MEMLOCK).",
			    have);
		return;
	}
	if (rl.rlim_cur >= MUCH) {
		doctor_find(d, DOCTOR_OK, "memlock",
			    "All your pools together may have %s (RLIMIT_MEMLOCK).",
			    have);
		return;
	}
	fmt_bytes(want, rl.rlim_cur < LEAST ? LEAST : MUCH);
	doctor_find(d, rl.rlim_cur < LEAST ? DOCTOR_WRONG : DOCTOR_NOTE, "memlock",
		    "All your pools together may have %s (RLIMIT_MEMLOCK); a pool of \"fbuf %s\" has %s. Have more, from the next login on; a service takes LimitMEMLOCK=, a container --ulimit memlock=, or see \"cgroup_alone\" in fbuf(7):",
		    have, rl.rlim_cur < LEAST ? "send" : "run", want);
	doctor_type(d, "echo '%s - memlock %u' | \\\n"
		    "               sudo tee -a /etc/security/limits.conf",
		    fmt_user(user, getuid()), 1U << 20);
}

static void find_quota(struct doctor *d)
{
	char max[FMT_BYTES_MAX], have[FMT_BYTES_MAX], user[FMT_USER_MAX];
	struct ctl_limit limit;

	if (!ctl_limit_own(&limit))
		return;
	fmt_bytes(have, limit.charged);
	fmt_user(user, getuid());
	if (limit.pool_max)
		doctor_find(d, limit.pool_max < LEAST ? DOCTOR_WRONG : DOCTOR_OK,
			    "limits", "A pool may have %s, by the module's limit%s",
			    fmt_bytes(max, limit.pool_max),
			    limit.pool_max < LEAST ? ". Have it raised:" : ".");
	if (limit.pool_max && limit.pool_max < LEAST)
		doctor_type(d, "sudo fbuf limit set --pool 1G");
	if (limit.user_max && limit.charged + LEAST > limit.user_max) {
		doctor_find(d, DOCTOR_WRONG, "limits",
			    "%s has %s of the %s that the module's limit allows all pools of one user. Have it raised:",
			    user, have, fmt_bytes(max, limit.user_max));
		doctor_type(d, "sudo fbuf limit set --uid %s --user 4G", user);
	} else if (limit.user_max) {
		doctor_find(d, DOCTOR_OK, "limits",
			    "%s has %s of the %s that the module's limit allows.",
			    user, have, fmt_bytes(max, limit.user_max));
	} else if (!limit.pool_max) {
		doctor_find(d, DOCTOR_OK, "limits",
			    "The module has no limits; %s has %s.", user, have);
	}
}

/* The path of this process's cgroup of version 2, in CGROUPS. */
static bool own_cgroup(char path[PATH_MAX])
{
	char line[PATH_MAX];
	bool found = false;
	FILE *f = fopen("/proc/self/cgroup", "re");

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = !strncmp(line, "0::/", 4);
	fclose(f);
	if (!found)
		return false;
	line[strcspn(line, "\n")] = '\0';
	return snprintf(path, PATH_MAX, CGROUPS "%s", line + 3) < PATH_MAX;
}

/* False if this one is not bounded. */
static bool cgroup_room(const char *path, uint64_t *max, uint64_t *current)
{
	char line[DOCTOR_LINE];

	if (!doctor_read(line, "%s/memory.max", path) || !strcmp(line, "max"))
		return false;
	*max = strtoull(line, NULL, 10);
	if (!doctor_read(line, "%s/memory.current", path))
		return false;
	*current = strtoull(line, NULL, 10);
	return true;
}

static void find_one_cgroup(struct doctor *d, const char *path, uint64_t max,
			    uint64_t current)
{
	char have[FMT_BYTES_MAX], of[FMT_BYTES_MAX];
	uint64_t room = max > current ? max - current : 0;
	enum doctor_level level = room < LEAST ? DOCTOR_WRONG :
				  room < max / 10 ? DOCTOR_NOTE : DOCTOR_OK;

	fmt_bytes(have, current);
	fmt_bytes(of, max);
	doctor_find(d, level, "cgroup",
		    "The memory cgroup %s has %s of its %s%s", path, have, of,
		    level == DOCTOR_OK ? "." :
		    "; pools are charged to it, and cannot be reclaimed while they are used. Let it have more; a unit of systemd takes MemoryMax=:");
	if (level != DOCTOR_OK)
		doctor_type(d, "echo %llu | sudo tee %s/memory.max",
			    (unsigned long long)max * 2, path);
}

/* Of all that this process is in, the one with the least room. */
static void find_cgroup(struct doctor *d)
{
	char path[PATH_MAX], least[PATH_MAX] = "";
	uint64_t max, current, of = 0, used = 0;
	char *end;

	if (!own_cgroup(path))
		return;
	while (strlen(path) > strlen(CGROUPS)) {
		end = strrchr(path, '/');
		if (cgroup_room(path, &max, &current) &&
		    (!*least || max - current < of - used)) {
			memcpy(least, path, sizeof(least));
			of = max;
			used = current;
		}
		*end = '\0';
	}
	if (*least)
		find_one_cgroup(d, least, of, used);
	else
		doctor_find(d, DOCTOR_OK, "cgroup",
			    "No memory cgroup bounds your pools.");
}

/* All limits at once, by trying: the pool of "fbuf send". */
static void find_pool(struct doctor *d)
{
	char bytes[FMT_BYTES_MAX];
	int fd;

	if (access(FBUF_DEVICE, R_OK | W_OK))
		return;
	fd = tool_pool_try(TOOL_BUF_SIZE, TOOL_NR_BUFS);
	fmt_bytes(bytes, LEAST);
	if (fd >= 0) {
		close(fd);
		doctor_find(d, DOCTOR_OK, "pool",
			    "A pool of %s was made, and dropped.", bytes);
		return;
	}
	doctor_find(d, DOCTOR_WRONG, "pool",
		    "No pool of %s can be made: %s. What is wrong above is why; if nothing is, look at what has the memory:",
		    bytes, strerror(-fd));
	doctor_type(d, "free -m; fbuf limit; fbuf pool");
}

void doctor_limits(struct doctor *d)
{
	find_memlock(d);
	find_quota(d);
	find_cgroup(d);
	find_pool(d);
}
