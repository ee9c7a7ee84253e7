// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What holds of views of every kind: cursors, bytes, parts, counts. Each rule is
 * tried on each kind. TAP out; Documentation/views.rst has the table.
 */

#include <errno.h>

#include "test_view.h"

#define FROM	100U
#define LEN	84U

static unsigned char some[LEN + 100];

/* All of a view as it should be, but for cursors. */
static bool intact(struct fbuf_view *v)
{
	return fbuf_view_capacity(v) == LEN && has_bytes(v, 0, FROM, LEN);
}

static void begins(struct fbuf_view *v, const struct kind *k)
{
	CHECK(cursors_are(v, 0, LEN) && fbuf_view_len(v) == LEN);
	CHECK(fbuf_view_count(v) == 1 && intact(v));
	CHECK(fbuf_view_is_read_only(v) == !!(k->is & CONST));
}

static void get_moves_nothing(struct fbuf_view *v, const struct kind *k)
{
	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 10, 20));
	CHECK(has_bytes(v, 40, FROM + 40, 44) && has_bytes(v, 0, FROM, 5));
	CHECK(cursors_are(v, 10, 20));
}

static void get_outside(struct fbuf_view *v, const struct kind *k)
{
	unsigned char byte = 0x55;

	(void)k;
	CHECK(fbuf_view_get(v, LEN, &byte, 1) == -ERANGE);
	CHECK(fbuf_view_get(v, LEN + 1, &byte, 0) == -ERANGE);
	CHECK(fbuf_view_get(v, 1, some, LEN) == -ERANGE);
	CHECK(fbuf_view_get(v, SIZE_MAX, some, 2) == -ERANGE);
	CHECK(fbuf_view_get(v, 2, some, SIZE_MAX) == -ERANGE);
	CHECK(!fbuf_view_get(v, LEN, &byte, 0) && byte == 0x55);
}

static void set_moves_nothing(struct fbuf_view *v, const struct kind *k)
{
	unsigned char is[3];

	CHECK(!fbuf_view_set_cursors(v, 10, 20));
	if (k->is & CONST) {
		CHECK(fbuf_view_set(v, 11, "abc", 3) == -EACCES && intact(v));
		return;
	}
	/* Over the edges of components, and beyond what is readable. */
	CHECK(!fbuf_view_set(v, 11, "abc", 3) && !fbuf_view_set(v, 80, "z", 1));
	CHECK(!fbuf_view_get(v, 11, is, 3) && !memcmp(is, "abc", 3));
	CHECK(!fbuf_view_get(v, 80, is, 1) && is[0] == 'z');
	CHECK(has_bytes(v, 0, FROM, 11) && has_bytes(v, 14, FROM + 14, 66));
	CHECK(has_bytes(v, 81, FROM + 81, 3) && cursors_are(v, 10, 20));
}

static void set_outside(struct fbuf_view *v, const struct kind *k)
{
	(void)k;
	CHECK(fbuf_view_set(v, LEN - 1, "ab", 2) == -ERANGE);
	CHECK(fbuf_view_set(v, LEN + 1, "", 0) == -ERANGE);
	CHECK(fbuf_view_set(v, SIZE_MAX, "ab", 2) == -ERANGE);
	CHECK(intact(v) && cursors_are(v, 0, LEN));
}

static void reads(struct fbuf_view *v, const struct kind *k)
{
	unsigned char is[LEN], want[LEN];

	(void)k;
	fill_bytes(want, FROM, LEN);
	CHECK(!fbuf_view_read(v, is, 30) && cursors_are(v, 30, LEN));
	CHECK(!fbuf_view_read(v, is + 30, LEN - 30));
	CHECK(!memcmp(is, want, LEN) && cursors_are(v, LEN, LEN));
}

static void reads_too_much(struct fbuf_view *v, const struct kind *k)
{
	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 10, 20));
	CHECK(fbuf_view_read(v, some, 11) == -ERANGE);
	CHECK(fbuf_view_skip(v, 11) == -ERANGE && cursors_are(v, 10, 20));
	CHECK(!fbuf_view_skip(v, 10) && cursors_are(v, 20, 20));
	CHECK(fbuf_view_read(v, some, 1) == -ERANGE);
	CHECK(!fbuf_view_read(v, some, 0) && cursors_are(v, 20, 20));
}

