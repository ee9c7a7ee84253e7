/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Waiting for room against room. A send by io_uring that found a socket full is armed, so
 * that who makes room has it go on. It must not stay armed with room there and nobody to
 * come, nor go on twice.
 *
 * @arm: uring.c uring_arm() smp_mb
 */
#include "order.inc"

bit armed, room;
byte going;
byte ended;

#define ARM	0
#define POLL	1

active proctype arm()
{
	byte did;
	bit ready;

	do
	:: atomic { READY(ARM, 0); armed = 1 }
	:: atomic { READY(POLL, ORDER(arm, B(ARM))); ready = room }
	:: did == 3 -> break
	od;
	atomic {
		if
		:: ready && armed -> armed = 0; going++
		:: else
		fi;
		ended++
	}
}

/* sock_def_write_space(), whose barrier is skwq_has_sleeper()'s */
active proctype wake()
{
	room = 1;
	atomic {
		if
		:: armed -> armed = 0; going++
		:: else
		fi;
		ended++
	}
}

active proctype end()
{
	ended == 2 -> assert(going == 1)
}
