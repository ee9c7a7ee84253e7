// SPDX-License-Identifier: GPL-2.0
/*
 * The pool as a file to splice from: splice(2), tee(2) and sendfile(2) of
 * programs that know nothing of fbuf put its pages into pipes and sockets.
 */
#include <linux/bitmap.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/pipe_fs_i.h>
#include <linux/splice.h>

#include "compat.h"
#include "folio.h"
#include "gather.h"
#include "pipe.h"
#include "protect.h"
#include "types.h"
#include "wait.h"

/* Pages that one call puts into a pipe: as many as a pipe has slots. */
#define PIPE_PAGES	PIPE_DEF_BUFFERS

static void pipe_release(struct splice_pipe_desc *spd, unsigned int i)
{
	put_page(spd->pages[i]);
}

/* References to the pages, of a buffer that stays busy with them, or not at all. */
static int pipe_get_pages(struct fbuf_pool *pool, struct splice_pipe_desc *spd,
			  u64 pos, size_t len)
	__must_hold(&pool->lock)
{
	unsigned long i = array_index_nospec(pos >> PAGE_SHIFT, pool->nr_pages);

	while (len && spd->nr_pages < spd->nr_pages_max) {
		struct partial_page *part = &spd->partial[spd->nr_pages];
		struct page *page = pool->pages[i];

		/* As a read of a file does, up to there. */
		if (PageHWPoison(page) && spd->nr_pages)
			break;
		if (gather_get_page(pool, i++, page, compound_head(page)) <= 0)
			goto err_release;
		spd->pages[spd->nr_pages++] = page;
		part->offset = offset_in_page(pos);
		part->len = min_t(size_t, len, PAGE_SIZE - part->offset);
		pos += part->len;
		len -= part->len;
	}
	return 0;

err_release:
	while (spd->nr_pages)
		pipe_release(spd, --spd->nr_pages);
	return -ENOMEM;
}

/*
 * Pages from @pos on, at most @len bytes, all of one buffer, which the handle
 * holds and which is protected as for a send.
 */
static int pipe_try_fill(struct fbuf_handle *h, struct splice_pipe_desc *spd,
			 u64 pos, size_t len)
{
	struct fbuf_pool *pool = h->pool;
	unsigned long index = pos >> pool->buf_shift;
	unsigned long i = array_index_nospec(pos >> PAGE_SHIFT, pool->nr_pages);
	int err = -ESTALE;

	index = array_index_nospec(index, pool->nr_bufs);
	mutex_lock(&pool->lock);
	if (fbuf_poisoned(pool, i, 1))
		err = -EHWPOISON;
	else if (test_bit(index, h->holds))
		err = fbuf_buf_get_memory(pool, &pool->bufs[index]);
	if (!err)
		err = fbuf_protect(pool, &pool->bufs[index], pool->prot, NULL);
	if (!err)
		err = pipe_get_pages(pool, spd, pos, len);
	mutex_unlock(&pool->lock);
	return err;
}

static int pipe_fill(struct fbuf_handle *h, struct splice_pipe_desc *spd,
		     u64 pos, size_t len)
{
	struct fbuf_waiter w;
	int err;

	fbuf_grace_begin(&w);
	do {
		err = pipe_try_fill(h, spd, pos, len);
	} while (err == -EAGAIN && fbuf_grace_sleep(&w, h->pool));
	return fbuf_grace_end(&w, err);
}

/**
 * fbuf_splice_read() - put pages of the pool into a pipe
 * @in: a pool fd's file
 * @ppos: where in the pool; moves on
 * @pipe: the pipe, locked
 * @len: bytes at most
 * @flags: SPLICE_F_*
 *
 * Context: may sleep; takes the pool's lock.
 * Return: the bytes put, of one buffer at most; 0 at the end of the pool;
 * -EACCES without the right to read, or where the handle may not pin, to send;
 * -ENOMEM or -EDQUOT if the buffer cannot be given memory or protection; -ESTALE if the
 * handle does not hold it; -EBUSY; -EHWPOISON; -EAGAIN and the like from the pipe.
 */
ssize_t fbuf_splice_read(struct file *in, loff_t *ppos,
			 struct pipe_inode_info *pipe, size_t len,
			 unsigned int flags)
{
	struct fbuf_handle *h = in->private_data;
	struct fbuf_pool *pool = h->pool;
	u64 buf_size = 1ULL << pool->buf_shift, pos = *ppos;
	struct page *pages[PIPE_PAGES];
	struct partial_page partial[PIPE_PAGES];
	struct splice_pipe_desc spd = {
		.pages = pages,
		.partial = partial,
		.nr_pages_max = PIPE_PAGES,
		.ops = &nosteal_pipe_buf_ops,
		.spd_release = pipe_release,
	};
	ssize_t ret;

	if (!(h->rights & FBUF_RIGHT_READ))
		return -EACCES;
	/* A pipe can keep pages for ever, as can a socket. */
	if (h->no_pin && !(h->rights & FBUF_RIGHT_SEND))
		return -EACCES;
	if (pos >= (u64)pool->nr_pages << PAGE_SHIFT)
		return 0;
	len = min_t(u64, len, buf_size - (pos & (buf_size - 1)));
	ret = pipe_fill(h, &spd, pos, len);
	if (ret)
		return ret;
	/* It releases what the pipe has no room for. */
	ret = splice_to_pipe(pipe, &spd);
	if (ret > 0)
		*ppos += ret;
	return ret;
}

/**
 * fbuf_llseek() - as in a file of the pool's size
 * @file: a pool fd's file
 * @offset: where to
 * @whence: SEEK_SET, SEEK_CUR, SEEK_END and the like
 *
 * Context: may sleep.
 * Return: the new position or -EINVAL.
 */
loff_t fbuf_llseek(struct file *file, loff_t offset, int whence)
{
	struct fbuf_handle *h = file->private_data;

	return fixed_size_llseek(file, offset, whence,
				 (loff_t)h->pool->nr_pages << PAGE_SHIFT);
}
