#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # it has local; words and numbers; functions are given to others
# memcached: GETs of whole objects while they are changed, under threads, with its user
# dropped, in the background, out of memory, killed.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/run/programs.sh
. "$here/programs.sh"

port=11211
# start OPTION...
start()
{
	server memcached memcached -u nobody -p $port -U 0 -I 8m "$@"
	serves $port
}

load() { asked -n "$requests" "$@" memcached 127.0.0.1 $port; }

objects()
{
	start -t 4 -m 256 && load --fill -c 16 -t 2
}

eight_threads()
{
	start -t 8 -m 256 && load --fill -c 32 -t 4 -w 20
}

# Most of what it does is to take new versions.
overwritten()
{
	start -t 4 -m 256 && load --fill -c 16 -t 2 -w 60 -k 6
}

# More than it has room for: what it sends, it also throws away.
evicted()
{
	start -t 4 -m 64 && load --lossy -c 16 -t 2 -w 50 -k 400
}

# Again and again, for as long as the client asks.
killed()
{
	local asking
	start -t 4 -m 256 && load --fill -n 0 || return
	load --lossy -c 8 -t 2 -n $((requests * 3)) &
	asking=$!
	while sleep 0.1 && ! ended $asking; do
		stop "$pid" KILL
		start -t 4 -m 256
	done
	wait $asking && ! grep -q "again=0 " "$tmp/client"
}

# It forks, and the one that serves is the child.
daemon()
{
	local status
	server memcached memcached -d -P "$tmp/pid" -u root -p $port -U 0 -I 8m -t 2 -m 256
	until_true has_port $port && load --fill -c 8
	status=$?
	stop "$(cat "$tmp/pid")" && return $status
}

begin 6
twice objects objects
twice eight_threads eight_threads
twice overwritten overwritten
twice evicted evicted
twice killed killed
twice daemon daemon
exit $failed
