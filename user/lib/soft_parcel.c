// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pools without the module: parcels, which are copies of what was received, in memory
 * of malloc(). None of it can be shown.
 */

#include <stddef.h>
#include <stdlib.h>

#include <fbuf/parcel.h>

#include "soft.h"

#define RECV_FLAGS	(FBUF_RECV_DONTWAIT | FBUF_RECV_ALL | FBUF_RECV_PEEK)

#define SLOTS_FIRST	16U

struct soft_parcel {
	uint32_t gen;
	uint32_t index;
	uint32_t len;
	uint32_t refs;		/* the handle's, and of those who read it */
	uint64_t mark;		/* the last batch that named it */
	char data[];
};

/* By index: a parcel, or NULL; then it may be free. */
struct soft_slot {
	struct soft_parcel *parcel;
	uint32_t next;
};

struct soft_parcels {
	uint32_t nr;
	uint32_t free;		/* the first one, or SOFT_NONE */
	uint32_t gen;		/* of the last parcel */
	struct soft_slot slots[];
};

/* The pool is locked, as for all until what is called from elsewhere. */
static int slots_grow(struct soft_handle *h)
{
	struct soft_parcels *all = h->parcels;
	uint32_t old = all ? all->nr : 0, nr = old ? 2 * old : SLOTS_FIRST;

	if (nr > FBUF_PARCELS_MAX)
		return -ENOBUFS;
	all = realloc(all, sizeof(*all) + nr * sizeof(all->slots[0]));
	if (!all)
		return -ENOMEM;
	if (!old)
		all->gen = 0;
	h->parcels = all;
	all->nr = nr;
	all->free = SOFT_NONE;
	while (nr-- > old) {
		all->slots[nr] = (struct soft_slot){ .next = all->free };
		all->free = nr;
	}
	return 0;
}

/* So that there is one when the bytes are there. */
static int64_t slot_take(struct soft_handle *h)
{
	uint32_t index;
	int err = 0;

	if (!h->parcels || h->parcels->free == SOFT_NONE)
		err = slots_grow(h);
	if (err)
		return err;
	index = h->parcels->free;
	h->parcels->free = h->parcels->slots[index].next;
	return index;
}

static void slot_give(struct soft_handle *h, uint32_t index)
{
	struct soft_slot *slot = &h->parcels->slots[index];

	slot->parcel = NULL;
	slot->next = h->parcels->free;
	h->parcels->free = index;
}

void soft_parcel_put(struct soft_parcel *parcel)
{
	if (!--parcel->refs)
		free(parcel);
}

static int parcel_find(const struct soft_handle *h, uint64_t name,
		       struct soft_parcel **parcel)
{
	uint32_t index = FBUF_NAME_INDEX(name) & ~FBUF_NAME_PARCEL;

	if (!fbuf_is_parcel(name) || index >= FBUF_PARCELS_MAX)
		return -EINVAL;
	if (!h->parcels || index >= h->parcels->nr)
		return -ESTALE;
	*parcel = h->parcels->slots[index].parcel;
	return *parcel && (*parcel)->gen == FBUF_NAME_GEN(name) ? 0 : -ESTALE;
}

int soft_parcel_get(const struct soft_handle *h, uint64_t name, uint32_t offset,
		    uint32_t len, struct soft_parcel **parcel, char **at)
{
	struct soft_parcel *p;
	int err = parcel_find(h, name, &p);

	if (err)
		return err;
	if (offset >= p->len || len > p->len - offset)
		return -EINVAL;
	p->refs++;
	*parcel = p;
	*at = p->data + offset;
	return 0;
}

static void parcel_drop(struct soft_handle *h, struct soft_parcel *p)
{
	h->pool->nr_parcels--;
	h->pool->parcel_bytes -= p->len;
	slot_give(h, p->index);
	soft_parcel_put(p);
}

int soft_parcels_free(struct soft_handle *h, const uint64_t *names,
		      unsigned int count)
{
	uint64_t batch = ++h->pool->batch;
	struct soft_parcel *p;
	unsigned int i;
	int err;

	for (i = 0; i < count; i++) {
		err = parcel_find(h, names[i], &p);
		if (!err && p->mark == batch)
			err = -EINVAL;
		if (err)
			return err;
		p->mark = batch;
	}
	for (i = 0; i < count; i++)
		if (!parcel_find(h, names[i], &p))
			parcel_drop(h, p);
	return count;
}

void soft_parcels_end(struct soft_handle *h)
{
	uint32_t i;

	for (i = 0; h->parcels && i < h->parcels->nr; i++)
		if (h->parcels->slots[i].parcel)
			parcel_drop(h, h->parcels->slots[i].parcel);
	free(h->parcels);
	h->parcels = NULL;
}

