// SPDX-License-Identifier: GPL-2.0
/*
 * races --seconds N [--seed N] [--json FILE] [NAME...]: two threads that do, at
 * once, what must not hurt each other, over and over, on one handle of a fresh
 * pool each time. What is looked at after each try is that nothing is left held,
 * in flight or charged; and in the end, that each thread did what it is there for
 * at times. The rest is for the sanitizers of the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/nl.h"
#include "../common/util.h"
#include "left.h"

#define BUF		16384U
#define NR_BUFS		8U
#define NR_NAMES	4U
#define SLICE_MS	500
#define TRY_S		30	/* what a try may take */
#define MANY		200	/* tries of which some must come to something */

/* What both threads have: made anew for each try, and unmade after it. */
static struct {
	struct pool pool;
	int sock[2];
	int second;		/* another handle, or -1 */
	__u32 second_handle;
	struct ring second_ring;
	__u64 names[NR_NAMES];
	int drop;		/* /proc/sys/vm/drop_caches */
	const char *module;	/* the file to load it from, or NULL */
} c;

/* What a thread does: whether it came to what it is for, as it may not. */
typedef bool act(void);

struct race {
	const char *name;
	__u32 flags;		/* of the pool */
	act *a, *b;
	bool ring;		/* of the first handle */
};

static const struct race *now;

static __u64 random_state = 1;

static unsigned int rnd(unsigned int below)
{
	__u64 x = __atomic_add_fetch(&random_state, 0x9e3779b97f4a7c15ULL,
				     __ATOMIC_RELAXED);

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return (x ^ (x >> 31)) % below;
}

static void die(const char *what, int err)
{
	fprintf(stderr, "races: FAILED: %s: %s: %s\n", now ? now->name : "at first",
		what, strerror(err));
	left_show(stderr);
	_exit(1);
}

/* Has the page of a byte mapped. */
static void look(const __u8 *p)
{
	(void)__atomic_load_n(p, __ATOMIC_RELAXED);
}

static bool send_flags(__u32 flags, __u32 engines)
{
	struct fbuf_seg seg[NR_NAMES];
	unsigned int i;

	for (i = 0; i < NR_NAMES; i++)
		seg[i] = buf_seg(&c.pool, c.names[i], rnd(4096), 1 + rnd(8192));
	return pool_send(c.pool.fd, c.sock[0], seg, 1 + rnd(NR_NAMES),
			 FBUF_SEND_DONTWAIT | flags, engines, NULL) > 0;
}

static bool do_send(void)
{
	return send_flags(0, 0);
}

static bool do_send_some(void)
{
	bool did = false;
	unsigned int i;

	for (i = 0; i < 4; i++)
		did |= send_flags(0, rnd(2) ? FBUF_ENGINE_SPLICE : 0);
	return did;
}

static bool do_ubuf(void)
{
	return send_flags(0, FBUF_ENGINE_UBUF);
}

static bool do_send_notify(void)
{
	return send_flags(FBUF_SEND_NOTIFY, rnd(2) ? FBUF_ENGINE_UBUF : 0);
}

static bool do_fanout(void)
{
	struct fbuf_seg seg = buf_seg(&c.pool, c.names[0], 0, BUF);
	struct fbuf_target target[2] = {
		{ .fd = c.sock[0] }, { .fd = c.sock[1] },
	};

	return pool_fanout(c.pool.fd, &seg, 1, target, 2, 0) > 0;
}

static bool do_free(void)
{
	return pool_free(c.pool.fd, c.names, NR_NAMES) == (int)NR_NAMES;
}

/* So that it may be another's at once. */
static bool do_free_alloc(void)
{
	bool did = false;
	__u64 names[NR_NAMES];
	unsigned int i;
	int n;

	do_free();
	for (i = 0; i < 3; i++) {
		n = pool_alloc(c.pool.fd, names, NR_NAMES);
		if (n <= 0)
			continue;
		memset(buf_addr(&c.pool, names[0]), i, BUF);
		did |= pool_free(c.pool.fd, names, n) == n;
	}
	return did;
}

static bool do_pass(void)
{
	bool did = false;
	unsigned int i;

	for (i = 0; i < NR_NAMES; i++)
		did |= pool_pass_one(c.pool.fd, c.second_handle, c.names[i],
				     1) == 1;
	return did;
}

static bool do_take_passed(void)
{
	struct fbuf_ring_entry e;
	bool did = false;
	int i;

	for (i = 0; i < 100; i++) {
		while (ring_next(&c.second_ring, &e))
			did |= pool_free(c.second, &e.name, 1) == 1;
	}
	return did;
}

