// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Views that are watched: where each was made, and where it was touched last. What
 * was not released, or used after that, is reported with it.
 */

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heap.h"
#include "view.h"

/* One in so many is watched. */
#define SAMPLE		128U
/* Touches that are kept, the last ones. */
#define TOUCHES		4U
/* Frames of ours that a trace may begin with. */
#define OWN_FRAMES	6U
#define TEXT_SIZE	8192U

struct view_watch {
	struct view_watch *next;	/* in the list */
	struct view_watch *prev;
	const struct fbuf_view *view;
	struct fbuf_heap *heap;		/* its memory's, or NULL */
	long long last_ms;
	bool deep;			/* touches are kept */
	bool told;
	uint32_t nr;			/* touches there were */
	struct view_touch made;
	struct view_touch touches[TOUCHES];
};

unsigned int view_level = FBUF_VIEW_LEAKS_SIMPLE;
bool view_checking;

/* The lock is for all there is in watches; inside, no other is taken. */
static struct {
	pthread_mutex_t lock;
	struct view_watch *list;
	bool asked;			/* for a level; atomic */
	void (*report)(void *arg, const char *text);
	void *arg;
} watch = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* A text that grows to a limit. */
struct text {
	size_t len;
	char text[TEXT_SIZE];
};

static __attribute__((__format__(__printf__, 2, 3))) void
put(struct text *t, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(t->text + t->len, TEXT_SIZE - t->len, format, ap);
	va_end(ap);
	if (n > 0)
		t->len += n;
	if (t->len > TEXT_SIZE - 1)
		t->len = TEXT_SIZE - 1;
}

static void put_frame(struct text *t, const void *address)
{
	/* A return address may be the next function's first byte. */
	const char *at = (const char *)address - 1;
	Dl_info info;

	if (!dladdr(at, &info) || !info.dli_fname) {
		put(t, "fbuf:     at %p\n", address);
		return;
	}
	put(t, "fbuf:     at ");
	if (info.dli_sname)
		put(t, "%s+0x%zx ", info.dli_sname,
		    (size_t)(at - (const char *)info.dli_saddr));
	put(t, "(%s+0x%zx)\n", info.dli_fname,
	    (size_t)(at - (const char *)info.dli_fbase));
}

static void put_touch(struct text *t, const char *how,
		      const struct view_touch *touch)
{
	uint32_t i;

	put(t, "fbuf:   %s by %s() in thread %d", how, touch->what,
	    touch->thread);
	if (touch->hint[0])
		put(t, ": %s", touch->hint);
	put(t, "\n");
	for (i = 0; i < touch->nr; i++)
		put_frame(t, touch->frames[i]);
}

static void report(const struct text *t)
{
	void (*to)(void *arg, const char *text);
	void *arg;

	pthread_mutex_lock(&watch.lock);
	to = watch.report;
	arg = watch.arg;
	pthread_mutex_unlock(&watch.lock);
	if (to)
		to(arg, t->text);
	else if (write(STDERR_FILENO, t->text, t->len) < 0)
		return;
}

static __attribute__((__noreturn__)) void die(const struct text *t)
{
	report(t);
	abort();
}

/* The one that had the count of a view that is dead, and is so still. */
static const struct view_watch *watch_of(const struct fbuf_view *v)
{
	if (v->watch)
		return v->watch;
	if (v->counted)
		return v->counted->watch;
	if (v->kind == VIEW_PART && v->held && !v->held->count)
		return v->held->watch;
	return NULL;
}

static const struct view_touch *last_touch(const struct view_watch *w)
{
	return w->nr ? &w->touches[(w->nr - 1) % TOUCHES] : &w->made;
}

void view_die(const struct fbuf_view *v, const char *what, const char *why)
{
	const struct view_watch *w = watch_of(v);
	struct text t = { 0 };

	put(&t, "fbuf: %s(): a view %s: fbuf_view(3)\n", what, why);
	if (w && w->deep) {
		put_touch(&t, "had last", last_touch(w));
		put_touch(&t, "made", &w->made);
	} else {
		put(&t, "fbuf:   with FBUF_VIEW_CHECK=1 this says who had it last\n");
	}
	die(&t);
}

void view_die_dead(const struct fbuf_view *v, const char *what)
{
	view_die(v, what, "was used after its last release");
}

void view_die_written(size_t at, size_t len, const struct view_touch *last)
{
	struct text t = { 0 };

	put(&t, "fbuf: byte %zu of %zu was written after the last release",
	    at, len);
	put(&t, " of its view: fbuf_view(3)\n");
	put_touch(&t, "had last", last);
	die(&t);
}

/* The program's part of the stack, which begins where it called us. */
static void touch_fill(struct view_touch *touch, const char *what,
		       const void *caller, const char *hint, bool deep)
{
	void *frames[OWN_FRAMES + VIEW_FRAMES];
	int nr, skip = 0, i;

	touch->what = what;
	touch->thread = gettid();
	touch->hint[0] = '\0';
	if (hint)
		snprintf(touch->hint, sizeof(touch->hint), "%s", hint);
	touch->nr = 1;
	touch->frames[0] = (void *)caller;
	if (!deep)
		return;
	nr = backtrace(frames, OWN_FRAMES + VIEW_FRAMES);
	while (skip < nr && frames[skip] != caller)
		skip++;
	for (i = skip; i < nr && i - skip < VIEW_FRAMES; i++)
		touch->frames[i - skip] = frames[i];
	if (skip < nr)
		touch->nr = i - skip;
}