static uint64_t parcel_publish(struct soft_handle *h, struct soft_parcel *p)
{
	h->pool->nr_parcels++;
	h->pool->parcel_bytes += p->len;
	h->pool->recvs++;
	h->pool->received += p->len;
	p->gen = ++h->parcels->gen;
	h->parcels->slots[p->index].parcel = p;
	return FBUF_NAME(FBUF_NAME_PARCEL | p->index, p->gen);
}

static int recv_check(const struct soft_handle *h,
		      const struct fbuf_recv *args)
{
	if (!(h->rights & FBUF_RIGHT_ALLOC))
		return -EACCES;
	if (args->flags & ~RECV_FLAGS || !args->len ||
	    args->len > FBUF_PARCEL_MAX)
		return -EINVAL;
	return args->head_len && !args->head ? -EINVAL : 0;
}

static int sock_check(const struct soft_handle *h, int fd)
{
	socklen_t len = sizeof(int);
	int type;

	/* Nobody is to see that a pool fd is one. */
	if (soft_is_own_fd(h, fd))
		return -ENOTSOCK;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len))
		return -errno;
	return type == SOCK_STREAM ? 0 : -EOPNOTSUPP;
}

/* The old one goes, and there is a place for the new one. */
static int64_t recv_begin(struct soft_handle *h, struct fbuf_recv *args)
{
	int64_t ret = 0;

	soft_lock(h->pool);
	if (args->drop)
		ret = soft_parcels_free(h, &(const uint64_t){ args->drop }, 1);
	if (ret >= 0)
		args->drop = 0;
	if (ret >= 0)
		ret = slot_take(h);
	soft_unlock(h->pool);
	return ret;
}

static int recv_bytes(const struct fbuf_recv *args, struct soft_parcel *p)
{
	const int flags =
		(args->flags & FBUF_RECV_DONTWAIT ? MSG_DONTWAIT : 0) |
		(args->flags & FBUF_RECV_ALL ? MSG_WAITALL : 0) |
		(args->flags & FBUF_RECV_PEEK ? MSG_PEEK : 0);
	ssize_t ret = recv(args->fd, p->data, args->len, flags);

	return ret < 0 ? -errno : ret;
}

static void recv_end(struct soft_handle *h, struct fbuf_recv *args,
		     struct soft_parcel *p)
{
	if (args->head_len > p->len)
		args->head_len = p->len;
	if (args->head_len)
		memcpy((void *)(uintptr_t)args->head, p->data, args->head_len);
	args->copied = p->len;
	soft_lock(h->pool);
	args->name = parcel_publish(h, p);
	soft_unlock(h->pool);
}

/* Room that no byte came to goes back. */
static struct soft_parcel *parcel_cut(struct soft_parcel *p, uint32_t len)
{
	struct soft_parcel *cut = realloc(p, sizeof(*p) + len);

	if (cut)
		p = cut;
	p->len = len;
	return p;
}

static int recv_parcel(struct soft_handle *h, struct fbuf_recv *args,
		       uint32_t index)
{
	struct soft_parcel *p = malloc(sizeof(*p) + args->len);
	int ret = p ? recv_bytes(args, p) : -ENOMEM;

	if (ret > 0) {
		p->index = index;
		p->refs = 1;
		p->mark = 0;
		recv_end(h, args, parcel_cut(p, ret));
		return ret;
	}
	free(p);
	soft_lock(h->pool);
	slot_give(h, index);
	soft_unlock(h->pool);
	return ret;
}

int soft_recv(struct soft_handle *h, struct fbuf_recv *args)
{
	int64_t index;
	int err;

	err = recv_check(h, args);
	if (!err)
		err = sock_check(h, args->fd);
	if (err)
		return err;
	index = recv_begin(h, args);
	return index < 0 ? index : recv_parcel(h, args, index);
}

int soft_read(struct soft_handle *h, const struct fbuf_read *args)
{
	struct soft_parcel *p;
	char *from;
	int err;

	if (args->flags || !args->len)
		return -EINVAL;
	soft_lock(h->pool);
	err = soft_parcel_get(h, args->name, args->offset, args->len, &p,
			      &from);
	soft_unlock(h->pool);
	if (err)
		return err;
	if (args->to)
		memcpy((void *)(uintptr_t)args->to, from, args->len);
	soft_lock(h->pool);
	soft_parcel_put(p);
	soft_unlock(h->pool);
	return args->to ? (int)args->len : -EFAULT;
}

int soft_show(struct soft_handle *h, const struct fbuf_show *args)
{
	struct soft_parcel *p;
	int err;

	if (args->flags || args->pad || args->count > FBUF_BATCH_MAX)
		return -EINVAL;
	soft_lock(h->pool);
	err = parcel_find(h, args->name, &p);
	soft_unlock(h->pool);
	return err;
}