static void writes(struct fbuf_view *v, const struct kind *k)
{
	CHECK(!fbuf_view_set_cursors(v, 5, 10));
	if (k->is & CONST) {
		CHECK(fbuf_view_write(v, "abcdef", 6) == -EACCES);
		CHECK(cursors_are(v, 5, 10) && intact(v));
		return;
	}
	CHECK(!fbuf_view_write(v, "abcdef", 6) && cursors_are(v, 5, 16));
	CHECK(!fbuf_view_skip(v, 5) && reads_as(v, "abcdef"));
	CHECK(has_bytes(v, 0, FROM, 10) && has_bytes(v, 16, FROM + 16, 68));
}

static void writes_past_end(struct fbuf_view *v, const struct kind *k)
{
	unsigned char is[100];

	memset(some, 'q', 100);
	CHECK(!fbuf_view_set_cursors(v, 0, LEN - 2));
	if (!(k->is & GROWS)) {
		CHECK(fbuf_view_write(v, some, 3) ==
		      (k->is & CONST ? -EACCES : -ENOSPC));
		CHECK(intact(v) && cursors_are(v, 0, LEN - 2));
		return;
	}
	CHECK(!fbuf_view_write(v, some, 100));
	CHECK(cursors_are(v, 0, LEN + 98) && fbuf_view_capacity(v) >= LEN + 98);
	CHECK(has_bytes(v, 0, FROM, LEN - 2));
	CHECK(!fbuf_view_get(v, LEN - 2, is, 100) && !memcmp(is, some, 100));
}

static void cursor_order(struct fbuf_view *v, const struct kind *k)
{
	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 3, 9));
	CHECK(fbuf_view_set_cursors(v, 10, 9) == -ERANGE);
	CHECK(fbuf_view_set_cursors(v, 0, LEN + 1) == -ERANGE);
	CHECK(fbuf_view_set_cursors(v, SIZE_MAX, 0) == -ERANGE);
	CHECK(cursors_are(v, 3, 9));
	CHECK(!fbuf_view_set_cursors(v, LEN, LEN) && !fbuf_view_len(v));
	CHECK(!fbuf_view_set_cursors(v, 0, 0) && !fbuf_view_len(v));
}

static void clears(struct fbuf_view *v, const struct kind *k)
{
	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 3, 9));
	fbuf_view_clear(v);
	CHECK(cursors_are(v, 0, 0) && intact(v));
}

static void slice_begins(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s;

	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 10, 20));
	s = fbuf_view_slice(v, 15, 50);
	CHECK(s && cursors_are(s, 0, 50) && fbuf_view_capacity(s) == 50);
	CHECK(has_bytes(s, 0, FROM + 15, 50) && cursors_are(v, 10, 20));
}

static void slice_shares(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s = fbuf_view_slice(v, 11, 60);
	unsigned char is[4];

	if (k->is & CONST) {
		CHECK(fbuf_view_set(s, 0, "abcd", 4) == -EACCES && intact(v));
		return;
	}
	CHECK(!fbuf_view_set(s, 0, "abcd", 4));
	CHECK(!fbuf_view_get(v, 11, is, 4) && !memcmp(is, "abcd", 4));
	CHECK(!fbuf_view_set(v, 12, "xy", 2));
	CHECK(!fbuf_view_get(s, 0, is, 4) && !memcmp(is, "axyd", 4));
}

static void slice_cursors(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s = fbuf_view_slice(v, 10, 30);

	(void)k;
	CHECK(!fbuf_view_skip(s, 7) && !fbuf_view_truncate(s, 3));
	CHECK(cursors_are(s, 7, 10) && cursors_are(v, 0, LEN));
	CHECK(!fbuf_view_skip(v, 50) && cursors_are(s, 7, 10));
	CHECK(has_bytes(s, 7, FROM + 17, 3));
}

static void slice_retains_nothing(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s = fbuf_view_slice(v, 1, 2);
	struct fbuf_view *t = fbuf_view_slice(s, 1, 1);

	(void)k;
	CHECK(fbuf_view_count(v) == 1 && fbuf_view_count(s) == 1);
	CHECK(fbuf_view_retain(t) == t && fbuf_view_count(v) == 2);
	CHECK(!fbuf_view_release(v) && fbuf_view_count(s) == 1);
}

