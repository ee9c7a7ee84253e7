// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What holds of composites and aggregates: each rule is tried with components of
 * every kind. TAP out; Documentation/views.rst has the table.
 */

#include <errno.h>

#include "test_view.h"

/* What components are made by, in this run. */
static const struct kind *kind;

/* A component of len bytes of the pattern from a place on. */
static struct fbuf_view *part(size_t from, size_t len)
{
	return kind->make(100 + from, len);
}

static bool has(struct fbuf_view *v, size_t index, size_t from, size_t len)
{
	return has_bytes(v, index, 100 + from, len);
}

static struct fbuf_view *empty(unsigned int max)
{
	return root(fbuf_view_composite(max));
}

/* Of nr components of ten bytes. */
static struct fbuf_view *tens(unsigned int nr, unsigned int max)
{
	struct fbuf_view *c = empty(max);
	unsigned int i;

	for (i = 0; i < nr; i++)
		CHECK(!fbuf_view_add(c, part(10 * i, 10)));
	return c;
}

static void begins_empty(void)
{
	struct fbuf_view *c = empty(16);

	CHECK(!fbuf_view_components(c) && !fbuf_view_capacity(c));
	CHECK(cursors_are(c, 0, 0) && fbuf_view_count(c) == 1);
	CHECK(!fbuf_view_component(c, 0) && !fbuf_view_data(c));
	CHECK(fbuf_view_component_at(c, 0) == -ERANGE);
	CHECK(fbuf_view_release(c));
}

static void adds_in_order(void)
{
	struct fbuf_view *c = tens(5, 0);

	CHECK(fbuf_view_components(c) == 5 && cursors_are(c, 0, 50));
	CHECK(fbuf_view_capacity(c) == 50 && has(c, 0, 0, 50));
	CHECK(fbuf_view_release(c));
}

static void owns(void)
{
	struct fbuf_view *c = empty(0), *p = part(0, 10);

	CHECK(!fbuf_view_add(c, p) && fbuf_view_count(p) == 1);
	CHECK(ended < made);
	CHECK(fbuf_view_release(c) && ended == made);
}

static void owns_one_reference(void)
{
	struct fbuf_view *c = empty(0), *p = part(0, 10);

	fbuf_view_retain(p);
	CHECK(!fbuf_view_add(c, p) && fbuf_view_count(p) == 2);
	CHECK(fbuf_view_release(c) && fbuf_view_count(p) == 1);
	CHECK(has(p, 0, 0, 10) && fbuf_view_release(p));
}

static void takes_readable(void)
{
	struct fbuf_view *c = empty(0), *p = part(0, 30);

	CHECK(!fbuf_view_set_cursors(p, 5, 20));
	CHECK(!fbuf_view_add(c, p) && fbuf_view_capacity(c) == 15);
	CHECK(has(c, 0, 5, 15));
	CHECK(!fbuf_view_set_cursors(p, 0, 3) && has(c, 0, 5, 15));
	CHECK(fbuf_view_release(c));
}

static void inserts(void)
{
	struct fbuf_view *c = tens(2, 0);

	CHECK(!fbuf_view_insert(c, 1, part(50, 5), 1));
	CHECK(fbuf_view_components(c) == 3 && cursors_are(c, 0, 25));
	CHECK(has(c, 0, 0, 10) && has(c, 10, 50, 5) && has(c, 15, 10, 10));
	CHECK(!fbuf_view_insert(c, 0, part(60, 3), 1) && has(c, 0, 60, 3));
	CHECK(has(c, 13, 50, 5) && cursors_are(c, 0, 28));
	CHECK(!fbuf_view_insert(c, 4, part(70, 2), 1) && has(c, 28, 70, 2));
	CHECK(fbuf_view_release(c));
}

static void inserts_without_advance(void)
{
	struct fbuf_view *c = empty(0);

	CHECK(!fbuf_view_insert(c, 0, part(0, 10), 0));
	CHECK(fbuf_view_capacity(c) == 10 && cursors_are(c, 0, 0));
	CHECK(!fbuf_view_set_cursors(c, 0, 10) && has(c, 0, 0, 10));
	CHECK(fbuf_view_release(c));
}

/* The component's reference is gone all the same. */
static void refuses(void)
{
	struct fbuf_view *c = tens(2, 0), *flat = text("flat");
	struct fbuf_view *s = fbuf_view_slice(c, 0, 5);
	int before = ended;

	CHECK(fbuf_view_insert(c, 3, text("a"), 1) == -ERANGE);
	CHECK(fbuf_view_add(flat, text("b")) == -EINVAL);
	CHECK(fbuf_view_add(s, text("c")) == -EINVAL);
	CHECK(fbuf_view_add_flat(flat, text("d")) == -EINVAL);
	CHECK(ended == before + 4);
	CHECK(fbuf_view_components(flat) == -EINVAL);
	CHECK(!fbuf_view_component(flat, 0));
	CHECK(fbuf_view_remove(flat, 0, 0) == -EINVAL);
	CHECK(fbuf_view_consolidate(s, 0, 1) == -EINVAL);
	CHECK(fbuf_view_concat(flat, c) == -EINVAL);
	CHECK(fbuf_view_replace(s, 0, 1, NULL) == -EINVAL);
	CHECK(fbuf_view_discard_components(flat) == -EINVAL);
	CHECK(has(c, 0, 0, 20) && reads_as(flat, "flat"));
	CHECK(fbuf_view_release(c) && fbuf_view_release(flat));
}

