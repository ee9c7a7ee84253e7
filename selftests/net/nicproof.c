// SPDX-License-Identifier: GPL-2.0
/*
 * That what a NIC's driver is given are the pool's own pages, and that the CPU
 * copies none of their bytes on the way there.
 *
 * Kprobes record what goes into the driver's descriptors, and what the functions
 * that copy payload are called for. A write() of the same bytes is the control:
 * it must be seen to do what a send must not.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "bed.h"
#include "util.h"

#define BUF_SIZE	65536U
#define NR_BUFS		16U
#define LEN		(NR_BUFS * BUF_SIZE)
#define SEED		5

/* Headers, and what a driver copies of a packet for reasons of its own. */
#define HEADERS_MAX	256U
#define PULL_MAX	4U

/* What the rest of the system may copy meanwhile. */
#define NOISE_MAX	16384U

#define TRACING		"/sys/kernel/tracing/"
#define KPROBES		TRACING "kprobe_events"
#define RECORD_CMD	TRACING "options/record-cmd"
#define INSTANCE	TRACING "instances/nicproof"

#define PAGE_SHIFT	__builtin_ctz(PAGE)
#define PAGES_MAX	(LEN / 4096)
#define PAGE_STRUCT	64	/* bytes of a struct page */

/* Where these begin. On others than x86-64 nothing says so, and it is found out. */
#ifdef __x86_64__
#define BASE		"@vmemmap_base:x64"
#else
#define BASE		"\\0:x64"
#define FIND_BASE
#endif

/*
 * What virtio_net puts into its ring, of which a scatterlist entry is four
 * words: page, offset and length, and what is not used here.
 */
#define SG_WORDS	4
#define SG_MAX		19
#define PROBE_VIRTIO "p:nicproof/virtio virtqueue_add_outbuf base=" BASE		\
	" num=$arg3:u32 sg=+0($arg2):x64[64] more=+512($arg2):x64[12]"

/* What any driver maps for its device to read. */
#define PROBE_DMA "p:nicproof/dma dma_map_page_attrs base=" BASE			\
	" dir=$arg5:u32 page=$arg2:x64 offset=$arg3:x64 len=$arg4:x64"
#define DMA_TO_DEVICE	1

/*
 * Where payload is copied, and for how many bytes. What copies from an iterator
 * cannot be probed itself, but it has each copy checked; a hit of the last one
 * counts as a whole packet.
 */
static const char * const copies[] = {
	"p:nicproof/copy1 __check_object_size dir=$arg3:u32 n=$arg2:u32",
	"p:nicproof/join skb_try_coalesce",
	"p:nicproof/copy2 skb_copy_bits dir=\\0:u32 n=$arg4:u32",
	"p:nicproof/copy3 skb_copy_and_csum_bits dir=\\0:u32 n=$arg4:u32",
	"p:nicproof/copy4 skb_copy_ubufs dir=\\0:u32 n=\\65536:u32",
};

#define FROM_USER	0

/* What was seen: of the pool and others in descriptors, and of copies. */
struct seen {
	unsigned int packets;
	size_t pool;
	size_t other;
	size_t other_max;
	size_t copied;
	uint64_t joins;		/* a bit for each CPU that just called what joins packets */
};

static int file_write(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | flags);
	ssize_t ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text));
	ret = ret < 0 ? -errno : 0;
	close(fd);
	return ret;
}

static void probes_remove(void)
{
	rmdir(INSTANCE);
	file_write(KPROBES, "", O_TRUNC);
}

/* The drivers' probes are for what there is. */
static int probes_add(void)
{
	unsigned int i;
	int err, err2;

	probes_remove();
	err = file_write(KPROBES, PROBE_VIRTIO, O_APPEND);
	err2 = file_write(KPROBES, PROBE_DMA, O_APPEND);
	if (err && err2)
		return err;
	for (i = 0; i < ARRAY_SIZE(copies); i++) {
		err = file_write(KPROBES, copies[i], O_APPEND);
		if (err)
			return err;
	}
	/* Else the scheduler's tracepoints are switched on with ours. */
	err = file_write(RECORD_CMD, "0", 0);
	if (!err && mkdir(INSTANCE, 0700))
		err = -errno;
	file_write(RECORD_CMD, "1", 0);
	return err ?: file_write(INSTANCE "/buffer_size_kb", "8192", 0);
}

