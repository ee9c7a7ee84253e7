// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Transfers, by each way that they can go: without a module, and with memory of a
 * heap where a pool can be had. TAP out.
 *
 *	test_channel [all]	every offset and length by every way, not by the first
 */

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "test.h"
#include "test_transfers.h"

#define KIB		((size_t)1024)
#define MIB		(1024 * KIB)
#define GIB		(1024 * (off_t)MIB)
#define DEADLINE_MS	20000
#define ERRNO		4711

/* What is closed, so that each way has to do. */
static const unsigned int ways[] = {
	0, CHANNEL_RANGE, CHANNEL_DIRECT, CHANNEL_DIRECT | CHANNEL_POOL,
	CHANNEL_DIRECT | CHANNEL_POOL | CHANNEL_MAPPED,
};

#define NR_WAYS		(sizeof(ways) / sizeof(*ways))

static struct fbuf_heap *heap;
/* Of the ways but the first, every so many-th offset and length. */
static unsigned int step = 5;
static char data[4 * MIB], buf[4 * MIB];

/* Those who loop over the ways end with all of them open. */
static bool next_way(unsigned int w)
{
	channel_closed = w < NR_WAYS ? ways[w] : 0;
	return w < NR_WAYS;
}

static void relax(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	nanosleep(&ms, NULL);
}

/* A file of len bytes of data. */
static int file_make(size_t len)
{
	int fd = memfd_create("file", 0);

	CHECK(write(fd, data, len) == (ssize_t)len);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static off_t file_size(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_size;
}

static bool file_has(int fd, off_t pos, const char *what, size_t len)
{
	return pread(fd, buf, len, pos) == (ssize_t)len &&
	       !memcmp(buf, what, len);
}

static ssize_t read_all(int fd, char *to, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = read(fd, to + done, len - done);
		if (n <= 0)
			break;
		done += n;
	}
	return done;
}

/* Both keep errno. */
static ssize_t to(int file, off_t pos, size_t count, int target)
{
	ssize_t ret;

	errno = ERRNO;
	ret = fbuf_transfer_to(heap, file, pos, count, target);
	CHECK(errno == ERRNO);
	return ret;
}

static ssize_t from(int file, off_t pos, size_t count, int source)
{
	ssize_t ret;

	errno = ERRNO;
	ret = fbuf_transfer_from(heap, file, pos, count, source);
	CHECK(errno == ERRNO);
	return ret;
}

/* Offsets and lengths. */

static void test_matrix(void)
{
	const unsigned int all = TRANSFERS_SIZES * TRANSFERS_SIZES;
	unsigned int kind, w, tried;
	const char *err;

	for (kind = 0; kind < transfers_nr_kinds(); kind++) {
		for (w = 0; next_way(w); w++) {
			err = transfers_try(kind, heap, ways[w], w ? step : 1,
					    &tried);
			CHECK(err || tried >= all / (w ? step : 1));
			if (!err)
				continue;
			printf("# %s, %#x closed: %s\n", transfers_name(kind),
			       ways[w], err);
			CHECK(!"equal");
		}
	}
}

/* Ends of the file. */
static void test_clipped(void)
{
	int file = file_make(100000), target, fd[2];
	unsigned int w;

	for (w = 0; next_way(w); w++) {
		target = memfd_create("target", 0);
		CHECK(to(file, 100000, 1, target) == 0);
		CHECK(to(file, 100001, 1, target) == 0);
		CHECK(to(file, LLONG_MAX, SIZE_MAX, target) == 0);
		CHECK(file_size(target) == 0);
		CHECK(to(file, 99999, SIZE_MAX, target) == 1);
		CHECK(to(file, 3, SIZE_MAX, target) == 99997);
		CHECK(file_size(target) == 99998);
		CHECK(file_has(target, 1, data + 3, 99997));
		/* From its position to its end, beyond the end of the other. */
		lseek(file, 1, SEEK_SET);
		CHECK(from(target, 200000, SIZE_MAX, file) == 99999);
		CHECK(file_size(target) == 299999);
		CHECK(file_has(target, 200000, data + 1, 99999));
		CHECK(from(target, 0, SIZE_MAX, file) == 0);
		lseek(file, 1000000, SEEK_SET);
		CHECK(from(target, 0, SIZE_MAX, file) == 0);
		CHECK(file_size(target) == 299999);
		close(target);

		target = memfd_create("target", 0);
		CHECK(transfers_unix(fd) == 0);
		CHECK(write(fd[0], data, 50000) == 50000);
		close(fd[0]);
		CHECK(from(target, 7, SIZE_MAX, fd[1]) == 50000);
		CHECK(from(target, 7, SIZE_MAX, fd[1]) == 0);
		CHECK(file_has(target, 7, data, 50000));
		close(fd[1]);
		close(target);
	}
	close(file);
}

