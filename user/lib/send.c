// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sending gathers. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>

#include "lib.h"

static inline ssize_t send_call(const struct fbuf_gather *g,
				struct fbuf_send *send,
				struct fbuf_result *result)
{
	int ret = lib_ioctl(g->pool->fd, FBUF_IOC_SEND, send);

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

	return lib_ioctl(pool->fd, FBUF_IOC_SEND_BATCH, &batch);
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

static int wait_writable(int sock)
{
	struct pollfd pfd = { .fd = sock, .events = POLLOUT };
	int saved = errno;
	int ret = 0;

	/* A dead peer ends the wait too; the next send says how it died. */
	if (poll(&pfd, 1, -1) < 0)
		ret = -errno;
	errno = saved;
	return ret;
}

static ssize_t send_some(const struct fbuf_gather *g, int sock,
			 unsigned int flags)
{
	ssize_t ret = fbuf_send(g, sock, flags, NULL);

	if (ret != -EAGAIN || !would_block(sock, flags))
		return ret;
	return wait_writable(sock);
}

ssize_t fbuf_send_all(const struct fbuf_gather *g, int sock,
		      unsigned int flags, size_t *sent)
{
	const struct fbuf_gather *left = g;
	struct fbuf_gather rest;
	size_t done = 0;
	ssize_t ret = 0;

	lib_gather_init(&rest, g->pool);
	while (done < g->len) {
		ret = send_some(left, sock, flags);
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

	return lib_ioctl(g->pool->fd, FBUF_IOC_FANOUT, &fanout);
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
