// SPDX-License-Identifier: GPL-2.0
/* fbuf cost: the transfers that are timed. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
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

#include "cost.h"

#define SOCKBUF		(8 << 20)	/* takes a message without waiting */
#define TICK		10		/* seconds */
#define PATIENCE	6		/* ticks that a row may take */
#define RING_ENTRIES	8

/* A tick, or SIGCONT after SIGSTOP, ends a wait: then wait again. */
#define AGAIN(call)						\
({								\
	ssize_t ret_;						\
								\
	do {							\
		ret_ = (call);					\
	} while (ret_ == -EINTR);				\
	ret_;							\
})

/* Both sides of a transfer have one; each fills in what it uses. */
struct pair {
	const struct cost_row *row;
	size_t size, page;
	pid_t child;		/* 0 in the child itself, -1 without one */
	int pair[2], pipe[2];	/* sockets of parent and child; to the child */
	int control;		/* this side's socket of the pair */
	int in, out;		/* where this side reads and writes copies */
	struct fbuf_pool *pool;
	struct fbuf_gather *g;
	unsigned int peer;	/* number of the other side's handle */
	uint8_t *mem;		/* private memory, or of both: */
	struct both *both;	/* mapped before it */
	int tcp[2];
};

static int failed(const char *what, int err)
{
	tool_err("Measuring: %s: %s.", what, strerror(-err));
	return err;
}

/* One word in each page, and what the receiver is to find. */
static void touch(const struct pair *p, void *mem, uint64_t seq)
{
	size_t at;

	for (at = 0; at < p->size; at += p->page)
		__atomic_store_n((uint64_t *)((char *)mem + at), seq + at,
				 __ATOMIC_RELAXED);
}

static uint64_t look(const struct pair *p, void *mem)
{
	uint64_t sum = 0;
	size_t at;

	for (at = 0; at < p->size; at += p->page)
		sum += __atomic_load_n((uint64_t *)((char *)mem + at),
				       __ATOMIC_RELAXED);
	return sum;
}

static uint64_t expected(const struct pair *p, uint64_t seq)
{
	uint64_t sum = 0;
	size_t at;

	for (at = 0; at < p->size; at += p->page)
		sum += seq + at;
	return sum;
}

/* In a pool whose buffers stay mapped, and in one where they do not. */
static void *map_none(const struct pair *p, uint64_t name, int prot)
{
	(void)prot;
	return fbuf_addr(p->pool, name);
}

static void *map_afresh(const struct pair *p, uint64_t name, int prot)
{
	void *mem = mmap(NULL, p->size, prot, MAP_SHARED, fbuf_pool_fd(p->pool),
			 FBUF_NAME_INDEX(name) * p->size);

	return mem == MAP_FAILED ? NULL : mem;
}

static int pass_to(const struct pair *p, uint64_t name, uint64_t data)
{
	const struct fbuf_item item = { .name = name, .data = data };

	return fbuf_pass(p->pool, p->peer, &item, 1, 0);
}

/*
 * Neither side ever sleeps unless the other can run: each waits only for the
 * other, in poll() on its ring.
 */
static int pool_transfer(struct pair *p, uint64_t seq, uint64_t *ns, bool afresh)
{
	struct fbuf_ring_entry e;
	uint64_t start, name;
	void *mem;
	int ret;

	start = now_ns();
	ret = AGAIN(fbuf_alloc(p->pool, &name, 1, -1));
	if (ret < 0)
		return failed("taking a buffer", ret);
	mem = (afresh ? map_afresh : map_none)(p, name, PROT_READ | PROT_WRITE);
	if (!mem)
		return failed("mapping a buffer", -errno);
	touch(p, mem, seq);
	if (afresh)
		munmap(mem, p->size);
	ret = pass_to(p, name, seq);
	if (ret < 0)
		return failed("passing a buffer", ret);
	ret = AGAIN(fbuf_ring_wait(p->pool, &e, -1));
	*ns = now_ns() - start;
	if (ret < 0)
		return failed("waiting for the answer", ret);
	if (e.data != expected(p, seq))
		return failed("the receiver read something else", -EBADMSG);
	return fbuf_free(p->pool, &name, 1);
}

static int cached_transfer(struct pair *p, uint64_t seq, uint64_t *ns)
{
	return pool_transfer(p, seq, ns, false);
}

