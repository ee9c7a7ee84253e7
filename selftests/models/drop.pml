/* SPDX-License-Identifier: GPL-2.0 */
/*
 * DROP against send. A handle sends a buffer of a lazy pool without a lock, while DROP
 * takes the buffer's memory away, which is charged no more then. What DROP took must not
 * be in flight.
 *
 * @reference: gather.h gather_get_page() atomic_try_cmpxchg
 * @there: gather.h gather_dropped() smp_rmb
 * @drop: drop.c drop_idle() smp_mb__after_atomic
 * @again: drop.c drop_locked() smp_mb__before_atomic
 */
#include "order.inc"

byte refs = 1;
bit hold = 1, page = 1;
bool sent, dropped;

#define PAGE	0
#define REF	1
#define SAME	2
#define HELD	3
#define THERE	4

active proctype send()
{
	byte did;
	bit first, same, held, there;

	do
	:: atomic { READY(PAGE, 0); first = page }
	:: atomic { first && refs && READY(REF, B(PAGE)); refs++ }
	:: atomic { READY(SAME, B(PAGE) | ORDER(reference, B(REF))); same = page }
	:: atomic { READY(HELD, ORDER(reference, B(REF))); held = hold }
	:: atomic { READY(THERE, B(SAME) | ORDER(there, B(HELD))); there = page }
	:: atomic { did == 31 ->
		if
		:: same && held && there -> sent = true; assert(!dropped)
		:: else -> refs--
		fi; break }
	:: atomic { !(did & B(REF)) && did & B(PAGE) && (!first || !refs) -> break }
	od
}

#define CLEAR	0
#define LOOK	1
#define GONE	2
#define PUT	3
#define SET	4

active proctype drop()
{
	byte did;
	bool idle;

	do
	:: atomic { READY(CLEAR, 0); hold = 0 }
	:: atomic { READY(LOOK, ORDER(drop, B(CLEAR))); idle = refs == 1 }
	:: atomic { idle && READY(GONE, B(LOOK)); page = 0 }
	:: atomic { idle && READY(PUT, B(GONE)); refs--; dropped = true; assert(!sent) }
	:: atomic { READY(SET, B(LOOK) | B(CLEAR) | (idle -> ORDER(again, B(GONE)) : 0));
		    hold = 1 }
	:: atomic { did == 31 || (did == 19 && !idle) -> break }
	od
}
