/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A fuzzer of all of fbuf's ABI, which runs in the guest.
 *
 * A program is a list of calls. The arguments of a call are numbers that say which
 * of the things that there are now (handles, buffers, sockets ...) it works on, and
 * how its structures differ from right ones: any list of numbers is a program, and
 * most of them do something. With KCOV, programs that reach code of the module
 * that none did before are kept, made short, and changed to get others.
 */
#ifndef FBUF_FUZZ_H
#define FBUF_FUZZ_H

#include <pthread.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <linux/fbuf.h>

#include "util.h"

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))
/* What a signal's handler, another thread or another process looks at. */
#define GET(x)		__atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define SET(x, to)	__atomic_store_n(&(x), (to), __ATOMIC_SEQ_CST)

#define MAX_ARGS	10
#define MAX_CALLS	256
#define KINDS_MAX	128	/* of calls */
#define LINE_MAX_BYTES	32768	/* a program as text */

/* &struct call.flags */
#define CALL_ASYNC	1	/* by the other thread, while the first goes on */

/**
 * struct call - one call
 * @op: which, an index for call_desc()
 * @flags: CALL_*
 * @fail: this allocation or copy of the call fails, counted from 1; 0: none
 * @a: the arguments
 */
struct call {
	__u16 op;
	__u8 flags;
	__u8 fail;
	__u32 a[MAX_ARGS];
};

struct prog {
	unsigned int nr;
	struct call call[MAX_CALLS];
};

struct actor;

/**
 * struct call_desc - what a call is
 * @name: in the text of a program
 * @args: a letter for each argument, of what kind it is: see arg_random()
 * @weight: how often it is chosen
 * @fn: does it; NULL: stands for other calls, see prog_expand()
 */
struct call_desc {
	const char *name;
	const char *args;
	unsigned int weight;
	long (*fn)(struct actor *me, const __u32 *a);
};

/* calls.c */
const struct call_desc *call_desc(unsigned int op);
int call_find(const char *name, size_t len);
unsigned int call_random(__u32 *rng);

/* Each file of calls has a list, which a desc without a name ends. */
extern const struct call_desc pool_calls[], memory_calls[], io_calls[],
			      task_calls[], uring_calls[], netlink_calls[];

/* prog.c */
__u32 rnd(__u32 *rng);
void prog_random(struct prog *p, __u32 *rng);
void prog_mutate(struct prog *p, const struct prog *other, __u32 *rng);
void prog_join(struct prog *p, const struct prog *other, __u32 *rng);
void prog_series(struct prog *p, __u32 *rng);
/* All calls of a program, those that "again" stands for as well. */
void prog_expand(struct prog *all, const struct prog *p);
void prog_remove(struct prog *p, unsigned int at, unsigned int nr);
int prog_encode(const struct prog *p, char *line, size_t size);
/* Returns whether the line is a program. */
bool prog_decode(struct prog *p, const char *line);

/* cover.c */
#define SIGNALS		(1U << 18)	/* a power of two */
#define TEXT_MAX	(4U << 20)	/* bytes of code that are told apart */

/* What was reached, in memory that all processes share. */
struct covered {
	__u8 signal[SIGNALS / 8];
	__u8 text[TEXT_MAX / 8];
	unsigned int nr_signals;
	unsigned int nr_points;
};

/**
 * struct cover - what one thread reaches
 * @fd: of KCOV; -1 without
 * @buf: where KCOV puts it, or NULL
 */
struct cover {
	int fd;
	unsigned long *buf;
};

/* What one run of a program reached. */
struct reached {
	__u32 run;
	__u32 seen[SIGNALS];	/* number of the last run that had this signal */
	unsigned int nr_new;
	__u32 new[8192];
};

bool cover_usable(void);
void cover_open(struct cover *c);
void cover_enable(struct cover *c);
void cover_begin(struct cover *c);
void cover_end(struct cover *c, struct covered *all, struct reached *r);
void cover_next_run(struct reached *r);
bool cover_has(const struct reached *r, const __u32 *signals, unsigned int nr);
void cover_keep(struct covered *all, const struct reached *r);

/* What time goes into: kinds of calls, by number, and these. */
enum {
	ON_SECOND = KINDS_MAX,	/* waiting for the second thread's call */
	ON_CLEAN,		/* after a program */
	ON_SHORTEN,		/* calls and all else that it takes */
	ON_START,		/* a process */
	ON_LOOK,		/* whether all is gone */
	NR_SPENT
};

struct spent {
	unsigned long nr;
	__u64 cycles;
};

/* A clock that is no system call, as those cost much in User Mode Linux. */
static inline __u64 cycles(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return 0;
#endif
}

/* exec.c: what a program has while it runs */
#define K_POOL		(1U << 0)
#define K_SOCK		(1U << 1)
#define K_FILE		(1U << 2)
#define K_PIPE		(1U << 3)
#define K_EVENT		(1U << 4)
#define K_EPOLL		(1U << 5)
#define K_ANY		(~0U)