static void adds_empty(void)
{
	struct fbuf_view *c = tens(1, 0);

	CHECK(!fbuf_view_add(c, part(0, 0)) && !fbuf_view_add(c, part(10, 10)));
	CHECK(fbuf_view_components(c) == 3 && has(c, 0, 0, 20));
	CHECK(fbuf_view_component_at(c, 10) == 2);
	CHECK(fbuf_view_component_index(c, 1) == 10);
	CHECK(fbuf_view_component_index(c, 2) == 10);
	CHECK(fbuf_view_release(c));
}

static void finds_components(void)
{
	struct fbuf_view *c = tens(5, 0);
	int i;

	for (i = 0; i < 50; i++)
		CHECK(fbuf_view_component_at(c, i) == i / 10);
	for (i = 0; i < 5; i++)
		CHECK(fbuf_view_component_index(c, i) == 10 * i);
	CHECK(fbuf_view_component_at(c, 50) == -ERANGE);
	CHECK(fbuf_view_component_index(c, 5) == -ERANGE);
	CHECK(fbuf_view_release(c));
}

static void component_is_slice(void)
{
	struct fbuf_view *c = tens(3, 0), *p = fbuf_view_component(c, 1);

	CHECK(cursors_are(p, 0, 10) && has(p, 0, 10, 10));
	CHECK(fbuf_view_count(c) == 1 && fbuf_view_count(p) == 1);
	CHECK(fbuf_view_is_read_only(p) == !!(kind->is & CONST));
	/* It can outlive the composite: it is of the component. */
	fbuf_view_retain(p);
	CHECK(fbuf_view_release(c) && has(p, 0, 10, 10));
	CHECK(fbuf_view_release(p));
}

static void get_over_edges(void)
{
	struct fbuf_view *c = tens(5, 0);

	CHECK(has(c, 9, 9, 2) && has(c, 5, 5, 40) && has(c, 49, 49, 1));
	CHECK(fbuf_view_release(c));
}

static void set_over_edges(void)
{
	struct fbuf_view *c = tens(5, 0);
	char is[22];

	if (kind->is & CONST) {
		CHECK(fbuf_view_set(c, 9, "ab", 2) == -EACCES);
	} else {
		CHECK(!fbuf_view_set(c, 9, "0123456789abcdefghijkl", 22));
		CHECK(!fbuf_view_get(c, 9, is, 22));
		CHECK(!memcmp(is, "0123456789abcdefghijkl", 22));
		CHECK(has(c, 0, 0, 9) && has(c, 31, 31, 19));
	}
	CHECK(fbuf_view_release(c));
}

/* Of what may be written and what may not, nothing is written. */
static void set_all_or_none(void)
{
	struct fbuf_view *c = tens(1, 0), *t = text("xyz");

	CHECK(!fbuf_view_add(c, fbuf_view_read_only(t)));
	CHECK(fbuf_view_set(c, 9, "ab", 2) == -EACCES);
	CHECK(has(c, 0, 0, 10) && reads_as(t, "xyz"));
	CHECK(fbuf_view_release(c));
}

static void writes_are_seen_both_ways(void)
{
	struct fbuf_view *c = empty(0), *p = part(0, 10);
	char is[3];

	CHECK(!fbuf_view_add(c, p));
	if (!(kind->is & CONST)) {
		CHECK(!fbuf_view_set(c, 2, "abc", 3));
		CHECK(!fbuf_view_get(p, 2, is, 3) && !memcmp(is, "abc", 3));
		CHECK(!fbuf_view_set(p, 3, "z", 1));
		CHECK(!fbuf_view_get(c, 2, is, 3) && !memcmp(is, "azc", 3));
	}
	CHECK(fbuf_view_release(c));
}

static void consolidates_above_max(void)
{
	struct fbuf_view *c = tens(4, 4);

	CHECK(fbuf_view_components(c) == 4);
	CHECK(!fbuf_view_add(c, part(40, 10)));
	CHECK(fbuf_view_components(c) == 1 && has(c, 0, 0, 50));
	CHECK(cursors_are(c, 0, 50) && fbuf_view_data(c));
	/* In the heap that the first is of that is of one. */
	CHECK(!fbuf_heap_usable_size(heap, fbuf_view_data(c)) ||
	      !strstr(kind->name, "malloc"));
	CHECK(fbuf_heap_usable_size(heap, fbuf_view_data(c)) ||
	      !strstr(kind->name, "heap"));
	/* The components were let go of. */
	CHECK(ended == made - 1);
	CHECK(!fbuf_view_add(c, part(50, 10)) && has(c, 0, 0, 60));
	CHECK(fbuf_view_components(c) == 2 && fbuf_view_release(c));
}

