// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Transfers to a socket by memory of a heap: the kernel reads the file into it, and
 * the socket takes it by reference. One copy, or with direct I/O none, and no page
 * faults. sendfile(), which copies nothing, is cheaper at any size, and a buffer is
 * where there is little; between these it pays, as cost_channel.c measures.
 */

#include "channel.h"

/* Less goes by a buffer. */
#define POOL_MIN	((size_t)16 << 10)
/* As much is filled before it is sent. */
#define POOL_PIECE	((size_t)256 << 10)

/* Read len bytes into memory of the heap; fewer at the end of the file. */
static ssize_t pool_fill(const struct transfer *t, char *p, size_t len,
			 off_t pos)
{
	struct fbuf_pool *pool = fbuf_heap_pool(t->heap);
	size_t done = 0, offset;
	ssize_t in_buf, ret = 0;
	uint64_t name;

	while (done < len) {
		in_buf = fbuf_heap_ref(t->heap, p + done, len - done, &name,
				       &offset);
		if (in_buf < 0)
			return in_buf;
		ret = fbuf_fill_at(pool, name, offset, in_buf, t->file.fd,
				   pos + done, 0, 0);
		if (ret == -EINTR)
			ret = transfer_again(t, EINTR);
		else if (!ret)
			break;
		if (ret < 0)
			break;
		done += ret;
	}
	return transfer_result(done, ret);
}

static ssize_t pool_send(const struct transfer *t, const char *p, size_t len)
{
	struct fbuf_gather g;
	ssize_t ret;

	lib_gather_init(&g, fbuf_heap_pool(t->heap));
	ret = fbuf_gather_append_mem(&g, t->heap, p, len);
	while (!ret) {
		ret = fbuf_send(&g, t->peer.fd, 0, NULL);
		if (ret == -EINTR)
			ret = transfer_again(t, EINTR);
	}
	lib_gather_fini(&g);
	return ret;
}

/* Whole buffers: what else is in them may be in flight, and protected. */
static ssize_t pool_piece(const struct transfer *t, off_t pos, size_t len,
			  bool *all)
{
	size_t buf = fbuf_pool_buf_size(fbuf_heap_pool(t->heap));
	ssize_t got, ret;
	char *p;

	if (len > POOL_PIECE)
		len = buf > POOL_PIECE ? buf : POOL_PIECE;
	p = fbuf_heap_alloc_aligned(t->heap, buf, (len + buf - 1) & -buf);
	if (!p)
		return -ENOMEM;
	got = pool_fill(t, p, len, pos);
	ret = got > 0 ? pool_send(t, p, got) : got;
	fbuf_heap_free(t->heap, p);
	*all = got > 0 && ret == got;
	return ret;
}

ssize_t channel_pool_to(const struct transfer *t)
{
	size_t done = 0;
	ssize_t ret = 0;
	bool all = true;

	if (!t->heap || !t->peer.stream || t->count < POOL_MIN ||
	    !channel_is_open(CHANNEL_POOL))
		return CHANNEL_NOT_SO;
	while (done < t->count && all) {
		ret = pool_piece(t, t->pos + done, t->count - done, &all);
		if (ret < 0)
			break;
		done += ret;
		if (done < t->count && !transfer_stays(t))
			break;
	}
	if (ret == -EAGAIN)
		ret = 0;
	/* Of the heap, or what the socket or the file does not do. */
	if (ret == -ENOMEM || ret == -EOPNOTSUPP || ret == -EINVAL)
		ret = CHANNEL_NOT_SO;
	return transfer_result(done, ret < 0 ? ret : 0);
}
