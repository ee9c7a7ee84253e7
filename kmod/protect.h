/* SPDX-License-Identifier: GPL-2.0 */
/* Protection of buffers in flight against writes. See protect.c. */
#ifndef FBUF_PROTECT_H
#define FBUF_PROTECT_H

#include <linux/types.h>

#include "types.h"

struct folio;

int fbuf_protect(struct fbuf_pool *pool, struct fbuf_buf *buf,
		 enum fbuf_protection prot, struct fbuf_tally *tally);
void fbuf_reserved_reap(struct fbuf_pool *pool, unsigned int looks);
void fbuf_protect_run(struct fbuf_pool *pool, struct fbuf_buf *bufs,
		      unsigned int nr, enum fbuf_protection prot,
		      struct fbuf_tally *tally);
int fbuf_secure(struct fbuf_handle *h, const u64 *names, unsigned int count);
void fbuf_unsecure(struct fbuf_handle *h, unsigned int index);
bool fbuf_settle(struct fbuf_pool *pool, struct fbuf_buf *buf);
void fbuf_unprotect(struct fbuf_pool *pool, struct fbuf_buf *buf);
int fbuf_may_write(struct fbuf_pool *pool, struct fbuf_buf *buf,
		   const struct folio *ours);
bool fbuf_idle_to_write(struct fbuf_pool *pool, struct fbuf_buf *buf);
int fbuf_write_wait(struct fbuf_pool *pool, struct fbuf_buf *buf, int timeout,
		    unsigned int mode);

#endif /* FBUF_PROTECT_H */
