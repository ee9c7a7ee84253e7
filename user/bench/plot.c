// SPDX-License-Identifier: GPL-2.0
/*
 * Plots: gnuplot gets a script on its standard input, and its SVG is made ready to
 * be one of many in a page.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plot.h"
#include "tool.h"

/* In pixels. */
struct layout {
	int width, height, font;
	int left, right, top, bottom;	/* margins; right: without the names */
	unsigned int name_max;		/* characters of a name that are shown */
};

#define TO_NAME	18	/* from the end of the plot to that of a leader */

static const struct layout wide = {
	.width = 1000, .height = 540, .font = 14,
	.left = 64, .right = 28, .top = 34, .bottom = 58, .name_max = 20,
};

static const struct layout narrow_one = {
	.width = 366, .height = 500, .font = 12,
	.left = 52, .right = 26, .top = 30, .bottom = 50, .name_max = 16,
};

/* A line's name, and where it is. */
struct label {
	unsigned int line;
	double x, y;		/* the line's last point */
	double at;		/* of the height of the plot, from below */
};

/* Names come from input. Nothing that gnuplot could take for its own. */
static void put_name(FILE *to, const char *name, unsigned int max)
{
	unsigned int i;

	fputc('\'', to);
	for (i = 0; i < max && name[i]; i++)
		fputc(isalnum((unsigned char)name[i]) ||
		      strchr(" +-._/", name[i]) ? name[i] : '?', to);
	fputc('\'', to);
}

/* Each number has a colour that no other has; rewrite() finds them. */
static void put_colour(FILE *to, unsigned int colour)
{
	fprintf(to, "rgb '#0000%02x'", colour & 0xff);
}

static double plot_height(const struct layout *l)
{
	return l->height - l->top - l->bottom;
}

/* With room for the longest name, by what letters take on average. */
static struct layout make_layout(const struct plot *p, bool narrow)
{
	struct layout l = narrow ? narrow_one : wide;
	size_t len, longest = 0;
	unsigned int i;

	for (i = 0; i < p->nr_lines; i++) {
		len = strnlen(p->lines[i].name, l.name_max);
		if (len > longest)
			longest = len;
	}
	l.right += longest * l.font * 0.64;
	return l;
}

/* What there is to see, and not so near that noise looks like mountains. */
static bool y_range(const struct plot *p, double *low, double *high)
{
	unsigned int i, j;
	double mid;

	*low = INFINITY;
	*high = 0;
	for (i = 0; i < p->nr_lines; i++) {
		for (j = 0; j < p->nr_xs; j++) {
			*low = fmin(*low, p->lines[i].y[j]);
			*high = fmax(*high, p->lines[i].y[j]);
		}
	}
	if (!(*high > 0) || *high > 1e18 || *low * 1e6 < 1)
		return false;
	*low /= 1.3;
	*high *= 1.3;
	if (*high / *low < 4) {
		mid = sqrt(*low * *high);
		*low = mid / 2;
		*high = mid * 2;
	}
	return true;
}

static void put_y_ticks(FILE *to, const struct plot *p, double low, double high)
{
	static const int steps[] = { 1, 2, 5 };
	/* Where decades alone are few, numbers between them too. */
	unsigned int nr = high / low < 2000 ? 3 : 1, i;
	char name[PLOT_NAME_MAX];
	const char *sep = "";
	int decade;
	double y;

	fputs("set ytics scale 0 (", to);
	for (decade = floor(log10(low)); decade <= log10(high); decade++) {
		for (i = 0; i < nr; i++) {
			y = pow(10, decade) * steps[i];
			if (y < low || y > high)
				continue;
			p->y_name(name, y);
			fprintf(to, "%s'%s' %.6g", sep, name, y);
			sep = ", ";
		}
	}
	fputs(")\n", to);
}

