// SPDX-License-Identifier: GPL-2.0
/* JSON: a report of an earlier run, read again. */

#include "fake.h"

static char *command[] = { "compare", "--from", "report.json" };

int fuzz_one(const uint8_t *data, size_t size)
{
	fake_start(data, size);
	fake_command(3, command);
	return 0;
}
