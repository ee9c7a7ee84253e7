// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls. Each begins with an argument for the fd, one for where its structure
 * lies, one for how its size or its number is wrong, and one for a word of it that
 * is another than it should be.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

#include "fuzz.h"

/* The arguments that all have. */
#define FD	0
#define WHERE	1
#define SHAPE	2
#define POKE	3
#define REST	4

#define GROWN	4096	/* bytes that a structure may grow by */

static void poke(void *arg, size_t len, __u32 a)
{
	static const __u32 values[] = {
		0, 1, 2, 3, 4095, 4096, 4097, 65536, 0x7fffffff, 0x80000000,
		0xfffff000, 0xffffffff,
	};
	__u32 value = values[a / 16 % ARRAY_LEN(values)];

	if (a)
		memcpy((char *)arg + a % 16 * 4 % len, &value, sizeof(value));
}

/* Makes the number and the size of a call wrong. */
static unsigned long shape(unsigned long cmd, __u8 *arg, size_t *len, __u32 a)
{
	unsigned int dir = _IOC_READ | _IOC_WRITE, nr = _IOC_NR(cmd);
	unsigned int type = FBUF_IOC_MAGIC;
	__u32 more = a / 16 % 16 * 8, size;

	switch (a % 16) {
	case 1:
	case 2:
		*len += more;
		arg[*len - 1] |= a % 16 == 2;
		break;
	case 3:
		*len = *len > more ? *len - more : 0;
		break;
	case 4:
		*len += GROWN - 64;
		break;
	case 5:
		dir = a / 16 % 4;
		break;
	case 6:
		type = a / 16;
		break;
	case 7:
		nr = a / 16;
		break;
	case 8:
		/* Only the ioctl's, not the structure's. */
		return _IOC(dir, type, nr, *len + more);
	default:
		break;
	}
	size = *len;
	memcpy(arg, &size, sizeof(size));
	return _IOC(dir, type, nr, *len);
}

/* Returns what the call does, and its structure in @arg if that is to be seen. */
static long pool_ioctl(struct actor *me, const __u32 *a, int fd,
		       unsigned long cmd, void *arg, size_t len)
{
	__u8 room[256 + GROWN] = { 0 };
	size_t size = len;
	__u64 at;
	long ret;

	memcpy(room, arg, len);
	poke(room, len, a[POKE]);
	cmd = shape(cmd, room, &size, a[SHAPE]);
	at = put(me, a[WHERE], room, size);
	ret = ioctl(fd, cmd, at);
	if (ret >= 0)
		__atomic_fetch_or(&shared->good, IOCTL_BIT(cmd),
				  __ATOMIC_RELAXED);
	if (!a[WHERE])
		memcpy(arg, (void *)(uintptr_t)at, size < len ? size : len);
	return ret;
}

static int call_fd(struct actor *me, struct handle **h, __u32 a)
{
	static struct handle none = { .fd = -1 };

	*h = handle_pick(me->run, a & 255) ?: &none;
	return a & WILD ? res_fd(me->run, K_ANY, a) : (*h)->fd;
}

static long call_create(struct actor *me, const __u32 *a)
{
	struct fbuf_pool_create arg = {
		.size = sizeof(arg),
		.flags = a[REST],
		.buf_size = a[REST + 1] & WILD ? a[REST + 1] & ~WILD :
						 PAGE << a[REST + 1] % 5,
		.nr_bufs = a[REST + 2] & WILD ? a[REST + 2] :
						1 + a[REST + 2] % 16,
		.node = a[REST + 3] ? (int)a[REST + 3] - 1 : -1,
	};
	struct handle like = { 0 };
	int fd = a[FD] & WILD ? res_fd(me->run, K_ANY, a[FD]) : control_fd;

	fd = pool_ioctl(me, a, fd, FBUF_IOC_POOL_CREATE, &arg, sizeof(arg));
	if (fd < 0)
		return fd;
	like.buf_size = arg.buf_size;
	like.nr_bufs = arg.nr_bufs;
	handle_add(me->run, fd, &like);
	return 0;
}

