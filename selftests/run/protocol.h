/* SPDX-License-Identifier: GPL-2.0 */
/* How a server is asked for an object, and given one. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stddef.h>

#define HEAD_MAX 4096		/* bytes of an answer before its object */

enum answer {
	ANSWER_MORE,		/* not all of its head is there */
	ANSWER_OBJECT,
	ANSWER_MISS,
	ANSWER_STORED,
	ANSWER_BAD,
};

struct head {
	size_t used;		/* bytes of the head */
	size_t len;		/* bytes of the object; SIZE_MAX: until the end */
	const char *after;	/* what is behind it */
};

struct protocol {
	const char *name;
	/* What comes before an object that is stored, what asks for one. */
	int (*put)(char *to, size_t room, unsigned int key, size_t len);
	int (*get)(char *to, size_t room, unsigned int key);
	const char *put_end;
	enum answer (*answer)(const char *data, struct head *head);
};

const struct protocol *protocol_named(const char *name);

#endif