static void consolidates_at_sixteen(void)
{
	struct fbuf_view *c = tens(16, 16);

	CHECK(fbuf_view_components(c) == 16);
	CHECK(!fbuf_view_add(c, part(160, 10)));
	CHECK(fbuf_view_components(c) == 1 && has(c, 0, 0, 170));
	CHECK(fbuf_view_release(c));
}

static void consolidates_never(void)
{
	struct fbuf_view *c = tens(40, 0);

	CHECK(fbuf_view_components(c) == 40 && has(c, 0, 0, 400));
	CHECK(fbuf_view_release(c));
}

static void consolidates_by_insert(void)
{
	struct fbuf_view *c = tens(2, 2);

	CHECK(!fbuf_view_insert(c, 1, part(50, 5), 1));
	CHECK(fbuf_view_components(c) == 1 && cursors_are(c, 0, 25));
	CHECK(has(c, 0, 0, 10) && has(c, 10, 50, 5) && has(c, 15, 10, 10));
	CHECK(fbuf_view_release(c));
}

static void consolidated_is_copied(void)
{
	struct fbuf_view *c = empty(0), *p = part(0, 10);

	fbuf_view_retain(p);
	CHECK(!fbuf_view_add(c, p) && !fbuf_view_add(c, part(10, 10)));
	CHECK(!fbuf_view_consolidate(c, 0, 2));
	CHECK(fbuf_view_count(p) == 1);
	CHECK(!fbuf_view_set(c, 0, "abc", 3) && has(p, 0, 0, 10));
	CHECK(fbuf_view_release(c) && fbuf_view_release(p));
}

static void consolidates_some(void)
{
	struct fbuf_view *c = tens(5, 0);

	CHECK(!fbuf_view_consolidate(c, 1, 3));
	CHECK(fbuf_view_components(c) == 3 && has(c, 0, 0, 50));
	CHECK(fbuf_view_component_index(c, 2) == 40);
	CHECK(!fbuf_view_consolidate(c, 0, 1) && !fbuf_view_consolidate(c, 3, 0));
	CHECK(fbuf_view_components(c) == 3);
	CHECK(fbuf_view_consolidate(c, 2, 2) == -ERANGE);
	CHECK(fbuf_view_consolidate(c, 4, 0) == -ERANGE);
	CHECK(fbuf_view_release(c));
}

static void removes(void)
{
	struct fbuf_view *c = tens(5, 0);
	int before = ended;

	CHECK(!fbuf_view_remove(c, 1, 2) && ended > before);
	CHECK(fbuf_view_components(c) == 3 && fbuf_view_capacity(c) == 30);
	CHECK(has(c, 0, 0, 10) && has(c, 10, 30, 20));
	CHECK(fbuf_view_component_index(c, 1) == 10);
	CHECK(fbuf_view_remove(c, 2, 2) == -ERANGE);
	CHECK(fbuf_view_remove(c, 4, 0) == -ERANGE);
	CHECK(!fbuf_view_remove(c, 0, 3) && !fbuf_view_capacity(c));
	CHECK(fbuf_view_release(c));
}

static void remove_moves_cursors(void)
{
	struct fbuf_view *c = tens(5, 0);

	CHECK(!fbuf_view_set_cursors(c, 35, 45));
	CHECK(!fbuf_view_remove(c, 4, 1) && cursors_are(c, 35, 40));
	CHECK(!fbuf_view_remove(c, 0, 1) && cursors_are(c, 30, 30));
	CHECK(fbuf_view_release(c));
}

static void discards_components(void)
{
	struct fbuf_view *c = tens(5, 0);
	int before = ended;

	CHECK(!fbuf_view_discard_components(c) && ended == before);
	CHECK(!fbuf_view_skip(c, 25));
	CHECK(!fbuf_view_discard_components(c) && ended > before);
	CHECK(fbuf_view_components(c) == 3 && cursors_are(c, 5, 30));
	CHECK(fbuf_view_capacity(c) == 30 && has(c, 0, 20, 30));
	/* Up to an edge, all before it. */
	CHECK(!fbuf_view_skip(c, 15) && !fbuf_view_discard_components(c));
	CHECK(fbuf_view_components(c) == 1 && cursors_are(c, 0, 10));
	CHECK(fbuf_view_release(c));
}

