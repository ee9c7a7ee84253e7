// SPDX-License-Identifier: LGPL-2.1-or-later
/* Gathers without a module: merging, limits, growth, slices. TAP out. */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fbuf/parcel.h>

#include "lib.h"
#include "test.h"

#define BUF	4096U
#define NR	2000U

static struct fbuf_pool pool = { .buf_size = BUF, .nr_bufs = NR, .fd = -1 };

static uint64_t name(unsigned int index)
{
	return FBUF_NAME(index, 7);
}

static bool seg_is(const struct fbuf_gather *g, unsigned int i, uint64_t addr,
		   uint32_t len, uint32_t flags)
{
	const struct fbuf_seg *s = fbuf_gather_segs(g) + i;

	if (pool.named && !flags) {
		flags = FBUF_SEG_NAMED | FBUF_SEG_OFFSET(addr % BUF);
		addr = name(addr / BUF);
	}
	return i < fbuf_gather_nr_segs(g) && s->addr == addr &&
	       s->len == len && s->flags == flags;
}

/* Where a segment of a buffer is in the pool. */
static uint64_t seg_place(const struct fbuf_seg *s)
{
	if (!pool.named)
		return s->addr;
	return (uint64_t)FBUF_NAME_INDEX(s->addr) * BUF + (s->flags >> 8);
}

static void test_append_merges(struct fbuf_gather *g)
{
	CHECK(fbuf_gather_append(g, name(1), 0, 10) == 0);
	CHECK(fbuf_gather_append(g, name(1), 10, BUF - 10) == 0);
	CHECK(fbuf_gather_nr_segs(g) == 1);
	CHECK(seg_is(g, 0, BUF, BUF, 0));
	CHECK(fbuf_gather_len(g) == BUF);
	/* Not over the edge of a buffer, and not backwards. */
	CHECK(fbuf_gather_append(g, name(2), 0, 1) == 0);
	CHECK(fbuf_gather_append(g, name(2), 0, 1) == 0);
	CHECK(fbuf_gather_nr_segs(g) == 3);
}

/* What was handed out again in between is no one segment. */
static void test_generations(struct fbuf_gather *g)
{
	const uint64_t older = FBUF_NAME(1, 6);

	CHECK(fbuf_gather_append(g, older, 0, 10) == 0);
	CHECK(fbuf_gather_append(g, name(1), 10, 10) == 0);
	CHECK(fbuf_gather_prepend(g, name(1), BUF - 10, 10) == 0);
	if (!pool.named) {
		CHECK(fbuf_gather_nr_segs(g) == 2);
		return;
	}
	CHECK(fbuf_gather_nr_segs(g) == 3);
	CHECK(fbuf_gather_segs(g)[1].addr == older);
	CHECK(seg_is(g, 2, BUF + 10, 10, 0));
	CHECK(fbuf_gather_slice(g, g, 12, 6) == 0);
	CHECK(fbuf_gather_segs(g)[3].addr == older);
	CHECK(fbuf_gather_segs(g)[3].flags ==
	      (FBUF_SEG_NAMED | FBUF_SEG_OFFSET(2)));
}

static void test_prepend_merges(struct fbuf_gather *g)
{
	CHECK(fbuf_gather_prepend(g, name(1), 100, 50) == 0);
	CHECK(fbuf_gather_prepend(g, name(1), 90, 10) == 0);
	CHECK(seg_is(g, 0, BUF + 90, 60, 0));
	CHECK(fbuf_gather_nr_segs(g) == 1);
	CHECK(fbuf_gather_prepend(g, name(0), BUF - 1, 1) == 0);
	CHECK(seg_is(g, 0, BUF - 1, 1, 0));
	CHECK(fbuf_gather_prepend(g, name(1), 0, 90) == 0);
	CHECK(fbuf_gather_nr_segs(g) == 3);
	CHECK(fbuf_gather_len(g) == 151);
}

static void test_bounds(struct fbuf_gather *g)
{
	CHECK(fbuf_gather_append(g, name(NR), 0, 1) == -EINVAL);
	CHECK(fbuf_gather_append(g, name(0), 0, BUF + 1) == -EINVAL);
	CHECK(fbuf_gather_append(g, name(0), 1, BUF) == -EINVAL);
	CHECK(fbuf_gather_append(g, name(0), BUF + 1, 0) == -EINVAL);
	CHECK(fbuf_gather_append(g, name(0), SIZE_MAX, 2) == -EINVAL);
	CHECK(fbuf_gather_prepend(g, name(0), 2, SIZE_MAX) == -EINVAL);
	CHECK(fbuf_gather_append(g, name(0), BUF, 0) == 0);
	CHECK(fbuf_gather_append_inline(g, "", 0) == 0);
	CHECK(fbuf_gather_nr_segs(g) == 0 && fbuf_gather_len(g) == 0);
	CHECK(!fbuf_addr(&pool, name(NR)));
}

