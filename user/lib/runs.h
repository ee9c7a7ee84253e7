/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory of a pool in runs of whole pages.
 *
 * For those who are malloc() themselves, or are called by it: nothing here calls
 * malloc() or stdio, or locks; the caller lets one thread in at a time. What is
 * known of the memory is not in it, but in private memory besides, of which a
 * child that is forked has its own copy.
 */
#ifndef FBUF_RUNS_H
#define FBUF_RUNS_H

#include <stdbool.h>
#include <stddef.h>

#define RUNS_PAGE	((size_t)4096)

struct runs;

/*
 * The memory from base on, which begins and ends on a page; all of it is free,
 * and zero. NULL if there is no memory for what is to be known of it.
 */
struct runs *runs_new(void *base, size_t size);
/* The memory itself is not touched. NULL is ignored. */
void runs_destroy(struct runs *r);
/*
 * At least size bytes on a boundary of align bytes, a power of two; or NULL where
 * no free memory fits. *zeroed tells that no byte of it was ever handed out: never
 * wrongly, but a page that was skipped for a boundary counts as handed out.
 */
void *runs_take(struct runs *r, size_t size, size_t align, bool *zeroed);
/* As runs_take() gave it: anything else ends the program. */
void runs_give(struct runs *r, void *p);
/* Bytes of the run that begins at p, whatever p is; 0 if none does. */
size_t runs_size(const struct runs *r, const void *p);
/*
 * Make a run shorter, or longer if what is behind it is free. It stays where it
 * is, and on false, as it is.
 */
bool runs_resize(struct runs *r, void *p, size_t size);
/*
 * Call fn for free memory of at least size bytes, large pieces before small ones,
 * until it returns false; but not where nothing was ever handed out. It must not
 * change anything.
 */
void runs_each_free(const struct runs *r, size_t size,
		    bool (*fn)(void *run, size_t size, void *arg), void *arg);
/* Take size bytes from p on, whole pages, of the free memory that begins at run. */
void runs_take_part(struct runs *r, void *run, void *p, size_t size);
/* Bytes of all runs in use; and of the largest one that is free. */
size_t runs_used(const struct runs *r);
size_t runs_largest(const struct runs *r);
/* Call fn for each run in use, by address; it must not take, give or resize. */
void runs_each(const struct runs *r,
	       void (*fn)(void *p, size_t size, void *arg), void *arg);

#endif /* FBUF_RUNS_H */
