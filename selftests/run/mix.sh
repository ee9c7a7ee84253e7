#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # it has local; words and numbers; functions are given to others
# Programs side by side for MINUTES, each with a pool that is too small for what it has,
# while memory is short and clients stop: no byte is wrong, and nothing is left.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/run/programs.sh
. "$here/programs.sh"
needs root module

minutes=${MINUTES:-60}
pool=16M
pool_kb=16384
mode=run
said="err*"		# what servers said is looked at in the end
port=11000
names="memcached redis store web proxy"
chmod 755 "$tmp"

# one NAME COMMAND...: a server whose memory and files are looked at.
one()
{
	server "$@"
	eval "pid_$1=$pid"
}

start()
{
	one memcached memcached -u root -p $port -U 0 -I 8m -t 4 -m 64
	mkdir "$tmp/redis"
	one redis redis-server --port $((port + 1)) --dir "$tmp/redis" --save "" --io-threads 2
	one store python3 "$here/store.py" $((port + 2))
	one web python3 "$here/web_store.py" $((port + 3))
	nginx_conf 1 "$nginx_buffers" $((port + 4)) "proxy_pass http://127.0.0.1:$((port + 3));"
	one proxy nginx -c "$tmp/nginx.conf" -g "daemon off;"
	for i in 0 1 2 3 4; do
		until_true has_port $((port + i)) || return
	done
	pid_proxy=$(pgrep -P "$pid_proxy")
}

# load NAME OPTION... PROTOCOL PORT
load()
{
	local name=$1
	shift
	"$here/client" --fill --seed "$round" -n "$requests" "$@" >"$tmp/client-$name" 2>"$tmp/bad-$name" ||
		touch "$tmp/failed-$name"
}

loads()
{
	local asking=
	load memcached --lossy -k 200 -w 40 -c 12 -t 2 memcached 127.0.0.1 $port &
	asking="$asking $!"
	load redis -k 40 -w 30 -c 12 redis 127.0.0.1 $((port + 1)) &
	asking="$asking $!"
	load store -k 40 -w 30 -c 8 tcp 127.0.0.1 $((port + 2)) &
	asking="$asking $!"
	load web -k 16 -w 20 -c 4 http 127.0.0.1 $((port + 3)) &
	asking="$asking $!"
	load proxy -k 16 -w 20 -c 8 --first 100 http 127.0.0.1 $((port + 4)) &
	asking="$asking $!"
	redis-cli -p $((port + 1)) bgsave >/dev/null
	wait $asking
}

# Every other round somebody takes memory, and clients stop in the middle.
trouble()
{
	troubles=
	[ $((round % 2)) = 1 ] || return 0
	python3 "$here/hold.py" clients $port >/dev/null 2>&1 &
	troubles=$!
	python3 "$here/hold.py" memory >/dev/null 2>&1 &
	troubles="$troubles $!"
}

no_trouble()
{
	[ ! "$troubles" ] || { kill $troubles; wait $troubles; } 2>/dev/null
}

pid_of() { eval "echo \$pid_$1"; }
memory_of() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status"; }
files_of() { find "/proc/$1/fd" -type l 2>/dev/null | wc -l; }

# What each has once its connections are gone; the most of that is kept, by halves.
look()
{
	local name pid memory files which=first
	[ $((elapsed * 2)) -lt $((minutes * 60)) ] || which=second
	for name in $names; do
		pid=$(pid_of "$name")
		[ -d "/proc/$pid" ] || { touch "$tmp/failed-$name"; continue; }
		memory=$(memory_of "$pid") files=$(files_of "$pid")
		most "$tmp/memory-$which-$name" "$memory"
		most "$tmp/files-$which-$name" "$files"
	done
}

most()
{
	local before=0
	[ ! -e "$1" ] || read -r before <"$1"
	[ "$2" -le "$before" ] || echo "$2" >"$1"
}

# Not more in the second half than in the first, but for some.
bounded()
{
	local what=$1 some=$2 name first second status=0
	for name in $names; do
		read -r first <"$tmp/$what-first-$name"
		read -r second <"$tmp/$what-second-$name"
		echo "# $name: $what $first, in the second half $second"
		[ "$second" -le $((first + some)) ] || { echo "$name: $what" >>"$tmp/err-$what"; status=1; }
	done
	return $status
}

uptime_s() { sed 's/\..*//' /proc/uptime; }

rounds()
{
	local begin
	begin=$(uptime_s)
	round=0
	elapsed=0
	while [ $elapsed -lt $((minutes * 60)) ]; do
		trouble
		loads
		no_trouble
		sleep 1
		elapsed=$(($(uptime_s) - begin))
		look
		cat "$tmp"/client-* >>"$tmp/all"
		round=$((round + 1))
		live "round $round, $elapsed s, failed: $(find "$tmp" -name "failed-*" | wc -l)"
		[ ! -e "$(echo "$tmp"/failed-* | cut -d ' ' -f 1)" ] || break
	done
}

no_pools() { ! fbuf -j pool list | grep -q '"id"'; }

plan 5
start
report $? all_start
rounds
echo "# $round rounds, $(awk -F '[= ]' '{ n += $6 } END { printf "%.0f", n }' "$tmp/all") bytes verified"
for name in $names; do
	[ ! -e "$tmp/failed-$name" ] || { echo "$name:"; cat "$tmp/bad-$name"; } >>"$tmp/err-bytes"
done
[ ! -e "$tmp/err-bytes" ] && [ $round -gt 1 ]
report $? no_byte_wrong
bounded memory $pool_kb
report $? memory_bounded
bounded files 4
report $? no_file_left
stop_all
for name in $names; do
	grep "^fbuf run:" "$tmp/log-$name" | sed "s/^/# $name: /"
done
until_true no_pools && grep -q "no room [1-9]" "$tmp"/log-*
report $? exhausted_and_none_left
exit $failed
