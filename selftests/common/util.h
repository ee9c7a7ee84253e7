/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the fbuf tests share: pools by the raw ioctls, connected sockets, a
 * pattern that shows where a byte came from, a reader, and ways to wait for a
 * condition. Functions return a negative errno value on failure.
 */
#ifndef FBUF_TEST_UTIL_H
#define FBUF_TEST_UTIL_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

#include <linux/fbuf.h>

/* Bytes of a page, which are more than 4096 on some kernels for arm64. */
#define PAGE	((unsigned int)getpagesize())

/* A pool, mapped whole. */
struct pool {
	int fd;
	size_t buf_size;
	unsigned int nr_bufs;
	size_t size;
	__u8 *map;
};

int control_open(void);
int pool_create(size_t buf_size, unsigned int nr_bufs);
/* With FBUF_POOL_*; on a control fd of the caller's. */
int pool_create_on(int control, size_t buf_size, unsigned int nr_bufs,
		   __u32 flags);
int pool_make(struct pool *p, size_t buf_size, unsigned int nr_bufs);
int pool_make_flags(struct pool *p, size_t buf_size, unsigned int nr_bufs,
		    __u32 flags);
/* Maps the pool of a pool fd whole, which becomes p's. */
int pool_map(struct pool *p, int fd, int prot);
void pool_unmake(struct pool *p);
/* 0 if a pool fd can be mapped that way; what was mapped is unmapped again. */
int try_map(int fd, size_t len, int prot, int flags, __u64 offset);

int pool_alloc(int fd, __u64 *names, unsigned int count);
int pool_free(int fd, const __u64 *names, unsigned int count);
/* Any call that takes a batch. */
int pool_batch(int fd, unsigned long cmd, const __u64 *names,
	       unsigned int count, __u32 flags, int timeout);
int pool_hold(int fd, const __u64 *names, unsigned int count);
int pool_secure(int fd, const __u64 *names, unsigned int count);
int pool_drop(int fd, const __u64 *names, unsigned int count);
int pool_wait(int fd, const __u64 *names, unsigned int count, int timeout);
/* Returns a pool fd; @handle may be NULL. */
int pool_share(int fd, __u32 rights, __u32 max_holds, __u32 *handle);
/* With FBUF_SHARE_*. */
int pool_share_flags(int fd, __u32 rights, __u32 max_holds, __u32 flags,
		     __u32 *handle);
int pool_pass(int fd, __u32 to, __u32 flags, const struct fbuf_item *items,
	      unsigned int count);
/* Passes one buffer. */
int pool_pass_one(int fd, __u32 to, __u64 name, __u64 data);
__u32 pool_handle(int fd);
#define ALL_RIGHTS	(FBUF_RIGHT_READ | FBUF_RIGHT_WRITE |		\
			 FBUF_RIGHT_ALLOC | FBUF_RIGHT_SEND)

/* Retries while all free buffers are in flight. */
int pool_alloc_wait(int fd, __u64 *names, unsigned int count, int ms);
int pool_info(int fd, struct fbuf_info *info);
/* The library is to be tested without the module. */
bool only_user(void);
/* Bytes of memory that its buffers have now; ~0 if it does not say. */
__u64 pool_resident(int fd);
/* What is charged for it, in bytes; or all bits. */
__u64 pool_charged(const struct pool *pool);
/* Waits until each of the pool's buffers was to be had, none being held. */
int pool_wait_idle(int fd, unsigned int nr_bufs, int ms);

__u64 buf_offset(const struct pool *p, __u64 name);
__u8 *buf_addr(const struct pool *p, __u64 name);
struct fbuf_seg buf_seg(const struct pool *p, __u64 name, size_t offset,
			size_t len);
/* By its name, which is refused once the buffer was handed out again. */
struct fbuf_seg named_seg(__u64 name, size_t offset, size_t len);
struct fbuf_seg inline_seg(const void *data, size_t len);

