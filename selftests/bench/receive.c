// SPDX-License-Identifier: GPL-2.0
/*
 * receive FILE: what it costs to receive, to look at and to send on, each way to do it,
 * over TCP on loopback, in lock step; as JSON. To be run under -icount.
 * receive --again METHOD SIZE: that one, over and over, for profile.
 *
 * A proxy takes a message that a sender wrote and sends it on; what is measured is its
 * part, from the moment that the message is in its socket until it is in the next one.
 * A reader takes a message and adds up all its bytes, 32 at a time; what is measured
 * is its part, or with the sender's.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "util.h"

#define SOCKBUF		(16 << 20)
#define PEEK		4096U	/* bytes that a proxy looks at */
#define MOST		(1U << 20)
#define WARM_UP		8
#define CONNS_WARM_UP	2000	/* messages until TCP's windows are as wide as they get */
#define ROUNDS		31
#define PIPE		(1 << 20)

static int pool_fd;		/* what receives; of small buffers, which it has no use of */
static int in[2], out[2];	/* to the proxy, and from it */
static __u8 *data, *sink;
static struct pool sender;	/* snapshot */
static __u64 sender_names[4], sender_name;
static unsigned int sender_turn;
static int pipe_fd[2];
static __u64 copied;		/* bytes that the proxy's calls said they copied */
static __u64 last_parcel;	/* to be dropped by the next RECV */
static const char *map;

static void die(const char *what, long err)
{
	fprintf(stderr, "receive: %s: %s\n", what,
		err < 0 ? strerror(-err) : "short");
	exit(2);
}

static __u64 now(void)
{
	return clock_now(true);
}

/* What that costs. */
static __u64 asking;

static void measure_asking(void)
{
	__u64 least = ~0ULL;
	int i;

	for (i = 0; i < 100; i++) {
		__u64 begin = now(), took = now() - begin;

		if (took < least)
			least = took;
	}
	asking = least;
}

/* Sends, of which nothing is measured unless it says so. */
static void send_write(size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write(in[0], data + done, size - done);

		if (n <= 0)
			die("write", n < 0 ? -errno : 0);
		done += n;
	}
}

/* A buffer of a snapshot pool, that was written and is held. */
static void send_fbuf(size_t size)
{
	struct fbuf_seg seg;
	ssize_t n;

	sender_name = sender_names[sender_turn++ % 4];
	seg = named_seg(sender_name, 0, size);
	n = pool_send(sender.fd, in[0], &seg, 1, 0, 0, NULL);
	if (n != (ssize_t)size)
		die("SEND", n);
}

static __u64 sum;

/* As a program would that is quick at it, by vectors. */
#ifdef __x86_64__
__attribute__((target("arch=haswell")))
#endif
static void look(const void *from, size_t len)
{
	typedef __u64 vector __attribute__((vector_size(32), aligned(8)));
	const vector *p = from;
	vector a = { }, b = { }, c = { }, d = { };
	const __u8 *end = (const __u8 *)from + len;

	for (; (const __u8 *)(p + 8) <= end; p += 8) {
		a += p[0];
		b += p[1];
		c += p[2];
		d += p[3];
		a += p[4];
		b += p[5];
		c += p[6];
		d += p[7];
	}
	a += b + c + d;
	sum += a[0] + a[1] + a[2] + a[3];
	/* Bytes of a message that is not in one piece are where they would be. */
	for (from = p; from < (const void *)end; from++)
		sum += (__u64)*(const __u8 *)from << (uintptr_t)from % 8 * 8;
}

/* Proxies. The filter adds up what it looks at. */
static void proxy_copy(size_t size)
{
	size_t got = 0, done = 0;

	while (got < size) {
		ssize_t n = recv(in[1], sink + got, size - got, 0);

		if (n <= 0)
			die("recv", n < 0 ? -errno : 0);
		got += n;
	}
	look(sink, PEEK);
	while (done < size) {
		ssize_t n = send(out[0], sink + done, size - done, 0);

		if (n <= 0)
			die("send", n < 0 ? -errno : 0);
		done += n;
	}
	copied += 2 * size;
}

