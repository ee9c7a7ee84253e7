// SPDX-License-Identifier: GPL-2.0
/* fbuf compare --html: reports as one page that needs nothing else. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chart.h"
#include "compare.h"
#include "html.h"
#include "plot.h"
#include "row.h"

/* From page.css. */
extern const char page_css[];

/* What the page is made from. */
struct page {
	json_t **reports;
	unsigned int nr_reports;
	json_t *rows;		/* of all reports */
	struct charts charts;
	const struct chart *main;	/* what the headline is about, or NULL */
};

static bool put_chart(FILE *to, const struct chart *c)
{
	char name[PLOT_NAME_MAX];
	unsigned int i, nr = 0;
	bool ok;

	fputs("<figure><figcaption><b>", to);
	html_title(to, c);
	fputs("</b> ", to);
	html_place(to, c);
	fputs(".", to);
	for (i = 0; i < c->nr_xs; i++) {
		if (!(chart_ratio(c, i) > 1))
			continue;
		fputs(nr++ ? ", " : " Shaded: fbuf costs more than the best stock way, at ",
		      to);
		fputs(html_x(name, c, i), to);
	}
	fputs(nr ? ".</figcaption>\n" : "</figcaption>\n", to);
	ok = html_plot(to, c);
	html_chart_table(to, c);
	fputs("</figure>\n", to);
	return ok;
}

static bool put_charts(FILE *to, const struct page *p)
{
	const struct chart *c;
	unsigned int i, others = 0;

	if (!p->main)
		return true;
	fputs("<section><h2>What a message costs</h2>\n", to);
	if (!put_chart(to, p->main))
		return false;
	for (i = 0; i < p->charts.nr; i++) {
		c = &p->charts.v[i];
		if (c == p->main)
			continue;
		if (!chart_beside(c, p->main))
			others++;
		else if (!put_chart(to, c))
			return false;
	}
	fputs("</section>\n", to);
	if (!others)
		return true;
	fputs("<section><h2>On other kernels, processors and transports; and running free</h2>\n",
	      to);
	for (i = 0; i < p->charts.nr; i++) {
		c = &p->charts.v[i];
		if (chart_beside(c, p->main))
			continue;
		fputs("<details><summary>", to);
		html_title(to, c);
		fputs(" <span>", to);
		html_place(to, c);
		fputs("</span></summary>\n", to);
		if (!put_chart(to, c))
			return false;
		fputs("</details>\n", to);
	}
	fputs("</section>\n", to);
	return true;
}

static void put_counted(FILE *to, const struct page *p)
{
	const json_t *row;
	size_t i;

	json_array_foreach(p->rows, i, row) {
		if (*row_text(row, "mechanism"))
			break;
	}
	if (i == json_array_size(p->rows))
		return;
	fputs("<section><h2>What is copied, counted</h2>\n<p>", to);
	fputs("For each byte of the message, or for each transfer; ", to);
	fputs("by probes in the kernel. Beside it stands what is ", to);
	fputs("commonly taught of the mechanism. Where the two differ, ", to);
	fputs("the figure is marked, and the line below says why.</p>\n", to);
	html_counted(to, p->rows);
	for (i = 0; i < p->nr_reports; i++)
		html_hazards(to, p->reports[i]);
	fputs("</section>\n", to);
}

static void put_conditions(FILE *to, const struct page *p)
{
	const char *key;
	unsigned int i;
	json_t *val;

	fputs("<section><h2>Conditions</h2>\n", to);
	for (i = 0; i < p->nr_reports; i++) {
		fputs("<dl>\n", to);
		json_object_foreach(json_object_get(p->reports[i], "conditions"),
				    key, val) {
			if (!strcmp(key, "command"))
				continue;
			fputs("<div><dt>", to);
			html_text(to, key);
			fputs("</dt><dd>", to);
			html_value(to, val);
			fputs("</dd></div>\n", to);
		}
		fputs("</dl>\n", to);
	}
	fputs("</section>\n", to);
}

/* A report that was put together of many has a list of them. */
static unsigned int put_commands(FILE *to, const json_t *val)
{
	unsigned int nr = 0;
	const json_t *one;
	size_t i;

	if (json_is_string(val)) {
		html_text(to, json_string_value(val));
		fputc('\n', to);
		return 1;
	}
	json_array_foreach(val, i, one) {
		html_value(to, one);
		fputc('\n', to);
		nr++;
	}
	return nr;
}

static void put_again(FILE *to, const struct page *p)
{
	const json_t *conditions;
	unsigned int i, nr = 0;

	fputs("<section><h2>To run it again</h2>\n<pre>", to);
	for (i = 0; i < p->nr_reports; i++) {
		conditions = json_object_get(p->reports[i], "conditions");
		nr += put_commands(to, json_object_get(conditions, "command"));
	}
	if (!nr)
		fputs("fbuf compare --html report.html\n", to);
	fputs("</pre>\n<p>In virtual machines that count instructions, ", to);
	fputs("from fbuf's source, with nothing installed:</p>\n", to);
	fputs("<pre>make demo</pre>\n</section>\n", to);
}

