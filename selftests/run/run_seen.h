/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What "fbuf run" says of this process, for tests that run plain as well: then
 * nothing is seen, and nothing is expected.
 */
#ifndef FBUF_TEST_RUN_SEEN_H
#define FBUF_TEST_RUN_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

/* What a socket takes though nobody reads; from the pool, unless this is plain. */
#define UNREAD		(192UL << 10)

/* What the compiler is not to know of. */
void *hidden(void *p);
/* From here on malloc() gives memory of the pool, if there is to be one. */
void begin(void);
/* Memory of malloc() with a pattern; or NULL. */
__u8 *filled(size_t size, unsigned int seed);
/* What realloc() gives; it frees p if there is no memory, for no test goes on then. */
void *resized(void *p, size_t size);
/* Reads so many bytes, which are a stretch of a pattern. */
bool comes(int fd, unsigned int seed, size_t pos, size_t len);

struct seen {
	unsigned long long bytes;	/* sent without a copy */
	unsigned long long calls;	/* by so many */
	unsigned long long copied;	/* of the pool */
	unsigned long long crowded;	/* of these, as others keep too much */
};

/* Runs this under "fbuf run --stats=FILE", and not where nothing can be gained? */
bool seen_any(void);
/* What it sent until now. */
struct seen seen_now(void);
/* Bytes without a copy since; all that anybody wants if this runs plain. */
unsigned long long seen_since(const struct seen *was);
/* The fds that are fbuf's, of which the program knows nothing; how many. */
int seen_fds(int *fds, int max);

#endif /* FBUF_TEST_RUN_SEEN_H */