static void proxy_splice(size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = splice(in[1], NULL, pipe_fd[1], NULL, size - done,
				   SPLICE_F_MOVE);
		ssize_t left = n;

		if (n <= 0)
			die("splice", n < 0 ? -errno : 0);
		while (left > 0) {
			ssize_t m = splice(pipe_fd[0], NULL, out[0], NULL, left,
					   SPLICE_F_MOVE);

			if (m <= 0)
				die("splice", m < 0 ? -errno : 0);
			left -= m;
		}
		done += n;
	}
}

static ssize_t receive(size_t size, size_t head_len)
{
	struct fbuf_recv arg = {
		.size = sizeof(arg),
		.fd = in[1],
		.len = size,
		.drop = last_parcel,
		.head = (uintptr_t)sink,
		.head_len = head_len,
	};
	ssize_t n = ioctl(pool_fd, FBUF_IOC_RECV, &arg);

	if (n <= 0)
		die("RECV", n < 0 ? -errno : 0);
	last_parcel = arg.name;
	copied += arg.copied + arg.head_len;
	return n;
}

static void proxy_parcel(size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = receive(size - done, done < PEEK ? PEEK - done : 0);
		struct fbuf_seg seg = named_seg(last_parcel, 0, n);
		struct sent sent;

		if (!done)
			look(sink, PEEK);
		if (pool_send(pool_fd, out[0], &seg, 1, FBUF_SEND_FREE, 0,
			      &sent) != n)
			die("SEND of a parcel", 0);
		last_parcel = 0;
		copied += sent.copied;
		done += n;
	}
}

/* Readers. */
static void reader_recv(size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = recv(in[1], sink + got, size - got, 0);

		if (n <= 0)
			die("recv", n < 0 ? -errno : 0);
		got += n;
	}
	look(sink, size);
	copied += size;
}

static void reader_mapped(size_t size)
{
	size_t done = 0;

	while (done < size) {
		struct fbuf_part parts[16];
		ssize_t n = receive(size - done, 0);
		size_t at = 0;
		int i, nr;

		nr = parcel_show(pool_fd, last_parcel, parts, 16);
		if (nr < 0)
			die("SHOW", nr);
		for (i = 0; i <= nr && i <= 16; i++) {
			size_t end = i < nr ? parts[i].offset : (size_t)n;

			/* What cannot be shown. */
			if (at < end) {
				if (parcel_read(pool_fd, last_parcel, at, sink,
						end - at))
					die("READ", 0);
				look(sink, end - at);
				copied += end - at;
			}
			if (i == nr)
				break;
			look(map + (parts[i].at - FBUF_MMAP_PARCELS),
			     parts[i].len);
			at = parts[i].offset + parts[i].len;
		}
		done += n;
	}
}

struct method {
	const char *what;
	const char *name;
	void (*send)(size_t size);
	bool send_counts;
	void (*run)(size_t size);
	bool on;		/* it is sent on */
};

static const struct method methods[] = {
	{ "proxy", "parcel", send_write, false, proxy_parcel, true },
	{ "proxy", "recv+send", send_write, false, proxy_copy, true },
	{ "proxy", "splice", send_write, false, proxy_splice, true },
	{ "read", "parcel, mapped", send_fbuf, false, reader_mapped, false },
	{ "read", "recv", send_fbuf, false, reader_recv, false },
	{ "end to end", "fbuf both sides", send_fbuf, true, reader_mapped,
	  false },
	{ "end to end", "write+recv", send_write, true, reader_recv, false },
};

#define NR_METHODS	(sizeof(methods) / sizeof(*methods))

/* Takes what was sent on, and sees that it is right. */
static bool drain(size_t size)
{
	static __u8 got[MOST];

	return read_full(out[1], got, size) == (ssize_t)size &&
	       !memcmp(got, data, size);
}

