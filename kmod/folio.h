/* SPDX-License-Identifier: GPL-2.0 */
/* The memory of buffers. See folio.c. */
#ifndef FBUF_FOLIO_H
#define FBUF_FOLIO_H

#include <linux/bvec.h>
#include <linux/types.h>

#include "types.h"

struct folio;
struct page;

int fbuf_populate(struct fbuf_pool *pool, struct page **pages,
		  unsigned long first, unsigned int *nr_split);
int fbuf_populate_copy(struct fbuf_pool *pool, struct page **pages,
		       unsigned long first);
void fbuf_depopulate(struct page **pages, unsigned long nr);
void fbuf_orphan(struct fbuf_pool *pool, struct page *page);
void fbuf_orphans_reap(struct fbuf_pool *pool, unsigned int looks);
void fbuf_orphans_free(struct fbuf_pool *pool);
bool fbuf_folio_idle(struct folio *folio, int extra);
bool fbuf_buf_idle(const struct fbuf_pool *pool, const struct fbuf_buf *buf,
		   const struct folio *ours);
bool fbuf_poisoned(const struct fbuf_pool *pool, unsigned long i,
		   unsigned long nr);
bool fbuf_buf_marked(const struct fbuf_pool *pool, const struct fbuf_buf *buf);
int fbuf_buf_populate(struct fbuf_pool *pool, struct fbuf_buf *buf);
void fbuf_buf_drop_memory(struct fbuf_pool *pool, struct fbuf_buf *buf);
void fbuf_unmap(struct fbuf_pool *pool, const struct fbuf_buf *bufs,
		unsigned int nr);
int fbuf_buf_check(const struct fbuf_handle *h, u64 name);
struct fbuf_buf *fbuf_run_buf(const struct bio_vec *run,
			      struct fbuf_pool *pool);

/* Do bytes from @offset in the folio @head go on where the run ends? */
static __always_inline bool run_continues(const struct bio_vec *run,
					  const struct page *head,
					  unsigned int offset)
{
	return run->bv_page == head && run->bv_offset + run->bv_len == offset;
}

/* See that a buffer has memory: 0 or -ENOMEM. The pool's lock is held; may sleep. */
static inline int fbuf_buf_get_memory(struct fbuf_pool *pool,
				      struct fbuf_buf *buf)
{
	return fbuf_buf_bare(pool, buf) ? fbuf_buf_populate(pool, buf) : 0;
}

#endif /* FBUF_FOLIO_H */
