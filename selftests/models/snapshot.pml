/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Snapshot against send. A buffer is protected and in flight. A write has its page, 1,
 * replaced by a copy, 2, which may be written from then on. The packet is freed, then the
 * page, and another gets it. A send without a lock must find the old page, while it is the
 * buffer's; or the new one, and that it is not protected; and what it sends of the new one
 * must be all there.
 *
 * @reference: gather.h gather_get_page() atomic_try_cmpxchg
 * @swap: protect.c snapshot_swap() smp_wmb
 * @same: gather.h gather_get_page() READ_ONCE(pool->pages[i]) == page
 */
#include "order.inc"

byte refs[3], page = 1, data[3];
bit prot = 1;
bool others;

init
{
	atomic {
		refs[1] = 2; data[1] = 1;
		run send(); run snapshot(); run packet()
	}
}

#define PAGE	0
#define REF	1
#define SAME	2
#define PROT	3
#define DATA	4

proctype send()
{
	byte did, at, same, bytes;
	bit protected;

	do
	:: atomic { READY(PAGE, 0); at = page }
	:: atomic { refs[at] && READY(REF, B(PAGE)); refs[at]++ }
	:: atomic { READY(SAME, B(PAGE) | ORDER(reference, B(REF))); same = page }
	:: atomic { READY(PROT, ORDER(reference, B(REF))); protected = prot }
	/* By the address of the page, which is from the pool. */
	:: atomic { READY(DATA, B(PAGE)); bytes = data[at] }
	:: atomic { did == 31 ->
		if
		:: NO_same || same == at ->
			assert(!(at == 1 && others)); assert(bytes);
			assert(!(at == 2 && protected))
		:: else -> refs[at]--
		fi; break }
	:: atomic { did & B(PAGE) && !(did & B(REF)) && !refs[at] -> break }
	od
}

#define FRESH	0
#define COPY	1
#define LIFT	2
#define SWAP	3
#define REAP	4

proctype snapshot()
{
	byte did;

	/* While the old page is in flight it stays the pool's. */
end:	do
	:: atomic { READY(FRESH, 0); refs[2] = 1 }
	:: atomic { READY(COPY, 0); data[2] = 1 }
	:: atomic { READY(LIFT, 0); prot = 0 }
	:: atomic { READY(SWAP, ORDER(swap, B(FRESH) | B(COPY) | B(LIFT))); page = 2 }
	/* An orphan: see fbuf_orphans_reap(). */
	:: atomic { refs[1] == 1 && READY(REAP, B(SWAP)); refs[1] = 0 }
	:: atomic { did == 31 -> refs[1] = 1; others = true; break }
	od
}

proctype packet()
{
	refs[1]--
}
