// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sending gathers. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "lib.h"

static inline ssize_t send_call(const struct fbuf_gather *g,
				struct fbuf_send *send,
				struct fbuf_result *result)
{
	int ret = lib_call(g->pool, FBUF_IOC_SEND, send);

	if (ret >= 0 && result) {
		result->engine = send->engine;
		result->copied = send->copied;
	}
	return ret;
}

ssize_t fbuf_send(const struct fbuf_gather *g, int sock, unsigned int flags,
		  struct fbuf_result *result)
{
	struct fbuf_send send = {
		.size = sizeof(send),
		.flags = flags,
		.segs = (uintptr_t)g->segs,
		.nr_segs = g->nr,
		.fd = sock,
	};

	return send_call(g, &send, result);
}

ssize_t fbuf_sendto(const struct fbuf_gather *g, int sock, unsigned int flags,
		    unsigned int engines, const struct sockaddr *addr,
		    socklen_t addrlen, struct fbuf_result *result)
{
	return fbuf_send_datagrams(g, sock, flags, engines, addr, addrlen, 0,
				   result);
}

ssize_t fbuf_send_datagrams(const struct fbuf_gather *g, int sock,
			    unsigned int flags, unsigned int engines,
			    const struct sockaddr *addr, socklen_t addrlen,
			    unsigned int segment, struct fbuf_result *result)
{
	struct fbuf_send send = {
		.size = sizeof(send),
		.flags = flags,
		.segs = (uintptr_t)g->segs,
		.nr_segs = g->nr,
		.fd = sock,
		.engines = engines,
		.namelen = addrlen,
		.name = (uintptr_t)addr,
		.segment = segment,
	};

	return send_call(g, &send, result);
}

void fbuf_item_set(struct fbuf_send_item *item, const struct fbuf_gather *g,
		   int sock)
{
	*item = (struct fbuf_send_item){
		.segs = (uintptr_t)g->segs,
		.nr_segs = g->nr,
		.fd = sock,
	};
}

int fbuf_send_batch(const struct fbuf_pool *pool, struct fbuf_send_item *items,
		    unsigned int count, unsigned int flags,
		    unsigned int engines)
{
	struct fbuf_send_batch batch = {
		.size = sizeof(batch),
		.flags = flags,
		.items = (uintptr_t)items,
		.count = count,
		.engines = engines,
	};

	return lib_call(pool, FBUF_IOC_SEND_BATCH, &batch);
}

/* Whether EAGAIN is for us to wait on; else it is SO_SNDTIMEO's. */
static bool would_block(int sock, unsigned int flags)
{
	int saved = errno;
	bool ret;

	ret = flags & FBUF_SEND_DONTWAIT ||
	      fcntl(sock, F_GETFL) & O_NONBLOCK;
	errno = saved;
	return ret;
}

/* How a send waits for room in a socket that does not block. */
struct room {
	int sock;
	int epoll;	/* tells of changes, or -1: not yet, or there is none */
	int ms;		/* how long to wait for one; 0: no wait was in vain */
};

/* No socket needs it; it is for one that has room and does not say so. */
#define ROOM_MS_MAX	1000
/* Without an epoll, nothing says so. */
#define ROOM_MS_BLIND	16

/*
 * A notice on the socket's error queue is the user's to read, and until then
 * poll() returns at once. An edge is told once, and the next one wakes us.
 */
static int room_watch(struct room *r)
{
	struct epoll_event e = { .events = EPOLLOUT | EPOLLET };

	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (r->epoll < 0)
		return -1;
	if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->sock, &e) < 0) {
		close(r->epoll);
		r->epoll = -1;
	}
	return r->epoll;
}

static int room_sleep(struct room *r)
{
	const struct timespec ts = { .tv_nsec = r->ms * 1000000L };
	struct epoll_event e;
	int max = ROOM_MS_MAX, ret;

	if (r->epoll < 0 && room_watch(r) < 0) {
		max = ROOM_MS_BLIND;
		ret = nanosleep(&ts, NULL);
	} else {
		ret = epoll_wait(r->epoll, &e, 1, r->ms);
	}
	r->ms = r->ms * 2 < max ? r->ms * 2 : max;
	return ret;
}

/*
 * Returns when a send is worth another try. A dead peer ends the wait too; the
 * next send says how it died.
 */
static int room_wait(struct room *r)
{
	struct pollfd pfd = { .fd = r->sock, .events = POLLOUT };
	int saved = errno, ret;

	if (r->ms) {
		ret = room_sleep(r);
	} else {
		ret = poll(&pfd, 1, -1);
		r->ms = 1;
	}
	if (ret < 0)
		ret = -errno;
	errno = saved;
	return ret < 0 ? ret : 0;
}

static ssize_t send_some(const struct fbuf_gather *g, unsigned int flags,
			 struct room *r)
{
	ssize_t ret = fbuf_send(g, r->sock, flags, NULL);

	if (ret == -EAGAIN && would_block(r->sock, flags))
		return room_wait(r);
	r->ms = 0;
	return ret;
}

ssize_t fbuf_send_all(const struct fbuf_gather *g, int sock,
		      unsigned int flags, size_t *sent)
{
	struct room room = { .sock = sock, .epoll = -1 };
	const struct fbuf_gather *left = g;
	struct fbuf_gather rest;
	size_t done = 0;
	ssize_t ret = 0;

	lib_gather_init(&rest, g->pool);
	while (done < g->len) {
		ret = send_some(left, flags, &room);
		if (ret < 0)
			break;
		done += ret;
		if (!ret || done == g->len)
			continue;

		fbuf_gather_reset(&rest);
		ret = fbuf_gather_slice(&rest, g, done, g->len - done);
		if (ret < 0)
			break;
		left = &rest;
	}
	lib_gather_fini(&rest);
	if (room.epoll >= 0)
		lib_close(room.epoll);

	if (sent)
		*sent = done;
	return ret < 0 ? ret : (ssize_t)done;
}

int fbuf_fanout(const struct fbuf_gather *g, struct fbuf_target *targets,
		unsigned int count, unsigned int flags, unsigned int engines)
{
	struct fbuf_fanout fanout = {
		.size = sizeof(fanout),
		.flags = flags,
		.segs = (uintptr_t)g->segs,
		.targets = (uintptr_t)targets,
		.nr_segs = g->nr,
		.nr_targets = count,
		.engines = engines,
	};

	return lib_call(g->pool, FBUF_IOC_FANOUT, &fanout);
}

const char *fbuf_engine_name(unsigned int engine)
{
	switch (engine) {
	case FBUF_ENGINE_PAGEREF:
		return "pageref";
	case FBUF_ENGINE_SPLICE:
		return "splice";
	case FBUF_ENGINE_UBUF:
		return "ubuf";
	case FBUF_ENGINE_COPY:
		return "copy";
	default:
		return "none";
	}
}

const char *fbuf_version(void)
{
	return FBUF_VERSION;
}
