#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # it has local; words and numbers; functions are given to others
# Buffers that others keep in flight: the program goes on by plain write(), its memory
# stays within what --pool says, and --stats says why.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/run/programs.sh
. "$here/programs.sh"

port=11211
pool=16M
requests=$((requests / 2))

# Whatever goes over loopback, kept and read by nobody.
nobody_reads()
{
	python3 "$here/hold.py" capture >"$tmp/hold" 2>"$tmp/err-hold" &
	servers="$servers $!"
	wait_for ready "$tmp/hold"
}

# Clients that ask for all, and read nothing of it.
clients_stop()
{
	python3 "$here/hold.py" clients $port >"$tmp/hold" 2>"$tmp/err-hold" &
	servers="$servers $!"
	wait_for ready "$tmp/hold"
}

# The bytes that pools have now: of buffers that were touched, and of snapshots, which are
# what is charged beyond the size of the pool.
memory()
{
	fbuf -j pool list 2>/dev/null | python3 -c 'import json, sys
print(sum(pool["resident"] + pool["charged"] - pool["pool_size"] for pool in json.load(sys.stdin)))'
}

# The most that they had while the client asked.
watch_pools()
{
	local most=0 now
	while kill -0 "$1" 2>/dev/null; do
		now=$(memory)
		[ "$now" -le "$most" ] || most=$now
		sleep 0.2
	done
	echo "# pools had at most $most bytes"
	[ $mode = plain ] && return
	[ "$most" -gt 0 ] && [ "$most" -le $((16 << 20)) ] && return
	echo "not what the pool may have: $most" >"$tmp/err-pool"
	return 1
}

# held HOW WHY...: with some kept in flight by HOW
held()
{
	local how=$1 asking status
	server memcached memcached -u root -p $port -U 0 -I 8m -t 4 -m 256
	serves $port || return
	"$here/client" --fill -n 0 memcached 127.0.0.1 $port >/dev/null || return
	$how || return
	asked --fill -n "$requests" -c 16 memcached 127.0.0.1 $port &
	asking=$!
	watch_pools $asking
	status=$?
	wait $asking || return
	stop "$pid"
	[ $mode = plain ] || copied_for "$2" || return
	return $status
}

copied_for()
{
	grep -E "^fbuf run:" "$tmp/log-memcached" | sed 's/^/# /'
	grep -qE "copied [1-9][0-9]* bytes: .*($1)" "$tmp/log-memcached" && return
	echo "it does not say why it copied: $1" >"$tmp/err-why"
	return 1
}

begin 2
twice capture held nobody_reads "in flight|limit|no room"
twice stopped_clients held clients_stop "in flight|limit|no room"
exit $failed
