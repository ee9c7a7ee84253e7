// SPDX-License-Identifier: GPL-2.0
/* fbuf compare --html: what comes of it, in words. */
#include <math.h>
#include <string.h>

#include "chart.h"
#include "html.h"
#include "plot.h"
#include "row.h"

/* "over loopback", or nothing. */
static void put_over(FILE *to, const json_t *row)
{
	const char *by = row_text(row, "transport");

	if (!*by)
		return;
	fputs(" over ", to);
	html_text(to, by + (strncmp(by, "tcp ", 4) ? 0 : 4));
}

/* The row of what was counted of this very thing, if it was. */
static const json_t *counted(const json_t *rows, const json_t *like)
{
	const char *by = row_text(like, "transport");
	const json_t *row;
	size_t i;

	if (!strncmp(by, "tcp ", 4))
		by += 4;
	json_array_foreach(rows, i, row) {
		if (!strcmp(row_text(row, "mechanism"), "fbuf") &&
		    !strcmp(row_text(row, "source"), "memory") &&
		    !strcmp(row_text(row, "destination"), by) &&
		    !strcmp(row_text(row, "kernel"), row_text(like, "kernel")))
			return row;
	}
	return NULL;
}

static void put_copied(FILE *to, const json_t *rows, const json_t *row)
{
	double size = row_num(row, "size"), copied = row_num(row, "copied");
	const json_t *count = counted(rows, row);

	if (count && !isnan(row_num(count, "cpu_copied")))
		copied = row_num(count, "cpu_copied") * size;
	if (isnan(copied))
		return;
	if (copied < size / 200)
		fputs("; nothing copied", to);
	else
		fprintf(to, "; %.2f of it copied", copied / size);
}

/* The column of the largest message that has a ratio, or -1. */
static int headline_x(const struct chart *c)
{
	int i;

	for (i = c ? (int)c->nr_xs - 1 : -1; i >= 0; i--) {
		if (!isnan(chart_ratio(c, i)))
			break;
	}
	return i;
}

static void put_stock_headline(FILE *to, const struct chart *c)
{
	char size[PLOT_NAME_MAX];
	int i, best = -1;

	for (i = c ? (int)c->nr_xs - 1 : -1; i >= 0; i--) {
		best = chart_best(c, 0, i);
		if (best >= 0)
			break;
	}
	if (i < 0) {
		fputs("What each way to send costs", to);
		return;
	}
	html_text(to, c->methods[best]);
	fprintf(to, " sends %s", html_size(size, c->xs[i]));
	put_over(to, c->like);
	fputs(" cheapest of the stock ways; fbuf was not measured", to);
}

void html_headline(FILE *to, const json_t *rows, const struct chart *c)
{
	char size[PLOT_NAME_MAX];
	int x = headline_x(c);

	if (x < 0) {
		put_stock_headline(to, c);
		return;
	}
	fprintf(to, "Sending %s", html_size(size, c->xs[x]));
	put_over(to, c->like);
	fprintf(to, " costs %.2f of the best stock way", chart_ratio(c, x));
	put_copied(to, rows, chart_row(c, c->ours, x));
}

static void put_tiles(FILE *to, const struct chart *c)
{
	char size[PLOT_NAME_MAX];
	unsigned int i;
	double ratio;

	fputs("<h2 class=\"over\">fbuf, as a share of the best stock way for ", to);
	fputs("each size</h2>\n<ul class=\"tiles\">\n", to);
	for (i = 0; i < c->nr_xs; i++) {
		ratio = chart_ratio(c, i);
		if (isnan(ratio))
			continue;
		fprintf(to, "<li class=\"%s\"><span>%s</span><b>%.2f</b><small>%s",
			ratio > 1 ? "lose" : "win", html_size(size, c->xs[i]),
			ratio, ratio > 1 ? "loses to " : "of ");
		html_text(to, c->methods[chart_rival(c, i)]);
		fputs("</small></li>\n", to);
	}
	fputs("</ul>\n", to);
}

void html_lede(FILE *to, const struct chart *c)
{
	void (*fmt)(char *buf, double val) = html_instructions(c) ?
					     html_count : html_time;
	int x = headline_x(c), best = x < 0 ? -1 : chart_rival(c, x);
	char ours[PLOT_NAME_MAX], theirs[PLOT_NAME_MAX];

	if (best < 0)
		return;
	fmt(ours, chart_cost(c, c->ours, x));
	fmt(theirs, chart_cost(c, best, x));
	fprintf(to, "<p class=\"lede\">%s%s, %s; the best stock way, ", ours,
		html_instructions(c) ? " instructions" : "", html_figure(c));
	html_text(to, c->methods[best]);
	fprintf(to, ", takes %s.</p>\n<p class=\"over\">", theirs);
	html_place(to, c);
	fputs(".</p>\n", to);
	put_tiles(to, c);
}
