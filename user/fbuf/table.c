// SPDX-License-Identifier: GPL-2.0
/* Tables on standard output. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define ROOM	64	/* cells at a time */

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

void table_print(struct tool_table *t, size_t lines)
{
	int widths[32];		/* as many as t->left has bits */
	unsigned int col;
	size_t i;

	for (col = 0; col < t->cols; col++)
		widths[col] = column_width(t, col);
	/* Where there are cells, there are columns. */
	/* NOLINTNEXTLINE(clang-analyzer-core.DivideZero) */
	for (i = 0; i < t->nr && i / t->cols < lines; i++) {
		col = i % t->cols;
		if (!(t->left & (1U << col)))
			printf("%*s", widths[col], t->cells[i]);
		else if (col + 1 < t->cols)
			printf("%-*s", widths[col], t->cells[i]);
		else
			fputs(t->cells[i], stdout);
		fputs(col + 1 < t->cols ? "  " : "\n", stdout);
	}
	for (i = 0; i < t->nr; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	t->nr = 0;
}
