/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfbuf: what is under the pools, fbuf_backend(3): the module, or without it the
 * library itself, in user space, where sends copy.
 */
#ifndef FBUF_BACKEND_H
#define FBUF_BACKEND_H

#include <fbuf/fbuf.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FBUF_BACKEND_MODULE	1U
#define FBUF_BACKEND_USER	2U

/* What a new pool would get now; 0 if it could not be made. */
unsigned int fbuf_backend(void);
/*
 * What new pools are to get, in all threads; 0 for what FBUF_BACKEND says in the
 * environment ("module" or "user"), and without that for the module if it can be
 * had, else USER.
 */
int fbuf_backend_set(unsigned int backend);
/* What a pool has. */
unsigned int fbuf_pool_backend(const struct fbuf_pool *pool);
/* "module", "user", or "none". */
const char *fbuf_backend_name(unsigned int backend);

/*
 * What can be had, fbuf_features(): the low half are FBUF_FEATURE_* of
 * linux/fbuf.h, these are the rest.
 */
/* Sends by reference: without it every send copies. */
#define FBUF_FEATURE_REFERENCE	(1ULL << 32)
/* Handles can be passed to other processes. */
#define FBUF_FEATURE_PROCESSES	(1ULL << 33)
/* A pool fd can be mapped, and read by sendfile() and splice(). */
#define FBUF_FEATURE_FILE	(1ULL << 34)
/* fbuf_uring(3): sends as commands of io_uring. */
#define FBUF_FEATURE_URING	(1ULL << 35)
/* fbuf_secure(). */
#define FBUF_FEATURE_SECURE	(1ULL << 36)
/* What the library has, whatever is under it. */
#define FBUF_FEATURE_HEAP	(1ULL << 48)	/* fbuf/heap.h */
#define FBUF_FEATURE_MSG	(1ULL << 49)	/* fbuf/msg.h */
#define FBUF_FEATURE_VIEW	(1ULL << 50)	/* fbuf/view.h */
#define FBUF_FEATURE_QUEUE	(1ULL << 51)	/* fbuf/queue.h */
#define FBUF_FEATURE_CHANNEL	(1ULL << 52)	/* fbuf/channel.h */

/* With 0 for what a new pool would get; 0 if that backend cannot be had. */
uint64_t fbuf_features(unsigned int backend);

#ifdef __cplusplus
}
#endif

#endif /* FBUF_BACKEND_H */
