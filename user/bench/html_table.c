// SPDX-License-Identifier: GPL-2.0
/* fbuf compare --html: tables. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "html.h"
#include "plot.h"
#include "row.h"
#include "tool.h"

/* On narrow screens the head of its column goes in front of a cell. */
static void cell_open(FILE *to, const char *class, const char *head)
{
	fprintf(to, "<td class=\"%s\" data-head=\"", class);
	html_text(to, head);
	fputs("\">", to);
}

static void head(FILE *to, const char *text)
{
	fputs("<th scope=\"col\">", to);
	html_text(to, text);
	fputs("</th>", to);
}

static void row_head(FILE *to, const char *text)
{
	fputs("<tr><th scope=\"row\">", to);
	html_text(to, text);
	fputs("</th>", to);
}

static void chart_cell(FILE *to, const struct chart *c, unsigned int line,
		       unsigned int x)
{
	int best = chart_best(c, line, x);
	double cost = chart_cost(c, line, x), ratio = NAN;
	char name[PLOT_NAME_MAX], val[PLOT_NAME_MAX] = "";
	bool ours = (int)line == c->ours;

	if (best >= 0)
		ratio = cost / chart_cost(c, best, x);
	cell_open(to, (int)line == best ? "best" : !ours || isnan(ratio) ? "" :
		  ratio > 1 ? "lose" : "win", html_x(name, c, x));
	if (isnan(cost)) {
		fputs(chart_row(c, line, x) ? "<i>see the notes</i>" :
					      "\xe2\x80\x93", to);
	} else {
		(html_instructions(c) ? html_count : html_time)(val, cost);
		fprintf(to, "%s", val);
		if (!isnan(ratio))
			fprintf(to, " <small>&times;%.2f</small>", ratio);
	}
	fputs("</td>", to);
}

/* Every note once, with where it applies. */
static void chart_notes(FILE *to, const struct chart *c)
{
	unsigned int i, j, nr = 0;
	char name[PLOT_NAME_MAX];
	const char *note, *last;

	for (i = 0; i < c->nr_methods; i++) {
		for (last = "", j = 0; j < c->nr_xs; j++) {
			note = row_text(chart_row(c, i, j), "note");
			if (!*note)
				continue;
			if (strcmp(note, last)) {
				fputs(nr++ ? "</li><li>" :
				      "<ul class=\"notes\"><li>", to);
				html_text(to, c->methods[i]);
				fputs(": ", to);
				html_text(to, note);
				fputs(" \xe2\x80\x93 ", to);
			} else {
				fputs(", ", to);
			}
			fputs(html_x(name, c, j), to);
			last = note;
		}
	}
	if (nr)
		fputs("</li></ul>", to);
}

void html_chart_table(FILE *to, const struct chart *c)
{
	unsigned int i, j;
	char name[PLOT_NAME_MAX];

	fputs("<table class=\"chart\"><thead><tr>", to);
	head(to, "way");
	for (j = 0; j < c->nr_xs; j++)
		head(to, html_x(name, c, j));
	fputs("</tr></thead><tbody>\n", to);
	for (i = 0; i < c->nr_methods; i++) {
		row_head(to, c->methods[i]);
		for (j = 0; j < c->nr_xs; j++)
			chart_cell(to, c, i, j);
		fputs("</tr>\n", to);
	}
	fprintf(to, "</tbody></table>\n<p class=\"key\">%s%s, %s. ",
		html_instructions(c) ? "Instructions" : "Time",
		c->axis == BY_SOCKETS ? " a message to all sockets" :
		c->axis == BY_CONSUMERS ? " for all consumers" : " a message",
		html_figure(c));
	fputs("&times;: times the best stock way that does the same, in bold.", to);
	fputs("</p>\n", to);
	chart_notes(to, c);
}

/* Where it loses in one chart; nothing if it does not. */
static void loss(FILE *to, const struct chart *c)
{
	unsigned int i, nr = 0;
	char name[PLOT_NAME_MAX];

	for (i = 0; i < c->nr_xs; i++) {
		if (!(chart_ratio(c, i) > 1))
			continue;
		if (nr++) {
			fputs("<br>", to);
		} else {
			fputs("<tr><th scope=\"row\">", to);
			html_title(to, c);
			fputs("<small>", to);
			html_place(to, c);
			fputs("</small></th>", to);
			cell_open(to, "lose", "loses");
		}
		fprintf(to, "%s: %.3f of ", html_x(name, c, i),
			chart_ratio(c, i));
		html_text(to, c->methods[chart_rival(c, i)]);
	}
	if (nr)
		fputs("</td></tr>\n", to);
}

void html_losses(FILE *to, const struct charts *c)
{
	unsigned int i, j, lost = 0, all = 0;

	for (i = 0; i < c->nr; i++) {
		for (j = 0; j < c->v[i].nr_xs && !chart_noise(&c->v[i]); j++) {
			lost += chart_ratio(&c->v[i], j) > 1;
			all += !isnan(chart_ratio(&c->v[i], j));
		}
	}
	if (!all) {
		fputs("<p>fbuf was not measured.</p>\n", to);
		return;
	}
	fprintf(to, "<p>Of %u comparisons with the best stock way, fbuf loses ",
		all);
	fprintf(to, "<strong>%u</strong>. What an emulated machine does when it ",
		lost);
	fputs("runs free is noise, and does not count.</p>\n", to);
	if (!lost)
		return;
	fputs("<table class=\"losses\"><thead><tr>", to);
	head(to, "message");
	head(to, "costs more");
	fputs("</tr></thead><tbody>\n", to);
	for (i = 0; i < c->nr; i++) {
		if (!chart_noise(&c->v[i]))
			loss(to, &c->v[i]);
	}
	fputs("</tbody></table>\n", to);
}
