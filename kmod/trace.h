/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints, one for each thing that happens to pools and buffers.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM fbuf

#if !defined(FBUF_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define FBUF_TRACE_H

#include <linux/tracepoint.h>
#include <linux/user_namespace.h>

#include "types.h"

TRACE_EVENT(fbuf_create,
	TP_PROTO(const struct fbuf_pool *pool),
	TP_ARGS(pool),
	TP_STRUCT__entry(
		__field(u64, pool)
		__field(uid_t, uid)
		__field(u32, buf_size)
		__field(u32, nr_bufs)
		__field(u32, flags)
	),
	TP_fast_assign(
		__entry->pool = pool->id;
		__entry->uid = from_kuid(&init_user_ns, pool->uid);
		__entry->buf_size = 1U << pool->buf_shift;
		__entry->nr_bufs = pool->nr_bufs;
		__entry->flags = pool->flags;
	),
	TP_printk("pool=%llu uid=%u buf_size=%u nr_bufs=%u flags=%#x",
		  __entry->pool, __entry->uid, __entry->buf_size,
		  __entry->nr_bufs, __entry->flags)
);

DECLARE_EVENT_CLASS(fbuf_handle_buf,
	TP_PROTO(const struct fbuf_pool *pool, const struct fbuf_buf *buf,
		 u32 handle),
	TP_ARGS(pool, buf, handle),
	TP_STRUCT__entry(
		__field(u64, pool)
		__field(u32, index)
		__field(u32, gen)
		__field(u32, handle)
	),
	TP_fast_assign(
		__entry->pool = pool->id;
		__entry->index = fbuf_buf_index(pool, buf);
		__entry->gen = buf->gen;
		__entry->handle = handle;
	),
	TP_printk("pool=%llu buf=%u gen=%u handle=%u", __entry->pool,
		  __entry->index, __entry->gen, __entry->handle)
);

DEFINE_EVENT(fbuf_handle_buf, fbuf_alloc,
	TP_PROTO(const struct fbuf_pool *pool, const struct fbuf_buf *buf,
		 u32 handle),
	TP_ARGS(pool, buf, handle)
);

/* The last hold is gone. */
DEFINE_EVENT(fbuf_handle_buf, fbuf_free,
	TP_PROTO(const struct fbuf_pool *pool, const struct fbuf_buf *buf,
		 u32 handle),
	TP_ARGS(pool, buf, handle)
);

DECLARE_EVENT_CLASS(fbuf_pool_buf,
	TP_PROTO(const struct fbuf_pool *pool, const struct fbuf_buf *buf),
	TP_ARGS(pool, buf),
	TP_STRUCT__entry(
		__field(u64, pool)
		__field(u32, index)
		__field(u32, gen)
	),
	TP_fast_assign(
		__entry->pool = pool->id;
		__entry->index = fbuf_buf_index(pool, buf);
		__entry->gen = buf->gen;
	),
	TP_printk("pool=%llu buf=%u gen=%u", __entry->pool, __entry->index,
		  __entry->gen)
);

/* A buffer that was in flight when it was freed is idle. */
DEFINE_EVENT(fbuf_pool_buf, fbuf_reuse,
	TP_PROTO(const struct fbuf_pool *pool, const struct fbuf_buf *buf),
	TP_ARGS(pool, buf)
);

DEFINE_EVENT(fbuf_pool_buf, fbuf_protect,
	TP_PROTO(const struct fbuf_pool *pool, const struct fbuf_buf *buf),
	TP_ARGS(pool, buf)
);

DEFINE_EVENT(fbuf_pool_buf, fbuf_snapshot,
	TP_PROTO(const struct fbuf_pool *pool, const struct fbuf_buf *buf),
	TP_ARGS(pool, buf)
);

TRACE_EVENT(fbuf_recv,
	TP_PROTO(const struct fbuf_pool *pool, unsigned long sock, int ret,
		 u32 copied),
	TP_ARGS(pool, sock, ret, copied),
	TP_STRUCT__entry(
		__field(u64, pool)
		__field(unsigned long, sock)
		__field(int, ret)
		__field(u32, copied)
	),
	TP_fast_assign(
		__entry->pool = pool->id;
		__entry->sock = sock;
		__entry->ret = ret;
		__entry->copied = copied;
	),
	TP_printk("pool=%llu sock=%lu ret=%d copied=%u", __entry->pool,
		  __entry->sock, __entry->ret, __entry->copied)
);

/* A parcel is dropped. */
TRACE_EVENT(fbuf_parcel_free,
	TP_PROTO(const struct fbuf_pool *pool, u64 name, u32 len),
	TP_ARGS(pool, name, len),
	TP_STRUCT__entry(
		__field(u64, pool)
		__field(u64, name)
		__field(u32, len)
	),
	TP_fast_assign(
		__entry->pool = pool->id;
		__entry->name = name;
		__entry->len = len;
	),
	TP_printk("pool=%llu parcel=%#llx len=%u", __entry->pool, __entry->name,
		  __entry->len)
);

TRACE_EVENT(fbuf_send,
	TP_PROTO(const struct fbuf_pool *pool, unsigned int runs, size_t len,
		 unsigned long sock, u32 engine, int ret),
	TP_ARGS(pool, runs, len, sock, engine, ret),
	TP_STRUCT__entry(
		__field(u64, pool)
		__field(unsigned long, sock)
		__field(size_t, len)
		__field(unsigned int, runs)
		__field(u32, engine)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->pool = pool->id;
		__entry->sock = sock;
		__entry->len = len;
		__entry->runs = runs;
		__entry->engine = engine;
		__entry->ret = ret;
	),
	TP_printk("pool=%llu sock=%lu len=%zu runs=%u engine=%#x ret=%d",
		  __entry->pool, __entry->sock, __entry->len, __entry->runs,
		  __entry->engine, __entry->ret)
);

TRACE_EVENT(fbuf_fill,
	TP_PROTO(const struct fbuf_pool *pool, const struct fbuf_fill *args,
		 int ret),
	TP_ARGS(pool, args, ret),
	TP_STRUCT__entry(
		__field(u64, pool)
		__field(u64, name)
		__field(u64, pos)
		__field(u32, offset)
		__field(u32, len)
		__field(u32, flags)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->pool = pool->id;
		__entry->name = args->name;
		__entry->pos = args->pos;
		__entry->offset = args->offset;
		__entry->len = args->len;
		__entry->flags = args->flags;
		__entry->ret = ret;
	),
	TP_printk("pool=%llu buf=%u gen=%u offset=%u len=%u flags=%#x pos=%llu ret=%d",
		  __entry->pool, FBUF_NAME_INDEX(__entry->name),
		  FBUF_NAME_GEN(__entry->name), __entry->offset, __entry->len,
		  __entry->flags, __entry->pos, __entry->ret)
);

/* Bytes that the CPU copied all the same. */
TRACE_EVENT(fbuf_copy,
	TP_PROTO(const struct fbuf_pool *pool, u64 bytes),
	TP_ARGS(pool, bytes),
	TP_STRUCT__entry(
		__field(u64, pool)
		__field(u64, bytes)
	),
	TP_fast_assign(
		__entry->pool = pool->id;
		__entry->bytes = bytes;
	),
	TP_printk("pool=%llu bytes=%llu", __entry->pool, __entry->bytes)
);

#endif /* FBUF_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
