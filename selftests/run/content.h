/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is in an object: a function of its key, its version and the place, so that
 * whoever gets one can tell whether it is one whole version, and which.
 */
#ifndef CONTENT_H
#define CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTENT_MIN 16		/* bytes in an object, at least */

void content_fill(void *data, uint32_t key, uint32_t version, size_t len);

/* An object that comes in pieces. */
struct content_check {
	uint32_t key;
	uint32_t version;	/* known once 8 bytes are there */
	uint64_t seed;
	size_t pos;
	unsigned char head[8];	/* key and version, as they came */
	bool wrong;
	size_t wrong_at;
	uint64_t wrong_word;	/* the eight bytes around it, 0 if they are not known */
};

void content_start(struct content_check *check, uint32_t key);
void content_piece(struct content_check *check, const void *data, size_t len);
/* Says on standard error what was wrong: bytes of which version, if of any. */
void content_explain(const struct content_check *check, uint32_t newest);

#endif
