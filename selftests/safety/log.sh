#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2317 # functions that others call
#
# What was refused at a limit is in the kernel's log: for each limit, whoever floods it,
# and whatever he is called. Each case is a user of its own, who has all of his lines.

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

tidy()
{
	fbuf limit set --pool none --user none
	fbuf limit set --uid 5003 --user default
	chmod 600 /dev/fbuf
}

# user UID COMMAND...: run by him; he is in no group.
user()
{
	local uid=$1
	shift
	setpriv --reuid="$uid" --regid="$uid" --clear-groups --inh-caps=-all "$@"
}

# locking KIB COMMAND...: with that RLIMIT_MEMLOCK
locking()
{
	# shellcheck disable=SC3045 # every shell that there is has it
	(ulimit -l "$1" && shift && "$@")
}

# make UID: a pool of 4 MiB, which is refused.
make()
{
	! user "$1" fbuf pool make >"$tmp/out" 2>"$tmp/err"
}

lines() { dmesg | grep -c "fbuf: refused uid $1, pid [0-9]*: "; }

# told UID WORDS
told()
{
	if dmesg | grep "refused uid $1, pid" | grep -F -- "$2" >"$tmp/told"; then
		tail -n 1 "$tmp/told" | sed 's/^\[[^]]*\] /#> /'
		return
	fi
	dmesg | grep "fbuf:" | tail -n 3 | sed 's/^/# /'
	return 1
}

# logged UID WORDS: the same, and once
logged() { told "$@" && [ "$(lines "$1")" = 1 ]; }

needs root module fbuf setpriv
plan 13
dmesg -c >"$tmp/before"
chmod 666 /dev/fbuf

locking 64 make 5001 && logged 5001 "a pool of 4096 KiB passes RLIMIT_MEMLOCK of uid 5001, 64 KiB, of which 0 KiB are used: raise it by ulimit -l"
report $? "memlock"

fbuf limit set --pool 1M
make 5002 && logged 5002 "a pool of 4096 KiB passes pool_max, 1024 KiB: raise it by fbuf limit set --pool SIZE"
report $? "pool_max"
fbuf limit set --pool none

fbuf limit set --uid 5003 --user 2M
make 5003 && logged 5003 "passes the limit of uid 5003, 2048 KiB, of which 0 KiB are used: raise it by fbuf limit set --uid 5003 --user SIZE"
report $? "limit_of_a_user"

# By the test of it, which fills a pool's parcels.
parcel_max()
{
	"$here/parcel" -t parcel_max >"$tmp/out" && told 0 "a parcel passes parcel_max of its pool, " && told 0 "raise it in /sys/module/fbuf/parameters/parcel_max"
}
parcel_max
report $? "parcel_max"

in_cgroup() { (echo 0 >"$cgroup/cgroup.procs" && "$@"); }
cgroup=/sys/fs/cgroup/fbuf-log-$$
kib=$(page_size) kib=${kib%K}
in_full_cgroup()
{
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control && mkdir "$cgroup" || return
	echo 4M >"$cgroup/memory.max"
	in_cgroup make 5004 && logged 5004 "no memory for a pool of $((4096 / kib)) pages: its memory cgroup is full, raise memory.max"
	local status=$?
	rmdir "$cgroup"
	return $status
}
in_full_cgroup
report $? "cgroup"

# A program that was built with a newer fbuf: its structure is longer, and its tail used.
newer() { user 5005 "$here/abi" -T hold "$@" >"$tmp/out" 2>&1; }
newer -t longer_with_dirty_tail
newer_told() { told 5005 ": the program is for a newer fbuf" && grep -q "of which this module knows [0-9]*:" "$tmp/told"; }
newer_told
report $? "newer_program"

# A program is told by SIGBUS, or ENOMEM. By the tests of that: the group is full, or gone.
by_test()
{
	"$here/bound" -t "$1" >"$tmp/out" && told 0 "no memory for $2 of pool "
}
by_test nothing_after_the_group "a buffer"
report $? "memory_of_a_buffer"
# That took what lines root had.
until_true by_test copies_are_in_the_group "a snapshot"
report $? "memory_of_a_snapshot"

# By its own name a process would write lines of others.
named()
{
	local name="$tmp/x
fbuf: y"
	cp "$(command -v fbuf)" "$name" && chmod 755 "$tmp" "$name" || return
	fbuf limit set --pool 1M
	user 5006 "$name" pool make >"$tmp/out" 2>"$tmp/err"
	fbuf limit set --pool none
	logged 5006 'its name is x\nfbuf: y' && ! dmesg | grep -q '^[^f]*fbuf: y'
}
named
report $? "name_is_no_line"

# flood UID TIMES
flood()
{
	local i=0
	while [ $i -lt "$2" ]; do
		i=$((i + 1))
		user "$1" fbuf pool make 2>/dev/null && return 1
	done
	return 0
}

fbuf limit set --pool 1M
since=$(cut -d . -f 1 /proc/uptime)
flood 5007 40
took=$(($(cut -d . -f 1 /proc/uptime) - since))
[ "$(lines 5007)" -le $((3 * (took / 10 + 1))) ] && [ "$(lines 5007)" -ge 3 ]
report $? "flood_is_a_few_lines"
make 5008 && logged 5008 "pool_max"
report $? "others_have_their_lines_in_a_flood"
# When his time is over, the next one says how many there were.
counted() { make 5007; dmesg | grep "refused uid 5007, " | grep -q "(and [0-9]* times before)" && told 5007 " times before)"; }
until_true counted
report $? "flood_is_counted"

# More users than are remembered, and then one more: he waits for a place.
crowd()
{
	local uid=6000
	while [ $uid -lt 6080 ]; do
		make $uid
		uid=$((uid + 1))
	done
}
has_a_line() { make 5009; [ "$(lines 5009)" -gt 0 ]; }
crowd
until_true has_a_line
report $? "another_after_a_crowd"
exit $failed