static void slice_outside(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s;

	(void)k;
	CHECK(!fbuf_view_slice(v, 0, LEN + 1));
	CHECK(!fbuf_view_slice(v, LEN, 1) && !fbuf_view_slice(v, LEN + 1, 0));
	CHECK(!fbuf_view_slice(v, SIZE_MAX, 2));
	CHECK(!fbuf_view_slice(v, 2, SIZE_MAX));
	CHECK(!fbuf_view_retained_slice(v, LEN, 1) && fbuf_view_count(v) == 1);
	s = fbuf_view_slice(v, LEN, 0);
	CHECK(s && !fbuf_view_len(s) && !fbuf_view_capacity(s));
	CHECK(fbuf_view_get(s, 0, some, 1) == -ERANGE);
}

static void slice_of_slice(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s = fbuf_view_slice(v, 10, 60);
	struct fbuf_view *t = fbuf_view_slice(s, 20, 30);

	(void)k;
	CHECK(has_bytes(t, 0, FROM + 30, 30) && cursors_are(t, 0, 30));
	CHECK(!fbuf_view_slice(s, 31, 30) && !fbuf_view_slice(t, 0, 31));
}

static void slice_is_full(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s = fbuf_view_slice(v, 10, 20);

	CHECK(fbuf_view_write(s, "a", 1) ==
	      (k->is & CONST ? -EACCES : -ENOSPC));
	CHECK(fbuf_view_ensure(s, 1) == -ENOSPC && !fbuf_view_ensure(s, 0));
	CHECK(fbuf_view_set_capacity(s, 21) == -EINVAL);
	CHECK(intact(v));
}

static void duplicate_begins(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *d;

	CHECK(!fbuf_view_set_cursors(v, 10, 20));
	d = fbuf_view_duplicate(v);
	CHECK(d && cursors_are(d, 10, 20) && intact(d));
	CHECK(fbuf_view_count(v) == 1 && fbuf_view_count(d) == 1);
	CHECK(fbuf_view_is_read_only(d) == !!(k->is & CONST));
}

static void duplicate_cursors(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *d = fbuf_view_duplicate(v);

	(void)k;
	CHECK(!fbuf_view_set_cursors(d, 30, 40) && cursors_are(v, 0, LEN));
	CHECK(!fbuf_view_set_cursors(v, 1, 2) && cursors_are(d, 30, 40));
}

static void duplicate_shares(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *d = fbuf_view_duplicate(v);
	unsigned char is[2];

	CHECK(!fbuf_view_set_cursors(d, 0, 0));
	if (k->is & CONST) {
		CHECK(fbuf_view_write(d, "ab", 2) == -EACCES && intact(v));
		return;
	}
	CHECK(!fbuf_view_write(d, "ab", 2) && cursors_are(d, 0, 2));
	CHECK(!fbuf_view_get(v, 0, is, 2) && !memcmp(is, "ab", 2));
}

static void retained_slice(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s;
	int before = ended;

	(void)k;
	s = fbuf_view_retained_slice(v, 20, 30);
	CHECK(fbuf_view_count(v) == 2 && fbuf_view_count(s) == 1);
	CHECK(cursors_are(s, 0, 30) && has_bytes(s, 0, FROM + 20, 30));
	CHECK(fbuf_view_retain(s) == s && fbuf_view_count(s) == 2);
	CHECK(fbuf_view_count(v) == 2);
	CHECK(!fbuf_view_release(s) && fbuf_view_release(s));
	CHECK(fbuf_view_count(v) == 1 && ended == before && intact(v));
}

/* They consume the view. */
static void retained_slice_stays(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s = fbuf_view_retained_slice(v, 20, 30);
	struct fbuf_view *t = fbuf_view_retained_slice(s, 5, 10);
	int before = ended;

	(void)k;
	CHECK(!fbuf_view_release(v) && fbuf_view_release(s) == 0);
	CHECK(ended == before && has_bytes(t, 0, FROM + 25, 10));
	CHECK(fbuf_view_release(t));
}

static void retained_duplicate_stays(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *d;
	int before = ended;

	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 10, 20));
	d = fbuf_view_retained_duplicate(v);
	CHECK(fbuf_view_count(v) == 2 && fbuf_view_count(d) == 1);
	CHECK(!fbuf_view_release(v) && cursors_are(d, 10, 20) && intact(d));
	CHECK(ended == before && fbuf_view_release(d));
}

static void slice_releases(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s = fbuf_view_slice(v, 20, 30);

	(void)k;
	CHECK(fbuf_view_release(s) && made == ended);
}

