/* SPDX-License-Identifier: GPL-2.0 */
/* Parcels: received bytes that stay where the network put them. See parcel.c. */
#ifndef FBUF_PARCEL_H
#define FBUF_PARCEL_H

#include <linux/bvec.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/page_ref.h>
#include <linux/refcount.h>
#include <linux/types.h>

#include <linux/fbuf.h>

struct fbuf_handle;
struct fbuf_pool;

/* Runs that a parcel keeps without an allocation, in 256 bytes with the rest; at most. */
#define FBUF_PARCEL_FAST	7
#define FBUF_PARCEL_RUNS_MAX	4096

/**
 * struct fbuf_parcel - bytes that were received
 * @node: on the pool's list, once it has a name that others may use; under its lock
 * @h: the handle to which it belongs
 * @refs: the handle's, and those of calls
 * @index: where the handle has it
 * @gen: its generation
 * @len: bytes
 * @copied: bytes of them in pages of its own, which have nothing else in them
 * @cost: bytes of memory that the packets took for them, to be charged
 * @charged: pages that are charged for it
 * @born: jiffies when it was received
 * @mark: number of the last batch that named it; under the pool's lock
 * @shown: a bit for each page of its place in a mapping that may be there, or NULL;
 *         does not change any more. See show.c
 * @mapped: page tables may have entries for it; under the handle's show_lock
 * @own: the page to which copies go, with a reference; or NULL
 * @own_at: where in that
 * @nr: number of runs
 * @max: room for them
 * @runs: one for each physically contiguous run, as a gather's are; each has a
 *        reference to its folio
 * @fast: where @runs points while they are few
 *
 * But for what is said, its maker's alone, until it is published and does not change.
 */
struct fbuf_parcel {
	struct list_head node;
	struct fbuf_handle *h;
	refcount_t refs;
	u32 index;
	u32 gen;
	u32 len;
	u32 copied;
	size_t cost;
	unsigned long charged;
	unsigned long born;
	u64 mark;
	unsigned long *shown;
	bool mapped;
	struct page *own;
	unsigned int own_at;
	unsigned int nr;
	unsigned int max;
	struct bio_vec *runs;
	struct bio_vec fast[FBUF_PARCEL_FAST];
};

extern unsigned long long fbuf_parcel_max;
struct fbuf_parcel *fbuf_parcel_new(struct fbuf_handle *h);
int fbuf_parcel_charge(struct fbuf_parcel *p, size_t bytes);
int fbuf_parcel_add(struct fbuf_parcel *p, struct page *head,
		    unsigned int offset, unsigned int len);
void fbuf_parcel_publish(struct fbuf_parcel *p);
struct fbuf_parcel *fbuf_parcel_get(struct fbuf_handle *h, u64 name);
struct fbuf_parcel *fbuf_parcel_at(struct fbuf_handle *h, u32 index);
bool fbuf_parcel_there(const struct fbuf_parcel *p);
void fbuf_parcel_put(struct fbuf_parcel *p);
const struct bio_vec *fbuf_parcel_run(const struct fbuf_parcel *p,
				      unsigned int *at);
int fbuf_parcel_copy(const struct fbuf_parcel *p, unsigned int at,
		     void __user *to, unsigned int len);
int fbuf_parcels_free(struct fbuf_handle *h, const u64 *names,
		      unsigned int count);
void fbuf_parcels_free_all(struct fbuf_handle *h);
int fbuf_read(struct fbuf_handle *h, const struct fbuf_read *args);

/* Is it a name that a parcel may have? */
static inline bool fbuf_is_parcel(u64 name)
{
	return FBUF_NAME_INDEX(name) & FBUF_NAME_PARCEL && ~name;
}

static inline u64 fbuf_parcel_name(const struct fbuf_parcel *p)
{
	return FBUF_NAME(FBUF_NAME_PARCEL | p->index, p->gen);
}

/* Are there so many bytes from @at on? */
static inline bool fbuf_parcel_has(const struct fbuf_parcel *p, unsigned int at,
				   unsigned int len)
{
	return at < p->len && len <= p->len - at;
}

/* Bytes of memory that are charged for it, and not used yet. */
static inline size_t fbuf_parcel_room(const struct fbuf_parcel *p)
{
	return (p->charged << PAGE_SHIFT) - p->cost;
}

/*
 * One more reference to a page, to which there is one. Refuses once the count has
 * overflowed, as gather_get_page() does.
 */
static inline bool fbuf_parcel_get_page(struct page *head)
{
	if (unlikely(page_ref_count(head) <= 0))
		return false;
	get_page(head);
	return true;
}

#endif /* FBUF_PARCEL_H */
