// SPDX-License-Identifier: GPL-2.0
/*
 * Runs programs: two threads that do calls, the memory that arguments lie in, and
 * what a program has made so far.
 *
 * A timer ends what waits too long: a system call by its signal, a plain access by
 * a jump out of the handler. A wait that only death ends is for corpus.c's parent
 * to end.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"
#include "util.h"

#define TICK_US		2000
/* A program that takes longer ends early: it does little but wait. */
#define PROG_TICKS	25

/* Pages of an arena. */
#define AT_EDGE		64	/* the last one before memory that is bad */
#define AT_BAD		65	/* no access */
#define AT_STALL	66	/* comes when userfaultfd says so */
#define ARENA_PAGES	67
#define SCRATCH		(AT_EDGE * PAGE)

int control_fd, log_fd = -1;

static struct run the_run;
static struct actor actors[2];
static __thread struct actor *self;

static __u8 *read_only, *read_only_alias;	/* one page, mapped twice */
static __u8 *common;		/* a page whose contents the threads change */
static int uffd = -1;
static __u8 stall_page[65536];	/* the largest there are */

static unsigned int ticks, prog_ticks;

/* The job of the second thread: a call to do, or none. */
static struct call job;
static int job_state;		/* 1: to be done; a futex */

static void fault(int sig, siginfo_t *info, void *context)
{
	struct actor *me = self;

	if (!me || !GET(me->armed)) {
		shared->fault_by = signal_pc(context);
		shared->fault_at = (uintptr_t)info->si_addr;
		_exit(sig);
	}
	siglongjmp(me->env, 1);
}

/* Something goes on, or it is time to end what does not. */
static void tick(int sig)
{
	struct actor *me = self;
	unsigned int i;

	if (!me)
		return;
	if (sig == SIGALRM && me == &actors[0] &&
	    GET(job_state)) {
		i = GET(actors[1].steps);
		if (i == actors[1].tick)
			pthread_kill(actors[1].thread, SIGUSR1);
		actors[1].tick = i;
	}
	if (GET(me->armed) && GET(me->touching) && me->steps == me->tick)
		siglongjmp(me->env, 1);
	if (me == &actors[0]) {
		me->tick = me->steps;
		SET(ticks, ticks + 1);
	}
}

unsigned int exec_ticks(void)
{
	return GET(ticks);
}

void spend(unsigned int on, unsigned int nr, __u64 since)
{
	shared->spent[on].nr += nr;
	shared->spent[on].cycles += cycles() - since;
}

void touch_begin(struct actor *me)
{
	SET(me->touching, 1);
}

void touch_end(struct actor *me)
{
	SET(me->touching, 0);
}

void *scratch(struct actor *me, size_t len)
{
	void *p;

	if (me->used + len > SCRATCH)
		me->used = 0;
	p = me->arena + me->used;
	me->used += (len + 15) & ~15UL;
	return p;
}

static __u64 put_at(struct actor *me, __u8 *at, const void *data, size_t len)
{
	touch_begin(me);
	memcpy(at, data, len);
	touch_end(me);
	return (uintptr_t)at;
}

/* Gone from its page, it comes back by stall_run(). */
static __u64 put_stalling(struct actor *me, const void *data, size_t len)
{
	__u8 *at = me->arena + AT_STALL * PAGE;

	madvise(at, PAGE, MADV_DONTNEED);
	memcpy(stall_page, data, len);
	return (uintptr_t)at;
}

/* In the memory of a pool, or of a ring: written by the call that reads it. */
static __u64 put_mapped(struct actor *me, bool ring, const void *data,
			size_t len)
{
	unsigned int i;

	for (i = 0; i < NR_HANDLES; i++) {
		const struct handle *h = &me->run->handle[i];

		if (ring ? h->ring_len >= len : h->map_len >= len)
			return put_at(me, ring ? h->ring : h->map, data, len);
	}
	return put_at(me, scratch(me, len), data, len);
}

