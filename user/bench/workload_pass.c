// SPDX-License-Identifier: GPL-2.0
/*
 * pass: three processes on one CPU. The first makes a message, the second looks
 * at a word of each page, the third sends it by TCP, to the first. One message
 * at a time; all that takes is the total.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/futex.h>

#include "workload.h"

#define PROCESSES	3U
#define HOPS		(PROCESSES - 1)
#define NR_BUFS		4U
#define WARM_UP		8U
#define PATIENCE	10	/* seconds until one is taken for dead */

struct chain;

/* How a message gets from one process to the next. */
struct way {
	const char *name;
	bool pool;
	bool shared;		/* all have one memory; else each its own */
	int (*open)(struct chain *c);
	int (*pass)(struct chain *c);
	int (*await)(struct chain *c);
};

struct chain {
	const struct way *way;
	struct flow f;
	unsigned int me;	/* 0 is the first process */
	uint32_t number;	/* of the message */
	pid_t pids[PROCESSES];
	uint8_t *mem;		/* of all or of this one, if it is no pool's */
	uint32_t *turns;	/* shared: the message that a hop is at */
	int hops[HOPS][2];	/* a pipe, or an eventfd twice */
	int ready[2];		/* a byte from each that can begin */
	struct fbuf_pool *pool;
	struct fbuf_gather *gather;
	int fds[PROCESSES];	/* handles for the others */
	unsigned int handles[PROCESSES];
	uint64_t name;
};

static int futex_pass(struct chain *c)
{
	uint32_t *turn = &c->turns[c->me];

	__atomic_store_n(turn, c->number, __ATOMIC_RELEASE);
	return syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0) < 0 ?
	       -errno : 0;
}

static int futex_await(struct chain *c)
{
	uint32_t *turn = &c->turns[c->me - 1], is;

	while ((is = __atomic_load_n(turn, __ATOMIC_ACQUIRE)) != c->number) {
		if (syscall(SYS_futex, turn, FUTEX_WAIT, is, NULL, NULL, 0) &&
		    errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return 0;
}

static int eventfd_open(struct chain *c)
{
	unsigned int i;

	for (i = 0; i < HOPS; i++) {
		c->hops[i][0] = eventfd(0, EFD_CLOEXEC);
		if (c->hops[i][0] < 0)
			return -errno;
		c->hops[i][1] = dup(c->hops[i][0]);
	}
	return 0;
}

static int eventfd_pass(struct chain *c)
{
	return eventfd_write(c->hops[c->me][1], 1) ? -errno : 0;
}

static int eventfd_await(struct chain *c)
{
	eventfd_t n;

	return eventfd_read(c->hops[c->me - 1][0], &n) ? -errno : 0;
}

static int pipes_open(struct chain *c)
{
	unsigned int i;

	for (i = 0; i < HOPS; i++) {
		if (pipe2(c->hops[i], O_CLOEXEC))
			return -errno;
		/* As much as is allowed: it goes on in turns. */
		fcntl(c->hops[i][1], F_SETPIPE_SZ, (int)c->f.size);
	}
	return 0;
}

static int sockets_open(struct chain *c)
{
	int size = c->f.size * 2;
	unsigned int i;

	for (i = 0; i < HOPS; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
			       c->hops[i]))
			return -errno;
		setsockopt(c->hops[i][1], SOL_SOCKET, SO_SNDBUF, &size,
			   sizeof(size));
	}
	return 0;
}

static int copy_pass(struct chain *c)
{
	size_t done;
	ssize_t n;

	for (done = 0; done < c->f.size; done += n) {
		n = write(c->hops[c->me][1], c->mem + done, c->f.size - done);
		if (n <= 0)
			return -errno;
	}
	return 0;
}

static int copy_await(struct chain *c)
{
	size_t done;
	ssize_t n;

	for (done = 0; done < c->f.size; done += n) {
		n = read(c->hops[c->me - 1][0], c->mem + done,
			 c->f.size - done);
		if (n <= 0)
			return n ? -errno : -EPIPE;
	}
	return 0;
}