/* A handle's ring, mapped. */
struct ring {
	struct fbuf_ring *head;
	const struct fbuf_ring_entry *entries;
	size_t size;
};

/* Makes a ring and maps it; @eventfd goes with FBUF_RING_EVENTFD. */
int ring_make(struct ring *r, int fd, __u32 flags, __u32 entries, int eventfd);
void ring_unmake(struct ring *r);
/* Entries that were not consumed. */
__u32 ring_len(const struct ring *r);
/* Consumes an entry, if there is one. */
bool ring_next(struct ring *r, struct fbuf_ring_entry *entry);
/* Waits for one, without a call of fbuf. */
bool ring_wait(struct ring *r, struct fbuf_ring_entry *entry, int ms);

/* What a send did, besides its result. */
struct sent {
	__u32 engine;
	__u64 copied;
};

ssize_t pool_send(int fd, int sock, const struct fbuf_seg *segs,
		  unsigned int nr_segs, __u32 flags, __u32 engines,
		  struct sent *sent);

/* Sends to many; each target's result is set, of those served all. */
int pool_fanout(int fd, const struct fbuf_seg *segs, unsigned int nr_segs,
		struct fbuf_target *targets, unsigned int nr_targets,
		__u32 flags);

/*
 * RECV of up to @len bytes: how many, whose parcel is *@name; *@copied, if not NULL,
 * is how many of them were copied.
 */
int pool_recv(int fd, int sock, size_t len, __u32 flags, __u64 *name,
	      __u32 *copied);
/* READ: 0 or an error. */
int parcel_read(int fd, __u64 name, size_t offset, void *to, size_t len);
/* SHOW. */
int parcel_show(int fd, __u64 name, struct fbuf_part *parts, unsigned int count);
/* Where a parcel is not as the pattern, which begins at @pos; -1: nowhere. */
ssize_t parcel_differs(int fd, __u64 name, unsigned int seed, size_t pos,
		       size_t len);

/* Byte @pos of the endless pattern @seed; differs with both. */
static inline __u8 pattern_byte(unsigned int seed, size_t pos)
{
	__u32 x = (__u32)(pos >> 3) * 2654435761U + seed * 40503U;

	return (x >> 13) ^ (x >> 24) ^ (pos * 37 + seed);
}

/* Of at least one byte. */
bool is_all(const __u8 *p, __u8 byte, size_t len);
void pattern_fill(void *to, unsigned int seed, size_t pos, size_t len);
/* Number of the first byte that is not the pattern's, or -1. */
ssize_t pattern_differs(const void *buf, unsigned int seed, size_t pos,
			size_t len);

/* Connected sockets; fd[0] sends, fd[1] receives. */
int tcp_pair(int family, int fd[2]);
int udp_pair(int family, int fd[2]);
/* One of these, or of AF_UNIX. */
int sock_pair(int family, int type, int fd[2]);
/* Whether an AF_UNIX stream is sent copies: its sendpage is no sendmsg. */
bool unix_copies(void);
/* Takes pages, and keeps none that was read; not for more than a datagram. */
int page_pair(int fd[2]);
/* kTLS over TCP, 1.2 with AES-GCM-128. */
int tls_pair(int fd[2]);
/* Makes a TCP socket speak it, in one direction. */
int tls_attach(int sock, bool sends);
/* A map of sockets gets it, and takes over how it receives. */
int sockmap_add(int sock);
/* Receives once, as recv() does, through a pipe. */
ssize_t sock_splice(int sock, void *to, size_t len);
/*
 * Receives once, by TCP_ZEROCOPY_RECEIVE: of pages that can be mapped, or what it
 * copies besides; by recv() where it does neither.
 */
ssize_t sock_map(int sock, void *to, size_t len);
/* SCM_RIGHTS over an AF_UNIX socket. */
int fd_pass(int sock, int fd);
int fd_take(int sock);
/* Makes the buffers of both sockets small. */
void sock_small(const int fd[2]);
/* Fills a stream socket until it takes no more; returns the bytes put in. */
ssize_t sock_fill(int sock);
/* True if nothing waits to be read. */
bool sock_empty(int sock);

