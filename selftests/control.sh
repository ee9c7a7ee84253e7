#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The tool fbuf as a control plane: pools, statistics, limits, events.

KSFT_SKIP=4
PLAN=28
tmp=$(mktemp -d)
nr=0
failed=0
id=
holder=
trap cleanup EXIT

# shellcheck disable=SC2317 # the trap calls it
cleanup()
{
	exec 3>&-
	fbuf limit set --pool none --user none 2>/dev/null
	fbuf limit set --uid root --user default 2>/dev/null
	[ -z "$holder" ] || kill "$holder" 2>/dev/null
	rm -rf "$tmp"
}

skip_all()
{
	echo "1..0 # SKIP $*"
	exit $KSFT_SKIP
}

report()
{
	nr=$((nr + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $nr $2"
	else
		echo "not ok $nr $2"
		sed 's/^/# /' "$tmp"/out* "$tmp"/err* 2>/dev/null
		failed=1
	fi
	rm -f "$tmp"/out* "$tmp"/err*
}

skip()
{
	nr=$((nr + 1))
	echo "ok $nr $1 # SKIP $2"
}

# Runs it with its output in files, for report to show.
run()
{
	"$@" >"$tmp/out" 2>"$tmp/err"
}

# Fails with a message, on standard error, that has these words.
fails_with()
{
	words=$1
	shift
	if run "$@"; then
		echo "# \"$*\" did not fail"
		return 1
	fi
	grep -qi "$words" "$tmp/err"
}

# The last output has all of these.
has()
{
	for pattern; do
		if ! grep -q "$pattern" "$tmp/out"; then
			echo "# the output has no \"$pattern\""
			return 1
		fi
	done
}

# The last output is JSON: every bracket is closed by its like.
json()
{
	awk '{
		gsub(/"([^"\\]|\\.)*"/, "")
		for (i = 1; i <= length($0); i++) {
			c = substr($0, i, 1)
			if (c == "{" || c == "[")
				stack = c stack
			else if (c == "}" || c == "]") {
				if (substr(stack, 1, 1) != (c == "}" ? "{" : "["))
					exit bad = 1
				stack = substr(stack, 2)
			}
		}
	} END { exit bad || stack != "" || !NR }' "$tmp/out"
}

# value NAME: the first number of this name in the last output
value()
{
	sed -n "s/.*\"$1\": *\\([0-9]*\\).*/\\1/p" "$tmp/out" | head -n 1
}

# Waits until a file has this; up to 20 seconds.
wait_for()
{
	tries=0
	while [ $tries -lt 200 ]; do
		grep -q "$1" "$2" 2>/dev/null && return 0
		tries=$((tries + 1))
		sleep 0.1
	done
	return 1
}

# A pool that stays until fd 3 is closed; sets $id and $holder.
hold_pool()
{
	rm -f "$tmp/fifo"
	mkfifo "$tmp/fifo"
	fbuf pool make --hold "$@" <"$tmp/fifo" >"$tmp/held" 2>"$tmp/err-held" &
	holder=$!
	exec 3>"$tmp/fifo"
	wait_for '^pool [0-9]*:' "$tmp/held" || return 1
	id=$(sed -n 's/^pool \([0-9]*\):.*/\1/p' "$tmp/held")
}

# shellcheck disable=SC2317 # run calls it
nobody() { su -s /bin/sh nobody -c "PATH=$PATH $*" 3>&-; }

# Sends a file of so many bytes to a receiver here.
transfer()
{
	head -c "$1" /dev/zero >"$tmp/file"
	: >"$tmp/err-recv"
	fbuf recv 0 >"$tmp/out-recv" 2>"$tmp/err-recv" 3>&- &
	recv=$!
	wait_for 'listening on port' "$tmp/err-recv" || return 1
	port=$(sed -n 's/.*listening on port \([0-9]*\).*/\1/p' "$tmp/err-recv")
	run fbuf send "$tmp/file" 127.0.0.1 "$port" && wait "$recv"
}

# What all pools sent, and all bytes, before and after.
stat_counts()
{
	run fbuf -j stat || return 1
	sends=$(value sends)
	bytes=$(value bytes)
	transfer 1000000 && run fbuf -j stat && json || return 1
	[ "$(value bytes)" -eq $((bytes + 1000000)) ] &&
		[ "$(value sends)" -gt "$sends" ]
}

