#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # it has local; words and numbers; functions are given to others
# redis: GETs of whole objects while they are changed, with threads that send; what a
# child saves while they are changed is what there was at the fork; replicas; killed.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/run/programs.sh
. "$here/programs.sh"

port=6379
other=6380

# start PORT OPTION...: with its files in a folder of its own.
start()
{
	local at=$1
	shift
	mkdir -p "$tmp/redis-$at"
	server "redis-$at" redis-server --port "$at" --dir "$tmp/redis-$at" --save "" \
		--daemonize no "$@"
	until_true ready_or_ended "$at" && ready "$at"
}

cli() { redis-cli -p "$@" 2>/dev/null; }
ready_or_ended() { ready "$1" || ended "$pid"; }
ready() { [ "$(cli "$1" ping)" = PONG ]; }

load()
{
	local at=$1
	shift
	asked "$@" redis 127.0.0.1 "$at"
}

objects()
{
	start $port && load $port --fill -n "$requests" -c 16 -t 2
}

overwritten()
{
	start $port && load $port --fill -n "$requests" -c 16 -t 2 -w 60 -k 6
}

# Threads of redis itself write to the sockets.
io_threads()
{
	start $port --io-threads 4 --io-threads-do-reads yes &&
		load $port --fill -n "$requests" -c 32 -t 2
}

saved() { cli "$port" info persistence | grep -q "rdb_bgsave_in_progress:0"; }

# What the fork is to have is the first version of all, and no bit of what is written
# while the child is kept from saving.
bgsave()
{
	local child
	start $port --rdb-key-save-delay 20000 && load $port --fill -n 0 -k 32 || return
	cli $port bgsave | grep -q started || return
	child=$(pgrep -P "$pid")
	kill -STOP "$child"
	if ! load $port -n "$requests" -c 16 -t 2 -w 40 -k 32; then
		kill -KILL "$child"
		return 1
	fi
	saved && { echo "the child had ended before all was written" >"$tmp/err-bgsave"; return 1; }
	kill -CONT "$child"
	until_true saved && cli $port info persistence | grep -q "rdb_last_bgsave_status:ok" || return
	stop "$pid"
	redis-check-rdb "$tmp/redis-$port/dump.rdb" >"$tmp/log-check" || return
	mkdir -p "$tmp/redis-$other"
	cp "$tmp/redis-$port/dump.rdb" "$tmp/redis-$other"
	# All of them are of version 0: the client knows of no other.
	start $other && load $other -n 200 -c 4 -w 0 -k 32
}

# A child that saves while all is written again and again, as often as it can.
bgsaves()
{
	local asking
	start $port --rdb-key-save-delay 1000 && load $port --fill -n 0 -k 16 || return
	load $port -n "$requests" -c 16 -t 2 -w 30 -k 16 &
	asking=$!
	while kill -0 $asking 2>/dev/null; do
		cli $port bgsave >/dev/null
		sleep 0.1
	done
	wait $asking || return
	until_true saved && cli $port info persistence | grep -q "rdb_last_bgsave_status:ok" || return
	stop "$pid"
	redis-check-rdb "$tmp/redis-$port/dump.rdb" >"$tmp/log-check" || return
	mkdir -p "$tmp/redis-$other"
	cp "$tmp/redis-$port/dump.rdb" "$tmp/redis-$other"
	start $other && load $other -n 200 -c 4 -w 0 -k 16 --newest 1000000
}

linked() { cli $other info replication | grep -q "master_link_status:up"; }
level() { [ "$(offset $port)" = "$(offset $other)" ]; }
offset() { cli "$1" info replication | sed -n 's/^master_repl_offset:\([0-9]*\).*/\1/p'; }

# A replica takes all from a child of the first, by a socket, and then each write.
replica()
{
	start $port --repl-diskless-sync yes --repl-diskless-sync-delay 0 &&
		load $port --fill -n 0 -k 16 || return
	start $other --replicaof "127.0.0.1 $port" || return
	load $port -n "$requests" -c 16 -t 2 -w 30 -k 16 || return
	until_true linked && until_true level || return
	load $other -n "$requests" -c 16 -t 2 -w 0 -k 16 --newest 1000000
}

# What was saved last is what there is after it was killed.
killed()
{
	start $port --appendonly yes --appendfsync always && load $port --fill -n 300 -c 8 -w 30 ||
		return
	stop "$pid" KILL
	start $port --appendonly yes && load $port -n "$requests" -c 8 -w 0 --newest 1000000
}

# In the background: the one that serves is a child.
daemon()
{
	local status
	server redis redis-server --port $port --dir "$tmp" --save "" --daemonize yes \
		--pidfile "$tmp/pid"
	until_true ready $port && load $port --fill -n "$requests" -c 8
	status=$?
	stop "$(cat "$tmp/pid")" && return $status
}

begin 8
twice objects objects
twice overwritten overwritten
twice io_threads io_threads
twice bgsave bgsave
twice bgsaves bgsaves
twice replica replica
twice killed killed
twice daemon daemon
exit $failed