static void read_slice(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s = fbuf_view_read_slice(v, 30);

	(void)k;
	CHECK(s && cursors_are(s, 0, 30) && fbuf_view_capacity(s) == 30);
	CHECK(has_bytes(s, 0, FROM, 30) && cursors_are(v, 30, LEN));
	CHECK(fbuf_view_count(v) == 1);
	s = fbuf_view_read_slice(v, LEN - 30);
	CHECK(has_bytes(s, 0, FROM + 30, LEN - 30) && !fbuf_view_len(v));
}

static void read_retained_slice(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s = fbuf_view_read_retained_slice(v, 30);

	(void)k;
	CHECK(s && has_bytes(s, 0, FROM, 30) && cursors_are(v, 30, LEN));
	CHECK(fbuf_view_count(v) == 2 && fbuf_view_count(s) == 1);
	CHECK(fbuf_view_release(s) && fbuf_view_count(v) == 1);
}

static void read_slice_too_much(struct fbuf_view *v, const struct kind *k)
{
	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 10, 20));
	CHECK(!fbuf_view_read_slice(v, 11));
	CHECK(!fbuf_view_read_retained_slice(v, 11));
	CHECK(fbuf_view_count(v) == 1 && cursors_are(v, 10, 20));
}

static void counts(struct fbuf_view *v, const struct kind *k)
{
	(void)k;
	CHECK(fbuf_view_retain(v) == v && fbuf_view_count(v) == 2);
	CHECK(fbuf_view_retain_many(v, 5) == v && fbuf_view_count(v) == 7);
	CHECK(!fbuf_view_release_many(v, 5) && !fbuf_view_release(v));
	CHECK(fbuf_view_count(v) == 1 && intact(v));
	CHECK(!fbuf_view_release(NULL) && !fbuf_view_release_many(NULL, 2));
}

static void last_release(struct fbuf_view *v, const struct kind *k)
{
	int before = ended;

	(void)k;
	fbuf_view_retain_many(v, 2);
	CHECK(!fbuf_view_release(v) && !fbuf_view_release(v));
	CHECK(ended == before && intact(v));
	CHECK(fbuf_view_release(v) && ended == made);
}

static void use_dead(void *arg)
{
	struct fbuf_view *v = arg;

	fbuf_view_release(v);
	fbuf_view_get(v, 0, some, 1);
}

static void slice_dead(void *arg)
{
	struct fbuf_view *v = arg, *s = fbuf_view_slice(v, 0, 1);

	fbuf_view_release(v);
	fbuf_view_len(s);
}

static void dead_is_found(struct fbuf_view *v, const struct kind *k)
{
	(void)k;
	CHECK(dies(use_dead, v, "used after its last release",
		   "fbuf_view_get()"));
	CHECK(dies(slice_dead, v, "used after its last release",
		   "fbuf_view_len()"));
}

static void release_twice(void *arg)
{
	fbuf_view_release(arg);
	fbuf_view_release(arg);
}

static void release_too_many(void *arg)
{
	fbuf_view_release_many(arg, 2);
}

static void retain_dead(void *arg)
{
	fbuf_view_release(arg);
	fbuf_view_retain(arg);
}

static void too_many_releases(struct fbuf_view *v, const struct kind *k)
{
	(void)k;
	CHECK(dies(release_twice, v, "fbuf_view_release()", "last release"));
	CHECK(dies(release_too_many, v, "released more often", NULL));
	CHECK(dies(retain_dead, v, "fbuf_view_retain()", "last release"));
}

static void copies(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *c, *d;

	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 10, 20));
	c = fbuf_view_copy(v, heap, 5, 50);
	d = fbuf_view_copy(v, NULL, LEN, 0);
	CHECK(c && cursors_are(c, 0, 50) && has_bytes(c, 0, FROM + 5, 50));
	CHECK(!fbuf_view_set(c, 0, "abc", 3) && intact(v));
	CHECK(d && !fbuf_view_capacity(d) && cursors_are(v, 10, 20));
	CHECK(!fbuf_view_copy(v, NULL, 1, LEN) && fbuf_view_count(v) == 1);
	CHECK(fbuf_view_release(c) && fbuf_view_release(d));
}

static void compares(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *w = of_wrap(FROM + 10, 20);

	(void)k;
	/* What is readable counts, not where, nor what is beside it. */
	CHECK(!fbuf_view_set_cursors(v, 10, 30));
	CHECK(!fbuf_view_compare(v, w) && !fbuf_view_compare(w, v));
	CHECK(!fbuf_view_truncate(w, 19));
	CHECK(fbuf_view_compare(v, w) == 1 && fbuf_view_compare(w, v) == -1);
	CHECK(!fbuf_view_set(w, 18, "\xff", 1));
	CHECK(fbuf_view_compare(v, w) == -1 && fbuf_view_compare(w, v) == 1);
	CHECK(!fbuf_view_compare(v, v));
	CHECK(fbuf_view_release(w));
}

