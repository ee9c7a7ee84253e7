// SPDX-License-Identifier: GPL-2.0
/*
 * For scripts: whether a file is JSON, as a parser sees it, and what is in it.
 *
 *   json FILE           fails unless it is one or more documents and nothing else
 *   json FILE PATH      and prints what is at PATH in the first, as "users.0.uid";
 *                       fails if nothing is
 *
 * A key twice in one object is no JSON that anybody could rely on.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* Numbers above 2^63 are JSON, if not to jansson; their digits are not looked at. */
#define FLAGS	(JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK)

static json_t *load(FILE *f)
{
	long start = ftell(f);
	json_error_t err;
	json_t *j;

	j = json_loadf(f, FLAGS, &err);
	if (!j && json_error_code(&err) == json_error_numeric_overflow) {
		fseek(f, start, SEEK_SET);
		j = json_loadf(f, FLAGS | JSON_DECODE_INT_AS_REAL, &err);
	}
	if (!j)
		fprintf(stderr, "json: line %d, column %d: %s\n", err.line,
			err.column, err.text);
	return j;
}

/* Whether only space is left. */
static int at_end(FILE *f)
{
	int c;

	while ((c = getc(f)) != EOF && isspace(c))
		;
	ungetc(c, f);
	return c == EOF;
}

static const json_t *find(const json_t *j, char *path)
{
	char *key;

	while (j && (key = strsep(&path, "."))) {
		if (json_is_array(j))
			j = json_array_get(j, strtoul(key, NULL, 10));
		else
			j = json_object_get(j, key);
	}
	return j;
}

/* A string as it is, without quotes. */
static int print(const json_t *j)
{
	int ret = j ? 0 : 1;

	if (json_is_string(j)) {
		puts(json_string_value(j));
	} else if (j) {
		ret = json_dumpf(j, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
		putchar('\n');
	}
	return ret ? 1 : 0;
}

int main(int argc, char **argv)
{
	json_t *first = NULL, *j;
	int ret = 1;
	FILE *f;

	f = argc > 1 ? fopen(argv[1], "re") : NULL;
	if (!f) {
		fprintf(stderr, "usage: json FILE [PATH]\n");
		return 2;
	}
	do {
		j = load(f);
		if (!j)
			goto out;
		if (first)
			json_decref(j);
		else
			first = j;
	} while (!at_end(f));
	ret = argc > 2 ? print(find(first, argv[2])) : 0;
out:
	json_decref(first);
	fclose(f);
	return ret;
}
