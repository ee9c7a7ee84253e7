/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Hold against send. A handle sends a buffer by its name, without a lock. Another of its
 * threads frees the buffer meanwhile, and a third gets it by ALLOC, with a hold at the
 * same place and another name. The buffer must not be his while what the first sent is
 * in flight.
 *
 * @reference: gather.h gather_get_page() atomic_try_cmpxchg
 * @name: gather.h gather_held() smp_rmb
 * @free: buffer.c drop_hold() smp_mb__after_atomic
 * @alloc: buffer.c alloc_locked() smp_mb__before_atomic
 */
#include "order.inc"

byte refs, gen;
bit hold = 1;
bool sent, handed;

#define REF	0
#define HELD	1
#define NAME	2

active proctype send()
{
	byte did, name;
	bit held;

	do
	:: atomic { READY(REF, 0); refs++ }
	:: atomic { READY(HELD, ORDER(reference, B(REF))); held = hold }
	:: atomic { READY(NAME, ORDER(reference, B(REF)) | ORDER(name, B(HELD)));
		    name = gen }
	:: atomic { did == 7 ->
		if
		:: held && !name -> sent = true; assert(!handed)
		:: else -> refs--
		fi; break }
	od
}

#define CLEAR	0
#define LOOK	1
#define GEN	2
#define SET	3

active proctype free_and_alloc()
{
	byte did;
	bool idle;

	do
	:: atomic { READY(CLEAR, 0); hold = 0 }
	:: atomic { READY(LOOK, ORDER(free, B(CLEAR))); idle = !refs }
	:: atomic { idle && READY(GEN, B(LOOK)); gen++ }
	:: atomic { idle && READY(SET, B(LOOK) | B(CLEAR) | ORDER(alloc, B(GEN))); hold = 1 }
	:: atomic { did == 15 -> handed = true; assert(!sent); break }
	:: atomic { did == 3 && !idle -> break }
	od
}
