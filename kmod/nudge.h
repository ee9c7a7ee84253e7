/* SPDX-License-Identifier: GPL-2.0 */
/* To have packets freed that were read on other CPUs. See nudge.c. */
#ifndef FBUF_NUDGE_H
#define FBUF_NUDGE_H

int fbuf_nudge_init(void);
void fbuf_nudge_exit(void);
void fbuf_nudge(void);

#endif /* FBUF_NUDGE_H */
