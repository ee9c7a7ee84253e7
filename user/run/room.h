/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much memory the pool may come to, snapshots and all: as much as the user allows. */
#ifndef RUN_ROOM_H
#define RUN_ROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void room_start(size_t limit);
/* fork(): the child has another pool, of which nothing is in use from top on. */
void room_anew(size_t top);

/*
 * A send is to refer to buffers of so many bytes, each of which may become a snapshot
 * for as long as packets have it. False: there is no room for that now. Else
 * room_give() must follow when the send is over. Any thread, any signal handler.
 */
bool room_take(uint64_t bytes);
void room_give(uint64_t bytes);

/*
 * Memory of the pool comes into use up to there, whole buffers. False: that would be
 * too much, with the snapshots that there are. The pool's lock is held.
 */
bool room_rise(size_t top);

#endif /* RUN_ROOM_H */
