// SPDX-License-Identifier: LGPL-2.1-or-later
/* Views: what the environment says, forks, and the end of heaps and programs. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heap.h"
#include "view.h"

static void fork_prepare(void)
{
	view_check_lock();
	view_watch_lock();
	view_mem_lock();
}

static void fork_parent(void)
{
	view_mem_unlock();
	view_watch_unlock();
	view_check_unlock();
}

static void fork_child(void)
{
	view_mem_unlock();
	view_watch_unlock();
	view_check_child();
}

/* Views of it that were not released never can be. */
static void gone(struct fbuf_heap *heap)
{
	view_check_give(heap);
	view_watch_heap(heap);
}

static void level_from(const char *name)
{
	static const char *const names[] = {
		"off", "simple", "advanced", "paranoid"
	};
	unsigned int i;

	for (i = 0; i < 4; i++) {
		if (!strcmp(name, names[i])) {
			fbuf_view_leaks(i);
			return;
		}
	}
	dprintf(STDERR_FILENO,
		"fbuf: FBUF_VIEW_LEAKS is \"%s\", and none of off, simple, advanced, paranoid\n",
		name);
}

__attribute__((__constructor__)) void view_start(void)
{
	const char *leaks = secure_getenv("FBUF_VIEW_LEAKS");
	const char *check = secure_getenv("FBUF_VIEW_CHECK");

	/* Without memory for it a child of a program with threads may wait. */
	pthread_atfork(fork_prepare, fork_parent, fork_child);
	heap_gone = gone;
	if (leaks && *leaks)
		level_from(leaks);
	if (check && *check && strcmp(check, "0"))
		fbuf_view_check(1);
}

static __attribute__((__destructor__)) void end(void)
{
	fbuf_view_check_look();
	view_watch_exit();
}