/* Handles for the others, which inherit them. */
static int pool_open(struct chain *c)
{
	static const unsigned int rights[PROCESSES] = {
		0, FBUF_RIGHT_READ, FBUF_RIGHT_READ | FBUF_RIGHT_SEND,
	};
	unsigned int i;
	int err;

	err = fbuf_pool_create(&c->pool, c->f.stride, NR_BUFS);
	if (err)
		return flow_fail(&c->f, err, "unsupported: making a pool");
	for (i = 1; i < PROCESSES; i++) {
		c->fds[i] = fbuf_pool_share(c->pool, rights[i], 0,
					    &c->handles[i]);
		if (c->fds[i] < 0)
			return flow_fail(&c->f, c->fds[i], "sharing a pool");
	}
	return 0;
}

static int pool_pass(struct chain *c)
{
	const struct fbuf_item item = { .name = c->name };

	return fbuf_pass(c->pool, c->handles[c->me + 1], &item, 1, 0);
}

static int pool_await(struct chain *c)
{
	struct fbuf_ring_entry e;
	int n;

	do {
		n = fbuf_ring_wait(c->pool, &e, -1);
	} while (n == -EINTR);
	c->name = e.name;
	return n < 0 ? n : 0;
}

static const struct way ways[] = {
	{ .name = "shared-futex", .shared = true,
	  .pass = futex_pass, .await = futex_await },
	{ .name = "shared-eventfd", .shared = true, .open = eventfd_open,
	  .pass = eventfd_pass, .await = eventfd_await },
	{ .name = "pipe", .open = pipes_open,
	  .pass = copy_pass, .await = copy_await },
	{ .name = "socket", .open = sockets_open,
	  .pass = copy_pass, .await = copy_await },
	{ .name = "fbuf", .pool = true, .open = pool_open,
	  .pass = pool_pass, .await = pool_await },
};

static uint8_t *message(const struct chain *c)
{
	return c->pool ? fbuf_addr(c->pool, c->name) : c->mem;
}

static int send_on(struct chain *c)
{
	ssize_t n;
	size_t done;

	if (c->pool) {
		fbuf_gather_reset(c->gather);
		n = fbuf_gather_append(c->gather, c->name, 0, c->f.size);
		if (!n)
			n = fbuf_send_all(c->gather, c->f.tx, 0, NULL);
		return n < 0 ? n : fbuf_free(c->pool, &c->name, 1);
	}
	for (done = 0; done < c->f.size; done += n) {
		n = write(c->f.tx, c->mem + done, c->f.size - done);
		if (n <= 0)
			return -errno;
	}
	return 0;
}

static uint64_t look(const struct chain *c)
{
	size_t page = sysconf(_SC_PAGESIZE), at;
	const uint8_t *m = message(c);
	uint64_t sum = 0;

	for (at = 0; at < c->f.size; at += page)
		sum += __atomic_load_n(&m[at], __ATOMIC_RELAXED);
	return sum;
}

/* A handle and memory of its own, where the way has them. */
static int child_open(struct chain *c)
{
	int err;

	if (c->way->pool) {
		fbuf_pool_close(c->pool);
		err = fbuf_pool_open(&c->pool, c->fds[c->me]);
		if (!err)
			err = fbuf_ring_setup(c->pool, NR_BUFS,
					      FBUF_RING_ACCEPT, -1);
		c->gather = err ? NULL : fbuf_gather_new(c->pool);
		if (!c->gather)
			return err ?: -ENOMEM;
	}
	return write(c->ready[1], "", 1) == 1 ? 0 : -errno;
}

static void child_run(struct chain *c, pid_t parent)
{
	int err;

	tool_die_with(parent);
	err = child_open(c);
	for (c->number = 1; !err; c->number++) {
		err = c->way->await(c);
		if (err)
			break;
		look(c);
		err = c->me == HOPS ? send_on(c) : c->way->pass(c);
	}
	_exit(TOOL_FAIL);
}

static int start(struct chain *c)
{
	struct timeval patience = { .tv_sec = PATIENCE };
	pid_t parent = getpid();
	unsigned int i;
	char byte;

	if (pipe2(c->ready, O_CLOEXEC) ||
	    setsockopt(c->f.rx, SOL_SOCKET, SO_RCVTIMEO, &patience,
		       sizeof(patience)) || fcntl(c->f.tx, F_SETFL, 0))
		return -errno;
	for (i = 1; i < PROCESSES; i++) {
		c->pids[i] = fork();
		if (c->pids[i] < 0)
			return -errno;
		c->me = i;
		if (!c->pids[i])
			child_run(c, parent);
	}
	c->me = 0;
	/* Only they have it now, so that none that died is waited for. */
	close(c->ready[1]);
	c->ready[1] = -1;
	for (i = 1; i < PROCESSES; i++) {
		if (read(c->ready[0], &byte, 1) != 1)
			return -EPIPE;
	}
	return 0;
}

