#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# fbuf compare --count: figures that are known, and nothing left behind.

# shellcheck shell=dash disable=SC2317 # functions that others call

# On one CPU: where QEMU emulates, another that faults while the trace point of page faults
# comes or goes may run on with what was there in between, and the kernel ends.
if [ -z "${ONE_CPU-}" ] && command -v taskset >/dev/null; then
	ONE_CPU=1 exec taskset 1 "$0" "$@"
fi

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

tracing=/sys/kernel/tracing
enabled=/sys/kernel/debug/kprobes/enabled
said="out* err*"

tidy()
{
	[ ! -w "$enabled" ] || echo 1 >"$enabled"
	[ -z "${counter-}" ] || kill -9 "$counter" 2>/dev/null
}

# Once for all cases that look at figures.
counts()
{
	fbuf compare --count --to loopback --dir none --transfers 1 --json --methods \
		write,read-write,mmap-write,sendfile,msg-zerocopy,fbuf,fbuf-secured,fbuf-snapshot,cow \
		>"$tmp/all" 2>"$tmp/err"
}

# look LIST NAME KEY: what the entry of that mechanism has, or one of several, NAME,HAZARD
look()
{
	local i=0 name
	while name=$("$here/json" "$tmp/all" "$1.$i.mechanism" 2>/dev/null); do
		[ "$1" = rows ] || name=$name,$("$here/json" "$tmp/all" "$1.$i.hazard")
		if [ "$name" = "$2" ]; then
			"$here/json" "$tmp/all" "$1.$i.$3"
			return
		fi
		i=$((i + 1))
	done
	return 1
}

# about MECHANISM KEY FIGURE: within a hundredth
about()
{
	local got
	got=$(look rows "$1" "$2") || { echo "# no $2 of $1"; return 1; }
	awk -v got="$got" -v want="$3" 'BEGIN { d = got - want; exit d < -0.01 || d > 0.01 }' &&
		return
	echo "# $2 of $1 is $got, not $3"
	return 1
}

are_verified()
{
	local mechanism
	for mechanism; do
		[ "$(look rows "$mechanism" verified)" = true ] && continue
		echo "# $mechanism is not verified"
		return 1
	done
}

known_copies()
{
	about write cpu_copied 1 && about read-write cpu_copied 2 &&
		about sendfile cpu_copied 0 && about sendfile cpu_copied_receive 1 &&
		about msg-zerocopy cpu_copied_send 0 &&
		about msg-zerocopy cpu_copied_other 1 &&
		are_verified write read-write sendfile msg-zerocopy
}

known_calls()
{
	about write calls 1 && about write crossings 2 && about read-write calls 2 &&
		about read-write crossings 4 && about sendfile calls 1 &&
		about write faults 0 && about write dma_out 0
}

fbuf_copies_nothing()
{
	local mechanism
	for mechanism in fbuf fbuf-secured fbuf-snapshot; do
		about $mechanism cpu_copied 0 && about $mechanism calls 1 &&
			are_verified $mechanism || return
	done
}

# A page for each that is written while it is shared.
copy_on_write() { about cow cpu_copied 1 && are_verified cow; }

# hazard MECHANISM KEY VALUE
hazard()
{
	local got
	got=$(look hazards "$1" "$2")
	[ "$got" = "$3" ] || { echo "# $2 of $1 is $got, not $3"; return 1; }
}

hazards()
{
	local changed="changed in flight"
	hazard "sendfile,$changed" peer_saw new && hazard "fbuf,$changed" peer_saw new &&
		hazard "write,$changed" peer_saw old &&
		hazard "fbuf-secured,$changed" peer_saw old &&
		hazard "fbuf-secured,$changed" waited true &&
		hazard "fbuf-snapshot,$changed" peer_saw old &&
		hazard "fbuf-snapshot,$changed" waited false &&
		hazard "mmap-write,truncated by another" signal 7
}

# Those of tables are no longer than a terminal's; all that is said fits.
narrow()
{
	run fbuf compare --count --to loopback --dir none --transfers 1 --no-hazards \
		--methods write,sendfile &&
		! grep -n '.\{81\}' "$tmp/out" && grep -q '^write *1.00 (1) ' "$tmp/out"
}

nothing_left()
{
	! grep -q fbuf_count_ $tracing/kprobe_events && ! ip netns | grep -q '^fbc-' &&
		[ -z "$(find $tracing/instances -maxdepth 1 -name 'fbuf_count_*')" ]
}

veth_is_there() { ip netns | grep -q "^fbc-$counter-"; }

# left_by SIGNAL: what is there after it ended a run that had a veth as well
left_by()
{
	fbuf compare --count --dir none --to veth >"$tmp/out" 2>"$tmp/err" &
	counter=$!
	until_true grep -q "fbuf_count_$counter/" $tracing/kprobe_events &&
		until_true veth_is_there || return
	kill -"$1" $counter
	wait $counter
	counter=
	until_true nothing_left
}

# With all kprobes switched off none of them sees anything.
missed()
{
	local status
	echo 0 >"$enabled" || return
	run fbuf compare --count --to loopback --dir none --methods write
	status=$?
	echo 1 >"$enabled"
	[ $status = 1 ] && grep -q "probes miss" "$tmp/err" && [ ! -s "$tmp/out" ]
}

needs root module fbuf
if [ "$(uname -m)" != x86_64 ]; then
	plan 1
	counts
	[ $? = 1 ] && grep -q "for x86-64 alone" "$tmp/err" && [ ! -s "$tmp/all" ]
	report $? "refused_where_it_does_not_know_the_processor"
	exit $failed
fi
if [ ! -e $tracing/kprobe_events ] || [ ! -e $tracing/events/raw_syscalls/sys_enter/hist ]; then
	skip_all "no probes here, or no histograms of them"
fi

plan 12
counts
report $? "every_row_is_measured"
known_copies
report $? "known_copies"
known_calls
report $? "known_calls"
fbuf_copies_nothing
report $? "fbuf_copies_nothing"
copy_on_write
report $? "copy_on_write"
hazards
report $? "hazards"
narrow
report $? "lines_fit"
nothing_left
report $? "leaves_nothing"
left_by KILL
report $? "killed_leaves_nothing"
left_by TERM
report $? "ended_leaves_nothing"
missed
report $? "missed_copies_are_noticed"
fails_with "needs root" as_nobody fbuf compare --count
report $? "refuses_nobody"
exit $failed
