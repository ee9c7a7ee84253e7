/* SPDX-License-Identifier: GPL-2.0 */
/* Reports as a page: fbuf compare --html. */
#ifndef FBUF_HTML_H
#define FBUF_HTML_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#define HTML_ALSO_MAX	8U

/* A page that is to be written. */
struct html {
	const char *path;
	int fd;
	const char *also[HTML_ALSO_MAX];	/* more reports to be on it */
	unsigned int nr_also;
};

/*
 * One report more; and, before anything is measured, see that the page can be made.
 * Both say what is wrong.
 */
bool html_also(struct html *h, const char *path);
bool html_open(struct html *h);
/* Write the page; false after a message. */
bool html_write(struct html *h, json_t *report);
/* A page of these reports, which are changed; false after a message. */
bool html_put(FILE *to, json_t **reports, unsigned int nr);

struct chart;
struct charts;

/* The parts of the page. */

/* Text, which may be anything, into HTML. */
void html_text(FILE *to, const char *text);
/* A JSON value as text: lists with semicolons. */
void html_value(FILE *to, const json_t *val);
/* "64 KiB"; "8.67k"; "1.05 ms": at most PLOT_NAME_MAX bytes. */
const char *html_size(char *buf, double size);
void html_count(char *buf, double val);
void html_time(char *buf, double ns);
bool html_instructions(const struct chart *c);
/* "send side": what the figures are of. */
const char *html_figure(const struct chart *c);
/* The column's head: "64 KiB", or "16" sockets. */
const char *html_x(char *buf, const struct chart *c, unsigned int x);

/* "One message to one socket"; "Linux 6.12, CPU max". */
void html_title(FILE *to, const struct chart *c);
void html_place(FILE *to, const struct chart *c);

/* What the largest message costs, in a sentence without its full stop. */
void html_headline(FILE *to, const json_t *rows, const struct chart *c);
/* The figures that it stands on, and those of the other sizes. */
void html_lede(FILE *to, const struct chart *c);

void html_chart_table(FILE *to, const struct chart *c);
/* Where fbuf costs more than the best stock way. */
void html_losses(FILE *to, const struct charts *c);
/* What was counted, beside what is taught; rows with a mechanism. */
void html_counted(FILE *to, const json_t *rows);
/* What was tried of its hazards, and what was refused. */
void html_hazards(FILE *to, const json_t *report);
/* All of each row that there is. */
void html_rows(FILE *to, const json_t *rows);

bool html_plot(FILE *to, const struct chart *c);

#endif /* FBUF_HTML_H */
