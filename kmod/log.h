/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Refusals that an administrator looks for, in the kernel's log.
 */
#ifndef FBUF_LOG_H
#define FBUF_LOG_H

#include <linux/compiler_attributes.h>

void fbuf_log_notice(const char *fmt, ...) __printf(1, 2);

#endif /* FBUF_LOG_H */