static int probes_on(bool on)
{
	return file_write(INSTANCE "/events/nicproof/enable", on ? "1" : "0",
			  0);
}

/* The page frames of memory for all of which there are page tables. */
static int frames(const void *map, size_t size, uint64_t *pfns)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t i, nr = size >> PAGE_SHIFT;
	off_t at = ((uintptr_t)map >> PAGE_SHIFT) * sizeof(*pfns);
	ssize_t ret = pread(fd, pfns, nr * sizeof(*pfns), at);

	close(fd);
	for (i = 0; i < nr; i++)
		pfns[i] &= (1ULL << 55) - 1;
	return ret == (ssize_t)(nr * sizeof(*pfns)) && pfns[0] ? 0 : -EPERM;
}

static bool is_ours(const uint64_t *pfns, uint64_t pfn)
{
	size_t i;

	for (i = 0; i < LEN >> PAGE_SHIFT; i++) {
		if (pfns[i] == pfn)
			return true;
	}
	return false;
}

/* What is sent to find the base: a length that nothing else has, of a known page. */
#define KNOWN_LEN	1237U

static uint64_t known_pfn, found_base;

/* One descriptor: bytes of a folio, from an offset to its first page on. */
static void see_part(struct seen *seen, const uint64_t *pfns, uint64_t base,
		     uint64_t page, uint64_t offset, size_t len)
{
	uint64_t addr;
	size_t other = 0, part;

	if (known_pfn && len == KNOWN_LEN)
		found_base = page - known_pfn * PAGE_STRUCT;
	addr = ((page - base - found_base) / PAGE_STRUCT << PAGE_SHIFT) + offset;
	for (; len; len -= part, addr += part) {
		part = (1U << PAGE_SHIFT) - (addr & ((1U << PAGE_SHIFT) - 1));
		if (part > len)
			part = len;
		if (is_ours(pfns, addr >> PAGE_SHIFT))
			seen->pool += part;
		else
			other += part;
	}
	seen->other += other;
	if (other > seen->other_max)
		seen->other_max = other;
}

static uint64_t field(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	return at ? strtoull(at + strlen(name), NULL, 0) : 0;
}

/* Numbers in braces, with commas between them. */
static unsigned int numbers(const char *line, const char *name, uint64_t *to,
			    unsigned int max)
{
	const char *at = strstr(line, name);
	unsigned int n = 0;

	if (!at)
		return 0;
	at += strlen(name);
	while (n < max && *at != '}' && *at) {
		char *end;

		to[n++] = strtoull(at, &end, 0);
		at = end + (*end == ',');
	}
	return n;
}

static void see_virtio(struct seen *seen, const uint64_t *pfns,
		       const char *line)
{
	uint64_t sg[SG_MAX * SG_WORDS] = {}, base = field(line, "base=");
	unsigned int i, n, num = field(line, "num=");

	n = numbers(line, " sg={", sg, ARRAY_SIZE(sg));
	numbers(line, " more={", sg + n, ARRAY_SIZE(sg) - n);
	for (i = 0; i < num && i < SG_MAX; i++) {
		const uint64_t *w = sg + SG_WORDS * i;

		/* Low bits are flags; the second word is offset and length. */
		see_part(seen, pfns, base, w[0] & ~3ULL, (uint32_t)w[1],
			 w[1] >> 32);
	}
}

/* Whoever receives joins packets, and may copy one into another that has room. */
static bool is_join(struct seen *seen, const char *line)
{
	const char *at = strstr(line, " [");
	uint64_t cpu = 1ULL << (at ? strtoul(at + 2, NULL, 10) % 64 : 0);
	bool joins = seen->joins & cpu;

	seen->joins &= ~cpu;
	if (strstr(line, " join:"))
		seen->joins |= cpu;
	return joins && strstr(line, " copy2:");
}

static void see_line(struct seen *seen, const uint64_t *pfns, const char *line)
{
	if (is_join(seen, line))
		return;
	if (strstr(line, " virtio: ")) {
		see_virtio(seen, pfns, line);
		seen->packets++;
	} else if (strstr(line, " dma: ")) {
		if (field(line, "dir=") != DMA_TO_DEVICE)
			return;
		see_part(seen, pfns, field(line, "base="),
			 field(line, "page="), field(line, "offset="),
			 field(line, "len="));
		seen->packets++;
	} else if (strstr(line, " copy") &&
		   (field(line, "dir=") & 1) == FROM_USER) {
		seen->copied += field(line, " n=");
	}
}

