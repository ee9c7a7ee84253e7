/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module's files share, grouped by the file that defines it.
 */
#ifndef FBUF_H
#define FBUF_H

#include <linux/bvec.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/refcount.h>
#include <linux/skbuff.h>
#include <linux/socket.h>
#include <linux/types.h>
#include <linux/uaccess.h>
#include <linux/uidgid.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <linux/fbuf.h>

struct cred;
struct eventfd_ctx;
struct folio;
struct io_uring_cmd;
struct mem_cgroup;
struct pipe_inode_info;
struct poll_table_struct;
struct socket;
struct vm_area_struct;
struct vm_fault;

/**
 * enum fbuf_protection - what a write to a buffer in flight does
 * @FBUF_VOLATILE: the peer sees it
 * @FBUF_SNAPSHOT: it goes to a fresh copy
 * @FBUF_SECURED: it waits
 *
 * Of two sends of one buffer the greater one counts.
 */
enum fbuf_protection {
	FBUF_VOLATILE,
	FBUF_SNAPSHOT,
	FBUF_SECURED,
};

/**
 * struct fbuf_buf - one buffer
 * @node: on the pool's free or bare list, or one of limbo's; alone while there is
 *        a hold
 * @reserved: on the pool's list of those for which the maker is charged what a
 *            snapshot will need; @prot is not FBUF_VOLATILE then
 * @gen: generation, changed at each ALLOC
 * @holds: number of handles with a hold
 * @secures: number of handles that secure it
 * @fills: number of FILLs under way; while it is not 0, the buffer cannot be
 *         protected: @prot is FBUF_VOLATILE and @secures is 0
 * @prot: enum fbuf_protection; while it is not FBUF_VOLATILE, or @secures is not
 *        0, no page table has a writable entry for the buffer
 * @told: runs of it in sends by the ubuf engine, whose end wakes who waits; it
 *        may be too low, but not too high for long
 * @mark: number of the last batch that named it, so that a name twice in one
 *        batch is noticed
 * @sent: jiffies when it was last sent; 0 before
 * @sock: inode number of the socket that it was last sent to
 *
 * Protected by the pool's lock, but for @sent and @sock, which senders write as
 * they pass, and reads of @gen and @prot: see gather_buf().
 */
struct fbuf_buf {
	struct list_head node;
	struct list_head reserved;
	u32 gen;
	u32 holds;
	u32 secures;
	u32 fills;
	u32 prot;
	u32 told;
	u64 mark;
	unsigned long sent;
	unsigned long sock;
};

/**
 * struct fbuf_counters - what a pool did, on one CPU
 * @sends: gathers sent
 * @bytes: bytes sent
 * @copied: bytes of them that the CPU copied
 * @allocs: buffers handed out
 * @frees: holds dropped
 * @reuses: buffers that were in flight when freed, and are idle since
 * @passes: buffers handed over to another handle
 * @protects: buffers that were protected against writes
 * @snapshots: buffers that were copied because of a write
 * @waits: times that a task or the watch looked for a buffer in vain, and slept
 * @reclaims: buffers whose memory went back under pressure
 * @fills: FILLs that did not fail
 * @filled: bytes that they read
 */
struct fbuf_counters {
	u64 sends;
	u64 bytes;
	u64 copied;
	u64 allocs;
	u64 frees;
	u64 reuses;
	u64 passes;
	u64 protects;
	u64 snapshots;
	u64 waits;
	u64 reclaims;
	u64 fills;
	u64 filled;
};

/**
 * struct fbuf_user - what is charged to one user
 * @uid: the user
 * @pages: pages charged
 * @pools: pools that the user made, retired ones included
 * @limit: bytes that may be charged, if @own
 * @own: the user has a limit of his own
 *
 * Protected by the lock of all users. One of them while @pools or @own.
 */
struct fbuf_user {
	kuid_t uid;
	unsigned long pages;
	unsigned int pools;
	u64 limit;
	bool own;
};

/**
 * enum fbuf_age - since when something is in flight
 * @FBUF_RECENT: not for long
 * @FBUF_OLD: for long; its peer may not read at all
 * @FBUF_AGES: how many there are
 *
 * What is in flight is looked at in turn. Each age has its own turn, so that what
 * comes back soon is not behind what may never come back.
 */