static void discards_all(void)
{
	struct fbuf_view *c = tens(5, 0);

	CHECK(!fbuf_view_skip(c, 50) && !fbuf_view_discard_components(c));
	CHECK(!fbuf_view_components(c) && cursors_are(c, 0, 0));
	CHECK(ended == made - 1 && !fbuf_view_add(c, part(7, 7)));
	CHECK(has(c, 0, 7, 7) && fbuf_view_release(c));
}

static void discards_bytes(void)
{
	struct fbuf_view *c = tens(5, 0);

	CHECK(!fbuf_view_skip(c, 25) && !fbuf_view_discard(c));
	CHECK(fbuf_view_components(c) == 3 && cursors_are(c, 0, 25));
	CHECK(has(c, 0, 25, 25) && fbuf_view_component_index(c, 1) == 5);
	CHECK(!fbuf_view_discard(c) && has(c, 0, 25, 25));
	CHECK(fbuf_view_release(c));
}

static void capacity_pads(void)
{
	struct fbuf_view *c = tens(2, 0);

	CHECK(!fbuf_view_set_capacity(c, 30) && cursors_are(c, 0, 20));
	CHECK(fbuf_view_components(c) == 3 && has(c, 0, 0, 20));
	CHECK(!fbuf_view_set(c, 20, "abcdefghij", 10));
	CHECK(!fbuf_view_set_capacity(c, 30) && fbuf_view_components(c) == 3);
	CHECK(fbuf_view_release(c));
}

static void capacity_trims(void)
{
	struct fbuf_view *c = tens(5, 0);
	int before = ended;

	CHECK(!fbuf_view_set_cursors(c, 20, 50));
	CHECK(!fbuf_view_set_capacity(c, 35) && cursors_are(c, 20, 35));
	CHECK(fbuf_view_components(c) == 4 && has(c, 0, 0, 35));
	CHECK(ended > before);
	CHECK(!fbuf_view_set_capacity(c, 10) && cursors_are(c, 10, 10));
	CHECK(fbuf_view_components(c) == 1 && has(c, 0, 0, 10));
	CHECK(!fbuf_view_set_capacity(c, 0) && !fbuf_view_components(c));
	CHECK(fbuf_view_release(c));
}

static void write_grows(void)
{
	struct fbuf_view *c = tens(2, 3);

	CHECK(!fbuf_view_write(c, "abc", 3) && cursors_are(c, 0, 23));
	CHECK(fbuf_view_components(c) == 3 && fbuf_view_capacity(c) == 23);
	/* One more is too many. */
	CHECK(!fbuf_view_write(c, "def", 3) && cursors_are(c, 0, 26));
	CHECK(fbuf_view_components(c) == 1 && has(c, 0, 0, 20));
	CHECK(!fbuf_view_skip(c, 20) && reads_as(c, "abcdef"));
	CHECK(fbuf_view_release(c));
}

static void slice_follows(void)
{
	struct fbuf_view *c = tens(3, 0), *s = fbuf_view_slice(c, 5, 20);
	struct fbuf_view *d = fbuf_view_duplicate(c);
	unsigned char byte;

	CHECK(!fbuf_view_insert(c, 0, part(50, 5), 1));
	CHECK(has(s, 0, 0, 20) && fbuf_view_capacity(s) == 20);
	CHECK(fbuf_view_capacity(d) == 35 && cursors_are(d, 0, 30));
	/* It ends before the slice does: what is left can be had. */
	CHECK(!fbuf_view_remove(c, 2, 2));
	CHECK(has(s, 0, 0, 10) && fbuf_view_get(s, 10, &byte, 1) == -ERANGE);
	CHECK(fbuf_view_get(s, 0, &byte, 1) == 0 && !fbuf_view_data(s));
	CHECK(!fbuf_view_slice(s, 5, 10) && fbuf_view_capacity(d) == 15);
	CHECK(fbuf_view_release(c));
}

static void retained_slice_keeps_all(void)
{
	struct fbuf_view *c = tens(3, 0);
	struct fbuf_view *s = fbuf_view_retained_slice(c, 15, 10);

	CHECK(!fbuf_view_release(c) && has(s, 0, 15, 10));
	CHECK(ended < made && fbuf_view_release(s));
}

static void nests(void)
{
	struct fbuf_view *c = tens(2, 0), *inner = empty(0);

	CHECK(!fbuf_view_add(inner, part(20, 10)));
	CHECK(!fbuf_view_add(inner, part(30, 10)));
	CHECK(!fbuf_view_add(c, inner) && fbuf_view_components(c) == 3);
	CHECK(has(c, 0, 0, 40) && has(c, 15, 15, 20));
	CHECK(!fbuf_view_consolidate(c, 1, 2) && has(c, 0, 0, 40));
	CHECK(fbuf_view_release(c));
}

