// SPDX-License-Identifier: GPL-2.0
/*
 * Every function of the library, in any order, with odd arguments, on a kernel
 * that fails and lies. Each must leave errno alone, and its gathers in order.
 */

#include <stdlib.h>
#include <string.h>

#include "../lib/lib.h"
#include "fake.h"

#define GATHERS		3
#define NAMES		8
#define ERRNO		4711	/* no error has that number */

struct state {
	struct fbuf_pool *pool;
	struct fbuf_gather *gathers[GATHERS];
	uint64_t *names;	/* NAMES, as all arrays below */
	struct fbuf_item *items;
	struct fbuf_target *targets;
	struct fbuf_send_item *sends;
};

/* Numbers around which things go wrong, or any. */
static uint64_t number(const struct state *s)
{
	uint8_t how = fake_byte();
	size_t buf = s->pool ? fbuf_pool_buf_size(s->pool) : 4096;

	switch (how & 15) {
	case 0:
		return buf;
	case 1:
		return buf - 1;
	case 2:
		return UINT32_MAX;
	case 3:
		return SIZE_MAX;
	case 4:
		return FBUF_GATHER_MAX;
	case 5:
		return FBUF_SEGS_MAX * FBUF_INLINE_MAX;
	case 6:
		return fake_bytes(8);
	case 7:
		return fake_bytes(2);
	}
	return how >> 4;
}

static struct fbuf_gather *gather(const struct state *s)
{
	return s->gathers[fake_byte() % GATHERS];
}

static void check_gather(const struct fbuf_pool *pool,
			 const struct fbuf_gather *g)
{
	const struct fbuf_seg *segs = fbuf_gather_segs(g);
	uint64_t len = 0, size = fbuf_pool_buf_size(pool);
	unsigned int i, nr = fbuf_gather_nr_segs(g);

	FAKE_CHECK(nr <= FBUF_SEGS_MAX);
	for (i = 0; i < nr; i++) {
		FAKE_CHECK(segs[i].len);
		len += segs[i].len;
		if (segs[i].flags == FBUF_SEG_INLINE) {
			FAKE_CHECK(segs[i].len <= FBUF_INLINE_MAX);
			continue;
		}
		if (pool->named) {
			FAKE_CHECK((segs[i].flags & 0xff) == FBUF_SEG_NAMED);
			FAKE_CHECK(FBUF_NAME_INDEX(segs[i].addr) <
				   fbuf_pool_nr_bufs(pool));
			FAKE_CHECK((segs[i].flags >> 8) + segs[i].len <= size);
			continue;
		}
		FAKE_CHECK(!segs[i].flags);
		FAKE_CHECK(segs[i].addr / size < fbuf_pool_nr_bufs(pool));
		FAKE_CHECK(segs[i].addr % size + segs[i].len <= size);
	}
	FAKE_CHECK(len == fbuf_gather_len(g) && len <= FBUF_GATHER_MAX);
}

/* Where a buffer is must be in what is mapped: the fd may be an enemy's. */
static void check_addr(const struct state *s)
{
	const struct fbuf_pool *p = s->pool;
	char *addr = fbuf_addr(p, number(s));

	FAKE_CHECK(!addr || (addr >= p->map &&
			     addr + p->buf_size <= p->map + p->size));
}

static void use_gather(struct state *s, uint8_t op)
{
	struct fbuf_gather *g = gather(s);
	void *odd = (void *)(uintptr_t)number(s);
	struct fbuf_result result;
	struct fbuf_fanout fanout;
	struct fbuf_send send;
	uint64_t cmd[2];
	size_t sent;

	switch (op % 14) {
	case 0:
		fbuf_gather_append(g, number(s), number(s), number(s));
		break;
	case 1:
		fbuf_gather_prepend(g, number(s), number(s), number(s));
		break;
	case 2:
		fbuf_gather_append_inline(g, odd, number(s));
		break;
	case 3:
		fbuf_gather_prepend_inline(g, odd, number(s));
		break;
	case 4:
		fbuf_gather_slice(g, gather(s), number(s), number(s));
		break;
	case 5:
		fbuf_gather_reset(g);
		break;
	case 6:
		fbuf_send(g, number(s), number(s), &result);
		break;
	case 7:
		fbuf_sendto(g, number(s), number(s), number(s), odd, number(s),
			    NULL);
		break;
	case 8:
		if (fbuf_send_all(g, number(s), number(s), &sent) >= 0)
			FAKE_CHECK(sent == fbuf_gather_len(g));
		break;
	case 9:
		fbuf_fanout(g, s->targets, number(s), number(s), number(s));
		break;
	case 10:
		fbuf_item_set(&s->sends[fake_byte() % NAMES], g, number(s));
		break;
	case 11:
		fbuf_send_batch(s->pool, s->sends, number(s), number(s),
				number(s));
		break;
	case 12:
		fbuf_uring_send(&send, cmd, g, number(s), number(s), number(s));
		break;
	case 13:
		fbuf_uring_fanout(&fanout, cmd, g, s->targets, number(s),
				  number(s), number(s));
		break;
	}
	check_gather(s->pool, g);
}

