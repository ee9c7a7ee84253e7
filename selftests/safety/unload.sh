#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Unloading the module: refused while anything of a pool is in use, possible
# while packets are in flight, which arrive all the same.
#
# FBUF_KO is the module's file; without it, modprobe finds it.

# shellcheck disable=SC2015 # "&& pass || fail": pass cannot fail

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

loaded()
{
	grep -q '^fbuf ' /proc/modules
}

load()
{
	if [ -n "$FBUF_KO" ]; then
		insmod "$FBUF_KO"
	else
		modprobe fbuf
	fi
}

unload()
{
	rmmod fbuf 2>"$tmp/err"
}

# Packets that were read may be freed a little later: try for 10 seconds.
unload_soon()
{
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		unload && return 0
		sleep 1
	done
	return 1
}

# hold WHAT: starts the holder and waits until it holds
hold()
{
	fresh_fifo "$tmp/in"
	fresh_fifo "$tmp/out"
	"$here/flight_hold" "$1" <"$tmp/in" >"$tmp/out" &
	holder=$!
	exec 8>"$tmp/in" 9<"$tmp/out"
	read -r line <&9 && [ "$line" = ready ]
}

# Lets it go; returns what it says.
release()
{
	echo go >&8
	exec 8>&- 9<&-
	wait "$holder"
}

# Ends it without a word.
killed()
{
	kill -9 "$holder" || return
	wait "$holder" 2>/dev/null
	exec 8>&- 9<&-
}

# refused WHAT: with that in use the module stays
refused()
{
	hold "$1" || { release; return 1; }
	if unload; then
		echo "# unloaded with a $1 in use"
		release
		return 1
	fi
	release
	loaded && unload_soon && load
}

# The bytes arrive after the module is gone.
in_flight()
{
	hold flight || { release; return 1; }
	unload || { release; return 1; }
	loaded && return 1
	release
}

# What a user without a pool may have goes with the module, which kmemleak sees.
limit_goes()
{
	fbuf limit set --uid 12345 --user 1M && fbuf limit | grep -q '^12345 ' &&
		unload && load && ! fbuf limit | grep '^12345 '
}

needs root
loaded || skip_all "the module is not loaded, or built in"
if [ -z "$FBUF_KO" ] && ! modprobe -n fbuf 2>/dev/null; then
	skip_all "FBUF_KO does not say where the module is"
fi
unload || skip_all "the module is in use"
# shellcheck disable=SC2317 # called at the end
tidy() { loaded || load; }

plan 12

load && loaded && [ -c /dev/fbuf ]
report $? "load_again"

if command -v fbuf >/dev/null; then
	limit_goes
	report $? "limit_of_a_user_goes"
else
	skip "limit_of_a_user_goes" "the tool fbuf is not in PATH"
fi

refused control
report $? "refused_with_control_fd"

refused pool
report $? "refused_with_pool_fd"

refused map
report $? "refused_with_mapping"

refused ubuf
report $? "refused_with_ubuf_in_flight"

status=0
for _ in 1 2 3 4 5; do
	hold ubuf && killed && unload_soon && load || { status=1; break; }
done
report $status "unload_after_ubuf_is_killed"

in_flight
report $? "bytes_in_flight_arrive_after_unload"

[ ! -e /dev/fbuf ]
report $? "device_is_gone"

# Again and again, for what the first time may have left, and the race with the
# work that looks after pools whose packets are in flight.
status=0
for _ in 1 2 3 4 5; do
	load && in_flight || { status=1; break; }
done
report $status "load_and_unload_in_flight_repeatedly"

# The packets are read, and the work that then frees the pool may be running.
read_then_unload()
{
	load && hold flight && release && sleep "$1" && unload_soon &&
		sleep .4	# else the next load hides code that still runs
}

status=0
for delay in 0 .01 .02 .04 .06 .08 .12 .16; do
	read_then_unload $delay || { status=1; break; }
done
report $status "unload_as_a_pool_in_flight_is_freed"

# Just after many pools were made and closed, of which a listener was told.
status=0
for _ in 1 2 3; do
	# A fault would lose an event.
	load && once "$here/pools" -t in_order >"$tmp/err" 2>&1 && unload ||
		{ status=1; break; }
done
report $status "unload_after_a_storm_of_events"

exit $failed