/* What is inside became shorter: what is missing cannot be had. */
static void nested_becomes_shorter(void)
{
	struct fbuf_view *c = tens(1, 0), *inner = empty(0), *a = tens(2, 0);
	struct iovec iov[8];
	char bytes[30];

	CHECK(!fbuf_view_add(inner, part(10, 10)));
	CHECK(!fbuf_view_add(inner, part(20, 10)));
	fbuf_view_retain(inner);
	CHECK(!fbuf_view_add(c, inner) && !fbuf_view_remove(inner, 1, 1));
	CHECK(has(c, 0, 0, 20) && fbuf_view_get(c, 15, bytes, 10) == -ERANGE);
	CHECK(fbuf_view_iovec(c, 0, 30, iov, 8) == -ERANGE);
	CHECK(fbuf_view_set(c, 0, bytes, 30) ==
	      (kind->is & CONST ? -EACCES : -ERANGE));
	CHECK(has(c, 0, 0, 20));
	CHECK(fbuf_view_consolidate(c, 0, 2) == -ERANGE);
	CHECK(!fbuf_view_aggregate(c) && !fbuf_view_copy(c, NULL, 0, 30));
	CHECK(!fbuf_view_component(c, 1));
	/* What was to stay of a component is let go of again. */
	CHECK(fbuf_view_replace(a, 5, 2, c) == -ERANGE && has(a, 0, 0, 20));
	CHECK(fbuf_view_release(c) && fbuf_view_release(inner));
	CHECK(fbuf_view_release(a));
}

static void component_becomes_shorter(void)
{
	struct fbuf_view *c = tens(1, 0), *t = text("abcdef");
	char bytes[16];

	fbuf_view_retain(t);
	CHECK(!fbuf_view_add(c, t) && !fbuf_view_set_capacity(t, 3));
	CHECK(!fbuf_view_get(c, 0, bytes, 13) && !memcmp(bytes + 10, "abc", 3));
	CHECK(fbuf_view_get(c, 0, bytes, 14) == -ERANGE);
	CHECK(fbuf_view_get(c, 13, bytes, 1) == -ERANGE);
	CHECK(!fbuf_view_release(t) && fbuf_view_release(c));
}

/* Of one memory, one after the other: one piece to send. */
static void neighbours_are_one_piece(void)
{
	struct fbuf_view *c = empty(0), *t = text("0123456789");
	struct iovec iov[4];

	CHECK(!fbuf_view_add(c, fbuf_view_retained_slice(t, 0, 4)));
	CHECK(!fbuf_view_add(c, fbuf_view_retained_slice(t, 4, 3)));
	CHECK(!fbuf_view_add(c, fbuf_view_retained_slice(t, 8, 2)));
	CHECK(!fbuf_view_add(c, part(0, 1)) && fbuf_view_components(c) == 4);
	CHECK(fbuf_view_iovec(c, 0, 9, iov, 4) == 2);
	CHECK(iov[0].iov_len == 7 && iov[1].iov_len == 2);
	CHECK(!memcmp(iov[0].iov_base, "0123456", 7));
	/* Also as the last one that there is room for. */
	CHECK(fbuf_view_iovec(c, 2, 7, iov, 1) == 1 && iov[0].iov_len == 5);
	CHECK(!fbuf_view_release(t) && fbuf_view_release(c));
}

static void no_loops(void)
{
	struct fbuf_view *a = tens(1, 0), *b = tens(1, 0);

	fbuf_view_retain(a);
	CHECK(fbuf_view_add(a, a) == -ELOOP && fbuf_view_count(a) == 1);
	fbuf_view_retain_many(b, 2);
	CHECK(!fbuf_view_add(a, b));
	fbuf_view_retain(a);
	CHECK(fbuf_view_add(b, a) == -ELOOP && fbuf_view_count(a) == 1);
	CHECK(fbuf_view_add(b, fbuf_view_retained_slice(a, 0, 5)) == -ELOOP);
	CHECK(fbuf_view_count(a) == 1 && fbuf_view_components(b) == 1);
	CHECK(fbuf_view_release(a) && fbuf_view_release_many(b, 2));
}

static void not_too_deep(void)
{
	struct fbuf_view *c = tens(1, 0), *outer;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < 100 && !ret; i++) {
		outer = empty(0);
		ret = fbuf_view_add(outer, c);
		c = outer;
	}
	CHECK(ret == -ELOOP && i > 60 && i < 70);
	CHECK(fbuf_view_release(c));
}

/* They end one after the other, not one inside the other. */
static void ends_deep(void)
{
	struct fbuf_view *v = part(0, 10), *s;
	unsigned int i;

	for (i = 0; i < 200000; i++) {
		s = fbuf_view_retained_slice(v, 0, 10);
		fbuf_view_release(v);
		v = s;
	}
	CHECK(has(v, 0, 0, 10) && ended < made && fbuf_view_release(v));
}

