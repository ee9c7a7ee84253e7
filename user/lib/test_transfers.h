/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transfers of every kind, each of many offsets and lengths, with a module or
 * without: those that the JDK tries.
 */
#ifndef FBUF_TEST_TRANSFERS_H
#define FBUF_TEST_TRANSFERS_H

#include <stddef.h>

#include <fbuf/channel.h>

/* Offsets, and lengths: 0 to 9, all near a power of two up to 16 KiB, and 32767. */
#define TRANSFERS_SIZES		44U

/* Kinds are numbered from 0 on. */
unsigned int transfers_nr_kinds(void);
const char *transfers_name(unsigned int kind);

/*
 * Try those of a kind: every step-th pair of offset and length. closed is what
 * channel_closed is to be. Returns NULL, or what was wrong with the first that
 * was; and how many were tried.
 */
const char *transfers_try(unsigned int kind, struct fbuf_heap *heap,
			  unsigned int closed, unsigned int step,
			  unsigned int *tried);

/* Connected, over the loopback interface; fd[0] is to be written to. */
int transfers_tcp(int fd[2]);
/* The same with little room, and neither end blocks. */
int transfers_tcp_small(int fd[2]);
int transfers_unix(int fd[2]);
int transfers_pipe(int fd[2]);
/* Fills fd, which does not block, until it takes no more; returns the bytes. */
size_t transfers_fill(int fd);

#endif /* FBUF_TEST_TRANSFERS_H */