static long call_share(struct actor *me, const __u32 *a)
{
	struct handle *h;
	int from = call_fd(me, &h, a[FD]), fd;
	struct fbuf_share arg = {
		.size = sizeof(arg),
		.rights = a[REST] ? a[REST] : 15,
		.max_holds = a[REST + 1],
	};

	fd = pool_ioctl(me, a, from, FBUF_IOC_SHARE, &arg, sizeof(arg));
	if (fd < 0 || !h->pool)
		return fd;
	h = handle_add(me->run, fd, h);
	h->id = arg.handle;
	return 0;
}

static long call_alloc(struct actor *me, const __u32 *a)
{
	struct handle *h;
	int fd = call_fd(me, &h, a[FD]);
	unsigned int count = count_of(a[REST], 600), i;
	__u64 *names = scratch(me, FBUF_BATCH_MAX * sizeof(*names));
	struct fbuf_batch arg = {
		.size = sizeof(arg),
		.flags = a[REST + 1],
		.count = count,
		.timeout = a[REST + 2],
		.names = a[REST + 3] ? put(me, a[REST + 3], "", 1) :
				       (uintptr_t)names,
	};
	long ret = pool_ioctl(me, a, fd, FBUF_IOC_ALLOC, &arg, sizeof(arg));

	for (i = 0; (int)i < ret && i < 16 && !a[REST + 3]; i++)
		name_add(me->run, h, names[i]);
	return ret;
}

static __u64 names_put(struct actor *me, const struct handle *h, __u32 where,
		       __u32 seed, unsigned int count, __u64 *names)
{
	unsigned int i;

	/* One after another, so that most batches have no name twice. */
	for (i = 0; i < count; i++)
		names[i] = name_pick(me->run, h, seed + i);
	return put(me, where, names, count * sizeof(*names));
}

static long names_call(struct actor *me, const __u32 *a, unsigned long cmd)
{
	static __thread __u64 names[FBUF_BATCH_MAX];
	struct handle *h;
	int fd = call_fd(me, &h, a[FD]);
	unsigned int count = count_of(a[REST], 40);
	unsigned int most = count < FBUF_BATCH_MAX ? count : FBUF_BATCH_MAX;
	struct fbuf_batch arg = {
		.size = sizeof(arg),
		.flags = a[REST + 1],
		.names = names_put(me, h, a[REST + 2], a[REST + 3], most, names),
		.count = count,
		.timeout = a[REST + 4],
	};
	long ret = pool_ioctl(me, a, fd, cmd, &arg, sizeof(arg));

	/* What was freed is named again now and then, as a stale name. */
	if (ret > 0 && cmd == FBUF_IOC_FREE && a[REST + 3] % 4) {
		while (most--)
			name_drop(me->run, names[most]);
	}
	return ret;
}

static long call_free(struct actor *me, const __u32 *a)
{
	return names_call(me, a, FBUF_IOC_FREE);
}

static long call_hold(struct actor *me, const __u32 *a)
{
	return names_call(me, a, FBUF_IOC_HOLD);
}

static long call_wait(struct actor *me, const __u32 *a)
{
	return names_call(me, a, FBUF_IOC_WAIT);
}

static long call_secure(struct actor *me, const __u32 *a)
{
	return names_call(me, a, FBUF_IOC_SECURE);
}

static long call_drop(struct actor *me, const __u32 *a)
{
	return names_call(me, a, FBUF_IOC_DROP);
}

