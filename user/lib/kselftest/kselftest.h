/* SPDX-License-Identifier: GPL-2.0 */
/* Of the kernel's header of this name, what selftests/common needs here. */
#ifndef FBUF_KSELFTEST_H
#define FBUF_KSELFTEST_H

#include <stdio.h>
#include <stdlib.h>

#define KSFT_PASS	0
#define KSFT_FAIL	1
#define KSFT_SKIP	4

static inline void ksft_print_header(void)
{
	puts("TAP version 13");
}

#define ksft_exit_skip(...)						\
	do {								\
		printf("1..0 # SKIP " __VA_ARGS__);			\
		exit(KSFT_SKIP);					\
	} while (0)

#endif /* FBUF_KSELFTEST_H */