enum fbuf_age {
	FBUF_RECENT,
	FBUF_OLD,
	FBUF_AGES,
};

/**
 * struct fbuf_limbo - buffers without a hold that were in flight when last seen
 * @bufs: the buffers, the next to look at first
 * @nr: how many
 *
 * Protected by the pool's lock.
 */
struct fbuf_limbo {
	struct list_head bufs;
	unsigned int nr;
};

/**
 * struct fbuf_pool - a set of equal-size buffers
 * @pages: the page at each page offset, NULL where a buffer has no memory. The
 *         pool has one reference to each folio. Changed under @lock; a send
 *         reads it without: see gather_get_page().
 * @nr_pages: number of them
 * @buf_shift: log2 of the bytes in a buffer
 * @nr_bufs: number of buffers
 * @flags: FBUF_POOL_*
 * @prot: what sends do unless told otherwise
 * @crowded: there are more buffers in limbo than @copy_above; changed under @lock
 * @copy_above: see there; half of the buffers if the maker did not say
 * @copy_above_set: what the maker said, or 0
 * @bufs: the buffers
 * @counters: see there; any CPU adds, readers sum
 * @lock: protects @bufs, the lists of buffers and the numbers of what is on
 *        them, @orphans, @reserved, @looks, @skip, @charged, @notifying,
 *        @nr_notify, @batch, @dead, @watching, @exhausted, @want_out, the page
 *        tables' entries for the pool, and the holds, the ring and @polls_out
 *        of every handle. A send only tests holds and takes no lock. Taken
 *        inside mmap_lock: never touch user memory under it. Under memory
 *        pressure only tried.
 * @free: buffers without a hold that were idle when they came here; last in,
 *        first out, for warm caches
 * @bare: the same, but without memory
 * @limbo: buffers without a hold that were in flight when last looked at, by age
 * @nr_held: buffers with a hold
 * @nr_free: buffers on @free
 * @nr_bare: buffers on @bare: all others have memory
 * @nr_limbo: buffers in @limbo, of all ages
 * @orphans: folios in flight that a snapshot took the place of, by their lru, the
 *           next to look at first; the pool still has its reference
 * @nr_orphans: pages in them
 * @reserved: buffers for which a snapshot is charged, the next to look at first
 * @looks: what fbuf_looks_pay() added up
 * @skip: of what fbuf_looks_skip() makes its answers
 * @charged: pages that are charged for the pool
 * @notifying: handles that wait for notices, the next to look at first
 * @nr_notify: notices that handles wait for
 * @dead: the last handle is gone
 * @watching: the watch runs
 * @batch: number of the last batch of names
 * @exhausted: said that no buffer is to be had
 * @polls_out: somebody has asked for EPOLLOUT
 * @want_out: and was told that no buffer is to be had, or got fewer from ALLOC
 *            than he asked for, and was not told otherwise since
 * @wait: tasks that wait for a buffer to be idle or free
 * @pollers: whoever polls on a handle that may ALLOC, whatever he asks for
 * @watch_timer: makes @watch_work run, see watch.c
 * @watch_work: looks what is idle, while others wait
 * @watch_nap: until it looks again
 * @mapping: what maps the pool: all handles' files have this one
 * @handles: the handles, by number
 * @next_handle: where the search for a free number begins
 * @nr_handles: how many
 * @refs: handles
 * @life: what keeps the structure and its place among all pools: handles or pages
 *        in flight as one, and everybody who found it there
 * @cred: the maker's, whose user's locked memory is charged; or NULL if nobody's
 * @memlock: how many pages that may come to: the maker's RLIMIT_MEMLOCK when he
 *           made the pool
 * @owner: who is charged besides
 * @memcg: what memory is charged to, whoever causes it to be taken
 * @uid: who made the pool
 * @id: number for people to read
 * @node: NUMA node asked for
 * @nr_split: buffers in more folios than need be, when the pool was made
 * @events: bits: what happened that listeners were not told yet
 * @events_work: tells them; it has a reference. Looks whether something is stuck
 * @stuck: so it was the last time
 * @retire: frees what is in flight when the last handle is gone
 * @retire_delay: jiffies until it looks again
 * @end: ends the pool, if whoever had the last reference may not wait for that
 * @rcu: then frees it
 */