static long call_pass(struct actor *me, const __u32 *a)
{
	static __thread struct fbuf_item items[FBUF_BATCH_MAX];
	struct handle *h, *to = handle_pick(me->run, a[REST + 2]);
	int fd = call_fd(me, &h, a[FD]);
	unsigned int count = count_of(a[REST], 40), i;
	unsigned int most = count < FBUF_BATCH_MAX ? count : FBUF_BATCH_MAX;
	struct fbuf_pass arg = {
		.size = sizeof(arg),
		.flags = a[REST + 1],
		.count = count,
	};

	/* The first handle is number 1, and the one that made the pool. */
	arg.to = a[REST + 2] & WILD ? a[REST + 2] : to ? to->id ?: 1 : 0;
	for (i = 0; i < most; i++) {
		items[i].name = name_pick(me->run, h, a[REST + 3] + i);
		items[i].data = i;
	}
	arg.items = put(me, a[REST + 4], items, most * sizeof(*items));
	return pool_ioctl(me, a, fd, FBUF_IOC_PASS, &arg, sizeof(arg));
}

static long call_ring(struct actor *me, const __u32 *a)
{
	struct handle *h;
	int fd = call_fd(me, &h, a[FD]);
	struct fbuf_ring_setup arg = {
		.size = sizeof(arg),
		.flags = a[REST],
		.entries = a[REST + 1] & WILD ? a[REST + 1] & ~WILD :
						1U << a[REST + 1] % 9,
	};

	if (arg.flags & FBUF_RING_EVENTFD)
		arg.eventfd = res_fd(me->run, K_EVENT, a[REST + 2]);
	return pool_ioctl(me, a, fd, FBUF_IOC_RING, &arg, sizeof(arg));
}

static long call_info(struct actor *me, const __u32 *a)
{
	struct fbuf_info arg = { .size = sizeof(arg) };
	struct handle *h;
	int fd = call_fd(me, &h, a[FD]);
	long ret = pool_ioctl(me, a, fd, FBUF_IOC_INFO, &arg, sizeof(arg));

	if (!ret && !a[WHERE] && !a[SHAPE] && !a[POKE])
		h->id = arg.handle;
	return ret;
}

static __u64 segs_put(struct actor *me, const struct handle *h, __u32 *nr,
		      __u32 seed, __u32 where)
{
	struct fbuf_seg *segs;
	unsigned int made;

	*nr = count_of(*nr, 40);
	made = *nr < FBUF_SEGS_MAX ? *nr : FBUF_SEGS_MAX;
	segs = scratch(me, made * sizeof(*segs));
	segs_make(me, h, made, seed, segs);
	return where ? put(me, where, segs, made * sizeof(*segs)) :
		       (uintptr_t)segs;
}

/* An address that may suit the sockets there are, whose ports nobody knows. */
static __u64 address_put(struct actor *me, __u32 a, __u32 *len)
{
	union {
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} addr = { 0 };

	*len = 0;
	if (!a)
		return 0;
	switch (a % 4) {
	case 0:
		addr.in.sin_family = AF_INET;
		addr.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		addr.in.sin_port = htons(9);
		*len = sizeof(addr.in);
		break;
	case 1:
		addr.in6.sin6_family = AF_INET6;
		addr.in6.sin6_addr = in6addr_loopback;
		addr.in6.sin6_port = htons(9);
		*len = sizeof(addr.in6);
		break;
	case 2:
		addr.un.sun_family = AF_UNIX;
		memcpy(addr.un.sun_path + 1, "fuzz", 4);
		*len = 7;
		break;
	default:
		*len = a / 4 % 200;
	}
	return put(me, a / 1024, &addr, sizeof(addr));
}

/* The last argument is the address, or how to cut into datagrams. */
static void send_make(struct actor *me, const __u32 *a, struct handle *h,
		      struct fbuf_send *arg)
{
	memset(arg, 0, sizeof(*arg));
	arg->size = sizeof(*arg);
	arg->flags = a[0];
	arg->nr_segs = a[1];
	arg->segs = segs_put(me, h, &arg->nr_segs, a[2], a[3] / 16);
	arg->fd = res_fd(me->run, K_SOCK, a[3] & (WILD | 15));
	arg->engines = a[4] & 31;
	arg->cookie = a[2];
	if (a[5] % 4 == 1)
		arg->segment = a[5] / 4;
	else if (a[5])
		arg->name = address_put(me, a[5] / 4, &arg->namelen);
}

