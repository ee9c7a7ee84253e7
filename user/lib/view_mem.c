// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The structures of views. Their memory never becomes anything else, and the one
 * that died last is used again last: a view that is used after its last release is
 * found out.
 *
 * Each thread has some at hand, and takes and gives them without a lock.
 */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "view.h"

/* What is moved between a thread and all others, and had of malloc(). */
#define BATCH		64U
/* So many dead ones a thread keeps, and does not use. */
#define THREAD_MIN	128U
#define THREAD_MAX	(THREAD_MIN + 2 * BATCH)
/* In check mode all threads together. */
#define CHECK_MIN	4096U

struct list {
	struct fbuf_view *first;
	struct fbuf_view *last;
	unsigned int nr;
};

static struct {
	pthread_mutex_t lock;
	struct list dead;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

static __thread struct {
	struct list ready;
	struct list dead;
	bool known;		/* to what runs when the thread ends */
} mine __attribute__((__tls_model__("initial-exec")));

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;

static void list_add(struct list *list, struct fbuf_view *v)
{
	v->next = NULL;
	if (list->nr++)
		list->last->next = v;
	else
		list->first = v;
	list->last = v;
}

static struct fbuf_view *list_take(struct list *list)
{
	struct fbuf_view *v = list->first;

	list->first = v->next;
	list->nr--;
	return v;
}

static void list_move(struct list *to, struct list *from, unsigned int nr)
{
	while (nr-- && from->nr)
		list_add(to, list_take(from));
}

static void thread_ends(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&all.lock);
	list_move(&all.dead, &mine.ready, UINT32_MAX);
	list_move(&all.dead, &mine.dead, UINT32_MAX);
	pthread_mutex_unlock(&all.lock);
	/* Other destructors may use views, and then this one runs again. */
	mine.known = false;
}

void view_mem_lock(void)
{
	pthread_mutex_lock(&all.lock);
}

void view_mem_unlock(void)
{
	pthread_mutex_unlock(&all.lock);
}

static void init(void)
{
	/* Without it threads keep what they had. */
	pthread_key_create(&key, thread_ends);
}

static void thread_begins(void)
{
	pthread_once(&once, init);
	pthread_setspecific(key, &mine);
	mine.known = true;
}

static bool checking(void)
{
	return __atomic_load_n(&view_checking, __ATOMIC_RELAXED);
}

static void refill(void)
{
	const size_t size = sizeof(struct fbuf_view);
	struct fbuf_view *more;
	unsigned int i;

	pthread_mutex_lock(&all.lock);
	if (!checking() || all.dead.nr > CHECK_MIN)
		list_move(&mine.ready, &all.dead, BATCH);
	pthread_mutex_unlock(&all.lock);
	if (mine.ready.nr)
		return;
	more = aligned_alloc(64, BATCH * size);
	if (!more)
		return;
	memset(more, 0, BATCH * size);
	for (i = 0; i < BATCH; i++)
		list_add(&mine.ready, more + i);
}

struct fbuf_view *view_get(void)
{
	struct list *from = &mine.ready;
	struct fbuf_view *v;

	if (!mine.known)
		thread_begins();
	if (!from->nr) {
		if (mine.dead.nr > THREAD_MIN && !checking())
			from = &mine.dead;
		else
			refill();
	}
	if (!from->nr)
		return NULL;
	v = list_take(from);
	view_watch_free(v);
	memset(v, 0, sizeof(*v));
	return v;
}

void view_put(struct fbuf_view *v)
{
	v->counted = NULL;
	if (!mine.known)
		thread_begins();
	list_add(&mine.dead, v);
	if (mine.dead.nr <= THREAD_MAX)
		return;
	pthread_mutex_lock(&all.lock);
	list_move(&all.dead, &mine.dead, BATCH);
	pthread_mutex_unlock(&all.lock);
}
