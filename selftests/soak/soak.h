/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The soak: lanes, each a sender and the receivers of one stream, over all kinds
 * of sockets and by all ways to send, while others change the machine around
 * them. A lane lives for some seconds; then its slot gets another.
 *
 * All processes share one mapping, struct soak, made by the first of them.
 */
#ifndef FBUF_SOAK_H
#define FBUF_SOAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/types.h>

#include "../common/util.h"

#define MSG_MAX		(4U << 20)	/* bytes in a message of a lane */
#define NR_SLOTS	16U
#define NR_SOCKS	3U		/* sockets of a lane, at most */
#define LOG_SIZE	1024U

/* Ways to send, as bytes are counted by them. */
enum mech {
	M_PAGEREF,		/* SEND by a named engine */
	M_SPLICE_ENGINE,
	M_UBUF,
	M_COPY,
	M_SEND,			/* SEND by the best one */
	M_FANOUT,
	M_BATCH,
	M_URING,
	M_URING_FANOUT,
	M_URING_BATCH,
	M_SENDFILE,		/* from the pool */
	M_SPLICE,
	M_TEE,
	M_SEGMENT,		/* SEND, cut into datagrams */
	M_WRITE,		/* of ordinary memory */
	M_FILE,			/* sendfile from a file */
	M_ZEROCOPY,
	M_SEND_ZC,
	M_KILLED,		/* its sender was killed before it could say */
	NR_MECHS
};

#define M_POOL_LAST	M_SEGMENT

enum path {
	P_LO,
	P_LO6,
	P_UNIX,
	P_SEQPACKET,
	P_TLS,
	P_SOCKMAP,
	P_UDP,
	P_VETH,			/* from here on between namespaces */
	P_MTU,			/* whose MTU changes */
	P_LOSSY,		/* netem; goes down and up */
	P_GCM,			/* ESP */
	P_CBC,
	P_VETH_TLS,
	P_VETH_UDP,
	P_MTU_UDP,
	P_LOSSY_UDP,
	P_GCM_UDP,
	P_CBC_UDP,
	P_DOOMED,		/* its namespaces end in the middle of traffic */
	NR_PATHS
};

/* How a message got into the pool. */
enum fill {
	F_NONE,
	F_MEMORY,
	F_FILE,			/* FILL */
	F_SOCKET,
	NR_FILLS
};

/* How a stream's bytes were received, or by what they were sent on before. */
enum way {
	W_RECV,
	W_FILL,
	W_SPLICE,
	W_MAP,			/* TCP_ZEROCOPY_RECEIVE */
	W_READ,			/* of a parcel */
	W_SHOWN,		/* of a parcel, mapped as well */
	W_KEPT,			/* of a parcel, and as it was when that was freed */
	W_ON,			/* by a parcel to another socket */
	NR_WAYS
};

enum change {
	C_MTU,
	C_NETEM,
	C_LINK,
	C_OFFLOAD,
	C_CACHES,
	C_COMPACT,
	C_PARCELS,
	C_WINDOW,
	C_CAPTURE,
	C_NAMESPACE,
	C_CGROUP,
	NR_CHANGES
};

enum death {
	D_SENDER,
	D_RECEIVER,
	D_GROUP,
	NR_DEATHS
};

extern const char * const mech_names[NR_MECHS];
/* The engine that a mechanism asks for, or 0. */
__u32 mech_engine(enum mech mech);
extern const char * const path_names[NR_PATHS];
extern const char * const fill_names[NR_FILLS];
extern const char * const way_names[NR_WAYS];
extern const char * const change_names[NR_CHANGES];
extern const char * const death_names[NR_DEATHS];

/*
 * How a socket's bytes were sent: its sender writes, its receiver reads. An
 * entry is for the bytes up to @end.
 */
struct log {
	struct {
		__u64 end;
		__u8 mech;
		__u8 fill;
	} entry[LOG_SIZE];
	unsigned int tail;
	unsigned int head;
	__u64 verified;
	__u64 total;		/* of the stream, once it is over */
};

struct slot {
	pid_t group;		/* of the lane's processes, or 0 */
	pid_t sender;
	pid_t receiver[NR_SOCKS];
	unsigned int path;
	unsigned int nr;	/* lanes that it had */
	const char *doing;	/* its sender, just now */
	bool ready;		/* all of the above are set */
	bool mortal;		/* may be killed, or break */
	bool killed;
	bool cut;		/* killed as all is to end */
	bool in_cgroup;		/* where the kernel may kill it */
	bool ended;		/* its sender is done, to @total */
	bool lossy;		/* a path on which it is sent on may lose its end */
	struct log log[NR_SOCKS];
};

