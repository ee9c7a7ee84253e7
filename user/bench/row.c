// SPDX-License-Identifier: GPL-2.0
/* Rows of reports, in and out of JSON. */
#include <math.h>
#include <stdio.h>

#include "row.h"

const char *row_text(const json_t *row, const char *key)
{
	const char *s = json_string_value(json_object_get(row, key));

	return s ? s : "";
}

double row_num(const json_t *row, const char *key)
{
	const json_t *v = json_object_get(row, key);

	return json_is_number(v) ? json_number_value(v) : NAN;
}

bool row_same(const json_t *a, const json_t *b, const char *key)
{
	const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);

	return x == y || json_equal(x, y);
}

json_t *row_real(double x)
{
	return isnan(x) ? json_null() : json_real(x);
}

json_t *row_whole(double x)
{
	return isnan(x) ? json_null() : json_integer((json_int_t)(x + 0.5));
}

void row_outcome(json_t *row, double copied, unsigned int engine,
		 const char *note)
{
	json_object_set_new(row, "copied", row_whole(copied));
	if (engine)
		json_object_set_new(row, "engine",
				    json_string(fbuf_engine_name(engine)));
	if (*note)
		json_object_set_new(row, "note", json_string(note));
}

const char *row_size(char buf[FMT_BYTES_MAX], size_t size)
{
	if (size % 1024)
		snprintf(buf, FMT_BYTES_MAX, "%zu", size);
	else if (size % (1 << 20))
		snprintf(buf, FMT_BYTES_MAX, "%zuK", size >> 10);
	else
		snprintf(buf, FMT_BYTES_MAX, "%zuM", size >> 20);
	return buf;
}