/*
 * Puts what a call takes where @where says, and returns its address. The special
 * places have one page.
 */
__u64 put(struct actor *me, __u32 where, const void *data, size_t len)
{
	size_t part = len < PAGE ? len : PAGE;
	__u8 *edge = me->arena + AT_BAD * PAGE;

	switch (where & 15) {
	case 1:
		part /= 2;
		return put_at(me, edge - part, data, part);
	case 2:
		return put_at(me, edge - part, data, part);
	case 3:
		return (uintptr_t)edge;
	case 4:
		return 8;
	case 5:
		return where & 16 ? 0xffffffffffffff00 : 0xffff888000001000;
	case 6:
		memcpy(read_only_alias, data, part);
		return (uintptr_t)read_only;
	case 7:
		return put_stalling(me, data, part);
	case 8:
		return put_at(me, common, data, part);
	case 9:
	case 10:
		return put_mapped(me, (where & 15) == 10, data, part);
	default:
		return put_at(me, scratch(me, len), data, len);
	}
}

int res_add(struct run *r, int fd, unsigned int kind)
{
	struct res *res;

	if (fd < 0)
		return fd;
	res = &r->res[r->next_res++ % NR_RES];
	if (res->fd >= 0 && res->kind != K_POOL)
		close(res->fd);
	res->fd = fd;
	res->kind = kind;
	return fd;
}

/* One of these kinds; of any if @a is wild, or an fd that is none. */
int res_fd(struct run *r, unsigned int kinds, __u32 a)
{
	unsigned int i, nr = 0;
	int fds[NR_RES + NR_HANDLES];

	if (a & WILD) {
		if (a & 1)
			return a & 2 ? -1 : (int)(a >> 2 & 1023);
		kinds = K_ANY;
	}
	for (i = 0; i < NR_HANDLES; i++) {
		if (kinds & K_POOL && r->handle[i].fd >= 0)
			fds[nr++] = r->handle[i].fd;
	}
	for (i = 0; i < NR_RES; i++) {
		if (r->res[i].fd >= 0 && r->res[i].kind & kinds)
			fds[nr++] = r->res[i].fd;
	}
	return nr ? fds[(a & ~WILD) % nr] : -1;
}

void handle_unmap(struct handle *h)
{
	if (h->map_len)
		munmap(h->map, h->map_len);
	if (h->ring_len)
		munmap(h->ring, h->ring_len);
	h->map_len = 0;
	h->ring_len = 0;
}

/* Closes a pool fd, whose mappings may stay; or another. */
void res_close(struct run *r, __u32 a)
{
	unsigned int i;
	int fd = res_fd(r, a & 16 ? K_POOL : ~K_POOL, a & 15);

	for (i = 0; i < NR_HANDLES; i++) {
		struct handle *h = &r->handle[i];

		if (h->fd != fd || fd < 0)
			continue;
		h->fd = -1;
		if (a & 32)
			handle_unmap(h);
	}
	for (i = 0; i < NR_RES; i++) {
		if (r->res[i].fd == fd)
			r->res[i].fd = -1;
	}
	if (fd >= 0)
		close(fd);
}

struct handle *handle_pick(struct run *r, __u32 a)
{
	struct handle *some[NR_HANDLES];
	unsigned int i, nr = 0;

	for (i = 0; i < NR_HANDLES; i++) {
		if (r->handle[i].fd >= 0)
			some[nr++] = &r->handle[i];
	}
	/* cppcheck-suppress uninitvar ; the first @nr are set */
	return nr ? some[a % nr] : NULL;
}

/* @like: a handle of the same pool, or what the new pool is. */
struct handle *handle_add(struct run *r, int fd, const struct handle *like)
{
	struct handle *h = &r->handle[r->next_handle++ % NR_HANDLES];
	struct handle new = {
		.fd = fd,
		.pool = like->pool ?: ++r->next_pool,
		.buf_size = like->buf_size,
		.nr_bufs = like->nr_bufs,
	};