static int chain_open(struct chain *c, size_t size)
{
	int flags = MAP_ANONYMOUS | MAP_POPULATE;
	int err;

	err = flow_open(&c->f, method_find("write"), size, false);
	if (!err)
		err = flow_warm_up(&c->f);
	if (err)
		return err;
	/* After the message comes what tells whose turn it is. */
	flags |= c->way->shared ? MAP_SHARED : MAP_PRIVATE;
	c->mem = mmap(NULL, 2 * c->f.stride, PROT_READ | PROT_WRITE, flags,
		      -1, 0);
	if (c->mem == MAP_FAILED) {
		c->mem = NULL;
		return -errno;
	}
	c->turns = (uint32_t *)(c->mem + c->f.stride);
	err = c->way->open ? c->way->open(c) : 0;
	return err ? err : start(c);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void chain_close(struct chain *c)
{
	unsigned int i;

	for (i = 1; i < PROCESSES; i++) {
		if (c->pids[i] > 0) {
			kill(c->pids[i], SIGKILL);
			waitpid(c->pids[i], NULL, 0);
		}
		close_fd(c->fds[i]);
		close_fd(c->hops[i - 1][0]);
		close_fd(c->hops[i - 1][1]);
	}
	close_fd(c->ready[0]);
	close_fd(c->ready[1]);
	fbuf_pool_close(c->pool);
	if (c->mem)
		munmap(c->mem, 2 * c->f.stride);
	if (c->f.txs)
		flow_close(&c->f);
}

static int arrive(struct flow *f)
{
	size_t got;
	ssize_t n;

	for (got = 0; got < f->size; got += n) {
		n = recv(f->rx, f->sink + got, f->size - got, 0);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return n && errno != EAGAIN ? -errno : -ETIMEDOUT;
	}
	return 0;
}

static int pass_once(struct chain *c, double *total)
{
	uint64_t begin = now_ns();
	int err = 0;

	c->number++;
	if (c->pool)
		err = fbuf_alloc(c->pool, &c->name, 1, PATIENCE * 1000);
	if (err < 0)
		return err;
	flow_message(&c->f, FLOW_SEED + c->number, message(c));
	err = c->way->pass(c);
	if (!err)
		err = arrive(&c->f);
	*total = now_ns() - begin;
	if (err)
		return err;
	return flow_check(&c->f, FLOW_SEED + c->number, c->f.sink) ? 0 :
	       -EBADMSG;
}

static void measure(struct load_run *run, const struct way *way, size_t size)
{
	unsigned int calls = run->o->repeats ?: run->o->quick ? 15 : 51, i;
	struct load_row r = LOAD_ROW_INIT("pass", way->name);
	double *total = calloc(calls, sizeof(*total)), t = 0;
	struct chain c = {
		.way = way, .hops = { { -1, -1 }, { -1, -1 } },
		.ready = { -1, -1 }, .fds = { -1, -1, -1 },
	};
	int err;

	r.size = size;
	load_progress(&r);
	err = total ? chain_open(&c, size) : -ENOMEM;
	for (i = 0; !err && i < WARM_UP + calls; i++) {
		err = pass_once(&c, &t);
		if (i >= WARM_UP)
			total[i - WARM_UP] = t;
	}
	if (!err) {
		load_times(&r, total, total, calls);
		r.send = NAN;
	}
	load_flow(&r, &c.f, err);
	chain_close(&c);
	free(total);
	load_add(run, &r);
}

void workload_pass(struct load_run *run)
{
	static const uint64_t defaults[] = { 4096, 65536, 1048576 };
	const struct load_options *o = run->o;
	unsigned int nr = o->sizes.nr ?: ARRAY_SIZE(defaults);
	const uint64_t *sizes = o->sizes.nr ? o->sizes.v : defaults;
	cpu_set_t before, one;
	unsigned int i, j;

	/* In turns, as on one CPU: else it is told how CPUs wake each other. */
	sched_getaffinity(0, sizeof(before), &before);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (i = 0; i < nr; i++) {
		for (j = 0; j < ARRAY_SIZE(ways); j++)
			measure(run, &ways[j], sizes[i]);
	}
	sched_setaffinity(0, sizeof(before), &before);
}