struct fbuf_pool {
	/* Set once. */
	struct page **pages;
	unsigned long nr_pages;
	unsigned int buf_shift;
	unsigned int nr_bufs;
	unsigned int flags;
	enum fbuf_protection prot;
	bool crowded;
	unsigned int copy_above;
	unsigned int copy_above_set;
	struct fbuf_buf *bufs;
	struct fbuf_counters __percpu *counters;

	struct mutex lock ____cacheline_aligned_in_smp;
	struct list_head free;
	struct list_head bare;
	struct fbuf_limbo limbo[FBUF_AGES];
	unsigned int nr_held;
	unsigned int nr_free;
	unsigned int nr_bare;
	unsigned int nr_limbo;
	struct list_head orphans;
	unsigned long nr_orphans;
	struct list_head reserved;
	unsigned int looks;
	u32 skip;
	unsigned long charged;
	struct list_head notifying;
	unsigned int nr_notify;
	u64 batch;
	bool dead;
	bool watching;
	bool exhausted;
	bool polls_out;
	bool want_out;

	wait_queue_head_t wait;
	wait_queue_head_t pollers;
	struct hrtimer watch_timer;
	struct work_struct watch_work;
	ktime_t watch_nap;

	struct address_space mapping;
	struct xarray handles;
	u32 next_handle;
	unsigned int nr_handles;
	refcount_t refs;
	refcount_t life;
	const struct cred *cred;
	unsigned long memlock;
	struct fbuf_user *owner;
	struct mem_cgroup *memcg;
	kuid_t uid;
	u64 id;
	int node;
	unsigned int nr_split;
	unsigned long events;
	struct work_struct events_work;
	bool stuck;
	struct delayed_work retire;
	unsigned long retire_delay;
	struct work_struct end;
	struct rcu_head rcu;
};

/**
 * struct fbuf_notice - a notice that a handle waits for, or none
 * @gen: the generation of the buffer that was sent
 * @next: the buffer whose notice is the next on the queue
 */
struct fbuf_notice {
	u32 gen;
	u32 next;
};

/**
 * struct fbuf_notices - a queue of notices
 * @first: the buffer of the next one to look at
 * @last: that of the last
 * @nr: how many; if there are none, @first and @last are nothing
 */
struct fbuf_notices {
	u32 first;
	u32 last;
	unsigned int nr;
};

/**
 * struct fbuf_kring - a handle's ring, as the kernel sees it
 * @pages: its memory, which the user can change at any time
 * @nr_pages: number of them
 * @tail: entries produced
 * @mask: number of entries less one
 * @overflow: times that notices found it full
 * @full: so it was the last time
 * @accept: others may pass buffers
 * @eventfd: signalled with new entries, or NULL
 * @notices: for each buffer the notice that is still to come, if there is one
 * @notify: a bit for each buffer for which there is
 * @queue: them, by age
 * @nr_notify: how many there are
 *
 * Protected by the pool's lock.
 */
struct fbuf_kring {
	struct page **pages;
	unsigned int nr_pages;
	u32 tail;
	u32 mask;
	u64 overflow;
	bool full;
	bool accept;
	struct eventfd_ctx *eventfd;
	struct fbuf_notice *notices;
	unsigned long *notify;
	struct fbuf_notices queue[FBUF_AGES];
	unsigned int nr_notify;
};

/**
 * struct fbuf_handle - one open file on a pool, the unit of ownership
 * @pool: the pool; the handle has a reference
 * @file: its file; whoever is in a call on it may take a reference
 * @rights: FBUF_RIGHT_*
 * @max_holds: how many buffers it may hold, or 0
 * @no_pin: its mappings cannot be pinned
 * @id: its number in the pool
 * @nr_holds: how many buffers it holds
 * @polls_out: somebody has asked for EPOLLOUT on it
 * @holds: a bit for each buffer; changed under the pool's lock
 * @secures: a bit for each buffer that it secures; NULL in volatile pools
 * @ring: its ring, or NULL; set once
 * @notifying: on the pool's list of those that wait for notices, or alone
 * @wait: whoever waits for entries in the ring
 */
struct fbuf_handle {
	struct fbuf_pool *pool;
	struct file *file;
	unsigned int rights;
	unsigned int max_holds;
	bool no_pin;
	u32 id;
	unsigned int nr_holds;
	bool polls_out;
	unsigned long *holds;
	unsigned long *secures;
	struct fbuf_kring *ring;
	struct list_head notifying;
	wait_queue_head_t wait;
};

