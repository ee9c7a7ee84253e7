// SPDX-License-Identifier: GPL-2.0
/* Without a fuzzer: a target's inputs, each in a file, once more. */

#include <stdio.h>
#include <stdlib.h>

#include "fake.h"

static void replay(const char *path)
{
	FILE *f = fopen(path, "re");
	long size = -1;
	uint8_t *data;

	if (f && !fseek(f, 0, SEEK_END))
		size = ftell(f);
	FAKE_CHECK(size >= 0);
	rewind(f);
	data = malloc(size ? size : 1);
	FAKE_CHECK(data && fread(data, 1, size, f) == (size_t)size);
	fclose(f);
	fuzz_one(data, size);
	free(data);
}

int main(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		replay(argv[i]);
	return 0;
}
