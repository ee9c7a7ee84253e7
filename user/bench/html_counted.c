// SPDX-License-Identifier: GPL-2.0
/* fbuf compare --html: what was counted, beside what is taught. */
#include <math.h>
#include <string.h>

#include "html.h"
#include "row.h"

/* A column: what was counted, and the name of what is taught of it. */
struct column {
	const char *head, *keys[2];	/* two: their sum */
	const char *taught;
	int digits;
};

static const struct column columns[] = {
	{ "bytes copied", { "cpu_copied" }, "cpu_copies", 2 },
	{ "by the receiver", { "cpu_copied_receive" }, NULL, 2 },
	{ "bytes by DMA", { "dma_in", "dma_out" }, "dma_copies", 2 },
	{ "calls", { "calls" }, "calls", 1 },
	{ "crossings", { "crossings" }, "crossings", 1 },
	{ "context switches", { "context_switches" }, NULL, 1 },
	{ "faults", { "faults" }, NULL, 1 },
	{ "frags", { "frags" }, NULL, 1 },
};

#define NR_COLUMNS	(sizeof(columns) / sizeof(*columns))

static double counted(const json_t *row, const struct column *c)
{
	double sum = row_num(row, c->keys[0]), more;

	if (!c->keys[1])
		return sum;
	more = row_num(row, c->keys[1]);
	return isnan(sum) ? more : isnan(more) ? sum : sum + more;
}

/* 3 rather than 3.0, but 1.00 where it is a share. */
static void put_number(FILE *to, double val, int digits)
{
	if (digits == 1 && fabs(val - round(val)) < 0.05)
		digits = 0;
	fprintf(to, "%.*f", digits, val);
}

static void put_cell(FILE *to, const json_t *row, const struct column *c)
{
	bool bus = !strcmp(c->keys[0], "dma_in");
	double val = counted(row, c), taught = NAN;
	bool differs;

	if (c->taught)
		taught = row_num(json_object_get(row, "taught"), c->taught);
	/* What is taught of it is from a disk to a network. */
	differs = fabs(val - taught) > (c->digits == 2 ? 0.015 : 0.05) &&
		  (!bus || (!strcmp(row_text(row, "destination"), "nic") &&
			    !strcmp(row_text(row, "source"), "disk")));
	fprintf(to, "<td class=\"%s\" data-head=\"%s\">", differs ? "differs" : "",
		c->head);
	if (isnan(val))
		fputs("\xe2\x80\x93", to);
	else
		put_number(to, val, c->digits);
	if (differs)
		fputs(" <i>\xe2\x89\xa0</i>", to);
	if (!isnan(taught))
		fprintf(to, " <small>taught %g</small>", taught);
	fputs("</td>", to);
}

/* Why it is not as taught, in whatever form it was said. */
static const json_t *why(const json_t *row)
{
	static const char * const keys[] = {
		"why", "reason", "reasons", "difference", "differences", "note",
	};
	const json_t *val;
	size_t i;

	for (i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		val = json_object_get(row, keys[i]);
		if (json_is_array(val) ? json_array_size(val) :
		    json_string_length(val))
			return val;
	}
	return NULL;
}

static void put_row(FILE *to, const json_t *row)
{
	bool ok = json_is_true(json_object_get(row, "verified"));
	const json_t *reason = why(row);
	size_t i;

	fprintf(to, "<tr%s><th scope=\"row\">",
		strncmp(row_text(row, "mechanism"), "fbuf", 4) ? "" :
		" class=\"ours\"");
	html_text(to, row_text(row, "mechanism"));
	fputs("</th><td class=\"text\" data-head=\"from\">", to);
	html_text(to, row_text(row, "source"));
	fputs("</td>", to);
	for (i = 0; i < NR_COLUMNS; i++)
		put_cell(to, row, &columns[i]);
	fprintf(to, "<td class=\"%s\" data-head=\"verified\">%s</td></tr>\n",
		ok ? "" : "lose", ok ? "yes" : "no");
	if (!reason)
		return;
	fprintf(to, "<tr class=\"why\"><td colspan=\"%zu\">", NR_COLUMNS + 3);
	html_value(to, reason);
	fputs("</td></tr>\n", to);
}

