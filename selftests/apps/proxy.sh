#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # numbers; functions are given to others
# fbuf relay in front of Debian's nginx: each byte is right, both ways, and nothing is left.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/apps/apps.sh
. "$here/apps.sh"

needs nginx curl wrk sha256sum ss
PATH=$here:$PATH	# fbuf is one of the tests' files
requests=${REQUESTS:-10000}
origin=8081
said="err*"		# one relay for all cases, whose log must stay
nginx=
www=$tmp/www
sizes="0 1 4095 65536 1048576 20971520"

tidy()
{
	kill_nginx
	stop
}

has_port() { ss -Hltn "sport = :$1" | grep -q .; }

start_nginx()
{
	nginx -c "$tmp/nginx.conf" >"$tmp/log-nginx" 2>&1 </dev/null &
	nginx=$!
	until_true has_port $origin
}

no_port() { ! has_port "$1"; }

# The master first, which would have another worker.
kill_nginx()
{
	[ "$nginx" ] || return 0
	kill -KILL "$nginx" $(pgrep -P "$nginx")
	wait "$nginx" 2>/dev/null
	nginx=
	until_true no_port $origin
}

configure()
{
	mkdir -p "$www" "$tmp/body" /var/log/nginx /var/lib/nginx
	chmod 755 "$tmp"
	cat >"$tmp/nginx.conf" <<-END
		daemon off;
		user root;
		worker_processes 1;
		pid $tmp/nginx.pid;
		error_log stderr crit;
		worker_rlimit_nofile 20000;
		events { worker_connections 10000; }
		http {
			access_log off;
			sendfile on;
			keepalive_requests 1000000000;
			client_max_body_size 64m;
			client_body_temp_path $tmp/body;
			server {
				listen 127.0.0.1:$origin;
				root $www;
				dav_methods PUT;
			}
		}
	END
	for size in $sizes; do
		head -c $size /dev/urandom >"$www/file-$size"
	done
}

hash_of() { sha256sum | cut -c 1-64; }

# All by one connection, which is kept.
files_arrive()
{
	local size urls=
	for size in $sizes; do
		urls="$urls http://127.0.0.1:$port/file-$size -o $tmp/got-$size"
	done
	curl -sS -f $urls 2>"$tmp/err-curl" || return
	for size in $sizes; do
		[ "$(hash_of <"$tmp/got-$size")" = "$(hash_of <"$www/file-$size")" ] || return
		rm "$tmp/got-$size"
	done
}

part() { curl -sS -f -r "$1" "http://127.0.0.1:$port/file-20971520" 2>"$tmp/err-curl" | hash_of; }

ranges_arrive()
{
	local file=$www/file-20971520
	[ "$(part 0-0)" = "$(head -c 1 "$file" | hash_of)" ] &&
		[ "$(part 4095-69631)" = "$(head -c 69632 "$file" | tail -c 65537 | hash_of)" ] &&
		[ "$(part 10000000-)" = "$(tail -c +10000001 "$file" | hash_of)" ] &&
		[ "$(part -5)" = "$(tail -c 5 "$file" | hash_of)" ]
}

uploads_arrive()
{
	local size
	for size in $sizes; do
		curl -sS -f -T "$www/file-$size" "http://127.0.0.1:$port/put-$size" \
			-o "$tmp/err-put" 2>"$tmp/err-curl" &&
			[ "$(hash_of <"$www/put-$size")" = "$(hash_of <"$www/file-$size")" ] || return
		rm "$www/put-$size"
	done
}

# load OPTION...: each byte of what comes is looked at, while objects are replaced.
load()
{
	"$here/client" --seconds 300 --fill --files "$www" "$@" http 127.0.0.1 "$port" \
		>"$tmp/client" 2>"$tmp/err-client" || return
	echo "# $(cat "$tmp/client")"
}

wrk_finds_no_error()
{
	local load
	for load in 65536:1 65536:64 1048576:16; do
		wrk -t 1 -c ${load#*:} -d 4 "http://127.0.0.1:$port/file-${load%:*}" >"$tmp/err-wrk" 2>&1
		echo "# $load: $(grep 'requests in' "$tmp/err-wrk")"
		grep -q "[1-9][0-9]* requests in" "$tmp/err-wrk" &&
			! grep -qE "Socket errors|Non-2xx" "$tmp/err-wrk" || return
	done
}

slow_one_began() { [ -s "$tmp/part" ]; }

# Who has a part of a file when nginx dies is told that it is not whole, as is who comes
# while there is none; and who comes after that is served. The file is longer than what
# the sockets between them may hold.
nginx_may_die()
{
	local slow url=http://127.0.0.1:$port/long file=$www/file-20971520 how=0
	cat "$file" "$file" "$file" >"$www/long"
	curl -sS -f --limit-rate 4M "$url" -o "$tmp/part" 2>"$tmp/err-slow" &
	slow=$!
	until_true slow_one_began && kill_nginx || return
	wait $slow || how=$?
	# 18: a part of a file; 56: reset. What came must be right.
	case $how in
	18|56)	cmp -n "$(stat -c %s "$tmp/part")" "$tmp/part" "$www/long" >"$tmp/err-cmp" ;;
	*)	echo "# curl ended with $how"
		false ;;
	esac || return
	if curl -sS -f "$url" -o "$tmp/part" 2>"$tmp/err-curl"; then
		echo "# a dead nginx answered"
		return 1
	fi
	rm "$www/long" && start_nginx && files_arrive
}

# Who has enough resets the connection while the relay has more for him.
clients_may_leave()
{
	for _ in 1 2 3 4 5 6 7 8; do
		curl -s "http://127.0.0.1:$port/file-20971520" 2>"$tmp/err-curl" |
			head -c 100000 | cmp -n 100000 - "$www/file-20971520" >"$tmp/err-cmp" || return
	done
	files_arrive
}

none_open() { [ "$(ss -Htn state established "sport = :$port" | wc -l)" = 0 ]; }
parcels() { fbuf pool list --json | sed -n 's/.*"nr_parcels": *\([0-9]*\).*/\1/p'; }
# Of its pool, which is the only one.
no_parcels() { [ "$(parcels)" = 0 ]; }

# It lives still, and has no parcel of all that went through it.
nothing_is_left() { until_true none_open && until_true no_parcels; }

# What it says at its end: nobody but those who came to a dead nginx was refused.
says_it_went_well()
{
	stop || return
	sed 's/^/# /' "$tmp/log-relay"
	sed -n '/^{/,$p' "$tmp/log-relay" >"$tmp/out"
	grep -q '"refused": 1,' "$tmp/out" && grep -q '"fallbacks": 0,' "$tmp/out"
}

plan 9
configure
start_nginx && listening relay fbuf relay --json --peek 4K 127.0.0.1:0 127.0.0.1:$origin || exit 1
files_arrive
report $? files_arrive
ranges_arrive
report $? ranges_arrive
uploads_arrive
report $? uploads_arrive
load -c 1000 -n "$((requests * 2))" --slow 25
report $? a_thousand_connections
wrk_finds_no_error
report $? wrk_finds_no_error
nginx_may_die
report $? nginx_may_die
clients_may_leave
report $? clients_may_leave
if [ -c /dev/fbuf ]; then
	nothing_is_left
	report $? nothing_is_left
else
	skip nothing_is_left "no /dev/fbuf"
fi
says_it_went_well
report $? says_it_went_well
exit $failed