/* As many names as there is room for. */
static void put_x_ticks(FILE *to, const struct plot *p, const struct layout *l)
{
	unsigned int room = (l->width - l->left - l->right) / (l->font * 4);
	unsigned int step = (p->nr_xs + room - 1) / room, i;
	const char *sep = "";

	fputs("set xtics scale 0.5 (", to);
	for (i = 0; i < p->nr_xs; i++) {
		fputs(sep, to);
		if ((p->nr_xs - 1 - i) % step)
			fputs("''", to);
		else
			put_name(to, p->x_names[i], PLOT_NAME_MAX);
		fprintf(to, " %.17g", p->xs[i]);
		sep = ", ";
	}
	fputs(")\n", to);
}

/* Half way to the neighbour, as the axis goes; or to the end of the axis. */
static double between(const struct plot *p, unsigned int i, bool after,
		      double end)
{
	unsigned int other = after ? i + 1 : i - 1;

	return (after ? i + 1 == p->nr_xs : !i) ? end :
	       sqrt(p->xs[i] * p->xs[other]);
}

static void put_shades(FILE *to, const struct plot *p, const struct layout *l,
		       double first, double last)
{
	double pixels = (l->width - l->left - l->right) / log(last / first);
	unsigned int i, nr = 0;
	double from, end;
	const char *at;

	for (i = 0; i < p->nr_xs; i++) {
		if (!p->shaded[i])
			continue;
		from = between(p, i, false, first);
		while (i + 1 < p->nr_xs && p->shaded[i + 1])
			i++;
		end = between(p, i, true, last);
		fprintf(to, "set object %u rectangle from first %.17g, graph 0 ",
			++nr, from);
		fprintf(to, "to first %.17g, graph 1 behind fs solid 1 noborder fc ",
			end);
		put_colour(to, PLOT_SHADE);
		/* Upright, where it would be too wide. */
		if (log(end / from) * pixels < l->font * 6)
			at = "graph 0.98 right rotate by 90";
		else
			at = "graph 0.965 center";
		fprintf(to, "\nset label '%s' at first %.17g, %s tc ",
			p->shade_name, sqrt(from * end), at);
		put_colour(to, PLOT_SHADE_INK);
		fputc('\n', to);
	}
}

static int by_height(const void *a, const void *b)
{
	double x = ((const struct label *)a)->at;
	double y = ((const struct label *)b)->at;

	return (x > y) - (x < y);
}

/*
 * Sorted labels, moved apart by as little as can be: those that touch become a
 * block, which is where they want to be on average.
 */
static void spread(struct label *v, unsigned int nr, double gap)
{
	unsigned int i, j, start;
	double want;

	for (i = 0; i < nr; i++) {
		start = i;
		want = v[i].at;
		/* The block before is of equal distances, and ends at i - 1. */
		while (start && v[start - 1].at + gap > want) {
			for (j = start - 1; j && v[j].at - v[j - 1].at < gap * 1.001;
			     j--)
				;
			want = ((start - j) * v[j].at + (i + 1 - start) *
				(want - (start - j) * gap)) / (i + 1 - j);
			start = j;
		}
		for (j = start; j <= i; j++)
			v[j].at = want + (j - start) * gap;
	}
	/* Inside of the plot, all of them. */
	for (i = nr; i--; )
		v[i].at = fmin(v[i].at, i + 1 < nr ? v[i + 1].at - gap : 1);
	for (i = 0; i < nr; i++)
		v[i].at = fmax(v[i].at, i ? v[i - 1].at + gap : 0);
}

static unsigned int make_labels(struct label *v, const struct plot *p,
				const struct layout *l, double low, double high)
{
	unsigned int i, j, nr = 0;
	double gap = l->font * 1.15 / plot_height(l);

	for (i = 0; i < p->nr_lines; i++) {
		for (j = p->nr_xs; j && isnan(p->lines[i].y[j - 1]); j--)
			;
		if (!j)
			continue;
		v[nr].line = i;
		v[nr].x = p->xs[j - 1];
		v[nr].y = p->lines[i].y[j - 1];
		v[nr].at = log(v[nr].y / low) / log(high / low);
		nr++;
	}
	qsort(v, nr, sizeof(*v), by_height);
	spread(v, nr, nr > 1 ? fmin(gap, 1.0 / (nr - 1)) : gap);
	return nr;
}

