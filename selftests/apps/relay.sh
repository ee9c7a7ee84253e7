#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # numbers; functions are given to others
# relay, one of the examples: Redis' own clients, and many subscribers.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/apps/apps.sh
. "$here/apps.sh"

needs redis-cli redis-server python3

rules() { python3 "$here/relay_rules.py" "$port" "$1" 2>"$tmp/err-rules"; }
fanout() { python3 "$here/fanout.py" "$port" "$@" 2>"$tmp/err-fanout"; }

# What is right is what redis-server does.
redis_rules()
{
	local status=0 pid
	port=6380
	redis-server --port $port --save "" >"$tmp/log-redis" 2>&1 &
	pid=$!
	wait_for "Ready to accept" "$tmp/log-redis" && rules python && rules hiredis || status=1
	kill $pid
	wait $pid 2>/dev/null
	return $status
}

cli() { redis-cli -p "$port" "$@"; }

redis_cli_has_equal_bytes()
{
	local subscriber size status=0
	[ "$(cli ping "a word")" = "a word" ] || status=1
	cli --raw subscribe c >"$tmp/heard" 2>"$tmp/err-cli" &
	subscriber=$!
	until_true subscribed || status=1
	printf 'subscribe\nc\n1\n' >"$tmp/wanted"
	for size in 1 100 4096 65536 1000000; do
		head -c $size /dev/urandom | base64 -w 0 | head -c $size >"$tmp/said"
		[ "$(cli -x publish c <"$tmp/said")" = 1 ] || status=1
		printf 'message\nc\n%s\n' "$(cat "$tmp/said")" >>"$tmp/wanted"
	done
	until_true cmp -s "$tmp/wanted" "$tmp/heard" || status=1
	kill $subscriber
	wait $subscriber 2>/dev/null
	return $status
}

subscribed() { [ "$(cli pubsub numsub c | tail -n 1)" = 1 ]; }

# All at once, or as many as we may have files.
ten_thousand()
{
	local some=10000
	if [ "$(ulimit -n)" -lt 10100 ]; then
		some=$(($(ulimit -n) - 100))
		echo "# $some subscribers: the limit of open files"
	fi
	fanout all "$some"
}

# Redis' own benchmark, which knows no PUBLISH of its own.
redis_benchmark()
{
	redis-benchmark -p "$port" -n 20000 -c 50 -P 10 publish c 0123456789 \
		>"$tmp/benchmark" 2>"$tmp/err-benchmark"
	grep -q "100.00%" "$tmp/benchmark" || grep -q "requests per second" "$tmp/benchmark"
}

plan 10
redis_rules
report $? rules_are_those_of_redis
with relay rules_python rules python
with "relay -s" rules_hiredis_snapshot rules hiredis
with relay redis_cli_has_equal_bytes redis_cli_has_equal_bytes
with relay redis_benchmark redis_benchmark
with relay each_subscriber_gets_each_message fanout all 128
with "relay -s" each_subscriber_gets_each_message_snapshot fanout all 128
with relay one_that_does_not_read_is_dropped fanout limit $((32 << 20))
with "relay -l 64M:4M:4" one_that_is_late_is_dropped fanout late $((4 << 20)) 4
with relay ten_thousand_subscribers ten_thousand
exit $failed