static void adds_flat(void)
{
	struct fbuf_view *c = tens(1, 0), *inner = empty(0);

	CHECK(!fbuf_view_add(inner, part(5, 20)));
	CHECK(!fbuf_view_add(inner, part(25, 10)));
	CHECK(!fbuf_view_set_cursors(inner, 5, 25));
	CHECK(!fbuf_view_add_flat(c, inner));
	/* Its components, and only what was readable. */
	CHECK(fbuf_view_components(c) >= 3 && cursors_are(c, 0, 30));
	CHECK(has(c, 0, 0, 30) && !fbuf_view_add_flat(c, part(30, 0)));
	CHECK(fbuf_view_capacity(c) == 30 && fbuf_view_release(c));
}

static void flat_is_no_loop(void)
{
	struct fbuf_view *c = tens(2, 0);

	CHECK(!fbuf_view_concat(c, c) && has(c, 0, 0, 20) && has(c, 20, 0, 20));
	fbuf_view_retain(c);
	CHECK(fbuf_view_add_flat(c, c) == -EINVAL);
	CHECK(!fbuf_view_release(c) && fbuf_view_release(c));
}

static void aggregate_is_its_own(void)
{
	struct fbuf_view *c = tens(3, 0), *a = root(fbuf_view_aggregate(c));

	/* What is done to one is not done to the other. */
	CHECK(!fbuf_view_remove(c, 0, 2) && has(a, 0, 0, 30));
	CHECK(!fbuf_view_truncate(a, 5) && has(c, 0, 20, 10));
	CHECK(!fbuf_view_concat(a, c) && has(a, 0, 0, 5) && has(a, 5, 20, 10));
	CHECK(fbuf_view_capacity(c) == 10);
	CHECK(fbuf_view_release(c) && has(a, 5, 20, 10));
	CHECK(fbuf_view_release(a));
}

static void concats(void)
{
	struct fbuf_view *a = empty(0), *p = part(0, 20);

	CHECK(!fbuf_view_set_cursors(p, 5, 15));
	CHECK(!fbuf_view_concat(a, p) && fbuf_view_len(p) == 10);
	CHECK(fbuf_view_count(p) > 1 || kind->is & (PARTED | LIST | BELOW));
	CHECK(has(a, 0, 5, 10));
	CHECK(!fbuf_view_concat(a, p) && has(a, 10, 5, 10));
	CHECK(cursors_are(a, 0, 20));
	fbuf_view_release(p);
	CHECK(has(a, 0, 5, 10) && has(a, 10, 5, 10) && fbuf_view_release(a));
}

static void concat_at_cursor(void)
{
	struct fbuf_view *a = tens(2, 0), *p = part(50, 5);

	CHECK(!fbuf_view_set_cursors(a, 0, 13) && !fbuf_view_concat(a, p));
	CHECK(cursors_are(a, 0, 18) && fbuf_view_capacity(a) == 25);
	CHECK(has(a, 0, 0, 13) && has(a, 13, 50, 5) && has(a, 18, 13, 7));
	fbuf_view_release(p);
	CHECK(has(a, 13, 50, 5) && fbuf_view_release(a));
}

static void concat_joins(void)
{
	struct fbuf_view *v = of_malloc(100, 30), *a = empty(0), *s;

	/* What lies one after the other in one view is one component. */
	CHECK(!fbuf_view_truncate(v, 10) && !fbuf_view_concat(a, v));
	CHECK(!fbuf_view_set_cursors(v, 10, 30) && !fbuf_view_concat(a, v));
	CHECK(fbuf_view_components(a) <= 2 && has(a, 0, 0, 30));
	CHECK(!fbuf_view_replace(a, 5, 0, NULL));
	s = fbuf_view_aggregate(a);
	CHECK(fbuf_view_components(s) == 1 && fbuf_view_data(s));
	CHECK(fbuf_view_release(s) && !fbuf_view_release(v));
	CHECK(fbuf_view_release(a));
}

static void truncates(void)
{
	struct fbuf_view *a = tens(5, 0);
	int before = ended;

	CHECK(!fbuf_view_skip(a, 5) && !fbuf_view_truncate(a, 20));
	CHECK(cursors_are(a, 5, 25) && fbuf_view_capacity(a) == 25);
	CHECK(fbuf_view_components(a) == 3 && has(a, 0, 0, 25));
	CHECK(ended > before && fbuf_view_truncate(a, 21) == -ERANGE);
	CHECK(fbuf_view_release(a));
}

static void replaces(void)
{
	struct fbuf_view *a = tens(5, 0), *p = part(100, 17);

	/* From inside the second to inside the fourth. */
	CHECK(!fbuf_view_replace(a, 15, 18, p));
	CHECK(fbuf_view_capacity(a) == 49 && cursors_are(a, 0, 49));
	CHECK(has(a, 0, 0, 15) && has(a, 15, 100, 17) && has(a, 32, 33, 17));
	fbuf_view_release(p);
	CHECK(has(a, 15, 100, 17));
	CHECK(fbuf_view_release(a));
}

