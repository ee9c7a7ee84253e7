// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Runs of pages: segregated free lists with a bitmap, boundary tags besides the
 * memory.
 *
 * Free runs are in bins by their size: a bin for each number of pages below
 * 2 * BIN_STEPS, then BIN_STEPS bins for each power of two. Sizes are rounded up
 * to those of the bins, 3 % at most: so whatever is in the bin of a size fits, and
 * objects of about the same size take each other's places. The most recently
 * freed run of a bin comes first, as it may still be in a cache.
 *
 * What was never handed out is no member of a bin but the end of the pool, the
 * top. It is only cut when no bin has a run that fits: its pages may not exist
 * yet, and those of the bins do.
 */

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runs.h"

#define BIN_SHIFT	5
#define BIN_STEPS	(1U << BIN_SHIFT)
/* Runs have less than 1 << PAGES_SHIFT pages. */
#define PAGES_SHIFT	31
#define NR_BINS		((PAGES_SHIFT - BIN_SHIFT + 1) * BIN_STEPS)
#define BIN_WORDS	((NR_BINS + 63) / 64)

/* Runs of a bin that are looked at for a boundary, before a larger is cut. */
#define LOOKS		16U

/*
 * Protection is for a whole buffer: a write to one object would stop for what is
 * in flight of another that shares a buffer with it. So a run of at least a
 * buffer, of the usual 64 KiB, begins with one, unless what that leaves unused
 * before the next such run is more than an eighth of it. That is never so from
 * 480 KiB up; runs of other sizes fill the gaps. A random mix of 32 KiB to 1 MiB
 * loses no more than test_runs prints, and checks.
 */
#define BUF_PAGES	16U
#define BUF_GAP(n)	((n) / 8)

#define USED		(1U << 31)
#define NONE		UINT32_MAX

/*
 * What is known of a page. All is 0 but at the ends of runs, so that any page can
 * be asked whether a run begins there; and nothing is known of the top.
 */
struct page {
	uint32_t head;		/* first of a run: its pages; USED */
	uint32_t tail;		/* last of a run in a bin: its pages */
	uint32_t next;		/* first of a run in a bin: its neighbours */
	uint32_t prev;
};

struct runs {
	char *base;
	size_t mapped;		/* bytes of all that is known */
	uint32_t nr;		/* pages */
	uint32_t used;		/* pages */
	uint32_t top;		/* from here on all is free */
	uint32_t fresh;		/* from here on nothing was handed out, ever */
	uint64_t bits[BIN_WORDS];	/* which bins have runs */
	uint32_t bins[NR_BINS];		/* first pages of their first runs */
	struct page pages[];
};

/* A boundary: pages whose number is phase, modulo align. */
struct bound {
	uint32_t align;
	uint32_t phase;
};

static unsigned int bin_shift(uint32_t n)
{
	unsigned int log = 31 - __builtin_clz(n);

	return log > BIN_SHIFT ? log - BIN_SHIFT : 0;
}

static unsigned int bin_of(uint32_t n)
{
	unsigned int shift = bin_shift(n);

	return (shift << BIN_SHIFT) + (n >> shift);
}

/* The least size of a bin that is n pages or more. */
static uint32_t bin_round(uint32_t n)
{
	uint32_t step = 1U << bin_shift(n);

	return (n + step - 1) & ~(step - 1);
}

/* The first bin from this one on that has a run; or NR_BINS. */
static unsigned int bin_next(const struct runs *r, unsigned int bin)
{
	unsigned int word = bin / 64;
	uint64_t bits;

	if (bin >= NR_BINS)
		return NR_BINS;
	bits = r->bits[word] & (~0ULL << bin % 64);
	while (!bits) {
		if (++word == BIN_WORDS)
			return NR_BINS;
		bits = r->bits[word];
	}
	return word * 64 + __builtin_ctzll(bits);
}

