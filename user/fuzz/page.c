// SPDX-License-Identifier: GPL-2.0
/* JSON: a report, made into a page. */

#include "../bench/html.h"
#include "fake.h"

int fuzz_one(const uint8_t *data, size_t size)
{
	json_t *report = json_loadb((const char *)data, size, 0, NULL);
	static FILE *null;

	if (!null)
		null = fopen("/dev/null", "w");
	FAKE_CHECK(null);
	fake_start(data, 0);
	/* What the tool sees to. */
	if (json_is_object(json_object_get(report, "conditions")) &&
	    json_is_array(json_object_get(report, "rows")))
		html_put(null, &report, 1);
	json_decref(report);
	return 0;
}
