/* SPDX-License-Identifier: GPL-2.0 */
/* A look at load whether the idle test holds. See probe.c. */
#ifndef FBUF_PROBE_H
#define FBUF_PROBE_H

int fbuf_probe(void);

#endif /* FBUF_PROBE_H */
