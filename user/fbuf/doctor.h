/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of fbuf doctor share: findings, and files that tell something. */
#ifndef FBUF_DOCTOR_H
#define FBUF_DOCTOR_H

#include "tool.h"

enum doctor_level {
	DOCTOR_OK,
	DOCTOR_NOTE,	/* it works; this would make it better */
	DOCTOR_WRONG,
};

struct doctor;

/* One more finding about a thing: a sentence, or several. */
void doctor_find(struct doctor *d, enum doctor_level level, const char *about,
		 const char *fmt, ...) __printf(4, 5);
/* What to type about the last finding: a line each. */
void doctor_type(struct doctor *d, const char *fmt, ...) __printf(2, 3);

/* The first line of a file; false if there is none to be had. */
#define DOCTOR_LINE	256
bool doctor_read(char line[DOCTOR_LINE], const char *fmt, ...) __printf(2, 3);

/* The examinations. load: try to load the module, if it is not. */
void doctor_module(struct doctor *d, bool load);
void doctor_device(struct doctor *d);
void doctor_limits(struct doctor *d);
/* address: the peer's, or NULL for the default route. TOOL_USAGE if it is none. */
int doctor_net(struct doctor *d, const char *address);

/* Will this kernel load a module only if it has a signature that it knows? */
bool doctor_wants_signature(void);

#endif /* FBUF_DOCTOR_H */
