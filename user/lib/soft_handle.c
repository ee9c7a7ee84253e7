// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pools without the module: handles, the fds that stand for them, and forks. */

#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include "soft.h"

/* How another process knows what it was passed: the name of its socket. */
#define NAME_PREFIX	"fbuf/"

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct soft_pool *registry;
static pthread_once_t registry_once = PTHREAD_ONCE_INIT;

static void fork_prepare(void)
{
	pthread_mutex_lock(&registry_lock);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&registry_lock);
}

static void fork_child(void)
{
	struct soft_pool *p;

	for (p = registry; p; p = p->next)
		__atomic_store_n(&p->forked, true, __ATOMIC_RELAXED);
	registry = NULL;
	pthread_mutex_unlock(&registry_lock);
}

static void registry_init(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

static int sock_cookie(int fd, uint64_t *cookie)
{
	socklen_t len = sizeof(*cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, &len);
}

static void sock_name(int fd, uint64_t cookie)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int len = snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1,
			   NAME_PREFIX "%d/%llu", getpid(),
			   (unsigned long long)cookie);

	/* Without one, it is no pool to others. */
	if (bind(fd, (void *)&sun,
		 offsetof(struct sockaddr_un, sun_path) + 1 + len))
		return;
}

static bool sock_is_of_another(int fd)
{
	const size_t want = offsetof(struct sockaddr_un, sun_path) + 1 +
			    strlen(NAME_PREFIX);
	struct sockaddr_un sun = { .sun_family = AF_UNSPEC };
	socklen_t len = sizeof(sun);

	return !getsockname(fd, (void *)&sun, &len) && len > want &&
	       sun.sun_family == AF_UNIX && !sun.sun_path[0] &&
	       !memcmp(sun.sun_path + 1, NAME_PREFIX, strlen(NAME_PREFIX));
}

/* Programs close fds that are not theirs, and open others of the same number. */
static bool sock_is(int fd, uint64_t cookie)
{
	uint64_t is;

	return !sock_cookie(fd, &is) && is == cookie;
}

/* Nobody reads it, and so no more can be written. */
static void sock_fill(int fd, uint64_t cookie)
{
	static const char bytes[16384];

	if (!sock_is(fd, cookie))
		return;
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
}

static void sock_drain(int fd, uint64_t cookie)
{
	char bytes[16384];

	if (!sock_is(fd, cookie))
		return;
	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

/* The pair; returns the handle's fd. */
static int socks_new(struct soft_handle *h)
{
	int pair[2], least = 1;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	h->peer = pair[1];
	if (setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &least,
		       sizeof(least)) ||
	    sock_cookie(pair[0], &h->cookie) ||
	    sock_cookie(pair[1], &h->peer_cookie)) {
		int err = -errno;

		close(pair[0]);
		return err;
	}
	sock_name(pair[0], h->cookie);
	return pair[0];
}

bool soft_is_own_fd(const struct soft_handle *h, int fd)
{
	/* Who calls has one open, and most often that is all. */
	return fd >= 0 && fd == __atomic_load_n(&h->fd, __ATOMIC_RELAXED);
}

static bool may_alloc(const struct soft_handle *h)
{
	return h->rights & FBUF_RIGHT_ALLOC && soft_free_bufs(h->pool) &&
	       (!h->max_holds || h->nr_holds < h->max_holds);
}

static void poll_out_one(struct soft_handle *h, int fd)
{
	bool out = may_alloc(h);

	if (out == h->out)
		return;
	if (out)
		sock_drain(h->peer, h->peer_cookie);
	else if (fd >= 0)
		sock_fill(fd, h->cookie);
	else	/* When somebody has it open. */
		return;
	h->out = out;
}

void soft_poll_out(struct soft_pool *p)
{
	struct soft_handle *h;

	for (h = p->handles; h; h = h->next)
		poll_out_one(h, h->fd);
}