static void put_labels(FILE *to, const struct plot *p, const struct layout *l,
		       double low, double high)
{
	double wide_graph = l->width - l->left - l->right;
	struct label *v = calloc(p->nr_lines + 1, sizeof(*v));
	unsigned int i, nr;

	if (!v)
		return;
	nr = make_labels(v, p, l, low, high);
	for (i = 0; i < nr; i++) {
		const struct plot_line *line = &p->lines[v[i].line];

		fprintf(to, "set arrow from first %.17g, %.17g to graph %g, %g nohead lw 0.7 lc ",
			v[i].x, v[i].y, 1 + TO_NAME / wide_graph, v[i].at);
		put_colour(to, line->colour);
		fputs("\nset label ", to);
		put_name(to, line->name, l->name_max);
		fprintf(to, " at graph %g, %g %s tc ", 1 + (TO_NAME + 4) / wide_graph,
			v[i].at, line->bold ? "font 'sans-serif bold'" : "");
		put_colour(to, line->colour);
		fputc('\n', to);
	}
	free(v);
}

static void put_lines(FILE *to, const struct plot *p)
{
	unsigned int i, j;

	for (i = 0; i < p->nr_lines; i++) {
		fprintf(to, "$d%u << END\n", i);
		for (j = 0; j < p->nr_xs; j++) {
			if (!isnan(p->lines[i].y[j]))
				fprintf(to, "%.17g %.17g\n", p->xs[j],
					p->lines[i].y[j]);
		}
		fputs("END\n", to);
	}
	for (i = 0; i < p->nr_lines; i++) {
		const struct plot_line *line = &p->lines[i];

		fprintf(to, "%s $d%u using 1:2 with linespoints pt 7 ps %s lw %s dt %u lc ",
			i ? "," : "plot", i, line->bold ? "0.7" : "0.4",
			line->bold ? "3" : "1.3", line->dash);
		put_colour(to, line->colour);
		fputs(" title ", to);
		put_name(to, line->name, PLOT_NAME_MAX);
	}
	fputc('\n', to);
}

static bool put_script(FILE *to, const struct plot *p, const struct layout *l)
{
	double first = p->xs[0], last = p->xs[p->nr_xs - 1], low, high, pad;

	if (!y_range(p, &low, &high))
		return false;
	pad = first == last ? 2 : pow(last / first, 0.03);
	first /= pad;
	last *= pad;
	fputs("set encoding utf8\nset terminal svg dynamic noenhanced ", to);
	fprintf(to, "size %d,%d font 'sans-serif,%d'\n", l->width, l->height,
		l->font);
	fprintf(to, "set lmargin at screen %g\nset rmargin at screen %g\n",
		(double)l->left / l->width, 1 - (double)l->right / l->width);
	fprintf(to, "set tmargin at screen %g\nset bmargin at screen %g\n",
		1 - (double)l->top / l->height, (double)l->bottom / l->height);
	fputs("unset key\nset logscale xy\nset border 1 lc ", to);
	put_colour(to, PLOT_GRID);
	fputs("\nset grid ytics lw 0.7 lt 1 lc ", to);
	put_colour(to, PLOT_GRID);
	fprintf(to, "\nset xrange [%.17g:%.17g]\nset yrange [%.17g:%.17g]\n",
		first, last, low, high);
	put_y_ticks(to, p, low, high);
	put_x_ticks(to, p, l);
	fputs("set tics nomirror textcolor ", to);
	put_colour(to, PLOT_INK);
	fprintf(to, "\nset label '%s' at graph 0.5, screen %g center tc ",
		p->xlabel, l->font * 0.9 / l->height);
	put_colour(to, PLOT_INK);
	fprintf(to, "\nset label '%s' at screen 0.004, screen %g tc ",
		p->ylabel, 1 - l->font * 0.8 / l->height);
	put_colour(to, PLOT_INK);
	fputc('\n', to);
	put_shades(to, p, l, first, last);
	put_labels(to, p, l, low, high);
	put_lines(to, p);
	return true;
}