	handle_unmap(h);
	if (h->fd >= 0)
		close(h->fd);
	*h = new;
	return h;
}

void name_add(struct run *r, const struct handle *h, __u64 name)
{
	struct name *n = &r->name[r->next_name++ % NR_NAMES];

	n->name = name;
	n->pool = h->pool;
}

void name_drop(struct run *r, __u64 name)
{
	unsigned int i;

	for (i = 0; i < NR_NAMES; i++) {
		if (r->name[i].name == name)
			r->name[i].pool = 0;
	}
}

/* Most often one of this pool's. */
__u64 name_pick(struct run *r, const struct handle *h, __u32 a)
{
	unsigned int i, nr = 0;
	__u64 names[NR_NAMES];

	for (i = 0; i < NR_NAMES; i++) {
		if (r->name[i].pool == h->pool)
			names[nr++] = r->name[i].name;
	}
	if (!nr || a % 64 == 63)
		return FBUF_NAME(a / 64 % 20, a / 2048);
	return names[a % nr];
}

static unsigned int handle_number(const struct run *r, const struct handle *h)
{
	return h >= r->handle && h < r->handle + NR_HANDLES ?
	       h - r->handle + 1 : 0;
}

void parcel_add(struct run *r, const struct handle *h, __u64 name, __u32 len)
{
	struct parcel *p = &r->parcel[r->next_parcel++ % NR_PARCELS];

	p->name = name;
	p->handle = handle_number(r, h);
	p->len = len;
}

void parcel_drop(struct run *r, __u64 name)
{
	unsigned int i;

	for (i = 0; i < NR_PARCELS; i++) {
		if (r->parcel[i].name == name)
			r->parcel[i].handle = 0;
	}
}

/* Most often one of this handle's; its name is 0 if there is none. */
struct parcel parcel_pick(struct run *r, const struct handle *h, __u32 a)
{
	struct parcel some[NR_PARCELS], none = { 0 };
	unsigned int i, nr = 0, number = handle_number(r, h);

	for (i = 0; i < NR_PARCELS && number; i++) {
		if (r->parcel[i].handle == number)
			some[nr++] = r->parcel[i];
	}
	if (a % 32 == 31)
		return r->parcel[a / 32 % NR_PARCELS];
	/* cppcheck-suppress uninitvar ; the first @nr are set */
	return nr ? some[a % nr] : none;
}

unsigned int count_of(__u32 a, unsigned int max)
{
	unsigned int nr = a & ~WILD;

	if (a & WILD)
		return nr;
	/* Long ones cost much, and say little. */
	return nr < max ? nr : nr % max;
}

static struct fbuf_seg seg_make(struct actor *me, const struct handle *h,
				__u32 *rng)
{
	static const __u32 lens[] = { 1, 64, 512, 513, 1000, 4096 };
	__u32 size = h->buf_size ?: PAGE;
	struct fbuf_seg seg = { 0 };
	struct parcel p;

	seg.len = rnd(rng) % 3 ? lens[rnd(rng) % ARRAY_LEN(lens)] : size;
	p = parcel_pick(me->run, h, rnd(rng));
	if (p.name && rnd(rng) % 2) {
		__u32 at = rnd(rng) % (p.len ?: 1);

		seg.addr = p.name;
		seg.flags = FBUF_SEG_NAMED | FBUF_SEG_OFFSET(at);
		if (seg.len > p.len - at)
			seg.len = p.len - at;
	} else if (rnd(rng) % 6 == 0) {
		seg.flags = FBUF_SEG_INLINE;
		seg.addr = (uintptr_t)scratch(me, seg.len);
		if (rnd(rng) % 8 == 0)
			seg.addr = put(me, rnd(rng) % 16, "inline", 6);
	} else {
		seg.addr = FBUF_NAME_INDEX(name_pick(me->run, h, rnd(rng) & ~63U));
		seg.addr *= size;
		if (seg.len < size && rnd(rng) % 2)
			seg.addr += rnd(rng) % (size - seg.len + 1);
	}
	switch (rnd(rng) % 64) {
	case 0:
		seg.addr += size * (rnd(rng) % 20);
		break;
	case 1:
		seg.len += rnd(rng) % 5000;
		break;
	case 2:
		seg.flags ^= 1U << rnd(rng) % 4;
		break;
	case 3:
		seg.addr = (__u64)rnd(rng) << rnd(rng) % 33;
		break;
	case 4:
		seg.len = 0;
		break;
	}
	return seg;
}

