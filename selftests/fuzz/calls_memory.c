// SPDX-License-Identifier: GPL-2.0
/* Mappings of pools and rings, and what is done in them. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fuzz.h"

/* Another mapping takes the place of the handle's own. */
static long map(struct actor *me, const __u32 *a, bool ring)
{
	static const int prots[] = {
		PROT_READ | PROT_WRITE, PROT_READ, PROT_WRITE, PROT_NONE,
		PROT_READ | PROT_EXEC,
	};
	struct handle *h = handle_pick(me->run, a[0]);
	size_t len;
	__u8 *at;

	if (!h)
		return -1;
	len = ring ? FBUF_RING_ENTRIES + PAGE : (size_t)h->buf_size * h->nr_bufs;
	if (a[2] & WILD)
		len = (size_t)(a[2] & 0xffff) * PAGE;
	else if (a[2])
		len = (len * (a[2] % 8) / 4 + PAGE - 1) / PAGE * PAGE;
	at = mmap(NULL, len, prots[a[3] % ARRAY_LEN(prots)],
		  a[4] & 1 ? MAP_PRIVATE : MAP_SHARED |
		  (a[4] & 2 ? MAP_POPULATE : 0) | (a[4] & 4 ? MAP_LOCKED : 0),
		  h->fd, (ring ? FBUF_MMAP_RING : 0) +
		  (off_t)(a[1] & WILD ? a[1] : a[1] % 32) * PAGE);
	if (at == MAP_FAILED)
		return -1;
	if (ring) {
		if (h->ring_len)
			munmap(h->ring, h->ring_len);
		h->ring = at;
		h->ring_len = len;
		return 0;
	}
	if (h->map_len)
		munmap(h->map, h->map_len);
	h->map = at;
	h->map_len = len;
	return 0;
}

static long call_map(struct actor *me, const __u32 *a)
{
	return map(me, a, false);
}

/* The place of one of its parcels, or what is beside that. */
static long call_mapparcel(struct actor *me, const __u32 *a)
{
	struct handle *h = handle_pick(me->run, a[0]);
	off_t at = FBUF_MMAP_PARCELS + (off_t)(a[2] % 32) * PAGE;
	size_t len = (1 + a[3] % 64) * PAGE;
	__u64 name;
	void *map;

	if (!h)
		return -1;
	name = parcel_pick(me->run, h, a[1]).name;
	at += (off_t)(FBUF_NAME_INDEX(name) & ~FBUF_NAME_PARCEL) *
	      FBUF_PARCEL_MAX;
	if (a[2] & WILD)
		at += (off_t)a[2] * PAGE;
	map = mmap(NULL, len, a[4] % 8 ? PROT_READ : (int)a[4] / 8 % 8,
		   a[4] % 16 == 9 ? MAP_PRIVATE : MAP_SHARED |
		   (a[4] % 16 == 10 ? MAP_POPULATE : 0) |
		   (a[4] % 16 == 11 ? MAP_LOCKED : 0), h->fd, at);
	if (map == MAP_FAILED)
		return -1;
	if (h->map_len)
		munmap(h->map, h->map_len);
	h->map = map;
	h->map_len = len;
	return 0;
}

static long call_mapring(struct actor *me, const __u32 *a)
{
	return map(me, a, true);
}

static struct handle *mapped(struct actor *me, __u32 a)
{
	struct handle *some[NR_HANDLES];
	unsigned int i, nr = 0;

	for (i = 0; i < NR_HANDLES; i++) {
		if (me->run->handle[i].map_len)
			some[nr++] = &me->run->handle[i];
	}
	/* cppcheck-suppress uninitvar ; the first @nr are set */
	return nr ? some[a % nr] : NULL;
}

/* A part of some mapping, by two numbers of pages; NULL: there is none. */
static __u8 *part(struct actor *me, __u32 which, __u32 first, __u32 nr,
		  size_t *len)
{
	struct handle *h = mapped(me, which);
	size_t pages;

	if (!h)
		return NULL;
	pages = h->map_len / PAGE;
	first %= pages;
	*len = (nr ? 1 + (nr - 1) % (pages - first) : pages - first) * PAGE;
	return h->map + first * PAGE;
}

static long call_unmap(struct actor *me, const __u32 *a)
{
	struct handle *h = mapped(me, a[0]);

	if (!h)
		return -1;
	/* Its end only, now and then. */
	if (a[1] % 4 && h->map_len > PAGE * (a[1] % 4)) {
		h->map_len -= PAGE * (a[1] % 4);
		return munmap(h->map + h->map_len, PAGE * (a[1] % 4));
	}
	handle_unmap(h);
	return 0;
}

static long call_protect(struct actor *me, const __u32 *a)
{
	size_t len;
	__u8 *at = part(me, a[0], a[1], a[2], &len);

	return at ? mprotect(at, len, a[3] % 8) : -1;
}

