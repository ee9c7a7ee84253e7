/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A NIC bed: two NICs, wired to each other, in the network namespaces near and
 * far, as vm/guest-nic leaves them. Functions return a negative errno value on
 * failure.
 */
#ifndef FBUF_TEST_BED_H
#define FBUF_TEST_BED_H

#include <stdbool.h>

/* Skips the whole program when there is no bed. */
void need_bed(int argc, char **argv);

/* Connected sockets; fd[0] sends, near, and fd[1] receives, far. */
int bed_pair(int family, int type, int fd[2]);

/* Whether the near NIC has scatter-gather. */
bool bed_has_sg(void);

/* Has what the near NIC sends delayed, or lost: words for tc; NULL ends it. */
int bed_netem(const char *words);

#endif /* FBUF_TEST_BED_H */
