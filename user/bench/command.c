// SPDX-License-Identifier: GPL-2.0
/* The command line of fbuf compare, to be told how to run it again. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "compare.h"

static bool is_plain(const char *word)
{
	if (!*word)
		return false;
	for (; *word; word++) {
		if (!isalnum((unsigned char)*word) &&
		    !strchr("-+=_,./:", *word))
			return false;
	}
	return true;
}

static void put_word(FILE *to, const char *word)
{
	if (is_plain(word)) {
		fputs(word, to);
		return;
	}
	fputc('\'', to);
	for (; *word; word++) {
		if (*word == '\'')
			fputs("'\\''", to);
		else
			fputc(*word, to);
	}
	fputc('\'', to);
}

void report_command(char buf[COMMAND_MAX], int argc, char **argv)
{
	static const char more[] = "...";
	FILE *to = fmemopen(buf, COMMAND_MAX - sizeof(more), "w");
	int i;

	memset(buf, 0, COMMAND_MAX);
	if (!to)
		return;
	fputs("fbuf compare", to);
	for (i = 1; i < argc; i++) {
		fputc(' ', to);
		put_word(to, argv[i]);
	}
	i = ferror(to);
	if (fclose(to) || i)
		strcat(buf, more);
}
