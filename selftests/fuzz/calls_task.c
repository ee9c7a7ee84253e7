// SPDX-License-Identifier: GPL-2.0
/* What a process is and may do, and processes that come and go. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/capability.h>

#include "fuzz.h"

#define NOBODY	65534

static struct rlimit old_limits[2];

static long call_rlimit(struct actor *me, const __u32 *a)
{
	static const int what[] = { RLIMIT_MEMLOCK, RLIMIT_NOFILE };
	struct rlimit limit;
	unsigned int i = a[0] % 2;

	if (getrlimit(what[i], &limit))
		return -1;
	if (!old_limits[i].rlim_max)
		old_limits[i] = limit;
	limit.rlim_cur = i ? 3 + a[1] % 64 : a[1] % 64 * PAGE;
	me->run->dirty_task = true;
	return setrlimit(what[i], &limit);
}

static long caps_set(__u32 drop)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		return -1;
	data[0].effective = data[0].permitted & ~drop;
	data[1].effective = data[1].permitted;
	return syscall(SYS_capset, &head, data);
}

/* The calling thread only. */
static long call_user(struct actor *me, const __u32 *a)
{
	me->run->dirty_task = true;
	switch (a[0] % 3) {
	case 0:
		return caps_set(1U << CAP_IPC_LOCK | 1U << CAP_NET_ADMIN);
	case 1:
		return syscall(SYS_setresuid, NOBODY, NOBODY, 0);
	default:
		syscall(SYS_setresuid, 0, 0, 0);
		return caps_set(0);
	}
}

void task_restore(struct run *r)
{
	(void)r;
	syscall(SYS_setresuid, 0, 0, 0);
	caps_set(0);
	if (old_limits[0].rlim_max)
		setrlimit(RLIMIT_MEMLOCK, &old_limits[0]);
	if (old_limits[1].rlim_max)
		setrlimit(RLIMIT_NOFILE, &old_limits[1]);
}

/* A child that does the next calls as well. */
static long call_fork(struct actor *me, const __u32 *a)
{
	struct run *r = me->run;
	unsigned int i;
	pid_t pid;

	for (i = 0; i < NR_CHILDREN && r->child[i]; i++)
		;
	if (i == NR_CHILDREN || r->child_calls || me->cover.fd == -2)
		return -1;
	pid = fork();
	if (pid) {
		r->child[i] = pid > 0 ? pid : 0;
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The coverage is the parent's, and so is the second thread. */
	me->cover.buf = NULL;
	me->fail_fd = -1;
	r->child_calls = 1 + a[0] % 4;
	for (i = 0; i < NR_CHILDREN; i++)
		r->child[i] = 0;
	return 0;
}

static void child_end(pid_t *child)
{
	if (!*child)
		return;
	kill(*child, SIGKILL);
	while (waitpid(*child, NULL, 0) < 0 && kill(*child, 0) == 0)
		;
	*child = 0;
}

static long call_kill(struct actor *me, const __u32 *a)
{
	sched_yield();
	child_end(&me->run->child[a[0] % NR_CHILDREN]);
	return 0;
}

void children_end(struct run *r)
{
	unsigned int i;

	for (i = 0; i < NR_CHILDREN; i++)
		child_end(&r->child[i]);
}

static long call_yield(struct actor *me, const __u32 *a)
{
	(void)me;
	if (a[0] % 4)
		return sched_yield();
	return usleep(a[1] % 2048);
}

/* How long memory that stalls does, from now on. */
static long call_stall(struct actor *me, const __u32 *a)
{
	me->run->stall_us = a[0] % 1500;
	return 0;
}

static long write_file(const char *path, const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return -1;
	ret = write(fd, text, len);
	close(fd);
	return ret;
}

/* Memory is short, or is said to be. */
static long call_shrink(struct actor *me, const __u32 *a)
{
	(void)me;
	return write_file(a[0] % 4 ? "/proc/sys/vm/drop_caches" :
				     "/proc/sys/vm/compact_memory",
			  a[0] % 4 == 3 ? "3" : "2", 1);
}

/* The module's parameters, and files that show what it has. */
static long call_param(struct actor *me, const __u32 *a)
{
	static const char *const names[] = {
		"pool_max", "user_max", "stuck_ms", "cgroup_alone",
	};
	char path[64], text[16];
	int len = snprintf(text, sizeof(text), "%u", a[1]);

	snprintf(path, sizeof(path), "/sys/module/fbuf/parameters/%s",
		 names[a[0] % ARRAY_LEN(names)]);
	me->run->dirty_module = true;
	return write_file(path, text, len);
}

const struct call_desc task_calls[] = {
	{ "rlimit",	"nn",	3,	call_rlimit },
	{ "user",	"n",	4,	call_user },
	/* The last calls, so many, so often, each time with another argument. */
	{ "again",	"nnr",	0,	NULL },
	{ "fork",	"n",	1,	call_fork },
	{ "kill",	"n",	1,	call_kill },
	{ "yield",	"nn",	2,	call_yield },
	{ "stall",	"n",	2,	call_stall },
	{ "shrink",	"n",	1,	call_shrink },
	{ "param",	"nn",	2,	call_param },
	{ 0 },
};
