// SPDX-License-Identifier: GPL-2.0
/* fbuf compare --html: all rows of a report, and all that they have. */
#include <string.h>

#include "html.h"
#include "row.h"

#define SHORT	14	/* characters of a text that is not broken */

/* The columns that some row has, in the order that they come up in. */
static json_t *row_keys(const json_t *rows)
{
	json_t *keys = json_object(), *row;
	const char *key;
	json_t *val;
	size_t i;

	json_array_foreach(rows, i, row) {
		json_object_foreach(row, key, val) {
			if (!json_object_get(keys, key))
				json_object_set_new(keys, key, json_true());
		}
	}
	return keys;
}

/* All rows have the same of this. */
static bool is_common(const json_t *rows, const char *key)
{
	const json_t *first = json_array_get(rows, 0), *row;
	size_t i;

	if (!json_object_get(first, key))
		return false;
	json_array_foreach(rows, i, row) {
		if (!row_same(first, row, key))
			return false;
	}
	return i > 1;
}

/* That is said once, and is no column. */
static void put_caption(FILE *to, const json_t *rows, json_t *keys)
{
	const json_t *first = json_array_get(rows, 0);
	const char *key;
	void *next;
	json_t *val;

	fputs("<caption>", to);
	json_object_foreach_safe(keys, next, key, val) {
		if (!is_common(rows, key))
			continue;
		fputs("<span data-key=\"", to);
		html_text(to, key);
		fputs("\">", to);
		html_text(to, key);
		fputs(" <b>", to);
		html_value(to, json_object_get(first, key));
		fputs("</b></span> ", to);
		json_object_del(keys, key);
	}
	fputs("</caption>", to);
}

/* Names of keys may be broken where they have a line. */
static void put_head(FILE *to, const char *key)
{
	size_t len = strcspn(key, "_");
	char part[2] = "";

	fputs("<th scope=\"col\">", to);
	for (; *key; key++, len--) {
		part[0] = *key;
		html_text(to, part);
		if (!len) {
			fputs("<wbr>", to);
			len = strcspn(key + 1, "_") + 1;
		}
	}
	fputs("</th>", to);
}

static void put_cell(FILE *to, const json_t *val, const char *key)
{
	size_t len = json_string_length(val);

	fprintf(to, "<td%s data-head=\"", !len ? "" : len > SHORT ?
		" class=\"text long\"" : " class=\"text\"");
	html_text(to, key);
	fputs("\">", to);
	html_value(to, val);
	fputs("</td>", to);
}

static void put_table(FILE *to, const json_t *rows)
{
	json_t *keys = row_keys(rows), *row, *val;
	const char *key;
	size_t i;

	fputs("<table class=\"rows\">", to);
	put_caption(to, rows, keys);
	fputs("<thead><tr>", to);
	json_object_foreach(keys, key, val)
		put_head(to, key);
	fputs("</tr></thead><tbody>\n", to);
	json_array_foreach(rows, i, row) {
		fputs("<tr>", to);
		json_object_foreach(keys, key, val)
			put_cell(to, json_object_get(row, key), key);
		fputs("</tr>\n", to);
	}
	fputs("</tbody></table>\n", to);
	json_decref(keys);
}

/* In one place, measured in one way. */
static bool beside(const json_t *a, const json_t *b)
{
	static const char * const keys[] = {
		"kernel", "cpu", "cpus", "clock", "accelerator", "transport",
		"mode", "kind", "workload", "destination",
	};
	size_t i;

	for (i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		if (!row_same(a, b, keys[i]))
			return false;
	}
	return true;
}

/* The part that a row belongs to, made if there is none yet. */
static json_t *part_of(json_t *parts, const json_t *row)
{
	json_t *part;
	size_t i;

	json_array_foreach(parts, i, part) {
		if (beside(json_array_get(part, 0), row))
			return part;
	}
	part = json_array();
	json_array_append_new(parts, part);
	return part;
}

void html_rows(FILE *to, const json_t *rows)
{
	json_t *parts = json_array(), *part, *row;
	size_t i;

	json_array_foreach(rows, i, row)
		json_array_append(part_of(parts, row), row);
	json_array_foreach(parts, i, part)
		put_table(to, part);
	json_decref(parts);
}