static int uncached_transfer(struct pair *p, uint64_t seq, uint64_t *ns)
{
	return pool_transfer(p, seq, ns, true);
}

static int cached_receive(struct pair *p)
{
	struct fbuf_ring_entry e;
	int ret = AGAIN(fbuf_ring_wait(p->pool, &e, -1));

	if (ret < 0)
		return failed("waiting for a buffer", ret);
	return pass_to(p, e.name, look(p, fbuf_addr(p->pool, e.name)));
}

static int secured_receive(struct pair *p)
{
	struct fbuf_ring_entry e;
	int ret = AGAIN(fbuf_ring_wait(p->pool, &e, -1));
	uint64_t name;

	if (ret < 0)
		return failed("waiting for a buffer", ret);
	name = e.name;
	ret = AGAIN(fbuf_secure(p->pool, &name, 1));
	if (ret < 0)
		return failed("securing a buffer", ret);
	return pass_to(p, name, look(p, fbuf_addr(p->pool, name)));
}

static int uncached_receive(struct pair *p)
{
	struct fbuf_ring_entry e;
	int ret = AGAIN(fbuf_ring_wait(p->pool, &e, -1));
	uint64_t sum;
	void *mem;

	if (ret < 0)
		return failed("waiting for a buffer", ret);
	mem = map_afresh(p, e.name, PROT_READ);
	if (!mem)
		return failed("mapping a buffer", -errno);
	sum = look(p, mem);
	munmap(mem, p->size);
	return pass_to(p, e.name, sum);
}

static int make_ring(struct pair *p)
{
	int ret = fbuf_ring_setup(p->pool, RING_ENTRIES, FBUF_RING_ACCEPT, -1);

	return ret < 0 ? failed("making a ring", ret) : 0;
}

/* The child's: a handle and a mapping of its own. */
static int pool_join(struct pair *p)
{
	unsigned int parent;
	int fd, ret;

	fd = fbuf_pool_fd_recv(p->control);
	if (fd < 0)
		return failed("taking a handle", fd);
	ret = fbuf_pool_open(&p->pool, fd);
	if (ret < 0)
		return failed("opening a pool", ret);
	if (recv(p->control, &parent, sizeof(parent), 0) != sizeof(parent))
		return failed("joining", -EPIPE);
	p->peer = parent;
	ret = make_ring(p);
	if (ret < 0)
		return ret;
	return send(p->control, "", 1, MSG_NOSIGNAL) == 1 ? 0 : -EPIPE;
}

static int pool_open(struct pair *p)
{
	unsigned int self;
	char byte;
	int fd, ret;

	if (!p->child)
		return pool_join(p);
	ret = tool_pool_create_flags(&p->pool, p->size, 1, p->row->protect);
	if (ret < 0)
		return ret;
	ret = make_ring(p);
	if (ret < 0)
		return ret;
	self = fbuf_pool_handle(p->pool);
	fd = fbuf_pool_share(p->pool, FBUF_RIGHT_READ, 0, &p->peer);
	if (fd < 0)
		return failed("sharing the pool", fd);
	ret = fbuf_pool_fd_send(p->control, fd);
	close(fd);
	if (ret < 0 || send(p->control, &self, sizeof(self),
			    MSG_NOSIGNAL) < 0 ||
	    AGAIN(flow_result(recv(p->control, &byte, 1, 0))) != 1)
		return failed("handing the pool over", ret < 0 ? ret : -EPIPE);
	return 0;
}

/* Private memory on both sides, all there, and a channel that copies. */
static int private_memory(struct pair *p)
{
	p->mem = mmap(NULL, p->size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p->mem != MAP_FAILED)
		return 0;
	p->mem = NULL;
	return failed("memory", -ENOMEM);
}

static int socket_open(struct pair *p)
{
	int size = SOCKBUF, fd = p->control;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	p->in = fd;
	p->out = fd;
	return private_memory(p);
}

static int pipe_open(struct pair *p)
{
	/* Else it would take more turns than one. */
	if (p->child && fcntl(p->pipe[1], F_SETPIPE_SZ, p->size) < 0)
		return failed("a pipe", -errno);
	p->in = p->child ? p->control : p->pipe[0];
	p->out = p->child ? p->pipe[1] : p->control;
	return private_memory(p);
}