/* Pages first .. first + n - 1 into their bin; they border on no free ones. */
static void bin_add(struct runs *r, uint32_t first, uint32_t n)
{
	unsigned int bin = bin_of(n);
	uint32_t next = NONE;

	if (r->bits[bin / 64] & 1ULL << bin % 64) {
		next = r->bins[bin];
		r->pages[next].prev = first;
	}
	r->pages[first].head = n;
	r->pages[first].next = next;
	r->pages[first].prev = NONE;
	r->pages[first + n - 1].tail = n;
	r->bins[bin] = first;
	r->bits[bin / 64] |= 1ULL << bin % 64;
}

/* Out of its bin, and forgotten; returns how many pages it has. */
static uint32_t bin_del(struct runs *r, uint32_t first)
{
	const struct page *p = &r->pages[first];
	uint32_t n = p->head;
	unsigned int bin = bin_of(n);

	if (p->next != NONE)
		r->pages[p->next].prev = p->prev;
	if (p->prev != NONE)
		r->pages[p->prev].next = p->next;
	else if (p->next != NONE)
		r->bins[bin] = p->next;
	else
		r->bits[bin / 64] &= ~(1ULL << bin % 64);
	r->pages[first].head = 0;
	r->pages[first + n - 1].tail = 0;
	return n;
}

/* Pages that are in no run any more, with what is free before and behind. */
static void merge(struct runs *r, uint32_t first, uint32_t n)
{
	uint32_t before = first ? r->pages[first - 1].tail : 0;
	uint32_t end = first + n;

	if (before) {
		first -= before;
		bin_del(r, first);
	}
	if (end < r->nr && r->fresh < r->nr && end == r->top) {
		r->top = first;
		return;
	}
	if (end < r->nr && !(r->pages[end].head & USED))
		end += bin_del(r, end);
	bin_add(r, first, end - first);
}

/* Pages that were free, and are known to nobody. */
static void use(struct runs *r, uint32_t first, uint32_t n)
{
	r->pages[first].head = n | USED;
	r->used += n;
}

/* Where a run can begin, from page first on; may be beyond the pool. */
static uint64_t bound_up(struct bound b, uint32_t first)
{
	return first + (uint64_t)((b.phase - first) & (b.align - 1));
}

/*
 * The first free run that has n pages from a boundary on. Of those that may be
 * too short for it, depending on where they are, so many are looked at.
 */
static uint32_t find(const struct runs *r, uint32_t n, struct bound b,
		     uint32_t looks)
{
	uint64_t sure = (uint64_t)n + b.align - 1;
	unsigned int bin = bin_of(n);
	uint32_t i;

	while ((bin = bin_next(r, bin)) < NR_BINS) {
		for (i = r->bins[bin]; i != NONE; i = r->pages[i].next) {
			if (bound_up(b, i) + n <= (uint64_t)i + r->pages[i].head)
				return i;
			if (!--looks)
				break;
		}
		bin++;
		if (looks)
			continue;
		if (sure >= USED)
			break;
		if (bin < bin_of(bin_round(sure)))
			bin = bin_of(bin_round(sure));
		looks = 1;
	}
	return NONE;
}

/* n pages of a free run that has them from a boundary on. */
static uint32_t cut(struct runs *r, uint32_t run, uint32_t n, struct bound b)
{
	uint32_t end = run + bin_del(r, run);
	uint32_t first = bound_up(b, run);

	if (first > run)
		bin_add(r, run, first - run);
	if (first + n < end)
		bin_add(r, first + n, end - first - n);
	return first;
}

/* The same of the top, which may be too short: NONE. */
static uint32_t cut_top(struct runs *r, uint32_t n, struct bound b)
{
	uint64_t first = bound_up(b, r->top);
	uint32_t gap = r->top;

	if (r->fresh == r->nr || first + n > r->nr)
		return NONE;
	r->top = first + n;
	if (r->fresh < r->top)
		r->fresh = r->top;
	if (first > gap)
		bin_add(r, gap, first - gap);
	return first;
}

