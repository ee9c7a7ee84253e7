// SPDX-License-Identifier: LGPL-2.1-or-later
/* Transfers of many offsets and lengths; whoever calls says how it went. */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "channel.h"
#include "test_transfers.h"

/* Bytes of the file: the largest offset and length fit. */
#define SIZE		65600U
/* Bytes that a target file has before. */
#define FRONT		100U
#define JUNK		0xee
#define DEADLINE_MS	10000

struct kind {
	const char *name;
	int (*open)(int fd[2]);
	bool to;
	bool congested;
	bool append;
};

/* What one kind is tried with. */
struct bed {
	const struct kind *kind;
	struct fbuf_heap *heap;
	int file;		/* opened as the kind says */
	char *map;		/* SIZE bytes of it */
	int fd[2];		/* the other end: to be written, to be read */
	size_t junk;		/* bytes in it, before those that were sent */
	size_t got;		/* bytes that were received, all included */
	unsigned int full;	/* transfers that found no room */
};

static char pattern[2 * SIZE];
static const char zeros[SIZE];
static char received[SIZE + (1U << 20)];
static char why[160];

static void pattern_make(void)
{
	uint32_t x = 1;
	size_t i;

	for (i = 0; i < sizeof(pattern); i++) {
		x = x * 1664525 + 1013904223;
		/* No byte is 0. */
		pattern[i] = x >> 25 | 0x80;
	}
}

static unsigned int sizes_make(size_t sizes[TRANSFERS_SIZES])
{
	unsigned int nr = 0;
	size_t i;

	for (i = 0; i < 10; i++)
		sizes[nr++] = i;
	for (i = 16; i <= 16384; i *= 2) {
		sizes[nr++] = i - 1;
		sizes[nr++] = i;
		sizes[nr++] = i + 1;
	}
	sizes[nr++] = 32767;
	return nr;
}

static int tcp_pair(int fd[2], int room)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(addr);
	const int one = 1;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (room) {
		setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
		setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	}
	setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (bind(listener, (void *)&addr, len) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (void *)&addr, &len) < 0 ||
	    connect(fd[0], (void *)&addr, len) < 0)
		return -1;
	fd[1] = accept(listener, NULL, NULL);
	close(listener);
	return fd[1] < 0 ? -1 : 0;
}

int transfers_tcp(int fd[2])
{
	return tcp_pair(fd, 0);
}

int transfers_tcp_small(int fd[2])
{
	if (tcp_pair(fd, 8192) < 0)
		return -1;
	fcntl(fd[1], F_SETFL, O_NONBLOCK);
	return fcntl(fd[0], F_SETFL, O_NONBLOCK);
}