/**
 * struct fbuf_waiter - a task that waits for buffers, see wait.c
 * @entry: on the pool's wait queue
 * @pool: the pool
 * @end: when to give up
 * @nap: until it looks again
 * @mode: the state to sleep in
 */
struct fbuf_waiter {
	struct wait_queue_entry entry;
	struct fbuf_pool *pool;
	ktime_t end;
	ktime_t nap;
	unsigned int mode;
};

/**
 * struct fbuf_flight - what of a pool is in flight
 * @bufs: buffers
 * @bytes: bytes, snapshots in flight included
 * @aged: one of them was sent
 * @age_ms: milliseconds since the last send of the one for which that is longest
 * @sock: inode number of the socket that it was last sent to; 0 if there were
 *        many, none of which was full
 */
struct fbuf_flight {
	unsigned int bufs;
	u64 bytes;
	bool aged;
	u64 age_ms;
	u64 sock;
};

/*
 * References of page faults and the like pass. How long somebody waits for that
 * who is not to wait for packets: a program's own write or call; and the fault of
 * a system call, whose locks others may want.
 */
#define FBUF_GRACE_MS		10
#define FBUF_KERNEL_GRACE_MS	1

/*
 * Segments of up to this many bytes are copied rather than referred to in gathers
 * of more segments than a packet has frags. Documentation/design.rst says why.
 */
#define FBUF_COPY_MAX		512

/* Runs that a gather keeps without an allocation. */
#define FBUF_RUNS_FAST		16

/**
 * struct fbuf_msg - a message on its way to a socket
 * @msg: what sock_sendmsg() is given; its iterator is over the gather's runs
 * @ubuf: for the pageref engine, which finds the whole from @msg's iterator
 * @taken: bytes whose pages went to the socket by the pageref engine
 * @give: the gather is sent this once and not looked at again: the pageref engine
 *        may give its references away
 */
struct fbuf_msg {
	struct msghdr msg;
	struct ubuf_info ubuf;
	size_t taken;
	bool give;
};

/**
 * struct fbuf_gather - segments that were checked, as runs of pages
 * @runs: one for each physically contiguous run; each has a reference to its
 *        folio, and bv_page is its head; NULL once a packet has the reference
 * @nr: number of runs
 * @max: room in @runs
 * @len: bytes
 * @copied: bytes of them in short segments that were copied
 * @must_copy: 0; or what to say if it may not be copied, as it has to be: -EAGAIN,
 *             as too much is in flight; or an error, as a buffer is not protected
 *             for which its maker cannot be charged
 * @copy_max: how long those may be
 * @sock: inode number of the socket that it goes to, or 0 if there are many
 * @now: jiffies when it was imported; not 0. Like @max, @copy_max and @sock not set
 *       if it has one segment of the usual kind
 * @fast: where @runs points while they are few
 */
struct fbuf_gather {
	struct bio_vec *runs;
	unsigned int nr;
	unsigned int max;
	size_t len;
	size_t copied;
	int must_copy;
	unsigned int copy_max;
	unsigned long sock;
	unsigned long now;
	struct bio_vec fast[FBUF_RUNS_FAST];
};

/**
 * struct fbuf_rest - a send that goes on when its socket has room
 * @g: the gather
 * @done: bytes of it that were taken so far
 * @args: what was asked for, with FBUF_SEND_DONTWAIT
 * @file: the socket, with a reference
 * @engine: the last that took bytes
 * @copied: bytes that were copied so far
 */
struct fbuf_rest {
	struct fbuf_gather g;
	size_t done;
	struct fbuf_send args;
	struct file *file;
	u32 engine;
	u64 copied;
};

/**
 * struct fbuf_later - of a send that must not wait itself
 * @waits: in: if the socket is full, it is to go on later
 * @size: in: bytes to allocate for what begins with a struct fbuf_rest
 * @rest: out: what goes on, the caller's; or NULL
 * @punt: out: it is to be done again, by somebody who may wait
 * @left: out: bytes were left
 */
struct fbuf_later {
	bool waits;
	size_t size;
	struct fbuf_rest *rest;
	bool punt;
	bool left;
};

