/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The segments of one send, made of memory that lies in a pool or beside it. In a
 * header, as libfbuf and libfbuf-run, which have no code in common, both do it.
 */
#ifndef FBUF_LIB_SEGS_H
#define FBUF_LIB_SEGS_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <linux/fbuf.h>

/* Segments of one send: 16 MiB of 64 KiB each; they are on the caller's stack. */
#define SEGS_MAX	256U
/* Pieces of the pool that are sooner copied than referred to. */
#define SEGS_PIECE_MIN	1024U
/* Small pieces side by side, as heads are made of, go together: each costs the kernel. */
#define SEGS_JOIN_ROOM	2048U
#define SEGS_JOIN_MAX	512U

struct segs {
	struct fbuf_seg seg[SEGS_MAX];
	unsigned int nr;
	size_t len;		/* bytes, and of them those by reference */
	size_t referred;
	unsigned int bufs;	/* that are referred to */
	bool joins;		/* the last segment is of small pieces, side by side */
	unsigned int nr_joined;	/* bytes of all those */
	char joined[SEGS_JOIN_ROOM];
};

static inline void segs_init(struct segs *s)
{
	s->nr = 0;
	s->len = 0;
	s->referred = 0;
	s->bufs = 0;
	s->joins = false;
	s->nr_joined = 0;
}

/*
 * A segment of other memory, or of the pool's as if it were that, or more of the
 * last one; returns how many of the bytes. These and those below are for who has
 * seen that there is room for a segment, and keeps s->len.
 */
static inline size_t segs_inline(struct segs *s, const char *p, size_t left)
{
	if (left <= SEGS_JOIN_MAX && left <= SEGS_JOIN_ROOM - s->nr_joined) {
		char *to = s->joined + s->nr_joined;

		/* What has no address has a name, and is not for here. */
		/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
		memcpy(to, p, left);
		s->nr_joined += left;
		if (s->joins) {
			s->seg[s->nr - 1].len += left;
			return left;
		}
		s->joins = true;
		p = to;
	} else {
		s->joins = false;
		if (left > FBUF_INLINE_MAX)
			left = FBUF_INLINE_MAX;
	}
	s->seg[s->nr++] = (struct fbuf_seg){
		.addr = (uintptr_t)p,
		.len = left,
		.flags = FBUF_SEG_INLINE,
	};
	return left;
}

/* How many of the bytes from an offset of the pool on are in one buffer. */
static inline size_t segs_in_buf(size_t at, size_t left, size_t buf_size)
{
	size_t piece = buf_size - (at & (buf_size - 1));

	return left < piece ? left : piece;
}

/*
 * Segments of the pool, the first of piece bytes, which are in one buffer, and the
 * whole buffers that follow it.
 */
static inline size_t segs_pool(struct segs *s, size_t at, size_t piece,
			       size_t left, size_t buf_size)
{
	size_t done = 0;

	s->joins = false;
	do {
		s->seg[s->nr++] = (struct fbuf_seg){
			.addr = at + done,
			.len = piece,
		};
		s->bufs++;
		done += piece;
		piece = buf_size;
	} while (left - done >= piece && s->nr < SEGS_MAX);
	s->referred += done;
	return done;
}

/*
 * Whether a SEND failed for a reason that is not the socket's: then nothing was
 * sent, and the real call is to be made. All other errors the socket tells once, and
 * they are the caller's. So is EAGAIN: fbuf says it of buffers in flight without a
 * hold, which there are none of here; and the real call would wait for SO_SNDTIMEO
 * once more.
 */
static inline bool segs_real_call(int err)
{
	switch (err) {
	case EOPNOTSUPP:
	case ENOTSOCK:
	case EBADF:
	case EBUSY:
	case ENOMEM:
	case EDQUOT:
	case EPIPE:	/* the real call raises SIGPIPE as well */
	case ENOTTY:	/* the fd is not our pool's any more */
	case EXDEV:	/* the pool is another process's: a child's parent */
	case EINVAL:
	case EFAULT:
	case ESTALE:
	case EACCES:
	case EPERM:
	case EMSGSIZE:
	case EHWPOISON:
		return true;
	default:
		return false;
	}
}

#endif /* FBUF_LIB_SEGS_H */
