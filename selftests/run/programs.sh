# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2034,SC2154,SC2317 # whoever sources it uses what is here
#
# What the tests of programs share: each case is run twice, plain and under fbuf run.
#
#	. "$(dirname "$0")/tap.sh"
#	. "$here/programs.sh"
#	begin 2				# cases: twice as many results
#	twice "objects" the_function
#	exit $failed
#
# A function starts its servers by server(), which does what $mode says.

pool=${POOL:-128M}		# as fbuf run is told
min=${MIN:-32K}
requests=${REQUESTS:-3000}	# of a load
modes=${MODES:-plain run}	# else only one of them
stats=--stats
servers=
around=			# a command that runs a command: before a server
inside=			# and before the client
said="err* log*"

tidy() { stop_all; }

# under MODE COMMAND...: and in what surroundings $around says; in the place of the shell that asks.
under()
{
	local how=$1
	shift
	# shellcheck disable=SC2086 # they are words
	case $how in
	plain)	exec $around "$@" ;;
	run)	exec $around fbuf run --pool "$pool" --min "$min" "$stats" "$@" ;;
	esac
}

begin()
{
	plan $(($1 * $(echo "$modes" | wc -w)))
}

# server NAME COMMAND...: in the background, as $mode says; sets $pid. What it says is in
# $tmp/log-NAME.
server()
{
	local name=$1
	shift
	(under "$mode" "$@") >"$tmp/log-$name" 2>&1 </dev/null &
	pid=$!
	servers="$servers $pid"
}

# plain_server NAME COMMAND...: of which nothing is tested.
plain_server()
{
	local mode=plain
	server "$@"
}

# has_port PORT: whether somebody listens there.
has_port() { $inside ss -Hltn "sport = :$1" | grep -q .; }

# serves PORT: once the server that was started last listens there. One that is gone
# never will.
serves()
{
	until_true listens_or_ended "$1" && has_port "$1"
}

listens_or_ended() { has_port "$1" || ended "$pid"; }

# The end of a process that was asked to end.
ended() { ! kill -0 "$1" 2>/dev/null; }

# stop PID [SIGNAL]: one that does not end when it is asked to is killed, so that nothing
# of a case is left for the next; the case has failed then.
stop()
{
	kill -"${2:-TERM}" "$1" 2>/dev/null
	# shellcheck disable=SC2086 # a number
	wait $1 2>/dev/null
	until_true ended "$1" && return
	kill -KILL "$1"
	return 1
}

stop_all()
{
	local one
	for one in $servers; do
		kill -TERM "$one" 2>/dev/null
	done
	for one in $servers; do
		timeout 20 tail --pid="$one" -f /dev/null || kill -KILL "$one" 2>/dev/null
		wait "$one" 2>/dev/null
	done
	servers=
}

# nginx_conf WORKERS HTTP LISTEN LOCATION: what is said for all, of the port, and of where
# answers come from; in $tmp/nginx.conf.
nginx_conf()
{
	cat >"$tmp/nginx.conf" <<-END
		worker_processes $1;
		pid $tmp/nginx.pid;
		error_log stderr;
		events { worker_connections 1000; }
		http {
			access_log off;
			client_max_body_size 0;
			$2
			server {
				listen 127.0.0.1:$3;
				location / { $4 }
			}
		}
	END
}
nginx_buffers="proxy_buffers 8 128k; proxy_buffer_size 128k; proxy_busy_buffers_size 512k;"

# nginx_start HTTP LISTEN LOCATION
nginx_start()
{
	nginx_conf 2 "$@"
	server nginx nginx -c "$tmp/nginx.conf" -g "daemon off;"
	serves "$port"
}

# counter NAME: of all pools since the module was loaded; 0 without it.
counter()
{
	fbuf -j stat 2>/dev/null | grep -o "\"$1\": *[0-9]*" | head -n 1 | grep -o '[0-9]*$' || echo 0
}

# asked OPTION... PROTOCOL ADDRESS PORT: what the client says is in $tmp/client.
asked()
{
	# shellcheck disable=SC2086 # they are words
	$inside "$here/client" "$@" >"$tmp/client" 2>"$tmp/err-client" || return
	echo "# $mode: $(cat "$tmp/client")"
}

# What is seen at once, in a guest: a test takes minutes.
live() { [ ! -c /dev/ttyS1 ] || echo "  ${0##*/}: $*" >/dev/ttyS1; }

# twice CASE FUNCTION: and under fbuf run, some of what was sent must have been sent by
# it, or the case shows nothing.
twice()
{
	local name=$1 before status
	shift
	for mode in $modes; do
		before=$(counter bytes)
		"$@"
		status=$?
		stop_all
		if [ "$mode" = run ] && [ $status = 0 ] && [ ! "$unsent" ]; then
			gained $(($(counter bytes) - before)) || status=1
		fi
		live "$name, $mode: $status"
		report $status "${name}_$mode"
	done
	unsent=
}

# Where fbuf cannot send, or has nothing to: unsent=WHY before twice.
unsent=

gained()
{
	echo "# sent by fbuf: $1 bytes"
	[ "$1" -le 0 ] || return 0
	echo "nothing was sent by fbuf" >"$tmp/err-gained"
	cat "$tmp"/log-* | grep "^fbuf run:" | sed 's/^/# /'
	return 1
}
