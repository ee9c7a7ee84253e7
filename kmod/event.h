/* SPDX-License-Identifier: GPL-2.0 */
/* Events of pools, and references to them. See event.c. */
#ifndef FBUF_EVENT_H
#define FBUF_EVENT_H

#include <linux/types.h>

struct fbuf_pool;

#define FBUF_EVENT_LOOK		0	/* to look whether something is stuck */

/**
 * struct fbuf_teller - who tells of events
 * @listening: tells whether anybody listens; in any context
 * @tell: tells of them, by the bits of FBUF_CMD_*_NTF, and looks; may sleep
 */
struct fbuf_teller {
	bool (*listening)(void);
	void (*tell)(struct fbuf_pool *pool, unsigned long events);
};

extern const struct fbuf_teller *fbuf_teller;
void fbuf_pool_unref(struct fbuf_pool *pool);
void fbuf_events_init(struct fbuf_pool *pool);
void fbuf_event(struct fbuf_pool *pool, unsigned int nr);
void fbuf_event_gone(struct fbuf_pool *pool);

#endif /* FBUF_EVENT_H */