static int read_all(int fd, void *buf, size_t len)
{
	size_t done;
	ssize_t n;

	for (done = 0; done < len; done += n) {
		n = AGAIN(flow_result(read(fd, (char *)buf + done,
					   len - done)));
		if (n <= 0)
			return n ? n : -EPIPE;
	}
	return 0;
}

static int write_all(int fd, const void *buf, size_t len)
{
	size_t done;
	ssize_t n;

	for (done = 0; done < len; done += n) {
		n = AGAIN(flow_result(write(fd, (const char *)buf + done,
					    len - done)));
		if (n <= 0)
			return n ? n : -EPIPE;
	}
	return 0;
}

static int copy_transfer(struct pair *p, uint64_t seq, uint64_t *ns)
{
	uint64_t start, sum;
	int ret;

	start = now_ns();
	touch(p, p->mem, seq);
	ret = write_all(p->out, p->mem, p->size);
	if (!ret)
		ret = read_all(p->in, &sum, sizeof(sum));
	*ns = now_ns() - start;
	if (ret)
		return failed("writing", ret);
	if (sum != expected(p, seq))
		return failed("the receiver read something else", -EBADMSG);
	return 0;
}

static int copy_receive(struct pair *p)
{
	uint64_t sum;
	int ret = read_all(p->in, p->mem, p->size);

	if (ret < 0)
		return failed("reading", ret);
	sum = look(p, p->mem);
	return write_all(p->out, &sum, sizeof(sum));
}

/* Memory of both processes: what tells whose turn it is, and after it a buffer. */
struct both {
	uint32_t turn;		/* of the child, else of the parent */
	uint64_t answer;
};

static int map_both(struct pair *p, int fd)
{
	p->both = mmap(NULL, p->page + p->size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, fd, 0);
	if (p->both == MAP_FAILED) {
		p->both = NULL;
		return failed("memory", -errno);
	}
	return 0;
}

static void *shared_mem(const struct pair *p)
{
	return (char *)p->both + p->page;
}

static int give_fd(const struct pair *p, int fd)
{
	int ret = fd < 0 ? -errno : fbuf_pool_fd_send(p->control, fd);

	return ret < 0 ? failed("handing memory over", ret) : 0;
}

static int shared_open(struct pair *p)
{
	int fd, ret;

	fd = p->child ? memfd_create("fbuf-cost", MFD_CLOEXEC) :
			fbuf_pool_fd_recv(p->control);
	if (p->child && fd >= 0 && ftruncate(fd, p->page + p->size))
		ret = failed("memory", -errno);
	else
		ret = p->child ? give_fd(p, fd) : fd < 0 ? fd : 0;
	if (!ret)
		ret = map_both(p, fd);
	if (fd >= 0)
		close(fd);
	return ret;
}

static int futex_wait_turn(const struct pair *p, uint32_t turn)
{
	uint32_t *word = &p->both->turn;

	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != turn) {
		if (syscall(SYS_futex, word, FUTEX_WAIT, !turn, NULL, NULL,
			    0) && errno != EAGAIN && errno != EINTR)
			return failed("waiting on a futex", -errno);
	}
	return 0;
}

static int futex_set_turn(const struct pair *p, uint32_t turn)
{
	uint32_t *word = &p->both->turn;

	__atomic_store_n(word, turn, __ATOMIC_RELEASE);
	if (syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) < 0)
		return failed("waking a futex", -errno);
	return 0;
}

static int right_answer(const struct pair *p, uint64_t seq)
{
	if (p->both->answer == expected(p, seq))
		return 0;
	return failed("the receiver read something else", -EBADMSG);
}

static int futex_transfer(struct pair *p, uint64_t seq, uint64_t *ns)
{
	uint64_t start = now_ns();
	int ret;

	touch(p, shared_mem(p), seq);
	ret = futex_set_turn(p, 1);
	if (!ret)
		ret = futex_wait_turn(p, 0);
	*ns = now_ns() - start;
	return ret ? ret : right_answer(p, seq);
}

static int futex_receive(struct pair *p)
{
	int ret = futex_wait_turn(p, 1);

	if (ret)
		return ret;
	p->both->answer = look(p, shared_mem(p));
	return futex_set_turn(p, 0);
}