static inline bool fbuf_is_volatile(const struct fbuf_pool *pool)
{
	return pool->prot == FBUF_VOLATILE;
}

static inline unsigned int fbuf_buf_index(const struct fbuf_pool *pool,
					  const struct fbuf_buf *buf)
{
	return buf - pool->bufs;
}

static inline unsigned int fbuf_buf_pages(const struct fbuf_pool *pool)
{
	return 1U << (pool->buf_shift - PAGE_SHIFT);
}

/* Where in the pool's pages the buffer begins. */
static inline unsigned long fbuf_buf_first(const struct fbuf_pool *pool,
					   const struct fbuf_buf *buf)
{
	return (unsigned long)fbuf_buf_index(pool, buf) *
	       fbuf_buf_pages(pool);
}

/* A buffer has memory, or it has none: nothing between. */
static inline bool fbuf_buf_bare(const struct fbuf_pool *pool,
				 const struct fbuf_buf *buf)
{
	return !pool->pages[fbuf_buf_first(pool, buf)];
}

/* At max_holds, none that comes back is for it, until it frees one itself. */
static inline bool fbuf_at_max_holds(const struct fbuf_handle *h)
	__must_hold(&h->pool->lock)
{
	return h->max_holds && h->nr_holds >= h->max_holds;
}

/* handle.c, called by pool.c */
int fbuf_handle_install(struct fbuf_pool *pool, const struct fbuf_share *args,
			u32 __user *uid);

/* look.c: how often what is in flight is looked at */
/* How often a call may, at most: it bounds how long that takes. */
#define FBUF_LOOKS_MAX	2048U

extern unsigned int fbuf_stuck_ms;
enum fbuf_age fbuf_buf_age(const struct fbuf_buf *buf);
bool fbuf_buf_stuck(const struct fbuf_buf *buf);
unsigned int fbuf_looks(struct fbuf_pool *pool);
void fbuf_looks_pay(struct fbuf_pool *pool);
unsigned int fbuf_looks_skip(struct fbuf_pool *pool);

/* folio.c: memory of buffers */
int fbuf_populate(struct fbuf_pool *pool, struct page **pages,
		  unsigned long first, unsigned int *nr_split);
int fbuf_populate_copy(struct fbuf_pool *pool, struct page **pages,
		       unsigned long first);
void fbuf_depopulate(struct page **pages, unsigned long nr);
void fbuf_orphans_reap(struct fbuf_pool *pool, unsigned int looks);
void fbuf_orphans_free(struct fbuf_pool *pool);
bool fbuf_folio_idle(struct folio *folio, int extra);
bool fbuf_buf_idle(const struct fbuf_pool *pool, const struct fbuf_buf *buf,
		   const struct folio *ours);
bool fbuf_poisoned(const struct fbuf_pool *pool, unsigned long i,
		   unsigned long nr);
bool fbuf_buf_marked(const struct fbuf_pool *pool, const struct fbuf_buf *buf);
int fbuf_buf_get_memory(struct fbuf_pool *pool, struct fbuf_buf *buf);
void fbuf_unmap(struct fbuf_pool *pool, const struct fbuf_buf *buf);
int fbuf_buf_check(const struct fbuf_handle *h, u64 name);
struct fbuf_buf *fbuf_run_buf(const struct bio_vec *run,
			      struct fbuf_pool *pool);

/* pool.c: life of pools */
int fbuf_pool_init(void);
int fbuf_pool_create(const struct fbuf_pool_create *args);
void fbuf_pool_put(struct fbuf_pool *pool);
struct fbuf_pool *fbuf_pool_find(u64 id);
struct fbuf_pool *fbuf_pool_next(u64 id);
void fbuf_totals(struct fbuf_counters *sum);
void fbuf_pool_exit(void);

/* charge.c: who is charged for pools */
extern unsigned long long fbuf_pool_max;
extern unsigned long long fbuf_user_max;
int fbuf_charge_init(struct fbuf_pool *pool);
void fbuf_charge_exit(struct fbuf_pool *pool);
int fbuf_charge(struct fbuf_pool *pool, unsigned long nr);
void fbuf_uncharge(struct fbuf_pool *pool, unsigned long nr);
int fbuf_user_next(u64 from, struct fbuf_user *user);
int fbuf_user_set_limit(kuid_t uid, bool own, u64 limit);
void fbuf_users_exit(void);