static void test_inline_splits(struct fbuf_gather *g)
{
	static char data[2 * FBUF_INLINE_MAX + 5];
	uint64_t at = (uintptr_t)data;

	CHECK(fbuf_gather_append(g, name(0), 0, 1) == 0);
	CHECK(fbuf_gather_prepend_inline(g, data, sizeof(data)) == 0);
	CHECK(fbuf_gather_nr_segs(g) == 4);
	CHECK(seg_is(g, 0, at, FBUF_INLINE_MAX, FBUF_SEG_INLINE));
	CHECK(seg_is(g, 1, at + FBUF_INLINE_MAX, FBUF_INLINE_MAX,
		     FBUF_SEG_INLINE));
	CHECK(seg_is(g, 2, at + 2 * FBUF_INLINE_MAX, 5, FBUF_SEG_INLINE));
	CHECK(seg_is(g, 3, 0, 1, 0));
	/* An address that happens to continue is not the pool's. */
	CHECK(fbuf_gather_append_inline(g, (void *)1, 1) == 0);
	CHECK(fbuf_gather_nr_segs(g) == 5);
	CHECK(fbuf_gather_len(g) == sizeof(data) + 2);
}

static void test_full(struct fbuf_gather *g)
{
	unsigned int i;

	for (i = 0; i < FBUF_SEGS_MAX; i++)
		CHECK(fbuf_gather_append(g, name(i), i, 1) == 0);
	for (i = 0; i < FBUF_SEGS_MAX; i++)
		CHECK(seg_is(g, i, (uint64_t)i * BUF + i, 1, 0));
	CHECK(fbuf_gather_append(g, name(0), 0, 1) == -EMSGSIZE);
	CHECK(fbuf_gather_prepend(g, name(1), 0, 1) == -EMSGSIZE);
	CHECK(fbuf_gather_append_inline(g, "x", 1) == -EMSGSIZE);
	/* Merging needs no room. */
	CHECK(fbuf_gather_append(g, name(i - 1), i, 1) == 0);
	CHECK(fbuf_gather_nr_segs(g) == FBUF_SEGS_MAX);
	CHECK(fbuf_gather_len(g) == FBUF_SEGS_MAX + 1);
}

static void test_too_long(struct fbuf_gather *g)
{
	static char data[1];

	CHECK(fbuf_gather_append(g, name(0), 0, 1) == 0);
	CHECK(fbuf_gather_append_inline(g, data, SIZE_MAX) == -EMSGSIZE);
	CHECK(fbuf_gather_append_inline(g, data, FBUF_GATHER_MAX) ==
	      -EMSGSIZE);
	/* Short enough, but too many segments. */
	CHECK(fbuf_gather_append_inline(g, data, FBUF_GATHER_MAX - 1) ==
	      -EMSGSIZE);
	CHECK(fbuf_gather_len(g) == 1 && fbuf_gather_nr_segs(g) == 1);
}

static void test_slice(struct fbuf_gather *g)
{
	struct fbuf_gather *s = fbuf_gather_new(&pool);

	CHECK(fbuf_gather_append_inline(g, (void *)0x1000, 10) == 0);
	CHECK(fbuf_gather_append(g, name(3), 100, 20) == 0);
	CHECK(fbuf_gather_append(g, name(5), 0, 30) == 0);
	CHECK(fbuf_gather_slice(s, g, 4, 50) == 0);
	CHECK(fbuf_gather_nr_segs(s) == 3 && fbuf_gather_len(s) == 50);
	CHECK(seg_is(s, 0, 0x1004, 6, FBUF_SEG_INLINE));
	CHECK(seg_is(s, 1, 3 * BUF + 100, 20, 0));
	CHECK(seg_is(s, 2, 5 * BUF, 24, 0));
	/* The other six bytes merge. */
	CHECK(fbuf_gather_slice(s, g, 54, 6) == 0);
	CHECK(seg_is(s, 2, 5 * BUF, 30, 0));
	CHECK(fbuf_gather_slice(s, g, 60, 0) == 0);
	CHECK(fbuf_gather_slice(s, g, 60, 1) == -EINVAL);
	CHECK(fbuf_gather_slice(s, g, 61, 0) == -EINVAL);
	CHECK(fbuf_gather_slice(s, g, 1, SIZE_MAX) == -EINVAL);
	fbuf_gather_destroy(s);
}