static void read_only(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *r, *s, *d;
	size_t len;

	CHECK(!fbuf_view_set_cursors(v, 10, 20));
	r = fbuf_view_read_only(v);
	CHECK(fbuf_view_is_read_only(r) && cursors_are(r, 10, 20));
	CHECK(fbuf_view_count(v) == 1 && intact(r));
	CHECK(fbuf_view_set(r, 0, "a", 1) == -EACCES);
	CHECK(fbuf_view_write(r, "a", 1) == -EACCES);
	CHECK(!fbuf_view_space(r, &len) && fbuf_view_discard(r) == -EACCES);
	s = fbuf_view_slice(r, 3, 20);
	d = fbuf_view_duplicate(s);
	CHECK(fbuf_view_is_read_only(s) && fbuf_view_is_read_only(d));
	CHECK(fbuf_view_set(s, 0, "a", 1) == -EACCES);
	CHECK(fbuf_view_set(d, 0, "a", 1) == -EACCES && intact(v));
	CHECK(fbuf_view_is_read_only(v) == !!(k->is & CONST));
	CHECK(!fbuf_view_set(v, 0, "a", 1) == !(k->is & CONST));
}

/* Of many pieces, all but the last are as long as can be. */
static size_t pieces(struct fbuf_view *v, size_t offset, size_t len,
		     unsigned int max, unsigned char *to)
{
	int nr, i;
	struct iovec iov[16];
	size_t done = 0;

	nr = fbuf_view_iovec(v, offset, len, iov, max);
	CHECK(nr >= 0 && nr <= (int)max);
	for (i = 0; i < nr; i++) {
		memcpy(to + done, iov[i].iov_base, iov[i].iov_len);
		done += iov[i].iov_len;
		CHECK(iov[i].iov_len);
	}
	return done;
}

static void iovec_has_all(struct fbuf_view *v, const struct kind *k)
{
	unsigned char is[LEN], want[LEN];

	fill_bytes(want, FROM, LEN);
	CHECK(pieces(v, 0, LEN, 16, is) == LEN && !memcmp(is, want, LEN));
	CHECK(!fbuf_view_set_cursors(v, 10, 60));
	CHECK(pieces(v, 3, 40, 16, is) == 40 && !memcmp(is, want + 13, 40));
	CHECK(!pieces(v, 50, 0, 16, is) && !pieces(v, 0, 50, 0, is));
	/* The first pieces of more: they are the first bytes. */
	if (k->is & PARTED)
		CHECK(pieces(v, 0, 50, 1, is) < 50 && !memcmp(is, want + 10, 2));
	else
		CHECK(pieces(v, 0, 50, 1, is) == 50);
	CHECK(cursors_are(v, 10, 60));
}

static void iovec_outside(struct fbuf_view *v, const struct kind *k)
{
	struct iovec iov[16];

	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 10, 60));
	CHECK(fbuf_view_iovec(v, 0, 51, iov, 16) == -ERANGE);
	CHECK(fbuf_view_iovec(v, 51, 0, iov, 16) == -ERANGE);
	CHECK(fbuf_view_iovec(v, 50, 1, iov, 16) == -ERANGE);
	CHECK(fbuf_view_iovec(v, 1, SIZE_MAX, iov, 16) == -ERANGE);
	CHECK(fbuf_view_iovec(v, SIZE_MAX, 1, iov, 16) == -ERANGE);
}

static void data_of_one_piece(struct fbuf_view *v, const struct kind *k)
{
	struct iovec iov;

	CHECK(!fbuf_view_set_cursors(v, 10, 60));
	CHECK(fbuf_view_iovec(v, 0, 50, &iov, 1) == 1);
	if (k->is & PARTED) {
		CHECK(!fbuf_view_data(v));
		CHECK(!fbuf_view_set_cursors(v, 13, 14));
		CHECK(fbuf_view_iovec(v, 0, 1, &iov, 1) == 1);
	}
	CHECK(fbuf_view_data(v) == iov.iov_base);
}