static void replaces_inside_one(void)
{
	struct fbuf_view *a = empty(0), *p = part(0, 40), *t = text("xyz");

	CHECK(!fbuf_view_concat(a, p) && !fbuf_view_replace(a, 10, 5, t));
	CHECK(fbuf_view_capacity(a) == 38 && has(a, 0, 0, 10));
	CHECK(has(a, 13, 15, 25) && has(p, 0, 0, 40));
	CHECK(!fbuf_view_set_cursors(a, 10, 13) && reads_as(a, "xyz"));
	CHECK(!fbuf_view_release(t));
	fbuf_view_release(p);
	CHECK(has(a, 0, 0, 10) && fbuf_view_release(a));
}

static void replaces_by_nothing(void)
{
	struct fbuf_view *a = tens(5, 0);

	CHECK(!fbuf_view_replace(a, 10, 10, NULL) && has(a, 0, 0, 10));
	CHECK(fbuf_view_components(a) == 4 && has(a, 10, 20, 30));
	CHECK(!fbuf_view_replace(a, 0, 0, NULL) && has(a, 10, 20, 30));
	CHECK(!fbuf_view_replace(a, 0, 40, NULL) && !fbuf_view_capacity(a));
	CHECK(!fbuf_view_components(a) && fbuf_view_release(a));
}

static void replaces_at_offset(void)
{
	struct fbuf_view *a = tens(3, 0), *t = text("xyz");

	/* Offsets are from the read cursor. */
	CHECK(!fbuf_view_set_cursors(a, 10, 25));
	CHECK(!fbuf_view_replace(a, 2, 3, t) && cursors_are(a, 10, 25));
	CHECK(has(a, 0, 0, 12) && has(a, 15, 15, 15));
	CHECK(fbuf_view_replace(a, 0, 16, t) == -ERANGE);
	CHECK(fbuf_view_replace(a, 16, 0, t) == -ERANGE);
	CHECK(fbuf_view_replace(a, 1, SIZE_MAX, t) == -ERANGE);
	CHECK(!fbuf_view_replace(a, 15, 0, t) && cursors_are(a, 10, 28));
	CHECK(has(a, 28, 25, 5) && !fbuf_view_release(t));
	CHECK(fbuf_view_release(a));
}

static void read_only_stays(void)
{
	struct fbuf_view *v = text("hello"), *r = fbuf_view_read_only(v);
	struct fbuf_view *a = empty(0), *b = empty(0), *p = tens(1, 0);

	CHECK(!fbuf_view_concat(a, r) && !fbuf_view_concat(b, a));
	CHECK(fbuf_view_set(a, 0, "j", 1) == -EACCES);
	CHECK(fbuf_view_set(b, 0, "j", 1) == -EACCES);
	CHECK(fbuf_view_is_read_only(fbuf_view_component(b, 0)));
	CHECK(!fbuf_view_set(v, 0, "j", 1) && reads_as(b, "jello"));
	/* Through a read-only composite, too. */
	CHECK(!fbuf_view_concat(a, fbuf_view_read_only(p)));
	CHECK(fbuf_view_set(a, 5, "j", 1) == -EACCES);
	CHECK(fbuf_view_is_read_only(fbuf_view_component(a, 1)));
	CHECK(fbuf_view_release(a) && fbuf_view_release(b));
	/* Next to what is the same, but for that. */
	a = root(fbuf_view_aggregate(v));
	r = fbuf_view_read_only(a);
	CHECK(!fbuf_view_skip(r, 2) && !fbuf_view_replace(a, 2, 3, r));
	CHECK(fbuf_view_set(a, 2, "j", 1) == -EACCES);
	CHECK(!fbuf_view_set(a, 1, "o", 1) && reads_as(a, "jollo"));
	CHECK(fbuf_view_release(a));
	CHECK(fbuf_view_release(p) && fbuf_view_release(v));
}

static struct fbuf_view *watched;
static int saw;

static void looks(void *arg)
{
	(void)arg;
	ended++;
	saw = fbuf_view_components(watched);
}

/* Who hears that a component is gone finds the composite as it is then. */
static void callback_sees_it_done(void)
{
	struct fbuf_view *c = tens(2, 0), *t = text("abc");

	fbuf_view_on_release(t, looks, NULL);
	CHECK(!fbuf_view_insert(c, 1, t, 1));
	watched = c;
	saw = -1;
	CHECK(!fbuf_view_remove(c, 1, 1) && saw == 2);
	CHECK(fbuf_view_release(c));
}

static void same_twice(void)
{
	struct fbuf_view *c = empty(0), *p = part(0, 10);

	fbuf_view_retain(p);
	CHECK(!fbuf_view_add(c, p) && !fbuf_view_add(c, p));
	CHECK(has(c, 0, 0, 10) && has(c, 10, 0, 10));
	CHECK(!fbuf_view_remove(c, 0, 1) && has(c, 0, 0, 10));
	CHECK(fbuf_view_release(c));
}