void soft_poll_in(struct soft_handle *h, bool in)
{
	char byte = 0;

	if (in == h->in)
		return;
	if (in && sock_is(h->peer, h->peer_cookie))
		send(h->peer, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (!in && h->fd >= 0)
		sock_drain(h->fd, h->cookie);
	else
		return;
	h->in = in;
}

static void handle_free(struct soft_handle *h)
{
	if (h->peer >= 0 && sock_is(h->peer, h->peer_cookie))
		close(h->peer);
	soft_ring_free(h);
	free(h->holds);
	free(h->secures);
	free(h);
}

/* The registry is locked. */
static void handle_link(struct soft_handle *h, int fd)
{
	struct soft_pool *p = h->pool;

	soft_lock(p);
	h->number = ++p->last_number;
	h->next = p->handles;
	p->handles = h;
	p->nr_handles++;
	h->out = true;
	poll_out_one(h, fd);
	soft_unlock(p);
}

/* Returns its fd. The registry is locked. */
static int handle_new(struct soft_pool *p, uint32_t rights, uint32_t max_holds,
		      struct soft_handle **handle)
{
	struct soft_handle *h = calloc(1, sizeof(*h));
	int fd;

	if (!h)
		return -ENOMEM;
	h->pool = p;
	h->peer = -1;
	h->fd = -1;
	h->rights = rights;
	h->max_holds = max_holds;
	h->holds = soft_bits_new(p);
	h->secures = soft_bits_new(p);
	fd = h->holds && h->secures ? socks_new(h) : -ENOMEM;
	if (fd < 0) {
		handle_free(h);
		return fd;
	}
	handle_link(h, fd);
	*handle = h;
	return fd;
}

static bool handle_is_closed(const struct soft_handle *h)
{
	struct pollfd pfd = { .fd = h->peer };

	if (h->open)
		return false;
	return !sock_is(h->peer, h->peer_cookie) ||
	       (poll(&pfd, 1, 0) == 1 && pfd.revents & POLLHUP);
}

/* The registry is locked. */
static void pool_sweep(struct soft_pool *p)
{
	struct soft_handle **at = &p->handles, *h, *closed = NULL;

	soft_lock(p);
	while ((h = *at)) {
		if (!handle_is_closed(h)) {
			at = &h->next;
			continue;
		}
		*at = h->next;
		soft_drop_all(h);
		soft_parcels_end(h);
		p->nr_handles--;
		h->next = closed;
		closed = h;
	}
	if (closed) {
		soft_poll_out(p);
		soft_wake(p);
	}
	soft_unlock(p);
	while ((h = closed)) {
		closed = h->next;
		handle_free(h);
	}
}

void soft_sweep(struct soft_pool *p)
{
	bool others;

	/* Who calls has his open. */
	soft_lock(p);
	others = p->nr_handles > 1;
	soft_unlock(p);
	if (!others)
		return;
	pthread_mutex_lock(&registry_lock);
	pool_sweep(p);
	pthread_mutex_unlock(&registry_lock);
}

/* The registry is locked. */
static void registry_sweep(void)
{
	struct soft_pool **at = &registry, *p;

	while ((p = *at)) {
		pool_sweep(p);
		if (p->handles) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		soft_pool_free(p);
	}
}

static int create(const struct fbuf_pool_create *arg)
{
	struct soft_handle *h;
	struct soft_pool *p;
	int ret;

	pthread_once(&registry_once, registry_init);
	ret = soft_pool_new(&p, arg);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&registry_lock);
	registry_sweep();
	ret = handle_new(p, SOFT_RIGHTS, 0, &h);
	if (ret >= 0) {
		p->next = registry;
		registry = p;
	}
	pthread_mutex_unlock(&registry_lock);
	if (ret < 0)
		soft_pool_free(p);
	return ret;
}

int soft_create(const struct fbuf_pool_create *arg)
{
	struct soft_entry e;
	int ret;

	soft_enter(&e);
	ret = create(arg);
	soft_leave(&e);
	return ret;
}

static int share_check(const struct soft_handle *h,
		       const struct fbuf_share *share)
{
	const uint32_t both = FBUF_RIGHT_READ | FBUF_RIGHT_WRITE;

	/* Nothing here keeps pages from being pinned. */
	if (share->flags || share->pad || share->rights & ~SOFT_RIGHTS ||
	    (share->rights & both) == FBUF_RIGHT_WRITE)
		return -EINVAL;
	if (share->rights & ~h->rights)
		return -EACCES;
	if (h->max_holds &&
	    (!share->max_holds || share->max_holds > h->max_holds))
		return -EDQUOT;
	return 0;
}

int soft_share(struct soft_handle *h, struct fbuf_share *share)
{
	struct soft_handle *other;
	int ret;

	ret = share_check(h, share);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&registry_lock);
	pool_sweep(h->pool);
	ret = handle_new(h->pool, share->rights, share->max_holds, &other);
	if (ret >= 0)
		share->handle = other->number;
	pthread_mutex_unlock(&registry_lock);
	return ret;
}

static struct soft_handle *handle_find(uint64_t cookie)
{
	struct soft_handle *h;
	struct soft_pool *p;

	for (p = registry; p; p = p->next)
		for (h = p->handles; h; h = h->next)
			if (h->cookie == cookie)
				return h;
	return NULL;
}

static void handle_open(struct soft_handle *h, struct fbuf_pool *pool)
{
	struct soft_pool *p = h->pool;

	soft_lock(p);
	pool->soft = h;
	pool->map = !(h->rights & FBUF_RIGHT_READ) ? NULL :
		    h->rights & FBUF_RIGHT_WRITE ? p->rw : p->ro;
	pool->next_on = h->open;
	h->open = pool;
	__atomic_store_n(&h->fd, pool->fd, __ATOMIC_RELAXED);
	poll_out_one(h, pool->fd);
	soft_unlock(p);
}

static int open_call(struct fbuf_pool *pool)
{
	struct soft_handle *h;
	uint64_t cookie;
	int ret = 0;

	if (sock_cookie(pool->fd, &cookie))
		return -ENOTTY;
	pthread_mutex_lock(&registry_lock);
	h = handle_find(cookie);
	if (h)
		handle_open(h, pool);
	else
		ret = sock_is_of_another(pool->fd) ? -EXDEV : -ENOTTY;
	pthread_mutex_unlock(&registry_lock);
	return ret;
}

int soft_open(struct fbuf_pool *pool)
{
	struct soft_entry e;
	int ret;

	soft_enter(&e);
	ret = open_call(pool);
	soft_leave(&e);
	return ret;
}

/* The registry is locked. */
static void handle_close(struct soft_handle *h, struct fbuf_pool *pool)
{
	struct fbuf_pool **at = &h->open;

	soft_lock(h->pool);
	while (*at != pool)
		at = &(*at)->next_on;
	*at = pool->next_on;
	__atomic_store_n(&h->fd, h->open ? h->open->fd : -1, __ATOMIC_RELAXED);
	soft_unlock(h->pool);
}

static void close_call(struct fbuf_pool *pool)
{
	pthread_mutex_lock(&registry_lock);
	handle_close(pool->soft, pool);
	close(pool->fd);
	registry_sweep();
	pthread_mutex_unlock(&registry_lock);
}

void soft_close(struct fbuf_pool *pool)
{
	struct soft_entry e;

	soft_enter(&e);
	if (soft_is_forked(pool->soft->pool))
		close(pool->fd);
	else
		close_call(pool);
	soft_leave(&e);
}