static void test_slice_self(struct fbuf_gather *g)
{
	unsigned int i;

	/* The copy's first segment merges with the last. */
	CHECK(fbuf_gather_append(g, name(1), 10, 10) == 0);
	CHECK(fbuf_gather_append(g, name(1), 0, 10) == 0);
	CHECK(fbuf_gather_slice(g, g, 0, 20) == 0);
	CHECK(fbuf_gather_nr_segs(g) == 3 && fbuf_gather_len(g) == 40);
	CHECK(seg_is(g, 1, BUF, 20, 0));
	CHECK(seg_is(g, 2, BUF, 10, 0));
	/* And through the growth of its array. */
	for (i = 0; i < 5; i++)
		CHECK(fbuf_gather_slice(g, g, 0, fbuf_gather_len(g)) == 0);
	CHECK(fbuf_gather_len(g) == 40 << 5);
}

static void test_slice_rolls_back(struct fbuf_gather *g)
{
	struct fbuf_gather *s = fbuf_gather_new(&pool);
	unsigned int i;

	for (i = 0; i < FBUF_SEGS_MAX; i++)
		CHECK(fbuf_gather_append(g, name(i), 0, 1) == 0);
	CHECK(fbuf_gather_append(s, name(9), 1, 1) == 0);
	CHECK(fbuf_gather_append(s, name(FBUF_SEGS_MAX - 1), 1, 1) == 0);
	CHECK(fbuf_gather_slice(s, g, 0, FBUF_SEGS_MAX) == -EMSGSIZE);
	CHECK(fbuf_gather_nr_segs(s) == 2 && fbuf_gather_len(s) == 2);

	/* The first byte merges before the second finds no room. */
	fbuf_gather_reset(s);
	CHECK(fbuf_gather_append(s, name(FBUF_SEGS_MAX - 1), 1, 2) == 0);
	CHECK(fbuf_gather_append(s, name(9), 1, 1) == 0);
	CHECK(fbuf_gather_slice(g, s, 0, 3) == -EMSGSIZE);
	CHECK(fbuf_gather_len(g) == FBUF_SEGS_MAX);
	CHECK(seg_is(g, FBUF_SEGS_MAX - 1, (FBUF_SEGS_MAX - 1) * BUF, 1, 0));
	fbuf_gather_destroy(s);
}

static bool parcel_seg_is(const struct fbuf_gather *g, unsigned int i,
			  uint64_t addr, uint32_t offset, uint32_t len)
{
	const struct fbuf_seg *s = fbuf_gather_segs(g) + i;

	return i < fbuf_gather_nr_segs(g) && s->addr == addr && s->len == len &&
	       s->flags == (FBUF_SEG_NAMED | FBUF_SEG_OFFSET(offset));
}

/* They have names whatever buffers have, and are longer. */
static void test_parcels(struct fbuf_gather *g)
{
	const uint64_t a = FBUF_NAME(FBUF_NAME_PARCEL | 9, 1);
	const uint64_t b = FBUF_NAME(FBUF_NAME_PARCEL | 9, 2);
	struct fbuf_gather *s = fbuf_gather_new(&pool);
	const size_t max = FBUF_PARCEL_MAX;

	CHECK(fbuf_gather_append(g, a, 100, 3 * BUF) == 0);
	CHECK(fbuf_gather_append(g, a, 100 + 3 * BUF, 10) == 0);
	CHECK(fbuf_gather_append(g, name(9), 0, 10) == 0);
	CHECK(fbuf_gather_append(g, b, 10, 10) == 0);
	CHECK(fbuf_gather_prepend(g, a, 0, 100) == 0);
	CHECK(fbuf_gather_nr_segs(g) == 3);
	CHECK(parcel_seg_is(g, 0, a, 0, 3 * BUF + 110));
	CHECK(seg_is(g, 1, 9 * BUF, 10, 0));
	CHECK(parcel_seg_is(g, 2, b, 10, 10));
	CHECK(fbuf_gather_slice(s, g, 10000, 20) == 0);
	CHECK(fbuf_gather_slice(s, g, 3 * BUF + 119, 2) == 0);
	CHECK(parcel_seg_is(s, 0, a, 10000, 20));
	CHECK(seg_is(s, 1, 9 * BUF + 9, 1, 0) && parcel_seg_is(s, 2, b, 10, 1));
	/* The last byte there may be; after it, nothing goes on with the first. */
	fbuf_gather_reset(g);
	CHECK(fbuf_gather_append(g, a, 0, max) == 0);
	CHECK(fbuf_gather_append(g, a, 0, 1) == 0);
	CHECK(fbuf_gather_nr_segs(g) == 2 && parcel_seg_is(g, 1, a, 0, 1));
	CHECK(fbuf_gather_append(g, a, max - 1, 1) == 0);
	CHECK(parcel_seg_is(g, 2, a, max - 1, 1));
	CHECK(fbuf_gather_append(g, a, max, 0) == 0);
	CHECK(fbuf_gather_append(g, a, max, 1) == -EINVAL);
	CHECK(fbuf_gather_append(g, a, 1, max) == -EINVAL);
	CHECK(fbuf_gather_append(g, a, SIZE_MAX, 1) == -EINVAL);
	CHECK(fbuf_gather_prepend(g, a + FBUF_PARCELS_MAX, 0, 1) == -EINVAL);
	CHECK(fbuf_gather_prepend(g, a + FBUF_PARCELS_MAX - 10, 0, 1) == 0);
	fbuf_gather_destroy(s);
}