/* Segments that are right but for a few. */
void segs_make(struct actor *me, const struct handle *h, unsigned int nr,
	       __u32 seed, struct fbuf_seg *segs)
{
	__u32 rng = seed * 2654435761U | 1;

	while (nr--)
		*segs++ = seg_make(me, h, &rng);
}

static void fail_set(const struct actor *me, unsigned int nth)
{
	char text[8];
	int len = snprintf(text, sizeof(text), "%u", nth);

	if (me->fail_fd >= 0 && pwrite(me->fail_fd, text, len, 0) != len)
		return;
}

static void act(struct actor *me, const struct call *c)
{
	__u64 since = cycles();

	me->used = 0;
	SET(me->steps, me->steps + 1);
	SET(shared->steps, shared->steps + 1);
	cover_begin(&me->cover);
	if (!sigsetjmp(me->env, 0)) {
		SET(me->armed, 1);
		if (c->fail)
			fail_set(me, c->fail);
		call_desc(c->op)->fn(me, c->a);
	}
	SET(me->touching, 0);
	/* Armed still: what is made to fail may be the frame of a tick's signal. */
	if (c->fail)
		fail_set(me, 0);
	SET(me->armed, 0);
	if (me == &actors[0])
		spend(c->op, 1, since);
	cover_end(&me->cover, &shared->covered, &shared->reached);
}

static long futex(int *word, int op, int val, const struct timespec *limit)
{
	return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, val, limit,
		       NULL, 0);
}

static void job_set(int state)
{
	SET(job_state, state);
	futex(&job_state, FUTEX_WAKE, 1, NULL);
}

static void job_wait(int state)
{
	const struct timespec limit = { .tv_sec = 1 };

	while (GET(job_state) == state)
		futex(&job_state, FUTEX_WAIT, state, &limit);
}

static int fail_open(void)
{
	return open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
}

static void *second_run(void *arg)
{
	struct actor *me = arg;
	sigset_t set;

	self = me;
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	me->fail_fd = fail_open();
	cover_enable(&me->cover);
	for (;;) {
		job_wait(0);
		act(me, &job);
		job_set(0);
	}
	return NULL;
}

static void *stall_run(void *arg)
{
	struct uffdio_copy copy = { .src = (uintptr_t)stall_page, .len = PAGE };
	struct uffd_msg msg;

	(void)arg;
	while (read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		if (msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		usleep(the_run.stall_us);
		copy.dst = msg.arg.pagefault.address / PAGE * PAGE;
		copy.mode = 0;
		ioctl(uffd, UFFDIO_COPY, &copy);
	}
	return NULL;
}

static void thread_start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, old;

	/* Signals are for the first. */
	sigfillset(&all);
	sigdelset(&all, SIGUSR1);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 20);
	if (pthread_create(thread, &attr, fn, arg))
		_exit(98);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void stall_init(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	pthread_t thread;
	unsigned int i;

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		return;
	for (i = 0; i < ARRAY_LEN(actors); i++) {
		reg.range.start = (uintptr_t)actors[i].arena + AT_STALL * PAGE;
		reg.range.len = PAGE;
		if (ioctl(uffd, UFFDIO_REGISTER, &reg))
			return;
	}
	thread_start(&thread, stall_run, NULL);
}