static void too_long(void)
{
	static char byte;
	struct fbuf_view *c = empty(0);
	struct fbuf_view *huge = fbuf_view_wrap(&byte, SIZE_MAX - 5, NULL, NULL);

	fbuf_view_retain(huge);
	CHECK(!fbuf_view_add(c, huge));
	CHECK(fbuf_view_add(c, part(0, 10)) == -EOVERFLOW);
	CHECK(fbuf_view_write(c, "0123456789", 10) == -EOVERFLOW);
	CHECK(fbuf_view_concat(c, huge) == -EOVERFLOW);
	CHECK(fbuf_view_capacity(c) == SIZE_MAX - 5);
	CHECK(!fbuf_view_release(huge) && fbuf_view_release(c));
}

static const struct {
	const char *name;
	void (*run)(void);
} rules[] = {
	{ "a composite begins empty", begins_empty },
	{ "components are in order, and readable", adds_in_order },
	{ "a composite owns its components", owns },
	{ "a composite has one reference to each", owns_one_reference },
	{ "a component is what was readable", takes_readable },
	{ "a component before others moves them", inserts },
	{ "without advance the write cursor stays", inserts_without_advance },
	{ "what fails has the component's reference all the same", refuses },
	{ "an empty component is one", adds_empty },
	{ "components are found by index", finds_components },
	{ "a component is had as a slice of it", component_is_slice },
	{ "get goes over edges", get_over_edges },
	{ "set goes over edges", set_over_edges },
	{ "set writes all or nothing", set_all_or_none },
	{ "writes are seen both ways", writes_are_seen_both_ways },
	{ "more components than max are copied into one",
	  consolidates_above_max },
	{ "with a max of 16 the 17th does that", consolidates_at_sixteen },
	{ "without a max nothing does", consolidates_never },
	{ "one before others does that, too", consolidates_by_insert },
	{ "consolidated bytes are copies", consolidated_is_copied },
	{ "some components are consolidated", consolidates_some },
	{ "components are removed", removes },
	{ "removing moves cursors into the capacity", remove_moves_cursors },
	{ "components that were read are discarded", discards_components },
	{ "when all was read all go", discards_all },
	{ "bytes that were read are discarded", discards_bytes },
	{ "more capacity is one more component", capacity_pads },
	{ "less capacity lets go of components", capacity_trims },
	{ "writing adds a component", write_grows },
	{ "parts follow what becomes of a composite", slice_follows },
	{ "a retained slice keeps all of it", retained_slice_keeps_all },
	{ "composites in composites", nests },
	{ "a composite inside may become shorter", nested_becomes_shorter },
	{ "a component may become shorter", component_becomes_shorter },
	{ "neighbours in memory are one piece", neighbours_are_one_piece },
	{ "no composite contains itself", no_loops },
	{ "composites do not nest too deep", not_too_deep },
	{ "long chains end one by one", ends_deep },
	{ "flat: components are added, not the composite", adds_flat },
	{ "flat: a composite after itself is no loop", flat_is_no_loop },
	{ "an aggregate is a value of its own", aggregate_is_its_own },
	{ "concatenation is by reference", concats },
	{ "concatenation is at the write cursor", concat_at_cursor },
	{ "what is next to each other is joined", concat_joins },
	{ "truncation lets go of the rest", truncates },
	{ "replacing splits components", replaces },
	{ "replacing inside one component", replaces_inside_one },
	{ "replacing by nothing removes", replaces_by_nothing },
	{ "replacing is at an offset", replaces_at_offset },
	{ "what is read-only stays so in aggregates", read_only_stays },
	{ "a callback finds the composite as it is", callback_sees_it_done },
	{ "the same component twice", same_twice },
	{ "longer than memory is refused", too_long },
};

#define NR_RULES	(sizeof(rules) / sizeof(*rules))
#define NR_KINDS	(sizeof(kinds) / sizeof(*kinds))

int main(void)
{
	unsigned int i, nr = 0;
	int ret = 0;

	setlinebuf(stdout);
	printf("TAP version 13\n1..%zu\n", NR_RULES * NR_KINDS + 1);
	pools_begin(FBUF_POOL_SNAPSHOT);
	for (i = 0; i < NR_RULES * NR_KINDS; i++) {
		kind = kinds + i % NR_KINDS;
		made = 0;
		ended = 0;
		failed = false;
		rules[i / NR_KINDS].run();
		CHECK(made == ended);
		printf("%sok %u %s: %s\n", failed ? "not " : "", ++nr,
		       rules[i / NR_KINDS].name, kind->name);
		ret |= failed;
	}
	failed = false;
	pools_end();
	printf("%sok %u nothing is left of any\n", failed ? "not " : "", ++nr);
	return ret | failed;
}
