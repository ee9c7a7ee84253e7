/* SPDX-License-Identifier: GPL-2.0 */
/* Plots with logarithmic axes, as SVG to be put into a page; gnuplot draws them. */
#ifndef FBUF_PLOT_H
#define FBUF_PLOT_H

#include <stdbool.h>
#include <stdio.h>

/*
 * Colours are numbers: the page's style sheet says, as --plot-N, what they look
 * like, by day and by night.
 */
enum plot_colour {
	PLOT_INK = 200, PLOT_GRID, PLOT_SHADE, PLOT_SHADE_INK,
};

struct plot_line {
	const char *name;	/* written at its end */
	double *y;		/* for each x; NAN: none */
	unsigned int colour;
	unsigned int dash;	/* 1: none; 2 to 5 */
	bool bold;
};

struct plot {
	const char *title;	/* for who cannot see it */
	const char *xlabel, *ylabel;
	const double *xs;	/* ascending, above 0 */
	char **x_names;		/* what is written there */
	const bool *shaded;	/* whether the region around it is */
	unsigned int nr_xs;
	const char *shade_name;	/* written into shaded regions */
	struct plot_line *lines;	/* the last one on top */
	unsigned int nr_lines;
	/* What is written at a value of y; at most PLOT_NAME_MAX bytes. */
	void (*y_name)(char *buf, double y);
};

#define PLOT_NAME_MAX	32

/* Is gnuplot there? If not, false after a message. */
bool plot_ready(void);
/* For a screen, or for a narrow one; false after a message. */
bool plot_draw(FILE *to, const struct plot *p, bool narrow);

#endif /* FBUF_PLOT_H */