static void fanout_make(struct actor *me, const __u32 *a, struct handle *h,
			struct fbuf_fanout *arg)
{
	static __thread struct fbuf_target targets[FBUF_TARGETS_MAX];
	unsigned int count = count_of(a[3], 40), i;
	unsigned int most = count < FBUF_TARGETS_MAX ? count : FBUF_TARGETS_MAX;

	memset(arg, 0, sizeof(*arg));
	arg->size = sizeof(*arg);
	arg->flags = a[0];
	arg->nr_segs = a[1];
	arg->segs = segs_put(me, h, &arg->nr_segs, a[2], a[5] / 16);
	arg->nr_targets = count;
	for (i = 0; i < most; i++)
		targets[i].fd = res_fd(me->run, K_SOCK, a[2] % 29 == i ? WILD | a[2] :
								   a[2] + i);
	arg->targets = put(me, a[5], targets, most * sizeof(*targets));
	arg->engines = a[4] & 31;
	arg->cookie = a[2];
}

static void batch_make(struct actor *me, const __u32 *a, struct handle *h,
		       struct fbuf_send_batch *arg)
{
	static __thread struct fbuf_send_item items[FBUF_BATCH_MAX];
	unsigned int count = count_of(a[1], 24), i;
	unsigned int most = count < FBUF_BATCH_MAX ? count : FBUF_BATCH_MAX;

	memset(arg, 0, sizeof(*arg));
	arg->size = sizeof(*arg);
	arg->flags = a[0];
	arg->count = count;
	arg->engines = a[3] & 31;
	arg->cookie = a[2];
	memset(items, 0, most * sizeof(*items));
	/* Beyond some, they are all wrong. */
	for (i = 0; i < most && i < 24; i++) {
		items[i].nr_segs = 1 + (a[2] + i) % 3;
		items[i].segs = segs_put(me, h, &items[i].nr_segs, a[2] + i, 0);
		items[i].fd = res_fd(me->run, K_SOCK, a[2] / 16 + i);
		if (a[2] % 16 == i)
			items[i].name = address_put(me, a[5],
						    &items[i].namelen);
		items[i].segment = a[5] % 4 == 1 ? a[5] / 4 : 0;
	}
	arg->items = put(me, a[4], items, most * sizeof(*items));
}

/* Of a call that sends: its fd, its structure, and that one's length. */
static size_t sender_make(struct actor *me, unsigned long cmd, __u32 which,
			  const __u32 *a, int *fd, void *arg)
{
	struct handle *h;

	*fd = call_fd(me, &h, which);
	switch (cmd) {
	case FBUF_IOC_FANOUT:
		fanout_make(me, a, h, arg);
		return sizeof(struct fbuf_fanout);
	case FBUF_IOC_SEND_BATCH:
		batch_make(me, a, h, arg);
		return sizeof(struct fbuf_send_batch);
	default:
		send_make(me, a, h, arg);
		return sizeof(struct fbuf_send);
	}
}

static long sender_call(struct actor *me, const __u32 *a, unsigned long cmd)
{
	union {
		struct fbuf_send send;
		struct fbuf_fanout fanout;
		struct fbuf_send_batch batch;
	} arg;
	int fd;
	size_t len = sender_make(me, cmd, a[FD], a + REST, &fd, &arg);

	return pool_ioctl(me, a, fd, cmd, &arg, len);
}

static long call_send(struct actor *me, const __u32 *a)
{
	return sender_call(me, a, FBUF_IOC_SEND);
}

static long call_fanout(struct actor *me, const __u32 *a)
{
	return sender_call(me, a, FBUF_IOC_FANOUT);
}

