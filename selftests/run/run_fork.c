// SPDX-License-Identifier: GPL-2.0
/*
 * A program under "fbuf run" that forks, in all the ways that there are, and one
 * whose signal handlers do what they may. Each case passes plain too.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "run_seen.h"
#include "util.h"

#define NR_THREADS	8

/* How a child comes about; 0 in the child. */
struct family {
	int fd[2];
	int to_child[2];
	int to_parent[2];
	__u8 *p;
};

FIXTURE(fork)
{
	struct family f;
};

FIXTURE_VARIANT(fork)
{
	pid_t (*fork)(void);
};

static pid_t by_syscall(void)
{
	return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static pid_t by_clone3(void)
{
	__u64 args[8] = { 0, 0, 0, 0, SIGCHLD };

	return syscall(SYS_clone3, args, sizeof(args));
}

/* Without the handlers of pthread_atfork(); found before a signal handler asks. */
static pid_t fork_only(void)
{
	static pid_t (*only)(void);

	if (!only)
		only = (pid_t (*)(void))dlsym(RTLD_DEFAULT, "_Fork");
	return only();
}

/* cppcheck-suppress selfAssignment ; the member is set to the function */
FIXTURE_VARIANT_ADD(fork, fork) { .fork = fork };
FIXTURE_VARIANT_ADD(fork, only) { .fork = fork_only };
FIXTURE_VARIANT_ADD(fork, syscall) { .fork = by_syscall };
FIXTURE_VARIANT_ADD(fork, clone3) { .fork = by_clone3 };

static bool begins(struct family *f)
{
	if (tcp_pair(AF_INET, f->fd) || pipe(f->to_child) || pipe(f->to_parent))
		return false;
	f->p = filled(1 << 20, 1);
	return f->p;
}

FIXTURE_SETUP(fork)
{
	ASSERT_TRUE(begins(&self->f));
}

FIXTURE_TEARDOWN(fork)
{
	free(self->f.p);
}

/* The same, for what is not of each way to fork. */
FIXTURE(family)
{
	struct family f;
};

FIXTURE_SETUP(family)
{
	ASSERT_TRUE(begins(&self->f));
}

FIXTURE_TEARDOWN(family)
{
	free(self->f.p);
}

static void step(int fd)
{
	if (write(fd, "x", 1) != 1)
		_exit(99);
}

static void await(int fd)
{
	char c;

	if (read(fd, &c, 1) != 1)
		_exit(98);
}

/* A child that writes while its parent does; returns the number of what is wrong. */
static int child_of(struct family *f)
{
	await(f->to_child[0]);
	/* The parent has written. */
	if (pattern_differs(f->p, 1, 0, 1 << 20) >= 0)
		return 1;
	pattern_fill(f->p, 3, 0, 1 << 20);
	step(f->to_parent[1]);
	await(f->to_child[0]);
	if (pattern_differs(f->p, 3, 0, 1 << 20) >= 0)
		return 2;
	return 0;
}

TEST_F(fork, each_sees_its_own)
{
	struct family *f = &self->f;
	pid_t pid = variant->fork();

	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(child_of(f));
	pattern_fill(f->p, 2, 0, 1 << 20);
	step(f->to_child[1]);
	await(f->to_parent[0]);
	EXPECT_EQ(-1, pattern_differs(f->p, 2, 0, 1 << 20));
	pattern_fill(f->p, 4, 0, 1 << 20);
	step(f->to_child[1]);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(-1, pattern_differs(f->p, 4, 0, 1 << 20));
}

/* What is in flight is the parent's, and stays. */
TEST_F(fork, both_send_without_a_copy)
{
	struct family *f = &self->f;
	struct seen was = seen_now();
	pid_t pid;

	ASSERT_EQ(60000, write(f->fd[0], f->p, 60000));
	pid = variant->fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		struct seen child = seen_now();

		memset(f->p, 0, 1 << 20);
		pattern_fill(f->p, 5, 0, 1 << 20);
		if (write(f->fd[0], f->p, 60000) != 60000)
			_exit(1);
		memset(f->p, 0, 1 << 20);
		_exit(seen_since(&child) >= 50000 ? 0 : 2);
	}
	memset(f->p, 0, 1 << 20);
	ASSERT_EQ(0, child_status(pid));
	pattern_fill(f->p, 6, 0, 1 << 20);
	ASSERT_EQ(60000, write(f->fd[0], f->p, 60000));
	memset(f->p, 0, 1 << 20);
	EXPECT_TRUE(comes(f->fd[1], 1, 0, 60000));
	EXPECT_TRUE(comes(f->fd[1], 5, 0, 60000));
	EXPECT_TRUE(comes(f->fd[1], 6, 0, 60000));
	EXPECT_GE(seen_since(&was), 100000);
}

