/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfbuf: views, fbuf_view(3). Bytes with an owner, which are counted: memory of
 * a heap, of a pool, of malloc() or of the program, parts of it, and parts of many
 * put together, never copied unless it says so here.
 *
 * A view has bytes 0 to its capacity - 1, and two cursors: what lies between the
 * read and the write cursor is readable, what lies after that can be written. An
 * index counts from byte 0, an offset from the read cursor.
 *
 * Who has a view has a reference: its last release frees what is below it. Any
 * thread may retain and release at any time. All else is for one thread at a time:
 * a thread that wants cursors of its own makes a duplicate. A view that is used
 * after its last release ends the program, with a sentence on the standard error.
 *
 * What can fail returns a negative errno value, or NULL, and leaves errno alone;
 * the view is as it was.
 */
#ifndef FBUF_VIEW_H
#define FBUF_VIEW_H

#include <sys/uio.h>

#include <fbuf/heap.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fbuf_view;

/* Making them: each has a count of 1. NULL: there is no memory. */

/*
 * Memory of a heap, or with NULL of malloc(): nothing is readable yet. It becomes
 * larger when more is written, while nobody else has it.
 */
struct fbuf_view *fbuf_view_alloc(struct fbuf_heap *heap, size_t capacity);
/*
 * Memory that there is, all of it readable: of fbuf_heap_alloc(), or with NULL of
 * malloc(). It is the view's from now on; not if NULL is returned.
 */
struct fbuf_view *fbuf_view_own(struct fbuf_heap *heap, void *ptr, size_t len);
/* A buffer of a pool, all readable; the hold on it is the view's from now on. */
struct fbuf_view *fbuf_view_buf(struct fbuf_pool *pool, uint64_t name);
/*
 * Memory of the program, all readable, which must stay until release(arg) is
 * called: by the last release. release may be NULL. Nobody writes through the view.
 */
struct fbuf_view *fbuf_view_wrap(const void *data, size_t len,
				 void (*release)(void *arg), void *arg);
/* The same, which can be written. */
struct fbuf_view *fbuf_view_wrap_writable(void *data, size_t len,
					  void (*release)(void *arg),
					  void *arg);

/* References. */

/* One more, or nr more; returns the view. */
struct fbuf_view *fbuf_view_retain(struct fbuf_view *view);
struct fbuf_view *fbuf_view_retain_many(struct fbuf_view *view,
					unsigned int nr);
/* One less, or nr less: 1 if that was the last one, else 0. NULL is ignored. */
int fbuf_view_release(struct fbuf_view *view);
int fbuf_view_release_many(struct fbuf_view *view, unsigned int nr);
/* How many there are; 0 after the last release. */
unsigned int fbuf_view_count(const struct fbuf_view *view);
/*
 * Have release(arg) called by the last release, after the memory went back. Not for
 * views that share another's count: -EINVAL. NULL takes it back.
 */
int fbuf_view_on_release(struct fbuf_view *view, void (*release)(void *arg),
			 void *arg);

/*
 * Parts, which share the bytes and have cursors of their own; what is not within
 * the view is NULL, as is no memory.
 *
 * Those that are not retained share the count as well: they live as long as the
 * view, and so does the little memory that they take. Those that are retained have
 * a count of their own, 1, and a reference to the view until that is 0.
 */

/* len bytes from an index on, all readable. */
struct fbuf_view *fbuf_view_slice(struct fbuf_view *view, size_t index,
				  size_t len);
struct fbuf_view *fbuf_view_retained_slice(struct fbuf_view *view,
					   size_t index, size_t len);
/* All of it, with the same cursors. */
struct fbuf_view *fbuf_view_duplicate(struct fbuf_view *view);
struct fbuf_view *fbuf_view_retained_duplicate(struct fbuf_view *view);
/* The next len readable bytes; the read cursor goes past them. */
struct fbuf_view *fbuf_view_read_slice(struct fbuf_view *view, size_t len);
struct fbuf_view *fbuf_view_read_retained_slice(struct fbuf_view *view,
						size_t len);