static void test_arguments(void)
{
	int file = file_make(20000), target = memfd_create("target", 0), fd[2];
	char path[64];
	int ro, wo, none;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	ro = open(path, O_RDONLY);
	wo = open(path, O_WRONLY);
	none = open(path, O_PATH);
	CHECK(ro >= 0 && wo >= 0 && none >= 0);
	CHECK(to(file, -1, 1, target) == -EINVAL);
	CHECK(from(target, -1, 1, file) == -EINVAL);
	CHECK(to(-1, 0, 1, target) == -EBADF);
	CHECK(to(file, 0, 1, -1) == -EBADF);
	CHECK(from(-1, 0, 1, file) == -EBADF);
	CHECK(from(target, 0, 1, -1) == -EBADF);
	CHECK(to(wo, 0, 1, target) == -EBADF);
	CHECK(to(file, 0, 1, ro) == -EBADF);
	CHECK(from(ro, 0, 1, target) == -EBADF);
	CHECK(from(target, 0, 1, wo) == -EBADF);
	CHECK(to(none, 0, 1, target) == -EBADF);
	CHECK(to(file, 0, 1, none) == -EBADF);
	/* Though nothing is to be done. */
	CHECK(to(file, 0, 0, ro) == -EBADF);
	CHECK(from(target, 0, 0, wo) == -EBADF);
	CHECK(to(file, 0, 0, target) == 0 && from(target, 0, 0, file) == 0);
	CHECK(transfers_pipe(fd) == 0);
	CHECK(to(fd[1], 0, 1, target) == -ESPIPE);
	CHECK(file_size(target) == 0);
	close(fd[0]);
	close(fd[1]);
	close(ro);
	close(wo);
	close(none);
	close(file);
	close(target);
}

/* Files that have bytes and no size. */
static void test_no_size(void)
{
	int file = open("/proc/self/mountinfo", O_RDONLY), target, copy;
	char path[] = "/proc/self/cmdline";
	unsigned int w;
	ssize_t n;

	n = pread(file, data, sizeof(data), 0);
	CHECK(n > 0);
	for (w = 0; next_way(w); w++) {
		target = memfd_create("target", 0);
		CHECK(to(file, 0, SIZE_MAX, target) > 0);
		CHECK(to(file, 1, SIZE_MAX, target) == 0);
		CHECK(file_size(target) >= (n < 4096 ? n : 4000));
		CHECK(file_has(target, 0, data, file_size(target)));
		close(target);

		target = memfd_create("target", 0);
		copy = open(path, O_RDONLY);
		n = from(target, 0, SIZE_MAX, copy);
		CHECK(n > 0 && file_size(target) == n);
		CHECK(lseek(copy, 0, SEEK_SET) == 0);
		CHECK(read(copy, data, sizeof(data)) == n);
		CHECK(file_has(target, 0, data, n));
		close(copy);
		close(target);
		n = pread(file, data, sizeof(data), 0);
	}
	close(file);
}

/* Large files. */

static void try_large(int file, int peer, off_t pos)
{
	const size_t len = 20000;
	int fd[2], target = memfd_create("target", 0);

	CHECK(pwrite(file, data, len, pos) == (ssize_t)len);
	CHECK(to(file, pos, len, target) == (ssize_t)len);
	CHECK(file_has(target, 0, data, len));
	/* Where the target's position is as large. */
	lseek(peer, pos, SEEK_SET);
	CHECK(to(file, pos + 1, len - 1, peer) == (ssize_t)len - 1);
	CHECK(file_has(peer, pos, data + 1, len - 1));
	CHECK(lseek(peer, 0, SEEK_CUR) == pos + (off_t)len - 1);
	CHECK(transfers_tcp(fd) == 0);
	CHECK(to(file, pos, len, fd[0]) == (ssize_t)len);
	CHECK(read_all(fd[1], buf, len) == (ssize_t)len);
	CHECK(!memcmp(buf, data, len));
	CHECK(write(fd[0], data + 5, len) == (ssize_t)len);
	CHECK(from(file, pos, len, fd[1]) == (ssize_t)len);
	CHECK(file_has(file, pos, data + 5, len));
	lseek(peer, pos, SEEK_SET);
	CHECK(from(file, pos + 9, len - 1, peer) == (ssize_t)len - 1);
	CHECK(file_has(file, pos + 9, data + 1, len - 1));
	close(fd[0]);
	close(fd[1]);
	close(target);
}

