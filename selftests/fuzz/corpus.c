// SPDX-License-Identifier: GPL-2.0
/* The programs that are worth keeping. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"
#include "util.h"

/* What it may take to make a program short: calls, and time. */
#define SHORTEN_CALLS	4000
#define SHORTEN_TICKS	200
/* A program that takes twice as long is chosen half as often. */
#define CHEAP_US	1000

struct shared *shared;

/* Lines that are no programs are counted, and left out. */
unsigned int corpus_load(const char *path, struct prog *progs, unsigned int max,
			 unsigned int *bad)
{
	char line[LINE_MAX_BYTES];
	FILE *f = fopen(path, "r");
	unsigned int nr = 0;

	*bad = 0;
	if (!f)
		return 0;
	while (nr < max && fgets(line, sizeof(line), f)) {
		if (line[0] == '#' || line[0] == '\n')
			continue;
		if (prog_decode(&progs[nr], line))
			nr++;
		else
			++*bad;
	}
	fclose(f);
	return nr;
}

/* The shortest first, so that the next run leaves out long ones. */
int corpus_save(const char *path)
{
	char line[LINE_MAX_BYTES];
	FILE *f = fopen(path, "w");
	unsigned int i, nr;

	if (!f)
		return -1;
	for (nr = 1; nr <= MAX_CALLS; nr++) {
		for (i = 0; i < shared->nr_corpus; i++) {
			if (shared->corpus[i].nr != nr)
				continue;
			prog_encode(&shared->corpus[i], line, sizeof(line));
			fprintf(f, "%s\n", line);
		}
	}
	return fclose(f);
}

/* What a program is to reach when it is made short, and until when one may try. */
struct goal {
	const __u32 *signals;
	unsigned int nr;
	unsigned long end_calls;
	unsigned int end_ticks;
};

static bool over(const struct goal *g)
{
	return shared->calls >= g->end_calls ||
	       (int)(exec_ticks() - g->end_ticks) >= 0;
}

/* @p becomes @try, if that is another, and reaches the same. */
static void attempt(struct prog *p, const struct prog *try,
		    const struct goal *g)
{
	if (over(g) || !memcmp(try, p, sizeof(*p)))
		return;
	exec_prog(try);
	if (cover_has(&shared->reached, g->signals, g->nr))
		*p = *try;
}

static void shorten_to(struct prog *p, const struct goal *g)
{
	struct prog try;
	unsigned int i, j, part;

	/* Halves first: most calls of a long one are not needed. */
	for (part = p->nr / 2; part; part /= 2) {
		for (i = p->nr / part; i-- > 0;) {
			if (p->nr < part * (i + 1) || p->nr == part)
				continue;
			try = *p;
			prog_remove(&try, i * part, part);
			attempt(p, &try, g);
		}
	}
	for (i = 0; i < p->nr && !over(g); i++) {
		for (j = 0; j < MAX_ARGS; j++) {
			try = *p;
			try.call[i].a[j] = 0;
			attempt(p, &try, g);
		}
		try = *p;
		try.call[i].flags = 0;
		try.call[i].fail = 0;
		attempt(p, &try, g);
	}
}

static void shorten(struct prog *p, const __u32 *signals, unsigned int nr)
{
	const struct goal g = {
		.signals = signals,
		.nr = nr,
		.end_calls = shared->calls + SHORTEN_CALLS,
		.end_ticks = exec_ticks() + SHORTEN_TICKS,
	};
	unsigned long calls = shared->calls;
	__u64 since = cycles();

	shorten_to(p, &g);
	spend(ON_SHORTEN, shared->calls - calls, since);
}

static void keep(const struct prog *p)
{
	unsigned int nr = shared->nr_corpus;
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	exec_prog(p);
	clock_gettime(CLOCK_MONOTONIC, &to);
	shared->corpus[nr] = *p;
	shared->cost_us[nr] = (to.tv_sec - from.tv_sec) * 1000000 +
			      (to.tv_nsec - from.tv_nsec) / 1000;
	shared->nr_corpus++;
}

/* Runs it, and keeps what it is worth; made short, unless it is so already. */
void corpus_consider(const struct prog *p, bool is_short)
{
	static __u32 signals[ARRAY_LEN(shared->reached.new)];
	struct reached *r = &shared->reached;
	struct prog best;
	unsigned int i, nr = 0;

	exec_prog(p);
	if (!r->nr_new)
		return;
	nr = r->nr_new;
	memcpy(signals, r->new, nr * sizeof(*signals));
	/* What comes by chance is no guide. */
	exec_prog(p);
	cover_keep(&shared->covered, r);
	for (i = 0; i < nr;) {
		if (r->seen[signals[i]] == r->run)
			i++;
		else
			signals[i] = signals[--nr];
	}
	if (!nr || shared->nr_corpus == CORPUS_MAX)
		return;
	prog_expand(&best, p);
	if (!is_short)
		shorten(&best, signals, nr);
	keep(&best);
}

/* The newest half the time; the more time one takes, the less often. */
static const struct prog *corpus_pick(__u32 *rng)
{
	unsigned int nr = shared->nr_corpus, tries = 8, at;

	do {
		at = rnd(rng) % nr;
		if (rnd(rng) % 2 && nr > 32)
			at = nr - 1 - rnd(rng) % 32;
	} while (rnd(rng) % (1 + shared->cost_us[at]) > CHEAP_US && --tries);
	return &shared->corpus[at];
}

/* Several in one, so that their setup and what it takes to clean up count less. */
static void join(struct prog *p, __u32 *rng)
{
	unsigned int nr = 16 + rnd(rng) % 32, tries = 32, i;

	while (p->nr < nr && tries--)
		prog_join(p, corpus_pick(rng), rng);
	for (i = 0; i < 4; i++)
		prog_mutate(p, corpus_pick(rng), rng);
	for (i = 0; i < 8; i++)
		prog_series(p, rng);
}

void corpus_fuzz(__u32 *rng, unsigned int calls, long end_ms)
{
	unsigned long end = shared->calls + calls;
	struct prog p;

	while (shared->calls < end && now_ms() < end_ms) {
		if (!shared->nr_corpus || rnd(rng) % 16 == 0) {
			prog_random(&p, rng);
		} else {
			p = *corpus_pick(rng);
			if (rnd(rng) % 8)
				join(&p, rng);
			else
				prog_mutate(&p, corpus_pick(rng), rng);
		}
		corpus_consider(&p, false);
	}
}
