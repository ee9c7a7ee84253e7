// SPDX-License-Identifier: GPL-2.0
/* The options that all commands have that measure. */
#include <string.h>

#include "compare.h"
#include "options.h"

bool measure_option(struct measure_options *o, int c)
{
	switch (c) {
	case 'r':
		return tool_size("The number of repetitions", optarg, 1,
				 1000000, &o->repeats);
	case 'o':
		o->out = optarg;
		return true;
	case OPT_CLOCK:
		return clock_choose(optarg);
	case OPT_CPU_LABEL:
		o->cpu_label = optarg;
		return true;
	case 'j':
		tool_json = true;
		return true;
	}
	return false;
}

bool parse_list(struct list *list, const char *what, char *arg, uint64_t max)
{
	char *p;

	list->nr = 0;
	while ((p = strsep(&arg, ","))) {
		if (list->nr == LIST_MAX) {
			tool_err("A list has up to %d numbers.", LIST_MAX);
			return false;
		}
		if (!tool_size(what, p, 1, max, &list->v[list->nr++]))
			return false;
	}
	return true;
}

const char *kind_name(unsigned int in)
{
	switch (in) {
	case IN_COMPARE:
		return "compare";
	case IN_ONE:
		return "one";
	case IN_FAN:
		return "fan";
	default:
		return "gather";
	}
}

void print_methods(unsigned int in)
{
	const struct method *m;
	unsigned int i, kind;

	for (i = 0; (m = method_get(i)); i++) {
		if (!(m->in & in))
			continue;
		fputs(m->name, stdout);
		/* In which, if there is a choice. */
		for (kind = 1; in & (in - 1) && kind <= in; kind <<= 1) {
			if (m->in & in & kind)
				printf(" %s", kind_name(kind));
		}
		putchar('\n');
	}
}

bool parse_methods(bool use[METHODS_MAX], unsigned int in, char *arg,
		   const char *command)
{
	const struct method *m;
	unsigned int i;
	char *p;

	memset(use, 0, METHODS_MAX * sizeof(*use));
	while ((p = strsep(&arg, ","))) {
		for (i = 0; (m = method_get(i)); i++) {
			if (m->in & in && !strcmp(p, m->name))
				break;
		}
		if (!m) {
			tool_err("There is no method \"%s\": \"fbuf %s --methods help\" lists them.",
				 p, command);
			return false;
		}
		use[i] = true;
	}
	return true;
}
