/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The idle test against a mapping that comes or goes without the pool's lock, by fork() or
 * munmap(). A folio is in flight all the time: it must never pass for idle, which is that
 * all its references are the pool's or mappings'.
 *
 * @coming: folio.c fbuf_folio_idle() smp_rmb
 * @going: folio.c fbuf_folio_idle() smp_rmb
 * @again: folio.c fbuf_folio_idle() IDLE_LOOKS
 * @fork: kernel copy_page_range() counts the reference before the mapping
 *
 * Here it looks twice, and one mapping comes and one goes. Each look more is good for one
 * more of either.
 */
#include "order.inc"

/* The pool's, the packet's, and one for each mapping. */
byte refs = 3, mapped = 1;

#define FIRST	0
#define REFS	1
#define LAST	2
#define REFS2	3
#define LAST2	4

active proctype look()
{
	byte did, first, all, last, all2, last2;

	do
	:: atomic { READY(FIRST, 0); first = mapped }
	:: atomic { READY(REFS, ORDER(coming, B(FIRST))); all = refs }
	:: atomic { READY(LAST, B(FIRST) | ORDER(going, B(REFS))); last = mapped }
	:: atomic { READY(REFS2, B(REFS) | ORDER(coming, B(LAST))); all2 = refs }
	:: atomic { READY(LAST2, B(LAST) | ORDER(going, B(REFS2))); last2 = mapped }
	:: atomic {
		did == 31 -> assert(!(all == 1 + first && first == last &&
				      (NO_again || (all2 == all && last2 == last))));
		break
	   }
	od
}

#define REF	0
#define MAP	1

/* copy_page_range() */
proctype fork()
{
	byte did;

	do
	:: atomic { READY(REF, 0); refs++ }
	:: atomic { READY(MAP, ORDER(fork, B(REF))); mapped++ }
	:: did == 3 -> break
	od
}

/* munmap(), in which both are ordered */
proctype unmap()
{
	mapped--;
	refs--
}

init
{
	if
	:: run fork()
	:: run unmap()
	:: atomic { run fork(); run unmap() }
	fi
}
