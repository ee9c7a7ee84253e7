// SPDX-License-Identifier: GPL-2.0
/* A ring that somebody else writes to while it is read. */

#include "../lib/lib.h"
#include "fake.h"

static void consume(struct fbuf_pool *pool)
{
	struct fbuf_ring_entry e;
	uint64_t overflow;

	while (fake_more()) {
		uint8_t how = fake_byte();
		int ret;

		if (how & 1) {
			ret = fbuf_ring_wait(pool, &e, (int)(how >> 1) - 1);
		} else if (how & 2) {
			FAKE_CHECK(fbuf_ring_overflow(pool, &overflow) <= 0);
			continue;
		} else {
			ret = fbuf_ring_next(pool, &e);
		}
		FAKE_CHECK(ret <= 1);
		if (ret == 1)
			fbuf_addr(pool, e.name);
	}
}

int fuzz_one(const uint8_t *data, size_t size)
{
	struct fbuf_pool *pool;
	uint8_t how;
	int fd;

	fake_start(data, size);
	fd = fake_fd();
	if (fbuf_pool_open(&pool, fd) < 0)
		goto out;
	how = fake_byte();
	/* An odd number as well: the module would refuse it. */
	fbuf_ring_setup(pool, how & 128 ? how & 127 : 1U << (how & 7), 0, -1);
	consume(pool);
	fbuf_pool_close(pool);
	fd = -1;
out:
	if (fd >= 0)
		fake_close(fd);
	fake_stop(true);
	return 0;
}