static void memory_init(void)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	unsigned int i;

	if (fd < 0 || ftruncate(fd, PAGE))
		_exit(97);
	read_only = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	read_only_alias = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			       fd, 0);
	close(fd);
	common = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < ARRAY_LEN(actors); i++) {
		__u8 *arena = mmap(NULL, ARENA_PAGES * PAGE,
				   PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		mprotect(arena + AT_BAD * PAGE, PAGE, PROT_NONE);
		actors[i].arena = arena;
		actors[i].run = &the_run;
		cover_open(&actors[i].cover);
	}
}

/* The second thread writes into what the first one's call reads. */
__u8 *common_page(void)
{
	return common;
}

static void signals_init(void)
{
	const struct itimerval tick_time = {
		.it_interval = { .tv_usec = TICK_US },
		.it_value = { .tv_usec = TICK_US },
	};
	struct sigaction sa = {
		.sa_sigaction = fault,
		.sa_flags = SA_NODEFER | SA_SIGINFO,
	};

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sa.sa_handler = tick;
	sigaction(SIGALRM, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	setitimer(ITIMER_REAL, &tick_time, NULL);
}

static void run_reset(struct run *r)
{
	unsigned int i;

	memset(r, 0, offsetof(struct run, child));
	for (i = 0; i < NR_RES; i++)
		r->res[i].fd = -1;
	for (i = 0; i < NR_HANDLES; i++)
		r->handle[i].fd = -1;
	r->stall_us = 300;
}

void exec_init(void)
{
	self = &actors[0];
	prog_ticks = PROG_TICKS * slower();
	run_reset(&the_run);
	memory_init();
	signals_init();
	actors[0].fail_fd = fail_open();
	cover_enable(&actors[0].cover);
	stall_init();
	thread_start(&actors[1].thread, second_run, &actors[1]);
}

static void run_clean(struct run *r)
{
	unsigned int i;

	uring_drop(r);
	children_end(r);
	for (i = 0; i < NR_HANDLES; i++) {
		handle_unmap(&r->handle[i]);
		if (r->handle[i].fd >= 0)
			close(r->handle[i].fd);
	}
	for (i = 0; i < NR_RES; i++) {
		if (r->res[i].fd >= 0)
			close(r->res[i].fd);
	}
	if (r->dirty_task)
		task_restore(r);
	if (r->dirty_module)
		netlink_reset();
	r->dirty_task = false;
	r->dirty_module = false;
	run_reset(r);
}

/* Before it runs, so that it is known what led to a crash. */
static void log_prog(const struct prog *p)
{
	static char line[LINE_MAX_BYTES];
	int len = prog_encode(p, line, sizeof(line) - 1), at = 0;
	ssize_t put;

	line[len++] = '\n';
	while (at < len) {
		put = write(log_fd, line + at, len - at);
		if (put > 0)
			at += put;
		else if (errno != EINTR && errno != EAGAIN)
			break;
	}
}

/* The rest of a program is for the second thread to end, and for a child not to do. */
static void prog_end(struct run *r)
{
	__u64 since = cycles();

	if (r->child_calls)
		_exit(0);
	job_wait(1);
	spend(ON_SECOND, 1, since);
	since = cycles();
	run_clean(r);
	spend(ON_CLEAN, 1, since);
}

void exec_prog(const struct prog *prog)
{
	static struct prog all;
	const struct prog *p = &all;
	struct run *r = &the_run;
	unsigned int i, begin = exec_ticks();

	if (log_fd >= 0)
		log_prog(prog);
	prog_expand(&all, prog);
	cover_next_run(&shared->reached);
	for (i = 0; i < p->nr && exec_ticks() - begin < prog_ticks; i++) {
		if (p->call[i].flags & CALL_ASYNC && !GET(job_state) &&
		    !r->child_calls) {
			job = p->call[i];
			job_set(1);
			sched_yield();
		} else {
			act(&actors[0], &p->call[i]);
		}
		/* A child does the next calls, and is gone before the next program. */
		if (r->child_calls && !--r->child_calls)
			_exit(0);
	}
	prog_end(r);
	shared->calls += i;
	shared->progs++;
}