/* stats.c: what pools are and did */
void fbuf_counters_sum(const struct fbuf_pool *pool, struct fbuf_counters *sum);
void fbuf_settle_all(struct fbuf_pool *pool);
void fbuf_flight_get(struct fbuf_pool *pool, struct fbuf_flight *flight);
u64 fbuf_pool_resident(struct fbuf_pool *pool);
void fbuf_info(struct fbuf_handle *h, struct fbuf_info *info);

/* buffer.c: holds */
void fbuf_buf_init(struct fbuf_pool *pool);
void fbuf_put_limbo(struct fbuf_pool *pool, struct fbuf_buf *buf);
void fbuf_reap(struct fbuf_pool *pool, unsigned int looks);
bool fbuf_to_be_had(struct fbuf_pool *pool, unsigned int looks);
bool fbuf_crowded(struct fbuf_pool *pool);
int fbuf_alloc_wait(struct fbuf_handle *h, u64 *names,
		    const struct fbuf_batch *args);
int fbuf_wait(struct fbuf_handle *h, const u64 *names,
	      const struct fbuf_batch *args);
void fbuf_alloc_undo(struct fbuf_handle *h, const u64 *names,
		     unsigned int count);
int fbuf_free(struct fbuf_handle *h, const u64 *names, unsigned int count);
void fbuf_free_all(struct fbuf_handle *h);
int fbuf_hold(struct fbuf_handle *h, const u64 *names, unsigned int count);
int fbuf_pass(struct fbuf_handle *h, const struct fbuf_item *items,
	      unsigned int count, u32 id, bool keep);

/* wait.c: those who wait for buffers */
/* The watch's nap while notices only wait for room in rings, or for who tells. */
#define FBUF_WATCH_FULL		(32 * NSEC_PER_MSEC)

extern struct workqueue_struct *fbuf_wq;
void fbuf_wait_init(struct fbuf_pool *pool);
void fbuf_waiter_begin(struct fbuf_waiter *w, struct fbuf_pool *pool,
		       int timeout, unsigned int mode);
int fbuf_waiter_sleep(struct fbuf_waiter *w, bool in_flight);
void fbuf_waiter_end(struct fbuf_waiter *w);
void fbuf_wake(struct fbuf_pool *pool);
void fbuf_watch(struct fbuf_pool *pool);
void fbuf_watch_after(struct fbuf_pool *pool, ktime_t nap);
void fbuf_pollers_tell(struct fbuf_pool *pool);
void fbuf_pollers_want(struct fbuf_handle *h);

/* event.c: events of pools, and references to them */
#define FBUF_EVENT_LOOK		0	/* to look whether something is stuck */

/**
 * struct fbuf_teller - who tells of events
 * @listening: tells whether anybody listens; in any context
 * @tell: tells of them, by the bits of FBUF_CMD_*_NTF, and looks; may sleep
 */
struct fbuf_teller {
	bool (*listening)(void);
	void (*tell)(struct fbuf_pool *pool, unsigned long events);
};

extern const struct fbuf_teller *fbuf_teller;
void fbuf_pool_unref(struct fbuf_pool *pool);
void fbuf_events_init(struct fbuf_pool *pool);
void fbuf_event(struct fbuf_pool *pool, unsigned int nr);
void fbuf_event_gone(struct fbuf_pool *pool);

/* watch.c: notices and poll() */
void fbuf_watch_init(struct fbuf_pool *pool);
void fbuf_watch_exit(struct fbuf_pool *pool);
void fbuf_watch_look(struct fbuf_pool *pool);
__poll_t fbuf_poll(struct file *file, struct poll_table_struct *table);

/* ring.c */
int fbuf_ring_setup(struct fbuf_handle *h, const struct fbuf_ring_setup *args,
		    u64 __user *map_size);
void fbuf_ring_destroy(struct fbuf_handle *h);
unsigned int fbuf_ring_used(const struct fbuf_kring *ring);
unsigned int fbuf_ring_room(const struct fbuf_kring *ring);
void fbuf_ring_put(struct fbuf_kring *ring,
		   const struct fbuf_ring_entry *entry);
