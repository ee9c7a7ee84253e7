// SPDX-License-Identifier: GPL-2.0
/* What is going on, in one line of a terminal that is written over. */

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "tool.h"

void tool_progress(const char *fmt, ...)
{
	va_list ap;

	if (!isatty(STDERR_FILENO))
		return;
	fputc('\r', stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("\033[K", stderr);
	fflush(stderr);
}

void tool_progress_end(void)
{
	tool_progress("%s", "");
}
