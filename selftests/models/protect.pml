/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Protect against write. A protected buffer that was idle is sent without a lock, while a
 * page fault asks whether it may be written. It must not be written while it is in flight.
 * Who finds that it may not is asked once more, as the write waits.
 *
 * @reference: gather.h gather_get_page() atomic_try_cmpxchg
 * @write: protect.c protect_end() smp_mb
 */
#include "order.inc"

byte refs;
bit prot = 1;
bool sent, written;

#define REF	0
#define PROT	1

active proctype send()
{
	byte did;
	bit protected;

	do
	:: atomic { READY(REF, 0); refs++ }
	:: atomic { READY(PROT, ORDER(reference, B(REF))); protected = prot }
	:: atomic { did == 3 ->
		if
		:: protected -> sent = true; assert(!written)
		/* It has to be protected, by the slow path, with the lock. */
		:: else -> refs--
		fi; break }
	od
}

#define LIFT	0
#define LOOK	1

active proctype write()
{
	byte did, tries;
	bool idle;

	do
	:: atomic { READY(LIFT, 0); prot = 0 }
	:: atomic { READY(LOOK, ORDER(write, B(LIFT))); idle = !refs }
	:: atomic { did == 3 && idle -> written = true; assert(!sent); break }
	:: atomic { did == 3 && !idle -> prot = 1; did = 0; tries++;
		    if :: tries == 2 -> break :: else fi }
	od
}