static bool do_close(void)
{
	return !close(c.pool.fd);
}

static bool do_close_second(void)
{
	int fd = c.second;

	c.second = -1;
	return !close(fd);
}

static bool do_secure(void)
{
	bool did = pool_secure(c.pool.fd, c.names, NR_NAMES) == (int)NR_NAMES;

	do_free();
	return did;
}

static bool do_write(void)
{
	unsigned int i;

	for (i = 0; i < NR_NAMES; i++)
		buf_addr(&c.pool, c.names[i])[rnd(BUF)] = i;
	return true;
}

static bool do_drain(void)
{
	bool did = false;
	char buf[65536];
	int i;

	for (i = 0; i < 4; i++) {
		while (recv(c.sock[1], buf, sizeof(buf), MSG_DONTWAIT) > 0)
			did = true;
	}
	return did;
}

/* A write to what is in flight waits for the receiver, which is here, too. */
static bool do_write_drained(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		do_write();
		_exit(0);
	}
	while (pid > 0 && !waitpid(pid, &status, WNOHANG))
		do_drain();
	return !status;
}

static bool do_remap(void)
{
	int i;

	for (i = 0; i < 4; i++) {
		__u8 *p = mmap(NULL, c.pool.size, PROT_READ | PROT_WRITE,
			       MAP_SHARED, c.pool.fd, 0);

		if (p == MAP_FAILED)
			return false;
		look(p + rnd(c.pool.size));
		mprotect(p, BUF, PROT_READ);
		munmap(p, c.pool.size);
	}
	return true;
}

static bool do_drop(void)
{
	return write(c.drop, "2", 1) == 1;
}

static bool do_ring(void)
{
	struct ring ring = { 0 };
	bool did = !ring_make(&ring, c.pool.fd, FBUF_RING_ACCEPT, 16, 0);

	ring_unmake(&ring);
	return did;
}

static bool do_pass_back(void)
{
	__u32 to = pool_handle(c.pool.fd);
	__u64 name;

	if (pool_alloc(c.second, &name, 1) != 1)
		return false;
	if (pool_pass_one(c.second, to, name, 0) == 1)
		return true;
	pool_free(c.second, &name, 1);
	return false;
}

static bool do_storm(void)
{
	__u64 names[NR_BUFS];
	bool did = false;
	int i, n;

	for (i = 0; i < 16; i++) {
		n = pool_alloc(c.pool.fd, names, 1 + rnd(NR_BUFS));
		if (n > 0)
			did |= pool_free(c.pool.fd, names, n) == n;
	}
	return did;
}

static bool do_wait(void)
{
	return pool_wait(c.pool.fd, c.names, NR_NAMES, 5) == (int)NR_NAMES;
}

static bool do_alloc_wait(void)
{
	__u64 names[NR_BUFS] = { 0 };
	int n = pool_batch(c.pool.fd, FBUF_IOC_ALLOC, names, NR_BUFS,
			   FBUF_ALLOC_WAIT | FBUF_ALLOC_ALL, 5);

	return n > 0 && pool_free(c.pool.fd, names, n) == n;
}

static bool do_fill(void)
{
	struct fbuf_fill args = {
		.size = sizeof(args),
		.name = c.names[0],
		.len = BUF,
		.flags = FBUF_FILL_POS,
		.fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC),
	};
	bool did = ioctl(c.pool.fd, FBUF_IOC_FILL, &args) == BUF;

	close(args.fd);
	return did;
}

static bool do_splice(void)
{
	loff_t from = buf_offset(&c.pool, c.names[0]);
	bool did = false;
	int fd[2];

	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK))
		return false;
	if (splice(c.pool.fd, &from, fd[1], NULL, BUF, SPLICE_F_NONBLOCK) > 0)
		did = splice(fd[0], NULL, c.sock[0], NULL, BUF,
			     SPLICE_F_NONBLOCK) > 0;
	close(fd[0]);
	close(fd[1]);
	return did;
}

static bool do_poll(void)
{
	struct pollfd p = { .fd = c.pool.fd, .events = POLLIN | POLLOUT };

	return poll(&p, 1, rnd(5)) == 1 && !(p.revents & POLLNVAL);
}

static bool do_shutdown(void)
{
	return !shutdown(c.sock[rnd(2)], SHUT_RDWR);
}

