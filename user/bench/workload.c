// SPDX-License-Identifier: GPL-2.0
/* Workloads of "fbuf compare": which there are, and what they share. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "row.h"
#include "workload.h"

static const struct {
	const char *name;
	void (*run)(struct load_run *run);
} workloads[] = {
	{ "log", workload_log },
	{ "queue", workload_queue },
	{ "churn", workload_churn },
	{ "pass", workload_pass },
	{ "tail", workload_tail },
};

bool workload_parse(char *arg, unsigned int *mask)
{
	unsigned int i;
	char *p;

	*mask = 0;
	while ((p = strsep(&arg, ","))) {
		if (!strcmp(p, "all")) {
			*mask = (1U << ARRAY_SIZE(workloads)) - 1;
			continue;
		}
		for (i = 0; i < ARRAY_SIZE(workloads); i++) {
			if (!strcmp(p, workloads[i].name))
				break;
		}
		if (i == ARRAY_SIZE(workloads)) {
			tool_err("There is no workload \"%s\": take " WORKLOADS " or all.",
				 p);
			return false;
		}
		*mask |= 1U << i;
	}
	return true;
}

void workload_run(unsigned int mask, struct load_run *run)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(workloads); i++) {
		if (mask & (1U << i))
			workloads[i].run(run);
	}
}

void load_progress(const struct load_row *r)
{
	tool_progress("%s, %zu bytes: %s", r->workload, r->size, r->method);
}

static void load_note(struct load_row *r, const struct flow *f, int err)
{
	if (err == -EBADMSG)
		snprintf(r->note, NOTE_MAX, "the data arrived changed");
	else if (err == -EINPROGRESS)
		snprintf(r->note, NOTE_MAX,
			 "goes to a worker thread: not measurable in lock step");
	else if (err == -EMSGSIZE || err == -EAGAIN)
		snprintf(r->note, NOTE_MAX,
			 "would block: not measurable in lock step");
	else if (f->why[0])
		snprintf(r->note, NOTE_MAX, "%s", f->why);
	else
		snprintf(r->note, NOTE_MAX, "measuring: %s", strerror(-err));
}

void load_flow(struct load_row *r, const struct flow *f, int err)
{
	if (f->reported)
		r->copied = (double)f->copied / f->reported * f->size;
	r->engine = f->engine;
	r->sndbuf = f->sndbuf;
	r->rcvbuf = f->rcvbuf;
	if (err)
		load_note(r, f, err);
}

void load_times(struct load_row *r, double *send, double *total,
		unsigned int nr)
{
	r->send = median(send, nr);
	r->total = median(total, nr);
	r->min = total[0];
	r->max = total[nr - 1];
	r->repeats = nr;
	r->verified = true;
}

/* What all rows of a report have, and what only some workloads do. */
static json_t *row_json(const struct load_row *r, const json_t *where)
{
	json_t *j = json_copy((json_t *)where);

	json_object_set_new(j, "workload", json_string(r->workload));
	json_object_set_new(j, "mode", json_string(strcmp(r->workload, "tail") ?
						   "lockstep" : "stream"));
	json_object_set_new(j, "method", json_string(r->method));
	json_object_set_new(j, "receiver", json_string("read"));
	json_object_set_new(j, "size", json_integer(r->size));
	if (r->consumers)
		json_object_set_new(j, "consumers", json_integer(r->consumers));
	if (r->pieces)
		json_object_set_new(j, "pieces", json_integer(r->pieces));
	json_object_set_new(j, "send", row_whole(r->send));
	json_object_set_new(j, "total", row_whole(r->total));
	json_object_set_new(j, "min", row_whole(r->min));
	json_object_set_new(j, "max", row_whole(r->max));
	json_object_set_new(j, "repeats", json_integer(r->repeats));
	json_object_set_new(j, "verified", json_boolean(r->verified));
	if (!isnan(r->append))
		json_object_set_new(j, "append", row_whole(r->append));
	if (!isnan(r->p99)) {
		json_object_set_new(j, "p50", row_whole(r->p50));
		json_object_set_new(j, "p99", row_whole(r->p99));
		json_object_set_new(j, "p999", row_whole(r->p999));
		json_object_set_new(j, "large_per_s", row_whole(r->large));
	}
	row_outcome(j, r->copied, r->engine, r->note);
	return j;
}

void load_add(struct load_run *run, const struct load_row *r)
{
	json_array_append_new(run->rows, row_json(r, run->where));
	if (r->sndbuf)
		json_object_set_new(run->buffers, r->workload,
				    json_pack("{s:i, s:i}", "send", r->sndbuf,
					      "receive", r->rcvbuf));
}