static void test_large(void)
{
	static const off_t at[] = {
		2 * GIB - 7, 2 * GIB, 4 * GIB - 7, 4 * GIB, 6 * GIB + 1,
	};
	int file = memfd_create("file", 0), peer = memfd_create("peer", 0);
	int null = open("/dev/null", O_WRONLY);
	unsigned int w, i;

	CHECK(ftruncate(file, 7 * GIB) == 0);
	CHECK(ftruncate(peer, 7 * GIB) == 0);
	for (w = 0; next_way(w); w++)
		for (i = 0; i < sizeof(at) / sizeof(*at); i++)
			try_large(file, peer, at[i]);
	CHECK(file_size(file) == 7 * GIB);
	/* What the kernel does in one call: 4 KiB less than 2 GiB. */
	channel_closed = 0;
	CHECK(to(file, 1, 5 * GIB, null) == 0x7ffff000);
	CHECK(to(file, 6 * GIB, SIZE_MAX, null) == GIB);
	close(null);
	close(file);
	close(peer);
}

/* Targets that end, or refuse. */

/* In a process of its own: its signals and its limits. */
static void in_child(void (*run)(void))
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		failed = false;
		run();
		fflush(stdout);
		_exit(failed);
	}
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		printf("# signal %d\n", WTERMSIG(status));
	CHECK(!status);
}

static bool is_pending(int sig)
{
	sigset_t set;

	sigpending(&set);
	return sigismember(&set, sig) == 1;
}

static void peer_is_gone(void)
{
	int (*const pairs[])(int fd[2]) = {
		transfers_tcp, transfers_unix, transfers_pipe,
	};
	int file = file_make(50000), fd[2], i;
	unsigned int w;
	ssize_t n;

	for (w = 0; next_way(w); w++) {
		for (i = 0; i < 3; i++) {
			CHECK(pairs[i](fd) == 0);
			close(fd[1]);
			/* A peer that goes may take something yet. */
			do {
				n = to(file, 0, 50000, fd[0]);
			} while (n > 0);
			CHECK(n == -EPIPE || n == -ECONNRESET);
			CHECK(to(file, 0, 50000, fd[0]) == -EPIPE);
			CHECK(!is_pending(SIGPIPE));
			close(fd[0]);
		}
	}
	close(file);
}

static void signal_was_pending(void)
{
	int file = file_make(50000), fd[2];
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, NULL);
	CHECK(transfers_pipe(fd) == 0);
	close(fd[1]);
	CHECK(to(file, 0, 50000, fd[0]) == -EPIPE);
	CHECK(!is_pending(SIGPIPE));
	raise(SIGPIPE);
	CHECK(to(file, 0, 50000, fd[0]) == -EPIPE);
	CHECK(is_pending(SIGPIPE));
	sigprocmask(SIG_BLOCK, NULL, &set);
	CHECK(sigismember(&set, SIGPIPE) && !sigismember(&set, SIGXFSZ));
}

static void test_no_signal(void)
{
	in_child(peer_is_gone);
	in_child(signal_was_pending);
}

static void file_too_long(void)
{
	struct rlimit limit = { .rlim_cur = 60000, .rlim_max = RLIM_INFINITY };
	int file = file_make(100000), target;
	unsigned int w;

	CHECK(!setrlimit(RLIMIT_FSIZE, &limit));
	for (w = 0; next_way(w); w++) {
		target = memfd_create("target", 0);
		CHECK(to(file, 1, 90000, target) == 60000);
		CHECK(to(file, 1, 90000, target) == -EFBIG);
		CHECK(file_size(target) == 60000);
		CHECK(file_has(target, 0, data + 1, 60000));
		lseek(file, 2, SEEK_SET);
		CHECK(from(target, 10000, 90000, file) == 50000);
		/* The rest is still to be had. */
		CHECK(lseek(file, 0, SEEK_CUR) == 50002);
		CHECK(from(target, 60000, 90000, file) == -EFBIG);
		CHECK(lseek(file, 0, SEEK_CUR) == 50002);
		CHECK(file_has(target, 10000, data + 2, 50000));
		CHECK(!is_pending(SIGXFSZ));
		close(target);
	}
}

static void test_rlimit(void)
{
	in_child(file_too_long);
}

