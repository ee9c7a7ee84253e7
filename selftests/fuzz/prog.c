// SPDX-License-Identifier: GPL-2.0
/*
 * Programs: made, changed, written and read.
 *
 * A line is a program: calls with their arguments, parted by semicolons. &call is
 * done by the other thread, call/3 with its third allocation failing, and "again k n"
 * stands for the k calls before it n times more, each time with something changed.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

__u32 rnd(__u32 *rng)
{
	/* xorshift32 */
	*rng ^= *rng << 13;
	*rng ^= *rng >> 17;
	*rng ^= *rng << 5;
	return *rng;
}

static bool one_in(__u32 *rng, unsigned int n)
{
	return rnd(rng) % n == 0;
}

static __u32 number_random(__u32 *rng)
{
	static const __u32 special[] = {
		16, 17, 31, 32, 33, 63, 64, 127, 128, 255, 256, 511, 512, 513,
		1023, 1024, 1025, 4095, 4096, 4097, 8192, 65535, 65536, 65537,
		1U << 20, 2U << 20, 16U << 20, WILD | 4096, WILD | 4097,
		0x7fffffff, 0x80000000, 0xfffff000, 0xfffffffe, 0xffffffff,
	};

	switch (rnd(rng) % 8) {
	case 0:
		return special[rnd(rng) % ARRAY_LEN(special)];
	case 1:
		return rnd(rng) % 4096;
	case 2:
	case 3:
		return rnd(rng) % 32;
	default:
		return rnd(rng) % 5;
	}
}

/*
 * h: which of the things that there are      w: where in memory it lies
 * s: how a structure has another size        p: a word of it that is another one
 * n: a number                                f: flags
 * r: a seed                                  e: mostly 0
 */
static __u32 arg_random(char kind, __u32 *rng)
{
	switch (kind) {
	case 'h':
		return one_in(rng, 64) ? rnd(rng) | WILD : rnd(rng) % 8;
	case 'w':
		return one_in(rng, 8) ? rnd(rng) % 16 : 0;
	case 's':
		return one_in(rng, 24) ? rnd(rng) % 256 : 0;
	case 'p':
		return one_in(rng, 12) ? rnd(rng) % 4096 : 0;
	case 'e':
		return one_in(rng, 6) ? number_random(rng) : 0;
	case 'f':
		switch (rnd(rng) % 6) {
		case 0:
			return one_in(rng, 8) ? rnd(rng) : rnd(rng) % 1024;
		case 1:
		case 2:
			return 1U << rnd(rng) % 10;
		case 3:
			return 1U << rnd(rng) % 4 | 1U << rnd(rng) % 10;
		default:
			return 0;
		}
	case 'r':
		return rnd(rng) % 65536;
	default:
		return number_random(rng);
	}
}

static void call_make(struct call *c, int op, __u32 *rng)
{
	const char *args;
	unsigned int i;

	memset(c, 0, sizeof(*c));
	c->op = op;
	args = call_desc(op)->args;
	for (i = 0; args[i]; i++)
		c->a[i] = arg_random(args[i], rng);
	if (one_in(rng, 24))
		c->flags = CALL_ASYNC;
	if (one_in(rng, 24))
		c->fail = 1 + rnd(rng) % 12;
}

static void insert(struct prog *p, unsigned int at, const struct call *c)
{
	if (p->nr == MAX_CALLS)
		return;
	memmove(&p->call[at + 1], &p->call[at], (p->nr - at) * sizeof(*c));
	p->call[at] = *c;
	p->nr++;
}

void prog_remove(struct prog *p, unsigned int at, unsigned int nr)
{
	p->nr -= nr;
	memmove(&p->call[at], &p->call[at + nr],
		(p->nr - at) * sizeof(p->call[0]));
}

/* What most other calls need comes first. */
void prog_random(struct prog *p, __u32 *rng)
{
	static const char *const first[] = { "create", "alloc", "map", "sock" };
	unsigned int i, nr = 4 + rnd(rng) % 16;

	p->nr = 0;
	for (i = 0; i < ARRAY_LEN(first); i++) {
		if (i < 2 || one_in(rng, 2))
			call_make(&p->call[p->nr++],
				  call_find(first[i], strlen(first[i])), rng);
	}
	while (p->nr < nr)
		call_make(&p->call[p->nr++], call_random(rng), rng);
}

static void mutate_arg(struct call *c, __u32 *rng)
{
	const char *args = call_desc(c->op)->args;
	unsigned int i, nr = strlen(args);

	if (!nr)
		return;
	i = rnd(rng) % nr;
	switch (rnd(rng) % 6) {
	case 0:
		c->a[i]++;
		break;
	case 1:
		c->a[i]--;
		break;
	case 2:
		c->a[i] ^= 1U << rnd(rng) % (one_in(rng, 4) ? 32 : 12);
		break;
	default:
		c->a[i] = arg_random(args[i], rng);
	}
}