/* Reads up to len bytes, fewer at the end of the stream. */
ssize_t read_full(int fd, void *buf, size_t len);
/* Writes bytes of a pattern to a socket, waiting as need be: 0, or an error. */
int pattern_write(int fd, unsigned int seed, size_t pos, size_t len);

/* A thread that writes the pattern by so many bytes at once, however long it takes. */
struct feeder {
	pthread_t thread;
	int fd;
	unsigned int seed;
	size_t pos;
	size_t len;
	size_t chunk;
	int err;
	bool done;
};

int feeder_start(struct feeder *w, int fd, unsigned int seed, size_t pos,
		 size_t len, size_t chunk);
bool feeder_done(const struct feeder *w);
/* What became of it. */
int feeder_join(struct feeder *w);

/* A thread that reads a number of bytes into memory. */
struct reader {
	pthread_t thread;
	int fd;
	int cpu;
	size_t want;
	ssize_t got;
	__u8 *data;
};

int reader_start(struct reader *r, int fd, size_t want, int cpu);
/* Returns the number of bytes read; the data is the caller's to free. */
ssize_t reader_join(struct reader *r);

/* A thread that does one RECV; all up to @drop is to be set. */
struct getter {
	int pool;
	int sock;
	size_t len;
	__u32 flags;
	__u64 drop;
	pthread_t thread;
	pid_t tid;
	int ret;
	__u64 name;
	bool done;
};

int getter_start(struct getter *g);
bool getter_done(struct getter *g);
/* Whether it sleeps in the kernel, and goes on doing so for a while. */
bool getter_waits(struct getter *g);
/* What it returned; -ETIME, and the thread given up, if it does not end. */
int getter_ends(struct getter *g);

long now_ms(void);
/* Lets another run for a short while, for use between looks at a condition. */
void relax(void);
/* For loops that wait for a condition: relax(), and whether there is time. */
bool time_left(long end);
/* Looks at a condition again and again, up to a time; true if it came. */
#define wait_for(cond, ms) ({						\
	long _end = now_ms() + (ms);					\
	bool _came;							\
									\
	do {								\
		_came = (cond);						\
	} while (!_came && time_left(_end));				\
	_came;								\
})
/* How long what must come may take, on the slowest machine. */
#define DEADLINE_MS	15000

/* Waits until a thread of a process sleeps in the kernel. */
int wait_asleep(pid_t pid, pid_t tid, int ms);
/* The same in any of these states, as /proc calls them. */
int wait_state(pid_t pid, pid_t tid, const char *states, int ms);
/* Exit status of a child, or minus the signal that killed it. */
int child_status(pid_t pid);
/* The same; -ETIMEDOUT, and the child killed, if it takes too long. */
int child_status_within(pid_t pid, int ms);
/* Writes to a file that is there: 0, or a negative errno. */
int file_put(const char *path, const char *text);
/* The same for a file of a directory, as a cgroup has it. */
int put_file(const char *dir, const char *file, const char *text);
/* The number at its begin, or behind a key; -1 if there is none. */
long long get_file(const char *dir, const char *file, const char *key);
/* A parameter of the module; all bits if it cannot be read. */
int parameter_put(const char *name, __u64 val);
__u64 parameter_get(const char *name);
/* Becomes a user without any privilege. */
int become(uid_t uid);
/* How much slower than usual this machine is said to be: SLOWER, or 1. */
int slower(void);

/* Of a signal's context: which instruction it was. */
unsigned long signal_pc(const void *context);

bool kernel_before(int major, int minor);
int pin_to_cpu(int cpu);
int nr_cpus(void);

/* Skips the whole program when there is no usable device. */
void need_device(int argc, char **argv);

#endif /* FBUF_TEST_UTIL_H */
