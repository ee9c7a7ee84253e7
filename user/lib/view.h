/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of views share. Each calls only those before it:
 *
 * view_watch.c		who made, touched and released a view: reports
 * view_mem.c		the structures, which stay structures of views
 * view_check.c		memory that was released, poisoned
 * view_start.c		the environment, forks, ends
 * view_parcel.c	bytes of parcels
 * view.c		counts, parts, and where the bytes are
 * view_composite.c	composites and aggregates
 * view_bytes.c		cursors, and what copies
 */
#ifndef FBUF_LIB_VIEW_H
#define FBUF_LIB_VIEW_H

#include <stdbool.h>

#include <fbuf/view.h>

enum view_kind {
	VIEW_HEAP,		/* memory of a heap, or of malloc() */
	VIEW_BUF,		/* a buffer of a pool */
	VIEW_WRAP,		/* memory of the program */
	VIEW_PART,		/* shares another's count */
	VIEW_RETAINED,		/* has a count of its own, and a reference */
	VIEW_COMPOSITE,
	VIEW_PARCEL,		/* memory there is when it is asked for */
};

#define VIEW_READ_ONLY	(1U << 0)
/* A duplicate of a composite: it becomes longer as that does. */
#define VIEW_WHOLE	(1U << 1)

/* Bytes of another view from begin on, in a composite, up to byte end of that. */
struct view_component {
	struct fbuf_view *view;	/* one reference */
	size_t begin;
	size_t end;
	bool read_only;
};

/*
 * Bytes are at data; or if that is NULL, in the components, or in a parcel, or in
 * those of the composite or the parcel from, from byte shift on.
 */
struct fbuf_view {
	uint32_t count;			/* of references; atomic */
	union {
		uint32_t max;		/* components, or 0 */
		uint32_t bytes;		/* of VIEW_PARCEL, whatever cap is */
	};
	uint8_t kind;
	uint8_t flags;
	struct fbuf_view *counted;	/* whose count it has; NULL: none */
	size_t read;
	size_t write;
	size_t cap;
	char *data;
	struct fbuf_view *from;
	union {
		size_t shift;
		struct view_memory *memory;	/* of VIEW_PARCEL; atomic */
	};
	union {
		struct fbuf_heap *heap;	/* NULL: malloc() */
		struct fbuf_pool *pool;
		struct fbuf_view *held;	/* of VIEW_RETAINED; of a dead part */
		struct view_component *components;
	};
	union {
		uint64_t name;
		struct {
			uint32_t nr;	/* components, of so many there is room for */
			uint32_t room;
		};
	};
	void (*release)(void *arg);
	void *arg;
	struct fbuf_view *parts;	/* those that share the count; atomic */
	struct fbuf_view *next;		/* of these; of the dead */
	struct view_watch *watch;	/* or NULL; of the dead as well */
};

/* Bytes in one piece: of a view that has memory, or of one of a parcel. */
struct view_piece {
	struct fbuf_view *view;
	size_t index;
	size_t len;		/* 0: there are none */
	bool read_only;
};

/* view_watch.c */
#define VIEW_FRAMES	6

/* Where somebody had a view. */
struct view_touch {
	const char *what;	/* function of the library; NULL: nowhere */
	char hint[40];
	int thread;
	uint32_t nr;
	void *frames[VIEW_FRAMES];
};

/* FBUF_VIEW_LEAKS_*, and whether there is check mode; atomic. */
extern unsigned int view_level;
extern bool view_checking;

/* A view was made that has a count of its own. */
void view_watch_new(struct fbuf_view *v, const char *what, void *caller);
void view_watch_touch(struct fbuf_view *v, const char *what, void *caller,
		      const char *hint);
/* It had its last release: this is for view_watch_free() to end. */
void view_watch_end(struct fbuf_view *v);
void view_watch_free(struct fbuf_view *v);
/* Who had it last. */
struct view_touch view_watch_last(const struct fbuf_view *v);
/* Ends the program: a sentence, and who had the view. */
void view_die(const struct fbuf_view *v, const char *what, const char *why)
	__attribute__((__noreturn__, __cold__));
void view_die_dead(const struct fbuf_view *v, const char *what)
	__attribute__((__noreturn__, __cold__));
void view_die_written(size_t at, size_t len, const struct view_touch *last)
	__attribute__((__noreturn__, __cold__));