/* A send that finds no room, on a ring that ends under it. */
static bool do_uring(void)
{
	struct fbuf_seg seg[64];
	struct fbuf_send args = {
		.size = sizeof(args),
		.segs = (uintptr_t)seg,
		.nr_segs = 64,
		.fd = c.sock[0],
	};
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct fbuf_uring_cmd *cmd;
	struct io_uring ring;
	bool did;
	int i;

	for (i = 0; i < 64; i++)
		seg[i] = buf_seg(&c.pool, c.names[i % NR_NAMES], 0, BUF);
	if (io_uring_queue_init(4, &ring, 0))
		return false;
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, c.pool.fd, NULL, 0, 0);
	cmd = (struct fbuf_uring_cmd *)sqe->cmd;
	cmd->args = (uintptr_t)&args;
	cmd->reserved = 0;
	sqe->cmd_op = FBUF_IOC_SEND;
	did = io_uring_submit(&ring) == 1 &&
	      (io_uring_peek_cqe(&ring, &cqe) || cqe->res > 0);
	io_uring_queue_exit(&ring);
	return did;
}

static bool do_dump(void)
{
	static const __u8 commands[] = {
		FBUF_CMD_POOL_GET, FBUF_CMD_HANDLE_GET, FBUF_CMD_STATS_GET,
		FBUF_CMD_LIMIT_GET,
	};
	bool did = true;
	unsigned int i;
	struct nl nl;

	if (nl_open(&nl))
		return false;
	for (i = 0; i < 4; i++)
		did &= nl_dump(&nl, commands[i], NULL, 0) >= 0;
	nl_close(&nl);
	return did;
}

/* Pools that die with packets in flight, while others look. */
static bool do_short_lives(void)
{
	struct fbuf_seg seg;
	struct pool pool;
	bool did = false;
	__u64 name;
	int i;

	for (i = 0; i < 3; i++) {
		if (pool_make_flags(&pool, getpagesize(), 4, 0))
			break;
		if (pool_alloc(pool.fd, &name, 1) == 1) {
			seg = buf_seg(&pool, name, 0, 4096);
			did |= pool_send(pool.fd, c.sock[0], &seg, 1,
					 FBUF_SEND_DONTWAIT, 0, NULL) > 0;
		}
		pool_unmake(&pool);
	}
	return did;
}

static bool do_kill(void)
{
	pid_t pid = fork();

	if (!pid) {
		for (;;) {
			do_send();
			do_drain();
			do_secure();
		}
	}
	if (pid < 0)
		return false;
	usleep(rnd(2000));
	kill(pid, SIGKILL);
	return child_status(pid) == -SIGKILL;
}

static bool do_fork(void)
{
	pid_t pid = fork();

	if (!pid) {
		look(c.pool.map + rnd(c.pool.size));
		_exit(0);
	}
	return pid > 0 && !child_status(pid);
}