/* 64 KiB of disk, in a file system of our own, or -1. */
static int small_disk(void)
{
	char dir[] = "/tmp/test_channel.XXXXXX";
	int fd = -1;

	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return -1;
	if (!mkdtemp(dir))
		return -1;
	if (!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	    !mount("none", dir, "tmpfs", 0, "size=64k")) {
		fd = open(dir, O_TMPFILE | O_RDWR, 0600);
		umount2(dir, MNT_DETACH);
	}
	rmdir(dir);
	return fd;
}

static void try_full_disk(int target, int file)
{
	struct fbuf_map *map;

	CHECK(!ftruncate(target, 0));
	lseek(target, 0, SEEK_SET);
	CHECK(to(file, 5, 100000, target) == 65536);
	CHECK(to(file, 5, 100000, target) == -ENOSPC);
	CHECK(file_has(target, 0, data + 5, 65536));
	CHECK(!ftruncate(target, 0));
	lseek(file, 1, SEEK_SET);
	CHECK(from(target, 0, 100000, file) == 65536);
	CHECK(lseek(file, 0, SEEK_CUR) == 65537);
	CHECK(from(target, 65536, 100000, file) == -ENOSPC);
	CHECK(lseek(file, 0, SEEK_CUR) == 65537);
	CHECK(file_has(target, 0, data + 1, 65536));
	CHECK(fbuf_map_open(&map, target, FBUF_MAP_READ_WRITE, 65536, 1) ==
	      -ENOSPC);
}

static void disk_full(void)
{
	int file = file_make(200000), target = small_disk();
	unsigned int w;

	if (target < 0)
		printf("# no file system can be mounted here\n");
	for (w = 0; next_way(w); w++) {
		int full = open("/dev/full", O_WRONLY);

		CHECK(to(file, 0, 100000, full) == -ENOSPC);
		CHECK(to(file, 0, 100, full) == -ENOSPC);
		close(full);
		if (target >= 0)
			try_full_disk(target, file);
	}
}

static void test_full_disk(void)
{
	in_child(disk_full);
}

/* Where what was sent begins and ends is seen. */
static void test_datagrams(void)
{
	int file = file_make(100000), fd[2];
	unsigned int w;

	for (w = 0; next_way(w); w++) {
		CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, fd));
		CHECK(to(file, 1, 5000, fd[0]) == 5000);
		CHECK(read(fd[1], buf, sizeof(buf)) == 5000);
		CHECK(!memcmp(buf, data + 1, 5000));
		close(fd[0]);
		close(fd[1]);
	}
	channel_closed = 0;
	CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, fd));
	/* More than sendfile() would put into one. */
	CHECK(to(file, 0, 100000, fd[0]) == 100000);
	CHECK(read(fd[1], buf, sizeof(buf)) == 100000);
	CHECK(!memcmp(buf, data, 100000));
	close(fd[0]);
	close(fd[1]);
	close(file);
}

/* Transfers that wait, and what happens to them meanwhile. */

struct waiter {
	pthread_t thread;
	atomic_int tid;
	atomic_bool done;
	bool is_to;
	int file;
	int peer;
	size_t count;
	ssize_t ret;
};

static void *waiter_run(void *arg)
{
	struct waiter *w = arg;

	w->tid = gettid();
	w->ret = w->is_to ? to(w->file, 0, w->count, w->peer) :
			    from(w->file, 0, w->count, w->peer);
	w->done = true;
	return NULL;
}

/* It has been asleep for a while: in a call of the kernel. */
static bool is_asleep(const struct waiter *w)
{
	long long end = lib_now_ms() + DEADLINE_MS;
	unsigned int asleep = 0;
	char path[64], state;
	FILE *f;

	while (asleep < 20 && lib_now_ms() < end) {
		relax();
		state = 0;
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat",
			 (int)w->tid);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1 || state != 'S')
			asleep = 0;
		else
			asleep++;
		fclose(f);
	}
	return asleep == 20 && !w->done;
}

static void waiter_start(struct waiter *w)
{
	if (pthread_create(&w->thread, NULL, waiter_run, w)) {
		printf("Bail out! No thread.\n");
		exit(1);
	}
	CHECK(is_asleep(w));
}

static void nothing(int sig)
{
	(void)sig;
}

/* Calls are not taken up again by the kernel. */
static void signals_interrupt(void)
{
	struct sigaction sa = { .sa_handler = nothing };

	sigaction(SIGUSR1, &sa, NULL);
}

static void interrupt(const struct waiter *w, unsigned int times)
{
	while (times--) {
		pthread_kill(w->thread, SIGUSR1);
		relax();
	}
}