/* A duplicate through which nobody writes. */
struct fbuf_view *fbuf_view_read_only(struct fbuf_view *view);
int fbuf_view_is_read_only(const struct fbuf_view *view);

/* To be sent: what is readable. */

size_t fbuf_view_len(const struct fbuf_view *view);
/* The first readable byte; NULL if the view is not in one piece. */
void *fbuf_view_data(const struct fbuf_view *view);
/*
 * Where len readable bytes from offset on are: fills in up to max pieces, and
 * returns how many. With fewer than there are they have fewer bytes. -ERANGE if not
 * all of these are readable.
 */
int fbuf_view_iovec(const struct fbuf_view *view, size_t offset, size_t len,
		    struct iovec *iov, unsigned int max);

/* Cursors: 0 <= reader <= writer <= capacity. */

size_t fbuf_view_capacity(const struct fbuf_view *view);
size_t fbuf_view_reader(const struct fbuf_view *view);
size_t fbuf_view_writer(const struct fbuf_view *view);
/* -ERANGE if they are not in that order. */
int fbuf_view_set_cursors(struct fbuf_view *view, size_t reader,
			  size_t writer);
/* Nothing is readable, all can be written. */
void fbuf_view_clear(struct fbuf_view *view);
/* The read cursor goes past len bytes. */
int fbuf_view_skip(struct fbuf_view *view, size_t len);
/* The first len readable bytes stay; of a composite, the others are let go of. */
int fbuf_view_truncate(struct fbuf_view *view, size_t len);
/*
 * Where the next bytes are written: *len of them in one piece, for recv() and the
 * like, and fbuf_view_wrote() then moves the write cursor. NULL: there is no room,
 * or nobody may write there.
 */
void *fbuf_view_space(struct fbuf_view *view, size_t *len);
int fbuf_view_wrote(struct fbuf_view *view, size_t len);

/*
 * Room for len bytes after the write cursor. Memory that fbuf_view_alloc() or
 * fbuf_view_own() had may move; a composite gets one more component. -ENOSPC: it
 * cannot become larger. -EBUSY: it would have to move, and somebody else has a
 * reference or a part of it.
 */
int fbuf_view_ensure(struct fbuf_view *view, size_t len);
/* The same to exactly so many bytes, or to fewer; cursors past them are moved. */
int fbuf_view_set_capacity(struct fbuf_view *view, size_t capacity);
/*
 * What was read is dropped: other bytes move to the front, or components are let go
 * of. -EBUSY as above.
 */
int fbuf_view_discard(struct fbuf_view *view);

/*
 * Bytes: all or none. -ERANGE if there are not as many, -EACCES if they must not be
 * written.
 */

int fbuf_view_get(const struct fbuf_view *view, size_t index, void *data,
		  size_t len);
int fbuf_view_set(struct fbuf_view *view, size_t index, const void *data,
		  size_t len);
/* At the read cursor, which goes past them. */
int fbuf_view_read(struct fbuf_view *view, void *data, size_t len);
/* At the write cursor, which goes past them; makes room if it can. */
int fbuf_view_write(struct fbuf_view *view, const void *data, size_t len);
/* The next len readable bytes of another view: its read cursor goes past them. */
int fbuf_view_write_view(struct fbuf_view *view, struct fbuf_view *from,
			 size_t len);
/* Bytes of its own: len bytes from index on, all readable, as fbuf_view_alloc(). */
struct fbuf_view *fbuf_view_copy(const struct fbuf_view *view,
				 struct fbuf_heap *heap, size_t index,
				 size_t len);
/* As memcmp() of what is readable; what ends first is less. */
int fbuf_view_compare(const struct fbuf_view *a, const struct fbuf_view *b);

/*
 * Composites: components one after the other, which look like one view. Other
 * views are -EINVAL here.
 */

/*
 * When there are more components than max, their bytes are copied into one, of the
 * heap of the first component that has one. 0: never.
 */
struct fbuf_view *fbuf_view_composite(unsigned int max);
/*
 * What is readable in component now is appended, and the write cursor moves by as
 * much. The caller's reference to component is the composite's, also if this fails.
 * -ELOOP: it contains the composite, or nests too deep.
 */
