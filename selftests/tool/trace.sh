#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Tracepoints: each fires when what it is named after happens.

KSFT_SKIP=4
EVENTS="create alloc fill send copy reuse protect snapshot free"
dir=$(cd "$(dirname "$0")" && pwd)
tracing=/sys/kernel/tracing
trace=$tracing/instances/fbuf-$$
tmp=$(mktemp -d)
nr=0
failed=0

skip_all()
{
	echo "1..0 # SKIP $*"
	rm -rf "$tmp"
	exit $KSFT_SKIP
}

report()
{
	nr=$((nr + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $nr $2"
	else
		echo "not ok $nr $2"
		failed=1
	fi
}

# A file through a small pool, to a receiver that drops it.
transfer()
{
	: >"$tmp/recv"		# what the last one wrote must not be seen
	fbuf recv 0 /dev/null >/dev/null 2>"$tmp/recv" &
	tries=0
	until grep -q listening "$tmp/recv"; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || return 1
		sleep 0.1
	done
	port=$(sed -n 's/.*listening on port \([0-9]*\).*/\1/p' "$tmp/recv")
	fbuf send "$@" "$tmp/file" 127.0.0.1 "$port" >/dev/null 2>&1
	wait $!
}

[ "$(id -u)" -eq 0 ] || skip_all "needs root"
[ -c /dev/fbuf ] || skip_all "no /dev/fbuf: is the module loaded?"
[ -d $tracing/events/fbuf ] || skip_all "no tracefs, or no tracepoints"
# Else the scheduler's tracepoints are switched on, too; an instance takes it over.
record=$(cat "$tracing/options/record-cmd")
echo 0 >"$tracing/options/record-cmd"
mkdir "$trace" 2>/dev/null || skip_all "no trace instances"
trap 'echo 0 >$trace/events/fbuf/enable; rmdir "$trace"; rm -rf "$tmp"
      echo "$record" >"$tracing/options/record-cmd"' EXIT
echo 1 >"$trace/events/fbuf/enable" || skip_all "cannot switch events on"

echo "TAP version 13"
echo "1..$(echo "$EVENTS x" | wc -w)"

head -c 4194304 /dev/zero >"$tmp/file"
transfer -b 64K -n 4 && transfer --engine copy && "$dir/protect" -f snap >/dev/null
report $? "buffers_are_used"
cat "$trace/trace" >"$tmp/trace"
for event in $EVENTS; do
	# Name and fields, the first of which is the pool.
	if grep -q "fbuf_$event: pool=[1-9][0-9]* [a-z]*=[0-9]" "$tmp/trace"; then
		report 0 "$event"
	elif [ "$event" = reuse ] && [ "$(nproc)" = 1 ]; then
		report 0 "$event # SKIP one CPU only: the receiver may keep up"
	else
		report 1 "$event"
	fi
done
exit $failed
