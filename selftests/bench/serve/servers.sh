# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2034,SC2086,SC2154 # it has local; who sources it uses what is here; numbers
#
# What measures servers in a guest, to be sourced: they are started and ended, and asked
# for objects. Who sources it has a function of_SERVER for each.
#
#	all_rows CLOCK SERVER:SIZE:CONNECTIONS[:HOW]...
#
# HOW is drop (what comes is not read), wrk (which asks), or copies (of what is copied, not
# what it takes). That is in /out/ROW.json, what else was said beside it, .log.
out_dir=${OUT:-/out}
tools=$(cd "$(dirname "$0")" && pwd)
port=7000
server=
failed=0
rounds=1		# of all connections in a window, if that is not too much
no_small=		# or it is not measured how long small ones take meanwhile
work=/tmp/serve
mkdir -p $work/www

start()
{
	"$@" >>"$log" 2>&1 </dev/null &
	server=$!
}

stop()
{
	[ "$server" ] || return
	kill -TERM "$server" 2>/dev/null
	timeout 20 tail --pid="$server" -f /dev/null || kill -KILL "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	server=
}

listens()
{
	local tries=0
	until ss -Hltn "sport = :$port" | grep -q .; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || return
		sleep 0.1
	done
}

# The one who serves, where there is a master as well.
worker() { pgrep -P "$server" | head -n 1; }

# ask PID PROTOCOL: more requests in a window where more are under way at once.
ask()
{
	local samples=200 requests=16 windows=9 rounds=$rounds
	[ $connections -lt 16 ] || windows=5
	[ $((connections * size)) -le 8388608 ] || { samples=40 && rounds=1; }
	[ $connections -lt 16 ] || [ $2 = relay ] || requests=$((connections * rounds))
	[ $2 = http ] || requests=4
	[ $connections -lt 500 ] || windows=3
	[ "$how" != drop ] && [ ! "$no_small" ] || samples=0
	"$tools/load" --server "$1" --clock "$clock" ${how:+--$how} --warm $((requests * 2)) \
		--windows $windows --requests $requests --samples $samples \
		$2 $port $size $connections >"$out"
}

# Requests in a second of instructions; of which bytes another client looks at.
by_wrk()
{
	local rps i
	for i in before after; do
		curl -sS -f "http://127.0.0.1:$port/k1" | cmp - $work/www/k1 || return
		[ $i = before ] || break
		wrk -t 1 -c $connections -d 1 "http://127.0.0.1:$port/k1" >$work/wrk 2>&1
		cat $work/wrk
		! grep -qE "Socket errors|Non-2xx" $work/wrk || return
	done >>"$log"
	rps=$(sed -n 's/^Requests\/sec: *//p' $work/wrk)
	[ "$rps" ] || return
	echo "{\"median\": $(awk "BEGIN { printf \"%.0f\", 1e9 / $rps }"), \"server\": 0, \"compared\": 2, \"wrong\": 0}" >"$out"
}

# Objects one after another by one connection, all of them compared.
by_copies()
{
	local rounds=4 wrong=0 file got
	mkdir -p $work/got
	"$tools/copies" "$1" curl -sS -f -o "$work/got/k#1-#2" \
		"http://127.0.0.1:$port/k[1-8]?[1-$rounds]" >$work/copies || return
	for file in "$work"/www/k[1-9]*; do
		for got in "$work/got/${file##*/}"-*; do
			cmp "$file" "$got" || wrong=$((wrong + 1))
		done
	done
	rm -r $work/got
	echo "{\"requests\": $((8 * rounds)), \"wrong\": $wrong, $(cat $work/copies)}" >"$out"
}

ask_http()
{
	listens || return
	case $how in
	wrk)	by_wrk ;;
	copies)	by_copies "$1" ;;
	*)	ask "$1" http ;;
	esac
}

# As its users are told to do it for speed.
nginx_start()
{
	mkdir -p /var/log/nginx /var/lib/nginx
	cat >$work/nginx.conf <<-END
		worker_processes 1;
		pid $work/nginx.pid;
		error_log stderr;
		worker_rlimit_nofile 5000;
		events { worker_connections 2000; }
		http {
			access_log off;
			sendfile on;
			$nginx_more
			keepalive_requests 1000000000;
			open_file_cache max=100 inactive=1h;
			open_file_cache_valid 1h;
			server { listen 127.0.0.1:$port; root $1; }
		}
	END
	start nginx -c $work/nginx.conf -g "daemon off; user root;"
	listens && sleep 0.5
}
nginx_more=

one_row()
{
	IFS=: read -r name size connections how <<-END
		$1
	END
	port=$((port + 10))
	log=$out_dir/$1.log out=$work/new.json
	: >"$log"
	: >$out
	rm -f $work/www/*
	"$tools/load" --fill $work/www $size
	"of_$(echo "$name" | tr - _)" 2>>"$log" || failed=1
	stop
	echo "$1: $(sed 's/"windows[^]]*], //' $out)"
	[ -s $out ] || tail -n 5 "$log"
	mv $out "$out_dir/$1.json"
}

all_rows()
{
	local row
	clock=$1
	shift
	ulimit -n 20000
	for row; do
		one_row "$row"
	done
	return $failed
}
