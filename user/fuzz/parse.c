// SPDX-License-Identifier: GPL-2.0
/* Numbers and names: what is taken is in range, and means what it says. */

#include <stdlib.h>
#include <string.h>

#include "../fbuf/nl.h"
#include "fake.h"

/* Again without the tool's own arithmetic. */
static void check_size(const char *text, uint64_t val)
{
	const char *unit = text + strspn(text, "0123456789abcdefABCDEFxX");
	unsigned int shift = 0;

	if (*unit && strchr("Kk", *unit))
		shift = 10;
	else if (*unit && strchr("Mm", *unit))
		shift = 20;
	else if (*unit && strchr("Gg", *unit))
		shift = 30;
	FAKE_CHECK(strtoull(text, NULL, 0) == val >> shift);
	FAKE_CHECK(!(val & ((1ULL << shift) - 1)));
}

static void parse(const char *text, uint64_t min, uint64_t max)
{
	char buf[FMT_BYTES_MAX], user[FMT_USER_MAX];
	unsigned int mask = 0;
	double seconds = 1;
	uint64_t val;

	if (tool_size("It", text, min, max, &val)) {
		FAKE_CHECK(val >= min && val <= max);
		check_size(text, val);
		fmt_bytes(buf, val);
		fmt_ms(buf, val);
		fmt_user(user, val);
	}
	if (tool_buf_size(text, &val))
		FAKE_CHECK(val >= 4096 && val <= FBUF_BUF_SIZE_MAX &&
			   !(val & (val - 1)));
	if (tool_nr_bufs(text, &val))
		FAKE_CHECK(val >= 1 && val <= UINT32_MAX);
	if (tool_pool_id(text, &val))
		FAKE_CHECK(val == strtoull(text, NULL, 10));
	if (tool_seconds(text, &seconds))
		FAKE_CHECK(seconds >= 0.01 && seconds <= 86400);
	if (tool_engines(text, &mask))
		FAKE_CHECK(mask && mask < 16);
	if (tool_port(text) && !text[strspn(text, "0123456789")])
		FAKE_CHECK(strtoull(text, NULL, 0) <= 65535);
	if (ctl_protection_flag(text, &mask))
		FAKE_CHECK(!strcmp(text, ctl_protection(mask)));
}

int fuzz_one(const uint8_t *data, size_t size)
{
	static FILE *null;
	uint64_t min, max;
	char *text;

	if (!null)
		null = fopen("/dev/null", "w");
	FAKE_CHECK(null);
	stderr = null;
	fake_start(data, size);
	min = fake_bytes(2);
	max = min + fake_bytes(1 + (min & 7));
	if (max < min)
		return 0;
	/* Just as long as it is, for the sanitizer to look next to it. */
	text = calloc(1, size + 1);
	FAKE_CHECK(text);
	text[fake_take(text, size)] = '\0';
	parse(text, min, max);
	free(text);
	return 0;
}