/* One for each way; each side has both. */
static int eventfd_open(struct pair *p)
{
	int ret = shared_open(p), i, fd[2];

	for (i = 0; !ret && i < 2; i++) {
		if (p->child) {
			fd[i] = eventfd(0, EFD_CLOEXEC);
			ret = give_fd(p, fd[i]);
		} else {
			fd[i] = fbuf_pool_fd_recv(p->control);
			ret = fd[i] < 0 ? fd[i] : 0;
		}
	}
	if (ret)
		return ret;
	/* To be closed as the pipe, which nobody uses, would be. */
	for (i = 0; i < 2; i++) {
		close(p->pipe[i]);
		p->pipe[i] = fd[i];
	}
	p->in = p->pipe[p->child ? 0 : 1];
	p->out = p->pipe[p->child ? 1 : 0];
	return 0;
}

static int eventfd_transfer(struct pair *p, uint64_t seq, uint64_t *ns)
{
	uint64_t start = now_ns(), one = 1;
	int ret;

	touch(p, shared_mem(p), seq);
	ret = write_all(p->out, &one, sizeof(one));
	if (!ret)
		ret = read_all(p->in, &one, sizeof(one));
	*ns = now_ns() - start;
	if (ret)
		return failed("an eventfd", ret);
	return right_answer(p, seq);
}

static int eventfd_receive(struct pair *p)
{
	uint64_t one;
	int ret = read_all(p->in, &one, sizeof(one));

	if (ret < 0)
		return failed("an eventfd", ret);
	p->both->answer = look(p, shared_mem(p));
	return write_all(p->out, &one, sizeof(one));
}

/* One process, a pool, and TCP to itself. */
static int tcp_open(struct pair *p)
{
	uint64_t name;
	int ret;

	ret = tool_tcp_pair(p->tcp, SOCKBUF);
	if (ret < 0)
		return failed("TCP over loopback", ret);
	ret = tool_pool_create_flags(&p->pool, p->size, 1, p->row->protect);
	if (ret < 0)
		return ret;
	p->g = fbuf_gather_new(p->pool);
	ret = p->g ? fbuf_alloc(p->pool, &name, 1, 0) : -ENOMEM;
	if (ret > 0)
		ret = fbuf_gather_append(p->g, name, 0, p->size);
	return ret < 0 ? failed("making a gather", ret) : 0;
}

/* Dropped, not copied: for what the other end took. */
static int drain(const struct pair *p, size_t len)
{
	ssize_t n;

	for (; len; len -= n) {
		n = AGAIN(flow_result(recv(p->tcp[1], NULL, len, MSG_TRUNC)));
		if (n <= 0)
			return failed("receiving", n ? n : -EPIPE);
	}
	return 0;
}

static int send_once(const struct pair *p, unsigned int flags)
{
	ssize_t ret = AGAIN(fbuf_send(p->g, p->tcp[0], flags, NULL));

	if (ret == (ssize_t)p->size)
		return 0;
	return failed("sending", ret < 0 ? ret : -EMSGSIZE);
}

static void *only_buffer(const struct pair *p)
{
	return fbuf_addr(p->pool, FBUF_NAME(0, 0));
}

static int snapshot_send(struct pair *p, uint64_t seq, uint64_t *ns)
{
	uint64_t start = now_ns();
	int ret = send_once(p, FBUF_SEND_SNAPSHOT);

	*ns = now_ns() - start;
	if (ret < 0)
		return ret;
	ret = drain(p, p->size);
	/* Idle now, and to be protected anew by the next send. */
	touch(p, only_buffer(p), seq);
	return ret;
}

static int snapshot_write(struct pair *p, uint64_t seq, uint64_t *ns)
{
	uint64_t start;
	int ret;

	ret = send_once(p, FBUF_SEND_SNAPSHOT);
	if (ret < 0)
		return ret;
	start = now_ns();
	touch(p, only_buffer(p), seq);
	*ns = now_ns() - start;
	return drain(p, p->size);
}