/* Files that are open on nothing but this; its output, or NULL after a message. */
static FILE *run_gnuplot(FILE *script)
{
	char *const argv[] = { "gnuplot", "-d", "-", NULL };
	posix_spawn_file_actions_t files;
	FILE *out = tmpfile();
	int err, status;
	pid_t pid;

	if (!out || fflush(script)) {
		tool_err("Cannot write a temporary file: %s.", strerror(errno));
		if (out)
			fclose(out);
		return NULL;
	}
	rewind(script);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, fileno(script), STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, fileno(out), STDOUT_FILENO);
	err = posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	if (!err && waitpid(pid, &status, 0) == pid && !status) {
		rewind(out);
		return out;
	}
	tool_err(err ? "Cannot run gnuplot: %s." : "gnuplot failed.",
		 strerror(err));
	fclose(out);
	return NULL;
}

/* What is in a file, with a NUL. */
static char *slurp(FILE *f)
{
	size_t len = 0, room = 0;
	char *text = NULL;
	ssize_t n;

	n = getdelim(&text, &room, '\0', f);
	len = n > 0 ? n : 0;
	if (!len) {
		free(text);
		return NULL;
	}
	return text;
}

/* "rgb(  0,   0, N)", of whatever spacing; how long it is, or 0. */
static int indexed_colour(const char *s, unsigned int *colour)
{
	int len = 0;

	return sscanf(s, "rgb( 0, 0, %u)%n", colour, &len) == 1 ? len : 0;
}

/*
 * Into a page: colours by the style sheet, and names that no other plot has. What
 * the page has no use for, all before the drawing, is left out.
 */
static bool rewrite(FILE *to, const char *svg, const struct plot *p,
		    const struct layout *l, bool narrow)
{
	static unsigned int nr;
	const char *at = strstr(svg, "<g id=\"gnuplot_canvas\">");
	unsigned int colour;
	int len;

	if (!at) {
		tool_err("This is not what gnuplot draws as a rule.");
		return false;
	}
	nr++;
	fprintf(to, "<svg class=\"plot %s\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"",
		narrow ? "narrow" : "wide", l->width, l->height);
	for (len = 0; p->title[len]; len++)
		fputc(strchr("<>&\"", p->title[len]) ? ' ' : p->title[len], to);
	fputs("\">", to);
	while (*at) {
		len = indexed_colour(at, &colour);
		if (len) {
			fprintf(to, "var(--plot-%u)", colour);
		} else if (!strncmp(at, " id='", 5) || !strncmp(at, " id=\"", 5)) {
			len = 5;
			fprintf(to, "%.5sp%u-", at, nr);
		} else if (!strncmp(at, "href='#", 7)) {
			len = 7;
			fprintf(to, "%.7sp%u-", at, nr);
		} else {
			/* Indents are a good part of it. */
			len = 1;
			if (*at != '\t')
				fputc(*at, to);
		}
		at += len;
	}
	return true;
}

bool plot_draw(FILE *to, const struct plot *p, bool narrow)
{
	struct layout l = make_layout(p, narrow);
	FILE *script = tmpfile(), *out = NULL;
	char *svg = NULL;
	bool ok = false;

	if (!script)
		tool_err("Cannot write a temporary file: %s.", strerror(errno));
	else if (!put_script(script, p, &l))
		ok = true;	/* nothing to see */
	else
		out = run_gnuplot(script);
	if (out) {
		svg = slurp(out);
		ok = rewrite(to, svg ? svg : "", p, &l, narrow);
		free(svg);
		fclose(out);
	}
	if (script)
		fclose(script);
	return ok;
}

bool plot_ready(void)
{
	const char *path = getenv("PATH");
	char *dirs = strdup(path ? path : ""), *rest = dirs, *dir, *name;
	bool found = false;

	while (dirs && !found && (dir = strsep(&rest, ":"))) {
		if (asprintf(&name, "%s/gnuplot", *dir ? dir : ".") < 0)
			break;
		found = !access(name, X_OK);
		free(name);
	}
	free(dirs);
	if (!found)
		tool_err("gnuplot draws the plots of --html, and is not here: on Debian it is in gnuplot-nox.");
	return found;
}
