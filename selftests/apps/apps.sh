# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2034,SC2154 # whoever sources it uses what is here
#
# What the tests of the examples and of proxies share: servers that are started and ended.

said="err* log*"
server=
port=

# Ten thousand connections, if we may have them.
ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -Hn)"

tidy() { stop; }

ended() { ! kill -0 "$1" 2>/dev/null; }
listens_or_ended() { grep -qs "listening on port" "$tmp/log-$1" || ended "$server"; }

# listening NAME COMMAND...: a server, once it listens; sets $server and $port.
listening()
{
	local name=$1
	shift
	: >"$tmp/log-$name"
	"$@" >"$tmp/log-$name" 2>&1 </dev/null &
	server=$!
	until_true listens_or_ended "$name" || return
	port=$(sed -n 's/.*listening on port \([0-9]*\).*/\1/p' "$tmp/log-$name")
	[ "$port" ]
}

# serve PROGRAM OPTION...: one of the examples
serve()
{
	local name=$1
	shift
	listening "$name" "$here/$name" -p 0 "$@"
}

# It must end by itself when it is asked to, and complain of nothing.
stop()
{
	local status
	[ "$server" ] || return 0
	kill -TERM "$server" 2>/dev/null
	timeout 20 tail --pid="$server" -f /dev/null || kill -KILL "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	status=$?
	server=
	[ $status = 0 ] || echo "the server ended with $status" >"$tmp/err-server"
	return $status
}

# with "PROGRAM OPTION..." CASE COMMAND...: a server of its own for each case.
with()
{
	local how=$1 name=$2 status=0
	shift 2
	# shellcheck disable=SC2086 # they are words
	serve $how && "$@" || status=1
	stop || status=1
	report $status "$name"
}