static int by_value(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static __u64 expected(const struct method *m, size_t size)
{
	sum = 0;
	look(data, m->on ? PEEK : size);
	return sum;
}

static void measure(const struct method *m, size_t size, FILE *to, bool last)
{
	__u64 took[ROUNDS], begin, want = expected(m, size);
	bool verified = true, looks = m->run != proxy_splice;
	int i;

	for (i = -WARM_UP; i < ROUNDS; i++) {
		copied = 0;
		sum = 0;
		if (!m->send_counts)
			m->send(size);
		begin = now();
		if (m->send_counts)
			m->send(size);
		m->run(size);
		if (i >= 0)
			took[i] = now() - begin - asking;
		verified &= (!looks || sum == want) && (!m->on || drain(size));
	}
	if (last_parcel && pool_free(pool_fd, &last_parcel, 1) != 1)
		die("FREE", 0);
	last_parcel = 0;
	qsort(took, ROUNDS, sizeof(took[0]), by_value);
	fprintf(to, "  {\"what\": \"%s\", \"method\": \"%s\", \"size\": %zu, ",
		m->what, m->name, size);
	fprintf(to, "\"instructions\": %llu, \"copied\": %llu, \"verified\": %s}%s\n",
		took[ROUNDS / 2], copied, verified ? "true" : "false",
		last ? "" : ",");
	printf("%-12s %-16s %8zu %9llu  copied %8llu%s\n", m->what, m->name, size,
	       took[ROUNDS / 2], copied, verified ? "" : "  WRONG");
}

/* Until it is killed. */
static int again(const char *name, size_t size)
{
	const struct method *m = methods;

	while (m < methods + NR_METHODS && strcmp(m->name, name))
		m++;
	if (m == methods + NR_METHODS || !size || size > MOST) {
		fprintf(stderr, "receive: no %s of %zu bytes\n", name, size);
		return 2;
	}
	for (;;) {
		m->send(size);
		m->run(size);
		if (m->on && !drain(size))
			die(name, 0);
	}
}

static void big(int sock)
{
	int bytes = SOCKBUF;

	setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
}

static void prepare(void)
{
	int i;

	data = aligned_alloc(4096, MOST);
	sink = aligned_alloc(4096, MOST);
	if (!data || !sink)
		die("memory", -ENOMEM);
	pattern_fill(data, 1, 0, MOST);
	memset(sink, 1, MOST);
	pool_fd = pool_create(getpagesize(), 1);
	if (pool_fd < 0)
		die("POOL_CREATE", pool_fd);
	map = mmap(NULL, FBUF_MMAP_PARCELS_SIZE, PROT_READ,
		   MAP_SHARED | MAP_NORESERVE, pool_fd, FBUF_MMAP_PARCELS);
	if (map == MAP_FAILED)
		die("mmap of parcels", -errno);
	if (pool_make_flags(&sender, MOST, 4, FBUF_POOL_SNAPSHOT) ||
	    pool_alloc(sender.fd, sender_names, 4) != 4)
		die("pool of the sender", -ENOMEM);
	for (i = 0; i < 4; i++)
		memcpy(buf_addr(&sender, sender_names[i]), data, MOST);
	if (tcp_pair(AF_INET, in) || tcp_pair(AF_INET, out) || pipe(pipe_fd))
		die("sockets", -errno);
	fcntl(pipe_fd[0], F_SETPIPE_SZ, PIPE);
	for (i = 0; i < 2; i++) {
		big(in[i]);
		big(out[i]);
	}
	measure_asking();
}

/* Connections that are young send more acknowledgements. */
static void warm_up(void)
{
	unsigned int i;

	for (i = 0; i < CONNS_WARM_UP; i++) {
		send_write(65536);
		proxy_copy(65536);
		if (!drain(65536))
			die("warming up", 0);
	}
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = { 65536, MOST };
	unsigned int i, s;
	FILE *to;

	if (argc == 4 && !strcmp(argv[1], "--again")) {
		prepare();
		return again(argv[2], strtoul(argv[3], NULL, 0));
	}
	if (argc != 2) {
		fprintf(stderr, "usage: receive FILE | --again METHOD SIZE\n");
		return 2;
	}
	to = fopen(argv[1], "w");
	if (!to)
		die(argv[1], -errno);
	if (!clock_counts_instructions())
		fprintf(stderr, "receive: the clock does not count instructions\n");
	prepare();
	warm_up();
	fprintf(to, "[\n");
	for (s = 0; s < 2; s++) {
		for (i = 0; i < NR_METHODS; i++)
			measure(&methods[i], sizes[s], to,
				s == 1 && i == NR_METHODS - 1);
	}
	fprintf(to, "]\n");
	return fclose(to) ? 2 : 0;
}
