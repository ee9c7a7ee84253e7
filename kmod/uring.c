// SPDX-License-Identifier: GPL-2.0
/*
 * SEND, FANOUT, SEND_BATCH and RECV as commands of io_uring.
 *
 * A command is issued in the submitter's task, its SQ thread or a worker of
 * io-wq: all of them have the submitter's mm and files. The first two must not
 * wait for room in a socket; then a send goes on from task work when the socket
 * says that there is some (struct uring_wait). Where that cannot be, io_uring
 * has a worker do it, which waits as the ioctl does. Waiting for the pool's lock,
 * to protect buffers, is short and happens in any case. No SIGPIPE: the task that
 * gets EPIPE need not be one that the user knows.
 *
 * Nothing runs here after its module: a command holds the pool's file, which
 * holds the module, until io_uring lets go of the command. That is after the
 * call, task work or cancellation has returned that completes it: completions
 * are flushed under uring_lock, which all of them run under, and a worker has a
 * reference of its own. Callbacks that only make task work run (uring_wake(),
 * uring_expire()) have returned when uring_finish() has taken the wait queue's
 * lock, in which the one runs, and waited for the other.
 */
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "args.h"
#include "compat.h"
#include "recv.h"
#include "send.h"
#include "types.h"
#include "uring.h"
#include "watch.h"

/* How often in a row a socket may say that it has room, and take nothing. */
#define URING_TRIES	4
/* Until it is asked again after that. */
#define URING_NAP	msecs_to_jiffies(10)

/**
 * struct uring_wait - a send that waits for room without a thread
 * @rest: what is left to send
 * @cmd: the command, whose pdu points here
 * @entry: on the socket's wait queue
 * @head: that queue, or NULL before it is there
 * @table: puts it there
 * @uargs: the struct fbuf_send in user memory
 * @timer: for SO_SNDTIMEO, and for sockets that take nothing in spite of poll()
 * @timed: there is an @end
 * @end: when the time is over, in jiffies
 * @armed: 1 while it waits. Who makes it 0 goes on with the send, or ends it, or
 *         has task work do that: nobody else touches it then.
 *
 * Apart from @armed only changed under the ring's uring_lock.
 */
struct uring_wait {
	struct fbuf_rest rest;
	struct io_uring_cmd *cmd;
	struct wait_queue_entry entry;
	wait_queue_head_t *head;
	poll_table table;
	struct fbuf_send __user *uargs;
	struct timer_list timer;
	bool timed;
	unsigned long end;
	atomic_t armed;
};

static struct uring_wait **uring_pdu(struct io_uring_cmd *cmd)
{
	BUILD_BUG_ON(sizeof(cmd->pdu) < sizeof(struct uring_wait *));
	return (struct uring_wait **)cmd->pdu;
}

static struct fbuf_handle *uring_handle(const struct io_uring_cmd *cmd)
{
	return cmd->file->private_data;
}

static bool uring_claim(struct uring_wait *w)
{
	return atomic_xchg(&w->armed, 0);
}

/* Never by a positive return: before 6.5 io_uring takes that for a failure. */
static int uring_complete(struct io_uring_cmd *cmd, int ret,
			  unsigned int issue_flags)
{
	fbuf_uring_done(cmd, ret == -ERESTARTSYS ? -EINTR : ret, issue_flags);
	return -EIOCBQUEUED;
}

/*
 * A fault here must not hide how many bytes were taken; and what is linked to a
 * send must not follow on half of it. @uargs is NULL where there is no user
 * memory to write to.
 */
static int uring_sent(struct io_uring_cmd *cmd, struct fbuf_send __user *uargs,
		      const struct fbuf_send *args, bool left, int ret,
		      unsigned int issue_flags)
{
	if (ret >= 0 && uargs)
		fbuf_send_put(uargs, args);
	if (ret >= 0 && left)
		fbuf_uring_set_fail(cmd);
	return uring_complete(cmd, ret, issue_flags);
}

/* By who claimed it. */
static void uring_finish(struct uring_wait *w, struct fbuf_send __user *uargs,
			 int err, unsigned int issue_flags)
{
	struct io_uring_cmd *cmd = w->cmd;
	bool left = w->rest.done < w->rest.g.len;
	int ret;

	if (w->head)
		remove_wait_queue(w->head, &w->entry);
	timer_delete_sync(&w->timer);
	ret = fbuf_send_end(uring_handle(cmd), &w->rest, err);
	w->rest.args.engine = w->rest.engine;
	w->rest.args.copied = w->rest.copied;
	uring_sent(cmd, uargs, &w->rest.args, left, ret, issue_flags);
	kfree(w);
}

static bool uring_timed_out(const struct uring_wait *w)
{
	return w->timed && time_after_eq(jiffies, w->end);
}