const struct cost_row cost_rows[] = {
	{ .name = "cached, volatile",
	  .what =
	  "ALLOC, a word written in each page, PASS, the receiver's wait and a word read in each page, PASS back; all mapped before",
	  .open = pool_open,
	  .receive = cached_receive, .transfer = cached_transfer },
	{ .name = "cached, secured",
	  .what =
	  "the same, and the receiver SECUREs the buffer before it reads, so that the producer's next write faults",
	  .protect = FBUF_POOL_SECURED, .open = pool_open,
	  .receive = secured_receive, .transfer = cached_transfer },
	{ .name = "uncached",
	  .what =
	  "as the first, and both sides map the buffer before use and unmap it after: each page faults on each side",
	  .open = pool_open,
	  .receive = uncached_receive, .transfer = uncached_transfer },
	{ .name = "shared, futex",
	  .what =
	  "memory that both have mapped, without a pool: a word written in each page, a futex woken, a word read in each page, the futex woken again; nothing is taken, protected or given back",
	  .open = shared_open,
	  .receive = futex_receive, .transfer = futex_transfer },
	{ .name = "shared, eventfd",
	  .what =
	  "the same with an eventfd for each way",
	  .open = eventfd_open,
	  .receive = eventfd_receive, .transfer = eventfd_transfer },
	{ .name = "copy, socket",
	  .what =
	  "a word written in each page of private memory, write() to an AF_UNIX stream, read() into private memory, a word read in each page, an answer of 8 bytes",
	  .open = socket_open,
	  .receive = copy_receive, .transfer = copy_transfer },
	{ .name = "copy, pipe",
	  .what =
	  "the same through a pipe that holds it all; the answer by a socket",
	  .open = pipe_open,
	  .receive = copy_receive, .transfer = copy_transfer },
	{ .name = "copy on write",
	  .what =
	  "only the write of a word in each page of a buffer in flight, sent with FBUF_SEND_SNAPSHOT: it makes the copy",
	  .protect = FBUF_POOL_SNAPSHOT, .open = tcp_open,
	  .transfer = snapshot_write },
	{ .name = "snapshot send",
	  .what =
	  "only the send before that, over TCP on loopback, of a buffer that can be written: its protection included",
	  .protect = FBUF_POOL_SNAPSHOT, .open = tcp_open,
	  .transfer = snapshot_send },
};

const unsigned int nr_cost_rows = sizeof(cost_rows) / sizeof(*cost_rows);

static atomic_int ticks_left;

/* Either the child died or it does not answer. */
static void give_up(int sig)
{
	static const char died[] = "fbuf: Measuring: the receiver died.\n";
	static const char stuck[] = "fbuf: Measuring: it takes too long.\n";
	ssize_t n;

	if (sig == SIGALRM && atomic_fetch_sub(&ticks_left, 1) > 1)
		return;
	if (sig == SIGCHLD)
		n = write(STDERR_FILENO, died, sizeof(died) - 1);
	else
		n = write(STDERR_FILENO, stuck, sizeof(stuck) - 1);
	(void)n;
	_exit(TOOL_FAIL);
}

/* A child that is stopped, or goes on, has not died. */
static void watch_child(void)
{
	const struct sigaction action = {
		.sa_handler = give_up, .sa_flags = SA_NOCLDSTOP | SA_RESTART,
	};

	sigaction(SIGCHLD, &action, NULL);
}

/* In ticks: for a process that is stopped, any number of them is one. */
static void watch_time(bool on)
{
	const struct itimerval timer = {
		.it_interval.tv_sec = TICK, .it_value.tv_sec = on ? TICK : 0,
	};

	atomic_store(&ticks_left, PATIENCE);
	signal(SIGALRM, give_up);
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* Lock step is for one CPU: one on which the process may run. */
static int pin(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? 0 : cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

static void close_pair(int fd[2])
{
	if (fd[0] >= 0)
		close(fd[0]);
	if (fd[1] >= 0)
		close(fd[1]);
}

static void lab_close(struct pair *p)
{
	signal(SIGCHLD, SIG_DFL);
	watch_time(false);
	if (p->child > 0) {
		kill(p->child, SIGKILL);
		waitpid(p->child, NULL, 0);
	}
	fbuf_gather_destroy(p->g);
	fbuf_pool_close(p->pool);
	if (p->mem)
		munmap(p->mem, p->size);
	if (p->both)
		munmap(p->both, p->page + p->size);
	close_pair(p->pair);
	close_pair(p->pipe);
	close_pair(p->tcp);
}

static void child_run(struct pair *p, pid_t parent)
{
	signal(SIGCHLD, SIG_DFL);
	tool_die_with(parent);
	p->control = p->pair[1];
	if (!p->row->open(p)) {
		while (p->row->receive(p) >= 0)
			;
	}
	_exit(TOOL_FAIL);
}

/* The child comes first: it has nothing of the pool but its own handle. */
static int lab_fork(struct pair *p)
{
	pid_t parent = getpid();

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->pair) ||
	    pipe2(p->pipe, O_CLOEXEC))
		return failed("a channel", -errno);
	watch_child();
	p->child = fork();
	if (p->child < 0)
		return failed("a second process", -errno);
	if (!p->child)
		child_run(p, parent);
	p->control = p->pair[0];
	return 0;
}

