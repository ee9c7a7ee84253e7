/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of "fbuf bench" share. */
#ifndef FBUF_BENCH_H
#define FBUF_BENCH_H

#include "compare.h"

/* One line of the result. Numbers that there are not are NAN. */
struct bench_row {
	const struct method *method;
	unsigned int in;	/* IN_ONE, IN_FAN or IN_GATHER */
	size_t size;		/* of a message, all pieces */
	unsigned int sockets, segs;
	unsigned int repeats;
	bool verified;
	double send, total;	/* ns a message to all sockets, medians */
	double min, max;	/* of send */
	double copied;		/* bytes a message and socket */
	unsigned int engine;
	char note[NOTE_MAX];
};

/* In lock step, calls times; leaves a note if it cannot be measured. */
void bench_measure(struct bench_row *r, unsigned int calls);

#endif /* FBUF_BENCH_H */