/* Unloads it whenever nobody has it, and loads it again. */
static bool do_unload(void)
{
	bool did = false;
	int i, fd;

	for (i = 0; i < 20; i++) {
		if (syscall(SYS_delete_module, "fbuf", O_NONBLOCK))
			continue;
		fd = open(c.module, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			die("the module does not load again", errno);
		close(fd);
		did = true;
	}
	return did;
}

#define SNAPSHOT	FBUF_POOL_SNAPSHOT
#define SECURED		FBUF_POOL_SECURED

static const struct race races[] = {
	{ "send-close", 0, do_send_some, do_close, false },
	{ "send-free", 0, do_send_some, do_free_alloc, false },
	{ "send-free-snapshot", SNAPSHOT, do_send_some, do_free_alloc, false },
	{ "send-pass", 0, do_send_some, do_pass, false },
	{ "send-secure", SECURED, do_send_some, do_secure, false },
	{ "send-send", SNAPSHOT, do_send_some, do_send_some, false },
	{ "send-write-snapshot", SNAPSHOT, do_send_some, do_write, false },
	{ "send-write-secured", SECURED, do_send_some, do_write_drained, false },
	{ "send-unmap", SNAPSHOT, do_send_some, do_remap, false },
	{ "send-shrink", 0, do_send_some, do_drop, false },
	{ "send-shutdown", 0, do_send_some, do_shutdown, false },
	{ "send-fill", SNAPSHOT, do_send_some, do_fill, false },
	{ "send-kill", SNAPSHOT, do_send_some, do_kill, false },
	{ "send-drain", 0, do_send_some, do_drain, false },
	{ "fanout-free", SNAPSHOT, do_fanout, do_free_alloc, false },
	{ "ubuf-close", 0, do_ubuf, do_close, false },
	{ "ubuf-wait", 0, do_ubuf, do_wait, false },
	{ "ubuf-drain", 0, do_ubuf, do_drain, false },
	{ "ubuf-write", SNAPSHOT, do_ubuf, do_write, false },
	{ "notify-ring", 0, do_send_notify, do_ring, false },
	{ "notify-poll", 0, do_send_notify, do_poll, true },
	{ "notify-close", 0, do_send_notify, do_close, true },
	{ "ring-ring", 0, do_ring, do_ring, false },
	{ "ring-pass", 0, do_ring, do_pass_back, false },
	{ "pass-pass", 0, do_pass, do_pass, false },
	{ "pass-take", 0, do_pass, do_take_passed, false },
	{ "pass-close", 0, do_pass, do_close_second, false },
	{ "pass-free", 0, do_pass, do_free, false },
	{ "secure-write", SNAPSHOT, do_secure, do_write, false },
	{ "secure-unmap", SECURED, do_secure, do_remap, false },
	{ "secure-fill", SNAPSHOT, do_secure, do_fill, false },
	{ "alloc-free", 0, do_storm, do_storm, false },
	{ "alloc-shrink", 0, do_storm, do_drop, false },
	{ "alloc-wait-free", 0, do_alloc_wait, do_free, false },
	{ "wait-free", 0, do_wait, do_free_alloc, false },
	{ "fill-free", 0, do_fill, do_free_alloc, false },
	{ "fill-write", SNAPSHOT, do_fill, do_write, false },
	{ "fill-shrink", 0, do_fill, do_drop, false },
	{ "write-shrink", SNAPSHOT, do_write, do_drop, false },
	{ "write-unmap", SNAPSHOT, do_write, do_remap, false },
	{ "splice-free", SNAPSHOT, do_splice, do_free_alloc, false },
	{ "splice-write", SNAPSHOT, do_splice, do_write, false },
	{ "splice-close", 0, do_splice, do_close, false },
	{ "uring-drain", 0, do_uring, do_drain, false },
	{ "uring-shutdown", 0, do_uring, do_shutdown, false },
	{ "uring-close", 0, do_uring, do_close, false },
	{ "fork-write", SNAPSHOT, do_fork, do_write, false },
	{ "retire-dump", 0, do_short_lives, do_dump, false },
	{ "retire-shrink", 0, do_short_lives, do_drop, false },
	{ "retire-retire", 0, do_short_lives, do_short_lives, false },
	{ "unload-open", 0, do_short_lives, do_unload, false },
};

#define NR_RACES	(sizeof(races) / sizeof(*races))

/* What became of each. */
static struct {
	unsigned long tries;
	unsigned long did[2];	/* of these, by the one thread and the other */
} done[NR_RACES];

/* One that unloads the module can have no pool besides. */
static bool has_pool(const struct race *r)
{
	return r->b != do_unload;
}

static void before(const struct race *r)
{
	struct ring own;
	int err = rnd(8) ? tcp_pair(AF_INET, c.sock) :
			   sock_pair(AF_UNIX, SOCK_STREAM, c.sock);

	if (err)
		die("no sockets", -err);
	if (rnd(2))
		sock_small(c.sock);
	if (!has_pool(r))
		return;
	err = pool_make_flags(&c.pool, BUF, NR_BUFS, r->flags);
	if (err)
		die("no pool", -err);
	if (pool_alloc(c.pool.fd, c.names, NR_NAMES) != (int)NR_NAMES)
		die("no buffers", ENOBUFS);
	if (rnd(2))
		memset(c.pool.map, 1, c.pool.size);
	c.second = pool_share(c.pool.fd, ALL_RIGHTS, 0, &c.second_handle);
	if (c.second < 0)
		die("no second handle", -c.second);
	err = ring_make(&c.second_ring, c.second, FBUF_RING_ACCEPT, 16, 0);
	if (err)
		die("no ring", -err);
	if (!r->ring)
		return;
	err = ring_make(&own, c.pool.fd, 0, 16, 0);
	if (err)
		die("no ring of its own", -err);
	ring_unmake(&own);
}

static bool none_left(struct nl *nl)
{
	return !nl_dump(nl, FBUF_CMD_POOL_GET, NULL, 0);
}

static void after(const struct race *r)
{
	/* Else what was sent to who was shut down stays for minutes. */
	const struct linger reset = { .l_onoff = 1 };
	struct nl_row row;
	struct nl nl;

	setsockopt(c.sock[0], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	setsockopt(c.sock[1], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	do_drain();
	close(c.sock[0]);
	close(c.sock[1]);
	if (has_pool(r)) {
		munmap(c.pool.map, c.pool.size);
		close(c.pool.fd);	/* maybe it is */
		ring_unmake(&c.second_ring);
		if (c.second >= 0)
			close(c.second);
	}
	if (rnd(16))
		return;
	if (nl_open(&nl))
		die("no netlink of fbuf", EIO);
	if (!wait_for(none_left(&nl), DEADLINE_MS * slower()))
		die("a pool is left that nobody has", EBUSY);
	if (nl_user(&nl, 0, &row) || row.val[FBUF_A_LIMIT_CHARGED])
		die("bytes are charged for no pool", EDQUOT);
	nl_close(&nl);
}

/* The other thread's half of each try. */
static pthread_barrier_t start, end;

/* Says in which race. */
static void crashed(int sig, siginfo_t *info, void *context)
{
	fprintf(stderr, "races: FAILED: %s: %s at %p, by %#lx (the pool is at %p)\n",
		now ? now->name : "", strsignal(sig), info->si_addr,
		signal_pc(context), c.pool.map);
	if (sig == SIGALRM)
		left_show(stderr);
	_exit(1);
}

static void catch_crashes(void)
{
	struct sigaction action = {
		.sa_sigaction = crashed,
		.sa_flags = SA_SIGINFO,
	};

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	/* A try that does not end. */
	sigaction(SIGALRM, &action, NULL);
}

static void some_time(void)
{
	unsigned int i = rnd(200);

	while (i--)
		rnd(2);
}

static void *second_thread(void *arg)
{
	for (;;) {
		pthread_barrier_wait(&start);
		some_time();
		done[now - races].did[1] += now->b();
		pthread_barrier_wait(&end);
	}
	return arg;
}

static void try(const struct race *r)
{
	alarm(TRY_S * slower());
	now = r;
	before(r);
	pthread_barrier_wait(&start);
	some_time();
	done[r - races].did[0] += r->a();
	pthread_barrier_wait(&end);
	after(r);
	done[r - races].tries++;
}

static bool chosen(const struct race *r, char **names)
{
	if (!has_pool(r) && !c.module)
		return false;
	if (!*names)
		return true;
	for (; *names; names++) {
		if (!strcmp(*names, r->name))
			return true;
	}
	return false;
}

static void run(long until, char **names)
{
	bool any = false;
	unsigned int i;
	long slice;

	do {
		for (i = 0; i < NR_RACES && now_ms() < until; i++) {
			if (!chosen(&races[i], names))
				continue;
			any = true;
			slice = now_ms() + SLICE_MS;
			while (now_ms() < slice)
				try(&races[i]);
		}
	} while (any && now_ms() < until);
	if (!any)
		die("no such race", ENOENT);
}

/* A race that one of the two does not run is none. */
static void look_for_idle(void)
{
	unsigned int i;

	for (i = 0; i < NR_RACES; i++) {
		now = &races[i];
		if (done[i].tries < MANY || (done[i].did[0] && done[i].did[1]))
			continue;
		die(done[i].did[0] ? "the second does nothing" :
				     "the first does nothing", ENODATA);
	}
}

static void report(const char *json)
{
	FILE *f = json ? fopen(json, "w") : NULL;
	unsigned long all = 0;
	unsigned int i;

	for (i = 0; i < NR_RACES; i++)
		all += done[i].tries;
	printf("races: %lu tried, of %zu kinds\n", all, NR_RACES);
	if (!f)
		return;
	fprintf(f, "{\n  \"races\": %lu,\n  \"by_race\": {", all);
	for (i = 0; i < NR_RACES; i++)
		fprintf(f, "%s\"%s\": %lu", i ? ", " : "", races[i].name,
			done[i].tries);
	fprintf(f, "}\n}\n");
	fclose(f);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'r' },
		{ "json", required_argument, NULL, 'j' },
		{ }
	};
	const char *json = NULL;
	long seconds = 60;
	pthread_t thread;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			seconds = atol(optarg);
		else if (opt == 'r')
			random_state = strtoull(optarg, NULL, 0);
		else if (opt == 'j')
			json = optarg;
		else
			return 2;
	}
	c.module = getenv("FBUF_KO");
	c.drop = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	signal(SIGPIPE, SIG_IGN);
	catch_crashes();
	pthread_barrier_init(&start, NULL, 2);
	pthread_barrier_init(&end, NULL, 2);
	if (pthread_create(&thread, NULL, second_thread, NULL))
		die("no second thread", errno);
	run(now_ms() + seconds * 1000, argv + optind);
	look_for_idle();
	report(json);
	return 0;
}