static bool beside(const json_t *a, const json_t *b)
{
	return !strcmp(row_text(a, "kernel"), row_text(b, "kernel")) &&
	       !strcmp(row_text(a, "destination"), row_text(b, "destination"));
}

static void put_table(FILE *to, const json_t *rows, const json_t *like)
{
	json_t *row;
	size_t i;

	fputs("<table class=\"counted\"><thead><tr>", to);
	fputs("<th scope=\"col\">mechanism</th><th scope=\"col\">from</th>", to);
	for (i = 0; i < NR_COLUMNS; i++)
		fprintf(to, "<th scope=\"col\">%s</th>", columns[i].head);
	fputs("<th scope=\"col\">verified</th></tr></thead><tbody>\n", to);
	json_array_foreach(rows, i, row) {
		if (*row_text(row, "mechanism") && beside(row, like))
			put_row(to, row);
	}
	fputs("</tbody></table>\n", to);
}

/* The newest of the kernels is shown at once. */
static const char *newest(const json_t *rows)
{
	const char *best = "", *kernel;
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		kernel = row_text(row, "kernel");
		if (*row_text(row, "mechanism") && strverscmp(kernel, best) > 0)
			best = kernel;
	}
	return best;
}

void html_counted(FILE *to, const json_t *rows)
{
	const char *kernel = newest(rows);
	json_t *row;
	size_t i, j;

	json_array_foreach(rows, i, row) {
		if (!*row_text(row, "mechanism"))
			continue;
		for (j = 0; j < i; j++) {
			const json_t *other = json_array_get(rows, j);

			if (*row_text(other, "mechanism") && beside(row, other))
				break;
		}
		if (j < i)
			continue;
		fprintf(to, "<details%s><summary>To <b>",
			strcmp(row_text(row, "kernel"), kernel) ? "" : " open");
		html_text(to, row_text(row, "destination"));
		fputs("</b>, Linux ", to);
		html_text(to, row_text(row, "kernel"));
		fputs("</summary>\n", to);
		put_table(to, rows, row);
		fputs("</details>\n", to);
	}
}

/* A table of texts: keys and their heads, up to a NULL. */
static void put_texts(FILE *to, const json_t *rows, const char * const *keys,
		      const char *what)
{
	json_t *row;
	size_t i, j;

	if (!json_array_size(rows))
		return;
	fprintf(to, "<h3>%s</h3>\n<table class=\"texts\"><thead><tr>", what);
	for (j = 0; keys[j]; j += 2)
		fprintf(to, "<th scope=\"col\">%s</th>", keys[j + 1]);
	fputs("</tr></thead><tbody>\n", to);
	json_array_foreach(rows, i, row) {
		fputs("<tr>", to);
		for (j = 0; keys[j]; j += 2) {
			fprintf(to, j ? "<td class=\"text\" data-head=\"%s\">" :
				"<th scope=\"row\">", keys[j + 1]);
			html_value(to, json_object_get(row, keys[j]));
			fputs(j ? "</td>" : "</th>", to);
		}
		fputs("</tr>\n", to);
	}
	fputs("</tbody></table>\n", to);
}

void html_hazards(FILE *to, const json_t *report)
{
	static const char * const hazards[] = {
		"mechanism", "mechanism", "hazard", "tried",
		"peer_saw", "the peer saw", "what", "what happened",
		"kernel", "Linux", NULL,
	};
	static const char * const refused[] = {
		"mechanism", "mechanism", "source", "from",
		"destination", "to", "note", "why", "kernel", "Linux", NULL,
	};

	put_texts(to, json_object_get(report, "hazards"), hazards,
		  "Hazards, tried");
	put_texts(to, json_object_get(report, "refused"), refused,
		  "What a kernel refuses");
}