static bool sampled(void)
{
	static __thread uint32_t state
		__attribute__((__tls_model__("initial-exec")));

	if (!state)
		state = (uint32_t)gettid() * 2654435761U | 1;
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state % SAMPLE == 0;
}

void view_watch_new(struct fbuf_view *v, const char *what, void *caller)
{
	unsigned int level = __atomic_load_n(&view_level, __ATOMIC_RELAXED);
	bool check = __atomic_load_n(&view_checking, __ATOMIC_RELAXED);
	struct view_watch *w;
	int saved = errno;

	if (!check && level != FBUF_VIEW_LEAKS_PARANOID && !sampled())
		return;
	w = calloc(1, sizeof(*w));
	errno = saved;
	if (!w)
		return;
	w->view = v;
	if (v->kind == VIEW_HEAP)
		w->heap = v->heap;
	w->deep = check || level != FBUF_VIEW_LEAKS_SIMPLE;
	w->last_ms = lib_now_ms();
	touch_fill(&w->made, what, caller, NULL, w->deep);
	pthread_mutex_lock(&watch.lock);
	w->next = watch.list;
	if (w->next)
		w->next->prev = w;
	watch.list = w;
	pthread_mutex_unlock(&watch.lock);
	v->watch = w;
	errno = saved;
}

void view_watch_touch(struct fbuf_view *v, const char *what, void *caller,
		      const char *hint)
{
	struct view_watch *w = v->watch;
	struct view_touch touch;
	int saved = errno;

	if (w->deep)
		touch_fill(&touch, what, caller, hint, true);
	pthread_mutex_lock(&watch.lock);
	w->last_ms = lib_now_ms();
	if (w->deep)
		w->touches[w->nr++ % TOUCHES] = touch;
	pthread_mutex_unlock(&watch.lock);
	errno = saved;
}

void view_watch_end(struct fbuf_view *v)
{
	struct view_watch *w = v->watch;

	if (!w)
		return;
	pthread_mutex_lock(&watch.lock);
	if (w->next)
		w->next->prev = w->prev;
	if (w->prev)
		w->prev->next = w->next;
	else
		watch.list = w->next;
	pthread_mutex_unlock(&watch.lock);
}

void view_watch_free(struct fbuf_view *v)
{
	free(v->watch);
}

struct view_touch view_watch_last(const struct fbuf_view *v)
{
	return v->watch ? *last_touch(v->watch) : (struct view_touch){ 0 };
}

static void put_leak(struct text *t, const struct view_watch *w)
{
	uint32_t nr = fbuf_view_count(w->view), i;

	put(t, "fbuf: leak: a view was not released: %u reference%s left\n", nr,
	    nr == 1 ? " is" : "s are");
	put_touch(t, "made", &w->made);
	if (!w->deep)
		put(t, "fbuf:   with FBUF_VIEW_LEAKS=advanced this says %s\n",
		    "where it was touched last");
	for (i = 0; i < TOUCHES && i < w->nr; i++)
		put_touch(t, i ? "before that" : "touched last",
			  &w->touches[(w->nr - 1 - i) % TOUCHES]);
}

/* Of a heap, or with NULL of all. The text is made with the lock, and sent without. */
static unsigned int report_leaks(const struct fbuf_heap *heap,
				 long long before)
{
	struct view_watch *w;
	unsigned int nr = 0;
	struct text t;

	for (;;) {
		t.len = 0;
		pthread_mutex_lock(&watch.lock);
		for (w = watch.list; w; w = w->next)
			if (!w->told && w->last_ms <= before &&
			    (!heap || w->heap == heap))
				break;
		if (w) {
			w->told = true;
			put_leak(&t, w);
		}
		pthread_mutex_unlock(&watch.lock);
		if (!w)
			return nr;
		nr++;
		report(&t);
	}
}

unsigned int fbuf_view_leaks_report(unsigned int idle_ms)
{
	int saved = errno;
	unsigned int nr = report_leaks(NULL, lib_now_ms() - idle_ms);

	errno = saved;
	return nr;
}

void view_watch_heap(const struct fbuf_heap *heap)
{
	report_leaks(heap, lib_now_ms());
}

void view_watch_exit(void)
{
	if (__atomic_load_n(&watch.asked, __ATOMIC_RELAXED) &&
	    __atomic_load_n(&view_level, __ATOMIC_RELAXED))
		report_leaks(NULL, lib_now_ms());
}

void view_watch_lock(void)
{
	pthread_mutex_lock(&watch.lock);
}

void view_watch_unlock(void)
{
	pthread_mutex_unlock(&watch.lock);
}

int fbuf_view_leaks(unsigned int level)
{
	if (level > FBUF_VIEW_LEAKS_PARANOID)
		return -EINVAL;
	__atomic_store_n(&watch.asked, true, __ATOMIC_RELAXED);
	return __atomic_exchange_n(&view_level, level, __ATOMIC_RELAXED);
}

void fbuf_view_on_report(void (*report_to)(void *arg, const char *text),
			 void *arg)
{
	pthread_mutex_lock(&watch.lock);
	watch.report = report_to;
	watch.arg = arg;
	pthread_mutex_unlock(&watch.lock);
}

void fbuf_view_touch(struct fbuf_view *view, const char *hint)
{
	struct fbuf_view *c = view->counted;

	if (!c || !__atomic_load_n(&c->count, __ATOMIC_RELAXED))
		view_die_dead(view, __func__);
	if (c->watch)
		view_watch_touch(c, __func__, __builtin_return_address(0),
				 hint);
}