int transfers_unix(int fd[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
}

int transfers_pipe(int fd[2])
{
	int ends[2];

	if (pipe(ends) < 0)
		return -1;
	fd[0] = ends[1];
	fd[1] = ends[0];
	return 0;
}

static int pipe_small(int fd[2])
{
	if (transfers_pipe(fd) < 0)
		return -1;
	fcntl(fd[0], F_SETPIPE_SZ, 8192);
	fcntl(fd[1], F_SETFL, O_NONBLOCK);
	return fcntl(fd[0], F_SETFL, O_NONBLOCK);
}

static int file_both(int fd[2])
{
	fd[0] = memfd_create("target", 0);
	fd[1] = fd[0];
	return fd[0];
}

size_t transfers_fill(int fd)
{
	static char junk[4096];
	size_t done = 0;
	ssize_t n;

	memset(junk, JUNK, sizeof(junk));
	while ((n = write(fd, junk, sizeof(junk))) > 0)
		done += n;
	return done;
}

static const struct kind kinds[] = {
	{ .name = "to a file", .open = file_both, .to = true },
	{ .name = "to a file that is appended to", .open = file_both, .to = true,
	  .append = true },
	{ .name = "to TCP", .open = transfers_tcp, .to = true },
	{ .name = "to TCP that does not block, congested",
	  .open = transfers_tcp_small, .to = true, .congested = true },
	{ .name = "to AF_UNIX", .open = transfers_unix, .to = true },
	{ .name = "to a pipe", .open = transfers_pipe, .to = true },
	{ .name = "to a pipe that does not block, full", .open = pipe_small,
	  .to = true, .congested = true },
	{ .name = "from a file", .open = file_both },
	{ .name = "from a file, appended", .open = file_both, .append = true },
	{ .name = "from TCP", .open = transfers_tcp },
	{ .name = "from TCP that does not block, bit by bit",
	  .open = transfers_tcp_small, .congested = true },
	{ .name = "from AF_UNIX", .open = transfers_unix },
	{ .name = "from a pipe", .open = transfers_pipe },
	{ .name = "from a pipe that does not block, bit by bit",
	  .open = pipe_small, .congested = true },
};

#define NR_KINDS	(sizeof(kinds) / sizeof(*kinds))

unsigned int transfers_nr_kinds(void)
{
	return NR_KINDS;
}

const char *transfers_name(unsigned int kind)
{
	return kinds[kind].name;
}

static const char *wrong(const char *what, size_t off, size_t len, long is)
{
	snprintf(why, sizeof(why), "offset %zu, length %zu: %s (%ld)", off, len,
		 what, is);
	return why;
}

static bool is_file(const struct bed *b)
{
	return b->kind->open == file_both;
}

/* Take some of what has arrived: up to max bytes. Whether there was any. */
static bool take(struct bed *b, size_t max)
{
	ssize_t n;

	if (max > sizeof(received) - b->got)
		max = sizeof(received) - b->got;
	n = read(b->fd[1], received + b->got, max);
	b->got += n > 0 ? n : 0;
	return n > 0;
}

/* Until there is room, or something to take. */
static void wait_for_change(struct bed *b, short first)
{
	struct pollfd p[2] = {
		{ .fd = b->fd[0], .events = first },
		{ .fd = b->fd[1], .events = POLLIN },
	};

	poll(p, 2, DEADLINE_MS);
}

/* One after another, until all is there; a reader that is slow takes turns. */
static const char *move_to(struct bed *b, size_t off, size_t len)
{
	size_t done = 0;
	ssize_t n;

	do {
		n = fbuf_transfer_to(b->heap, b->file, off + done, len - done,
				     b->fd[0]);
		if (n < 0 || n > (ssize_t)(len - done))
			return wrong("transfer", off, len, n);
		if (!n && len && !b->kind->congested)
			return wrong("nothing went", off, len, done);
		done += n;
		b->full += !n && len;
		if (b->kind->congested && !take(b, 3000) && !n && done < len)
			wait_for_change(b, POLLOUT);
	} while (done < len);
	return NULL;
}

static const char *try_to_file(struct bed *b, size_t off, size_t len)
{
	off_t start = b->kind->append ? 0 : FRONT;
	const char *err;
	off_t at;

	if (ftruncate(b->fd[0], 0) < 0 ||
	    pwrite(b->fd[0], pattern + SIZE, FRONT, 0) != FRONT)
		return wrong("front", off, len, errno);
	lseek(b->fd[0], start, SEEK_SET);
	err = move_to(b, off, len);
	if (err)
		return err;
	at = lseek(b->fd[0], 0, SEEK_CUR);
	if (at != (off_t)(len ? FRONT + len : (size_t)start))
		return wrong("the target's position", off, len, at);
	if (pread(b->fd[0], received, sizeof(received), 0) !=
	    (ssize_t)(FRONT + len))
		return wrong("the target's size", off, len, 0);
	if (memcmp(received, pattern + SIZE, FRONT) ||
	    memcmp(received + FRONT, pattern + off, len))
		return wrong("bytes", off, len, 0);
	return NULL;
}

static bool junk_first(const struct bed *b)
{
	size_t i;

	for (i = 0; i < b->junk; i++)
		if (received[i] != (char)JUNK)
			return false;
	return true;
}

static const char *try_to_stream(struct bed *b, size_t off, size_t len)
{
	struct pollfd p = { .fd = b->fd[1], .events = POLLIN };
	const char *err;

	b->got = 0;
	b->junk = b->kind->congested ? transfers_fill(b->fd[0]) : 0;
	err = move_to(b, off, len);
	while (!err && b->got < b->junk + len)
		if (poll(&p, 1, DEADLINE_MS) != 1 || !take(b, SIZE))
			err = wrong("arrived", off, len, b->got);
	if (!err && (!junk_first(b) || b->got != b->junk + len ||
		     memcmp(received + b->junk, pattern + off, len)))
		err = wrong("bytes", off, len, b->got);
	if (!err && poll(&p, 1, 0))
		err = wrong("more arrived", off, len, 0);
	return err;
}

static const char *try_to(struct bed *b, size_t off, size_t len)
{
	off_t pos = (off ^ len) & 0xfff;
	const char *err;

	lseek(b->file, pos, SEEK_SET);
	err = is_file(b) ? try_to_file(b, off, len) :
			   try_to_stream(b, off, len);
	if (err)
		return err;
	if (lseek(b->file, 0, SEEK_CUR) != pos)
		return wrong("the file's position", off, len, pos);
	if (memcmp(b->map, pattern, SIZE))
		return wrong("the file itself", off, len, 0);
	return NULL;
}

static bool feed(const struct bed *b, const char *data, size_t len)
{
	return !len || write(b->fd[0], data, len) == (ssize_t)len;
}

static const char *move_from(struct bed *b, const char *data, size_t off,
			     size_t len)
{
	size_t piece = b->kind->congested ? 1500 : len, fed = 0, done = 0;
	ssize_t n = 0;

	if (b->kind->congested &&
	    fbuf_transfer_from(b->heap, b->file, off, len, b->fd[1]))
		return wrong("there was nothing", off, len, 0);
	do {
		if (fed < len && !n) {
			if (piece > len - fed)
				piece = len - fed;
			if (!feed(b, data + fed, piece))
				return wrong("feed", off, len, errno);
			fed += piece;
		}
		n = fbuf_transfer_from(b->heap, b->file, off + done,
				       len - done, b->fd[1]);
		if (n < 0 || n > (ssize_t)(fed - done) ||
		    (!b->kind->congested && n != (ssize_t)len))
			return wrong("transfer", off, len, n);
		done += n;
		if (!n && done < fed)
			wait_for_change(b, 0);
	} while (done < len);
	return NULL;
}

static const char *move_from_file(struct bed *b, size_t at, size_t off,
				  size_t len)
{
	ssize_t n;

	/* As much as there is. */
	if (ftruncate(b->fd[0], 0) < 0 ||
	    pwrite(b->fd[0], pattern, at + len, 0) != (ssize_t)(at + len))
		return wrong("source", off, len, errno);
	lseek(b->fd[0], at, SEEK_SET);
	n = fbuf_transfer_from(b->heap, b->file, off, len, b->fd[0]);
	if (n != (ssize_t)len)
		return wrong("transfer", off, len, n);
	n = lseek(b->fd[0], 0, SEEK_CUR);
	if (n != (ssize_t)(at + len))
		return wrong("the source's position", off, len, n);
	n = fbuf_transfer_from(b->heap, b->file, off, len, b->fd[0]);
	return n ? wrong("beyond the end", off, len, n) : NULL;
}

static const char *try_from(struct bed *b, size_t off, size_t len)
{
	off_t pos = (off ^ len) & 0xfff, size = SIZE;
	size_t at = off * 7 % 1000, to = off;
	const char *err;
	struct stat st;

	lseek(b->file, pos, SEEK_SET);
	err = is_file(b) ? move_from_file(b, at, off, len) :
			   move_from(b, pattern + at, off, len);
	if (err)
		return err;
	if (b->kind->append) {
		to = SIZE;
		size += len;
	}
	if (lseek(b->file, 0, SEEK_CUR) != pos)
		return wrong("the file's position", off, len, pos);
	if (fstat(b->file, &st) < 0 || st.st_size != size)
		return wrong("the file's size", off, len, st.st_size);
	if (memcmp(b->map + to, pattern + at, len))
		return wrong("bytes", off, len, 0);
	memset(b->map + to, 0, len);
	if (memcmp(b->map, zeros, SIZE))
		return wrong("bytes around", off, len, 0);
	if (b->kind->append && ftruncate(b->file, SIZE) < 0)
		return wrong("ftruncate", off, len, errno);
	return NULL;
}

static const char *bed_make(struct bed *b, const struct kind *kind)
{
	b->kind = kind;
	pattern_make();
	b->file = memfd_create("file", 0);
	if (b->file < 0 || ftruncate(b->file, SIZE) < 0 || kind->open(b->fd) < 0)
		return "it cannot be made";
	if (kind->append)
		fcntl(kind->to ? b->fd[0] : b->file, F_SETFL, O_APPEND);
	b->map = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		      b->file, 0);
	if (b->map == MAP_FAILED)
		return "no mapping";
	if (kind->to)
		memcpy(b->map, pattern, SIZE);
	return NULL;
}

static void bed_unmake(struct bed *b)
{
	munmap(b->map, 2 * SIZE);
	close(b->file);
	close(b->fd[0]);
	if (b->fd[1] != b->fd[0])
		close(b->fd[1]);
}

const char *transfers_try(unsigned int kind, struct fbuf_heap *heap,
			  unsigned int closed, unsigned int step,
			  unsigned int *tried)
{
	size_t sizes[TRANSFERS_SIZES], off, len;
	struct bed b = { .heap = heap };
	unsigned int i;
	const char *err;

	*tried = 0;
	if (sizes_make(sizes) != TRANSFERS_SIZES)
		return "there are not 44 sizes";
	err = bed_make(&b, &kinds[kind]);
	channel_closed = closed;
	for (i = 0; !err && i < TRANSFERS_SIZES * TRANSFERS_SIZES; i += step) {
		off = sizes[i / TRANSFERS_SIZES];
		len = sizes[i % TRANSFERS_SIZES];
		err = b.kind->to ? try_to(&b, off, len) :
				   try_from(&b, off, len);
		++*tried;
	}
	if (!err && b.kind->to && b.kind->congested && !b.full)
		err = "it was never full";
	channel_closed = 0;
	bed_unmake(&b);
	return err;
}