/* Each has what its parent had, frees it, and has more. */
static int generations(struct family *f, pid_t (*make)(void), int n)
{
	bool child = false;
	__u8 *mine;
	int ret;
	pid_t pid;

	for (; n; n--) {
		mine = filled(100000, n);
		pid = make();
		if (pid)
			break;
		child = true;
		if (pattern_differs(mine, n, 0, 100000) >= 0 ||
		    pattern_differs(f->p, 1, 0, 1 << 20) >= 0)
			_exit(n);
		free(mine);
	}
	/* The last one has none. */
	if (!n)
		_exit(0);
	memset(mine, 0, 100000);
	ret = child_status(pid);
	free(mine);
	if (child)
		_exit(ret);
	return ret;
}

TEST_F(fork, grandchildren)
{
	EXPECT_EQ(0, generations(&self->f, variant->fork, 4));
}

/* A guard in front of a stack of one's own: nobody reads there. */
TEST_F(fork, memory_that_cannot_be_read)
{
	const size_t page = PAGE;
	__u8 *p;
	pid_t pid;

	ASSERT_EQ(0, posix_memalign((void **)&p, page, 262144));
	pattern_fill(p, 7, 0, 262144);
	ASSERT_EQ(0, mprotect(p, page, PROT_NONE));
	pid = variant->fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(pattern_differs(p + page, 7, page, 262144 - page) >= 0);
	EXPECT_EQ(0, child_status(pid));
	ASSERT_EQ(0, mprotect(p, page, PROT_READ | PROT_WRITE));
	EXPECT_EQ(-1, pattern_differs(p, 7, 0, 262144));
	free(p);
}

static bool busy_stop;

/* Sends and allocates all the time. */
static void *be_busy(void *arg)
{
	unsigned int seed = (uintptr_t)arg;
	struct reader r;
	void *ret = NULL;
	size_t n;
	__u8 *p;
	int fd[2];

	while (!__atomic_load_n(&busy_stop, __ATOMIC_RELAXED) && !ret) {
		n = 40000 + rand_r(&seed) % 100000;
		if (tcp_pair(AF_INET, fd) || reader_start(&r, fd[1], n, -1))
			return arg;
		p = filled(n, n);
		if (write(fd[0], p, n) != (ssize_t)n)
			ret = arg;
		memset(p, 0, n);
		free(p);
		shutdown(fd[0], SHUT_WR);
		if (reader_join(&r) != (ssize_t)n ||
		    pattern_differs(r.data, n, 0, n) >= 0)
			ret = arg;
		free(r.data);
		close(fd[0]);
		close(fd[1]);
	}
	return ret;
}

TEST_F(family, with_threads_that_allocate_and_send)
{
	struct family *f = &self->f;
	pthread_t threads[NR_THREADS];
	uintptr_t i;
	void *ret;
	pid_t pid;

	for (i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_create(threads + i, NULL, be_busy,
					    (void *)(i + 1)));
	for (i = 0; i < 10; i++) {
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			__u8 *q = filled(300000, 8);
			bool ok = pattern_differs(f->p, 1, 0, 1 << 20) < 0 &&
				  write(f->fd[0], q, UNREAD) == UNREAD;

			memset(f->p, 0, 1 << 20);
			free(q);
			free(f->p);
			_exit(ok ? 0 : 1);
		}
		EXPECT_TRUE(comes(f->fd[1], 8, 0, UNREAD));
		EXPECT_EQ(0, child_status(pid));
	}
	__atomic_store_n(&busy_stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < NR_THREADS; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &ret));
		EXPECT_EQ(NULL, ret);
	}
	EXPECT_EQ(-1, pattern_differs(f->p, 1, 0, 1 << 20));
}

/* clone() of the C library, of a process and not a thread. */
static int clone_child(void *arg)
{
	return child_of(arg);
}

TEST_F(family, clone_with_a_stack)
{
	struct family *f = &self->f;
	__u8 *stack;
	pid_t pid;
	char c;

	stack = mmap(NULL, 262144, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, stack);
	pid = clone(clone_child, stack + 262144, SIGCHLD, f);
	ASSERT_GE(pid, 0);
	pattern_fill(f->p, 2, 0, 1 << 20);
	step(f->to_child[1]);
	/* It is written to, or at its end with the child. */
	close(f->to_parent[1]);
	EXPECT_EQ(1, read(f->to_parent[0], &c, 1));
	step(f->to_child[1]);
	EXPECT_EQ(0, child_status(pid));
}

