// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/fbuf_netlink.h>

#include "inject.h"
#include "../common/nl.h"

/* What others do at the same time is over after some looks. */
#define TRIES		200

/* The harness forks once; a test that does has others at work on the pool. */
static unsigned int forks;
static bool has_others;

static void forked_parent(void)
{
	has_others = true;
}

static void forked_child(void)
{
	has_others = ++forks > 1;
}

__attribute__((constructor)) static void state_init(void)
{
	pthread_atfork(NULL, forked_parent, forked_child);
}

static int lowest_fd(void)
{
	int fd = open("/", O_PATH | O_CLOEXEC);

	if (fd >= 0)
		syscall(SYS_close, fd);
	return fd;
}

/* What the user's pools come to. */
static void user_get(struct state *state)
{
	struct nl_row row;
	struct nl nl;

	if (nl_open(&nl))
		return;
	if (!nl_user(&nl, getuid(), &row)) {
		state->pools = row.val[FBUF_A_LIMIT_POOLS];
		state->charged = row.val[FBUF_A_LIMIT_CHARGED];
	}
	nl_close(&nl);
}

void state_get(struct state *state, const struct call *c)
{
	memset(state, 0, sizeof(*state));
	state->fd = -1;
	if (c->fd >= 0) {
		state->info.size = sizeof(state->info);
		if (raw_ioctl(c->fd, FBUF_IOC_INFO, &state->info))
			state->info.size = 0;
	}
	if (c->of_user)
		user_get(state);
	if (c->makes_fd && __libc_single_threaded)
		state->fd = lowest_fd();
}

/* Snapshots in flight are charged, and parcels, and nothing else. */
static bool charge_fits(__u64 id, __u64 parcel_bytes)
{
	struct nl_row row, user;
	bool fits = true;
	struct nl nl;

	if (nl_open(&nl))
		return true;
	/* The dump of limits settles what is charged. */
	if (!nl_user(&nl, getuid(), &user) && !nl_pool(&nl, id, &row))
		fits = row.val[FBUF_A_POOL_CHARGED] <=
		       row.val[FBUF_A_POOL_BUF_SIZE] *
		       row.val[FBUF_A_POOL_NR_BUFS] +
		       row.val[FBUF_A_POOL_IN_FLIGHT_BYTES] + parcel_bytes;
	nl_close(&nl);
	return fits;
}

/* The name of what differs and should not, or NULL. */
static const char *differs(const struct state *a, const struct state *b)
{
	const struct fbuf_info *x = &a->info, *y = &b->info;

	if (a->fd != b->fd)
		return "an fd is taken";
	/* Retired pools go by themselves. */
	if (b->pools > a->pools)
		return "there is a pool more";
	if (b->charged > a->charged)
		return "more is charged to the user";
	if (!x->size || !y->size)
		return NULL;
	if (x->holds != y->holds || x->nr_held != y->nr_held)
		return "holds changed";
	if (x->nr_handles != y->nr_handles)
		return "handles changed";
	if (x->sends != y->sends || x->bytes != y->bytes)
		return "sends are counted";
	if (x->allocs != y->allocs || x->fills != y->fills ||
	    x->filled != y->filled)
		return "allocs or fills are counted";
	if (x->nr_parcels != y->nr_parcels || x->recvs != y->recvs ||
	    x->received != y->received)
		return "parcels changed, or are counted";
	if (x->parcel_bytes != y->parcel_bytes)
		return "more is charged for parcels";
	if (x->ring_size != y->ring_size)
		return "there is a ring";
	if (!x->pool_flags && x->charged != y->charged)
		return "more is charged to the pool";
	if (x->pool_flags && !charge_fits(x->id, y->parcel_bytes))
		return "more is charged to the pool than it has";
	return NULL;
}

void state_check(const struct state *before, const struct call *c,
		 unsigned int n)
{
	const char *what = NULL;
	struct state after;
	int i;

	for (i = 0; i < TRIES; i++) {
		state_get(&after, c);
		what = differs(before, &after);
		if (!what)
			return;
		/* Other threads and processes are at it. */
		if (!__libc_single_threaded || has_others)
			return;
		usleep(1000);
	}
	inject_complain(c, n, "it failed, and %s", what);
}
