#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Tracepoints: each fires when what it is named after happens.

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

EVENTS="create alloc fill send copy reuse protect snapshot free"
tracing=/sys/kernel/tracing
trace=$tracing/instances/fbuf-$$

# A file through a small pool, to a receiver that drops it.
transfer()
{
	receiver fbuf recv 0 /dev/null || return
	fbuf send "$@" "$tmp/file" 127.0.0.1 "$port" >/dev/null 2>&1
	wait "$recv"
}

needs root module fbuf
[ -d $tracing/events/fbuf ] || skip_all "no tracefs, or no tracepoints"
# Else the scheduler's tracepoints are switched on, too; an instance takes it over.
record=$(cat "$tracing/options/record-cmd")
echo 0 >"$tracing/options/record-cmd"
mkdir "$trace" 2>/dev/null || skip_all "no trace instances"
# shellcheck disable=SC2317 # called at the end
tidy()
{
	echo 0 >"$trace/events/fbuf/enable"
	rmdir "$trace"
	echo "$record" >"$tracing/options/record-cmd"
}
echo 1 >"$trace/events/fbuf/enable" || skip_all "cannot switch events on"

plan "$(echo "$EVENTS x" | wc -w)"

head -c 4194304 /dev/zero >"$tmp/file"
transfer -b 64K -n 4 && transfer --engine copy && "$here/protect" -f snap >/dev/null
report $? "buffers_are_used"
cat "$trace/trace" >"$tmp/trace"
for event in $EVENTS; do
	# Name and fields, the first of which is the pool.
	if grep -q "fbuf_$event: pool=[1-9][0-9]* [a-z]*=[0-9]" "$tmp/trace"; then
		report 0 "$event"
	elif [ "$event" = reuse ] && [ "$(nproc)" = 1 ]; then
		skip "$event" "one CPU only: the receiver may keep up"
	else
		report 1 "$event"
	fi
done
exit $failed
