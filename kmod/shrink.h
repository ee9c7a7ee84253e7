/* SPDX-License-Identifier: GPL-2.0 */
/* Memory that goes back under pressure. See shrink.c. */
#ifndef FBUF_SHRINK_H
#define FBUF_SHRINK_H

int fbuf_shrink_init(void);
void fbuf_shrink_exit(void);

#endif /* FBUF_SHRINK_H */