static long call_batch(struct actor *me, const __u32 *a)
{
	return sender_call(me, a, FBUF_IOC_SEND_BATCH);
}

static long call_fill(struct actor *me, const __u32 *a)
{
	struct handle *h;
	int fd = call_fd(me, &h, a[FD]);
	struct fbuf_fill arg = {
		.size = sizeof(arg),
		.flags = a[REST],
		.name = name_pick(me->run, h, a[REST + 1]),
		.offset = a[REST + 2] & WILD ? a[REST + 2] & ~WILD :
					       a[REST + 2] % 8 * 512,
		.len = a[REST + 3] & WILD ? a[REST + 3] & ~WILD :
					    1 + a[REST + 3] * 512 % 8192,
		.fd = res_fd(me->run, a[REST + 4] & 16 ? K_SOCK : K_FILE | K_PIPE,
			     a[REST + 4]),
		.ahead = a[REST + 5],
	};

	if (arg.flags & FBUF_FILL_POS)
		arg.pos = (__u64)(a[REST + 5] & 7) * 512;
	if (a[REST + 5] & 1)
		arg.len &= ~511U;
	return pool_ioctl(me, a, fd, FBUF_IOC_FILL, &arg, sizeof(arg));
}

static void take_make(struct actor *me, const __u32 *a, const struct handle *h,
		      struct fbuf_recv *arg)
{
	const __u32 lens[] = {
		1, 512, 513, PAGE, 16 * PAGE, 1 << 20, FBUF_PARCEL_MAX,
	};

	memset(arg, 0, sizeof(*arg));
	arg->size = sizeof(*arg);
	/* Most of them do not wait. */
	arg->flags = a[0] ^ FBUF_RECV_DONTWAIT;
	arg->fd = res_fd(me->run, K_SOCK, a[1]);
	arg->len = a[2] & WILD ? a[2] & ~WILD : lens[a[2] % ARRAY_LEN(lens)];
	if (a[3])
		arg->drop = parcel_pick(me->run, h, a[3]).name ?: a[3];
	if (a[4]) {
		arg->head_len = a[4] % 8192;
		arg->head = a[4] & WILD ? put(me, a[4] & ~WILD, "", 1) :
					  (uintptr_t)scratch(me, 8192);
	}
}

static long call_take(struct actor *me, const __u32 *a)
{
	struct fbuf_recv arg;
	struct handle *h;
	int fd = call_fd(me, &h, a[FD]);
	long ret;

	take_make(me, a + REST, h, &arg);
	ret = pool_ioctl(me, a, fd, FBUF_IOC_RECV, &arg, sizeof(arg));
	if (ret > 0 && !a[WHERE])
		parcel_add(me->run, h, arg.name, ret);
	return ret;
}

static long call_look(struct actor *me, const __u32 *a)
{
	struct handle *h;
	int fd = call_fd(me, &h, a[FD]);
	struct parcel p = parcel_pick(me->run, h, a[REST]);
	struct fbuf_read arg = {
		.size = sizeof(arg),
		.name = p.name,
		.offset = a[REST + 1] & WILD ? a[REST + 1] :
					       a[REST + 1] % (p.len ?: 1),
	};

	arg.len = a[REST + 2] & WILD ? a[REST + 2] : p.len - arg.offset;
	if (arg.len > 16 * PAGE && !(a[REST + 2] & WILD))
		arg.len = 16 * PAGE;
	arg.to = a[REST + 3] ? put(me, a[REST + 3], "", 1) :
			       (uintptr_t)scratch(me, 16 * PAGE);
	return pool_ioctl(me, a, fd, FBUF_IOC_READ, &arg, sizeof(arg));
}

