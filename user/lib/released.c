// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Functions as programs built with earlier releases call them, which gave no
 * size of their structures. They write and read no more than those had.
 */

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>

#include "lib.h"

/* fbuf.h has inline functions of these names. */
#define RELEASED(name)	__asm__(#name)

/*
 * How long struct fbuf_info was. Who needs a symbol of a release was built with
 * its header or a later one, and has room for what that had. Who needs none of
 * his own release passes for one of an earlier release, as nothing tells them
 * apart: what is too little leaves new members alone, too much is his stack.
 */
static const struct {
	const char *version;
	size_t info;
} releases[] = {
	{ "FBUF_0.1", LIB_INFO_MIN },
	{ "FBUF_0.2", offsetof(struct fbuf_info, fills) },
	{ "FBUF_0.3", offsetof(struct fbuf_info, filled) + 8 },
};

#define NR_RELEASES	(sizeof(releases) / sizeof(*releases))

/* Later releases give sizes; what in them does not has at least the last one. */
static size_t info_size(const char *version)
{
	unsigned int i;

	for (i = 0; i < NR_RELEASES - 1; i++)
		if (!strcmp(version, releases[i].version))
			break;
	return releases[i].info;
}

/* Most dynamic linkers make addresses of the offsets, but not all. */
static const char *object_at(const struct dl_phdr_info *o, ElfW(Addr) at)
{
	return (const char *)(at < o->dlpi_addr ? at + o->dlpi_addr : at);
}

static size_t newest_needed(const ElfW(Verneed) *need, const char *names)
{
	const char *at = (const char *)need + need->vn_aux;
	size_t size = releases[0].info;
	unsigned int i;

	for (i = 0; i < need->vn_cnt; i++) {
		const ElfW(Vernaux) *aux = (const void *)at;
		size_t its = info_size(names + aux->vna_name);

		if (its > size)
			size = its;
		at += aux->vna_next;
	}
	return size;
}

/* What an object's header had, or 0 if the object does not need the library. */
static size_t object_info_size(const struct dl_phdr_info *o,
			       const ElfW(Dyn) *dyn)
{
	const char *names = NULL, *at = NULL;
	size_t nr = 0;

	for (; dyn->d_tag != DT_NULL; dyn++) {
		if (dyn->d_tag == DT_STRTAB)
			names = object_at(o, dyn->d_un.d_ptr);
		else if (dyn->d_tag == DT_VERNEED)
			at = object_at(o, dyn->d_un.d_ptr);
		else if (dyn->d_tag == DT_VERNEEDNUM)
			nr = dyn->d_un.d_val;
	}
	for (; at && names && nr; nr--) {
		const ElfW(Verneed) *need = (const void *)at;

		if (!strncmp(names + need->vn_file, "libfbuf.so.", 11))
			return newest_needed(need, names);
		at += need->vn_next;
	}
	return 0;
}

struct look {
	uintptr_t caller;
	bool found;	/* the caller, among those that need the library */
	size_t size;	/* the least that any of them has */
};

static int look_at(struct dl_phdr_info *o, size_t len, void *arg)
{
	const ElfW(Dyn) *dyn = NULL;
	struct look *l = arg;
	bool calls = false;
	size_t size;
	int i;

	(void)len;
	for (i = 0; i < o->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = o->dlpi_phdr + i;
		ElfW(Addr) start = o->dlpi_addr + p->p_vaddr;

		if (p->p_type == PT_DYNAMIC)
			dyn = (const void *)start;
		else if (p->p_type == PT_LOAD)
			calls |= l->caller - start < p->p_memsz;
	}
	size = dyn ? object_info_size(o, dyn) : 0;
	if (!size)
		return 0;
	l->found |= calls;
	if (size < l->size)
		l->size = size;
	return 0;
}

/*
 * The least of all, because one object may hand on the memory of another; and
 * of one that calls without being linked to the library nothing is known.
 */
static size_t caller_info_size(const void *caller)
{
	struct look l = { .caller = (uintptr_t)caller, .size = SIZE_MAX };

	dl_iterate_phdr(look_at, &l);
	return l.found ? l.size : releases[0].info;
}

int lib_pool_info_0_1(const struct fbuf_pool *pool, struct fbuf_info *info)
	RELEASED(fbuf_pool_info);
int lib_pool_info_0_1(const struct fbuf_pool *pool, struct fbuf_info *info)
{
	return fbuf_pool_info_sized(pool, info,
				    caller_info_size(__builtin_return_address(0)));
}

int lib_pool_create_0_2(struct fbuf_pool **pool,
			const struct fbuf_pool_options *options)
	RELEASED(fbuf_pool_create_with);
int lib_pool_create_0_2(struct fbuf_pool **pool,
			const struct fbuf_pool_options *options)
{
	return fbuf_pool_create_sized(pool, options,
				      LIB_OPTIONS_MIN);
}

unsigned int lib_uring_send_0_3(struct fbuf_send *args, void *cmd,
				const struct fbuf_gather *g, int sock,
				unsigned int flags, unsigned int engines)
	RELEASED(fbuf_uring_send);
unsigned int lib_uring_send_0_3(struct fbuf_send *args, void *cmd,
				const struct fbuf_gather *g, int sock,
				unsigned int flags, unsigned int engines)
{
	return fbuf_uring_send_sized(args, cmd, g, sock, flags, engines,
				     offsetof(struct fbuf_send, copied) + 8);
}

unsigned int lib_uring_fanout_0_3(struct fbuf_fanout *args, void *cmd,
				  const struct fbuf_gather *g,
				  struct fbuf_target *targets,
				  unsigned int count, unsigned int flags,
				  unsigned int engines)
	RELEASED(fbuf_uring_fanout);
unsigned int lib_uring_fanout_0_3(struct fbuf_fanout *args, void *cmd,
				  const struct fbuf_gather *g,
				  struct fbuf_target *targets,
				  unsigned int count, unsigned int flags,
				  unsigned int engines)
{
	return fbuf_uring_fanout_sized(args, cmd, g, targets, count, flags,
				       engines,
				       offsetof(struct fbuf_fanout, pad) + 4);
}
