#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2046,SC2086,SC2317 # it has local; words and numbers; functions are given to others
# The test suites of memcached and redis themselves, plain and under fbuf run --min 1,
# where even the smallest allocation is in the pool: what passes plain passes there. What
# fails there is tried twice more, as some of their tests fail now and then.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/run/programs.sh
. "$here/programs.sh"

suites=${SUITES:-memcached redis}
pool=64M
# Tests look at what is said on standard error.
stats=--stats=$tmp/stats
min=1
# Of redis' units those that end in this time; MORE=1 for nearly all that it has.
units="unit/printver unit/dump unit/auth unit/protocol unit/keyspace unit/scan unit/info
	unit/type/string unit/type/incr unit/type/list unit/type/list-2 unit/type/set
	unit/type/zset unit/type/hash unit/type/stream unit/sort unit/expire unit/other
	unit/multi unit/quit unit/aofrw unit/acl unit/bitops unit/scripting unit/obuf-limits
	integration/rdb integration/aof integration/replication integration/replication-psync
	integration/convert-zipmap-hash-on-load integration/block-repl"
[ ! "$MORE" ] || units=$(cd /src/redis && ./runtest --list-tests)

# Each leaves in a file what failed, a line each: WHAT, or WHAT: and more of it.

memcached_files() { (cd /src/memcached && echo t/*.t); }

# memcached_suite FAILED FILE...
memcached_suite()
{
	local failed=$1
	shift
	(cd /src/memcached && under "$mode" prove --timer "$@") >"$tmp/log-suite" 2>&1
	tail -n 1 "$tmp/log-suite" | grep -qE "^Result: (PASS|FAIL)" || return
	sed -n 's/^\(t\/[^ ]*\.t\) .*(Wstat:.*/\1/p' "$tmp/log-suite" >"$failed"
	grep "^Files=" "$tmp/log-suite" | sed "s/^/# $mode: /"
}

# redis_units FAILED UNIT...: a part of them at a time. Leaves in units-done those that ended:
# a test client that gives up takes all others along.
redis_units()
{
	local failed=$1 unit singles=
	shift
	for unit; do
		singles="$singles --single $unit"
	done
	(cd /src/redis && under "$mode" ./runtest --clients 4 --no-latency --durable $singles) \
		>"$tmp/log-suite" 2>&1
	sed 's/\x1b\[[0-9;]*m//g' "$tmp/log-suite" >"$tmp/log-units"
	sed -nE 's|^\[err\][^:]*: *(.*) in tests/(.*)[.]tcl.*$|\2: \1|p' "$tmp/log-units" >>"$failed"
	sed -nE 's|^\[[0-9]+/[0-9]+ done\]: ([^ ]*) .*$|\1|p' "$tmp/log-units" >"$tmp/units-done"
	grep -A 1 "^\[exception\]" "$tmp/log-units" | sed 's/^/# /'
	passed=$((passed + $(grep -c '\[ok\]' "$tmp/log-units")))
	pkill -KILL redis-server
	until_true none_runs
}

none_runs() { ! pgrep redis-server >/dev/null; }

# redis_suite FAILED UNIT...: those that did not end once more, each by itself.
redis_suite()
{
	local failed=$1 unit passed=0
	shift
	: >"$failed"
	redis_units "$failed" "$@" || return
	cp "$tmp/units-done" "$tmp/units-all"
	[ -s "$tmp/units-all" ] || return
	for unit; do
		! grep -qx "$unit" "$tmp/units-all" || continue
		live "redis, $mode: $unit alone"
		redis_units "$failed" "$unit" || return
		grep -qx "$unit" "$tmp/units-done" || echo "$unit: did not end" >>"$failed"
	done
	sort -u -o "$failed" "$failed"
	echo "# $mode: $passed passed, $(wc -l <"$failed") failed"
}

# none_more SUITE WHAT...: run it plain, and again; what fails only there, twice more.
none_more()
{
	local suite=$1 try
	shift
	mode=plain
	live "$suite, plain"
	"$suite" "$tmp/failed-plain" "$@" || return
	sed 's/^/# fails plain: /' "$tmp/failed-plain"
	sort -u "$tmp/failed-plain" >"$tmp/plain"
	mode=run
	for try in 1 2 3; do
		live "$suite, run: $try"
		"$suite" "$tmp/failed-run" "$@" || return
		sort -u "$tmp/failed-run" | comm -13 "$tmp/plain" - >"$tmp/more"
		sed "s/^/# fails under fbuf run: /" "$tmp/more"
		set -- $(sed 's/:.*//' "$tmp/more" | sort -u)
		[ $# -gt 0 ] || return 0
	done
	cp "$tmp/more" "$tmp/err-more"
	return 1
}

# What all processes of a suite sent, and that it is not nothing.
sent()
{
	awk '/sent [0-9]+ bytes/ { for (i = 1; i < NF; i++) if ($i == "sent") { n += $(i + 1); p++ } }
		END { printf "# %d processes sent %d bytes by fbuf\n", p, n; exit !n }' "$tmp/stats"
}

plan "$(echo $suites | wc -w)"
# On the disk there is little room.
mount -t tmpfs tmpfs /src/redis/tests/tmp
for suite in $suites; do
	rm -f "$tmp/stats"
	case $suite in
	memcached)	set -- $(memcached_files) ;;
	redis)		set -- $units ;;
	esac
	none_more "${suite}_suite" "$@" && sent
	report $? "$suite"
done
exit $failed
