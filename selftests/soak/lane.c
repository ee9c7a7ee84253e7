// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a lane: its kind is drawn from its seed, its sockets are made, its
 * receivers forked; its first process is the sender and waits for them.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "soak.h"

#define ORPHAN_RETRIES	"/proc/sys/net/ipv4/tcp_orphan_retries"
#define CGROUP		"/sys/fs/cgroup/soak/cgroup.procs"

void lane_broke(const struct lane *l, const char *what, int err)
{
	if (!__atomic_load_n(&l->slot->killed, __ATOMIC_ACQUIRE) &&
	    !l->in_cgroup && l->path != P_DOOMED)
		fail("lane %u over %s: %s: %s", l->slot->nr,
		     path_names[l->path], what, strerror(err));
	_exit(0);
}

bool lane_short_of_memory(const struct lane *l, int err)
{
	if (!l->in_cgroup || (err != -ENOMEM && err != -ENOBUFS))
		return false;
	count(&soak->short_of_memory, 1);
	nap_us(2000);
	return true;
}

__attribute__((format(printf, 1, 2)))
static void run(const char *format, ...)
{
	char command[256];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	/* It may be too late: the namespace may be gone. */
	if (system(command))
		return;
}

/*
 * Two namespaces of the lane's own, the far one of which has no process once
 * the sockets are there: it ends with them.
 */
static int doomed_pair(int fd[2])
{
	int home, near, far, err, pipes[2];
	char path[64], c;
	pid_t pid;

	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (pipe(pipes) || unshare(CLONE_NEWNET))
		return -errno;
	near = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	pid = fork();
	if (!pid) {
		if (unshare(CLONE_NEWNET) || write(pipes[1], "", 1) != 1)
			_exit(1);
		pause();
	}
	if (pid < 0 || read(pipes[0], &c, 1) != 1)
		return -EIO;
	run("ip link add d0 type veth peer name d1 netns %d", pid);
	run("nsenter -t %d -n ip addr add 10.0.6.2/24 dev d1", pid);
	run("nsenter -t %d -n ip link set d1 up", pid);
	run("ip addr add 10.0.6.1/24 dev d0; ip link set d0 up;"
	    "tc qdisc add dev d0 root netem delay %ums 5ms limit 10000",
	    between(1, 20));
	run("echo 2 >" ORPHAN_RETRIES "; nsenter -t %d -n sh -c 'echo 2 >" ORPHAN_RETRIES "'",
	    pid);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	far = open(path, O_RDONLY | O_CLOEXEC);
	setns(home, CLONE_NEWNET);
	err = path_pair(P_DOOMED, fd, near, far);
	/* For who ends the lane by taking its link away. */
	setns(near, CLONE_NEWNET);
	close(home);
	close(near);
	close(far);
	close(pipes[0]);
	close(pipes[1]);
	kill(pid, SIGKILL);
	child_status(pid);
	count(&soak->changes[C_NAMESPACE], 1);
	return err;
}

/* Takes the link away, in the middle of traffic or not. */
static void doomed_end(void)
{
	if (!one_in(2) || fork())
		return;
	nap_us(between(200000, 4000000));
	run("ip link del d0 2>/dev/null");
	_exit(0);
}

