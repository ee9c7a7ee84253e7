/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of "fbuf compare" share. */
#ifndef FBUF_COMPARE_H
#define FBUF_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include <jansson.h>

#include "flow.h"

/* One line of the result. Numbers that there are not are NAN. */
struct row {
	const struct method *method;
	bool stream;
	bool read;		/* the receiver reads, rather than drops */
	size_t size;
	unsigned int repeats;
	bool verified;
	double send, total, min, max;	/* ns a message */
	double send_cpu;		/* ns of the sender's CPU a message */
	double gbytes_per_s, cpu_s_per_gib;
	double copied;			/* bytes a message */
	double calls;			/* system calls a message */
	unsigned int engine;
	int sndbuf, rcvbuf;		/* bytes, as the kernel says */
	char note[NOTE_MAX];
};

/* Both leave the row with a note if it could not be measured. */
void measure_lockstep(struct row *r, unsigned int calls);
/* All rows take turns, so that a slow spell hits each of them. */
void measure_stream(struct row *rows, unsigned int nr, unsigned int repeats,
		    double seconds);

/*
 * The clock of --clock: nanoseconds (the default), tsc or instructions. To choose
 * says whether there is one of this name; to start, whether this machine has it.
 * Both are false after a message.
 */
bool clock_choose(const char *name);
bool clock_start(void);
/* Is a nanosecond of now_ns() an instruction? */
bool clock_is_instructions(void);
/* Nanoseconds that the cheapest system call takes. */
double clock_syscall(void);

/* Sorts. */
double median(double *v, unsigned int nr);

/* Where it is measured: {kernel, cpu, cpus, clock}. */
json_t *report_where(const char *cpu_label);
/* What was asked for, words as a shell takes them: too long, it ends in "...". */
#define COMMAND_MAX	512
void report_command(char buf[COMMAND_MAX], int argc, char **argv);
/* A row for the report. */
json_t *report_row(const struct row *r, const json_t *where);
/* Fill in ratio_to_sendfile in every row. */
void report_ratios(json_t *report);
/* Did data arrive changed, or was a row not measured? Then after a message. */
bool report_failed(const json_t *report);
/* The report of an earlier run, or NULL after a message. */
json_t *report_load(const char *path);
/* Print conditions, tables and losses. */
void report_print(const json_t *report);

/*
 * The file that a report is to be written to: opened before anything is measured,
 * and emptied only when there is something to write. Both say what went wrong;
 * -1, or false.
 */
int report_open(const char *path);
bool report_write(int fd, const char *path, const json_t *report, size_t flags);

#endif /* FBUF_COMPARE_H */
