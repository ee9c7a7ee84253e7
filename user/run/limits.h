/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What "fbuf run" and the library that it preloads have to agree on, in bytes. */
#ifndef RUN_LIMITS_H
#define RUN_LIMITS_H

#define RUN_POOL_DEFAULT	(256UL << 20)
#define RUN_POOL_LEAST		(2UL << 20)
#define RUN_POOL_MOST		(1UL << 40)
#define RUN_MIN_DEFAULT		(32UL << 10)

#endif /* RUN_LIMITS_H */