static long call_show(struct actor *me, const __u32 *a)
{
	struct handle *h;
	int fd = call_fd(me, &h, a[FD]);
	struct fbuf_show arg = {
		.size = sizeof(arg),
		.name = parcel_pick(me->run, h, a[REST]).name,
		.count = count_of(a[REST + 1], 40),
	};
	size_t len = (arg.count < 40 ? arg.count : 40) *
		     sizeof(struct fbuf_part);

	arg.parts = a[REST + 2] ? put(me, a[REST + 2], "", 1) :
				  (uintptr_t)scratch(me, len);
	return pool_ioctl(me, a, fd, FBUF_IOC_SHOW, &arg, sizeof(arg));
}

/* FREE of parcels. */
static long call_letgo(struct actor *me, const __u32 *a)
{
	static __thread __u64 names[40];
	struct handle *h;
	int fd = call_fd(me, &h, a[FD]);
	unsigned int count = 1 + a[REST] % ARRAY_LEN(names), i;
	struct fbuf_batch arg = {
		.size = sizeof(arg),
	};
	long ret;

	/* Twice the same, if there are fewer. */
	if (!a[REST + 1])
		count = 1;
	arg.count = a[REST] & WILD ? a[REST] : count;
	for (i = 0; i < count; i++)
		names[i] = parcel_pick(me->run, h, a[REST + 2] + i).name;
	arg.names = put(me, a[REST + 3], names, count * sizeof(*names));
	ret = pool_ioctl(me, a, fd, FBUF_IOC_FREE, &arg, sizeof(arg));
	/* What was freed is named again now and then, as a stale name. */
	if (ret > 0 && a[REST + 2] % 4) {
		while (count--)
			parcel_drop(me->run, names[count]);
	}
	return ret;
}

static long call_ioctl(struct actor *me, const __u32 *a)
{
	return ioctl(res_fd(me->run, K_ANY, a[0]), a[1],
		     put(me, a[2], me->arena, 64));
}

unsigned long pool_uring_make(struct actor *me, const __u32 *a, int *fd,
			      void *arg, size_t *len)
{
	static const unsigned long cmds[] = {
		FBUF_IOC_SEND, FBUF_IOC_FANOUT, FBUF_IOC_SEND_BATCH,
		FBUF_IOC_SEND, FBUF_IOC_RECV,
	};
	unsigned long cmd = cmds[a[0] % ARRAY_LEN(cmds)];

	if (cmd == FBUF_IOC_RECV) {
		struct handle *h;

		*fd = call_fd(me, &h, a[1]);
		take_make(me, a + 2, h, arg);
		*len = sizeof(struct fbuf_recv);
	} else {
		*len = sender_make(me, cmd, a[1], a + 2, fd, arg);
	}
	return a[0] % 64 == 63 ? a[0] : cmd;
}

const struct call_desc pool_calls[] = {
	{ "create",	"hwspfnne",	16,	call_create },
	{ "share",	"hwspfe",	14,	call_share },
	{ "alloc",	"hwspnfew",	30,	call_alloc },
	{ "free",	"hwspnewre",	16,	call_free },
	{ "hold",	"hwspnewre",	10,	call_hold },
	{ "wait",	"hwspnfwrn",	8,	call_wait },
	{ "secure",	"hwspnewre",	10,	call_secure },
	{ "pass",	"hwspnfhrw",	14,	call_pass },
	{ "ring",	"hwspfnh",	14,	call_ring },
	{ "info",	"hwsp",		6,	call_info },
	{ "send",	"hwspfnrhfe",	50,	call_send },
	{ "fanout",	"hwspfnrnfe",	30,	call_fanout },
	{ "batch",	"hwspfnrfwe",	20,	call_batch },
	{ "fill",	"hwspfrnnhe",	24,	call_fill },
	{ "drop",	"hwspnewre",	10,	call_drop },
	{ "take",	"hwspfhnee",	24,	call_take },
	{ "look",	"hwsprnnw",	10,	call_look },
	{ "show",	"hwsprnw",	10,	call_show },
	{ "letgo",	"hwspnerw",	10,	call_letgo },
	{ "ioctl",	"hnw",		2,	call_ioctl },
	{ 0 },
};