static int small_unix(int fd[2])
{
	const int room = 8192;

	return transfers_unix(fd) |
	       setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

static void test_interrupted(void)
{
	struct waiter t = { .is_to = true, .count = MIB };
	unsigned int w;
	size_t got;
	int fd[2];

	signals_interrupt();
	for (w = 0; next_way(w); w++) {
		/* What has begun may end early; what has not, does not. */
		t = (struct waiter){ .is_to = true, .count = MIB };
		t.file = file_make(MIB);
		CHECK(small_unix(fd) == 0);
		t.peer = fd[0];
		fcntl(fd[0], F_SETFL, O_NONBLOCK);
		got = transfers_fill(fd[0]);
		fcntl(fd[0], F_SETFL, 0);
		waiter_start(&t);
		interrupt(&t, 50);
		CHECK(!t.done);
		CHECK(read_all(fd[1], buf, got) == (ssize_t)got);
		CHECK(read_all(fd[1], buf, 100) == 100);
		CHECK(!memcmp(buf, data, 100));
		shutdown(fd[1], SHUT_RD);
		pthread_join(t.thread, NULL);
		CHECK(t.ret > 0 || t.ret == -EPIPE);
		close(fd[0]);
		close(fd[1]);
		/* The other way round. */
		t = (struct waiter){ .count = 1000, .file = t.file };
		CHECK(transfers_tcp(fd) == 0);
		t.peer = fd[1];
		waiter_start(&t);
		interrupt(&t, 50);
		CHECK(!t.done);
		CHECK(write(fd[0], data + 1, 1000) == 1000);
		pthread_join(t.thread, NULL);
		CHECK(t.ret == 1000 && file_has(t.file, 0, data + 1, 1000));
		close(fd[0]);
		close(fd[1]);
		close(t.file);
	}
}

/* Through a stream of little room, while a slow one writes or reads. */

struct pump {
	pthread_t thread;
	int file;
	int fd;
	unsigned int calls;
	size_t done;
};

/* Until all has gone. */
static void *pump_run(void *arg)
{
	struct pump *p = arg;
	ssize_t n = 1;

	while (n > 0 && p->done < sizeof(data)) {
		n = to(p->file, p->done, SIZE_MAX, p->fd);
		p->done += n > 0 ? n : 0;
		p->calls++;
	}
	close(p->fd);
	return NULL;
}

static void try_slow(int fd[2], bool socket)
{
	struct pump p = { .file = file_make(sizeof(data)), .fd = fd[0] };
	struct waiter t = { .count = SIZE_MAX, .peer = fd[1] };

	t.file = memfd_create("file", 0);
	waiter_start(&t);
	CHECK(!pthread_create(&p.thread, NULL, pump_run, &p));
	pthread_join(p.thread, NULL);
	pthread_join(t.thread, NULL);
	CHECK(p.done == sizeof(data) && t.ret == sizeof(data));
	/* A socket that blocks takes all by one call. */
	CHECK(!socket || p.calls == 1);
	CHECK(file_size(t.file) == sizeof(data));
	CHECK(file_has(t.file, 0, data, sizeof(data)));
	close(t.file);
	close(p.file);
	close(fd[1]);
}

static void test_waits(void)
{
	unsigned int w;
	int fd[2];

	for (w = 0; next_way(w); w++) {
		CHECK(transfers_pipe(fd) == 0);
		try_slow(fd, false);
		CHECK(small_unix(fd) == 0);
		try_slow(fd, true);
		CHECK(transfers_tcp(fd) == 0);
		try_slow(fd, true);
	}
}

static uint64_t pool_sends(void)
{
	struct fbuf_info info;

	CHECK(!fbuf_pool_info(fbuf_heap_pool(heap), &info));
	return info.sends;
}

/* Without memory another way is taken; and what was used comes back. */
static void test_heap_is_full(void)
{
	struct fbuf_heap_stats s = { 0 };
	int file = file_make(100000), fd[2];
	uint64_t before = 0;
	void *all;

	CHECK(transfers_unix(fd) == 0);
	channel_closed = CHANNEL_DIRECT;
	if (heap) {
		while (fbuf_heap_wait(heap, DEADLINE_MS) > 0)
			;
		CHECK(!fbuf_heap_stats(heap, &s));
		CHECK(!s.used && s.size);
		all = fbuf_heap_alloc(heap, s.size);
		CHECK(all);
		before = pool_sends();
		CHECK(to(file, 0, 100000, fd[0]) == 100000);
		CHECK(read_all(fd[1], buf, 100000) == 100000);
		CHECK(!memcmp(buf, data, 100000));
		CHECK(pool_sends() == before);
		fbuf_heap_free(heap, all);
	}
	CHECK(to(file, 0, 100000, fd[0]) == 100000);
	CHECK(!heap || pool_sends() > before);
	CHECK(read_all(fd[1], buf, 100000) == 100000);
	CHECK(!memcmp(buf, data, 100000));
	close(fd[0]);
	close(fd[1]);
	close(file);
}

/* The socket that the target was has become a file, and the call goes on. */
static void replace(int fd, int by)
{
	CHECK(dup3(by, fd, O_CLOEXEC) == fd);
}

/* The target is full; then it is another file, by the same number. */
static void test_target_is_closed(void)
{
	int other, fd[2], sock;
	struct waiter t;
	unsigned int w;

	signals_interrupt();
	for (w = 0; next_way(w); w++) {
		t = (struct waiter){ .is_to = true, .count = MIB };
		t.file = file_make(MIB);
		other = memfd_create("other", 0);
		CHECK(small_unix(fd) == 0);
		fcntl(fd[0], F_SETFL, O_NONBLOCK);
		transfers_fill(fd[0]);
		fcntl(fd[0], F_SETFL, 0);
		t.peer = fd[0];
		waiter_start(&t);
		/* Nobody waits for what it holds. */
		sock = dup(fd[0]);
		replace(fd[0], other);
		interrupt(&t, 1);
		pthread_join(t.thread, NULL);
		CHECK(t.ret == -EBADF);
		CHECK(file_size(other) == 0);
		close(sock);
		close(fd[0]);
		close(fd[1]);
		close(t.file);
		close(other);
	}
}

/* The source of bytes is another one suddenly. */
static void test_source_is_closed(void)
{
	struct waiter t;
	unsigned int w;
	int fd[2], kept, other;

	signals_interrupt();
	for (w = 0; next_way(w); w++) {
		t = (struct waiter){ .count = 100000 };
		t.file = memfd_create("file", 0);
		CHECK(transfers_pipe(fd) == 0);
		t.peer = fd[1];
		waiter_start(&t);
		CHECK(write(fd[0], data, 10) == 10);
		CHECK(is_asleep(&t));
		other = file_make(1000);
		kept = dup(fd[1]);
		replace(fd[1], other);
		interrupt(&t, 1);
		pthread_join(t.thread, NULL);
		CHECK(t.ret == 10);
		CHECK(file_size(t.file) == 10 && file_has(t.file, 0, data, 10));
		CHECK(lseek(other, 0, SEEK_CUR) == 0);
		close(kept);
		close(other);
		close(fd[0]);
		close(fd[1]);
		close(t.file);
	}
}

/* Between two pieces: the file that is written to is another one. */
static void test_file_is_closed(void)
{
	struct waiter t;
	unsigned int w;
	int fd[2], kept, other;

	for (w = 0; next_way(w); w++) {
		t = (struct waiter){ .count = 100000 };
		t.file = memfd_create("file", 0);
		CHECK(transfers_pipe(fd) == 0);
		t.peer = fd[1];
		waiter_start(&t);
		other = memfd_create("other", 0);
		kept = dup(t.file);
		replace(t.file, other);
		/* The call that waits may be about the old one, or the new one. */
		CHECK(write(fd[0], data, 10) == 10);
		CHECK(write(fd[0], data + 10, 10) == 10);
		pthread_join(t.thread, NULL);
		CHECK(t.ret == -EBADF || (t.ret > 0 && t.ret <= 20));
		CHECK(file_size(other) == 0);
		close(kept);
		close(other);
		close(fd[0]);
		close(fd[1]);
		close(t.file);
	}
}

static void test_shutdown(void)
{
	struct waiter t;
	unsigned int w;
	int fd[2];

	for (w = 0; next_way(w); w++) {
		t = (struct waiter){ .is_to = true, .count = sizeof(data) };
		t.file = file_make(sizeof(data));
		CHECK(small_unix(fd) == 0);
		t.peer = fd[0];
		waiter_start(&t);
		CHECK(!shutdown(fd[0], SHUT_RDWR));
		pthread_join(t.thread, NULL);
		CHECK(t.ret > 0 && t.ret < (ssize_t)sizeof(data));
		CHECK(to(t.file, 0, 1, fd[0]) == -EPIPE);
		CHECK(!is_pending(SIGPIPE));
		close(fd[0]);
		close(fd[1]);
		close(t.file);
	}
}

/* The file becomes shorter while its bytes wait for room. */
static void test_truncated_while_it_waits(void)
{
	struct waiter t;
	unsigned int w;
	size_t got;
	int fd[2];

	for (w = 0; next_way(w); w++) {
		t = (struct waiter){ .is_to = true, .count = sizeof(data) };
		t.file = file_make(sizeof(data));
		CHECK(small_unix(fd) == 0);
		t.peer = fd[0];
		waiter_start(&t);
		CHECK(!ftruncate(t.file, 5));
		for (got = 0; !t.done || got < (size_t)t.ret;) {
			struct pollfd p = { .fd = fd[1], .events = POLLIN };
			ssize_t n;

			if (poll(&p, 1, 10) != 1)
				continue;
			n = read(fd[1], buf + got, 10000);
			CHECK(n > 0);
			if (n <= 0)
				break;
			got += n;
		}
		pthread_join(t.thread, NULL);
		CHECK(t.ret > 0 && got == (size_t)t.ret);
		CHECK(t.ret < (ssize_t)sizeof(data));
		CHECK(to(t.file, 5, 1, fd[0]) == 0);
		close(fd[0]);
		close(fd[1]);
		close(t.file);
	}
}

/* And all of them go, before one of them went. */
static void test_emptied_while_it_waits(void)
{
	struct waiter t;
	unsigned int w;
	size_t full;
	int fd[2];

	for (w = 0; next_way(w); w++) {
		t = (struct waiter){ .is_to = true, .count = sizeof(data) };
		t.file = file_make(sizeof(data));
		CHECK(transfers_pipe(fd) == 0);
		t.peer = fd[0];
		fcntl(fd[0], F_SETFL, O_NONBLOCK);
		full = transfers_fill(fd[0]);
		fcntl(fd[0], F_SETFL, 0);
		waiter_start(&t);
		CHECK(!ftruncate(t.file, 0));
		CHECK(read_all(fd[1], buf, full) == (ssize_t)full);
		pthread_join(t.thread, NULL);
		/* A buffer has some of them already. */
		CHECK(t.ret == (ways[w] & CHANNEL_MAPPED ? 8192 : 0));
		CHECK(t.ret < 0 || read_all(fd[1], buf, t.ret) == t.ret);
		CHECK(t.ret < 0 || !memcmp(buf, data, t.ret));
		close(fd[0]);
		close(fd[1]);
		close(t.file);
	}
}

static void *discard(void *arg)
{
	static char junk[65536];
	int fd = *(int *)arg;

	while (read(fd, junk, sizeof(junk)) > 0)
		;
	return NULL;
}

/* A mapping goes by one write to whoever may have no room for the next. */
static void test_pieces(void)
{
	static const size_t piece[] = { 0, 0, 8 * MIB, 8 * MIB, 9 * MIB };
	int file = memfd_create("file", 0), target, fd[2];
	pthread_t thread;
	unsigned int w;

	CHECK(!ftruncate(file, 9 * MIB));
	for (w = 0; next_way(w); w++) {
		if (!piece[w])
			continue;
		CHECK(transfers_pipe(fd) == 0);
		CHECK(!pthread_create(&thread, NULL, discard, &fd[1]));
		CHECK(to(file, 0, SIZE_MAX, fd[0]) == (ssize_t)piece[w]);
		close(fd[0]);
		pthread_join(thread, NULL);
		close(fd[1]);
		target = memfd_create("target", 0);
		CHECK(to(file, 0, SIZE_MAX, target) == (ssize_t)(9 * MIB));
		close(target);
	}
	close(file);
}

static atomic_bool stop;

static void *shorten(void *arg)
{
	int file = *(int *)arg;

	while (!stop) {
		CHECK(!ftruncate(file, 0));
		CHECK(pwrite(file, data, 300000, 0) == 300000);
	}
	return NULL;
}

/* Bytes of the file, or zeros: it is written anew all the time. */
static bool mixed(const char *got, size_t len, const char *from_here)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (got[i] && got[i] != from_here[i])
			return false;
	return true;
}

