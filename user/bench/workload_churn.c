// SPDX-License-Identifier: GPL-2.0
/*
 * churn: take memory for a message, write every byte of it, send it and give the
 * memory back, as who makes a page for each request does. In lock step; all but
 * the receiving is in the send.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "workload.h"

#define SUFFIX	"-rewrite"

static unsigned int calls(const struct load_options *o, size_t size)
{
	unsigned int n = size <= 65536 ? 101 : 21;

	return o->repeats ? o->repeats : o->quick ? n / 4 * 2 + 1 : n;
}

static void measure(struct load_run *run, const struct method *m, size_t size)
{
	struct row row = {
		.method = m, .read = true, .size = size, .send = NAN,
		.total = NAN, .min = NAN, .max = NAN, .send_cpu = NAN,
		.copied = NAN,
	};
	char name[NOTE_MAX];
	struct load_row r = LOAD_ROW_INIT("churn", name);

	snprintf(name, sizeof(name), "%.*s",
		 (int)(strlen(m->name) - strlen(SUFFIX)), m->name);
	r.size = size;
	load_progress(&r);
	measure_lockstep(&row, calls(run->o, size));
	r.repeats = row.repeats;
	r.verified = row.verified;
	r.send = row.send;
	r.total = row.total;
	r.min = row.min;
	r.max = row.max;
	r.copied = row.copied;
	r.engine = row.engine;
	r.sndbuf = row.sndbuf;
	r.rcvbuf = row.rcvbuf;
	memcpy(r.note, row.note, sizeof(r.note));
	load_add(run, &r);
}

void workload_churn(struct load_run *run)
{
	static const uint64_t defaults[] = { 4096, 16384, 65536, 1048576 };
	const struct load_options *o = run->o;
	unsigned int nr = o->sizes.nr ?: ARRAY_SIZE(defaults);
	const uint64_t *sizes = o->sizes.nr ? o->sizes.v : defaults;
	const struct method *m;
	unsigned int i, j;

	for (i = 0; i < nr; i++) {
		for (j = 0; (m = method_get(j)); j++) {
			if (m->in & IN_CHURN)
				measure(run, m, sizes[i]);
		}
	}
}
