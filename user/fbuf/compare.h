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

#include "tool.h"

#define NOTE_MAX	128	/* bytes of a text that says why */

struct lane;

/*
 * A way to send. send() sends bytes off .. off + len - 1 of the lane's source,
 * all in the message at lane.at, and returns how many were taken, or a negative
 * errno value; while lane.wait is false it must not sleep and returns -EAGAIN
 * instead. The other functions may be NULL.
 */
struct method {
	const char *name;
	bool reads;		/* also measured with a receiver that reads */
	bool file;		/* the message is in a file, not in memory */
	bool memory;		/* init() makes lane.mem */
	unsigned int calls;	/* system calls in a send() */
	int (*init)(struct lane *l);
	ssize_t (*send)(struct lane *l, size_t off, size_t len);
	void (*reap)(struct lane *l);	/* take the notices that are there */
	void (*fini)(struct lane *l);
};

/* Where the files are: a directory, or NULL for memfds. */
extern const char *file_dir;
/* Bytes that the messages of a lane go round in, or 0: one message. */
extern size_t source_size;
extern const struct method methods[];
extern const unsigned int nr_methods;

/* A method with its message, and a TCP connection over loopback. */
struct lane {
	const struct method *method;
	size_t size;		/* bytes in a message */
	size_t stride;		/* from one message in the source to the next */
	size_t source;		/* bytes in the source: strides */
	size_t at;		/* where the next message starts */
	bool wait;		/* sends may sleep */
	bool punted;		/* the kernel gave a send to a worker thread */
	int tx, rx;
	int file;		/* the source if method->file, else -1 */
	uint8_t *mem;		/* the source, or room for a message of the file */
	uint8_t *sink;		/* where the receiver reads to */
	void *priv;		/* of the method */
	unsigned int engine;	/* of fbuf: the one that ran last */
	double calls;		/* system calls, in lockstep */
	double reported;	/* bytes whose fate the kernel told, */
	double copied;		/* and those of them that it copied */
	char why[NOTE_MAX];	/* what could not be done, if anything */
};

#define SINK_SIZE	((size_t)1 << 20)

/* Connect, fill the source and start the method; why says what failed. */
int lane_open(struct lane *l, const struct method *m, size_t size, bool wait);
void lane_close(struct lane *l);
/* Note what failed; returns err. */
int lane_fail(struct lane *l, int err, const char *what);
/* Write a new message at l->at, and add it to a hash if there is one. */
int lane_fill(struct lane *l, uint64_t seed, struct tool_sha *sha);

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
	char note[NOTE_MAX];
};

/* Both leave the row with a note if it could not be measured. */
void measure_lockstep(struct row *r, unsigned int calls);
/* All rows take turns, so that a slow spell hits each of them. */
void measure_stream(struct row *rows, unsigned int nr, unsigned int repeats,
		    double seconds);

uint64_t now_ns(void);
/* Have now_ns() count with the processor, not the kernel; false if it cannot. */
bool clock_tsc(void);
/* Nanoseconds that the cheapest system call takes. */
double clock_syscall(void);

/* Sorts. */
double median(double *v, unsigned int nr);

/* Where it is measured: {kernel, cpu, cpus, clock}. */
json_t *report_where(const char *cpu_label, bool instructions);
/* A row for the report. */
json_t *report_row(const struct row *r, const json_t *where);
/* Fill in ratio_to_sendfile in every row. */
void report_ratios(json_t *report);
/* Did data arrive changed, or could a row that should work not be measured? */
bool report_failed(const json_t *report);
/* Print conditions, tables and losses. */
void report_print(const json_t *report);

#endif /* FBUF_COMPARE_H */