static void windows(const struct lane *l, unsigned int i)
{
	int size, least;

	/* A message goes into a packet as a whole. */
	if (l->path == P_SEQPACKET || path_udp(l->path) || !one_in(3))
		return;
	/* With less than two packets of the link TCP crawls: little at a time. */
	least = l->bulk ? 18 : 12;
	size = 1 << between(least, least + 5);
	setsockopt(l->sock[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	size = 1 << between(least, least + 5);
	setsockopt(l->peer[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	count(&soak->changes[C_WINDOW], 1);
}

static void connect_all(struct lane *l)
{
	unsigned int i, limit = 5000 * soak->slower;
	int fd[2], err;

	for (i = 0; i < l->nr_socks; i++) {
		err = l->path == P_DOOMED ? doomed_pair(fd) :
					    path_pair(l->path, fd, -1, -1);
		/* It happens on a bad line, and when it is all over. */
		if (err == -ETIMEDOUT || (err && l->in_cgroup) ||
		    (err && l->path == P_DOOMED))
			_exit(0);
		if (err)
			fail("no sockets over %s: %s", path_names[l->path],
			     strerror(-err));
		l->sock[i] = fd[0];
		l->peer[i] = fd[1];
		if (l->path == P_DOOMED)
			setsockopt(fd[0], IPPROTO_TCP, TCP_USER_TIMEOUT,
				   &limit, sizeof(limit));
		windows(l, i);
	}
}

static void receivers(struct lane *l)
{
	unsigned int i, j;
	pid_t pid;

	for (i = 0; i < l->nr_socks; i++) {
		pid = fork();
		if (pid < 0)
			fail("fork: %s", strerror(errno));
		if (pid) {
			l->slot->receiver[i] = pid;
			continue;
		}
		for (j = 0; j < l->nr_socks; j++) {
			close(l->sock[j]);
			if (j != i)
				close(l->peer[j]);
		}
		rnd_seed(l->seed, 1, i);
		if (path_udp(l->path))
			lane_receive_datagrams(l, i);
		else
			lane_receive(l, i);
		_exit(0);
	}
	for (i = 0; i < l->nr_socks; i++)
		close(l->peer[i]);
}

/* Where the processor has most to do for each byte. */
static bool slow(enum path path)
{
	return path != P_LO && path != P_LO6 && path != P_UNIX &&
	       path != P_SOCKMAP && path != P_VETH && path != P_DOOMED;
}

static void choose(struct lane *l, unsigned int index)
{
	bool fast = index % 4 && soak->paths == ~0U;

	/* Most bytes are of some of the lanes, most kinds of others. */
	if (!fast && nice(5) < 0)
		fail("nice: %s", strerror(errno));
	do {
		l->path = rnd() % NR_PATHS;
	} while (!(soak->paths & 1U << l->path) || !path_there(l->path) ||
		 (fast && slow(l->path)));
	l->bulk = fast ? !one_in(8) : one_in(slow(l->path) ? 8 : 2);
	l->in_cgroup = !l->bulk && one_in(8);
	l->nr_socks = l->path != P_DOOMED && one_in(4) ? NR_SOCKS : 1;
}

static void in_cgroup(struct lane *l)
{
	int fd = open(CGROUP, O_WRONLY | O_CLOEXEC);

	l->in_cgroup = fd >= 0 && write(fd, "0", 1) == 1;
	if (l->in_cgroup)
		count(&soak->changes[C_CGROUP], 1);
	close(fd);
}

/* What is wrong with its bytes a receiver says itself. */
static void wait_all(const struct lane *l)
{
	int status = 0;

	while (wait(&status) >= 0 || errno == EINTR) {
		if (status && !l->slot->killed && !l->in_cgroup)
			fail("a process of lane %u over %s ended with status 0x%x",
			     l->slot->nr, path_names[l->path], status);
		status = 0;
	}
}

void lane_run(struct slot *slot, unsigned int index)
{
	struct lane l = { .slot = slot };

	setpgid(0, 0);
	rnd_seed(soak->seed, index, slot->nr);
	l.seed = rnd();
	choose(&l, index);
	content_make(l.seed);
	slot->path = l.path;
	connect_all(&l);
	if (l.in_cgroup)
		in_cgroup(&l);
	slot->in_cgroup = l.in_cgroup;
	receivers(&l);
	if (l.path == P_DOOMED)
		doomed_end();
	slot->mortal = l.path == P_DOOMED || l.in_cgroup || one_in(2);
	__atomic_store_n(&slot->ready, true, __ATOMIC_RELEASE);
	count(&soak->lanes[l.path], 1);
	if (path_udp(l.path))
		lane_send_datagrams(&l);
	else
		lane_send(&l);
	wait_all(&l);
	_exit(0);
}