static void test_truncated_again_and_again(void)
{
	int file = file_make(300000), target, i;
	pthread_t thread;
	unsigned int w;
	ssize_t n;

	stop = false;
	CHECK(!pthread_create(&thread, NULL, shorten, &file));
	for (w = 0; next_way(w); w++) {
		for (i = 0; i < 200; i++) {
			target = memfd_create("target", 0);
			n = to(file, 1000, 200000, target);
			CHECK(n >= 0 && n <= 200000);
			CHECK(file_size(target) == n);
			CHECK(n < 0 || pread(target, buf, n, 0) == n);
			CHECK(n < 0 || mixed(buf, n, data + 1000));
			lseek(file, 1000, SEEK_SET);
			n = from(target, 0, 200000, file);
			CHECK(n >= 0 && n <= 200000);
			CHECK(n < 0 || pread(target, buf, n, 0) == n);
			CHECK(n < 0 || mixed(buf, n, data + 1000));
			close(target);
		}
	}
	stop = true;
	pthread_join(thread, NULL);
	close(file);
}

/* Whether another process finds the lock that this one has. */
static bool is_locked(int file)
{
	struct flock l = { .l_type = F_WRLCK, .l_len = 1 };
	int status = 0;
	pid_t pid = fork();

	if (!pid)
		_exit(fcntl(file, F_SETLK, &l) < 0);
	waitpid(pid, &status, 0);
	return status != 0;
}