int cost_measure(const struct cost_row *row, size_t size, double *ns,
		 unsigned int calls)
{
	struct pair p = {
		.row = row, .size = size, .page = sysconf(_SC_PAGESIZE),
		.child = -1, .pair = { -1, -1 }, .pipe = { -1, -1 },
		.tcp = { -1, -1 },
	};
	uint64_t i, t;
	int ret;

	watch_time(true);
	ret = pin();
	if (ret < 0)
		return failed("staying on one CPU", ret);
	if (row->receive)
		ret = lab_fork(&p);
	if (!ret)
		ret = row->open(&p);
	for (i = 0; ret >= 0 && i < COST_WARM_UP + calls; i++) {
		ret = row->transfer(&p, i + 1, &t);
		if (i >= COST_WARM_UP)
			ns[i - COST_WARM_UP] = t;
	}
	lab_close(&p);
	return ret < 0 ? ret : 0;
}

/* Every byte, by words: not memset(), which may be one instruction a byte. */
static void rewrite_all(void *mem, size_t size, uint64_t val)
{
	uint64_t *words = mem;
	size_t i;

	for (i = 0; i < size / sizeof(*words); i++)
		__atomic_store_n(&words[i], val, __ATOMIC_RELAXED);
}

static int rewrite_once(const struct pair *p, uint64_t seq, uint64_t t[4])
{
	void *mem = p->pool ? only_buffer(p) : p->mem;
	ssize_t n;
	int ret;

	t[0] = now_ns();
	if (p->pool) {
		ret = send_once(p, FBUF_SEND_SECURED);
	} else {
		n = AGAIN(flow_result(write(p->tcp[0], mem, p->size)));
		ret = n == (ssize_t)p->size ? 0 :
		      failed("writing", n < 0 ? n : -EMSGSIZE);
	}
	t[1] = now_ns();
	if (!ret)
		ret = drain(p, p->size);
	t[2] = now_ns();
	rewrite_all(mem, p->size, seq);
	t[3] = now_ns();
	return ret;
}

static int rewrite_open(struct pair *p, const struct rewrite *r)
{
	int ret;

	if (r->pool)
		return tcp_open(p);
	ret = tool_tcp_pair(p->tcp, SOCKBUF);
	if (ret < 0)
		return failed("TCP over loopback", ret);
	return private_memory(p);
}

int cost_rewrite(struct rewrite *r, unsigned int calls)
{
	const struct cost_row row = { .protect = FBUF_POOL_SECURED };
	struct pair p = {
		.row = &row, .size = REWRITE_SIZE, .child = -1,
		.pair = { -1, -1 }, .pipe = { -1, -1 }, .tcp = { -1, -1 },
	};
	double *v = calloc(calls * 5, sizeof(*v));
	uint64_t i, t[4];
	int ret;

	watch_time(true);
	ret = v ? pin() : -ENOMEM;
	if (!ret)
		ret = rewrite_open(&p, r);
	for (i = 0; ret >= 0 && i < COST_WARM_UP + calls; i++) {
		double *at = v + i - COST_WARM_UP;

		ret = rewrite_once(&p, i, t);
		if (ret < 0 || i < COST_WARM_UP)
			continue;
		at[0] = t[1] - t[0];
		at[calls] = t[2] - t[1];
		at[2 * calls] = t[3] - t[2];
		at[3 * calls] = t[3] - t[0];
		at[4 * calls] = t[2] - t[0];
	}
	if (ret >= 0) {
		r->send = median(v, calls);
		r->recv = median(v + calls, calls);
		r->rewrite = median(v + 2 * calls, calls);
		r->total = median(v + 3 * calls, calls);
		r->without = median(v + 4 * calls, calls);
	}
	lab_close(&p);
	free(v);
	return ret < 0 ? ret : 0;
}