/* Report views of a heap that ends; or of a program that asked for it. */
void view_watch_heap(const struct fbuf_heap *heap);
void view_watch_exit(void);
void view_watch_lock(void);
void view_watch_unlock(void);

static inline __attribute__((__always_inline__)) void
view_made(struct fbuf_view *v, const char *what)
{
	if (__atomic_load_n(&view_level, __ATOMIC_RELAXED) ||
	    __atomic_load_n(&view_checking, __ATOMIC_RELAXED))
		view_watch_new(v, what, __builtin_return_address(0));
}

/* view_mem.c */
/* All zero; NULL: no memory. */
struct fbuf_view *view_get(void);
/* A dead one is one still: who uses it finds that it has no count. */
void view_put(struct fbuf_view *v);
void view_mem_lock(void);
void view_mem_unlock(void);

/* view_check.c */
/* Keep the memory of a view that had its last release; false: it is to go now. */
bool view_check_keep(const struct fbuf_view *v);
/* All that is kept of a heap goes back; false: there was nothing. */
bool view_check_give(struct fbuf_heap *heap);
void view_check_lock(void);
void view_check_unlock(void);
void view_check_child(void);

/* view_start.c */
/* Runs before main(). */
void view_start(void);

/* view_parcel.c */
/*
 * Where the bytes of a piece are: all of them, or some, then it has fewer. 0 or an
 * error.
 */
int view_piece_memory(struct view_piece *piece, bool all, char **data);
int view_piece_read(const struct view_piece *piece, void *to);
void view_parcel_end(struct fbuf_view *v);

/* view.c */
/* The one that has the count, which is not 0: every call begins with this. */
static inline __attribute__((__always_inline__)) struct fbuf_view *
view_live(const struct fbuf_view *v, const char *what)
{
	struct fbuf_view *c = v->counted;

	if (!c || !__atomic_load_n(&c->count, __ATOMIC_RELAXED))
		view_die_dead(v, what);
	if (__builtin_expect(!!c->watch, 0))
		view_watch_touch(c, what, __builtin_return_address(0), NULL);
	return c;
}

static inline size_t view_cap(const struct fbuf_view *v)
{
	return v->flags & VIEW_WHOLE ? v->from->cap : v->cap;
}

/* The rest is for views that view_live() has seen. */

static inline bool view_within(const struct fbuf_view *v, size_t index,
			       size_t len)
{
	size_t cap = view_cap(v);

	return index <= cap && len <= cap - index;
}

/* What is not a parcel's. */
static inline char *view_data(const struct view_piece *piece)
{
	return piece->view->data + piece->index;
}

/*
 * The bytes from index on, at most len. A composite may have fewer by now than when
 * a part of it was made, or it was put into another: then there are none.
 */
struct view_piece view_at(const struct fbuf_view *v, size_t index, size_t len);
/* The same of readable bytes from an offset on, of which there is one: or -ERANGE. */
int view_readable(const struct fbuf_view *v, size_t offset, size_t len,
		  struct view_piece *piece, const char *what);
/* Whether there are all of these, 0; -ERANGE; -EACCES: one is not to be written. */
int view_check(const struct fbuf_view *v, size_t index, size_t len,
	       bool writable);
/* A part; NULL: no memory. */
struct fbuf_view *view_part(struct fbuf_view *v, size_t index, size_t len,
			    bool retained, const char *what);
/* One reference more, or less: then true if it was the last. */
void view_retain(struct fbuf_view *v, const char *what);
bool view_release(struct fbuf_view *v, const char *what);
/* Until the second one, with what the first one returned, nothing is ended. */
bool view_defer(void);
void view_undefer(bool deferred);
struct fbuf_view *view_new(enum view_kind kind, void *data, size_t cap);
/* Of one that has components: the first that ends after a byte. */
uint32_t view_component_at(const struct fbuf_view *v, size_t index);
static inline size_t view_component_begin(const struct fbuf_view *v,
					  uint32_t nr)
{
	return nr ? v->components[nr - 1].end : 0;
}

/* view_composite.c */
/* What was at bytes from cap on goes, or there are so many of no content. */
int view_composite_resize(struct fbuf_view *v, size_t cap);
void view_composite_discard(struct fbuf_view *v, bool all);

#endif /* FBUF_LIB_VIEW_H */