static void uring_set_timer(struct uring_wait *w, bool nap)
{
	unsigned long when = jiffies + URING_NAP;

	if (w->timed && (!nap || time_before(w->end, when)))
		when = w->end;
	else if (!nap)
		return;
	mod_timer(&w->timer, when);
}

/*
 * Have the send go on when there is room. False if there is room, and it is
 * still the caller's. An EPOLLERR of the error queue's says nothing of room.
 */
static bool uring_arm(struct uring_wait *w, unsigned int tries)
{
	struct file *file = w->rest.file;
	bool ready;
	__poll_t mask;

	atomic_set(&w->armed, 1);
	/* Room that comes after poll() has looked finds it armed. */
	smp_mb();	/* pairs with uring_claim(), as uring_wake() calls it */
	mask = vfs_poll(file, w->head ? NULL : &w->table);
	ready = mask & (EPOLLOUT | EPOLLHUP) ||
		READ_ONCE(sock_from_file(file)->sk->sk_err);
	if (ready && tries < URING_TRIES)
		return !uring_claim(w);
	uring_set_timer(w, ready || !w->head);
	return true;
}

/* By who claimed it, in a task of the submitter's. */
static void uring_go_on(struct uring_wait *w, unsigned int issue_flags)
{
	unsigned int tries = 0;
	int ret;

	do {
		ret = fbuf_send_on(uring_handle(w->cmd), &w->rest);
		if (ret != -EAGAIN || uring_timed_out(w)) {
			uring_finish(w, w->uargs, ret, issue_flags);
			return;
		}
	} while (!uring_arm(w, ++tries));
}

static void uring_work(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct uring_wait *w = *uring_pdu(cmd);

	/* The submitter is gone, and its memory. */
	if (current->flags & (PF_KTHREAD | PF_EXITING))
		uring_finish(w, NULL, -ECANCELED, issue_flags);
	else
		uring_go_on(w, issue_flags);
}

FBUF_DEFINE_URING_WORK(uring_task_work, uring_work)