static int look(struct seen *seen, const uint64_t *pfns)
{
	FILE *f = fopen(INSTANCE "/trace", "r");
	static char line[8192];
	int err = 0;

	if (!f)
		return -errno;
	memset(seen, 0, sizeof(*seen));
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "LOST"))
			err = -EOVERFLOW;
		see_line(seen, pfns, line);
	}
	fclose(f);
	return err;
}

/* Hits that were not recorded, because another probe was at work there. */
static unsigned long probes_missed(void)
{
	FILE *f = fopen(TRACING "kprobe_profile", "r");
	unsigned long missed, sum = 0;

	if (!f)
		return 0;
	while (fscanf(f, "%*s %*u %lu", &missed) == 1)
		sum += missed;
	fclose(f);
	return sum;
}

#ifdef FIND_BASE
/*
 * A page of this program, whose number it may ask, is lent to the kernel. If the NIC
 * cannot gather, none is ever seen, and the base is of no use.
 */
static int find_base(const uint64_t *pfns)
{
	int fd[2], one = 1, off, err = bed_pair(AF_INET, SOCK_STREAM, fd);
	void *page = aligned_alloc(PAGE, PAGE);
	__u8 got[KNOWN_LEN];
	struct seen seen;

	if (err || !page)
		return err ?: -ENOMEM;
	memset(page, SEED, PAGE);
	found_base = 0;
	err = frames(page, PAGE, &known_pfn) ?: probes_on(true);
	if (!err && (setsockopt(fd[0], SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) ||
		     send(fd[0], page, KNOWN_LEN, MSG_ZEROCOPY) != KNOWN_LEN ||
		     read_full(fd[1], got, KNOWN_LEN) != KNOWN_LEN))
		err = -EIO;
	off = probes_on(false) ?: look(&seen, pfns);
	err = err ?: off;
	known_pfn = 0;
	close(fd[0]);
	close(fd[1]);
	free(page);
	return err ?: found_base || !bed_has_sg() ? 0 : -ENOENT;
}
#else
static int find_base(const uint64_t *pfns)
{
	return 0;
}
#endif

FIXTURE(proof)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	struct fbuf_seg seg[NR_BUFS];
	uint64_t pfns[PAGES_MAX];
	int sock[2];
	struct sent sent;
};