struct soak {
	__u64 seed;
	bool stop;
	bool failed;
	int slower;
	__u32 paths;		/* those that lanes may have, a bit each */
	__u64 bytes[NR_MECHS][NR_PATHS];
	__u64 messages[NR_MECHS];
	__u64 filled[NR_FILLS];
	__u64 received[NR_WAYS];
	__u64 onward[NR_PATHS];	/* bytes sent on by parcels */
	__u64 lanes[NR_PATHS];
	__u64 changes[NR_CHANGES];
	__u64 deaths[NR_DEATHS];
	__u64 unloads;		/* attempts, all refused */
	__u64 overwritten;	/* bytes, right after they were sent */
	__u64 inspected;	/* bytes in the pool, looked at after they were sent */
	__u64 passed;		/* buffers */
	__u64 captured;		/* packets */
	__u64 dumps;		/* by netlink */
	__u64 short_of_memory;	/* calls that said ENOMEM in the small cgroup */
	__u64 refused;		/* parcels, by the limit */
	__u64 unseen;		/* datagrams that changed on the line, with their sum as it was */
	__u64 cut;		/* lanes that were killed at the end */
	struct slot slot[NR_SLOTS];
};

extern struct soak *soak;

/* @counter: one of soak's. */
static inline void count(__u64 *counter, __u64 n)
{
	__atomic_add_fetch(counter, n, __ATOMIC_RELAXED);
}

/* Says what is wrong, once, and ends the process; everybody else ends, too. */
__attribute__((format(printf, 1, 2), noreturn))
void fail(const char *format, ...);

static inline bool stopped(void)
{
	return __atomic_load_n(&soak->stop, __ATOMIC_ACQUIRE);
}

/* Random numbers, the same for the same seed; each process has its own. */
void rnd_seed(__u64 seed, __u64 a, __u64 b);
__u64 rnd(void);
/* From @from to @to. */
unsigned int between(unsigned int from, unsigned int to);

static inline bool one_in(unsigned int n)
{
	return rnd() % n == 0;
}

void nap_us(unsigned int us);

/*
 * content.c: what a stream's bytes are: a window of random bytes, again and
 * again, of a length that is prime, so that each page differs from the others
 * and no page is where it was the time before.
 */
void content_make(__u64 seed);
/* Byte @pos of the stream and up to MSG_MAX after it. */
const __u8 *content_at(__u64 pos);
/* All that there is, in a file, and where @pos is in it. */
int content_file(void);
off_t content_offset(__u64 pos);
/* Says where the stream has these bytes, or -1. */
long content_find(const __u8 *bytes, size_t len);

/* path.c: sockets */
void paths_open(void);
/* Does the kernel have it? */
bool path_there(enum path path);
bool path_udp(enum path path);
/* True if what ends a connection may get lost. */
bool path_loses(enum path path);
/* fd[0] sends, fd[1] receives; of P_DOOMED between the namespaces given. */
int path_pair(enum path path, int fd[2], int near, int far);

/* What sends and receivers of a lane know. */
struct lane {
	struct slot *slot;
	enum path path;
	__u64 seed;
	bool bulk;		/* big messages */
	bool in_cgroup;
	unsigned int nr_socks;
	int sock[NR_SOCKS];
	int peer[NR_SOCKS];
	__u64 pos;
};

/* lane.c: the life of one */
void lane_run(struct slot *slot, unsigned int index);
/* send.c, datagram.c, receive.c: what its processes do */
void lane_send(struct lane *l);
void lane_send_datagrams(struct lane *l);
void lane_receive(struct lane *l, unsigned int nr);
void lane_receive_datagrams(struct lane *l, unsigned int nr);
/* Ends a process of a lane of which another part was killed. */
void lane_broke(const struct lane *l, const char *what, int err);
/* True for what may happen where memory is limited; then it slept. */
bool lane_short_of_memory(const struct lane *l, int err);

/* weather.c: processes that change the machine around the lanes */
void weather_run(void);
void capture_run(void);
void unload_run(void);
void watch_run(void);

#endif /* FBUF_SOAK_H */