static void use_fds(struct state *s)
{
	unsigned int handle;
	int fd;

	fd = fbuf_pool_share(s->pool, number(s), number(s), &handle);
	if (fd < 0)
		return;
	fbuf_pool_fd_send(number(s), fd);
	fake_close(fd);
	fd = fbuf_pool_fd_recv(number(s));
	if (fd >= 0)
		fake_close(fd);
}

static void use_pool(struct state *s, uint8_t op)
{
	struct fbuf_pool *p = s->pool;
	struct fbuf_info info;

	switch (op % 11) {
	case 0:
		fbuf_alloc(p, s->names, number(s), number(s));
		break;
	case 1:
		fbuf_free(p, s->names, number(s));
		break;
	case 2:
		fbuf_hold(p, s->names, number(s));
		break;
	case 3:
		fbuf_wait(p, s->names, number(s), number(s), number(s));
		break;
	case 4:
		fbuf_secure(p, s->names, number(s));
		break;
	case 5:
		fbuf_pass(p, number(s), s->items, number(s), number(s));
		break;
	case 6:
		fbuf_fill_at(p, number(s), number(s), number(s), number(s),
			     number(s), number(s), number(s));
		break;
	case 7:
		fbuf_ring_setup(p, number(s), number(s), number(s));
		break;
	case 8:
		use_fds(s);
		break;
	case 9:
		check_addr(s);
		break;
	case 10:
		fbuf_pool_info(p, &info);
		FAKE_CHECK(fbuf_engine_name(number(s)) && fbuf_version());
		break;
	}
}

static void run(struct state *s)
{
	unsigned int i;

	for (i = 0; i < GATHERS; i++) {
		s->gathers[i] = fbuf_gather_new(s->pool);
		FAKE_CHECK(s->gathers[i]);
	}
	while (fake_more()) {
		uint8_t op = fake_byte();

		errno = ERRNO;
		if (op & 64)
			fake_be_poor();
		if (op & 128)
			use_gather(s, op);
		else
			use_pool(s, op);
		FAKE_CHECK(errno == ERRNO);
	}
	for (i = 0; i < GATHERS; i++)
		fbuf_gather_destroy(s->gathers[i]);
}

static int open_pool(struct state *s)
{
	struct fbuf_pool_options opt = FBUF_POOL_OPTIONS_INIT;
	int fd, ret;

	if (fake_byte() & 1) {
		opt.buf_size = number(s);
		opt.nr_bufs = number(s);
		return fbuf_pool_create_with(&s->pool, &opt);
	}
	fd = fake_fd();
	ret = fbuf_pool_open(&s->pool, fd);
	if (ret < 0)
		fake_close(fd);
	return ret;
}

int fuzz_one(const uint8_t *data, size_t size)
{
	struct state s = {
		.names = calloc(NAMES, sizeof(*s.names)),
		.items = calloc(NAMES, sizeof(*s.items)),
		.targets = calloc(NAMES, sizeof(*s.targets)),
		.sends = calloc(NAMES, sizeof(*s.sends)),
	};

	FAKE_CHECK(s.names && s.items && s.targets && s.sends);
	fake_start(data, size);
	errno = ERRNO;
	if (open_pool(&s) == 0)
		run(&s);
	fbuf_pool_close(s.pool);
	FAKE_CHECK(errno == ERRNO);
	free(s.names);
	free(s.items);
	free(s.targets);
	free(s.sends);
	fake_stop(true);
	return 0;
}
