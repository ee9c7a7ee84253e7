/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What protection costs on this machine. */
#ifndef RUN_PRICE_H
#define RUN_PRICE_H

#include <stddef.h>

/* Bytes that are measured; so many of the pool must be there. */
#define PRICE_BYTES	65536U

/*
 * For so many bytes of the pool at p, which are zero, and stay so: how many bytes
 * could be copied, at the cost of protecting them and of the faults when they are
 * written again. 0 if it cannot be measured.
 */
size_t price_of_protection(void *p, int pool, size_t at);

#endif /* RUN_PRICE_H */