/* To close any fd of a file takes them away. */
static void test_locks_stay(void)
{
	int file = file_make(100000), target = memfd_create("target", 0);
	struct flock l = { .l_type = F_WRLCK, .l_len = 1 };
	struct fbuf_map *map;
	unsigned int w;

	CHECK(!fcntl(file, F_SETLK, &l) && !fcntl(target, F_SETLK, &l));
	for (w = 0; next_way(w); w++) {
		CHECK(to(file, 0, 100000, target) == 100000);
		CHECK(from(target, 0, 100000, file) == 100000);
		lseek(file, 0, SEEK_SET);
		CHECK(!fbuf_map_open(&map, file, FBUF_MAP_READ_WRITE, 0, 1));
		fbuf_map_close(map);
		CHECK(is_locked(file) && is_locked(target));
	}
	close(file);
	CHECK(is_locked(target));
	close(target);
}

/* What the kernel does, it does without a copy: the reader sees a later write. */
static void test_direct_is_direct(void)
{
	int file = file_make(8192), fd[2];
	char got[4096];

	channel_closed = 0;
	CHECK(transfers_pipe(fd) == 0);
	CHECK(to(file, 0, 4096, fd[0]) == 4096);
	CHECK(pwrite(file, "later", 5, 0) == 5);
	CHECK(read(fd[1], got, 4096) == 4096 && !memcmp(got, "later", 5));
	channel_closed = CHANNEL_DIRECT;
	CHECK(to(file, 0, 4096, fd[0]) == 4096);
	CHECK(pwrite(file, "third", 5, 0) == 5);
	CHECK(read(fd[1], got, 4096) == 4096 && !memcmp(got, "later", 5));
	close(fd[0]);
	close(fd[1]);
	close(file);
}

