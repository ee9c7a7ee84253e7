/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfbuf: bytes from a file to wherever, and from wherever to a file; files in
 * memory. As Java's FileChannel has it, fbuf_channel(3). None of it needs the
 * module.
 *
 * Functions that can fail return a negative errno value and leave errno alone.
 */
#ifndef FBUF_CHANNEL_H
#define FBUF_CHANNEL_H

#include <fbuf/heap.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Write up to count bytes of a file, from pos on, to a file, a socket or a pipe, by
 * the cheapest way that there is. Returns how many: fewer at the end of the file, or
 * where the target has no room; 0 also if it has none at all and does not block, or
 * if pos is at the end or beyond. The file's own position stays, the target's moves.
 * Memory of the heap, or NULL, is used where that saves a copy.
 */
ssize_t fbuf_transfer_to(struct fbuf_heap *heap, int file, off_t pos,
			 size_t count, int target);
/*
 * Read up to count bytes of a file, a socket or a pipe, and write them to a file,
 * from pos on. Returns how many: fewer at the end of the source, or if it has no
 * more now and does not block. The file's own position stays, the source's moves.
 */
ssize_t fbuf_transfer_from(struct fbuf_heap *heap, int file, off_t pos,
			   size_t count, int source);

/* A part of a file in memory. */
struct fbuf_map;

/* Who sees what is written there. */
#define FBUF_MAP_READ_ONLY	1U	/* nothing can be written */
#define FBUF_MAP_READ_WRITE	2U	/* the file, and all who have it */
#define FBUF_MAP_PRIVATE	3U	/* this mapping alone */

/*
 * Map size bytes of a file from pos on, both of them any number. A file that is
 * shorter becomes that long, if it may be written. The fd is not needed afterwards.
 */
int fbuf_map_open(struct fbuf_map **map, int file, unsigned int mode, off_t pos,
		  size_t size);
/* Nobody may use its memory any more. NULL is ignored. */
void fbuf_map_close(struct fbuf_map *map);
/* Where the byte at pos is; NULL if size was 0. */
void *fbuf_map_addr(const struct fbuf_map *map);
size_t fbuf_map_size(const struct fbuf_map *map);
unsigned int fbuf_map_mode(const struct fbuf_map *map);
/* What was written there is on the disk when this returns: all, or a range. */
int fbuf_map_force(struct fbuf_map *map);
int fbuf_map_force_range(struct fbuf_map *map, size_t offset, size_t len);
/* Bring all of it into memory; -EFAULT if the file is shorter than that by now. */
int fbuf_map_load(struct fbuf_map *map);
/* 1 if all of it is likely to be in memory, or 0. */
int fbuf_map_is_loaded(const struct fbuf_map *map);
/*
 * Copy len bytes from offset on. Who reads at fbuf_map_addr() what another has
 * cut off the file gets SIGBUS; this returns how many bytes there are, or 0.
 */
ssize_t fbuf_map_read(const struct fbuf_map *map, size_t offset, void *buf,
		      size_t len);

#ifdef __cplusplus
}
#endif

#endif /* FBUF_CHANNEL_H */
