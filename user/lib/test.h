/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What tests share that need no module: a test fails by a CHECK() in it. */
#ifndef FBUF_TEST_H
#define FBUF_TEST_H

#include <stdbool.h>
#include <stdio.h>

/* Of the test that runs. */
static bool failed;

#define CHECK(cond)							\
	do {								\
		if (!(cond)) {						\
			printf("# line %d: %s\n", __LINE__, #cond);	\
			failed = true;					\
		}							\
	} while (0)

struct test {
	const char *name;
	void (*run)(void);
};

/* Runs them all, and tells in TAP; 1 if one failed. */
static inline int run_tests(const struct test *tests, unsigned int nr)
{
	unsigned int i;
	int ret = 0;

	setlinebuf(stdout);
	printf("TAP version 13\n1..%u\n", nr);
	for (i = 0; i < nr; i++) {
		failed = false;
		tests[i].run();
		printf("%sok %u %s\n", failed ? "not " : "", i + 1,
		       tests[i].name);
		ret |= failed;
	}
	return ret;
}

#endif /* FBUF_TEST_H */