#define NR_RES		40
#define NR_HANDLES	8
#define NR_NAMES	64
#define NR_PARCELS	32
#define NR_CHILDREN	2

struct res {
	int fd;
	unsigned int kind;
};

/* A pool fd. */
struct handle {
	int fd;
	unsigned int pool;	/* whose names are its */
	__u32 id;
	__u32 buf_size;
	__u32 nr_bufs;
	__u8 *map;
	size_t map_len;
	void *ring;
	size_t ring_len;
};

struct name {
	__u64 name;
	unsigned int pool;	/* 0: no name */
};

/* @handle: its number in &struct run.handle, and 1; 0: no parcel */
struct parcel {
	__u64 name;
	unsigned int handle;
	__u32 len;
};

struct uring;

struct run {
	struct res res[NR_RES];
	struct handle handle[NR_HANDLES];
	struct name name[NR_NAMES];
	struct parcel parcel[NR_PARCELS];
	unsigned int next_res, next_handle, next_name, next_parcel, next_pool;
	pid_t child[NR_CHILDREN];
	unsigned int child_calls;	/* that this process, a child, still does */
	unsigned int stall_us;		/* how long memory that stalls does */
	bool dirty_task;		/* limits or identity changed */
	bool dirty_module;		/* the module's limits did */
	struct uring *uring;
};

/**
 * struct actor - a thread that does calls
 * @run: what the program has
 * @arena: memory for arguments, see exec.c
 * @used: bytes of it that this call uses
 * @env: where a fault in user memory leads
 * @armed: @env is good
 * @touching: it is in a plain access, which a signal is to end as well
 * @steps: counts calls, for who looks whether it goes on
 * @tick: @steps when the timer looked last
 * @fail_fd: its fail-nth, or -1
 * @cover: its coverage
 * @thread: that does them
 */
struct actor {
	struct run *run;
	__u8 *arena;
	size_t used;
	sigjmp_buf env;
	int armed;
	int touching;
	unsigned int steps;
	unsigned int tick;
	int fail_fd;
	struct cover cover;
	pthread_t thread;
};

/* What the processes share. */
#define CORPUS_MAX	4096

struct shared {
	struct covered covered;
	struct reached reached;
	unsigned long calls, progs, kills;
	__u64 good;		/* numbers of ioctls that did what they are for */
	unsigned int steps;	/* of the process that runs programs */
	/* Of the signal that was that process's own fault: instruction and address. */
	unsigned long fault_by, fault_at;
	struct spent spent[NR_SPENT];
	unsigned int nr_corpus;
	struct prog corpus[CORPUS_MAX];
	unsigned int cost_us[CORPUS_MAX];	/* time that each takes */
};

extern struct shared *shared;
extern int control_fd, log_fd;

void spend(unsigned int on, unsigned int nr, __u64 since);

/* Once in a process that runs programs. */
void exec_init(void);
/* Counts time, coarsely. */
unsigned int exec_ticks(void);
void exec_prog(const struct prog *p);

/* Of &struct shared.good. */
#define IOCTL_BIT(cmd)	(1ULL << (_IOC_NR(cmd) & 63))

/* For calls. */
#define WILD		0x80000000U	/* an argument that is to be taken as it is */

__u64 put(struct actor *me, __u32 where, const void *data, size_t len);
void *scratch(struct actor *me, size_t len);
void touch_begin(struct actor *me);
void touch_end(struct actor *me);
int res_add(struct run *r, int fd, unsigned int kind);
int res_fd(struct run *r, unsigned int kinds, __u32 a);
void res_close(struct run *r, __u32 a);
struct handle *handle_pick(struct run *r, __u32 a);
struct handle *handle_add(struct run *r, int fd, const struct handle *like);
void handle_unmap(struct handle *h);
void name_add(struct run *r, const struct handle *h, __u64 name);
void name_drop(struct run *r, __u64 name);
__u64 name_pick(struct run *r, const struct handle *h, __u32 a);
void parcel_add(struct run *r, const struct handle *h, __u64 name, __u32 len);
void parcel_drop(struct run *r, __u64 name);
struct parcel parcel_pick(struct run *r, const struct handle *h, __u32 a);
void segs_make(struct actor *me, const struct handle *h, unsigned int nr,
	       __u32 seed, struct fbuf_seg *segs);
/* A count: small ones are themselves. */
unsigned int count_of(__u32 a, unsigned int max);
void task_restore(struct run *r);
void children_end(struct run *r);
void uring_drop(struct run *r);
void netlink_reset(void);
__u8 *common_page(void);
/* The structure of the command a[0] for a pool fd; returns its ioctl. */
unsigned long pool_uring_make(struct actor *me, const __u32 *a, int *fd,
			      void *arg, size_t *len);

/* corpus.c */
unsigned int corpus_load(const char *path, struct prog *progs, unsigned int max,
			 unsigned int *bad);
int corpus_save(const char *path);
void corpus_consider(const struct prog *p, bool is_short);
void corpus_fuzz(__u32 *rng, unsigned int calls, long end_ms);

#endif /* FBUF_FUZZ_H */
