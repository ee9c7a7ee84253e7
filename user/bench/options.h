/* SPDX-License-Identifier: GPL-2.0 */
/* The options that all commands have that measure. */
#ifndef FBUF_OPTIONS_H
#define FBUF_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "flow.h"

#define LIST_MAX	16

/* Numbers, from "1K,4K". */
struct list {
	uint64_t v[LIST_MAX];
	unsigned int nr;
};

struct measure_options {
	uint64_t repeats;	/* or 0: the default */
	const char *out;	/* a file for the JSON, or NULL */
	const char *cpu_label;	/* or NULL */
};

enum { OPT_CLOCK = 256, OPT_CPU_LABEL, OPT_OWN };

/* For getopt_long(): all of their letters, and lines for the table. */
#define MEASURE_SHORTS	"r:o:jh"
#define LONG_REPEATS	{ "repeats", required_argument, NULL, 'r' }
#define LONG_OUT	{ "out", required_argument, NULL, 'o' }
#define LONG_CLOCK	{ "clock", required_argument, NULL, OPT_CLOCK }
#define LONG_CPU_LABEL	{ "cpu-label", required_argument, NULL, OPT_CPU_LABEL }

/* Take one of these; false, after a message, if it makes no sense. */
bool measure_option(struct measure_options *o, int c);

/* False, after a message that says what, if the text is no such list. */
bool parse_list(struct list *list, const char *what, char *arg, uint64_t max);

/* The name of one of IN_*. */
const char *kind_name(unsigned int in);
/* What methods are measured in one of @in, and in which. */
void print_methods(unsigned int in);
/* Mark those that are named, of the methods that are measured in one of @in. */
bool parse_methods(bool use[METHODS_MAX], unsigned int in, char *arg,
		   const char *command);

#endif /* FBUF_OPTIONS_H */