static void test_reset(struct fbuf_gather *g)
{
	unsigned int i;

	for (i = 0; i < 100; i++)
		CHECK(fbuf_gather_append(g, name(i), 0, 1) == 0);
	fbuf_gather_reset(g);
	CHECK(fbuf_gather_nr_segs(g) == 0 && fbuf_gather_len(g) == 0);
	CHECK(fbuf_gather_append(g, name(1), 1, 1) == 0);
	CHECK(seg_is(g, 0, BUF + 1, 1, 0));
}

/* Ten thousand random steps against a plain array of the bytes' addresses. */
static void test_random(struct fbuf_gather *g)
{
	static uint64_t want[40000], moved[40000];
	struct fbuf_gather *s = fbuf_gather_new(&pool);
	unsigned int step, i, k;
	size_t len = 0, n;

	srand(1);
	for (step = 0; step < 10000; step++) {
		unsigned int buf = rand() % 3, off = rand() % 60;
		uint64_t at = (uint64_t)buf * BUF + off;

		n = rand() % 20;
		if (rand() % 2) {
			CHECK(!fbuf_gather_append(g, name(buf), off, n));
			for (i = 0; i < n; i++)
				want[len + i] = at + i;
		} else {
			CHECK(!fbuf_gather_prepend(g, name(buf), off, n));
			memmove(want + n, want, len * sizeof(*want));
			for (i = 0; i < n; i++)
				want[i] = at + i;
		}
		len += n;
		if (len < 1000)
			continue;

		/* Keep a random slice, and see that it is the right one. */
		k = rand() % len;
		n = rand() % (len - k);
		fbuf_gather_reset(s);
		CHECK(!fbuf_gather_slice(s, g, k, n));
		fbuf_gather_reset(g);
		CHECK(!fbuf_gather_slice(g, s, 0, n));
		memcpy(moved, want + k, n * sizeof(*want));
		memcpy(want, moved, n * sizeof(*want));
		len = n;
		for (i = 0, k = 0; i < fbuf_gather_nr_segs(g); i++) {
			const struct fbuf_seg *seg = fbuf_gather_segs(g) + i;

			for (n = 0; n < seg->len; n++)
				CHECK(want[k++] == seg_place(seg) + n);
		}
		CHECK(k == len && fbuf_gather_len(g) == len);
	}
	fbuf_gather_destroy(s);
}

static const struct {
	const char *name;
	void (*run)(struct fbuf_gather *g);
} tests[] = {
	{ "append merges what continues", test_append_merges },
	{ "prepend merges what continues", test_prepend_merges },
	{ "generations are kept apart", test_generations },
	{ "bad names and ranges are refused", test_bounds },
	{ "inline data is split", test_inline_splits },
	{ "a full gather refuses and stays", test_full },
	{ "a gather has a greatest length", test_too_long },
	{ "slice", test_slice },
	{ "slice of itself", test_slice_self },
	{ "a failed slice changes nothing", test_slice_rolls_back },
	{ "segments of parcels", test_parcels },
	{ "reset", test_reset },
	{ "random gathers against a model", test_random },
};

int main(void)
{
	const unsigned int nr = sizeof(tests) / sizeof(*tests);
	unsigned int i;
	int ret = 0;

	/* Each for modules that know names in segments, and for older ones. */
	printf("TAP version 13\n1..%u\n", 2 * nr);
	for (i = 0; i < 2 * nr; i++) {
		struct fbuf_gather *g = fbuf_gather_new(&pool);

		if (!g) {
			printf("Bail out! No memory.\n");
			return 1;
		}
		failed = false;
		pool.named = i >= nr;
		tests[i % nr].run(g);
		fbuf_gather_destroy(g);
		printf("%sok %u %s%s\n", failed ? "not " : "", i + 1,
		       tests[i % nr].name, pool.named ? ", by name" : "");
		ret |= failed;
	}
	return ret;
}
