/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A page's folio against send. Page 1 is in a pool, at first a part of a folio whose head
 * is page 0. While a send without a lock looks it up, the buffer loses its memory, the
 * folio is freed, another gets page 0, and the pool gets page 1 again, by itself, and puts
 * it where it was. What the send refers to must be the folio that page 1 is in.
 *
 * @reference: gather.h gather_get_page() atomic_try_cmpxchg
 * @populate: folio.c populate() smp_wmb
 * @same: gather.h gather_get_page() READ_ONCE(pool->pages[i]) == page
 * @what: gather.h gather_get_page() smp_rmb
 * @folio: gather.h gather_get_page() compound_head(page) == head
 */
#include "order.inc"

byte refs[2], head[2];
bit page = 1;
bool moved;

init
{
	atomic { refs[0] = 1; run send(); run shrink_and_populate() }
}

#define PAGE	0
#define HEAD	1
#define REF	2
#define SAME	3
#define FOLIO	4

proctype send()
{
	byte did, first, at, same, again;

	do
	:: atomic { READY(PAGE, 0); first = page }
	:: atomic { first && READY(HEAD, B(PAGE)); at = head[first] }
	:: atomic { refs[at] && READY(REF, B(HEAD)); refs[at]++ }
	:: atomic { READY(SAME, B(PAGE) | ORDER(reference, B(REF))); same = page }
	:: atomic { first && READY(FOLIO, B(HEAD) | ORDER(reference, B(REF)) |
					  ORDER(what, B(SAME)));
		    again = head[first] }
	:: atomic { did == 31 ->
		if
		:: (NO_same || same == first) && (NO_folio || again == at) ->
			assert(at == head[1]); assert(same)
		:: else -> refs[at]--
		fi; break }
	:: atomic { did & B(PAGE) && !first -> break }
	:: atomic { did & B(HEAD) && !(did & B(REF)) && !refs[at] -> break }
	od
}

#define GONE	0
#define PUT	1
#define OTHERS	2
#define FRESH	3
#define OURS	4
#define PUT_IN	5

proctype shrink_and_populate()
{
	byte did;

	do
	:: atomic { READY(GONE, 0); page = 0 }
	:: atomic { READY(PUT, B(GONE)); refs[0]--; if :: refs[0] -> break :: else fi }
	:: atomic { READY(OTHERS, B(PUT)); refs[0] = 1 }
	:: atomic { READY(FRESH, B(PUT)); head[1] = 1 }
	:: atomic { READY(OURS, B(PUT)); refs[1] = 1 }
	:: atomic { READY(PUT_IN, B(GONE) | B(PUT) | ORDER(populate, B(FRESH) | B(OURS)));
		    page = 1 }
	:: did == 63 -> break
	od
}