/* A new program has nothing of this, and the old one all. */
TEST_F(family, programs_are_started)
{
	char *args[2] = { "true" };
	char line[16] = "";
	FILE *from;
	pid_t pid;

	pid = vfork();
	if (!pid) {
		execvp("true", args);
		_exit(1);
	}
	EXPECT_EQ(0, child_status(pid));
	ASSERT_EQ(0, posix_spawnp(&pid, "true", NULL, NULL, args, environ));
	EXPECT_EQ(0, child_status(pid));
	from = popen("echo hello", "r");
	ASSERT_NE(NULL, from);
	EXPECT_NE(NULL, fgets(line, sizeof(line), from));
	EXPECT_EQ(0, strcmp(line, "hello\n"));
	EXPECT_EQ(0, pclose(from));
	EXPECT_EQ(0, system("exit 0"));
	EXPECT_EQ(-1, pattern_differs(self->f.p, 1, 0, 1 << 20));
}

TEST_F(family, daemon_goes_on)
{
	struct family *f = &self->f;
	pid_t pid;

	pid = fork();
	if (!pid) {
		struct seen was;

		if (daemon(1, 1))
			_exit(1);
		was = seen_now();
		if (pattern_differs(f->p, 1, 0, 1 << 20) < 0 &&
		    write(f->fd[0], f->p, UNREAD) == UNREAD &&
		    seen_since(&was) >= UNREAD - 8192)
			step(f->to_parent[1]);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	close(f->to_parent[1]);
	await(f->to_parent[0]);
	EXPECT_TRUE(comes(f->fd[1], 1, 0, UNREAD));
}

/* What a signal finds in the middle of malloc(). */

static __u8 *sent_by_signal;
static int signal_fd;
static size_t signal_sent;
static int signal_bad;

static void on_alarm_write(int sig)
{
	int saved = errno;
	ssize_t ret = write(signal_fd, sent_by_signal, 40000);

	if (ret > 0)
		__atomic_fetch_add(&signal_sent, ret, __ATOMIC_RELAXED);
	errno = saved;
}

static void on_alarm_fork(int sig)
{
	int saved = errno, status;
	pid_t pid = fork_only();

	if (!pid)
		_exit(sent_by_signal[39999] != pattern_byte(1, 39999));
	if (waitpid(pid, &status, 0) != pid || status)
		signal_bad++;
	__atomic_fetch_add(&signal_sent, 1, __ATOMIC_RELAXED);
	errno = saved;
}

/*
 * Allocates until so much was done by signals, each of which is asked for when the
 * one before it is over: else there might be nothing but signals.
 */
static void interrupted(void (*handler)(int), size_t until)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	struct itimerval it = { 0 };
	size_t n = 33000, seen = -1, now;
	__u8 *p = NULL, *q;

	sigaction(SIGALRM, &sa, NULL);
	while ((now = __atomic_load_n(&signal_sent, __ATOMIC_RELAXED)) < until) {
		if (seen != now) {
			seen = now;
			it.it_value.tv_usec = 500 + n % 1500;
			setitimer(ITIMER_REAL, &it, NULL);
		}
		n = n * 7 % 90001 + 33000;
		q = malloc(n);
		q[0] = 1;
		q[n - 1] = 1;
		p = resized(p, n + n / 2);
		p[n] = 1;
		free(q);
	}
	free(p);
}

TEST(signal_handler_writes_while_malloc_runs)
{
	struct reader r;
	size_t i;
	int fd[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, fd));
	sent_by_signal = filled(40000, 1);
	signal_fd = fd[0];
	ASSERT_EQ(0, reader_start(&r, fd[1], 100 * 40000, -1));
	/* The reader is not to be the one that gets them. */
	interrupted(on_alarm_write, 99 * 40000);
	shutdown(fd[0], SHUT_WR);
	ASSERT_GE(reader_join(&r), 99 * 40000);
	for (i = 0; i < 99; i++)
		ASSERT_EQ(-1, pattern_differs(r.data + i * 40000, 1, 0, 40000));
	free(r.data);
	free(sent_by_signal);
}

/* This way to fork may be called in a handler; POSIX says so. */
TEST(signal_handler_forks_while_malloc_runs)
{
	pid_t pid = fork_only();

	if (!pid)
		_exit(0);
	EXPECT_EQ(0, child_status(pid));
	sent_by_signal = filled(40000, 1);
	interrupted(on_alarm_fork, 100);
	EXPECT_EQ(0, signal_bad);
	free(sent_by_signal);
}

TEST_HARNESS_MAIN