static uint32_t take(struct runs *r, uint32_t n, struct bound b,
		     uint32_t looks)
{
	uint32_t run = find(r, n, b, looks);

	if (run != NONE)
		return cut(r, run, n, b);
	return cut_top(r, n, b);
}

/* Whether a run of n pages should begin with a buffer, and may. */
static bool wants_buf(uint32_t n, struct bound b)
{
	return n >= BUF_PAGES && b.align < BUF_PAGES &&
	       !(b.phase & (b.align - 1)) && -n % BUF_PAGES <= BUF_GAP(n);
}

static uint32_t take_best(struct runs *r, uint32_t n, struct bound b,
			  uint32_t *len)
{
	const struct bound buf = { .align = BUF_PAGES };
	uint32_t first = NONE;

	*len = bin_round(n);
	if (wants_buf(*len, b))
		first = take(r, *len, buf, LOOKS);
	if (first == NONE)
		first = take(r, *len, b, LOOKS);
	if (first == NONE) {
		/* One that fits may be where nobody looked yet. */
		*len = n;
		first = take(r, n, b, UINT32_MAX);
	}
	return first;
}

static bool pages_of(const struct runs *r, size_t size, uint32_t *n)
{
	if (size > r->nr * RUNS_PAGE)
		return false;
	*n = size ? (size + RUNS_PAGE - 1) / RUNS_PAGE : 1;
	return true;
}

struct runs *runs_new(void *base, size_t size)
{
	size_t nr = size / RUNS_PAGE, mapped;
	struct runs *r;

	if ((uintptr_t)base % RUNS_PAGE || size % RUNS_PAGE || !nr ||
	    nr > (USED - 1) / 2)
		return NULL;
	mapped = sizeof(*r) + nr * sizeof(r->pages[0]);
	r = mmap(NULL, mapped, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r == MAP_FAILED)
		return NULL;
	r->base = base;
	r->mapped = mapped;
	r->nr = nr;
	return r;
}

void runs_destroy(struct runs *r)
{
	if (r)
		munmap(r, r->mapped);
}

void *runs_take(struct runs *r, size_t size, size_t align, bool *zeroed)
{
	size_t pages = align > RUNS_PAGE ? align / RUNS_PAGE : 1;
	uint32_t n, len, first, fresh = r->fresh;
	struct bound b;

	if (!pages_of(r, size, &n) || !align || align & (align - 1) ||
	    pages > USED)
		return NULL;
	b.align = pages;
	b.phase = -((uintptr_t)r->base / RUNS_PAGE);
	first = take_best(r, n, b, &len);
	if (first == NONE)
		return NULL;
	use(r, first, len);
	*zeroed = first >= fresh;
	return r->base + first * RUNS_PAGE;
}

size_t runs_size(const struct runs *r, const void *p)
{
	size_t offset = (uintptr_t)p - (uintptr_t)r->base;
	uint32_t head;

	if (offset / RUNS_PAGE >= r->nr || offset % RUNS_PAGE)
		return 0;
	head = r->pages[offset / RUNS_PAGE].head;
	return head & USED ? (head - USED) * RUNS_PAGE : 0;
}

/* Of a run in use: its first page, and how many it has. */
static uint32_t run_of(const struct runs *r, const void *p, uint32_t *n)
{
	static const char text[] =
		"fbuf: memory was freed or resized that is not in use\n";

	*n = runs_size(r, p) / RUNS_PAGE;
	if (!*n) {
		if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
			abort();
		abort();
	}
	return ((const char *)p - r->base) / RUNS_PAGE;
}

void runs_give(struct runs *r, void *p)
{
	uint32_t n, first = run_of(r, p, &n);

	r->pages[first].head = 0;
	r->used -= n;
	merge(r, first, n);
}

/* Pages from end on that are free, or 0; and whether they are the top. */
static uint32_t free_behind(const struct runs *r, uint32_t end, bool *top)
{
	*top = r->fresh < r->nr && end == r->top;
	if (*top)
		return r->nr - end;
	if (end == r->nr || r->pages[end].head & USED)
		return 0;
	return r->pages[end].head;
}