static void discards(struct fbuf_view *v, const struct kind *k)
{
	CHECK(!fbuf_view_discard(v) && intact(v) && cursors_are(v, 0, LEN));
	CHECK(!fbuf_view_set_cursors(v, 30, 70));
	if (k->is & (CONST | PART)) {
		CHECK(fbuf_view_discard(v) ==
		      (k->is & CONST ? -EACCES : -EBUSY));
		CHECK(intact(v) && cursors_are(v, 30, 70));
		return;
	}
	CHECK(!fbuf_view_discard(v) && cursors_are(v, 0, 40));
	CHECK(has_bytes(v, 0, FROM + 30, 40));
	CHECK(fbuf_view_capacity(v) == (k->is & LIST ? LEN - 30 : LEN));
}

static void moves_alone(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s = fbuf_view_retained_slice(v, 10, 20);
	bool one = !(k->is & (CONST | PART | LIST));

	/* Somebody else knows where the bytes are. */
	if (one && k->is & GROWS) {
		CHECK(fbuf_view_ensure(v, 1) == -EBUSY);
		CHECK(fbuf_view_set_capacity(v, LEN + 1) == -EBUSY);
		CHECK(fbuf_view_write(v, "a", 1) == -EBUSY && intact(v));
	}
	if (one) {
		CHECK(!fbuf_view_skip(v, 1) && fbuf_view_discard(v) == -EBUSY);
		CHECK(cursors_are(v, 1, LEN));
	}
	CHECK(fbuf_view_release(s) && intact(v));
	if (one && k->is & GROWS) {
		CHECK(!fbuf_view_ensure(v, 1) && has_bytes(v, 0, FROM, LEN));
		/* A slice that is not retained is one who knows as well. */
		CHECK(fbuf_view_slice(v, 0, 1));
		CHECK(fbuf_view_ensure(v, 10000) == -EBUSY);
	}
}

static void spaces(struct fbuf_view *v, const struct kind *k)
{
	size_t len = 0;
	char *at;

	CHECK(!fbuf_view_set_cursors(v, 0, 78));
	at = fbuf_view_space(v, &len);
	CHECK(!fbuf_view_wrote(v, 0) && fbuf_view_wrote(v, 7) == -ERANGE);
	if (k->is & CONST) {
		CHECK(!at);
		return;
	}
	CHECK(at && len == 6);
	if (at)
		memcpy(at, "abc", 3);
	CHECK(!fbuf_view_wrote(v, 3) && cursors_are(v, 0, 81));
	CHECK(!fbuf_view_skip(v, 78) && reads_as(v, "abc"));
	CHECK(!fbuf_view_wrote(v, 3) && !fbuf_view_space(v, &len));
}

static void writes_view(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *to = root(fbuf_view_alloc(NULL, 10));

	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 10, 70));
	CHECK(!fbuf_view_write_view(to, v, 50));
	CHECK(cursors_are(v, 60, 70) && cursors_are(to, 0, 50));
	CHECK(has_bytes(to, 0, FROM + 10, 50) && intact(v));
	CHECK(fbuf_view_write_view(to, v, 11) == -ERANGE);
	CHECK(cursors_are(v, 60, 70) && cursors_are(to, 0, 50));
	CHECK(fbuf_view_release(to));
}

static void written_by_view(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *from = of_nested(FROM + 500, 60);

	CHECK(!fbuf_view_set_cursors(v, 0, 20));
	if (k->is & CONST) {
		CHECK(fbuf_view_write_view(v, from, 9) == -EACCES && intact(v));
		CHECK(cursors_are(from, 0, 60));
	} else {
		CHECK(!fbuf_view_write_view(v, from, 60));
		CHECK(cursors_are(v, 0, 80) && cursors_are(from, 60, 60));
		CHECK(has_bytes(v, 20, FROM + 500, 60));
		CHECK(has_bytes(v, 0, FROM, 20) && has_bytes(v, 80, FROM + 80, 4));
	}
	CHECK(fbuf_view_release(from));
}

static void truncates(struct fbuf_view *v, const struct kind *k)
{
	CHECK(!fbuf_view_set_cursors(v, 10, 60));
	CHECK(fbuf_view_truncate(v, 51) == -ERANGE && cursors_are(v, 10, 60));
	CHECK(!fbuf_view_truncate(v, 20) && cursors_are(v, 10, 30));
	CHECK(has_bytes(v, 10, FROM + 10, 20));
	CHECK(fbuf_view_capacity(v) == (k->is & LIST ? 30 : LEN));
	CHECK(!fbuf_view_truncate(v, 0) && cursors_are(v, 10, 10));
}

