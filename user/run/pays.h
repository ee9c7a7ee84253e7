/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Does it pay to send without a copy? */
#ifndef RUN_PAYS_H
#define RUN_PAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What kinds of sends are told apart, besides by their sizes. */
enum pays_kind {
	PAYS_TCP,
	PAYS_TLS,
	NR_PAYS_KINDS
};

struct pays_class;

/* What protecting so many bytes costs, as bytes copied; 0 is not known. */
void pays_price(size_t bytes, size_t cost);

/* Of sends of so many bytes of the pool. */
struct pays_class *pays_class(size_t bytes, enum pays_kind kind);
/* Shall this one go without a copy? Any thread; also in a signal handler. */
bool pays_try(struct pays_class *c);
/* What it came to. */
void pays_add(struct pays_class *c, size_t bytes, uint32_t protects,
	      uint32_t snapshots);
/* It waited in vain: not again so soon. */
void pays_lost(struct pays_class *c);

#endif /* RUN_PAYS_H */