/* Any context, the wait queue's lock held. */
static int uring_wake(struct wait_queue_entry *entry, unsigned int mode,
		      int sync, void *key)
{
	struct uring_wait *w = container_of(entry, struct uring_wait, entry);
	__poll_t mask = key_to_poll(key);

	if (mask && !(mask & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		return 0;
	if (uring_claim(w))
		fbuf_uring_in_task(w->cmd, uring_task_work);
	return 0;
}

static void uring_expire(struct timer_list *timer)
{
	struct uring_wait *w = container_of(timer, struct uring_wait, timer);

	if (uring_claim(w))
		fbuf_uring_in_task(w->cmd, uring_task_work);
}

/* Sockets have one queue. */
static void uring_queue(struct file *file, wait_queue_head_t *head,
			poll_table *table)
{
	struct uring_wait *w = container_of(table, struct uring_wait, table);

	if (w->head)
		return;
	w->head = head;
	add_wait_queue(head, &w->entry);
}

static void uring_wait(struct io_uring_cmd *cmd, struct uring_wait *w,
		       struct fbuf_send __user *uargs, unsigned int issue_flags)
{
	long timeout = READ_ONCE(sock_from_file(w->rest.file)->sk->sk_sndtimeo);

	w->cmd = cmd;
	w->head = NULL;
	w->uargs = uargs;
	w->timed = timeout != MAX_SCHEDULE_TIMEOUT;
	w->end = jiffies + timeout;
	init_waitqueue_func_entry(&w->entry, uring_wake);
	init_poll_funcptr(&w->table, uring_queue);
	timer_setup(&w->timer, uring_expire, 0);
	*uring_pdu(cmd) = w;
	fbuf_uring_mark_cancelable(cmd, issue_flags);
	if (!uring_arm(w, 0))
		uring_go_on(w, issue_flags);
}

/*
 * The ring goes, or the task. If task work is on its way, that goes on, and this
 * is called again. Not to be flushed here: a kworker must not post to the ring of
 * a task that lives.
 */
static int uring_cancel(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct uring_wait *w = *uring_pdu(cmd);

	if (uring_claim(w))
		uring_finish(w, NULL, -ECANCELED,
			     issue_flags & ~IO_URING_F_COMPLETE_DEFER);
	return 0;
}

/* Copied once. All three begin with their size and FBUF_SEND_* flags. */
static int uring_args_get(const struct io_uring_cmd *cmd, void *args,
			  size_t size, size_t min, u64 addr)
{
	int err = fbuf_args_get(args, size, min, cmd->cmd_op, addr);

	if (err)
		return err;
	return ((u32 *)args)[1] & (FBUF_SEND_SIGPIPE | FBUF_SEND_FREE) ?
	       -EINVAL : 0;
}

static int uring_send(struct io_uring_cmd *cmd, u64 addr,
		      unsigned int issue_flags)
{
	struct fbuf_send __user *uargs = u64_to_user_ptr(addr);
	struct fbuf_later later = { .size = sizeof(struct uring_wait) };
	struct fbuf_send args;
	int ret;

	ret = uring_args_get(cmd, &args, sizeof(args), FBUF_SEND_ARGS_MIN, addr);
	if (ret)
		return uring_complete(cmd, ret, issue_flags);
	if (issue_flags & IO_URING_F_NONBLOCK) {
		later.waits = !(args.flags & FBUF_SEND_DONTWAIT);
		args.flags |= FBUF_SEND_DONTWAIT;
	}
	ret = fbuf_send_later(uring_handle(cmd), &args, &later);
	if (later.rest) {
		uring_wait(cmd, container_of(later.rest, struct uring_wait,
					     rest), uargs, issue_flags);
		return -EIOCBQUEUED;
	}
	if (later.punt)
		return -EAGAIN;
	return uring_sent(cmd, uargs, &args, later.left, ret, issue_flags);
}

static int uring_fanout(struct io_uring_cmd *cmd, u64 addr,
			unsigned int issue_flags)
{
	struct fbuf_fanout args;
	int ret;

	ret = uring_args_get(cmd, &args, sizeof(args), FBUF_FANOUT_ARGS_MIN,
			     addr);
	if (!ret)
		ret = fbuf_fanout(uring_handle(cmd), &args);
	return uring_complete(cmd, ret, issue_flags);
}

static int uring_send_batch(struct io_uring_cmd *cmd, u64 addr,
			    unsigned int issue_flags)
{
	struct fbuf_send_batch args;
	int ret;

	ret = uring_args_get(cmd, &args, sizeof(args), FBUF_SEND_BATCH_ARGS_MIN,
			     addr);
	if (!ret)
		ret = fbuf_send_batch(uring_handle(cmd), &args);
	return uring_complete(cmd, ret, issue_flags);
}

/*
 * What would wait is done again by a worker of io-wq. What it is to drop first would
 * not be there then.
 */
static int uring_recv(struct io_uring_cmd *cmd, u64 addr,
		      unsigned int issue_flags)
{
	bool nonblock = issue_flags & IO_URING_F_NONBLOCK, waits;
	struct fbuf_recv args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), sizeof(args), cmd->cmd_op,
			    addr);
	if (!ret && args.drop)
		ret = -EINVAL;
	if (ret)
		return uring_complete(cmd, ret, issue_flags);
	waits = nonblock && !(args.flags & FBUF_RECV_DONTWAIT);
	/* What it found first would have to be put together with the rest. */
	if (waits && args.flags & FBUF_RECV_ALL)
		return -EAGAIN;
	if (waits)
		args.flags |= FBUF_RECV_DONTWAIT;
	ret = fbuf_recv(uring_handle(cmd), &args, u64_to_user_ptr(addr));
	if (ret == -EAGAIN && waits)
		return -EAGAIN;
	return uring_complete(cmd, ret, issue_flags);
}

/**
 * fbuf_uring_cmd() - IORING_OP_URING_CMD on a pool fd
 * @cmd: the command
 * @issue_flags: IO_URING_F_*
 *
 * Context: may sleep; the ring's uring_lock is held, but in io-wq.
 * Return: -EIOCBQUEUED; -EAGAIN to have io-wq do it; -EOPNOTSUPP.
 */
int fbuf_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	const struct fbuf_uring_cmd *from;
	u64 args, reserved;

	if (issue_flags & FBUF_URING_F_CANCEL)
		return uring_cancel(cmd, issue_flags);
	if (fbuf_uring_polled(cmd))
		return -EOPNOTSUPP;
	from = fbuf_uring_sqe_cmd(cmd);
	args = READ_ONCE(from->args);
	reserved = READ_ONCE(from->reserved);
	if (reserved || cmd->flags & IORING_URING_CMD_MASK)
		return uring_complete(cmd, -EINVAL, issue_flags);
	if (_IOC_TYPE(cmd->cmd_op) != FBUF_IOC_MAGIC)
		return uring_complete(cmd, -ENOTTY, issue_flags);
	switch (_IOC_NR(cmd->cmd_op)) {
	case _IOC_NR(FBUF_IOC_SEND):
		return uring_send(cmd, args, issue_flags);
	case _IOC_NR(FBUF_IOC_FANOUT):
		return uring_fanout(cmd, args, issue_flags);
	case _IOC_NR(FBUF_IOC_SEND_BATCH):
		return uring_send_batch(cmd, args, issue_flags);
	case _IOC_NR(FBUF_IOC_RECV):
		return uring_recv(cmd, args, issue_flags);
	}
	return uring_complete(cmd, -ENOTTY, issue_flags);
}