FIXTURE_SETUP(proof)
{
	unsigned int i;

	ASSERT_EQ(0, bed_pair(AF_INET, SOCK_STREAM, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	for (i = 0; i < NR_BUFS; i++)
		self->seg[i] = buf_seg(&self->pool, self->names[i], 0,
				       BUF_SIZE);
	/* By offset in the pool, whatever the order of the names. */
	pattern_fill(self->pool.map, SEED, 0, LEN);
	ASSERT_EQ(0, frames(self->pool.map, LEN, self->pfns));
	if (access(KPROBES, W_OK))
		SKIP(return, "no kprobe events in this kernel");
	ASSERT_EQ(0, probes_add());
	ASSERT_EQ(0, find_base(self->pfns));
}

FIXTURE_TEARDOWN(proof)
{
	probes_on(false);
	probes_remove();
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->pool);
}

static void by_write(struct __test_metadata *_metadata,
		     struct _test_data_proof *self)
{
	ASSERT_EQ((ssize_t)LEN, write(self->sock[0], self->pool.map, LEN));
}

static void by_zerocopy(struct __test_metadata *_metadata,
			struct _test_data_proof *self)
{
	int one = 1;

	ASSERT_EQ(0, setsockopt(self->sock[0], SOL_SOCKET, SO_ZEROCOPY, &one,
				sizeof(one)));
	ASSERT_EQ((ssize_t)LEN, send(self->sock[0], self->pool.map, LEN,
				     MSG_ZEROCOPY));
}

static void by_pageref(struct __test_metadata *_metadata,
		       struct _test_data_proof *self)
{
	ASSERT_EQ((ssize_t)LEN, pool_send(self->pool.fd, self->sock[0],
					  self->seg, NR_BUFS, 0,
					  FBUF_ENGINE_PAGEREF, &self->sent));
}

static void by_ubuf(struct __test_metadata *_metadata,
		    struct _test_data_proof *self)
{
	ASSERT_EQ((ssize_t)LEN, pool_send(self->pool.fd, self->sock[0],
					  self->seg, NR_BUFS, 0,
					  FBUF_ENGINE_UBUF, &self->sent));
}

static void by_splice(struct __test_metadata *_metadata,
		      struct _test_data_proof *self)
{
	ASSERT_EQ((ssize_t)LEN, pool_send(self->pool.fd, self->sock[0],
					  self->seg, NR_BUFS, 0,
					  FBUF_ENGINE_SPLICE, &self->sent));
}

/* Sends the pool, and looks what that did. */
static void watch_once(struct __test_metadata *_metadata,
		       struct _test_data_proof *self, struct seen *seen,
		       void (*by)(struct __test_metadata *_metadata,
				  struct _test_data_proof *self))
{
	struct reader reader;

	ASSERT_EQ(0, file_write(INSTANCE "/trace", "", O_TRUNC));
	ASSERT_EQ(0, reader_start(&reader, self->sock[1], LEN, -1));
	ASSERT_EQ(0, probes_on(true));
	by(_metadata, self);
	ASSERT_EQ((ssize_t)LEN, reader_join(&reader));
	ASSERT_EQ(0, probes_on(false));
	EXPECT_EQ(-1, pattern_differs(reader.data, SEED, 0, LEN));
	free(reader.data);
	ASSERT_EQ(0, look(seen, self->pfns));
	TH_LOG("descriptors: %zu bytes of the pool, %zu others, up to %zu each",
	       seen->pool, seen->other, seen->other_max);
	TH_LOG("copied: %zu bytes, and %llu reported", seen->copied,
	       (unsigned long long)self->sent.copied);
}

/* Until all that it did was seen. */
static void watch(struct __test_metadata *_metadata,
		  struct _test_data_proof *self, struct seen *seen,
		  void (*by)(struct __test_metadata *_metadata,
			     struct _test_data_proof *self))
{
	unsigned long before;
	int try = 0;

	do {
		ASSERT_LT(try++, 20);
		before = probes_missed();
		watch_once(_metadata, self, seen, by);
	} while (probes_missed() != before);
}

/* All of it was gathered from the pool, or, by what cannot gather, none. */
static void expect_gathered(struct __test_metadata *_metadata,
			    struct _test_data_proof *self,
			    const struct seen *seen)
{
	if (!bed_has_sg()) {
		EXPECT_EQ(0, seen->pool);
		EXPECT_GE(seen->copied, LEN);
		return;
	}
	EXPECT_GE(seen->pool + PULL_MAX * seen->packets, LEN);
	EXPECT_LE(seen->other_max, HEADERS_MAX);
	EXPECT_LT(seen->copied, NOISE_MAX);
}

TEST_F_TIMEOUT(proof, write_copies, 100)
{
	struct seen seen;

	watch(_metadata, self, &seen, by_write);
	EXPECT_EQ(0, seen.pool);
	EXPECT_GE(seen.other, LEN);
	EXPECT_GT(seen.other_max, HEADERS_MAX);
	EXPECT_GE(seen.copied, LEN);
}

TEST_F_TIMEOUT(proof, pageref_gathers, 100)
{
	struct seen seen;

	watch(_metadata, self, &seen, by_pageref);
	expect_gathered(_metadata, self, &seen);
	EXPECT_EQ(bed_has_sg() ? 0 : LEN, self->sent.copied);
}

TEST_F_TIMEOUT(proof, ubuf_gathers, 100)
{
	struct seen seen;

	watch(_metadata, self, &seen, by_ubuf);
	expect_gathered(_metadata, self, &seen);
	EXPECT_EQ(bed_has_sg() ? 0 : LEN, self->sent.copied);
}

TEST_F_TIMEOUT(proof, splice_gathers, 100)
{
	struct seen seen;

	if (kernel_before(6, 5))
		SKIP(return, "not over TCP before Linux 6.5");
	watch(_metadata, self, &seen, by_splice);
	expect_gathered(_metadata, self, &seen);
	EXPECT_EQ(bed_has_sg() ? 0 : LEN, self->sent.copied);
}

/* The kernel's own zero copy, of the same pages. */
TEST_F_TIMEOUT(proof, msg_zerocopy_gathers, 100)
{
	struct seen seen;

	watch(_metadata, self, &seen, by_zerocopy);
	expect_gathered(_metadata, self, &seen);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	need_bed(argc, argv);
	return test_harness_run(argc, argv);
}
