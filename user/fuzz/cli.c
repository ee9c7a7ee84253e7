// SPDX-License-Identifier: GPL-2.0
/* The command line: one argument a line. Every call of the kernel fails. */

#include <string.h>

#include "fake.h"

#define ARGS_MAX	16

int fuzz_one(const uint8_t *data, size_t size)
{
	char line[1024], *rest = line, *argv[ARGS_MAX];
	int argc = 0;

	if (size >= sizeof(line))
		return 0;
	memcpy(line, data, size);
	line[size] = '\0';
	while (rest && argc < ARGS_MAX)
		argv[argc++] = strsep(&rest, "\n");
	fake_start(NULL, 0);
	fake_command(size ? argc : 0, argv);
	return 0;
}
