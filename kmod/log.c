// SPDX-License-Identifier: GPL-2.0
/*
 * What was refused at a limit, in the kernel's log: to whom, by which limit, and how
 * to raise that.
 *
 * Each user has so many lines in a time, so that nobody fills the log, and nobody's
 * lines are lost by another's. Users are remembered in a table of fixed size: who has
 * more user ids than it has places can hide others, and no more lines come of it.
 */
#include <linux/cred.h>
#include <linux/jiffies.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/uidgid.h>

#include "log.h"

#define LOG_USERS	64
#define LOG_LINES	3		/* of a user in LOG_TIME */
#define LOG_TIME	(10 * HZ)

/**
 * struct log_user - a user who had a line
 * @uid: the user
 * @since: when @lines began to be counted, in jiffies
 * @lines: how many there were since; 0 for a place that was never taken
 * @missed: how many more there would have been
 */
struct log_user {
	kuid_t uid;
	unsigned long since;
	unsigned int lines;
	unsigned int missed;
};

static struct log_user log_users[LOG_USERS];
static DEFINE_SPINLOCK(log_lock);	/* protects it */

static bool log_is_over(const struct log_user *user)
{
	return !user->lines || time_after(jiffies, user->since + LOG_TIME);
}

/* The user's place, or one that nobody needs any more; NULL if there is none. */
static struct log_user *log_find(kuid_t uid)
	__must_hold(&log_lock)
{
	struct log_user *user, *free = NULL;

	for (user = log_users; user < log_users + LOG_USERS; user++) {
		if (user->lines && uid_eq(user->uid, uid))
			return user;
		if (!free && log_is_over(user))
			free = user;
	}
	if (free)
		*free = (struct log_user){ .uid = uid };
	return free;
}

/* May he have a line? How many he missed before it is put into @missed. */
static bool log_may(kuid_t uid, unsigned int *missed)
{
	struct log_user *user;
	bool may = false;

	spin_lock(&log_lock);
	user = log_find(uid);
	if (user && log_is_over(user)) {
		*missed = user->missed;
		user->since = jiffies;
		user->lines = 0;
		user->missed = 0;
	}
	if (user) {
		may = user->lines < LOG_LINES;
		user->lines += may;
		user->missed += !may;
	}
	spin_unlock(&log_lock);
	return may;
}

/**
 * fbuf_log_notice() - tell the administrator that the calling task was refused something
 * @fmt: what, by which limit, and how to raise it; as for printf()
 *
 * The task's name, which it chooses, comes last, and escaped.
 *
 * Context: any but an interrupt.
 */
void fbuf_log_notice(const char *fmt, ...)
{
	char comm[TASK_COMM_LEN], more[48] = "";
	kuid_t uid = current_uid();
	struct va_format text;
	unsigned int missed = 0;
	va_list ap;

	if (!log_may(uid, &missed))
		return;
	if (missed)
		scnprintf(more, sizeof(more), " (and %u times before)", missed);
	get_task_comm(comm, current);
	va_start(ap, fmt);
	text.fmt = fmt;
	text.va = &ap;
	pr_notice("fbuf: refused uid %u, pid %d: %pV%s; its name is %*pE\n",
		  from_kuid(&init_user_ns, uid), current->tgid, &text,
		  more, (int)strlen(comm), comm);
	va_end(ap);
}