void fbuf_ring_publish(struct fbuf_handle *h);
void fbuf_ring_expect(struct fbuf_handle *h, const struct bio_vec *runs,
		      unsigned int nr);
bool fbuf_ring_notify(struct fbuf_handle *h, unsigned int *looks);
int fbuf_ring_mmap(struct fbuf_handle *h, struct vm_area_struct *vma);

/* map.c */
int fbuf_map_pool(struct fbuf_handle *h, struct vm_area_struct *vma);

/* protect.c */
int fbuf_protect(struct fbuf_pool *pool, struct fbuf_buf *buf,
		 enum fbuf_protection prot);
void fbuf_reserved_reap(struct fbuf_pool *pool, unsigned int looks);
int fbuf_secure(struct fbuf_handle *h, const u64 *names, unsigned int count);
void fbuf_unsecure(struct fbuf_handle *h, unsigned int index);
bool fbuf_settle(struct fbuf_pool *pool, struct fbuf_buf *buf);
void fbuf_unprotect(struct fbuf_pool *pool, struct fbuf_buf *buf);
int fbuf_may_write(struct fbuf_pool *pool, struct fbuf_buf *buf,
		   const struct folio *ours);
int fbuf_write_wait(struct fbuf_pool *pool, struct fbuf_buf *buf, int timeout,
		    unsigned int mode);

/* shrink.c */
int fbuf_shrink_init(void);
void fbuf_shrink_exit(void);

/* fill.c */
int fbuf_fill(struct fbuf_handle *h, const struct fbuf_fill *args);

/* gather.c; those that every send takes are in gather.h */
void fbuf_gather_init(struct fbuf_gather *g, unsigned long sock);
int fbuf_gather_part(struct fbuf_gather *g, const struct fbuf_pool *pool,
		     unsigned long i, unsigned int offset, unsigned int len);
int fbuf_gather_one(struct fbuf_gather *g, struct fbuf_handle *h,
		    const struct fbuf_seg *seg, unsigned long sock,
		    enum fbuf_protection prot);
int fbuf_gather_many(struct fbuf_gather *g, struct fbuf_handle *h,
		     const struct fbuf_seg __user *segs, unsigned int nr,
		     unsigned long sock, enum fbuf_protection prot, bool copy);
void fbuf_gather_free(struct fbuf_gather *g);
void fbuf_gather_stamp(const struct fbuf_gather *g, struct fbuf_pool *pool,
		       unsigned long sock);
void fbuf_gather_move(struct fbuf_gather *to, const struct fbuf_gather *from);

/* pipe.c: the pool as a file */
ssize_t fbuf_splice_read(struct file *in, loff_t *ppos,
			 struct pipe_inode_info *pipe, size_t len,
			 unsigned int flags);
loff_t fbuf_llseek(struct file *file, loff_t offset, int whence);

/* send.c */
long fbuf_send_user(struct fbuf_handle *h, struct fbuf_send __user *uargs);
int fbuf_send(struct fbuf_handle *h, struct fbuf_send *args);
int fbuf_send_later(struct fbuf_handle *h, struct fbuf_send *args,
		    struct fbuf_later *later);
int fbuf_send_on(struct fbuf_handle *h, struct fbuf_rest *rest);
int fbuf_send_end(struct fbuf_handle *h, struct fbuf_rest *rest, int err);
int fbuf_fanout(struct fbuf_handle *h, const struct fbuf_fanout *args);
int fbuf_send_batch(struct fbuf_handle *h, const struct fbuf_send_batch *args);

/* uring.c */
int fbuf_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* ubuf.c, splice.c; the other engine is in pageref.h */
int fbuf_ubuf_send(struct socket *sock, struct fbuf_msg *fm,
		   struct fbuf_handle *h, const struct fbuf_gather *g,
		   u64 *copied);
int fbuf_ubuf_start(void);
void fbuf_ubuf_stop(void);
bool fbuf_splice_takes(struct socket *sock, const struct fbuf_gather *g);
int fbuf_splice_send(struct socket *sock, struct fbuf_msg *fm,
		     const struct fbuf_gather *g);

/* nudge.c */
int fbuf_nudge_init(void);
void fbuf_nudge_exit(void);
void fbuf_nudge(void);

/* netlink.c */
int fbuf_netlink_init(void);
void fbuf_netlink_exit(void);

#endif /* FBUF_H */