static void mutate_once(struct prog *p, const struct prog *other, __u32 *rng)
{
	unsigned int at = rnd(rng) % (p->nr + 1), i;
	struct call c;

	switch (rnd(rng) % 12) {
	case 0:
	case 1:
		call_make(&c, call_random(rng), rng);
		insert(p, at, &c);
		return;
	case 2:
	case 3:
		/* The rest of another program. */
		for (i = rnd(rng) % other->nr; i < other->nr; i++)
			insert(p, p->nr, &other->call[i]);
		return;
	}
	if (at == p->nr)
		return;
	switch (rnd(rng) % 8) {
	case 0:
		if (p->nr > 1)
			prog_remove(p, at, 1);
		break;
	case 1:
		c = p->call[at];
		insert(p, rnd(rng) % (p->nr + 1), &c);
		break;
	case 2:
		p->call[at].flags ^= CALL_ASYNC;
		break;
	case 3:
		p->call[at].fail = one_in(rng, 3) ? 0 : 1 + rnd(rng) % 24;
		break;
	default:
		mutate_arg(&p->call[at], rng);
	}
}

static bool has(const struct prog *p, unsigned int op)
{
	unsigned int i;

	for (i = 0; i < p->nr; i++) {
		if (p->call[i].op == op)
			return true;
	}
	return false;
}

static bool is_one_of(const struct call *c, const char *const *names)
{
	for (; *names; names++) {
		if (!strcmp(call_desc(c->op)->name, *names))
			return true;
	}
	return false;
}

/* What costs much is mostly shared by those that are joined. */
void prog_join(struct prog *p, const struct prog *other, __u32 *rng)
{
	static const char *const costly[] = {
		"create", "sock", "uring", "shrink", "fork", "nl", NULL
	};
	unsigned int i;

	for (i = 0; i < other->nr; i++) {
		if (!is_one_of(&other->call[i], costly) || one_in(rng, 8) ||
		    !has(p, other->call[i].op))
			insert(p, p->nr, &other->call[i]);
	}
}

/* Takes little time, so that many are done for one of the others. */
static bool is_cheap(const struct call *c)
{
	static const char *const names[] = {
		"alloc", "free", "hold", "wait", "secure", "pass", "share",
		"ring", "info", "send", "ucmd", "uother", "ioctl", "map", "mapring",
		"touch", "ringpoke", "protect", "splice", "setsock", "epoll", "rw",
		NULL
	};

	return is_one_of(c, names);
}

/* Makes a call one that is done in series, if it is a cheap one. */
void prog_series(struct prog *p, __u32 *rng)
{
	unsigned int at = rnd(rng) % p->nr;
	struct call c = { .op = call_find("again", 5) };

	if (!is_cheap(&p->call[at]))
		return;
	c.a[0] = at && one_in(rng, 4) && is_cheap(&p->call[at - 1]) ? 2 : 1;
	/* A send that does something costs more. */
	c.a[1] = 4 + rnd(rng) % (p->call[at].op == call_find("send", 4) ? 8 : 60);
	c.a[2] = rnd(rng) % 65536;
	insert(p, at + 1, &c);
}

static void again(struct prog *all, const struct call *c)
{
	__u32 rng = c->a[2] * 2654435761U | 1;
	unsigned int i, nr, first;

	nr = c->a[0] < all->nr ? c->a[0] : all->nr;
	first = all->nr - nr;
	for (i = 0; i < nr * c->a[1] && all->nr < MAX_CALLS; i++) {
		struct call *new = &all->call[all->nr++];

		*new = all->call[first + i % nr];
		mutate_arg(new, &rng);
	}
}

void prog_expand(struct prog *all, const struct prog *p)
{
	unsigned int i;

	all->nr = 0;
	for (i = 0; i < p->nr && all->nr < MAX_CALLS; i++) {
		if (call_desc(p->call[i].op)->fn)
			all->call[all->nr++] = p->call[i];
		else
			again(all, &p->call[i]);
	}
}

void prog_mutate(struct prog *p, const struct prog *other, __u32 *rng)
{
	unsigned int nr = 1 + rnd(rng) % 5;

	while (nr--)
		mutate_once(p, other, rng);
}

int prog_encode(const struct prog *p, char *line, size_t size)
{
	size_t at = 0;
	unsigned int i, j, nr;

	for (i = 0; i < p->nr; i++) {
		const struct call *c = &p->call[i];

		at += snprintf(line + at, size - at, "%s%s%s", i ? ";" : "",
			       c->flags & CALL_ASYNC ? "&" : "",
			       call_desc(c->op)->name);
		if (c->fail)
			at += snprintf(line + at, size - at, "/%u", c->fail);
		nr = strlen(call_desc(c->op)->args);
		while (nr && !c->a[nr - 1])
			nr--;
		for (j = 0; j < nr; j++)
			at += snprintf(line + at, size - at, " %x", c->a[j]);
	}
	return at;
}

static const char *decode_call(struct call *c, const char *s)
{
	size_t len;
	unsigned int i;
	char *end;
	int op;

	memset(c, 0, sizeof(*c));
	if (*s == '&') {
		c->flags = CALL_ASYNC;
		s++;
	}
	len = strcspn(s, "/ ;\n");
	op = call_find(s, len);
	if (op < 0)
		return NULL;
	c->op = op;
	s += len;
	if (*s == '/') {
		c->fail = strtoul(s + 1, &end, 10);
		s = end;
	}
	for (i = 0; *s == ' '; i++) {
		if (!call_desc(op)->args[i])
			return NULL;
		c->a[i] = strtoul(s + 1, &end, 16);
		s = end;
	}
	return s;
}

bool prog_decode(struct prog *p, const char *line)
{
	p->nr = 0;
	for (;;) {
		if (p->nr == MAX_CALLS)
			return false;
		line = decode_call(&p->call[p->nr], line);
		if (!line)
			return false;
		p->nr++;
		if (*line != ';')
			return !*line || *line == '\n';
		line++;
	}
}
