/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FBUF_SOAK_RECEIVE_H
#define FBUF_SOAK_RECEIVE_H

#include "soak.h"

/* Says where bytes are not those of the stream from @pos on, and fails. */
__attribute__((noreturn))
void content_mismatch(const struct lane *l, const char *mech, __u64 pos,
		      const __u8 *got, size_t len);

/* Does errno say that nothing was received so far over @path? */
bool nothing_yet(enum path path);

#endif /* FBUF_SOAK_RECEIVE_H */