static void capacity_less(struct fbuf_view *v, const struct kind *k)
{
	if (k->is & PART) {
		CHECK(fbuf_view_set_capacity(v, 10) == -EINVAL && intact(v));
		return;
	}
	CHECK(!fbuf_view_set_cursors(v, 10, 60));
	CHECK(!fbuf_view_set_capacity(v, 70) && cursors_are(v, 10, 60));
	CHECK(!fbuf_view_set_capacity(v, 50) && cursors_are(v, 10, 50));
	CHECK(has_bytes(v, 0, FROM, 50));
	CHECK(fbuf_view_get(v, 50, some, 1) == -ERANGE);
	CHECK(!fbuf_view_set_capacity(v, 5) && cursors_are(v, 5, 5));
	CHECK(has_bytes(v, 0, FROM, 5) && fbuf_view_capacity(v) == 5);
	CHECK(!fbuf_view_set_capacity(v, 0) && cursors_are(v, 0, 0));
}

static void capacity_more(struct fbuf_view *v, const struct kind *k)
{
	int ret = fbuf_view_set_capacity(v, LEN + 1000);

	if (k->is & PART) {
		CHECK(ret == -EINVAL && intact(v));
	} else if (!(k->is & GROWS)) {
		CHECK(ret == -ENOSPC && intact(v));
	} else {
		CHECK(!ret && fbuf_view_capacity(v) == LEN + 1000);
		CHECK(has_bytes(v, 0, FROM, LEN) && cursors_are(v, 0, LEN));
		CHECK(!fbuf_view_set(v, LEN, some, 100));
	}
}

static void as_component(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *c = root(fbuf_view_composite(0));

	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 10, 30));
	fbuf_view_retain(v);
	CHECK(!fbuf_view_add(c, v) && fbuf_view_count(v) == 2);
	CHECK(fbuf_view_capacity(c) == 20 && cursors_are(c, 0, 20));
	/* What becomes of its cursors is no matter. */
	fbuf_view_clear(v);
	CHECK(has_bytes(c, 0, FROM + 10, 20));
	CHECK(fbuf_view_release(c) && fbuf_view_count(v) == 1 && intact(v));
}

static void as_aggregate(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *a;
	struct iovec of_v[16], of_a[16];
	int nr;

	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 10, 80));
	a = fbuf_view_aggregate(v);
	CHECK(a && cursors_are(a, 0, 70) && has_bytes(a, 0, FROM + 10, 70));
	/* The same memory, piece by piece; the view's cursors are its own. */
	nr = fbuf_view_iovec(v, 0, 70, of_v, 16);
	CHECK(nr > 0 && fbuf_view_iovec(a, 0, 70, of_a, 16) == nr);
	CHECK(!memcmp(of_v, of_a, nr * sizeof(*of_v)));
	CHECK(!fbuf_view_skip(a, 5) && cursors_are(v, 10, 80));
	CHECK((fbuf_view_set(a, 0, "a", 1) == -EACCES) == !!(k->is & CONST));
	CHECK(fbuf_view_release(a) && fbuf_view_count(v) == 1);
}

static void aggregate_stays(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *a = fbuf_view_aggregate(v);

	(void)k;
	fbuf_view_release(v);
	CHECK(ended < made && has_bytes(a, 0, FROM, LEN));
	CHECK(fbuf_view_release(a) && ended == made);
}

static void touches(struct fbuf_view *v, const struct kind *k)
{
	(void)k;
	CHECK(!fbuf_view_set_cursors(v, 3, 9));
	fbuf_view_touch(v, "a hint");
	fbuf_view_touch(v, NULL);
	CHECK(fbuf_view_count(v) == 1 && cursors_are(v, 3, 9) && intact(v));
}

static void callback_of_counted(struct fbuf_view *v, const struct kind *k)
{
	struct fbuf_view *s = fbuf_view_slice(v, 0, 1);
	struct fbuf_view *r = fbuf_view_retained_slice(v, 0, 1);
	int before = ended;

	(void)k;
	CHECK(fbuf_view_on_release(s, count_end, NULL) == -EINVAL);
	CHECK(!fbuf_view_on_release(r, count_end, NULL));
	CHECK(fbuf_view_release(r) && ended == before + 1);
	r = fbuf_view_retained_slice(v, 0, 1);
	CHECK(!fbuf_view_on_release(r, count_end, NULL));
	CHECK(!fbuf_view_on_release(r, NULL, NULL));
	CHECK(fbuf_view_release(r) && ended == before + 1);
	made++;
}

