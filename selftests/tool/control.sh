#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The tool fbuf as a control plane: pools, statistics, limits, events.

# shellcheck disable=SC2317 # functions that others call

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

said="out* err*"
id=
holder=

tidy()
{
	exec 3>&- 4>&-
	fbuf limit set --pool none --user none 2>/dev/null
	fbuf limit set --uid root --user default 2>/dev/null
	[ -z "$holder" ] || kill "$holder" 2>/dev/null
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

# The last output is JSON, and if more is said, what is at a path of it is that.
json() { json_in "$tmp/out" "$@"; }

# No line of the last output is longer than a terminal's.
narrow() { ! grep -n '.\{81\}' "$tmp/out"; }

# value NAME: the first number of this name in the last output
value()
{
	sed -n "s/.*\"$1\": *\\([0-9]*\\).*/\\1/p" "$tmp/out" | head -n 1
}

# column HEAD: the line up to the end of that column, in the row below its head; a table
# may come in parts, and sizes have a space.
column()
{
	awk -v head="$1" 'at { print substr($0, 1, at); exit }
		{ at = match($0, head "( |$)") ? RSTART + length(head) - 1 : 0 }' "$tmp/out"
}

# A pool that stays until fd 3 is closed; sets $id and $holder.
hold_pool()
{
	fresh_fifo "$tmp/fifo" "$tmp/held"
	fbuf pool make --hold "$@" <"$tmp/fifo" >"$tmp/held" 2>"$tmp/err-held" &
	holder=$!
	exec 3>"$tmp/fifo"
	wait_for '^pool [0-9]*:' "$tmp/held" || return 1
	id=$(sed -n 's/^pool \([0-9]*\):.*/\1/p' "$tmp/held")
}

# Sends a file of so many bytes to a receiver here.
transfer()
{
	head -c "$1" /dev/zero >"$tmp/file"
	receiver fbuf recv 0 || return
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

# No pool of an earlier test is left, whose end would be an event.
only_ours() { [ "$(fbuf pool list | wc -l)" -eq 2 ]; }

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
	receiver fbuf recv 0 "$tmp/got" || return
	kill -STOP "$recv"
	once fbuf send -b 64K -n 8 "$tmp/file" 127.0.0.1 "$port" >/dev/null 2>"$tmp/err-send" &
	send=$!
	wait "$watcher"
	status=$?
	kill -CONT "$recv"
	wait $send && wait "$recv" && cmp "$tmp/file" "$tmp/got" && [ $status -eq 0 ]
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

# A pool of the program captured, in one of its ways; sets $pool, $inode, $second.
capture()
{
	fresh_fifo "$tmp/fifo4" "$tmp/held4"
	env -u LD_PRELOAD "$here/captured" "$1" <"$tmp/fifo4" >"$tmp/held4" \
		2>"$tmp/err-held4" 3>&- &
	captured=$!
	exec 4>"$tmp/fifo4"
	wait_for '^pool' "$tmp/held4" || return
	read -r _ pool _ inode _ second <"$tmp/held4"
}

# The program's next step, which closes the socket; and the one after, its end.
capture_closes() { echo >&4 && wait_for closed "$tmp/held4"; }
capture_ends() { echo >&4; exec 4>&-; wait "$captured"; }

# A process that has the pool twice, one that has it once, and a handle of nobody.
names_all_that_share()
{
	capture shared || return
	run fbuf pool show "$pool" && narrow &&
		has "^  *pid $captured (captured), fd [0-9]*$" \
			"^  *pid $second (captured), fd [0-9]*, [0-9]*$" \
			"^  *open in no process that was seen" &&
		run fbuf -j pool show "$pool" && json &&
		has "\"pid\": $captured," "\"pid\": $second," '"processes": \[\]'
	status=$?
	capture_ends && [ $status -eq 0 ]
}

# Only a thread has it, which is named by its process.
names_the_process_of_a_thread()
{
	capture "$1" || return
	run fbuf pool show "$pool" && has "^  *pid $captured (captured), fd [0-9]*$" &&
		run fbuf pool --who && narrow && has "^ *$pool .* captured $captured$"
	status=$?
	capture_ends && [ $status -eq 0 ]
}

# All pools, by who has them; of what others have who may not look.
list_names_the_processes()
{
	capture shared || return
	run fbuf pool --who && narrow && has "^ *$pool  root .* captured $captured, captured $second$" &&
		run fbuf -j pool list --who && json &&
		has "\"pid\": $captured," "\"pid\": $second," "\"pid\": $holder,"
	status=$?
	capture_ends && [ $status -eq 0 ]
}

# Packets wait in a packet socket that nobody reads; the sender's is done with them.
captured_by_a_packet_socket()
{
	capture packet || return
	run fbuf pool show "$pool" && narrow && has "to the socket with inode $inode$" \
			"not the socket: it is empty; look for captures" NFQUEUE \
			"packet socket" "KiB unread" &&
		run fbuf -j pool show "$pool" && json socket.state empty &&
		json socket.not_it true && json socket.processes.0.pid "$captured" &&
		capture_closes && run fbuf pool show "$pool" && narrow &&
		has "not the socket: it is closed; look for captures" "KiB unread" &&
		run fbuf -j pool show "$pool" && json socket.state closed &&
		json socket.not_it true && has '"unread": [1-9]'
	status=$?
	capture_ends && [ $status -eq 0 ]
}

# A peer that does not read: it is the socket, even after it was closed.
unread_by_the_peer()
{
	capture unread || return
	run fbuf pool show "$pool" && has "it has [0-9.]* KiB to send, which" &&
		run fbuf -j pool show "$pool" && json socket.state sending &&
		json socket.not_it false && capture_closes &&
		run fbuf pool show "$pool" && has "it is closed; connections that" &&
		! grep -q "not the socket" "$tmp/out" &&
		run fbuf -j pool show "$pool" && json socket.state closed &&
		json socket.not_it false && json socket.closed_senders 1
	status=$?
	capture_ends && [ $status -eq 0 ]
}

# Of whom may not look into the processes of others.
others_show_what_they_see()
{
	hold_pool_of_nobody || return
	run as_nobody fbuf pool show "$pool" && narrow && has "^  *pid $holder2 (fbuf), fd" \
			"processes that could not be looked into: [1-9][0-9]*; root can" &&
		run as_nobody fbuf -j pool show "$pool" && json handles.0.processes.0.pid "$holder2" &&
		has '"unseen_processes": [1-9]'
	status=$?
	exec 4>&-
	wait "$holder2" && [ $status -eq 0 ]
}

hold_pool_of_nobody()
{
	fresh_fifo "$tmp/fifo4" "$tmp/held4"
	become_nobody env -u LD_PRELOAD fbuf pool make --hold \
		<"$tmp/fifo4" >"$tmp/held4" 2>"$tmp/err-held4" 3>&- &
	holder2=$!
	exec 4>"$tmp/fifo4"
	wait_for '^pool' "$tmp/held4" || return
	pool=$(sed -n 's/^pool \([0-9]*\):.*/\1/p' "$tmp/held4")
}

# A sender of nobody's whose receiver has stopped to read; sets $sender, $recv.
stall()
{
	receiver env -u LD_PRELOAD fbuf recv 0 || return
	kill -STOP "$recv"
	become_nobody env -u LD_PRELOAD fbuf send "$@" "$tmp/file" 127.0.0.1 "$port" \
		>/dev/null 2>&1 3>&- &
	sender=$!
}

let_go()
{
	kill "$sender"
	kill -KILL "$recv"
	wait "$sender" "$recv" 2>/dev/null
}

# Nobody's pools are gone; or handed out so many buffers.
no_pool_of_nobody() { ! once fbuf pool list | grep -q " nobody "; }
handed_out()
{
	run as_nobody env -u LD_PRELOAD fbuf -j stat
	[ "$(value allocs)" -ge "$1" ]
}

# A user's pool that did much closes between two looks, and another one does a
# little: that must not be lost in what the first one takes away.
stat_rates_when_a_pool_closes()
{
	head -c 33554432 /dev/zero >"$tmp/file"
	chmod 644 "$tmp/file"
	stall -b "$(page_size)" -n 64 || return
	until_true handed_out 64 || { let_go; return 1; }
	become_nobody env -u LD_PRELOAD fbuf -j stat -i 0.1 -n 20 \
		>"$tmp/rates" 2>"$tmp/err" 3>&- &
	looker=$!
	wait_for rates "$tmp/rates"
	kill -STOP $looker
	seen=$(wc -l <"$tmp/rates")
	let_go
	until_true no_pool_of_nobody && stall -b 64K -n 2 && until_true handed_out 1
	status=$?
	kill -CONT $looker
	wait $looker
	let_go
	rm -f "$tmp/file"
	tail -n +$((seen + 1)) "$tmp/rates" >"$tmp/out"
	[ $status -eq 0 ] && json && has '"pools":"yours"' '"allocs":[0-9.]*[1-9]'
}

# offers WORD...: what the completion offers for the last one
offers()
{
	# shellcheck disable=SC2016 # the inner shell's
	run bash -c '. "$0" && COMP_WORDS=(fbuf "$@") COMP_CWORD=$# || exit
		_fbuf; printf "%s\n" "${COMPREPLY[@]}"' "$file" "$@"
}

completion_offers_names()
{
	cd "$tmp" || return
	touch a_file write
	mkdir send
	offers compare -M w && has '^write$' && offers send "" && has '^a_file$' &&
		offers send a_file "" && ! grep a_file "$tmp/out" &&
		offers pool show "" && ! grep a_file "$tmp/out" &&
		offers pool show --fd "" && ! grep a_file "$tmp/out" &&
		offers stat -i "" && ! grep a_file "$tmp/out" &&
		offers compare -o a && has '^a_file$' &&
		offers pool l && has '^list$' '^ls$' && offers po sh && has '^show$' &&
		offers send --engine = pageref,sp && has '^pageref,splice$' &&
		! grep -q 'complete.*filenames' "$file"
	status=$?
	rm -rf a_file write send
	cd "$OLDPWD" && return $status
}

completion_knows_the_pools()
{
	offers pool show "" && grep -qx "$id" "$tmp/out"
}

# All commands, as words; the tool itself is "".
commands="help send recv compare bench cost demo pool pool_list pool_show pool_watch
	pool_make stat top limit limit_set"

help_tells_when_it_is_not_written()
{
	for command in "" $commands; do
		# shellcheck disable=SC2046 # they are words
		set -- $(echo "$command" | tr _ ' ')
		run fbuf "$@" --help && narrow || return
		if fbuf "$@" --help >/dev/full 2>"$tmp/err"; then
			echo "# \"fbuf $* --help\" did not fail"
			return 1
		fi
		grep -q "^fbuf: Cannot write the result: No space" "$tmp/err" || return
	done
}

results_tell_when_they_are_not_written()
{
	for command in "--version" "help pool" "pool" "-j pool" "pool show $id" \
		"-j pool show $id" "pool watch -n 1" "pool make" "stat" "-j stat" "stat -a" \
		"stat -i 0.1 -n 1" "-j stat -i 0.1 -n 1" "top -n 1 -d 0.1" \
		"-j top -n 1 -d 0.1" "limit" "-j limit" "bench --methods help"; do
		# shellcheck disable=SC2086 # they are words
		if timeout 20 fbuf $command >/dev/full 2>"$tmp/err"; then
			echo "# \"fbuf $command\" did not fail"
			return 1
		fi
		grep -q "^fbuf: Cannot write the result: No space" "$tmp/err" || return
	done
}

# In the tool's name, and with where the help is.
options_unknown_are_told()
{
	for command in $commands; do
		[ "$command" != help ] || continue
		command=$(echo "$command" | tr _ ' ')
		for option in --no-such-option -? --jso=1; do
			# shellcheck disable=SC2086 # they are words
			fbuf $command $option >"$tmp/out" 2>"$tmp/err"
			if [ $? -ne 2 ] || ! grep -q "^fbuf: .*option" "$tmp/err" ||
			   ! grep -q "^Try \"fbuf $command --help\"" "$tmp/err"; then
				echo "# fbuf $command $option"
				return 1
			fi
		done
	done
	fails_with '"-i" takes an argument' fbuf stat -i &&
		fails_with '"--interval" takes an argument' fbuf stat --json --int &&
		fails_with '"--all" takes no argument' fbuf stat --all=1 &&
		fails_with 'no option "-x"' fbuf stat --json -xj
}

abbreviations()
{
	run fbuf po ls && has "^ *$id " && run fbuf pool l && has "^ *$id " &&
		run fbuf po sh "$id" && has "^pool $id:" &&
		fails_with "several commands: send, stat" fbuf s &&
		fails_with "several commands: show, set" fbuf limit s &&
		fails_with "no command \"pool x\"" fbuf pool x &&
		run fbuf help pool show && has "^Usage: fbuf pool show" &&
		run fbuf help && has "^Usage: fbuf .*COMMAND" &&
		run fbuf pool help && has "^Usage: fbuf pool" &&
		run fbuf limit help && has "^Usage: fbuf limit" &&
		fails_with "no command" fbuf help no-such-command
}

tables_are_narrow()
{
	run fbuf stat && narrow && has "^POOL  *SENDS" "FILLED" &&
		run fbuf stat -a && narrow && has "^ *$id " &&
		run fbuf stat -i 0.1 -n 2 && narrow && [ "$(grep -c FILLED "$tmp/out")" -eq 2 ] &&
		run fbuf top -n 1 -d 0.1 && narrow && run fbuf pool list && narrow &&
		run fbuf limit && narrow
}

# Only root sees all pools and sets limits.
needs root module fbuf
chmod 755 "$tmp"
plan 47

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

# The owner of a pool, by the descriptor that he has open.
run fbuf pool show "$id" && has "^  *pid $holder (fbuf), fd [0-9]*$" &&
	run fbuf -j pool show "$id" && json handles.0.processes.0.pid "$holder" &&
	json handles.0.processes.0.command fbuf && json unseen_processes 0
report $? "show_names_the_processes"

names_all_that_share
report $? "show_names_all_that_share"

names_the_process_of_a_thread thread
report $? "names_the_process_of_a_thread"

names_the_process_of_a_thread gone
report $? "names_the_process_whose_first_thread_ended"

list_names_the_processes
report $? "list_names_the_processes"

captured_by_a_packet_socket
report $? "captured_buffers_are_not_the_sockets"

unread_by_the_peer
report $? "unread_buffers_are_the_sockets"

fails_with "no pool 4294967295" fbuf pool show 4294967295
report $? "show_unknown_pool"

fails_with "number of a pool" fbuf pool show x
report $? "show_no_number"

# Others see neither the pool, nor that there is one.
if as_nobody true 2>/dev/null; then
	run as_nobody fbuf -j pool list && json && ! has "\"id\": $id," >/dev/null
	report $? "others_list_without_it"
	fails_with "no pool $id" as_nobody fbuf pool show "$id"
	report $? "others_show_refused"
	fails_with "no pool $id" as_nobody fbuf stat "$id"
	report $? "others_stat_refused"
	run as_nobody fbuf stat && has "yours"
	report $? "others_stat_of_their_own"
	fails_with "root" as_nobody fbuf limit set --pool 1M
	report $? "others_set_no_limit"
	run as_nobody timeout 3 fbuf pool watch
	grep -q "looking every second" "$tmp/err"
	report $? "others_watch_by_looking"
	mode=$(stat -c %a /dev/fbuf)
	chmod 666 /dev/fbuf
	others_show_what_they_see
	report $? "others_show_what_they_see"
	stat_rates_when_a_pool_closes
	report $? "others_stat_rates_when_a_pool_closes"
	chmod "$mode" /dev/fbuf
else
	for test in list_without_it show_refused stat_refused stat_of_their_own \
		set_no_limit watch_by_looking show_what_they_see \
		stat_rates_when_a_pool_closes; do
		skip "others_$test" "cannot become nobody"
	done
fi

stat_counts
report $? "stat_counts"

# What was read from files is as bytes are.
run fbuf stat && column FILLED | grep -q '[0-9.] [KMG]iB$'
report $? "stat_shows_bytes_filled"

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

run fbuf limit && has 'memory cgroups of root are not enough' &&
	run fbuf limit set --cgroup-alone yes && run fbuf limit && has 'memory cgroups of root are enough' &&
	run fbuf -j limit && json cgroup_alone 1 && run fbuf limit set --cgroup-alone no &&
	run fbuf -j limit && json cgroup_alone 0
report $? "memory_cgroups_are_enough_or_not"

fails_with "limit for one pool is 1.0 MiB.*limit set --pool" fbuf pool make -b 64K -n 17 &&
	run fbuf pool make -b 64K -n 16
report $? "limit_of_a_pool"

# More than a signed number holds.
run fbuf limit set --pool 18446744073709551615 && run fbuf -j limit && json &&
	has '"pool_max": 18446744073709551615,' && run fbuf limit set --pool 9223372036854775807 &&
	run fbuf -j limit && json pool_max 9223372036854775807
report $? "numbers_have_no_sign"

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
	fails_with "takes --pool, --user or --cgroup-alone" fbuf limit set &&
	fails_with "yes.* or .*no" fbuf limit set --cgroup-alone maybe
report $? "limit_set_without_sense"

until_true only_ours && watch pool watch -n 2 &&
	once fbuf pool make -b 64K -n 2 >/dev/null && wait "$watcher" &&
	has "exists  *pool $id:" "created  *pool .* 2 buffers of 64.0 KiB" "destroyed  *pool"
report $? "watch"

stuck_peer
report $? "watch_sees_a_stuck_peer"

file=$here/completion.bash
completion_knows_the_pools
report $? "completion_knows_the_pools"

completion_offers_names
report $? "completion_offers_names"

help_tells_when_it_is_not_written
report $? "help_tells_when_it_is_not_written"

results_tell_when_they_are_not_written
report $? "results_tell_when_they_are_not_written"

options_unknown_are_told
report $? "options_unknown_are_told"

abbreviations
report $? "abbreviations"

tables_are_narrow
report $? "tables_are_narrow"

fails_with "would have 7.6 TiB, and no pool may have more than 1.0 TiB" \
	fbuf pool make -b 2M -n 4000000 && ! grep "power of two" "$tmp/err"
report $? "pool_too_large"

# With the pool the watch ends, too.
watch -j pool watch "$id" && exec 3>&- && wait "$holder" && holder= &&
	wait "$watcher" && json && has "\"id\":$id,.*\"event\":\"destroyed\""
report $? "watch_ends_with_the_pool"

lost_end
report $? "watch_ends_if_events_are_lost"

exit $failed
