/* SPDX-License-Identifier: GPL-2.0 */
/* Rows of reports, in and out of JSON. */
#ifndef FBUF_ROW_H
#define FBUF_ROW_H

#include <jansson.h>

#include "tool.h"

/* A value of a row: "" or NAN if there is none of this kind. */
const char *row_text(const json_t *row, const char *key);
double row_num(const json_t *row, const char *key);
/* Have two rows the same value, or both none? */
bool row_same(const json_t *a, const json_t *b, const char *key);

/* A figure for a row, as it is or rounded to a whole number: null for NAN. */
json_t *row_real(double x);
json_t *row_whole(double x);

/* What all rows have in the end: bytes copied; an engine of fbuf, or 0; a note, or "". */
void row_outcome(json_t *row, double copied, unsigned int engine,
		 const char *note);

/* "64K", for the cell of a table; buf is returned. */
const char *row_size(char buf[FMT_BYTES_MAX], size_t size);

#endif /* FBUF_ROW_H */
