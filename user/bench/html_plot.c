// SPDX-License-Identifier: GPL-2.0
/* fbuf compare --html: a chart as a plot. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "html.h"
#include "plot.h"
#include "tool.h"

/* Ways that work alike share a colour; what begins with the longest name counts. */
static unsigned int colour(const char *method)
{
	static const char * const families[][4] = {
		{ "write", "read-write", "mmap-write", "writev" },
		{ "sendfile" },
		{ "splice", "vmsplice", "tee" },
		{ "msg-zerocopy" },
		{ "uring", "send-zc", "sendmsg-zc" },
		{ "direct" },
		{ "shm", "memory" },
	};
	unsigned int i, j, nr = sizeof(families) / sizeof(*families);

	if (!strcmp(method, "fbuf"))
		return nr + 1;
	if (!strncmp(method, "fbuf", 4))
		return nr + 2;
	for (i = 0; i < nr; i++) {
		for (j = 0; j < 4 && families[i][j]; j++) {
			if (!strncmp(method, families[i][j],
				     strlen(families[i][j])))
				return i + 1;
		}
	}
	return 0;
}

static void add_line(struct plot *p, const struct chart *c, unsigned int line)
{
	struct plot_line *l = &p->lines[p->nr_lines];
	unsigned int i, dash = 0, nr = 0;

	double *y = calloc(c->nr_xs, sizeof(*y));

	if (!y)
		return;
	*l = (struct plot_line){
		.name = c->methods[line], .colour = colour(c->methods[line]),
		.bold = (int)line == c->ours, .y = y,
	};
	for (i = 0; i < p->nr_lines; i++)
		dash += p->lines[i].colour == l->colour;
	l->dash = dash % 5 + 1;
	for (i = 0; i < c->nr_xs; i++) {
		y[i] = chart_cost(c, line, i);
		/* What it costs each of them tells more than what all do. */
		if (c->axis == BY_SOCKETS || c->axis == BY_CONSUMERS)
			y[i] /= c->xs[i];
		nr += !isnan(y[i]);
	}
	if (nr)
		p->nr_lines++;
	else
		free(y);
}

static bool draw(FILE *to, const struct chart *c, struct plot *p,
		 char names[][PLOT_NAME_MAX])
{
	bool *shaded = calloc(c->nr_xs, sizeof(*shaded));
	unsigned int i;
	bool ok = false;

	for (i = 0; i < c->nr_xs; i++) {
		p->x_names[i] = names[i];
		html_x(names[i], c, i);
		if (shaded)
			shaded[i] = chart_ratio(c, i) > 1;
	}
	for (i = 0; i < c->nr_methods; i++) {
		if ((int)i != c->ours)
			add_line(p, c, i);
	}
	if (c->ours >= 0)
		add_line(p, c, c->ours);
	p->shaded = shaded;
	if (shaded)
		ok = plot_draw(to, p, false) && plot_draw(to, p, true);
	free(shaded);
	return ok;
}

bool html_plot(FILE *to, const struct chart *c)
{
	static const char * const xlabels[] = {
		"bytes in a message", "sockets", "pieces", "consumers",
	};
	bool instr = html_instructions(c);
	char ylabel[64];
	struct plot p = {
		.title = "What each way to send costs: the table has the figures",
		.xlabel = xlabels[c->axis], .ylabel = ylabel,
		.xs = c->xs, .nr_xs = c->nr_xs, .shade_name = "fbuf loses",
		.lines = calloc(c->nr_methods, sizeof(*p.lines)),
		.x_names = calloc(c->nr_xs, sizeof(*p.x_names)),
		.y_name = instr ? html_count : html_time,
	};
	char (*names)[PLOT_NAME_MAX] = calloc(c->nr_xs, sizeof(*names));
	bool ok = false;

	snprintf(ylabel, sizeof(ylabel), "%s a %s, %s",
		 instr ? "instructions" : "time",
		 c->axis == BY_SOCKETS ? "socket" :
		 c->axis == BY_CONSUMERS ? "consumer" : "message",
		 html_figure(c));
	if (p.lines && p.x_names && names)
		ok = draw(to, c, &p, names);
	else
		tool_err("No memory.");
	while (p.lines && p.nr_lines)
		free(p.lines[--p.nr_lines].y);
	free(p.lines);
	free(p.x_names);
	free(names);
	return ok;
}