# Waits until no pool of an earlier test is left, whose end would be an event.
only_ours()
{
	tries=0
	while [ $tries -lt 100 ]; do
		[ "$(fbuf pool list | wc -l)" -eq 2 ] && return 0
		tries=$((tries + 1))
		sleep 0.1
	done
	return 1
}

# Without the faults of make inject: a call that is made again is an event more.
once() { env -u LD_PRELOAD "$@"; }

# Events in the background, until so many came; ready once it has told of ours.
watch()
{
	timeout 30 fbuf "$@" >"$tmp/out" 2>"$tmp/err" 3>&- &
	watcher=$!
	wait_for "exists" "$tmp/out"
}

# A receiver that stops to read: the sender's pool runs dry, and its buffers stay
# in flight. When it goes on, all arrives.
stuck_peer()
{
	stuck_ms=/sys/module/fbuf/parameters/stuck_ms
	read -r before <$stuck_ms
	echo 300 >$stuck_ms
	# The pool that is held, the other one made, dry and stuck.
	watch pool watch -n 3 && stop_and_go
	status=$?
	echo "$before" >$stuck_ms
	[ $status -eq 0 ] &&
		has "created  *pool" "exhausted  *pool" "stuck  *pool .*inode [1-9]"
}

stop_and_go()
{
	head -c 16777216 /dev/zero >"$tmp/file"
	: >"$tmp/err-recv"
	fbuf recv 0 "$tmp/got" >/dev/null 2>"$tmp/err-recv" &
	recv=$!
	wait_for "listening on port" "$tmp/err-recv" || return
	port=$(sed -n 's/.*listening on port \([0-9]*\).*/\1/p' "$tmp/err-recv")
	kill -STOP $recv
	once fbuf send -b 64K -n 8 "$tmp/file" 127.0.0.1 "$port" >/dev/null 2>"$tmp/err-send" &
	send=$!
	wait "$watcher"
	status=$?
	kill -CONT $recv
	wait $send && wait $recv && cmp "$tmp/file" "$tmp/got" && [ $status -eq 0 ]
}

# A watch that has no room for events misses that of the pool's end, and is told so.
lost_end()
{
	room=/proc/sys/net/core/rmem_max
	hold_pool -b 64K -n 1 || return
	before=$(cat $room)	# sh reads a byte at a time, which sysctls do not do
	echo 2304 >$room
	fbuf pool watch "$id" >"$tmp/out" 2>"$tmp/err" 3>&- &
	watcher=$!
	wait_for "exists" "$tmp/out"
	status=$?
	echo "$before" >$room
	kill -STOP $watcher
	for _ in 1 2 3 4 5 6 7 8; do
		fbuf pool make -b 64K -n 1 >/dev/null
	done
	exec 3>&-
	wait "$holder" && holder=
	kill -CONT $watcher
	[ $status -eq 0 ] && wait_for "destroyed  *pool $id" "$tmp/out" &&
		grep -q "were lost" "$tmp/err" && wait $watcher && return
	kill $watcher
	return 1
}

completion()
{
	file=$(dirname "$0")/completion.bash
	[ -e "$file" ] || file=$(dirname "$0")/../user/fbuf/completion.bash
	# shellcheck disable=SC2016 # the inner shell's
	run bash -c '. "$0" && COMP_WORDS=(fbuf pool show "") COMP_CWORD=3 &&
		_fbuf && echo "${COMPREPLY[@]}"' "$file" && grep -qw "$id" "$tmp/out"
}

command -v fbuf >/dev/null || skip_all "the tool fbuf is not in PATH"
[ -c /dev/fbuf ] || skip_all "no /dev/fbuf: is the module loaded?"
[ "$(id -u)" = 0 ] || skip_all "only root sees all pools and sets limits"
chmod 755 "$tmp"

echo "TAP version 13"
echo "1..$PLAN"

hold_pool -b 64K -n 4 --protect snapshot --sigbus
report $? "a_pool_is_held"

# As far as HELD: nobody holds a buffer of it.
run fbuf pool && has "^ *$id  root  *4  *64.0 KiB  *0 .*snapshot"
report $? "list"

run fbuf pool list -j && json && has "\"id\": $id," '"pool_size": 262144' \
	'"protection": "snapshot"' '"sigbus": true' '"charged": 262144'
report $? "list_json"

run fbuf pool show "$id" &&
	has "^pool $id: 256.0 KiB, 4 buffers of 64.0 KiB, snapshot (SIGBUS)" \
		'charged to .*root.*256.0 KiB' 'in flight  *0$' 'sent  *0 gathers' \
		'handle .*read write alloc send'
report $? "show"

