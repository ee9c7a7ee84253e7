/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of "fbuf compare --count" share. */
#ifndef FBUF_COUNT_H
#define FBUF_COUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "flow.h"

/* count_text.c: where the running kernel calls a function, and its types. */

struct count_sites {
	uint64_t *addrs;
	size_t nr;
};

/*
 * The functions of @names that this kernel has, and every call of one from
 * outside of all of them. On failure a negative errno, after a message.
 */
struct count_text;
int text_open(struct count_text **text, const char * const *names,
	      unsigned int nr);
void text_close(struct count_text *text);
/* The address of _stext. */
uint64_t text_start(const struct count_text *text);
/* Is the function there under its name, and where is it called? */
bool text_has(const struct count_text *text, unsigned int i);
const struct count_sites *text_sites(const struct count_text *text,
				     unsigned int i);
/* The offset of a member by the kernel's BTF, or -1. */
int btf_offset(const char *type, const char *member);
/* The value of a name of an enum, or -1. */
int btf_value(const char *type, const char *name);

/* count_probe.c: the probes. */

enum count_who { COUNT_SEND, COUNT_RECEIVE, COUNT_OTHER, COUNT_WHO };

/* What was seen between probes_clear() and probes_read(). */
struct counted {
	double copied[COUNT_WHO];	/* bytes */
	double heads;			/* bytes copied of packets' heads */
	double encrypted, decrypted;	/* bytes that a cipher went over */
	double dma_in, dma_out;		/* bytes */
	double calls, user_faults, frags;
	/* Of what was copied for the sender or in softirq, the most: */
	const char *copier;
	double copier_bytes;
};

/*
 * All probes are in a tracefs instance, and events of a group, named after this
 * process: when it ends, however, a child of it takes them away. False after a
 * message.
 */
bool probes_open(void);
void probes_close(void);
void probes_clear(void);
/* What the tasks tx and rx did, and the kernel in softirq. */
bool probes_read(pid_t tx, pid_t rx, struct counted *c);
/* Each function, with how it is probed, or why it is not. */
json_t *probes_json(void);
/* Run by the same child at the end: a command of sh(1). */
void probes_at_end(const char *command);

/* count_judge.c: what the figures say. */

struct taught {
	double cpu_copies, dma_copies, calls, crossings;	/* or NAN */
};

#define WHY_MAX		6	/* sentences on a row */
#define WHY_LEN		160

/* One line of the table; each figure is for one transfer. */
struct count_row {
	const char *mechanism, *source, *destination;
	size_t size;
	struct counted seen;
	double crossings, faults;
	double waits, preempted;	/* context switches */
	bool measured, verified;
	bool refused;			/* the kernel does not do this */
	struct taught taught;
	char note[NOTE_MAX];		/* why it could not be measured */
	char why[WHY_MAX][WHY_LEN];
	unsigned int nr_why;
};

/* For each difference between what is measured and what is taught, why. */
void judge_row(struct count_row *r);

/* What the self-check measured, in bytes for each byte. */
struct count_check {
	const char *name;
	double send, receive, other;
	double want_send, want_receive, want_other;
	double slack;
	const char *copier;	/* the function that copied most, or NULL */
};

bool check_is_right(const struct count_check *c);
/* False after a message for each that is not as it must be. */
bool judge_checks(const struct count_check *checks, unsigned int nr);

/* count_methods.c: the rows, and how a transfer of one is counted. */

enum count_destination { TO_LOOPBACK, TO_VETH, TO_KTLS, TO_NIC, NR_TO };

extern const char * const count_destinations[NR_TO];

struct count_def {
	const char *mechanism;
	const char *method;	/* if not of the same name; or else */
	const struct method *own;
	bool disk;
	unsigned int to;	/* mask of destinations */
	bool no_sg;
	int (*prepare)(struct flow *f);	/* before each transfer */
	int (*finish)(struct flow *f);	/* a part of each transfer */
	struct taught taught;
};

const struct count_def *count_def_get(unsigned int i);
/* Or NULL if there is none of that name. */
const struct method *def_method(const struct count_def *def);

struct count_options {
	size_t size;
	unsigned int transfers;
	const char *disk;	/* a folder on a disk, or NULL */
	const char *nic_addr, *nic_tx, *nic_rx;	/* the NIC bed, or NULL */
};

#define COUNT_WARM_UP	3	/* transfers that are not counted */

void count_row(const struct count_def *def, enum count_destination to,
	       const struct count_options *o, struct count_row *r);
/* See that the probes miss nothing; false after a message. */
bool count_self_check(json_t *list);

/* count_hazard.c: what becomes of data that are changed in flight. */
json_t *count_hazards(const char *methods, bool *failed);

/* count.c */
/* Is it one of the words of a list, with commas between them? */
bool count_listed(const char *list, const char *word);
int cmd_count(int argc, char **argv);

#endif /* FBUF_COUNT_H */