int fbuf_view_add(struct fbuf_view *composite, struct fbuf_view *component);
/* The same before component nr; the write cursor moves if advance is not 0. */
int fbuf_view_insert(struct fbuf_view *composite, unsigned int nr,
		     struct fbuf_view *component, int advance);
/* Of a composite its components are added, not itself. */
int fbuf_view_add_flat(struct fbuf_view *composite,
		       struct fbuf_view *component);
/* How many there are. */
int fbuf_view_components(const struct fbuf_view *composite);
/* A component's bytes: a slice of it, not retained; or NULL. */
struct fbuf_view *fbuf_view_component(struct fbuf_view *composite,
				      unsigned int nr);
/* The index of a component's first byte; the component that has a byte. */
ssize_t fbuf_view_component_index(const struct fbuf_view *composite,
				  unsigned int nr);
int fbuf_view_component_at(const struct fbuf_view *composite, size_t index);
/* Let go of count components from nr on. */
int fbuf_view_remove(struct fbuf_view *composite, unsigned int nr,
		     unsigned int count);
/* Copy count components from nr on into one. */
int fbuf_view_consolidate(struct fbuf_view *composite, unsigned int nr,
			  unsigned int count);
/* Let go of components that were read; nothing moves. */
int fbuf_view_discard_components(struct fbuf_view *composite);

/*
 * Aggregates: composites for values that are never copied. These take references
 * of their own to what the bytes are in, and leave those of the caller alone.
 */

/* A composite of what is readable in a view; what becomes of that is no matter. */
struct fbuf_view *fbuf_view_aggregate(struct fbuf_view *view);
/* Append what is readable in a view, at the write cursor. */
int fbuf_view_concat(struct fbuf_view *composite, struct fbuf_view *view);
/*
 * In the place of len readable bytes from offset on, what is readable in a view,
 * which may be NULL for nothing.
 */
int fbuf_view_replace(struct fbuf_view *composite, size_t offset, size_t len,
		      struct fbuf_view *view);

/*
 * Looking for mistakes. Some views are watched: simple, one in 128, where it was
 * made; advanced, as many, also where it was touched last; paranoid, all of them.
 * FBUF_VIEW_LEAKS=off, simple, advanced or paranoid in the environment says it
 * before the program does; without it, it is simple.
 */
#define FBUF_VIEW_LEAKS_OFF		0U
#define FBUF_VIEW_LEAKS_SIMPLE		1U
#define FBUF_VIEW_LEAKS_ADVANCED	2U
#define FBUF_VIEW_LEAKS_PARANOID	3U

/* For views made from now on; returns what it was. */
int fbuf_view_leaks(unsigned int level);
/*
 * Report, once, each watched view that there still is and that was not touched for
 * so many milliseconds; returns how many. The same is done at the end of a program
 * that was told a level, and of a heap for its views.
 */
unsigned int fbuf_view_leaks_report(unsigned int idle_ms);
/*
 * Reports go there, and not to the standard error; NULL: they do again. It must not
 * use views.
 */
void fbuf_view_on_report(void (*report)(void *arg, const char *text),
			 void *arg);
/* Note that a view was here, for reports; hint may be NULL. */
void fbuf_view_touch(struct fbuf_view *view, const char *hint);

/*
 * Check mode, also by FBUF_VIEW_CHECK=1 in the environment: all views are watched.
 * After the last release memory of heaps and of malloc() is kept for a while, and
 * filled with FBUF_VIEW_POISON as soon as no packet refers to it. Who writes there,
 * or uses the view, ends the program; the report names who had it last.
 */
#define FBUF_VIEW_POISON	0xfb

/* 0: no check mode, all that is kept goes back. Returns what it was. */
int fbuf_view_check(int on);
/* Look at all that is kept; returns how many bytes are poisoned. */
size_t fbuf_view_check_look(void);

#ifdef __cplusplus
}
#endif

#endif /* FBUF_VIEW_H */
