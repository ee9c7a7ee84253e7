// SPDX-License-Identifier: GPL-2.0
/* Tables on standard output. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tool.h"

#define ROOM	64	/* cells at a time */
#define COLS_MAX	32	/* as many as t->left has bits */
#define GAP	2	/* between columns */

static void no_memory(void)
{
	tool_err("No memory.");
	exit(TOOL_FAIL);
}

void table_cell(struct tool_table *t, const char *fmt, ...)
{
	va_list ap;
	int ret;

	if (t->nr % ROOM == 0) {
		t->cells = realloc(t->cells,
				   (t->nr + ROOM) * sizeof(*t->cells));
		if (!t->cells)
			no_memory();
	}
	va_start(ap, fmt);
	ret = vasprintf(&t->cells[t->nr], fmt, ap);
	va_end(ap);
	if (ret < 0)
		no_memory();
	t->nr++;
}

void table_heads(struct tool_table *t, const char * const *heads)
{
	for (t->cols = 0; heads[t->cols]; t->cols++)
		table_cell(t, "%s", heads[t->cols]);
}

static int column_width(const struct tool_table *t, size_t col)
{
	size_t width = t->width, len;

	for (; col < t->nr; col += t->cols) {
		len = strlen(t->cells[col]);
		if (len > width)
			width = len;
	}
	return width;
}

unsigned int table_room(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return 80;
	return size.ws_col;
}

/* The columns that name the row. */
static unsigned int keys(const struct tool_table *t)
{
	return t->keys ? t->keys : 1;
}

/* How far the columns from this one on, after the keys, go in one line. */
static unsigned int block_end(const struct tool_table *t, const int *widths,
			      unsigned int from)
{
	int room = table_room() + GAP;
	unsigned int col;

	for (col = 0; col < keys(t) && col < from; col++)
		room -= widths[col] + GAP;
	for (col = from; col < t->cols; col++) {
		room -= widths[col] + GAP;
		if (room < 0 && col > from && col > keys(t))
			break;
	}
	return col;
}

static void print_cell(const struct tool_table *t, const char *cell,
		       unsigned int col, int width, bool last)
{
	if (!(t->left & (1U << col)))
		printf("%*s", width, cell);
	else if (!last)
		printf("%-*s", width, cell);
	else
		fputs(cell, stdout);
	fputs(last ? "\n" : "  ", stdout);
}

/* The keys, and the columns from one to before another; at most so many lines. */
static void print_block(const struct tool_table *t, const int *widths,
			unsigned int from, unsigned int end, size_t lines)
{
	unsigned int col;
	size_t i;

	for (i = 0; i < t->nr && lines--; i += t->cols) {
		for (col = 0; col < end; col++) {
			if (col < keys(t) || col >= from)
				print_cell(t, t->cells[i + col], col,
					   widths[col], col + 1 == end);
		}
	}
}

static unsigned int count_blocks(const struct tool_table *t, const int *widths)
{
	unsigned int col, nr = 0;

	for (col = 0; col < t->cols; col = block_end(t, widths, col))
		nr++;
	return nr;
}

void table_print(struct tool_table *t, size_t lines)
{
	unsigned int col, end, blocks;
	int widths[COLS_MAX] = { };
	size_t i, each;

	for (col = 0; col < t->cols; col++)
		widths[col] = column_width(t, col);
	blocks = count_blocks(t, widths);
	/* An empty line between two. */
	each = lines < blocks ? 0 : (lines - blocks + 1) / (blocks ? blocks : 1);
	for (col = 0; col < t->cols; col = end) {
		end = block_end(t, widths, col);
		if (col)
			putchar('\n');
		print_block(t, widths, col, end, each);
	}
	for (i = 0; i < t->nr; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	t->nr = 0;
}
