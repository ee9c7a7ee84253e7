// SPDX-License-Identifier: GPL-2.0
/* fbuf compare --html: text and numbers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "html.h"
#include "plot.h"
#include "row.h"

void html_text(FILE *to, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", to);
			break;
		case '>':
			fputs("&gt;", to);
			break;
		case '&':
			fputs("&amp;", to);
			break;
		case '"':
			fputs("&quot;", to);
			break;
		default:
			/* Bytes that no page may have. */
			fputc((unsigned char)*text < ' ' &&
			      !strchr("\t\n", *text) ? '?' : *text, to);
		}
	}
}

/* Anything but a list. */
static void put_one(FILE *to, const json_t *val)
{
	char *dump;

	if (!val || json_is_null(val)) {
		fputs("\xe2\x80\x93", to);
	} else if (json_is_string(val)) {
		html_text(to, json_string_value(val));
	} else if (json_is_boolean(val)) {
		fputs(json_is_true(val) ? "yes" : "no", to);
	} else {
		dump = json_dumps(val, JSON_ENCODE_ANY | JSON_REAL_PRECISION(5));
		html_text(to, dump ? dump : "");
		free(dump);
	}
}

void html_value(FILE *to, const json_t *val)
{
	const json_t *one;
	size_t i;

	if (!json_is_array(val))
		put_one(to, val);
	json_array_foreach(val, i, one) {
		if (i)
			fputs("; ", to);
		put_one(to, one);
	}
}

const char *html_size(char *buf, double size)
{
	static const char * const units[] = { "B", "KiB", "MiB", "GiB" };
	unsigned int i = 0;

	while (i < 3 && size >= 1024 && fmod(size, 1024) == 0) {
		size /= 1024;
		i++;
	}
	snprintf(buf, PLOT_NAME_MAX, "%.10g %s", size, units[i]);
	return buf;
}

/* Three digits that count. */
static void scaled(char *buf, double val, double step, const char * const *units,
		   unsigned int nr)
{
	unsigned int i = 0;

	while (i + 1 < nr && val >= step * 0.9995) {
		val /= step;
		i++;
	}
	snprintf(buf, PLOT_NAME_MAX, "%.*f%s", !i || val >= 99.95 ||
		 val == floor(val) ? 0 : val >= 9.995 ? 1 : 2, val, units[i]);
}

void html_count(char *buf, double val)
{
	static const char * const units[] = { "", "k", "M", "G", "T" };

	scaled(buf, val, 1000, units, 5);
}

void html_time(char *buf, double ns)
{
	static const char * const units[] = { " ns", " \xc2\xb5s", " ms", " s" };

	scaled(buf, ns, 1000, units, 4);
}

bool html_instructions(const struct chart *c)
{
	return !strncmp(row_text(c->like, "clock"), "instructions", 12);
}

const char *html_figure(const struct chart *c)
{
	if (!strcmp(c->figure, "p99"))
		return "99 of 100 take less";
	if (chart_is_send(c))
		return "send side";
	return strcmp(row_text(c->like, "mode"), "stream") ?
	       "both sides" : "both sides running free";
}

const char *html_x(char *buf, const struct chart *c, unsigned int x)
{
	if (c->axis == BY_SIZE)
		return html_size(buf, c->xs[x]);
	snprintf(buf, PLOT_NAME_MAX, "%.10g", c->xs[x]);
	return buf;
}

/* What each is about, for who has not read the manual. */
static const char *about(const char *workload)
{
	static const char * const texts[][2] = {
		{ "log", ": batches are appended, and read by many" },
		{ "queue", ": a header and scattered messages, sent as one" },
		{ "churn", ": each message is made, sent and forgotten" },
		{ "pass", ": from process to process" },
		{ "tail", ": small requests while large messages go out" },
	};
	size_t i;

	for (i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		if (!strcmp(workload, texts[i][0]))
			return texts[i][1];
	}
	return "";
}

void html_title(FILE *to, const struct chart *c)
{
	const char *workload = row_text(c->like, "workload");
	double size = row_num(c->like, "size");
	char name[PLOT_NAME_MAX];

	switch (c->axis) {
	case BY_SOCKETS:
		fprintf(to, "%s to each of many sockets", html_size(name, size));
		break;
	case BY_PIECES:
		size /= row_num(c->like, "segments");
		fprintf(to, "A message of many pieces of %s",
			html_size(name, size));
		break;
	case BY_CONSUMERS:
		fputs("Workload ", to);
		html_text(to, workload);
		fprintf(to, ", %s%s", html_size(name, size), about(workload));
		break;
	default:
		fputs(*workload ? "Workload " : "One message to one socket", to);
		html_text(to, workload);
		fputs(about(workload), to);
	}
}

void html_place(FILE *to, const struct chart *c)
{
	static const char * const keys[] = {
		"cpu", "transport", "mode", "accelerator",
	};
	const char *receiver = row_text(c->like, "receiver");
	size_t i;

	fputs("Linux ", to);
	html_text(to, row_text(c->like, "kernel"));
	for (i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		const char *text = row_text(c->like, keys[i]);

		if (!*text)
			continue;
		fputs(i ? ", " : ", CPU ", to);
		html_text(to, text);
	}
	if (!strcmp(receiver, "read"))
		fputs(", the receiver reads", to);
	else if (*receiver)
		fputs(", the receiver drops", to);
}
