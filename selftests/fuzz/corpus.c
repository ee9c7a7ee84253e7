// SPDX-License-Identifier: GPL-2.0
/* The programs that are worth keeping. */
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

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

/* Whether it reaches the same again, now that it runs alone. */
static bool reaches(const struct prog *p, const __u32 *signals, unsigned int nr)
{
	exec_prog(p);
	return cover_has(&shared->reached, signals, nr);
}

static void shorten(struct prog *p, const __u32 *signals, unsigned int nr)
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
			if (reaches(&try, signals, nr))
				*p = try;
		}
	}
	for (i = 0; i < p->nr; i++) {
		for (j = 0; j < MAX_ARGS; j++) {
			if (!p->call[i].a[j])
				continue;
			try = *p;
			try.call[i].a[j] = 0;
			if (reaches(&try, signals, nr))
				*p = try;
		}
		try = *p;
		try.call[i].flags = 0;
		try.call[i].fail = 0;
		if (memcmp(&try, p, sizeof(try)) && reaches(&try, signals, nr))
			*p = try;
	}
}

/* Runs it, and keeps what it is worth. */
void corpus_consider(const struct prog *p)
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
	shorten(&best, signals, nr);
	shared->corpus[shared->nr_corpus] = best;
	shared->nr_corpus++;
}

static const struct prog *corpus_pick(__u32 *rng)
{
	unsigned int nr = shared->nr_corpus, at = rnd(rng) % nr;

	/* The newest half the time. */
	if (rnd(rng) % 2 && nr > 32)
		at = nr - 1 - rnd(rng) % 32;
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

void corpus_fuzz(__u32 *rng, unsigned int calls)
{
	unsigned long end = shared->calls + calls;
	struct prog p;

	while (shared->calls < end) {
		if (!shared->nr_corpus || rnd(rng) % 16 == 0) {
			prog_random(&p, rng);
		} else {
			p = *corpus_pick(rng);
			if (rnd(rng) % 8)
				join(&p, rng);
			else
				prog_mutate(&p, corpus_pick(rng), rng);
		}
		corpus_consider(&p);
	}
}