run fbuf -j pool show "$id" && json && has "\"id\": $id," '"nr_bufs": 4' \
	'"nr_held": 0' '"handles": \[' '"max_holds": 0' '"sends": 0' '"send"'
report $? "show_json"

fails_with "no pool 4294967295" fbuf pool show 4294967295
report $? "show_unknown_pool"

fails_with "number of a pool" fbuf pool show x
report $? "show_no_number"

# Others see neither the pool, nor that there is one.
if su -s /bin/sh nobody -c true 2>/dev/null; then
	run nobody fbuf -j pool list && json && ! has "\"id\": $id," >/dev/null
	report $? "others_list_without_it"
	fails_with "no pool $id" nobody fbuf pool show "$id"
	report $? "others_show_refused"
	fails_with "no pool $id" nobody fbuf stat "$id"
	report $? "others_stat_refused"
	run nobody fbuf stat && has "yours"
	report $? "others_stat_of_their_own"
	fails_with "root" nobody fbuf limit set --pool 1M
	report $? "others_set_no_limit"
	run nobody timeout 3 fbuf pool watch
	grep -q "looking every second" "$tmp/err"
	report $? "others_watch_by_looking"
else
	for test in list_without_it show_refused stat_refused stat_of_their_own \
		set_no_limit watch_by_looking; do
		skip "others_$test" "cannot become nobody"
	done
fi

stat_counts
report $? "stat_counts"

run fbuf -j stat "$id" && json && has "\"pool\": $id," '"sends": 0' &&
	run fbuf stat -a && has "^ *$id  *0 "
report $? "stat_of_a_pool"

run fbuf -j stat -i 0.1 -n 2 && json && [ "$(wc -l <"$tmp/out")" -eq 2 ] &&
	has '"seconds":' '"rates":\[{"sends":0'
report $? "stat_rates"

run fbuf top -d 0.1 -n 2 && [ "$(grep -c "^ *$id  root " "$tmp/out")" -eq 2 ] &&
	run fbuf -j top -d 0.1 -n 2 && json && [ "$(wc -l <"$tmp/out")" -eq 2 ] &&
	has "\"id\":$id," '"rates":{'
report $? "top"

run fbuf limit set --pool 1M --user 2M && run fbuf -j limit && json &&
	has '"pool_max": 1048576' '"user_max": 2097152' '"uid": 0' \
		'"own": false' '"charged": 262144' &&
	run fbuf limit && has 'one pool  *1.0 MiB' 'one user  *2.0 MiB' '^root .*256.0 KiB'
report $? "limits_are_set_and_shown"

fails_with "limit for one pool is 1.0 MiB.*limit set --pool" fbuf pool make -b 64K -n 17 &&
	run fbuf pool make -b 64K -n 16
report $? "limit_of_a_pool"

run fbuf limit set --pool none &&
	fails_with "limit for user root is 2.0 MiB.*limit set --uid root --user" \
		fbuf pool make -b 64K -n 29 &&
	run fbuf pool make -b 64K -n 28
report $? "limit_of_a_user"

run fbuf limit set --uid root --user 8M && run fbuf pool make -b 64K -n 29 &&
	run fbuf -j limit && has '"own": true' '"user_max": 8388608' '"user_max": 2097152'
report $? "own_limit"

run fbuf limit set --uid 0 --user default && run fbuf -j limit && has '"own": false' &&
	fails_with "limit for user" fbuf pool make -b 64K -n 29 &&
	run fbuf limit set --user none && run fbuf pool make -b 64K -n 29
report $? "own_limit_taken_away"

fails_with "goes with --uid" fbuf limit set --user default &&
	fails_with "no user" fbuf limit set --uid no-such-user --user 1M &&
	fails_with "takes --pool or --user" fbuf limit set
report $? "limit_set_without_sense"

only_ours && watch pool watch -n 2 && once fbuf pool make -b 64K -n 2 >/dev/null && wait "$watcher" &&
	has "exists  *pool $id:" "created  *pool .* 2 buffers of 64.0 KiB" "destroyed  *pool"
report $? "watch"

stuck_peer
report $? "watch_sees_a_stuck_peer"

completion
report $? "completion_knows_the_pools"

# With the pool the watch ends, too.
watch -j pool watch "$id" && exec 3>&- && wait "$holder" && holder= &&
	wait "$watcher" && json && has "\"id\":$id,.*\"event\":\"destroyed\""
report $? "watch_ends_with_the_pool"

lost_end
report $? "watch_ends_if_events_are_lost"

exit $failed
