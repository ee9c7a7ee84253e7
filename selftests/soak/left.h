/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is there when nothing should be. All must do for who has nothing but this
 * text.
 */
#ifndef FBUF_SOAK_LEFT_H
#define FBUF_SOAK_LEFT_H

#include <stdio.h>

/* Processes, and where they are in the kernel; pools; TCP sockets. */
void left_show(FILE *to);
/* TCP sockets that no process has any more, in all namespaces. */
unsigned int left_orphans(void);

#endif /* FBUF_SOAK_LEFT_H */