static void put_rows(FILE *to, const struct page *p)
{
	const json_t *rows;
	unsigned int i;

	fputs("<section><h2>Every row</h2>\n", to);
	for (i = 0; i < p->nr_reports; i++) {
		rows = json_object_get(p->reports[i], "rows");
		fprintf(to, "<details><summary>%zu rows</summary>\n",
			json_array_size(rows));
		html_rows(to, rows);
		fputs("</details>\n", to);
	}
	fputs("</section>\n", to);
}

static bool put_page(FILE *to, const struct page *p)
{
	bool ok;

	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head>\n", to);
	fputs("<meta charset=\"utf-8\">\n<meta name=\"viewport\" ", to);
	fputs("content=\"width=device-width, initial-scale=1\">\n", to);
	fputs("<meta name=\"color-scheme\" content=\"light dark\">\n", to);
	fputs("<title>", to);
	html_headline(to, p->rows, p->main);
	fprintf(to, "</title>\n<style>\n%s</style></head><body>\n", page_css);
	fputs("<header><p class=\"over\">fbuf compare</p>\n<h1>", to);
	html_headline(to, p->rows, p->main);
	fputs(".</h1>\n", to);
	if (p->main)
		html_lede(to, p->main);
	fputs("</header>\n<main>\n", to);
	put_counted(to, p);
	ok = put_charts(to, p);
	fputs("<section><h2>Where fbuf loses</h2>\n", to);
	html_losses(to, &p->charts);
	fputs("</section>\n", to);
	put_conditions(to, p);
	put_again(to, p);
	put_rows(to, p);
	fprintf(to, "</main>\n<footer>Made by fbuf %s.</footer>\n</body></html>\n",
		fbuf_version());
	return ok;
}

/* A row as a list, for which the report has the names, into an object. */
static void name_columns(json_t *report)
{
	const json_t *names = json_object_get(report, "columns"), *val;
	json_t *rows = json_object_get(report, "rows"), *row, *named;
	size_t i, j;

	json_array_foreach(rows, i, row) {
		if (!json_is_array(row))
			continue;
		named = json_object();
		json_array_foreach(row, j, val) {
			const char *name;

			name = json_string_value(json_array_get(names, j));
			if (name)
				json_object_set(named, name, (json_t *)val);
		}
		json_array_set_new(rows, i, named);
	}
}

/* What is the same in a whole report, and that charts go by. */
static void name_machine(json_t *report)
{
	static const char * const keys[] = {
		"kernel", "cpu", "clock", "transport", "accelerator",
	};
	json_t *rows = json_object_get(report, "rows"), *row, *val;
	size_t i, j;

	for (j = 0; j < sizeof(keys) / sizeof(*keys); j++) {
		val = json_object_get(json_object_get(report, "conditions"),
				      keys[j]);
		json_array_foreach(rows, i, row) {
			if (json_is_string(val) &&
			    json_object_get(row, "method") &&
			    !json_object_get(row, keys[j]))
				json_object_set(row, keys[j], val);
		}
	}
}

bool html_also(struct html *h, const char *path)
{
	if (h->nr_also == HTML_ALSO_MAX) {
		tool_err("A page takes up to %u reports more.", HTML_ALSO_MAX);
		return false;
	}
	h->also[h->nr_also++] = path;
	return true;
}

bool html_open(struct html *h)
{
	json_t *report;
	unsigned int i;

	if (!plot_ready())
		return false;
	for (i = 0; i < h->nr_also; i++) {
		report = report_load(h->also[i]);
		if (!report)
			return false;
		json_decref(report);
	}
	h->fd = report_open(h->path);
	return h->fd >= 0;
}

bool html_put(FILE *to, json_t **reports, unsigned int nr)
{
	struct page p = {
		.reports = reports, .nr_reports = nr, .rows = json_array(),
	};
	unsigned int i;
	bool ok;

	for (i = 0; i < nr; i++) {
		name_columns(reports[i]);
		name_machine(reports[i]);
		json_array_extend(p.rows, json_object_get(reports[i], "rows"));
	}
	charts_make(&p.charts, p.rows);
	p.main = charts_main(&p.charts);
	ok = put_page(to, &p);
	charts_free(&p.charts);
	json_decref(p.rows);
	return ok;
}

static bool write_page(struct html *h, json_t **reports, unsigned int nr)
{
	FILE *to = fdopen(h->fd, "w");
	bool ok, drawn = false;
	int err;

	ok = to && (!ftruncate(h->fd, 0) || errno == EINVAL);
	if (ok) {
		drawn = html_put(to, reports, nr);
		ok = !ferror(to);
	}
	err = errno;
	if ((to ? fclose(to) : close(h->fd)) && ok) {
		ok = false;
		err = errno;
	}
	if (!ok)
		tool_err("Cannot write %s: %s.", h->path, strerror(err));
	return ok && drawn;
}

bool html_write(struct html *h, json_t *report)
{
	json_t *reports[1 + HTML_ALSO_MAX];
	unsigned int nr = 0, i;
	bool ok;

	/* It is changed, and is the caller's. */
	reports[nr++] = json_deep_copy(report);
	for (i = 0; i < h->nr_also; i++) {
		reports[nr] = report_load(h->also[i]);
		if (reports[nr])
			nr++;
	}
	ok = write_page(h, reports, nr);
	for (i = 0; i < nr; i++)
		json_decref(reports[i]);
	return ok;
}