static const struct test tests[] = {
	{ "44 offsets and 44 lengths, of each kind, by each way", test_matrix },
	{ "the end of the file is the end", test_clipped },
	{ "bad arguments are refused", test_arguments },
	{ "files without a size", test_no_size },
	{ "beyond 2 and 4 GiB", test_large },
	{ "no signal kills the program", test_no_signal },
	{ "the limit of the size of a file", test_rlimit },
	{ "a full disk", test_full_disk },
	{ "datagrams", test_datagrams },
	{ "what the kernel does is not copied", test_direct_is_direct },
	{ "slow readers and writers", test_waits },
	{ "a heap that is full", test_heap_is_full },
	{ "a signal ends nothing", test_interrupted },
	{ "a target that becomes another file is not written to",
	  test_target_is_closed },
	{ "a source that becomes another file is not read",
	  test_source_is_closed },
	{ "a file that becomes another file is not written to",
	  test_file_is_closed },
	{ "a shutdown ends a transfer", test_shutdown },
	{ "a file is cut while its bytes wait", test_truncated_while_it_waits },
	{ "a file is emptied while they wait", test_emptied_while_it_waits },
	{ "pieces of a large file", test_pieces },
	{ "a file is cut again and again", test_truncated_again_and_again },
	{ "locks on the files stay", test_locks_stay },
};

int main(int argc, char **argv)
{
	struct fbuf_pool *pool = NULL;
	uint32_t x = 1;
	size_t i;
	int ret;

	if (argc > 1 && !strcmp(argv[1], "all"))
		step = 1;
	for (i = 0; i < sizeof(data); i++) {
		x = x * 1664525 + 1013904223;
		data[i] = x >> 25 | 0x80;
	}
	if (!fbuf_pool_create(&pool, 64 * KIB, 64))
		CHECK(!fbuf_heap_create(&heap, pool, 0));
	printf("# %s\n", heap ? "with a heap" : "no pool can be had here");
	ret = run_tests(tests, sizeof(tests) / sizeof(*tests));
	fbuf_heap_destroy(heap);
	fbuf_pool_close(pool);
	return ret;
}
