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

#endif /* FBUF_TEST_H */