static long call_remap(struct actor *me, const __u32 *a)
{
	struct handle *h = mapped(me, a[0]);
	size_t len;
	__u8 *at;

	if (!h)
		return -1;
	len = a[1] & 1 ? h->map_len + PAGE * (a[1] % 8) :
			 PAGE * (1 + a[1] % (h->map_len / PAGE));
	at = mremap(h->map, h->map_len, len,
		    MREMAP_MAYMOVE | (a[2] % 4 == 1 ? MREMAP_DONTUNMAP : 0));
	if (at == MAP_FAILED)
		return -1;
	if (at != h->map && a[2] % 4 == 1)
		munmap(h->map, h->map_len);
	h->map = at;
	h->map_len = len;
	return 0;
}

/*
 * Kernels without transparent huge pages take large folios for split that are not,
 * and try for ever: include/linux/huge_mm.h had split_folio() return 0 there.
 */
static bool splits(void)
{
	return !access("/sys/kernel/mm/transparent_hugepage", F_OK);
}

static long call_advise(struct actor *me, const __u32 *a)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_DONTFORK, MADV_DOFORK, MADV_WILLNEED,
		MADV_REMOVE, MADV_FREE, MADV_MERGEABLE, MADV_HUGEPAGE,
		MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ,
		MADV_POPULATE_WRITE, MADV_DONTDUMP, MADV_WIPEONFORK, 25 /* COLLAPSE */,
	};
	int what = advice[a[3] % ARRAY_LEN(advice)];
	size_t len;
	__u8 *at = part(me, a[0], a[1], a[2], &len);

	if (!at || ((what == MADV_COLD || what == MADV_PAGEOUT) && !splits()))
		return -1;
	return madvise(at, len, what);
}

/* Plain reads and writes, by this thread. */
static long call_touch(struct actor *me, const __u32 *a)
{
	size_t len, i;
	__u8 *at = part(me, a[0], a[1], a[2], &len);

	if (!at)
		return -1;
	touch_begin(me);
	for (i = a[3] / 4 % PAGE; i < len; i += PAGE) {
		if (a[3] & 1)
			SET(at[i], a[3]);
		else
			(void)GET(at[i]);
	}
	touch_end(me);
	return 0;
}

/* What the user's side of a ring may hold. */
static long call_ringpoke(struct actor *me, const __u32 *a)
{
	struct handle *h = handle_pick(me->run, a[0]);
	struct fbuf_ring *ring = h ? h->ring : NULL;

	if (!h || h->ring_len < PAGE)
		return -1;
	touch_begin(me);
	if (a[1] % 4 < 3)
		ring->head = a[1] % 4 ? ring->head + a[2] : ring->tail;
	else
		memset(ring, a[2], PAGE);
	touch_end(me);
	return 0;
}

/* What argument memory says changes, while the other thread's call reads it. */
static long call_scribble(struct actor *me, const __u32 *a)
{
	__u32 rng = a[1] | 1, *words = (void *)common_page();
	unsigned int i;

	(void)me;
	for (i = 0; i < 16 + a[0] % 4096; i++)
		__atomic_store_n(&words[rnd(&rng) % 64],
				 rng & 256 ? rng % 64 : rng, __ATOMIC_RELAXED);
	return 0;
}

/* The kernel reads or writes the mapping, for a system call. */
static long call_gup(struct actor *me, const __u32 *a)
{
	struct iovec local, remote;
	int fd = res_fd(me->run, K_FILE | K_PIPE | K_SOCK, a[3]);
	size_t len;
	__u8 *at = part(me, a[0], a[1], 1 + a[2] % 4, &len);

	if (!at)
		return -1;
	local = (struct iovec){ scratch(me, len), len };
	remote = (struct iovec){ at, len };
	switch (a[4] % 7) {
	case 0:
		return process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	case 1:
		return process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
	case 2:
		return pwrite(fd, at, len, 0);
	case 3:
		return pread(fd, at, len, 0);
	case 4:
		return vmsplice(fd, &remote, 1,
				SPLICE_F_NONBLOCK | a[4] / 8 % 16);
	case 5:
		return send(fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL |
			    MSG_ZEROCOPY);
	default:
		return recv(fd, at, len, MSG_DONTWAIT);
	}
}

static long call_lock(struct actor *me, const __u32 *a)
{
	size_t len;
	__u8 *at = part(me, a[0], a[1], a[2], &len);

	if (!at)
		return -1;
	return a[3] & 1 ? munlock(at, len) :
			  mlock2(at, len, a[3] & 2 ? MLOCK_ONFAULT : 0);
}

const struct call_desc memory_calls[] = {
	{ "map",	"hene",		16,	call_map },
	{ "mapring",	"hene",		10,	call_mapring },
	{ "mapparcel",	"hrenn",	8,	call_mapparcel },
	{ "unmap",	"hn",		4,	call_unmap },
	{ "protect",	"hnnn",		4,	call_protect },
	{ "remap",	"hnn",		3,	call_remap },
	{ "advise",	"hnnn",		5,	call_advise },
	{ "touch",	"hnnn",		20,	call_touch },
	{ "ringpoke",	"hnn",		10,	call_ringpoke },
	{ "scribble",	"nr",		3,	call_scribble },
	{ "gup",	"hnnhn",	14,	call_gup },
	{ "lock",	"hnnn",		2,	call_lock },
	{ 0 },
};
