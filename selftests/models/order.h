/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a CPU does in another order than it is told to, for spin.
 *
 * A process is a set of steps, each one access to memory. A step may run as soon as those
 * have that it is ordered after: by a barrier, a dependency, or as both are to one place;
 * by nothing else, and so not by the lines' order nor by a lock. Loads are done before the
 * branches that they are behind, stores are not. Memory is one for all, as that of arm64
 * is, but for that a CPU may read its own store early, which no step here does.
 *
 * ORDER(name, steps): ordered after these by what the model's comment says of @name. It
 * is taken out by -DNO_name=1.
 */
#define B(step)			(1 << (step))
#define ORDER(name, steps)	(NO_##name -> 0 : (steps))
#define READY(step, after)	\
	(!(did & B(step)) && (did & (after)) == (after)) -> did = did | B(step)
