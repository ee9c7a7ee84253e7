/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pools, buffers and handles: what all files of the module know. What each does is in
 * the header of its name.
 */
#ifndef FBUF_TYPES_H
#define FBUF_TYPES_H

#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/uidgid.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <linux/fbuf.h>

struct cred;
struct mem_cgroup;

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
 * struct fbuf_tally - what protection came to
 * @protects: buffers that had to be protected
 * @snapshots: those of them of which a snapshot was made since they were before
 */
struct fbuf_tally {
	u32 protects;
	u32 snapshots;
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
 * @snapped: 1 if a snapshot was made since a tally had it last, else 0
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
	u32 snapped;
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
 * @recvs: RECVs that made a parcel
 * @received: bytes of them
 * @recv_copied: bytes of them that the CPU copied
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
	u64 recvs;
	u64 received;
	u64 recv_copied;
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
 *        @nr_notify, @batch, @parcels, @dead, @watching, @exhausted, @want_out,
 *        the page tables' entries for the pool, and the holds, the ring, the
 *        parcels' names and @polls_out of every handle. A send only tests holds
 *        and takes no lock. Taken inside mmap_lock: never touch user memory
 *        under it. Under memory pressure only tried.
 * @free: buffers without a hold that were idle when they came here; last in,
 *        first out, for warm caches
 * @bare: the same, but without memory
 * @limbo: buffers without a hold that were in flight when last looked at, by age
 * @nr_held: buffers with a hold
 * @nr_free: buffers on @free
 * @nr_bare: buffers on @bare
 * @nr_empty: buffers without memory: those, and in a lazy pool held ones that nobody
 *            has touched
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
 * @parcels: those of all handles, the oldest first
 * @nr_parcels: how many
 * @parcel_pages: pages that are charged for them, and for those that are being received
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
 * @bound: of it and those above, the one whose limit is enough for the pool's own
 *         memory, so that it does not count as locked; NULL if it does
 * @bounds: the pool counts among those that @bound is enough for
 * @uid: who made the pool
 * @id: number for people to read
 * @node: NUMA node asked for
 * @follows: for each buffer, how often it may yet be made writable along with the one
 *           before it; NULL in volatile pools. Changed under @lock
 * @precedes: the same, along with the one behind it; in the same memory
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
	unsigned int nr_empty;
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
	struct list_head parcels;
	unsigned int nr_parcels;
	unsigned long parcel_pages;
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
	struct mem_cgroup *bound;
	bool bounds;
	kuid_t uid;
	u64 id;
	int node;
	u8 *follows;
	u8 *precedes;
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
 * struct fbuf_parcels - the parcels of a handle, by index
 * @lock: protects what is in @slots, and keeps a parcel that is found there until there
 *        is a reference. All but finding one is under the pool's lock as well
 * @slots: a parcel; NULL where one is being made; or the next free index, see parcel.c
 * @room: how many there are
 * @free: the first free index, or @room
 */
struct fbuf_parcels {
	spinlock_t lock;	/* see above */
	struct fbuf_parcel **slots;
	unsigned int room;
	unsigned int free;
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
 * @next_write: the buffer after those that its last write fault made writable; under
 *              the pool's lock
 * @last_write: the first of those
 * @holds: a bit for each buffer; changed under the pool's lock
 * @secures: a bit for each buffer that it secures; NULL in volatile pools
 * @ring: its ring, or NULL; set once
 * @notifying: on the pool's list of those that wait for notices, or alone
 * @wait: whoever waits for entries in the ring
 * @parcels: its parcels
 * @parcel_gen: generation of the last parcel
 * @show_lock: protects what of parcels may be mapped, and their page tables' entries.
 *             Taken inside mmap_lock and the pool's lock; never touch user memory
 *             under it
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
	unsigned int next_write;
	unsigned int last_write;
	unsigned long *holds;
	unsigned long *secures;
	struct fbuf_kring *ring;
	struct list_head notifying;
	wait_queue_head_t wait;
	struct fbuf_parcels parcels;
	u32 parcel_gen;
	struct mutex show_lock;	/* see above */
};

static inline bool fbuf_is_volatile(const struct fbuf_pool *pool)
{
	return pool->prot == FBUF_VOLATILE;
}

/* May a buffer that is held have no memory yet? */
static inline bool fbuf_is_lazy(const struct fbuf_pool *pool)
{
	return pool->flags & FBUF_POOL_LAZY;
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

/* May page tables have writable entries for it? */
static inline bool fbuf_buf_writable(const struct fbuf_buf *buf)
{
	return buf->prot == FBUF_VOLATILE && !buf->secures;
}

/* At max_holds, none that comes back is for it, until it frees one itself. */
static inline bool fbuf_at_max_holds(const struct fbuf_handle *h)
	__must_hold(&h->pool->lock)
{
	return h->max_holds && h->nr_holds >= h->max_holds;
}

#endif /* FBUF_TYPES_H */