bool runs_resize(struct runs *r, void *p, size_t size)
{
	uint32_t have, n, behind, first = run_of(r, p, &have);
	bool top;

	if (!pages_of(r, size, &n))
		return false;
	if (n <= have) {
		/* As rounded when it was taken. */
		n = bin_round(n);
		if (n >= have)
			return true;
		r->pages[first].head = n | USED;
		r->used -= have - n;
		merge(r, first + n, have - n);
		return true;
	}
	behind = free_behind(r, first + have, &top);
	if (behind < n - have)
		return false;
	if (bin_round(n) - have <= behind)
		n = bin_round(n);
	if (top) {
		r->top = first + n;
		if (r->fresh < r->top)
			r->fresh = r->top;
	} else {
		bin_del(r, first + have);
		if (behind > n - have)
			bin_add(r, first + n, behind - (n - have));
	}
	r->pages[first].head = n | USED;
	r->used += n - have;
	return true;
}

static void *page_addr(const struct runs *r, uint32_t page)
{
	return r->base + page * RUNS_PAGE;
}

/* The last bin before this one that has a run; or NR_BINS. */
static unsigned int bin_before(const struct runs *r, unsigned int bin)
{
	while (bin-- > 0)
		if (r->bits[bin / 64] & 1ULL << bin % 64)
			return bin;
		else if (!(r->bits[bin / 64] & ((1ULL << bin % 64) - 1)))
			bin -= bin % 64;
	return NR_BINS;
}

void runs_each_free(const struct runs *r, size_t size,
		    bool (*fn)(void *run, size_t size, void *arg), void *arg)
{
	unsigned int bin = NR_BINS;
	uint32_t n, i;

	if (!pages_of(r, size, &n))
		return;
	if (r->top < r->fresh && r->fresh < r->nr && r->nr - r->top >= n &&
	    !fn(page_addr(r, r->top), (r->nr - r->top) * RUNS_PAGE, arg))
		return;
	while ((bin = bin_before(r, bin)) < NR_BINS && bin >= bin_of(n))
		for (i = r->bins[bin]; i != NONE; i = r->pages[i].next)
			if (r->pages[i].head >= n &&
			    !fn(page_addr(r, i), r->pages[i].head * RUNS_PAGE,
				arg))
				return;
}

void runs_take_part(struct runs *r, void *run, void *p, size_t size)
{
	uint32_t start = ((char *)run - r->base) / RUNS_PAGE;
	uint32_t first = ((char *)p - r->base) / RUNS_PAGE;
	uint32_t end = first + size / RUNS_PAGE;

	if (r->fresh < r->nr && start == r->top) {
		r->top = end;
		if (r->fresh < end)
			r->fresh = end;
	} else {
		uint32_t behind = start + bin_del(r, start);

		if (end < behind)
			bin_add(r, end, behind - end);
	}
	if (start < first)
		bin_add(r, start, first - start);
	use(r, first, end - first);
}

size_t runs_used(const struct runs *r)
{
	return r->used * RUNS_PAGE;
}

size_t runs_largest(const struct runs *r)
{
	uint32_t max = r->fresh < r->nr ? r->nr - r->top : 0, i;
	unsigned int bin, last = NR_BINS;

	for (bin = bin_next(r, 0); bin < NR_BINS; bin = bin_next(r, bin + 1))
		last = bin;
	if (last < NR_BINS)
		for (i = r->bins[last]; i != NONE; i = r->pages[i].next)
			if (r->pages[i].head > max)
				max = r->pages[i].head;
	return max * RUNS_PAGE;
}

void runs_each(const struct runs *r,
	       void (*fn)(void *p, size_t size, void *arg), void *arg)
{
	uint32_t end = r->fresh < r->nr ? r->top : r->nr, i, head;

	for (i = 0; i < end; i += head & ~USED) {
		head = r->pages[i].head;
		if (head & USED)
			fn(r->base + i * RUNS_PAGE, (head - USED) * RUNS_PAGE,
			   arg);
	}
}