static const struct rule {
	const char *name;
	void (*run)(struct fbuf_view *v, const struct kind *k);
	bool consumes;
} rules[] = {
	{ "all is readable at first", begins, false },
	{ "get moves no cursor", get_moves_nothing, false },
	{ "get outside the capacity fails", get_outside, false },
	{ "set moves no cursor", set_moves_nothing, false },
	{ "set outside the capacity changes nothing", set_outside, false },
	{ "read moves the read cursor", reads, false },
	{ "read of more than is readable changes nothing", reads_too_much,
	  false },
	{ "write moves the write cursor", writes, false },
	{ "write past the capacity grows, or changes nothing", writes_past_end,
	  false },
	{ "cursors stay in order", cursor_order, false },
	{ "clear moves cursors and no byte", clears, false },
	{ "a slice has its bytes readable", slice_begins, false },
	{ "a slice shares bytes", slice_shares, false },
	{ "a slice has cursors of its own", slice_cursors, false },
	{ "a slice shares the count", slice_retains_nothing, false },
	{ "a slice outside the capacity is none", slice_outside, false },
	{ "a slice of a slice", slice_of_slice, false },
	{ "a slice does not grow", slice_is_full, false },
	{ "a duplicate begins with the same cursors", duplicate_begins, false },
	{ "a duplicate has cursors of its own", duplicate_cursors, false },
	{ "a duplicate shares bytes", duplicate_shares, false },
	{ "a retained slice has a count of its own", retained_slice, false },
	{ "a retained slice keeps what it is of", retained_slice_stays, true },
	{ "a retained duplicate keeps what it is of", retained_duplicate_stays,
	  true },
	{ "release of a slice is release of the view", slice_releases, true },
	{ "read slice moves the read cursor", read_slice, false },
	{ "read retained slice has a count of its own", read_retained_slice,
	  false },
	{ "read slice of more than is readable is none", read_slice_too_much,
	  false },
	{ "retain and release count", counts, false },
	{ "the last release ends it, and says so", last_release, true },
	{ "use after the last release ends the program", dead_is_found, false },
	{ "more releases than references end the program", too_many_releases,
	  false },
	{ "a copy has bytes of its own", copies, false },
	{ "comparing is of what is readable", compares, false },
	{ "a read-only view is so in its parts", read_only, false },
	{ "iovec has what is readable", iovec_has_all, false },
	{ "iovec of more than is readable fails", iovec_outside, false },
	{ "data is of one piece", data_of_one_piece, false },
	{ "discard drops what was read", discards, false },
	{ "memory moves only while nobody else knows it", moves_alone, false },
	{ "space is where to write next", spaces, false },
	{ "writing from a view moves both cursors", writes_view, false },
	{ "writing to a view moves both cursors", written_by_view, false },
	{ "truncate keeps the first readable bytes", truncates, false },
	{ "less capacity moves cursors", capacity_less, false },
	{ "more capacity moves none", capacity_more, false },
	{ "a component is what was readable", as_component, false },
	{ "an aggregate is of the same memory", as_aggregate, false },
	{ "an aggregate keeps what it is of", aggregate_stays, true },
	{ "a touch changes nothing", touches, false },
	{ "a callback is of a view with a count", callback_of_counted, false },
};

#define NR_RULES	(sizeof(rules) / sizeof(*rules))
#define NR_KINDS	(sizeof(kinds) / sizeof(*kinds))

static void run(const struct rule *rule, const struct kind *kind)
{
	struct fbuf_view *v;

	made = 0;
	ended = 0;
	v = kind->make(FROM, LEN);
	rule->run(v, kind);
	if (!rule->consumes)
		CHECK(fbuf_view_release(v));
	CHECK(made == ended);
}

int main(void)
{
	unsigned int i, nr = 0;
	int ret = 0;

	setlinebuf(stdout);
	printf("TAP version 13\n1..%zu\n", NR_RULES * NR_KINDS + 1);
	pools_begin(0);
	for (i = 0; i < NR_RULES * NR_KINDS; i++) {
		const struct rule *rule = rules + i / NR_KINDS;
		const struct kind *kind = kinds + i % NR_KINDS;

		failed = false;
		run(rule, kind);
		printf("%sok %u %s: %s\n", failed ? "not " : "", ++nr,
		       rule->name, kind->name);
		ret |= failed;
	}
	failed = false;
	pools_end();
	printf("%sok %u nothing is left of any\n", failed ? "not " : "", ++nr);
	return ret | failed;
}
